//! The restart decision under random orders of events: what its module promises holds after every
//! step, and it decides as Erlang's supervisor, retold naively, does.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "properties/naive.rs"]
mod naive;
#[path = "properties/ours.rs"]
mod ours;
#[path = "properties/world.rs"]
mod world;

use std::time::{Duration, Instant};

use dg_runtime::supervisor::{
    AutoShutdown, ChildSpec, ChildState, Children, End, Exit, Flags, Refused, Restart, Strategy,
};
use naive::Naive;
use ours::Ours;
use proptest::prelude::{Strategy as _, *};
use proptest::test_runner::RngSeed;
use world::{NAMES, Op, Outcome, World, ops, outcomes, restarts, spec};

fn flags() -> impl proptest::strategy::Strategy<Value = Flags> {
    let strategy = prop_oneof![
        Just(Strategy::OneForOne),
        Just(Strategy::OneForAll),
        Just(Strategy::RestForOne),
        Just(Strategy::SimpleOneForOne),
    ];
    let auto_shutdown = prop_oneof![
        2 => Just(AutoShutdown::Never),
        1 => Just(AutoShutdown::AnySignificant),
        2 => Just(AutoShutdown::AllSignificant),
    ];
    (strategy, 0..5usize, auto_shutdown).prop_map(|(strategy, intensity, auto_shutdown)| Flags {
        strategy,
        intensity,
        period: Duration::from_secs(5),
        auto_shutdown,
        ..Flags::default()
    })
}

/// The children of a supervisor: of several restart types, or as their template says.
fn specs(flags: Flags) -> impl proptest::strategy::Strategy<Value = Vec<ChildSpec<u8>>> {
    let kinds = proptest::collection::vec((restarts(), any::<bool>()), 0..usize::from(NAMES));
    kinds.prop_map(move |kinds| {
        let alike = kinds.first().copied();
        let dynamic = flags.strategy == Strategy::SimpleOneForOne;
        let kind = |own| if dynamic { alike.unwrap_or(own) } else { own };
        let spec = |(id, own)| {
            let (restart, significant) = kind(own);
            spec(id, restart, significant, &flags)
        };
        (0..NAMES).zip(kinds).map(spec).collect()
    })
}

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: 1024,
        rng_seed: RngSeed::Fixed(20_260_131),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn same(ours: &Ours, naive: &Naive) -> Result<(), TestCaseError> {
    prop_assert_eq!(&ours.world.trace, &naive.world.trace);
    prop_assert_eq!(&ours.world.waiting, &naive.world.waiting);
    prop_assert_eq!(ours.ended.is_some(), naive.ended);
    let states = |children: &Children<u8>| -> Vec<_> {
        children.iter().map(|child| (child.spec.clone(), child.state)).collect()
    };
    prop_assert_eq!(&states(&ours.children), &naive.children);
    Ok(())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_order_of_events_keeps_what_is_promised_and_goes_as_on_erlang(
        (flags, specs) in flags().prop_flat_map(|flags| (Just(flags), specs(flags))),
        outcomes in outcomes(),
        ops in ops(),
    ) {
        let world = World::new(outcomes, Instant::now());
        let (mut ours, started) = Ours::start(flags, &specs, world.clone());
        let (mut naive, started_too) = Naive::start(flags, &specs, world);
        prop_assert_eq!(started, started_too);
        for op in ops.iter().filter(|_| started) {
            ours.act(op);
            naive.act(op);
            same(&ours, &naive)?;
            if naive.ended {
                break;
            }
        }
        ours.end_all();
        naive.terminate_children(0);
        prop_assert_eq!(&ours.world.trace, &naive.world.trace);
        prop_assert!(ours.world.alive.is_empty(), "{:?}", ours.world.alive);
    }
}

/// A world in which starts go like that, with children of these names under a supervisor.
fn family(flags: Flags, outcomes: &[Outcome], specs: &[ChildSpec<u8>]) -> Ours {
    let (ours, started) = Ours::start(flags, specs, World::new(outcomes.to_vec(), Instant::now()));
    assert!(started);
    ours
}

