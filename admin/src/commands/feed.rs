//! Sending lines to the daemon in batches, and giving back one answer a line, in order.

use bytes::Bytes;
use dg_projections::json::{Json, Object};
use dg_projections::{Code, Rejection};

use super::source::Source;
use crate::client::Client;
use crate::failure::{Failure, exit_code};
use crate::wire::append_result;

/// Lines and bytes of a request: enough to share a commit, little enough to answer soon.
const BATCH_LINES: usize = 1_000;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

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
    /// The code of the first rejected line.
    pub(crate) first_rejection: Option<Code>,
}

impl Tally {
    fn count(&mut self, result: &Json) {
        match result.get("status").and_then(Json::as_str) {
            Some("inserted") => self.inserted += 1,
            Some("reused") => self.reused += 1,
            _ => {
                self.rejected += 1;
                let word = result.get("code").and_then(Json::as_str);
                let code = word.and_then(Code::from_word).unwrap_or(Code::Internal);
                self.first_rejection.get_or_insert(code);
            }
        }
    }

    /// The exit code: that of the first rejected line.
    pub(crate) fn exit(&self) -> u8 {
        self.first_rejection.map_or(0, exit_code)
    }
}

/// Lines that wait to be sent, and those that are answered already.
#[derive(Default)]
struct Batch {
    body: String,
    numbers: Vec<usize>,
    answered: Vec<(usize, Json)>,
}

impl Batch {
    fn is_full(&self, atomic: bool) -> bool {
        !atomic && (self.numbers.len() >= BATCH_LINES || self.body.len() >= BATCH_BYTES)
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

/// Feeds a source to the daemon; `each` gets every answer with the bytes read so far.
///
/// # Errors
/// When the daemon cannot be reached or the source not be read; answers given before stand.
pub(crate) async fn feed(
    client: &Client,
    source: &mut Source,
    mode: Mode,
    mut each: impl FnMut(&Json, (u64, Option<u64>)) -> Result<(), Failure>,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut ended = false;
    while !ended {
        let mut batch = Batch::default();
        while !batch.is_full(mode.atomic) {
            match source.next().await? {
                Some(line) => batch.take(line.number, line.text),
                None => {
                    ended = true;
                    break;
                }
            }
        }
        for result in send(client, batch, mode).await? {
            tally.count(&result);
            each(&result, source.progress())?;
        }
        if tally.first_rejection == Some(Code::Storage) {
            break; // the database is away: what follows would fare no better
        }
    }
    Ok(tally)
}

/// The answers of a batch, by line.
async fn send(client: &Client, batch: Batch, mode: Mode) -> Result<Vec<Json>, Failure> {
    let Batch { body, numbers, mut answered } = batch;
    if mode.atomic && !answered.is_empty() {
        let line = answered[0].0;
        let not_sent = numbers.iter().filter(|number| **number != line);
        answered.extend(not_sent.map(|number| (*number, left_out(*number, line))));
    } else if !numbers.is_empty() {
        let flag = |set: bool| set.then(|| "true".to_owned());
        let parameters = [("atomic", flag(mode.atomic)), ("keep_log_seq", flag(mode.keep_log_seq))];
        let sent =
            client.post("/v1/events", &parameters, "application/x-ndjson", Bytes::from(body)).await;
        match sent {
            Ok(data) => answered.extend(renumber(&data, &numbers)?),
            Err(failure) if mode.atomic && failure.details.contains_key("line") => {
                answered.extend(refused_together(&failure, &numbers));
            }
            Err(failure) => return Err(failure),
        }
    }
    answered.sort_by_key(|(number, _)| *number);
    Ok(answered.into_iter().map(|(_, result)| result).collect())
}

/// The daemon counts the lines it was sent; the user counts those of the file.
fn renumber(data: &Json, numbers: &[usize]) -> Result<Vec<(usize, Json)>, Failure> {
    let results = data.get("results").and_then(Json::as_array).unwrap_or_default();
    if results.len() != numbers.len() {
        return Err(Failure::new(Code::Internal, "the daemon answered another number of lines"));
    }
    let numbered = results.iter().zip(numbers).map(|(result, number)| {
        let mut members = result.as_object().cloned().unwrap_or_default();
        members.insert("line".to_owned(), Json::from(*number as i64));
        (*number, Json::Object(members))
    });
    Ok(numbered.collect())
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
        let rejection = Rejection { code, message: failure.message.clone(), details };
        (*number, append_result(*number, None, None, &Err(rejection)))
    };
    numbers.iter().map(one).collect()
}

fn left_out(number: usize, because_of: usize) -> Json {
    let message = format!("not written: the batch is atomic and line {because_of} was refused");
    let details = Object::from([("refused_line".to_owned(), Json::from(because_of as i64))]);
    append_result(number, None, None, &Err(Rejection { code: Code::Conflict, message, details }))
}
