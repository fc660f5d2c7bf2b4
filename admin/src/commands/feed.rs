//! Sending lines to the daemon in batches, and giving back one answer a line, in order.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use dg_projections::json::{Json, Object};
use dg_projections::{Code, Rejection};
use futures_util::future::{Either, select};
use tokio::task::{JoinError, JoinHandle};

use super::source::Source;
use crate::client::{Client, Reply};
use crate::failure::{Failure, exit_code};
use crate::server::JSON_LINES;
use crate::wire::append_result;

/// Lines and bytes of a request: enough for several commits, so that the daemon can parse the lines
/// of one while another is under way; little enough to answer soon.
const BATCH_LINES: usize = 8_000;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long the next line may take before those that are there go without it.
const PAUSE: Duration = Duration::from_millis(25);

/// How lines are to be appended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mode {
    pub(crate) atomic: bool,
    pub(crate) keep_log_seq: bool,
}

/// Counts of what became of the lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) inserted: u64,
    pub(crate) reused: u64,
    pub(crate) rejected: u64,
    /// The code of the first line that was rejected on its own account.
    first_rejection: Option<Code>,
    /// Why the rest of the source was not sent, if it was not.
    pub(crate) broken_off: Option<Failure>,
}

impl Tally {
    /// Counts what became of a batch and tells each of its lines; whether to go on.
    fn tell(
        &mut self,
        sent: Result<Vec<Json>, Failure>,
        mut each: impl FnMut(&Json) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        match sent {
            Ok(results) => {
                for result in results {
                    self.count(&result);
                    each(&result)?;
                }
            }
            Err(failure) => {
                self.broken_off.get_or_insert(failure);
            }
        }
        Ok(self.broken_off.is_none())
    }

    fn count(&mut self, result: &Json) {
        match result.get("status").and_then(Json::as_str) {
            Some("inserted") => self.inserted += 1,
            Some("reused") => self.reused += 1,
            _ => self.count_rejected(result),
        }
    }

    fn count_rejected(&mut self, result: &Json) {
        self.rejected += 1;
        let details = result.get("details");
        if details.is_some_and(|details| details.get(REFUSED_LINE).is_some()) {
            return; // another line is to blame
        }
        let word = result.get("code").and_then(Json::as_str);
        let code = word.and_then(Code::from_word).unwrap_or(Code::Internal);
        self.first_rejection.get_or_insert(code);
        if code == Code::Storage && self.broken_off.is_none() {
            let line = result.get("line").and_then(Json::as_i64).unwrap_or(0);
            let message = result.get("message").and_then(Json::as_str).unwrap_or_default();
            self.broken_off = Some(Failure::new(code, format!("line {line}: {message}")));
        }
    }

    /// How many lines were answered.
    pub(crate) fn lines(&self) -> u64 {
        self.inserted + self.reused + self.rejected
    }

    /// The exit code when all lines were processed: that of the first rejected one.
    pub(crate) fn exit(&self) -> u8 {
        self.first_rejection.map_or(0, exit_code)
    }
}

/// The detail of a line that was not written because of another.
const REFUSED_LINE: &str = "refused_line";

/// Lines that wait to be sent, and those that are answered already.
#[derive(Default)]
struct Batch {
    body: String,
    numbers: Vec<usize>,
    answered: Vec<(usize, Json)>,
    /// What was read of the source up to here.
    progress: (u64, Option<u64>),
    /// Nothing comes after it.
    is_last: bool,
}

impl Batch {
    /// The next lines of a source; a pause of its writer ends a batch, so that a source that
    /// trickles is answered as it goes.
    async fn gather(source: &mut Source, atomic: bool) -> Result<Batch, Failure> {
        let mut batch = Batch::default();
        while atomic || !batch.is_full() {
            let next = source.next();
            let line = if atomic || batch.is_empty() {
                next.await?
            } else {
                match tokio::time::timeout(PAUSE, next).await {
                    Ok(line) => line?,
                    Err(_) => break,
                }
            };
            match line {
                Some(line) => batch.take(line.number, line.text),
                None => {
                    batch.is_last = true;
                    break;
                }
            }
        }
        batch.progress = source.progress();
        Ok(batch)
    }

    fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.answered.is_empty()
    }

    fn is_full(&self) -> bool {
        self.numbers.len() >= BATCH_LINES || self.body.len() >= BATCH_BYTES
    }

    fn take(&mut self, number: usize, text: Result<String, Rejection>) {
        match text {
            Ok(text) => {
                self.body.push_str(&text);
                self.body.push('\n');
                self.numbers.push(number);
            }
            Err(rejection) => {
                self.answered.push((number, append_result(number, None, None, &Err(rejection))));
            }
        }
    }
}

/// Feeds a source to the daemon; `each` gets every answer with the bytes that were read up to those
/// that were sent with it. While a batch is answered the next is gathered, and while the answers are read
/// it is on its way, unless one of them may be a refusal. When daemon or database go away on the way, the
/// tally says so and the rest of the source is left.
///
/// # Errors
/// When the source cannot be read, or `each` fails; answers given before stand, and lines that were on their
/// way then may be in without one.
pub(crate) async fn feed(
    client: &Client,
    source: &mut Source,
    mode: Mode,
    mut each: impl FnMut(&Json, (u64, Option<u64>)) -> Result<(), Failure>,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut tell = |told: Told| {
        let progress = told.progress;
        tally.tell(told.results(mode), |result| each(result, progress))
    };
    let mut sent = Sent::begin(client, Batch::gather(source, mode.atomic).await?, mode);
    loop {
        if sent.is_last {
            tell(sent.told().await)?;
            break;
        }
        let gathering = pin!(Batch::gather(source, mode.atomic));
        sent = match select(pin!(sent.told()), gathering).await {
            Either::Left((told, gathering)) => {
                // A source that trickles may keep the next line to itself for long.
                if !tell(told)? {
                    break;
                }
                Sent::begin(client, gathering.await?, mode)
            }
            Either::Right((gathered, telling)) => {
                let told = telling.await;
                if let (Ok(_), true) = (&gathered, told.is_well()) {
                    let next = Sent::begin(client, gathered?, mode);
                    if !tell(told)? {
                        // Not as well as it looked; what was sent is answered all the same.
                        tell(next.told().await)?;
                        break;
                    }
                    next
                } else if tell(told)? {
                    Sent::begin(client, gathered?, mode)
                } else {
                    break;
                }
            }
        };
    }
    Ok(tally)
}

