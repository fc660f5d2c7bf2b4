//! The socket, and who answers there.

use std::path::{Path, PathBuf};

use dg_projections::json::Json;

use crate::commands::doctor::finding::Verdict;
use crate::keeper::Keeper;
use crate::output::{duration, field};

/// What is where the socket should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands::doctor) enum Place {
    /// Nothing, and there is room for one.
    Free,
    /// Nothing, and this directory takes none, because of this.
    Closed(PathBuf, String),
    /// Something else.
    NoSocket,
    /// The socket of a daemon that is gone.
    Dead,
    /// A socket that answers.
    Answers,
    /// One cannot tell, because of this.
    Unclear(String),
}

pub(in crate::commands::doctor) fn place(place: &Place, path: &Path) -> Verdict {
    let keeper = Keeper::of(path);
    let path = path.display();
    match place {
        Place::Free => Verdict::ok(format!("{path} is free")),
        Place::Answers => Verdict::ok(format!("{path} answers")),
        Place::Closed(dir, why) => Verdict::failed(
            format!("no socket can be made in {}: {why}", dir.display()),
            "let this user write there, or choose another --socket-path or --data-dir",
        ),
        Place::NoSocket => Verdict::failed(
            format!("{path} is something that is no socket"),
            "move it away, or choose another --socket-path",
        ),
        Place::Dead => Verdict::warning(
            format!("{path} is the socket of a daemon that does not listen"),
            keeper.find_out(),
        ),
        Place::Unclear(why) => Verdict::failed(
            format!("{path} cannot be used: {why}"),
            "be the daemon's user, root, or one of its admin_uids and in its group; if it is busy, try again",
        ),
    }
}

/// What speaks for it that there should be a daemon where none answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::commands::doctor) struct Traces {
    /// One of this machine is at the database.
    pub(in crate::commands::doctor) is_here: Option<i32>,
    /// The machine is to start one by itself.
    pub(in crate::commands::doctor) is_enabled: bool,
    /// One has run on this data.
    pub(in crate::commands::doctor) has_run: bool,
}

/// Before the first start no daemon is as it should be; later somebody waits for it.
pub(in crate::commands::doctor) fn absent(keeper: Keeper, traces: &Traces) -> Verdict {
    let start = keeper.start();
    let help = || {
        format!(
            "`{start}` starts it; `decisiongraph runbook daemon-down` says what may have ended it"
        )
    };
    match traces {
        Traces { is_here: Some(pid), .. } => Verdict::warning(
            format!("none answers at the socket, though one runs (pid {pid})"),
            "start no other: the line `neighbours` says what to do",
        ),
        Traces { is_enabled: true, .. } => {
            Verdict::warning("none answers, and the system is set to run one", help())
        }
        Traces { has_run: true, .. } => {
            Verdict::warning("none answers, and one has run on this data", help())
        }
        _ => Verdict::ok(format!("none has run here yet, and none answers; `{start}` starts one")),
    }
}

/// A daemon that answers should be of this release.
pub(in crate::commands::doctor) fn answering(status: &Json, own_version: &str) -> Verdict {
    let version = field(status, "version");
    let uptime = status.get("uptime_seconds").and_then(Json::as_f64).unwrap_or(0.0);
    let database = status.get("database").map_or("-".to_owned(), |it| field(it, "state"));
    let (owner, uptime) = (field(status, "owner"), duration(uptime));
    let found = format!("{version}, {owner}, up for {uptime}, database {database}");
    if version != own_version {
        let help =
            format!("restart it with this release, {own_version}, or use that of the daemon");
        return Verdict::warning(found, help);
    }
    if database != "up" {
        let reason = status.get("database").map_or("-".to_owned(), |it| field(it, "reason"));
        let found = format!("{found}: {reason}");
        let help = "`decisiongraph status` says since when and why; it goes on trying by itself";
        return Verdict::failed(found, help);
    }
    Verdict::ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Status;

    #[test]
    fn a_socket_is_free_answers_or_has_its_remedy() {
        let table = [
            (Place::Free, Status::Ok),
            (Place::Answers, Status::Ok),
            (Place::Dead, Status::Warning),
            (Place::NoSocket, Status::Failed),
            (Place::Closed("/x".into(), "Permission denied".into()), Status::Failed),
            (Place::Unclear("Permission denied".into()), Status::Failed),
        ];
        for (found, expected) in table {
            let verdict = place(&found, Path::new("/x/y.sock"));
            assert_eq!(verdict.status, expected, "{found:?}");
            assert_eq!(verdict.help.is_some(), expected != Status::Ok, "{found:?}");
        }
    }

    #[test]
    fn that_no_daemon_answers_is_well_only_before_the_first_start() {
        let none = Traces::default();
        for (traces, expected, named) in [
            (none, Status::Ok, "serve"),
            (Traces { is_enabled: true, ..none }, Status::Warning, "set to run one"),
            (Traces { has_run: true, ..none }, Status::Warning, "has run"),
            (Traces { is_here: Some(7), has_run: true, ..none }, Status::Warning, "pid 7"),
        ] {
            let verdict = absent(Keeper::Hand, &traces);
            assert_eq!(verdict.status, expected, "{traces:?}");
            assert!(verdict.found.contains(named), "{verdict:?}");
            let starts = verdict.help.is_some_and(|help| help.contains("serve"));
            assert_eq!(starts, expected == Status::Warning && traces.is_here.is_none());
        }
    }

    #[test]
    fn a_daemon_should_be_of_this_release_and_have_its_database() {
        let table = [
            ("1.0.0", "up", Status::Ok),
            ("0.9.0", "up", Status::Warning),
            ("1.0.0", "down", Status::Failed),
        ];
        for (version, state, expected) in table {
            let status = format!(
                r#"{{"version":"{version}","owner":"h:1","uptime_seconds":2.5,"database":{{"state":"{state}"}}}}"#
            );
            let status = dg_projections::json::parse(&status).unwrap();
            assert_eq!(answering(&status, "1.0.0").status, expected, "{version} {state}");
        }
    }
}
