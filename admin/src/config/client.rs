//! Where the client finds the daemon.

use std::path::PathBuf;

use super::env::Inputs;
use super::file::FILE_KEY;
use super::merge::{Setting, merge};
use super::problem::{ConfigError, Problem, Source};
use super::value::Value;

/// The admin socket the client connects to: `--socket`, else `$DECISIONGRAPH_SOCKET`, else the
/// configured one. What does not bear on it is no problem here: a client needs no valid database
/// URL, nor may it read a daemon's file when it was told the socket.
///
/// # Errors
/// What is wrong with the socket's path or, where it comes from there, with the file.
pub fn client_socket(inputs: &Inputs) -> Result<PathBuf, ConfigError> {
    let merged = merge(inputs);
    let setting = merged.settings.get("socket_path");
    let told = matches!(
        setting,
        Some(Setting { source: Source::Env(_) | Source::Flag(_), value: Some(_), .. })
    );
    let bears = |problem: &Problem| match problem.key.as_str() {
        "socket_path" => true,
        "data_dir" | FILE_KEY => !told,
        _ => false,
    };
    let problems: Vec<Problem> = merged.problems.iter().filter(|p| bears(p)).cloned().collect();
    match setting {
        Some(Setting { value: Some(Value::Path(path)), .. }) if problems.is_empty() => {
            Ok(path.clone())
        }
        _ => Err(ConfigError { problems }),
    }
}
