//! What live views are given.

use dg_projections::json::Json;
use dg_tests::{Daemon, Postgres, Stage, Where, events, until};

use crate::http::{get, post_lines};

fn number(value: &Json, name: &str) -> f64 {
    let found = value.get(name).and_then(Json::as_f64);
    found.unwrap_or_else(|| panic!("{name} in {value:?}"))
}

fn word<'a>(value: &'a Json, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Json::as_str)
}

fn list(daemon: &Daemon, target: &str) -> Vec<Json> {
    get(daemon, target).data().as_array().unwrap().to_vec()
}

#[test]
fn what_is_appended_and_applied_is_in_the_samples_of_its_seconds() {
    let stage = Stage::new(&[]);
    let events = events::whole_trace("t1");
    stage.import(&events);
    let sum = |samples: &[Json], name: &str| -> f64 {
        samples.iter().map(|sample| number(sample, name)).sum()
    };
    // Steps are about a second each, so rates and seconds sum up to about what was done.
    let told = events.len() as f64;
    let samples = until("it is in the samples", || {
        let samples = list(&stage.daemon, "/v1/history?limit=600");
        (sum(&samples, "applied_per_second") > 0.5 * 3.0 * told).then_some(samples)
    });
    assert!(sum(&samples, "appended_per_second") > 0.5 * told, "{samples:?}");
    assert!(sum(&samples, "visible_seconds") > 0.0, "{samples:?}");
    assert!(samples.iter().all(|sample| word(sample, "database") == Some("up")), "{samples:?}");
    let ats: Vec<_> = samples.iter().map(|sample| word(sample, "at").unwrap()).collect();
    assert!(ats.is_sorted(), "{ats:?}");
    assert_eq!(list(&stage.daemon, "/v1/history?limit=1").len(), 1);
}

#[test]
fn samples_go_on_while_the_database_is_away() {
    let mut postgres = Postgres::start();
    let url = format!("postgres://decisiongraph@{}/postgres?sslmode=disable", postgres.address());
    let daemon = Daemon::start(Where::Url(url), &[]);
    postgres.stop();
    until("a sample of the outage", || {
        let last = list(&daemon, "/v1/history?limit=1");
        (word(last.first()?, "database") == Some("down")).then_some(())
    });
    let lag = get(&daemon, "/v1/lag");
    assert_eq!((lag.status, &*lag.error().0), (503, "storage"));
}

#[test]
fn the_most_lagging_are_told_one_by_one_and_the_others_as_one() {
    let stage = Stage::new(&[]);
    let of = |tenant: &str, trace: &str| {
        events::started(trace).replacen('{', &format!(r#"{{"tenant_id":"{tenant}","#), 1)
    };
    let append = |lines: &[String]| {
        let reply = post_lines(&stage.daemon, "/v1/events", &events::joined(lines));
        assert_eq!(reply.status, 200, "{reply:?}");
    };
    append(&[of("calm", "t1"), of("held", "t1"), of("quiet", "t1")]);
    for tenant in ["calm", "held", "quiet"] {
        stage.daemon.until_current(tenant);
    }
    let sql = stage.daemon.sql();
    sql.hold("held");
    append(&[of("held", "t2"), of("held", "t3")]);
    let lags = list(&stage.daemon, "/v1/lag?limit=1");
    let told =
        |lag: &Json| (word(lag, "tenant_id").map(str::to_owned), number(lag, "pending_events"));
    let held = (Some("held".to_owned()), 2.0);
    let others = (None, 0.0);
    let wanted = [vec![held; 3], vec![others; 3]].concat();
    assert_eq!(lags.iter().map(told).collect::<Vec<_>>(), wanted, "{lags:?}");
    assert!(number(&lags[0], "lag_seconds") > 0.0, "{lags:?}");
    sql.release();
    stage.daemon.until_current("held");
    let lags = list(&stage.daemon, "/v1/lag");
    assert_eq!(lags.len(), 9, "{lags:?}");
    assert!(lags.iter().all(|lag| number(lag, "pending_events") == 0.0), "{lags:?}");
}
