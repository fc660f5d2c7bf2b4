//! `top` on a real terminal before a real daemon: what it shows in each state, and how it ends.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_tests::events::{joined, started, whole_trace};
use dg_tests::{Daemon, Postgres, Stage, Terminal, Where, run};
use nix::sys::signal::Signal;

const SIZE: (u16, u16) = (80, 24);

fn top(daemon: &Daemon, more: &[&str], env: &[(&str, &str)]) -> Terminal {
    let socket = daemon.socket();
    let arguments = [&["top", "--socket", socket.to_str().unwrap()], more].concat();
    Terminal::run(&arguments, SIZE, env)
}

fn append(daemon: &Daemon, tenant: &str, lines: &[String]) {
    daemon.cli_with(&["append", "-", "-t", tenant], joined(lines).as_bytes()).ok();
}

/// A rebuild that another daemon is at.
const REBUILD: &str = "INSERT INTO dg_projection_runs (tenant_id, run_id, projection_name, mode,
        status, phase, reason, requested_by, requested_at, started_at, processed_events,
        last_log_seq, total_events, owner, seen_at, work_ms)
    VALUES ('calm', '00000000-0000-4000-8000-000000000001', 'trace_summary', 'rebuild', 'running',
        'building', 'made by hand', 'uid 7', now(), now(), 1500, 6, 6000, 'elsewhere:1',
        now() + interval '1 h', 500)";

/// What may succeed when it is tried again.
const REFUSES: &str = "CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE serialization_failure; END';
    CREATE TRIGGER refuses BEFORE UPDATE ON dg_projection_cursors FOR EACH ROW
        EXECUTE FUNCTION refuses()";

#[test]
fn each_state_of_the_daemon_is_seen_and_top_outlives_it() {
    let mut postgres = Postgres::start();
    let url = format!("postgres://decisiongraph@{}/postgres?sslmode=disable", postgres.address());
    let patient = ["--projection-retry-base-ms=600000", "--projection-retry-max-ms=600000"];
    let mut daemon = Daemon::start(Where::Url(url), &patient);
    let mut top = top(&daemon, &[], &[]);
    top.until_shows(&["database up", "none at work", "no tenant has an event yet", "Tab list"]);

    append(&daemon, "calm", &whole_trace("a"));
    append(&daemon, "held", &whole_trace("a"));
    daemon.until_current("calm");
    daemon.until_current("held");
    top.until_shows(&["6 idle", "calm                   current"]);

    // Busy: the events are there, and nobody can apply them.
    let sql = daemon.sql();
    sql.hold("held");
    append(&daemon, "held", &[started("b"), started("c")]);
    let screen = top.until_shows(&["held                   behind            2", "3 catching_up"]);
    let places = ["held ", "calm "].map(|tenant| screen.find(tenant).unwrap());
    assert!(places.is_sorted(), "the most lagging is not the first:\n{screen}");

    let own = daemon.sql();
    sql.release();
    daemon.until_current("held");
    own.rows(REFUSES);
    append(&daemon, "held", &[started("d"), started("e")]);
    top.until_shows(&["3 retrying"]);
    top.press("2");
    top.until_shows(&["held               context_graph     retrying", "LAST ERROR"]);
    top.press("\r");
    top.until_shows(&[
        "next retry",
        " UTC, in ",
        "after mending: `decisiongraph retry context_graph -t held`",
    ]);
    top.press("\x1b");
    top.until_shows(&["LAST ERROR"]);
    // The daemon is away: the picture stays, and says that it is old.
    daemon.kill();
    top.until_shows(&["DAEMON AWAY since", "trying", "held "]);
    own.rows("DROP TRIGGER refuses ON dg_projection_cursors");
    own.tamper("DELETE FROM dg_event_log WHERE tenant_id = 'held' AND log_seq = 9");
    daemon.restart();
    top.until_shows(&["3 failed", "Failures 3"]);
    assert!(!top.screen().contains("DAEMON AWAY"), "{top:?}");
    top.press("4");
    top.until_shows(&["held           context_graph", "internal", " ago"]);

    own.rows(REBUILD);
    top.press("3");
    top.until_shows(&[
        "Runs 1 active",
        "calm        rebuild trace_summary",
        "running",
        "█░░░░░ 25 %",
    ]);
    top.press("\r");
    top.until_shows(&["running: building", "1,500 of 6,000 events (25 %)", "made by hand"]);
    top.press("\x1b");

    postgres.stop();
    top.until_shows(&["DATABASE AWAY since", "lists of ", "calm        rebuild trace_summary"]);
    postgres.start_again();
    top.until_shows(&["database up"]);
    top.press("q");
    assert_eq!(top.wait(), 0);
    top.until_restored();
}

