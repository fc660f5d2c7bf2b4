//! Append and batches, against the rules of append written a second time.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::Code;
use dg_projections::event::{EventType, Line};
use dg_store::{Appended, EventFilter, Store};
use dg_tests::log::{generated_lines, parsed};
use dg_tests::naive::{Attempts, NaiveLog, Outcome};
use dg_tests::{Database, Random, events};

/// The log as (event, trace, place) in order.
async fn stored(store: &Store, tenant: &str) -> Vec<(i64, String, String, i64)> {
    let events = store.list_events(tenant, &EventFilter::default(), 100_000).await.unwrap();
    events.into_iter().map(|e| (e.log_seq, e.event_id, e.trace_id, e.trace_seq)).collect()
}

async fn assert_stored(store: &Store, expected: &NaiveLog) {
    for tenant in expected.tenants() {
        let events = (1..).zip(expected.events(tenant));
        let events = events
            .map(|(at, e)| (at, e.event_id.clone(), e.trace_id.clone(), e.trace_seq))
            .collect::<Vec<_>>();
        assert_eq!(stored(store, tenant).await, events, "{tenant}");
    }
}

fn starts(line: &Line) -> bool {
    line.event.event_type == EventType::TraceStarted
}

#[tokio::test]
async fn every_answer_is_that_of_the_plain_rules_one_by_one() {
    let (_database, store) = Database::with_schema().await;
    let mut attempts = Attempts::new(Random::seeded(11), &["a", "b"]);
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..600 {
        let line = attempts.draw();
        let expected = attempts.expected.append(&line);
        let tenant = &line.event.tenant_id;
        let asked = [("nobody", vec![&line]), (tenant.as_str(), vec![&line])];
        let ends = store.ends_before_new(&asked).await.unwrap();
        let [nobody, end] = ends[..] else { panic!("{ends:?}") };
        assert_eq!(nobody, (line.event.trace_seq == 0).then_some(0));
        match &expected {
            Outcome::Inserted(log_seq) => assert_eq!(end, Some(log_seq - 1)),
            // What an event says of itself is not looked at.
            Outcome::Refused(..) if (line.event.trace_seq == 0) != starts(&line) => {}
            Outcome::Reused(..) | Outcome::Refused(..) => assert_eq!(end, None, "{line:?}"),
        }
        let answers = store.append(tenant, std::slice::from_ref(&line)).await.unwrap();
        assert_eq!(Outcome::from(&answers[0]), expected, "{line:?}");
        kinds.insert(format!("{expected:?}").split('(').next().unwrap().to_owned());
    }
    assert_eq!(kinds.len(), 3, "all kinds of outcome came up: {kinds:?}");
    assert_stored(&store, &attempts.expected).await;
}

