//! The database: whether it lets us in, how it is set, what we may do, its schema, disk and clock.

use std::path::Path;
use std::time::Duration;

use dg_store::{DAEMON_ROLE, Options, Refusal, Server, Store, StoreError, Target};
use time::OffsetDateTime;

use super::daemon::Daemon;
use super::finding::{Finding, Verdict};
use super::machine::{closed, space_of};
use super::verdict::{database, machine};
use super::{PATIENCE, aside, patiently};
use crate::config::Config;
use crate::daemon::{named_database, store_options};
use crate::embedded::{self, EmbeddedError};
use crate::failure::Failure;

/// How far its examination got.
pub(super) enum Way {
    /// It has our tables, and this is the way to them.
    Open(Store),
    /// It lets us in, and has tables of an older release; of none, if there are none yet.
    Pending { store: Store, has_some: bool },
    /// It does not let us in: the line of it says why.
    Closed,
    /// There is none yet, or it is at rest.
    None,
}

/// What there is to say of it, and how far that goes.
pub(super) async fn examine(config: &Config, daemon: &Daemon) -> (Vec<Finding>, Way) {
    let options = Options { pool_size: 2, timeout: PATIENCE, ..store_options(config) };
    let store = match way(config, &options) {
        Ok(Some(store)) => store,
        Ok(None) => {
            let verdict = Verdict::ok("none yet: the first `decisiongraph serve` makes it");
            return (vec![verdict.of("database")], Way::None);
        }
        Err(Closed::Cluster(error)) => return (vec![closed(&error).of("database")], Way::Closed),
        Err(Closed::Other(failure)) => {
            let verdict = Verdict::of_failure(failure, "set database_url right");
            return (vec![verdict.of("database")], Way::Closed);
        }
    };
    // The embedded server comes and goes with its daemon.
    let is_at_rest = config.database_url.is_none() && !daemon.is_there();
    match patiently(store.server()).await {
        Some(Ok(server)) => settled(config, store, &server).await,
        Some(Err(error)) if is_at_rest && Refusal::of(&error) == Refusal::Away => {
            let verdict = Verdict::ok("at rest: the embedded Postgres starts with the daemon");
            (vec![verdict.of("database")], Way::None)
        }
        Some(Err(error)) if config.database_url.is_none() && daemon.has_database() => {
            (vec![database::closed(&error).of("database")], Way::Closed)
        }
        Some(Err(error)) => (vec![database::refused(&error).of("database")], Way::Closed),
        None => (vec![Verdict::silent(database::AWAY).of("database")], Way::Closed),
    }
}

/// Why there is no way to the database.
pub(super) enum Closed {
    /// This user may not see whether there is a cluster.
    Cluster(EmbeddedError),
    Other(Failure),
}

/// The database of the configuration; none where a cluster is yet to be made.
pub(super) fn way(config: &Config, options: &Options) -> Result<Option<Store>, Closed> {
    let target = match named_database(config).map_err(Closed::Other)? {
        Some(database) => Some(database),
        None => embedded::config_of(&config.data_dir).map_err(Closed::Cluster)?.map(Target::from),
    };
    let store = target.map(|target| Store::new(target, options)).transpose();
    store.map_err(|error| Closed::Other(error.into()))
}

/// The lines of a server that let us in, and the way to our tables.
async fn settled(config: &Config, store: Store, server: &Server) -> (Vec<Finding>, Way) {
    let mut findings = vec![
        database::reached(server).of("database"),
        database::version(server).of("server_version"),
        database::encoding(&server.encoding).of("encoding"),
        database::durability(server).of("durability"),
        database::connections(server, config.pool_size).of("connections"),
    ];
    let ((schema, applied), rights, clock, locks, disk) = tokio::join!(
        schema(config, &store),
        rights(config, &store),
        clock(&store),
        locks(&store),
        disk(server)
    );
    findings.extend([schema.of("schema"), rights.of("privileges"), clock.of("clock")]);
    findings.push(locks.of("locks"));
    findings.extend(disk.map(|verdict| verdict.of("database_disk")));
    let way = match applied {
        None => Way::Closed,
        Some(Applied { is_all: true, .. }) => Way::Open(store),
        Some(Applied { has_some, .. }) => Way::Pending { store, has_some },
    };
    (findings, way)
}

