//! What must be after every scenario, whatever went wrong in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use dg_projections::json::Json;
use dg_store::{RunFilter, RunStatus, Store, Verdict};

use super::history::Told;
use super::workload::{CURSED, TENANTS};
use super::{Arena, digests};
use crate::log::ALL;
use crate::{Daemon, Sql};

/// A daemon that was through a lot has no more than this when it is at rest again.
const MOST_DESCRIPTORS: u64 = 120;
const MOST_THREADS: u64 = 64;
const MOST_MEMORY_KB: u64 = 400 * 1024;
/// Sessions of a daemon: its pool, and that of the owner of the schema.
const MOST_SESSIONS: usize = 12;

/// One run after the other goes through a log that has grown for an hour.
const RUNS_TIME: Duration = Duration::from_secs(300);

/// What the checker counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Acknowledged events that are not in the log, or under another number.
    pub(super) lost: usize,
    /// Events that are in the log more than once.
    pub(super) doubled: usize,
    /// Events in the log.
    pub(super) events: usize,
}

/// Looks at everything; what is wrong goes to the history.
pub(super) fn check(arena: &mut Arena) -> Counted {
    settle_runs(arena);
    until_current(arena);
    let sql = arena.sql();
    let counted = check_log(arena, &sql);
    check_proofs(arena);
    digests::check(arena);
    check_counts(arena, &sql);
    check_retry(arena, &sql);
    check_failures(arena, &sql);
    check_runs(arena);
    check_sessions(arena, &sql);
    for daemon in &arena.daemons {
        check_process(arena, daemon);
    }
    counted
}

/// Runs end by themselves. Of those that were interrupted or have crashed, which only a defect or a fail
/// point does, the operator lets the newest at each projection go on and cancels the others; one that
/// has crashed cannot be cancelled any more.
fn settle_runs(arena: &Arena) {
    let sql = arena.sql();
    arena.expect_within(RUNS_TIME, "every run has ended", |arena| {
        let open = sql.rows(
            "SELECT tenant_id, run_id, status, row_number() OVER
                (PARTITION BY tenant_id, projection_name, status ORDER BY requested_at DESC)
             FROM dg_projection_runs WHERE status IN ('queued', 'running', 'interrupted')
                OR status = 'failed' AND error_message LIKE '%fail point%'",
        );
        for run in &open {
            if let [Some(tenant), Some(id), Some(status), Some(place)] = run.as_slice()
                && (status == "interrupted" || status == "failed")
            {
                // A resumption is refused while an overlapping run is at work: asked again.
                let goes_on = place == "1" || status == "failed";
                let act = if goes_on { "resume" } else { "cancel" };
                let _ = arena.daemons[0].cli(&[act, id, "-t", tenant]);
            }
        }
        open.is_empty()
    });
}

fn until_current(arena: &Arena) {
    for tenant in TENANTS {
        arena.expect(&format!("every projection of {tenant} is current"), |arena| {
            let health = arena.daemons[0].cli(&["health", "-t", tenant, "-o", "json"]);
            health.code == 0 && health.json().get("is_stale").and_then(Json::as_bool) == Some(false)
        });
    }
}

/// What is in the log against what clients know of it.
fn check_log(arena: &Arena, sql: &Sql) -> Counted {
    let rows = sql.rows(&format!(
        "SELECT tenant_id, event_id, log_seq, trace_id, trace_seq, payload_json
         FROM dg_event_log WHERE tenant_id IN ('{}') ORDER BY tenant_id, log_seq",
        TENANTS.join("', '")
    ));
    let rows: Vec<LogRow> = rows.into_iter().map(LogRow::from).collect();
    let (counted, wrong) = compare_log(&arena.told(), &rows);
    wrong.into_iter().for_each(|what| arena.wrong(what));
    counted
}

/// A row of the log.
#[derive(Debug)]
struct LogRow {
    name: (String, String),
    log_seq: i64,
    trace_id: String,
    trace_seq: i64,
    payload: String,
}

