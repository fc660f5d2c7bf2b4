//! Supervision by example: a small tree whose actors crash, come back, give up, and stop in order.
//!
//! ```text
//! root (rest_for_one)          if a child ends, those started after it are restarted with it
//!  1 connection                an actor that the workers ask
//!  2 workers (dynamic)         a supervisor whose children are started on demand
//!      ant, bee, ...           a worker each
//! ```
//! `cargo run -p dg-runtime --example supervision` prints what happens, as the supervisors report it.
//! The actors are plain ractor actors: only who starts them is different.

#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dg_runtime::supervisor::{
    ChildSpec, Flags, Init, Observer, Report, Restart, Shutdown, StartFn, StartFuture, Strategy,
    SupervisorMsg, SupervisorRef, Template,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call_t};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Outcome = Result<(), Box<dyn std::error::Error>>;

// -- Two actors ------------------------------------------------------------------------------------

/// Answers the workers. What may fail in the world outside is a state of it, not a reason to crash.
struct Connection;

enum ConnectionMsg {
    Query(String, RpcReplyPort<String>),
    /// A defect: the handler fails. A panic would do as well.
    Crash,
}

impl Actor for Connection {
    type Msg = ConnectionMsg;
    type State = usize;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<usize, ActorProcessingErr> {
        Ok(0) // nothing that can fail for long: a start that fails is tried again at once
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        queries: &mut usize,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ConnectionMsg::Query(text, reply) => {
                *queries += 1;
                reply.send(format!("{text}: answer {queries} of this life"))?;
                Ok(())
            }
            ConnectionMsg::Crash => Err("the connection has a defect".into()),
        }
    }
}

/// Asks the connection. What it owns lies in its handler or its state, and is dropped before its next
/// life begins.
struct Worker {
    name: String,
    connection: Slot<ConnectionMsg>,
}

enum WorkerMsg {
    Work(RpcReplyPort<String>),
    Crash,
}

impl Actor for Worker {
    type Msg = WorkerMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<WorkerMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<WorkerMsg>,
        message: WorkerMsg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let WorkerMsg::Work(reply) = message else { return Err("a bug".into()) };
        let connection = self.connection.get()?;
        let answer = call_t!(connection, ConnectionMsg::Query, 1000, self.name.clone())?;
        reply.send(answer)?;
        Ok(())
    }

    /// Only if it is asked to stop: not after a crash, and not when it is killed.
    async fn post_stop(
        &self,
        _: ActorRef<WorkerMsg>,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        println!("    {} puts its tools away", self.name);
        Ok(())
    }
}

/// Where others find the present life of an actor: a reference to a former one is of no use.
struct Slot<M>(Arc<Mutex<Option<ActorRef<M>>>>);

impl<M: ractor::Message> Slot<M> {
    fn new() -> Slot<M> {
        Slot(Arc::new(Mutex::new(None)))
    }

    fn put(&self, actor: ActorRef<M>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }

    fn get(&self) -> Result<ActorRef<M>, &'static str> {
        let actor = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        actor.ok_or("it has never been started")
    }
}

impl<M> Clone for Slot<M> {
    fn clone(&self) -> Slot<M> {
        Slot(self.0.clone())
    }
}

// -- The tree --------------------------------------------------------------------------------------

/// What all parts of the tree share.
#[derive(Clone)]
struct Shared {
    connection: Slot<ConnectionMsg>,
    workers: Slot<SupervisorMsg<String>>,
    worker: Slot<WorkerMsg>,
    reports: UnboundedSender<String>,
}

impl Shared {
    /// The root: the connection first, then those who need it. `Started` is what says that a child
    /// runs; a start function is called anew for each life, so it makes a new actor each time.
    fn root(&self) -> Init<String> {
        let flags = Flags { strategy: Strategy::RestForOne, intensity: 3, ..Flags::default() };
        let children = vec![
            (ChildSpec::worker("connection".to_owned()), self.start_connection()),
            (ChildSpec::supervisor("workers".to_owned()), self.start_workers()),
        ];
        Init { observer: Some(self.observer("root")), ..Init::new("root", flags, children) }
    }

    fn start_connection(&self) -> StartFn {
        let shared = self.clone();
        Arc::new(move |parent| {
            let shared = shared.clone();
            Box::pin(async move {
                let (actor, started) = parent.spawn(Connection, ()).await?;
                shared.connection.put(actor);
                Ok(started)
            })
        })
    }

    /// A supervisor is a child like any other.
    fn start_workers(&self) -> StartFn {
        let shared = self.clone();
        Arc::new(move |parent| {
            let shared = shared.clone();
            Box::pin(async move {
                let init = shared.workers();
                let (supervisor, started) = SupervisorRef::start(&parent, init).await?;
                shared.workers.put(supervisor.actor().clone());
                Ok(started)
            })
        })
    }

