//! What came of scenarios: for people, for programs, for the page below `ops/`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use dg_admin::wire::{decimal, object};
use dg_projections::json::Json;
use dg_store::failpoint::Point;

use super::checker::Counted;
use super::{Arena, Dose, Shrunk};

/// The name of what is all scenarios in one.
pub(super) const SOAK: &str = "soak";

/// What came of a scenario.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The scenario.
    pub scenario: &'static str,
    /// Its seed.
    pub seed: u64,
    /// How much of it was run.
    pub dose: Dose,
    faults: BTreeMap<String, u64>,
    hits: BTreeMap<String, u64>,
    requests: u64,
    unknown: u64,
    acknowledged: usize,
    events: usize,
    lost: usize,
    doubled: usize,
    runs: usize,
    recovery: Duration,
    /// From the start to the first that must not be.
    found_after: Option<Duration>,
    /// The fail point that it was at then.
    pub(super) found_at: Option<Point>,
    /// What was missing for it.
    pub skipped: Option<String>,
    /// What must not be.
    pub wrong: Vec<String>,
    /// What the daemons logged, if something was wrong.
    pub log: String,
    /// The smallest dose after which something was wrong as well, if that was looked for.
    pub shrunk: Option<Shrunk>,
}

impl Outcome {
    /// Of a scenario that cannot be had here.
    pub(super) fn skipped(missing: String) -> Outcome {
        Outcome { skipped: Some(missing), ..Outcome::default() }
    }

    /// Of one whose place could not be built.
    pub(super) fn without_a_place(why: String) -> Outcome {
        Outcome { wrong: vec![why], ..Outcome::default() }
    }

    pub(super) fn of(arena: &Arena, (counted, recovery): (&Counted, Duration)) -> Outcome {
        let acknowledged = arena.count();
        let log = if arena.told().wrong.is_empty() { String::new() } else { arena.log() };
        let told = arena.told();
        Outcome {
            faults: arena.faults(),
            hits: arena.hits(),
            requests: told.requests,
            unknown: told.unknown,
            acknowledged,
            events: counted.events,
            lost: counted.lost,
            doubled: counted.doubled,
            runs: told.runs.len(),
            recovery,
            found_after: told.wrong_since.map(|since| since - arena.began()),
            found_at: told.wrong_at,
            skipped: arena.skipped(),
            wrong: told.wrong.clone(),
            log,
            ..Outcome::default()
        }
    }

    /// Whose it is.
    pub(super) fn named(self, scenario: &'static str, seed: u64, dose: Dose) -> Outcome {
        Outcome { scenario, seed, dose, ..self }
    }

    /// The command that repeats it.
    pub fn command(&self) -> String {
        self.command_of(&self.dose)
    }

    /// The command that repeats the smallest of it that fails, if one was found.
    pub fn shortest(&self) -> Option<String> {
        let smaller = self.shrunk.as_ref().filter(|shrunk| shrunk.dose != self.dose);
        smaller.map(|shrunk| self.command_of(&shrunk.dose))
    }

    /// The same for people, and how it was looked for.
    pub fn told_shortest(&self) -> Option<String> {
        let shrunk = self.shrunk.as_ref()?;
        let found = match self.shortest() {
            Some(command) => command,
            None if shrunk.tried == 0 => "there is nothing smaller to try".to_owned(),
            None => "as it is: nothing smaller has failed again".to_owned(),
        };
        let cut_short = if shrunk.is_cut_short { ", then given up" } else { "" };
        Some(format!("{found} ({} tried{cut_short})", shrunk.tried))
    }

    /// Whether everything was done and nothing was wrong.
    pub fn is_held(&self) -> bool {
        self.skipped.is_none() && self.wrong.is_empty()
    }

    fn command_of(&self, dose: &Dose) -> String {
        let Outcome { scenario, seed, .. } = self;
        let what = match *scenario {
            SOAK => "--soak 60".to_owned(),
            scenario => format!("--only {scenario}{}", dose.flags()),
        };
        format!("cargo run -p dg-tests --bin faults -- {what} --seed {seed}")
    }

    fn injected(&self) -> u64 {
        self.faults.values().sum()
    }

    /// For programs.
    pub fn to_json(&self) -> Json {
        let counts = |counts: &BTreeMap<String, u64>| {
            let member = |(name, count): (&String, &u64)| (name.clone(), Json::from(*count as i64));
            Json::Object(counts.iter().map(member).collect())
        };
        object([
            ("scenario", Json::from(self.scenario)),
            ("seed", Json::from(self.seed as i64)),
            ("faults", counts(&self.faults)),
            ("points", counts(&self.hits)),
            ("requests", Json::from(self.requests as i64)),
            ("unknown", Json::from(self.unknown as i64)),
            ("acknowledged", Json::from(self.acknowledged as i64)),
            ("events", Json::from(self.events as i64)),
            ("lost", Json::from(self.lost as i64)),
            ("doubled", Json::from(self.doubled as i64)),
            ("runs", Json::from(self.runs as i64)),
            ("recovery_seconds", decimal(self.recovery.as_secs_f64())),
            ("skipped", Json::from(self.skipped.clone())),
            (
                "violations",
                Json::Array(self.wrong.iter().map(|what| Json::from(what.as_str())).collect()),
            ),
            (
                "first_violation_seconds",
                self.found_after.map_or(Json::Null, |after| decimal(after.as_secs_f64())),
            ),
            ("repeat", Json::from(self.command())),
            ("shortest", Json::from(self.shortest())),
        ])
    }

    fn cells(&self) -> [String; 11] {
        let verdict = match (self.wrong.len(), &self.skipped) {
            (0, None) => "held".to_owned(),
            (0, Some(missing)) => format!("SKIPPED: {missing}"),
            (count, _) => format!("{count} violations"),
        };
        [
            self.scenario.to_owned(),
            self.injected().to_string(),
            self.hits.len().to_string(),
            self.requests.to_string(),
            self.unknown.to_string(),
            self.acknowledged.to_string(),
            self.lost.to_string(),
            self.doubled.to_string(),
            self.runs.to_string(),
            format!("{:.1} s", self.recovery.as_secs_f64()),
            verdict,
        ]
    }
}

const HEADS: [&str; 11] = [
    "scenario",
    "faults",
    "points",
    "requests",
    "unanswered",
    "acknowledged",
    "lost",
    "doubled",
    "runs",
    "recovery",
    "verdict",
];

/// For people at a terminal.
pub fn table(outcomes: &[Outcome]) -> String {
    let rows: Vec<[String; 11]> = outcomes.iter().map(Outcome::cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([HEADS[column].len()]).max().unwrap_or(0)
    };
    let line = |cells: &[String]| {
        let padded = cells.iter().enumerate().map(|(column, cell)| {
            let (is_number, wide) = ((1..10).contains(&column), width(column));
            if is_number { format!("{cell:>wide$}") } else { format!("{cell:<wide$}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let heads = HEADS.map(|head| head.to_uppercase());
    std::iter::once(line(&heads)).chain(rows.iter().map(|row| line(row))).collect()
}

/// The same as a table of a page.
pub fn page(outcomes: &[Outcome]) -> String {
    let mut text = format!("| {} |\n|{}\n", HEADS.join(" | "), "---|".repeat(HEADS.len()));
    for outcome in outcomes {
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {} |", outcome.cells().join(" | "));
    }
    text
}