impl From<Vec<Option<String>>> for LogRow {
    fn from(row: Vec<Option<String>>) -> LogRow {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || row.next().unwrap_or_default();
        let name = (next(), next());
        let log_seq = next().parse().unwrap_or(-1);
        let trace_id = next();
        LogRow { name, log_seq, trace_id, trace_seq: next().parse().unwrap_or(-1), payload: next() }
    }
}

/// Every acknowledged event exactly once, under its number; nothing that nobody sent; numbers and
/// traces without gaps; each client's events in its order.
fn compare_log(told: &Told, rows: &[LogRow]) -> (Counted, Vec<String>) {
    let (mut counted, mut wrong) =
        (Counted { events: rows.len(), ..Counted::default() }, Vec::new());
    let mut ends: BTreeMap<&str, i64> = BTreeMap::new();
    let mut traces: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let mut found: BTreeMap<&(String, String), i64> = BTreeMap::new();
    for row in rows {
        let tenant = row.name.0.as_str();
        let end = ends.entry(tenant).or_default();
        *end += 1;
        if row.log_seq != *end {
            wrong.push(format!("{tenant}: number {} stands where {end} should", row.log_seq));
        }
        let next = traces.entry((tenant, &row.trace_id)).or_default();
        if row.trace_seq != *next {
            let (trace, seq) = (&row.trace_id, row.trace_seq);
            wrong.push(format!("{tenant}/{trace}: {seq} stands where {next} should"));
        }
        *next += 1;
        if found.insert(&row.name, row.log_seq).is_some() {
            counted.doubled += 1;
            wrong.push(format!("{:?} is in the log twice", row.name));
        }
        match told.events.get(&row.name) {
            None => wrong.push(format!("{:?} is in the log and nobody sent it", row.name)),
            Some(sent) if *sent.line.event.payload != *row.payload => {
                wrong.push(format!("{:?} has another payload than was sent", row.name));
            }
            Some(_) => {}
        }
    }
    for (name, sent) in &told.events {
        let Some(log_seq) = sent.acknowledged else { continue };
        if found.get(name) != Some(&log_seq) {
            counted.lost += 1;
            wrong.push(format!("{name:?} was acknowledged as {log_seq}: {:?}", found.get(name)));
        }
    }
    for (client, order) in &told.orders {
        if !order.is_sorted_by(|one, next| one < next) {
            wrong.push(format!("{client:?}: acknowledged in another order than sent: {order:?}"));
        }
    }
    (counted, wrong)
}

/// Rows and digests are those of the model that projects the log once more.
fn check_proofs(arena: &Arena) {
    let (runtime, store) = arena.store();
    for tenant in TENANTS {
        match runtime.block_on(store.verify(tenant, &|_, _| ())) {
            Ok(Verdict::Proven(_)) => {}
            Ok(Verdict::Different(difference)) => arena.wrong(format!("{tenant}: {difference}")),
            Err(error) => arena.wrong(format!("{tenant} cannot be verified: {error}")),
        }
    }
}

/// What was applied is what is in the log.
fn check_counts(arena: &Arena, sql: &Sql) {
    let wrong = sql.rows(&format!(
        "SELECT concat_ws(' ', h.tenant_id, p.projection_name, 'applied', sum(c.applied_events),
            'at', min(c.last_log_seq), 'of', h.event_count, 'counted', l.count)
         FROM dg_tenant_heads AS h JOIN dg_projections AS p USING (tenant_id)
         JOIN dg_projection_cursors AS c ON c.tenant_id = p.tenant_id
            AND c.projection_name = p.projection_name AND c.generation = p.active_generation
         JOIN (SELECT tenant_id, count(*) FROM dg_event_log GROUP BY tenant_id) AS l
            ON l.tenant_id = h.tenant_id
         WHERE h.tenant_id <> '{CURSED}'
         GROUP BY h.tenant_id, h.event_count, h.last_log_seq, p.projection_name, l.count
         HAVING sum(c.applied_events) <> h.event_count OR l.count <> h.event_count
            OR min(c.last_log_seq) <> h.last_log_seq"
    ));
    wrong.into_iter().flatten().flatten().for_each(|what| arena.wrong(what));
}

