//! Projections spread over partitions: any number of them, changed whenever, gives the rows and
//! digests of the model.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::event::Line;
use dg_projections::projection::Projection;
use dg_runtime::{Runtime, Settings};
use dg_store::{Health, Share, Store};
use dg_tests::log::{
    ALL, append_all, assert_proven, generated_lines, model_of, settings, until_applied,
};
use dg_tests::{Database, Random, eventually};

const STOP: Duration = Duration::from_secs(10);

async fn started(database: &Database, partitions: i32, batch_size: i64) -> Runtime {
    let settings = Settings { partitions, batch_size, ..settings() };
    Runtime::start(database.store(), settings).await.unwrap()
}

async fn health(store: &Store) -> Health {
    store.health(Some("a"), &ALL).await.unwrap().remove(0)
}

/// Every row and every digest is the model's, and nothing is left open.
async fn assert_as_the_model(store: &Store, log: &[Line]) {
    until_applied(store, "a").await;
    let model = model_of(log).tables;
    assert_eq!(store.tables("a").await.unwrap(), model);
    let digests = model.digests().unwrap();
    let mut expected: Vec<_> =
        Projection::ALL.iter().map(|one| (one.as_str(), digests.of(*one))).collect();
    expected.push(("full_projection", digests.full_projection()));
    expected.sort_unstable_by_key(|(name, _)| *name);
    let computed = store.compute_digests("a").await.unwrap();
    let found: Vec<_> = computed.iter().map(|one| (&*one.name, one.digest)).collect();
    assert_eq!(found, expected);
    assert!(computed.iter().all(|one| one.is_current && one.log_seq == log.len() as i64));
    assert_proven(store, "a").await;
    assert_eq!(store.failures("a", false).await.unwrap(), []);
}

