//! A client that knows no more of HTTP than it must, and keeps no rules.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dg_projections::json::{self, Json};
use dg_tests::Daemon;

/// No answer of these tests takes longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Json {
        json::parse(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `data` of a success.
    #[track_caller]
    pub(crate) fn data(&self) -> Json {
        assert_eq!(self.status, 200, "{self:?}");
        self.json().get("data").unwrap_or_else(|| panic!("no data: {self:?}")).clone()
    }

    /// The code and the message of a failure.
    #[track_caller]
    pub(crate) fn error(&self) -> (String, String) {
        let json = self.json();
        let error = json.get("error").unwrap_or_else(|| panic!("no error: {self:?}"));
        assert!(error.get("details").is_some_and(|details| details.as_object().is_some()));
        let text = |key| error.get(key).and_then(Json::as_str).unwrap().to_owned();
        (text("code"), text("message"))
    }
}

/// A connection to the socket.
pub(crate) struct Connection(BufReader<UnixStream>);

impl Connection {
    pub(crate) fn open(daemon: &Daemon) -> Connection {
        let stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Connection(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// The next answer; `None` when the connection is closed.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let (status, headers) = self.head()?;
        let body = if headers.contains_key("transfer-encoding") {
            self.chunks()?
        } else {
            self.bytes(headers.get("content-length").map_or(0, |length| length.parse().unwrap()))?
        };
        Some(Reply { status, headers, body: String::from_utf8(body).unwrap() })
    }

    /// Status and headers of the next answer; its body is still to be read.
    pub(crate) fn head(&mut self) -> Option<(u16, BTreeMap<String, String>)> {
        let status = self.line()?;
        let status = status.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        if status == 100 { self.head() } else { Some((status, headers)) }
    }

    /// Whether nothing more comes, also not later.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// A chunked body; `None` when it breaks off.
    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            match self.chunk()? {
                chunk if chunk.is_empty() => return Some(body),
                chunk => body.extend(chunk),
            }
        }
    }

    /// The next chunk, empty at the end; `None` when the body breaks off.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line()?, 16).ok()?;
        let chunk = self.bytes(length)?;
        self.line()?;
        Some(chunk)
    }
}

/// The head of a request whose body has this length.
pub(crate) fn head(method: &str, target: &str, headers: &[(&str, &str)], length: usize) -> String {
    let mut text =
        format!("{method} {target} HTTP/1.1\r\nhost: dg\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "\r\n"
}

/// One request on a connection of its own.
#[track_caller]
pub(crate) fn ask(
    daemon: &Daemon,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let mut connection = Connection::open(daemon);
    let request = head(method, target, headers, body.len()) + body;
    // An early refusal may close the connection before all is sent.
    let _ = connection.send(request.as_bytes());
    connection.reply().unwrap_or_else(|| panic!("no answer to {method} {target}"))
}

#[track_caller]
pub(crate) fn get(daemon: &Daemon, target: &str) -> Reply {
    ask(daemon, "GET", target, &[], "")
}

/// Appends a JSON document.
#[track_caller]
pub(crate) fn post(daemon: &Daemon, target: &str, body: &str) -> Reply {
    ask(daemon, "POST", target, &[("content-type", "application/json")], body)
}

/// Appends JSON Lines.
#[track_caller]
pub(crate) fn post_lines(daemon: &Daemon, target: &str, body: &str) -> Reply {
    ask(daemon, "POST", target, &[("content-type", "application/x-ndjson")], body)
}
