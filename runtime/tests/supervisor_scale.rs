//! Ten thousand children: the work is counted, the time only printed, and nothing is left behind.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "figures for whoever reads along")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::until;
use dg_runtime::supervisor::{
    ChildSpec, Flags, Init, Report, Restart, Shutdown, StartFuture, SupervisorRef, Template,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::runtime::Handle;

/// How often what was done.
#[derive(Debug, Default)]
struct Work {
    starts: AtomicUsize,
    stops: AtomicUsize,
    drops: AtomicUsize,
    reports: AtomicUsize,
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

/// Owns something: what it does not give back is leaked.
struct Child(Arc<Work>);

impl Drop for Child {
    fn drop(&mut self) {
        count(&self.0.drops);
    }
}

impl Actor for Child {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        count(&self.0.starts);
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        Err("told to crash".into())
    }

    async fn post_stop(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        count(&self.0.stops);
        Ok(())
    }
}

fn init(work: &Arc<Work>, restart: Restart) -> Init<u32> {
    let (for_children, for_reports) = (work.clone(), work.clone());
    let spec = Arc::new(move |id| ChildSpec::worker(id).restart(restart));
    let start = Arc::new(move |_, parent: dg_runtime::supervisor::Parent| -> StartFuture {
        let child = Child(for_children.clone());
        Box::pin(async move { parent.spawn(child, ()).await.map(|(_, started)| started) })
    });
    let observer = Arc::new(move |_: &Report<u32>| count(&for_reports.reports));
    let flags = Flags { intensity: usize::MAX, ..Flags::default() };
    Init { observer: Some(observer), ..Init::dynamic("scale", flags, Template { spec, start }) }
}

/// Starts so many children and stops them; what was done, and how long starts and stop took.
async fn round(children: u32) -> (Arc<Work>, [Duration; 2]) {
    let work = Arc::new(Work::default());
    let (supervisor, life) =
        SupervisorRef::start_root(init(&work, Restart::Permanent)).await.unwrap();
    let subtree = life.subtree().clone();
    let begin = Instant::now();
    for id in 0..children {
        supervisor.start_dynamic(id).await.unwrap().unwrap();
    }
    let started = begin.elapsed();
    let counts = supervisor.count_children().await.unwrap();
    assert_eq!((counts.specs, counts.active), (1, children as usize));
    assert_eq!(subtree.alive(), children as usize + 1);
    let begin = Instant::now();
    life.stop(Shutdown::Infinity).await;
    assert_eq!(subtree.alive(), 0);
    (work, [started, begin.elapsed()])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_children_start_and_stop_with_work_in_proportion_and_leave_nothing() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for children in [1_000, 10_000] {
        let (work, [starts, stops]) = round(children).await;
        let each = |counter: &AtomicUsize| counter.load(Ordering::SeqCst) as u32;
        let done = [&work.starts, &work.stops, &work.drops].map(each);
        assert_eq!(done, [children; 3], "each once");
        assert_eq!(each(&work.reports), 2 * children, "a start and a stop each");
        assert_eq!(Arc::strong_count(&work), 1, "nobody remembers a child");
        println!("{children} children: started in {starts:.1?}, stopped in {stops:.1?}");
    }
    until("the tasks are gone", || tasks() == before).await;
    assert_eq!(ractor::registry::registered(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_temporary_children_that_come_and_go_are_forgotten() {
    let work = Arc::new(Work::default());
    let (supervisor, life) =
        SupervisorRef::start_root(init(&work, Restart::Temporary)).await.unwrap();
    let begin = Instant::now();
    for id in 0..10_000 {
        supervisor.start_dynamic(id).await.unwrap().unwrap();
        if id % 2 == 0 {
            supervisor.terminate_child(id).await.unwrap().unwrap();
        }
    }
    for child in supervisor.actor().get_children() {
        child.send_message(()).unwrap();
    }
    until("all have crashed", || work.drops.load(Ordering::SeqCst) == 10_000).await;
    until("the supervisor knows", || work.reports.load(Ordering::SeqCst) == 20_000).await;
    println!("10000 temporary children came and went in {:.1?}", begin.elapsed());
    let counts = supervisor.count_children().await.unwrap();
    assert_eq!((counts.active, counts.workers), (0, 0));
    assert_eq!(life.subtree().alive(), 1);
    life.stop(Shutdown::Infinity).await;
    assert_eq!(Arc::strong_count(&work), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_children_that_hang_are_killed_together() {
    let troupe = common::troupe::Troupe::default();
    let flags = common::troupe::patient(dg_runtime::supervisor::Strategy::SimpleOneForOne);
    let mut init = troupe.dynamic(flags, |probe, _| common::probe::Probe {
        post_stop: common::probe::Do::Hang,
        ..probe
    });
    let template = init.template.as_mut().unwrap();
    let patience = Shutdown::Timeout(Duration::from_millis(100));
    template.spec = Arc::new(move |id| ChildSpec::worker(id).shutdown(patience));
    let (supervisor, life) = SupervisorRef::start_root(init).await.unwrap();
    for id in 0..2_000 {
        supervisor.start_dynamic(id.to_string()).await.unwrap().unwrap();
    }
    let begin = Instant::now();
    common::soon("the stop", life.stop(Shutdown::Infinity)).await;
    println!("2000 hanging children were killed in {:.1?}", begin.elapsed());
    let overdue =
        troupe.reports.entries().iter().filter(|report| report.ends_with("overdue")).count();
    assert_eq!(overdue, 2_000, "one time limit for all, not one after the other");
}
