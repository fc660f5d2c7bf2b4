//! Asks the daemon for what the view shows, round after round, whether or not it is there.
//!
//! Invariant: a round is small however many tenants there are, and never takes more than a tenth of
//! the time, so that who watches is no load.

use std::time::Duration;

use dg_projections::json::Json;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout};

use crate::client::Client;
use crate::failure::Failure;

/// From one round to the next, unless they are slow.
const LEAST_REST: Duration = Duration::from_secs(1);
const MOST_REST: Duration = Duration::from_secs(10);
/// Who has not answered by then is away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Workers of one state that are listed; where there are more, their count must do.
const MOST_WORKERS: i64 = 500;
/// Tenants whose dead letters are read in one round.
const MOST_FAILING: usize = 10;
/// States of workers, the one that wants to be seen first.
pub(super) const WORKER_STATES: [&str; 7] =
    ["failed", "retrying", "paused", "stopping", "starting", "catching_up", "idle"];

/// What a round came to.
#[derive(Debug)]
pub(super) enum Heard {
    /// The daemon answered.
    Answers(Box<Answers>),
    /// It did not, for this reason.
    Silence(String),
}

/// The answers of one round, as the socket gives them. What needs the database is missing while that
/// is away.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) status: Json,
    pub(super) history: Option<Json>,
    pub(super) lags: Option<Json>,
    pub(super) workers: Option<Vec<Json>>,
    pub(super) runs: Option<Json>,
    pub(super) failures: Option<Vec<Json>>,
    /// How long it takes until the next ones, as far as can be told.
    pub(super) next_in: Duration,
}

/// Whoever asks.
#[derive(Debug)]
pub(super) struct Asker {
    /// For all tenants.
    pub(super) client: Client,
}

impl Asker {
    /// Asks until nobody listens.
    pub(super) async fn go_on(self, heard: Sender<Heard>) {
        loop {
            let began = Instant::now();
            let (told, rest) = match self.round().await {
                Ok(answers) => {
                    let took = began.elapsed();
                    let next_in = rest(took) + took * 2;
                    (Heard::Answers(Box::new(Answers { next_in, ..answers })), rest(took))
                }
                Err(failure) => (Heard::Silence(failure.message), LEAST_REST),
            };
            if heard.send(told).await.is_err() {
                return;
            }
            sleep(rest).await;
        }
    }

    /// The least there is to show: whether the daemon is there, and how it is.
    pub(super) async fn first(&self) -> Result<Answers, Failure> {
        let status = in_time(self.client.get("/v1/status", &[])).await?;
        let next_in = PATIENCE;
        Ok(Answers {
            status,
            history: None,
            lags: None,
            workers: None,
            runs: None,
            failures: None,
            next_in,
        })
    }

    /// One round. Only `status`, which needs no database, decides whether the daemon is there.
    async fn round(&self) -> Result<Answers, Failure> {
        let client = &self.client;
        let all = ("all", Some("true".to_owned()));
        let limit = |limit: u32| ("limit", Some(limit.to_string()));
        let first = self.first().await?;
        let history = in_time(client.get("/v1/history", &[limit(120)])).await.ok();
        let lags = in_time(client.get("/v1/lag", &[limit(50)])).await.ok();
        let runs = in_time(client.get("/v1/runs", &[all, limit(50)])).await.ok();
        let workers = self.workers(&first.status).await.ok();
        let failures = match &lags {
            Some(lags) => self.failures(lags).await.ok(),
            None => None,
        };
        Ok(Answers { history, lags, workers, runs, failures, ..first })
    }

    async fn workers(&self, status: &Json) -> Result<Vec<Json>, Failure> {
        let mut found = Vec::new();
        for state in listed_states(status) {
            let parameters =
                [("all", Some("true".to_owned())), ("state", Some((*state).to_owned()))];
            let workers = in_time(self.client.get("/v1/workers", &parameters)).await?;
            found.extend_from_slice(workers.as_array().unwrap_or_default());
        }
        Ok(found)
    }

    async fn failures(&self, lags: &Json) -> Result<Vec<Json>, Failure> {
        let mut found = Vec::new();
        for tenant in failing(lags) {
            let client = self.client.of(tenant);
            let failures = in_time(client.get("/v1/failures", &[])).await?;
            found.extend_from_slice(failures.as_array().unwrap_or_default());
        }
        Ok(found)
    }
}

async fn in_time(answer: impl Future<Output = Result<Json, Failure>>) -> Result<Json, Failure> {
    let silent = |_| {
        let message = format!("no answer in {} s", PATIENCE.as_secs());
        Err(Failure::new(dg_projections::Code::Storage, message))
    };
    timeout(PATIENCE, answer).await.unwrap_or_else(silent)
}

/// How long to rest after a round that took so long.
fn rest(took: Duration) -> Duration {
    (took * 9).clamp(LEAST_REST, MOST_REST)
}

/// The states whose workers are few enough to be listed one by one.
pub(super) fn listed_states(status: &Json) -> impl Iterator<Item = &'static &'static str> {
    let counts = status.get("workers");
    let count = move |state: &str| counts.and_then(|counts| counts.get(state)?.as_i64());
    WORKER_STATES.iter().filter(move |state| matches!(count(state), Some(1..=MOST_WORKERS)))
}

/// Tenants that have dead letters, as far as they are told by name.
fn failing(lags: &Json) -> Vec<&str> {
    let mut tenants = Vec::new();
    for lag in lags.as_array().unwrap_or_default() {
        let has_failures = lag.get("open_failures").and_then(Json::as_i64).unwrap_or(0) > 0;
        if let Some(tenant) = lag.get("tenant_id").and_then(Json::as_str)
            && has_failures
            && !tenants.contains(&tenant)
        {
            tenants.push(tenant);
        }
    }
    tenants.truncate(MOST_FAILING);
    tenants
}

#[cfg(test)]
mod tests {
    use dg_projections::json::parse;

    use super::*;

    #[test]
    fn a_round_takes_a_tenth_of_the_time_at_most() {
        let millis = Duration::from_millis;
        for (took, rests) in [(5, 1000), (100, 1000), (400, 3600), (60_000, 10_000)] {
            assert_eq!(rest(millis(took)), millis(rests), "{took}");
        }
    }

    #[test]
    fn workers_are_listed_by_states_that_few_are_in() {
        let status = parse(r#"{"workers":{"idle":30000,"failed":2,"retrying":500,"paused":501}}"#);
        let listed: Vec<_> = listed_states(&status.unwrap()).copied().collect();
        assert_eq!(listed, ["failed", "retrying"]);
    }

    #[test]
    fn dead_letters_are_read_of_tenants_that_have_some() {
        let lags = parse(
            r#"[{"tenant_id":"a","open_failures":0},{"tenant_id":"b","open_failures":1},
                {"tenant_id":"b","open_failures":1},{"tenant_id":null,"open_failures":9}]"#,
        );
        assert_eq!(failing(&lags.unwrap()), ["b"]);
    }
}
