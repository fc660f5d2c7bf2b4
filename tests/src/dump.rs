//! `pg_dump`, as an operator's backup runs it.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tokio_postgres::Client;

/// A `pg_dump` of the server's major version, and that version: the one beside the server's own
/// binaries, or the one of the path.
pub async fn pg_dump(client: &Client) -> Option<(PathBuf, String)> {
    let sql = "SELECT current_setting('server_version'),
        (SELECT setting FROM pg_config WHERE name = 'BINDIR')";
    let row = client.query_one(sql, &[]).await.ok()?;
    let (version, directory): (String, String) = (row.get(0), row.get(1));
    let major = version.split('.').next()?.to_owned();
    let beside = PathBuf::from(directory).join("pg_dump");
    let dump = if beside.exists() { beside } else { PathBuf::from("pg_dump") };
    let answer = Command::new(&dump).arg("--version").output().ok()?;
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    let is_of_major = answer.split(' ').any(|word| word.starts_with(&format!("{major}.")));
    is_of_major.then_some((dump, major))
}

/// A dump that gets no further than its pipe takes, until it is read; ended with its owner.
#[derive(Debug)]
pub struct Held(Option<Child>);

impl Held {
    /// Starts one of this database.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(pg_dump: PathBuf, url: &str) -> Held {
        let mut command = Command::new(pg_dump);
        command.args(["--dbname", url]).stdin(Stdio::null());
        Held(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// Reads it to its end.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn finish(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
