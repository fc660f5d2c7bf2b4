//! What a measurement gives, and how it is told.

use std::time::Duration;

use dg_projections::json::Json;

use crate::output::grouped;
use crate::wire::object;

/// One round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) events: u64,
    pub(crate) took: Duration,
    /// The same events by Postgres alone; none where there is nothing to compare with.
    pub(crate) floor: Option<Duration>,
    /// Each request, or each page.
    pub(crate) each: Vec<Duration>,
    pub(crate) peak_rss_kb: u64,
    pub(crate) settings: Vec<(String, String)>,
}

impl Sample {
    fn rate(&self, took: Duration) -> f64 {
        self.events as f64 / took.as_secs_f64().max(1e-9)
    }

    fn ratio(&self) -> Option<f64> {
        self.floor.map(|floor| floor.as_secs_f64() / self.took.as_secs_f64().max(1e-9))
    }

    fn percentile_ms(&self, part: f64) -> Option<f64> {
        let mut each = self.each.clone();
        each.sort_unstable();
        let at = ((each.len() as f64 * part).ceil() as usize).max(1) - 1;
        each.get(at).map(|one| one.as_secs_f64() * 1e3)
    }
}

/// The median round of a measurement.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    name: &'static str,
    sample: Sample,
}

/// The columns of [`Figure::row`].
pub(crate) const HEAD: [&str; 9] =
    ["name", "events", "seconds", "events/s", "floor/s", "ratio", "p50 ms", "p99 ms", "peak MB"];

impl Figure {
    /// The round with the median ratio; of those without one, the median time.
    pub(super) fn median(name: &'static str, mut samples: Vec<Sample>) -> Figure {
        let worth = |sample: &Sample| sample.ratio().unwrap_or_else(|| sample.rate(sample.took));
        samples.sort_by(|a, b| worth(a).total_cmp(&worth(b)));
        let middle = samples.len() / 2;
        let sample = samples.into_iter().nth(middle).unwrap_or_default();
        Figure { name, sample }
    }

    pub(crate) fn row(&self) -> Vec<String> {
        let sample = &self.sample;
        let optional = |number: Option<f64>, digits: usize| {
            number.map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
        };
        vec![
            self.name.to_owned(),
            grouped(sample.events as i64),
            format!("{:.2}", sample.took.as_secs_f64()),
            grouped(sample.rate(sample.took) as i64),
            sample.floor.map_or_else(|| "-".to_owned(), |floor| grouped(sample.rate(floor) as i64)),
            optional(sample.ratio(), 2),
            optional(sample.percentile_ms(0.5), 2),
            optional(sample.percentile_ms(0.99), 2),
            format!("{}", sample.peak_rss_kb / 1024),
        ]
    }

    pub(crate) fn to_json(&self) -> Json {
        let sample = &self.sample;
        let number = |value: Option<f64>| value.map_or(Json::Null, crate::wire::decimal);
        let settings =
            sample.settings.iter().map(|(name, value)| (name.clone(), Json::from(value.as_str())));
        object([
            ("name", self.name.into()),
            ("events", (sample.events as i64).into()),
            ("seconds", number(Some(sample.took.as_secs_f64()))),
            ("events_per_second", number(Some(sample.rate(sample.took)))),
            ("floor_events_per_second", number(sample.floor.map(|floor| sample.rate(floor)))),
            ("ratio", number(sample.ratio())),
            ("p50_ms", number(sample.percentile_ms(0.5))),
            ("p99_ms", number(sample.percentile_ms(0.99))),
            ("peak_rss_mb", ((sample.peak_rss_kb / 1024) as i64).into()),
            ("settings", Json::Object(settings.collect())),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(took_ms: u64, floor_ms: u64) -> Sample {
        let floor = Some(Duration::from_millis(floor_ms));
        Sample { events: 100, took: Duration::from_millis(took_ms), floor, ..Sample::default() }
    }

    #[test]
    fn the_median_is_one_round_whole() {
        let figure =
            Figure::median("x", vec![sample(100, 90), sample(1_000, 100), sample(200, 100)]);
        assert_eq!(figure.row()[1..6], ["100", "0.20", "500", "1,000", "0.50"]);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let each = (1..=200).map(Duration::from_millis).collect();
        let one = Sample { each, ..Sample::default() };
        assert_eq!((one.percentile_ms(0.5), one.percentile_ms(0.99)), (Some(100.0), Some(198.0)));
        assert_eq!(Sample::default().percentile_ms(0.5), None);
    }
}
