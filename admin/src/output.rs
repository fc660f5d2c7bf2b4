//! What commands print: tables for people, stable JSON for scripts; quiet when the reader is gone.

use std::io::{self, IsTerminal as _, Write};

use comfy_table::{Attribute, Cell, Table, presets};
use dg_projections::json::{Json, canonical, canonical_string};

use crate::failure::Failure;

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
        match self.format {
            Format::Table => line(&table(value)),
            Format::Json => line(&pretty(value)),
            Format::Jsonl => line(&canonical(value)),
        }
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
        match self.format {
            Format::Table => line(&table(values)),
            Format::Json => line(&pretty(&Json::Array(values.to_vec()))),
            Format::Jsonl => values.iter().try_for_each(|value| line(&canonical(value))),
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
        match text {
            "ok" | "idle" | "success" | "approved" | "up" | "current" | "inserted"
            | "completed" | "equal" => cell.fg(Color::Green),
            "failed" | "failure" | "rejected" | "down" | "different" => cell.fg(Color::Red),
            "retrying" | "starting" | "catching_up" | "behind" | "open" | "paused"
            | "interrupted" | "warning" => cell.fg(Color::Yellow),
            "running" | "queued" => cell.fg(Color::Cyan),
            "cancelled" => cell.add_attribute(Attribute::Dim),
            text if text.starts_with("equal at ") => cell.fg(Color::Green),
            text if text.starts_with("DIFFERENT at ") => cell.fg(Color::Red),
            _ => cell,
        }
    }
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`Output::one`].
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
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

/// `1234567` as `1,234,567`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of seconds as people say it.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {} s", (s / 60.0) as u64, s as u64 % 60),
        s if s < 86_400.0 => format!("{} h {} min", (s / 3600.0) as u64, (s / 60.0) as u64 % 60),
        s => format!("{} d {} h", (s / 86_400.0) as u64, (s / 3600.0) as u64 % 24),
    }
}

/// A member as text for a table cell: strings as they are, numbers grouped, nothing as `-`.
pub fn field(value: &Json, key: &str) -> String {
    match value.get(key) {
        None | Some(Json::Null) => "-".to_owned(),
        Some(Json::String(text)) => printable(text),
        Some(number @ Json::Number(_)) => {
            number.as_i64().map_or_else(|| canonical(number), grouped)
        }
        Some(Json::Bool(value)) => (if *value { "yes" } else { "no" }).to_owned(),
        Some(other) => canonical(other),
    }
}

/// Text without the control characters that would move a terminal's cursor.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(
            |c| {
                if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) {
                    '\u{fffd}'
                } else {
                    c
                }
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_times_are_readable() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
        let times = [
            (0.0123, "12 ms"),
            (3.04, "3.0 s"),
            (75.0, "1 min 15 s"),
            (7260.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
        ];
        for (seconds, text) in times {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn pretty_json_keeps_keys_sorted_and_empty_things_short() {
        let value = dg_projections::json::parse(r#"{"b":[1,{}],"a":{"c":[]}}"#).unwrap();
        assert_eq!(
            pretty(&value),
            "{\n  \"a\": {\n    \"c\": []\n  },\n  \"b\": [\n    1,\n    {}\n  ]\n}"
        );
    }
}
