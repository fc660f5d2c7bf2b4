//! Random lives of a worker in a small world: a log that grows, a database that fails before and
//! after it commits, another daemon, crashes, events that cannot be applied, an operator, runs that want it out of their way, and tenants that
//! wait for the place of its own.

use dg_projections::Code;
use proptest::prelude::*;

use super::*;
use crate::worker::policy::FailureClass;

const POLICY: RetryPolicy =
    RetryPolicy { base: Duration::from_millis(250), max: Duration::from_secs(30), max_retries: 3 };
const PAGE: i64 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Good,
    /// The projection refuses it: what comes before it is applied.
    Poison,
    /// Every batch that it is in fails as a whole.
    Cursed,
}

/// What a world does next.
#[derive(Debug, Clone, Copy)]
enum Act {
    Append(Event),
    /// The effect in flight ends as it should.
    End,
    /// The database fails it, before or after it had committed.
    Fail {
        committed: bool,
    },
    /// The process dies, before or after the effect in flight had committed.
    Crash {
        committed: bool,
    },
    /// Another daemon applies so many events.
    Other(i64),
    Wake,
    Timer,
    Retry,
    Mend,
    Pause,
    Unpause,
    Yield,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => prop_oneof![8 => Just(Event::Good), 1 => Just(Event::Poison), 1 => Just(Event::Cursed)]
            .prop_map(Act::Append),
        12 => Just(Act::End),
        2 => any::<bool>().prop_map(|committed| Act::Fail { committed }),
        1 => any::<bool>().prop_map(|committed| Act::Crash { committed }),
        1 => (1..4_i64).prop_map(Act::Other),
        2 => Just(Act::Wake),
        2 => Just(Act::Timer),
        1 => Just(Act::Retry),
        1 => Just(Act::Mend),
        1 => Just(Act::Pause),
        1 => Just(Act::Unpause),
        1 => Just(Act::Yield),
    ]
}

#[derive(Debug)]
struct World {
    log: Vec<Event>,
    /// How often each event was applied.
    applied: Vec<u32>,
    cursor: i64,
    /// What is written down: retries, and whether an operator is waited for.
    letter: Option<(u32, bool)>,
    machine: Machine,
    /// The effect, and how long the log was when it began: what comes later it does not see.
    in_flight: Option<(Effect, usize)>,
    timer: Option<TimerId>,
    /// Retries that may be counted: those read, and one a failure since.
    countable: u32,
    /// Whether another daemon has moved the cursor.
    shared: bool,
    /// Whether a run holds a pause.
    paused: bool,
    /// Whether it was asked to rest before the tail.
    yielded: bool,
}

impl World {
    fn new() -> World {
        let (machine, effects) = Machine::start();
        let mut world = World {
            log: Vec::new(),
            applied: Vec::new(),
            cursor: 0,
            letter: None,
            machine,
            in_flight: None,
            timer: None,
            countable: 0,
            shared: false,
            paused: false,
            yielded: false,
        };
        world.perform(effects);
        world
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::StartTimer { id, after } => {
                    assert!(after <= POLICY.max && after >= POLICY.base / 2);
                    self.timer = Some(id);
                }
                call => {
                    let begun = self.in_flight.replace((call, self.log.len()));
                    assert!(begun.is_none(), "one effect at a time");
                }
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.countable = match &input {
            Input::CursorLoaded { retries, .. } => self.countable.max(*retries),
            Input::Failed(_) => self.countable + 1,
            Input::Applied { .. } => 0,
            _ => self.countable,
        };
        let (machine, effects) =
            step(self.machine.clone(), input, &POLICY, "w").expect("a shell's input is legal");
        self.machine = machine;
        self.perform(effects);
        self.check();
    }

    fn at(&self) -> Cursor {
        Cursor::whole(1, self.cursor, self.cursor)
    }

    /// Applies the events after the cursor up to a number, as one transaction.
    fn commit(&mut self, to: i64) {
        assert!(to >= self.cursor);
        for at in self.cursor..to {
            self.applied[at as usize] += 1;
        }
        if to > self.cursor {
            self.letter = None;
        }
        self.cursor = to;
    }

    /// What the effect in flight comes to if nothing is in its way; `false`: nothing is written.
    fn outcome(&mut self, (effect, seen): (Effect, usize), commits: bool) -> Input {
        match effect {
            Effect::LoadCursor => {
                let retries = self.letter.filter(|(_, waits)| !waits).map_or(0, |(count, _)| count);
                Input::CursorLoaded { cursor: self.at(), retries }
            }
            Effect::ApplyPage { from, limit } => {
                self.page(from, limit.unwrap_or(PAGE), seen, commits)
            }
            Effect::Record { failure, retries } => {
                let waits = failure.class != FailureClass::Storage;
                if commits && (waits || self.letter.is_none_or(|(_, waits)| !waits)) {
                    self.letter = Some((retries, waits));
                }
                Input::Recorded
            }
            Effect::StartTimer { .. } => unreachable!("timers are not in flight"),
        }
    }

