//! Replays and rebuilds as operators and scripts meet them: commands, the socket, refusals, exit codes.
//!
//! No daemon takes up a run here: each stays where the test has put it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod admission;
mod shown;
mod socket;
mod waiting;

use dg_projections::json::Json;
use dg_tests::events::{joined, whole_trace};
use dg_tests::{Answer, Sql, Stage};

const NOBODY_TAKES_RUNS_UP: &str =
    "CREATE FUNCTION nobody() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER nobody BEFORE UPDATE ON dg_projection_runs FOR EACH ROW
        WHEN (OLD.status = 'queued' AND NEW.status = 'running') EXECUTE FUNCTION nobody()";

/// A daemon with six events of each of two tenants, at which every run stays queued.
fn held() -> (Stage, Sql) {
    let stage = Stage::new(&[]);
    let sql = stage.daemon.sql();
    sql.rows(NOBODY_TAKES_RUNS_UP);
    stage.import(&whole_trace("a"));
    let other = joined(&whole_trace("b"));
    stage.daemon.cli_with(&["import", "-", "-t", "other"], other.as_bytes()).ok();
    (stage, sql)
}

/// The identifier of a run that is made by hand.
fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// A completed rebuild of a tenant's trace summaries, with a step, and then with these values.
fn make(sql: &Sql, number: u32, values: &str) {
    let id = id(number);
    sql.rows(&format!(
        "INSERT INTO dg_projection_runs (tenant_id, run_id, projection_name, mode, status, reason,
            requested_by, requested_at, started_at, finished_at, processed_events, last_log_seq,
            total_events, owner, seen_at, work_ms)
        VALUES ('default', '{id}', 'trace_summary', 'rebuild', 'completed', 'made by hand', 'uid 7',
            now() - interval '{number} h', now() - interval '{number} h',
            now() - interval '{number} h' + interval '75 s', 1500, 6, 6000, 'elsewhere:1', now(), 500);
        INSERT INTO dg_projection_run_steps (tenant_id, run_id, projection_name, step, generation,
            processed_events, last_log_seq)
        VALUES ('default', '{id}', 'trace_summary', 0, 2, 1500, 6);
        UPDATE dg_projection_runs SET {values} WHERE run_id = '{id}'"
    ));
}

/// Another daemon is at it, and will be for as long as the test takes.
const RUNNING: &str = "status = 'running', phase = 'building', finished_at = NULL,
    seen_at = now() + interval '1 h'";
const FAILED: &str =
    "status = 'failed', error_code = 'schema_violation', error_message = 'no title'";
const CANCELLED: &str = "status = 'cancelled'";
const INTERRUPTED: &str = "status = 'interrupted', finished_at = NULL";

/// What the comparison of a run that was made by hand has found.
fn compared(sql: &Sql, number: u32, difference: &str) {
    let id = id(number);
    sql.rows(&format!(
        "UPDATE dg_projection_run_steps SET compared_log_seq = 6, digest = sha256('a'),
            digest_before = sha256('b'), difference = {difference} WHERE run_id = '{id}'"
    ));
}

const DIFFERENCE: &str = r#"'{"table":"dg_trace_summary","key":"a","field":"title","expected":"x","found":"y","log_seq":1,"event_id":"a.0"}'"#;
const IN_WORDS: &str =
    "dg_trace_summary 'a' field title: expected 'x', found 'y' (event a.0, log_seq 1)";

#[track_caller]
fn started(stage: &Stage, arguments: &[&str]) -> String {
    let answer = stage.daemon.cli(&[arguments, &["--reason", "because"]].concat()).ok();
    answer.stdout.trim().to_owned()
}

fn member<'a>(value: &'a Json, name: &str) -> &'a Json {
    value.get(name).unwrap_or_else(|| panic!("no {name} in {value:?}"))
}

fn word(value: &Json, name: &str) -> String {
    member(value, name).as_str().unwrap_or_else(|| panic!("{name} of {value:?}")).to_owned()
}

#[track_caller]
fn shown(stage: &Stage, run: &str) -> Json {
    stage.daemon.cli(&["run", run, "-o", "json"]).ok().json()
}

#[track_caller]
fn refused(answer: &Answer, code: i32, start: &str) {
    assert_eq!((answer.code, &*answer.stdout), (code, ""), "{answer:?}");
    assert!(answer.stderr.starts_with(&format!("error: {start}")), "{answer:?}");
}