/// A batch on its way.
struct Sent {
    reply: Option<JoinHandle<Result<Reply, Failure>>>,
    numbers: Vec<usize>,
    answered: Vec<(usize, Json)>,
    progress: (u64, Option<u64>),
    is_last: bool,
}

impl Sent {
    fn begin(client: &Client, batch: Batch, mode: Mode) -> Sent {
        let Batch { body, numbers, answered, progress, is_last } = batch;
        let is_sent = !numbers.is_empty() && (answered.is_empty() || !mode.atomic);
        let client = client.clone();
        let reply = is_sent.then(|| {
            tokio::spawn(async move {
                let flag = |set: bool| set.then(|| "true".to_owned());
                let parameters =
                    [("atomic", flag(mode.atomic)), ("keep_log_seq", flag(mode.keep_log_seq))];
                client.post_unread("/v1/events", &parameters, JSON_LINES, Bytes::from(body)).await
            })
        });
        Sent { reply, numbers, answered, progress, is_last }
    }

    async fn told(self) -> Told {
        let Sent { reply, numbers, answered, progress, .. } = self;
        let reply = match reply {
            Some(reply) => Some(reply.await.unwrap_or_else(|panic| Err(crashed(&panic)))),
            None => None,
        };
        Told { reply, numbers, answered, progress }
    }
}

fn crashed(panic: &JoinError) -> Failure {
    Failure::new(Code::Internal, format!("a request ended abnormally: {panic}"))
}

/// What was answered to a batch, not yet read; nothing where nothing was sent.
struct Told {
    reply: Option<Result<Reply, Failure>>,
    numbers: Vec<usize>,
    answered: Vec<(usize, Json)>,
    progress: (u64, Option<u64>),
}

impl Told {
    /// Whether nothing in it can be a reason to send no more.
    fn is_well(&self) -> bool {
        match &self.reply {
            Some(Ok(reply)) => reply.is_well_without("\"rejected\""),
            Some(Err(_)) => false,
            None => true,
        }
    }

    /// The answers by line.
    fn results(self, mode: Mode) -> Result<Vec<Json>, Failure> {
        let Told { reply, numbers, mut answered, .. } = self;
        match reply.map(|reply| reply?.data()) {
            Some(Ok(data)) => answered.extend(renumber(data, &numbers)?),
            Some(Err(failure)) if mode.atomic && failure.details.contains_key("line") => {
                answered.extend(refused_together(&failure, &numbers));
            }
            Some(Err(failure)) => return Err(failure),
            None => {
                // A line that holds no event keeps an atomic batch from being sent.
                if let Some(line) = answered.first().map(|(line, _)| *line) {
                    let not_sent = numbers.iter().filter(|number| **number != line);
                    answered.extend(not_sent.map(|number| (*number, left_out(*number, line))));
                }
            }
        }
        answered.sort_by_key(|(number, _)| *number);
        Ok(answered.into_iter().map(|(_, result)| result).collect())
    }
}

/// The daemon counts the lines it was sent; the user counts those of the file.
fn renumber(data: Json, numbers: &[usize]) -> Result<Vec<(usize, Json)>, Failure> {
    let results = match data {
        Json::Object(mut members) => members.remove("results"),
        _ => None,
    };
    let Some(Json::Array(results)) =
        results.filter(|all| all.as_array().is_some_and(|all| all.len() == numbers.len()))
    else {
        return Err(Failure::new(Code::Internal, "the daemon answered another number of lines"));
    };
    let renumbered = |(mut result, number): (Json, &usize)| {
        if let Json::Object(members) = &mut result {
            members.insert("line".to_owned(), Json::from(*number as i64));
        }
        (*number, result)
    };
    Ok(results.into_iter().zip(numbers).map(renumbered).collect())
}

/// An atomic batch that was refused: the line to blame, and the rest.
fn refused_together(failure: &Failure, numbers: &[usize]) -> Vec<(usize, Json)> {
    let sent = failure.details.get("line").and_then(Json::as_i64).unwrap_or(0);
    let blamed = numbers.get((sent - 1).max(0) as usize).copied().unwrap_or(0);
    let one = |number: &usize| {
        if *number != blamed {
            return (*number, left_out(*number, blamed));
        }
        let code = Code::from_word(&failure.code).unwrap_or(Code::Internal);
        let mut details = failure.details.clone();
        details.remove("line");
        // The daemon names the line as it was sent: that is not the number in the file.
        let as_sent = format!("line {sent}: ");
        let message = failure.message.strip_prefix(&as_sent).unwrap_or(&failure.message);
        let rejection = Rejection { code, message: message.to_owned(), details };
        (*number, append_result(*number, None, None, &Err(rejection)))
    };
    numbers.iter().map(one).collect()
}

fn left_out(number: usize, because_of: usize) -> Json {
    let message = format!("not written: the batch is atomic and line {because_of} was refused");
    let details = Object::from([(REFUSED_LINE.to_owned(), Json::from(because_of as i64))]);
    append_result(number, None, None, &Err(Rejection { code: Code::Conflict, message, details }))
}
