//! What commands print: tables for people, stable JSON for scripts; quiet when the reader is gone.

mod words;

use std::io::{self, IsTerminal as _, Write};

use crate::failure::Failure;
use comfy_table::{Attribute, Cell, Table, presets};
use dg_projections::json::{Json, canonical, canonical_string};
pub use words::{ago, duration, field, grouped, instant, printable};
pub(crate) use words::{clock, roughly, shell_word, since, to_the_second};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document, keys sorted.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// How they are written.
    pub format: Format,
    /// Whether the terminal may be coloured.
    pub color: bool,
}

impl Output {
    /// For a format, with colour if standard output is a terminal that wants it.
    pub fn new(format: Format, no_color: bool) -> Output {
        let env_says_no = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Output { format, color: !no_color && !env_says_no && io::stdout().is_terminal() }
    }

    /// Prints one result: as JSON, or as `table` makes it.
    ///
    /// # Errors
    /// If standard output cannot be written; a closed pipe ends the command quietly.
    pub fn one(&self, value: &Json, table: impl FnOnce(&Json) -> String) -> Result<(), Failure> {
        print(&self.text_of_one(value, table))
    }

    /// What [`Output::one`] prints.
    pub fn text_of_one(&self, value: &Json, table: impl FnOnce(&Json) -> String) -> String {
        let text = match self.format {
            Format::Table => table(value),
            Format::Json => pretty(value),
            Format::Jsonl => canonical(value),
        };
        text + "\n"
    }

    /// Prints several results: as a JSON array, a line each, or as `table` makes them.
    ///
    /// # Errors
    /// As [`Output::one`].
    pub fn many(
        &self,
        values: &[Json],
        table: impl FnOnce(&[Json]) -> String,
    ) -> Result<(), Failure> {
        print(&self.text_of_many(values, table))
    }

    /// What [`Output::many`] prints.
    pub fn text_of_many(&self, values: &[Json], table: impl FnOnce(&[Json]) -> String) -> String {
        match self.format {
            Format::Table => table(values) + "\n",
            Format::Json => pretty(&Json::Array(values.to_vec())) + "\n",
            Format::Jsonl => values.iter().map(|value| canonical(value) + "\n").collect(),
        }
    }

    /// An aligned table; the first row is its head.
    pub fn table(&self, head: &[&str], rows: Vec<Vec<String>>) -> String {
        if rows.is_empty() {
            return "none".to_owned();
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(head.iter().map(|name| self.head_cell(name)));
        for row in rows {
            table.add_row(row.iter().map(|text| self.cell(text)));
        }
        let text = table.to_string();
        // The margins around each column are for its neighbours.
        let inner = |line: &'_ str| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned();
        let trimmed: Vec<String> = text.lines().map(inner).collect();
        trimmed.join("\n")
    }

    /// A word of a state outside a table, coloured as in one.
    pub(crate) fn state(&self, word: &str) -> String {
        let code = match tone(word) {
            _ if !self.color => 0,
            Tone::Plain => 0,
            Tone::Faint => 2,
            Tone::Bad => 31,
            Tone::Good => 32,
            Tone::Attention => 33,
            Tone::Busy => 36,
        };
        if code == 0 { word.to_owned() } else { format!("\x1b[{code}m{word}\x1b[0m") }
    }

    fn head_cell(&self, name: &str) -> Cell {
        let cell = Cell::new(name.to_uppercase());
        if self.color { cell.add_attribute(Attribute::Dim) } else { cell }
    }

    fn cell(&self, text: &str) -> Cell {
        use comfy_table::Color;
        let cell = Cell::new(text);
        if !self.color {
            return cell;
        }
        match tone(text) {
            Tone::Plain => cell,
            Tone::Faint => cell.add_attribute(Attribute::Dim),
            Tone::Good => cell.fg(Color::Green),
            Tone::Busy => cell.fg(Color::Cyan),
            Tone::Attention => cell.fg(Color::Yellow),
            Tone::Bad => cell.fg(Color::Red),
        }
    }
}

/// What a word of a table means to whoever looks for trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing in particular.
    Plain,
    /// Nothing to look at.
    Faint,
    /// As it should be.
    Good,
    /// At work.
    Busy,
    /// Worth a look.
    Attention,
    /// Somebody has to act.
    Bad,
}

/// The tone of a cell that is a word of a state; every other text is plain.
pub(crate) fn tone(text: &str) -> Tone {
    match text {
        "ok" | "idle" | "success" | "approved" | "up" | "current" | "inserted" | "completed"
        | "equal" | "resolved" => Tone::Good,
        "failed" | "failure" | "rejected" | "parked" | "down" | "away" | "different" => Tone::Bad,
        "retrying" | "behind" | "open" | "paused" | "interrupted" | "partial" | "warning" => {
            Tone::Attention
        }
        "starting" | "catching_up" | "stopping" | "running" | "queued" => Tone::Busy,
        "cancelled" => Tone::Faint,
        text if text.starts_with("equal at ") => Tone::Good,
        text if text.starts_with("DIFFERENT at ") => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`Output::one`].
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Writes text to standard output as it is.
///
/// # Errors
/// As [`Output::one`].
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::unprinted(&error))
}

/// Lets a command go on when nobody reads what it prints: where work is to be finished, or the exit
/// code is the answer.
///
/// # Errors
/// As [`Output::one`], but for a closed pipe.
pub fn heard_or_not(printed: Result<(), Failure>) -> Result<(), Failure> {
    match printed {
        Err(failure) if failure.is_silent => Ok(()),
        other => other,
    }
}

/// Writes a line to standard error; one that cannot be written has nowhere else to go.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// JSON over several lines, keys sorted.
pub fn pretty(value: &Json) -> String {
    let mut out = String::new();
    write_pretty(value, 0, &mut out);
    out
}

fn write_pretty(value: &Json, depth: usize, out: &mut String) {
    let indent = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    match value {
        Json::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                indent(out, depth + 1);
                write_pretty(item, depth + 1, out);
            }
            indent(out, depth);
            out.push(']');
        }
        Json::Object(members) if !members.is_empty() => {
            out.push('{');
            for (index, (key, item)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                indent(out, depth + 1);
                canonical_string(key, out);
                out.push_str(": ");
                write_pretty(item, depth + 1, out);
            }
            indent(out, depth);
            out.push('}');
        }
        flat => out.push_str(&canonical(flat)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_json_keeps_keys_sorted_and_empty_things_short() {
        let value = dg_projections::json::parse(r#"{"b":[1,{}],"a":{"c":[]}}"#).unwrap();
        assert_eq!(
            pretty(&value),
            "{\n  \"a\": {\n    \"c\": []\n  },\n  \"b\": [\n    1,\n    {}\n  ]\n}"
        );
    }
}
