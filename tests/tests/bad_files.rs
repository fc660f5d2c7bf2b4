//! Input that is no JSON Lines, or hardly: a clear answer, the good lines in, never a panic.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Child;

use dg_projections::json::{self, Json};
use dg_tests::events::{generated, joined, observed, started, whole_trace};
use dg_tests::{Answer, Stage, run, skip, spawn, until};

fn number(result: &Json, key: &str) -> Option<i64> {
    result.get(key).and_then(Json::as_i64)
}

fn text<'a>(result: &'a Json, key: &str) -> &'a str {
    result.get(key).and_then(Json::as_str).unwrap_or_default()
}

/// Appends a file that begins with a start of trace `a`; the answer and the results by line.
fn append(stage: &Stage, content: &[u8]) -> (Answer, Vec<Json>) {
    let file = stage.daemon.directory().file("input.jsonl", content);
    let answer = stage.daemon.cli(&["append", file.to_str().unwrap()]);
    assert!(!answer.stderr.contains("panicked"), "{}", answer.stderr);
    assert!(!stage.daemon.log().contains("panicked"), "{}", stage.daemon.log());
    let results = answer.jsonl();
    (answer, results)
}

#[test]
fn lines_that_are_no_json_objects_are_refused_one_by_one() {
    let stage = Stage::new(&[]);
    let deep = "[".repeat(200_000);
    let digits = format!("{{\"trace_seq\":{}}}", "9".repeat(100_000));
    let (nul, half) = (started("n").replace("bot", "b\0t"), started("h")[..60].to_owned());
    let bad: Vec<(&[u8], &str)> = vec![
        (b"nonsense", "$"),
        (b"{}{}", "$"),
        (b"[]", "$"),
        (b"\"text\"", "$"),
        (b"null", "$"),
        (b"{\"event_id\":\"\xff\xfe\"}", ""),
        (b"\xc3", ""),
        (b"\0\0\0", "$"),
        (nul.as_bytes(), "$.actor.actor_id"),
        (half.as_bytes(), "$."),
        (deep.as_bytes(), ""),
        (b"\xef\xbb\xbf{}", "$"), // a byte order mark is none but at the start of a file
        (digits.as_bytes(), ""),
    ];
    let mut content = started("a").into_bytes();
    for (index, (line, _)) in bad.iter().enumerate() {
        content.extend_from_slice(b"\n");
        content.extend_from_slice(line);
        content.extend_from_slice(b"\n");
        content.extend_from_slice(observed("a", index + 1).as_bytes());
    }
    let (answer, results) = append(&stage, &content);
    assert_eq!((answer.code, results.len()), (4, 1 + 2 * bad.len()), "{}", answer.stderr);
    for (index, (line, path)) in bad.iter().enumerate() {
        let (refused, good) = (&results[1 + 2 * index], &results[2 + 2 * index]);
        let start = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
        assert_eq!(number(refused, "line"), Some(2 + 2 * index as i64));
        assert_eq!(text(good, "status"), "inserted", "after {start}: {good:?}");
        if index + 1 == bad.len() {
            assert_eq!(text(refused, "status"), "rejected");
            continue;
        }
        assert_eq!(text(refused, "code"), "invalid_argument", "{start}: {refused:?}");
        assert!(text(refused, "message").len() < 800, "{refused:?}");
        if !path.is_empty() {
            let given = refused.get("details").map_or("", |details| text(details, "path"));
            assert!(given.starts_with(path), "{start}: {refused:?}");
        }
    }
    let utf8 = text(&results[11], "message");
    assert!(utf8.contains("UTF-8") && utf8.contains("byte 14"), "{utf8}");
}

#[test]
fn line_ends_of_windows_and_a_byte_order_mark_are_understood() {
    let stage = Stage::new(&[]);
    let mut content = b"\xef\xbb\xbf".to_vec();
    for line in whole_trace("a") {
        content.extend_from_slice(line.as_bytes());
        content.extend_from_slice(b"\r\n");
    }
    content.extend_from_slice(b"\r\n  \r\n");
    let (answer, results) = append(&stage, &content);
    assert_eq!((answer.code, results.len()), (0, 6), "{answer:?}");
    // The last line needs no end, and a mark alone is no line.
    let (answer, results) = append(&stage, format!("\u{feff}\n{}", started("b")).as_bytes());
    assert_eq!((answer.code, number(&results[0], "line")), (0, Some(2)), "{answer:?}");
}

