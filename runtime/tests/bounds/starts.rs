//! Starts that come to nothing leave nothing behind.

use std::sync::Arc;
use std::time::Duration;

use dg_runtime::supervisor::{
    ChildSpec, ChildState, Flags, Init, Refused, Restart, Shutdown, SpecError, StartFn, Started,
    Strategy, SupervisorRef,
};

use super::common::probe::{Do, Probe};
use super::common::soon;
use super::common::troupe::{Troupe, fails, patient, state};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_child_that_hangs_in_its_start_is_given_up_and_is_gone() {
    let troupe = Troupe::default();
    let hangs = troupe.child("hangs", |probe, _| Probe { pre_start: Do::Hang, ..probe });
    let init = troupe.init("root", Flags::default(), vec![troupe.plain("first"), hangs]);
    let init = Init { start_timeout: SHORT, ..init };
    let Err(error) = soon("the start", SupervisorRef::start_root(init)).await else {
        panic!("it hangs")
    };
    assert_eq!(error.0, "failed to start child hangs: did not start within 50ms");
    assert!(troupe.journal.has("hangs: handler dropped"));
    assert!(troupe.journal.has("first: post_stop"), "those before it are stopped in order");
}

#[tokio::test]
async fn a_restart_that_hangs_is_tried_again() {
    let troupe = Troupe::default();
    let child = troupe.child("child", |probe, life| match life {
        2 => Probe { pre_start: Do::Hang, ..probe },
        _ => probe,
    });
    let init = troupe.init("root", patient(Strategy::OneForOne), vec![child]);
    let init = Init { start_timeout: SHORT, ..init };
    let (_supervisor, life) = SupervisorRef::start_root(init).await.unwrap();
    troupe.tell("child", Do::Fail);
    troupe.reports.sees("child failed: did not start within 50ms").await;
    troupe.reports.sees_times("child started", 2).await;
    assert_eq!(troupe.journal.count("child: handler dropped"), 2);
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn a_start_function_that_panics_has_failed_wherever_it_panics() {
    let at_once: StartFn = Arc::new(|_| panic!("at once"));
    let later: StartFn = Arc::new(|_| Box::pin(async { panic!("later") }));
    let troupe = Troupe::default();
    let (supervisor, life) = troupe.root(Flags::default(), vec![troupe.plain("other")]).await;
    for (start, text) in [(at_once, "at once"), (later, "later")] {
        let spec = ChildSpec::worker("panics".to_owned());
        let answer = supervisor.start_child(spec, start).await.unwrap();
        let reason = format!("the start function panicked: {text}");
        assert_eq!(answer, Err(Refused::StartFailed(reason)));
    }
    assert_eq!(troupe.starts("other"), 1);
    assert_eq!(supervisor.count_children().await.unwrap().specs, 1);
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn what_a_start_spawned_is_killed_if_the_start_fails_after_all() {
    let troupe = Troupe::default();
    let (supervisor, life) = troupe.root(Flags::default(), Vec::new()).await;
    let outcomes = [|| Err(fails("second thoughts")), || Ok(Started::Ignored)];
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let (_, spawn) = troupe.plain("left");
        let start: StartFn = Arc::new(move |parent| {
            let spawning = spawn(parent);
            Box::pin(async move { spawning.await.and_then(|_| outcome()) })
        });
        let spec = ChildSpec::worker(format!("child {number}"));
        let _ = supervisor.start_child(spec, start).await.unwrap();
        assert_eq!(troupe.starts("left"), number + 1);
        let dropped = troupe.journal.count("left: handler dropped");
        assert_eq!(dropped, number + 1, "it is gone before the answer");
    }
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn grandchildren_of_a_start_that_is_given_up_are_dead_before_the_next() {
    let troupe = Troupe::default();
    let low = troupe.plain("low");
    let hangs = troupe.child("hangs", |probe, life| match life {
        2 => Probe { pre_start: Do::Hang, ..probe },
        _ => probe,
    });
    let middle = troupe.supervisor("middle", patient(Strategy::OneForOne), vec![low, hangs]);
    let init = troupe.init("root", patient(Strategy::OneForOne), vec![middle]);
    let init = Init { start_timeout: SHORT, ..init };
    let (_supervisor, life) = SupervisorRef::start_root(init).await.unwrap();
    troupe.cell("middle").kill();
    troupe.reports.sees_times("middle started", 2).await;
    let lows: Vec<_> =
        troupe.journal.entries().into_iter().filter(|entry| entry.starts_with("low")).collect();
    let one = ["low: pre_start", "low: state dropped", "low: handler dropped"];
    assert_eq!(lows[..7], [&one[..], &one[..], &one[..1]].concat());
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn a_start_that_was_refused_is_not_remembered() {
    let troupe = Troupe::default();
    let (supervisor, life) = troupe.root(Flags::default(), Vec::new()).await;
    let spec = ChildSpec::worker("child".to_owned()).restart(Restart::Transient);
    let (_, wrong) = troupe.plain("wrong");
    let refused = supervisor.start_child(spec.clone().significant(), wrong).await.unwrap();
    assert!(matches!(refused, Err(Refused::Spec(SpecError::Significant(..)))), "{refused:?}");
    let (_, right) = troupe.plain("right");
    supervisor.start_child(spec, right).await.unwrap().unwrap();
    assert_eq!((troupe.starts("wrong"), troupe.starts("right")), (0, 1));
    life.stop(Shutdown::Infinity).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_not_started() {
    let troupe = Troupe::default();
    let plain = || vec![troupe.plain("child")];
    let no_time = Flags { period: Duration::ZERO, ..Flags::default() };
    let dynamic = Flags { strategy: Strategy::SimpleOneForOne, ..Flags::default() };
    let template = troupe.dynamic(dynamic, |probe, _| probe);
    let wrong = [
        (Init::new("no time", no_time, Vec::new()), SpecError::Period),
        (
            Init::new("twice", Flags::default(), [plain(), plain()].concat()),
            SpecError::Duplicate("child".to_owned()),
        ),
        (Init::new("no template", dynamic, plain()), SpecError::Template),
        (Init { children: plain(), ..template }, SpecError::Template),
    ];
    for (init, error) in wrong {
        let Err(refused) = SupervisorRef::start_root(init).await else { panic!("{error}") };
        assert_eq!(refused.0, error.to_string());
    }
    assert_eq!(troupe.starts("child"), 0);
}

#[tokio::test]
async fn a_dynamic_supervisor_counts_children_that_are_being_restarted() {
    let troupe = Troupe::default();
    let flags = Flags { max_children: 2, ..patient(Strategy::SimpleOneForOne) };
    let once = |probe, life| match life {
        1 => probe,
        _ => Probe { pre_start: Do::Fail, ..probe },
    };
    let (supervisor, life) = SupervisorRef::start_root(troupe.dynamic(flags, once)).await.unwrap();
    let start = async |id: &str| supervisor.start_dynamic(id.to_owned()).await.unwrap();
    start("a").await.unwrap();
    start("b").await.unwrap();
    assert_eq!(start("c").await, Err(Refused::MaxChildren));
    troupe.tell("a", Do::Fail);
    troupe.reports.sees("a failed: it failed").await;
    assert_eq!(state(&supervisor, "a").await, Some(ChildState::Restarting));
    assert_eq!(start("c").await, Err(Refused::MaxChildren));
    assert_eq!(start("a").await, Err(Refused::AlreadyPresent));
    supervisor.terminate_child("a".to_owned()).await.unwrap().unwrap();
    start("c").await.unwrap();
    assert_eq!(supervisor.count_children().await.unwrap().active, 2);
    life.stop(Shutdown::Infinity).await;
}
