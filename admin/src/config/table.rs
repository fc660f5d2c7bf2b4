//! The README's table of keys.

use std::fmt::Write as _;

use super::keys::{KEYS, Key};

/// The keys as a Markdown table: key, default, accepted, meaning, what changes it
/// in a daemon that runs. Ends with a line break.
#[must_use]
pub fn markdown_table() -> String {
    let mut table =
        "| Key | Default | Accepted | Meaning | Reload |\n|---|---|---|---|---|\n".to_owned();
    for key in KEYS {
        let [default, accepted, meaning, reload] = cells(key).map(|cell| cell.replace('|', "\\|"));
        // Writing to a String does not fail.
        let _ =
            writeln!(table, "| `{}` | {default} | {accepted} | {meaning} | {reload} |", key.name);
    }
    table
}

fn cells(key: &Key) -> [String; 4] {
    let default = key.default_text().map_or("none".to_owned(), |text| format!("`{text}`"));
    let reload = if key.reloadable { "yes" } else { "no" };
    [default, key.accepted(), key.meaning.to_owned(), reload.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_row_of_five_cells_for_every_key() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), KEYS.len() + 2);
        assert!(table.lines().all(|line| line.matches('|').count() == 6), "{table}");
        for row in [
            "| `pool_size` | `16` | 4 to 500 connections | the greatest number of database connections | no |\n",
            "| `socket_path` | `<data_dir>/decisiongraph.sock` | a path of 1 to 107 bytes | the admin socket | no |\n",
            "| `admin_uids` | none | ",
        ] {
            assert!(table.contains(row), "{row} is not in:\n{table}");
        }
    }
}
