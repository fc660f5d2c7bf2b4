//! The comparison of two generations: the first difference is the one that a proof would name, and
//! the digests are those of all rows.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::projection::Projection;
use dg_store::{Compared, Store, Verdict};
use dg_tests::hands::{Rebuild, projected};
use dg_tests::log::{append_all, apply_page, build_page, catch_up, generated_lines};
use tokio_postgres::Client;

const GRAPH: Projection = Projection::ContextGraph;
const SUMMARY: Projection = Projection::TraceSummary;
const PRECEDENT: Projection = Projection::PrecedentIndex;

/// The tables that rows are in: the projection, the key, and a column to change.
const TABLES: [(Projection, &str, &str, &str); 5] = [
    (GRAPH, "dg_cg_nodes", "node_id", "created_at"),
    (GRAPH, "dg_cg_edges", "edge_id", "to_node_id"),
    (SUMMARY, "dg_trace_summary", "trace_id", "title"),
    (PRECEDENT, "dg_policy_eval_index", "index_id", "policy_version"),
    (PRECEDENT, "dg_precedent_index", "source_event_id", "exception_id"),
];

async fn digest_of(store: &Store, projection: Projection) -> dg_projections::hash::Hash {
    let digests = store.compute_digests("a").await.unwrap();
    digests.iter().find(|one| one.name == projection.as_str()).unwrap().digest
}

#[tokio::test]
async fn equal_generations_have_equal_digests_and_those_that_are_computed() {
    for partitions in [1, 3] {
        let (_database, store, _) = projected(20, 101).await;
        for projection in Projection::ALL {
            let rebuild = Rebuild::built(&store, projection, partitions).await;
            let found = rebuild.compared().await;
            assert_eq!((found.log_seq, &found.difference), (160, &None));
            assert_eq!(found.digest, found.digest_before);
            assert_eq!(found.digest, digest_of(&store, projection).await);
            rebuild.switch().await.unwrap();
            rebuild.complete().await;
            // Now it is of the other generation.
            assert_eq!(found.digest, digest_of(&store, projection).await);
        }
    }
}

/// What is done to a table of what is served, and undone again.
async fn tampered(client: &Client, table: &str, tampering: &str) {
    let sql = format!("CREATE TABLE kept AS TABLE {table}; {tampering}");
    client.batch_execute(&sql).await.unwrap();
}

