//! A peer's end of a connection, and how long a slow or silent peer may keep its place.
//!
//! A pager that holds up an export for minutes is welcome while there is room; it goes when others
//! wait for its place. A byte now and then does not help: who is to stay moves a decent amount.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::room::Room;

/// How long a peer may be waited for when others wait, until it has moved a decent amount.
const LEAST: Duration = Duration::from_secs(2);
const DECENT: usize = 64 * 1024;
/// How long a peer may leave an answer unread when nobody waits.
const UNREAD: Duration = Duration::from_secs(15 * 60);
/// How long a connection may be idle, or take for the head of a request; and when others wait.
const HEAD: Duration = Duration::from_secs(5);
const LEAST_HEAD: Duration = Duration::from_secs(1);
/// Who is in front of a full house is not seen, so it counts as waited for a while after.
const STILL_FULL: Duration = Duration::from_secs(10);
/// How often to look whether anybody waits.
const GLANCE: Duration = Duration::from_millis(500);

/// Whether anybody waits for a place or for room. Clones share the answer.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    full_at: Arc<Mutex<Option<Instant>>>,
    room: Arc<Room>,
}

impl Crowd {
    /// The crowd at some places, who share room with others.
    pub(super) fn new(room: Arc<Room>) -> Crowd {
        Crowd { full_at: Arc::default(), room }
    }

    /// The crowd at some places where nobody sends anything.
    pub(crate) fn without_bodies() -> Crowd {
        Crowd::new(Arc::new(Room::none()))
    }

    /// The room for bodies.
    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// Takes note that all places are taken.
    pub(crate) fn is_full_now(&self) {
        *self.full_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(crate) fn somebody_waits(&self) -> bool {
        let full_at = *self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        full_at.is_some_and(|at| at.elapsed() < STILL_FULL) || self.room.is_waited_for()
    }

    /// How long a new connection may take for the head of a request.
    pub(crate) fn patience_for_heads(&self) -> Duration {
        if self.somebody_waits() { LEAST_HEAD } else { HEAD }
    }

    /// Ends when a peer that has been silent since the call must go: after `most`, or soon if others
    /// wait for what it holds and it has kept a bad pace.
    pub(crate) async fn patience(self, most: Duration, pace: Pace) {
        let started = Instant::now();
        loop {
            let silent = started.elapsed();
            if silent >= most || (pace.waited + silent >= LEAST && self.somebody_waits()) {
                return;
            }
            tokio::time::sleep(GLANCE.min(most - silent)).await;
        }
    }
}

/// How long a peer was waited for since it last moved a decent amount.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    waited: Duration,
    moved: usize,
}

impl Pace {
    /// It moved some bytes after it was waited for.
    pub(crate) fn moved(&mut self, bytes: usize, waited: Duration) {
        self.waited += waited;
        self.moved += bytes;
        if self.moved >= DECENT {
            *self = Pace::default();
        }
    }
}

/// The end of waiting for a peer, which began at some time.
type Waiting = (Instant, Pin<Box<dyn Future<Output = ()> + Send>>);

/// The stream of a peer that must read what it asked for.
pub(crate) struct Peer<S> {
    stream: S,
    crowd: Crowd,
    /// How long it may leave what it was sent unread when nobody waits.
    most: Duration,
    pace: Pace,
    unread: Option<Waiting>,
}

impl<S> Peer<S> {
    pub(crate) fn new(stream: S, crowd: Crowd) -> Peer<S> {
        Peer::within(stream, crowd, UNREAD)
    }

    /// One that may leave what it was sent unread for so long.
    pub(crate) fn within(stream: S, crowd: Crowd, most: Duration) -> Peer<S> {
        Peer { stream, crowd, most, pace: Pace::default(), unread: None }
    }

    /// Turns waiting for too long into an error, which ends the connection.
    fn limit(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(outcome) = written {
            let waited = self.unread.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
            self.pace.moved(*outcome.as_ref().unwrap_or(&0), waited);
            return Poll::Ready(outcome);
        }
        let (crowd, most, pace) = (&self.crowd, self.most, self.pace);
        let wait = || (Instant::now(), Box::pin(crowd.clone().patience(most, pace)) as _);
        let (_, patience) = self.unread.get_or_insert_with(wait);
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Peer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Peer<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.limit(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;

    fn crowd() -> Crowd {
        Crowd::new(Arc::new(Room::own()))
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_goes_when_others_wait() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let crowd = crowd();
        let mut peer = Peer::new(ours, crowd.clone());
        crowd.is_full_now();
        let error = peer.write_all(&vec![0; 8 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(peer);
        // What it had not read is still there for it.
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.unwrap();
        assert!(!rest.is_empty());
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_goes_in_any_case() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut peer = Peer::within(ours, crowd(), Duration::from_millis(10));
        let error = peer.write_all(&vec![0; 8 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_byte_now_and_then_is_no_pace() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let crowd = crowd();
        let mut peer = Peer::new(ours, crowd.clone());
        crowd.is_full_now();
        let reading = tokio::spawn(async move {
            // Small reads free room for small writes: there is always some progress.
            let mut some = [0; 4096];
            while theirs.read(&mut some).await.is_ok_and(|read| read > 0) {
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        });
        let error = peer.write_all(&vec![0; 8 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(peer);
        reading.abort();
    }

    #[test]
    fn a_decent_amount_makes_good_for_the_time_before() {
        let mut pace = Pace::default();
        pace.moved(1, LEAST);
        pace.moved(DECENT - 2, LEAST);
        assert_eq!(pace.waited, 2 * LEAST);
        pace.moved(1, LEAST);
        assert_eq!((pace.waited, pace.moved), (Duration::ZERO, 0));
    }
}
