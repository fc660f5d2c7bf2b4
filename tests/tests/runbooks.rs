//! The pages of `ops/runbooks` are whole, and true: each is followed literally, command by command, on
//! a daemon for which it is needed, and so is the README.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "what was typed and printed is shown when a page fails")]

#[path = "runbooks/blocks.rs"]
mod blocks;
#[path = "runbooks/reader.rs"]
mod reader;
#[path = "runbooks/scenes.rs"]
mod scenes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use blocks::{Block, blocks, calls};
use dg_projections::Code;
use reader::Reader;
use scenes::Scene;

const HEADINGS: [&str; 5] =
    ["Symptom", "What it means", "First checks", "Steps", "It is over when"];

/// Pages of procedures that the drills of `ops/drills` execute. They have headings of their own.
const OF_DRILLS: [&str; 6] =
    ["backup", "point-in-time", "promote-standby", "reproducibility", "restore", "upgrade"];

/// Blocks that no test runs: they want systemd, a package, another machine or minutes.
const MOST_NOT_RUN: usize = 28;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The pages by name, the index left out.
fn pages() -> Vec<(String, String)> {
    let names = std::fs::read_dir(root().join("ops/runbooks")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<(String, String)> = names
        .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
        .filter(|name| name != "README")
        .map(|name| (name.clone(), read(format!("ops/runbooks/{name}.md"))))
        .collect();
    pages.sort();
    assert!(pages.len() > 40, "{}", pages.len());
    pages
}

fn is_of_drills(name: &str) -> bool {
    OF_DRILLS.contains(&name)
}

/// README and every page below `ops`, by their path.
fn documents() -> Vec<(String, String)> {
    let (mut found, mut folders) = (vec!["README.md".to_owned()], vec!["ops".to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.into_iter().map(|path| (path.clone(), read(path))).collect()
}

/// What `[text](target)` names on a page.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

#[test]
fn every_code_and_every_alert_has_its_page() {
    let names: BTreeSet<String> = pages().into_iter().map(|(name, _)| name).collect();
    for code in Code::ALL {
        let page = code.as_str().replace('_', "-");
        assert!(names.contains(&page), "{code} has no page {page}.md");
    }
    let rules = read("ops/prometheus/decisiongraph.rules.yml");
    let urls = || rules.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: "));
    assert!(urls().count() > 20);
    assert_eq!(urls().count(), rules.matches("- alert:").count(), "a rule links no page");
    for url in urls() {
        let page = url.strip_prefix("ops/runbooks/").and_then(|page| page.strip_suffix(".md"));
        assert!(page.is_some_and(|page| names.contains(page)), "{url} is not there");
    }
}

#[test]
fn every_page_has_the_headings_and_is_in_the_index() {
    let index = read("ops/runbooks/README.md");
    let listed: BTreeSet<&str> = links(&index).collect();
    for (name, text) in pages() {
        assert!(listed.contains(format!("{name}.md").as_str()), "{name} is not in the index");
        assert!(text.starts_with("# "), "{name}: no title");
        assert!(text.lines().count() <= 110, "{name}: too long to be read at night");
        if !is_of_drills(&name) {
            let own: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
            assert_eq!(own, HEADINGS, "{name}");
        }
    }
}

#[test]
fn the_index_names_every_code_and_every_alert() {
    let index = read("ops/runbooks/README.md");
    let rules = read("ops/prometheus/decisiongraph.rules.yml");
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for name in alerts.chain(Code::ALL.map(Code::as_str)) {
        assert!(index.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn no_link_is_dead() {
    for (path, text) in documents() {
        for target in links(&text).filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let of = match file {
                "" => path.clone(),
                file => Path::new(&path).parent().unwrap().join(file).display().to_string(),
            };
            let awaited = OF_DRILLS.iter().any(|page| of == format!("ops/runbooks/{page}.md"));
            assert!(awaited || root().join(&of).exists(), "{path}: {target} is not there");
            let anchors = || anchors(&read(&of));
            assert!(heading.is_empty() || anchors().contains(heading), "{path}: {target}");
        }
    }
}

/// What the headings of a page are called in links.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn every_command_that_is_shown_is_one() {
    let mut seen = 0;
    for (path, text) in documents() {
        for command in blocks(&path, &text).iter().flat_map(|block| &block.commands) {
            for words in calls(&command.text) {
                seen += 1;
                let parsed = dg_admin::cli::command().try_get_matches_from(&words);
                if let Err(problem) = parsed {
                    // `--version` and `help` are no mistakes.
                    assert_eq!(problem.exit_code(), 0, "{}: {words:?}\n{problem}", command.place);
                }
            }
        }
    }
    assert!(seen > 150, "{seen}");
}

#[test]
fn what_is_not_run_says_why_and_is_little() {
    let pages = pages().into_iter().filter(|(name, _)| !is_of_drills(name));
    let mut not_run = Vec::new();
    for (page, text) in pages.chain([("README".to_owned(), read("README.md"))]) {
        for Block { not_run: why, commands, .. } in blocks(&page, &text) {
            let as_root = commands.iter().find(|command| command.as_root);
            assert!(why.is_some() || as_root.is_none(), "{page} has a test be root: {as_root:?}");
            not_run.extend(why.map(|why| format!("{page}: {why}")));
        }
    }
    assert!(not_run.len() <= MOST_NOT_RUN, "{}: {not_run:#?}", not_run.len());
}

/// Follows a page from its first block to its last.
fn follow(page: &str, text: &str) {
    let mut scene = Scene::of(page);
    let mut reader = Reader::new(&scene.variables);
    for (name, content) in &scene.files {
        reader.directory().file(name, content);
    }
    for block in blocks(page, text) {
        if block.not_run.is_some() {
            scene.elsewhere.take().into_iter().for_each(|act| act());
            continue;
        }
        let mut commands = block.commands;
        for command in &mut commands {
            for (shown, own) in &scene.instead {
                command.text = command.text.replace(shown, own);
            }
        }
        if let Err(found) = reader.follow(&commands) {
            panic!("{found}");
        }
    }
}

macro_rules! followed {
    ($($test:ident)*) => {
        /// The pages that are followed, by the names of their tests.
        const FOLLOWED: &[&str] = &[$(stringify!($test)),*];
        mod followed {
            $(#[test]
            fn $test() {
                let page = stringify!($test).replace('_', "-");
                super::follow(&page, &super::read(format!("ops/runbooks/{page}.md")));
            })*
        }
    };
}

followed! {
    admin_defect
    append_slow
    appends_failed
    appends_refused
    capacity
    conflict
    daemon_down
    disk_full
    event_sequence_invalid
    failed_upgrade
    idempotency_conflict
    internal
    invalid_argument
    locks
    log_damage
    lost_commits
    moving_a_tenant
    node_restart
    not_found
    pii_policy_violation
    pool_exhausted
    projection_count_mismatch
    projection_failed
    projection_lag_growing
    projection_lagging
    projection_out_of_date
    projection_rows_differ
    run_failed
    run_interrupted
    run_stalled
    schema_violation
    scrape_incomplete
    storage
    store_down
    store_errors
    supervisor_escalated
    supervisor_restarting
    tenant_parked
    two_daemons
    visible_slow
    workers_retrying
    workers_silent
}

#[test]
fn every_page_is_followed() {
    let names: Vec<String> = pages()
        .into_iter()
        .map(|(name, _)| name.replace('-', "_"))
        .filter(|name| !is_of_drills(&name.replace('_', "-")))
        .collect();
    assert_eq!(FOLLOWED, names);
}

#[test]
fn the_readme_is_followed() {
    follow("README", &read("README.md"));
}
