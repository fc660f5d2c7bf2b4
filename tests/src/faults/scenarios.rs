//! The scenarios: what goes wrong, in which order, and for how long.

mod alone;
mod at_points;
mod daemons;
mod database;
mod disk;
mod embedded;
mod failover;
mod first_start;
mod machine;
mod network;
mod tamper;

use std::time::Duration;

use dg_store::failpoint::Point;

pub(super) use self::at_points::fault_at_point;
use super::Arena;
use super::place::Place;
use super::workload::Pace;

const ORDINARY: Pace = Pace { operator: 300, append: 150 };
/// Operators ask for something all the time.
const EAGER: Pace = Pace { operator: 60, append: 30 };
/// They leave most of it to the scenario.
const CALM: Pace = Pace { operator: 5_000, append: 30 };

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// One sentence about it.
    pub about: &'static str,
    /// Whether it is among those that are quick enough to be run each time.
    pub is_quick: bool,
    /// What it takes place in.
    pub(super) place: Place,
    /// Whether a round is short and can follow any other: one for a soak.
    is_short: bool,
    /// How many daemons there are.
    pub(super) daemons: usize,
    /// How busy clients are.
    pub(super) pace: Pace,
    /// The fail points that it goes by one after the other: none, for most.
    pub(super) goes_by: fn(Point) -> bool,
    /// Lets it go wrong, so many times over.
    pub(super) act: fn(&mut Arena, rounds: usize),
}

pub(super) const fn scenario(
    name: &'static str,
    about: &'static str,
    act: fn(&mut Arena, rounds: usize),
) -> Scenario {
    Scenario {
        name,
        about,
        is_quick: false,
        place: Place::Ordinary,
        is_short: true,
        daemons: 1,
        pace: ORDINARY,
        goes_by: |_| false,
        act,
    }
}

impl Scenario {
    /// Whether it goes by this fail point.
    pub fn goes_by(&self, point: Point) -> bool {
        (self.goes_by)(point)
    }
}

const fn quick(scenario: Scenario) -> Scenario {
    Scenario { is_quick: true, ..scenario }
}

const fn with_eager_operators(scenario: Scenario) -> Scenario {
    Scenario { pace: EAGER, is_short: false, ..scenario }
}

const fn with_calm_operators(scenario: Scenario) -> Scenario {
    Scenario { pace: CALM, is_short: false, ..scenario }
}

const fn with_two_daemons(scenario: Scenario) -> Scenario {
    Scenario { daemons: 2, ..scenario }
}

const fn at(place: Place, scenario: Scenario) -> Scenario {
    Scenario { place, ..scenario }
}

/// One that goes by these fail points. Runs are to come to their end meanwhile: the log grows slowly.
const fn sweep(goes_by: fn(Point) -> bool, scenario: Scenario) -> Scenario {
    let pace = Pace { operator: 80, append: 400 };
    Scenario { pace, goes_by, is_short: false, ..scenario }
}

