//! Generations at the store: built beside what is served, prepared once, seen from the switch on.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dg_projections::model::Tables;
use dg_projections::projection::Projection;
use dg_store::{Committed, Direction, EdgesQuery, Ending, Prepared, Share, Store, Switched};
use dg_tests::Database;
use dg_tests::hands::{Rebuild, asked_of, image, prepared, projected, row_tables, taken_up};
use dg_tests::log::{
    append_all, apply_page, assert_proven, build_page, catch_up, generated_lines, model_of,
};

const GRAPH: Projection = Projection::ContextGraph;
const SUMMARY: Projection = Projection::TraceSummary;

/// Marks what is served now, so that readers can be asked what they see.
async fn mark(database: &Database) {
    let marks = "UPDATE dg_cg_nodes SET created_at = 'old'; UPDATE dg_cg_edges SET created_at = 'old';
        UPDATE dg_trace_summary SET title = 'old'; UPDATE dg_policy_eval_index SET created_at = 'old';
        UPDATE dg_precedent_index SET policy_version = 'old'";
    database.connect().await.batch_execute(marks).await.unwrap();
}

/// By table, how many rows of those that `known` has are there, and how many are marked.
fn marked(tables: &Tables, known: &Tables) -> [(usize, usize); 5] {
    macro_rules! count {
        ($table:ident, $field:ident) => {{
            let rows: Vec<_> =
                known.$table.keys().filter_map(|key| tables.$table.get(key)).collect();
            (rows.len(), rows.iter().filter(|row| row.$field == "old").count())
        }};
    }
    [
        count!(nodes, created_at),
        count!(edges, created_at),
        count!(summaries, title),
        count!(policy_evals, created_at),
        count!(precedents, policy_version),
    ]
}

