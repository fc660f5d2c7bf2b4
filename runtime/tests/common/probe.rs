//! An actor that does as it is told in each of its callbacks, and tells what happens to it.

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::{Gate, Journal};

/// What to do in a callback.
#[derive(Debug, Clone, Default)]
pub(crate) enum Do {
    #[default]
    Nothing,
    Fail,
    Panic,
    /// Wait for ever, at an await.
    Hang,
    /// Wait for a gate, without an await.
    Block(Gate),
    Stop(Option<&'static str>),
    /// Tell that this was reached.
    Note(&'static str),
}

impl Do {
    async fn run<M: ractor::Message>(
        &self,
        probe: &Probe,
        myself: &ActorRef<M>,
    ) -> Result<(), ActorProcessingErr> {
        match self {
            Do::Nothing => {}
            Do::Fail => return Err("it failed".into()),
            Do::Panic => panic!("it panicked"),
            Do::Hang => {
                probe.note("hangs");
                std::future::pending::<()>().await;
            }
            Do::Block(gate) => {
                probe.note("blocks");
                gate.pass();
            }
            Do::Stop(reason) => myself.stop(reason.map(str::to_owned)),
            Do::Note(what) => probe.note(what),
        }
        Ok(())
    }
}

/// Tells when it is dropped: a probe's handler and its state have one each.
#[derive(Debug)]
pub(crate) struct Dropped {
    name: String,
    journal: Journal,
    blocked: Option<Gate>,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(gate) = &self.blocked {
            gate.pass();
        }
        self.journal.note(std::mem::take(&mut self.name));
    }
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) name: String,
    pub(crate) journal: Journal,
    pub(crate) pre_start: Do,
    pub(crate) post_start: Do,
    pub(crate) post_stop: Do,
    pub(crate) on_event: Do,
    pub(crate) handler: Dropped,
}

impl Probe {
    pub(crate) fn new(name: &str, journal: &Journal) -> Probe {
        let handler = format!("{name}: handler dropped");
        Probe {
            name: name.to_owned(),
            journal: journal.clone(),
            pre_start: Do::Nothing,
            post_start: Do::Nothing,
            post_stop: Do::Nothing,
            on_event: Do::Nothing,
            handler: Dropped { name: handler, journal: journal.clone(), blocked: None },
        }
    }

    /// The same, whose handler is not dropped before the gate is open.
    pub(crate) fn dropped_after(mut self, gate: &Gate) -> Probe {
        self.handler.blocked = Some(gate.clone());
        self
    }

    pub(crate) fn note(&self, what: &str) {
        self.journal.note(format!("{}: {what}", self.name));
    }

    fn describe(event: SupervisionEvent) -> Option<String> {
        match event {
            SupervisionEvent::ActorTerminated(_, state, reason) => {
                let state = if state.is_some() { "state" } else { "no state" };
                Some(format!("terminated {reason:?} with {state}"))
            }
            SupervisionEvent::ActorFailed(_, error) => Some(format!("failed {error}")),
            _ => None,
        }
    }
}

impl Actor for Probe {
    type Msg = Do;
    type State = Dropped;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Do>, (): ()) -> Result<Dropped, ActorProcessingErr> {
        self.note("pre_start");
        self.pre_start.run(self, &myself).await?;
        let name = format!("{}: state dropped", self.name);
        Ok(Dropped { name, journal: self.journal.clone(), blocked: None })
    }

    async fn post_start(
        &self,
        myself: ActorRef<Do>,
        _: &mut Dropped,
    ) -> Result<(), ActorProcessingErr> {
        self.post_start.run(self, &myself).await
    }

    async fn handle(
        &self,
        myself: ActorRef<Do>,
        message: Do,
        _: &mut Dropped,
    ) -> Result<(), ActorProcessingErr> {
        message.run(self, &myself).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Do>,
        event: SupervisionEvent,
        _: &mut Dropped,
    ) -> Result<(), ActorProcessingErr> {
        let Some(what) = Probe::describe(event) else { return Ok(()) };
        self.note(&format!("sees {what}"));
        self.on_event.run(self, &myself).await
    }

    async fn post_stop(
        &self,
        myself: ActorRef<Do>,
        _: &mut Dropped,
    ) -> Result<(), ActorProcessingErr> {
        self.note("post_stop");
        self.post_stop.run(self, &myself).await
    }
}
