//! What `doctor` says, line by line.

use dg_projections::json::Json;

use crate::{Answer, Daemon, Directory, run};

/// What the doctor said, by check.
#[derive(Debug)]
pub struct Findings {
    /// The answer as a whole.
    pub answer: Answer,
    lines: Vec<[String; 4]>,
}

impl Findings {
    /// Reads them, and asserts what holds for all.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn of(answer: Answer) -> Findings {
        let text = |line: &Json, key: &str| {
            line.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
        };
        let keys = ["check", "status", "found", "help"];
        let json = answer.json();
        let lines = json.as_array().unwrap().iter().map(|line| keys.map(|key| text(line, key)));
        let lines: Vec<[String; 4]> = lines.collect();
        for [check, status, found, help] in &lines {
            assert!(!found.is_empty(), "{check}: {answer:?}");
            assert_eq!(help.is_empty(), status == "ok", "{check}: {answer:?}");
        }
        let has_failed = lines.iter().any(|line| line[1] == "failed");
        assert_eq!(answer.code, i32::from(has_failed), "{answer:?}");
        Findings { answer, lines }
    }

    /// The status of a check, which must be there once.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn status(&self, check: &str) -> &str {
        let lines: Vec<_> = self.lines.iter().filter(|line| line[0] == check).collect();
        assert_eq!(lines.len(), 1, "{check}: {:?}", self.answer);
        &lines[0][1]
    }

    /// Asserts the status of a check, and that its line and its remedy contain these.
    ///
    /// # Panics
    /// When it is not so.
    #[track_caller]
    pub fn assert(&self, check: &str, status: &str, found: &str, help: &str) {
        assert_eq!(self.status(check), status, "{check}: {:?}", self.answer);
        let line = self.lines.iter().find(|line| line[0] == check).unwrap();
        assert!(line[2].contains(found), "{check} does not say {found}: {line:?}");
        assert!(line[3].contains(help), "{check} does not help with {help}: {line:?}");
    }

    /// Asserts that all is well, but for the disks of the machine that the test runs on.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn assert_well(&self) {
        let bad = self.lines.iter().filter(|line| line[1] != "ok");
        let bad: Vec<_> = bad.filter(|line| !line[0].ends_with("disk")).collect();
        assert!(bad.is_empty(), "{bad:?}");
    }

    /// The remedy of a check, which must be there.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn help(&self, check: &str) -> &str {
        let line = self.lines.iter().find(|line| line[0] == check);
        &line.unwrap_or_else(|| panic!("{check}: {:?}", self.answer))[3]
    }

    /// The checks in their order.
    pub fn checks(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line[0].as_str()).collect()
    }
}

/// The doctor, asked for a daemon's installation.
///
/// # Panics
/// When it answers otherwise than it should.
#[track_caller]
pub fn doctor(daemon: &Daemon) -> Findings {
    Findings::of(daemon.direct(&["doctor", "-o", "json", "--metrics-listen", "off"]))
}

/// The doctor of a daemon that is yet to be started.
///
/// # Panics
/// When it answers otherwise than it should.
#[track_caller]
pub fn doctor_of(flags: &[&str]) -> Findings {
    let directory = Directory::new();
    let data_dir = directory.path().join("d").display().to_string();
    let given = ["doctor", "-o", "json", "--data-dir", &data_dir];
    let off: &[&str] = match flags.contains(&"--metrics-listen") {
        true => &[],
        false => &["--metrics-listen", "off"],
    };
    let findings = Findings::of(run(&[&given, off, flags].concat(), b""));
    assert!(!directory.path().join("d").exists(), "it has made the data directory");
    findings
}
