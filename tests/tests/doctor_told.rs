//! What `doctor` and its like tell an operator who has nothing but their words: each accident named,
//! with the remedy that mends it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write as _;

use dg_projections::json::Json;
use dg_tests::events::started;
use dg_tests::findings::{doctor, doctor_of};
use dg_tests::{Daemon, Directory, Postgres, Sql, Stage, Where, new_database, run, spawn, until};

fn connect(url: &str) -> Sql {
    Sql::connect(&url.parse().unwrap())
}

fn url_of(postgres: &Postgres) -> String {
    format!("postgres://decisiongraph@{}/postgres?sslmode=disable", postgres.address())
}

/// The URL of the same database for another user.
fn url_as(url: &str, user: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (_, place) = rest.split_once('@').unwrap();
    format!("{scheme}://{user}@{place}")
}

/// What stands between the first of these and the next of those.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start)
        .and_then(|(_, rest)| rest.split_once(end))
        .unwrap_or_else(|| panic!("{text}"))
        .0
}

#[test]
fn who_blocks_an_append_is_named_with_the_command_that_ends_it() {
    let stage = Stage::new(&[]);
    stage.import(&[started("first")]);
    doctor(&stage.daemon).assert("locks", "ok", "nobody", "");
    let careless = stage.daemon.sql();
    careless.rows("SET application_name = 'report'");
    let pid = careless.one("SELECT pg_backend_pid()");
    careless.rows("BEGIN; SELECT 1 FROM dg_tenant_heads FOR UPDATE");
    let socket = stage.daemon.socket().display().to_string();
    let mut append = spawn(&["append", "-", "--socket", &socket]);
    append.stdin.take().unwrap().write_all(started("second").as_bytes()).unwrap();
    let findings = until("somebody waits for it", || {
        let findings = doctor(&stage.daemon);
        (findings.status("locks") == "warning").then_some(findings)
    });
    findings.assert(
        "locks",
        "warning",
        &format!("pid {pid} (report, user decisiongraph"),
        "runbook locks",
    );
    findings.assert("locks", "warning", "waits", "pg_terminate_backend");
    // Who is a stranger to both sees it, too.
    let name = format!("stranger_{}", std::process::id());
    let operator = stage.daemon.sql();
    operator.rows(&format!("CREATE ROLE {name} LOGIN"));
    let seen = doctor_of(&["--database-url", &url_as(&stage.url(), &name)]);
    operator.rows(&format!("DROP ROLE {name}"));
    seen.assert("locks", "warning", &format!("pid {pid} (report"), "pg_terminate_backend");
    // The very command that is named.
    operator.rows(between(findings.help("locks"), "psql -At -c \"", "\""));
    assert_eq!(append.wait().unwrap().code(), Some(0));
    doctor(&stage.daemon).assert("locks", "ok", "nobody", "");
}

#[test]
fn a_transaction_left_open_is_named_before_anybody_waits_for_it() {
    let stage = Stage::new(&[]);
    let careless = stage.daemon.sql();
    let pid = careless.one("SELECT pg_backend_pid()");
    careless.rows("BEGIN; LOCK TABLE dg_trace_summary IN ROW EXCLUSIVE MODE");
    let findings = until("it was left open for long enough", || {
        let findings = doctor(&stage.daemon);
        (findings.status("locks") == "warning").then_some(findings)
    });
    findings.assert(
        "locks",
        "warning",
        "idle in transaction",
        &format!("pg_terminate_backend({pid})"),
    );
    careless.rows("COMMIT");
    doctor(&stage.daemon).assert("locks", "ok", "nobody", "");
}

#[test]
fn a_session_at_work_that_holds_locks_is_named_before_anybody_waits_for_it() {
    let stage = Stage::new(&[]);
    let sleeps = "LOCK TABLE dg_trace_summary IN ROW EXCLUSIVE MODE; SELECT pg_sleep(600)";
    let mut busy = spawn(&["psql", "--database-url", &stage.url(), "-c", sleeps]);
    let findings = until("it has held them for long enough", || {
        let findings = doctor(&stage.daemon);
        (findings.status("locks") == "warning").then_some(findings)
    });
    findings.assert("locks", "warning", "active for ", "pg_terminate_backend(");
    stage.daemon.sql().rows(between(findings.help("locks"), "psql -At -c \"", "\""));
    assert_ne!(busy.wait().unwrap().code(), Some(0));
    doctor(&stage.daemon).assert("locks", "ok", "nobody", "");
}

