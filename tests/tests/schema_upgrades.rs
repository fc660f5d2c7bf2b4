//! From every earlier schema with data in it to the newest: nothing lost, the same digests.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_store::{Migration, Share, Store, migrations};
use dg_tests::Database;
use dg_tests::events;
use dg_tests::log::{
    append_all, apply_page, assert_proven, catch_up, generated_lines, inserted, model_of, parsed,
    running, until_applied,
};
use tokio_postgres::Client;

/// Takes these steps as a release did that knew no others.
async fn take(client: &mut Client, steps: &[Migration]) {
    let history = "CREATE TABLE dg_schema_migrations (version integer PRIMARY KEY, name text NOT NULL,
        checksum bytea NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(), binary_version text NOT NULL)";
    client.batch_execute(history).await.unwrap();
    for step in steps {
        let transaction = client.transaction().await.unwrap();
        transaction.batch_execute(step.sql).await.unwrap();
        let record = "INSERT INTO dg_schema_migrations (version, name, checksum, binary_version)
            VALUES ($1, $2, $3, 'earlier')";
        let checksum = step.checksum().0.to_vec();
        transaction.execute(record, &[&step.version, &step.name, &checksum]).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

/// The tables that hold data, with their rows as JSON.
async fn data(client: &Client) -> BTreeMap<String, String> {
    let sql = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relname LIKE 'dg\\_%'
        AND relname <> 'dg_schema_migrations'";
    let mut data = BTreeMap::new();
    for row in client.query(sql, &[]).await.unwrap() {
        let table: String = row.get(0);
        let rows = format!(
            "SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t::text), '[]')::text FROM {table} AS t"
        );
        let rows = client.query_one(&rows, &[]).await.unwrap().get(0);
        data.insert(table, rows);
    }
    data
}

/// The same rows are there, whatever columns they have got since.
async fn assert_kept(client: &Client, before: &BTreeMap<String, String>) {
    let sql = "SELECT after @> before AND jsonb_array_length(after) = jsonb_array_length(before)
        FROM (SELECT $1::text::jsonb, $2::text::jsonb) AS rows (before, after)";
    let after = data(client).await;
    for (table, before) in before {
        let row = client.query_one(sql, &[before, &after[table]]).await.unwrap();
        assert!(row.get::<_, bool>(0), "{table}: {before} became {}", after[table]);
    }
}

/// Puts rows into the tables that this schema has, in the columns that it has.
async fn fill(client: &Client, rows: &BTreeMap<String, String>) {
    // As they are: no trigger and no reference looks at them.
    client.batch_execute("SET session_replication_role = replica").await.unwrap();
    for table in data(client).await.keys() {
        let sql = format!(
            "INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1::text::jsonb)"
        );
        client.execute(&sql, &[&rows[table]]).await.unwrap();
    }
}

/// A tenant that is projected, one that is so in part, and one that nobody has projected.
async fn filled(store: &Store, logs: &BTreeMap<&str, Vec<Line>>) {
    for (tenant, lines) in logs {
        append_all(store, tenant, lines, 40).await;
    }
    catch_up(store, "whole", 50).await;
    store.compute_digests("whole").await.unwrap();
    for (projection, events) in Projection::ALL.into_iter().zip([30, 7, 0]) {
        let cursor = store.open_cursor("part", projection, Share::WHOLE, false).await.unwrap();
        apply_page(store, "part", projection, cursor, events).await;
    }
}

/// What a tenant's digests are once a runtime has been at work, and what its log says they are.
async fn assert_digests(store: &Store, tenant: &str, lines: &[Line]) {
    until_applied(store, tenant).await;
    assert_proven(store, tenant).await;
    let expected = model_of(lines).tables.digests().unwrap();
    let of = Projection::ALL.map(|one| (one.as_str(), expected.of(one)));
    let mut of_log = BTreeMap::from(of);
    of_log.insert("full_projection", expected.full_projection());
    let computed = store.compute_digests(tenant).await.unwrap();
    let computed = computed.iter().map(|one| (&*one.name, one.digest));
    assert_eq!(computed.collect::<BTreeMap<_, _>>(), of_log, "{tenant}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_earlier_schema_with_data_in_it_becomes_the_newest_and_loses_nothing() {
    let tenants = [("none", 3), ("part", 6), ("whole", 8)];
    let logs: BTreeMap<&str, Vec<Line>> =
        tenants.map(|(tenant, traces)| (tenant, generated_lines(tenant, traces, 8, traces))).into();
    let (newest, store) = Database::with_schema().await;
    filled(&store, &logs).await;
    let rows = data(&newest.connect().await).await;
    assert!(rows.len() > 10 && rows["dg_projection_digests"].len() > 100);

    for (known, _) in (1..).zip(&migrations()[1..]) {
        let database = Database::empty().await;
        let mut client = database.connect().await;
        take(&mut client, &migrations()[..known]).await;
        fill(&client, &rows).await;
        let before = data(&client).await;
        let store = database.store();
        let status = store.migrate("newest", Duration::from_secs(30)).await.unwrap();
        assert_eq!((status.applied.len(), status.drift.len()), (migrations().len(), 0));
        assert_kept(&client, &before).await;

        let runtime = running(database.store()).await;
        for (tenant, lines) in &logs {
            assert_digests(&store, tenant, lines).await;
        }
        let next = parsed("whole", &[events::started("next")]);
        let answers = runtime.append("whole", &next[..]).await.unwrap();
        assert_eq!(inserted(&answers[0]), logs["whole"].len() as i64 + 1);
        let whole = [&logs["whole"][..], &next].concat();
        assert_digests(&store, "whole", &whole).await;
        runtime.stop(Duration::from_secs(10)).await;
    }
}
