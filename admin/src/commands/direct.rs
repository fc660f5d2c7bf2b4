//! Commands that go to the database themselves, so that a proof does not trust the daemon.

use std::path::Path;

use dg_projections::Code;
use dg_store::{Store, Target};

use crate::cli::Session;
use crate::daemon::{named_database, store_options};
use crate::embedded;
use crate::failure::{Failure, exit};
use crate::keeper::Keeper;

/// The database that the command line names; else the embedded cluster beside `--socket`; else the
/// database of the configuration.
pub(crate) fn database(session: &Session) -> Result<Target, Failure> {
    let config = session.config()?;
    let names_database = session.has_flag("database_url") || session.has_flag("data_dir");
    if let Some(socket) = session.text("socket").filter(|_| !names_database) {
        return beside(&socket);
    }
    if let Some(database) = named_database(&config)? {
        return Ok(database);
    }
    let start = Keeper::of(&config.socket_path).start();
    let found = cluster(&config.data_dir, start)?;
    found.ok_or_else(|| {
        let message = format!(
            "there is no database: no database_url, and no cluster under {}",
            config.data_dir.display()
        );
        Failure::new(Code::Storage, message).exit(exit::UNAVAILABLE).help(format!(
            "give --database-url or the --data-dir of a daemon, or start one with `{start}`"
        ))
    })
}

/// The embedded cluster of a data directory, if there is one. It must be running.
fn cluster(data_dir: &Path, start: &str) -> Result<Option<Target>, Failure> {
    let found = embedded::config_of(data_dir)?.map(Target::from);
    if found.is_some() && embedded::is_at_rest(data_dir) {
        let message = format!("the embedded Postgres of {} is not running", data_dir.display());
        return Err(Failure::new(Code::Storage, message)
            .exit(exit::UNAVAILABLE)
            .help(format!("it comes and goes with its daemon: `{start}`")));
    }
    Ok(found)
}

/// The cluster of the daemon that listens there: never another one's, which would prove nothing.
fn beside(socket: &str) -> Result<Target, Failure> {
    let data_dir = Path::new(socket).parent().unwrap_or(Path::new(""));
    let found = cluster(data_dir, Keeper::of(Path::new(socket)).start())?;
    found.ok_or_else(|| {
        let message =
            format!("this command asks the database itself, and there is none beside {socket}");
        Failure::new(Code::InvalidArgument, message)
            .exit(exit::USAGE)
            .help("give --database-url or --data-dir of the daemon that is meant")
    })
}

/// A store on [`database`].
pub(crate) fn store(session: &Session) -> Result<Store, Failure> {
    let config = session.config()?;
    let options = dg_store::Options { pool_size: 2, ..store_options(&config) };
    Ok(Store::new(database(session)?, &options)?)
}
