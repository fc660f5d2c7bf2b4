//! Where a scenario takes place: a Postgres of its own, the network to it, daemons, clients.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dg_admin::client::Client;
use dg_projections::event::Line;
use dg_store::failpoint::Point;
use dg_store::{Options, Store};
use tokio_postgres::NoTls;

use super::history::{History, Told};
use super::means::Missing;
use super::network::{Network, Weather};
use super::place::{Built, Means, Place};
use super::producer::body;
use super::watcher::Watcher;
use super::workload::{CURSED, Ground, Pace, Workload};
use crate::by_hand::dg_append;
use crate::log::parsed;
use crate::{Daemon, LogTo, Postgres, Random, Sql, events, try_until, until};

/// Small pages and short waits: many steps in little time.
const FLAGS: [&str; 16] = [
    "--projection-batch-size",
    "20",
    "--projection-job-batch-size",
    "500",
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
    network: Option<Network>,
    server: Option<Postgres>,
    pub(super) means: Means,
    /// Where draws come from.
    pub(super) random: Random,
    ground: Ground,
    at_work: Option<(Workload, Watcher)>,
    faults: BTreeMap<String, u64>,
    points: Vec<Point>,
    /// Why its scenario could not be had after all.
    skipped: Option<Missing>,
    /// How often clients have begun.
    eras: usize,
    hits: PathBuf,
    began: Instant,
    runtime: tokio::runtime::Runtime,
}

impl Arena {
    /// Builds it, with so many daemons; or says what is missing for it.
    ///
    /// # Panics
    /// When something of it does not start.
    pub(super) fn new(
        seed: u64,
        place: Place,
        daemons: usize,
        pace: Pace,
    ) -> Result<Arena, Missing> {
        let began = Instant::now();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let Built { network, server, means, at, database } = place.build(&runtime)?;
        let mut daemons: Vec<Daemon> =
            (0..daemons).map(|_| Daemon::new(at.clone(), &FLAGS, "")).collect();
        let hits = daemons[0].directory().path().join("hits");
        for daemon in &mut daemons {
            daemon.count_hits(&hits);
            daemon.set("DECISIONGRAPH_PROJECTION_POLL_INTERVAL_MS", "50");
            means.dress(daemon);
            daemon.restart();
        }
        let database = database
            .or_else(|| dg_admin::embedded::config_of(&daemons[0].data_dir()).ok().flatten())
            .ok_or("the daemon has made no database")?;
        let ground = Ground {
            history: Arc::new(History::default()),
            sockets: daemons.iter().map(Daemon::socket).collect(),
            database,
            pace,
        };
        let random = Random::from_seed(seed);
        let faults = BTreeMap::new();
        let at_work = None;
        let arena = Arena {
            daemons,
            network,
            server,
            means,
            random,
            ground,
            at_work,
            faults,
            points: Vec::new(),
            skipped: None,
            eras: 0,
            hits,
            began,
            runtime,
        };
        arena.curse();
        Ok(arena)
    }

    /// The server, where there is one beside the daemon.
    ///
    /// # Panics
    /// Where there is none: a scenario is in the wrong place.
    pub(super) fn postgres(&mut self) -> &mut Postgres {
        self.server.as_mut().expect("this place has a server of its own")
    }

    /// The standby is the server from now on; the one that was, for its end.
    pub(super) fn exchange(&mut self) {
        if let Means::Standby(standby) = &mut self.means
            && let Some(server) = &mut self.server
        {
            std::mem::swap(server, standby);
        }
    }

    /// The network's weather from now on.
    pub(super) fn turn(&self, weather: Weather) {
        if let Some(network) = &self.network {
            network.turn(weather);
        }
    }

    /// The server's port.
    pub(super) fn port(&self) -> String {
        let address = self.server.as_ref().map(Postgres::address).unwrap_or_default();
        address.rsplit(':').next().unwrap_or_default().to_owned()
    }

    /// Lets the clients begin, and waits until they are well under way. After [`Arena::end`], others
    /// begin.
    ///
    /// # Panics
    /// When they do not get so far.
    pub(super) fn begin(&mut self) {
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
        self.append_by_hand(&[Line { event, ..line }]);
    }

    /// Appends beside the clients, for a tenant that they leave alone.
    pub(super) fn append_by_hand(&self, lines: &[Line]) {
        self.runtime.block_on(async {
            let (client, driver) = self.ground.database.connect(NoTls).await.unwrap();
            tokio::spawn(driver);
            for line in lines {
                dg_append(&client, line).await.unwrap();
            }
        });
    }

    /// A fault happened.
    pub(super) fn count_fault(&mut self, what: &str) {
        *self.faults.entry(what.to_owned()).or_default() += 1;
    }

    /// Whether this fault has happened.
    pub(super) fn has_had(&self, what: &str) -> bool {
        self.faults.contains_key(what)
    }

    /// The fail points that a scenario is to go by.
    pub(super) fn points(&self) -> Vec<Point> {
        self.points.clone()
    }

    /// It is to go by these.
    pub(super) fn set_points(&mut self, points: &[Point]) {
        self.points = points.to_vec();
    }

    /// It is at this one, or at none any more.
    pub(super) fn go_to(&self, point: Option<Point>) {
        self.told().at = point;
    }

    /// Something is missing for the scenario.
    pub(super) fn skip(&mut self, missing: Missing) {
        self.skipped = Some(missing);
    }

    /// What was missing, if anything was.
    pub(super) fn skipped(&self) -> Option<Missing> {
        self.skipped.clone()
    }

    /// What the server has logged.
    pub(super) fn server_log(&self) -> String {
        self.server.as_ref().map(Postgres::log).unwrap_or_default()
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
        Sql::connect(&self.ground.database)
    }

    /// The same, if there is a place for it.
    pub(super) fn try_sql(&self) -> Option<Sql> {
        Sql::try_connect(&self.ground.database).ok()
    }

    /// Heals everything; how long it takes until an append is acknowledged again by way of every
    /// daemon.
    pub(super) fn heal(&mut self) -> Duration {
        let healed = Instant::now();
        self.turn(Weather::Fair);
        self.means.mend();
        if let Some(server) = &mut self.server {
            server.start_if_stopped();
        }
        for daemon in &mut self.daemons {
            // What nobody has come by yet would go wrong in the middle of the check.
            if daemon.is_armed() && !daemon.has_ended() {
                daemon.kill();
            }
            daemon.mend();
            daemon.log_to(LogTo::File);
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
        let cuts = self.network.as_ref().map_or(0, Network::cuts);
        if cuts > 0 {
            faults.insert("connections cut".to_owned(), cuts);
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
        // Of two hosts, the one that serves.
        let server = self.server.as_ref().map(Postgres::config);
        let database = server.unwrap_or_else(|| self.ground.database.clone());
        (&self.runtime, Store::new(database, &options).unwrap())
    }
}
