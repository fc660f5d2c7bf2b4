//! Finds and reads the configuration file: flat TOML, one line a key.
//!
//! The parser recovers after an error, so one bad line hides nothing that is wrong elsewhere.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::env::{CONFIG_ENV, Inputs, unknown_key};
use super::keys::{KEYS, key};
use super::merge::Entry;
use super::problem::{Position, Problem, Source};
use super::suggest::nearest;
use super::value::Raw;

/// The key in problems with the file as a whole.
pub(super) const FILE_KEY: &str = "config";

/// What the file says and what is wrong with it; both empty when there is none.
pub(super) fn entries(inputs: &Inputs) -> (Vec<Entry>, Vec<Problem>) {
    let found = match find(inputs) {
        Ok(None) => return Default::default(),
        Ok(Some((path, bytes))) => decode(&path, bytes).map(|text| (path, text)),
        Err(problem) => Err(problem),
    };
    match found {
        Ok((path, text)) => parse(&path, &text),
        Err(problem) => (Vec::new(), vec![*problem]),
    }
}

/// The file that is named, else the first candidate that exists.
fn find(inputs: &Inputs) -> Result<Option<(PathBuf, Vec<u8>)>, Box<Problem>> {
    let flag = inputs.config_file.clone().map(|path| (path, Source::Flag("--config".to_owned())));
    let variable = inputs.variable(CONFIG_ENV).map(PathBuf::from);
    let variable = variable.map(|path| (path, Source::Env(CONFIG_ENV.to_owned())));
    if let Some((path, source)) = flag.or(variable) {
        return match std::fs::read(&path) {
            Ok(bytes) => Ok(Some((path, bytes))),
            Err(error) => Err(unreadable(&path, source, &error)),
        };
    }
    for path in &inputs.candidates {
        match std::fs::read(path) {
            Ok(bytes) => return Ok(Some((path.clone(), bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(path, Source::File(path.clone()), &error)),
        }
    }
    Ok(None)
}

fn unreadable(path: &Path, source: Source, error: &std::io::Error) -> Box<Problem> {
    let message = format!("cannot read {:?}: {error}", path.display().to_string());
    let accepted = match error.kind() {
        ErrorKind::PermissionDenied => {
            "a TOML file that you may read: as root or in its group, or another one with --config"
        }
        _ => "a TOML file that can be read",
    };
    Box::new(Problem::new(FILE_KEY, source, message, accepted))
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<String, Box<Problem>> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        Box::new(syntax(path, Position::of(&text, valid), "is not UTF-8"))
    })
}

fn syntax(path: &Path, position: Position, message: &str) -> Problem {
    let mut problem = Problem::new(FILE_KEY, Source::File(path.to_owned()), message, "TOML");
    problem.position = Some(position);
    problem
}

fn parse(path: &Path, text: &str) -> (Vec<Entry>, Vec<Problem>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems = syntax_problems(path, text, &errors);
    let broken: Vec<usize> = problems.iter().filter_map(|p| p.position.map(|p| p.line)).collect();
    let mut entries = Vec::new();
    for (name, value) in table.get_ref() {
        let (start, end) = (name.span().start, value.span().end);
        let position = Position::of(text, start);
        // What the parser made of a broken line is a guess, not what was written.
        if broken.iter().any(|l| (position.line..=Position::of(text, end).line).contains(l)) {
            continue;
        }
        match entry(path, name.get_ref(), value.get_ref(), position) {
            Ok(entry) => entries.push(entry),
            Err(problem) => problems.push(*problem),
        }
    }
    (entries, problems)
}

/// The first error of each broken line: those that follow come from the recovery.
fn syntax_problems(path: &Path, text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for error in errors {
        // Not the error's Display: it prints the line, which may hold a password.
        let at = Position::of(text, error.span().map_or(0, |span| span.start));
        if problems.iter().all(|other| other.position.is_none_or(|p| p.line != at.line)) {
            problems.push(syntax(path, at, error.message()));
        }
    }
    problems
}

fn entry(
    path: &Path,
    name: &str,
    value: &DeValue<'_>,
    position: Position,
) -> Result<Entry, Box<Problem>> {
    let source = Source::File(path.to_owned());
    let position = Some(position);
    if let Some(key) = key(name) {
        return Ok(Entry { key, raw: Ok(Raw::from_toml(value)), source, position, shared: false });
    }
    let suggestion = nearest(name, KEYS.iter().map(|key| key.name)).map(str::to_owned);
    Err(Box::new(Problem { position, suggestion, ..unknown_key(name.to_owned(), source) }))
}