fn state(ours: &Ours, id: u8) -> ChildState {
    ours.children.get(&id).unwrap().state
}

fn crash() -> Exit {
    Exit::Crash("bug".to_owned())
}

#[test]
fn a_group_restart_replaces_the_retry_of_a_child_in_it() {
    use Outcome::{Fails, Runs};
    let flags = Flags { strategy: Strategy::OneForAll, intensity: 9, ..Flags::default() };
    let specs = [ChildSpec::worker(0), ChildSpec::worker(1)];
    // Both run; 1 ends, 0 starts again, 1 does not; then 0 ends, and does not start again either.
    let mut ours = family(flags, &[Runs, Runs, Runs, Fails, Fails, Runs], &specs);
    ours.act(&Op::End(1, crash()));
    ours.act(&Op::Take);
    assert_eq!(state(&ours, 1), ChildState::Restarting);
    ours.act(&Op::End(0, crash()));
    ours.world.waiting.rotate_right(1); // the exit overtakes the retry
    ours.act(&Op::Take);
    assert_eq!((state(&ours, 0), state(&ours, 1)), (ChildState::Restarting, ChildState::Stopped));
    ours.act(&Op::Take);
    assert_eq!(state(&ours, 0), ChildState::Restarting, "the retry of 1 is not one of 0");
}

#[test]
fn a_significant_child_that_is_being_restarted_has_not_ended() {
    use Outcome::{Fails, Runs};
    let flags =
        Flags { intensity: 9, auto_shutdown: AutoShutdown::AllSignificant, ..Flags::default() };
    let child = |id| ChildSpec::worker(id).restart(Restart::Transient).significant();
    let mut ours = family(flags, &[Runs, Runs, Fails], &[child(0), child(1)]);
    ours.act(&Op::End(0, crash()));
    ours.act(&Op::Take);
    ours.act(&Op::End(0, Exit::Normal));
    ours.world.waiting.rotate_right(1);
    ours.act(&Op::Take);
    assert_eq!(state(&ours, 1), ChildState::Stopped);
    assert_eq!(ours.ended, None, "0 may still come back");
}

#[test]
fn restarts_are_forgiven_when_their_period_has_passed() {
    let flags = Flags { intensity: 1, ..Flags::default() };
    let mut ours = family(flags, &[Outcome::Runs], &[ChildSpec::worker(0)]);
    for _ in 0..5 {
        ours.act(&Op::End(0, crash()));
        ours.act(&Op::Take);
        assert_eq!(ours.ended, None);
        ours.act(&Op::Wait(flags.period + Duration::from_millis(1)));
    }
    for end in [None, Some(End::Intensity)] {
        ours.act(&Op::End(0, crash()));
        ours.act(&Op::Take);
        assert_eq!(ours.ended, end, "exactly at the end of the period it still counts");
        ours.act(&Op::Wait(flags.period));
    }
}

#[test]
fn calls_of_a_name_that_is_taken_or_unknown_are_answered_in_otps_words() {
    let mut ours = family(Flags::default(), &[Outcome::Runs], &[ChildSpec::worker(0)]);
    let ChildState::Running(life) = state(&ours, 0) else { panic!("it runs") };
    let children = &mut ours.children;
    assert_eq!(children.may_start(&ChildSpec::worker(0)), Err(Refused::AlreadyStarted(life)));
    assert_eq!(children.may_restart(&0), Err(Refused::Running));
    assert_eq!(children.may_delete(&0), Err(Refused::Running));
    assert_eq!(children.may_terminate(&1), Err(Refused::NotFound));
    children.add(ChildSpec::supervisor(0));
    assert_eq!(children.len(), 1, "a name that is taken is not added again");
    children.remove(&0);
    assert_eq!((children.len(), children.of_incarnation(life)), (0, None));
    children.started(&0, 7);
    assert_eq!(children.of_incarnation(7), None, "a child that is unknown has no life");
}
