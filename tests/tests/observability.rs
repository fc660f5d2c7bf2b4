//! The alert rules and the dashboard of `ops/` ask for what a daemon really tells.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "observability/promql.rs"]
mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use dg_projections::json::{self, Json};
use dg_tests::events::{event, joined, started, whole_trace};
use dg_tests::http::{WATCHED, address, request};
use dg_tests::{Daemon, Directory, Where, new_database, run, skip, until};
use promql::Query;

const RULES: &str = "prometheus/decisiongraph.rules.yml";
const RULES_TEST: &str = "prometheus/decisiongraph.rules.test.yml";
const CONFIG: &str = "prometheus/prometheus.yml";
const DASHBOARD: &str = "grafana/decisiongraph.json";

/// What Prometheus itself tells of a target.
const OF_SCRAPES: [&str; 2] = ["up", "scrape_duration_seconds"];

fn ops(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("ops").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(ops(name)).unwrap()
}

/// What a daemon tells that has had appends, refusals, retries, crashes, a failure and runs.
fn told() -> &'static str {
    &start_and_later().1
}

/// What it tells before anything has happened, and then.
fn start_and_later() -> &'static (String, String) {
    static TOLD: OnceLock<(String, String)> = OnceLock::new();
    TOLD.get_or_init(|| {
        let database = new_database();
        let flags = [&WATCHED[..], &["--digest-idle-ms", "100"]].concat();
        let crash = "worker_apply_before/bad/context_graph/0=panic";
        let daemon = Daemon::start_failing(Where::Url(database.url()), &flags, crash);
        let address = address(&daemon);
        let at_start = request(&address, "GET /metrics").1;
        let append = |tenant: &str, lines: &[String]| {
            daemon.cli_with(&["append", "-", "-t", tenant], joined(lines).as_bytes())
        };
        append("good", &whole_trace("t")).ok();
        append("good", &[event("gone", 7, "TraceFinished", r#"{"outcome":"success"}"#)]);
        daemon.until_current("good");
        for mode in ["rebuild", "replay"] {
            daemon.cli(&[mode, "all", "-t", "good", "--reason", "a trial", "--wait"]).ok();
        }
        append("bad", &whole_trace("t")).ok();
        let sql = daemon.sql();
        // Rows that are not the log's.
        append("served", &whole_trace("t")).ok();
        daemon.until_current("served");
        sql.tamper("UPDATE dg_trace_summary SET title = 'x' WHERE tenant_id = 'served'");
        let trial =
            ["rebuild", "trace_summary", "-t", "served", "--dry-run", "--reason", "a trial"];
        assert_eq!(daemon.cli(&[&trial[..], &["--wait"]].concat()).code, 7);
        sql.hold("good");
        append("good", &[started("u")]).ok();
        let parts = [
            "decisiongraph_projection_retries_total{",
            "decisiongraph_projection_failures_total{",
            "decisiongraph_projection_digest_duration_seconds_count{",
            "decisiongraph_store_errors_total{",
            "decisiongraph_tenants_parked 1",
            // A scrape that meets a connection that was cut knows no lag, or no runs.
            "decisiongraph_projection_lag_seconds{",
            "decisiongraph_replay_runs{",
            "decisiongraph_supervisor_children{",
            "decisiongraph_projection_mismatch_timestamp_seconds{tenant=\"served\"",
        ];
        let told = until("everything has happened", || {
            sql.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'",
            );
            let (status, told) = request(&address, "GET /metrics");
            let has = |part: &&str| told.lines().any(|line| line.starts_with(*part));
            (status == 200 && parts.iter().all(has)).then_some(told)
        });
        sql.release();
        (at_start, told)
    })
}

/// The labels of each series' name, and the values that each of them has.
type Names = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn names(told: &str) -> Names {
    let mut names = Names::new();
    for line in told.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let of = names.entry(name.to_owned()).or_default();
        for label in labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once("=\"").unwrap();
            let value = value.trim_end_matches('"').to_owned();
            of.entry(label.to_owned()).or_default().insert(value);
        }
    }
    names
}

/// What there is to ask for: the daemon's, Prometheus' own, and what rules record.
fn known() -> Names {
    let mut known = names(told());
    // A count mismatch needs a log that was tampered with before a worker reads it: see the tests of
    // projections' metrics.
    let found_by = known.get_mut("decisiongraph_projection_mismatch_timestamp_seconds").unwrap();
    found_by.get_mut("found_by").unwrap().insert("count".to_owned());
    known.extend(OF_SCRAPES.map(|name| (name.to_owned(), BTreeMap::new())));
    for rule in rules().iter().filter(|rule| rule.kind == "record") {
        let labels = Query::of(&rule.fields["expr"]).grouped();
        // A quantile has used up the buckets.
        let labels = labels.into_iter().filter(|label| label != "le");
        known.insert(rule.name.clone(), labels.map(|label| (label, BTreeSet::new())).collect());
    }
    for labels in known.values_mut() {
        labels.entry("job".to_owned()).or_default().insert("decisiongraph".to_owned());
        labels.entry("instance".to_owned()).or_default();
    }
    known
}

