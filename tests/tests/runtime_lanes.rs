//! Append lanes through the runtime: what waits shares a commit, and everybody gets their own answer.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::Code;
use dg_projections::admission::Admission;
use dg_projections::event::{Keeping, Line, parse_line};
use dg_runtime::Runtime;
use dg_store::{Answer, Store, StoreError};
use dg_tests::Database;
use dg_tests::log::settings;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Transaction};

/// The start of a trace of its own.
fn start(trace: usize) -> Line {
    start_of("acme", trace)
}

fn start_of(tenant: &str, trace: usize) -> Line {
    let text = format!(
        r#"{{"event_id":"e{trace}","trace_id":"t{trace}","trace_seq":0,"event_type":"TraceStarted","occurred_at":"2026-01-01T00:00:00Z","source":{{"producer_id":"p","system":"s"}},"actor":{{"actor_type":"agent","actor_id":"a"}},"idempotency_key":"k{trace}","payload":{{"workflow":"w","title":"x","primary_entity":{{"entity_type":"y","entity_id":"z"}}}}}}"#
    );
    parse_line(&text, tenant, Keeping::NewNumbers).unwrap()
}

/// Nothing of the tenant is committed while this transaction lasts.
async fn hold_head(client: &mut Client) -> Transaction<'_> {
    let holding = client.transaction().await.unwrap();
    let sql = "SELECT 1 FROM dg_tenant_heads WHERE tenant_id = 'acme' FOR UPDATE";
    holding.execute(sql, &[]).await.unwrap();
    holding
}

