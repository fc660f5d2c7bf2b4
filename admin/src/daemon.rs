//! The daemon: what starts in which order, and stops in the reverse of it.
//!
//! Start: 1 the embedded Postgres, if no database is named; 2 the socket, if systemd has not passed
//! one, which answers 503 until
//! 3 the schema is in place and 4 the runtime runs. Stop: 1 the socket, 2 the runtime (workers finish
//! their batch), 3 the embedded Postgres. A database that is away does not keep the daemon from
//! starting: it goes on trying and says so.

mod cluster;
mod part;
mod schema;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_runtime::metrics::tenants;
use dg_store::failpoint::{self, Point};
use dg_store::{DAEMON_ROLE, Options, Store, Target};
use tokio::task::JoinHandle;

use crate::config::{Config, LiveConfig, Reloaded};
use crate::console::Console;
use crate::failure::Failure;
use crate::history::History;
use crate::logging;
use crate::monitor::Monitor;
use crate::neighbours;
use crate::server::{Context, Listening, RuntimeSlot, Watch, listen, serve};
use crate::systemd::{self, Passed, Starting};
use cluster::open_database;
use part::Part;
use schema::{Schema, start_runtime};
use settings::owner;
pub(crate) use settings::{named_database, settings, store_options};

/// The listeners get this part of the shutdown time, so that the workers have most of it.
const LISTENERS_SHARE: u32 = 4;
/// What the embedded Postgres may take to stop, the last means included, and some air: when systemd may
/// take the stop for stuck.
const CLUSTER_LAST: Duration = Duration::from_secs(30);

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

    /// Whether requests are answered, be it by why they cannot be: what systemd takes for ready.
    pub(crate) fn is_settled(&self) -> bool {
        self.runtime.is_settled()
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
