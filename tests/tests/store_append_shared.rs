//! Events of several tenants in one transaction, against the rules of append written a second time.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dg_projections::event::Line;
use dg_store::{Appended, EventFilter, Fate, Part, Store};
use dg_tests::log::parsed;
use dg_tests::naive::{Attempts, Outcome};
use dg_tests::{Database, Random, events};

/// How a head is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    AsTaken,
    Moved,
    Held,
}

/// A part, the way its head is, and what the plain rules make of it.
struct Tried {
    tenant: String,
    head: i64,
    lines: Vec<Line>,
    found: Head,
    expected: Vec<Outcome>,
}

impl Tried {
    fn draw(random: &mut Random, attempts: &mut Attempts, tenant: &str) -> Tried {
        let head = attempts.expected.events(tenant).len() as i64;
        let found = match random.below(8) {
            0 => Head::Moved,
            // A tenant without a log has no head to hold.
            1 if head > 0 => Head::Held,
            _ => Head::AsTaken,
        };
        let (mut lines, mut expected) = (Vec::new(), Vec::new());
        let before = attempts.expected.clone();
        for _ in 0..=random.below(2) {
            lines.push(attempts.draw());
            expected.push(attempts.expected.append(&lines[lines.len() - 1]));
        }
        attempts.expected = before;
        let head = if found == Head::Moved { head - 1 } else { head };
        Tried { tenant: tenant.to_owned(), head, lines, found, expected }
    }

    fn part(&self) -> Part<'_> {
        Part { tenant: &self.tenant, head: self.head, lines: self.lines.iter().collect() }
    }

    fn is_new(&self) -> bool {
        self.expected.iter().all(|one| matches!(one, Outcome::Inserted(_)))
    }

    /// Whether its fate is what the rules make of all that were tried together.
    fn assert_fate(&self, fate: &Fate, is_undone: bool, is_alone: bool) -> bool {
        match fate {
            Fate::Sent(Appended::Done(answers)) => {
                let answers: Vec<Outcome> = answers.iter().map(Outcome::from).collect();
                assert_eq!(answers, self.expected);
                assert!(!is_undone && self.found == Head::AsTaken && self.is_new());
                true
            }
            Fate::LeftOut => {
                assert!(self.found != Head::AsTaken || (is_alone && is_undone), "{}", self.tenant);
                assert!(is_alone || !is_undone);
                false
            }
            Fate::Undone => {
                assert!(is_undone && !is_alone);
                false
            }
            other @ Fate::Sent(_) => panic!("{other:?}"),
        }
    }
}

async fn begun(store: &Store, round: usize, number: usize) -> (String, Attempts) {
    let tenant = format!("tenant-{round}-{number}");
    let seed = (round * 10 + number) as u64;
    let mut attempts = Attempts::new(Random::seeded(seed), &[tenant.as_str()]);
    if number > 0 {
        let first = parsed(&tenant, &[events::started("first")]);
        attempts.expected.append(&first[0]);
        store.append(&tenant, &first).await.unwrap()[0].clone().unwrap();
    }
    (tenant, attempts)
}

