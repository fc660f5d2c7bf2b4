//! Replays and rebuilds as operators and scripts meet them: commands, the socket, refusals, exit codes.
//!
//! No daemon takes up a run here: each stays where the test has put it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use dg_projections::json::{self, Json};
use dg_tests::events::{joined, whole_trace};
use dg_tests::{Answer, Sql, Stage, spawn, until};

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
const COMPLETED: &str = "status = 'completed', phase = NULL, finished_at = now()";
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

#[test]
fn a_run_that_is_started_prints_its_identifier_alone() {
    let (stage, _sql) = held();
    let answer = stage.daemon.cli(&["rebuild", "all", "--reason", "because"]).ok();
    let run = answer.stdout.strip_suffix('\n').unwrap();
    assert!(run.len() == 36 && run.chars().all(|c| c.is_ascii_hexdigit() || c == '-'), "{run}");
    assert_eq!(answer.stderr, format!("`decisiongraph run {run} --wait` follows it\n"));
    assert_eq!(word(&shown(&stage, run), "status"), "queued");
    // For programs it is the whole run.
    let replay = ["replay", "all", "--reason", "because", "-t", "other", "-o", "json"];
    let answer = stage.daemon.cli(&replay).ok();
    assert_eq!((word(&answer.json(), "mode"), &*answer.stderr), ("replay".to_owned(), ""));
}

