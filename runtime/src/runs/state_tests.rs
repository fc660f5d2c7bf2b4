//! Every pair of state and input, and whole runs in words.

use dg_projections::Code;

use super::*;
use crate::worker::FailureClass;

const POLICY: RetryPolicy =
    RetryPolicy { base: Duration::from_millis(250), max: Duration::from_secs(5), max_retries: 5 };

fn failure(class: FailureClass) -> Failure {
    Failure { class, code: Code::Storage, message: "x".into(), event: None, suspects: 0 }
}

fn machine(mode: RunMode, state: State) -> Machine {
    let (machine, _) = Machine::start(mode, false, Projection::ALL.to_vec());
    Machine { state, ..machine }
}

fn states() -> Vec<State> {
    vec![
        State::Opening,
        State::Applying,
        State::Comparing,
        State::Switching,
        State::Closing,
        State::Digesting,
        State::Waiting { failure: failure(FailureClass::Storage) },
        State::Ending(Outcome::Completed),
        State::Over(Outcome::Completed),
    ]
}

fn inputs() -> Vec<Input> {
    vec![
        Input::Opened { is_compared: false },
        Input::AlreadyDone,
        Input::Applied { events: 5, is_there: false },
        Input::Applied { events: 5, is_there: true },
        Input::Superseded,
        Input::Compared,
        Input::Switched,
        Input::Behind,
        Input::Closed,
        Input::Digested,
        Input::Waited,
        Input::Ended,
        Input::Failed(failure(FailureClass::Storage)),
        Input::Failed(failure(FailureClass::Poison)),
        Input::Lost,
    ]
}

fn letter(state: &State) -> char {
    match state {
        State::Opening => 'O',
        State::Applying => 'A',
        State::Comparing => 'C',
        State::Switching => 'S',
        State::Closing => 'L',
        State::Digesting => 'D',
        State::Waiting { .. } => 'W',
        State::Ending(_) => 'E',
        State::Over(_) => '.',
    }
}

#[test]
fn every_pair_of_state_and_input_goes_where_the_table_says() {
    // Columns: Opened, AlreadyDone, Applied and not there, there, Superseded, Compared, Switched,
    // Behind, Closed, Digested, Waited, Ended, Failed by storage, by poison, Lost. '!' is illegal.
    let table = [
        ("O", "AO!!O!!!!!!!WE."),
        ("A", "!!ACO!!!!!!!WE."),
        ("C", "!!!!OA!A!!!!WE."),
        ("S", "!!!!O!LA!!!!WE."),
        ("L", "!!!!!!!!O!!!WE."),
        ("D", "!!!!!!!!!E!!WE."),
        ("W", "!!!!!!!!!!O!!!."),
        ("E", "!!!!!!!!!!E.E.."),
        (".", "!!!!!!!!!!!!!!."),
    ];
    for (state, (name, row)) in states().into_iter().zip(table) {
        assert_eq!(letter(&state).to_string(), name);
        for (input, expected) in inputs().into_iter().zip(row.chars()) {
            let found = step(machine(RunMode::Rebuild, state.clone()), input.clone(), &POLICY, "r");
            let found = found.map_or('!', |(machine, _)| letter(&machine.state));
            assert_eq!(found, expected, "{state:?} + {input:?}");
        }
    }
}

#[test]
fn an_effect_is_in_flight_until_the_run_is_over() {
    for mode in RunMode::ALL {
        for state in states() {
            for input in inputs() {
                let Ok((after, effect)) = step(machine(mode, state.clone()), input, &POLICY, "r")
                else {
                    continue;
                };
                let is_over = matches!(after.state, State::Over(_));
                assert_eq!(effect.is_none(), is_over, "{state:?} -> {after:?}");
            }
        }
    }
}

