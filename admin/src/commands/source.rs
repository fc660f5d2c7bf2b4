//! Reading JSON Lines from a file or standard input, in bounded memory whatever is in it.

use std::path::Path;

use dg_projections::{Code, Rejection};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use crate::failure::Failure;
use crate::server::MAX_EVENT_BYTES;

/// A line of the source.
#[derive(Debug)]
pub(crate) struct SourceLine {
    /// From 1.
    pub(crate) number: usize,
    /// Its text, or why it has none to speak of.
    pub(crate) text: Result<String, Rejection>,
}

/// A file or standard input.
pub(crate) struct Source {
    reader: Box<dyn AsyncBufRead + Unpin + Send>,
    number: usize,
    read: u64,
    size: Option<u64>,
}

impl Source {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    /// `not_found`, or `invalid_argument` for what is no file.
    pub(crate) async fn open(name: &str) -> Result<Source, Failure> {
        const BUFFER: usize = 256 * 1024;
        if name == "-" {
            let reader = Box::new(BufReader::with_capacity(BUFFER, tokio::io::stdin()));
            return Ok(Source { reader, number: 0, read: 0, size: None });
        }
        let path = Path::new(name);
        let refuse = |error: std::io::Error| {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let code = if missing { Code::NotFound } else { Code::InvalidArgument };
            Failure::new(code, format!("cannot read {name}: {error}"))
        };
        let metadata = tokio::fs::metadata(path).await.map_err(refuse)?;
        if metadata.is_dir() {
            let message = format!("cannot read {name}: it is a directory");
            return Err(
                Failure::new(Code::InvalidArgument, message).help("name a file of JSON Lines")
            );
        }
        let file = tokio::fs::File::open(path).await.map_err(refuse)?;
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Source {
            reader: Box::new(BufReader::with_capacity(BUFFER, file)),
            number: 0,
            read: 0,
            size,
        })
    }

    /// Bytes read so far, and in all where that is known.
    pub(crate) fn progress(&self) -> (u64, Option<u64>) {
        (self.read, self.size)
    }

    /// The next line that is not blank; `None` at the end.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Option<SourceLine>, Failure> {
        loop {
            let mut bytes = Vec::new();
            let length = self.read_line(&mut bytes).await?;
            if length == 0 {
                return Ok(None);
            }
            self.number += 1;
            let number = self.number;
            if length > MAX_EVENT_BYTES as u64 {
                let message = format!("a line of {length} bytes is longer than {MAX_EVENT_BYTES}");
                let text = Err(Rejection::new(Code::InvalidArgument, message));
                return Ok(Some(SourceLine { number, text }));
            }
            let text = String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                Rejection::new(Code::InvalidArgument, format!("not UTF-8 at byte {}", at + 1))
            });
            if text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
                continue;
            }
            return Ok(Some(SourceLine { number, text }));
        }
    }

    /// Reads to the end of the line; keeps no more of it than an event may have.
    async fn read_line(&mut self, kept: &mut Vec<u8>) -> Result<u64, Failure> {
        let mut length = 0;
        loop {
            let buffer = self.reader.fill_buf().await.map_err(|error| unreadable(&error))?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |at| at + 1);
            let room = (MAX_EVENT_BYTES + 1).saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..taken.min(room)]);
            self.reader.consume(taken);
            length += taken as u64;
            self.read += taken as u64;
            if end.is_some() || taken == 0 {
                if kept.last() == Some(&b'\n') {
                    kept.pop();
                }
                return Ok(length);
            }
        }
    }
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::new(Code::InvalidArgument, format!("cannot read the input: {error}"))
}