#[test]
fn a_line_beyond_any_event_is_refused_in_bounded_memory() {
    const LINE: usize = 256 * 1024 * 1024;
    let stage = Stage::new(&[]);
    let mut content = format!("{}\n{{\"payload\":\"", started("a")).into_bytes();
    content.resize(content.len() + 20 * 1024 * 1024, b'x');
    content.extend_from_slice(format!("\"}}\n{}\n", observed("a", 1)).as_bytes());
    content.resize(content.len() + LINE, b'y');
    content.extend_from_slice(format!("\n{}\n", observed("a", 2)).as_bytes());
    let socket = stage.daemon.socket();
    let mut child = spawn(&["append", "-", "--socket", socket.to_str().unwrap()]);
    let mut input = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(&content).map(|()| input));
    let answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let results: Vec<Json> =
        answers.take(5).map(|line| json::parse(&line.unwrap()).unwrap()).collect();
    // It waits for more: its peak can be read.
    let peak = peak_memory(child.id());
    drop(writing.join());
    assert_eq!(child.wait().unwrap().code(), Some(4));
    let shown: Vec<_> = results
        .iter()
        .map(|result| (number(result, "line").unwrap(), text(result, "status")))
        .collect();
    let (inserted, rejected) = ("inserted", "rejected");
    let expected = [(1, inserted), (2, rejected), (3, inserted), (4, rejected), (5, inserted)];
    assert_eq!(shown, expected);
    assert_eq!(text(&results[1], "code"), "invalid_argument");
    assert!(text(&results[1], "message").contains("longer than 16777216"), "{:?}", results[1]);
    assert!(peak < LINE, "{peak} bytes of memory");
}

/// The most memory that a process ever had, in bytes.
fn peak_memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn input_without_events_is_said_to_be_so() {
    let stage = Stage::new(&[]);
    let file = |content: &str| stage.daemon.directory().file("none.jsonl", content);
    for content in ["", "\n", "\n\n  \n\t\n\r\n"] {
        let file = file(content);
        let file = file.to_str().unwrap();
        let answer = stage.daemon.cli(&["append", file]).ok();
        assert_eq!((&*answer.stdout, &*answer.stderr), ("", "no events in the input\n"));
        let answer = stage.daemon.cli(&["import", file]).ok();
        assert_eq!(answer.stdout, "no events in the input\n");
        let answer = stage.daemon.cli(&["import", file, "-o", "json"]).ok().json();
        assert_eq!(number(&answer, "inserted"), Some(0));
        stage.daemon.cli(&["append", "--atomic", file]).ok();
    }
}

#[test]
fn what_is_no_readable_file_is_refused_before_anything_is_sent() {
    let stage = Stage::new(&[]);
    let directory = stage.daemon.directory().path().to_str().unwrap().to_owned();
    let missing = format!("{directory}/missing.jsonl");
    for command in ["append", "import"] {
        for (file, code, said) in
            [(&directory, 4, "it is a directory"), (&missing, 3, "No such file")]
        {
            let answer = stage.daemon.cli(&[command, file]);
            assert_eq!((answer.code, &*answer.stdout), (code, ""), "{answer:?}");
            assert!(
                answer.stderr.starts_with("error: ") && answer.stderr.contains(said),
                "{answer:?}"
            );
            assert!(answer.stderr.contains(file.as_str()), "{answer:?}");
        }
    }
    if nix::unistd::geteuid().is_root() {
        return skip("root may read every file");
    }
    let file = stage.daemon.directory().file("closed.jsonl", "{}\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    let answer = stage.daemon.cli(&["append", file.to_str().unwrap()]);
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.stderr.contains("Permission denied"), "{answer:?}");
}

/// Its exit code and what it wrote to standard error when nobody reads what it prints.
fn unread(mut child: Child) -> (Option<i32>, String) {
    drop((child.stdin.take(), child.stdout.take()));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (child.wait().unwrap().code(), stderr)
}