async fn mended(client: &Client, table: &str) {
    let sql = format!("DELETE FROM {table}; INSERT INTO {table} TABLE kept; DROP TABLE kept");
    client.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn what_was_changed_by_hand_is_named_as_a_proof_names_it() {
    let (database, store, _) = projected(20, 102).await;
    let client = database.connect().await;
    for (projection, table, key, column) in TABLES {
        let rebuild = Rebuild::built(&store, projection, 2).await;
        let of_it = "WHERE generation = 1";
        let pick = |order: &str| {
            format!(
                "{of_it} AND {key} = (SELECT {key} FROM {table} {of_it} ORDER BY {order} LIMIT 1)"
            )
        };
        let added = |name: &str| {
            format!(
                "CREATE TEMP TABLE added ON COMMIT DROP AS SELECT * FROM {table} {} ;
                 UPDATE added SET {key} = '{name}'; INSERT INTO {table} TABLE added",
                pick(key)
            )
        };
        let mut table_of_tamperings = vec![
            added(""),
            added("0"),
            added("zz"),
            format!("DELETE FROM {table} {of_it}"),
            format!("UPDATE {table} SET {column} = 'forged' {of_it}"),
        ];
        for order in [key.to_owned(), format!("{key} DESC"), format!("md5({key})")] {
            let row = pick(&order);
            table_of_tamperings.push(format!("UPDATE {table} SET {column} = 'forged' {row}"));
            table_of_tamperings.push(format!("DELETE FROM {table} {row}"));
        }
        let honest = rebuild.compared().await;
        for tampering in table_of_tamperings {
            tampered(&client, table, &tampering).await;
            let found = rebuild.compared().await;
            let Verdict::Different(named) = store.verify("a", &|_, _| ()).await.unwrap() else {
                panic!("{tampering}: not found");
            };
            assert_eq!(found.difference, Some(*named), "{tampering}");
            assert_eq!(found.difference.unwrap().table, table);
            assert_eq!(found.digest, honest.digest, "{tampering}");
            assert_eq!(found.digest_before, digest_of(&store, projection).await, "{tampering}");
            // What the digest does not cover is found nevertheless.
            assert!(found.digest != found.digest_before || table == "dg_policy_eval_index");
            client.batch_execute("DELETE FROM dg_projection_digests").await.unwrap();
            mended(&client, table).await;
        }
        assert_eq!(rebuild.compared().await, honest);
        store.cancel_run(&rebuild.run).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn of_several_differences_the_first_of_tables_and_keys_is_named() {
    let (database, store, _) = projected(20, 103).await;
    let rebuild = Rebuild::built(&store, GRAPH, 1).await;
    let forged = "UPDATE dg_cg_edges SET to_node_id = 'forged' WHERE generation = 1;
        DELETE FROM dg_cg_nodes WHERE generation = 1 AND log_seq > 90";
    database.connect().await.batch_execute(forged).await.unwrap();
    let Verdict::Different(named) = store.verify("a", &|_, _| ()).await.unwrap() else { panic!() };
    assert_eq!(named.table, "dg_cg_nodes");
    assert_eq!(rebuild.compared().await.difference, Some(*named));
}

#[tokio::test]
async fn those_that_stand_apart_are_not_compared() {
    let (_database, store, _) = projected(20, 104).await;
    let rebuild = Rebuild::begin(&store, SUMMARY, 2).await;
    let compare = async || {
        let told = || panic!("no snapshot was taken");
        store.compare_generations("a", SUMMARY, rebuild.generation, told).await.unwrap()
    };
    let apart = |served: &[i64], built: &[i64]| Compared::Apart {
        served: Some(served.to_vec()),
        built: built.to_vec(),
    };
    assert_eq!(compare().await, apart(&[160], &[0, 0]));
    let cursors = store.building("a", SUMMARY, rebuild.generation).await.unwrap().cursors;
    build_page(&store, "a", SUMMARY, cursors[1], 500).await;
    assert_eq!(compare().await, apart(&[160], &[0, 160]));
    append_all(&store, "a", &generated_lines("a", 3, 8, 105), 100).await;
    rebuild.build().await;
    assert_eq!(compare().await, apart(&[160], &[184, 184]));
    let live = store.open_cursor("a", SUMMARY, dg_store::Share::WHOLE, false).await.unwrap();
    apply_page(&store, "a", SUMMARY, live, 10).await;
    assert_eq!(compare().await, apart(&[170], &[184, 184]));
    catch_up(&store, "a", 10).await;
    assert_eq!(rebuild.compared().await.difference, None);
    store.retire_generation("a", SUMMARY, rebuild.generation).await.unwrap();
    let gone = store.compare_generations("a", SUMMARY, rebuild.generation, || ()).await;
    assert_eq!(gone.unwrap_err().code, dg_projections::Code::Conflict);
}

/// Whoever held both at one cursor lets go when the snapshot is taken; what comes then is not seen.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_after_the_snapshot_is_not_compared() {
    let (database, store, _) = projected(20, 106).await;
    for (seed, projection) in (107..).zip(Projection::ALL) {
        let rebuild = Rebuild::built(&store, projection, 1).await;
        let before = digest_of(&store, projection).await;
        let (other, handle) = (database.store(), tokio::runtime::Handle::current());
        // Events come, are applied to what is served, and a row of what was built is forged.
        let client = database.connect().await;
        let mut is_told = false;
        let on_snapshot = || {
            is_told = true;
            tokio::task::block_in_place(|| {
                handle.block_on(async {
                    append_all(&other, "a", &generated_lines("a", 3, 8, seed), 100).await;
                    catch_up(&other, "a", 100).await;
                    let forge = "UPDATE dg_cg_nodes SET node_type = 'forged' WHERE generation = 2;
                        DELETE FROM dg_trace_summary WHERE generation = 2;
                        DELETE FROM dg_precedent_index WHERE generation = 2";
                    client.batch_execute(forge).await.unwrap();
                });
            });
        };
        let compare = store.compare_generations("a", projection, rebuild.generation, on_snapshot);
        let Compared::Whole(found) = compare.await.unwrap() else { panic!("apart") };
        assert!(is_told);
        assert_eq!((found.difference, found.digest, found.digest_before), (None, before, before));
        store.cancel_run(&rebuild.run).await.unwrap().unwrap();
    }
}

/// Two pages of rows, whole, and differences around the border between them.
#[tokio::test]
async fn pages_of_rows_join_without_a_gap() {
    let (database, store, _) = projected(1, 110).await;
    let rebuild = Rebuild::built(&store, SUMMARY, 1).await;
    let client = database.connect().await;
    let rows = "DELETE FROM dg_trace_summary;
        INSERT INTO dg_trace_summary (tenant_id, generation, trace_id, workflow, title,
            primary_entity_type, primary_entity_id, started_at, event_count, last_log_seq)
        SELECT 'a', generation, 't' || lpad(n::text, 5, '0'), 'w', 't', 'e', 'i', 's', 1, n
        FROM generate_series(1, 10000) AS n, generate_series(1, 2) AS generation";
    client.batch_execute(rows).await.unwrap();
    let honest = rebuild.compared().await;
    assert_eq!((&honest.difference, honest.digest), (&None, honest.digest_before));
    assert_eq!(honest.digest, digest_of(&store, SUMMARY).await);
    let of_it = "WHERE generation = 1 AND trace_id =";
    let add = |key: &str, like: &str| {
        format!(
            "CREATE TEMP TABLE added ON COMMIT DROP AS SELECT * FROM dg_trace_summary {of_it} '{like}';
             UPDATE added SET trace_id = '{key}'; INSERT INTO dg_trace_summary TABLE added"
        )
    };
    for number in ["05000", "05001", "10000"] {
        let (own, after) = (format!("t{number}"), format!("t{number}x"));
        for (tampering, key, field) in [
            (
                format!("UPDATE dg_trace_summary SET title = 'x' {of_it} '{own}'"),
                &own,
                Some("title"),
            ),
            (format!("DELETE FROM dg_trace_summary {of_it} '{own}'"), &own, None),
            (add(&after, &own), &after, None),
        ] {
            tampered(&client, "dg_trace_summary", &tampering).await;
            let found = rebuild.compared().await;
            let named = found.difference.unwrap();
            assert_eq!((&*named.key, named.field.as_deref()), (&**key, field), "{tampering}");
            assert_eq!(found.digest, honest.digest);
            assert_ne!(found.digest_before, honest.digest);
            mended(&client, "dg_trace_summary").await;
        }
    }
}
