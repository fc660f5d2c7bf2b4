//! The gauges of a scrape: each is what was found just now. What did not answer in time has no
//! series, and `decisiongraph_scrape_collector_success` says so.

use std::collections::BTreeMap;

use dg_store::{Lag, RunMode, RunStatus};

use super::page::Page;
use super::tenants::OTHER;
use super::{Label, mismatches};
use crate::Snapshot;
use crate::supervisor::{ChildInfo, ChildState, Key};

/// The children of a supervisor: running, restarting, stopped.
pub(crate) type Children = (Label, [(&'static str, usize); 3]);

/// What a scrape has found. None is what did not answer.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Whether the database answers.
    pub(crate) is_up: bool,
    /// Connections of the pool by state; none before there is one.
    pub(crate) pool: Vec<(&'static str, usize)>,
    pub(crate) lags: Option<Vec<Lag>>,
    pub(crate) runs: Option<Vec<(RunMode, RunStatus, i64)>>,
    /// What the actors show of themselves, and the projections that are kept.
    pub(crate) actors: Option<(Snapshot, Vec<&'static str>)>,
    pub(crate) children: Option<Vec<Children>>,
}

impl Found {
    /// Writes the page.
    pub(crate) fn page(&self) -> Page {
        let mut page = Page::new();
        self.write_collectors(&mut page);
        self.write_store(&mut page);
        write_lags(&mut page, self.lags.as_deref().unwrap_or_default());
        write_runs(&mut page, self.runs.as_deref());
        if let Some((snapshot, projections)) = &self.actors {
            write_workers(&mut page, snapshot, projections);
        }
        self.write_children(&mut page);
        mismatches::write(&mut page);
        page
    }

    fn write_collectors(&self, page: &mut Page) {
        let mut family = page.gauge(
            "decisiongraph_scrape_collector_success",
            "Whether this scrape was told what it asked for: 1, or 0 for what did not answer within \
             3 seconds; its gauges (lag: also cursor_log_seq and open_failures) are left out then.",
        );
        for (collector, is_told) in [
            ("lag", self.lags.is_some()),
            ("runs", self.runs.is_some()),
            ("workers", self.actors.is_some()),
            ("supervisors", self.children.is_some()),
        ] {
            family.add(&[("collector", collector)], f64::from(u8::from(is_told)));
        }
    }

    fn write_store(&self, page: &mut Page) {
        let meaning = "Whether the database answers: 1 or 0. One that is only busy, with every \
            connection of the pool in use or its tables locked, answers.";
        page.gauge("decisiongraph_store_up", meaning).add(&[], f64::from(u8::from(self.is_up)));
        let meaning = "Connections of the pool by state: used, idle, and max for how many there may \
            be; waiting counts the calls that wait for one.";
        let mut family = page.gauge("decisiongraph_store_pool_connections", meaning);
        for (state, count) in &self.pool {
            family.add(&[("state", state)], *count as f64);
        }
    }

    fn write_children(&self, page: &mut Page) {
        let meaning = "Children of a supervisor by state; the supervisors of all tenants count as \
            one, tenant.";
        let mut family = page.gauge("decisiongraph_supervisor_children", meaning);
        for (label, counts) in self.children.iter().flatten() {
            for (state, count) in counts {
                family.add(&[("supervisor", label.as_str()), ("state", state)], *count as f64);
            }
        }
        // The registry knows those that run; what restarts is in no table for so short a time.
        if let Some((snapshot, _)) = &self.actors {
            let labels = [("supervisor", Label::Tenant.as_str()), ("state", "running")];
            family.add(&labels, snapshot.workers.len() as f64);
        }
    }
}

type Value = fn(&Lag) -> Option<f64>;

/// Name, meaning, value.
const LAGS: [(&str, &str, Value); 4] = [
    (
        "decisiongraph_projection_lag_events",
        "Events of the log that are not applied; of tenants together, their sum.",
        |lag| Some(lag.pending_events as f64),
    ),
    (
        "decisiongraph_projection_lag_seconds",
        "Age in seconds of the oldest event that is not applied; of tenants together, the greatest.",
        |lag| Some(lag.lag_seconds),
    ),
    (
        "decisiongraph_projection_cursor_log_seq",
        "The last log_seq applied, of partitions the least; tenants together have none.",
        |lag| lag.last_log_seq.map(|log_seq| log_seq as f64),
    ),
    (
        "decisiongraph_projection_open_failures",
        "Dead letters that are open; of tenants together, their sum.",
        |lag| Some(lag.open_failures as f64),
    ),
];

fn write_lags(page: &mut Page, lags: &[Lag]) {
    for (name, meaning, value) in LAGS {
        let mut family = page.gauge(name, meaning);
        for lag in lags {
            let tenant = lag.tenant_id.as_deref().unwrap_or(OTHER);
            if let Some(value) = value(lag) {
                family.add(&[("tenant", tenant), ("projection", &lag.projection_name)], value);
            }
        }
    }
}

/// Also of which there are none.
fn write_runs(page: &mut Page, counts: Option<&[(RunMode, RunStatus, i64)]>) {
    let Some(counts) = counts else { return };
    let meaning = "Runs of the database by mode and status, those of the past included.";
    let mut family = page.gauge("decisiongraph_replay_runs", meaning);
    for mode in RunMode::ALL {
        for status in RunStatus::ALL {
            let of = |(m, s, _): &&(RunMode, RunStatus, i64)| (*m, *s) == (mode, status);
            let count = counts.iter().find(of).map_or(0, |(_, _, count)| *count);
            family.add(&[("mode", mode.as_str()), ("status", status.as_str())], count as f64);
        }
    }
}

fn write_workers(page: &mut Page, snapshot: &Snapshot, projections: &[&'static str]) {
    let meaning = "Tenants whose workers crash for ever and that wait for an operator.";
    page.gauge("decisiongraph_tenants_parked", meaning).add(&[], snapshot.parked.len() as f64);
    let meaning = "Tenants that have something to do and wait until another rests, or yields its place: as many \
        workers run as projection_max_workers allows.";
    page.gauge("decisiongraph_tenants_waiting", meaning).add(&[], snapshot.waiting as f64);
    let mut workers: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
    for projection in projections {
        for status in crate::worker::State::STATUSES {
            workers.insert((projection, status), 0);
        }
    }
    for (worker, _) in &snapshot.workers {
        *workers.entry((worker.key.projection.as_str(), worker.status)).or_default() += 1;
    }
    let meaning = "Projection workers by projection and status; tenants at rest have none.";
    let mut family = page.gauge("decisiongraph_projection_workers", meaning);
    for ((projection, status), count) in workers {
        family.add(&[("projection", projection), ("status", status)], count as f64);
    }
}

/// How many children of a supervisor are in which state.
pub(crate) fn count<K: Key>(label: Label, children: &[ChildInfo<K>]) -> Children {
    let count = |wanted: fn(&ChildState) -> bool| {
        children.iter().filter(|child| wanted(&child.state)).count()
    };
    let counts = [
        ("running", count(|state| matches!(state, ChildState::Running(_)))),
        ("restarting", count(|state| matches!(state, ChildState::Restarting))),
        ("stopped", count(|state| matches!(state, ChildState::Stopped))),
    ];
    (label, counts)
}
