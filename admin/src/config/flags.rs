//! One flag of `serve` a key.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use super::keys::{KEYS, Key};
use super::kind::Kind;

/// Flags without dashes, in the order of the keys: clap wants names that live for ever.
static LONG: LazyLock<Vec<String>> =
    LazyLock::new(|| KEYS.iter().map(|key| key.name.replace('_', "-")).collect());

/// The flags of `serve`: one a key, its id the key's name, its value any text. What the text is
/// worth is told by loading, along with all other problems.
#[must_use]
pub fn serve_flags() -> Vec<Arg> {
    KEYS.iter().zip(LONG.iter()).map(|(key, long)| flag(key, long)).collect()
}

fn flag(key: &'static Key, long: &'static str) -> Arg {
    let arg = Arg::new(key.name)
        .long(long)
        .value_name(key.kind.value_name())
        .help(help(key))
        .help_heading("Configuration")
        .action(ArgAction::Set)
        .allow_negative_numbers(matches!(key.kind, Kind::Count { .. } | Kind::Uids));
    match key.kind {
        Kind::Switch => arg.num_args(0..=1).default_missing_value("true"),
        _ => arg,
    }
}

fn help(key: &Key) -> String {
    let default = key.default_text().map(|text| format!(" [default: {text}]"));
    let default = default.unwrap_or_default();
    let (meaning, accepted) = (key.meaning, key.accepted());
    format!("{meaning}{default} [accepted: {accepted}] [env: {}]", key.env_name())
}

/// The flags that were given, by key, for [`Inputs`](super::Inputs). Another flag for the same key
/// (the global `--socket`) is there by its own id, of whatever type its values are.
#[must_use]
pub fn flags_from(matches: &ArgMatches) -> BTreeMap<&'static str, String> {
    let ids = KEYS.iter().flat_map(|key| [Some(key.name), key.flag_alias]).flatten();
    ids.filter_map(|id| given(matches, id).map(|text| (id, text))).collect()
}

fn given(matches: &ArgMatches, id: &str) -> Option<String> {
    let last = matches.try_get_raw(id).ok()??.next_back()?;
    let typed = matches.value_source(id) == Some(ValueSource::CommandLine);
    typed.then(|| last.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::{Command, value_parser};

    use super::*;

    fn command() -> Command {
        let socket = Arg::new("socket").long("socket").value_parser(value_parser!(PathBuf));
        Command::new("serve").args(serve_flags()).arg(socket)
    }

    fn parse(args: &[&'static str]) -> BTreeMap<&'static str, String> {
        flags_from(&command().try_get_matches_from([&["serve"], args].concat()).unwrap())
    }

    #[test]
    fn every_key_has_a_flag_that_clap_accepts() {
        command().debug_assert();
        for (key, arg) in KEYS.iter().zip(serve_flags()) {
            assert_eq!(arg.get_long().map(|long| format!("--{long}")), Some(key.flag_name()));
        }
    }

    #[test]
    fn only_given_flags_are_there() {
        let given = parse(&["--pool-size=20", "--projection-partitions", "-1", "--admin-uids", ""]);
        let expected = [("pool_size", "20"), ("projection_partitions", "-1"), ("admin_uids", "")];
        assert_eq!(given, BTreeMap::from(expected.map(|(key, text)| (key, text.to_owned()))));
        assert_eq!(
            parse(&["--socket", "s.sock"]).get("socket").map(String::as_str),
            Some("s.sock")
        );
        for (given, text) in [("", "true"), ("=false", "false"), ("=maybe", "maybe")] {
            let flag: &'static str = format!("--resume-interrupted-runs{given}").leak();
            let expected = BTreeMap::from([("resume_interrupted_runs", text.to_owned())]);
            assert_eq!(parse(&[flag]), expected);
        }
        assert!(flags_from(&Command::new("other").get_matches_from(["other"])).is_empty());
    }

    #[test]
    fn help_has_meaning_default_range_and_variable() {
        let help = command().render_long_help().to_string();
        for expected in [
            "--pool-size <N>",
            "the greatest number of database connections [default: 16] [accepted: 4 to 500 connections] [env: DECISIONGRAPH_POOL_SIZE]",
            "[default: <data_dir>/decisiongraph.sock]",
            "the most events a replay or rebuild applies in one commit [default: 5000]",
        ] {
            assert!(help.contains(expected), "{expected} is not in:\n{help}");
        }
    }
}
