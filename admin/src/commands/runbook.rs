//! `runbook`: the pages of `ops/runbooks`, in the binary, so that they are at hand where nothing else is.
//!
//! A page is asked for as whoever needs it has its name before him: as a page, as the error code of a
//! message, or as the alert of a pager. The three are one name, written differently.

use dg_projections::Code;
use dg_projections::json::{Json, Object};

use crate::cli::Session;
use crate::config::nearest;
use crate::failure::Failure;
use crate::output::printable;

/// A page's name and its text.
type Page = (&'static str, &'static str);

macro_rules! pages {
    ($($name:literal)*) => {
        &[$((
            $name,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/runbooks/", $name, ".md")),
        )),*]
    };
}

/// All pages but the index, by name; a test compares with the folder.
const PAGES: &[Page] = pages! {
    "admin-defect"
    "append-slow"
    "appends-failed"
    "appends-refused"
    "backup"
    "capacity"
    "conflict"
    "daemon-down"
    "disk-full"
    "event-sequence-invalid"
    "failed-upgrade"
    "idempotency-conflict"
    "internal"
    "invalid-argument"
    "locks"
    "log-damage"
    "lost-commits"
    "moving-a-tenant"
    "node-restart"
    "not-found"
    "pii-policy-violation"
    "point-in-time"
    "pool-exhausted"
    "projection-count-mismatch"
    "projection-failed"
    "projection-lag-growing"
    "projection-lagging"
    "projection-out-of-date"
    "projection-rows-differ"
    "promote-standby"
    "reproducibility"
    "restore"
    "run-failed"
    "run-interrupted"
    "run-stalled"
    "schema-violation"
    "scrape-incomplete"
    "storage"
    "store-down"
    "store-errors"
    "supervisor-escalated"
    "supervisor-restarting"
    "tenant-parked"
    "two-daemons"
    "upgrade"
    "visible-slow"
    "workers-retrying"
    "workers-silent"
};

pub(crate) fn runbook(session: &Session) -> Result<u8, Failure> {
    match session.text("name") {
        Some(name) => {
            let page = find(&name).ok_or_else(|| no_page(&name))?;
            session.output.one(&json_of(page), |_| page.1.trim_end().to_owned())?;
        }
        None => {
            let pages: Vec<Json> = PAGES.iter().map(json_of).collect();
            session.output.many(&pages, |_| {
                let rows = PAGES.iter().map(|page| vec![page.0.to_owned(), title(page).to_owned()]);
                session.output.table(&["page", "about"], rows.collect())
            })?;
        }
    }
    Ok(0)
}

fn find(name: &str) -> Option<&'static Page> {
    let wanted = page_name(name);
    PAGES.iter().find(|page| page.0 == wanted)
}

/// The name of the page for what may be a code, an alert or a file.
fn page_name(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.strip_suffix(".md").unwrap_or(name);
    let (mut page, mut last) = (String::new(), ' ');
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && last.is_ascii_lowercase() {
            page.push('-');
        }
        last = letter;
        page.push(if matches!(letter, '_' | ' ') { '-' } else { letter.to_ascii_lowercase() });
    }
    page
}

fn title(page: &Page) -> &'static str {
    page.1.lines().next().unwrap_or_default().trim_start_matches("# ")
}

fn json_of(page: &Page) -> Json {
    let members = [("name", page.0), ("title", title(page)), ("text", page.1)];
    Json::from(Object::from(members.map(|(key, text)| (key.to_owned(), Json::from(text)))))
}

fn no_page(name: &str) -> Failure {
    let words: Vec<String> = PAGES.iter().map(|page| page.0.replace('-', "_")).collect();
    let meant = nearest(&page_name(name), words.iter().map(String::as_str));
    let help = match meant {
        Some(word) => format!("did you mean `decisiongraph runbook {}`?", word.replace('_', "-")),
        None => "`decisiongraph runbook` lists all pages".to_owned(),
    };
    Failure::new(Code::NotFound, format!("there is no page {}", printable(name))).help(help)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_page_is_found_by_what_names_it() {
        let table = [
            ("storage", "storage"),
            ("projection_out_of_date", "projection-out-of-date"),
            ("StoreDown", "store-down"),
            ("store-down.md", "store-down"),
            ("ops/runbooks/store-down.md", "store-down"),
            ("STORAGE", "storage"),
        ];
        for (asked, expected) in table {
            assert_eq!(find(asked).map(|page| page.0), Some(expected), "{asked}");
        }
    }

    #[test]
    fn what_was_meant_is_suggested() {
        let help = |name| no_page(name).help.unwrap();
        assert!(help("StorDown").contains("runbook store-down`?"), "{}", help("StorDown"));
        assert!(help("dsk-full").contains("runbook disk-full`?"), "{}", help("dsk-full"));
        assert!(help("elephant").contains("lists all"), "{}", help("elephant"));
    }

    #[test]
    fn every_page_of_the_folder_is_in_the_binary() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/runbooks");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files: BTreeSet<String> = names
            .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
            .filter(|name| name != "README")
            .collect();
        let own: Vec<String> = PAGES.iter().map(|page| page.0.to_owned()).collect();
        assert_eq!(files.into_iter().collect::<Vec<_>>(), own, "in this order, in PAGES");
    }
}
