//! A lane's batch at the database: one transaction, sent again when its commit broke off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dg_projections::admission::Admission;
use dg_projections::event::Line;
use dg_store::{Answer, Appended, Fate, Store, StoreError};

use super::company::{Company, Member};
use super::queue::{Waiting, truthful};
use super::trust::Trust;
use super::{Lanes, Place, Reply};
use crate::telemetry;
use crate::tenants::KeeperMsg;

/// A broken commit is asked about again after so long, until the storage time-out.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What goes together: the events of some requests, in order.
struct Batch<'a> {
    requests: &'a [Arc<[Line]>],
    lines: Vec<&'a Line>,
}

/// Answers that are known and not yet given.
pub(super) struct Outcome {
    answers: Result<Vec<Answer>, StoreError>,
    replies: Vec<(usize, Reply)>,
    /// Until the answers are given the events are in memory, and have their places.
    _places: Vec<Place>,
}

impl Outcome {
    /// Gives each request its answers.
    pub(super) fn tell(self) {
        match self.answers {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                for (count, reply) in self.replies {
                    // A caller that has gone away has no use for its answers.
                    let _ = reply.send(Ok(answers.by_ref().take(count).collect()));
                }
            }
            Err(error) => {
                for (_, reply) in self.replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Appends a batch and wakes the tenant's workers.
pub(super) async fn commit(
    tenant: &str,
    lanes: &Lanes,
    trust: &mut Trust,
    batch: Vec<Waiting<Reply, Place>>,
) -> Outcome {
    let mut replies = Vec::new();
    let (mut requests, mut places) = (Vec::new(), Vec::new());
    for Waiting { lines, reply, place } in batch {
        replies.push((lines.len(), reply));
        requests.push(lines);
        places.push(place);
    }
    let lines: Vec<&Line> = requests.iter().flat_map(|lines| lines.iter()).collect();
    let batch = Batch { requests: &requests, lines };
    let started = Instant::now();
    let outcome = append_surely(tenant, lanes, trust, &batch).await;
    let lines = batch.lines;
    match &outcome {
        Ok(answers) => telemetry::appended(tenant, &lines, answers, started.elapsed()),
        Err(error) => telemetry::append_failed(tenant, lines.len(), error, started.elapsed()),
    }
    // After a failure the events may be in all the same.
    if outcome.as_ref().map_or(true, |answers| answers.iter().any(is_inserted)) {
        lanes.keeper.tell(KeeperMsg::Wake(tenant.to_owned()));
    }
    Outcome { answers: outcome, replies, _places: places }
}

fn is_inserted(answer: &Answer) -> bool {
    matches!(answer, Ok(Admission::Insert { .. }))
}

/// One append; if its commit broke off, the same again until the database tells what became of it.
async fn append_surely(
    tenant: &str,
    lanes: &Lanes,
    trust: &mut Trust,
    batch: &Batch<'_>,
) -> Result<Vec<Answer>, StoreError> {
    let lines = &batch.lines;
    let (appended, looked) = match append_trusting(tenant, lanes, trust, batch).await {
        Ok(Some(appended)) => (Ok(appended), false),
        Ok(None) => (append_once(tenant, lanes, lines).await, true),
        Err(error) => (Err(error), false),
    };
    let answers = match appended {
        Ok(Appended::Done(answers)) => Ok(answers),
        Ok(Appended::Unknown { decided, error }) => {
            ask_again(tenant, lanes, lines, &decided, error).await
        }
        Err(error) => Err(error),
    };
    match &answers {
        Ok(answers) => trust.answered(answers, looked),
        Err(_) => trust.failed(),
    }
    answers
}

/// Takes the batch to be new if the lane may; nothing when it has to be looked at.
async fn append_trusting(
    tenant: &str,
    lanes: &Lanes,
    trust: &mut Trust,
    batch: &Batch<'_>,
) -> Result<Option<Appended>, StoreError> {
    let keeps = batch.lines.iter().any(|line| line.log_seq.is_some());
    let Some(head) = trust.head().filter(|_| !keeps) else { return Ok(None) };
    let fate = match Company::takes(batch.lines.len()) {
        true => in_company(tenant, lanes, batch, head).await?,
        false => Fate::Undone,
    };
    let appended = match fate {
        Fate::Sent(appended) => Some(appended),
        Fate::LeftOut => None,
        Fate::Undone => {
            let lines = &batch.lines;
            let append = |store: Store| async move { store.append_new(tenant, lines, head).await };
            lanes.gate.append(append).await?
        }
    };
    if appended.is_none() {
        trust.disappointed();
    }
    Ok(appended)
}

/// Sends the batch with those of other tenants.
async fn in_company(
    tenant: &str,
    lanes: &Lanes,
    batch: &Batch<'_>,
    head: i64,
) -> Result<Fate, StoreError> {
    let requests = batch.requests.to_vec();
    let member = Member { tenant: tenant.to_owned(), head, requests };
    lanes.company.send(&lanes.gate, member).await.unwrap_or_else(|| {
        let numbers = (head + 1..).take(batch.lines.len());
        let decided = numbers.map(|log_seq| Ok(Admission::Insert { log_seq })).collect();
        let error = StoreError::internal("the transaction ended abnormally");
        Ok(Fate::Sent(Appended::Unknown { decided, error }))
    })
}

/// Looks first. Only who meets a head or a key that somebody holds takes a permit of those who wait.
async fn append_once(tenant: &str, lanes: &Lanes, lines: &[&Line]) -> Result<Appended, StoreError> {
    let at_once = |store: Store| async move { store.append_at_once(tenant, lines).await };
    if let Some(appended) = lanes.gate.append(at_once).await? {
        return Ok(appended);
    }
    let append = |store: Store| async move { store.append_once(tenant, lines).await };
    lanes.gate.append_waiting(append).await
}

/// Asks what became of a batch by sending its keys again.
async fn ask_again(
    tenant: &str,
    lanes: &Lanes,
    lines: &[&Line],
    decided: &[Answer],
    error: StoreError,
) -> Result<Vec<Answer>, StoreError> {
    lanes.gate.report(&error);
    tracing::warn!(tenant, events = lines.len(), reason = %error, "a commit broke off; asking what became of it");
    let ask = async {
        loop {
            tokio::time::sleep(ASK_AGAIN).await;
            if let Ok(Appended::Done(answers)) = append_once(tenant, lanes, lines).await {
                return answers;
            }
        }
    };
    match tokio::time::timeout(lanes.settings.storage_timeout, ask).await {
        Ok(answers) => Ok(truthful(decided, answers)),
        Err(_) => Err(error),
    }
}
