//! `config`, `config check`: the effective configuration, where it comes from, what is wrong with it.

use dg_projections::Code;
use dg_projections::json::{self, Json};

use super::run::innermost;
use crate::cli::Session;
use crate::config::{Config, EffectiveValue, Warning};
use crate::failure::{Failure, exit};
use crate::wire;

pub(crate) fn config(session: &Session) -> Result<u8, Failure> {
    let only_check = session.args.subcommand_name() == Some("check");
    let with_origin = session.args.get_flag("origin");
    let session = &innermost(session);
    // Its flags are those of `serve`, so that the very command line can be checked.
    let config = session.config()?;
    match (only_check, with_origin) {
        (true, _) => check(session, &config),
        (false, true) => origins(session, &config),
        (false, false) => values(session, &config),
    }?;
    Ok(0)
}

fn check(session: &Session, config: &Config) -> Result<(), Failure> {
    let told: Vec<Json> = config.warnings().iter().map(|one| one.to_string().into()).collect();
    let result = wire::object([("valid", true.into()), ("warnings", Json::Array(told))]);
    session.output.one(&result, |_| {
        let warning = |one: &Warning| format!("warning: {one}\nhelp: {}\n", one.help);
        let warnings: String = config.warnings().iter().map(warning).collect();
        warnings + "the configuration is valid"
    })
}

fn values(session: &Session, config: &Config) -> Result<(), Failure> {
    session.output.one(&ours(&config.effective_json())?, |_| {
        let row = |one: &EffectiveValue| {
            vec![one.key.to_owned(), text(&one.value), one.source.to_string()]
        };
        session.output.table(&["key", "value", "source"], config.effective().map(row).collect())
    })
}

fn origins(session: &Session, config: &Config) -> Result<(), Failure> {
    session.output.one(&ours(&config.origins_json())?, |_| {
        let row = |one: &EffectiveValue| {
            let below =
                |other: &EffectiveValue| format!("{} of {}", text(&other.value), other.origin());
            let below: Vec<String> = one.overridden.iter().map(below).collect();
            vec![one.key.to_owned(), text(&one.value), one.origin(), below.join("; ")]
        };
        let head = ["key", "value", "origin", "instead of"];
        session.output.table(&head, config.effective().map(row).collect())
    })
}

/// A value as the environment would give it, `-` for none.
fn text(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Null => "-".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The same document in the type that is printed.
fn ours(shown: &serde_json::Value) -> Result<Json, Failure> {
    json::parse(&shown.to_string())
        .map_err(|error| Failure::new(Code::Internal, error.to_string()).exit(exit::FAILED))
}
