//! The benchmark measures what it says, in databases of its own.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::json::Json;
use dg_tests::{Database, Sql, run};

#[test]
fn each_figure_stands_beside_its_floor_and_nothing_is_left() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::empty());
    let url = database.url();
    let effort = ["--traces", "80", "--rounds", "1", "--seconds", "1"];
    let arguments = [&["bench", "all", "--json"][..], &effort].concat();
    let answer = run(&[&arguments[..], &["--database-url", &url]].concat(), b"").ok();
    let figures = answer.json();
    let names: Vec<_> = figures.as_array().unwrap().iter().map(|one| text(one, "name")).collect();
    assert_eq!(
        names,
        [
            "append_single",
            "append_concurrent_1_tenant",
            "append_concurrent_64_tenants",
            "import",
            "import_live",
            "read",
            "export",
            "project",
            "rebuild",
            "rebuild_beside_500",
            "lag_500_beside_rebuild",
            "lag_200",
            "lag_1000",
            "lag_200_beside_import"
        ]
    );
    for (figure, events) in
        figures.as_array().unwrap().iter().zip([8, 512, 512, 640, 640, 640, 640, 640, 640])
    {
        assert_eq!(figure.get("events").and_then(Json::as_i64), Some(events), "{figure:?}");
        let number = |field| figure.get(field).and_then(Json::as_f64).unwrap();
        assert!(number("events_per_second") > 0.0, "{figure:?}");
        if text(figure, "name").starts_with("lag") {
            assert!(number("p50_ms") > 0.0 && number("p99_ms") >= number("p50_ms"), "{figure:?}");
        } else {
            let ratio = number("events_per_second") / number("floor_events_per_second");
            assert!((number("ratio") - ratio).abs() < 0.01 + ratio / 50.0, "{figure:?}");
        }
        assert!(number("peak_rss_mb") > 1.0, "{figure:?}");
        assert_eq!(text(figure.get("settings").unwrap(), "fsync"), "on");
    }
    let config: tokio_postgres::Config = url.parse().unwrap();
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'dg\\_bench\\_%'";
    assert_eq!(Sql::connect(&config).one(left), "0");
}

fn text(value: &Json, field: &str) -> String {
    value.get(field).and_then(Json::as_str).unwrap_or_default().to_owned()
}
