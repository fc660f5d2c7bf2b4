//! HTTP on loopback as whoever watches the daemon speaks it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::{Daemon, until};

/// Flags of a daemon that can be watched, and that soon finds what others wrote.
pub const WATCHED: [&str; 4] =
    ["--metrics-listen", "127.0.0.1:0", "--projection-poll-interval-ms", "50"];

/// The address that the system chose, from the log.
///
/// # Panics
/// When there is none.
pub fn address(daemon: &Daemon) -> String {
    until("the listener is bound", || {
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("metrics, healthz and readyz"))?;
        Some(line.split("address=").nth(1)?.split_whitespace().next()?.to_owned())
    })
}

/// Status and body of a request, such as `GET /metrics`.
///
/// # Panics
/// When there is no answer.
pub fn request(address: &str, line: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// An answer with its head.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Status line and headers, names in lower case.
    pub head: String,
    /// Its body.
    pub body: String,
}

/// The answer to a request with headers of its own, such as `host: localhost`.
///
/// # Panics
/// When there is no answer.
pub fn ask(address: &str, line: &str, headers: &[&str]) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    write!(stream, "{line} HTTP/1.1\r\n{headers}connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// The metrics of a daemon.
#[derive(Debug)]
pub struct Metrics(String);

impl Metrics {
    /// Asks for them.
    ///
    /// # Panics
    /// When they are not given.
    pub fn of(daemon: &Daemon) -> Metrics {
        let (status, text) = request(&address(daemon), "GET /metrics");
        assert_eq!(status, 200, "{text}");
        Metrics(text)
    }

    /// The value of a series, given as `name{labels}` without the prefix of all; none when there is
    /// no such series.
    pub fn value(&self, series: &str) -> Option<f64> {
        let series = format!("decisiongraph_{series} ");
        self.0.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
    }

    /// How many series have a name that begins so.
    pub fn count(&self, name: &str) -> usize {
        let name = format!("decisiongraph_{name}");
        self.0.lines().filter(|line| line.starts_with(&name)).count()
    }
}
