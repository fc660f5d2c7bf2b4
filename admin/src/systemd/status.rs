//! The line of `systemctl status`: what an operator asks first. Pure.

use std::collections::BTreeMap;

use dg_projections::event::rfc3339;
use dg_runtime::worker::WorkerSnapshot;
use dg_runtime::{DatabaseState, Snapshot};

/// What there is to tell about.
#[derive(Debug)]
pub(super) enum Seen {
    /// There is no runtime yet: why.
    NotYet(String),
    /// The runtime, and how many runs are at work.
    Runtime(Snapshot, usize),
}

/// How a tenant is: as its worst worker. In the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Current,
    Paused,
    CatchingUp,
    Retrying,
    Failed,
    Parked,
}

impl State {
    fn of(worker: &WorkerSnapshot) -> State {
        match worker.status {
            "failed" => State::Failed,
            "retrying" => State::Retrying,
            "paused" => State::Paused,
            "idle" => State::Current,
            _ => State::CatchingUp,
        }
    }

    fn name(self) -> &'static str {
        match self {
            State::Current => "current",
            State::Paused => "paused",
            State::CatchingUp => "catching up",
            State::Retrying => "retrying",
            State::Failed => "failed",
            State::Parked => "parked",
        }
    }
}

/// How many tenants are in a state, and what the first of them says of its trouble.
#[derive(Debug, Default)]
struct Group<'a> {
    tenants: usize,
    code: Option<&'a str>,
}

/// "12 tenants current, 1 retrying: storage; 2 runs at work".
pub(super) fn text(seen: &Seen) -> String {
    let (snapshot, runs) = match seen {
        Seen::NotYet(reason) => return format!("waiting for the database: {reason}"),
        Seen::Runtime(snapshot, runs) => (snapshot, *runs),
    };
    if let DatabaseState::Down { since, reason, .. } = &snapshot.database {
        return format!("database away since {}: {reason}", rfc3339(*since));
    }
    let groups = groups(snapshot);
    let mut told: Vec<String> = Vec::new();
    for (state, Group { tenants, code }) in &groups {
        let noun = match (told.is_empty(), tenants) {
            (true, 1) => " tenant",
            (true, _) => " tenants",
            (false, _) => "",
        };
        let code = code.map_or(String::new(), |code| format!(": {code}"));
        told.push(format!("{tenants}{noun} {}{code}", state.name()));
    }
    let tenants = match told.is_empty() {
        true => "no tenant at work".to_owned(),
        false => told.join(", "),
    };
    match runs {
        0 => tenants,
        1 => format!("{tenants}; 1 run at work"),
        runs => format!("{tenants}; {runs} runs at work"),
    }
}

fn groups(snapshot: &Snapshot) -> BTreeMap<State, Group<'_>> {
    let mut tenants: BTreeMap<&str, (State, Option<&str>)> = BTreeMap::new();
    for (worker, _) in &snapshot.workers {
        let tenant = worker.key.tenant_id.as_str();
        let is_parked = snapshot.parked.contains_key(tenant);
        let state = if is_parked { State::Parked } else { State::of(worker) };
        let code = worker.last_error.as_ref().map(|error| error.code.as_str());
        let is_trouble = state >= State::Retrying;
        let worst = tenants.entry(tenant).or_insert((State::Current, None));
        if state > worst.0 {
            *worst = (state, code.filter(|_| is_trouble));
        }
    }
    let mut groups: BTreeMap<State, Group<'_>> = BTreeMap::new();
    for (state, code) in tenants.into_values() {
        let group = groups.entry(state).or_default();
        group.tenants += 1;
        group.code = group.code.or(code);
    }
    groups
}

#[cfg(test)]
mod tests {
    use dg_projections::Code;
    use dg_projections::projection::Projection;
    use dg_runtime::Parked;
    use dg_runtime::worker::{LastError, WorkerKey};
    use time::OffsetDateTime;

    use super::*;

    fn worker(tenant: &str, status: &'static str, code: Option<Code>) -> (WorkerSnapshot, u64) {
        let key = WorkerKey {
            tenant_id: tenant.to_owned(),
            projection: Projection::ContextGraph,
            partition: 0,
        };
        let last_error = code.map(|code| LastError {
            code,
            message: "why".to_owned(),
            log_seq: None,
            trace_id: None,
            event_id: None,
        });
        let worker = WorkerSnapshot {
            key,
            started_at: OffsetDateTime::UNIX_EPOCH,
            status,
            cursor: None,
            last_sync_at: None,
            sync_count: 0,
            retry_count: 0,
            next_retry_at: None,
            last_error,
            is_busy: false,
        };
        (worker, 0)
    }

    fn seen(workers: Vec<(WorkerSnapshot, u64)>, runs: usize) -> Seen {
        let started_at = OffsetDateTime::UNIX_EPOCH;
        let (database, parked) = (DatabaseState::Up, BTreeMap::new());
        Seen::Runtime(Snapshot { started_at, database, workers, parked, waiting: 0 }, runs)
    }

    #[test]
    fn a_tenant_is_as_its_worst_worker_and_trouble_says_why() {
        let storage = Some(Code::Storage);
        let table = [
            (vec![], 0, "no tenant at work"),
            (vec![worker("a", "idle", None)], 1, "1 tenant current; 1 run at work"),
            (
                vec![worker("a", "idle", storage), worker("b", "idle", None)],
                2,
                "2 tenants current; 2 runs at work",
            ),
            (
                vec![
                    worker("a", "idle", None),
                    worker("b", "idle", None),
                    worker("b", "retrying", storage),
                    worker("c", "idle", None),
                ],
                0,
                "2 tenants current, 1 retrying: storage",
            ),
            (
                vec![
                    worker("a", "failed", Some(Code::SchemaViolation)),
                    worker("a", "retrying", storage),
                    worker("b", "starting", None),
                    worker("c", "paused", None),
                ],
                0,
                "1 tenant paused, 1 catching up, 1 failed: schema_violation",
            ),
        ];
        for (workers, runs, expected) in table {
            assert_eq!(text(&seen(workers, runs)), expected);
        }
    }

    #[test]
    fn a_parked_tenant_counts_once_and_a_database_that_is_away_comes_first() {
        let mut sight = seen(vec![worker("a", "failed", Some(Code::Internal))], 0);
        let Seen::Runtime(snapshot, _) = &mut sight else { unreachable!() };
        let since = OffsetDateTime::UNIX_EPOCH;
        let parked = Parked { since, reason: "x".to_owned(), worker: None, next_attempt_at: since };
        snapshot.parked.insert("a".to_owned(), parked);
        assert_eq!(text(&sight), "1 tenant parked: internal");
        let Seen::Runtime(snapshot, _) = &mut sight else { unreachable!() };
        snapshot.database = DatabaseState::Down { since, reason: "refused".to_owned(), probes: 3 };
        let expected = format!("database away since {}: refused", rfc3339(since));
        assert_eq!(text(&sight), expected);
        let waiting = Seen::NotYet("refused".to_owned());
        assert_eq!(text(&waiting), "waiting for the database: refused");
    }
}
