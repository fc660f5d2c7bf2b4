//! Every pair of state and input.

use dg_projections::Code;

use super::*;
use crate::worker::policy::FailureClass;

const POLICY: RetryPolicy =
    RetryPolicy { base: Duration::from_millis(250), max: Duration::from_secs(30), max_retries: 5 };

fn cursor(at: i64) -> Cursor {
    Cursor::whole(1, at, at)
}

fn failure(class: FailureClass) -> Failure {
    Failure { class, code: Code::Storage, message: "x".into(), event: None, suspects: 0 }
}

fn states() -> Vec<State> {
    let poison = failure(FailureClass::Poison);
    vec![
        State::Starting,
        State::CatchingUp { from: cursor(3), next: Next::Page },
        State::CatchingUp { from: cursor(3), next: Next::Look },
        State::CatchingUp { from: cursor(3), next: Next::Rest },
        State::Idle { at: cursor(3) },
        State::Retrying { failure: failure(FailureClass::Storage), after: POLICY.base, timer: 7 },
        State::Recording { failure: poison.clone(), then: Then::Fail },
        State::Recording { failure: poison.clone(), then: Then::Wait(POLICY.base) },
        State::Recording { failure: poison.clone(), then: Then::Restart },
        State::Unrecorded { failure: poison.clone(), timer: 7 },
        State::Failed { failure: poison },
        State::Paused { by: "run".into() },
        State::Stopping,
    ]
}

fn inputs() -> Vec<Input> {
    vec![
        Input::CursorLoaded { cursor: cursor(3), retries: 0 },
        Input::Applied { to: cursor(5), at_tail: true },
        Input::Applied { to: cursor(5), at_tail: false },
        Input::Superseded,
        Input::Failed(failure(FailureClass::Storage)),
        Input::Failed(failure(FailureClass::Poison)),
        Input::Failed(Failure { suspects: 9, ..failure(FailureClass::Defect) }),
        Input::Recorded,
        Input::TimerFired(7),
        Input::TimerFired(6),
        Input::Woken,
        Input::Yield,
        Input::RetryRequested,
        Input::Pause("run".into()),
        Input::Unpause("run".into()),
        Input::Stop,
    ]
}

/// One letter a state: the row of the table below.
fn letter(state: &State) -> char {
    match state {
        State::Starting => 'S',
        State::CatchingUp { next: Next::Page, .. } => 'c',
        State::CatchingUp { next: Next::Look, .. } => 'C',
        State::CatchingUp { next: Next::Rest, .. } => 'y',
        State::Idle { .. } => 'I',
        State::Retrying { .. } => 'R',
        State::Recording { then: Then::Fail, .. } => 'w',
        State::Recording { then: Then::Wait(_), .. } => 'v',
        State::Recording { then: Then::Restart, .. } => 'W',
        State::Unrecorded { .. } => 'u',
        State::Failed { .. } => 'F',
        State::Paused { .. } => 'P',
        State::Stopping => 's',
    }
}

#[test]
fn every_pair_of_state_and_input_goes_where_the_table_says() {
    // Columns: CursorLoaded, Applied at the tail, Applied before it, Superseded, Failed by storage,
    // by poison, as a batch, Recorded, its timer, an old timer, Woken, Yield, RetryRequested, Pause,
    // Unpause, Stop.
    // '!' is an illegal transition.
    let table = [
        ("S", "c!!!Rww!SSSSSSSs"),
        ("c", "!IcSRwc!ccCycccs"),
        ("C", "!ccSRwc!CCCyCCCs"),
        ("y", "!IISRwc!yyCyyyys"),
        ("I", "!!!!!!!!IIcIIPIs"),
        ("R", "!!!!!!!!SRRRSPRs"),
        ("w", "!!!!uuuFwwwwWwws"),
        ("v", "!!!!RRRRvvvvWvvs"),
        ("W", "!!!!SSSSWWWWWWWs"),
        ("u", "!!!!!!!!wuuuSPus"),
        ("F", "!!!!!!!!FFFFSPFs"),
        ("P", "!!!!!!!!PPPPPPSs"),
        ("s", "ssssssssssssssss"),
    ];
    for (state, (name, row)) in states().into_iter().zip(table) {
        assert_eq!(letter(&state).to_string(), name);
        for (input, expected) in inputs().into_iter().zip(row.chars()) {
            let machine =
                Machine { state: state.clone(), attempt: 2, timers: 7, suspects: 0, pause: None };
            let found = match step(machine, input.clone(), &POLICY, "w") {
                Ok((machine, _)) => letter(&machine.state),
                Err(_) => '!',
            };
            assert_eq!(found, expected, "{state:?} + {input:?}");
        }
    }
}

/// States with an effect in flight are entered with that effect, the others without.
#[test]
fn exactly_the_starred_states_have_an_effect_in_flight() {
    for state in states() {
        for input in inputs() {
            let machine =
                Machine { state: state.clone(), attempt: 2, timers: 7, suspects: 0, pause: None };
            let Ok((after, effects)) = step(machine, input.clone(), &POLICY, "w") else { continue };
            let calls =
                effects.iter().filter(|effect| !matches!(effect, Effect::StartTimer { .. }));
            let ended = !matches!(
                (&state, &input),
                (
                    State::CatchingUp { .. },
                    Input::Woken | Input::Yield | Input::RetryRequested | Input::TimerFired(_)
                ) | (State::Recording { .. }, Input::RetryRequested)
                    | (_, Input::Pause(_) | Input::Unpause(_))
            ) || matches!((&state, &input), (State::Paused { .. }, Input::Unpause(_)));
            let entered = (after.state != state || letter(&state) == 'c') && ended;
            let starred = matches!(
                after.state,
                State::Starting | State::CatchingUp { .. } | State::Recording { .. }
            );
            assert_eq!(calls.count(), usize::from(entered && starred), "{state:?} -> {after:?}");
        }
    }
}