/// Whoever has the poison tried again is heard: it fails once more, and that is counted.
fn check_retry(arena: &Arena, sql: &Sql) {
    let retries = || {
        let count = format!(
            "SELECT retry_count FROM dg_projection_failures WHERE status = 'open'
                AND tenant_id = '{CURSED}' AND projection_name = 'trace_summary'"
        );
        let row = sql.rows(&count).into_iter().flatten().flatten().next();
        row.and_then(|count| count.parse::<i64>().ok())
    };
    let before = retries();
    let asked = arena.daemons[0].cli(&["retry", "trace_summary", "-t", CURSED]);
    if asked.code != 0 {
        arena.wrong(format!("the poison cannot be tried again: {asked:?}"));
    }
    arena.expect("a retry of the poison is counted", |_| retries() > before);
}

/// Open dead letters are those of the one event that is poison, once for each projection that it is
/// poison to.
fn check_failures(arena: &Arena, sql: &Sql) {
    let open = sql.rows(
        "SELECT concat_ws(' ', tenant_id, projection_name, log_seq, error_code)
         FROM dg_projection_failures WHERE status = 'open' ORDER BY 1",
    );
    let open: Vec<String> = open.into_iter().flatten().flatten().collect();
    let expected = |projection: &str| format!("{CURSED} {projection} 1 schema_violation");
    let known: BTreeSet<String> = ALL.into_iter().map(expected).collect();
    for failure in &open {
        if !known.contains(failure) {
            arena.wrong(format!("an open failure without cause: {failure}"));
        }
    }
    if !open.contains(&expected("trace_summary")) {
        arena.wrong(format!("the poison is not among the open failures: {open:?}"));
    }
    if open.iter().collect::<BTreeSet<_>>().len() < open.len() {
        arena.wrong(format!("a failure is open twice: {open:?}"));
    }
}

/// Every run that was admitted is there and has ended well, or was cancelled; none found a difference.
fn check_runs(arena: &Arena) {
    let (runtime, store) = arena.store();
    let filter = RunFilter { tenant: None, statuses: &[], limit: 100_000 };
    let Ok(runs) = runtime.block_on(list(&store, filter)) else {
        return arena.wrong("runs cannot be listed");
    };
    let there: BTreeSet<&str> = runs.iter().map(|(id, ..)| id.as_str()).collect();
    for run in &arena.told().runs.clone() {
        if !there.contains(run.as_str()) {
            arena.wrong(format!("run {run} was admitted and is not there"));
        }
    }
    for (id, status, error, is_equal) in &runs {
        match status {
            RunStatus::Completed | RunStatus::Cancelled => {}
            _ => arena.wrong(format!("run {id} is {}: {error:?}", status.as_str())),
        }
        if *is_equal == Some(false) {
            arena.wrong(format!("run {id} has found a difference"));
        }
    }
}

type RunSeen = (String, RunStatus, Option<String>, Option<bool>);

async fn list(store: &Store, filter: RunFilter<'_>) -> Result<Vec<RunSeen>, dg_store::StoreError> {
    let runs = store.runs(filter).await?;
    let seen = |run: &dg_store::Run| {
        (run.key.run_id.clone(), run.status, run.error_message.clone(), run.is_equal())
    };
    // What was done to other tenants is for those who did it.
    let ours = runs.iter().filter(|run| TENANTS.contains(&run.key.tenant_id.as_str()));
    Ok(ours.map(seen).collect())
}

const SESSIONS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE starts_with(application_name, 'decisiongraph')";

fn check_sessions(arena: &Arena, sql: &Sql) {
    let most = MOST_SESSIONS * arena.daemons.len();
    let sessions: usize = sql.one(SESSIONS).parse().unwrap_or(usize::MAX);
    if sessions > most {
        arena.wrong(format!("{sessions} sessions are open, of {most} at most"));
    }
}

