//! What the configuration comes to for the store and the runtime.

use std::time::Duration;

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_runtime::Settings;
use dg_runtime::worker::RetryPolicy;
use dg_store::{Options, Target};

use crate::config::Config;
use crate::failure::{Failure, exit};

/// How long a tenant that does not come to rest has its place while others wait: seconds of lag for those, and
/// long enough to be worth its start.
const TENANT_TURN: Duration = Duration::from_secs(10);

/// The database that the configuration names, if it names one. Loading has read it before, so only
/// its files can have changed.
pub(crate) fn named_database(config: &Config) -> Result<Option<Target>, Failure> {
    let Some(url) = &config.database_url else { return Ok(None) };
    let target = Target::parse(url.expose());
    let target = match &config.database_password_file {
        Some(file) => target.and_then(|target| target.password_in(file.clone())),
        None => target,
    };
    target.map(Some).map_err(|problem| {
        let message = format!("configuration: database_url: {problem}");
        Failure::new(Code::InvalidArgument, message).exit(exit::CONFIG)
    })
}

pub(crate) fn store_options(config: &Config) -> Options {
    Options {
        pool_size: config.pool_size,
        timeout: config.storage_timeout,
        application_name: "decisiongraph".to_owned(),
        role: None,
    }
}

/// The runtime's part of the configuration.
pub(crate) fn settings(config: &Config, owner: String) -> Settings {
    Settings {
        projections: config
            .projections
            .iter()
            .filter_map(|name| Projection::from_name(name))
            .collect(),
        append_batch_max_events: config.append_batch_max_events,
        append_batch_max_wait: config.append_batch_max_wait,
        partitions: config.projection_partitions as i32, // 64 at most
        max_workers: config.projection_max_workers,
        batch_size: config.projection_batch_size as i64,
        job_batch_size: config.projection_job_batch_size as i64,
        resume_interrupted_runs: config.resume_interrupted_runs,
        poll_interval: config.projection_poll_interval,
        retry: RetryPolicy {
            base: config.projection_retry_base,
            max: config.projection_retry_max,
            max_retries: config.projection_max_retries,
        },
        digest_idle: config.digest_idle,
        tenant_idle_stop: config.tenant_idle_stop,
        tenant_turn: TENANT_TURN,
        storage_timeout: config.storage_timeout,
        stop_patience: config.shutdown_timeout / 2,
        // One for digests, half of the others for workers, a quarter of all for appends; the rest is
        // for requests.
        worker_permits: ((config.pool_size - 1) / 2).max(1),
        append_permits: (config.pool_size / 4).max(1),
        owner,
    }
}

pub(super) fn owner() -> String {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    format!("{}:{}", host.unwrap_or_else(|_| "unknown".to_owned()), std::process::id())
}
