//! The daemon: what starts in which order, and stops in the reverse of it.
//!
//! Start: 1 the embedded Postgres, if no database is named; 2 the socket, if systemd has not passed
//! one, which answers 503 until
//! 3 the schema is in place and 4 the runtime runs. Stop: 1 the socket, 2 the runtime (workers finish
//! their batch), 3 the embedded Postgres. A database that is away does not keep the daemon from
//! starting: it goes on trying and says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_runtime::metrics::tenants;
use dg_runtime::worker::RetryPolicy;
use dg_runtime::{Runtime, Settings};
use dg_store::failpoint::{self, Point};
use dg_store::{DAEMON_ROLE, Options, Store, StoreError, Target};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{Config, LiveConfig, Migrate, Reloaded};
use crate::console::Console;
use crate::embedded::{Cluster, Options as EmbeddedOptions};
use crate::failure::{Failure, exit};
use crate::history::History;
use crate::logging;
use crate::monitor::Monitor;
use crate::neighbours;
use crate::server::{Context, Listening, RuntimeSlot, Watch, listen, serve};
use crate::systemd::{self, Passed, Starting};

/// How long to wait for another daemon that is migrating.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(60);
/// How often a database that is away is tried while the daemon starts.
const START_RETRY: Duration = Duration::from_secs(1);

/// The listeners get this part of the shutdown time, so that the workers have most of it.
const LISTENERS_SHARE: u32 = 4;
/// What the embedded Postgres gets to stop in, however long the rest took.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(10);
/// The same with the last means, and some air: when systemd may take the stop for stuck.
const CLUSTER_LAST: Duration = Duration::from_secs(30);

type FillRuntime = watch::Sender<Result<Runtime, String>>;

/// A running daemon; end it with [`Daemon::stop`].
#[derive(Debug)]
pub struct Daemon {
    config: LiveConfig,
    socket: Socket,
    store: Store,
    runtime: RuntimeSlot,
    starter: JoinHandle<Result<(), Failure>>,
    /// How the starter ended: its handle can be awaited only once.
    started: Option<Result<(), Failure>>,
    server: Part,
    monitor: Option<Part>,
    neighbours: Part,
    herald: Part,
    watchdog: Part,
    history: Part,
    cluster: Option<Part>,
}

/// The admin socket's place.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    is_ours: bool,
}

/// A task that ends when it is told to.
#[derive(Debug)]
struct Part {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Part {
    fn start<F: Future<Output = ()> + Send + 'static>(
        task: impl FnOnce(watch::Receiver<bool>) -> F,
    ) -> Part {
        let (stop, stopped) = watch::channel(false);
        Part { stop, task: tokio::spawn(task(stopped)) }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(panic) = self.task.await {
            tracing::error!(%panic, "a part of the daemon ended abnormally");
        }
    }
}

impl Daemon {
    /// Starts everything; the runtime follows when the schema is in place.
    ///
    /// # Errors
    /// What cannot be mended by waiting: no Postgres installed, a data directory or socket in use.
    pub async fn start(config: Config) -> Result<Daemon, Failure> {
        let starting = Starting::begin();
        // Before any child is started.
        let passed = systemd::passed_socket()?;
        systemd::status("starting: the database");
        failpoint::hit(Point::StartBefore, "").await;
        let (database, cluster) = open_database(&config).await?;
        match Daemon::start_on(config, database, passed, starting).await {
            Ok(daemon) => Ok(Daemon { cluster, ..daemon }),
            Err(failure) => {
                if let Some(cluster) = cluster {
                    cluster.stop().await;
                }
                Err(failure)
            }
        }
    }

