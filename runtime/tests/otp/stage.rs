//! A scenario played: its steps done one after the other, replies and events compared.

use std::sync::Arc;
use std::time::Duration;

use dg_projections::json::{Json, Object, canonical};
use dg_runtime::supervisor::{
    ChildState, FailedToStartChild, Gone, Incarnation, Init, Refused, Subtree, Supervisor,
    SupervisorRef, Template,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::child::{ChildMsg, Witness, start, start_fn};
use crate::scenario::{Scenario, Script, text};

/// Events that are to come are waited for so long; those that are not to come have this long to.
const DEADLINE: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_millis(10);

/// The supervisor's parent: sees how it ends.
struct Parent {
    witness: Witness,
}

impl Actor for Parent {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(_, _, reason)
                if reason.as_deref() != Some("asked") =>
            {
                self.witness.tell(format!("supervisor:{}", reason.as_deref().unwrap_or("normal")));
            }
            SupervisionEvent::ActorFailed(_, error) => {
                self.witness.tell(format!("supervisor:{error}"));
            }
            _ => {}
        }
        Ok(())
    }
}

struct Stage {
    witness: Witness,
    supervisor: SupervisorRef<String>,
    task: JoinHandle<()>,
}

fn word(word: &str) -> Json {
    Json::from(word)
}

fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(
        members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Object>(),
    )
}

fn error(what: &str) -> Json {
    object([("error", word(what))])
}

/// Plays a scenario to its end.
pub(crate) async fn play(scenario: Scenario) -> Result<(), String> {
    let witness = Witness::default();
    let (parent, _) = Actor::spawn(None, Parent { witness: witness.clone() }, ()).await.unwrap();
    let init = init(&scenario, &witness);
    let spawned =
        Actor::spawn_linked(None, Supervisor::new(), (init, Subtree::root()), parent.get_cell())
            .await;
    let (reply, mut stage) = match spawned {
        Ok((actor, task)) => (
            word("ok"),
            Some(Stage { witness: witness.clone(), supervisor: SupervisorRef::of(actor), task }),
        ),
        Err(failure) => (start_failure(&failure), None),
    };
    let result = compare_all(&scenario, &witness, reply, &mut stage).await;
    parent.stop(None);
    result
}

async fn compare_all(
    scenario: &Scenario,
    witness: &Witness,
    reply: Json,
    stage: &mut Option<Stage>,
) -> Result<(), String> {
    compare(scenario, 0, "start", reply, witness, stage.as_ref()).await?;
    for (index, step) in scenario.steps.iter().enumerate() {
        let Some(stage) = stage else {
            return Err("there are steps after a failed start".to_owned());
        };
        let reply = stage.act(step).await;
        compare(scenario, index + 1, &canonical(step), reply, witness, Some(stage)).await?;
    }
    Ok(())
}

fn init(scenario: &Scenario, witness: &Witness) -> Init<String> {
    match &scenario.template {
        None => {
            let child = |script: &Script| (script.spec.clone(), start_fn(script, witness));
            Init::new("scenario", scenario.flags, scenario.children.iter().map(child).collect())
        }
        Some(script) => {
            let (spec, script, witness) = (script.spec.clone(), script.clone(), witness.clone());
            let spec = Arc::new(move |id| dg_runtime::supervisor::ChildSpec { id, ..spec.clone() });
            let start = Arc::new(move |id: String, parent| {
                let starting = start(script.clone(), id, 0, witness.clone(), parent);
                Box::pin(starting) as dg_runtime::supervisor::StartFuture
            });
            Init::dynamic("scenario", scenario.flags, Template { spec, start })
        }
    }
}

fn start_failure(failure: &SpawnErr) -> Json {
    let SpawnErr::StartupFailed(reason) = failure else { panic!("{failure}") };
    let failed = reason.downcast_ref::<FailedToStartChild>().unwrap_or_else(|| panic!("{reason}"));
    object([("error", word("failed_to_start_child")), ("id", word(&failed.id))])
}

