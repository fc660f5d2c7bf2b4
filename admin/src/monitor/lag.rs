//! The lag of tenants as Prometheus reads it. Written at each scrape from what the database says
//! then, beside the recorder: a series whose tenant is not told any more is gone, not frozen.

use std::fmt::Write as _;

use dg_runtime::metrics::tenants::OTHER;
use dg_store::Lag;

type Value = fn(&Lag) -> Option<f64>;

/// Name, meaning, value.
const FAMILIES: [(&str, &str, Value); 4] = [
    ("lag_events", "Events of the log that are not applied.", |lag| {
        Some(lag.pending_events as f64)
    }),
    (
        "lag_seconds",
        "Age of the oldest event that is not applied; of tenants together, the greatest.",
        |lag| Some(lag.lag_seconds),
    ),
    ("cursor_log_seq", "The last number applied.", |lag| {
        lag.last_log_seq.map(|log_seq| log_seq as f64)
    }),
    ("open_failures", "Dead letters that are open.", |lag| Some(lag.open_failures as f64)),
];

/// The families of the tenants' lag; nothing when nothing is known.
pub(super) fn render(lags: &[Lag]) -> String {
    let mut text = String::new();
    for (name, meaning, value) in FAMILIES.iter().filter(|_| !lags.is_empty()) {
        let name = format!("decisiongraph_projection_{name}");
        // Writing to a string does not fail.
        let _ = write!(text, "# HELP {name} {meaning}\n# TYPE {name} gauge\n");
        for lag in lags {
            let Some(value) = value(lag) else { continue };
            let tenant = escaped(lag.tenant_id.as_deref().unwrap_or(OTHER));
            let projection = &lag.projection_name;
            let _ =
                writeln!(text, "{name}{{tenant=\"{tenant}\",projection=\"{projection}\"}} {value}");
        }
        text.push('\n');
    }
    text
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(tenant: Option<&str>, last_log_seq: Option<i64>) -> Lag {
        Lag {
            tenant_id: tenant.map(str::to_owned),
            projection_name: "trace_summary".to_owned(),
            pending_events: 2,
            lag_seconds: 1.5,
            last_log_seq,
            open_failures: 0,
        }
    }

    #[test]
    fn a_family_has_its_help_once_and_a_line_a_tenant() {
        let text = render(&[lag(Some("a\"\\\n"), Some(7)), lag(None, None)]);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("cursor")).collect();
        assert_eq!(
            lines,
            [
                "# HELP decisiongraph_projection_cursor_log_seq The last number applied.",
                "# TYPE decisiongraph_projection_cursor_log_seq gauge",
                r#"decisiongraph_projection_cursor_log_seq{tenant="a\"\\\n",projection="trace_summary"} 7"#,
            ]
        );
        let rest = r#"decisiongraph_projection_lag_seconds{tenant="_other",projection="trace_summary"} 1.5"#;
        assert!(text.lines().any(|line| line == rest), "{text}");
        assert_eq!(render(&[]), "");
    }
}
