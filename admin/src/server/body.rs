//! Reading the body of a request in bounded memory and time.

use std::time::Duration;

use bytes::Bytes;
use dg_projections::{Code, Rejection};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::asked::invalid;
use super::peer::{Crowd, Pace};
use super::respond::Refusal;
use super::room::MAX_BYTES;

/// How long a body may take, and its next piece when nobody waits for what it holds.
const WHOLE: Duration = Duration::from_secs(10 * 60);
const SILENCE: Duration = Duration::from_secs(30);

/// How long to take in what was refused, and how long its next piece may take.
const LINGER: Duration = Duration::from_secs(10);
const LINGER_PAUSE: Duration = Duration::from_secs(1);

/// A body that was read, and the room it takes until it is dropped.
pub(crate) struct Text<'a> {
    pub(crate) text: String,
    _room: SemaphorePermit<'a>,
}

/// Reads a body to its end.
///
/// # Errors
/// 413 for one that is too large, 408 for one that does not come, 503 when too many come at once.
pub(crate) async fn read<'a>(body: &mut Incoming, crowd: &'a Crowd) -> Result<Text<'a>, Refusal> {
    let announced = body.size_hint().upper().map_or(MAX_BYTES, |bytes| bytes as usize);
    if announced > MAX_BYTES {
        return Err(too_large());
    }
    let room = crowd.room().take(announced).await.ok_or_else(no_room)?;
    let bytes = tokio::time::timeout(WHOLE, gather(body, crowd)).await;
    let text = String::from_utf8(bytes.map_err(|_| too_slow())??).map_err(|error| {
        invalid(format!("the body is not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
    })?;
    Ok(Text { text, _room: room })
}

async fn gather(body: &mut Incoming, crowd: &Crowd) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::with_capacity(body.size_hint().lower() as usize);
    let mut pace = Pace::default();
    while let Some(piece) = piece(body, crowd, &mut pace).await? {
        if bytes.len() + piece.len() > MAX_BYTES {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The next piece of data; `None` at the end.
async fn piece(
    body: &mut Incoming,
    crowd: &Crowd,
    pace: &mut Pace,
) -> Result<Option<Bytes>, Refusal> {
    let asked = Instant::now();
    let frame = tokio::select! {
        frame = body.frame() => frame,
        () = crowd.clone().patience(SILENCE, *pace) => return Err(too_slow()),
    };
    match frame {
        None => Ok(None),
        Some(Ok(frame)) => {
            // Trailers are of no use here.
            let data = frame.into_data().unwrap_or_default();
            pace.moved(data.len(), asked.elapsed());
            Ok(Some(data))
        }
        Some(Err(error)) => Err(invalid(format!("the body did not arrive: {error}")).into()),
    }
}

/// Takes in the rest of a body that was refused: a client that is still sending, and is cut off, may
/// never read why.
pub(crate) async fn discard(body: &mut Incoming) {
    let ends = Instant::now() + LINGER;
    while Instant::now() < ends && !body.is_end_stream() {
        let Ok(Some(Ok(_))) = tokio::time::timeout(LINGER_PAUSE, body.frame()).await else {
            return;
        };
    }
}

fn no_room() -> Rejection {
    let message = "too many large requests at once; try again, or send less in each";
    Rejection::new(Code::Storage, message)
}

fn too_large() -> Refusal {
    let message = format!("the body is larger than {MAX_BYTES} bytes; send less in each request");
    Refusal::with_status(StatusCode::PAYLOAD_TOO_LARGE, invalid(message))
}

fn too_slow() -> Refusal {
    let refusal = invalid("the rest of the body did not come in time");
    Refusal::with_status(StatusCode::REQUEST_TIMEOUT, refusal)
}
