//! Where a scenario takes place: a Postgres of its own, the network to it, daemons, clients.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dg_admin::client::Client;
use dg_projections::event::Line;
use dg_store::{Options, Store, Target};
use tokio_postgres::NoTls;

use super::history::{History, Told};
use super::network::{Network, Weather};
use super::producer::body;
use super::watcher::Watcher;
use super::workload::{CURSED, Ground, Pace, Workload};
use crate::by_hand::dg_append;
use crate::log::parsed;
use crate::{Daemon, Postgres, Random, Sql, Where, events, try_until, until};

/// Small pages and short waits: many steps in little time.
const FLAGS: [&str; 16] = [
    "--projection-batch-size",
    "20",
    "--projection-job-batch-size",
    "100",
    "--projection-retry-base-ms",
    "20",
    "--projection-retry-max-ms",
    "300",
    "--digest-idle-ms",
    "60",
    "--pool-size",
    "10",
    "--storage-timeout-ms",
    "4000",
    "--shutdown-timeout-ms",
    "5000",
];
/// Events that are acknowledged before the first fault.
const WARM_UP: usize = 60;
/// What recovers by itself does so within this, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// A scenario's place.
#[derive(Debug)]
pub struct Arena {
    /// Daemons, the first of which is there always; they go before their database.
    pub(super) daemons: Vec<Daemon>,
    pub(super) network: Network,
    pub(super) postgres: Postgres,
    /// Where draws come from.
    pub(super) random: Random,
    ground: Ground,
    at_work: Option<(Workload, Watcher)>,
    faults: BTreeMap<String, u64>,
    /// How often clients have begun.
    eras: usize,
    hits: PathBuf,
    began: Instant,
    runtime: tokio::runtime::Runtime,
}

impl Arena {
    /// Builds it, with so many daemons.
    ///
    /// # Panics
    /// When something of it does not start.
    pub(super) fn new(seed: u64, daemons: usize, pace: Pace) -> Arena {
        let began = Instant::now();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let postgres = Postgres::start();
        let network = runtime.block_on(Network::start(postgres.address()));
        let url = url_at(&network.address());
        let place = Where::Url(url);
        let mut daemons: Vec<Daemon> =
            (0..daemons).map(|_| Daemon::new(place.clone(), &FLAGS, "")).collect();
        let hits = daemons[0].directory().path().join("hits");
        for daemon in &mut daemons {
            daemon.count_hits(&hits);
            daemon.set("DECISIONGRAPH_PROJECTION_POLL_INTERVAL_MS", "50");
            daemon.restart();
        }
        let ground = Ground {
            history: Arc::new(History::default()),
            sockets: daemons.iter().map(Daemon::socket).collect(),
            database: url_at(&postgres.address()).parse().unwrap(),
            pace,
        };
        let random = Random::from_seed(seed);
        let faults = BTreeMap::new();
        Arena {
            daemons,
            network,
            postgres,
            random,
            ground,
            at_work: None,
            faults,
            eras: 0,
            hits,
            began,
            runtime,
        }
    }

    /// Lets the clients begin, and waits until they are well under way. After [`Arena::end`], others
    /// begin.
    ///
    /// # Panics
    /// When they do not get so far.
    pub(super) fn begin(&mut self) {
        if self.eras == 0 {
            self.curse();
        }
        self.eras += 1;
        let _inside = self.runtime.enter();
        let watcher = Watcher::start(&self.ground.database, &self.ground.history);
        let workload = Workload::start(&self.ground, self.eras, &mut self.random);
        self.at_work = Some((workload, watcher));
        let wanted = self.count() + WARM_UP;
        until("the clients are under way", || (self.count() >= wanted).then_some(()));
    }