#[test]
fn an_applied_page_forgets_retries_and_a_failed_one_counts_them() {
    let machine = Machine {
        state: State::CatchingUp { from: cursor(3), next: Next::Page },
        attempt: 4,
        timers: 0,
        suspects: 0,
        pause: None,
    };
    let failed = step(machine.clone(), Input::Failed(failure(FailureClass::Storage)), &POLICY, "w")
        .unwrap()
        .0;
    assert_eq!(failed.attempt, 5);
    let applied =
        step(machine, Input::Applied { to: cursor(4), at_tail: true }, &POLICY, "w").unwrap().0;
    assert_eq!(applied.attempt, 0);
}

#[test]
fn retries_that_an_earlier_life_wrote_down_go_on_from_there() {
    let (machine, _) = Machine::start();
    let loaded = Input::CursorLoaded { cursor: cursor(3), retries: 6 };
    let (machine, _) = step(machine, loaded, &POLICY, "w").unwrap();
    let failed = Input::Failed(failure(FailureClass::Storage));
    let (machine, effects) = step(machine, failed, &POLICY, "w").unwrap();
    assert_eq!(machine.attempt, 7);
    assert!(matches!(effects[..], [Effect::Record { retries: 7, .. }]), "{effects:?}");
    assert_eq!(machine.state.status(), "retrying");
}

/// Of a batch of 100 events, the 38th makes every batch fail that it is in.
#[test]
fn a_batch_is_narrowed_to_its_event_in_few_steps() {
    let (culprit, end) = (38, 100);
    let (machine, _) = Machine::start();
    let loaded = Input::CursorLoaded { cursor: cursor(0), retries: 0 };
    let (mut machine, mut effects) = step(machine, loaded, &POLICY, "w").unwrap();
    for steps in 1.. {
        assert!(steps < 20, "{machine:?}");
        let [Effect::ApplyPage { from, limit }] = effects[..] else {
            let State::Recording { failure, .. } = machine.state else { panic!("{machine:?}") };
            assert_eq!((failure.suspects, steps > 7), (1, true));
            return;
        };
        let events = limit.unwrap_or(1_000).min(end - from.last_log_seq);
        let to = from.last_log_seq + events;
        let input = if to < culprit {
            Input::Applied { to: cursor(to), at_tail: false }
        } else {
            assert!(from.last_log_seq < culprit);
            Input::Failed(Failure { suspects: events, ..failure(FailureClass::Defect) })
        };
        (machine, effects) = step(machine, input, &POLICY, "w").unwrap();
    }
}

/// Whoever pauses a worker is told when nothing of it is in flight, and it goes on as if it had just
/// been started.
#[test]
fn a_busy_worker_pauses_when_its_effect_has_come_back_whatever_that_says() {
    for state in states().into_iter().filter(State::is_busy) {
        for input in inputs().into_iter().filter(Input::ends_effect) {
            let machine =
                Machine { state: state.clone(), attempt: 2, timers: 7, suspects: 0, pause: None };
            let pause = Input::Pause("run".into());
            let (machine, effects) = step(machine, pause, &POLICY, "w").unwrap();
            assert_eq!((&machine.state, effects.len()), (&state, 0));
            let Ok((machine, effects)) = step(machine, input.clone(), &POLICY, "w") else {
                continue;
            };
            let paused = State::Paused { by: "run".into() };
            assert_eq!((&machine.state, effects.len()), (&paused, 0), "{state:?} + {input:?}");
            let (machine, effects) =
                step(machine, Input::Unpause("run".into()), &POLICY, "w").unwrap();
            assert_eq!((machine.state, machine.pause), (State::Starting, None));
            assert_eq!(effects, [Effect::LoadCursor]);
        }
    }
}

#[test]
fn a_pause_that_is_given_up_before_it_came_about_changes_nothing() {
    let (machine, _) = Machine::start();
    let (machine, _) = step(machine, Input::Pause("run".into()), &POLICY, "w").unwrap();
    let (machine, _) = step(machine, Input::Unpause("run".into()), &POLICY, "w").unwrap();
    assert_eq!(machine, Machine::start().0);
}

/// One that is told of the end of a pause when another has begun stays where it is.
#[test]
fn a_pause_ends_itself_alone() {
    let (machine, _) = Machine::start();
    let inputs = [
        Input::Pause("first".into()),
        Input::CursorLoaded { cursor: cursor(3), retries: 0 },
        Input::Pause("second".into()),
        Input::Unpause("first".into()),
    ];
    let machine = inputs
        .into_iter()
        .fold(machine, |machine, input| step(machine, input, &POLICY, "w").unwrap().0);
    assert_eq!(machine.state, State::Paused { by: "second".into() });
    let (machine, _) = step(machine, Input::Unpause("second".into()), &POLICY, "w").unwrap();
    assert_eq!(machine.state, State::Starting);
}