/// What is not for a soak: it takes long, or makes databases of its own.
const fn apart(scenario: Scenario) -> Scenario {
    Scenario { is_short: false, ..scenario }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    quick(scenario("calm", "nothing goes wrong: what the others are held against", |arena, _| {
        arena.pass(Duration::from_secs(2));
    })),
    quick(sweep(
        at_points::is_of_life,
        scenario(
            "kill_at_points",
            "kill -9 at every fail point, at its first, its second and a random hit",
            at_points::kill,
        ),
    )),
    sweep(
        at_points::is_of_life,
        scenario(
            "panic_at_points",
            "whoever is at a fail point panics, at each in turn",
            at_points::panic,
        ),
    ),
    sweep(
        |point| at_points::is_of_life(point) && point.can_fail(),
        scenario(
            "error_at_points",
            "calls fail at each fail point in turn, before or after they were done",
            at_points::error,
        ),
    ),
    sweep(
        |point| at_points::is_of_life(point) && point.has_session(),
        scenario(
            "drop_at_points",
            "Postgres ends the session that is at work at a fail point, at each in turn",
            at_points::drop_session,
        ),
    ),
    sweep(
        at_points::is_of_life,
        scenario(
            "delay_at_points",
            "a fifth of a second goes by at each fail point in turn",
            at_points::delay,
        ),
    ),
    quick(scenario("kill_daemon", "kill -9 of the daemon at any moment", daemons::kill)),
    scenario("stop_daemon", "SIGTERM at any moment, and a start", daemons::stop),
    scenario("freeze_daemon", "the daemon is stopped in its tracks and goes on", daemons::freeze),
    with_two_daemons(scenario(
        "two_daemons",
        "two daemons at one database, each killed in turn",
        daemons::kill_in_turn,
    )),
    quick(with_two_daemons(scenario(
        "stale_daemon",
        "a daemon wakes up long after another took over",
        daemons::stale,
    ))),
    apart(scenario(
        "silence",
        "no look of the directory comes, and tenants fall silent after a few events",
        alone::silence,
    )),
    with_eager_operators(with_two_daemons(scenario(
        "many_runs",
        "operators ask for overlapping runs at a time, and admissions are slow",
        alone::many_runs,
    ))),
    with_calm_operators(with_two_daemons(scenario(
        "switches",
        "rebuilds beside another daemon, and every conversation takes 20 ms more",
        alone::switches,
    ))),
    with_calm_operators(scenario(
        "long_trouble",
        "a projection cannot be written for long, and the daemon dies meanwhile",
        alone::long_trouble,
    )),
    apart(with_two_daemons(scenario(
        "stale_generations",
        "a daemon wakes up after another has given readers new generations",
        daemons::stale_generations,
    ))),
    scenario("no_log", "the daemon logs to a full disk, and to nobody", daemons::no_log),
    scenario(
        "out_of_memory",
        "the kernel kills the daemon under large payloads",
        machine::out_of_memory,
    ),
    at(
        Place::Clocks,
        scenario(
            "daemon_clock",
            "the daemon's wall clock is set an hour and a day off, both ways",
            machine::set_own_clock,
        ),
    ),
    at(Place::Clocks, scenario("server_clock", "that of Postgres is", machine::set_server_clock)),
    scenario(
        "no_descriptors",
        "the daemon may open no more files for a while",
        daemons::no_descriptors,
    ),
    quick(scenario(
        "sessions_ended",
        "an administrator ends sessions of the daemon five times a second",
        database::end_sessions,
    )),
    quick(scenario(
        "database_killed",
        "kill -9 of every process of Postgres, which recovers from its log",
        database::kill,
    )),
    scenario("database_immediate", "an immediate shutdown of Postgres", database::stop_immediately),
    scenario("database_fast", "a fast shutdown of Postgres", database::stop_fast),
    scenario(
        "no_connections",
        "others take every connection of the server",
        database::no_connections,
    ),
    scenario(
        "locks_held",
        "others hold locks of heads, cursors and pointers",
        database::hold_locks,
    ),
    scenario(
        "short_timeouts",
        "statements, locks and idle transactions time out after milliseconds",
        database::short_timeouts,
    ),
    scenario(
        "deadlock",
        "others lock rows and tables crosswise: Postgres ends transactions of the daemon",
        database::deadlock,
    ),
    scenario("serializable", "transactions are serializable by default", database::serializable),
    scenario("revoked", "the daemon's role loses privileges for a while", database::revoke),
    scenario("refused", "pg_hba lets nobody in for a while", database::refuse),
    at(
        Place::SmallData,
        scenario("data_full", "the volume of the data is full", disk::no_room_for_data),
    ),
    at(
        Place::SmallWal,
        scenario(
            "wal_full",
            "the volume of the write-ahead log is full: Postgres panics",
            disk::no_room_for_wal,
        ),
    ),
    at(
        Place::TwoHosts,
        scenario(
            "lost_tail",
            "a failover to a replica that lacked the last commits",
            failover::lose_tail,
        ),
    ),
    with_calm_operators(scenario(
        "rows_tampered",
        "rows of projections are changed by hand",
        tamper::rows,
    )),
    with_calm_operators(scenario(
        "log_tampered",
        "events are changed and lost by hand",
        tamper::log,
    )),
    apart(scenario(
        "first_start_killed",
        "kill -9 at each step of the schema of an empty database",
        first_start::kill_at_steps,
    )),
    apart(scenario(
        "first_start_twice",
        "two daemons start at once on an empty database",
        first_start::two_at_once,
    )),
    at(
        Place::Embedded,
        scenario(
            "embedded_killed",
            "kill -9 of the postmaster of the embedded cluster",
            embedded::kill_postmaster,
        ),
    ),
    at(
        Place::Embedded,
        scenario(
            "embedded_orphan",
            "kill -9 of a daemon whose embedded cluster outlives it",
            embedded::orphan,
        ),
    ),
    scenario("read_only", "the database takes no writes for a while", database::read_only),
    quick(scenario(
        "lost_answers",
        "what was done is not answered: the connection ends before",
        network::lose_answers,
    )),
    scenario(
        "lost_requests",
        "what is asked never arrives: the connection ends",
        network::lose_requests,
    ),
    scenario("truncated", "answers break off in the middle", network::truncate),
    scenario("slow", "every piece of every conversation takes 20 ms more", network::slow),
    scenario(
        "no_answers",
        "requests arrive, answers do not, and no connection ends",
        network::swallow,
    ),
    scenario("silent", "nothing arrives either way, and no connection ends", network::silence),
    at(
        Place::Namespace,
        scenario(
            "packets_dropped",
            "the kernel drops packets either way and both, and the link is down",
            network::drop_packets,
        ),
    ),
];

/// Those of a soak: they leave the second daemon alone, and do not take long.
pub(super) fn for_soak() -> impl Iterator<Item = &'static Scenario> {
    let is_for_soak = |scenario: &&Scenario| {
        scenario.place == Place::Ordinary
            && scenario.is_short
            && !["calm", "two_daemons"].contains(&scenario.name)
    };
    SCENARIOS.iter().filter(is_for_soak).chain([&ANY_POINT])
}

/// Sweeps over all points take long; a soak comes by them one by one.
const ANY_POINT: Scenario = Scenario {
    goes_by: at_points::is_of_life,
    ..scenario("any_point", "anything at any fail point", at_points::any)
};
