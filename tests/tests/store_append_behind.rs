//! Events that are written behind a transaction under way.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::admission::Admission;
use dg_projections::event::Line;
use dg_store::{Appended, Store, StoreError};
use dg_tests::by_hand::{HandMade, insert};
use dg_tests::log::parsed;
use dg_tests::{Database, events, eventually};

fn start(trace: &str) -> Line {
    parsed("a", &[events::started(trace)]).remove(0)
}

/// A log of one event, and an event that is to be its third.
async fn log_of_one() -> (Database, Store, Line) {
    let (database, store) = Database::with_schema().await;
    store.append("a", &[start("first")]).await.unwrap().remove(0).unwrap();
    (database, store, start("third"))
}

async fn behind(
    store: &Store,
    line: &Line,
    head: i64,
) -> Result<Option<Vec<Option<i64>>>, StoreError> {
    let appended = store.append_behind("a", &[line], head, &|| ()).await?;
    Ok(appended.map(|appended| match appended {
        Appended::Done(answers) => answers
            .into_iter()
            .map(|answer| match answer {
                Ok(Admission::Insert { log_seq }) => Some(log_seq),
                _ => None,
            })
            .collect(),
        Appended::Unknown { error, .. } => panic!("{error}"),
    }))
}

async fn in_the_log(database: &Database) -> i64 {
    let client = database.connect().await;
    client.query_one("SELECT count(*) FROM dg_event_log", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn they_wait_for_its_end_longer_than_for_anybody_elses_and_go_in_as_the_next_or_not_at_all() {
    for commits in [true, false] {
        let (database, store, third) = log_of_one().await;
        let mut client = database.connect().await;
        let before = client.transaction().await.unwrap();
        let own_end = "SELECT pg_advisory_xact_lock(hashtextextended('a', 2))";
        before.batch_execute(own_end).await.unwrap();
        insert(before.client(), &[HandMade::new(&start("second"), 2)]).await.unwrap();

        let (own, line) = (store.clone(), third.clone());
        let appending = tokio::spawn(async move { behind(&own, &line, 2).await });
        let other = database.connect().await;
        eventually("they have waited for a while", || async {
            let sql = "SELECT FROM pg_stat_activity WHERE datname = current_database()
                AND wait_event = 'advisory' AND backend_xid IS NOT NULL AND clock_timestamp() > query_start + interval '0.3 s'";
            other.query_opt(sql, &[]).await.unwrap()
        })
        .await;
        assert_eq!(in_the_log(&database).await, 1);
        if commits {
            before.commit().await.unwrap();
            assert_eq!(appending.await.unwrap().unwrap(), Some(vec![Some(3)]));
            assert_eq!(in_the_log(&database).await, 3);
        } else {
            before.rollback().await.unwrap();
            assert_eq!(appending.await.unwrap().unwrap(), None);
            assert_eq!(in_the_log(&database).await, 1);
        }
    }
}

#[tokio::test]
async fn who_is_behind_them_waits_for_them() {
    let (database, store, third) = log_of_one().await;
    let mut client = database.connect().await;
    let before = client.transaction().await.unwrap();
    before.batch_execute("SELECT pg_advisory_xact_lock(hashtextextended('a', 2))").await.unwrap();
    insert(before.client(), &[HandMade::new(&start("second"), 2)]).await.unwrap();
    let waiting = |count: i64| {
        let database = &database;
        let sql = "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database
            WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted";
        eventually("they wait", move || async move {
            let waiting: i64 = database.connect().await.query_one(sql, &[]).await.unwrap().get(0);
            (waiting == count).then_some(())
        })
    };
    let own = store.clone();
    let appending = tokio::spawn(async move { behind(&own, &third, 2).await });
    waiting(1).await;
    let own = store.clone();
    let next = tokio::spawn(async move { behind(&own, &start("fourth"), 3).await });
    waiting(2).await;
    before.commit().await.unwrap();
    assert_eq!(appending.await.unwrap().unwrap(), Some(vec![Some(3)]));
    assert_eq!(next.await.unwrap().unwrap(), Some(vec![Some(4)]));
}

#[tokio::test]
async fn when_it_is_over_already_they_go_in_exactly_if_they_are_the_next() {
    let (database, store, line) = log_of_one().await;
    for head in [0, 2, 7] {
        assert_eq!(behind(&store, &line, head).await.unwrap(), None, "{head}");
    }
    assert_eq!(behind(&store, &line, 1).await.unwrap(), Some(vec![Some(2)]));
    assert_eq!(behind(&store, &line, 2).await.unwrap(), None, "it is in");
    assert_eq!(in_the_log(&database).await, 2);
}

#[tokio::test]
async fn for_a_key_of_somebody_elses_they_wait_a_moment_only() {
    let (database, store, third) = log_of_one().await;
    let mut client = database.connect().await;
    let other = client.transaction().await.unwrap();
    insert(other.client(), &[HandMade::new(&third, 2)]).await.unwrap();
    assert_eq!(behind(&store, &third, 1).await.unwrap(), None);
    other.rollback().await.unwrap();
    assert_eq!(behind(&store, &third, 1).await.unwrap(), Some(vec![Some(2)]));
}
