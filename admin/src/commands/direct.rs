//! Commands that go to the database themselves, so that a proof does not trust the daemon.

use dg_projections::Code;
use dg_store::Store;

use crate::cli::Session;
use crate::daemon::{parse_url, store_options};
use crate::embedded;
use crate::failure::{Failure, exit};

/// The database of the configuration: the one it names, or the embedded cluster of its data
/// directory.
pub(crate) fn database(session: &Session) -> Result<tokio_postgres::Config, Failure> {
    let config = session.config()?;
    if let Some(url) = &config.database_url {
        return parse_url(url.expose());
    }
    embedded::config_of(&config.data_dir).ok_or_else(|| {
        let message = format!("there is no database: no database_url, and no cluster under {}", config.data_dir.display());
        Failure::new(Code::Storage, message)
            .exit(exit::UNAVAILABLE)
            .help("give --database-url or the --data-dir of a daemon, or start one with `decisiongraph serve`")
    })
}

/// A store on [`database`].
pub(crate) fn store(session: &Session) -> Result<Store, Failure> {
    let config = session.config()?;
    let options = dg_store::Options { pool_size: 2, ..store_options(&config) };
    Ok(Store::new(database(session)?, &options)?)
}
