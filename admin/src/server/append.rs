//! `POST /v1/events`: JSON (one event or a list) or JSON Lines; each line its own answer, or all of
//! them together.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use dg_projections::admission::Admission;
use dg_projections::event::{Keeping, Line, parse_line};
use dg_projections::json::{self, Borrowed, Problem, canonical_into};
use dg_projections::{Code, Rejection};
use dg_runtime::{Runtime, telemetry};
use futures_util::{StreamExt as _, stream};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use super::asked::{Asked, Handled, invalid};
use super::body;
use super::elements::elements;
use super::peer::Crowd;
use super::respond::{Answer, JSON_LINES, Refusal};
use crate::wire::append_result;

/// The longest event, as JSON text.
pub(crate) const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;
/// The most events of a request: more than that many real ones do not fit into a body.
const MAX_EVENTS: usize = 200_000;

/// Text that is worth giving up the thread for; less is read sooner than another thread is woken.
const LONG: usize = 64 * 1024;

/// Texts of events, with their numbers from 1.
type Numbered<'a> = Vec<(usize, &'a str)>;
/// A line's event, or why it has none.
type Parsed = Result<Line, Rejection>;

pub(crate) async fn append(asked: Asked<'_>, body: &mut Incoming, crowd: &Crowd) -> Handled {
    let atomic = asked.query.flag("atomic")?;
    let keeping = match asked.query.flag("keep_log_seq")? {
        true => Keeping::LogSeq,
        false => Keeping::NewNumbers,
    };
    let runtime = asked.runtime()?;
    let body = body::read(body, crowd).await?;
    let (texts, is_single) = busy(body.text.len(), || split(&body.text, asked.headers))?;
    let parse = |texts: &[(usize, &str)]| parse_all(texts, &asked.tenant, keeping);
    if is_single {
        let results = match atomic {
            true => all_or_nothing(&runtime, parse(&texts)).await?,
            false => append_all(runtime, parse(&texts), Arc::default(), None).await,
        };
        return single(results);
    }
    let mut told = Told::default();
    if atomic {
        told.add(&all_or_nothing(&runtime, parse(&texts)).await?);
    } else {
        let batch_size = asked.context.config.get().append_batch_max_events;
        each_its_own(&runtime, &texts, batch_size, parse, &mut told).await?;
    }
    Ok(told.end())
}

/// Work for the processor on so many bytes of text: if they are many, other tasks of this thread move
/// elsewhere.
fn busy<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes < LONG { work() } else { tokio::task::block_in_place(work) }
}

fn parse_all(texts: &[(usize, &str)], tenant: &str, keeping: Keeping) -> Vec<(usize, Parsed)> {
    let parse = |(number, text): &(usize, &str)| (*number, parse(text, tenant, keeping));
    let bytes = texts.iter().map(|(_, text)| text.len()).sum();
    let parsed: Vec<_> = busy(bytes, || texts.iter().map(parse).collect());
    let unread = parsed.iter().filter_map(|(line, one)| Some((*line, one.as_ref().err()?)));
    telemetry::unread(tenant, unread);
    parsed
}

/// The texts of the events, and whether the body is a single one.
fn split<'a>(text: &'a str, headers: &HeaderMap) -> Result<(Numbered<'a>, bool), Rejection> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let are_lines = kind.starts_with(JSON_LINES);
    let (texts, is_single): (Numbered<'_>, bool) = if are_lines {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        (lines.take(MAX_EVENTS + 1).collect(), false)
    } else if let Some(elements) = elements(text, MAX_EVENTS + 1) {
        ((1..).zip(elements).collect(), false)
    } else {
        (vec![(1, text)], true)
    };
    if texts.len() > MAX_EVENTS {
        return Err(invalid(format!("more than {MAX_EVENTS} events; send fewer in each request")));
    }
    if !are_lines {
        texts.iter().try_for_each(|(number, text)| check_json(*number, text, is_single))?;
    }
    Ok((texts, is_single))
}

/// Refuses a document that is not JSON as a whole: nothing of it is to be written.
fn check_json(number: usize, text: &str, is_single: bool) -> Result<(), Rejection> {
    if text.len() > MAX_EVENT_BYTES {
        return Ok(()); // refused by itself
    }
    match json::parse(text) {
        Err(error) if matches!(error.problem, Problem::Syntax(_)) => {
            let place = if is_single { String::new() } else { format!("element {number}: ") };
            Err(invalid(format!("{place}{error}; JSON Lines need content-type {JSON_LINES}")))
        }
        _ => Ok(()),
    }
}

fn parse(text: &str, tenant: &str, keeping: Keeping) -> Parsed {
    if text.len() > MAX_EVENT_BYTES {
        let message = format!("an event of {} bytes is longer than {MAX_EVENT_BYTES}", text.len());
        return Err(invalid(message));
    }
    parse_line(text, tenant, keeping)
}

/// A line's number, what is known of its event, and its answer.
struct LineResult {
    number: usize,
    tenant_id: Option<String>,
    event_id: Option<String>,
    answer: Result<Admission, Rejection>,
}

