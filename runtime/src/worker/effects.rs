//! What a worker does at the database: each effect is one awaited call that ends in one input.

use dg_projections::Code;
use dg_store::failpoint::{self, Point};
use dg_store::{Cursor, NewFailure, Share, Tail};

use super::policy::{Failure, FailureClass};
use super::snapshot::WorkerKey;
use super::state::Input;
use crate::gate::Gate;
use crate::pages::{Ahead, Applier, On, Outcome, log_resolved};
use crate::telemetry;

/// `claim`: where there are as many partitions as somebody else wants, ask for as many as `share` says.
pub(super) async fn load_cursor(gate: &Gate, key: &WorkerKey, share: Share, claim: bool) -> Input {
    let loaded = gate.work(|store| async move {
        let (tenant, projection) = (&*key.tenant_id, key.projection);
        let cursor = store.open_cursor(tenant, projection, share, claim).await?;
        let partition = cursor.share.partition;
        let retries = store.recoverable_retries(tenant, projection, partition).await?;
        Ok((cursor, retries))
    });
    match loaded.await {
        Ok((cursor, retries)) => Input::CursorLoaded { cursor, retries },
        Err(error) => Input::Failed(Failure::from(&error)),
    }
}

/// Applies the page after `from`; see [`Applier::apply`].
pub(super) async fn apply_page(
    gate: &Gate,
    key: &WorkerKey,
    from: Cursor,
    limit: (i64, bool),
    ahead: Option<Box<Ahead>>,
) -> (Input, Option<Box<Ahead>>) {
    failpoint::hit(Point::WorkerApplyBefore, &key.to_string()).await;
    let place = gate.place().await;
    // Boxed: of those that wait for their place, none needs the room.
    let applier = Applier { gate, key, on: On::Live };
    let (outcome, next) = Box::pin(applier.apply(from, limit, ahead)).await;
    drop(place);
    let input = match outcome {
        // What is lent is looked at again until nothing is left of what falls to the worker.
        Outcome::Applied { to, more }
            if more || (from.lent && to.last_log_seq > from.last_log_seq) =>
        {
            Input::Applied { to, at_tail: false }
        }
        Outcome::Applied { to, .. } => at_the_tail(gate, key, to).await,
        Outcome::Superseded => Input::Superseded,
        Outcome::Failed(failure) => Input::Failed(failure),
    };
    failpoint::hit(Point::WorkerApplyAfter, &key.to_string()).await;
    (input, next)
}

/// The log has no more: what the cursor has passed is resolved (by another daemon's commit, say,
/// while this one was about to write it down), and the proof is made that nothing was skipped.
async fn at_the_tail(gate: &Gate, key: &WorkerKey, at: Cursor) -> Input {
    let (tenant, projection) = (&*key.tenant_id, key.projection);
    let looked = gate.work(|store| async move { store.reach_tail(tenant, projection, at).await });
    match looked.await {
        Ok(Tail::Sound { resolved }) => {
            log_resolved(key, resolved);
            Input::Applied { to: at, at_tail: true }
        }
        // One that is lent is its owner's to move.
        Ok(Tail::Moved) if at.lent => Input::Applied { to: at, at_tail: true },
        Ok(Tail::Moved) => Input::Superseded,
        Ok(Tail::Miscounted { event_count, applied_events, log_seq }) => {
            telemetry::miscounted(key, event_count, applied_events, at);
            Input::Failed(miscounted(event_count, applied_events, log_seq))
        }
        Ok(Tail::Beyond { log_end }) => {
            telemetry::beyond_the_log(key, log_end, at);
            Input::Failed(beyond_the_log(key, log_end, at))
        }
        Err(error) => Input::Failed(Failure::from(&error)),
    }
}

/// Whatever the log gets next under numbers that the cursor has passed would be left out.
fn beyond_the_log(key: &WorkerKey, log_end: i64, at: Cursor) -> Failure {
    Failure {
        class: FailureClass::Defect,
        code: Code::Internal,
        message: format!(
            "the cursor is at log_seq {}, but the log ends at {log_end}: events were lost after they were applied, by a failover or a restore; let their producers append again what was lost (`decisiongraph runbook lost-commits`), then `decisiongraph rebuild all -t {} --reason TEXT --wait`",
            at.last_log_seq, key.tenant_id
        ),
        event: None,
        suspects: 0,
    }
}

fn miscounted(event_count: i64, applied_events: i64, log_seq: i64) -> Failure {
    Failure {
        class: FailureClass::Defect,
        code: Code::Internal,
        message: format!(
            "the log has {event_count} events up to log_seq {log_seq}, but {applied_events} were applied: `verify` names the event"
        ),
        event: None,
        suspects: 0,
    }
}

/// Writes a failure down, and how often it was tried again, for the partition that was at work.
pub(super) async fn record(
    gate: &Gate,
    key: &WorkerKey,
    partition: i32,
    (failure, retries): (&Failure, u32),
) -> Input {
    let event = failure.event.as_ref();
    let event = event.map(|(log_seq, trace, event)| (*log_seq, trace.as_str(), event.as_str()));
    let row = NewFailure {
        tenant: &key.tenant_id,
        projection: key.projection,
        partition,
        event,
        code: failure.code,
        message: &failure.message,
        retries,
    };
    let row = &row;
    match gate.work(|store| async move { store.record_failure(row).await }).await {
        Ok(()) => Input::Recorded,
        Err(error) => Input::Failed(Failure::from(&error)),
    }
}