#[derive(Debug)]
struct Rule {
    /// `alert` or `record`.
    kind: String,
    name: String,
    fields: BTreeMap<String, String>,
}

/// The rules, read line by line: the file is ours, and `promtool` reads it for real.
fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let (mut key, mut depth) = (String::new(), 0);
    for line in read(RULES).lines() {
        let (text, indent) = (line.trim_start(), line.len() - line.trim_start().len());
        if text.starts_with('#') || text.is_empty() {
            continue;
        }
        if let Some((kind, name)) = text.strip_prefix("- ").and_then(|text| text.split_once(": ")) {
            if kind != "name" {
                let (kind, name) = (kind.to_owned(), name.to_owned());
                rules.push(Rule { kind, name, fields: BTreeMap::new() });
                (key, depth) = (String::new(), indent + 2);
            }
            continue;
        }
        let Some(rule) = rules.last_mut().filter(|_| indent >= depth) else { continue };
        if !key.is_empty() && rule.fields[&key].starts_with('|') && indent > depth {
            let expr = rule.fields.get_mut(&key).unwrap();
            *expr = format!("{expr} {text}");
        } else if let Some((name, value)) = text.split_once(':') {
            key = name.to_owned();
            rule.fields.insert(key.clone(), value.trim().to_owned());
        }
    }
    for rule in &mut rules {
        let expr = rule.fields.get_mut("expr").unwrap();
        *expr = expr.trim_start_matches('|').trim().to_owned();
    }
    rules
}

fn dashboard() -> Json {
    json::parse(&read(DASHBOARD)).unwrap()
}

fn array<'a>(of: &'a Json, name: &str) -> &'a [Json] {
    of.get(name).and_then(Json::as_array).unwrap_or_default()
}

fn text<'a>(of: &'a Json, name: &str) -> &'a str {
    of.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// Panel and expression of each query of the dashboard, those of its variables included.
fn queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = array(&dashboard, "panels").iter().flat_map(|panel| {
        let of = move |target| (text(panel, "title").to_owned(), text(target, "expr").to_owned());
        array(panel, "targets").iter().map(of)
    });
    let variables = array(dashboard.get("templating").unwrap(), "list").iter();
    let variables = variables.filter(|one| text(one, "type") == "query").map(|one| {
        let asked = text(one, "definition");
        let (series, label) =
            asked.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap();
        let expr = format!("count by ({}) ({series})", label.trim_end_matches(')'));
        (text(one, "name").to_owned(), expr)
    });
    panels.chain(variables).collect()
}

#[test]
fn rules_and_dashboard_ask_only_for_what_there_is() {
    let known = known();
    let rules = rules();
    assert!(rules.len() > 15, "{rules:?}");
    let rules = rules.into_iter().map(|rule| (rule.name, rule.fields["expr"].clone()));
    let queries = queries();
    assert!(queries.len() > 30, "{queries:?}");
    for (of, expr) in rules.chain(queries) {
        assert_eq!(Query::of(&expr).problems(&known), [""; 0], "{of}: {expr}");
    }
}

#[test]
fn what_is_misspelt_is_found() {
    let known = names("a{x=\"1\"} 0\nb{y=\"2\"} 0\n");
    let problems = |expr| Query::of(expr).problems(&known);
    for fine in ["sum by (x) (rate(a{x=\"1\"}[5m])) > 0.5", "a and ignoring (x) a", "a{x=~\"$x\"}"]
    {
        assert_eq!(problems(fine), [""; 0], "{fine}");
    }
    for wrong in [
        "c",
        "a{y=\"2\"}",
        "a{x=\"2\"}",
        "sum by (y) (a)",
        "a / on (x) b",
        "a unless on (y) b",
        "histogram_quantil(a)",
    ] {
        assert_eq!(problems(wrong).len(), 1, "{wrong}: {:?}", problems(wrong));
    }
}

#[test]
fn every_alert_says_what_to_do_and_is_tested() {
    let tests = read(RULES_TEST);
    let alerts: Vec<Rule> = rules().into_iter().filter(|rule| rule.kind == "alert").collect();
    let mut seen = BTreeSet::new();
    for Rule { name, fields, .. } in &alerts {
        let field = |key: &str| fields.get(key).map_or("", String::as_str);
        assert!(seen.insert(name), "{name} is there twice");
        assert!(["critical", "warning"].contains(&field("severity")), "{name}: {fields:?}");
        assert!(field("for").ends_with('m'), "{name}: {fields:?}");
        assert!((20..160).contains(&field("summary").len()), "{name}: {fields:?}");
        assert!(field("description").len() > 100, "{name}: {fields:?}");
        assert_eq!(field("runbook_url"), format!("ops/runbooks/{}.md", kebab(name)));
        let fires = format!("{{alertname=\"{name}\", alertstate=\"firing\"}}");
        assert!(tests.contains(&fires), "no test fires {name}");
        // Who is told of a tenant's trouble must not have to look for the tenant.
        if Query::of(field("expr")).labels_of_result(&known()).contains("tenant") {
            for key in ["summary", "description"] {
                assert!(field(key).contains("$labels.tenant"), "{name}: {key}");
            }
        }
    }
}

fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for (place, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && place > 0 {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    assert_eq!(text(&dashboard, "uid"), "decisiongraph");
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in array(&dashboard, "panels") {
        let title = text(panel, "title");
        assert!(ids.insert(panel.get("id").and_then(Json::as_i64).unwrap()), "id of {title}");
        let place = |name| panel.get("gridPos").unwrap().get(name).and_then(Json::as_i64).unwrap();
        assert!(!title.is_empty() && place("x") + place("w") <= 24, "{title}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(places.insert((x, y)), "{title} stands on another panel");
            }
        }
        if text(panel, "type") == "row" {
            continue;
        }
        assert!(["stat", "timeseries"].contains(&text(panel, "type")), "{title} needs a plugin");
        let unit = panel.get("fieldConfig").and_then(|config| config.get("defaults")?.get("unit"));
        assert!(unit.and_then(Json::as_str).is_some(), "{title} has no unit");
        assert!(text(panel, "description").len() > 40, "{title} does not say what to do");
        assert!(!array(panel, "targets").is_empty(), "{title} asks nothing");
        for target in array(panel, "targets").iter().chain([panel]) {
            let source = target.get("datasource").map_or("", |source| text(source, "uid"));
            assert_eq!(source, "${datasource}", "{title}");
        }
    }
}

#[test]
fn the_scrape_configuration_finds_a_daemon_with_default_settings() {
    let config = run(&["config", "-o", "json"], b"").ok().json();
    let address = config.get("metrics_listen").map(|one| text(one, "value")).unwrap();
    assert!(read(CONFIG).contains(&format!("targets: [\"{address}\"]")), "{address}");
    assert!(read(CONFIG).contains("job_name: decisiongraph\n"));
}

/// Runs promtool among the files of Prometheus; nothing when it is not installed.
fn promtool(arguments: &[&str], input: &str) -> Option<()> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(ops("prometheus")).stdin(Stdio::piped());
    let Ok(mut process) = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() else {
        skip("promtool is not installed (Debian: prometheus)");
        return None;
    };
    // One that has read enough hangs up, and says why by its code.
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    let output = process.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    assert!(output.status.success(), "{arguments:?}: {said:?}");
    Some(())
}

#[test]
fn promtool_accepts_configuration_and_rules_and_each_alert_does_as_tested() {
    let file = |name: &str| ops(name).file_name().unwrap().to_str().unwrap().to_owned();
    let (rules, tests, config) = (file(RULES), file(RULES_TEST), file(CONFIG));
    let lint = ["check", "rules", "--lint=all", "--lint-fatal", &rules];
    if promtool(&lint, "").is_some() {
        promtool(&["check", "config", &config], "");
        promtool(&["test", "rules", &tests], "");
    }
}

#[test]
fn promtool_reads_every_query_of_the_dashboard() {
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (place, (_, expr)) in queries().iter().enumerate() {
        let expr = expr.replace("$__rate_interval", "1m");
        rules += &format!("      - record: query_{place}\n        expr: '{expr}'\n");
    }
    let directory = Directory::new();
    let file = directory.file("dashboard.yml", rules);
    promtool(&["check", "rules", file.to_str().unwrap()], "");
}

/// Without their values.
fn series(told: &str) -> BTreeSet<&str> {
    let lines = told.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

#[test]
fn every_counter_is_there_before_its_first_event() {
    let (at_start, later) = start_and_later();
    let [before, after] = [at_start, later].map(|told| series(told));
    let moves = |series: &str| {
        let name = series.split('{').next().unwrap();
        ["_total", "_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end))
    };
    // A tenant is not known before, and which of its answers a client gets used to is its own affair.
    let begins = |series: &str| {
        series.contains("tenant=") || series.starts_with("decisiongraph_admin_requests_total{")
    };
    let new: Vec<_> =
        after.difference(&before).filter(|series| moves(series) && !begins(series)).collect();
    assert!(new.is_empty(), "{new:#?}");
    assert!(before.len() < 1500, "{} series before anything has happened", before.len());
}

#[test]
fn every_metric_has_a_meaning_that_names_its_unit() {
    for line in told().lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        let help = told().lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        let help = help.unwrap_or_else(|| panic!("{name} has no meaning")).to_lowercase();
        for (part, unit) in [("_seconds", "second"), ("_bytes", "in bytes"), ("_timestamp", "unix")]
        {
            assert!(!name.contains(part) || help.contains(unit), "{name}: {help}");
        }
    }
    let helps = told().lines().filter(|line| line.starts_with("# HELP ")).count();
    assert_eq!(helps, told().lines().filter(|line| line.starts_with("# TYPE ")).count());
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics_of_a_daemon() {
    promtool(&["check", "metrics"], told());
}
