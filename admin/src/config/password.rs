//! The file of the database's password, as far as loading has to do with it: that it can be used.
//!
//! What systemd passes is there for whoever has a database URL; who names a file without one has
//! made a mistake.

use dg_store::Target;

use super::keys::key;
use super::merge::{Merged, Setting};
use super::problem::{Problem, Source};
use super::value::Value;

const KEY: &str = "database_password_file";

/// What is wrong with the file, judged beside a database URL that is right by itself.
pub(super) fn problem(merged: &Merged) -> Option<Problem> {
    let setting = merged.settings.get(KEY)?;
    let Setting { value: Some(Value::Path(file)), source, position, .. } = setting else {
        return None;
    };
    let message = match &merged.settings.get("database_url")?.value {
        None if matches!(source, Source::Credential(_)) => return None,
        None => "is given, and there is no database_url".to_owned(),
        Some(Value::Secret(url)) => {
            let target = Target::parse(url.expose()).ok()?;
            target.password_in(file.clone()).err()?.message
        }
        Some(_) => return None,
    };
    let accepted = key(KEY).map_or(String::new(), |key| key.accepted());
    let problem = Problem::new(KEY, source.clone(), message, accepted);
    Some(Problem { position: *position, ..problem })
}
