//! Envelopes, statuses, bodies.

use bytes::Bytes;
use dg_projections::json::{Json, canonical};
use dg_projections::{Code, Rejection};
use dg_store::StoreError;
use futures_util::Stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use crate::wire::object;

/// A body that is there, or comes bit by bit.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

const REQUEST_ID: &str = "x-request-id";

/// What a handler gives back.
pub(crate) enum Answer {
    /// JSON text, to be wrapped in the envelope.
    Data(String),
    /// JSON Lines, as they come.
    Lines(Body),
}

impl From<Json> for Answer {
    fn from(value: Json) -> Answer {
        Answer::Data(canonical(&value))
    }
}

/// What a handler refuses with.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    rejection: Rejection,
}

impl Refusal {
    pub(crate) fn with_status(status: StatusCode, rejection: Rejection) -> Refusal {
        Refusal { status, rejection }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Refusal {
        Refusal { status: status_of(rejection.code), rejection }
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
pub(crate) const fn status_of(code: Code) -> StatusCode {
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

/// The caller's request id if it is a decent one, or a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given.filter(|id| !id.is_empty() && id.len() <= 128) {
        Some(id) => id.to_owned(),
        None => format!("{:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Wraps an outcome in its envelope.
pub(crate) fn finish(outcome: Result<Answer, Refusal>, id: &str) -> Response<Body> {
    match outcome {
        Ok(Answer::Data(data)) => {
            let id = canonical(&Json::from(id));
            json(StatusCode::OK, format!("{{\"data\":{data},\"request_id\":{id}}}"), &id)
        }
        Ok(Answer::Lines(body)) => response(StatusCode::OK, "application/x-ndjson", body, id),
        Err(Refusal { status, rejection }) => json(status, error_body(&rejection, id), id),
    }
}

/// The answer to a peer that may not ask.
pub(crate) fn forbidden(id: &str) -> Response<Body> {
    let body = object([
        (
            "error",
            object([
                ("code", Json::from("forbidden")),
                ("message", Json::from("this user may not use the admin socket; see admin_uids")),
                ("details", object([])),
            ]),
        ),
        ("request_id", Json::from(id)),
    ]);
    json(StatusCode::FORBIDDEN, canonical(&body), id)
}

fn error_body(rejection: &Rejection, id: &str) -> String {
    let error = object([
        ("code", Json::from(rejection.code.as_str())),
        ("message", Json::from(rejection.message.as_str())),
        ("details", Json::from(rejection.details.clone())),
    ]);
    canonical(&object([("error", error), ("request_id", Json::from(id))]))
}

fn json(status: StatusCode, body: String, id: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
    response(status, "application/json", body, id)
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: Body,
    id: &str,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(id.trim_matches('"')) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// A body of pieces as they come; an error cuts it short, which the client notices.
pub(crate) fn streamed(
    pieces: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync + 'static,
) -> Body {
    use futures_util::StreamExt as _;
    http_body_util::BodyExt::boxed(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
}
