//! Receipts: what `verify` has checked, written down, compared elsewhere, and computed by others.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use dg_projections::json::Json;
use dg_tests::events::{generated, joined, started, whole_trace};
use dg_tests::{Answer, Stage};

/// What an auditor does with an export, as the README has it.
const AUDIT: &str = r#"sed -E 's/(.*),"recorded_at":"[^"]*"/\1/' "$0" | sha256sum"#;

fn by_hand(export: &Path) -> String {
    let output = Command::new("sh").args(["-c", AUDIT]).arg(export).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    format!("sha256:{}", text.split_whitespace().next().unwrap())
}

fn at<'a>(value: &'a Json, path: &[&str]) -> &'a Json {
    path.iter().fold(value, |value, key| value.get(key).unwrap_or(&Json::Null))
}

#[track_caller]
fn text(value: &Json, path: &[&str]) -> String {
    at(value, path).as_str().unwrap_or_else(|| panic!("{path:?}: {value:?}")).to_owned()
}

#[track_caller]
fn number(value: &Json, path: &[&str]) -> i64 {
    at(value, path).as_i64().unwrap_or_else(|| panic!("{path:?}: {value:?}"))
}

/// A daemon with a log, and files of its own.
struct Place {
    stage: Stage,
}

impl Place {
    fn new<L: AsRef<str>>(lines: &[L]) -> Place {
        let stage = Stage::new(&[]);
        stage.import(lines);
        Place { stage }
    }

    /// The same log at another place, its first lines or all.
    fn moved(&self, lines: usize) -> Place {
        let export = self.stage.daemon.cli(&["export"]).ok().stdout;
        let lines: Vec<&str> = export.lines().take(lines).collect();
        let stage = Stage::new(&[]);
        let import = ["import", "-", "--keep-log-seq"];
        stage.daemon.cli_with(&import, joined(&lines).as_bytes()).ok();
        stage.daemon.until_current("default");
        Place { stage }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.stage.daemon.directory().path().join(name)
    }

    fn verify(&self, more: &[&str]) -> Answer {
        self.stage.daemon.direct(&[&["verify"], more].concat())
    }

    /// A receipt of a proof that holds.
    fn receipt(&self, name: &str) -> PathBuf {
        let file = self.file(name);
        self.verify(&["--receipt", file.to_str().unwrap()]).ok();
        file
    }

    fn against(&self, receipt: &Path) -> Answer {
        self.verify(&["--against", receipt.to_str().unwrap(), "-o", "json"])
    }

    /// The first difference from a receipt.
    #[track_caller]
    fn parting(&self, receipt: &Path) -> Json {
        let answer = self.against(receipt);
        assert_eq!(answer.code, 7, "{answer:?}");
        let told = self.verify(&["--against", receipt.to_str().unwrap()]);
        assert_eq!(told.code, 7, "{told:?}");
        assert!(told.stdout.contains("different"), "{told:?}");
        assert!(told.stderr.starts_with("help: "), "{told:?}");
        let parting = at(&answer.json(), &["against", "difference"]).clone();
        assert!(told.stdout.contains(&text(&parting, &["expected"])), "{told:?}");
        parting
    }
}

