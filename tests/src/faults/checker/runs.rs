//! Runs: each comes to its end, and none is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use dg_store::{RunFilter, RunStatus, Store};

use crate::faults::Arena;
use crate::faults::scenarios::fault_at_point;
use crate::faults::workload::TENANTS;

/// One run after the other goes through a log that has grown for an hour.
const RUNS_TIME: Duration = Duration::from_secs(300);

/// A run whose actor has panicked. Where nothing was made to panic it is a defect, and left as it is.
const CRASHED: &str = "status = 'failed' AND error_code = 'internal'";

/// Runs end by themselves. Of those that were interrupted or have crashed the operator lets the newest at each projection go on and cancels the others; one that
/// has crashed cannot be cancelled any more.
pub(super) fn settle(arena: &Arena) {
    let sql = arena.sql();
    let crashed = if arena.has_had(&fault_at_point("panic")) { CRASHED } else { "false" };
    arena.expect_within(RUNS_TIME, "every run has ended", |arena| {
        let open = sql.rows(&format!(
            "SELECT tenant_id, run_id, status, row_number() OVER
                (PARTITION BY tenant_id, projection_name, status ORDER BY requested_at DESC)
             FROM dg_projection_runs WHERE status IN ('queued', 'running', 'interrupted')
                OR {crashed}"
        ));
        for run in &open {
            if let [Some(tenant), Some(id), Some(status), Some(place)] = run.as_slice()
                && (status == "interrupted" || status == "failed")
            {
                // A resumption is refused while an overlapping run is at work: asked again.
                let goes_on = place == "1" || status == "failed";
                let act = if goes_on { "resume" } else { "cancel" };
                let _ = arena.daemons[0].cli(&[act, id, "-t", tenant]);
            }
        }
        open.is_empty()
    });
}

/// Every run that was admitted is there and has ended well, or was cancelled; none found a difference.
pub(super) fn check(arena: &Arena) {
    let (runtime, store) = arena.store();
    let filter = RunFilter { tenant: None, statuses: &[], limit: 100_000 };
    let Ok(runs) = runtime.block_on(list(&store, filter)) else {
        return arena.wrong("runs cannot be listed");
    };
    let there: BTreeSet<&str> = runs.iter().map(|(id, ..)| id.as_str()).collect();
    for run in &arena.told().runs.clone() {
        if !there.contains(run.as_str()) {
            arena.wrong(format!("run {run} was admitted and is not there"));
        }
    }
    for (id, status, error, is_equal) in &runs {
        match status {
            RunStatus::Completed | RunStatus::Cancelled => {}
            _ => arena.wrong(format!("run {id} is {}: {error:?}", status.as_str())),
        }
        if *is_equal == Some(false) {
            arena.wrong(format!("run {id} has found a difference"));
        }
    }
}

type RunSeen = (String, RunStatus, Option<String>, Option<bool>);

async fn list(store: &Store, filter: RunFilter<'_>) -> Result<Vec<RunSeen>, dg_store::StoreError> {
    let runs = store.runs(filter).await?;
    let seen = |run: &dg_store::Run| {
        (run.key.run_id.clone(), run.status, run.error_message.clone(), run.is_equal())
    };
    // What was done to other tenants is for those who did it.
    let ours = runs.iter().filter(|run| TENANTS.contains(&run.key.tenant_id.as_str()));
    Ok(ours.map(seen).collect())
}