#[test]
fn a_command_whose_reader_is_gone_ends_quietly() {
    let stage = Stage::new(&[]);
    stage.import(&generated(50, 1));
    stage.import(&whole_trace("a"));
    let input = stage.daemon.directory().file("input.jsonl", joined(&whole_trace("b")));
    let (socket, input) = (stage.daemon.socket(), input.to_str().unwrap().to_owned());
    let append = ["append", &input];
    let import = ["import", &input];
    let commands: &[&[&str]] = &[
        &append,
        &import,
        &["export"],
        &["events", "--limit", "300"],
        &["trace", "a"],
        &["summary", "a"],
        &["graph", "trace", "a"],
        &["edges", "trace", "a"],
        &["precedents", "--policy", "limit"],
        &["status"],
        &["health"],
        &["health", "--check"],
        &["workers"],
        &["failures"],
        &["digest"],
        &["generate"],
        &["config"],
        &["config", "check"],
        &["--help"],
        &["--version"],
        &["help", "serve"],
    ];
    for command in commands {
        for format in ["table", "json", "jsonl"] {
            let mut arguments = command.to_vec();
            if !matches!(command[0], "--help" | "--version" | "help") {
                arguments.extend(["-o", format, "--socket", socket.to_str().unwrap()]);
            }
            assert_eq!(unread(spawn(&arguments)), (Some(0), String::new()), "{arguments:?}");
        }
    }
    for command in [
        &["verify"][..],
        &["migrate", "status"],
        &["parity", concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/parity_vectors.json")],
    ] {
        let (status, url) = (command.to_vec(), stage.url());
        let arguments = [status, vec!["--database-url", &url]].concat();
        assert_eq!(unread(spawn(&arguments)), (Some(0), String::new()), "{arguments:?}");
    }
    let scratch = "SELECT count(*) FROM pg_database WHERE datname LIKE 'dg_parity_%'";
    until("parity has removed its scratch database", || {
        (stage.daemon.sql().one(scratch) == "0").then_some(())
    });
    assert!(!stage.daemon.log().contains("panicked"), "{}", stage.daemon.log());
}

#[test]
fn a_reader_that_takes_one_line_of_many_is_no_trouble() {
    let stage = Stage::new(&[]);
    stage.import(&generated(400, 1));
    let socket = stage.daemon.socket();
    for command in ["export", "generate"] {
        let mut child = spawn(&[command, "--socket", socket.to_str().unwrap()]);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        json::parse(&line).unwrap();
        drop(lines);
        assert_eq!(unread(child), (Some(0), String::new()), "{command}");
    }
}

#[test]
fn lines_that_trickle_in_are_answered_as_they_come() {
    let stage = Stage::new(&[]);
    let socket = stage.daemon.socket();
    let mut child = spawn(&["append", "-", "--socket", socket.to_str().unwrap()]);
    let (mut input, mut answers) =
        (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut ask = |text: String, status: &str| {
        input.write_all(text.as_bytes()).unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let answer = json::parse(&line).unwrap();
        assert_eq!(text_of(&answer, "status"), status, "{line}");
        number(&answer, "line")
    };
    assert_eq!(ask(started("a") + "\n", "inserted"), Some(1));
    // A line in two pieces, with a pause in between, is one line.
    let line = observed("a", 1);
    let halves = format!("nonsense\n{}", &line[..50]);
    assert_eq!(ask(halves, "rejected"), Some(2));
    assert_eq!(ask(format!("{}\n", &line[50..]), "inserted"), Some(3));
    drop(input);
    let mut rest = String::new();
    answers.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("", Some(4)));
}

fn text_of(value: &Json, key: &str) -> String {
    text(value, key).to_owned()
}

#[test]
fn arguments_that_are_no_text_are_a_usage_error() {
    use std::os::unix::ffi::OsStrExt as _;
    let answer = run(&["import".as_ref(), std::ffi::OsStr::from_bytes(b"\xff\xfe.jsonl")], b"");
    assert_eq!((answer.code, &*answer.stdout), (2, ""), "{answer:?}");
    assert!(!answer.stderr.contains("panicked"), "{answer:?}");
}
