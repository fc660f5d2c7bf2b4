//! Every digest that was ever stored is that of the log up to where it says it stands, also one that
//! was there for a moment only: whoever read it then has it.

use std::collections::BTreeSet;

use dg_projections::event::LogEvent;
use dg_projections::model::{Digests, Model};
use dg_projections::projection::Projection;
use dg_store::{Cursor, Store, StoreError};

use super::Arena;
use super::history::StoredDigest;
use super::workload::TENANTS;

/// Events that are read at a time.
const PAGE: i64 = 2_000;

/// Holds those that the watcher has written down against the model.
pub(super) fn check(arena: &Arena) {
    let (runtime, store) = arena.store();
    let seen = arena.told().digests.clone();
    for tenant in TENANTS {
        match runtime.block_on(log_of(&store, tenant)) {
            Ok(events) => {
                compare(tenant, &events, &seen).into_iter().for_each(|what| arena.wrong(what));
            }
            Err(error) => arena.wrong(format!("the log of {tenant} cannot be read: {error}")),
        }
    }
}

/// All events of a tenant, as a projector reads them.
async fn log_of(store: &Store, tenant: &str) -> Result<Vec<LogEvent>, StoreError> {
    let (mut events, mut at) = (Vec::new(), Cursor::whole(1, 0, 0));
    loop {
        let page = store.read_page(tenant, Projection::ContextGraph, at, PAGE).await?;
        events.extend(page.events);
        if !page.more {
            return Ok(events);
        }
        at.last_log_seq = page.end;
    }
}

/// The digests of a tenant that are not those of its log.
fn compare(tenant: &str, events: &[LogEvent], seen: &BTreeSet<StoredDigest>) -> Vec<String> {
    let (mut model, mut wrong, mut applied) = (Model::new(), Vec::new(), 0);
    let mut known: Option<(i64, Digests)> = None;
    // In the order of their places: the log is gone through once.
    for (_, log_seq, name, digest) in seen.iter().filter(|(of, ..)| of == tenant) {
        let until = events.partition_point(|event| event.log_seq <= *log_seq);
        if known.is_none_or(|(at, _)| at != *log_seq) {
            if let Err(poison) = model.apply_all(&events[applied..until]) {
                wrong.push(format!("the log of {tenant} cannot be projected: {poison:?}"));
                return wrong;
            }
            applied = until;
            match model.tables.digests() {
                Ok(digests) => known = Some((*log_seq, digests)),
                Err(error) => wrong.push(format!("{tenant} at {log_seq}: {error}")),
            }
        }
        let Some((_, digests)) = known else { continue };
        let expected = Projection::ALL
            .into_iter()
            .find(|projection| projection.as_str() == name)
            .map_or_else(|| digests.full_projection(), |projection| digests.of(projection));
        if expected.to_string() != *digest {
            wrong.push(format!(
                "the digest {name} of {tenant} at {log_seq} was never that of its log"
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events;
    use crate::log::{model_of, parsed};

    #[test]
    fn a_digest_is_right_at_its_own_place_and_nowhere_else() {
        let lines = parsed("a", &events::whole_trace("t"));
        let log: Vec<LogEvent> =
            (1..).zip(&lines).map(|(at, line)| LogEvent::from_event(&line.event, at)).collect();
        let digests = |events: usize| model_of(&lines[..events]).tables.digests().unwrap();
        let summary = |events: usize| digests(events).trace_summary.to_string();
        let full = |events: usize| digests(events).full_projection().to_string();
        for (tenant, at, name, digest, is_right) in [
            ("a", 1, "trace_summary", summary(1), true),
            ("a", 1, "full_projection", full(1), true),
            ("a", 6, "trace_summary", summary(6), true),
            ("a", 6, "trace_summary", summary(1), false),
            ("a", 1, "trace_summary", summary(6), false),
            ("a", 1, "full_projection", full(6), false),
            ("a", 1, "full_projection", summary(1), false),
            ("b", 1, "trace_summary", "somebody else's".to_owned(), true),
        ] {
            let seen = BTreeSet::from([(tenant.to_owned(), at, name.to_owned(), digest)]);
            let wrong = compare("a", &log, &seen);
            assert_eq!(wrong.is_empty(), is_right, "{seen:?}: {wrong:?}");
        }
    }
}