/// What a run does when everything goes well, in letters.
fn course(mode: RunMode, dry_run: bool, steps: &[Projection]) -> String {
    let (mut machine, mut effect) = Machine::start(mode, dry_run, steps.to_vec());
    let mut course = letter(&machine.state).to_string();
    while let Some(doing) = effect {
        let input = match doing {
            Effect::Open(_) => Input::Opened { is_compared: false },
            Effect::Apply { .. } => Input::Applied { events: 1, is_there: true },
            Effect::Compare(_) => Input::Compared,
            Effect::Switch(_) => Input::Switched,
            Effect::Close(_) => Input::Closed,
            Effect::Digest => Input::Digested,
            Effect::Wait(_) => Input::Waited,
            Effect::End(_) => Input::Ended,
        };
        (machine, effect) = step(machine, input, &POLICY, "r").unwrap();
        course.push(letter(&machine.state));
    }
    assert_eq!(machine.state, State::Over(Outcome::Completed));
    course
}

#[test]
fn each_kind_of_run_takes_its_course() {
    let (one, two) = (&Projection::ALL[..1], &Projection::ALL[..2]);
    assert_eq!(course(RunMode::Replay, false, one), "OALDE.");
    assert_eq!(course(RunMode::Replay, false, two), "OALOALDE.");
    assert_eq!(course(RunMode::Rebuild, false, one), "OACASLDE.");
    assert_eq!(course(RunMode::Rebuild, false, two), "OACASLOACASLDE.");
    assert_eq!(course(RunMode::Rebuild, true, two), "OACLOACLDE.");
}

#[test]
fn a_rebuild_does_not_pass_what_is_served_before_it_was_compared_with_it() {
    for (mode, is_compared, expected) in [
        (RunMode::Rebuild, false, true),
        (RunMode::Rebuild, true, false),
        (RunMode::Replay, true, false),
    ] {
        let opened = Input::Opened { is_compared };
        let (_, effect) = step(machine(mode, State::Opening), opened, &POLICY, "r").unwrap();
        let Some(Effect::Apply { to_served, .. }) = effect else { panic!("{effect:?}") };
        assert_eq!(to_served, expected);
    }
}

#[test]
fn storage_is_waited_for_for_ever_and_then_everything_is_looked_at_again() {
    let mut machine = machine(RunMode::Rebuild, State::Switching);
    for attempt in 1..100 {
        let failed = Input::Failed(failure(FailureClass::Storage));
        let (waiting, effect) = step(machine, failed, &POLICY, "r").unwrap();
        assert!(matches!(effect, Some(Effect::Wait(after)) if after <= POLICY.max));
        assert_eq!(waiting.attempt, attempt);
        let (opening, effect) = step(waiting, Input::Waited, &POLICY, "r").unwrap();
        assert_eq!(effect, Some(Effect::Open(Projection::ContextGraph)));
        machine = opening;
    }
}

/// Of a batch of 100 events, the 38th makes every batch fail that it is in.
#[test]
fn a_batch_that_fails_as_a_whole_is_narrowed_to_its_event() {
    let (culprit, end) = (38, 100);
    let (mut machine, mut effect) =
        Machine::start(RunMode::Rebuild, false, vec![Projection::TraceSummary]);
    let mut at = 0;
    for _ in 0..30 {
        let input = match effect {
            Some(Effect::Open(_)) => Input::Opened { is_compared: false },
            Some(Effect::Apply { limit, .. }) => {
                let events = limit.unwrap_or(1_000).min(end - at);
                if at + events < culprit {
                    at += events;
                    Input::Applied { events, is_there: false }
                } else {
                    let failure = failure(FailureClass::Defect);
                    Input::Failed(Failure { suspects: events, ..failure })
                }
            }
            Some(Effect::End(Outcome::Failed(failure))) => {
                assert_eq!((failure.suspects, at), (1, culprit - 1));
                return;
            }
            other => panic!("{other:?} at {at}"),
        };
        (machine, effect) = step(machine, input, &POLICY, "r").unwrap();
    }
    panic!("not found: {machine:?}");
}
