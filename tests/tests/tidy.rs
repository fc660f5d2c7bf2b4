//! The house kept tidy: the dependency line, the layers, the sizes.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every Rust file below a folder of the project, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

/// The code of a file, without its comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Fails naming the first line that contains any of these; files of tests may do as they like.
fn refuse(folders: &[&str], words: &[&str], why: &str) {
    let sources = folders.iter().flat_map(|folder| sources(folder));
    for (name, text) in sources.filter(|(name, _)| !name.contains("tests")) {
        for line in code(&text) {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                panic!("{name} has '{word}', but {why}:\n{line}");
            }
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    let line = ["projections", "store", "runtime", "admin", "tests"];
    for (place, member) in line.iter().enumerate() {
        let manifest = std::fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        for later in &line[place..] {
            let own = manifest.lines().any(|line| line.starts_with(&format!("dg-{later}")));
            assert!(!own, "{member} must not depend on {later}");
        }
        assert!(manifest.contains("[lints]\nworkspace = true"), "{member} must inherit the lints");
    }
}

#[test]
fn projections_are_pure() {
    let words = [
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "std::thread",
        "std::time",
        "SystemTime",
        "Instant::now",
        "now_utc",
        "now_local",
        "tokio",
        "async fn",
        "println!",
        "eprintln!",
        "rand::",
    ];
    refuse(&["projections/src"], &words, "projections know no I/O, no clock, no async");
}

#[test]
fn only_the_store_speaks_sql() {
    // Statements as they begin in a string; words of prose in messages are lower case.
    let words = [
        "\"SELECT ",
        "\"INSERT INTO ",
        "\"UPDATE ",
        "\"DELETE FROM ",
        "\"CREATE ",
        "\"DROP ",
        "\"ALTER ",
        "\"BEGIN",
        "\"COMMIT",
        "\"TRUNCATE ",
        "SqlState",
    ];
    refuse(&["projections/src", "runtime/src", "admin/src"], &words, "SQL lives in the store");
}

#[test]
fn only_the_runtime_knows_actors() {
    let words = ["ractor"];
    refuse(&["projections/src", "store/src", "admin/src"], &words, "only the runtime knows ractor");
}

#[test]
fn the_pure_parts_of_the_runtime_stay_pure() {
    for name in ["worker/state.rs", "worker/policy.rs", "runs/state.rs"] {
        let text = std::fs::read_to_string(root().join("runtime/src").join(name)).unwrap();
        for line in code(&text) {
            for word in ["ractor", "tokio", "async ", "now_utc", "Instant::now"] {
                assert!(!line.contains(word), "{name} must stay pure: {line}");
            }
        }
    }
}

#[test]
fn no_file_grows_beyond_its_reader() {
    for folder in ["projections", "store", "runtime", "admin", "tests"] {
        for (name, text) in sources(folder) {
            let lines = text.lines().count();
            assert!(lines <= 500, "{name} has {lines} lines: make it a folder");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for folder in ["projections/src", "store/src", "runtime/src", "admin/src", "tests"] {
        for (name, text) in sources(folder) {
            assert!(text.starts_with("//!"), "{name} does not open with its purpose");
        }
    }
}

#[test]
fn migrations_are_those_that_the_binary_knows() {
    let mut files: Vec<String> = std::fs::read_dir(root().join("migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('V'))
        .collect();
    files.sort();
    let known: Vec<String> = dg_store::migrations()
        .iter()
        .map(|step| format!("V{:04}__{}.sql", step.version, step.name))
        .collect();
    assert_eq!(files, known);
}
