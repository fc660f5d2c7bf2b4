//! A client that costs as little as one can, as the floor's does: its requests are written down before the clock runs,
//! and of an answer it reads how long it is and whether the event is in. What is left is the daemon's.

use std::path::Path;

use dg_projections::Code;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::refused;
use crate::failure::Failure;
use crate::quiet::Quiet;
use crate::server::{JSON_LINES, encode};

/// A connection to the daemon.
#[derive(Debug)]
pub(super) struct Sender {
    stream: Quiet,
    answer: Vec<u8>,
}

/// A request with one event, as it goes over the socket.
pub(super) fn request(tenant: Option<&str>, line: &str) -> String {
    let tenant = tenant.map(|tenant| format!("x-tenant-id: {}\r\n", encode(tenant)));
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: decisiongraph\r\ncontent-type: {JSON_LINES}\r\n{}content-length: {}\r\n\r\n{line}",
        tenant.unwrap_or_default(),
        line.len()
    )
}

impl Sender {
    pub(super) async fn connect(socket: &Path) -> Result<Sender, Failure> {
        let stream = Quiet::new(UnixStream::connect(socket).await?)?;
        Ok(Sender { stream, answer: Vec::new() })
    }

    /// Sends one event.
    ///
    /// # Errors
    /// When the daemon says anything but that it is in.
    pub(super) async fn send(&mut self, request: &str) -> Result<(), Failure> {
        self.stream.write_all(request.as_bytes()).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(refused("the connection ended"));
            }
            let text = std::str::from_utf8(&self.answer);
            let text = text.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
            match body(text) {
                Some(body) if body.contains(r#""status":"inserted""#) => return Ok(()),
                Some(_) => return Err(refused(text)),
                None => {}
            }
        }
    }
}

/// What an answer says, once all of it is there.
fn body(answer: &str) -> Option<&str> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    length.parse().is_ok_and(|length: usize| body.len() >= length).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_body_once_all_of_it_is_there() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-type: x\r\ncontent-length: 4\r\n\r\nbody";
        for end in 0..whole.len() {
            assert_eq!(body(&whole[..end]), None, "{end}");
        }
        assert_eq!(body(whole), Some("body"));
    }

    #[test]
    fn a_request_says_whose_it_is_and_how_long() {
        let own = request(Some("a b"), "{}");
        assert!(own.contains("\r\nx-tenant-id: a%20b\r\n"), "{own}");
        assert!(own.ends_with("\r\ncontent-length: 2\r\n\r\n{}"), "{own}");
        assert!(!request(None, "{}").contains("x-tenant-id"));
    }
}
