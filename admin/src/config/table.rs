//! The README's table of keys.

use std::fmt::Write as _;

use super::keys::{KEYS, Key};

/// The keys as a Markdown table: key, default, accepted, meaning. Ends with a line break.
#[must_use]
pub fn markdown_table() -> String {
    let mut table = "| Key | Default | Accepted | Meaning |\n|---|---|---|---|\n".to_owned();
    for key in KEYS {
        let [default, accepted, meaning] = cells(key).map(|cell| cell.replace('|', "\\|"));
        // Writing to a String does not fail.
        let _ = writeln!(table, "| `{}` | {default} | {accepted} | {meaning} |", key.name);
    }
    table
}

fn cells(key: &Key) -> [String; 3] {
    let default = key.default_text().map_or("none".to_owned(), |text| format!("`{text}`"));
    [default, key.accepted(), key.meaning.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_a_row_of_four_cells_for_every_key() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), KEYS.len() + 2);
        assert!(table.lines().all(|line| line.matches('|').count() == 5), "{table}");
        for row in [
            "| `pool_size` | `16` | 4 to 500 connections | the greatest number of database connections |\n",
            "| `socket_path` | `<data_dir>/decisiongraph.sock` | a path of 1 to 107 bytes | the admin socket |\n",
            "| `admin_uids` | none | ",
        ] {
            assert!(table.contains(row), "{row} is not in:\n{table}");
        }
    }
}