    /// Starts what serves, on a database that is there or will be.
    async fn start_on(
        config: Config,
        database: Target,
        passed: Option<Passed>,
        starting: Starting,
    ) -> Result<Daemon, Failure> {
        let live = LiveConfig::new(config.clone());
        let config = &config;
        let owner = owner();
        // A database that was made for us has our roles: the schema is its owner's, the work is not.
        let is_ours = config.database_url.is_none();
        let owner_of_schema = Options { pool_size: 1, ..store_options(config) };
        let owner_of_schema = Store::new(database.clone(), &owner_of_schema)?;
        let role = is_ours.then_some(DAEMON_ROLE);
        let application_name = dg_store::session_name(&owner);
        let options = Options { role, application_name, ..store_options(config) };
        let store = Store::new(database, &options)?;
        let monitor = match config.metrics_listen {
            Some(address) => Some(Monitor::bind(address, live.clone()).await?),
            None => None,
        };
        let Listening { listener, path, is_ours: is_our_socket } =
            listen(passed, &config.socket_path).await?;
        let (fill, runtime) = RuntimeSlot::new("the schema is not in place yet");
        let (watch, messages) = Watch::new();
        let history = History::default();
        let context = Arc::new(Context {
            runtime: runtime.clone(),
            config: live.clone(),
            owner: owner.clone(),
            watch,
            history: history.clone(),
            started_at: time::OffsetDateTime::now_utc(),
        });
        let patience = config.shutdown_timeout / LISTENERS_SHARE;
        let server = Part::start(|stopped| serve(listener, (context, messages), stopped, patience));
        let seen = (runtime.clone(), history.clone());
        let monitor = monitor.map(|monitor| {
            Part::start(|stopped| {
                let watched = seen.0.clone();
                let console = Console::new(config, &owner, seen, stopped.clone());
                monitor.serve(watched, console, stopped)
            })
        });
        let (shared, name) = (runtime.clone(), owner.clone());
        let neighbours = Part::start(|stopped| neighbours::watch(shared, name, stopped));
        let watched = runtime.clone();
        let history = Part::start(|stopped| history.take(watched, stopped));
        let settings = settings(config, owner);
        let schema =
            Schema { store: owner_of_schema, migrate: config.migrate, with_roles: is_ours };
        let starter = tokio::spawn(start_runtime(schema, store.clone(), settings, fill));
        let shared = runtime.clone();
        let herald = Part::start(|stopped| systemd::herald(shared, starting, stopped));
        let shared = runtime.clone();
        let watchdog = Part::start(|stopped| systemd::watchdog(shared, stopped));
        Ok(Daemon {
            config: live,
            socket: Socket { path, is_ours: is_our_socket },
            store,
            runtime,
            starter,
            started: None,
            server,
            monitor,
            neighbours,
            history,
            herald,
            watchdog,
            cluster: None,
        })
    }

    /// Waits until the runtime runs; may be asked again.
    ///
    /// # Errors
    /// Why it never will: a schema that this release must not touch.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        if let Some(outcome) = &self.started {
            return outcome.clone();
        }
        let outcome = match (&mut self.starter).await {
            Ok(outcome) => outcome,
            Err(panic) => Err(Failure::new(Code::Internal, panic.to_string())),
        };
        self.started.insert(outcome).clone()
    }

    /// Waits until the runtime has given up; for ever while there is none.
    pub async fn given_up(&self) -> Failure {
        match self.runtime.get() {
            Ok(runtime) => runtime.ended().await,
            Err(_) => std::future::pending().await,
        }
        Failure::new(
            Code::Internal,
            "the supervision tree has ended; see the log for the crash that it could not mend",
        )
    }

    /// Where its clients find it.
    pub fn socket(&self) -> &Path {
        &self.socket.path
    }

    /// Takes over what can change while it runs, and says which other keys would need a restart.
    pub fn reload(&self, new: &Config) {
        let Reloaded { config, changed, need_restart } = self.config.get().reloaded(new);
        // The level first: what follows is told at the new one.
        logging::set_level(&config.log_level);
        tenants::set_most(config.metrics_max_tenants);
        self.config.set(config);
        for key in &need_restart {
            tracing::warn!(key, "this change of the configuration needs a restart");
        }
        let (changed, need_restart) = (changed.join(", "), need_restart.join(", "));
        tracing::info!(changed, need_restart, "configuration reloaded");
    }

    /// Stops in order. Batches in flight are finished, or rolled back when the time is up.
    pub async fn stop(self) {
        let time = self.config.get().shutdown_timeout;
        let deadline = Instant::now() + time;
        self.herald.stop().await;
        self.watchdog.stop().await;
        systemd::stopping(time + CLUSTER_LAST);
        failpoint::hit(Point::StopBefore, "").await;
        tell_stopping("1/3: the listeners");
        self.starter.abort();
        // Nobody finds the socket any more; those who are in are answered.
        let removed = self.socket.is_ours && std::fs::remove_file(&self.socket.path).is_ok();
        self.server.stop().await;
        if let Some(monitor) = self.monitor {
            monitor.stop().await;
        }
        self.neighbours.stop().await;
        self.history.stop().await;
        tell_stopping("2/3: the runtime");
        match self.runtime.get() {
            Ok(runtime) => {
                runtime.stop(deadline.saturating_duration_since(Instant::now())).await;
            }
            Err(_) => self.store.close(),
        }
        failpoint::hit(Point::StopAfter, "").await;
        tell_stopping("3/3: the database");
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
        tracing::info!(socket_removed = removed, "stopped");
    }
}

