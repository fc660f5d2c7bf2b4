//! Digests that nobody asked for: when they appear, when nothing is computed, and that nobody waits
//! for them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_runtime::{Runtime, Settings};
use dg_store::{Store, StoredDigest};
use dg_tests::log::{
    ALL, append_all, assert_proven, catch_up, generated_lines, inserted, model_of, parsed, running,
    settings, until_applied, until_blocked,
};
use dg_tests::{Database, events, eventually};

const STOP: Duration = Duration::from_secs(10);

async fn append(runtime: &Runtime, tenant: &str, lines: &[Line]) {
    runtime.append(tenant, lines).await.unwrap().iter().for_each(|answer| _ = inserted(answer));
}

/// Waits until all four stand at this number.
async fn until_digested(store: &Store, tenant: &str, log_seq: i64) -> Vec<StoredDigest> {
    eventually("the digests are stored", || async {
        let stored = store.stored_digests(tenant).await.ok()?;
        let is_there = |one: &StoredDigest| one.is_current && one.log_seq == log_seq;
        (stored.len() == 4 && stored.iter().all(is_there)).then_some(stored)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_appear_at_the_tail_and_are_those_of_the_log() {
    let (database, store) = Database::with_schema().await;
    let runtime = running(database.store()).await;
    let lines = generated_lines("a", 20, 8, 1);
    append(&runtime, "a", &lines).await;
    let stored = until_digested(&store, "a", 160).await;
    let model = model_of(&lines).tables.digests().unwrap();
    let found: Vec<_> = stored.iter().map(|one| one.digest).collect();
    let [graph, summary, precedent] = Projection::ALL.map(|one| model.of(one));
    assert_eq!(found, [graph, model.full_projection(), precedent, summary]);
    append(&runtime, "a", &parsed("a", &events::whole_trace("more"))).await;
    until_digested(&store, "a", 166).await;
    assert_proven(&store, "a").await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_when_a_runtime_starts_is_computed_and_what_is_there_is_not() {
    let (database, store) = Database::with_schema().await;
    for tenant in ["a", "b"] {
        append_all(&store, tenant, &parsed(tenant, &events::whole_trace("t")), 10).await;
        catch_up(&store, tenant, 10).await;
    }
    let before = store.compute_digests("a").await.unwrap();
    let runtime = running(database.store()).await;
    until_digested(&store, "b", 6).await;
    // A worker that starts and finds nothing new, and a request, compute nothing either.
    append(&runtime, "b", &parsed("b", &[events::started("u")])).await;
    until_digested(&store, "b", 7).await;
    assert_eq!(runtime.digests("a", false).await.unwrap(), before);
    assert_eq!(store.stored_digests("a").await.unwrap(), before);
    // On demand everything is.
    let anew = runtime.digests("a", true).await.unwrap();
    assert!(anew.iter().zip(&before).all(|(new, old)| new.updated_at > old.updated_at));
    assert!(anew.iter().zip(&before).all(|(new, old)| new.digest == old.digest));
    assert_eq!(runtime.digests("nobody", true).await.unwrap_err().code, Code::NotFound);
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_moves_is_not_refreshed_before_it_rests() {
    let (database, store) = Database::with_schema().await;
    let idle = Duration::from_millis(500);
    let runtime = Runtime::start(database.store(), Settings { digest_idle: idle, ..settings() });
    let runtime = runtime.await.unwrap();
    let (started, mut appended, mut at) = (Instant::now(), Instant::now(), 0);
    // On a machine so slow that the tenant did rest, nothing is asserted of the time before.
    let mut did_rest = false;
    while started.elapsed() < 3 * idle {
        append(&runtime, "a", &parsed("a", &[events::started(&format!("t{at}"))])).await;
        at += 1;
        until_applied(&store, "a").await;
        did_rest |= appended.elapsed() > idle / 2;
        appended = Instant::now();
        let stored = store.stored_digests("a").await.unwrap();
        assert!(did_rest || stored.is_empty(), "{stored:?}");
    }
    until_digested(&store, "a", at).await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_refresh_is_held_up_workers_and_reads_go_on_and_a_stop_is_quick() {
    let (database, store) = Database::with_schema().await;
    let settings = Settings { storage_timeout: Duration::from_secs(3), ..settings() };
    let runtime = Runtime::start(database.store(), settings).await.unwrap();
    let holder = database.connect().await;
    holder.batch_execute("BEGIN; LOCK TABLE dg_projection_digests IN SHARE MODE").await.unwrap();
    append(&runtime, "a", &parsed("a", &events::whole_trace("t"))).await;
    until_blocked(&database).await;
    for (tenant, trace) in [("a", "u"), ("b", "t")] {
        append(&runtime, tenant, &parsed(tenant, &events::whole_trace(trace))).await;
        until_applied(&store, tenant).await;
        let read = |store: Store| async move { store.trace_summary(tenant, trace).await };
        assert!(runtime.gate().run(read).await.is_ok());
    }
    // A request has its turn after it, or none.
    let refused = runtime.digests("b", true).await.unwrap_err();
    assert_eq!(refused.code, Code::Storage);
    assert!(refused.message.starts_with("no turn"), "{refused}");
    let started = Instant::now();
    runtime.stop(STOP).await;
    assert!(started.elapsed() < STOP / 4, "{:?}", started.elapsed());
    holder.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_full_digest_waits_for_the_last_of_three() {
    let (database, store) = Database::with_schema().await;
    let projections = vec![Projection::ContextGraph, Projection::TraceSummary];
    let two = Settings { projections, ..settings() };
    let runtime = Runtime::start(database.store(), two).await.unwrap();
    let lines = parsed("a", &events::whole_trace("t"));
    append(&runtime, "a", &lines).await;
    let names = |stored: &[StoredDigest]| stored.iter().map(|one| one.name.clone()).collect();
    let stored: Vec<String> = eventually("two digests are there", || async {
        let stored = store.stored_digests("a").await.ok()?;
        (stored.len() > 1 && stored.iter().all(|one| one.is_current)).then(|| names(&stored))
    })
    .await;
    assert_eq!(stored, ALL[..2]);
    runtime.stop(STOP).await;
    // The third fails at the fourth event, until that is mended.
    let good = &lines[3].event.payload;
    let admin = database.connect().await;
    let mend = "UPDATE dg_event_log SET payload_json = $1 WHERE log_seq = 4";
    admin.execute(mend, &[&good.replace("good customer", "bad customer")]).await.unwrap();
    let runtime = running(database.store()).await;
    let stored: Vec<String> = eventually("the third has a digest of where it failed", || async {
        let stored = runtime.digests("a", false).await.ok()?;
        let third = stored.iter().find(|one| one.name == "precedent_index")?;
        (third.log_seq == 3).then(|| names(&stored))
    })
    .await;
    assert_eq!(stored, ["context_graph", "precedent_index", "trace_summary"]);
    admin.execute(mend, &[&good]).await.unwrap();
    eventually("it tries again", || async {
        runtime.retry("a", Projection::PrecedentIndex).await.unwrap();
        store.behind(&ALL).await.ok()?.is_empty().then_some(())
    })
    .await;
    let full = &until_digested(&store, "a", 6).await[1];
    assert_eq!(full.digest, model_of(&lines).tables.digests().unwrap().full_projection());
    runtime.stop(STOP).await;
}
