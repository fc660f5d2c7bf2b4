//! The game day of `ops/accident.sh`: what it breaks is seen, what a page mends is well again, and
//! nothing of it is left.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dg_tests::{binary, skip};

/// A page's command as it is.
const NOTHING: (&str, &str) = ("\0", "");

/// Accidents, the page of each, the command there that mends it, and what of it is another's here.
const MENDED: [(&str, &str, &str, (&str, &str)); 7] = [
    ("daemon_killed", "daemon-down", "systemctl start decisiongraph", NOTHING),
    ("migration_forgotten", "daemon-down", "systemctl start decisiongraph", NOTHING),
    ("socket_removed", "daemon-down", "systemctl restart decisiongraph", NOTHING),
    ("postgres_stopped", "store-down", "systemctl start postgresql", NOTHING),
    (
        "login_refused",
        "store-errors",
        "decisiongraph psql --database-url \"$ADMIN_URL\" -c \"ALTER ROLE decisiongraph LOGIN\"",
        ("decisiongraph LOGIN", "dg LOGIN"),
    ),
    (
        "privilege_lost",
        "store-errors",
        "decisiongraph psql -c \"GRANT ALL ON ALL TABLES IN SCHEMA public TO CURRENT_USER\"",
        NOTHING,
    ),
    (
        "connections_exhausted",
        "store-errors",
        "decisiongraph psql --database-url \"$ADMIN_URL\" -At -c \"SELECT \
count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name = 'reporting'\"",
        NOTHING,
    ),
];

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

    /// Strikes, is seen, and is well again after a command of the page that is told afterwards. What
    /// the page has of an installation of its own is another's here.
    fn is_mended(&self, accident: &str, page: &str, shown: &str, own: (&str, &str)) {
        let path = format!("{}/../ops/runbooks/{page}.md", env!("CARGO_MANIFEST_DIR"));
        assert!(std::fs::read_to_string(path).unwrap().contains(shown), "{page}: {shown}");
        self.succeeds("strike", &[accident]);
        let output = self.asked("check", &[]);
        assert_eq!(output.status.code(), Some(1), "{accident}: {output:?}");
        self.succeeds("ask", &["bash", "-c", &shown.replace(own.0, own.1)]);
        self.succeeds("check", &[]);
        let told = String::from_utf8(self.asked("reveal", &[]).stdout).unwrap();
        assert!(told.contains(&format!("/{page}.md")), "{accident}: {told}");
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
    for (accident, page, shown, own) in MENDED {
        game.is_mended(accident, page, shown, own);
    }
    game.succeeds("end", &[]);
    assert!(!directory.exists());
}