#[tokio::test]
async fn a_tenants_part_is_in_exactly_when_its_head_is_to_be_had_and_all_of_everybody_is_new() {
    let (database, store) = Database::with_schema().await;
    let mut other = database.connect().await;
    let mut random = Random::seeded(15);
    let (mut sent, mut left_out, mut undone) = (0, 0, 0);
    for round in 0..25 {
        let mut tenants = Vec::new();
        for number in 0..4 {
            tenants.push(begun(&store, round, number).await);
        }
        for _ in 0..10 {
            let together = 1 + random.below(4);
            let tried: Vec<Tried> = tenants[..together]
                .iter_mut()
                .map(|(tenant, attempts)| Tried::draw(&mut random, attempts, tenant))
                .collect();
            let holding = other.transaction().await.unwrap();
            let held = tried.iter().filter(|one| one.found == Head::Held);
            let held: Vec<&str> = held.map(|one| one.tenant.as_str()).collect();
            let sql = "SELECT FROM dg_tenant_heads WHERE tenant_id = ANY($1) FOR UPDATE";
            holding.execute(sql, &[&held]).await.unwrap();
            let parts: Vec<Part<'_>> = tried.iter().map(Tried::part).collect();
            let fates = store.append_shared(&parts, &|| ()).await.unwrap();
            holding.rollback().await.unwrap();

            let is_undone = tried.iter().any(|one| one.found == Head::AsTaken && !one.is_new());
            for ((one, fate), (_, attempts)) in tried.iter().zip(&fates).zip(&mut tenants) {
                match fate {
                    Fate::Sent(_) => sent += 1,
                    Fate::LeftOut => left_out += 1,
                    Fate::Undone => undone += 1,
                }
                if one.assert_fate(fate, is_undone, tried.len() == 1) {
                    one.lines.iter().for_each(|line| drop(attempts.expected.append(line)));
                }
            }
        }
        for (tenant, attempts) in &tenants {
            let stored = store.list_events(tenant, &EventFilter::default(), 1_000).await.unwrap();
            let stored: Vec<&str> = stored.iter().map(|event| event.event_id.as_str()).collect();
            let expected = attempts.expected.events(tenant).iter();
            assert_eq!(stored, expected.map(|event| event.event_id.as_str()).collect::<Vec<_>>());
        }
    }
    let fates = [sent, left_out, undone];
    assert!(fates.iter().all(|count| *count > 50), "all came up: {fates:?}");
}

#[tokio::test]
async fn who_holds_a_key_without_the_head_holds_up_the_others_for_a_moment_only() {
    let (database, store) = Database::with_schema().await;
    let [a, b] = [("a", "one"), ("b", "two")]
        .map(|(tenant, trace)| (tenant, parsed(tenant, &[events::started(trace)])));
    for tenant in ["a", "b"] {
        let first = parsed(tenant, &[events::started("first")]);
        store.append(tenant, &first).await.unwrap()[0].clone().unwrap();
    }
    // Rows by hand whose statement is not over: they have their keys, and not the head yet.
    let mut other = database.connect().await;
    let holding = other.transaction().await.unwrap();
    holding.batch_execute("SET LOCAL session_replication_role = replica").await.unwrap();
    let sql = "INSERT INTO dg_event_log (tenant_id, log_seq, trace_seq, occurred_at_utc, event_id,
            trace_id, event_type, occurred_at, producer_id, source_system, actor_type, actor_id,
            idempotency_key, payload_json, payload_hash)
        SELECT tenant_id, log_seq + 1, 0, occurred_at_utc, 'by hand', 'by hand', event_type,
            occurred_at, producer_id, source_system, actor_type, actor_id, 'by hand', payload_json,
            payload_hash
        FROM dg_event_log WHERE tenant_id = 'a'";
    assert_eq!(holding.execute(sql, &[]).await.unwrap(), 1);

    let part = |(tenant, lines): &'_ (&'static str, Vec<Line>)| (*tenant, lines.clone());
    let (a, b) = (part(&a), part(&b));
    let parts =
        [&a, &b].map(|(tenant, lines)| Part { tenant, head: 1, lines: lines.iter().collect() });
    let shared = store.append_shared(&parts, &|| ());
    let fates = tokio::time::timeout(Duration::from_secs(10), shared).await.unwrap().unwrap();
    assert!(matches!(fates[..], [Fate::Undone, Fate::Undone]), "{fates:?}");
    // By itself, who is not held up goes in, and who is has to be looked at.
    let fates = store.append_shared(&parts[1..], &|| ()).await.unwrap();
    assert!(matches!(fates[..], [Fate::Sent(_)]), "{fates:?}");
    let fates = store.append_shared(&parts[..1], &|| ()).await.unwrap();
    assert!(matches!(fates[..], [Fate::LeftOut]), "{fates:?}");
    holding.rollback().await.unwrap();
}
