//! What a measurement gives, and how it is told.

use std::time::Duration;

use dg_projections::json::Json;

use super::goals::judge;
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
    /// What was measured besides.
    pub(crate) measures: Vec<(&'static str, f64)>,
}

impl Sample {
    pub(super) fn rate(&self, took: Duration) -> f64 {
        self.events as f64 / took.as_secs_f64().max(1e-9)
    }

    pub(super) fn ratio(&self) -> Option<f64> {
        self.floor.map(|floor| floor.as_secs_f64() / self.took.as_secs_f64().max(1e-9))
    }

    /// What was measured besides under this name.
    pub(super) fn measure(&self, name: &str) -> Option<f64> {
        self.measures.iter().find(|(one, _)| *one == name).map(|(_, value)| *value)
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn percentile_ms(&self, part: f64) -> Option<f64> {
        let mut each = self.each.clone();
        each.sort_unstable();
        let at = ((each.len() as f64 * part).ceil() as usize).max(1) - 1;
        each.get(at).map(|one| one.as_secs_f64() * 1e3)
    }
}

/// The median round of a measurement.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    name: String,
    sample: Sample,
}

/// The columns of [`Figure::row`].
pub(crate) const HEAD: [&str; 14] = [
    "name",
    "events",
    "seconds",
    "events/s",
    "floor/s",
    "ratio",
    "p50 ms",
    "p99 ms",
    "peak MB",
    "database MB",
    "besides",
    "target",
    "aim",
    "reached",
];

/// What all figures of a run share, and is told once.
const SHARED: [&str; 6] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
];

impl Figure {
    /// The round with the median ratio; of those without one, the median time.
    pub(super) fn median(name: impl Into<String>, mut samples: Vec<Sample>) -> Figure {
        let worth = |sample: &Sample| sample.ratio().unwrap_or_else(|| sample.rate(sample.took));
        samples.sort_by(|a, b| worth(a).total_cmp(&worth(b)));
        let middle = samples.len() / 2;
        let sample = samples.into_iter().nth(middle).unwrap_or_default();
        Figure { name: name.into(), sample }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn sample(&self) -> &Sample {
        &self.sample
    }

    /// What the run stands on: versions and settings.
    pub(crate) fn ground(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let shared = SHARED
            .iter()
            .filter_map(|name| self.sample.setting(name).map(|value| format!("{name} {value}")));
        let own =
            [format!("decisiongraph {}", env!("CARGO_PKG_VERSION")), format!("{cores} cores")];
        own.into_iter().chain(shared).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn row(&self) -> Vec<String> {
        let sample = &self.sample;
        let optional = |number: Option<f64>, digits: usize| {
            number.map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
        };
        let judged = judge(&self.name, sample);
        let word = |word: Option<String>| word.unwrap_or_else(|| "-".to_owned());
        let besides: Vec<String> =
            sample.measures.iter().map(|(name, value)| format!("{value:.2} {name}")).collect();
        vec![
            self.name.clone(),
            grouped(sample.events as i64),
            format!("{:.2}", sample.took.as_secs_f64()),
            grouped(sample.rate(sample.took) as i64),
            sample.floor.map_or_else(|| "-".to_owned(), |floor| grouped(sample.rate(floor) as i64)),
            optional(sample.ratio(), 2),
            optional(sample.percentile_ms(0.5), 2),
            optional(sample.percentile_ms(0.99), 2),
            format!("{}", sample.peak_rss_kb / 1024),
            sample.setting("database_mb").unwrap_or("-").to_owned(),
            besides.join(", "),
            word(judged.target),
            word(judged.aim),
            word(judged.reached),
        ]
    }

    pub(crate) fn to_json(&self) -> Json {
        let sample = &self.sample;
        let number = |value: Option<f64>| value.map_or(Json::Null, crate::wire::decimal);
        let settings =
            sample.settings.iter().map(|(name, value)| (name.clone(), Json::from(value.as_str())));
        let measures = sample
            .measures
            .iter()
            .map(|(name, value)| ((*name).to_owned(), crate::wire::decimal(*value)));
        let judged = judge(&self.name, sample);
        let word = |word: Option<String>| word.map_or(Json::Null, |word| word.as_str().into());
        object([
            ("name", self.name.as_str().into()),
            ("events", (sample.events as i64).into()),
            ("seconds", number(Some(sample.took.as_secs_f64()))),
            ("events_per_second", number(Some(sample.rate(sample.took)))),
            ("floor_events_per_second", number(sample.floor.map(|floor| sample.rate(floor)))),
            ("ratio", number(sample.ratio())),
            ("p50_ms", number(sample.percentile_ms(0.5))),
            ("p99_ms", number(sample.percentile_ms(0.99))),
            ("peak_rss_mb", ((sample.peak_rss_kb / 1024) as i64).into()),
            ("settings", Json::Object(settings.collect())),
            ("measures", Json::Object(measures.collect())),
            ("target", word(judged.target)),
            ("aim", word(judged.aim)),
            ("reached", word(judged.reached)),
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
