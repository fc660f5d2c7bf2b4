//! `completions` and `man`: what they print is what shells and readers of manuals take.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

use dg_tests::{Directory, run, skip};

/// Whether a program ran well over a file; none where there is no such program.
fn takes(program: &str, arguments: &[&str], file: &Path) -> Option<(bool, String)> {
    let output = Command::new(program).args(arguments).arg(file).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), said.into_owned()))
}

#[test]
fn completions_are_scripts_that_know_the_commands() {
    let directory = Directory::new();
    for (shell, program) in
        [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish"), ("elvish", ""), ("powershell", "")]
    {
        let script = run(&["completions", shell], b"").ok().stdout;
        for word in ["doctor", "rebuild", "completions", "database-url"] {
            assert!(script.contains(word), "{shell} has no {word}");
        }
        let file = directory.file(shell, &script);
        match takes(program, &["-n"], &file) {
            Some((is_well, said)) => assert!(is_well, "{shell}: {said}"),
            None if program.is_empty() => {}
            None => skip(&format!("no {program} to read its completions")),
        }
    }
    let answer = run(&["completions", "tcsh"], b"");
    assert_eq!(answer.code, 2, "{answer:?}");
}

#[test]
fn the_manual_has_a_page_for_each_command_and_renders() {
    let page = run(&["man"], b"").ok().stdout;
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
    for heading in ["NAME", "ENVIRONMENT", "FILES", "EXIT STATUS", "VERSION"] {
        let is_there = headings.iter().any(|found| found.trim_matches('"') == heading);
        assert!(is_there, "{heading} is not in {headings:?}");
    }
    let directory = Directory::new();
    let pages = directory.path().join("man").join("man1");
    run(&["man", pages.to_str().unwrap()], b"").ok();
    assert_eq!(std::fs::read_to_string(pages.join("decisiongraph.1")).unwrap(), page);
    for command in ["serve", "doctor", "rebuild", "migrate-status", "man"] {
        assert!(pages.join(format!("decisiongraph-{command}.1")).exists(), "{command}");
    }
    let renderer = ["groff", "-man", "-ww", "-z"];
    for page in std::fs::read_dir(&pages).unwrap() {
        let page = page.unwrap().path();
        match takes(renderer[0], &renderer[1..], &page) {
            Some((is_well, said)) => {
                assert!(is_well && said.is_empty(), "{}: {said}", page.display());
            }
            None => return skip("no groff to render manual pages"),
        }
    }
    let file = pages.join("decisiongraph.1");
    let (_, shown) = takes("groff", &["-man", "-Tascii", "-P-cbou"], &file).unwrap();
    for text in ["69", "daemon or database not reachable", "/etc/decisiongraph/config.toml"] {
        assert!(shown.contains(text), "{text} is not in:\n{shown}");
    }
}
