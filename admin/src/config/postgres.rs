//! Checks a connection string without ever repeating what is in it.
//!
//! The driver's messages quote what they do not understand, which may be half a password or, for
//! the URL of another database, all of it. Only what cannot hold one is passed on.

use std::error::Error as _;

/// Options whose name may be repeated: those of libpq.
#[rustfmt::skip]
const OPTIONS: &[&str] = &[
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname",
    "fallback_application_name", "gssdelegation", "gssencmode", "gsslib", "host", "hostaddr",
    "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
    "keepalives_retries", "krbsrvname", "load_balance_hosts", "options", "passfile", "password",
    "port", "replication", "require_auth", "requirepeer", "requiressl", "service",
    "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert", "sslcertmode",
    "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation",
    "sslpassword", "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout", "user",
];

/// Says what is wrong with a connection string; the message holds nothing that could be secret.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    let config = text
        .parse::<tokio_postgres::Config>()
        .map_err(|error| format!("does not parse: {}", explain(&error)))?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err("names no host".to_owned());
    }
    Ok(())
}

fn explain(error: &tokio_postgres::Error) -> String {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    if cause.starts_with("unknown option") {
        let name = cause.split('`').nth(1).unwrap_or_default();
        return match OPTIONS.contains(&name) {
            true => format!("the option `{name}` is not supported"),
            false => "an option is not known".to_owned(),
        };
    }
    match cause.split_once(':') {
        _ if cause.is_empty() => "not a connection string".to_owned(),
        Some((place, _)) if cause.starts_with("unexpected character") => place.to_owned(),
        _ => cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_both_forms_and_refuses_without_quoting() {
        let table = [
            ("postgres://u:s3cret@h/db", Ok(())),
            ("postgresql:///db?host=/run/postgresql", Ok(())),
            ("host=h user=u password='s3cret'", Ok(())),
            ("hostaddr=127.0.0.1 user=u", Ok(())),
            ("", Err("is empty")),
            ("postgres:///db", Err("names no host")),
            ("user=u", Err("names no host")),
            ("postgres://h:port/db", Err("does not parse: invalid value for option `port`")),
            ("host=h password=s3 s3cret=x", Err("does not parse: an option is not known")),
            ("mysql://u:s3cret@h/db?a=b", Err("does not parse: an option is not known")),
            (
                "postgres://h/db?sslrootcert=x",
                Err("does not parse: the option `sslrootcert` is not supported"),
            ),
            ("host=h password=s3 s3cret x", Err("does not parse: unexpected character at byte 26")),
            ("h/db", Err("does not parse: unexpected EOF")),
            (
                "host=h password='s3cret",
                Err("does not parse: unterminated quoted connection parameter value"),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(check(text), expected.map_err(str::to_owned), "{text}");
        }
    }
}
