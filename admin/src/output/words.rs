//! Numbers, times and names in the words of what is shown to people: the same everywhere.

use dg_projections::json::{Json, canonical};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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
}