fn tell_stopping(step: &str) {
    tracing::info!("stopping {step}");
    systemd::status(&format!("stopping {step}"));
}

/// The database that the configuration names, or a cluster of our own and its keeper.
async fn open_database(config: &Config) -> Result<(Target, Option<Part>), Failure> {
    if let Some(database) = named_database(config)? {
        return Ok((database, None));
    }
    let options = EmbeddedOptions { bin_dir: config.postgres_bin_dir.clone() };
    let cluster = Cluster::start(&config.data_dir, &options).await?;
    let database = cluster.config().into();
    Ok((database, Some(Part::start(move |stopped| keep(cluster, stopped)))))
}

/// Starts the cluster's server again whenever it ends by itself, until told to stop it.
async fn keep(mut cluster: Cluster, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            status = cluster.exited() => tracing::error!(%status, "the embedded Postgres ended by itself"),
        }
        while let Err(error) = cluster.restart().await {
            tracing::error!(%error, "the embedded Postgres does not start");
            if tokio::time::timeout(START_RETRY, stopped.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
        }
    }
    if let Err(error) = cluster.stop(CLUSTER_PATIENCE).await {
        tracing::error!(%error, "the embedded Postgres did not stop");
    }
}

/// Brings the schema up to date, however long the database is away, and fills the slot.
async fn start_runtime(
    schema: Schema,
    store: Store,
    settings: Settings,
    fill: FillRuntime,
) -> Result<(), Failure> {
    while let Err(error) = schema.prepare().await {
        if error.code != Code::Storage {
            return Err(Failure::from(error).help(SCHEMA_HELP));
        }
        let unchanged = fill.borrow().as_ref().is_err_and(|reason| *reason == error.message);
        if !unchanged {
            tracing::warn!(code = "storage", reason = %error, "database away; the daemon goes on trying");
            drop(fill.send_replace(Err(error.message)));
        }
        tokio::time::sleep(START_RETRY).await;
    }
    schema.store.close();
    let runtime = Runtime::start(store, settings).await;
    let runtime = runtime.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    drop(fill.send_replace(Ok(runtime)));
    failpoint::hit(Point::StartAfter, "").await;
    tracing::info!("ready");
    Ok(())
}

const SCHEMA_HELP: &str =
    "`decisiongraph migrate status` shows the schema; run the release that made it, or a later one";

/// What must be in place before there is a runtime.
struct Schema {
    /// As the owner of the tables.
    store: Store,
    migrate: Migrate,
    with_roles: bool,
}

impl Schema {
    async fn prepare(&self) -> Result<(), StoreError> {
        match self.migrate {
            Migrate::Apply => {
                self.store.migrate(env!("CARGO_PKG_VERSION"), MIGRATION_PATIENCE).await?;
            }
            Migrate::Check => self.check().await?,
        }
        if self.with_roles {
            self.store.apply_roles().await?;
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        let status = self.store.migration_status().await?;
        status.check()?;
        if status.pending.is_empty() {
            return Ok(());
        }
        let message = format!(
            "schema: steps {:?} are pending and --migrate=check forbids to apply them",
            status.pending
        );
        Err(StoreError::new(Code::Conflict, message))
    }
}

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
        storage_timeout: config.storage_timeout,
        stop_patience: config.shutdown_timeout / 2,
        // One for digests, half of the others for workers, a quarter of all for appends; the rest is
        // for requests.
        worker_permits: ((config.pool_size - 1) / 2).max(1),
        append_permits: (config.pool_size / 4).max(1),
        owner,
    }
}

fn owner() -> String {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    format!("{}:{}", host.unwrap_or_else(|_| "unknown".to_owned()), std::process::id())
}
