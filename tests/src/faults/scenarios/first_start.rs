//! First starts, on databases that are empty yet: killed at each step of the schema, and two at once.

use dg_store::failpoint::Point;

use crate::faults::Arena;
use crate::{Daemon, Where, events, until};

/// A daemon dies at each hit of each point of the migration, and the next one goes on from there.
pub(super) fn kill_at_steps(arena: &mut Arena, _: usize) {
    for point in [Point::MigrationBefore, Point::MigrationAfter] {
        for hit in 1..=dg_store::migrations().len() {
            let url = empty_database(arena, &format!("{}_{hit}", point.name()));
            let mut daemon = Daemon::new(Where::Url(url), &[], "");
            daemon.arm(&format!("{}=kill@{hit}", point.name()));
            daemon.spawn();
            until("the daemon dies at a step of the schema", || daemon.has_ended().then_some(()));
            arena.count_fault("kill -9 at a step of the schema");
            daemon.mend();
            daemon.restart();
            prove(arena, &daemon);
        }
    }
}

/// Two daemons find nothing, at the same moment.
pub(super) fn two_at_once(arena: &mut Arena, rounds: usize) {
    for round in 0..2 * rounds {
        let url = empty_database(arena, &format!("two_at_once_{round}"));
        let mut daemons = [(); 2].map(|()| Daemon::new(Where::Url(url.clone()), &[], ""));
        daemons.iter_mut().for_each(Daemon::spawn);
        arena.count_fault("two first starts at once");
        daemons.iter_mut().for_each(Daemon::until_ready);
        daemons.iter().for_each(|daemon| prove(arena, daemon));
    }
}

fn empty_database(arena: &mut Arena, name: &str) -> String {
    arena.sql().rows(&format!("CREATE DATABASE {name}"));
    let address = arena.postgres().address();
    format!("postgres://decisiongraph@{address}/{name}?sslmode=disable")
}

/// The schema is whole: what is appended is projected, and everything proven.
fn prove(arena: &Arena, daemon: &Daemon) {
    let versions = daemon.sql().one("SELECT count(*) FROM dg_schema_migrations");
    if versions != dg_store::migrations().len().to_string() {
        arena.wrong(format!("{versions} steps of the schema are in"));
    }
    let lines = events::joined(&events::whole_trace(&format!("first-{}", daemon.pid())));
    for (what, answer) in [
        ("import", daemon.cli_with(&["import", "-"], lines.as_bytes())),
        ("verify", {
            daemon.until_current("default");
            daemon.direct(&["verify"])
        }),
    ] {
        if answer.code != 0 {
            arena.wrong(format!("{what} after a first start: {answer:?}"));
        }
    }
}