/// Reads again and again: what a reader sees of the rows that were there from the beginning is old or
/// new, all of them, and never old again.
async fn watch(store: Store, known: Tables, is_over: Arc<AtomicBool>) -> usize {
    let trace = known.summaries.keys().next().unwrap();
    let edge = known.edges.values().next().unwrap();
    let query = EdgesQuery {
        node_id: edge.from_node_id.clone(),
        direction: Direction::Outgoing,
        limit: 10_000,
        cursor: None,
    };
    let reader = store.as_of(1);
    let (mut is_new, mut reads) = ([false; 5], 0);
    loop {
        let is_last = is_over.load(Ordering::SeqCst);
        let rows = marked(&store.tables("a").await.unwrap(), &known);
        let title = reader.trace_summary("a", trace).await.unwrap().title;
        let edges = reader.edges_of("a", &query).await.unwrap().edges;
        let old = edges.iter().filter(|edge| edge.created_at == "old").count();
        for (at, ((found, old), whole)) in rows.into_iter().zip(marked(&known, &known)).enumerate()
        {
            assert!(found == whole.0 && (old == 0 || old == found), "{at}: {old} of {found}");
            assert!(!is_new[at] || old == 0, "{at}: old again");
            is_new[at] |= old == 0;
        }
        assert!(!is_new[2] || title != "old");
        let own = |edge: &&dg_projections::rows::EdgeRow| known.edges.contains_key(&edge.edge_id);
        assert!(old == 0 || old == edges.iter().filter(own).count());
        reads += 1;
        if is_last {
            assert_eq!(is_new, [true; 5]);
            return reads;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_the_old_generation_until_the_switch_and_then_the_new_one() {
    for partitions in [1, 3] {
        let (database, store, mut log) = projected(12, 71).await;
        mark(&database).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let known = model_of(&log).tables;
        let watching = tokio::spawn(watch(database.store(), known, is_over.clone()));
        for (seed, projection) in (72..).zip(Projection::ALL) {
            let rebuild = Rebuild::begin(&store, projection, partitions).await;
            let more = generated_lines("a", 6, 8, seed);
            for batch in more.chunks(8) {
                append_all(&store, "a", batch, 8).await;
                for cursor in
                    store.building("a", projection, rebuild.generation).await.unwrap().cursors
                {
                    build_page(&store, "a", projection, cursor, 20).await;
                }
                catch_up(&store, "a", 5).await;
            }
            rebuild.build().await;
            log.extend(more);
            let log_seq = log.len() as i64;
            assert_eq!(rebuild.switch().await.unwrap(), Switched::Done { log_seq });
            rebuild.complete().await;
            let share = Share { partition: 0, partitions: 1 };
            let cursor = store.open_cursor("a", projection, share, false).await.unwrap();
            assert_eq!((cursor.generation, cursor.share.partitions), (2, partitions));
        }
        is_over.store(true, Ordering::SeqCst);
        assert!(watching.await.unwrap() > 3);
        assert_eq!(store.tables("a").await.unwrap(), model_of(&log).tables);
        assert_proven(&store, "a").await;
        // The live workers go on with what was built.
        let more = generated_lines("a", 6, 8, 79);
        append_all(&store, "a", &more, 8).await;
        catch_up(&store, "a", 5).await;
        assert_proven(&store, "a").await;
    }
}

#[tokio::test]
async fn building_touches_nothing_that_is_served() {
    let (database, store, _) = projected(12, 73).await;
    store.compute_digests("a").await.unwrap();
    let client = database.connect().await;
    for projection in Projection::ALL {
        let served = async || {
            let mut rows = image(&database, row_tables(projection)).await;
            rows.retain(|row| row.contains("(a,1,"));
            rows.extend(image(&database, &["dg_projection_digests", "dg_projections"]).await);
            (rows, format!("{:?}", store.stored_digests("a").await.unwrap()))
        };
        let before = served().await;
        assert!(before.0.len() > 12, "{before:?}");
        let names = [projection.as_str()];
        let lag = async || store.behind(&names).await.unwrap().len();
        let rebuild = Rebuild::begin(&store, projection, 3).await;
        assert_eq!(lag().await, 0);
        rebuild.build().await;
        rebuild.compared().await;
        assert_eq!((served().await, lag().await), (before, 0));
        let health = store.health(Some("a"), &names).await.unwrap().remove(0).projections.remove(0);
        assert_eq!((health.last_log_seq, health.applied_events), (96, 96));
        assert_eq!((health.generation, health.partitions.len()), (Some(1), 1));
        let sql = "SELECT sum(applied_events)::bigint FROM dg_projection_cursors
            WHERE generation = 2 AND projection_name = $1";
        let applied: i64 = client.query_one(sql, &[&projection.as_str()]).await.unwrap().get(0);
        assert_eq!(applied, 96);
    }
    assert_proven(&store, "a").await;
}

#[tokio::test]
async fn a_run_finds_what_it_began_and_nobody_else_does() {
    let (_database, store, _) = projected(6, 74).await;
    let Rebuild { run, generation, .. } = Rebuild::begin(&store, GRAPH, 2).await;
    let prepare = async |owner| store.prepare_generation(&run, owner, GRAPH, 3).await.unwrap();
    assert_eq!(prepare("y").await, Prepared::NotOurs);
    let cursor = store.building("a", GRAPH, generation).await.unwrap().cursors[1];
    let (_, moved) = build_page(&store, "a", GRAPH, cursor, 10).await;
    let building = Prepared::Building { generation, is_compared: false };
    assert_eq!(prepare("x").await, building);
    // It goes on where it stopped, with as many partitions as it began with.
    let cursors = store.building("a", GRAPH, generation).await.unwrap().cursors;
    assert_eq!((cursors.len(), cursors[1]), (2, moved));
    let why = Err("nothing to compare with");
    for (owner, of, is_taken) in
        [("y", generation, false), ("x", 1, false), ("x", generation, true)]
    {
        let noted = store.record_comparison((&run, owner), (GRAPH, of), why).await.unwrap();
        assert_eq!(noted, is_taken, "{owner} of generation {of}");
    }
    let compared = Prepared::Building { generation, is_compared: true };
    assert_eq!(prepare("x").await, compared);
    // Cancelled, it is nobody's; resumed by another owner, it is that one's.
    store.cancel_run(&run).await.unwrap().unwrap();
    assert_eq!(prepare("x").await, Prepared::NotOurs);
    store.resume_run(&run).await.unwrap().unwrap();
    assert_eq!(prepare("x").await, Prepared::NotOurs);
    store.claim_run("y", &dg_tests::log::ALL).await.unwrap().unwrap();
    assert_eq!((prepare("x").await, prepare("y").await), (Prepared::NotOurs, compared));
    // Retired by hand or by another run, a new one takes its place and is not compared yet.
    store.retire_generation("a", GRAPH, generation).await.unwrap();
    let next = Prepared::Building { generation: generation + 1, is_compared: false };
    assert_eq!(prepare("y").await, next);
    let step = store.run(None, &run.run_id).await.unwrap().unwrap().steps.remove(0);
    assert_eq!((step.generation, step.comparison, step.not_compared), (Some(3), None, None));
    store.end_run(&run, "y", &Ending::Interrupted).await.unwrap();
    let other = taken_up(&store, "x", &asked_of("a", dg_store::RunMode::Rebuild, GRAPH)).await.key;
    assert_eq!(prepared(&store, &other, "x", GRAPH, 1).await, 4);
    let gone = store.building("a", GRAPH, 3).await.unwrap_err();
    assert_eq!(gone.code, dg_projections::Code::Conflict);
}

#[tokio::test]
async fn the_numbers_of_generations_are_given_once() {
    let (_database, store, _) = projected(6, 75).await;
    let first = Rebuild::built(&store, GRAPH, 1).await;
    store.cancel_run(&first.run).await.unwrap().unwrap();
    store.retire_generation("a", GRAPH, first.generation).await.unwrap();
    while store.clear_retired(None, 1000).await.unwrap().is_some() {}
    // Nothing is left of it, and what comes next is not taken for it.
    let second = Rebuild::begin(&store, GRAPH, 1).await;
    assert_eq!((first.generation, second.generation), (2, 3));
    store.end_run(&second.run, "x", &Ending::Interrupted).await.unwrap();
    store.resume_run(&first.run).await.unwrap().unwrap();
    store.claim_run("x", &dg_tests::log::ALL).await.unwrap().unwrap();
    assert_eq!(prepared(&store, &first.run, "x", GRAPH, 1).await, 4);
}

#[tokio::test]
async fn whoever_still_writes_what_is_retired_is_stopped() {
    let (database, store, _) = projected(6, 76).await;
    let open = async || store.open_cursor("a", SUMMARY, Share::WHOLE, false).await.unwrap();
    let live = open().await;
    let rebuild = Rebuild::built(&store, SUMMARY, 2).await;
    append_all(&store, "a", &generated_lines("a", 3, 8, 77), 100).await;
    assert_eq!(rebuild.switch().await.unwrap(), Switched::Done { log_seq: 48 });
    let before = image(&database, row_tables(SUMMARY)).await;
    let (stopped, _) = apply_page(&store, "a", SUMMARY, live, 10).await;
    assert_eq!(stopped, Committed::Superseded);
    assert_eq!(image(&database, row_tables(SUMMARY)).await, before);
    assert_eq!(open().await.generation, 2);
    rebuild.complete().await;
    // Of one that is being built, too; and it is not revived by going on.
    let other = Rebuild::begin(&store, SUMMARY, 1).await;
    let cursor = store.building("a", SUMMARY, other.generation).await.unwrap().cursors[0];
    store.retire_generation("a", SUMMARY, other.generation).await.unwrap();
    let (stopped, _) = build_page(&store, "a", SUMMARY, cursor, 10).await;
    assert_eq!(stopped, Committed::Superseded);
    // What is served cannot be retired.
    store.retire_generation("a", SUMMARY, 2).await.unwrap();
    catch_up(&store, "a", 10).await;
    assert_proven(&store, "a").await;
    assert_eq!((open().await.generation, open().await.last_log_seq), (2, 72));
}
