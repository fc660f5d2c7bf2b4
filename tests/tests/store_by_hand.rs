//! Rows that come by SQL and not through the daemon: the database itself holds the rules.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::Code;
use dg_projections::event::Line;
use dg_projections::json::Json;
use dg_store::StoreError;
use dg_tests::by_hand::{HandMade, insert};
use dg_tests::log::{assert_proven, inserted, parsed, running, until_applied};
use dg_tests::{Database, events};
use tokio_postgres::Client;

/// Three events of trace `t` are in; the third of them is not its end.
async fn three_events(database: &Database, tenant: &str) -> Vec<Line> {
    let lines = parsed(tenant, &events::whole_trace("t"));
    for answer in database.store().append(tenant, &lines[..3]).await.unwrap() {
        answer.unwrap();
    }
    lines
}

async fn head(client: &Client, tenant: &str) -> (i64, i64) {
    let sql = "SELECT last_log_seq, event_count FROM dg_tenant_heads WHERE tenant_id = $1";
    let row = client.query_one(sql, &[&tenant]).await.unwrap();
    (row.get(0), row.get(1))
}

/// The refusal of some rows, which change nothing.
async fn refusal(client: &Client, rows: &[HandMade]) -> (Code, String) {
    let before = head(client, "a").await;
    let StoreError { code, sqlstate, .. } = insert(client, rows).await.unwrap_err();
    assert_eq!(head(client, "a").await, before);
    (code, sqlstate.unwrap())
}

fn sequence() -> (Code, String) {
    (Code::EventSequenceInvalid, "DG001".to_owned())
}

fn conflict(sqlstate: &str) -> (Code, String) {
    (Code::Conflict, sqlstate.to_owned())
}

fn shape() -> (Code, String) {
    (Code::SchemaViolation, "23514".to_owned())
}

#[tokio::test]
async fn numbers_must_be_the_next_of_their_tenant() {
    let (database, _store) = Database::with_schema().await;
    let lines = three_events(&database, "a").await;
    let client = database.connect().await;
    let row = |at: usize, log_seq| HandMade::new(&lines[at], log_seq);
    assert_eq!(refusal(&client, &[row(3, 5)]).await, sequence(), "a gap");
    assert_eq!(refusal(&client, &[row(3, 3)]).await, conflict("23505"), "a number that is taken");
    assert_eq!(refusal(&client, &[row(3, 0)]).await, shape(), "no number");
    assert_eq!(refusal(&client, &[row(3, 4), row(4, 6)]).await, sequence(), "a gap in a statement");
    // A log of its own begins with 1.
    let first = HandMade::new(&lines[0], 4).with("tenant_id", "b");
    assert_eq!(refusal(&client, &[first]).await, sequence(), "another tenant's number");
}

#[tokio::test]
async fn what_is_unique_stays_unique() {
    let (database, _store) = Database::with_schema().await;
    let lines = three_events(&database, "a").await;
    let client = database.connect().await;
    let fourth = HandMade::new(&lines[3], 4);
    for (column, value) in [
        ("event_id", Json::from("t.1")),
        ("idempotency_key", Json::from("t:1")),
        ("trace_seq", Json::from(2)),
    ] {
        let row = fourth.clone().with(column, value);
        assert_eq!(refusal(&client, &[row]).await, conflict("23505"), "{column}");
    }
    // Twice in one statement.
    let twin = HandMade::new(&lines[4], 5).with("event_id", "t.3");
    assert_eq!(refusal(&client, &[fourth, twin]).await, conflict("23505"));
}

#[tokio::test]
async fn an_event_follows_its_predecessor_and_nothing_follows_the_end() {
    let (database, _store) = Database::with_schema().await;
    let lines = three_events(&database, "a").await;
    let client = database.connect().await;
    let row = |at: usize, log_seq| HandMade::new(&lines[at], log_seq);
    assert_eq!(refusal(&client, &[row(4, 4)]).await, sequence(), "a place left out");
    assert_eq!(refusal(&client, &[row(4, 4), row(3, 5)]).await, sequence(), "places in disorder");
    let gap = [row(3, 4), row(5, 5)];
    assert_eq!(refusal(&client, &gap).await, sequence(), "a place left out of a statement");
    let other = row(3, 4).with("trace_id", "other");
    assert_eq!(refusal(&client, &[other]).await, sequence(), "no such trace");
    let of_other_tenant = row(3, 1).with("tenant_id", "b");
    assert_eq!(refusal(&client, &[of_other_tenant]).await, sequence(), "another tenant's trace");
    let first = row(3, 4).with("trace_seq", 0).with("trace_id", "other");
    assert_eq!(refusal(&client, &[first]).await, shape(), "no start at the start");
    let again = row(3, 4).with("event_type", "TraceStarted");
    assert_eq!(refusal(&client, &[again]).await, shape(), "a start in the middle");

    let end = row(3, 4).with("event_type", "TraceFinished");
    assert_eq!(refusal(&client, &[end.clone(), row(4, 5)]).await, conflict("DG002"));
    insert(&client, &[end]).await.unwrap();
    assert_eq!(refusal(&client, &[row(4, 5)]).await, conflict("DG002"), "after the end");
}