    /// The dynamic supervisor: a template instead of children. Two restarts in five seconds are
    /// accidents; with the third it gives up, and its own supervisor decides.
    fn workers(&self) -> Init<String> {
        let flags = Flags { intensity: 2, ..Flags::default() };
        let spec = |name| {
            let patience = Shutdown::Timeout(Duration::from_millis(500));
            ChildSpec::worker(name).restart(Restart::Transient).shutdown(patience)
        };
        let shared = self.clone();
        let start = move |name: String, parent: dg_runtime::supervisor::Parent| -> StartFuture {
            let shared = shared.clone();
            Box::pin(async move {
                let worker = Worker { name, connection: shared.connection.clone() };
                let (actor, started) = parent.spawn(worker, ()).await?;
                shared.worker.put(actor);
                Ok(started)
            })
        };
        let template = Template { spec: Arc::new(spec), start: Arc::new(start) };
        let observer = Some(self.observer("workers"));
        Init { observer, ..Init::dynamic("workers", flags, template) }
    }

    /// Told of all that happens under a supervisor. The same goes to the log, by `tracing`.
    fn observer(&self, supervisor: &'static str) -> Observer<String> {
        let reports = self.reports.clone();
        Arc::new(move |report| {
            let text = match report {
                Report::Started { id, .. } => format!("{id} started"),
                Report::Exited { id, exit, .. } => format!("{id} ended: {exit}"),
                Report::Stopped { id, .. } => format!("{id} stopped"),
                Report::Ending { why } => format!("gives up: {why}"),
                other => format!("{other:?}"),
            };
            let _ = reports.send(format!("{supervisor}: {text}"));
        })
    }

    async fn start_worker(&self, name: &str) -> Outcome {
        let workers = SupervisorRef::of(self.workers.get()?);
        workers.start_dynamic(name.to_owned()).await??;
        Ok(())
    }

    async fn work(&self) -> Outcome {
        println!("    {}", call_t!(self.worker.get()?, WorkerMsg::Work, 1000)?);
        Ok(())
    }
}

/// Prints reports until this one has come.
async fn until(reports: &mut UnboundedReceiver<String>, last: &str) -> Outcome {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(10), reports.recv()).await?;
        let report = next.ok_or("nobody reports any more")?;
        println!("    {report}");
        if report == last {
            return Ok(());
        }
    }
}

// -- The story -------------------------------------------------------------------------------------

#[tokio::main]
async fn main() -> Outcome {
    let (reports, mut told) = unbounded_channel();
    let (connection, workers, worker) = (Slot::new(), Slot::new(), Slot::new());
    let shared = Shared { connection, workers, worker, reports };

    println!("1. The tree starts, in order; when `start_root` returns, it runs.");
    let (root, life) = SupervisorRef::start_root(shared.root()).await?;
    until(&mut told, "root: workers started").await?;

    crashes(&shared, &mut told).await?;
    gives_up(&shared, &mut told).await?;

    println!("5. What is there, and how many restarts each child has caused:");
    for child in root.which_children().await? {
        println!("    {}: {:?}, {} restarts", child.id, child.child_type, child.restarts);
    }
    println!("6. The tree stops in reverse order, each child before the next is asked.");
    let tasks = life.subtree().clone();
    life.stop(Shutdown::Infinity).await;
    until(&mut told, "root: connection stopped").await?;
    println!("    {} tasks are left", tasks.alive());
    Ok(())
}

async fn crashes(shared: &Shared, told: &mut UnboundedReceiver<String>) -> Outcome {
    println!("2. A worker crashes and is back at once; the connection did not notice.");
    shared.start_worker("ant").await?;
    until(told, "workers: ant started").await?;
    shared.work().await?;
    shared.worker.get()?.cast(WorkerMsg::Crash)?;
    until(told, "workers: ant started").await?;
    shared.work().await?;

    println!("3. The connection crashes: those who came after it are stopped, and start after it.");
    shared.connection.get()?.cast(ConnectionMsg::Crash)?;
    until(told, "root: workers started").await?;
    shared.start_worker("bee").await?; // dynamic children are not started again by themselves
    until(told, "workers: bee started").await?;
    shared.work().await
}

async fn gives_up(shared: &Shared, told: &mut UnboundedReceiver<String>) -> Outcome {
    println!(
        "4. A worker crashes for ever: its supervisor gives up, and the root starts that anew."
    );
    for _ in 0..2 {
        shared.worker.get()?.cast(WorkerMsg::Crash)?;
        until(told, "workers: bee started").await?;
    }
    shared.worker.get()?.cast(WorkerMsg::Crash)?;
    until(told, "root: workers started").await?;
    shared.start_worker("cat").await?;
    until(told, "workers: cat started").await?;
    shared.work().await
}
