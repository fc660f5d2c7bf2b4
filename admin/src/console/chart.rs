//! Charts of the last minutes, drawn by the server.
//!
//! What a chart shows is said in words, too: now, and the highest.

use std::fmt::Write as _;

use super::html::{Html, el};
use crate::history::Sample;

/// The room of a chart, in units of its own: one wide a sample.
const WIDTH: usize = 300;
const HEIGHT: f64 = 60.0;

/// Something that was measured each second.
pub(super) struct Measure {
    pub(super) title: &'static str,
    /// Which colour it has.
    pub(super) class: &'static str,
    pub(super) of: fn(&Sample) -> f64,
    /// A value in words, with its unit.
    pub(super) words: fn(f64) -> String,
}

/// A chart of the samples, the oldest first; the last of them stands at the right.
pub(super) fn chart(measure: &Measure, samples: &[Sample]) -> Html {
    let samples = &samples[samples.len().saturating_sub(WIDTH)..];
    let values: Vec<f64> = samples.iter().map(measure.of).collect();
    let highest = values.iter().copied().fold(0.0, f64::max);
    let now = values.last().copied().unwrap_or(0.0);
    let words = format!("highest {}", (measure.words)(highest));
    let label = format!("{}: now {}, {words}", measure.title, (measure.words)(now));
    let drawing = el("svg")
        .attr("viewBox", format!("0 0 {WIDTH} {HEIGHT}"))
        .attr("preserveAspectRatio", "none")
        .attr("role", "img")
        .attr("aria-label", label)
        .children(away(samples))
        .child(el("path").class("area").attr("d", area(&values, highest)))
        .child(el("path").class("line").attr("d", line(&values, highest)));
    let head = el("figcaption")
        .child(el("span").class("name").text(measure.title))
        .child(el("strong").text((measure.words)(now)))
        .child(el("span").class("quiet").text(words));
    let axis =
        el("p").class("axis").child(el("span").text("5 min ago")).child(el("span").text("now"));
    el("figure").class(measure.class).child(head).child(drawing).child(axis).into()
}

/// Where sample `at` of so many stands.
fn x(at: usize, count: usize) -> usize {
    WIDTH - count + at
}

fn y(value: f64, highest: f64) -> f64 {
    // A line of zeros stands on the ground, and the highest does not touch the ceiling.
    let part = if highest > 0.0 { value / highest } else { 0.0 };
    HEIGHT - 1.0 - part * (HEIGHT - 4.0)
}

fn line(values: &[f64], highest: f64) -> String {
    let mut path = String::new();
    for (at, value) in values.iter().enumerate() {
        let command = if at == 0 { 'M' } else { 'L' };
        // Writing to a string does not fail.
        let _ = write!(path, "{command}{} {:.1}", x(at, values.len()), y(*value, highest));
    }
    path
}

fn area(values: &[f64], highest: f64) -> String {
    if values.is_empty() {
        return String::new();
    }
    let (first, last) = (x(0, values.len()), x(values.len() - 1, values.len()));
    format!("{}L{last} {HEIGHT}L{first} {HEIGHT}Z", line(values, highest))
}

/// The times at which the database was away, shaded.
fn away(samples: &[Sample]) -> Vec<Html> {
    let mut shades = Vec::new();
    let mut at = 0;
    for part in samples.chunk_by(|a, b| a.is_database_up == b.is_database_up) {
        if !part[0].is_database_up {
            let shade = el("rect")
                .class("away")
                .attr("x", x(at, samples.len()).to_string())
                .attr("y", "0")
                .attr("width", part.len().to_string())
                .attr("height", HEIGHT.to_string());
            shades.push(shade.into());
        }
        at += part.len();
    }
    shades
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::*;

    fn sample(rate: f64, is_database_up: bool) -> Sample {
        Sample {
            at: OffsetDateTime::UNIX_EPOCH,
            appended_per_second: rate,
            applied_per_second: 0.0,
            run_events_per_second: 0.0,
            visible_after: Duration::ZERO,
            is_database_up,
        }
    }

    const RATE: Measure = Measure {
        title: "Appended",
        class: "appended",
        of: |sample| sample.appended_per_second,
        words: |value| format!("{value}/s"),
    };

    #[test]
    fn the_last_sample_stands_at_the_right_and_the_highest_at_the_top() {
        assert_eq!(line(&[0.0, 10.0, 5.0], 10.0), "M297 59.0L298 3.0L299 31.0");
        assert_eq!(area(&[0.0, 0.0], 0.0), "M298 59.0L299 59.0L299 60L298 60Z");
        assert_eq!((line(&[], 0.0), area(&[], 0.0)), (String::new(), String::new()));
    }

    #[test]
    fn a_chart_says_in_words_what_it_shows_and_shades_an_outage() {
        let samples =
            [sample(2.0, true), sample(0.0, false), sample(0.0, false), sample(1.0, true)];
        let html = chart(&RATE, &samples);
        for part in [
            r#"aria-label="Appended: now 1/s, highest 2/s""#,
            r#"<rect class="away" x="297" y="0" width="2" height="60">"#,
        ] {
            assert!(html.as_str().contains(part), "{part} is not in {}", html.as_str());
        }
        assert!(chart(&RATE, &[]).as_str().contains("now 0/s"));
        let many: Vec<Sample> = (0..1_000).map(|rate| sample(f64::from(rate), true)).collect();
        assert!(chart(&RATE, &many).as_str().contains("M0 "), "only as many as there is room for");
    }
}
