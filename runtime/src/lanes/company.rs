//! Lanes in company: what several lanes have to send while others are at the database becomes one
//! transaction, so that many quiet tenants cost one commit, not one each.
//!
//! ```text
//! small batches of lanes ─► those that wait ─► a turn ─► one transaction ─► a fate each
//! ```
//! Invariants:
//! - so many turns are under way at most, and no turn waits for a tenant's head that is there: nobody is held up
//!   by a neighbour for longer than the store's patience with a key, or another small batch of that neighbour's takes;
//!   who knows nothing of its log costs the turn one look for all of those;
//! - those that wait go in the order they came, and all that a turn has room for go at once;
//! - a turn of several is nobody's: a lane that ends on the way ends no other's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dg_projections::event::Line;
use dg_store::{Fate, Part, Store, StoreError};
use tokio::sync::oneshot;

use crate::gate::Gate;
use crate::in_flight::caught;

/// Turns that are under way at once: while one is committed, another is written.
const TURNS: usize = 2;
/// Events of one turn. A batch of more has no use for company.
const MOST_EVENTS: usize = 128;

/// A lane's batch, taken to be new.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) tenant: String,
    /// Where its log is taken to end; a lane that knows nothing has it looked up whether the batch is new.
    pub(super) head: Option<i64>,
    pub(super) requests: Vec<Arc<[Line]>>,
}

type Fated = Result<Fate, StoreError>;
type Told = oneshot::Sender<Fated>;

/// Who waits for a turn. Cheap to clone: clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Company(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    members: VecDeque<(Member, Told)>,
    under_way: usize,
}

impl Member {
    fn events(&self) -> usize {
        self.requests.iter().map(|lines| lines.len()).sum()
    }

    fn lines(&self) -> Vec<&Line> {
        self.requests.iter().flat_map(|lines| lines.iter()).collect()
    }
}

impl Company {
    /// Whether a batch of so many events is to go in company.
    pub(super) fn takes(events: usize) -> bool {
        events <= MOST_EVENTS
    }

    /// Sends a batch with whoever else waits; nothing, if its turn crashed and it is not known what
    /// became of it. One that goes by itself tells when it is `begun`.
    ///
    /// # Errors
    /// When the transaction failed: none of its events is in.
    pub(super) async fn send(
        &self,
        gate: &Gate,
        member: Member,
        begun: &(dyn Fn() + Sync),
    ) -> Option<Fated> {
        if self.waiting().go_alone() {
            // By itself, which spares a task: with one more a request goes on in another thread.
            let _turn = self.turn(gate);
            let sent = append(gate, &[member], begun).await?;
            return sent.map(|mut fates| fates.pop()).transpose();
        }
        let (told, fate) = oneshot::channel();
        self.waiting().members.push_back((member, told));
        self.go(gate);
        fate.await.ok()
    }

    /// A turn for who follows a batch of its own that is at the database, if nobody waits for it.
    pub(super) fn follow(&self, gate: &Gate) -> Option<Turn> {
        self.waiting().follow().then(|| self.turn(gate))
    }

    fn turn(&self, gate: &Gate) -> Turn {
        Turn { company: self.clone(), gate: gate.clone() }
    }

    /// Begins as many turns as there may be.
    fn go(&self, gate: &Gate) {
        loop {
            let Some(members) = self.waiting().next() else { return };
            let turn = self.turn(gate);
            tokio::spawn(together(turn, members));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Begins a turn of one that does not wait, if nobody else is there: beside others it would keep a turn from
    /// who comes next.
    fn go_alone(&mut self) -> bool {
        let goes = self.members.is_empty() && self.under_way == 0;
        self.under_way += usize::from(goes);
        goes
    }

    /// Begins a turn of one that follows, if there is one and nobody else wants it.
    fn follow(&mut self) -> bool {
        let goes = self.members.is_empty() && self.under_way < TURNS;
        self.under_way += usize::from(goes);
        goes
    }

    /// Those whose turn it is, if there is one to be had. A lane that has ended sends nothing.
    fn next(&mut self) -> Option<Vec<(Member, Told)>> {
        if self.under_way == TURNS {
            return None;
        }
        let (mut turn, mut events) = (Vec::new(), 0);
        while let Some((next, told)) = self.members.pop_front() {
            if told.is_closed() {
                continue;
            }
            events += next.events();
            if !turn.is_empty() && events > MOST_EVENTS {
                self.members.push_front((next, told));
                break;
            }
            turn.push((next, told));
        }
        (!turn.is_empty()).then(|| {
            self.under_way += 1;
            turn
        })
    }
}

/// A turn that is under way; at its end, however it ends, the next begins.
#[derive(Debug)]
pub(super) struct Turn {
    company: Company,
    gate: Gate,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.company.waiting().under_way -= 1;
        self.company.go(&self.gate);
    }
}

/// Each member is told its fate. A lane that has ended meanwhile wants to know nothing.
async fn together(turn: Turn, members: Vec<(Member, Told)>) {
    let (members, told): (Vec<Member>, Vec<Told>) = members.into_iter().unzip();
    let sent = append(&turn.gate, &members, &|| ()).await;
    // First, so that the next turn does not begin behind all that these do with their fates.
    drop(turn);
    match sent {
        Some(Ok(fates)) => {
            told.into_iter().zip(fates).for_each(|(told, fate)| drop(told.send(Ok(fate))));
        }
        Some(Err(error)) => {
            told.into_iter().for_each(|told| drop(told.send(Err(error.clone()))));
        }
        None => {}
    }
}

/// One transaction: a fate for each member; nothing, if it crashed.
async fn append(
    gate: &Gate,
    members: &[Member],
    begun: &(dyn Fn() + Sync),
) -> Option<Result<Vec<Fate>, StoreError>> {
    let append = |store: Store| async move {
        let heads = match heads(&store, members).await {
            Ok(heads) => heads,
            // Nothing was sent: each by itself finds out whose fault that is.
            Err(error) if members.len() > 1 && !error.is_outage => {
                return Ok(members.iter().map(|_| Fate::Undone).collect());
            }
            Err(error) => return Err(error),
        };
        let parts = members.iter().zip(&heads);
        let parts = parts.filter_map(|(member, head)| {
            Some(Part { tenant: &member.tenant, head: (*head)?, lines: member.lines() })
        });
        let parts: Vec<Part<'_>> = parts.collect();
        let fates = match parts.is_empty() {
            true => Vec::new(),
            false => store.append_shared(&parts, begun).await?,
        };
        let mut fates = fates.into_iter();
        // Of those that have no part nothing was sent.
        let fate = |head: &Option<i64>| head.and_then(|_| fates.next()).unwrap_or(Fate::LeftOut);
        Ok(heads.iter().map(fate).collect())
    };
    caught(gate.append(append))
        .await
        .map_err(|panic| tracing::error!(%panic, "a transaction of appends crashed"))
        .ok()
}

/// Where the log of each member is taken to end; nothing for one whose batch is not new.
async fn heads(store: &Store, members: &[Member]) -> Result<Vec<Option<i64>>, StoreError> {
    let blank = members.iter().filter(|member| member.head.is_none());
    let blank: Vec<_> = blank.map(|member| (&*member.tenant, member.lines())).collect();
    let found = match blank.is_empty() {
        true => Vec::new(),
        false => store.ends_before_new(&blank).await?,
    };
    let mut found = found.into_iter();
    Ok(members.iter().map(|member| member.head.or_else(|| found.next().flatten())).collect())
}

#[cfg(test)]
mod tests {
    use dg_projections::event::{Keeping, parse_line};

