//! A Unix socket that wakes its owner for what there is to read, and for room to write only where there was none.
//!
//! The kernel tells whoever asked for room to write each time the other end has read something, and Tokio's own stream
//! asks always. Where requests and answers are short that wakes each sender once more, for nothing: a quarter of the
//! time of an append beside 63 others.
//!
//! Invariants:
//! - the kernel is asked for room from a write that found none until one that found some;
//! - as with any stream, what was not written was not taken.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// What is read at once, at most: the room for it has to be cleared first.
const READ_BYTES: usize = 64 * 1024;

/// A connected Unix socket.
#[derive(Debug)]
pub(crate) struct Quiet {
    stream: AsyncFd<UnixStream>,
    /// The same socket, asking for room to write.
    full: Option<AsyncFd<UnixStream>>,
}

impl Quiet {
    /// Takes over a socket that is not in use yet.
    ///
    /// # Errors
    /// When the kernel watches over no more.
    pub(crate) fn new(stream: tokio::net::UnixStream) -> io::Result<Quiet> {
        Ok(Quiet { stream: watched(stream.into_std()?, Interest::READABLE)?, full: None })
    }

    fn poll_write_by(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&mut &UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(&mut self.stream.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_room(context))?;
                }
                written => {
                    self.full = None;
                    return Poll::Ready(written);
                }
            }
        }
    }

    /// Waits for room. Who begins to ask is told of room that has come meanwhile.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let full = match &self.full {
            Some(full) => full,
            None => {
                let twin = self.stream.get_ref().try_clone()?;
                self.full.insert(watched(twin, Interest::WRITABLE)?)
            }
        };
        ready!(full.poll_write_ready(context))?.clear_ready();
        Poll::Ready(Ok(()))
    }
}

#[expect(
    deprecated,
    reason = "the function in its place is unsafe; a stream keeps its descriptor, as that wants"
)]
fn watched(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(stream, interest)
}

impl AsyncRead for Quiet {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.stream.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled_to(READ_BYTES.min(buffer.remaining()));
            match self.stream.get_ref().read(room) {
                Ok(count) => {
                    // Less than asked for was all there is; only the end is told again and again.
                    if 0 < count && count < room.len() {
                        ready.clear_ready();
                    }
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Quiet {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(context, |stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(context, |stream| stream.write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// More than a socket holds.
    const MUCH: usize = 4 * 1024 * 1024;

    fn pair() -> (Quiet, tokio::net::UnixStream) {
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        (Quiet::new(ours).unwrap(), theirs)
    }

    /// Whether the kernel watches over a descriptor of this process to tell when it can be written to.
    fn asks_for_room(descriptor: i32) -> bool {
        const EPOLLOUT: u32 = 4;
        let mut is_watched = false;
        for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap() {
            // It may be closed by now: other tests run beside this one.
            let info = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            for line in info.lines().filter(|line| line.starts_with("tfd:")) {
                let words: Vec<&str> = line.split_whitespace().collect();
                if words[1] == descriptor.to_string() {
                    is_watched = true;
                    if u32::from_str_radix(words[3], 16).unwrap() & EPOLLOUT != 0 {
                        return true;
                    }
                }
            }
        }
        assert!(is_watched, "nobody watches over {descriptor}");
        false
    }

    #[tokio::test]
    async fn what_is_written_is_read_both_ways_and_room_is_not_asked_for() {
        let (mut ours, mut theirs) = pair();
        assert!(asks_for_room(theirs.as_raw_fd()), "Tokio's own stream asks");
        let mut read = [0; 5];
        for _ in 0..3 {
            ours.write_all(b"there").await.unwrap();
            theirs.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"there");
            theirs.write_all(b"again").await.unwrap();
            ours.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"again");
            assert!(!asks_for_room(ours.stream.get_ref().as_raw_fd()));
            assert!(ours.full.is_none());
        }
    }

    /// Writes for as long as there is room at once.
    async fn fill(stream: &mut Quiet) -> usize {
        let mut written = 0;
        loop {
            let once = std::future::poll_fn(|context| {
                Poll::Ready(Pin::new(&mut *stream).poll_write(context, &[7; READ_BYTES]))
            });
            match once.await {
                Poll::Ready(count) => written += count.unwrap(),
                Poll::Pending => return written,
            }
        }
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_for_it_and_then_asks_no_more() {
        let (mut ours, mut theirs) = pair();
        let filled = fill(&mut ours).await;
        assert!(asks_for_room(ours.full.as_ref().unwrap().get_ref().as_raw_fd()));
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).await.map(|_| read)
        });
        ours.write_all(&vec![8; MUCH]).await.unwrap();
        assert!(ours.full.is_none());
        drop(ours);
        let expected = [vec![7; filled], vec![8; MUCH]].concat();
        assert!(reading.await.unwrap().unwrap() == expected, "all of it, in its order");
    }

    #[tokio::test]
    async fn much_that_has_come_is_read_to_its_end() {
        let (mut ours, mut theirs) = pair();
        let writing = tokio::spawn(async move { theirs.write_all(&vec![7; MUCH]).await });
        let mut read = Vec::new();
        ours.read_to_end(&mut read).await.unwrap();
        writing.await.unwrap().unwrap();
        assert_eq!(read, vec![7; MUCH]);
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0, "the end is told again");
    }

    #[tokio::test]
    async fn who_has_gone_is_told_to_reader_and_writer() {
        let (mut ours, theirs) = pair();
        // A writer waits when the other end goes.
        fill(&mut ours).await;
        let writing = tokio::spawn(async move {
            let error = ours.write(&[0; READ_BYTES]).await.unwrap_err();
            (error.kind(), ours)
        });
        tokio::task::yield_now().await;
        drop(theirs);
        let (kind, mut ours) = writing.await.unwrap();
        assert_eq!(kind, io::ErrorKind::BrokenPipe);
        let read = ours.read(&mut [0; 8]).await;
        assert!(matches!(read.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset)));
    }

    #[tokio::test]
    async fn a_shut_down_ends_what_the_other_end_reads() {
        let (mut ours, mut theirs) = pair();
        ours.write_all(b"last").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"last");
        theirs.write_all(b"heard").await.unwrap();
        let mut heard = [0; 5];
        ours.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"heard");
    }
}
