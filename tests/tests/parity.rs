//! Bundles of scenarios through the real pipeline into Postgres.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_tests::{Database, run, skip};

fn parity(files: &[&str]) -> dg_tests::Answer {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::empty());
    let url = database.url();
    let mut arguments = vec!["parity", "--database-url", &url];
    arguments.extend(files);
    run(&arguments, b"")
}

#[test]
fn all_parity_vectors_give_their_rows_and_digests() {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/parity_vectors.json");
    let answer = parity(&[vectors]).ok();
    assert_eq!(answer.stdout.lines().filter(|line| line.starts_with("same ")).count(), 24);
    assert!(answer.stdout.ends_with("24 scenarios, 0 different\n"), "{}", answer.stdout);
}

#[test]
fn bundles_named_by_the_environment_give_their_rows_and_digests() {
    let Ok(files) = std::env::var("DECISIONGRAPH_PARITY") else {
        return skip("no bundle besides our own: DECISIONGRAPH_PARITY is not set");
    };
    let files: Vec<&str> = files.split(':').filter(|file| !file.is_empty()).collect();
    let answer = parity(&files).ok();
    assert!(answer.stdout.contains("same "), "{}", answer.stdout);
}

#[test]
fn a_changed_bundle_is_told_apart() {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/parity_vectors.json");
    let text = std::fs::read_to_string(vectors).unwrap();
    let directory = dg_tests::Directory::new();
    // The first title of the bundle stands in an event and, as it should be, in a summary.
    let file = directory
        .file("changed.json", text.replacen("\"workflow\":", "\"workflow\":\"x\",\"was\":", 1));
    let answer = parity(&[file.to_str().unwrap()]);
    assert_eq!(answer.code, 7, "{answer:?}");
    assert!(answer.stdout.contains("different  stream-100"), "{}", answer.stdout);
}