/// Waits until so many partitions are in force for every projection.
async fn until_partitions(store: &Store, partitions: usize) {
    eventually(&format!("{partitions} partitions are in force"), || async {
        let health = health(store).await;
        health.projections.iter().all(|one| one.partitions.len() == partitions).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_partitions_gives_the_rows_and_digests_of_the_model() {
    let log = generated_lines("a", 60, 9, 11);
    for (partitions, batch_size) in [(1, 7), (2, 1000), (2, 3), (4, 7), (8, 50), (8, 2)] {
        let (database, store) = Database::with_schema().await;
        append_all(&store, "a", &log[..300], 100).await;
        let runtime = started(&database, partitions, batch_size).await;
        for batch in log[300..].chunks(17) {
            runtime.append("a", batch).await.unwrap();
        }
        assert_as_the_model(&store, &log).await;
        until_partitions(&store, partitions as usize).await;
        // Spread, and not only counted: each partition has applied something.
        for projection in health(&store).await.projections {
            assert!(projection.partitions.iter().all(|one| one.applied_events > 0));
        }
        runtime.stop(STOP).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_changes_between_starts_while_behind_and_while_current() {
    let log = generated_lines("a", 80, 9, 12);
    for behind in [true, false] {
        let (database, store) = Database::with_schema().await;
        let mut rest = &log[..];
        for (partitions, events) in [(1, 150), (4, 200), (2, 150), (8, 100), (3, 70), (1, 50)] {
            let (next, later) = rest.split_at(events);
            append_all(&store, "a", next, 60).await;
            rest = later;
            let runtime = started(&database, partitions, 5).await;
            let (last, before) = (log.len() - rest.len(), applied(&store).await);
            if behind {
                eventually("it gets somewhere", || async {
                    (applied(&store).await > before).then_some(())
                })
                .await;
            } else {
                until_partitions(&store, partitions as usize).await;
                assert_as_the_model(&store, &log[..last]).await;
            }
            runtime.stop(STOP).await;
            assert_proven(&store, "a").await;
        }
        let runtime = started(&database, 1, 5).await;
        until_partitions(&store, 1).await;
        assert_as_the_model(&store, &log).await;
        runtime.stop(STOP).await;
    }
}

async fn applied(store: &Store) -> i64 {
    let health = health(store).await;
    health.projections.iter().map(|projection| projection.applied_events).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runtimes_that_want_different_numbers_agree_on_one() {
    let log = generated_lines("a", 80, 9, 13);
    for (first, second) in [(4, 1), (2, 3), (1, 8)] {
        let (database, store) = Database::with_schema().await;
        append_all(&store, "a", &log[..200], 100).await;
        let runtimes = [started(&database, first, 10).await, started(&database, second, 10).await];
        for (turn, batch) in log[200..].chunks(11).enumerate() {
            runtimes[turn % 2].append("a", batch).await.unwrap();
        }
        assert_as_the_model(&store, &log).await;
        // Each asks for its own once, when it starts; then both follow, alone as well.
        let late = generated_lines("a", 6, 4, 14);
        let mut numbers = vec![numbers_in_force(&store).await];
        for (turn, line) in late.iter().enumerate() {
            runtimes[turn % 2].append("a", vec![line.clone()]).await.unwrap();
            until_applied(&store, "a").await;
            numbers.push(numbers_in_force(&store).await);
        }
        numbers.dedup();
        assert!(numbers.len() <= 4, "{first} and {second}: {numbers:?}");
        let [one, other] = runtimes;
        other.stop(STOP).await;
        let last = generated_lines("a", 5, 4, 19);
        one.append("a", &last[..]).await.unwrap();
        assert_as_the_model(&store, &[&log[..], &late[..], &last[..]].concat()).await;
        one.stop(STOP).await;
    }
}

async fn numbers_in_force(store: &Store) -> Vec<usize> {
    health(store).await.projections.iter().map(|one| one.partitions.len()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_announced_is_made_although_its_daemon_is_gone() {
    let (database, store) = Database::with_schema().await;
    let log = generated_lines("a", 40, 9, 15);
    append_all(&store, "a", &log, 100).await;
    let runtime = started(&database, 4, 3).await;
    eventually("the partitions are apart", || async {
        let health = health(&store).await;
        let apart = |one: &dg_store::ProjectionHealth| {
            one.partitions.iter().any(|partition| partition.last_log_seq != one.last_log_seq)
        };
        health.projections.iter().any(apart).then_some(())
    })
    .await;
    runtime.stop(STOP).await;
    for projection in Projection::ALL {
        store
            .open_cursor("a", projection, Share { partition: 0, partitions: 2 }, true)
            .await
            .unwrap();
    }
    // It knows nothing of two, and brings them about all the same.
    let runtime = started(&database, 4, 3).await;
    assert_as_the_model(&store, &log).await;
    let late = generated_lines("a", 5, 4, 18);
    runtime.append("a", &late[..]).await.unwrap();
    until_partitions(&store, 4).await;
    assert_as_the_model(&store, &[&log[..], &late[..]].concat()).await;
    runtime.stop(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runtimes_stopped_at_any_moment_lose_and_double_nothing() {
    let mut random = Random::seeded(16);
    let (database, store) = Database::with_schema().await;
    let log = generated_lines("a", 120, 9, 16);
    append_all(&store, "a", &log, 400).await;
    for _ in 0..8 {
        let (partitions, batch) = (1 + random.below(6) as i32, 1 + random.below(9) as i64);
        let runtime = started(&database, partitions, batch).await;
        let enough = applied_or_none(&store).await + 1 + random.below(200) as i64;
        eventually("it gets somewhere", || async {
            let all = 3 * log.len() as i64;
            (applied_or_none(&store).await >= enough.min(all)).then_some(())
        })
        .await;
        // No patience: what is in flight is cut off.
        runtime.stop(Duration::from_millis(random.below(3) as u64)).await;
        assert_proven(&store, "a").await;
    }
    let runtime = started(&database, 4, 50).await;
    assert_as_the_model(&store, &log).await;
    runtime.stop(STOP).await;
}

async fn applied_or_none(store: &Store) -> i64 {
    let health = store.health(Some("a"), &ALL).await.unwrap();
    health.iter().flat_map(|one| &one.projections).map(|one| one.applied_events).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_deleted_from_the_log_is_found_by_the_partition_that_arrives_last() {
    let (database, store) = Database::with_schema().await;
    append_all(&store, "a", &generated_lines("a", 20, 8, 17), 100).await;
    // The end of a trace, not of the log: no later event shows that it is missing.
    let sql = "SET session_replication_role = replica;
        DELETE FROM dg_event_log WHERE log_seq = (SELECT min(log_seq) FROM dg_event_log
            WHERE event_type = 'TraceFinished')";
    database.connect().await.batch_execute(sql).await.unwrap();
    let runtime = started(&database, 4, 10).await;
    eventually("each projection has a dead letter", || async {
        let failures = store.failures("a", false).await.unwrap();
        let of = |name: &&str| {
            let mut own = failures.iter().filter(|one| one.projection_name == **name);
            own.any(|one| {
                one.error_code == "internal"
                    && one.error_message.contains("160 events")
                    && one.error_message.contains("159 were applied")
            })
        };
        ALL.iter().all(of).then_some(())
    })
    .await;
    assert!(health(&store).await.is_stale());
    runtime.stop(STOP).await;
}
