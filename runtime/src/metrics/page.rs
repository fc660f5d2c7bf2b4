//! Metrics as Prometheus reads them, written at each scrape from what is true then, beside the
//! recorder: what cannot be asked has no series, rather than an old value.

use std::fmt::Write as _;

/// The text of a scrape.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// A page without metrics.
    pub fn new() -> Page {
        Page::default()
    }

    /// A gauge of this name and meaning; what is not added to has no trace on the page.
    pub fn gauge<'a>(&'a mut self, name: &'a str, meaning: &'a str) -> Family<'a> {
        Family { page: self, name, meaning, kind: "gauge", is_empty: true }
    }

    /// The same for a counter.
    pub fn counter<'a>(&'a mut self, name: &'a str, meaning: &'a str) -> Family<'a> {
        Family { kind: "counter", ..self.gauge(name, meaning) }
    }

    /// What has been written.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// The series of one name.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'a str,
    meaning: &'a str,
    kind: &'static str,
    is_empty: bool,
}

impl Family<'_> {
    /// Adds a series.
    pub fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let Family { page: Page(text), name, meaning, kind, .. } = self;
        // Writing to a string does not fail.
        if self.is_empty {
            let _ = write!(text, "# HELP {name} {meaning}\n# TYPE {name} {kind}\n");
            self.is_empty = false;
        }
        text.push_str(name);
        for (place, (label, value)) in labels.iter().enumerate() {
            let _ = write!(text, "{}{label}=\"", if place == 0 { '{' } else { ',' });
            escape(value, text);
            text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{end} {value}");
    }
}

/// A label's value as the format wants it.
fn escape(value: &str, text: &mut String) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_meaning_once_and_a_line_a_series() {
        let mut page = Page::new();
        let mut family = page.gauge("x_seconds", "How long.");
        family.add(&[("tenant", "a\"\\\n"), ("projection", "p")], 1.5);
        family.add(&[], 7.0);
        page.counter("y_total", "Nothing of it.");
        let lines = [
            "# HELP x_seconds How long.",
            "# TYPE x_seconds gauge",
            r#"x_seconds{tenant="a\"\\\n",projection="p"} 1.5"#,
            "x_seconds 7",
        ];
        assert_eq!(page.into_text(), lines.join("\n") + "\n");
    }
}
