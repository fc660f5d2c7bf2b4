//! A lane's batch at the database: one transaction, sent again when its commit broke off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dg_projections::Code;
use dg_projections::admission::Admission;
use dg_projections::event::Line;
use dg_store::{Answer, Appended, Fate, Store, StoreError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::company::{Company, Member, Turn};
use super::queue::{Waiting, truthful};
use super::trust::Trust;
use super::{Lanes, Place, Reply};
use crate::telemetry;
use crate::tenants::KeeperMsg;

/// A broken commit is asked about again after so long, until the storage time-out.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What a batch goes on from.
#[derive(Debug)]
pub(super) enum Before {
    /// The batch before it was answered.
    Answered(Trust),
    /// The batch before it is at the database.
    UnderWay {
        /// Where the log ends if it goes in.
        head: i64,
        answered: oneshot::Receiver<Answered>,
        pass: Pass,
    },
}

/// What a batch has that follows another: it waits for nothing but that one.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) permit: OwnedSemaphorePermit,
    /// For a batch that would otherwise go in company.
    pub(super) turn: Option<Turn>,
}

/// What a batch leaves to the next: what it may be taken for, or why its events are perhaps not in.
pub(super) type Answered = Result<Trust, StoreError>;

/// What goes together: the events of some requests, in order.
struct Batch<'a> {
    tenant: &'a str,
    lanes: &'a Lanes,
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

/// Appends a batch and wakes the tenant's workers. Once it is at the database, and another may be sent behind it, it is
/// told where the log ends after it; and that this is not so, if it comes to that.
pub(super) async fn commit(
    tenant: &str,
    lanes: &Lanes,
    before: Before,
    batch: Vec<Waiting<Reply, Place>>,
    begun: impl Fn(Option<i64>) + Send + Sync,
) -> (Answered, Outcome) {
    let mut replies = Vec::new();
    let (mut requests, mut places) = (Vec::new(), Vec::new());
    for Waiting { lines, reply, place } in batch {
        replies.push((lines.len(), reply));
        requests.push(lines);
        places.push(place);
    }
    let lines: Vec<&Line> = requests.iter().flat_map(|lines| lines.iter()).collect();
    let batch = Batch { tenant, lanes, requests: &requests, lines };
    let started = Instant::now();
    let (trust, outcome) = batch.append(before, &begun).await;
    match &outcome {
        Ok(answers) => telemetry::appended(tenant, &batch.lines, answers, started.elapsed()),
        Err(error) => {
            telemetry::append_failed(tenant, batch.lines.len(), error, started.elapsed());
        }
    }
    // After a failure the events may be in all the same.
    if outcome.as_ref().map_or(true, |answers| answers.iter().any(is_inserted)) {
        lanes.keeper.tell(KeeperMsg::Wake(tenant.to_owned()));
    }
    let answered = outcome.as_ref().map(|_| trust).map_err(StoreError::clone);
    (answered, Outcome { answers: outcome, replies, _places: places })
}

fn is_inserted(answer: &Answer) -> bool {
    matches!(answer, Ok(Admission::Insert { .. }))
}

type Begun<'a> = &'a (dyn Fn(Option<i64>) + Send + Sync);

