//! Parked tenants: their workers crash for ever, so nothing is started for them until an operator asks or the next slow
//! attempt, each twice as far from the one before. A failure row tells of it.

use std::time::Duration;

use dg_projections::Code;
use dg_store::NewFailure;
use ractor::ActorRef;
use time::OffsetDateTime;

use super::{KeeperMsg, KeeperState};
use crate::metrics;
use crate::supervisor::SupervisorRef;
use crate::worker::{LastError, WorkerKey, WorkerSnapshot};

/// The first automatic attempt to unpark a tenant, and the longest wait between later ones.
const PARK_FIRST: Duration = Duration::from_secs(30);
pub(super) const PARK_LONGEST: Duration = Duration::from_secs(15 * 60);

/// A tenant whose workers crash for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Since when.
    pub since: OffsetDateTime,
    /// The last crash: which worker, and what it said.
    pub reason: String,
    /// The worker.
    pub worker: Option<WorkerKey>,
    /// When it is tried again without being asked.
    pub next_attempt_at: OffsetDateTime,
}

impl KeeperState {
    pub(super) async fn park(&mut self, myself: &ActorRef<KeeperMsg>, tenant: String) {
        // A wake-up that came in between may have started it anew.
        if let Some(supervisor) = self.tenants.supervisor.get() {
            let _ = SupervisorRef::of(supervisor).terminate_child(tenant.clone()).await;
        }
        let (worker, reason) = match self.crashes.remove(&tenant) {
            Some((key, reason)) => (Some(key), reason),
            None => (None, "its supervisor ended".to_owned()),
        };
        self.woken.remove(&tenant);
        let since = OffsetDateTime::now_utc();
        let wait = self.next_wait(&tenant, since);
        tracing::error!(%tenant, %reason, next_attempt_seconds = wait.as_secs(), "tenant parked");
        let parked = Parked { since, reason, worker, next_attempt_at: since + wait };
        self.record(&tenant, &parked);
        self.parked.insert(tenant.clone(), parked);
        myself.send_after(wait, move || KeeperMsg::Unpark(tenant, since));
    }

    /// Doubles with each time in a row; a tenant that held out for long begins anew.
    fn next_wait(&mut self, tenant: &str, now: OffsetDateTime) -> Duration {
        let (attempt, last) = self.attempts.get(tenant).copied().unwrap_or((0, now));
        let attempt = if now - last > 2 * PARK_LONGEST { 0 } else { attempt };
        self.attempts.insert(tenant.to_owned(), (attempt + 1, now));
        PARK_FIRST.saturating_mul(1 << attempt.min(10)).min(PARK_LONGEST)
    }

    /// Beside the keeper, so that it answers while the database does not.
    fn record(&self, tenant: &str, parked: &Parked) {
        let Some(key) = parked.worker.clone() else { return };
        metrics::count_failure(key.projection, Code::Internal);
        let (gate, tenant) = (self.tenants.gate.clone(), tenant.to_owned());
        let message = format!(
            "the tenant is parked, its worker crashes again and again: {}; `retry` starts it again",
            parked.reason
        );
        tokio::spawn(async move {
            let failure = NewFailure {
                tenant: &tenant,
                projection: key.projection,
                partition: key.partition,
                event: None,
                code: Code::Internal,
                message: &message,
                retries: 0,
            };
            let failure = &failure;
            if let Err(error) =
                gate.run(|store| async move { store.record_failure(failure).await }).await
            {
                tracing::error!(%tenant, reason = %error, "the failure of a parked tenant could not be recorded");
            }
        });
    }
}

/// How a worker of a parked tenant shows itself.
pub(super) fn parked_snapshot(key: WorkerKey, parked: &Parked) -> WorkerSnapshot {
    let message = format!("parked: {}", parked.reason);
    let error =
        LastError { code: Code::Internal, message, log_seq: None, trace_id: None, event_id: None };
    WorkerSnapshot {
        status: "failed",
        next_retry_at: Some(parked.next_attempt_at),
        last_error: Some(error),
        ..WorkerSnapshot::new(key)
    }
}
