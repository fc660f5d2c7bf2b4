//! The daemon as a whole: what it does now and of late, who lags, what runs, what failed.

use std::collections::BTreeMap;

use dg_store::Lag;

use super::{Region, lists, region};
use crate::console::chart::{Measure, chart};
use crate::console::html::{Html, el};
use crate::console::parts::{
    Clock, Column, empty, headed, link, nothing, number, or_unseen, seconds, state, table, tenant,
};
use crate::console::route::Page;
use crate::console::view::{Actors, Overview, Seen};
use crate::history::Sample;
use crate::output::{duration, grouped};

/// States of workers, the one that asks most for somebody first.
const STATES: [&str; 7] =
    ["failed", "retrying", "paused", "starting", "stopping", "catching_up", "idle"];

const MEASURES: [Measure; 3] = [
    Measure {
        title: "Appended",
        class: "chart appended",
        of: |sample: &Sample| sample.appended_per_second,
        words: rate,
    },
    Measure {
        title: "Projected",
        class: "chart applied",
        of: |sample: &Sample| sample.applied_per_second + sample.run_events_per_second,
        words: rate,
    },
    Measure {
        title: "Visible after",
        class: "chart visible",
        of: |sample: &Sample| sample.visible_after.as_secs_f64(),
        words: |value| if value > 0.0 { duration(value) } else { "–".to_owned() },
    },
];

fn rate(value: f64) -> String {
    format!("{}/s", grouped(value.round() as i64))
}

pub(super) fn regions(overview: &Overview, clock: Clock) -> Vec<Region> {
    let charts = MEASURES.iter().map(|measure| chart(measure, &overview.samples));
    let failures = or_unseen(&overview.failures, |failures| lists::failures(failures, true, clock));
    let lags = or_unseen(&overview.lags, |lags| tenants(lags, &overview.actors));
    let runs = or_unseen(&overview.runs, |runs| lists::runs(runs, true, clock));
    vec![
        region("charts", el("div").class("charts").children(charts)),
        region("workers", headed("Workers", or_unseen(&overview.actors, workers))),
        region("failures", headed("Open failures", failures)),
        region("tenants", headed("Tenants by lag", lags)),
        region("runs", headed("Runs", runs)),
    ]
}

/// How many workers are in which state, and who is parked.
fn workers(actors: &Actors) -> Html {
    let count =
        |word: &str| actors.workers.iter().filter(|(worker, _)| worker.status == word).count();
    let counts = STATES.into_iter().filter(|word| count(word) > 0).map(|word| {
        let many = number(i64::try_from(count(word)).unwrap_or(i64::MAX));
        el("li").child(el("strong").child(many)).child(Html::text(" ")).child(state(word))
    });
    let counts: Html = el("ul").class("tallies").children(counts).into();
    let parked = actors.parked.iter().map(|(name, parked)| {
        el("li")
            .child(tenant(name))
            .child(Html::text(" "))
            .child(state("parked"))
            .child(Html::text(format!(" {}", parked.reason)))
    });
    let parked: Html = match actors.parked.is_empty() {
        true => Html::default(),
        false => el("ul").class("parked").children(parked).into(),
    };
    match actors.workers.is_empty() {
        true => empty("None at work: every tenant is at rest.").and(parked),
        false => counts.and(parked),
    }
}

/// A tenant's projections at a glance: its worst.
#[derive(Debug, Clone, Copy, Default)]
struct Worst {
    pending: i64,
    seconds: f64,
    failures: i64,
    at: Option<i64>,
}

impl Worst {
    fn with(self, lag: &Lag) -> Worst {
        Worst {
            pending: self.pending.max(lag.pending_events),
            seconds: self.seconds.max(lag.lag_seconds),
            failures: self.failures + lag.open_failures,
            at: match (self.at, lag.last_log_seq) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

fn tenants(lags: &[Lag], actors: &Seen<Actors>) -> Html {
    let mut worst: BTreeMap<Option<&str>, Worst> = BTreeMap::new();
    for lag in lags {
        let entry = worst.entry(lag.tenant_id.as_deref()).or_default();
        *entry = entry.with(lag);
    }
    if worst.is_empty() {
        return empty("No tenant has events yet. `decisiongraph append` or `import` makes one.");
    }
    let mut order: Vec<(Option<&str>, Worst)> = worst.into_iter().collect();
    // The others together stand last, whatever they come to; else the names decide.
    order.sort_by(|(a, left), (b, right)| {
        let lag = right.pending.cmp(&left.pending).then(right.failures.cmp(&left.failures));
        a.is_none().cmp(&b.is_none()).then(lag).then(a.cmp(b))
    });
    let columns = [
        Column::Name("Tenant"),
        Column::Text("State"),
        Column::Number("Waiting"),
        Column::Number("Lag"),
        Column::Number("At"),
        Column::Number("Failures"),
    ];
    let all = Page::Tenants { prefix: String::new(), after: String::new() };
    let row = |(name, worst): (Option<&str>, Worst)| {
        let (name, word) = match name {
            Some(name) => (tenant(name), state(tenant_state(name, worst, actors))),
            None => (link(&all, "all others"), nothing()),
        };
        let at = worst.at.map_or_else(nothing, number);
        vec![name, word, number(worst.pending), seconds(worst.seconds), at, number(worst.failures)]
    };
    table("Tenants by lag", &columns, order.into_iter().map(row).collect())
}

/// What of a tenant asks most for somebody.
fn tenant_state(name: &str, worst: Worst, actors: &Seen<Actors>) -> &'static str {
    let seen = actors.as_ref().ok();
    let is_any = |word: &str| {
        seen.is_some_and(|actors| {
            let mut own = actors.workers.iter().filter(|(worker, _)| worker.key.tenant_id == name);
            own.any(|(worker, _)| worker.status == word)
        })
    };
    if seen.is_some_and(|actors| actors.parked.contains_key(name)) {
        return "parked";
    }
    match STATES.into_iter().find(|word| is_any(word)) {
        Some("idle") | None if worst.pending > 0 => "behind",
        Some(word) => word,
        None if worst.failures > 0 => "failed",
        None => "at rest",
    }
}
