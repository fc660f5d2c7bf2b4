//! Every pair of state and input, and random lives.

use dg_projections::Code;

use super::*;
use crate::worker::policy::FailureClass;

const POLICY: RetryPolicy =
    RetryPolicy { base: Duration::from_millis(250), max: Duration::from_secs(30), max_retries: 5 };

fn cursor(at: i64) -> Cursor {
    Cursor::whole(1, at, at)
}

fn failure(class: FailureClass) -> Failure {
    Failure { class, code: Code::Storage, message: "x".into(), event: None }
}

fn states() -> Vec<State> {
    let poison = failure(FailureClass::Poison);
    vec![
        State::Starting,
        State::CatchingUp { from: cursor(3), woken: false },
        State::CatchingUp { from: cursor(3), woken: true },
        State::Idle { at: cursor(3) },
        State::Retrying { failure: failure(FailureClass::Storage), after: POLICY.base, timer: 7 },
        State::Recording { failure: poison.clone(), retry: false },
        State::Recording { failure: poison.clone(), retry: true },
        State::Unrecorded { failure: poison.clone(), timer: 7 },
        State::Failed { failure: poison },
        State::Stopping,
    ]
}

fn inputs() -> Vec<Input> {
    vec![
        Input::CursorLoaded(cursor(3)),
        Input::Applied { to: cursor(5), at_tail: true },
        Input::Applied { to: cursor(5), at_tail: false },
        Input::Superseded,
        Input::Failed(failure(FailureClass::Storage)),
        Input::Failed(failure(FailureClass::Poison)),
        Input::Recorded,
        Input::TimerFired(7),
        Input::TimerFired(6),
        Input::Woken,
        Input::RetryRequested,
        Input::Stop,
    ]
}

/// One letter a state: the row of the table below.
fn letter(state: &State) -> char {
    match state {
        State::Starting => 'S',
        State::CatchingUp { woken: false, .. } => 'c',
        State::CatchingUp { woken: true, .. } => 'C',
        State::Idle { .. } => 'I',
        State::Retrying { .. } => 'R',
        State::Recording { retry: false, .. } => 'w',
        State::Recording { retry: true, .. } => 'W',
        State::Unrecorded { .. } => 'u',
        State::Failed { .. } => 'F',
        State::Stopping => 's',
    }
}

#[test]
fn every_pair_of_state_and_input_goes_where_the_table_says() {
    // Columns: CursorLoaded, Applied at the tail, Applied before it, Superseded, Failed by storage,
    // Failed by poison, Recorded, its timer, an old timer, Woken, RetryRequested, Stop.
    // '!' is an illegal transition.
    let table = [
        ("S", "c!!!Rw!SSSSs"),
        ("c", "!IcSRw!ccCcs"),
        ("C", "!ccSRw!CCCCs"),
        ("I", "!!!!!!!IIcIs"),
        ("R", "!!!!!!!SRRSs"),
        ("w", "!!!!uuFwwwWs"),
        ("W", "!!!!SSSWWWWs"),
        ("u", "!!!!!!!wuuSs"),
        ("F", "!!!!!!!FFFSs"),
        ("s", "ssssssssssss"),
    ];
    for (state, (name, row)) in states().into_iter().zip(table) {
        assert_eq!(letter(&state).to_string(), name);
        for (input, expected) in inputs().into_iter().zip(row.chars()) {
            let machine = Machine { state: state.clone(), attempt: 2, timers: 7 };
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
            let machine = Machine { state: state.clone(), attempt: 2, timers: 7 };
            let Ok((after, effects)) = step(machine, input, &POLICY, "w") else { continue };
            let calls = effects.iter().filter(|effect| {
                matches!(effect, Effect::LoadCursor | Effect::ApplyPage(_) | Effect::Record(_))
            });
            let entered = after.state != state && !matches!(after.state, State::Stopping);
            let starred = matches!(
                after.state,
                State::Starting | State::CatchingUp { .. } | State::Recording { .. }
            );
            let still_in_flight = matches!(
                (&state, &after.state),
                (State::CatchingUp { .. }, State::CatchingUp { woken: true, .. })
                    | (State::Recording { .. }, State::Recording { retry: true, .. })
            );
            assert_eq!(
                calls.count(),
                usize::from(entered && starred && !still_in_flight),
                "{state:?} -> {after:?}"
            );
        }
    }
}

#[test]
fn an_applied_page_forgets_retries_and_a_failed_one_counts_them() {
    let machine = Machine {
        state: State::CatchingUp { from: cursor(3), woken: false },
        attempt: 4,
        timers: 0,
    };
    let failed = step(machine.clone(), Input::Failed(failure(FailureClass::Storage)), &POLICY, "w")
        .unwrap()
        .0;
    assert_eq!(failed.attempt, 5);
    let applied =
        step(machine, Input::Applied { to: cursor(4), at_tail: true }, &POLICY, "w").unwrap().0;
    assert_eq!(applied.attempt, 0);
}
