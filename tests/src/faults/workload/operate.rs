//! An operator who replays, rebuilds, cancels, resumes and retries.

use bytes::Bytes;
use dg_admin::failure::Failure;
use tokio::task::JoinSet;

use super::asker::{Asker, is_trouble, word};
use super::{CURSED, TENANTS};
use crate::log::ALL;

const JSON: &str = "application/json";
const RUNS: [&str; 6] = [
    r#""mode":"replay","projection_name":"all""#,
    r#""mode":"replay","projection_name":"trace_summary""#,
    r#""mode":"rebuild","projection_name":"all""#,
    r#""mode":"rebuild","projection_name":"trace_summary""#,
    r#""mode":"rebuild","projection_name":"context_graph""#,
    r#""mode":"rebuild","projection_name":"precedent_index","dry_run":true"#,
];
/// The pace of those who ask for several at once, in milliseconds.
const HASTY: usize = 100;
/// Not the same twice: that a key of the table keeps apart, whatever an admission looks at.
const OVERLAPPING: [&str; 3] = [RUNS[1], RUNS[2], RUNS[3]];

impl Asker {
    /// Replays, rebuilds, cancels, resumes and retries at random.
    pub(super) async fn operate(mut self) {
        let mut runs: Vec<(String, String)> = Vec::new();
        while !self.is_over() {
            self.rest(self.ground.pace.operator).await;
            match (self.random.below(10), runs.is_empty()) {
                (0..=4, _) | (5..=7, true) => {
                    let tenant = (*self.random.pick(&TENANTS)).to_owned();
                    let admitted = self.start_runs(&tenant).await;
                    runs.extend(admitted.into_iter().map(|run| (tenant.clone(), run)));
                }
                (5..=7, false) => {
                    let (tenant, run) = self.random.pick(&runs).clone();
                    let act = *self.random.pick(&["cancel", "cancel", "resume"]);
                    self.act(&tenant, &format!("/v1/runs/{run}/{act}")).await;
                }
                _ => {
                    let projection = *self.random.pick(&ALL);
                    self.act(CURSED, &format!("/v1/projections/{projection}/retry")).await;
                }
            }
        }
    }

    /// Whoever hardly rests asks mostly for several runs at the same moment, as people do who do not
    /// know of each other: of those that are in each other's way one is admitted at most, whichever
    /// daemon is asked. The others leave tenants alone that a daemon that died was at.
    async fn start_runs(&mut self, tenant: &str) -> Vec<String> {
        let is_hasty = self.ground.pace.operator <= HASTY;
        let runs = match is_hasty && !self.random.once_in(3) {
            true => self.crowd(),
            false => vec![*self.random.pick(&RUNS)],
        };
        let ask = |(place, run): (usize, &str)| {
            self.history().asked();
            let client = self.client_beside(place, tenant);
            let body = format!(r#"{{{run},"reason":"a fault may come"}}"#);
            async move { client.post("/v1/runs", &[], JSON, body.into()).await }
        };
        let asked: JoinSet<_> = runs.into_iter().enumerate().map(ask).collect();
        let mut admitted = Vec::new();
        for answer in asked.join_all().await {
            match answer {
                Ok(run) => admitted.extend(word(&run, "run_id").map(str::to_owned)),
                Err(failure) => self.refused(&failure).await,
            }
        }
        self.history().told().runs.extend(admitted.iter().cloned());
        admitted
    }

    /// Two or more, each of which is in the way of each other.
    fn crowd(&mut self) -> Vec<&'static str> {
        let mut runs = OVERLAPPING;
        self.random.shuffle(&mut runs);
        runs[..2 + self.random.below(runs.len() - 1)].to_vec()
    }

    async fn act(&mut self, tenant: &str, path: &str) {
        self.history().asked();
        if let Err(failure) = self.client(tenant).post(path, &[], JSON, Bytes::new()).await {
            self.refused(&failure).await;
        }
    }

    /// An operator is refused what is in the way of something else, and what is not there (yet).
    async fn refused(&mut self, failure: &Failure) {
        match failure.code.as_str() {
            "conflict" | "not_found" => {}
            _ if is_trouble(failure) => self.no_answer().await,
            _ => self.history().wrong(format!("an operator was refused: {failure:?}")),
        }
    }
}