#[test]
fn keys_choose_sort_filter_and_pause() {
    let stage = Stage::new(&[]);
    for tenant in ["acme", "borg", "cyberdyne"] {
        append(&stage.daemon, tenant, &whole_trace("a"));
        stage.daemon.until_current(tenant);
    }
    let mut top = top(&stage.daemon, &[], &[]);
    top.until_shows(&["acme ", "borg ", "cyberdyne "]);
    top.press("jj\r");
    top.until_shows(&["`decisiongraph health -t cyberdyne` says more"]);
    top.press("\x1b");
    top.until_shows(&["TENANT", "sort: lag"]);
    top.press("ss");
    top.until_shows(&["sort: name"]);
    top.press("/bor\r");
    let screen = top.until_shows(&["borg ", "/bor (Esc: all)"]);
    assert!(!screen.contains("acme"), "{screen}");
    top.press("\x1b");
    top.until_shows(&["acme ", "/ filter"]);
    top.press("?");
    top.until_shows(&["the next list: tenants, workers, runs, failures"]);
    top.press(" p");
    top.until_shows(&["acme ", "PAUSED at"]);
    top.resize((40, 10));
    top.until_shows(&["needs 60 x 14"]);
    top.resize((200, 60));
    top.until_shows(&["PAUSED at", "cyberdyne "]);
    top.press("\x03");
    assert_eq!(top.wait(), 0);
    top.until_restored();
}

#[test]
fn a_signal_and_a_closed_terminal_end_it_in_order() {
    let stage = Stage::new(&[]);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut top = top(&stage.daemon, &[], &[]);
        top.until_shows(&["database up"]);
        assert!(!top.is_restored());
        top.signal(signal);
        assert_eq!(top.wait(), 0, "{signal}");
        top.until_restored();
    }
}

#[test]
fn without_colours_none_is_written_and_states_are_words() {
    let stage = Stage::new(&[]);
    append(&stage.daemon, "acme", &whole_trace("a"));
    stage.daemon.until_current("acme");
    for (more, env) in [(&["--no-color"][..], &[][..]), (&[], &[("NO_COLOR", "1")])] {
        let plain = top(&stage.daemon, more, env);
        plain.until_shows(&["3 idle", "current"]);
        let written = plain.written();
        let is_coloured = ["[38;", "[48;"].iter().any(|code| written.contains(code));
        assert!(!is_coloured, "{written:?}");
    }
    let coloured = top(&stage.daemon, &[], &[]);
    coloured.until_shows(&["3 idle"]);
    let written = coloured.written();
    assert!(written.contains("[38;5;") && !written.contains("[48;"), "{written:?}");
}

#[test]
fn it_says_what_to_do_where_it_cannot_draw_or_ask() {
    let stage = Stage::new(&[]);
    let answer = stage.daemon.cli(&["top"]);
    assert_eq!((answer.code, &*answer.stdout), (2, ""), "{answer:?}");
    assert!(answer.stderr.contains("\nhelp: "), "{answer:?}");
    let mut alone = Terminal::run(&["top", "--socket", "/nonexistent/socket"], SIZE, &[]);
    assert_eq!(alone.wait(), 69);
    alone.until_shows(&["error: storage: daemon not reachable", "help: "]);
    assert!(alone.is_restored());
    assert_eq!(run(&["top", "--help"], b"").code, 0);
}
