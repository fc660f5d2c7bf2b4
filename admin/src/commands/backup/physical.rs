//! Copies of whole clusters, looked at by the tools that made them.

use std::path::Path;

use dg_projections::Code;
use dg_projections::json::{self, Json};
use tokio::process::Command;

use super::{missing, program, unusable};
use crate::cli::Session;
use crate::config::Config;
use crate::failure::{Failure, exit};
use crate::output::field;
use crate::wire::object;

/// A directory that `pg_basebackup` made: every file against its manifest.
pub(super) async fn copied_cluster(
    session: &Session,
    config: &Config,
    path: &Path,
) -> Result<u8, Failure> {
    let mut command = program(config, "pg_verifybackup");
    let output = command.arg(path).output().await;
    let output = output.map_err(|error| missing("pg_verifybackup", &error))?;
    if !output.status.success() {
        return Err(unusable(path, &String::from_utf8_lossy(&output.stderr)));
    }
    let shown = object([("path", path.display().to_string().into()), ("restorable", true.into())]);
    session.output.one(&shown, |_| {
        format!("whole: {}, every file as pg_basebackup has written it", path.display())
    })?;
    Ok(0)
}

/// What pgBackRest keeps, in its own words. It wants to run as the user of Postgres.
pub(super) async fn repositories(session: &Session) -> Result<u8, Failure> {
    let mut command = Command::new("pgbackrest");
    let output = command.args(["info", "--output=json"]).output().await.map_err(|error| {
        Failure::new(Code::NotFound, format!("no backup is named, and pgbackrest: {error}"))
            .exit(exit::USAGE)
            .help("name a dump or a copy: `decisiongraph backup --check PATH`")
    })?;
    let said = String::from_utf8_lossy(&output.stdout);
    let stanzas = json::parse(&said).ok().filter(|_| output.status.success());
    let Some(stanzas) = stanzas.as_ref().and_then(Json::as_array).filter(|all| !all.is_empty())
    else {
        let errors = String::from_utf8_lossy(&output.stderr);
        let why = errors.trim().lines().next_back().unwrap_or("it knows no stanza").to_owned();
        return Err(unusable(Path::new("what pgBackRest keeps"), &why));
    };
    for stanza in stanzas {
        sound(stanza)?;
    }
    session.output.many(stanzas, |stanzas| {
        let last = |stanza: &Json| newest(stanza).map(|backup| field(backup, "label"));
        let line = |stanza: &Json| {
            let last = last(stanza).unwrap_or_default();
            format!("kept: stanza {}, last backup {last}", field(stanza, "name"))
        };
        stanzas.iter().map(line).collect::<Vec<_>>().join("\n")
    })?;
    Ok(0)
}

fn newest(stanza: &Json) -> Option<&Json> {
    stanza.get("backup").and_then(Json::as_array)?.last()
}

/// A stanza is good with a last backup that had no error.
fn sound(stanza: &Json) -> Result<(), Failure> {
    let name = format!("stanza {}", field(stanza, "name"));
    let status = stanza.get("status");
    let code = status.and_then(|status| status.get("code")).and_then(Json::as_i64);
    let why = match newest(stanza) {
        None => "it has no backup".to_owned(),
        Some(backup) if backup.get("error") == Some(&Json::Bool(true)) => {
            format!("pages of backup {} have wrong checksums", field(backup, "label"))
        }
        Some(_) if code != Some(0) => status.map(|it| field(it, "message")).unwrap_or_default(),
        Some(_) => return Ok(()),
    };
    Err(unusable(Path::new(&name), &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_is_sound_with_a_backup_that_had_no_error() {
        let stanza = |code: i64, backups: &str| {
            let text = format!(
                r#"{{"backup":[{backups}],"name":"dg","status":{{"code":{code},"message":"m"}}}}"#
            );
            sound(&json::parse(&text).unwrap()).map_err(|failure| failure.message)
        };
        let (good, bad) = (r#"{"error":false,"label":"l"}"#, r#"{"error":true,"label":"l"}"#);
        assert_eq!(stanza(0, good), Ok(()));
        assert_eq!(stanza(0, &format!("{bad},{good}")), Ok(()));
        assert!(stanza(2, "").unwrap_err().contains("no backup"));
        assert!(stanza(0, &format!("{good},{bad}")).unwrap_err().contains("wrong checksums"));
        assert!(stanza(3, good).unwrap_err().ends_with("restored: m"));
    }
}