#[test]
fn every_missing_privilege_is_named_with_the_grant_that_gives_it_back() {
    let stage = Stage::new(&[]);
    let operator = stage.daemon.sql();
    let role = format!("Granted-{}", std::process::id());
    operator.rows(&format!(
        "CREATE ROLE \"{role}\" LOGIN;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO \"{role}\";
         REVOKE INSERT, DELETE ON dg_trace_summary FROM \"{role}\";
         REVOKE UPDATE ON dg_cg_nodes, dg_cg_edges FROM \"{role}\""
    ));
    let url = url_as(&stage.url(), &role);
    let flags = ["--database-url", &url, "--migrate", "check"];
    let findings = doctor_of(&flags);
    for named in
        ["UPDATE on dg_cg_nodes", "UPDATE on dg_cg_edges", "INSERT, DELETE on dg_trace_summary"]
    {
        findings.assert("privileges", "failed", named, "GRANT");
    }
    findings.assert("privileges", "failed", "lacks", "CREATEROLE");
    let statements = between(findings.help("privileges"), "psql -c '", "'").to_owned();
    assert!(
        statements.contains(&format!("GRANT INSERT, DELETE ON dg_trace_summary TO \"{role}\"")),
        "{statements}"
    );
    operator.rows(&statements);
    doctor_of(&flags).assert("privileges", "ok", &role, "");
    operator.rows(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""));
}

#[test]
fn an_owner_who_may_not_make_roles_is_told_so_and_how_to_do_without() {
    let postgres = Postgres::start();
    let operator = connect(&url_of(&postgres));
    operator.rows("CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app");
    let url = url_as(&url_of(&postgres), "app");
    run(&["migrate", "--database-url", &url], b"").ok();
    let answer = run(&["migrate", "--roles", "--database-url", &url], b"");
    assert_eq!(answer.code, 69, "{answer:?}");
    assert!(
        answer.stderr.contains("storage: ") && answer.stderr.contains("CREATE ROLE dg_writer"),
        "{answer:?}"
    );
    assert!(answer.stderr.contains("CREATEROLE"), "{answer:?}");
    assert!(!answer.stderr.contains("see that Postgres runs"), "{answer:?}");
    // An owner may take from itself what it needs.
    let owner = connect(&url);
    owner.rows("REVOKE INSERT ON dg_trace_summary FROM app");
    let findings = doctor_of(&["--database-url", &url]);
    let grant = "decisiongraph psql -c 'GRANT INSERT ON dg_trace_summary TO app'";
    findings.assert("privileges", "failed", "app lacks INSERT on dg_trace_summary", grant);
    owner.rows(between(findings.help("privileges"), "psql -c '", "'"));
    doctor_of(&["--database-url", &url]).assert("privileges", "ok", "app", "");
    // Any other statement that is refused for want of a right.
    operator.rows("CREATE ROLE guest LOGIN");
    let answer = run(&["verify", "--database-url", &url_as(&url_of(&postgres), "guest")], b"");
    assert_eq!(answer.code, 69, "{answer:?}");
    assert!(answer.stderr.contains("permission denied for table"), "{answer:?}");
    assert!(answer.stderr.contains("decisiongraph doctor` names"), "{answer:?}");
    assert!(!answer.stderr.contains("see that Postgres runs"), "{answer:?}");
}

#[test]
fn a_role_that_may_not_log_in_is_told_to_and_what_was_left_out_in_one_line() {
    let postgres = Postgres::start();
    let operator = connect(&url_of(&postgres));
    operator.rows("CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app");
    let url = url_as(&url_of(&postgres), "app");
    let daemon = Daemon::start(Where::Url(url.clone()), &[]);
    operator.rows(
        "ALTER ROLE app NOLOGIN;
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'",
    );
    let findings = doctor(&daemon);
    findings.assert("database", "failed", "not permitted to log in", "ALTER ROLE app LOGIN");
    assert!(!findings.help("database").contains("pg_hba.conf"), "{findings:?}");
    assert!(!findings.answer.stdout.contains("in vain"), "{findings:?}");
    findings.assert("not_checked", "warning", "failures, lag, runs, neighbours", "`database`");
    let answer = run(&["verify", "--database-url", &url], b"");
    assert!(answer.code == 69 && answer.stderr.contains("ALTER ROLE app LOGIN"), "{answer:?}");
    operator.rows("ALTER ROLE app LOGIN");
    until("the daemon has it again", || (doctor(&daemon).status("daemon") == "ok").then_some(()));
}