impl LineResult {
    fn unread(number: usize, rejection: Rejection) -> LineResult {
        LineResult { number, tenant_id: None, event_id: None, answer: Err(rejection) }
    }

    fn of(number: usize, line: &Line, answer: Result<Admission, Rejection>) -> LineResult {
        let tenant_id = Some(line.event.tenant_id.clone());
        LineResult { number, tenant_id, event_id: Some(line.event.event_id.clone()), answer }
    }

    /// Why an event that was read is not in.
    fn refusal_of_event(&mut self) -> Option<&mut Rejection> {
        self.event_id.as_ref().and(self.answer.as_mut().err())
    }

    fn to_json(&self) -> Borrowed<'_> {
        let (tenant_id, event_id) = (self.tenant_id.as_deref(), self.event_id.as_deref());
        append_result(self.number, tenant_id, event_id, &self.answer)
    }
}

/// The lines of a tenant with their numbers, in order.
type Share = (Vec<usize>, Vec<Line>);

/// Sorts lines by tenant; those that hold no event have their answer already.
fn shares(parsed: Vec<(usize, Parsed)>) -> (BTreeMap<String, Share>, Vec<LineResult>) {
    let (mut shares, mut unread) = (BTreeMap::<String, Share>::new(), Vec::new());
    for (number, parsed) in parsed {
        match parsed {
            Err(rejection) => unread.push(LineResult::unread(number, rejection)),
            Ok(line) => {
                let (numbers, lines) = shares.entry(line.event.tenant_id.clone()).or_default();
                numbers.push(number);
                lines.push(line);
            }
        }
    }
    (shares, unread)
}

/// Tenants of one request whose appends are under way at once; of small shares, which have transactions in common,
/// as many as hold so many events together.
const TENANTS_AT_ONCE: usize = 8;
const EVENTS_AT_ONCE: usize = 256;
/// What part of a batch the first of several is.
const FIRST_PART: usize = 4;
/// Batches of one request under way at once.
const BATCHES_AT_ONCE: usize = 2;

/// Appends batch by batch, in order; while some are at the database the answers of one before are written
/// down and the next is parsed. The first of several is small, so that the database has work soon. A batch
/// whose lines went to many tenants is followed by a larger one: each tenant's share is a transaction.
async fn each_its_own(
    runtime: &Arc<Runtime>,
    texts: &[(usize, &str)],
    batch_size: usize,
    parse: impl Fn(&[(usize, &str)]) -> Vec<(usize, Parsed)>,
    told: &mut Told,
) -> Result<(), Rejection> {
    let outage = Arc::new(OnceLock::new());
    if texts.len() <= batch_size {
        told.add(&append_all(runtime.clone(), parse(texts), outage, None).await);
        return Ok(());
    }
    let mut under_way: Vec<JoinHandle<Vec<LineResult>>> = Vec::new();
    let (mut rest, mut size) = (texts, batch_size.div_ceil(FIRST_PART));
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(size.min(rest.len()));
        let parsed = parse(batch);
        let tenants = tenants_of(&parsed);
        (rest, size) = (after, batch_size * tenants.clamp(1, TENANTS_AT_ONCE));
        // Of several tenants the shares may be of any size; of one they are small beside what a lane takes.
        let may_be_before = if tenants == 1 { BATCHES_AT_ONCE - 1 } else { 0 };
        let mut before = Vec::new();
        for batch in under_way.drain(..under_way.len().saturating_sub(may_be_before)) {
            before.append(&mut finished(batch, &outage).await?);
        }
        let (handing_over, mut handed_over) = mpsc::channel(1);
        let append = append_all(runtime.clone(), parsed, outage.clone(), Some(handing_over));
        under_way.push(tokio::spawn(append));
        told.add(&before);
        // In each tenant's lane the next batch is to come after this one.
        let _all_are = handed_over.recv().await;
    }
    for batch in under_way {
        told.add(&finished(batch, &outage).await?);
    }
    Ok(())
}

/// The results of a batch. If one before it met an outage, it was under way by then, and what is refused of it may be
/// so for the gap alone.
async fn finished(
    batch: JoinHandle<Vec<LineResult>>,
    outage: &OnceLock<Rejection>,
) -> Result<Vec<LineResult>, Rejection> {
    let before = outage.get().cloned();
    let mut results = batch.await.map_err(|panic| crashed(&panic))?;
    if let Some(outage) = before {
        for refusal in results.iter_mut().filter_map(LineResult::refusal_of_event) {
            *refusal = outage.clone();
        }
    }
    Ok(results)
}

/// Held until something was handed over; who waits for all of them is told when the last is dropped.
type HandingOver = mpsc::Sender<Infallible>;

fn tenants_of(parsed: &[(usize, Parsed)]) -> usize {
    let read = parsed.iter().filter_map(|(_, line)| line.as_ref().ok());
    read.map(|line| &line.event.tenant_id).collect::<BTreeSet<_>>().len()
}

fn crashed(panic: &JoinError) -> Rejection {
    Rejection::new(Code::Internal, format!("an append ended abnormally: {panic}"))
}