    fn page(&mut self, from: Cursor, limit: i64, seen: usize, commits: bool) -> Input {
        let first = from.last_log_seq as usize;
        let log = &self.log[..seen];
        let page: Vec<Event> = log.iter().skip(first).take(limit as usize).copied().collect();
        let good = page.iter().take_while(|event| **event != Event::Poison).count();
        let event = |at: usize| Some((first as i64 + at as i64 + 1, String::new(), String::new()));
        let failure = Failure { class: FailureClass::Defect, ..failed(FailureClass::Defect) };
        if page[..good].contains(&Event::Cursed) {
            return Input::Failed(match good {
                1 => Failure { event: event(0), ..failure },
                _ => Failure { suspects: good as i64, ..failure },
            });
        }
        if good == 0 && !page.is_empty() {
            return Input::Failed(Failure { event: event(0), ..failed(FailureClass::Poison) });
        }
        if from.last_log_seq != self.cursor {
            return Input::Superseded;
        }
        if commits {
            self.commit(from.last_log_seq + good as i64);
        }
        let at_tail = good == page.len() && (page.len() as i64) < limit;
        Input::Applied { to: self.at(), at_tail }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Append(event) => {
                self.log.push(event);
                self.applied.push(0);
                self.input(Input::Woken);
            }
            Act::End => {
                if let Some(effect) = self.in_flight.take() {
                    let input = self.outcome(effect, true);
                    self.input(input);
                }
            }
            Act::Fail { committed } => {
                if let Some(effect) = self.in_flight.take() {
                    self.outcome(effect, committed);
                    self.input(Input::Failed(failed(FailureClass::Storage)));
                }
            }
            Act::Crash { committed } => {
                if let Some(effect) = self.in_flight.take() {
                    self.outcome(effect, committed);
                }
                let (machine, effects) = match self.paused {
                    true => (Machine::start_paused("run".to_owned()), Vec::new()),
                    false => Machine::start(),
                };
                (self.machine, self.timer, self.countable) = (machine, None, 0);
                self.perform(effects);
            }
            Act::Other(events) => {
                let to = (self.cursor + events).min(self.log.len() as i64);
                let bad = |event: &&Event| **event != Event::Good;
                if !self.log[self.cursor as usize..to as usize].iter().any(|one| bad(&one)) {
                    self.commit(to);
                    self.shared = true;
                }
            }
            Act::Wake => self.input(Input::Woken),
            Act::Timer => {
                if let Some(timer) = self.timer.take() {
                    self.input(Input::TimerFired(timer));
                }
            }
            Act::Retry => self.input(Input::RetryRequested),
            Act::Pause => {
                self.paused = true;
                self.input(Input::Pause("run".to_owned()));
            }
            Act::Unpause => {
                self.paused = false;
                self.input(Input::Unpause("run".to_owned()));
            }
            Act::Yield => {
                self.yielded = true;
                self.input(Input::Yield);
            }
            Act::Mend => self.log.iter_mut().for_each(|event| *event = Event::Good),
        }
    }

    /// Until nothing comes of it any more.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.act(Act::End);
            self.act(Act::Timer);
        }
    }

    /// The directory finds who rests before the tail; nobody else does.
    fn found_behind(&mut self) {
        let is_idle = matches!(self.machine.state, State::Idle { .. });
        if is_idle && self.yielded && self.cursor < self.log.len() as i64 {
            self.act(Act::Wake);
            self.settle();
        }
    }

    fn check(&self) {
        for (at, count) in (1_i64..).zip(&self.applied) {
            assert_eq!(*count, u32::from(at <= self.cursor), "event {at}: {self:?}");
        }
        assert!(self.machine.attempt <= self.countable, "{self:?}");
        let is_paused = matches!(self.machine.state, State::Paused { .. });
        assert!(!is_paused || (self.paused && self.in_flight.is_none()), "{self:?}");
        let will_pause = is_paused || self.machine.pause.is_some();
        assert_eq!(self.paused, will_pause, "{self:?}");
        if let State::Failed { failure } = &self.machine.state {
            let (log_seq, ..) = failure.event.as_ref().expect("a dead letter names its event");
            assert!((1..=self.log.len() as i64).contains(log_seq), "{self:?}");
        }
    }
}

fn failed(class: FailureClass) -> Failure {
    let code = if class == FailureClass::Storage { Code::Storage } else { Code::Internal };
    Failure { class, code, message: String::new(), event: None, suspects: 0 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_life_skips_or_repeats_an_event_and_every_one_ends_at_the_tail(
        acts in prop::collection::vec(act(), 1..120)
    ) {
        let mut world = World::new();
        for act in acts {
            let before = world.cursor;
            world.act(act);
            prop_assert!(world.cursor >= before);
        }
        world.act(Act::Unpause);
        // Without mending, what stops it is named, and stands right after the cursor.
        world.settle();
        world.found_behind();
        match &world.machine.state {
            State::Failed { failure } => {
                let named = failure.event.as_ref().map(|(log_seq, ..)| *log_seq);
                // Where another daemon has gone on, an operator's retry is what it waits for.
                prop_assert!(named <= Some(world.cursor + 1));
                prop_assert!(named == Some(world.cursor + 1) || world.shared);
            }
            State::Idle { .. } => {}
            other => prop_assert!(false, "{:?}", other),
        }
        world.act(Act::Mend);
        world.act(Act::Retry);
        world.settle();
        world.found_behind();
        prop_assert_eq!(world.cursor, world.log.len() as i64);
        let is_idle = matches!(world.machine.state, State::Idle { .. });
        prop_assert!(is_idle, "{:?}", world.machine.state);
    }
}
