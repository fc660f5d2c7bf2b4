//! Held against what was recorded: a ratio far below it, and nothing else, is a failure.
//!
//! The recorded file is what `bench --json` prints. Ratios of the same build on another machine differ
//! by a half, and a short run adds noise: a third of what is recorded is far below in any hour.

use dg_projections::json::Json;

use super::Figure;

/// What part of the recorded ratio is still no finding.
const PART: f64 = 1.0 / 3.0;

/// What has become far slower than it was recorded, in words. A figure that was not recorded has no
/// say; one that is recorded and could not be had is the run's own failure.
pub(crate) fn below(figures: &[Figure], recorded: &Json) -> Vec<String> {
    let recorded = recorded.as_array().unwrap_or_default();
    let ratio_of = |name: &str| {
        let is_it = |one: &&Json| one.get("name").and_then(Json::as_str) == Some(name);
        recorded.iter().find(is_it)?.get("ratio")?.as_f64()
    };
    let finding = |figure: &Figure| {
        let (now, then) = (figure.sample().ratio()?, ratio_of(figure.name())?);
        let name = figure.name();
        (now < then * PART).then(|| format!("{name}: ratio {now:.3}, recorded {then:.3}"))
    };
    figures.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Sample;
    use dg_projections::json;
    use std::time::Duration;

    fn figure(name: &str, floor_ms: u64) -> Figure {
        let floor = Some(Duration::from_millis(floor_ms));
        let took = Duration::from_secs(1);
        Figure::median(name, vec![Sample { events: 1, took, floor, ..Sample::default() }])
    }

    #[test]
    fn only_what_is_far_below_is_told() {
        let recorded = json::parse(r#"[{"name":"read","ratio":0.6},{"name":"lag","ratio":null}]"#);
        let recorded = recorded.unwrap();
        for (name, floor_ms, told) in
            [("read", 900, 0), ("read", 210, 0), ("read", 190, 1), ("lag", 1, 0), ("new", 1, 0)]
        {
            let found = below(&[figure(name, floor_ms)], &recorded);
            assert_eq!(found.len(), told, "{name} {floor_ms}: {found:?}");
        }
    }
}
