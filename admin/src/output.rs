//! What commands print: tables for people, stable JSON for scripts; quiet when the reader is gone.

use std::io::{self, IsTerminal as _, Write};

use comfy_table::{Attribute, Cell, Table, presets};
use dg_projections::json::{Json, canonical, canonical_string};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

/// How long ago it was, in one unit: `3 s ago`; what is to come is `in 3 s`.
pub fn ago(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let seconds = (now - at).whole_seconds();
    let text = roughly(seconds.unsigned_abs());
    if seconds < 0 { format!("in {text}") } else { format!("{text} ago") }
}

/// How long ago a member that is an instant was.
pub(crate) fn since(value: &Json, key: &str) -> String {
    let at = instant(value, key);
    at.map_or_else(|| "-".to_owned(), |at| ago(at, OffsetDateTime::now_utc()))
}

/// A number of whole seconds in one unit.
pub(crate) fn roughly(seconds: u64) -> String {
    match seconds {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// A time of the day, to the second.
pub(crate) fn clock(at: OffsetDateTime) -> String {
    format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
}

/// A day and a time of it, without the fraction.
pub(crate) fn to_the_second(at: OffsetDateTime) -> String {
    format!("{} {}", at.date(), clock(at))
}

/// A member that is an instant.
pub fn instant(value: &Json, key: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(value.get(key)?.as_str()?, &Rfc3339).ok()
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

/// Text without the characters that would move a terminal's cursor or turn the direction of what
/// stands around them.
pub fn printable(text: &str) -> String {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

/// A name as a word of a command that is shown to be copied: whoever chose the name must not choose what
/// a shell does.
pub(crate) fn shell_word(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/@%+=,".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("'{}'", printable(name).replace('\'', r"'\''"))
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
    fn what_moves_the_cursor_or_turns_text_around_is_made_visible() {
        for c in
            ['\u{1b}', '\u{9b}', '\n', '\u{61c}', '\u{200f}', '\u{202e}', '\u{2066}', '\u{2069}']
        {
            assert_eq!(printable(&format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
        assert_eq!(printable("Zoë, 東京, שלום 🚀"), "Zoë, 東京, שלום 🚀");
    }

    #[test]
    fn a_name_is_one_word_to_a_shell_whatever_it_holds() {
        for (name, word) in [
            ("acme", "acme"),
            ("acme-eu.2/x", "acme-eu.2/x"),
            ("", "''"),
            ("two words", "'two words'"),
            ("$(reboot)`x`;", "'$(reboot)`x`;'"),
            ("it's", r"'it'\''s'"),
            ("a\nb", "'a\u{fffd}b'"),
        ] {
            assert_eq!(shell_word(name), word);
        }
    }

    #[test]
    fn an_instant_is_so_long_ago() {
        let ago = |seconds| {
            let at = OffsetDateTime::UNIX_EPOCH;
            super::ago(at, at + time::Duration::seconds(seconds))
        };
        for (seconds, text) in [
            (0, "0 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3600, "1 h ago"),
            (172_799, "47 h ago"),
            (172_800, "2 d ago"),
            (-90, "in 1 min"),
        ] {
            assert_eq!(ago(seconds), text);
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