#[test]
fn a_run_has_the_members_of_the_contract() {
    let (stage, sql) = held();
    make(&sql, 1, "until_log_seq = 6");
    compared(&sql, 1, DIFFERENCE);
    let run = shown(&stage, &id(1));
    let mut names: Vec<&str> = "run_id tenant_id projection_name mode status reason requested_at
        started_at finished_at since_log_seq until_log_seq processed_events last_log_seq total_events
        events_per_second eta_seconds phase error_code error_message dry_run requested_by owner
        is_equal difference steps"
        .split_whitespace()
        .collect();
    names.sort_unstable();
    let found: Vec<&str> = run.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, names);
    assert_eq!(member(&run, "events_per_second"), &Json::Number("3000.000".into()));
    assert_eq!(member(&run, "eta_seconds"), &Json::Null);
    assert_eq!(member(&run, "is_equal"), &Json::Bool(false));
    assert_eq!(word(member(&run, "difference"), "field"), "title");
    let step = &member(&run, "steps").as_array().unwrap()[0];
    let mut names: Vec<&str> = "projection_name generation processed_events last_log_seq
        compared_log_seq digest digest_before difference not_compared switched_at switch_ms finished_at"
        .split_whitespace()
        .collect();
    names.sort_unstable();
    let found: Vec<&str> = step.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, names);
    assert!(word(step, "digest").starts_with("sha256:ca978112ca1bbdca"), "{step:?}");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_code() {
    let (stage, _sql) = held();
    let start = |arguments: &[&str], reason: &str| {
        stage.daemon.cli(&[arguments, &["--reason", reason]].concat())
    };
    for (arguments, reason, code, said) in [
        (&["rebuild", "all"][..], " ", 4, "invalid_argument: a reason is missing"),
        (&["rebuild", "all"], &"x".repeat(1001), 4, "invalid_argument: a reason has at most"),
        (
            &["replay", "all", "--until-log-seq", "7"],
            "x",
            4,
            "invalid_argument: until_log_seq 7 is",
        ),
        (
            &["replay", "all", "--until-log-seq", "0"],
            "x",
            4,
            "invalid_argument: until_log_seq must",
        ),
        (
            &["replay", "all", "--until-log-seq", "18446744073709551615"],
            "x",
            4,
            "invalid_argument: member 'until_log_seq' must be",
        ),
        (
            &["replay", "nope"],
            "x",
            3,
            "not_found: there is no projection 'nope'; there are context_g",
        ),
        (&["rebuild", "all", "-t", "nobody"], "x", 3, "not_found: tenant 'nobody' has no events"),
        (
            &["runs", "--limit", "0"],
            "",
            4,
            "invalid_argument: parameter 'limit' must be in 1..=1000",
        ),
    ] {
        let answer =
            if reason.is_empty() { stage.daemon.cli(arguments) } else { start(arguments, reason) };
        refused(&answer, code, said);
        assert_eq!(answer.stderr.contains("\nhelp: "), said.contains("nobody"), "{answer:?}");
    }
    for arguments in [
        &["rebuild", "all"][..],
        &["replay", "--reason", "x"],
        &["rebuild", "all", "--reason", "x", "--until-log-seq", "5"],
        &["replay", "all", "--reason", "x", "--dry-run"],
        &["runs", "--status", "lost"],
        &["run", ""],
        &["run"],
    ] {
        assert_eq!(stage.daemon.cli(arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(stage.daemon.cli(&["runs"]).ok().stdout, "none\n");
}

#[test]
fn a_projection_has_one_active_run_and_the_refusal_of_another_names_it() {
    let (stage, _sql) = held();
    let first = started(&stage, &["rebuild", "trace_summary"]);
    for scope in ["trace_summary", "all"] {
        let answer = stage.daemon.cli(&["replay", scope, "--reason", "x"]);
        refused(&answer, 5, &format!("conflict: the rebuild of trace_summary {first} is queued"));
        let help = format!("`decisiongraph run {first} --wait` follows it");
        assert!(answer.stderr.contains(&help), "{answer:?}");
    }
    started(&stage, &["replay", "context_graph"]);
    started(&stage, &["rebuild", "all", "-t", "other"]);
    stage.daemon.cli(&["cancel", &first]).ok();
    let second = started(&stage, &["replay", "trace_summary"]);
    refused(&stage.daemon.cli(&["resume", &first]), 5, "conflict: the replay of trace_summary");
    assert_ne!(first, second);
}

#[test]
fn a_queued_run_is_cancelled_and_resumed() {
    let (stage, _sql) = held();
    let run = started(&stage, &["rebuild", "all"]);
    refused(&stage.daemon.cli(&["resume", &run]), 5, "conflict: run ");
    let answer = stage.daemon.cli(&["cancel", &run]).ok();
    assert_eq!(answer.stdout, format!("run {run} is cancelled\n"));
    let answer = stage.daemon.cli(&["cancel", &run]);
    refused(&answer, 5, "conflict: run ");
    assert!(answer.stderr.contains(&format!("`decisiongraph run {run}` shows it")), "{answer:?}");
    assert_eq!(stage.daemon.cli(&["resume", &run]).ok().stdout, format!("{run}\n"));
    assert_eq!(word(&shown(&stage, &run), "status"), "queued");
    let json = stage.daemon.cli(&["cancel", &run, "-o", "json"]).ok().json();
    assert_eq!(word(&json, "status"), "cancelled");
}

#[test]
fn a_run_that_is_not_there_is_not_found() {
    let (stage, sql) = held();
    make(&sql, 1, CANCELLED);
    for run in ["nope", "../runs", &id(9)] {
        for command in ["run", "cancel", "resume"] {
            let answer = stage.daemon.cli(&[command, run]);
            refused(&answer, 3, &format!("not_found: there is no run {run}"));
            assert!(answer.stderr.contains("\nhelp: `decisiongraph runs`"), "{answer:?}");
        }
    }
    // By its identifier it is anybody's; of another tenant it is not.
    for command in ["run", "cancel", "resume"] {
        refused(&stage.daemon.cli(&[command, &id(1), "-t", "other"]), 3, "not_found: ");
    }
    stage.daemon.cli(&["run", &id(1), "-t", "default"]).ok();
}

#[test]
fn the_history_is_listed_newest_first_and_narrowed() {
    let (stage, sql) = held();
    make(&sql, 1, RUNNING);
    let reason = "x".repeat(100);
    make(&sql, 2, &format!("reason = '{reason}', dry_run = true"));
    compared(&sql, 2, DIFFERENCE);
    make(&sql, 3, FAILED);
    make(&sql, 4, INTERRUPTED);
    started(&stage, &["replay", "all", "-t", "other"]);
    let rows = |arguments: &[&str]| -> Vec<Vec<String>> {
        let answer = stage.daemon.cli(&[&["runs"], arguments].concat()).ok();
        let cells = |line: &str| {
            let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
            cells.map(str::to_owned).collect()
        };
        answer.stdout.lines().skip(1).map(cells).collect()
    };
    let all = rows(&[]);
    let statuses: Vec<&str> = all.iter().map(|row| &*row[4]).collect();
    assert_eq!(statuses, ["queued", "running", "completed", "failed", "interrupted"]);
    assert_eq!(all[0][1..6], ["other", "replay", "all", "queued", "-"].map(str::to_owned));
    let short = format!("{}…", "x".repeat(39));
    let expected = ["default", "dry run", "trace_summary", "completed", "25 %"].map(str::to_owned);
    assert_eq!(all[2][1..6], expected);
    assert_eq!(all[2][7..], ["1 min 15 s", "different", &short].map(str::to_owned));
    assert_eq!(all[3][8], "schema_violation");
    assert_eq!(rows(&["-t", "other"]).len(), 1);
    assert_eq!(rows(&["--status", "failed"]), all[3..4]);
    assert_eq!(rows(&["--limit", "2"]).len(), 2);
    assert_eq!(stage.daemon.cli(&["runs", "-o", "jsonl"]).ok().jsonl().len(), 5);
}

#[test]
fn a_run_is_shown_as_a_card() {
    let (stage, sql) = held();
    let card = |number| stage.daemon.cli(&["run", &id(number)]).ok().stdout;
    let has = |card: &str, lines: &[&str]| {
        for line in lines {
            assert!(card.lines().any(|found| found.starts_with(line)), "{line}:\n{card}");
        }
    };
    make(&sql, 1, RUNNING);
    let running = card(1);
    has(
        &running,
        &[
            "what       rebuild of trace_summary",
            "status     running: building",
            "progress   1,500 of 6,000 events (25 %)",
            "rate       3,000 events/s, 1.5 s left",
            "reason     made by hand",
            "PROJECTION     GENERATION  EVENTS  CURSOR  COMPARED  SWITCHED",
            "trace_summary  2           1,500   6       -         -",
        ],
    );
    assert!(running.contains("Z by uid 7\n") && running.contains("Z by daemon elsewhere:1\n"));
    make(&sql, 2, FAILED);
    has(&card(2), &["status     failed", "error      schema_violation: no title"]);
    make(&sql, 3, "dry_run = true");
    compared(&sql, 3, DIFFERENCE);
    let different = format!("DIFFERENT: trace_summary: {IN_WORDS}");
    has(&card(3), &["what       dry run of trace_summary", "result     different", &different]);
    make(&sql, 4, "mode = 'rebuild'");
    compared(&sql, 4, "NULL");
    sql.rows(&format!(
        "UPDATE dg_projection_run_steps SET switched_at = now(), switch_ms = 12
        WHERE run_id = '{}'",
        id(4)
    ));
    has(&card(4), &["result     equal", "took       1 min 15 s"]);
    assert!(card(4).ends_with("equal at log_seq 6  in 12 ms\n"), "{}", card(4));
    make(&sql, 5, INTERRUPTED);
    sql.rows("UPDATE dg_projection_run_steps SET not_compared = 'nothing is served yet'");
    has(
        &card(5),
        &["status     interrupted: ", "not compared: trace_summary: nothing is served yet"],
    );
}

#[test]
fn who_waits_gets_the_outcome_as_exit_code() {
    let (stage, sql) = held();
    let waits = |number| stage.daemon.cli(&["run", &id(number), "--wait"]);
    for (number, values) in [(1, FAILED), (2, CANCELLED), (3, INTERRUPTED)] {
        make(&sql, number, values);
    }
    for (number, code, said) in [
        (1, 4, "error: schema_violation: no title\nhelp: `decisiongraph resume "),
        (2, 1, "error: cancelled: run "),
        (3, 1, "error: interrupted: run "),
    ] {
        let answer = waits(number);
        assert_eq!(answer.code, code, "{answer:?}");
        assert!(
            answer.stderr.starts_with(said) && answer.stdout.contains(&id(number)),
            "{answer:?}"
        );
    }
    make(&sql, 4, "reason = 'equal'");
    compared(&sql, 4, "NULL");
    assert_eq!(waits(4).ok().stderr, "");
    // A dry run that finds a difference is a proof that failed; a rebuild has mended it.
    make(&sql, 5, "dry_run = true");
    compared(&sql, 5, DIFFERENCE);
    let answer = waits(5);
    assert_eq!(answer.code, 7, "{answer:?}");
    assert!(answer.stderr.starts_with(&format!("different: {IN_WORDS}\nhelp: ")), "{answer:?}");
    make(&sql, 6, "reason = 'different'");
    compared(&sql, 6, DIFFERENCE);
    let answer = waits(6).ok();
    assert!(
        answer.stderr.starts_with("WARNING: ") && answer.stderr.contains(IN_WORDS),
        "{answer:?}"
    );
    let json = stage.daemon.cli(&["run", &id(6), "--wait", "-o", "json"]).ok();
    assert_eq!(json.json(), shown(&stage, &id(6)));
}

/// A command of the client that runs beside the test.
struct Waiting {
    child: std::process::Child,
    said: std::sync::mpsc::Receiver<String>,
    before: String,
}

impl Waiting {
    fn start(stage: &Stage, arguments: &[&str]) -> Waiting {
        use std::io::BufRead as _;
        let socket = stage.daemon.socket();
        let mut child = spawn(&[arguments, &["--socket", socket.to_str().unwrap()]].concat());
        let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        let (say, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| say.send(line))
        });
        Waiting { child, said, before: String::new() }
    }

    /// Waits until it has said something like this on standard error.
    #[track_caller]
    fn until(&mut self, part: &str) {
        until(&format!("it says '{part}'"), || {
            self.before.extend(self.said.try_iter().map(|line| line + "\n"));
            self.before.contains(part).then_some(())
        });
    }

    fn ends(mut self) -> (i32, String) {
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        (self.child.wait().unwrap().code().unwrap(), out)
    }
}

#[test]
fn a_run_is_followed_to_its_end_across_a_restart_of_the_daemon() {
    let (mut stage, sql) = held();
    make(&sql, 1, RUNNING);
    let mut waiting = Waiting::start(&stage, &["run", &id(1), "--wait"]);
    waiting.until("running: building, 1,500 of 6,000 events (25 %), 3,000 events/s, 1.5 s left\n");
    assert_eq!(stage.daemon.stop(), 0);
    waiting.until("waiting for it\n");
    stage.daemon.restart();
    sql.rows("UPDATE dg_projection_runs SET phase = 'comparing', processed_events = 6000");
    waiting.until("running: comparing, 6,000 of 6,000 events (100 %)");
    sql.rows(&format!("UPDATE dg_projection_runs SET {COMPLETED}"));
    assert_eq!(waiting.before.matches("waiting for it").count(), 1);
    let (code, card) = waiting.ends();
    assert!(code == 0 && card.contains("status     completed"), "{code} {card}");
}

#[test]
fn who_stops_waiting_does_not_stop_the_run() {
    let (stage, _sql) = held();
    let rebuild = ["rebuild", "all", "--reason", "x", "--wait"];
    let mut waiting = Waiting::start(&stage, &rebuild);
    waiting.until("queued: waits for its turn, 0 of 18 events (0 %)\n");
    let pid = nix::unistd::Pid::from_raw(waiting.child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    waiting.until("help: the run goes on; `decisiongraph cancel ");
    assert_eq!(waiting.ends(), (130, String::new()));
    let runs = stage.daemon.cli(&["runs", "--status", "queued", "-o", "json"]).ok().json();
    assert_eq!(runs.as_array().unwrap().len(), 1);
}

#[test]
fn status_and_health_tell_of_runs() {
    let (stage, sql) = held();
    let json =
        |arguments: &[&str]| stage.daemon.cli(&[arguments, &["-o", "json"]].concat()).ok().json();
    let ids = |value: &Json, name: &str| -> Vec<String> {
        member(value, name).as_array().unwrap().iter().map(|run| word(run, "run_id")).collect()
    };
    assert!(stage.daemon.cli(&["status"]).ok().stdout.contains("\nruns         none active\n"));
    assert_eq!(ids(&json(&["health"]), "open_runs"), [""; 0]);
    make(&sql, 1, RUNNING);
    make(&sql, 2, INTERRUPTED);
    make(&sql, 3, CANCELLED);
    let queued = started(&stage, &["replay", "all", "-t", "other"]);
    let status = json(&["status"]);
    assert_eq!(ids(&status, "active_runs"), [queued.clone(), id(1)]);
    let names: Vec<&str> = member(&status, "active_runs").as_array().unwrap()[0]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["mode", "phase", "projection_name", "run_id", "status", "tenant_id"]);
    let line =
        format!("\nruns         {queued} queued: replay of all projections of tenant other\n");
    assert!(stage.daemon.cli(&["status"]).ok().stdout.contains(&line));
    assert_eq!(ids(&json(&["health"]), "open_runs"), [id(1), id(2)]);
    let open = &member(&json(&["health"]), "open_runs").as_array().unwrap()[0].clone();
    let same = |run: &Json, name: &str| member(run, name) == member(open, name);
    let shown = shown(&stage, &id(1));
    assert!(["steps", "reason", "started_at"].iter().all(|name| same(&shown, name)), "{open:?}");
    let all = json(&["health", "--all-tenants"]);
    let open: Vec<_> = all.as_array().unwrap().iter().map(|one| ids(one, "open_runs")).collect();
    assert_eq!(open, [vec![id(1), id(2)], vec![queued]]);
}

/// Status, head and body of a request as `curl` makes it.
fn curl(stage: &Stage, line: &str, tenant: &str, body: &str) -> (u16, String, Json) {
    let mut stream = UnixStream::connect(stage.daemon.socket()).unwrap();
    let tenant =
        if tenant.is_empty() { String::new() } else { format!("x-tenant-id: {tenant}\r\n") };
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{tenant}content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), json::parse(body).unwrap())
}

