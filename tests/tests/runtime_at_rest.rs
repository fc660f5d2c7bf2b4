//! Tenants at rest have no actors, and miss nothing.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::projection::Projection;
use dg_runtime::{Runtime, Settings, Tree};
use dg_store::Store;
use dg_tests::log::{ALL, append_all, inserted, parsed, settings, until_applied};
use dg_tests::{Database, events, eventually};

const STOP: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_secs(3600);

async fn resting_after(store: Store, limit: Duration, poll_interval: Duration) -> Runtime {
    let settings = Settings { tenant_idle_stop: limit, poll_interval, ..settings() };
    Runtime::start(store, settings).await.unwrap()
}

async fn append(runtime: &Runtime, tenant: &str, trace: &str) {
    let lines = parsed(tenant, &[events::started(trace)]);
    inserted(&runtime.append(tenant, lines).await.unwrap()[0]);
}

/// The names of the actors below this part of the tree.
async fn below(runtime: &Runtime, part: &str) -> Vec<String> {
    let parts: Vec<Tree> = runtime.tree().await.unwrap().children;
    let part = parts.into_iter().find(|one| one.name == part).unwrap();
    part.children.into_iter().map(|child| child.name).collect()
}

async fn until_all_rest(runtime: &Runtime) {
    eventually("no tenant has an actor", || async {
        let (lanes, tenants) = (below(runtime, "lanes").await, below(runtime, "tenants").await);
        (lanes.is_empty() && tenants.is_empty()).then_some(())
    })
    .await;
    assert!(runtime.snapshot().await.unwrap().workers.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_quiet_tenants_have_no_actor_and_an_append_wakes_one() {
    let (database, store) = Database::with_schema().await;
    let limit = Duration::from_secs(1);
    let runtime = resting_after(database.store(), limit, Duration::from_millis(50)).await;
    for number in 0..300 {
        append(&runtime, &format!("t{number}"), "t").await;
    }
    eventually("all are current", || async {
        store.behind(&ALL).await.ok()?.is_empty().then_some(())
    })
    .await;
    until_all_rest(&runtime).await;
    append(&runtime, "t7", "u").await;
    until_applied(&store, "t7").await;
    assert_eq!(below(&runtime, "tenants").await, ["t7"]);
    // Written elsewhere: the directory finds it.
    until_all_rest(&runtime).await;
    append_all(&store, "t8", &parsed("t8", &[events::started("u")]), 1).await;
    until_applied(&store, "t8").await;
    assert_eq!(below(&runtime, "tenants").await, ["t8"]);
    // An operator's retry wakes a tenant, too, but no stranger.
    until_all_rest(&runtime).await;
    assert!(runtime.retry("t9", Projection::TraceSummary).await.unwrap());
    assert_eq!(below(&runtime, "tenants").await, ["t9"]);
    assert!(!runtime.retry("nobody", Projection::TraceSummary).await.unwrap());
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_meets_the_stop_is_applied_without_a_look_of_the_directory() {
    let (database, store) = Database::with_schema().await;
    let limit = Duration::from_millis(20);
    let runtime = resting_after(database.store(), limit, NEVER).await;
    let mut stops = 0;
    for round in 0..120 {
        append(&runtime, "a", &format!("t{round}")).await;
        until_applied(&store, "a").await;
        // Around the moment when it is found at rest.
        tokio::time::sleep(Duration::from_millis(10 + round % 40)).await;
        stops += i32::from(runtime.snapshot().await.unwrap().workers.is_empty());
    }
    assert!(stops > 10, "it was at rest {stops} times");
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_a_failed_worker_keeps_its_actors() {
    let (database, store) = Database::with_schema().await;
    append_all(&store, "good", &parsed("good", &events::whole_trace("t")), 10).await;
    poisoned(&database, &store, "bad").await;
    let limit = Duration::from_millis(50);
    let runtime = resting_after(database.store(), limit, Duration::from_millis(20)).await;
    let tenants = || async { below(&runtime, "tenants").await };
    eventually("the good one was at work, and rests", || async {
        let is_done = store.behind(&ALL).await.ok()?.iter().all(|one| one.tenant_id == "bad");
        (is_done && tenants().await == ["bad"]).then_some(())
    })
    .await;
    // Neither stopped, nor stopped and woken again by the directory.
    let lives = || async {
        let workers = runtime.snapshot().await.unwrap().workers;
        let own = workers.into_iter().filter(|(worker, _)| worker.key.tenant_id == "bad");
        own.map(|(worker, _)| worker.started_at).collect::<Vec<_>>()
    };
    let before = lives().await;
    append(&runtime, "good", "u").await;
    until_applied(&store, "good").await;
    eventually("the good one rests again", || async { (tenants().await == ["bad"]).then_some(()) })
        .await;
    assert_eq!(lives().await, before);
    let workers = runtime.snapshot().await.unwrap().workers;
    assert_eq!(workers.len(), 3);
    assert!(workers.iter().any(|(worker, _)| worker.status == "failed"), "{workers:?}");
    runtime.stop(STOP).await;
}

/// With room for so many tenants.
async fn crowded(database: &Database, tenants: usize, settings: Settings) -> Runtime {
    let settings = Settings { max_workers: 3 * tenants, ..settings };
    Runtime::start(database.store(), settings).await.unwrap()
}

/// Looks often, and gives turns as short as a look of the keeper's.
fn in_haste() -> Settings {
    let (tenant_turn, poll_interval) = (Duration::from_millis(20), Duration::from_millis(50));
    Settings { tenant_turn, poll_interval, ..settings() }
}

async fn until_none_is_behind(store: &Store) {
    eventually("all are current", || async {
        store.behind(&ALL).await.ok()?.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_beyond_the_places_wait_for_others_to_rest_and_none_is_left_out() {
    let (database, store) = Database::with_schema().await;
    for number in 0..60 {
        let tenant = format!("t{number}");
        append_all(&store, &tenant, &parsed(&tenant, &events::whole_trace("t")), 10).await;
    }
    let runtime = crowded(&database, 4, Settings { tenant_turn: NEVER, ..in_haste() }).await;
    let mut most = (0, 0);
    while !store.behind(&ALL).await.unwrap().is_empty() {
        let waiting = runtime.snapshot().await.unwrap().waiting;
        most = (most.0.max(below(&runtime, "tenants").await.len()), most.1.max(waiting));
    }
    assert!((1..=4).contains(&most.0) && most.1 > 20, "{most:?}");
    // Whoever rests leaves for one that is written to, and comes back.
    for round in 0..3 {
        for number in 0..60 {
            append(&runtime, &format!("t{number}"), &format!("u{round}")).await;
        }
    }
    until_none_is_behind(&store).await;
    assert!(below(&runtime, "tenants").await.len() <= 4);
    eventually("nobody waits", || async {
        (runtime.snapshot().await.ok()?.waiting == 0).then_some(())
    })
    .await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_never_rests_yields_its_place_after_a_turn_and_gets_it_back() {
    let (database, store) = Database::with_schema().await;
    for trace in 0..100 {
        let trace = events::whole_trace(&trace.to_string());
        append_all(&store, "busy", &parsed("busy", &trace), 10).await;
    }
    // After the first, no look finds who has yielded.
    let settings = Settings { batch_size: 1, poll_interval: NEVER, ..in_haste() };
    let runtime = crowded(&database, 1, settings).await;
    eventually("the busy one is at work", || async {
        (below(&runtime, "tenants").await == ["busy"]).then_some(())
    })
    .await;
    append(&runtime, "small", "t").await;
    let behind = eventually("the small one is current", || async {
        let behind = store.behind(&ALL).await.ok()?;
        behind.iter().all(|one| one.tenant_id != "small").then_some(behind)
    })
    .await;
    assert!(!behind.is_empty(), "the busy one was done before its turn was over");
    until_none_is_behind(&store).await;
    runtime.stop(STOP).await;
}

/// A tenant with one event that cannot be applied.
async fn poisoned(database: &Database, store: &Store, tenant: &str) {
    append_all(store, tenant, &parsed(tenant, &events::whole_trace("t")), 10).await;
    let sql = "UPDATE dg_event_log SET payload_json = replace(payload_json, 'good', 'evil')
        WHERE tenant_id = $1";
    database.connect().await.execute(sql, &[&tenant]).await.unwrap();
}

async fn mend(database: &Database) {
    let sql = "UPDATE dg_event_log SET payload_json = replace(payload_json, 'evil', 'good')";
    database.connect().await.execute(sql, &[]).await.unwrap();
}

/// Tenants with failed workers, each as often as it has some.
async fn failed(runtime: &Runtime) -> Vec<String> {
    let workers = runtime.snapshot().await.unwrap().workers;
    let failed = workers.into_iter().filter(|(worker, _)| worker.status == "failed");
    let mut tenants: Vec<String> = failed.map(|(worker, _)| worker.key.tenant_id).collect();
    tenants.sort();
    tenants
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_tenants_take_no_place_of_others_stay_known_as_failed_and_come_first_when_asked() {
    let (database, store) = Database::with_schema().await;
    for tenant in ["bad", "worse"] {
        poisoned(&database, &store, tenant).await;
    }
    // Nobody's turn is ever over.
    let runtime = crowded(&database, 1, Settings { tenant_turn: NEVER, ..in_haste() }).await;
    let known = eventually("all of both have failed", || async {
        let known = failed(&runtime).await;
        (known.len() == 6).then_some(known)
    })
    .await;
    for round in 0..3 {
        append(&runtime, "good", &format!("t{round}")).await;
        until_applied(&store, "good").await;
        let snapshot = runtime.snapshot().await.unwrap();
        assert_eq!((failed(&runtime).await, snapshot.waiting), (known.clone(), 0));
    }
    // Looks of the directory, which finds them behind, bring none of them back.
    assert_eq!(below(&runtime, "tenants").await, ["good"]);
    mend(&database).await;
    assert!(runtime.retry("bad", Projection::ContextGraph).await.unwrap());
    until_applied(&store, "bad").await;
    assert_eq!(failed(&runtime).await, ["worse"; 3]);
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_of_which_one_projection_has_failed_comes_back_for_the_others() {
    let (database, store) = Database::with_schema().await;
    append_all(&store, "bad", &parsed("bad", &events::whole_trace("t")), 10).await;
    let sql = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'no' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER no BEFORE INSERT OR UPDATE ON dg_trace_summary
            FOR EACH ROW WHEN (NEW.tenant_id = 'bad') EXECUTE FUNCTION no()";
    database.connect().await.batch_execute(sql).await.unwrap();
    let runtime = crowded(&database, 1, Settings { tenant_turn: NEVER, ..in_haste() }).await;
    let one = || async { (failed(&runtime).await == ["bad"]).then_some(()) };
    eventually("one has failed", one).await;
    let others = [Projection::ContextGraph, Projection::PrecedentIndex];
    for round in 0..3 {
        append(&runtime, "good", &format!("g{round}")).await;
        append(&runtime, "bad", &format!("u{round}")).await;
        eventually("the others are current", || async {
            let behind = store.behind(&others.map(Projection::as_str)).await.ok()?;
            behind.is_empty().then_some(())
        })
        .await;
        dg_tests::try_until(Duration::from_secs(3), || None::<()>);
        eprintln!(
            "{:#?} {:?}",
            runtime.snapshot().await.unwrap(),
            below(&runtime, "tenants").await
        );
        eventually("one has failed again", one).await;
    }
    database.connect().await.batch_execute("DROP FUNCTION no() CASCADE").await.unwrap();
    assert!(runtime.retry("bad", Projection::TraceSummary).await.unwrap());
    until_none_is_behind(&store).await;
    assert_eq!(failed(&runtime).await, [""; 0]);
    runtime.stop(STOP).await;
}
