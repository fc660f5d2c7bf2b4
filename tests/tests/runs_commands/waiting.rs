//! `--wait`: what is seen meanwhile, and the exit code.

use std::io::Read as _;

use dg_tests::{spawn, until};

use crate::*;

const COMPLETED: &str = "status = 'completed', phase = NULL, finished_at = now()";

#[test]
fn who_waits_gets_the_outcome_as_exit_code() {
    let (stage, sql) = held();
    let waits = |number| stage.daemon.cli(&["run", &id(number), "--wait"]);
    for (number, values) in [(1, FAILED), (2, CANCELLED), (3, INTERRUPTED)] {
        make(&sql, number, values);
    }
    for (number, code, said) in [
        (1, 4, "error: schema_violation: no title\nhelp: after mending, `decisiongraph resume "),
        (2, 1, "error: cancelled: run "),
        (3, 1, "error: interrupted: run "),
    ] {
        let answer = waits(number);
        assert_eq!(answer.code, code, "{answer:?}");
        assert!(
            answer.stderr.starts_with(said) && answer.stdout.contains(&id(number)),
            "{answer:?}"
        );
    }
    make(&sql, 4, "reason = 'equal'");
    compared(&sql, 4, "NULL");
    assert_eq!(waits(4).ok().stderr, "");
    // A dry run that finds a difference is a proof that failed; a rebuild has mended it.
    make(&sql, 5, "dry_run = true");
    compared(&sql, 5, DIFFERENCE);
    let answer = waits(5);
    assert_eq!(answer.code, 7, "{answer:?}");
    assert!(answer.stderr.starts_with(&format!("different: {IN_WORDS}\nhelp: ")), "{answer:?}");
    make(&sql, 6, "reason = 'different'");
    compared(&sql, 6, DIFFERENCE);
    let answer = waits(6).ok();
    assert!(
        answer.stderr.starts_with("WARNING: ") && answer.stderr.contains(IN_WORDS),
        "{answer:?}"
    );
    let json = stage.daemon.cli(&["run", &id(6), "--wait", "-o", "json"]).ok();
    assert_eq!(json.json(), shown(&stage, &id(6)));
}

/// A command of the client that runs beside the test.
struct Waiting {
    child: std::process::Child,
    said: std::sync::mpsc::Receiver<String>,
    before: String,
}

impl Waiting {
    fn start(stage: &Stage, arguments: &[&str]) -> Waiting {
        use std::io::BufRead as _;
        let socket = stage.daemon.socket();
        let mut child = spawn(&[arguments, &["--socket", socket.to_str().unwrap()]].concat());
        let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        let (say, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| say.send(line))
        });
        Waiting { child, said, before: String::new() }
    }

    /// Waits until it has said something like this on standard error.
    #[track_caller]
    fn until(&mut self, part: &str) {
        until(&format!("it says '{part}'"), || {
            self.before.extend(self.said.try_iter().map(|line| line + "\n"));
            self.before.contains(part).then_some(())
        });
    }

    fn ends(mut self) -> (i32, String) {
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        (self.child.wait().unwrap().code().unwrap(), out)
    }
}

#[test]
fn a_run_is_followed_to_its_end_across_a_restart_of_the_daemon() {
    let (mut stage, sql) = held();
    make(&sql, 1, RUNNING);
    let mut waiting = Waiting::start(&stage, &["run", &id(1), "--wait"]);
    waiting.until("running: building, 1,500 of 6,000 events (25 %), 3,000 events/s, 1.5 s left\n");
    assert_eq!(stage.daemon.stop(), 0);
    waiting.until("waiting for it\n");
    stage.daemon.restart();
    sql.rows("UPDATE dg_projection_runs SET phase = 'comparing', processed_events = 6000");
    waiting.until("running: comparing, 6,000 of 6,000 events (100 %)");
    sql.rows(&format!("UPDATE dg_projection_runs SET {COMPLETED}"));
    assert_eq!(waiting.before.matches("waiting for it").count(), 1);
    let (code, card) = waiting.ends();
    assert!(code == 0 && card.contains("status     completed"), "{code} {card}");
}

#[test]
fn who_stops_waiting_does_not_stop_the_run() {
    let (stage, _sql) = held();
    let rebuild = ["rebuild", "all", "--reason", "x", "--wait"];
    let mut waiting = Waiting::start(&stage, &rebuild);
    waiting.until("queued: waits for its turn, 0 of 18 events (0 %)\n");
    let pid = nix::unistd::Pid::from_raw(waiting.child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    waiting.until("help: the run goes on; `decisiongraph cancel ");
    assert_eq!(waiting.ends(), (130, String::new()));
    let runs = stage.daemon.cli(&["runs", "--status", "queued", "-o", "json"]).ok().json();
    assert_eq!(runs.as_array().unwrap().len(), 1);
}
