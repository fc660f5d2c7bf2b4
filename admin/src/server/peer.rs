//! A peer's end of a connection, and how long a silent peer may keep its place.
//!
//! A pager that holds up an export for minutes is welcome while there is room; it goes when others
//! wait for its place.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::Instant;

/// How long a peer may be silent when others wait.
const LEAST: Duration = Duration::from_secs(2);
/// How long a peer may leave an answer unread when nobody waits.
const UNREAD: Duration = Duration::from_secs(15 * 60);

/// Whether anybody waits for a place or for room. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crowd(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    is_full: AtomicBool,
    for_room: AtomicUsize,
}

impl Crowd {
    /// Takes note of whether all places are taken.
    pub(crate) fn note(&self, is_full: bool) {
        self.0.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Waits for something that silent peers hold.
    pub(crate) async fn wait<F: Future>(&self, room: F) -> F::Output {
        struct Leave<'a>(&'a AtomicUsize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.0.for_room.fetch_add(1, Ordering::Relaxed);
        let _leave = Leave(&self.0.for_room);
        room.await
    }

    fn somebody_waits(&self) -> bool {
        self.0.is_full.load(Ordering::Relaxed) || self.0.for_room.load(Ordering::Relaxed) > 0
    }

    /// Ends when a peer that has been silent since the call must go: after `most`, or soon if others
    /// wait for what it holds.
    pub(crate) async fn patience(self, most: Duration) {
        let started = Instant::now();
        while started.elapsed() < most {
            tokio::time::sleep(LEAST.min(most)).await;
            if self.somebody_waits() {
                return;
            }
        }
    }
}

/// The stream of a peer that must read what it asked for.
pub(crate) struct Peer {
    stream: UnixStream,
    crowd: Crowd,
    unread: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Peer {
    pub(crate) fn new(stream: UnixStream, crowd: Crowd) -> Peer {
        Peer { stream, crowd, unread: None }
    }

    /// Turns waiting for too long into an error, which ends the connection.
    fn limit<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let crowd = &self.crowd;
        let unread = self.unread.get_or_insert_with(|| Box::pin(crowd.clone().patience(UNREAD)));
        ready!(unread.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Peer {
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

    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_not_read_goes_when_others_wait() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let crowd = Crowd::default();
        let mut peer = Peer::new(ours, crowd.clone());
        crowd.note(true);
        let error = peer.write_all(&vec![0; 8 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(peer);
        // What it had not read is still there for it.
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.unwrap();
        assert!(!rest.is_empty());
    }

    #[tokio::test]
    async fn silence_ends_in_any_case() {
        Crowd::default().patience(Duration::from_millis(10)).await;
    }
}
