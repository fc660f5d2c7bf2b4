//! The schema: applied once whoever comes, refused when it is another's, and as `schema.sql` shows it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use dg_projections::Code;
use dg_store::{Drift, migrations};
use dg_tests::dump::pg_dump;
use dg_tests::log::until_blocked;
use dg_tests::{Database, skip};
use tokio::task::JoinSet;
use tokio_postgres::Client;

const PATIENCE: Duration = Duration::from_secs(30);

fn newest() -> i32 {
    migrations().last().unwrap().version
}

async fn texts(client: &Client, sql: &str) -> BTreeSet<String> {
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_second_migration_changes_nothing() {
    let database = Database::empty().await;
    let store = database.store();
    let before = store.migration_status().await.unwrap();
    assert_eq!((before.version(), before.pending.len()), (0, migrations().len()));
    let first = store.migrate("1.0", PATIENCE).await.unwrap();
    let second = store.migrate("2.0", PATIENCE).await.unwrap();
    assert_eq!(first, second);
    assert_eq!((first.version(), first.pending.len(), first.drift.len()), (newest(), 0, 0));
    assert!(first.applied.iter().all(|step| step.binary_version == "1.0"));
    assert_eq!(store.migration_status().await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_stores_at_once_migrate_once() {
    let database = Database::empty().await;
    let mut starts = JoinSet::new();
    for daemon in 0..8 {
        let store = database.store();
        starts.spawn(async move { store.migrate(&format!("{daemon}"), PATIENCE).await.unwrap() });
    }
    let all = starts.join_all().await;
    assert!(all.iter().all(|status| status == &all[0] && status.pending.is_empty()));
    let by: BTreeSet<&str> = all[0].applied.iter().map(|step| &*step.binary_version).collect();
    assert_eq!(by.len(), 1, "one of them applied every step: {by:?}");
}

#[tokio::test]
async fn a_step_that_fails_leaves_those_before_it_and_can_be_taken_later() {
    let database = Database::empty().await;
    let client = database.connect().await;
    client.batch_execute("CREATE TABLE dg_cg_edges (in_the_way int)").await.unwrap();
    let store = database.store();
    let error = store.migrate("test", PATIENCE).await.unwrap_err();
    assert!(error.message.contains("dg_cg_edges"), "{error}");
    let status = store.migration_status().await.unwrap();
    assert_eq!((status.version(), status.pending), (1, (2..=newest()).collect()));
    let tables =
        texts(&client, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'");
    assert!(tables.await.is_disjoint(&["dg_cg_nodes".to_owned()].into()), "half a step is in");
    client.batch_execute("DROP TABLE dg_cg_edges").await.unwrap();
    assert_eq!(store.migrate("test", PATIENCE).await.unwrap().version(), newest());
}

#[tokio::test]
async fn another_schema_than_ours_is_refused_and_left_alone() {
    let (database, store) = Database::with_schema().await;
    let client = database.connect().await;
    for (change, undo) in [
        (
            "INSERT INTO dg_schema_migrations SELECT 999, 'later', checksum, now(), '9.0'
                 FROM dg_schema_migrations WHERE version = 1",
            "DELETE FROM dg_schema_migrations WHERE version = 999",
        ),
        (
            "UPDATE dg_schema_migrations SET checksum = sha256('x') WHERE version = 1",
            "UPDATE dg_schema_migrations SET checksum = sha256('y') WHERE version = 1",
        ),
    ] {
        client.batch_execute(change).await.unwrap();
        let status = store.migration_status().await.unwrap();
        let newer = change.starts_with("INSERT");
        match &status.drift[..] {
            [Drift::Newer { version: 999, binary_version, .. }] => {
                assert!(newer && binary_version == "9.0");
            }
            [Drift::Changed { version: 1, .. }] => assert!(!newer),
            other => panic!("{other:?}"),
        }
        let error = store.migrate("test", PATIENCE).await.unwrap_err();
        assert_eq!(error.code, Code::Conflict);
        client.batch_execute(undo).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_is_given_up_or_waits_too_long_holds_no_lock() {
    let database = Database::empty().await;
    let other = database.connect().await;
    // Somebody else is at it: patience ends, and the wait can be given up.
    let key = 0x6467_6d69_6772_6174_i64;
    other.execute("SELECT pg_advisory_lock($1)", &[&key]).await.unwrap();
    let store = database.store();
    let late = store.migrate("test", Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(late.code, Code::Storage);
    other.execute("SELECT pg_advisory_unlock($1)", &[&key]).await.unwrap();

    // Given up in the middle of a step, which waits for a table.
    other.batch_execute("BEGIN; CREATE TABLE dg_cg_edges (x int)").await.unwrap();
    let given_up = store.clone();
    let given_up = tokio::spawn(async move { given_up.migrate("test", PATIENCE).await });
    until_blocked(&database).await;
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    other.batch_execute("ROLLBACK").await.unwrap();
    let status = database.store().migrate("second", PATIENCE).await.unwrap();
    assert_eq!(status.version(), newest());
}

#[tokio::test]
async fn every_text_column_of_a_key_sorts_by_bytes() {
    let (database, _store) = Database::with_schema().await;
    let sql = "SELECT i.indexrelid::regclass::text || '.' || a.attname
        FROM pg_index AS i CROSS JOIN unnest(i.indkey) AS k (attnum)
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE a.attcollation <> 0 AND a.attcollation <> '\"C\"'::regcollation
          AND i.indrelid::regclass::text LIKE 'dg\\_%'";
    assert_eq!(texts(&database.connect().await, sql).await, BTreeSet::new());
}

/// Each index that is no key, and the statement that it is there for.
const INDEXES: &[(&str, &str)] = &[
    ("dg_cg_edges_from", "edges of a node, outgoing; the frontier of a subgraph"),
    ("dg_cg_edges_to", "edges of a node, incoming; the frontier of a subgraph"),
    ("dg_precedent_index_policy", "precedents of a policy"),
    ("dg_projection_failures_open", "the failure that a commit resolves; one a worker"),
    ("dg_projection_cursors_retired", "generations to be cleared"),
    ("dg_projection_runs_active", "one active run a projection"),
    ("dg_projection_runs_id", "a run by its identifier alone"),
];

#[tokio::test]
async fn every_index_is_a_key_or_has_a_statement_that_needs_it() {
    let (database, _store) = Database::with_schema().await;
    let sql = "SELECT i.indexrelid::regclass::text FROM pg_index AS i
        LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u')
        WHERE c.oid IS NULL AND i.indrelid::regclass::text LIKE 'dg\\_%'";
    let known = INDEXES.iter().map(|(index, _)| (*index).to_owned()).collect();
    assert_eq!(texts(&database.connect().await, sql).await, known);
}

/// What the server has of us, as `kind name table`.
const OBJECTS: &str = "SELECT 'table ' || relname || ' ' FROM pg_class
        WHERE relkind = 'r' AND relname LIKE 'dg\\_%'
    UNION ALL SELECT 'function ' || proname || ' ' FROM pg_proc WHERE proname LIKE 'dg\\_%'
    UNION ALL SELECT 'constraint ' || conname || ' ' || conrelid::regclass FROM pg_constraint
        WHERE conrelid::regclass::text LIKE 'dg\\_%' AND contype <> 'n'
    UNION ALL SELECT 'trigger ' || tgname || ' ' || tgrelid::regclass FROM pg_trigger
        WHERE tgrelid::regclass::text LIKE 'dg\\_%' AND NOT tgisinternal
    UNION ALL SELECT 'index ' || indexrelid::regclass || ' ' || indrelid::regclass FROM pg_index AS i
        WHERE indrelid::regclass::text LIKE 'dg\\_%'
            AND NOT EXISTS (SELECT 1 FROM pg_constraint AS c WHERE c.conindid = i.indexrelid
                AND c.contype IN ('p', 'u'))";

#[tokio::test]
async fn all_that_is_looked_for_is_all_that_a_fresh_schema_has() {
    let (database, store) = Database::with_schema().await;
    let expected = dg_store::expected_objects();
    let expected = expected.iter().map(|(kind, name, table)| format!("{kind} {name} {table}"));
    let expected: BTreeSet<String> = expected.collect();
    assert_eq!(texts(&database.connect().await, OBJECTS).await, expected);
    assert_eq!(store.missing_objects().await.unwrap(), []);
}

/// The version that `schema.sql` is made with.
const MAJOR: &str = "15";

/// What matters of a dump.
fn normalised(dump: &str) -> String {
    let noise = |line: &&str| {
        let line = line.trim_end();
        line.is_empty()
            || ["--", "SET ", "SELECT pg_catalog.set_config", "\\"]
                .iter()
                .any(|start| line.starts_with(start))
    };
    let lines = dump.lines().filter(|line| !noise(line));
    lines.flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[tokio::test]
async fn schema_sql_is_what_the_migrations_make() {
    let (database, _store) = Database::with_schema().await;
    let found = pg_dump(&database.connect().await).await;
    let Some((pg_dump, _)) = found.filter(|(_, major)| major == MAJOR) else {
        return skip(&format!(
            "no pg_dump and server of version {MAJOR} to compare schema.sql with"
        ));
    };
    let dump = Command::new(pg_dump)
        .args(["--schema-only", "--no-owner", "--no-privileges", "--dbname"])
        .arg(database.url())
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let made = normalised(&String::from_utf8(dump.stdout).unwrap());
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/schema.sql"));
    if std::env::var_os("DECISIONGRAPH_TEST_WRITE_SCHEMA").is_some() {
        let head = format!(
            "-- What the migrations make, by pg_dump {MAJOR}: to read, never to run. Written by\n\
             -- DECISIONGRAPH_TEST_WRITE_SCHEMA=1 cargo test -p dg-tests --test store_schema\n"
        );
        std::fs::write(&file, head + &made).unwrap();
    }
    let kept = normalised(&std::fs::read_to_string(&file).unwrap_or_default());
    let differing =
        made.lines().zip(kept.lines().chain(std::iter::repeat(""))).find(|(a, b)| a != b);
    assert!(
        made == kept,
        "migrations/schema.sql is not what the migrations make: {differing:?}; write it with \
         DECISIONGRAPH_TEST_WRITE_SCHEMA=1 cargo test -p dg-tests --test store_schema"
    );
}