/// A log whose values look like what is cut out of its lines, and like nothing that `sed` expects.
fn hostile() -> Vec<String> {
    let mut lines = whole_trace("a");
    let odd = r#"\u007f \u0001 é 𝄞 \" ,\"recorded_at\":\"2026\" \\"#;
    let tags = format!(r#""tags":["{odd}",",\"recorded_at\":\"x\""]"#);
    let event = started("odd").replacen('{', &format!("{{{tags},"), 1);
    lines.push(event.replace("\"title\":\"", &format!("\"recorded_at\":\"y\",\"title\":\"{odd}")));
    lines
}

#[test]
fn the_hash_of_a_log_is_that_of_its_export_by_sed_and_sha256sum() {
    let place = Place::new(&hostile());
    let daemon = &place.stage.daemon;
    let proven = place.verify(&["-o", "json"]).ok().json();
    let hash = text(&proven, &["log", "hash"]);
    let export = daemon.cli(&["export"]).ok().stdout;
    assert!(export.contains("\"title\":\"\u{7f} \\u0001"), "{export}");
    assert_eq!(by_hand(&daemon.directory().file("export", &export)), hash);
    let digest = daemon.cli(&["digest", "--log-hash", "-o", "json"]).ok().json();
    assert_eq!(text(&digest, &["log", "hash"]), hash);
    let events = export.lines().count() as i64;
    for counted in [&["event_count"][..], &["last_log_seq"], &["log", "event_count"]] {
        assert_eq!(number(&digest, counted), events, "{digest:?}");
    }
    let table = daemon.cli(&["digest", "--log-hash"]).ok().stdout;
    assert!(table.contains(&hash), "{table}");
    // A field that no projection reads is of the log all the same.
    daemon.sql().tamper("UPDATE dg_event_log SET source_system = 'other' WHERE log_seq = 2");
    assert_ne!(text(&place.verify(&["-o", "json"]).ok().json(), &["log", "hash"]), hash);
}

#[test]
fn digest_tells_what_an_auditor_asks() {
    let place = Place::new(&whole_trace("a"));
    let digest = place.stage.daemon.cli(&["digest", "-o", "json"]).ok().json();
    assert_eq!(text(&digest, &["tenant_id"]), "default");
    assert_eq!(text(&digest, &["versions", "runtime"]), env!("CARGO_PKG_VERSION"));
    assert_eq!(number(&digest, &["versions", "semantics"]), i64::from(dg_projections::SEMANTICS));
    let server = place.stage.daemon.sql().one("SHOW server_version");
    assert_eq!(text(&digest, &["versions", "postgres"]), server);
    let schema = place.stage.daemon.sql().one("SELECT max(version) FROM dg_schema_migrations");
    assert_eq!(number(&digest, &["versions", "schema"]).to_string(), schema);
    assert!(at(&digest, &["log"]).is_null(), "the log is read only when it is asked for");
}

#[test]
fn a_receipt_names_what_was_checked_and_where_and_is_stable_but_for_its_time() {
    let place = Place::new(&whole_trace("a"));
    let (first, second) = (place.receipt("first.json"), place.receipt("second.json"));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let timeless = |path: &Path| {
        let text = read(path);
        let lines = text.lines().filter(|line| !line.contains("\"checked_at\""));
        lines.map(|line| line.to_owned() + "\n").collect::<String>()
    };
    assert_eq!(timeless(&first), timeless(&second));
    let receipt = dg_projections::json::parse(&read(&first)).unwrap();
    let sql = place.stage.daemon.sql();
    let system = sql.one("SELECT system_identifier FROM pg_control_system()");
    assert_eq!(text(&receipt, &["database", "system_identifier"]), system);
    assert_eq!(number(&receipt, &["database", "timeline"]), 1);
    assert_eq!(text(&receipt, &["outcome"]), "proven");
    let events: i64 = sql.one("SELECT count(*) FROM dg_event_log").parse().unwrap();
    assert_eq!(number(&receipt, &["log", "event_count"]), events);
    for table in [
        "dg_cg_nodes",
        "dg_cg_edges",
        "dg_trace_summary",
        "dg_policy_eval_index",
        "dg_precedent_index",
    ] {
        let rows = sql.one(&format!("SELECT count(*) FROM {table}"));
        assert_eq!(number(&receipt, &["rows", table]).to_string(), rows, "{table}");
    }
    let stored = place.stage.daemon.cli(&["digest", "-o", "json"]).ok().json();
    for name in ["context_graph", "trace_summary", "precedent_index", "full_projection"] {
        let path = ["digests", name, "digest"];
        assert_eq!(text(&receipt, &path), text(&stored, &path));
    }
    assert_eq!(place.against(&first).code, 0);
}

#[test]
fn a_receipt_is_never_written_over_and_there_is_never_half_of_one() {
    let place = Place::new(&whole_trace("a"));
    let precious = place.stage.daemon.directory().file("precious", "mine");
    let answer = place.verify(&["--receipt", precious.to_str().unwrap()]);
    assert_eq!(answer.code, 5, "{answer:?}");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "mine");
    let nowhere = place.file("gone/receipt.json");
    let answer = place.verify(&["--receipt", nowhere.to_str().unwrap()]);
    assert_eq!((answer.code, answer.stderr.contains("help: ")), (4, true), "{answer:?}");
    let receipts = place.file("receipts");
    std::fs::create_dir(&receipts).unwrap();
    place.receipt("receipts/one.json");
    let names: Vec<_> =
        std::fs::read_dir(&receipts).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["one.json"], "nothing else is left");
}

#[test]
fn a_log_moved_elsewhere_is_the_same_and_its_receipt_says_so() {
    let here = Place::new(&["a", "b"].map(whole_trace).concat());
    let receipt = here.receipt("receipt.json");
    let there = here.moved(usize::MAX);
    let answer = there.against(&receipt).ok().json();
    let against = at(&answer, &["against"]);
    assert_eq!(at(against, &["same"]).as_bool(), Some(true));
    assert_eq!((number(against, &["events"]), number(against, &["events_since"])), (12, 0));
    assert_eq!(at(against, &["not_compared"]).as_array().map(<[Json]>::len), Some(0));
    let told = there.verify(&["--against", receipt.to_str().unwrap()]).ok().stdout;
    assert!(told.lines().last().unwrap().starts_with("same as in the receipt of 2"), "{told}");
}

#[test]
fn an_event_that_was_changed_is_named_though_every_proof_holds() {
    let here = Place::new(&["a", "b"].map(whole_trace).concat());
    let receipt = here.receipt("receipt.json");
    let sql = here.stage.daemon.sql();
    sql.tamper("UPDATE dg_event_log SET correlation_id = 'forged' WHERE log_seq = 9");
    here.verify(&[]).ok();
    let parting = here.parting(&receipt);
    assert_eq!(
        (text(&parting, &["what"]), text(&parting, &["key"])),
        ("log".into(), "event 9".into())
    );
    assert_eq!(number(&parting, &["same_events"]), 8);
    let told = here.verify(&["--against", receipt.to_str().unwrap()]);
    assert!(told.stderr.contains("--since-log-seq 8 --until-log-seq 9"), "{told:?}");
}

