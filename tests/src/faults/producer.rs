//! The events of one client: traces that interleave, over several tenants, each continued only when
//! what came before it is known to be in.

use dg_projections::event::Line;

use crate::log::parsed;
use crate::{Random, events};

/// Traces that a client has open at once.
const OPEN: usize = 3;
/// Events of a batch, at most.
const MOST: usize = 12;

/// A client's traces.
#[derive(Debug)]
pub(super) struct Producer {
    name: String,
    tenants: Vec<String>,
    random: Random,
    open: Vec<Open>,
    begun: usize,
}

#[derive(Debug)]
struct Open {
    tenant: String,
    /// Those to come, the next one last.
    rest: Vec<Line>,
}

impl Producer {
    pub(super) fn new(name: &str, tenants: &[&str], random: Random) -> Producer {
        let tenants = tenants.iter().map(|tenant| (*tenant).to_owned()).collect();
        Producer { name: name.to_owned(), tenants, random, open: Vec::new(), begun: 0 }
    }

    /// The next events, all of one tenant: the next ones of its open traces, in any mixture.
    pub(super) fn batch(&mut self) -> Vec<Line> {
        while self.open.len() < OPEN {
            self.begin();
        }
        let tenant = self.random.pick(&self.open).tenant.clone();
        let mut batch = Vec::new();
        for _ in 0..=self.random.below(MOST) {
            let mut own: Vec<_> =
                self.open.iter_mut().filter(|open| open.tenant == tenant).collect();
            let at = self.random.below(own.len());
            batch.extend(own[at].rest.pop());
        }
        self.open.retain(|open| !open.rest.is_empty());
        batch
    }

    /// Nobody will send these again: what they are part of is given up.
    pub(super) fn give_up(&mut self, batch: &[Line]) {
        let of_batch = |open: &Open| {
            let next = &open.rest[open.rest.len() - 1].event.trace_id;
            batch.iter().any(|line| line.event.trace_id == *next)
        };
        self.open.retain(|open| !of_batch(open));
    }

    fn begin(&mut self) {
        let tenant = self.random.pick(&self.tenants).clone();
        self.begun += 1;
        let trace = format!("{}-{}", self.name, self.begun);
        let mut texts = events::whole_trace(&trace);
        if self.random.once_in(3) {
            // One that goes on: never finished, and longer than a page of some workers.
            texts.pop();
            texts.extend((5..20).map(|seq| events::observed(&trace, seq)));
        }
        let mut rest = parsed(&tenant, &texts);
        rest.reverse();
        self.open.push(Open { tenant, rest });
    }
}

/// The lines as a request has them.
pub(super) fn body(batch: &[Line]) -> String {
    let text = |line: &Line| {
        let event = &line.event;
        format!(
            r#"{{"event_id":"{}","trace_id":"{}","trace_seq":{},"event_type":"{}","occurred_at":"{}","source":{{"producer_id":"{}","system":"{}"}},"actor":{{"actor_type":"{}","actor_id":"{}"}},"idempotency_key":"{}","payload":{}}}"#,
            event.event_id,
            event.trace_id,
            event.trace_seq,
            event.event_type.as_str(),
            event.occurred_at,
            event.source.producer_id,
            event.source.system,
            event.actor.actor_type.as_str(),
            event.actor.actor_id,
            event.idempotency_key,
            event.payload,
        ) + "\n"
    };
    batch.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn traces_go_on_in_order_and_bodies_say_what_was_meant() {
        let mut producer = Producer::new("c", &["a", "b"], Random::seeded(1));
        let mut next: BTreeMap<String, i64> = BTreeMap::new();
        for _ in 0..200 {
            let batch = producer.batch();
            let tenant = batch[0].event.tenant_id.clone();
            let texts: Vec<String> = body(&batch).lines().map(str::to_owned).collect();
            assert_eq!(parsed(&tenant, &texts), batch);
            for line in &batch {
                assert_eq!(line.event.tenant_id, tenant);
                let seq = next.entry(line.event.trace_id.clone()).or_default();
                assert_eq!(line.event.trace_seq, *seq);
                *seq += 1;
            }
        }
    }
}
