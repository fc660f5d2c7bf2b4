//! `GET /v1/watch`: what changes, as JSON Lines, for as long as somebody reads them.
//!
//! ```text
//! runtime ── looked at by ── lookout ── picture ── changes ══ a bounded queue a watcher ══ stream
//! ```
//! One lookout serves all watchers. Lines are derived from what the runtime shows of itself, so that
//! no actor knows of watchers; what comes and goes between two looks is not seen.

mod lookout;
mod picture;
mod watcher;

use std::sync::Arc;

use bytes::Bytes;
use dg_projections::{Code, Rejection};
use dg_runtime::RunView;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::RuntimeSlot;
use super::asked::{Asked, Handled, invalid};
use super::respond::{Answer, streamed};
use lookout::{Message, look_out};
use picture::KINDS;
pub(crate) use picture::{Change, Picture, WorkerState};
use watcher::{Wanted, Watcher};

/// Those of the query.
pub(crate) const PARAMETERS: [&str; 1] = ["kind"];

/// Watchers at once: each takes the place of a connection.
const MOST_WATCHERS: usize = 64;
/// Messages to the lookout that may wait.
const MOST_MESSAGES: usize = 256;
/// Lines that go out together.
const TOGETHER: usize = 32;

/// The way to the lookout.
#[derive(Debug)]
pub(crate) struct Watch {
    messages: Sender<Message>,
    places: Arc<Semaphore>,
}

/// What the lookout is told, for whoever runs it.
#[derive(Debug)]
pub(crate) struct Messages(Receiver<Message>);

impl Watch {
    pub(crate) fn new() -> (Watch, Messages) {
        let (messages, told) = channel(MOST_MESSAGES);
        let places = Arc::new(Semaphore::new(MOST_WATCHERS));
        (Watch { messages, places }, Messages(told))
    }

    /// A run was admitted. Whoever watches sees it before it begins, as a rule: nothing waits for it.
    pub(super) fn admitted(&self, view: &RunView) {
        let _ = self.messages.try_send(Message::Admitted(Box::new(view.clone())));
    }
}

impl Messages {
    /// Looks out for all watchers until told to stop; their streams end then.
    pub(super) async fn look_out(self, runtime: RuntimeSlot, stop: watch::Receiver<bool>) {
        look_out(runtime, self.0, stop).await;
    }
}

pub(crate) async fn watch(asked: Asked<'_>) -> Handled {
    let wanted = Wanted {
        tenant: asked.named_tenant().map(str::to_owned),
        kinds: kinds(asked.query.list("kind"))?,
    };
    let watch = &asked.context.watch;
    let place = watch.places.clone().try_acquire_owned().map_err(|_| {
        let message = format!("{MOST_WATCHERS} watch already; try again when one has gone");
        Rejection::new(Code::Storage, message)
    })?;
    let (watcher, lines) = Watcher::new(wanted);
    let joined = watch.messages.send(Message::Joins(watcher)).await;
    joined.map_err(|_| Rejection::new(Code::Storage, "the daemon is stopping"))?;
    Ok(Answer::Lines(streamed(together(lines, place))))
}

fn kinds(given: Vec<String>) -> Result<Vec<String>, Rejection> {
    match given.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        Some(unknown) => {
            let known = KINDS.join(", ");
            Err(invalid(format!("parameter 'kind': there is no '{unknown}'; kinds are {known}")))
        }
        None => Ok(given),
    }
}

/// The lines as they come; those that wait go out together. The place is given back at the end.
fn together(
    lines: Receiver<Bytes>,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    let pieces = stream::unfold((lines, place), |(mut lines, place)| async move {
        let mut waiting = Vec::new();
        match lines.recv_many(&mut waiting, TOGETHER).await {
            0 => None,
            _ => Some((Bytes::from(waiting.concat()), (lines, place))),
        }
    });
    pieces.map(Ok)
}