/// Waits for the events of a step, gives others the time to happen, and compares.
async fn compare(
    scenario: &Scenario,
    step: usize,
    what: &str,
    reply: Json,
    witness: &Witness,
    stage: Option<&Stage>,
) -> Result<(), String> {
    let (expected_reply, expected) = &scenario.observed[step];
    if reply != *expected_reply {
        return Err(format!("step {step} {what}: replied {reply:?}, not {expected_reply:?}"));
    }
    let deadline = Instant::now() + DEADLINE;
    while witness.count() < expected.len() && Instant::now() < deadline {
        sleep(Duration::from_millis(1)).await;
    }
    if let Some(stage) = stage {
        let _ = stage.supervisor.count_children().await; // whatever waited has been handled
    }
    sleep(SETTLE).await;
    let (mut found, mut expected) = (witness.take(), expected.clone());
    if scenario.template.is_some() {
        // Such children are stopped at the same time: their order is no order.
        sort_downs(&mut found);
        sort_downs(&mut expected);
    }
    if found != expected {
        return Err(format!("step {step} {what}: {found:?}, not {expected:?}"));
    }
    Ok(())
}

fn sort_downs(events: &mut [String]) {
    events
        .chunk_by_mut(|a, b| a.starts_with("down:") && b.starts_with("down:"))
        .for_each(<[String]>::sort);
}

impl Stage {
    async fn act(&mut self, step: &Json) -> Json {
        let what = text(step, "do");
        if what == "sleep" {
            sleep(Duration::from_millis(step.get("ms").and_then(Json::as_i64).unwrap() as u64))
                .await;
            return word("ok");
        }
        if self.task.is_finished() {
            return word("supervisor_gone");
        }
        let id = || text(step, if step.get("id").is_some() { "id" } else { "child" });
        match what.as_str() {
            "exit" => self.exit(&id(), text(step, "reason")),
            "stop" => self.stop().await,
            "which_children" => self.which().await,
            "count_children" => self.count().await,
            "start_child" => {
                let script = Script::of(step.get("spec").unwrap());
                let start = start_fn(&script, &self.witness);
                started(self.supervisor.start_child(script.spec, start).await)
            }
            "start_dynamic" => started(self.supervisor.start_dynamic(id()).await),
            "restart_child" => started(self.supervisor.restart_child(id()).await),
            "terminate_child" | "terminate_dynamic" => {
                done(self.supervisor.terminate_child(id()).await)
            }
            "delete_child" => done(self.supervisor.delete_child(id()).await),
            other => panic!("step {other}"),
        }
    }

    fn exit(&self, id: &str, reason: String) -> Json {
        let Some(child) = self.witness.child(id) else { return word("no_process") };
        match reason.as_str() {
            "kill" => child.kill(),
            _ => child.cast(ChildMsg::Exit(reason)).unwrap(),
        }
        word("ok")
    }

    async fn stop(&mut self) -> Json {
        self.supervisor.actor().stop(Some("asked".to_owned()));
        (&mut self.task).await.unwrap();
        word("ok")
    }

    async fn which(&self) -> Json {
        let mut children = self.supervisor.which_children().await.unwrap();
        children.sort_by(|a, b| a.id.cmp(&b.id));
        let one = |child: &dg_runtime::supervisor::ChildInfo<String>| {
            let state = match child.state {
                ChildState::Running(_) => "running",
                ChildState::Stopped => "stopped",
                ChildState::Restarting => "restarting",
            };
            let kind = format!("{:?}", child.child_type).to_lowercase();
            object([("id", word(&child.id)), ("state", word(state)), ("type", word(&kind))])
        };
        Json::Array(children.iter().map(one).collect())
    }

    async fn count(&self) -> Json {
        let counts = self.supervisor.count_children().await.unwrap();
        let number = |count: usize| Json::from(count as i64);
        object([
            ("specs", number(counts.specs)),
            ("active", number(counts.active)),
            ("supervisors", number(counts.supervisors)),
            ("workers", number(counts.workers)),
        ])
    }
}

fn refused(refusal: &Refused) -> Json {
    match refusal {
        Refused::StartFailed(_) => error("start_failed"),
        other => error(&other.to_string()),
    }
}

fn started(answer: Result<Result<Option<Incarnation>, Refused>, Gone>) -> Json {
    match answer {
        Ok(Ok(Some(_))) => word("ok"),
        Ok(Ok(None)) => word("ignored"),
        Ok(Err(refusal)) => match refusal {
            Refused::AlreadyStarted(_) => error("already_started"),
            other => refused(&other),
        },
        Err(Gone) => word("supervisor_gone"),
    }
}

fn done(answer: Result<Result<(), Refused>, Gone>) -> Json {
    match answer {
        Ok(Ok(())) => word("ok"),
        Ok(Err(refusal)) => refused(&refusal),
        Err(Gone) => word("supervisor_gone"),
    }
}