/// What a process uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) memory_kb: u64,
    pub(super) threads: u64,
    pub(super) descriptors: u64,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage { memory_kb, threads, descriptors } = self;
        write!(f, "{memory_kb} kB, {threads} threads, {descriptors} descriptors")
    }
}

/// What a daemon uses now.
pub(super) fn usage(daemon: &Daemon) -> Usage {
    let process = format!("/proc/{}", daemon.pid());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
    let of_status = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or(u64::MAX)
    };
    let descriptors = std::fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count) as u64;
    Usage { memory_kb: of_status("VmRSS:"), threads: of_status("Threads:"), descriptors }
}

/// Memory, descriptors and threads are back to what they should be.
fn check_process(arena: &Arena, daemon: &Daemon) {
    let Usage { memory_kb, threads, descriptors } = usage(daemon);
    for (what, found, most) in [
        ("kB of memory", memory_kb, MOST_MEMORY_KB),
        ("threads", threads, MOST_THREADS),
        ("descriptors", descriptors, MOST_DESCRIPTORS),
    ] {
        if found > most {
            arena.wrong(format!("a daemon has {found} {what}, of {most} at most"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events;
    use crate::faults::history::Sent;
    use crate::log::parsed;

    fn told(acknowledged: [Option<i64>; 2]) -> Told {
        let lines = parsed("a", &[events::started("t"), events::observed("t", 1)]);
        let sent = lines.into_iter().zip(acknowledged).map(|(line, acknowledged)| {
            (("a".to_owned(), line.event.event_id.clone()), Sent { line, acknowledged })
        });
        Told { events: sent.collect(), ..Told::default() }
    }

    fn rows(told: &Told, numbers: &[i64]) -> Vec<LogRow> {
        let rows = told.events.iter().zip(numbers).map(|((name, sent), log_seq)| LogRow {
            name: name.clone(),
            log_seq: *log_seq,
            trace_id: sent.line.event.trace_id.clone(),
            trace_seq: sent.line.event.trace_seq,
            payload: sent.line.event.payload.to_string(),
        });
        rows.collect()
    }

    #[test]
    fn a_log_that_has_what_was_acknowledged_is_right() {
        for (acknowledged, numbers) in
            [([Some(1), Some(2)], &[1, 2][..]), ([Some(1), None], &[1]), ([Some(1), None], &[1, 2])]
        {
            let told = told(acknowledged);
            let (counted, wrong) = compare_log(&told, &rows(&told, numbers));
            assert_eq!((counted.lost, counted.doubled, wrong), (0, 0, vec![]));
        }
    }

    #[test]
    fn each_thing_that_can_be_wrong_with_a_log_is_seen() {
        let told_all = told([Some(1), Some(2)]);
        let right = || rows(&told_all, &[1, 2]);
        let wrong_with = |told: &Told, rows: &[LogRow]| compare_log(told, rows).1.join("; ");
        assert!(wrong_with(&told_all, &right()[..1]).contains("was acknowledged as 2: None"));
        assert!(wrong_with(&told_all, &rows(&told_all, &[1, 3])).contains("3 stands where 2"));
        let mut twice = right();
        twice.push(LogRow {
            name: twice[1].name.clone(),
            payload: twice[1].payload.clone(),
            log_seq: 3,
            trace_id: "t".into(),
            trace_seq: 2,
        });
        assert!(wrong_with(&told_all, &twice).contains("twice"));
        let mut changed = right();
        changed[0].payload = "{}".to_owned();
        assert!(wrong_with(&told_all, &changed).contains("another payload"));
        let mut strange = right();
        strange[1].name.1 = "nobody's".to_owned();
        assert!(wrong_with(&told_all, &strange).contains("nobody sent it"));
        let mut disordered = told([Some(1), Some(2)]);
        disordered.orders.insert(("p".into(), "a".into()), vec![2, 1]);
        assert!(wrong_with(&disordered, &right()).contains("another order"));
    }
}
