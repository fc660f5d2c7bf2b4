//! Probes under supervisors: found by name in their present life, their starts counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dg_runtime::supervisor::{
    ChildSpec, ChildState, Flags, Init, Life, Report, StartError, StartFn, StartFuture, Strategy,
    SupervisorRef, Template,
};
use ractor::{ActorCell, ActorRef};

use super::Journal;
use super::probe::{Do, Probe};

/// A child of a supervisor: its specification and how it is started.
pub(crate) type Child = (ChildSpec<String>, StartFn);

/// The actors of a test.
#[derive(Clone, Default)]
pub(crate) struct Troupe {
    /// What the probes tell.
    pub(crate) journal: Journal,
    /// What their supervisors report.
    pub(crate) reports: Journal,
    probes: Arc<Mutex<HashMap<String, ActorRef<Do>>>>,
    supervisors: Arc<Mutex<HashMap<String, SupervisorRef<String>>>>,
    starts: Arc<Mutex<HashMap<String, usize>>>,
}

/// A supervisor that allows any number of restarts, and waits for nothing long.
pub(crate) fn patient(strategy: Strategy) -> Flags {
    Flags { strategy, intensity: usize::MAX, ..Flags::default() }
}

impl Troupe {
    /// A child whose n-th life (the first is 1) is made from a plain probe.
    pub(crate) fn child(
        &self,
        name: &str,
        make: impl Fn(Probe, usize) -> Probe + Send + Sync + 'static,
    ) -> Child {
        let (troupe, id, make) = (self.clone(), name.to_owned(), Arc::new(make));
        let start: StartFn = Arc::new(move |parent| {
            let (troupe, id) = (troupe.clone(), id.clone());
            let probe = make(Probe::new(&id, &troupe.journal), troupe.count_start(&id));
            Box::pin(async move {
                let (actor, started) = parent.spawn(probe, ()).await?;
                troupe.probes.lock().unwrap().insert(id, actor);
                Ok(started)
            })
        });
        (ChildSpec::worker(name.to_owned()), start)
    }

    pub(crate) fn plain(&self, name: &str) -> Child {
        self.child(name, |probe, _| probe)
    }

    /// A child that starts once and never again.
    pub(crate) fn starts_once(&self, name: &str) -> Child {
        self.child(name, |probe, life| match life {
            1 => probe,
            _ => Probe { pre_start: Do::Fail, ..probe },
        })
    }

    /// A child that is a supervisor.
    pub(crate) fn supervisor(&self, name: &str, flags: Flags, children: Vec<Child>) -> Child {
        let (troupe, id) = (self.clone(), name.to_owned());
        let start: StartFn = Arc::new(move |parent| {
            let (troupe, id) = (troupe.clone(), id.clone());
            let init = troupe.init(&id, flags, children.clone());
            troupe.count_start(&id);
            Box::pin(async move {
                let (supervisor, started) = SupervisorRef::start(&parent, init).await?;
                troupe.supervisors.lock().unwrap().insert(id, supervisor);
                Ok(started)
            })
        });
        (ChildSpec::supervisor(name.to_owned()), start)
    }

    /// A supervisor that reports to the journal, and gives up on nothing late.
    pub(crate) fn init(&self, name: &str, flags: Flags, children: Vec<Child>) -> Init<String> {
        self.watched(Init::new(name, flags, children))
    }

    /// A dynamic one, of probes that are made like this.
    pub(crate) fn dynamic(
        &self,
        flags: Flags,
        make: impl Fn(Probe, usize) -> Probe + Clone + Send + Sync + 'static,
    ) -> Init<String> {
        let troupe = self.clone();
        let spec = Arc::new(ChildSpec::worker);
        let start = Arc::new(move |id: String, parent| -> StartFuture {
            let (_, start) = troupe.child(&id, make.clone());
            start(parent)
        });
        self.watched(Init::dynamic("dynamic", flags, Template { spec, start }))
    }

    fn watched(&self, init: Init<String>) -> Init<String> {
        let reports = self.reports.clone();
        let observer = Arc::new(move |report: &Report<String>| reports.note(describe(report)));
        Init { observer: Some(observer), kill_grace: Duration::from_millis(200), ..init }
    }

    fn count_start(&self, id: &str) -> usize {
        let mut starts = self.starts.lock().unwrap();
        let count = starts.entry(id.to_owned()).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn starts(&self, id: &str) -> usize {
        self.starts.lock().unwrap().get(id).copied().unwrap_or_default()
    }

    /// The present or last life of a probe.
    pub(crate) fn tell(&self, id: &str, what: Do) {
        self.probes.lock().unwrap()[id].cast(what).unwrap();
    }

    /// The actor of a probe or a supervisor.
    pub(crate) fn cell(&self, id: &str) -> ActorCell {
        let probe = self.probes.lock().unwrap().get(id).map(ActorRef::get_cell);
        probe.unwrap_or_else(|| self.supervisors.lock().unwrap()[id].actor().get_cell())
    }

    pub(crate) async fn root(
        &self,
        flags: Flags,
        children: Vec<Child>,
    ) -> (SupervisorRef<String>, Life) {
        SupervisorRef::start_root(self.init("root", flags, children)).await.unwrap()
    }
}

/// The state of a child of that name.
pub(crate) async fn state(supervisor: &SupervisorRef<String>, id: &str) -> Option<ChildState> {
    let children = supervisor.which_children().await.unwrap();
    children.into_iter().find(|child| child.id == id).map(|child| child.state)
}

pub(crate) fn describe(report: &Report<String>) -> String {
    match report {
        Report::Started { id, .. } => format!("{id} started"),
        Report::Ignored { id } => format!("{id} ignored"),
        Report::StartFailed { id, reason } => format!("{id} failed: {reason}"),
        Report::Exited { id, exit, orderly, .. } => format!("{id} exited: {exit} {orderly}"),
        Report::Stopped { id, overdue: false } => format!("{id} stopped"),
        Report::Stopped { id, overdue: true } => format!("{id} overdue"),
        Report::Zombie { id } => format!("{id} zombie"),
        Report::Ending { why } => format!("ending: {why}"),
    }
}

/// A start that fails without having spawned anything.
pub(crate) fn fails(reason: &str) -> StartError {
    StartError(reason.to_owned())
}