async fn commits(database: &Database) -> i64 {
    let client = database.connect().await;
    let sql = "SELECT count(DISTINCT recorded_at) FROM dg_event_log";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_while_a_transaction_runs_shares_the_next_one() {
    let (database, store) = Database::with_schema().await;
    let runtime = Runtime::start(store, settings()).await.unwrap();
    let appends: Vec<_> = (0..400)
        .map(|trace| {
            let runtime = runtime.clone();
            tokio::spawn(async move { runtime.append("acme", [start(trace)]).await })
        })
        .collect();
    let mut numbers = Vec::new();
    for append in appends {
        match append.await.unwrap().unwrap().as_slice() {
            [Ok(Admission::Insert { log_seq })] => numbers.push(*log_seq),
            other => panic!("{other:?}"),
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=400).collect::<Vec<i64>>());
    // One statement a transaction stamps its events alike.
    let commits = commits(&database).await;
    assert!(commits < 100, "400 appends took {commits} transactions");
    runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_leaves_those_that_share_its_commit_unharmed() {
    let (_database, store) = Database::with_schema().await;
    let runtime = Runtime::start(store, settings()).await.unwrap();
    let other_key = |trace: usize| {
        let mut line = start(trace);
        line.event.idempotency_key = format!("other{trace}");
        line
    };
    runtime.append("acme", [start(0)]).await.unwrap();
    let appends: Vec<_> = (0..60)
        .map(|number| {
            let runtime = runtime.clone();
            // Every third is a duplicate under another key, every third a second delivery.
            let line = match number % 3 {
                0 => other_key(0),
                1 => start(0),
                _ => start(number),
            };
            tokio::spawn(async move { runtime.append("acme", [line]).await.unwrap().remove(0) })
        })
        .collect();
    for (number, append) in appends.into_iter().enumerate() {
        let answer = append.await.unwrap();
        match number % 3 {
            0 => assert_eq!(answer.unwrap_err().code, Code::EventSequenceInvalid),
            1 => assert!(matches!(answer, Ok(Admission::Reused { log_seq: 1, .. })), "{answer:?}"),
            _ => assert!(matches!(answer, Ok(Admission::Insert { .. })), "{answer:?}"),
        }
    }
    runtime.stop(std::time::Duration::from_secs(5)).await;
}

/// A runtime with the lanes of so many tenants, each of which has looked at its log and trusts it.
async fn lanes_that_trust(store: Store, tenants: usize) -> (Runtime, Vec<String>) {
    let runtime = Runtime::start(store, settings()).await.unwrap();
    let names: Vec<String> = (0..tenants).map(|number| format!("tenant-{number:02}")).collect();
    for tenant in &names {
        runtime.append(tenant, [start_of(tenant, 0)]).await.unwrap().remove(0).unwrap();
    }
    (runtime, names)
}

/// An event of each tenant, all at once.
fn append_each(
    runtime: &Runtime,
    tenants: &[String],
    line: impl Fn(&str) -> Line,
) -> Vec<JoinHandle<Result<Vec<Answer>, StoreError>>> {
    let append = |tenant: &String| {
        let (runtime, tenant, line) = (runtime.clone(), tenant.clone(), line(tenant));
        tokio::spawn(async move { runtime.append(&tenant, [line]).await })
    };
    tenants.iter().map(append).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_that_wait_at_the_same_time_share_a_transaction() {
    let (database, store) = Database::with_schema().await;
    let (runtime, tenants) = lanes_that_trust(store, 40).await;
    for trace in 1..=5 {
        for append in append_each(&runtime, &tenants, |tenant| start_of(tenant, trace)) {
            let log_seq = trace as i64 + 1;
            assert_eq!(append.await.unwrap().unwrap(), [Ok(Admission::Insert { log_seq })]);
        }
    }
    let sql = "SELECT count(DISTINCT xmin::text) FROM dg_event_log WHERE log_seq > 1";
    let commits: i64 = database.connect().await.query_one(sql, &[]).await.unwrap().get(0);
    assert!(commits < 100, "200 appends of 40 tenants took {commits} transactions");
    runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_that_were_quiet_share_a_transaction_from_their_first_event_on() {
    let (database, store) = Database::with_schema().await;
    let (runtime, tenants) = lanes_that_trust(store, 200).await;
    runtime.stop(std::time::Duration::from_secs(5)).await;
    // Lanes that know nothing: one finds its event in the log already.
    let runtime = Runtime::start(database.store(), settings()).await.unwrap();
    let line = |tenant: &str| start_of(tenant, usize::from(tenant != "tenant-07"));
    let appends = append_each(&runtime, &tenants, line);
    for (tenant, append) in tenants.iter().zip(appends) {
        let expected = match &**tenant {
            "tenant-07" => Admission::Reused { log_seq: 1, event_id: "e0".to_owned() },
            _ => Admission::Insert { log_seq: 2 },
        };
        assert_eq!(append.await.unwrap().unwrap(), [Ok(expected)], "{tenant}");
    }
    let sql = "SELECT count(DISTINCT xmin::text) FROM dg_event_log WHERE log_seq = 2";
    let commits: i64 = database.connect().await.query_one(sql, &[]).await.unwrap().get(0);
    assert!(commits < 150, "appends of 199 tenants took {commits} transactions");
    runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_meets_the_end_of_an_idle_lane_is_taken_by_the_next() {
    let (_database, store) = Database::with_schema().await;
    let idle = std::time::Duration::from_millis(2);
    let settings = dg_runtime::Settings { tenant_idle_stop: idle, ..settings() };
    let runtime = Runtime::start(store, settings).await.unwrap();
    for round in 0..600_u64 {
        let appending = runtime.hand_over("acme", [start(round as usize)].into()).await.unwrap();
        let log_seq = round as i64 + 1;
        assert_eq!(appending.answers().await.unwrap(), [Ok(Admission::Insert { log_seq })]);
        // Around the moment when the lane finds that it had nothing to do.
        tokio::time::sleep(idle + std::time::Duration::from_micros(round * 37 % 4_000)).await;
    }
    runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_head_is_held_holds_up_nobody_else() {
    let (database, store) = Database::with_schema().await;
    let (runtime, tenants) = lanes_that_trust(store, 20).await;
    let mut client = database.connect().await;
    let holding = client.transaction().await.unwrap();
    // More of them than may append at once.
    let sql =
        "SELECT FROM dg_tenant_heads WHERE tenant_id IN ('tenant-00', 'tenant-01', 'tenant-02')
        FOR UPDATE";
    holding.execute(sql, &[]).await.unwrap();
    for trace in 1..=3 {
        let held = append_each(&runtime, &tenants[..3], |tenant| start_of(tenant, trace));
        for append in append_each(&runtime, &tenants[3..], |tenant| start_of(tenant, trace)) {
            let log_seq = trace as i64 + 1;
            assert_eq!(append.await.unwrap().unwrap(), [Ok(Admission::Insert { log_seq })]);
        }
        assert!(held.iter().all(|append| !append.is_finished()));
    }
    holding.rollback().await.unwrap();
    let sql = "SELECT count(*) FROM dg_event_log WHERE tenant_id < 'tenant-03'";
    dg_tests::eventually("what was held is in", || async {
        let count: i64 = database.connect().await.query_one(sql, &[]).await.unwrap().get(0);
        (count == 12).then_some(())
    })
    .await;
    runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_leaves_the_tenants_that_share_its_transaction_unharmed() {
    let (_database, store) = Database::with_schema().await;
    let (runtime, tenants) = lanes_that_trust(store, 30).await;
    for trace in 1..=10 {
        // Every tenth tenant sends its first event under another key, others the same once more.
        let line = |tenant: &str| match tenant.as_bytes()[tenant.len() - 1] {
            b'0' => {
                let mut line = start_of(tenant, 0);
                line.event.idempotency_key = format!("other{trace}");
                line
            }
            b'1' => start_of(tenant, 0),
            _ => start_of(tenant, trace),
        };
        for (tenant, append) in tenants.iter().zip(append_each(&runtime, &tenants, line)) {
            let answer = append.await.unwrap().unwrap().remove(0);
            match tenant.as_bytes()[tenant.len() - 1] {
                b'0' => assert_eq!(answer.unwrap_err().code, Code::EventSequenceInvalid),
                b'1' => assert!(matches!(answer, Ok(Admission::Reused { log_seq: 1, .. }))),
                _ => assert_eq!(answer, Ok(Admission::Insert { log_seq: trace as i64 + 1 })),
            }
        }
    }
    runtime.stop(std::time::Duration::from_secs(5)).await;
}

/// The lane of a tenant that trusts its log, with a batch at the database: it goes on when it is let go.
struct OneUnderWay {
    database: Database,
    runtime: Runtime,
    holding: Client,
    first: JoinHandle<Result<Vec<Answer>, StoreError>>,
}

impl OneUnderWay {
    /// The first event of the batch is that which is held.
    async fn begin(lines: Vec<Line>) -> OneUnderWay {
        let (database, store) = Database::with_schema().await;
        let runtime = Runtime::start(store, settings()).await.unwrap();
        runtime.append("acme", [start(0)]).await.unwrap().remove(0).unwrap();
        let holding = database.connect().await;
        let held = &lines[0].event.event_id;
        // Asked for again and again: the statement's own bound on waiting for a lock would end one long wait.
        let sql = format!(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                WHILE NOT pg_try_advisory_xact_lock_shared(1) LOOP PERFORM pg_sleep(0.01); END LOOP;
                RETURN NEW;
            END $$;
            CREATE TRIGGER hold BEFORE INSERT ON dg_event_log
                FOR EACH ROW WHEN (NEW.event_id = '{held}') EXECUTE FUNCTION hold();
            SELECT pg_advisory_lock(1)"
        );
        holding.batch_execute(&sql).await.unwrap();
        let appending = runtime.clone();
        let first = tokio::spawn(async move { appending.append("acme", lines).await });
        let under_way = OneUnderWay { database, runtime, holding, first };
        under_way.seen("wait_event = 'PgSleep'").await;
        under_way
    }

    /// Waits until a session of the database is seen like this; which one.
    async fn seen(&self, how: &str) -> i32 {
        let client = self.database.connect().await;
        let sql = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND {how}"
        );
        dg_tests::eventually(how, || async {
            client.query_opt(&sql, &[]).await.unwrap().map(|row| row.get(0))
        })
        .await
    }

    /// The second batch is sent, and is seen to wait for the first.
    async fn follow(&self, lines: Vec<Line>) -> JoinHandle<Result<Vec<Answer>, StoreError>> {
        let runtime = self.runtime.clone();
        let second = tokio::spawn(async move { runtime.append("acme", lines).await });
        self.seen("wait_event = 'advisory' AND backend_xid IS NOT NULL").await;
        second
    }

    async fn let_go(&self) {
        self.holding.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    }
}

fn number(log_seq: i64) -> Answer {
    Ok(Admission::Insert { log_seq })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_written_while_the_one_before_it_is_under_way() {
    let stage = OneUnderWay::begin(vec![start(1), start(2)]).await;
    let second = stage.follow(vec![start(3), start(4)]).await;
    stage.let_go().await;
    assert_eq!(stage.first.await.unwrap().unwrap(), [number(2), number(3)]);
    assert_eq!(second.await.unwrap().unwrap(), [number(4), number(5)]);
    stage.runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_batch_that_was_not_what_it_was_taken_for_goes_in_after_it() {
    let mut other = start(0);
    other.event.payload_hash.0[0] ^= 1;
    let stage = OneUnderWay::begin(vec![start(1), other]).await;
    let second = stage.follow(vec![start(3), start(4)]).await;
    stage.let_go().await;
    let first = stage.first.await.unwrap().unwrap();
    assert_eq!(first[0], number(2));
    assert_eq!(first[1].as_ref().unwrap_err().code, Code::IdempotencyConflict);
    assert_eq!(second.await.unwrap().unwrap(), [number(3), number(4)]);
    stage.runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_batch_that_failed_fails_with_it_and_is_not_blamed_for_the_gap() {
    let trace = dg_tests::log::parsed(
        "acme",
        &[dg_tests::events::started("gap"), dg_tests::events::observed("gap", 1)],
    );
    let stage = OneUnderWay::begin(vec![trace[0].clone()]).await;
    let second = stage.follow(vec![trace[1].clone()]).await;
    let pid = stage.seen("wait_event = 'PgSleep'").await;
    let client = stage.database.connect().await;
    client.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    for answer in [stage.first.await.unwrap(), second.await.unwrap()] {
        assert_eq!(answer.unwrap_err().code, Code::Storage);
    }
    stage.holding.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    dg_tests::eventually("the database is back", || async {
        let again = stage.runtime.append("acme", trace.clone()).await;
        again.ok().filter(|answers| *answers == [number(2), number(3)])
    })
    .await;
    stage.runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_takes_with_it_who_is_behind_it_and_nobody_else() {
    let stage = OneUnderWay::begin(vec![start(1)]).await;
    let second = stage.follow(vec![start(2)]).await;
    let runtime = stage.runtime.clone();
    let third = tokio::spawn(async move { runtime.append("acme", [start(3)]).await });
    let pid = stage.seen("wait_event = 'PgSleep'").await;
    let client = stage.database.connect().await;
    client.execute("SELECT pg_cancel_backend($1)", &[&pid]).await.unwrap();
    for answer in [stage.first.await.unwrap(), second.await.unwrap()] {
        assert_eq!(answer.unwrap_err().code, Code::Storage);
    }
    assert_eq!(third.await.unwrap().unwrap(), [number(2)]);
    stage.runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_tenant_is_not_held_up_by_those_who_wait_for_a_held_head() {
    let (database, store) = Database::with_schema().await;
    let (runtime, tenants) = lanes_that_trust(store, 5).await;
    let mut client = database.connect().await;
    let holding = client.transaction().await.unwrap();
    let sql = "SELECT FROM dg_tenant_heads WHERE tenant_id <> 'tenant-00' FOR UPDATE";
    holding.execute(sql, &[]).await.unwrap();
    let held = append_each(&runtime, &tenants[1..], |tenant| start_of(tenant, 1));
    let busy = (1..=300).map(|trace| {
        let runtime = runtime.clone();
        tokio::spawn(
            async move { runtime.append("tenant-00", [start_of("tenant-00", trace)]).await },
        )
    });
    for append in busy.collect::<Vec<_>>() {
        assert!(matches!(append.await.unwrap().unwrap()[..], [Ok(Admission::Insert { .. })]));
    }
    assert!(held.iter().all(|append| !append.is_finished()));
    holding.rollback().await.unwrap();
    for append in held {
        assert_eq!(append.await.unwrap().unwrap(), [number(2)]);
    }
    runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lane_refuses_at_once_and_takes_more_when_it_has_emptied() {
    let (database, store) = Database::with_schema().await;
    let runtime = Runtime::start(store, settings()).await.unwrap();
    runtime.append("acme", [start(0)]).await.unwrap();
    let mut client = database.connect().await;
    let holding = hold_head(&mut client).await;
    let batch = |number: usize| {
        (1..=1000).map(move |trace| start(number * 1000 + trace)).collect::<Vec<_>>()
    };
    let appends: Vec<_> = (0..40)
        .map(|number| {
            let runtime = runtime.clone();
            tokio::spawn(async move { runtime.append("acme", batch(number)).await })
        })
        .collect();
    let refused = dg_tests::eventually("some are refused", || async {
        let done: Vec<_> = appends.iter().filter(|append| append.is_finished()).collect();
        (!done.is_empty()).then_some(done.len())
    })
    .await;
    assert!(refused < 40);
    holding.rollback().await.unwrap();
    let (mut inserted, mut full) = (0, 0);
    for append in appends {
        match append.await.unwrap() {
            Ok(answers) => inserted += answers.iter().filter(|answer| answer.is_ok()).count(),
            Err(error) => {
                assert_eq!((error.code, error.is_outage), (Code::Storage, false));
                assert!(error.message.contains("send again in a moment"), "{error}");
                full += 1;
            }
        }
    }
    assert!(full > 0 && inserted == (40 - full) * 1000, "{inserted} inserted, {full} refused");
    assert!(runtime.append("acme", [start(999_999)]).await.unwrap()[0].is_ok());
    runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_were_given_up_leave_no_place_taken() {
    let (database, store) = Database::with_schema().await;
    let runtime = Runtime::start(store, settings()).await.unwrap();
    runtime.append("acme", [start(0)]).await.unwrap();
    let mut client = database.connect().await;
    let holding = hold_head(&mut client).await;
    // As many as the lane takes, each from a client that goes away.
    for number in 0..20 {
        let batch: Vec<_> = (1..=1000).map(|trace| start(number * 1000 + trace)).collect();
        let append = runtime.append("acme", &batch[..]);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), append).await;
        assert!(waited.is_err(), "{waited:?}");
    }
    holding.rollback().await.unwrap();
    dg_tests::eventually("the lane takes more", || async {
        runtime.append("acme", [start(900_000)]).await.ok()
    })
    .await;
    let sql = "SELECT count(*) FROM dg_event_log";
    dg_tests::eventually("what was handed over is in", || async {
        let count: i64 = database.connect().await.query_one(sql, &[]).await.unwrap().get(0);
        (count == 20_002).then_some(())
    })
    .await;
    runtime.stop(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_kept_number_does_not_mark_its_neighbours() {
    let (_database, store) = Database::with_schema().await;
    let mut kept = start(1);
    kept.log_seq = Some(50);
    let answers = store.append("acme", &[start(0), kept]).await.unwrap();
    assert!(matches!(answers[0], Ok(Admission::Insert { log_seq: 1 })), "{answers:?}");
    assert!(answers[1].is_err(), "{answers:?}");
    // The tenant gives its own numbers, now and later.
    let next = store.append("acme", &[start(2)]).await.unwrap().remove(0);
    assert!(matches!(next, Ok(Admission::Insert { log_seq: 2 })), "{next:?}");
}
