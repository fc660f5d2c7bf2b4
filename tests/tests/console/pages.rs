//! What the pages show, and what they do not.

use dg_tests::http::WATCHED;
use dg_tests::{Daemon, Postgres, Where, until};

use crate::{HOSTILE, append, encoded, page, rebuild, stage};

#[track_caller]
fn shows(daemon: &Daemon, path: &str, parts: &[&str]) -> String {
    let answer = page(daemon, path);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    for part in parts {
        assert!(answer.body.contains(part), "{path} does not show {part}:\n{}", answer.body);
    }
    answer.body
}

#[test]
fn each_page_shows_what_it_is_about() {
    let stage = stage(&[]);
    let daemon = &stage.daemon;
    shows(daemon, "/console", &["No tenant has events yet.", "No run yet.", "None at work"]);
    append(daemon, "acme", "deal-1");
    let run = rebuild(daemon, "acme");
    let overview =
        ["Appended", "Projected", "Visible after", "/console/tenant?name=acme", &run[..8], "idle"];
    shows(daemon, "/console", &overview);
    shows(daemon, "/console/tenants?prefix=ac", &["/console/tenant?name=acme", "<div>6</div>"]);
    shows(daemon, "/console/tenants?prefix=b", &["There is none."]);
    let tenant =
        ["context_graph/0", "sha256:", "About deal-1", "TraceFinished", "success", "completed"];
    shows(daemon, "/console/tenant?name=acme", &tenant);
    let trace = [
        "About deal-1",
        "ExceptionRequested",
        "<svg class=\"graph\"",
        "approved by",
        "exception:ex-deal-1",
        "policy:limit:1",
        "actor:person:ann",
    ];
    shows(daemon, "/console/trace?tenant=acme&id=deal-1", &trace);
    shows(
        daemon,
        &format!("/console/run?id={run}"),
        &["to be looked at", "equal", "trace_summary"],
    );
}

#[test]
fn what_is_not_there_is_said_to_be_not_there() {
    let stage = stage(&[]);
    append(&stage.daemon, "acme", "deal-1");
    for (path, status, words) in [
        ("/console/nothing", 404, "There is no such page"),
        ("/console/tenant?name=nobody", 404, "No tenant of this name has events."),
        ("/console/trace?tenant=acme&id=none", 404, "No trace of this name"),
        ("/console/run?id=7", 404, "There is no run 7."),
        ("/console/tenant", 400, "parameter &#39;name&#39; is missing"),
        ("/console/tenant?name=%00", 400, "NUL"),
        ("/console/live?page=/console/nothing", 404, "There is no such page"),
    ] {
        let answer = page(&stage.daemon, path);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body.contains(words), "{path}: {}", answer.body);
    }
}

#[test]
fn payloads_are_hidden_until_they_are_switched_on() {
    let secret = "good customer";
    let path = "/console/trace?tenant=acme&id=deal-1";
    let hiding = stage(&[]);
    append(&hiding.daemon, "acme", "deal-1");
    let body = shows(&hiding.daemon, path, &["Payloads are not shown"]);
    assert!(!body.contains(secret), "{body}");
    let showing = stage(&["--console-payloads", "true"]);
    append(&showing.daemon, "acme", "deal-1");
    shows(&showing.daemon, path, &[secret]);
}

#[test]
fn a_hostile_name_is_only_a_name() {
    let stage = stage(&[]);
    append(&stage.daemon, HOSTILE, HOSTILE_TRACE);
    let run = rebuild(&stage.daemon, HOSTILE);
    let name = encoded(HOSTILE);
    for path in [
        "/console".to_owned(),
        "/console/tenants".to_owned(),
        format!("/console/tenants?prefix={name}"),
        format!("/console/tenant?name={name}"),
        format!("/console/trace?tenant={name}&id={}", encoded(HOSTILE_TRACE)),
        format!("/console/run?id={run}"),
    ] {
        let body = shows(&stage.daemon, &path, &["&lt;script&gt;alert(1)&lt;/script&gt;"]);
        assert_eq!(body.matches("<script").count(), 1, "{path} has its own alone: {body}");
        assert!(!body.contains("<img"), "{path}: {body}");
    }
    let wrong = page(&stage.daemon, &format!("/console/run?id={name}"));
    assert!(wrong.status == 404 && !wrong.body.contains("alert(1)<"), "{wrong:?}");
}

/// Breaks JSON that is pasted together, if anything does.
const HOSTILE_TRACE: &str = "<img src=x onerror=alert(2)>'&lt;";

#[test]
fn pages_go_on_while_the_database_is_away() {
    let mut postgres = Postgres::start();
    let url = format!("postgres://decisiongraph@{}/postgres?sslmode=disable", postgres.address());
    let flags = [&WATCHED[..], &["--console", "true"]].concat();
    let daemon = Daemon::start(Where::Url(url), &flags);
    append(&daemon, "acme", "deal-1");
    let paths = ["/console", "/console/tenant?name=acme", "/console/trace?tenant=acme&id=deal-1"];
    postgres.stop();
    for path in paths {
        until("the page tells of the outage", || {
            let answer = page(&daemon, path);
            assert_eq!(answer.status, 200, "{answer:?}");
            let is_told = answer.body.contains("The database is away");
            (is_told && answer.body.contains("Not known now")).then_some(())
        });
    }
    postgres.start_again();
    for path in paths {
        until("the page is whole again", || {
            let answer = page(&daemon, path);
            (!answer.body.contains("Not known now")).then_some(())
        });
    }
}

#[test]
fn a_daemon_without_a_database_says_that_it_is_starting() {
    let flags = [&WATCHED[..], &["--console", "true"]].concat();
    let mut daemon = Daemon::new(Where::Url("postgres://x@127.0.0.1:1/x".to_owned()), &flags, "");
    daemon.spawn();
    for path in ["/console", "/console/tenant?name=acme", "/console/run?id=7"] {
        shows(&daemon, path, &["The daemon is starting", "Not known now"]);
    }
}
