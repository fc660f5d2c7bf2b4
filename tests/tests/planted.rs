//! The planted bugs of `ops/planted.sh`: each still applies to the tree, says what it is, and names a
//! scenario that there is. Whether it is found is for the tool to tell.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use dg_tests::faults::SCENARIOS;
use dg_tests::skip;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn patches() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(root().join("tests/planted")).unwrap();
    let mut patches: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    patches.sort();
    patches
}

#[test]
fn every_planted_bug_applies_to_the_tree() {
    if Command::new("git").arg("--version").output().is_err() {
        return skip("git is not installed: whether planted bugs apply is not known");
    }
    for patch in patches() {
        // Outside of a repository, too: paths are taken as they are.
        let check = Command::new("git")
            .args(["apply", "--check"])
            .arg(&patch)
            .current_dir(root())
            .env("GIT_DIR", "/nonexistent")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success(), "{} does not apply any more: {told}", patch.display());
    }
}

#[test]
fn every_planted_bug_says_what_it_is_and_who_finds_it() {
    let patches = patches();
    assert!(patches.len() >= 10, "{patches:?}");
    for patch in patches {
        let text = std::fs::read_to_string(&patch).unwrap();
        let name = patch.display();
        let (head, diff) = text.split_once("\n--- a/").unwrap();
        assert!(head.contains("\nHow real: "), "{name} does not say how real it is");
        let scenario = head.lines().find_map(|line| line.strip_prefix("Scenario: ")).unwrap();
        let is_there = SCENARIOS.iter().any(|one| one.name == scenario);
        assert!(is_there, "{name}: there is no scenario {scenario}");
        // It mutates the product, not those who look for it.
        assert!(!diff.contains("a/tests/"), "{name} touches the tests");
    }
}
