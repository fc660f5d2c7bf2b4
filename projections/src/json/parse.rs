//! Text to [`Json`], by recursive descent, with the path and offset of what is wrong.

use std::fmt;
use std::marker::PhantomData;

use memchr::memchr2;

use super::{Borrowed, Json, MAX_DEPTH, Object, Text, has, member_path};

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Not JSON: what was expected at that place.
    Syntax(&'static str),
    /// `\ud800`..`\udfff` that is not half of a pair: JSON, but not a string of characters.
    LoneSurrogate,
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// A text that is not an acceptable value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub problem: Problem,
    /// Byte offset into the text.
    pub offset: usize,
    segments: Vec<Segment>, // innermost first
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl ParseError {
    /// The path of the value that was being read, such as `$.payload.facts[2]`.
    pub fn path(&self) -> String {
        self.segments.iter().rev().fold("$".to_owned(), |path, segment| match segment {
            Segment::Key(key) => member_path(&path, key),
            Segment::Index(index) => format!("{path}[{index}]"),
        })
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem {
            Problem::Syntax(expected) => {
                write!(f, "not JSON at column {}: expected {expected}", self.offset + 1)
            }
            Problem::LoneSurrogate => write!(f, "a lone surrogate is not a character"),
            Problem::TooDeep => write!(f, "nested deeper than {MAX_DEPTH} levels"),
        }
    }
}

impl std::error::Error for ParseError {}

/// Reads one value; only white space may follow it.
///
/// # Errors
/// The first problem, with its offset and path.
pub fn parse(text: &str) -> Result<Json, ParseError> {
    document(text)
}

/// The same without a copy of each string.
///
/// # Errors
/// As [`parse`].
pub fn borrow(text: &str) -> Result<Borrowed<'_>, ParseError> {
    document(text)
}

fn document<'a, S: Made<'a>>(text: &'a str) -> Result<Json<S>, ParseError> {
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, of: PhantomData };
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.at < parser.bytes.len() {
        return Err(parser.syntax("nothing more"));
    }
    Ok(value)
}

/// Made from a string as it stands in the text, or from what its escapes stand for.
trait Made<'a>: Text + From<&'a str> + From<String> {}

impl<'a, S: Text + From<&'a str> + From<String>> Made<'a> for S {}

struct Parser<'a, S> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    of: PhantomData<S>,
}

impl<'a, S: Made<'a>> Parser<'a, S> {
    fn error(&self, problem: Problem) -> ParseError {
        ParseError { problem, offset: self.at, segments: Vec::new() }
    }

    fn syntax(&self, expected: &'static str) -> ParseError {
        self.error(Problem::Syntax(expected))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, name: &'static str) -> Result<(), ParseError> {
        self.skip_space();
        if self.peek() != Some(byte) {
            return Err(self.syntax(name));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Json<S>, ParseError> {
        self.skip_space();
        match self.peek() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => Err(self.error(Problem::TooDeep)),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.syntax("a value")),
        }
    }

    fn word(&mut self, word: &'static str, value: Json<S>) -> Result<Json<S>, ParseError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.syntax("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Json<S>, ParseError> {
        self.at += 1;
        let mut members = Object::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.syntax("a key in quotes"));
            }
            let key = self.string()?;
            self.expect(b':', "':' after the key")?;
            let value = match self.value(depth + 1) {
                Ok(value) => value,
                Err(mut error) => {
                    error.segments.push(Segment::Key(key.as_ref().to_owned()));
                    return Err(error);
                }
            };
            members.insert(key, value);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(members));
                }
                _ => return Err(self.syntax("',' or '}'")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<S>, ParseError> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            match self.value(depth + 1) {
                Ok(value) => items.push(value),
                Err(mut error) => {
                    error.segments.push(Segment::Index(items.len()));
                    return Err(error);
                }
            }
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                _ => return Err(self.syntax("',' or ']'")),
            }
        }
    }

    fn digits(&mut self, expected: &'static str) -> Result<(), ParseError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax(expected)) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Json<S>, ParseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("a digit")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("a digit after the point")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("a digit in the exponent")?;
        }
        let text = &self.text[start..self.at];
        Ok(Json::Number(S::from(if text == "-0" { "0" } else { text })))
    }

    fn string(&mut self) -> Result<S, ParseError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.bytes[self.at..];
            let run = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            let run = &self.text[self.at..self.at + up_to_control(&rest[..run])];
            self.at += run.len();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    // Nearly always the whole of it.
                    return Ok(if out.is_empty() { S::from(run) } else { S::from(out + run) });
                }
                Some(b'\\') => {
                    out.push_str(run);
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(_) => return Err(self.syntax("an escape for the control character")),
                None => return Err(self.syntax("'\"' at the end of the string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let plain = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.syntax("an escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// At the `u` of `\uXXXX`; a pair of surrogates is one character.
    fn unicode_escape(&mut self) -> Result<char, ParseError> {
        let first = self.code_unit()?;
        if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            let after_first = self.at;
            self.at += 1;
            let second = self.code_unit()?;
            if let Some(Ok(character)) = char::decode_utf16([first, second]).next() {
                return Ok(character);
            }
            self.at = after_first;
        }
        char::from_u32(u32::from(first)).ok_or_else(|| self.error(Problem::LoneSurrogate))
    }

    fn code_unit(&mut self) -> Result<u16, ParseError> {
        self.at += 1;
        let mut unit = 0u16;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else { return Err(self.syntax("four hexadecimal digits")) };
            unit = unit << 4 | digit as u16;
            self.at += 1;
        }
        Ok(unit)
    }
}

/// How many bytes there are before the first control character.
fn up_to_control(bytes: &[u8]) -> usize {
    let is_control = |byte: u8| byte < 0x20;
    match has(bytes, is_control) {
        false => bytes.len(), // nearly always
        true => bytes.iter().take_while(|byte| !is_control(**byte)).count(),
    }
}