/// Which steps of the schema a database has.
struct Applied {
    has_some: bool,
    is_all: bool,
}

/// What a question to the database came to, as a verdict.
fn judged<T>(asked: Option<Result<T, StoreError>>, judge: impl FnOnce(T) -> Verdict) -> Verdict {
    match asked {
        Some(Ok(answer)) => judge(answer),
        Some(Err(error)) => database::refused(&error),
        None => Verdict::silent("see the log of the server for what it is busy with"),
    }
}

async fn schema(config: &Config, store: &Store) -> (Verdict, Option<Applied>) {
    let asked = patiently(store.migration_status()).await;
    let applied = asked.as_ref().and_then(|asked| asked.as_ref().ok()).map(|status| Applied {
        has_some: !status.applied.is_empty(),
        is_all: status.pending.is_empty(),
    });
    // Of a schema of another release nothing is known.
    let is_ours =
        matches!(&asked, Some(Ok(status)) if status.pending.is_empty() && status.drift.is_empty());
    let missing = match is_ours {
        true => match patiently(store.missing_objects()).await {
            Some(Ok(missing)) => missing,
            unanswered => return (judged(unanswered, |_| Verdict::ok("-")), applied),
        },
        false => Vec::new(),
    };
    (judged(asked, |status| database::schema(&status, &missing, config.migrate)), applied)
}

async fn rights(config: &Config, store: &Store) -> Verdict {
    // As the daemon does: the embedded database has our roles, another one those of its owner.
    let is_ours = config.database_url.is_none();
    let asked = patiently(store.rights(is_ours.then_some(DAEMON_ROLE))).await;
    if matches!(&asked, Some(Err(error)) if is_ours && Refusal::of(error) == Refusal::NoRole) {
        return Verdict::ok("the start of the daemon makes its roles");
    }
    judged(asked, |rights| database::rights(&rights, config.migrate))
}

async fn locks(store: &Store) -> Verdict {
    let asked = patiently(store.lock_holders()).await;
    judged(asked, |holders| database::locks(&holders))
}

/// The server's time lies between that of the question and that of the answer.
async fn clock(store: &Store) -> Verdict {
    let before = OffsetDateTime::now_utc();
    let asked = patiently(store.clock()).await;
    let after = OffsetDateTime::now_utc();
    judged(asked, |there| database::clock(apart(before, there, after)))
}

/// How far a clock is outside of the time in which it was asked.
fn apart(before: OffsetDateTime, there: OffsetDateTime, after: OffsetDateTime) -> Duration {
    let apart = (before - there).max(there - after);
    apart.try_into().unwrap_or(Duration::ZERO) // negative: inside
}

/// The fuller of the disks of data and write-ahead log, as far as they can be asked.
pub(super) async fn disk(server: &Server) -> Option<Verdict> {
    let data = server.local_data.clone()?;
    let asked = aside(move || {
        let data = Path::new(&data);
        let spaces = [data.to_owned(), data.join("pg_wal")].map(|path| (space_of(&path), path));
        let known = spaces.into_iter().filter_map(|(space, path)| Some((space?, path)));
        known.min_by_key(|(space, _)| space.free)
    });
    match asked.await {
        Some(found) => {
            found.map(|(found, path)| machine::space(&found, &path.display().to_string()))
        }
        None => Some(Verdict::silent("see whether the file system of the database is there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_apart_when_it_is_outside_of_the_time_of_the_question() {
        let at = |seconds: i64| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds as u64);
        for (before, there, after, expected) in
            [(10, 10, 12, 0), (10, 11, 12, 0), (10, 15, 12, 3), (10, 4, 12, 6)]
        {
            let found = apart(at(before), at(there), at(after));
            assert_eq!(found, Duration::from_secs(expected), "{before} {there} {after}");
        }
    }
}
