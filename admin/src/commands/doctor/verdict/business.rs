//! What waits for somebody.

use std::path::PathBuf;

use dg_store::session_name;

use crate::commands::doctor::finding::Verdict;
use crate::keeper::Keeper;
use crate::output::{duration, grouped, shell_word};

/// Behind for longer than this is far behind, in seconds: catching up after a start is not.
const FAR_BEHIND: f64 = 60.0;

const WHICH_TENANT: &str = "`decisiongraph health --all-tenants` shows which";

/// How a projection of a tenant stands.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::commands::doctor) struct Standing {
    /// None for those that are not told one by one.
    pub(in crate::commands::doctor) tenant: Option<String>,
    pub(in crate::commands::doctor) projection: String,
    pub(in crate::commands::doctor) pending: i64,
    pub(in crate::commands::doctor) lag_seconds: f64,
    pub(in crate::commands::doctor) open_failures: i64,
}

impl Standing {
    fn name(&self) -> String {
        match &self.tenant {
            Some(tenant) => format!("{} of tenant {tenant}", self.projection),
            None => format!("{} of other tenants", self.projection),
        }
    }
}

/// The first of several, and how many more there are.
fn first_of(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

pub(in crate::commands::doctor) fn failures(standings: &[Standing]) -> Verdict {
    let failed: Vec<&Standing> = standings.iter().filter(|one| one.open_failures > 0).collect();
    let Some(first) = failed.first() else { return Verdict::ok("none open") };
    let count: i64 = failed.iter().map(|one| one.open_failures).sum();
    let names: Vec<String> = failed.iter().map(|one| one.name()).collect();
    let help = match &first.tenant {
        Some(tenant) => format!(
            "`decisiongraph failures -t {tenant}` says why, and the page that mends it (`projection-failed`; `workers-retrying` for what is tried again by itself); then `decisiongraph retry {} -t {tenant}`",
            first.projection,
            tenant = shell_word(tenant)
        ),
        None => WHICH_TENANT.to_owned(),
    };
    Verdict::warning(format!("{} open: {}", grouped(count), first_of(&names)), help)
}

pub(in crate::commands::doctor) fn lag(standings: &[Standing], daemon_is_there: bool) -> Verdict {
    let is_far = |one: &&Standing| one.pending > 0 && one.lag_seconds > FAR_BEHIND;
    let mut far: Vec<&Standing> = standings.iter().filter(is_far).collect();
    far.sort_by(|a, b| b.lag_seconds.total_cmp(&a.lag_seconds));
    let Some(worst) = far.first() else { return Verdict::ok("no projection is far behind") };
    let names: Vec<String> = far.iter().map(|one| one.name()).collect();
    let (pending, age) = (grouped(worst.pending), duration(worst.lag_seconds));
    let found = format!("{}: {pending} events behind, the oldest for {age}", first_of(&names));
    let help = match &worst.tenant {
        _ if !daemon_is_there => "start a daemon: `decisiongraph serve`".to_owned(),
        Some(tenant) => {
            format!("`decisiongraph workers -t {}` shows what keeps it", shell_word(tenant))
        }
        None => WHICH_TENANT.to_owned(),
    };
    Verdict::warning(found, help)
}

pub(in crate::commands::doctor) fn interrupted(runs: &[String]) -> Verdict {
    let Some(first) = runs.first() else { return Verdict::ok("none interrupted") };
    Verdict::warning(
        format!("{} interrupted: {}", runs.len(), first_of(runs)),
        format!(
            "`decisiongraph resume {first}` lets it go on, `decisiongraph cancel {first}` drops what it built"
        ),
    )
}

pub(in crate::commands::doctor) fn parked(parked: &[String]) -> Verdict {
    if parked.is_empty() {
        return Verdict::ok("no tenant is parked");
    }
    let help =
        "the daemon's log has the crash; `decisiongraph runbook tenant-parked` says what to do";
    Verdict::warning(format!("{} parked: {}", parked.len(), first_of(parked)), help)
}

/// Why something was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands::doctor) enum Unasked {
    /// The database does not let us in.
    Closed,
    /// Steps of the schema are pending.
    Pending,
    /// There is no schema yet, and so nothing to look at.
    NoTables,
    /// Whoever was asked did not answer.
    Silent,
}

/// What was not looked at, so that nobody takes silence for health.
pub(in crate::commands::doctor) fn left_out(checks: &[&str], why: Unasked) -> Verdict {
    let checks = checks.join(", ");
    match why {
        Unasked::NoTables => Verdict::ok(format!("there are no tables yet: {checks}")),
        Unasked::Pending => Verdict::warning(
            format!("steps of the schema are pending: {checks}"),
            "`decisiongraph migrate` applies them, and so does the start of a daemon of this release; then ask again",
        ),
        Unasked::Closed => Verdict::warning(
            format!("the database cannot be asked: {checks}"),
            "mend what the line `database` says; then ask again",
        ),
        Unasked::Silent => Verdict::warning(
            format!("asked for in vain: {checks}"),
            "the logs of the daemon and of the server tell what is amiss",
        ),
    }
}

/// A daemon of this machine at the database, where none answers at the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands::doctor) struct Neighbour {
    pub(in crate::commands::doctor) pid: i32,
    /// Whether it was its socket that is gone from there.
    pub(in crate::commands::doctor) is_meant: bool,
    pub(in crate::commands::doctor) socket: PathBuf,
}

/// The process of an owner that is of this host, as far as its name was kept: see [`session_name`].
pub(in crate::commands::doctor) fn pid_of(owner: &str, host: &str) -> Option<i32> {
    let (_, pid) = owner.rsplit_once(':')?;
    let pid: i32 = pid.parse().ok()?;
    session_name(&format!("{host}:{pid}")).ends_with(&format!(" {owner}")).then_some(pid)
}

