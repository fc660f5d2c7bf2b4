//! `dg_append`, the way into the log for whoever has SQL: the rules of an append through the daemon,
//! with the same answers.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::Code;
use dg_projections::admission::Admission;
use dg_projections::event::Line;
use dg_store::{EventFilter, Store};
use dg_tests::by_hand::call_append;
use dg_tests::log::{
    ALL, assert_proven, generated_lines, inserted, parsed, running, until_applied, until_blocked,
};
use dg_tests::naive::{Attempts, Outcome};
use dg_tests::{Database, Random, events};
use tokio_postgres::Client;

/// What the function answers.
async fn by_function(client: &Client, line: &Line) -> Outcome {
    Outcome::from(&call_append(client, line).await.map_err(|error| error.to_rejection()))
}

async fn by_store(store: &Store, line: &Line) -> Outcome {
    let answers = store.append(&line.event.tenant_id, std::slice::from_ref(line)).await.unwrap();
    Outcome::from(&answers[0])
}

async fn count(client: &Client, table: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

/// An attempt on a log that holds the finished trace `done` and the first two events of `open`: what
/// it is, the event it is made of, what is other about it, and the refusal.
type Attempt = (&'static str, String, fn(&mut Line), Result<i64, Code>);

fn attempts() -> Vec<Attempt> {
    fn anew(line: &mut Line) {
        line.event.idempotency_key.push_str(".new");
        line.event.event_id.push_str(".new");
    }
    let (sequence, conflict) = (Err(Code::EventSequenceInvalid), Err(Code::Conflict));
    let differs = Err(Code::IdempotencyConflict);
    let (again, end) = (events::observed("open", 1), events::finished("done", 5));
    vec![
        ("sent again", again.clone(), |_| (), Ok(8)),
        (
            "numbered, named and stamped anew",
            again.clone(),
            |line| {
                line.event.trace_seq = 9;
                line.event.event_id = "other".to_owned();
                line.event.occurred_at = "2027-01-01T00:00:00Z".to_owned();
            },
            Ok(8),
        ),
        ("sent again to a finished trace", end.clone(), |_| (), Ok(6)),
        ("other payload", again.clone(), |line| line.event.payload = "{}".to_owned(), differs),
        ("other trace", again.clone(), |line| line.event.trace_id.push('x'), differs),
        (
            "other type",
            end,
            |line| {
                line.event.event_type = dg_projections::event::EventType::EntityObserved;
            },
            differs,
        ),
        ("other system", again.clone(), |line| line.event.source.system.push('x'), differs),
        (
            "a subsystem",
            again.clone(),
            |line| line.event.source.subsystem = Some("x".into()),
            differs,
        ),
        ("other actor", again.clone(), |line| line.event.actor.actor_id.push('x'), differs),
        (
            "a correlation",
            again.clone(),
            |line| line.event.correlation_id = Some("x".into()),
            differs,
        ),
        (
            "a cause",
            again.clone(),
            |line| line.event.causation_event_id = Some("x".into()),
            differs,
        ),
        ("other version", again.clone(), |line| line.event.schema_version = 2, differs),
        ("a tag", again.clone(), |line| line.event.tags = vec!["x".into()], differs),
        ("after the end", events::observed("done", 6), anew, conflict),
        ("after the end, at no place", events::observed("done", 99), anew, conflict),
        ("a gap", events::observed("open", 3), anew, sequence),
        ("a place that is taken", again, anew, sequence),
        ("no start at the start", events::observed("new", 0), anew, sequence),
        (
            "a start in the middle",
            events::started("open").replace("_seq\":0", "_seq\":2"),
            anew,
            sequence,
        ),
        (
            "a name that is taken",
            events::observed("open", 2),
            |line| {
                line.event.event_id = "done.1".to_owned();
            },
            conflict,
        ),
        ("the next", events::observed("open", 2), |_| (), Ok(9)),
    ]
}

#[tokio::test]
async fn each_rule_of_append_gives_the_same_answer_by_sql() {
    let (database, store) = Database::with_schema().await;
    let client = database.connect().await;
    let mut texts = events::whole_trace("done");
    texts.extend([events::started("open"), events::observed("open", 1)]);
    for line in parsed("api", &texts) {
        by_store(&store, &line).await;
    }
    for (at, line) in (1..).zip(parsed("sql", &texts)) {
        assert_eq!(by_function(&client, &line).await, Outcome::Inserted(at));
    }
    for (what, text, change, expected) in attempts() {
        let answer = |tenant: &str| {
            let mut line = parsed(tenant, &[&text]).remove(0);
            change(&mut line);
            line.event.payload_hash = dg_projections::hash::Hash::of(line.event.payload.as_bytes());
            line
        };
        let number = |outcome| match outcome {
            Outcome::Inserted(number) | Outcome::Reused(number, _) => Ok(number),
            Outcome::Refused(code) => Err(code),
        };
        assert_eq!(number(by_store(&store, &answer("api")).await), expected, "{what}");
        assert_eq!(number(by_function(&client, &answer("sql")).await), expected, "{what}");
    }
    assert_eq!(count(&client, "dg_event_log").await, 18);
}

#[tokio::test]
async fn every_answer_is_that_of_the_plain_rules() {
    let (database, _store) = Database::with_schema().await;
    let client = database.connect().await;
    let mut attempts = Attempts::new(Random::seeded(31), &["a", "b"]);
    for _ in 0..600 {
        let line = attempts.draw();
        let expected = match attempts.expected.append(&line) {
            // It cannot tell an event from itself.
            Outcome::Reused(at, id) if id == line.event.event_id => Outcome::Inserted(at),
            expected => expected,
        };
        assert_eq!(by_function(&client, &line).await, expected, "{line:?}");
    }
}

#[tokio::test]
async fn an_idempotency_conflict_names_what_differs() {
    let (database, _store) = Database::with_schema().await;
    let client = database.connect().await;
    let mut line = parsed("a", &[events::started("t")]).remove(0);
    call_append(&client, &line).await.unwrap();
    line.event.payload = "{}".to_owned();
    line.event.actor.actor_id = "other".to_owned();
    line.event.tags = vec!["x".to_owned()];
    let error = call_append(&client, &line).await.unwrap_err();
    assert_eq!(error.sqlstate.as_deref(), Some("DG003"));
    let named = "idempotency_key 't:0' was used for event 't.0', which differs in payload_hash, actor, tags";
    assert!(error.message.starts_with(named), "{error}");
}

#[tokio::test]
async fn what_no_column_would_refuse_is_refused_and_leaves_nothing() {
    let (database, _store) = Database::with_schema().await;
    let client = database.connect().await;
    let (argument, schema) = (Err(Code::InvalidArgument), Err(Code::SchemaViolation));
    let mut last = 0;
    for (change, expected) in [
        ("payload => '{'", argument),
        ("payload => '[]'", schema),
        ("payload => 'null'", schema),
        ("payload => NULL", schema),
        ("payload => '{\"nul\":\"\\u0000\"}'", Ok(())),
        ("payload => '{}', tags => ARRAY['a', NULL]", schema),
        ("payload => '{}', tags => ARRAY[ARRAY['a']]", schema),
        ("payload => '{}', tags => ARRAY['é', 'b']", Ok(())),
        ("payload => '{}', occurred_at => 'now'", argument),
        ("payload => '{}', occurred_at => '2026-05-05T10:00:00'", argument),
        ("payload => '{}', occurred_at => '2026-02-30T10:00:00Z'", argument),
        ("payload => '{}', occurred_at => '2026-05-05t10:00:00.5-07:30'", Ok(())),
        ("payload => '{}', actor_type => 'robot'", schema),
    ] {
        let (mut arguments, tenant) = (change.to_owned(), format!("a{last}"));
        for (name, value) in [("occurred_at", "2026-05-05T10:00:00Z"), ("actor_type", "person")] {
            if !change.contains(name) {
                arguments = format!("{arguments}, {name} => '{value}'");
            }
        }
        let sql = format!("SELECT dg_append(tenant_id => '{tenant}', trace_id => 't', trace_seq => 0,
            event_type => 'TraceStarted', producer_id => 'p', source_system => 's', actor_id => 'ann',
            idempotency_key => 'k', {arguments})");
        let outcome = client.batch_execute(&sql).await;
        let outcome = outcome.map_err(|error| dg_store::StoreError::from(error).code);
        assert_eq!(outcome, expected, "{change}");
        last += i64::from(outcome.is_ok());
        assert_eq!(count(&client, "dg_event_log").await, last, "{change}");
        assert_eq!(count(&client, "dg_tenant_heads").await, last, "{change}");
    }
}

#[tokio::test]
async fn the_settings_of_the_session_do_not_matter() {
    let (database, store) = Database::with_schema().await;
    let client = database.connect().await;
    let settings = "SET decisiongraph.keep_log_seq = on; SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'";
    client.batch_execute(settings).await.unwrap();
    let lines = parsed("a", &events::whole_trace("t"));
    for (at, line) in (1..).zip(&lines[..3]) {
        assert_eq!(by_function(&client, line).await, Outcome::Inserted(at));
    }
    // The tenant gives its own numbers, and what is stored is what the daemon stores.
    let keeping = "SELECT bool_or(kept_numbers) FROM dg_tenant_heads";
    assert!(!client.query_one(keeping, &[]).await.unwrap().get::<_, bool>(0));
    assert_eq!(inserted(&store.append("a", &lines[3..4]).await.unwrap()[0]), 4);
    store.append("b", &parsed("b", &events::whole_trace("t"))).await.unwrap();
    let differing = "SELECT count(*) FROM dg_event_log AS a JOIN dg_event_log AS b USING (log_seq)
        WHERE a.tenant_id = 'a' AND b.tenant_id = 'b' AND to_jsonb(a) - 'tenant_id' - 'recorded_at'
            IS DISTINCT FROM to_jsonb(b) - 'tenant_id' - 'recorded_at'";
    assert_eq!(client.query_one(differing, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_passes_a_caller_that_stays_open_and_its_event_is_projected() {
    for end in ["COMMIT", "ROLLBACK"] {
        let (database, store) = Database::with_schema().await;
        let runtime = running(database.store()).await;
        let lines = parsed("a", &events::whole_trace("t"));
        runtime.append("a", &lines[..2]).await.unwrap();
        let other = database.connect().await;
        other.batch_execute("BEGIN").await.unwrap();
        let held = call_append(&other, &lines[2]).await.unwrap();
        assert_eq!(held, Admission::Insert { log_seq: 3 });

        let (writing, next) = (runtime.clone(), parsed("a", &[events::started("u")]));
        let append =
            tokio::spawn(async move { writing.append("a", next).await.unwrap().remove(0) });
        until_blocked(&database).await;
        until_applied(&store, "a").await;
        let health = store.health(Some("a"), &ALL).await.unwrap().remove(0);
        assert!(health.projections.iter().all(|projection| projection.last_log_seq == 2));
        let seen = store.list_events("a", &EventFilter::default(), 10).await.unwrap();
        assert!(seen.len() == 2 && !append.is_finished());

        other.batch_execute(end).await.unwrap();
        let number = if end == "COMMIT" { 4 } else { 3 };
        assert_eq!(inserted(&append.await.unwrap()), number);
        until_applied(&store, "a").await;
        let health = store.health(Some("a"), &ALL).await.unwrap().remove(0);
        assert!(health.projections.iter().all(|projection| projection.applied_events == number));
        assert_proven(&store, "a").await;
        runtime.stop(Duration::from_secs(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_log_appended_so_gives_the_same_digests() {
    let (database, store) = Database::with_schema().await;
    store.apply_roles().await.unwrap();
    let client = database.connect().await;
    client.batch_execute("SET ROLE dg_writer").await.unwrap();
    let runtime = running(database.store()).await;
    for line in generated_lines("sql", 20, 8, 5) {
        call_append(&client, &line).await.unwrap();
    }
    runtime.append("api", generated_lines("api", 20, 8, 5)).await.unwrap();
    let mut digests = Vec::new();
    for tenant in ["api", "sql"] {
        until_applied(&store, tenant).await;
        assert_proven(&store, tenant).await;
        let stored = store.compute_digests(tenant).await.unwrap();
        digests.push(stored.iter().map(|digest| digest.digest).collect::<Vec<_>>());
    }
    assert_eq!(digests[0], digests[1]);
    runtime.stop(Duration::from_secs(10)).await;
}

/// A plan that sorts although it was told not to looks so dear that servers compile it by default.
#[tokio::test]
async fn what_plans_without_sorts_is_never_compiled() {
    let (database, _store) = Database::with_schema().await;
    let client = database.connect().await;
    let settings = client
        .query(
            "SELECT 'jit=off' = ANY(proconfig) FROM pg_proc
             WHERE proname LIKE 'dg\\_%' AND 'enable_sort=off' = ANY(proconfig)",
            &[],
        )
        .await
        .unwrap();
    let settings: Vec<bool> = settings.iter().map(|row| row.get(0)).collect();
    assert_eq!(settings, [true, true]);
}
