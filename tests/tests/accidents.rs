//! The game day of `ops/accident.sh`: what it breaks is seen, what a page mends is well again, and
//! nothing of it is left.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dg_tests::{binary, skip};

struct Game {
    directory: PathBuf,
}

impl Game {
    fn asked(&self, command: &str, more: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/accident.sh");
        let mut asked = Command::new(script);
        asked.arg(command).arg(&self.directory).args(more).env("DECISIONGRAPH", binary());
        asked.output().unwrap()
    }

    fn succeeds(&self, command: &str, more: &[&str]) {
        let output = self.asked(command, more);
        assert!(output.status.success(), "{command} {more:?}: {output:?}");
    }

    /// Strikes, is seen, and is well again after what the page says.
    fn is_mended(&self, accident: &str, by: &[&str]) {
        self.succeeds("strike", &[accident]);
        let output = self.asked("check", &[]);
        assert_eq!(output.status.code(), Some(1), "{accident}: {output:?}");
        self.succeeds("ask", by);
        self.succeeds("check", &[]);
    }
}

impl Drop for Game {
    fn drop(&mut self) {
        let _ = self.asked("end", &[]);
    }
}

/// Asked before, as `prepare` would install one.
fn has_postgres() -> bool {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/lib.sh");
    let mut asked = Command::new("bash");
    asked.args(["-c", ". \"$0\" && have_postgres"]).arg(library);
    asked.status().unwrap().success()
}

#[test]
fn accidents_are_seen_and_mended_and_leave_nothing() {
    let directory = std::env::temp_dir().join(format!("dg-game-{}", std::process::id()));
    let game = Game { directory: directory.clone() };
    if !has_postgres() {
        return skip("no Postgres is installed");
    }
    game.succeeds("prepare", &["--seed", "1"]);
    game.is_mended("daemon_killed", &["systemctl", "start", "decisiongraph"]);
    game.is_mended("postgres_stopped", &["systemctl", "start", "postgresql"]);
    game.succeeds("end", &[]);
    assert!(!directory.exists());
}
