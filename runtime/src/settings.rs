//! What the runtime is told.

use std::time::Duration;

use dg_projections::projection::Projection;

use crate::worker::RetryPolicy;

/// Settings of a runtime; the meaning of each is that of the configuration key of its name.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which projections to keep.
    pub projections: Vec<Projection>,
    /// Events of one append transaction at most.
    pub append_batch_max_events: usize,
    /// How long an append waits for company; zero: whatever is waiting goes.
    pub append_batch_max_wait: Duration,
    /// Workers that a tenant's projection is spread over.
    pub partitions: i32,
    /// Workers at once, of all tenants; one tenant has its own whatever their number.
    pub max_workers: usize,
    /// Events a batch of a projection at most.
    pub batch_size: i64,
    /// Events a batch of a run at most.
    pub job_batch_size: i64,
    /// Whether runs that were interrupted go on by themselves.
    pub resume_interrupted_runs: bool,
    /// Between two looks for events written elsewhere.
    pub poll_interval: Duration,
    /// When and how often to try again.
    pub retry: RetryPolicy,
    /// How long a tenant is at rest before its digests are refreshed.
    pub digest_idle: Duration,
    /// How long a tenant is at rest before its workers are stopped.
    pub tenant_idle_stop: Duration,
    /// How long a tenant that does not come to rest has its place while others wait for one.
    pub tenant_turn: Duration,
    /// The longest that one piece of work may take at the database.
    pub storage_timeout: Duration,
    /// How long a worker may take to finish its batch when it is stopped.
    pub stop_patience: Duration,
    /// Connections that workers may use at once.
    pub worker_permits: usize,
    /// Connections that appends may use at once.
    pub append_permits: usize,
    /// Shown as the owner of this runtime's workers.
    pub owner: String,
}
