//! Children that follow a script and tell what happens to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use dg_runtime::supervisor::{Parent, StartError, StartFn, Started};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::scenario::Script;

/// What happened, in order, and who is alive.
#[derive(Debug, Clone, Default)]
pub(crate) struct Witness {
    events: Arc<Mutex<Vec<String>>>,
    alive: Arc<Mutex<HashMap<String, ActorRef<ChildMsg>>>>,
}

impl Witness {
    pub(crate) fn tell(&self, event: String) {
        self.events.lock().unwrap().push(event);
    }

    /// Takes what was told since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    pub(crate) fn count(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    pub(crate) fn child(&self, id: &str) -> Option<ActorRef<ChildMsg>> {
        self.alive.lock().unwrap().get(id).cloned()
    }
}

#[derive(Debug)]
pub(crate) enum ChildMsg {
    /// End with this reason.
    Exit(String),
}

/// The handler is dropped when the child's task ends, however it ends: that is when it is down.
struct Child {
    id: String,
    hangs: bool,
    witness: Witness,
    reason: Mutex<String>,
}

impl Drop for Child {
    fn drop(&mut self) {
        self.witness.alive.lock().unwrap().remove(&self.id);
        self.witness.tell(format!("down:{}:{}", self.id, self.reason.lock().unwrap()));
    }
}

impl Child {
    fn ends(&self, reason: &str) {
        *self.reason.lock().unwrap() = reason.to_owned();
    }
}

impl Actor for Child {
    type Msg = ChildMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<ChildMsg>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        self.witness.alive.lock().unwrap().insert(self.id.clone(), myself);
        self.witness.tell(format!("start:{}:started", self.id));
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<ChildMsg>,
        message: ChildMsg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let ChildMsg::Exit(reason) = message;
        self.ends(&reason);
        match reason.as_str() {
            "crash" => return Err("crash".into()),
            "normal" => myself.stop(None),
            "shutdown" => myself.stop(Some("shutdown".to_owned())),
            "shutdown_with_term" => myself.stop(Some("shutdown:term".to_owned())),
            other => panic!("reason {other}"),
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<ChildMsg>,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let asked = *self.reason.lock().unwrap() == "killed";
        if asked && self.hangs {
            std::future::pending::<()>().await; // until it is killed
        }
        if asked {
            self.ends("shutdown");
        }
        Ok(())
    }
}

/// Starts children after a script; each call is the next start.
pub(crate) fn start_fn(script: &Script, witness: &Witness) -> StartFn {
    let (script, witness) = (script.clone(), witness.clone());
    let count = Arc::new(AtomicUsize::new(0));
    Arc::new(move |parent| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        Box::pin(start(script.clone(), script.spec.id.clone(), number, witness.clone(), parent))
    })
}

pub(crate) async fn start(
    script: Script,
    id: String,
    number: usize,
    witness: Witness,
    parent: Parent,
) -> Result<Started, StartError> {
    let outcome = script.starts.get(number).or(script.starts.last()).unwrap();
    match outcome.as_str() {
        "ok" => {
            let reason = Mutex::new("killed".to_owned()); // unless it learns of a better one
            let child = Child { id, hangs: script.hangs, witness, reason };
            parent.spawn(child, ()).await.map(|(_, started)| started)
        }
        "ignore" => {
            witness.tell(format!("start:{id}:ignored"));
            Ok(Started::Ignored)
        }
        "error" => {
            witness.tell(format!("start:{id}:failed"));
            Err(StartError("start_failed".to_owned()))
        }
        other => panic!("start {other}"),
    }
}
