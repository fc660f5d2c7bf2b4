//! Append-only by privilege: what each role may and may not.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::projection::Projection;
use dg_runtime::Runtime;
use dg_store::{DAEMON_ROLE, Verdict};
use dg_tests::log::settings;
use dg_tests::{Daemon, Database, Where, eventually, run};

async fn with_roles() -> (Database, dg_store::Store) {
    let (database, store) = Database::with_schema().await;
    store.apply_roles().await.unwrap();
    store.apply_roles().await.unwrap(); // as often as wanted
    (database, store)
}

/// Whether a role may run this statement; it is rolled back.
async fn may(database: &Database, role: &str, sql: &str) -> bool {
    let mut client = database.connect().await;
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute(&format!("SET LOCAL ROLE {role}")).await.unwrap();
    match transaction.batch_execute(sql).await {
        Ok(()) => true,
        Err(error) => {
            let code = error.code().unwrap().code().to_owned();
            assert_eq!(code, "42501", "{role}: {sql}: {error}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_works_may_change_or_remove_an_event() {
    let (database, _store) = with_roles().await;
    for role in ["dg_writer", "dg_projector", "dg_daemon", "dg_reader"] {
        for sql in [
            "UPDATE dg_event_log SET payload_json = '{}'",
            "DELETE FROM dg_event_log",
            "TRUNCATE dg_event_log",
            "DELETE FROM dg_tenant_heads",
            "DROP TABLE dg_event_log",
            "ALTER TABLE dg_event_log DISABLE TRIGGER ALL",
        ] {
            assert!(!may(&database, role, sql).await, "{role} may {sql}");
        }
        assert!(may(&database, role, "SELECT count(*) FROM dg_event_log").await, "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_its_own_part_only() {
    let (database, _store) = with_roles().await;
    let head =
        "INSERT INTO dg_tenant_heads (tenant_id, last_log_seq, event_count) VALUES ('a', 0, 0)";
    let projected =
        "INSERT INTO dg_projections (tenant_id, projection_name) VALUES ('a', 'context_graph')";
    let function = "SELECT dg_append(tenant_id => 'b', trace_id => 't', trace_seq => 0,
        event_type => 'TraceStarted', occurred_at => '2026-05-05T10:00:00Z', producer_id => 'psql',
        source_system => 'ops', actor_type => 'person', actor_id => 'ann', idempotency_key => 'k',
        payload => '{}')";
    for (role, appends, projects) in [
        ("dg_writer", true, false),
        ("dg_projector", false, true),
        ("dg_daemon", true, true),
        ("dg_reader", false, false),
    ] {
        assert_eq!(may(&database, role, head).await, appends, "{role}");
        assert_eq!(may(&database, role, function).await, appends, "{role}");
        let sql = "SELECT has_function_privilege($1, oid, 'EXECUTE') FROM pg_proc WHERE proname = 'dg_append'";
        let row = database.connect().await.query_one(sql, &[&role]).await.unwrap();
        assert_eq!(row.get::<_, bool>(0), appends, "{role}");
        assert_eq!(may(&database, role, projected).await, projects, "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_database_migrates_and_uses_it_without_more_rights() {
    let database = Database::empty().await;
    let admin = database.connect().await;
    let name: String =
        admin.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let own = format!("CREATE ROLE {name}; ALTER DATABASE {name} OWNER TO {name}");
    admin.batch_execute(&own).await.unwrap();

    let store = database.store_as(name.clone().leak());
    let migrated = store.migrate("test", Duration::from_secs(30)).await;
    let appended = admin
        .batch_execute(&format!(
            "SET ROLE {name};
             SELECT dg_append(tenant_id => 'b', trace_id => 't', trace_seq => 0,
                event_type => 'TraceStarted', occurred_at => '2026-05-05T10:00:00Z',
                producer_id => 'psql', source_system => 'ops', actor_type => 'person',
                actor_id => 'ann', idempotency_key => 'k', payload => '{{}}')"
        ))
        .await;
    // A role outlives the database.
    let gone = format!(
        "RESET ROLE; REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}"
    );
    admin.batch_execute(&gone).await.unwrap();
    migrated.unwrap();
    appended.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_does_all_its_work_as_the_daemon_role() {
    let (database, store) = with_roles().await;
    let runtime = Runtime::start(database.store_as(DAEMON_ROLE), settings()).await.unwrap();
    let text = run(&["generate", "--traces", "20"], b"").ok().stdout;
    let line = |text| {
        dg_projections::event::parse_line(text, "a", dg_projections::event::Keeping::NewNumbers)
            .unwrap()
    };
    let lines: Vec<_> = text.lines().map(line).collect();
    assert!(runtime.append("a", &lines[..]).await.unwrap().iter().all(Result::is_ok));
    let names = Projection::ALL.map(Projection::as_str);
    eventually("everything is projected", || async {
        let health = store.health(Some("a"), &names).await.unwrap();
        health.first().is_some_and(|health| !health.is_stale()).then_some(())
    })
    .await;
    runtime.gate().store().compute_digests("a").await.unwrap();
    assert!(matches!(store.verify("a", &|_, _| {}).await.unwrap(), Verdict::Proven(_)));
    runtime.stop(Duration::from_secs(5)).await;
}

#[test]
fn the_daemon_on_its_own_cluster_works_under_the_least_role() {
    let daemon = Daemon::start(Where::Embedded, &[]);
    let text = run(&["generate", "--traces", "5"], b"").ok().stdout;
    daemon.cli_with(&["import", "-"], text.as_bytes()).ok();
    daemon.until_current("default");
    daemon.cli(&["digest"]).ok();
    let roles = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'dg~_%' ESCAPE '~'";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let found: String = runtime.block_on(async {
        let config = dg_admin::embedded::config_of(&daemon.data_dir()).unwrap().unwrap();
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.query_one(roles, &[]).await.unwrap().get(0)
    });
    assert_eq!(found, "dg_daemon dg_projector dg_reader dg_writer");
}