    use super::*;

    fn waiting(company: &mut Waiting, events: usize, tenant: &str) -> oneshot::Receiver<Fated> {
        let text = r#"{"event_id":"e","trace_id":"t","trace_seq":0,"event_type":"TraceStarted","occurred_at":"2026-01-01T00:00:00Z","source":{"producer_id":"p","system":"s"},"actor":{"actor_type":"agent","actor_id":"a"},"idempotency_key":"k","payload":{"workflow":"w","title":"x","primary_entity":{"entity_type":"y","entity_id":"z"}}}"#;
        let line = parse_line(text, tenant, Keeping::NewNumbers).unwrap();
        let requests = vec![vec![line; events].into()];
        let (told, fate) = oneshot::channel();
        let member = Member { tenant: tenant.to_owned(), head: Some(1), requests };
        company.members.push_back((member, told));
        fate
    }

    fn names(turn: Option<Vec<(Member, Told)>>) -> Vec<String> {
        turn.into_iter().flatten().map(|(member, _)| member.tenant).collect()
    }

    #[test]
    fn a_turn_takes_who_waits_in_order_up_to_its_size() {
        for (sizes, turns) in [
            (vec![1, 1, 1], [vec!["0", "1", "2"], vec![]]),
            (vec![MOST_EVENTS, 1], [vec!["0"], vec!["1"]]),
            (vec![1, MOST_EVENTS, 1], [vec!["0"], vec!["1"]]),
            (vec![100, 20, 20], [vec!["0", "1"], vec!["2"]]),
            (vec![], [vec![], vec![]]),
        ] {
            let mut company = Waiting::default();
            let each = (0..).zip(&sizes);
            let _fates: Vec<_> = each
                .map(|(number, size)| waiting(&mut company, *size, &number.to_string()))
                .collect();
            for turn in turns {
                assert_eq!(names(company.next()), turn, "{sizes:?}");
            }
        }
    }

    #[test]
    fn so_many_turns_are_under_way_and_no_more() {
        let mut company = Waiting::default();
        let mut fates = Vec::new();
        for turn in 0..TURNS {
            fates.push(waiting(&mut company, 1, "a"));
            assert_eq!(names(company.next()), ["a"], "{turn}");
        }
        fates.push(waiting(&mut company, 1, "b"));
        assert!(company.next().is_none());
        company.under_way -= 1;
        assert_eq!(names(company.next()), ["b"]);
        company.under_way -= 1;
        assert!(company.next().is_none(), "nobody waits, so nobody's turn begins");
        assert_eq!(company.under_way, TURNS - 1);
    }

    #[test]
    fn one_goes_alone_while_nobody_else_is_there() {
        let mut company = Waiting::default();
        assert!(company.go_alone());
        assert!(!company.go_alone(), "a turn is under way");
        company.under_way -= 1;
        let _fate = waiting(&mut company, 1, "a");
        assert!(!company.go_alone(), "somebody came before");
        assert_eq!(names(company.next()), ["a"]);
        company.under_way -= 1;
        assert!(company.go_alone());
    }

    #[test]
    fn a_lane_that_has_ended_sends_nothing() {
        let mut company = Waiting::default();
        drop(waiting(&mut company, 1, "gone"));
        assert!(company.next().is_none());
        drop(waiting(&mut company, MOST_EVENTS, "gone"));
        let _fate = waiting(&mut company, 1, "there");
        assert_eq!(names(company.next()), ["there"]);
    }
}
