//! The README's table of keys and the commented configuration file are what the table of keys says.
//!
//! DECISIONGRAPH_TEST_WRITE_KEYS=1 cargo test -p dg-tests --test documented_keys writes both anew.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use dg_admin::config::{KEYS, commented_file, markdown_table};
use dg_tests::{Directory, run};

const BEGIN: &str = "<!-- keys: written by tests/tests/documented_keys.rs -->\n";
const END: &str = "<!-- end of keys -->";

/// Holds a file of the project against what it should be; writes it first when that is wanted.
fn hold(name: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name);
    if std::env::var_os("DECISIONGRAPH_TEST_WRITE_KEYS").is_some() {
        std::fs::write(&file, expected).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let lines = expected.lines().zip(kept.lines().chain(std::iter::repeat("")));
    let differing = lines.into_iter().find(|(expected, kept)| expected != kept);
    assert!(
        kept == expected,
        "{name} is not what the table of keys says: {differing:?}; write it with \
         DECISIONGRAPH_TEST_WRITE_KEYS=1 cargo test -p dg-tests --test documented_keys"
    );
}

#[test]
fn the_readme_has_every_key() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"));
    let readme = readme.unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    hold("README.md", &[before, BEGIN, &markdown_table(), END, after].concat());
}

#[test]
fn the_commented_file_has_every_key() {
    hold("ops/config.toml", &commented_file());
}

#[test]
fn the_commented_file_is_valid_with_and_without_its_comments() {
    let directory = Directory::new();
    // What else the machine has to have for it.
    let password = directory.file("password", "s3cret");
    let all = commented_file().replace("\n#", "\n").replace("\n ", "\n# ");
    let all = all.replace("/etc/decisiongraph/pg-password", password.to_str().unwrap());
    for (text, given) in [(commented_file(), 0), (all, KEYS.len())] {
        let file = directory.file("config.toml", &text);
        let answer = run(&["config", "check", "--config", file.to_str().unwrap()], b"");
        assert_eq!(answer.code, 0, "{answer:?}\n{text}");
        let shown = run(&["config", "--config", file.to_str().unwrap()], b"").ok().stdout;
        assert_eq!(shown.matches("file:").count(), given, "{shown}");
    }
}
