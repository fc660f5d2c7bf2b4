//! What the figures mean: whether a line holds, and what to do if it does not.

use dg_projections::json::Json;
use dg_store::{
    Archive, Identity, MigrationStatus, Missing, OpenRuns, Standings, StoreError, Waiting,
};

use super::line::{Figure, Line};
use crate::commands::doctor::database::Closed;
use crate::commands::doctor::verdict::database::put_back;
use crate::failure::Failure;
use crate::output::{duration, field, shell_word};

/// A line whose question was answered with an error.
pub(super) fn unanswered(check: &'static str, error: &StoreError) -> Line {
    let help = "see the log of the server; `decisiongraph doctor` looks closer at it";
    Line::ok(check, Vec::new()).fails(error.message.clone(), help, "storage")
}

/// The line of an answer.
fn judged<T>(
    check: &'static str,
    asked: Result<T, StoreError>,
    judge: impl FnOnce(T) -> Line,
) -> Line {
    asked.map_or_else(|error| unanswered(check, &error), judge)
}

/// A few of many: `a x, b x and 7 more`.
pub(super) fn some_of(examples: &[(String, String)], count: i64) -> String {
    let shown: Vec<String> =
        examples.iter().map(|(tenant, what)| format!("tenant {tenant}: {what}")).collect();
    match count - shown.len() as i64 {
        ..=0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

pub(super) fn no_way(closed: Closed) -> Line {
    let failure = match closed {
        Closed::Cluster(error) => Failure::from(error),
        Closed::Other(failure) => failure,
    };
    let help = failure.help.unwrap_or_else(|| "set database_url right".to_owned());
    Line::ok("database", Vec::new()).fails(failure.message, help, "store-down")
}

pub(super) fn no_database() -> Line {
    let help =
        "`decisiongraph serve` makes it; or give --database-url or --data-dir of the one meant";
    Line::ok("database", Vec::new()).fails("there is none yet", help, "store-down")
}

pub(super) fn away(error: &StoreError, daemon_has_it: bool) -> Line {
    let help = match daemon_has_it {
        true => {
            "the daemon says that it has it: ask as the daemon's user, or root; if its workers retry, too, its role is refused"
        }
        false => "see that Postgres runs and that database_url is right: `decisiongraph doctor`",
    };
    let page = if daemon_has_it { "store-errors" } else { "store-down" };
    Line::ok("database", Vec::new()).fails(error.message.clone(), help, page)
}

pub(super) fn database(asked: Result<Identity, StoreError>) -> Line {
    judged("database", asked, |it| {
        let evidence = vec![
            ("name", it.database.as_str().into()),
            ("postgres", it.server_version.as_str().into()),
            ("system_identifier", Json::from(it.system_identifier.clone())),
            ("timeline", it.timeline.map_or(Json::Null, |it| i64::from(it).into())),
            ("standby", it.is_standby.into()),
            ("read_only", it.is_read_only.into()),
        ];
        let line = Line::ok("database", evidence);
        match it.is_standby || it.is_read_only {
            true => line.fails(
                "it takes no writes",
                "name the primary in database_url, or promote this one: `SELECT pg_promote()`; if default_transaction_read_only is on, turn it off",
                "lost-commits",
            ),
            false => line,
        }
    })
}

pub(super) fn schema(
    asked: Result<MigrationStatus, StoreError>,
    missing: Result<Vec<Missing>, StoreError>,
) -> Line {
    let asked = asked.and_then(|status| Ok((status, missing?)));
    judged("schema", asked, |(status, missing)| {
        let (pending, drift) = (status.pending.len() as i64, status.drift.len() as i64);
        let evidence = vec![
            ("version", i64::from(status.version()).into()),
            ("pending", pending.into()),
            ("drift", drift.into()),
        ];
        let mut line = Line::ok("schema", evidence);
        if let (Some(first), Some(help)) = (missing.first(), put_back(&missing)) {
            line.evidence.push(("missing", (missing.len() as i64).into()));
            return line.fails(first.to_string(), help, "failed-upgrade");
        }
        if let Some(drift) = status.drift.first() {
            let help = "`decisiongraph migrate status` shows it; run the release that made it, or a later one";
            return line.fails(drift.to_string(), help, "failed-upgrade");
        }
        match pending {
            0 => line,
            _ => line.fails(
                "steps of this release are not applied",
                "`decisiongraph migrate` applies them, and so does the start of the daemon",
                "failed-upgrade",
            ),
        }
    })
}

pub(super) fn projections(asked: Result<Standings, StoreError>) -> Line {
    judged("projections", asked, |it| {
        let evidence = vec![
            ("tenants", it.tenants.into()),
            ("events", it.events.into()),
            ("projections", it.projections.into()),
            ("behind", it.behind.into()),
            ("beyond", it.beyond.into()),
            ("miscounted", it.miscounted.into()),
        ];
        let line = Line::ok("projections", evidence);
        let Some((tenant, _)) = it.examples.first() else { return line };
        let tenant = shell_word(tenant);
        let found = some_of(&it.examples, it.examples.len() as i64);
        let rebuild = format!("`decisiongraph rebuild all -t {tenant} --reason TEXT --wait`");
        if it.beyond > 0 {
            let help = format!("send again what the database has lost; then {rebuild}");
            return line.fails(found, help, "lost-commits");
        }
        if it.behind == 0 {
            let help = format!(
                "`decisiongraph verify -t {tenant}` names what is not there; then {rebuild}"
            );
            return line.fails(found, help, "projection-count-mismatch");
        }
        let help = format!(
            "wait, and ask again; if it does not move, `decisiongraph workers -t {tenant}` shows what keeps it"
        );
        line.fails(found, help, "projection-lagging")
    })
}

pub(super) fn failures(asked: Result<Waiting, StoreError>) -> Line {
    judged("failures", asked, |it| {
        let line = Line::ok("failures", vec![("open", it.count.into())]);
        let Some((tenant, projection)) = it.examples.first() else { return line };
        let tenant = shell_word(tenant);
        let help = format!(
            "`decisiongraph failures -t {tenant}` names the event; when it is mended, `decisiongraph retry {projection} -t {tenant}`"
        );
        line.fails(some_of(&it.examples, it.count), help, "projection-failed")
    })
}

/// By state, as `status` counts them; the first that is in trouble, if it is known.
pub(super) fn workers(by_state: &[(String, i64)], first: Option<(String, String)>) -> Line {
    let of = |state: &str| by_state.iter().find(|(name, _)| name == state).map_or(0, |it| it.1);
    let all: i64 = by_state.iter().map(|(_, count)| count).sum();
    let evidence = vec![
        ("at_work", all.into()),
        ("retrying", of("retrying").into()),
        ("failed", of("failed").into()),
        ("paused", of("paused").into()),
    ];
    let line = Line::ok("workers", evidence);
    let bad = of("retrying") + of("failed");
    if bad == 0 {
        return line;
    }
    let (found, help) = match first {
        Some((tenant, projection)) => {
            let word = shell_word(&tenant);
            let help = format!(
                "`decisiongraph workers -t {word}` shows why; `decisiongraph retry {projection} -t {word}` lets it try again now"
            );
            (some_of(&[(tenant, projection)], bad), help)
        }
        None => (
            format!("{bad} in trouble"),
            "`decisiongraph workers --all-tenants --state failed` (or retrying) shows which"
                .to_owned(),
        ),
    };
    let page = if of("failed") > 0 { "projection-failed" } else { "workers-retrying" };
    line.fails(found, help, page)
}

pub(super) fn parked(status: Option<&Json>) -> Line {
    let Some(parked) = status.and_then(|it| it.get("parked")?.as_array()) else {
        return Line::unknown("parked", Vec::new(), "no daemon was asked", START);
    };
    let line = Line::ok("parked", vec![("tenants", (parked.len() as i64).into())]);
    let Some(first) = parked.first() else { return line };
    let named = |one: &Json| (field(one, "tenant_id"), field(one, "reason"));
    let examples: Vec<_> = parked.iter().take(3).map(named).collect();
    let tenant = field(first, "tenant_id");
    let help = format!(
        "the daemon's log has the crash; `decisiongraph retry PROJECTION -t {}` starts it again",
        shell_word(&tenant)
    );
    line.fails(some_of(&examples, parked.len() as i64), help, "tenant-parked")
}

pub(super) const START: &str =
    "start it: `systemctl start decisiongraph`, or `decisiongraph serve`";

pub(super) fn runs(asked: Result<OpenRuns, StoreError>) -> Line {
    judged("runs", asked, |it| {
        let evidence = vec![
            ("active", it.active.into()),
            ("interrupted", it.interrupted.count.into()),
            ("stalled", it.stalled.count.into()),
        ];
        let line = Line::ok("runs", evidence);
        if let Some((_, run)) = it.interrupted.examples.first() {
            let help = format!(
                "`decisiongraph resume {run}` lets it go on, `decisiongraph cancel {run}` drops what it built"
            );
            let found = some_of(&it.interrupted.examples, it.interrupted.count);
            return line.fails(found, help, "run-interrupted");
        }
        let Some((_, run)) = it.stalled.examples.first() else { return line };
        let help = format!("its daemon is silent: restart it, then `decisiongraph resume {run}`");
        line.fails(some_of(&it.stalled.examples, it.stalled.count), help, "run-stalled")
    })
}

/// Logs without holes, each of as many events as its head says.
pub(super) fn logs(counted: (i64, i64), damaged: &Waiting, headless: &Waiting) -> Line {
    let (logs, events) = counted;
    let evidence = vec![
        ("logs", logs.into()),
        ("events_counted", events.into()),
        ("damaged", damaged.count.into()),
        ("without_head", headless.count.into()),
    ];
    let line = Line::ok("logs", evidence);
    let worst = if damaged.count > 0 { damaged } else { headless };
    let Some((tenant, _)) = worst.examples.first() else { return line };
    let help = format!(
        "`decisiongraph verify -t {}` names the first; put it back from a backup, never edit in place",
        shell_word(tenant)
    );
    line.fails(some_of(&worst.examples, worst.count), help, "log-damage")
}

pub(super) fn digests(asked: Result<Vec<String>, StoreError>, tenants: i64) -> Line {
    judged("digests", asked, |stale| {
        let evidence = vec![("tenants", tenants.into()), ("stale", (stale.len() as i64).into())];
        let line = Line::ok("digests", evidence);
        let Some(first) = stale.first() else { return line };
        let examples: Vec<_> =
            stale.iter().take(3).map(|it| (it.clone(), "not of its cursor".to_owned())).collect();
        let help = format!(
            "they are computed at rest, one tenant at a time: wait, or `decisiongraph digest --fresh -t {}`",
            shell_word(first)
        );
        line.fails(some_of(&examples, stale.len() as i64), help, "projection-out-of-date")
    })
}

/// What a replay in memory of so many of all tenants came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Proof {
    pub(super) tenants: i64,
    pub(super) of: i64,
    pub(super) events: i64,
    pub(super) digests: i64,
    /// Too large for a quick look.
    pub(super) skipped: i64,
    pub(super) different: Waiting,
    /// Those that could not be looked at.
    pub(super) unanswered: Waiting,
    /// A few tenants that have an open failure.
    pub(super) failed: Vec<String>,
}

pub(super) fn proof(proof: &Proof) -> Line {
    let evidence: Vec<Figure> = vec![
        ("verified", proof.tenants.into()),
        ("of_tenants", proof.of.into()),
        ("not_verified", (proof.of - proof.tenants).max(0).into()),
        ("too_large_for_quick", proof.skipped.into()),
        ("events", proof.events.into()),
        ("digests_equal", proof.digests.into()),
        ("different", proof.different.count.into()),
    ];
    let line = Line::ok("proof", evidence);
    if let Some((tenant, what)) = proof.different.examples.first() {
        let (page, help) = mended_by(tenant, what, proof.failed.contains(tenant));
        return line.fails(some_of(&proof.different.examples, proof.different.count), help, page);
    }
    match proof.unanswered.examples.first() {
        None => line,
        Some((tenant, _)) => line.fails(
            some_of(&proof.unanswered.examples, proof.unanswered.count),
            format!("`decisiongraph verify -t {}` says more", shell_word(tenant)),
            "storage",
        ),
    }
}

/// The page for a difference, and what to do first.
fn mended_by(tenant: &str, what: &str, has_failed: bool) -> (&'static str, String) {
    let word = shell_word(tenant);
    // No damage: it came in like that, and projections have stopped before it.
    if has_failed && what.starts_with("dg_event_log") && what.contains("expected 'a valid event'") {
        let help =
            format!("`decisiongraph failures -t {word}` says what cannot be applied, and why");
        return ("projection-failed", help);
    }
    if what.starts_with("dg_event_log") || what.starts_with("dg_tenant_heads") {
        return ("log-damage", "put back what was changed, or restore from a backup".to_owned());
    }
    let rebuild = format!("`decisiongraph rebuild all -t {word} --reason TEXT --wait`");
    // After a rebuild nobody would see any more that events were lost.
    if what.starts_with("dg_projection_cursors") && what.contains("field last_log_seq") {
        return ("lost-commits", format!("send again what the database has lost; then {rebuild}"));
    }
    ("projection-rows-differ", format!("{rebuild} mends it"))
}

/// When a backup was made is not written in the database; whether its archive is in order, is.
pub(super) fn backups(asked: Result<Archive, StoreError>) -> Line {
    judged("backups", asked, |it| {
        let age = it.age_seconds.map_or("never".to_owned(), |age| format!("{} ago", duration(age)));
        let evidence = vec![
            ("age", Json::Null),
            ("archive_mode", it.mode.as_str().into()),
            ("segments_archived", it.archived.into()),
            ("last_archived", age.into()),
        ];
        let line = Line::unknown(
            "backups",
            evidence,
            "the database does not know when the last backup was made",
            "see that there is one where your backups go; what came before the accident is the best there is",
        );
        match it.is_failing && it.mode != "off" {
            true => line.fails(
                "the last attempt to archive failed",
                "see the log of the server for what archive_command says: until it works, no backup can be brought up to date",
                "storage",
            ),
            false => line,
        }
    })
}

#[cfg(test)]
#[path = "verdicts_tests.rs"]
mod tests;
