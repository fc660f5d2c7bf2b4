//! A daemon that dies in the middle of an import: nothing lost, nothing doubled, nothing ahead.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::thread::JoinHandle;

use dg_projections::json::{self, Json, canonical};
use dg_tests::events::{generated, joined};
use dg_tests::{Answer, Daemon, Sql, Stage, Where, run, until};

/// Cursors that claim what the log does not have: in one snapshot, whatever is going on.
const AHEAD: &str =
    "SELECT count(*) FROM (SELECT tenant_id, projection_name, max(last_log_seq) AS foremost,
            sum(applied_events) AS applied
        FROM dg_projection_cursors GROUP BY tenant_id, projection_name) AS c
    LEFT JOIN dg_tenant_heads AS h USING (tenant_id)
    WHERE c.foremost > coalesce(h.last_log_seq, 0) OR c.applied > coalesce(h.event_count, 0)
       OR c.applied <> (SELECT count(*) FROM dg_event_log AS l
            JOIN dg_projection_cursors AS p ON l.log_seq <= p.last_log_seq
                AND get_byte(sha256(convert_to(l.trace_id, 'UTF8')), 0) % p.partitions = p.partition
            WHERE l.tenant_id = c.tenant_id AND p.tenant_id = c.tenant_id
              AND p.projection_name = c.projection_name)";

const COUNT: &str = "SELECT count(*) FROM dg_event_log";

fn number(sql: &Sql, query: &str) -> usize {
    sql.one(query).parse().unwrap()
}

/// An import beside the test.
fn import(daemon: &Daemon, file: &Path) -> JoinHandle<Answer> {
    let (socket, file) = (daemon.socket(), file.to_owned());
    std::thread::spawn(move || {
        let arguments = [Path::new("import"), &file, Path::new("--socket"), &socket];
        run(&arguments.map(Path::as_os_str), b"")
    })
}

/// What identifies an event and what it says.
fn essence(line: &str) -> (String, String) {
    let event = json::parse(line).unwrap();
    let id = event.get("event_id").and_then(Json::as_str).unwrap().to_owned();
    (id, canonical(event.get("payload").unwrap()))
}

/// Kills the daemon during an import whenever the log has passed one of these lengths, and holds
/// what is there in the end against what was sent.
fn survive(daemon: &mut Daemon, sent: &[String], kills: &[usize]) {
    let file = daemon.directory().file("log.jsonl", joined(sent));
    for kill_at in kills {
        let sql = daemon.sql();
        let importing = import(daemon, &file);
        until("the import has come so far", || {
            assert_eq!(number(&sql, AHEAD), 0, "a cursor ran ahead");
            (number(&sql, COUNT) >= *kill_at).then_some(())
        });
        daemon.kill();
        let answer = importing.join().unwrap();
        assert!([0, 69].contains(&answer.code), "{answer:?}");
        if answer.code == 69 {
            assert!(answer.stderr.contains("error: storage: "), "{answer:?}");
            assert!(answer.stderr.contains("help: "), "{answer:?}");
        }
        daemon.restart();
        assert_eq!(number(&daemon.sql(), AHEAD), 0, "a cursor ran ahead of what survived");
    }
    import(daemon, &file).join().unwrap().ok();
    daemon.until_current("default");
    let exported = daemon.cli(&["export"]).ok().stdout;
    let got: Vec<_> = exported.lines().map(essence).collect();
    let expected: Vec<_> = sent.iter().map(|line| essence(line)).collect();
    assert!(got == expected, "{} events came out of {} sent", got.len(), expected.len());
    let proof = daemon.direct(&["verify", "-o", "json"]).ok().json();
    assert_eq!(proof.get("events").and_then(Json::as_i64), Some(sent.len() as i64));
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

#[test]
fn an_import_survives_kills_at_any_moment() {
    let mut stage = Stage::new(&["--projection-batch-size", "300"]);
    let sent = generated(700, 1);
    // Spread over the import by a seed, so that each run of a seed kills at the same lengths.
    let mut seed = 20_260_504_u64;
    let mut kills: Vec<usize> = (0..4)
        .map(|_| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            1 + (seed >> 33) as usize % (sent.len() - 1)
        })
        .collect();
    kills.sort_unstable();
    survive(&mut stage.daemon, &sent, &kills);
}

#[test]
fn an_import_into_an_embedded_cluster_survives_a_kill_of_the_daemon() {
    let mut daemon = Daemon::start(Where::Embedded, &[]);
    survive(&mut daemon, &generated(400, 1), &[1_000]);
}

#[test]
fn an_import_into_an_embedded_cluster_survives_a_kill_of_daemon_and_database() {
    let mut daemon = Daemon::start(Where::Embedded, &[]);
    let sent = generated(400, 1);
    let file = daemon.directory().file("log.jsonl", joined(&sent));
    let sql = daemon.sql();
    let importing = import(&daemon, &file);
    until("the import has begun", || (number(&sql, COUNT) >= 1_000).then_some(()));
    daemon.kill_database();
    daemon.kill();
    drop(importing.join());
    daemon.restart();
    survive(&mut daemon, &sent, &[]);
}

#[test]
fn projections_that_were_killed_far_behind_catch_up_to_the_same_rows() {
    let mut stage = Stage::new(&["--projection-batch-size=50", "--projection-partitions=3"]);
    let sent = generated(300, 1);
    let file = stage.daemon.directory().file("log.jsonl", joined(&sent));
    import(&stage.daemon, &file).join().unwrap().ok();
    let sql = stage.daemon.sql();
    let cursors = "SELECT coalesce(min(last_log_seq), 0) FROM dg_projection_cursors";
    let mut last = 0;
    for _ in 0..5 {
        until("the projections have moved on", || {
            let at = number(&sql, cursors);
            (at > last || at == sent.len()).then(|| last = at)
        });
        stage.daemon.kill();
        assert!(number(&sql, cursors) >= last, "a cursor moved back");
        stage.daemon.restart();
        assert_eq!(number(&sql, AHEAD), 0);
    }
    survive(&mut stage.daemon, &sent, &[]);
}