/// Appends each tenant's lines, in order; tenants do not wait for each other.
async fn append_all(
    runtime: Arc<Runtime>,
    parsed: Vec<(usize, Parsed)>,
    outage: Arc<OnceLock<Rejection>>,
    handing_over: Option<HandingOver>,
) -> Vec<LineResult> {
    let events = parsed.len();
    let (shares, unread) = shares(parsed);
    let at_once = at_once(shares.len(), events);
    let append =
        |(tenant, share)| append_share(&runtime, tenant, share, &outage, handing_over.clone());
    let shares: Vec<_> = shares.into_iter().map(append).collect();
    drop(handing_over);
    // Nearly every request is of one tenant, and has no use for what takes turns.
    let mut results: Vec<LineResult> = match <[_; 1]>::try_from(shares) {
        Ok([only]) => only.await,
        Err(shares) => {
            let appended = stream::iter(shares).buffer_unordered(at_once);
            appended.flat_map(stream::iter).collect().await
        }
    };
    results.extend(unread);
    results.sort_by_key(|result| result.number);
    results
}

/// How many of the shares that have so many events together are under way at once.
fn at_once(shares: usize, events: usize) -> usize {
    TENANTS_AT_ONCE.max(EVENTS_AT_ONCE * shares / events.max(1))
}

/// The answers of one tenant's lines. After an outage the rest is not tried: it would wait as long,
/// and what continues a trace would be blamed for the gap.
async fn append_share(
    runtime: &Runtime,
    tenant: String,
    (numbers, lines): Share,
    outage: &OnceLock<Rejection>,
    handing_over: Option<HandingOver>,
) -> Vec<LineResult> {
    let lines: Arc<[Line]> = lines.into();
    let append = async {
        match handing_over {
            Some(handing_over) => {
                let appending = runtime.hand_over(&tenant, lines.clone()).await;
                drop(handing_over);
                appending?.answers().await
            }
            None => runtime.append(&tenant, lines.clone()).await,
        }
    };
    let answers = match outage.get() {
        Some(reason) => vec![Err(reason.clone()); lines.len()],
        None => match append.await {
            Ok(answers) => answers,
            Err(error) => {
                let refusal = unanswered(error.to_rejection());
                if error.code.is_recoverable() {
                    let _first = outage.set(refusal.clone());
                }
                vec![Err(refusal); lines.len()]
            }
        },
    };
    let each = numbers.into_iter().zip(lines.iter()).zip(answers);
    each.map(|((number, line), answer)| LineResult::of(number, line, answer)).collect()
}

/// A batch whose transaction failed may have been committed all the same.
fn unanswered(rejection: Rejection) -> Rejection {
    let message = format!(
        "{}; send the same line again: if it is in, the answer is 'reused'",
        rejection.message
    );
    Rejection { message, ..rejection }
}

async fn all_or_nothing(
    runtime: &Runtime,
    parsed: Vec<(usize, Parsed)>,
) -> Result<Vec<LineResult>, Refusal> {
    let mut numbers = Vec::with_capacity(parsed.len());
    let mut lines = Vec::with_capacity(parsed.len());
    for (number, parsed) in parsed {
        numbers.push(number);
        lines.push(parsed.map_err(|rejection| whole(rejection, number))?);
    }
    match runtime.append_atomic(&lines).await? {
        Ok(admitted) => {
            let each = numbers.into_iter().zip(&lines).zip(admitted);
            Ok(each.map(|((number, line), how)| LineResult::of(number, line, Ok(how))).collect())
        }
        Err(refusal) => Err(whole(refusal.reason, numbers[refusal.index])),
    }
}

/// The refusal of one line as that of its batch.
fn whole(reason: Rejection, number: usize) -> Refusal {
    let message = format!("line {number}: {}", reason.message);
    Rejection { message, ..reason }.with("line", number as i64).into()
}

/// A single event's result by itself, a refusal as the request's.
fn single(mut results: Vec<LineResult>) -> Handled {
    match results.pop() {
        Some(LineResult { answer: Err(rejection), .. }) => Err(rejection.into()),
        Some(only) => Ok(only.to_json().into()),
        None => Err(Rejection::new(Code::Internal, "the event got no answer").into()),
    }
}

/// The answers of many lines, written down as they come.
struct Told(String);

impl Default for Told {
    fn default() -> Told {
        Told(r#"{"results":["#.to_owned())
    }
}

impl Told {
    fn add(&mut self, results: &[LineResult]) {
        for result in results {
            if !self.0.ends_with('[') {
                self.0.push(',');
            }
            canonical_into(&result.to_json(), &mut self.0);
        }
    }

    fn end(mut self) -> Answer {
        self.0.push_str("]}");
        Answer::Data(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_small_shares_as_many_are_under_way_as_hold_two_transactions_of_events() {
        for (shares, events, expected) in [
            (2, 8_000, TENANTS_AT_ONCE),
            (100, 8_000, TENANTS_AT_ONCE),
            (1_000, 8_000, 32),
            (8_000, 8_000, EVENTS_AT_ONCE),
            (0, 0, TENANTS_AT_ONCE),
        ] {
            assert_eq!(at_once(shares, events), expected, "{shares} {events}");
        }
    }
}