#[test]
fn of_a_long_log_the_range_is_named_in_which_it_parts() {
    let here = Place::new(&generated(250, 1));
    let events: i64 =
        here.stage.daemon.sql().one("SELECT count(*) FROM dg_event_log").parse().unwrap();
    assert!((1_001..=2_000).contains(&events), "{events}");
    let receipt = here.receipt("receipt.json");
    let marks = dg_projections::json::parse(&std::fs::read_to_string(&receipt).unwrap()).unwrap();
    assert_eq!(at(&marks, &["log", "marks"]).as_array().unwrap().len() as i64, (events + 1) / 2);
    let sql = here.stage.daemon.sql();
    sql.tamper("UPDATE dg_event_log SET correlation_id = 'forged' WHERE log_seq = 777");
    assert_eq!(text(&here.parting(&receipt), &["key"]), "events 777 to 778");
}

#[test]
fn events_lacking_at_the_end_are_told_and_those_that_came_since_are_no_difference() {
    let here = Place::new(&["a", "b"].map(whole_trace).concat());
    let early = here.moved(6);
    let (long, short) = (here.receipt("long.json"), early.receipt("short.json"));
    let parting = early.parting(&long);
    assert_eq!(text(&parting, &["key"]), "is shorter");
    assert_eq!(
        (text(&parting, &["expected"]), text(&parting, &["found"])),
        ("12 events".into(), "6 events".into())
    );
    assert_eq!(number(&parting, &["same_events"]), 6);
    let grown = here.against(&short).ok().json();
    let against = at(&grown, &["against"]);
    assert_eq!((number(against, &["events"]), number(against, &["events_since"])), (6, 6));
    // All four are compared, at the place where the log ended then.
    assert_eq!(at(against, &["not_compared"]).as_array().map(<[Json]>::len), Some(0));
    forged(&short, "trace_summary");
    assert_eq!(text(&here.parting(&short), &["key"]), "trace_summary at 6");
}

/// Puts another digest into a receipt.
fn forged(receipt: &Path, name: &str) {
    let text = std::fs::read_to_string(receipt).unwrap();
    let (before, after) = text.split_once(&format!("\"{name}\": {{")).unwrap();
    let at = after.find("sha256:").unwrap() + "sha256:".len();
    let forged = format!("{before}\"{name}\": {{{}{:0<64}{}", &after[..at], "", &after[at + 64..]);
    std::fs::write(receipt, forged).unwrap();
}

#[test]
fn other_digests_of_the_same_log_and_another_tenant_are_told() {
    let here = Place::new(&whole_trace("a"));
    let receipt = here.receipt("receipt.json");
    let other = here.verify(&["-t", "other", "--against", receipt.to_str().unwrap()]);
    assert_eq!(other.code, 7, "{other:?}");
    assert!(
        other.stdout.starts_with("different: tenant other: the receipt has default"),
        "{other:?}"
    );
    assert!(other.stderr.contains("-t default"), "{other:?}");
    forged(&receipt, "context_graph");
    let parting = here.parting(&receipt);
    assert_eq!(
        (text(&parting, &["what"]), text(&parting, &["key"])),
        ("digest".into(), "context_graph at 6".into())
    );
}

#[test]
fn what_is_no_receipt_is_refused_with_a_remedy() {
    let here = Place::new(&whole_trace("a"));
    let whole = std::fs::read_to_string(here.receipt("receipt.json")).unwrap();
    let directory = here.stage.daemon.directory();
    let newer = whole.replace("\"version\": 1", "\"version\": 99");
    let table = [
        ("truncated", &whole[..whole.len() / 3], "no whole receipt"),
        ("other", "{\"a\":1}", "decisiongraph-receipt"),
        ("newer", newer.as_str(), "version 99"),
    ];
    for (name, content, why) in table {
        let answer = here.against(&directory.file(name, content));
        assert_eq!(answer.code, 4, "{name}: {answer:?}");
        assert!(answer.stderr.contains(why), "{name}: {answer:?}");
    }
    assert_eq!(here.against(&here.file("gone")).code, 3);
}

#[test]
fn a_proof_that_failed_is_written_down_as_one_and_proves_nothing() {
    let here = Place::new(&whole_trace("a"));
    here.stage.daemon.sql().rows("UPDATE dg_trace_summary SET title = 'x'");
    let file = here.file("receipt.json");
    assert_eq!(here.verify(&["--receipt", file.to_str().unwrap()]).code, 7);
    let receipt = dg_projections::json::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(text(&receipt, &["outcome"]), "different");
    assert_eq!(text(&receipt, &["difference", "table"]), "dg_trace_summary");
    let answer = here.against(&file);
    assert_eq!(answer.code, 4, "{answer:?}");
}
