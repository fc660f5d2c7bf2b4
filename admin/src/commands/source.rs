//! Reading JSON Lines from a file or standard input, in bounded memory whatever is in it.

use std::path::Path;

use dg_projections::{Code, Rejection};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader};

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

/// What some editors put before the first line of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file or standard input.
pub(crate) struct Source {
    reader: Box<dyn AsyncBufRead + Unpin + Send>,
    number: usize,
    read: u64,
    size: Option<u64>,
    line: Unfinished,
}

/// The line that is being read: kept here, so that a wait for the rest of it may be given up.
#[derive(Default)]
struct Unfinished {
    /// No more of it than an event may have.
    kept: Vec<u8>,
    length: u64,
}

impl Source {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    /// `not_found`, or `invalid_argument` for what is no file.
    pub(crate) async fn open(name: &str) -> Result<Source, Failure> {
        if name == "-" {
            return Ok(Source::of(tokio::io::stdin(), None));
        }
        let path = Path::new(name);
        let refuse = |error: std::io::Error| {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let code = if missing { Code::NotFound } else { Code::InvalidArgument };
            Failure::new(code, format!("cannot read {name}: {error}"))
                .help("name a file of JSON Lines, or - for standard input")
        };
        let metadata = tokio::fs::metadata(path).await.map_err(refuse)?;
        if metadata.is_dir() {
            let message = format!("cannot read {name}: it is a directory");
            return Err(
                Failure::new(Code::InvalidArgument, message).help("name a file of JSON Lines")
            );
        }
        let file = tokio::fs::File::open(path).await.map_err(refuse)?;
        Ok(Source::of(file, metadata.is_file().then_some(metadata.len())))
    }

    fn of(input: impl AsyncRead + Unpin + Send + 'static, size: Option<u64>) -> Source {
        const BUFFER: usize = 256 * 1024;
        let reader = Box::new(BufReader::with_capacity(BUFFER, input));
        Source { reader, number: 0, read: 0, size, line: Unfinished::default() }
    }

    /// Bytes read so far, and in all where that is known.
    pub(crate) fn progress(&self) -> (u64, Option<u64>) {
        (self.read, self.size)
    }

    /// The next line that is not blank; `None` at the end. A wait that is given up loses nothing.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Option<SourceLine>, Failure> {
        loop {
            self.read_line().await?;
            let Unfinished { kept, length } = std::mem::take(&mut self.line);
            if length == 0 {
                return Ok(None);
            }
            self.number += 1;
            let number = self.number;
            if kept.len() > MAX_EVENT_BYTES {
                let message = format!("a line of {length} bytes is longer than {MAX_EVENT_BYTES}");
                let text = Err(Rejection::new(Code::InvalidArgument, message));
                return Ok(Some(SourceLine { number, text }));
            }
            let text = text_of(kept, number == 1);
            if text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
                continue;
            }
            return Ok(Some(SourceLine { number, text }));
        }
    }

    /// Reads to the end of the line.
    async fn read_line(&mut self) -> Result<(), Failure> {
        loop {
            let buffer = self.reader.fill_buf().await.map_err(|error| unreadable(&error))?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |at| at + 1);
            let line = &mut self.line;
            let room = (MAX_EVENT_BYTES + 1).saturating_sub(line.kept.len());
            line.kept.extend_from_slice(&buffer[..end.unwrap_or(taken).min(room)]);
            line.length += taken as u64;
            self.reader.consume(taken);
            self.read += taken as u64;
            if end.is_some() || taken == 0 {
                return Ok(());
            }
        }
    }
}

fn text_of(mut bytes: Vec<u8>, is_first: bool) -> Result<String, Rejection> {
    if is_first && bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Rejection::new(Code::InvalidArgument, format!("not UTF-8 at byte {}", at + 1))
    })
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::new(Code::InvalidArgument, format!("cannot read the input: {error}"))
}
