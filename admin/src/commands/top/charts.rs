//! The last two minutes as small charts: what was appended, what was applied, how long it took.

use dg_projections::json::Json;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::{RenderDirection, Sparkline};

use super::draw::Palette;
use crate::output::{Tone, duration, grouped, instant};

/// What a chart covers.
const SECONDS: i64 = 120;

/// A chart.
struct Chart {
    title: &'static str,
    key: &'static str,
    /// How a number of it reads.
    shown: fn(f64) -> String,
    /// How samples of one column become one: rates are averaged, the slowest counts.
    joined: fn(&[f64]) -> f64,
}

const CHARTS: [Chart; 4] = [
    Chart { title: "appended", key: "appended_per_second", shown: rate, joined: mean },
    Chart { title: "applied", key: "applied_per_second", shown: rate, joined: mean },
    Chart { title: "by runs", key: "run_events_per_second", shown: rate, joined: mean },
    Chart { title: "visible in", key: "visible_seconds", shown: visible, joined: greatest },
];

fn rate(value: f64) -> String {
    format!("{}/s", grouped(value.round() as i64))
}

fn visible(value: f64) -> String {
    if value > 0.0 { duration(value) } else { "-".to_owned() }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// Draws the charts side by side, the newest at the right of each.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, samples: &[Json], palette: Palette) {
    let places = Layout::horizontal([Constraint::Fill(1); 4]).spacing(2).split(area);
    for (chart, place) in CHARTS.iter().zip(places.iter()) {
        let [title, bars] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(*place);
        let value = |sample: &Json| sample.get(chart.key).and_then(Json::as_f64).unwrap_or(0.0);
        let now = samples.last().map_or(0.0, value);
        let line = Line::from(vec![
            Span::raw(chart.title),
            Span::raw(" "),
            Span::styled((chart.shown)(now), Modifier::BOLD),
        ]);
        frame.render_widget(line, title);
        let columns = columns(samples, bars.width, value, chart.joined);
        let most = columns.iter().flatten().copied().fold(0.0, f64::max);
        let scaled = columns.iter().rev().map(|column| column.map(|one| scale(one, most)));
        let spark = Sparkline::default()
            .data(scaled.collect::<Vec<Option<u64>>>())
            .max(SCALE)
            .direction(RenderDirection::RightToLeft)
            .style(palette.of(Tone::Busy))
            .absent_value_symbol("×")
            .absent_value_style(palette.of(Tone::Bad));
        frame.render_widget(spark, bars);
    }
}

/// The height of the highest bar.
const SCALE: u64 = 1000;

/// What is there at all is seen.
fn scale(value: f64, most: f64) -> u64 {
    if value <= 0.0 || most <= 0.0 {
        return 0;
    }
    ((value / most * SCALE as f64) as u64).clamp(SCALE / 16, SCALE)
}

/// One value a column, the oldest first; none where the database was away. Columns begin at whole
/// multiples of their time, so that they do not change as they move.
fn columns(
    samples: &[Json],
    width: u16,
    value: impl Fn(&Json) -> f64,
    joined: fn(&[f64]) -> f64,
) -> Vec<Option<f64>> {
    let step = (SECONDS + i64::from(width) - 1) / i64::from(width.max(1));
    let column_of = |sample: &Json| Some(instant(sample, "at")?.unix_timestamp() / step.max(1));
    let Some(newest) = samples.last().and_then(column_of) else { return Vec::new() };
    let mut columns = vec![(Vec::new(), true); usize::from(width)];
    for sample in samples {
        let Some(back) = column_of(sample).map(|column| newest - column) else { continue };
        let place =
            usize::try_from(back).ok().and_then(|back| usize::from(width).checked_sub(back + 1));
        let Some(place) = place else { continue };
        let (values, is_up) = &mut columns[place];
        values.push(value(sample));
        *is_up &= sample.get("database").and_then(Json::as_str) != Some("down");
    }
    let of = |(values, is_up): (Vec<f64>, bool)| is_up.then(|| joined(&values));
    columns.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use dg_projections::json::parse;

    use super::*;

    fn samples(told: &[(&str, f64, &str)]) -> Vec<Json> {
        let one = |(second, value, database): &(&str, f64, &str)| {
            let at = format!("2026-01-01T00:00:{second}Z");
            parse(&format!(r#"{{"at":"{at}","v":{value},"database":"{database}"}}"#)).unwrap()
        };
        told.iter().map(one).collect()
    }

    fn value(sample: &Json) -> f64 {
        sample.get("v").and_then(Json::as_f64).unwrap()
    }

    #[test]
    fn samples_are_joined_to_columns_and_an_outage_is_a_gap() {
        // 120 seconds in four columns: thirty seconds each.
        let told = samples(&[("01", 2.0, "up"), ("02", 4.0, "up"), ("31", 6.0, "down")]);
        assert_eq!(columns(&told, 4, value, mean), [Some(0.0), Some(0.0), Some(3.0), None]);
        assert_eq!(columns(&told[..2], 4, value, greatest)[3], Some(4.0));
        assert_eq!(columns(&[], 4, value, mean), []);
        assert_eq!(columns(&told, 0, value, mean), []);
    }

    #[test]
    fn a_little_is_seen_and_nothing_is_not() {
        assert_eq!([scale(0.0, 9.0), scale(9.0, 9.0), scale(0.0, 0.0)], [0, SCALE, 0]);
        assert!(scale(0.001, 9.0) > 0);
    }
}
