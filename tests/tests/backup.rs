//! `backup --check`: a backup that could be restored is told from one that could not.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use dg_projections::json::Json;
use dg_tests::{Answer, Sql, Stage, events, run, server, until};

/// A stage with two tenants' events projected, and the directory of the server's programs.
struct Scene {
    stage: Stage,
    programs: String,
}

impl Scene {
    fn new() -> Scene {
        let stage = Stage::new(&[]);
        stage.import(&events::whole_trace("t1"));
        let sql = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
        let programs = stage.daemon.sql().one(sql);
        Scene { stage, programs }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.stage.daemon.directory().path().join(name)
    }

    /// A dump of the database as it stands.
    fn dump(&self, name: &str, format: &str) -> PathBuf {
        let file = self.file(name);
        let mut command = Command::new(Path::new(&self.programs).join("pg_dump"));
        command.arg(format!("--format={format}")).arg("--file").arg(&file);
        let output = command.arg("--dbname").arg(self.stage.url()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        file
    }

    fn check(&self, path: &Path, more: &[&str]) -> Answer {
        let path = path.to_str().unwrap();
        let own = ["backup", "--check", path, "--postgres-bin-dir", &self.programs];
        run(&[&own[..], more].concat(), b"")
    }

    /// Tests beside have some of theirs meanwhile.
    fn until_no_scratch_database_is_left(&self) {
        let sql = "SELECT count(*) FROM pg_database WHERE datname LIKE 'dg\\_backup\\_check\\_%'";
        let server = Sql::connect(&server().parse().unwrap());
        until("no scratch database is left", || (server.one(sql) == "0").then_some(()));
    }
}

/// It is of no use, for this reason.
#[track_caller]
fn assert_unusable(answer: &Answer, why: &str) {
    assert_eq!((answer.code, &*answer.stdout), (7, ""), "{answer:?}");
    assert!(answer.stderr.contains("could not be restored: "), "{answer:?}");
    assert!(answer.stderr.contains(why), "{why}: {answer:?}");
}

#[test]
fn a_whole_dump_of_either_format_is_told_with_what_it_holds() {
    let scene = Scene::new();
    for format in ["custom", "directory"] {
        let dump = scene.dump(format, format);
        let answer = scene.check(&dump, &["-o", "json"]).ok().json();
        let number = |name| answer.get(name).and_then(Json::as_i64);
        let steps = dg_store::migrations().len() as i64;
        assert_eq!((number("events"), number("tenants")), (Some(6), Some(1)), "{answer:?}");
        assert_eq!(number("schema_version"), Some(steps));
        assert_eq!(answer.get("restorable"), Some(&Json::Bool(true)));
        assert!(scene.check(&dump, &[]).ok().stdout.starts_with("whole: "));
    }
}

#[test]
fn a_dump_that_is_cut_short_is_of_no_use_wherever_it_was_cut() {
    let scene = Scene::new();
    let whole = std::fs::read(scene.dump("whole", "custom")).unwrap();
    let cut = scene.file("cut");
    for length in [0, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&cut, &whole[..length]).unwrap();
        let answer = scene.check(&cut, &[]);
        assert_eq!((answer.code, &*answer.stdout), (7, ""), "{length}: {answer:?}");
    }
    let directory = scene.dump("directory", "directory");
    let rows = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let rows = rows.filter(|path| path.extension().is_some_and(|it| it == "gz"));
    std::fs::remove_file(rows.max().unwrap()).unwrap();
    assert_eq!(scene.check(&directory, &[]).code, 7);
}

#[test]
fn what_is_no_dump_of_ours_is_refused() {
    let scene = Scene::new();
    let text = scene.dump("text", "plain");
    assert_unusable(&scene.check(&text, &[]), "text format dump");
    assert_unusable(&scene.check(scene.stage.daemon.directory().path(), &[]), "");
    assert_eq!(scene.check(Path::new("/nowhere/at/all"), &[]).code, 3);
    let sql = scene.stage.daemon.sql();
    sql.rows("INSERT INTO dg_schema_migrations (version, name, checksum, binary_version) VALUES (999, 'later', sha256('x'), '9.9.9')");
    let newer = scene.dump("newer", "custom");
    assert_unusable(&scene.check(&newer, &[]), "step 999 (later) of release 9.9.9");
    sql.rows("DROP TABLE dg_precedent_index");
    let partial = scene.dump("partial", "custom");
    assert_unusable(&scene.check(&partial, &[]), "lacks the rows of dg_precedent_index");
    sql.rows("DROP TABLE dg_schema_migrations");
    let other = scene.dump("other", "custom");
    assert_unusable(&scene.check(&other, &[]), "no database of ours");
}

#[test]
fn a_restored_dump_proves_every_tenant_and_leaves_nothing() {
    let scene = Scene::new();
    let (dump, url) = (scene.dump("whole", "custom"), server());
    for place in [&*url, "scratch"] {
        let answer = scene.check(&dump, &["--restore-into", place, "-o", "json"]).ok().json();
        let proven = answer.get("proven").and_then(Json::as_array).unwrap();
        let events = proven.iter().map(|one| one.get("events").and_then(Json::as_i64).unwrap());
        assert_eq!(events.collect::<Vec<_>>(), [6], "{place}: {answer:?}");
    }
    scene.until_no_scratch_database_is_left();
}

#[test]
fn a_dump_of_what_was_wrong_already_is_found_by_restoring_it() {
    let scene = Scene::new();
    scene.stage.daemon.sql().rows("UPDATE dg_trace_summary SET title = 'x'");
    let dump = scene.dump("wrong", "custom");
    scene.check(&dump, &[]).ok();
    let answer = scene.check(&dump, &["--restore-into", &server()]);
    assert_unusable(&answer, "tenant default: different: dg_trace_summary");
    scene.until_no_scratch_database_is_left();
}

#[test]
fn a_copied_cluster_is_held_against_its_manifest() {
    let scene = Scene::new();
    let primary = dg_tests::Postgres::start();
    let copy = scene.file("copy");
    let mut command = Command::new(Path::new(&scene.programs).join("pg_basebackup"));
    let address = primary.address();
    let (host, port) = address.split_once(':').unwrap();
    command.args(["--checkpoint=fast", "--no-sync", "-U", "decisiongraph", "-h", host, "-p", port]);
    let output = command.arg("--pgdata").arg(&copy).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(scene.check(&copy, &[]).ok().stdout.starts_with("whole: "));
    std::fs::write(copy.join("PG_VERSION"), "14\n").unwrap();
    assert_unusable(&scene.check(&copy, &[]), "");
}
