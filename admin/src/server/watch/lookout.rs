//! The lookout: looks at the runtime while somebody watches, and tells all watchers what changed.
//!
//! Invariants: while nobody watches nothing is looked at; a look waits for nothing longer than its
//! patience; who watches never holds up the lookout, nor it the runtime.

use std::time::{Duration, Instant};

use dg_projections::event::rfc3339;
use dg_runtime::{DatabaseState, RunView, Runtime};
use dg_store::{RunFilter, RunKey, RunStatus};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};

use super::picture::{Change, Picture, Sight};
use super::watcher::{Watcher, line};
use crate::server::runs::ACTIVE;
use crate::server::{RuntimeSlot, told_to};
use crate::wire;

/// From one look to the next.
const PERIOD: Duration = Duration::from_millis(250);
/// How much of the time may go into looks, as one part of so many.
const SHARE: u32 = 10;
/// How long a look waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often watchers are told that the daemon is there, and those that are gone are found.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// So many of the newest runs are looked at whatever their state: a short one may begin and end
/// between two looks.
const NEWEST: i64 = 20;
/// Runs of all tenants, at most.
const MOST_RUNS: i64 = 1000;

/// What the lookout is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Somebody watches.
    Joins(Watcher),
    /// A run was admitted, which may have begun before the next look.
    Admitted(Box<RunView>),
}

/// Looks out until told to stop, or until nobody can come any more.
pub(super) async fn look_out(
    runtime: RuntimeSlot,
    mut messages: mpsc::Receiver<Message>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let message = tokio::select! {
            message = messages.recv() => message,
            () = told_to(&mut stop) => None,
        };
        match message {
            None => return,
            // Who comes later finds it in the first picture.
            Some(Message::Admitted(_)) => {}
            Some(Message::Joins(first)) => {
                let mut lookout = Lookout::new(&runtime).await;
                lookout.join(first);
                if lookout.go_on(&runtime, &mut messages, &mut stop).await {
                    return lookout.end();
                }
            }
        }
    }
}

/// Who watches, and what they know.
struct Lookout {
    picture: Picture,
    watchers: Vec<Watcher>,
    heartbeat_at: Instant,
}

impl Lookout {
    async fn new(runtime: &RuntimeSlot) -> Lookout {
        let picture = Picture::new(look(runtime, &[]).await, Instant::now());
        Lookout { picture, watchers: Vec::new(), heartbeat_at: Instant::now() }
    }

    /// Goes on until nobody watches, or until told to stop, which it answers.
    async fn go_on(
        &mut self,
        runtime: &RuntimeSlot,
        messages: &mut mpsc::Receiver<Message>,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let mut looks_at = tokio::time::Instant::now() + PERIOD;
        while !self.watchers.is_empty() {
            tokio::select! {
                () = told_to(stop) => return true,
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => return true,
                },
                () = tokio::time::sleep_until(looks_at) => {
                    let started = tokio::time::Instant::now();
                    let active = self.active_keys();
                    let sight = tokio::select! {
                        sight = look(runtime, &active) => sight,
                        () = told_to(stop) => return true,
                    };
                    self.take_in(sight, messages);
                    looks_at = started + PERIOD.max(started.elapsed() * SHARE);
                }
            }
        }
        false
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Joins(watcher) => self.join(watcher),
            Message::Admitted(view) => {
                let change = self.picture.admitted(*view, Instant::now());
                self.tell(change.into_iter().collect());
            }
        }
    }

    /// What was said while it looked comes first: a run that it has seen at work was admitted before.
    fn take_in(&mut self, sight: Sight, messages: &mut mpsc::Receiver<Message>) {
        while let Ok(message) = messages.try_recv() {
            self.take(message);
        }
        let changes = self.picture.update(sight, Instant::now());
        self.tell(changes);
    }

    fn active_keys(&self) -> Vec<RunKey> {
        self.picture.active_runs().map(|view| view.run.key.clone()).collect()
    }

    /// The present picture is the first that a watcher is told.
    fn join(&mut self, watcher: Watcher) {
        watcher.say(line(&wire::picture(&self.picture, watcher.wanted.tenant.as_deref(), &now())));
        self.watchers.push(watcher);
    }

    fn tell(&mut self, changes: Vec<Change>) {
        let at = now();
        let told: Vec<_> = changes
            .into_iter()
            .map(|change| {
                let line = line(&wire::change(&change, &at));
                (change, line)
            })
            .collect();
        let is_due = self.heartbeat_at.elapsed() >= HEARTBEAT;
        let heartbeat = line(&wire::of_the_stream("heartbeat", &at));
        for watcher in &mut self.watchers {
            watcher.tell(&told, &at);
            if is_due {
                watcher.say(heartbeat.clone());
            }
        }
        if is_due {
            self.heartbeat_at = Instant::now();
        }
        self.watchers.retain(|watcher| !watcher.is_gone());
    }

    /// The streams end after this line.
    fn end(self) {
        let end = line(&wire::of_the_stream("end", &now()));
        for watcher in self.watchers {
            watcher.say(end.clone());
        }
    }
}

fn now() -> String {
    rfc3339(OffsetDateTime::now_utc())
}

/// Looks at everything; what does not answer in time was not seen. `active` are the runs that were
/// at work: how they ended is worth a question.
async fn look(runtime: &RuntimeSlot, active: &[RunKey]) -> Sight {
    let runtime = match runtime.get() {
        Ok(runtime) => runtime,
        Err(error) => return unseen(error.message),
    };
    let database = runtime.gate().state();
    let snapshot = tokio::time::timeout(PATIENCE, runtime.snapshot());
    let runs = tokio::time::timeout(PATIENCE, runs(&runtime, active));
    let (snapshot, runs) = tokio::join!(snapshot, runs);
    let snapshot = snapshot.ok().and_then(Result::ok);
    let (workers, parked) = match snapshot {
        Some(seen) => {
            let workers = seen.workers.into_iter().map(|(worker, _)| worker).collect();
            (Some(workers), Some(seen.parked))
        }
        None => (None, None),
    };
    Sight { database, workers, parked, runs: runs.ok().flatten() }
}

/// The sight of a daemon whose database has been away since it started.
fn unseen(reason: String) -> Sight {
    let database = DatabaseState::Down { since: OffsetDateTime::now_utc(), reason, probes: 0 };
    Sight { database, workers: None, parked: None, runs: None }
}

/// The runs that are at work, the newest, and those that were at work.
async fn runs(runtime: &Runtime, active: &[RunKey]) -> Option<Vec<RunView>> {
    let list = |statuses: &'static [RunStatus], limit| {
        runtime.runs(RunFilter { tenant: None, statuses, limit })
    };
    // In this order: one that ends in between is among the newest, or asked for.
    let mut found = list(&ACTIVE, MOST_RUNS).await.ok()?;
    for view in list(&[], NEWEST).await.ok()? {
        found.retain(|other| other.run.key != view.run.key);
        found.push(view);
    }
    for key in active {
        if !found.iter().any(|view| view.run.key == *key) {
            found.extend(runtime.run(Some(&key.tenant_id), &key.run_id).await.ok()?);
        }
    }
    Some(found)
}
