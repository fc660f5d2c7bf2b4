//! What is left of generations: retired when nobody needs it, deleted in slices, found until it is
//! gone.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::projection::Projection;
use dg_store::{Ending, NewRun, RunKey, RunMode, RunStatus, Store};
use dg_tests::Database;
use dg_tests::hands::{Rebuild, asked_of, build, image, prepared, projected, row_tables, taken_up};
use dg_tests::log::{append_all, assert_proven, catch_up, generated_lines, until_blocked};
use tokio::task::JoinSet;

const GRAPH: Projection = Projection::ContextGraph;
const SUMMARY: Projection = Projection::TraceSummary;
const HOUR: Duration = Duration::from_secs(3600);

const CURSORS: &str = "dg_projection_cursors";

/// Rows and cursors of a projection of `a` by generation.
async fn left(database: &Database, projection: Projection) -> Vec<(i32, i64, i64)> {
    let client = database.connect().await;
    let tables = row_tables(projection).iter();
    let of = "WHERE tenant_id = 'a'";
    let rows =
        tables.map(|table| format!("SELECT generation, 1 AS row, 0 AS cursor FROM {table} {of}"));
    let all = rows.collect::<Vec<_>>().join(" UNION ALL ");
    let sql = format!(
        "SELECT generation, sum(row), sum(cursor) FROM ({all} UNION ALL
            SELECT generation, 0, 1 FROM {CURSORS} {of} AND projection_name = $1) AS one
         GROUP BY generation ORDER BY generation"
    );
    let rows = client.query(&sql, &[&projection.as_str()]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

#[tokio::test]
async fn slices_take_what_is_retired_and_nothing_else_and_its_cursors_last() {
    for projection in Projection::ALL {
        let (database, store, _) = projected(6, 111).await;
        append_all(&store, "b", &generated_lines("b", 3, 8, 112), 100).await;
        catch_up(&store, "b", 100).await;
        let rebuild = Rebuild::built(&store, projection, 3).await;
        rebuild.switch().await.unwrap();
        rebuild.complete().await;
        let building = Rebuild::begin(&store, projection, 2).await;
        let cursor = store.building("a", projection, building.generation).await.unwrap().cursors[0];
        dg_tests::log::build_page(&store, "a", projection, cursor, 20).await;
        let kept = async || {
            let mut rows = image(&database, row_tables(projection)).await;
            rows.extend(image(&database, &[CURSORS]).await);
            rows.retain(|row| {
                !row.contains("(a,1,") && !row.contains(&format!("(a,{projection},1,"))
            });
            rows
        };
        let before = kept().await;
        let (_, mut rows, _) = left(&database, projection).await[0];
        // Whoever clears is another one each time: what is left is found.
        loop {
            let cleared = database.store().clear_retired(None, 7).await.unwrap().unwrap();
            assert_eq!((&*cleared.tenant_id, cleared.projection), ("a", projection));
            assert_eq!((cleared.generation, cleared.rows as i64), (1, rows.min(7)));
            assert_eq!(cleared.is_done, rows < 7);
            assert_eq!(kept().await, before);
            rows -= cleared.rows as i64;
            let now = left(&database, projection).await;
            if cleared.is_done {
                assert!(now.iter().map(|one| one.0).eq([2, 3]), "{now:?}");
                break;
            }
            assert_eq!(now[0], (1, rows, 1), "the cursors go last");
        }
        assert_eq!(database.store().clear_retired(None, 7).await.unwrap(), None);
        assert_proven(&store, "a").await;
        assert_proven(&store, "b").await;
    }
}

#[tokio::test]
async fn one_projection_is_cleared_alone() {
    let (database, store, _) = projected(6, 113).await;
    for projection in Projection::ALL {
        let rebuild = Rebuild::built(&store, projection, 1).await;
        rebuild.switch().await.unwrap();
        rebuild.complete().await;
    }
    assert_eq!(store.clear_retired(Some(("b", SUMMARY)), 1000).await.unwrap(), None);
    let cleared = store.clear_retired(Some(("a", SUMMARY)), 1000).await.unwrap().unwrap();
    assert_eq!((cleared.projection, cleared.rows, cleared.is_done), (SUMMARY, 6, true));
    assert_eq!(store.clear_retired(Some(("a", SUMMARY)), 1000).await.unwrap(), None);
    for projection in Projection::ALL {
        let generations = left(&database, projection).await;
        assert_eq!(generations.len(), if projection == SUMMARY { 1 } else { 2 });
    }
}

/// A slice that finds its rows deleted by another has not found the end.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_clear_the_second_goes_on_where_the_first_stops() {
    let (database, store, _) = projected(30, 114).await;
    let rebuild = Rebuild::built(&store, SUMMARY, 1).await;
    rebuild.switch().await.unwrap();
    let first = database.connect().await;
    let slice = "BEGIN; SELECT 1 FROM dg_projection_cursors WHERE retired FOR UPDATE;
        DELETE FROM dg_trace_summary WHERE ctid = ANY (ARRAY(SELECT ctid FROM dg_trace_summary
            WHERE tenant_id = 'a' AND generation = 1 LIMIT 10))";
    first.batch_execute(slice).await.unwrap();
    let ended = async {
        until_blocked(&database).await;
        first.batch_execute("COMMIT").await.unwrap();
    };
    let (cleared, ()) = tokio::join!(store.clear_retired(None, 10), ended);
    let cleared = cleared.unwrap().unwrap();
    assert_eq!((cleared.rows, cleared.is_done), (10, false));
    assert_eq!(left(&database, SUMMARY).await[0], (1, 10, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_clear_leave_nothing() {
    let (database, store, _) = projected(20, 115).await;
    for projection in Projection::ALL {
        let rebuild = Rebuild::built(&store, projection, 3).await;
        rebuild.switch().await.unwrap();
        rebuild.complete().await;
    }
    let mut clearing = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        clearing
            .spawn(async move { while store.clear_retired(None, 9).await.unwrap().is_some() {} });
    }
    clearing.join_all().await;
    for projection in Projection::ALL {
        let generations = left(&database, projection).await;
        assert_eq!(generations.iter().map(|one| (one.0, one.2)).collect::<Vec<_>>(), [(2, 3)]);
    }
    assert_proven(&store, "a").await;
    drop(store);
    assert_eq!(database.deadlocks().await, 0);
}

async fn retired(database: &Database, tenant: &str) -> bool {
    let sql = "SELECT bool_and(retired) FROM dg_projection_cursors
        WHERE tenant_id = $1 AND projection_name = 'context_graph' AND generation = 2";
    database.connect().await.query_one(sql, &[&tenant]).await.unwrap().get(0)
}

/// A run of a tenant of its own that has built a generation, and then this status.
async fn run_that_is(store: &Store, tenant: &str, status: RunStatus, dry_run: bool) -> RunKey {
    append_all(store, tenant, &generated_lines(tenant, 2, 8, 1), 100).await;
    catch_up(store, tenant, 100).await;
    let new = NewRun { dry_run, ..asked_of(tenant, RunMode::Rebuild, GRAPH) };
    let run = taken_up(store, "x", &new).await.key;
    let generation = prepared(store, &run, "x", GRAPH, 2).await;
    build(store, tenant, GRAPH, generation).await;
    let ending = match status {
        RunStatus::Queued => Ending::Queued,
        RunStatus::Interrupted => Ending::Interrupted,
        RunStatus::Failed => Ending::Failed(dg_projections::Code::Internal, "x"),
        RunStatus::Completed => Ending::Completed,
        RunStatus::Cancelled => {
            store.cancel_run(&run).await.unwrap().unwrap();
            return run;
        }
        RunStatus::Running => return run,
    };
    assert!(store.end_run(&run, "x", &ending).await.unwrap());
    run
}

#[tokio::test]
async fn what_nobody_will_go_on_with_is_retired_and_nothing_else() {
    let (database, store) = Database::with_schema().await;
    let client = database.connect().await;
    let table = [
        ("dry", RunStatus::Completed, true, false, true),
        ("cancelled", RunStatus::Cancelled, false, false, false),
        ("cancelled-once", RunStatus::Cancelled, false, true, true),
        ("failed", RunStatus::Failed, false, false, false),
        ("failed-once", RunStatus::Failed, false, true, true),
        ("interrupted", RunStatus::Interrupted, false, true, false),
        ("running", RunStatus::Running, false, true, false),
        ("dry-interrupted", RunStatus::Interrupted, true, true, false),
        // The last, since it would be taken up again.
        ("queued", RunStatus::Queued, false, true, false),
    ];
    for (tenant, status, dry_run, is_long_ago, _) in table {
        let run = run_that_is(&store, tenant, status, dry_run).await;
        if is_long_ago {
            let sql = "UPDATE dg_projection_runs SET requested_at = requested_at - interval '2 hours',
                    finished_at = finished_at - interval '2 hours', started_at = started_at - interval '2 hours'
                WHERE tenant_id = $1 AND run_id = $2::text::uuid";
            client.execute(sql, &[&run.tenant_id, &run.run_id]).await.unwrap();
        }
    }
    // Partition by partition; and only once.
    assert_eq!(store.retire_abandoned(HOUR).await.unwrap(), 6);
    assert_eq!(store.retire_abandoned(HOUR).await.unwrap(), 0);
    for (tenant, _, _, _, is_retired) in table {
        assert_eq!(retired(&database, tenant).await, is_retired, "{tenant}");
        assert_proven(&store, tenant).await;
    }
    // What no run knows of, too; what is served, never.
    let lost = "DELETE FROM dg_projection_run_steps; DELETE FROM dg_projection_runs";
    client.batch_execute(lost).await.unwrap();
    assert_eq!(store.retire_abandoned(HOUR).await.unwrap(), 12);
    let sql = "SELECT count(*) FROM dg_projection_cursors WHERE NOT retired AND generation = 1";
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 27);
}

/// Somebody resumes the run while what it built is about to be retired.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_resumed_meanwhile_is_not_retired() {
    let (database, store) = Database::with_schema().await;
    let run = run_that_is(&store, "a", RunStatus::Cancelled, false).await;
    let resuming = database.connect().await;
    let resume = "BEGIN; SELECT 1 FROM dg_projections WHERE tenant_id = 'a' FOR UPDATE;
        SELECT 1 FROM dg_projection_cursors WHERE tenant_id = 'a' FOR UPDATE;
        UPDATE dg_projection_runs SET status = 'queued', finished_at = NULL";
    resuming.batch_execute(resume).await.unwrap();
    let resumed = async {
        until_blocked(&database).await;
        resuming.batch_execute("COMMIT").await.unwrap();
    };
    let (count, ()) = tokio::join!(store.retire_abandoned(Duration::ZERO), resumed);
    assert_eq!(count.unwrap(), 0);
    assert!(!retired(&database, "a").await);
    assert_eq!(store.claim_run("x", &dg_tests::log::ALL).await.unwrap().unwrap().key, run);
    assert_eq!(prepared(&store, &run, "x", GRAPH, 1).await, 2);
}
