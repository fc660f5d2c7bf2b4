//! What has gone wrong before a page is opened, made on a daemon of the page's own.
//!
//! The tenant is `acme`, with three traces of six events. What a page asks to be done elsewhere (on the
//! machine of the database, by systemd) the scene does, when the page comes to it.

use std::path::PathBuf;

use dg_tests::events::{joined, whole_trace};
use dg_tests::{Daemon, Postgres, Sql, Stage, Where, new_database, run, until};

const QUICK: [&str; 4] = ["--projection-poll-interval-ms", "50", "--digest-idle-ms", "100"];

/// What a page is about, and what it is followed with.
#[derive(Default)]
pub(crate) struct Scene {
    /// Variables of the reader's shell.
    pub(crate) variables: Vec<(String, String)>,
    /// Files before the reader.
    pub(crate) files: Vec<(&'static str, String)>,
    /// What stands in a page for what is elsewhere here.
    pub(crate) instead: Vec<(&'static str, String)>,
    /// What is done where the reader is not, at the first block that is not run.
    pub(crate) elsewhere: Option<Box<dyn FnOnce()>>,
    /// Kept until the page is closed.
    kept: Vec<Box<dyn std::any::Any>>,
}

impl Scene {
    /// The scene of a page.
    pub(crate) fn of(page: &str) -> Scene {
        match page {
            "README" => Scene::readme(),
            "node-restart" => power_cut(),
            "daemon-down" => killed(),
            "store-down" => database_away(),
            "projection-rows-differ" => rows_differ(),
            "projection-failed" => poisoned(),
            "projection-count-mismatch" => event_lost(),
            "log-damage" => event_changed(),
            "lost-commits" => commits_lost(),
            "tenant-parked" => parked(),
            "two-daemons" => two_daemons(),
            "moving-a-tenant" => another_node(),
            "run-interrupted" => run_interrupted(),
            "run-failed" => run_failed(),
            "run-stalled" => run_stalled(),
            "locks"
            | "projection-out-of-date"
            | "projection-lagging"
            | "projection-lag-growing"
            | "workers-silent" => held(&[]),
            "workers-retrying" => held(&["--storage-timeout-ms", "1000"]),
            "event-sequence-invalid" | "idempotency-conflict" => with_old_trace(),
            "conflict" => with_a_run(),
            "store-errors" => crowded(),
            _ => Scene::with(acme(&[])),
        }
    }

    /// The README begins with nothing. Its log is a small one here.
    fn readme() -> Scene {
        let other = Stage::new(&QUICK);
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/sample/");
        let instead = vec![
            ("ops/sample/", sample.to_owned()),
            ("--traces 12500", "--traces 125".to_owned()),
            ("/run/other/decisiongraph.sock", other.daemon.socket().display().to_string()),
        ];
        Scene { instead, ..Scene::default() }.keeping(other)
    }

    /// A daemon at work.
    fn with(stage: Stage) -> Scene {
        let mut variables = variables(&stage.daemon, Some(stage.url()));
        variables.push(("ADMIN_URL".to_owned(), dg_tests::server()));
        Scene { variables, kept: vec![Box::new(stage)], ..Scene::default() }
    }

    fn keeping(mut self, kept: impl std::any::Any) -> Scene {
        // In front: a connection goes before its database.
        self.kept.insert(0, Box::new(kept));
        self
    }

    fn file(mut self, name: &'static str, content: String) -> Scene {
        self.files.push((name, content));
        self
    }

    fn instead(mut self, shown: &'static str, own: String) -> Scene {
        self.instead.push((shown, own));
        self
    }

    fn elsewhere(mut self, act: impl FnOnce() + 'static) -> Scene {
        self.elsewhere = Some(Box::new(act));
        self
    }
}

/// The way of a shell to a daemon and its database.
fn variables(daemon: &Daemon, url: Option<String>) -> Vec<(String, String)> {
    let path = |path: PathBuf| path.display().to_string();
    let mut variables = vec![
        ("DECISIONGRAPH_SOCKET".to_owned(), path(daemon.socket())),
        ("DECISIONGRAPH_DATA_DIR".to_owned(), path(daemon.data_dir())),
    ];
    variables.extend(url.map(|url| ("DECISIONGRAPH_DATABASE_URL".to_owned(), url)));
    variables
}

fn traces() -> Vec<String> {
    ["t1", "t2", "t3"].map(whole_trace).concat()
}

fn import(daemon: &Daemon, lines: &[String]) {
    daemon.cli_with(&["import", "-", "-t", "acme"], joined(lines).as_bytes()).ok();
}

/// A daemon with the tenant, current.
fn acme(flags: &[&str]) -> Stage {
    let stage = Stage::new(&[&QUICK[..], flags].concat());
    import(&stage.daemon, &traces());
    stage.daemon.until_current("acme");
    stage
}

fn power_cut() -> Scene {
    let mut daemon = Daemon::start(Where::Embedded, &QUICK);
    import(&daemon, &traces());
    daemon.until_current("acme");
    daemon.kill();
    daemon.kill_database();
    Scene { variables: variables(&daemon, None), ..Scene::default() }.keeping(daemon)
}

fn killed() -> Scene {
    let mut stage = acme(&[]);
    stage.daemon.kill();
    Scene::with(stage)
}

fn database_away() -> Scene {
    let mut postgres = Postgres::start();
    let url = format!("postgres://decisiongraph@{}/postgres", postgres.address());
    let daemon = Daemon::start(Where::Url(url.clone()), &QUICK);
    import(&daemon, &traces());
    daemon.until_current("acme");
    postgres.stop();
    let variables = variables(&daemon, Some(url));
    let postgres = std::rc::Rc::new(std::cell::RefCell::new(postgres));
    let started = postgres.clone();
    Scene { variables, ..Scene::default() }
        .keeping(postgres)
        .keeping(daemon)
        .elsewhere(move || started.borrow_mut().start_again())
}

fn rows_differ() -> Scene {
    let stage = acme(&[]);
    stage.daemon.sql().tamper("UPDATE dg_trace_summary SET title = 'x' WHERE trace_id = 't2'");
    Scene::with(stage)
}

/// The nineteenth event came in past the daemon, and is no start of a trace.
const POISON: &str = "SELECT dg_append(tenant_id => 'acme', trace_id => 'bad', trace_seq => 0,
    event_type => 'TraceStarted', occurred_at => '2026-11-20T09:30:00Z', producer_id => 'psql',
    source_system => 'ops', actor_type => 'person', actor_id => 'ann', idempotency_key => 'bad:0',
    event_id => 'bad.0', payload => '{}')";

fn with_poison() -> Stage {
    let stage = acme(&[]);
    stage.daemon.sql().rows(POISON);
    until_failures(&stage, "schema_violation", 3);
    stage
}

fn until_failures(stage: &Stage, code: &str, count: usize) {
    until("the projections have failed", || {
        let failures = stage.daemon.cli(&["failures", "-t", "acme"]).stdout;
        let told = |line: &&str| line.starts_with("acme") && line.contains(code);
        (failures.lines().filter(told).count() == count).then_some(())
    });
}

fn poisoned() -> Scene {
    Scene::with(with_poison())
}

fn event_lost() -> Scene {
    let mut stage = acme(&[]);
    stage.daemon.stop();
    // What is appended now nobody has applied when it is gone.
    let mut other = Daemon::start(Where::Url(stage.url()), &["--projections", "none"]);
    import(&other, &whole_trace("t4"));
    other.stop();
    let copy = "COPY (SELECT * FROM dg_event_log WHERE log_seq = 24) TO STDOUT";
    let copy = run(&["psql", "--database-url", &stage.url(), "-c", copy], b"").ok().stdout;
    stage.daemon.sql().tamper("DELETE FROM dg_event_log WHERE log_seq = 24");
    stage.daemon.restart();
    until_failures(&stage, "internal", 3);
    let config: tokio_postgres::Config = stage.url().parse().unwrap();
    let go = format!("\\c {}", config.get_dbname().unwrap());
    Scene::with(stage).file("event-24.bak", copy).instead("\\c dg", go)
}

fn event_changed() -> Scene {
    let stage = acme(&[]);
    let config = stage.url();
    let change = |from: &str, to: &str| {
        format!("UPDATE dg_event_log SET payload_json = replace(payload_json, '{from}', '{to}')")
    };
    stage.daemon.sql().tamper(&change("About t2", "About t9"));
    // As a backup would have it; the drills restore a real one.
    let mended = change("About t9", "About t2");
    Scene::with(stage).elsewhere(move || Sql::connect(&config.parse().unwrap()).tamper(&mended))
}

fn commits_lost() -> Scene {
    let stage = acme(&[]);
    stage.daemon.sql().tamper(
        "DELETE FROM dg_event_log WHERE log_seq > 10;
         UPDATE dg_tenant_heads SET last_log_seq = 10, event_count = 10",
    );
    until_failures(&stage, "the cursor is at", 3);
    Scene::with(stage).file("sent.jsonl", joined(&traces()))
}

fn parked() -> Scene {
    let database = new_database();
    // Four crashes within the period: one more than a tenant may have.
    let crash = "worker_apply_before/acme/context_graph/0=panic*4";
    let daemon = Daemon::start_failing(Where::Url(database.url()), &QUICK, crash);
    import(&daemon, &traces());
    let is_parked = || daemon.cli(&["status"]).stdout.contains("parked       acme").then_some(());
    until("the tenant is parked", is_parked);
    let variables = variables(&daemon, Some(database.url()));
    Scene { variables, ..Scene::default() }.keeping(database).keeping(daemon)
}

fn two_daemons() -> Scene {
    let stage = acme(&[]);
    let other = Daemon::start(Where::Url(stage.url()), &QUICK);
    // The page ends it.
    Scene::with(stage).instead("10538", other.pid().to_string()).keeping(other)
}

/// With sessions of another program.
fn crowded() -> Scene {
    let stage = acme(&[]);
    let mut config: tokio_postgres::Config = stage.url().parse().unwrap();
    config.application_name("reporting");
    let others: Vec<Sql> = (0..3).map(|_| Sql::connect(&config)).collect();
    Scene::with(stage).keeping(others)
}

fn another_node() -> Scene {
    let (here, there) = (acme(&[]), Stage::new(&QUICK));
    let mut scene = Scene::with(here);
    scene.variables.push(("OTHER_URL".to_owned(), there.url()));
    let socket = there.daemon.socket().display().to_string();
    scene.instead.push(("/run/other/decisiongraph.sock", socket));
    scene.keeping(there)
}

fn rebuild(stage: &Stage, more: &[&str]) -> dg_tests::Answer {
    let rebuild = ["rebuild", "all", "-t", "acme", "--reason", "a trial"];
    stage.daemon.cli(&[&rebuild[..], more].concat())
}

fn with_a_run() -> Scene {
    let stage = acme(&[]);
    rebuild(&stage, &["--wait"]).ok();
    Scene::with(stage)
}

fn run_interrupted() -> Scene {
    let mut stage = acme(&[]);
    let sql = stage.daemon.sql();
    sql.hold("acme");
    rebuild(&stage, &[]).ok();
    // One that is still queued would not be interrupted, but begun by the next daemon.
    let is_running = || stage.daemon.cli(&["runs", "--status", "running"]).stdout.contains("acme");
    until("the run has begun", || is_running().then_some(()));
    stage.daemon.stop();
    sql.release();
    stage.daemon.restart();
    Scene::with(stage)
}

fn run_failed() -> Scene {
    let stage = with_poison();
    assert_ne!(rebuild(&stage, &["--wait"]).code, 0);
    Scene::with(stage)
}

/// A session of somebody keeps the workers from committing, and events wait; with its process id.
fn hold(stage: &Stage) -> (Sql, String) {
    let sql = stage.daemon.sql();
    let pid = sql.one("SELECT pg_backend_pid()");
    sql.hold("acme");
    import(&stage.daemon, &whole_trace("t4"));
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0";
    let watch = stage.daemon.sql();
    until("workers wait", || (watch.one(waiting) != "0").then_some(()));
    (sql, pid)
}

/// With the session that the pages end.
fn held_by(stage: Stage, (sql, pid): (Sql, String)) -> Scene {
    Scene::with(stage).instead("31695", pid).keeping(sql)
}

fn held(flags: &[&str]) -> Scene {
    let stage = acme(flags);
    let held = hold(&stage);
    held_by(stage, held)
}

fn run_stalled() -> Scene {
    let stage = acme(&[]);
    let held = hold(&stage);
    rebuild(&stage, &[]).ok();
    held_by(stage, held)
}

/// With the first event of a trace as the pages' producer sends it.
fn with_old_trace() -> Scene {
    let stage = acme(&[]);
    let event = r#"{"event_id":"old-1.0","trace_id":"old-1","trace_seq":0,"event_type":"TraceStarted","occurred_at":"2026-11-20T09:00:00Z","source":{"producer_id":"desk","system":"crm"},"actor":{"actor_type":"agent","actor_id":"deal_agent"},"idempotency_key":"old-1:0","payload":{"workflow":"deal_approval","title":"Shelving","primary_entity":{"entity_type":"opportunity","entity_id":"opp-1"}}}"#;
    import(&stage.daemon, &[event.to_owned()]);
    stage.daemon.until_current("acme");
    Scene::with(stage)
}