#[tokio::test]
async fn statements_of_many_rows_are_in_as_a_whole_or_not_at_all() {
    let (database, store) = Database::with_schema().await;
    let lines = three_events(&database, "a").await;
    let other = parsed("b", &events::whole_trace("u"));
    let client = database.connect().await;
    let mut rows: Vec<HandMade> =
        (1..).zip(&other).map(|(at, line)| HandMade::new(line, at)).collect();
    rows.extend((4..).zip(&lines[3..]).map(|(at, line)| HandMade::new(line, at)));
    // In whatever order the rows stand.
    rows.reverse();
    let mut wrong = rows.clone();
    wrong[0] = wrong[0].clone().with("log_seq", 7);
    assert_eq!(refusal(&client, &wrong).await, sequence());
    assert!(store.tenants().await.unwrap().iter().all(|head| head.tenant_id == "a"));
    insert(&client, &rows).await.unwrap();
    assert_eq!((head(&client, "a").await, head(&client, "b").await), ((6, 6), (6, 6)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correct_row_advances_the_head_and_is_projected_by_a_running_runtime() {
    let (database, store) = Database::with_schema().await;
    let runtime = running(database.store()).await;
    let lines = three_events(&database, "a").await;
    until_applied(&store, "a").await;
    let client = database.connect().await;
    for (at, line) in lines[3..].iter().enumerate() {
        insert(&client, &[HandMade::new(line, at as i64 + 4)]).await.unwrap();
        assert_eq!(head(&client, "a").await, (at as i64 + 4, at as i64 + 4));
        // Nobody woke the workers: the poll finds it.
        until_applied(&store, "a").await;
    }
    // A tenant that nobody has seen before.
    insert(&client, &[HandMade::new(&parsed("new", &[events::started("t")])[0], 1)]).await.unwrap();
    until_applied(&store, "new").await;
    // The daemon goes on from there.
    let next = parsed("a", &[events::started("u")]);
    assert_eq!(inserted(&runtime.append("a", &next[..]).await.unwrap()[0]), 7);
    until_applied(&store, "a").await;
    for tenant in ["a", "new"] {
        assert_proven(&store, tenant).await;
    }
    runtime.stop(std::time::Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_by_hand_that_take_their_number_from_the_locked_head_wait_in_line() {
    let (database, store) = Database::with_schema().await;
    three_events(&database, "a").await;
    let by_hand = "WITH head AS (
            SELECT last_log_seq FROM dg_tenant_heads WHERE tenant_id = 'a' FOR UPDATE)
        INSERT INTO dg_event_log SELECT (jsonb_populate_record(l, jsonb_build_object(
            'log_seq', head.last_log_seq + 1, 'trace_id', $1::text, 'event_id', $1::text,
            'idempotency_key', $1::text))).*
        FROM head, dg_event_log AS l WHERE l.tenant_id = 'a' AND l.log_seq = 1";
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let (client, store) = (database.connect().await, store.clone());
        writers.spawn(async move {
            for round in 0..15 {
                client.execute(by_hand, &[&format!("h{writer}.{round}")]).await.unwrap();
                let line = parsed("a", &[events::started(&format!("s{writer}.{round}"))]);
                store.append("a", &line).await.unwrap()[0].clone().unwrap();
            }
        });
    }
    writers.join_all().await;
    assert_eq!(head(&database.connect().await, "a").await, (123, 123));
}

#[tokio::test]
async fn an_identifier_that_no_index_can_hold_is_an_invalid_argument() {
    let (database, _store) = Database::with_schema().await;
    three_events(&database, "a").await;
    let mut random = dg_tests::Random::seeded(23);
    let letters: Vec<char> = ('a'..='z').collect();
    let long: String = (0..4_000).map(|_| *random.pick(&letters)).collect();
    let row = HandMade::new(&parsed("a", &[events::started("u")])[0], 4).with("event_id", long);
    let refusal = refusal(&database.connect().await, &[row]).await;
    assert_eq!(refusal, (Code::InvalidArgument, "54000".to_owned()));
}