/// Another daemon at the same database is allowed, and often a mistake; or it is the one that is looked
/// for, and nobody finds it.
pub(in crate::commands::doctor) fn neighbours(
    others: &[String],
    daemon_is_there: bool,
    here: Option<&Neighbour>,
) -> Verdict {
    if others.is_empty() {
        let found = if daemon_is_there { "the daemon is alone" } else { "no daemon" };
        return Verdict::ok(format!("{found} at this database"));
    }
    let others = others.join(", ");
    let Some(Neighbour { pid, is_meant, socket }) = here else {
        let help = "if it is not meant to help out, stop one of them, or give it another database";
        return Verdict::warning(format!("other daemons are at this database: {others}"), help);
    };
    let restart = Keeper::of(socket).restart(*pid);
    let socket = socket.display();
    if *is_meant {
        let found = format!(
            "a daemon of this machine (pid {pid}) is at this database and its socket is gone: {socket}"
        );
        return Verdict::warning(found, format!("restart it: {restart}; start no other"));
    }
    let found = format!(
        "other daemons are at this database: {others}; one of this machine (pid {pid}) that does not listen at {socket}"
    );
    let help = format!(
        "if it is the one meant, name its socket with --socket, or restart it: {restart}; if not, give one of the two another database"
    );
    Verdict::warning(found, help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Status;

    fn standing(tenant: &str, pending: i64, lag_seconds: f64, open_failures: i64) -> Standing {
        let (tenant, projection) = (Some(tenant.to_owned()), "context_graph".to_owned());
        Standing { tenant, projection, pending, lag_seconds, open_failures }
    }

    #[test]
    fn an_open_failure_names_its_projection_and_the_way_out() {
        assert_eq!(failures(&[standing("a", 9, 9e9, 0)]).status, Status::Ok);
        let others = Standing { tenant: None, ..standing("", 0, 0.0, 1) };
        assert!(failures(&[others]).help.is_some_and(|help| help.contains("--all-tenants")));
        let verdict = failures(&[standing("a", 0, 0.0, 0), standing("b", 1, 1.0, 2)]);
        assert_eq!(verdict.status, Status::Warning);
        assert_eq!(verdict.found, "2 open: context_graph of tenant b");
        assert!(verdict.help.is_some_and(|help| help.contains("retry context_graph -t b")));
    }

    #[test]
    fn far_behind_is_told_of_the_worst_and_counted() {
        let table = [(0, 0.0, Status::Ok), (5, 60.0, Status::Ok), (5, 60.1, Status::Warning)];
        for (pending, seconds, expected) in table {
            assert_eq!(lag(&[standing("a", pending, seconds, 0)], true).status, expected);
        }
        let several = [standing("a", 5, 100.0, 0), standing("b", 7, 7260.0, 0)];
        let verdict = lag(&several, false);
        let expected =
            "context_graph of tenant b and 1 more: 7 events behind, the oldest for 2 h 1 min";
        assert_eq!(verdict.found, expected);
        assert!(verdict.help.is_some_and(|help| help.contains("serve")));
    }

    #[test]
    fn what_was_left_out_is_a_warning_unless_there_is_nothing_yet() {
        for (why, expected) in [
            (Unasked::Closed, Status::Warning),
            (Unasked::Pending, Status::Warning),
            (Unasked::NoTables, Status::Ok),
            (Unasked::Silent, Status::Warning),
        ] {
            let verdict = left_out(&["lag", "runs"], why);
            assert_eq!(verdict.status, expected, "{why:?}");
            assert!(verdict.found.ends_with(": lag, runs"), "{verdict:?}");
            assert_eq!(verdict.help.is_some(), expected == Status::Warning, "{why:?}");
        }
    }

    #[test]
    fn runs_tenants_and_neighbours_are_named() {
        let two = ["r1".to_owned(), "r2".to_owned()];
        assert_eq!(interrupted(&[]).status, Status::Ok);
        assert_eq!(interrupted(&two).found, "2 interrupted: r1 and 1 more");
        assert!(interrupted(&two).help.is_some_and(|help| help.contains("resume r1")));
        assert_eq!(parked(&[]).status, Status::Ok);
        assert_eq!(parked(&two).status, Status::Warning);
        assert_eq!(neighbours(&[], true, None).status, Status::Ok);
        assert_eq!(neighbours(&two, false, None).status, Status::Warning);
        let here = |is_meant| Neighbour { pid: 7, is_meant, socket: "/x/s.sock".into() };
        let meant = neighbours(&two, false, Some(&here(true)));
        assert!(meant.found.contains("(pid 7) is at this database and its socket is gone: /x/s"));
        assert!(meant.help.is_some_and(|help| help.starts_with("restart it: `kill 7`")));
        let another = neighbours(&two, false, Some(&here(false)));
        assert!(another.help.is_some_and(|help| help.contains("--socket")), "{}", another.found);
    }

    #[test]
    fn an_owner_of_this_host_gives_its_process() {
        let long = "h".repeat(80);
        let cut = session_name(&format!("{long}:12"));
        let cut = cut.strip_prefix("decisiongraph ").unwrap();
        for (owner, host, expected) in [
            ("vm:12", "vm", Some(12)),
            ("vm:12", "m", None),
            ("vm:12", "another", None),
            ("vm:x", "vm", None),
            ("vm", "vm", None),
            (cut, long.as_str(), Some(12)),
        ] {
            assert_eq!(pid_of(owner, host), expected, "{owner} {host}");
        }
    }
}