impl Batch<'_> {
    async fn append(
        &self,
        before: Before,
        begun: Begun<'_>,
    ) -> (Trust, Result<Vec<Answer>, StoreError>) {
        match before {
            Before::Answered(mut trust) => {
                let answers = self.append_surely(&mut trust, begun).await;
                (trust, answers)
            }
            Before::UnderWay { head, answered, pass } => {
                let sent = self.append_behind(head, pass, begun).await;
                if !matches!(sent, Ok(Some(Appended::Done(_)))) {
                    begun(None);
                }
                let crashed = || StoreError::new(Code::Storage, "the batch before it crashed");
                let before = answered.await.unwrap_or_else(|_| Err(crashed()));
                self.after(before, sent, begun).await
            }
        }
    }

    /// One append; if its commit broke off, the same again until the database tells what became of it.
    async fn append_surely(
        &self,
        trust: &mut Trust,
        begun: Begun<'_>,
    ) -> Result<Vec<Answer>, StoreError> {
        let (appended, looked) = match self.append_trusting(trust, begun).await {
            Ok(Some(appended)) => (Ok(appended), false),
            Ok(None) => (self.append_once().await, true),
            Err(error) => (Err(error), false),
        };
        self.settle(trust, appended, looked).await
    }

    /// The answers, once it is known what they are.
    async fn settle(
        &self,
        trust: &mut Trust,
        appended: Result<Appended, StoreError>,
        looked: bool,
    ) -> Result<Vec<Answer>, StoreError> {
        let answers = match appended {
            Ok(Appended::Done(answers)) => Ok(answers),
            Ok(Appended::Unknown { decided, error }) => self.ask_again(&decided, error).await,
            Err(error) => Err(error),
        };
        if let Ok(answers) = &answers {
            trust.answered(answers, looked);
        }
        answers
    }

    /// Whether numbers are to be kept: then it is not taken for anything.
    fn keeps(&self) -> bool {
        self.lines.iter().any(|line| line.log_seq.is_some())
    }

    fn end(&self, head: i64) -> i64 {
        head + self.lines.len() as i64
    }

    /// Takes the batch to be new if the lane may; nothing when it has to be looked at. Where a lane knows nothing, as
    /// of tenants that write now and then, its turn in company looks.
    async fn append_trusting(
        &self,
        trust: &mut Trust,
        begun: Begun<'_>,
    ) -> Result<Option<Appended>, StoreError> {
        let in_company = Company::takes(self.lines.len());
        let may_go = trust.head().is_some() || (trust.is_blank() && in_company);
        if !may_go || self.keeps() {
            return Ok(None);
        }
        let fate = match in_company {
            true => self.in_company(trust.head(), begun).await?,
            false => Fate::Undone,
        };
        let appended = match (fate, trust.head()) {
            (Fate::Sent(appended), _) => Some(appended),
            (Fate::LeftOut, _) | (Fate::Undone, None) => None,
            (Fate::Undone, Some(head)) => {
                let begun = || begun(Some(self.end(head)));
                let append = |store: Store| {
                    let begun = &begun;
                    async move { store.append_new(self.tenant, &self.lines, head, begun).await }
                };
                self.lanes.gate.append(append).await?
            }
        };
        if appended.is_none() {
            begun(None);
            trust.disappointed();
        }
        Ok(appended)
    }

    /// Sends the batch with those of other tenants. Who does not know where its log ends is not followed.
    async fn in_company(&self, head: Option<i64>, begun: Begun<'_>) -> Result<Fate, StoreError> {
        let (tenant, requests) = (self.tenant.to_owned(), self.requests.to_vec());
        let member = Member { tenant, head, requests };
        let begun = || {
            if let Some(head) = head {
                begun(Some(self.end(head)));
            }
        };
        let sent = self.lanes.company.send(&self.lanes.gate, member, &begun).await;
        sent.unwrap_or_else(|| {
            // Under which numbers it is in, if it is, a look tells.
            let Some(head) = head else { return Ok(Fate::LeftOut) };
            let error = StoreError::internal("the transaction ended abnormally");
            let numbers = (head + 1..).take(self.lines.len());
            let decided = numbers.map(|log_seq| Ok(Admission::Insert { log_seq })).collect();
            Ok(Fate::Sent(Appended::Unknown { decided, error }))
        })
    }

    /// Takes the batch to be new, and the one before it to go in.
    async fn append_behind(
        &self,
        head: i64,
        Pass { permit, turn: _turn }: Pass,
        begun: Begun<'_>,
    ) -> Result<Option<Appended>, StoreError> {
        if self.keeps() {
            return Ok(None);
        }
        let begun = || begun(Some(self.end(head)));
        let append = |store: Store| {
            let begun = &begun;
            async move { store.append_behind(self.tenant, &self.lines, head, begun).await }
        };
        self.lanes.gate.append_with(permit, append).await
    }

    /// What was sent behind the batch before is in if the server says so. Anything else is gone into only when that
    /// one was answered: what continues its traces would be refused. And if nobody knows what became of it, nobody
    /// knows what this one is to follow.
    async fn after(
        &self,
        before: Answered,
        sent: Result<Option<Appended>, StoreError>,
        begun: Begun<'_>,
    ) -> (Trust, Result<Vec<Answer>, StoreError>) {
        let mut trust = before.as_ref().copied().unwrap_or_default();
        let answers = match (sent.transpose(), before) {
            (Some(done @ Ok(Appended::Done(_))), _) => self.settle(&mut trust, done, false).await,
            (_, Err(error)) => Err(StoreError { code: Code::Storage, ..error }),
            (Some(appended), Ok(_)) => self.settle(&mut trust, appended, false).await,
            (None, Ok(_)) => self.append_surely(&mut trust, begun).await,
        };
        (trust, answers)
    }

    /// Looks first. Only who meets a head or a key that somebody holds takes a permit of those who wait.
    async fn append_once(&self) -> Result<Appended, StoreError> {
        let (gate, lines) = (&self.lanes.gate, &self.lines);
        let at_once = |store: Store| async move { store.append_at_once(self.tenant, lines).await };
        if let Some(appended) = gate.append(at_once).await? {
            return Ok(appended);
        }
        let append = |store: Store| async move { store.append_once(self.tenant, lines).await };
        gate.append_waiting(append).await
    }

    /// Asks what became of a batch by sending its keys again.
    async fn ask_again(
        &self,
        decided: &[Answer],
        error: StoreError,
    ) -> Result<Vec<Answer>, StoreError> {
        self.lanes.gate.report(&error);
        tracing::warn!(tenant = self.tenant, events = self.lines.len(), reason = %error, "a commit broke off; asking what became of it");
        let ask = async {
            loop {
                tokio::time::sleep(ASK_AGAIN).await;
                if let Ok(Appended::Done(answers)) = self.append_once().await {
                    return answers;
                }
            }
        };
        match tokio::time::timeout(self.lanes.settings.storage_timeout, ask).await {
            Ok(answers) => Ok(truthful(decided, answers)),
            Err(_) => Err(error),
        }
    }
}