const REBUILD: &str = r#"{"mode":"rebuild","projection_name":"all","reason":"x"}"#;

#[test]
fn the_socket_takes_runs_from_anybody_who_speaks_http() {
    let (stage, sql) = held();
    let (status, _, answer) = curl(&stage, "POST /v1/runs", "other", REBUILD);
    assert_eq!(status, 200, "{answer:?}");
    let run = member(&answer, "data");
    assert_eq!((word(run, "tenant_id"), word(run, "status")), ("other".into(), "queued".into()));
    let uid = nix::unistd::geteuid();
    assert_eq!(word(run, "requested_by"), format!("uid {uid}"));
    let at = format!("/v1/runs/{}", word(run, "run_id"));
    for (line, tenant, expected) in [
        (format!("GET {at}"), "", 200),
        (format!("GET {at}"), "other", 200),
        (format!("GET {at}"), "default", 404),
        (format!("POST {at}/cancel"), "default", 404),
        (format!("POST {at}/cancel"), "other", 200),
        (format!("POST {at}/cancel"), "", 409),
        (format!("POST {at}/resume"), "", 200),
        (format!("GET {at}/resume"), "", 405),
        (format!("DELETE {at}"), "", 405),
        ("DELETE /v1/runs".to_owned(), "", 405),
        (format!("POST {at}/pause"), "", 404),
        ("GET /v1/runs?status=lost".to_owned(), "", 400),
        ("GET /v1/runs?limit=1001".to_owned(), "", 400),
        ("GET /v1/runs?colour=red".to_owned(), "", 400),
        ("POST /v1/runs?dry_run=true".to_owned(), "", 400),
    ] {
        let (status, head, answer) = curl(&stage, &line, tenant, "");
        assert_eq!(status, expected, "{line}: {answer:?}");
        assert_eq!(head.contains("\r\nallow: "), status == 405, "{line}: {head}");
    }
    make(&sql, 1, CANCELLED);
    let listed = |path: &str, tenant| {
        let (_, _, answer) = curl(&stage, &format!("GET /v1/runs{path}"), tenant, "");
        member(&answer, "data").as_array().unwrap().len()
    };
    assert_eq!((listed("", ""), listed("", "other"), listed("?all=true", "other")), (2, 1, 2));
    assert_eq!((listed("?status=cancelled", ""), listed("?limit=1", "")), (1, 1));
}