    /// A tenant whose only event is poison: its projections fail from the start, and nothing else may.
    fn curse(&self) {
        let started = events::started("t").replace(r#""title":"About t","#, "");
        let line = parsed(CURSED, &[events::started("t")]).remove(0);
        let mut event = line.event.clone();
        let whole = dg_projections::json::parse(&started).unwrap();
        event.payload = dg_projections::json::canonical(whole.get("payload").unwrap());
        let line = Line { event, ..line };
        self.runtime.block_on(async {
            let (client, driver) = self.ground.database.connect(NoTls).await.unwrap();
            tokio::spawn(driver);
            dg_append(&client, &line).await.unwrap();
        });
    }

    /// A fault happened.
    pub(super) fn count_fault(&mut self, what: &str) {
        *self.faults.entry(what.to_owned()).or_default() += 1;
    }

    /// Something that must not be.
    pub(super) fn wrong(&self, what: impl Into<String>) {
        self.ground.history.wrong(what);
    }

    /// Lets some time go by, while everything goes on.
    pub(super) fn pass(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Lets some time go by: at least `least`, and up to as much again.
    pub(super) fn pass_about(&mut self, least: Duration) {
        let more = self.random.below(least.as_millis() as usize + 1);
        self.pass(least + Duration::from_millis(more as u64));
    }

    /// An operator's connection that no fault of the network is on.
    pub(super) fn sql(&self) -> Sql {
        self.postgres.sql()
    }

    /// Heals everything; how long it takes until an append is acknowledged again by way of every
    /// daemon.
    pub(super) fn heal(&mut self) -> Duration {
        let healed = Instant::now();
        self.network.turn(Weather::Fair);
        self.postgres.start_if_stopped();
        for daemon in &mut self.daemons {
            daemon.mend();
            if daemon.has_ended() {
                daemon.spawn();
            }
        }
        let all_up = |arena: &Arena| {
            let says_up = |daemon: &Daemon| daemon.cli(&["status", "-o", "json"]).says_up();
            arena.daemons.iter().all(says_up)
        };
        self.expect("every daemon is up again", all_up);
        let before = self.count();
        self.expect("appends are acknowledged again", |arena| arena.count() > before);
        healed.elapsed()
    }

    /// Appends an event by way of the first daemon.
    pub(super) fn append(&self, line: &Line) {
        let (event, socket) = (std::slice::from_ref(line), self.ground.sockets[0].clone());
        self.ground.history.sends(event);
        let client = Client::new(socket, Some(line.event.tenant_id.clone()));
        let answer = client.post("/v1/events", &[], "application/x-ndjson", body(event).into());
        if let Err(failure) = self.runtime.block_on(answer) {
            self.wrong(format!("an append was refused: {failure:?}"));
        }
    }

    /// Waits until it is so; it must be.
    pub(super) fn expect(&self, what: &str, is_so: impl FnMut(&Arena) -> bool) {
        self.expect_within(PATIENCE, what, is_so);
    }

    /// The same, sooner.
    pub(super) fn expect_within(
        &self,
        patience: Duration,
        what: &str,
        mut is_so: impl FnMut(&Arena) -> bool,
    ) {
        if try_until(patience, || is_so(self).then_some(())).is_none() {
            self.wrong(format!("not in {patience:?}: {what}"));
        }
    }

    /// Ends the clients in order: each gets its answers.
    pub(super) fn end(&mut self) {
        if let Some((workload, watcher)) = self.at_work.take() {
            let looks = self.runtime.block_on(async {
                workload.finish().await;
                watcher.finish().await
            });
            if looks == 0 {
                self.wrong("the watcher has seen nothing");
            }
        }
    }

    /// Events that were acknowledged.
    pub(super) fn count(&self) -> usize {
        self.ground.history.count()
    }

    /// What clients know.
    pub(super) fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.ground.history.told()
    }

    /// When it was begun to build it.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Faults by kind.
    pub(super) fn faults(&self) -> BTreeMap<String, u64> {
        let mut faults = self.faults.clone();
        if self.network.cuts() > 0 {
            faults.insert("connections cut".to_owned(), self.network.cuts());
        }
        faults
    }

    /// What the daemons have logged.
    pub(super) fn log(&self) -> String {
        self.daemons.iter().map(Daemon::log).collect()
    }

    /// How often each fail point was gone by.
    pub(super) fn hits(&self) -> BTreeMap<String, u64> {
        let mut hits = BTreeMap::new();
        for name in std::fs::read_to_string(&self.hits).unwrap_or_default().lines() {
            *hits.entry(name.to_owned()).or_default() += 1;
        }
        hits
    }

    /// A store that no fault of the network is on, and a runtime to use it in.
    pub(super) fn store(&self) -> (&tokio::runtime::Runtime, Store) {
        let options = Options {
            pool_size: 4,
            timeout: Duration::from_secs(30),
            application_name: "checker".to_owned(),
            role: None,
        };
        let target = Target::parse(&url_at(&self.postgres.address())).unwrap();
        (&self.runtime, Store::new(target, &options).unwrap())
    }
}

fn url_at(address: &str) -> String {
    format!("postgres://decisiongraph@{address}/postgres?sslmode=disable")
}
