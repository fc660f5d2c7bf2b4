//! systemd's end of `$NOTIFY_SOCKET`, without systemd.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::{Directory, until};

/// Hears what a daemon tells.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    heard: Vec<String>,
    _directory: Directory,
}

impl Manager {
    /// Begins to listen.
    ///
    /// # Panics
    /// When it cannot.
    #[allow(clippy::new_without_default, reason = "listening is no default")]
    pub fn new() -> Manager {
        let directory = Directory::new();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager { socket, path, heard: Vec::new(), _directory: directory }
    }

    /// For `$NOTIFY_SOCKET`.
    ///
    /// # Panics
    /// When it is not UTF-8.
    pub fn address(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// All messages so far, oldest first, their lines with a space between.
    pub fn heard(&mut self) -> &[String] {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            self.heard.push(text.trim().replace('\n', " "));
        }
        &self.heard
    }

    /// Waits for a message that begins so, among those after the first `after`; the number of messages
    /// up to it, and the message.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn until(&mut self, after: usize, start: &str) -> (usize, String) {
        until(&format!("the manager is told {start}"), || {
            let mut heard = self.heard().iter().enumerate().skip(after);
            let (at, message) = heard.find(|(_, message)| message.starts_with(start))?;
            Some((at + 1, message.clone()))
        })
    }

    /// Listens for so long; how often a message was this.
    pub fn count(&mut self, message: &str, time: Duration) -> usize {
        let started = Instant::now();
        let before = self.heard().len();
        while started.elapsed() < time {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.heard()[before..].iter().filter(|heard| *heard == message).count()
    }
}
