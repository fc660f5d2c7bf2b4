//! Where daemon and database are, and how the one reaches the other.

use tokio::runtime::Runtime;
use tokio_postgres::Config;

use super::means::{Clock, Missing, Netns, Volume};
use super::network::Network;
use crate::{Daemon, Fitting, Postgres, Where};

/// What a scenario takes place in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A Postgres, and a proxy before it.
    Ordinary,
    /// A primary and a standby; the daemon has both in its URL.
    TwoHosts,
    /// The data of Postgres is on a small volume.
    SmallData,
    /// Its write-ahead log is.
    SmallWal,
    /// Both are in a network namespace.
    Namespace,
    /// Both go by clocks that can be set.
    Clocks,
    /// The daemon has a cluster of its own.
    Embedded,
}

/// What the place has beside a daemon and a server.
#[derive(Debug)]
pub(super) enum Means {
    Nothing,
    Standby(Postgres),
    /// The one that is filled first.
    Volumes(Vec<Volume>),
    Network(Netns),
    Clocks {
        daemon: Clock,
        server: Clock,
    },
}

/// A place that was built.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) network: Option<Network>,
    pub(super) server: Option<Postgres>,
    pub(super) means: Means,
    /// The daemon's way to its database.
    pub(super) at: Where,
    /// An operator's; none before the daemon has made the database.
    pub(super) database: Option<Config>,
}

impl Place {
    /// Builds it, or says what is missing.
    pub(super) fn build(self, runtime: &Runtime) -> Result<Built, Missing> {
        let (mut means, mut fitting) = (Means::Nothing, Fitting::default());
        match self {
            Place::Embedded => {
                let (network, server, database) = (None, None, None);
                return Ok(Built { network, server, means, at: Where::Embedded, database });
            }
            Place::SmallData => {
                // The log has a volume of its own, which stays roomy.
                let volumes = vec![Volume::mount(128)?, Volume::mount(64)?];
                fitting.data = Some(volumes[0].path().to_owned());
                fitting.wal = Some(volumes[1].path().to_owned());
                means = Means::Volumes(volumes);
            }
            Place::SmallWal => {
                let volumes = vec![Volume::mount(24)?];
                fitting.wal = Some(volumes[0].path().to_owned());
                means = Means::Volumes(volumes);
            }
            Place::Namespace => {
                let netns = Netns::new()?;
                fitting.network = Some(netns.path());
                means = Means::Network(netns);
            }
            Place::Clocks => {
                let (daemon, server) = (Clock::new()?, Clock::new()?);
                fitting.environment = server.environment();
                means = Means::Clocks { daemon, server };
            }
            Place::Ordinary | Place::TwoHosts => {}
        }
        let server = Postgres::start_fitted(fitting);
        let mut database = server.config();
        let direct = server.address();
        let (network, url) = match self {
            Place::TwoHosts => {
                let standby = server.standby();
                let hosts = format!("{direct},{}", standby.address());
                let url = url_at(&hosts) + "&target_session_attrs=read-write";
                database = url.parse().map_err(|error| format!("{error}"))?;
                means = Means::Standby(standby);
                (None, url)
            }
            Place::Namespace => (None, url_at(&direct)),
            _ => {
                let network = runtime.block_on(Network::start(direct));
                let url = url_at(&network.address());
                (Some(network), url)
            }
        };
        let (server, database) = (Some(server), Some(database));
        Ok(Built { network, server, means, at: Where::Url(url), database })
    }
}

impl Means {
    /// What a daemon needs to be in the place.
    pub(super) fn dress(&self, daemon: &mut Daemon) {
        match self {
            Means::Network(netns) => {
                let net = format!("--net={}", netns.path().display());
                daemon.launch_by(vec!["nsenter".to_owned(), net, "--".to_owned()]);
            }
            Means::Clocks { daemon: clock, .. } => {
                for (name, value) in clock.environment() {
                    daemon.set(&name, &value);
                }
            }
            Means::Nothing | Means::Standby(_) | Means::Volumes(_) => {}
        }
    }

    /// Nothing is in the way any more.
    pub(super) fn mend(&self) {
        match self {
            Means::Network(netns) => netns.mend(),
            Means::Volumes(volumes) => volumes.iter().for_each(Volume::free),
            Means::Nothing | Means::Standby(_) | Means::Clocks { .. } => {}
        }
    }
}

fn url_at(address: &str) -> String {
    format!("postgres://decisiongraph@{address}/postgres?sslmode=disable")
}
