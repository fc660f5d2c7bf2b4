//! `POST /v1/events`: JSON (one event or a list) or JSON Lines; each line its own answer, or all of
//! them together.

use std::collections::BTreeMap;

use dg_projections::admission::Admission;
use dg_projections::event::{Keeping, Line, parse_line};
use dg_projections::json::{self, Json, canonical};
use dg_projections::{Code, Rejection};
use dg_runtime::Runtime;
use http_body_util::{BodyExt as _, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;

use super::MAX_BODY_BYTES;
use super::reads::Asked;
use super::respond::{Answer, Refusal, status_of};
use crate::wire::{append_result, object};

/// The longest event, as JSON text.
pub(crate) const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// A line of the request: its text's event, or why it has none.
type Parsed = Result<Line, Rejection>;

pub(crate) async fn append(asked: Asked<'_>, body: Incoming) -> Result<Answer, Refusal> {
    let atomic = asked.query.flag("atomic")?;
    let keeping =
        if asked.query.flag("keep_log_seq")? { Keeping::LogSeq } else { Keeping::NewNumbers };
    let runtime = asked.context.runtime.get()?;
    let text = read(body).await?;
    let content_type = asked.parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let as_lines = content_type.is_some_and(|kind| kind.starts_with("application/x-ndjson"));
    let (texts, single) = if as_lines { (lines(&text), false) } else { documents(&text)? };
    // Parsing and hashing are work for the processor: other tasks of this thread move elsewhere.
    let parsed: Vec<(usize, Parsed)> = tokio::task::block_in_place(|| {
        texts.iter().map(|(number, text)| (*number, parse(text, asked.tenant, keeping))).collect()
    });
    let results = if atomic {
        all_or_nothing(&runtime, parsed).await?
    } else {
        each_its_own(&runtime, parsed, asked.context.config.append_batch_max_events).await
    };
    answer(&results, single)
}

async fn read(body: Incoming) -> Result<String, Refusal> {
    let collected = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| {
        let too_large = error.is::<http_body_util::LengthLimitError>();
        let (status, message) = if too_large {
            (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {MAX_BODY_BYTES} bytes"),
            )
        } else {
            (StatusCode::BAD_REQUEST, format!("the body did not arrive: {error}"))
        };
        Refusal::with_status(status, Rejection::new(Code::InvalidArgument, message))
    })?;
    String::from_utf8(collected.to_bytes().into()).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Rejection::new(Code::InvalidArgument, format!("the body is not UTF-8 at byte {at}")).into()
    })
}

/// Lines with their numbers from 1; blank ones are skipped.
fn lines(text: &str) -> Vec<(usize, String)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned()));
    numbered.filter(|(_, line)| !line.trim().is_empty()).collect()
}

/// A list of events, or a single one.
fn documents(text: &str) -> Result<(Vec<(usize, String)>, bool), Rejection> {
    match json::parse(text) {
        Ok(Json::Array(items)) => Ok((
            items.iter().enumerate().map(|(index, item)| (index + 1, canonical(item))).collect(),
            false,
        )),
        // Whatever else it is, reading it as an event says what is wrong with it.
        _ => Ok((vec![(1, text.to_owned())], true)),
    }
}

fn parse(text: &str, tenant: &str, keeping: Keeping) -> Parsed {
    if text.len() > MAX_EVENT_BYTES {
        let message = format!("an event of {} bytes is longer than {MAX_EVENT_BYTES}", text.len());
        return Err(Rejection::new(Code::InvalidArgument, message));
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
    fn of(number: usize, line: Option<&Line>, answer: Result<Admission, Rejection>) -> LineResult {
        let tenant_id = line.map(|line| line.event.tenant_id.clone());
        LineResult {
            number,
            tenant_id,
            event_id: line.map(|line| line.event.event_id.clone()),
            answer,
        }
    }

    fn to_json(&self) -> Json {
        append_result(
            self.number,
            self.tenant_id.as_deref(),
            self.event_id.as_deref(),
            &self.answer,
        )
    }
}

/// Appends tenant by tenant, in batches, each line in its tenant's order.
async fn each_its_own(
    runtime: &Runtime,
    parsed: Vec<(usize, Parsed)>,
    batch_size: usize,
) -> Vec<LineResult> {
    let mut results = Vec::with_capacity(parsed.len());
    let mut tenants: BTreeMap<String, (Vec<usize>, Vec<Line>)> = BTreeMap::new();
    for (number, parsed) in parsed {
        match parsed {
            Err(rejection) => results.push(LineResult::of(number, None, Err(rejection))),
            Ok(line) => {
                let (numbers, lines) = tenants.entry(line.event.tenant_id.clone()).or_default();
                numbers.push(number);
                lines.push(line);
            }
        }
    }
    for (tenant, (numbers, lines)) in tenants {
        for (numbers, lines) in numbers.chunks(batch_size).zip(lines.chunks(batch_size)) {
            let answers = match runtime.append(&tenant, lines).await {
                Ok(answers) => answers,
                Err(error) => vec![Err(unanswered(&error.to_rejection())); lines.len()],
            };
            let each = numbers.iter().zip(lines).zip(answers);
            results.extend(
                each.map(|((number, line), answer)| LineResult::of(*number, Some(line), answer)),
            );
        }
    }
    results.sort_by_key(|result| result.number);
    results
}

/// A batch whose transaction failed may have been committed all the same.
fn unanswered(rejection: &Rejection) -> Rejection {
    let message = format!(
        "{}; send the same line again: if it is in, the answer is 'reused'",
        rejection.message
    );
    Rejection { message, ..rejection.clone() }
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
        Ok(admitted) => Ok(numbers
            .into_iter()
            .zip(&lines)
            .zip(admitted)
            .map(|((number, line), admission)| LineResult::of(number, Some(line), Ok(admission)))
            .collect()),
        Err(refusal) => Err(whole(refusal.reason, numbers[refusal.index])),
    }
}

/// The refusal of one line as that of its batch.
fn whole(reason: Rejection, number: usize) -> Refusal {
    let message = format!("line {number}: {}", reason.message);
    Rejection { message, ..reason }.with("line", number as i64).into()
}

fn answer(results: &[LineResult], single: bool) -> Result<Answer, Refusal> {
    if let ([LineResult { answer: Err(rejection), .. }], true) = (results, single) {
        return Err(Refusal::with_status(status_of(rejection.code), rejection.clone()));
    }
    let mut shown: Vec<Json> = results.iter().map(LineResult::to_json).collect();
    match shown.pop() {
        Some(only) if single => Ok(only.into()),
        last => {
            shown.extend(last);
            Ok(object([("results", Json::Array(shown))]).into())
        }
    }
}
