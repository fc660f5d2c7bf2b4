//! Envelopes, statuses, bodies.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dg_projections::json::{Json, Object, Text, canonical, canonical_string};
use dg_projections::{Code, Rejection};
use dg_store::StoreError;
use futures_util::{Stream, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use crate::wire::{error, object};

/// A body that is there, or comes bit by bit.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The types of requests and answers.
pub(crate) const JSON: &str = "application/json";
pub(crate) const JSON_LINES: &str = "application/x-ndjson";
const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID: usize = 128;

/// A success.
pub(crate) enum Answer {
    /// JSON text, to be wrapped in the envelope.
    Data(String),
    /// An array of JSON, as its pieces come, to be wrapped in the envelope.
    Pieces(Body),
    /// A JSON document that is an answer by itself.
    Document(&'static str),
    /// JSON Lines, as they come.
    Lines(Body),
}

impl<S: Text> From<Json<S>> for Answer {
    fn from(value: Json<S>) -> Answer {
        Answer::Data(canonical(&value))
    }
}

/// What a handler refuses with.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Object,
    allow: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn with_status(status: StatusCode, rejection: Rejection) -> Refusal {
        let Rejection { code, message, details } = rejection;
        Refusal { status, code: code.as_str(), message, details, allow: None }
    }

    /// Whoever asks may not do this.
    pub(crate) fn forbidden(message: &str) -> Refusal {
        Refusal {
            status: StatusCode::FORBIDDEN,
            code: "forbidden",
            message: message.to_owned(),
            details: Object::new(),
            allow: None,
        }
    }

    /// The route takes other methods than the request's.
    pub(crate) fn method(allow: &'static str) -> Refusal {
        let message = format!("this route takes {allow} only");
        let rejection = Rejection::new(Code::InvalidArgument, message);
        let refusal = Refusal::with_status(StatusCode::METHOD_NOT_ALLOWED, rejection);
        Refusal { allow: Some(allow), ..refusal }
    }

    /// The code that clients are told.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Refusal {
        Refusal::with_status(status_of(rejection.code), rejection)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        if error.code == Code::Internal {
            tracing::error!(reason = %error, "a request met a defect");
        }
        Refusal::from(error.to_rejection())
    }
}

/// The table from stable code to status.
const fn status_of(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Conflict
        | Code::IdempotencyConflict
        | Code::EventSequenceInvalid
        | Code::ProjectionOutOfDate => StatusCode::CONFLICT,
        Code::SchemaViolation | Code::PiiPolicyViolation => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Storage => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The caller's request id if it is a decent one, or a new one. Visible ASCII: fit for a header, a
/// log line and, in quotes, for JSON.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Asked once: it stays the same, and is the kernel's to tell.
    static PROCESS: LazyLock<u32> = LazyLock::new(std::process::id);
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_decent = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len()) && !id.contains(|c: char| c.is_control())
    };
    match given.filter(is_decent) {
        Some(id) => id.to_owned(),
        None => format!("{:x}-{:x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Wraps an outcome in its envelope.
pub(crate) fn finish(outcome: Result<Answer, Refusal>, id: &str) -> Response<Body> {
    match outcome {
        Ok(Answer::Data(data)) => {
            let (start, end) = envelope(id);
            response(StatusCode::OK, JSON, whole([start, &data, &end].concat()), id)
        }
        Ok(Answer::Pieces(data)) => {
            let (start, end) = envelope(id);
            let [start, end] = [start.to_owned(), end].map(|text| whole(text).into_data_stream());
            let pieces = start.chain(data.into_data_stream()).chain(end);
            response(StatusCode::OK, JSON, streamed(pieces), id)
        }
        Ok(Answer::Document(text)) => {
            let body = Full::new(Bytes::from_static(text.as_bytes()));
            response(StatusCode::OK, JSON, body.map_err(|never| match never {}).boxed_unsync(), id)
        }
        Ok(Answer::Lines(lines)) => response(StatusCode::OK, JSON_LINES, lines, id),
        Err(refusal) => refused(refusal, id),
    }
}

/// What stands before the data of a success, and after.
fn envelope(id: &str) -> (&'static str, String) {
    let mut end = ",\"request_id\":".to_owned();
    canonical_string(id, &mut end);
    end.push('}');
    ("{\"data\":", end)
}

fn refused(refusal: Refusal, id: &str) -> Response<Body> {
    let Refusal { status, code, message, details, allow } = refusal;
    let error = error(code, &message, details);
    let mut response = response(status, JSON, refusal_body(error, id), id);
    if let Some(allow) = allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

fn refusal_body(error: Json, id: &str) -> Body {
    whole(canonical(&object([("error", error), ("request_id", Json::from(id))])))
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

fn response(status: StatusCode, kind: &'static str, body: Body, id: &str) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// A body of pieces as they come; an error cuts it short, which the client notices.
pub(crate) fn streamed(
    pieces: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}
