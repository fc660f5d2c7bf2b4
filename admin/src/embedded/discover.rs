//! Finds the Postgres server programs of this machine.
//!
//! A directory counts when it holds both `initdb` and `postgres`: the `pg_config` of a client
//! library names a directory that may hold neither. A configured directory is taken alone.
//! Otherwise the newest version of all places wins; an existing cluster narrows the choice to its
//! own major version, since no other can open it.
//! Nothing is downloaded.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::error::EmbeddedError;
use super::version::{Major, Version};

/// A directory of server programs and their version.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    dir: PathBuf,
    version: Version,
}

impl Binaries {
    /// The program that makes clusters.
    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    /// The server itself.
    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    /// Their version.
    pub(super) fn version(&self) -> &Version {
        &self.version
    }
}

/// Chooses the programs: those of `configured` if given, else the newest; for the existing
/// `cluster` (its directory and version), the newest of the same major.
pub(super) async fn find(
    configured: Option<&Path>,
    cluster: Option<(&Path, Major)>,
) -> Result<Binaries, EmbeddedError> {
    let found = match configured {
        Some(dir) => vec![configured_in(dir).await?],
        None => everywhere().await,
    };
    choose(found, cluster)
}

async fn configured_in(dir: &Path) -> Result<Binaries, EmbeddedError> {
    let refuse = |problem: String| EmbeddedError::BinDir { dir: dir.to_owned(), problem };
    // Absolute, because the programs run with another working directory.
    let path = dir.canonicalize().map_err(|error| refuse(format!("cannot be used: {error}")))?;
    if let Some(missing) = missing_in(&path) {
        return Err(refuse(format!("has no executable `{missing}`")));
    }
    examine(&path).await.map_err(refuse)
}

async fn everywhere() -> Vec<Binaries> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for dir in places().await.iter().filter_map(|dir| dir.canonicalize().ok()) {
        if missing_in(&dir).is_some() || !seen.insert(dir.clone()) {
            continue;
        }
        match examine(&dir).await {
            Ok(binaries) => found.push(binaries),
            Err(problem) => tracing::debug!(dir = %dir.display(), problem, "postgres passed over"),
        }
    }
    found
}

/// Where to look, the likeliest first.
async fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output().await {
        places.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()));
    }
    places.extend(versioned("/usr/lib/postgresql", ""));
    places.extend(versioned("/usr", "pgsql-"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path));
    places.retain(|dir| dir.is_absolute());
    places
}

/// The directories `<parent>/<prefix><version>/bin`, newest first.
fn versioned(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut dirs: Vec<_> = entries
        .filter_map(|entry| {
            let version = Major::parse(entry.file_name().to_str()?.strip_prefix(prefix)?)?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    dirs.sort_by(|a, b| b.cmp(a));
    dirs.into_iter().map(|(_, dir)| dir).collect()
}

async fn examine(dir: &Path) -> Result<Binaries, String> {
    let output = Command::new(dir.join("postgres"))
        .arg("--version")
        .output()
        .await
        .map_err(|error| format!("has a `postgres` that does not run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = Version::parse(&text)
        .ok_or_else(|| format!("has a `postgres` without a version ({})", output.status))?;
    Ok(Binaries { dir: dir.to_owned(), version })
}

fn choose(
    mut found: Vec<Binaries>,
    cluster: Option<(&Path, Major)>,
) -> Result<Binaries, EmbeddedError> {
    // Stable: of equal versions the likelier place stays first.
    found.sort_by(|a, b| b.version.cmp(&a.version));
    let fits = |it: &&Binaries| cluster.is_none_or(|(_, major)| it.version.major() == major);
    match (found.iter().find(fits), cluster) {
        (Some(best), _) => Ok(best.clone()),
        (None, Some((path, major))) if !found.is_empty() => Err(EmbeddedError::OtherMajor {
            path: path.to_owned(),
            cluster: major.to_string(),
            found: listed(&found),
        }),
        (None, _) => Err(EmbeddedError::NoPostgres),
    }
}

fn listed(found: &[Binaries]) -> String {
    let each = |it: &Binaries| format!("{} ({})", it.version.as_str(), it.dir.display());
    found.iter().map(each).collect::<Vec<_>>().join(", ")
}

/// The first program that the directory lacks.
fn missing_in(dir: &Path) -> Option<&'static str> {
    ["initdb", "postgres"].into_iter().find(|name| {
        let meta = fs::metadata(dir.join(name));
        !meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::{Binaries, choose, find};
    use crate::embedded::error::EmbeddedError;
    use crate::embedded::version::{Major, Version};
    use std::path::Path;

    fn binaries(version: &str, dir: &str) -> Binaries {
        Binaries { dir: dir.into(), version: Version::parse(version).expect(version) }
    }

    fn several() -> Vec<Binaries> {
        vec![binaries("9.6.24", "/a"), binaries("18.4", "/b"), binaries("15.18", "/c")]
    }

    #[test]
    fn the_newest_wins() {
        assert_eq!(choose(several(), None).expect("some").version().as_str(), "18.4");
    }

    #[test]
    fn of_equal_versions_the_first_place_wins() {
        let found = vec![binaries("15.18", "/first"), binaries("15.18", "/second")];
        assert_eq!(choose(found, None).expect("some").dir, Path::new("/first"));
    }

    #[test]
    fn a_cluster_wants_its_own_major() {
        let cluster = |major| Some((Path::new("/d"), Major::parse(major).expect("a major")));
        assert_eq!(choose(several(), cluster("15")).expect("15").version().as_str(), "15.18");
        let error = choose(several(), cluster("14")).expect_err("no 14");
        assert!(error.to_string().contains("Postgres 14"), "{error}");
        assert!(error.to_string().contains("15.18 (/c)"), "{error}");
        assert!(error.help().is_some_and(|help| help.contains("pg_upgrade")));
    }

    #[test]
    fn none_at_all_says_how_to_install() {
        let error = choose(Vec::new(), None).expect_err("nothing there");
        assert!(matches!(error, EmbeddedError::NoPostgres));
        assert!(error.help().is_some_and(|help| help.contains("apt-get install postgresql")));
    }

    #[tokio::test]
    async fn a_configured_directory_is_taken_alone() {
        let error = find(Some(Path::new("/")), None).await.expect_err("nothing in /");
        assert!(error.to_string().contains("no executable `initdb`"), "{error}");
        let error = find(Some(Path::new("/no/such")), None).await.expect_err("not there");
        assert!(error.to_string().contains("/no/such"), "{error}");
    }
}