#[test]
fn what_a_pending_step_keeps_from_being_checked_is_said() {
    let postgres = Postgres::start();
    let url = url_of(&postgres);
    let fresh = doctor_of(&["--database-url", &url]);
    fresh.assert("not_checked", "ok", "no tables yet: failures, lag, runs", "");
    run(&["migrate", "--database-url", &url], b"").ok();
    assert!(!doctor_of(&["--database-url", &url]).checks().contains(&"not_checked"));
    connect(&url).rows("DELETE FROM dg_schema_migrations WHERE version > 5");
    let findings = doctor_of(&["--database-url", &url]);
    // Who is there is told whichever tables there are.
    findings.assert("neighbours", "ok", "no daemon", "");
    findings.assert("not_checked", "warning", "failures, lag, runs", "decisiongraph migrate");
}

#[test]
fn a_wrong_configuration_is_not_told_to_ask_what_it_refuses() {
    let directory = Directory::new();
    let file = directory.file("decisiongraph.toml", "pool_size = \"many\"\n").display().to_string();
    for command in [&["config", "check"][..], &["config"], &["migrate", "status"]] {
        let answer = run(&[command, &["--config", &file]].concat(), b"");
        assert_eq!(answer.code, 64, "{answer:?}");
        let help =
            answer.stderr.lines().find(|line| line.starts_with("help: ")).unwrap().to_owned();
        assert!(!help.contains("`decisiongraph config`"), "{help}");
        for named in ["set it right", "take it out", "serve --help", "config check"] {
            assert!(help.contains(named), "{help}");
        }
    }
    // It keeps what it promises.
    let help = run(&["serve", "--help"], b"").ok().stdout;
    assert!(help.contains("16"), "{help}");
}

#[test]
fn a_daemon_whose_socket_is_gone_is_named_instead_of_a_second_one_started() {
    let mut stage = Stage::new(&[]);
    std::fs::remove_file(stage.daemon.socket()).unwrap();
    let answer = stage.daemon.cli(&["status"]);
    assert_eq!(answer.code, 69, "{answer:?}");
    assert!(
        answer.stderr.contains("help: `decisiongraph doctor` says whether one runs"),
        "{answer:?}"
    );
    let pid = stage.daemon.pid();
    let findings = doctor(&stage.daemon);
    let found =
        format!("a daemon of this machine (pid {pid}) is at this database and its socket is gone");
    findings.assert("neighbours", "warning", &found, &format!("kill {pid}"));
    findings.assert("daemon", "warning", &format!("pid {pid}"), "start no other");
    assert_eq!(stage.daemon.stop(), 0);
    until("its sessions are forgotten", || {
        (doctor(&stage.daemon).status("neighbours") == "ok").then_some(())
    });
}

#[test]
fn what_was_taken_out_of_the_schema_is_named_with_what_puts_it_back() {
    let database = new_database();
    let url = database.url();
    run(&["migrate", "--database-url", &url], b"").ok();
    doctor_of(&["--database-url", &url]).assert("schema", "ok", "version", "");
    let operator = connect(&url);
    operator.rows(
        "DROP INDEX dg_cg_edges_from;
         ALTER TABLE dg_event_log DROP CONSTRAINT dg_event_log_hash, DISABLE TRIGGER dg_event_log_admit;
         ALTER TABLE dg_trace_summary DROP CONSTRAINT dg_trace_summary_pkey;
         DROP FUNCTION dg_append",
    );
    let findings = doctor_of(&["--database-url", &url]);
    for named in [
        "index dg_cg_edges_from on dg_cg_edges",
        "constraint dg_event_log_hash on dg_event_log",
        "constraint dg_trace_summary_pkey on dg_trace_summary",
        "trigger dg_event_log_admit on dg_event_log",
        "function dg_append",
    ] {
        findings.assert("schema", "failed", named, "runbook failed-upgrade");
    }
    let status = run(&["migrate", "status", "--database-url", &url], b"");
    assert_eq!(status.code, 5, "{status:?}");
    assert!(status.stdout.contains("missing: index dg_cg_edges_from on dg_cg_edges"), "{status:?}");
    let create = "CREATE INDEX dg_cg_edges_from ON dg_cg_edges USING btree";
    assert!(status.stderr.contains("conflict: schema: "), "{status:?}");
    let json = run(&["migrate", "status", "-o", "json", "--database-url", &url], b"").json();
    let missing = json.get("missing").and_then(Json::as_array).unwrap();
    assert_eq!(missing.len(), 5, "{json:?}");
    // What is named mends it, but for what is too long for a line.
    let statements = missing.iter().filter_map(|one| one.get("statement")?.as_str());
    let statements: Vec<&str> = statements.collect();
    assert!(statements.iter().any(|statement| statement.starts_with(create)), "{statements:?}");
    operator.rows(&statements.join("; "));
    let findings = doctor_of(&["--database-url", &url]);
    findings.assert("schema", "failed", "function dg_append is not there", "failed-upgrade");
    assert!(!findings.answer.stdout.contains("dg_cg_edges_from"), "{findings:?}");
}
