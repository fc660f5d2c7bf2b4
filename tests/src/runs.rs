//! Runs of a runtime: asked for, waited for, held against the model.

use dg_projections::projection::Projection;
use dg_projections::{Code, Rejection};
use dg_runtime::{RunRequest, RunView, Runtime};
use dg_store::{Run, RunMode, RunStatus, Store};

use crate::eventually;

/// A request for a run of this tenant, over everything.
pub fn request(tenant: &str, mode: RunMode) -> RunRequest<'_> {
    RunRequest {
        tenant,
        mode,
        scope: None,
        dry_run: false,
        reason: "a test",
        until_log_seq: None,
        requested_by: None,
    }
}

/// The same of one projection.
pub fn request_of(tenant: &str, mode: RunMode, projection: Projection) -> RunRequest<'_> {
    RunRequest { scope: Some(projection), ..request(tenant, mode) }
}

/// Starts a run.
///
/// # Panics
/// When it is refused.
pub async fn start(runtime: &Runtime, request: RunRequest<'_>) -> RunView {
    runtime.start_run(request).await.unwrap().unwrap()
}

/// The code and the run that a refusal names.
///
/// # Panics
/// When it was no refusal.
#[track_caller]
pub fn refused(outcome: Result<Result<RunView, Rejection>, dg_store::StoreError>) -> Code {
    outcome.unwrap().unwrap_err().code
}

/// Waits until a run has one of these statuses.
///
/// # Panics
/// When it gets none of them.
pub async fn until_status(store: &Store, run_id: &str, statuses: &[RunStatus]) -> Run {
    eventually(&format!("the run is one of {statuses:?}"), || async {
        let run = store.run(None, run_id).await.ok()??;
        statuses.contains(&run.status).then_some(run)
    })
    .await
}

/// Waits until a run has ended, and asserts that it completed.
///
/// # Panics
/// When it ends otherwise.
pub async fn completed(store: &Store, run_id: &str) -> Run {
    let ended =
        [RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled, RunStatus::Interrupted];
    let run = until_status(store, run_id, &ended).await;
    assert_eq!(run.status, RunStatus::Completed, "{run:?}");
    run
}