#[tokio::test]
async fn a_batch_behaves_as_its_events_one_after_the_other() {
    let (_database, store) = Database::with_schema().await;
    let mut attempts = Attempts::new(Random::seeded(12), &["a"]);
    for _ in 0..60 {
        let size = 1 + attempts.random.below(20);
        let (mut batch, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..size {
            batch.push(attempts.draw());
            expected.push(attempts.expected.append(&batch[batch.len() - 1]));
        }
        let answers = store.append("a", &batch).await.unwrap();
        assert_eq!(answers.iter().map(Outcome::from).collect::<Vec<_>>(), expected);
    }
    assert_stored(&store, &attempts.expected).await;
}

#[tokio::test]
async fn what_is_taken_to_be_new_is_in_as_a_whole_exactly_when_all_of_it_is() {
    let (_database, store) = Database::with_schema().await;
    let mut attempts = Attempts::new(Random::seeded(14), &[]);
    let mut taken = [0, 0];
    for round in 0..300 {
        // Traces end, so each tenant is good for a few rounds.
        let tenant = &format!("tenant-{}", round / 15);
        if round % 15 == 0 {
            let first = parsed(tenant, &[events::started("first")]);
            attempts.move_to(tenant);
            attempts.expected.append(&first[0]);
            // The head is made by the first that are looked at.
            store.append(tenant, &first).await.unwrap()[0].clone().unwrap();
        }
        let size = 1 + attempts.random.below(4);
        let head = attempts.expected.events(tenant).len() as i64;
        let (mut batch, mut expected) = (Vec::new(), Vec::new());
        let before = attempts.expected.clone();
        for _ in 0..size {
            batch.push(attempts.draw());
            expected.push(attempts.expected.append(&batch[batch.len() - 1]));
        }
        let refs: Vec<&Line> = batch.iter().collect();
        let all_new = expected.iter().all(|one| matches!(one, Outcome::Inserted(_)));
        assert!(store.append_new(tenant, &refs, head - 1, &|| ()).await.unwrap().is_none());
        match store.append_new(tenant, &refs, head, &|| ()).await.unwrap() {
            Some(Appended::Done(answers)) => {
                assert_eq!(answers.iter().map(Outcome::from).collect::<Vec<_>>(), expected);
            }
            None => {
                assert!(!all_new, "{batch:?}");
                attempts.expected = before;
            }
            other => panic!("{other:?}"),
        }
        taken[usize::from(all_new)] += 1;
    }
    assert!(taken.iter().all(|count| *count > 50), "both came up: {taken:?}");
    assert_stored(&store, &attempts.expected).await;
}

#[tokio::test]
async fn an_atomic_batch_is_in_as_a_whole_or_names_its_first_refusal() {
    let (_database, store) = Database::with_schema().await;
    let mut attempts = Attempts::new(Random::seeded(13), &["a", "b", "c"]);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..150 {
        let before = attempts.expected.clone();
        let (mut batch, mut outcomes) = (Vec::new(), Vec::new());
        for _ in 0..=attempts.random.below(5) {
            batch.push(attempts.draw());
            outcomes.push(attempts.expected.append(&batch[batch.len() - 1]));
        }
        let first = outcomes.iter().position(|outcome| matches!(outcome, Outcome::Refused(_)));
        match (store.append_atomic(&batch).await.unwrap(), first) {
            (Ok(admitted), None) => {
                let admitted = admitted.into_iter().map(|a| Outcome::from(&Ok(a)));
                assert_eq!(admitted.collect::<Vec<_>>(), outcomes);
                accepted += 1;
            }
            (Err(refusal), Some(index)) => {
                let found = (refusal.index, Outcome::Refused(refusal.reason.code));
                assert_eq!(found, (index, outcomes[index].clone()));
                attempts.expected = before;
                refused += 1;
            }
            (answer, first) => panic!("{answer:?} where the first refusal is {first:?}"),
        }
    }
    assert!(accepted > 20 && refused > 20, "{accepted} accepted, {refused} refused");
    assert_stored(&store, &attempts.expected).await;
}

/// Every row that the log and its heads consist of, system columns included.
async fn image(database: &Database) -> Vec<String> {
    let sql = "SELECT xmin::text || ctid::text || h::text FROM dg_tenant_heads AS h
        UNION ALL SELECT xmin::text || ctid::text || l::text FROM dg_event_log AS l ORDER BY 1";
    let rows = database.connect().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn any_part_of_a_log_sent_again_in_any_order_changes_nothing() {
    let (database, store) = Database::with_schema().await;
    let mut random = Random::seeded(14);
    let lines = generated_lines("a", 12, 9, 3);
    let mut sent = 0;
    while sent < lines.len() {
        let end = (sent + 1 + random.below(30)).min(lines.len());
        store.append("a", &lines[sent..end]).await.unwrap();
        sent = end;
        let before = image(&database).await;
        let mut again: Vec<(usize, Line)> = (0..1 + random.below(40))
            .map(|_| random.below(sent))
            .map(|at| (at, lines[at].clone()))
            .collect();
        for (_, line) in &mut again {
            if random.once_in(3) {
                // A producer that retries may number, name and stamp anew.
                line.event.trace_seq += 7;
                line.event.event_id.push('x');
            }
        }
        let batch: Vec<Line> = again.iter().map(|(_, line)| line.clone()).collect();
        let answers = store.append("a", &batch).await.unwrap();
        for ((at, _), answer) in again.iter().zip(&answers) {
            let id = lines[*at].event.event_id.clone();
            assert_eq!(Outcome::from(answer), Outcome::Reused(*at as i64 + 1, id));
        }
        assert_eq!(image(&database).await, before);
    }
}

#[tokio::test]
async fn what_is_refused_leaves_no_trace_of_its_tenant() {
    let (database, store) = Database::with_schema().await;
    let orphan = parsed("nobody", &[events::observed("t", 3)]);
    let answers = store.append("nobody", &orphan).await.unwrap();
    assert_eq!(Outcome::from(&answers[0]), Outcome::Refused(Code::EventSequenceInvalid));
    assert!(store.append_atomic(&orphan).await.unwrap().is_err());
    assert_eq!(image(&database).await, Vec::<String>::new());
}

#[tokio::test]
async fn kept_numbers_are_kept_in_a_tenant_that_holds_no_others() {
    let (_database, store) = Database::with_schema().await;
    let mut lines = parsed("moved", &events::whole_trace("t"));
    for (line, log_seq) in lines.iter_mut().zip([3, 4, 9, 10, 20, 21]) {
        line.log_seq = Some(log_seq);
    }
    let mut own = parsed("own", &events::whole_trace("u"));
    store.append("own", &own[..1]).await.unwrap()[0].clone().unwrap();
    // In one transaction with another tenant's events, which get the next numbers.
    let mut batch = lines.clone();
    batch.append(&mut own.split_off(1));
    let admitted = store.append_atomic(&batch).await.unwrap().unwrap();
    let outcomes = admitted.into_iter().map(|admission| Outcome::from(&Ok(admission)));
    let expected = [3, 4, 9, 10, 20, 21, 2, 3, 4, 5, 6].map(Outcome::Inserted);
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
    // Sent again: the same. Another number for a stored event, or for a tenant of its own: refused.
    let again = store.append("moved", &lines).await.unwrap();
    assert!(again.iter().all(|answer| matches!(Outcome::from(answer), Outcome::Reused(..))));
    lines[0].log_seq = Some(1);
    let other = store.append("moved", &lines[..1]).await.unwrap();
    assert_eq!(Outcome::from(&other[0]), Outcome::Refused(Code::Conflict));
    let mut late = parsed("own", &[events::started("v")]);
    late[0].log_seq = Some(50);
    let late = store.append("own", &late).await.unwrap();
    assert_eq!(Outcome::from(&late[0]), Outcome::Refused(Code::Conflict));
}
