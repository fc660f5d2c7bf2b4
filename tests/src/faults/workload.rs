//! The workload: clients that append, read and operate through the socket, and programs that append
//! with SQL. They go on through every fault, as patient clients do: what has no answer is sent again.

mod append;
mod asker;
mod operate;
mod outside;
mod read;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use self::asker::Asker;
use super::history::History;
use super::producer::Producer;
use crate::Random;

/// The tenants that everybody writes to.
pub(super) const TENANTS: [&str; 3] = ["a", "b", "c"];
/// A tenant whose first event cannot be projected.
pub(super) const CURSED: &str = "cursed";

const APPENDERS: usize = 4;
const READERS: usize = 2;
/// After the faults an answer must come within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all clients share.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) history: Arc<History>,
    /// The sockets of the daemons: who gets no answer from one asks another.
    pub(super) sockets: Vec<PathBuf>,
    /// The way to the database that no fault of the network is on.
    pub(super) database: tokio_postgres::Config,
    /// How busy they are.
    pub(super) pace: Pace,
}

/// The longest pauses, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// From one act of the operator to the next.
    pub(super) operator: usize,
    /// From one batch of an appender to the next.
    pub(super) append: usize,
}

/// The clients at work.
#[derive(Debug)]
pub(super) struct Workload {
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Workload {
    /// Those of an `era` have names of their own. Must be called within a tokio runtime.
    pub(super) fn start(ground: &Ground, era: usize, seed: &mut Random) -> Workload {
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for number in 0..APPENDERS {
            let client = Asker::new(ground, &stopped, seed.fork());
            let name = format!("p{number}.{era}");
            let producer = Producer::new(&name, &TENANTS, seed.fork());
            clients.spawn(client.append(name, producer));
        }
        for _ in 0..READERS {
            clients.spawn(Asker::new(ground, &stopped, seed.fork()).read());
        }
        clients.spawn(Asker::new(ground, &stopped, seed.fork()).operate());
        // One beside each lane: a number that is free for a moment is soon somebody else's.
        for tenant in TENANTS {
            let name = format!("sql-{tenant}.{era}");
            let producer = Producer::new(&name, &[tenant], seed.fork());
            let client = Asker::new(ground, &stopped, seed.fork());
            clients.spawn(client.append_with_sql(name, producer));
        }
        Workload { stop, clients }
    }

    /// Lets every client end what it is at: nothing is left without an answer.
    pub(super) async fn finish(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
    }
}
