//! Precedents, against a plain search of a model's tables.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::cmp::Reverse;

use dg_projections::Code;
use dg_projections::model::Tables;
use dg_projections::rows::PrecedentRow;
use dg_store::{PrecedentHit, PrecedentQuery, Store};
use dg_tests::log::{append_all, catch_up, generated_lines, model_of, parity, parsed};
use dg_tests::{Database, Random, events};

fn naive(tables: &Tables, query: &PrecedentQuery) -> Vec<PrecedentHit> {
    let wanted = |asked: &Option<String>, value: &str| asked.as_ref().is_none_or(|a| a == value);
    let mut hits = Vec::new();
    for summary in tables.summaries.values() {
        let Some(outcome) = summary.outcome.clone() else { continue };
        if !wanted(&query.outcome, &outcome)
            || !wanted(&query.entity_type, &summary.primary_entity_type)
            || !wanted(&query.entity_id, &summary.primary_entity_id)
        {
            continue;
        }
        let of_policy = |row: &&PrecedentRow| {
            row.trace_id == summary.trace_id
                && wanted(&query.policy_id, &row.policy_id)
                && wanted(&query.policy_version, &row.policy_version)
        };
        let best = tables.precedents.values().filter(of_policy).min_by_key(|row| {
            (row.exception_id.is_none(), Reverse(row.log_seq), row.source_event_id.clone())
        });
        let best = best.filter(|_| query.policy_id.is_some());
        if best.is_none() && query.policy_id.is_some() {
            continue;
        }
        hits.push(PrecedentHit {
            trace_id: summary.trace_id.clone(),
            workflow: summary.workflow.clone(),
            title: summary.title.clone(),
            outcome,
            finished_at: summary.finished_at.clone(),
            last_log_seq: summary.last_log_seq,
            primary_entity_type: summary.primary_entity_type.clone(),
            primary_entity_system: summary.primary_entity_system.clone(),
            primary_entity_id: summary.primary_entity_id.clone(),
            policy_id: best.map(|row| row.policy_id.clone()),
            policy_version: best.map(|row| row.policy_version.clone()),
            exception_id: best.and_then(|row| row.exception_id.clone()),
            source_event_id: best.map(|row| row.source_event_id.clone()),
        });
    }
    hits.sort_by_key(|hit| (Reverse(hit.last_log_seq), hit.trace_id.clone()));
    hits.truncate(query.limit as usize);
    hits
}

/// A filter whose values mostly go together: those of some trace.
fn query(random: &mut Random, tables: &Tables) -> PrecedentQuery {
    let rows: Vec<&PrecedentRow> = tables.precedents.values().collect();
    let summaries: Vec<_> = tables.summaries.values().collect();
    let summary = *random.pick(&summaries);
    let mut query = PrecedentQuery { limit: 1 + random.below(20) as i64, ..Default::default() };
    if !rows.is_empty() && random.once_in(2) {
        let row = *random.pick(&rows);
        query.policy_id = Some(row.policy_id.clone());
        query.policy_version = random.once_in(2).then(|| row.policy_version.clone());
    }
    if random.once_in(3) {
        query.outcome =
            Some((*random.pick(&["success", "failure", "abandoned", "odd"])).to_owned());
    }
    if random.once_in(2) {
        query.entity_type = Some(summary.primary_entity_type.clone());
        query.entity_id = random.once_in(2).then(|| summary.primary_entity_id.clone());
    }
    query
}

async fn compare(store: &Store, tenant: &str, tables: &Tables, random: &mut Random) -> usize {
    let mut found = 0;
    for _ in 0..30 {
        let query = query(random, tables);
        query.check().unwrap();
        let hits = store.precedents(tenant, &query).await.unwrap();
        assert_eq!(hits, naive(tables, &query), "{tenant} {query:?}");
        found += hits.len();
    }
    found
}

#[tokio::test]
async fn precedents_are_those_of_a_plain_search() {
    let (_database, store) = Database::with_schema().await;
    let mut random = Random::seeded(61);
    let mut found = 0;
    // Traces that evaluate policies many times and some that never do.
    let mut lines = generated_lines("generated", 30, 20, 2);
    lines.extend(generated_lines("generated", 10, 4, 3));
    lines.extend(generated_lines("generated", 3, 8, 4).into_iter().take(20));
    let mut logs = parity();
    logs.push(("generated".to_owned(), lines));
    for (tenant, lines) in logs {
        append_all(&store, &tenant, &lines, 200).await;
        catch_up(&store, &tenant, 200).await;
        found += compare(&store, &tenant, &model_of(&lines).tables, &mut random).await;
    }
    assert!(found > 500, "{found} hits");
}

fn evaluated(trace: &str, seq: usize) -> String {
    let policy =
        r#"{"policy":{"policy_id":"limit","policy_version":"1"},"inputs":[],"decision":"allow"}"#;
    events::event(trace, seq, "PolicyEvaluated", policy)
}

#[tokio::test]
async fn a_trace_is_found_once_by_its_exception_and_also_without_any_policy() {
    let (_database, store) = Database::with_schema().await;
    let mut texts = events::whole_trace("with");
    texts.extend([events::started("twice"), evaluated("twice", 1), evaluated("twice", 2)]);
    texts.extend([
        events::finished("twice", 3),
        events::started("none"),
        events::finished("none", 1),
    ]);
    texts.extend([events::started("open"), evaluated("open", 1)]);
    append_all(&store, "a", &parsed("a", &texts), 100).await;
    catch_up(&store, "a", 100).await;
    let any = store.precedents("a", &PrecedentQuery::default()).await.unwrap();
    let found: Vec<&str> = any.iter().map(|hit| hit.trace_id.as_str()).collect();
    assert_eq!(found, ["none", "twice", "with"]);
    assert!(any.iter().all(|hit| hit.policy_id.is_none() && hit.source_event_id.is_none()));
    let limit = PrecedentQuery { policy_id: Some("limit".to_owned()), ..Default::default() };
    let found = store.precedents("a", &limit).await.unwrap();
    let found: Vec<_> =
        found.iter().map(|hit| (&*hit.trace_id, hit.source_event_id.as_deref())).collect();
    assert_eq!(found, [("twice", Some("twice.2")), ("with", Some("with.3"))]);
    assert_eq!(store.precedents("nobody", &limit).await.unwrap(), []);
}

#[test]
fn a_part_without_its_whole_is_an_invalid_argument() {
    let some = || Some("x".to_owned());
    let none = PrecedentQuery::default();
    for wrong in [
        PrecedentQuery { policy_version: some(), ..none.clone() },
        PrecedentQuery { entity_id: some(), ..none.clone() },
        PrecedentQuery { limit: 0, ..none.clone() },
        PrecedentQuery { limit: 10_001, ..none },
    ] {
        assert_eq!(wrong.check().unwrap_err().code, Code::InvalidArgument, "{wrong:?}");
    }
}