#[test]
fn a_body_that_makes_no_run_is_refused_by_its_member() {
    let (stage, sql) = held();
    for (body, status, said) in [
        ("", 400, "the body"),
        ("[]", 400, "the body must be a JSON object"),
        (r#"{"mode":"rebuild","projection_name":"all"}"#, 400, "'reason' is missing"),
        (
            r#"{"mode":"redo","projection_name":"all","reason":"x"}"#,
            400,
            "'mode' must be replay or",
        ),
        (r#"{"mode":"replay","projection_name":7,"reason":"x"}"#, 400, "'projection_name' must"),
        (
            r#"{"mode":"replay","projection_name":"all","reason":"x","tenant_id":"t"}"#,
            400,
            "'tenant_id' is not known",
        ),
        (
            r#"{"mode":"replay","projection_name":"all","reason":"x","dry_run":true}"#,
            400,
            "dry_run is for rebuilds",
        ),
        (
            r#"{"mode":"rebuild","projection_name":"all","reason":"x","until_log_seq":5}"#,
            400,
            "until_log_seq is for replays",
        ),
        (r#"{"mode":"replay","projection_name":"x","reason":"x"}"#, 404, "no projection 'x'"),
    ] {
        let (found, _, answer) = curl(&stage, "POST /v1/runs", "", body);
        let message = word(member(&answer, "error"), "message");
        assert_eq!(found, status, "{body}: {message}");
        assert!(message.contains(said), "{body}: {message}");
    }
    assert_eq!(sql.one("SELECT count(*) FROM dg_projection_runs"), "0");
}
