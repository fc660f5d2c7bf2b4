//! `doctor --recovered`: whether all is well again, line by line, each with the figures it stands on.
//!
//! ```text
//! daemon | database, schema -> projections, failures, workers, runs -> logs, digests, proof -> machine
//! ```
//! Invariants: it changes nothing; a line holds only if what it says was asked for and is so, and what
//! could not be asked is said to be unknown; questions over all tenants are a few statements, and what
//! takes a look at each goes from page to page, so that ten thousand tenants need no more memory than
//! ten. What was left out, as with `--quick`, is in the figures. What the figures mean is decided by
//! the pure functions of [`verdicts`].

mod figures;
mod line;
mod proof;
mod verdicts;

use dg_store::{MigrationStatus, Options, Store};

use super::daemon::{self, Daemon};
use super::{beside_socket, misconfigured};
use crate::cli::Session;
use crate::config::Config;
use crate::daemon::store_options;
use crate::failure::{Failure, exit};
use crate::output::{heard_or_not, printable};
use line::{Line, State};

/// Runs the checklist.
pub(super) async fn recovered(session: &Session) -> Result<u8, Failure> {
    let lines = match session.config() {
        Ok(config) => examine(session, &beside_socket(session, config)).await,
        Err(failure) => misconfigured(&failure).into_iter().map(Line::of_finding).collect(),
    };
    let shown: Vec<_> = lines.iter().map(Line::to_json).collect();
    heard_or_not(session.output.many(&shown, |_| for_people(session, &lines)))?;
    let all_hold = lines.iter().all(|line| line.state != State::Failed);
    Ok(if all_hold { 0 } else { exit::FAILED })
}

async fn examine(session: &Session, config: &Config) -> Vec<Line> {
    let quick = session.args.get_flag("quick");
    let daemon = daemon::ask(config).await;
    let mut lines = vec![figures::daemon(config, &daemon).await];
    match reached(config, &daemon).await {
        Ok(store) => lines.extend(of_database(config, &daemon, &store, quick).await),
        Err(failed) => lines.push(failed),
    }
    lines.push(figures::restarts(&daemon).await);
    lines.extend(figures::disk(config).await);
    lines
}

/// A way to the database, once it has answered.
async fn reached(config: &Config, daemon: &Daemon) -> Result<Store, Line> {
    let options = Options { pool_size: 2, ..store_options(config) };
    let store = super::database::way(config, &options).map_err(verdicts::no_way)?;
    let Some(store) = store else { return Err(verdicts::no_database()) };
    match store.ping().await {
        Ok(()) => Ok(store),
        Err(error) => Err(verdicts::away(&error, daemon.has_database())),
    }
}

async fn of_database(config: &Config, daemon: &Daemon, store: &Store, quick: bool) -> Vec<Line> {
    let names = config.projections.as_slice();
    let mut lines = vec![verdicts::database(store.identity().await)];
    let status = store.migration_status().await;
    let is_ours = |it: &MigrationStatus| it.pending.is_empty() && it.drift.is_empty();
    let has_tables = status.as_ref().is_ok_and(is_ours);
    let missing = if has_tables { store.missing_objects().await } else { Ok(Vec::new()) };
    lines.push(verdicts::schema(status, missing));
    // Without the tables of this release there is nothing to count.
    if !has_tables {
        return lines;
    }
    let standings = store.standings(names).await;
    let tenants = standings.as_ref().map_or(0, |it| it.tenants);
    lines.extend([
        verdicts::projections(standings),
        verdicts::failures(store.open_failures().await),
        figures::workers(daemon).await,
        verdicts::parked(daemon.status()),
        verdicts::runs(store.open_runs().await),
        proof::logs(store).await,
        verdicts::digests(store.tenants_without_digests().await, tenants),
        proof::verified(store, tenants, quick).await,
        verdicts::backups(store.archive().await),
    ]);
    lines.extend(figures::database_disk(store).await);
    lines
}

/// The table; below a line that does not hold what to do, and the page that tells more.
fn for_people(session: &Session, lines: &[Line]) -> String {
    let row = |line: &Line| {
        let found = printable(&line.evidence_text());
        vec![line.check.to_owned(), line.state.as_str().to_owned(), found]
    };
    let table =
        session.output.table(&["check", "status", "evidence"], lines.iter().map(row).collect());
    let mut shown: Vec<String> = table.lines().take(1).map(str::to_owned).collect();
    for (text, line) in table.lines().skip(1).zip(lines) {
        shown.push(text.to_owned());
        let below =
            [("found", line.found.clone()), ("help", line.help.clone()), ("page", line.page())];
        let below = below.into_iter().filter_map(|(name, text)| Some((name, text?)));
        shown.extend(below.map(|(name, text)| format!("  {name}: {}", printable(&text))));
    }
    shown.join("\n")
}
