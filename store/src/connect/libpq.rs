//! The same connection for others: programs of libpq, such as psql, and a daemon in another process.
//!
//! psql gets it in environment variables, since arguments are for everybody to see. psql then is as strict as we
//! are: `require` becomes `verify-full`.

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host, TargetSessionAttrs};

use super::{Target, hosts};

impl Target {
    /// The variables that make libpq connect where we do.
    pub fn libpq_environment(&self) -> Vec<(String, String)> {
        let variable = |word: &str| match word {
            "dbname" => "PGDATABASE".to_owned(),
            "connect_timeout" => "PGCONNECT_TIMEOUT".to_owned(),
            word => format!("PG{}", word.replace('_', "").to_uppercase()),
        };
        self.settings().into_iter().map(|(word, value)| (variable(word), value)).collect()
    }

    /// The connection string that leads here, password and all.
    pub fn conninfo(&self) -> String {
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let pair = |(word, value): (&str, String)| format!("{word}='{}'", quoted(&value));
        self.settings().into_iter().map(pair).collect::<Vec<_>>().join(" ")
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let Some(first) = self.hosts.first() else { return Vec::new() };
        let of_string = first.get_password().map(String::from_utf8_lossy).map(String::from);
        // Without its file it asks, and is answered by a person.
        let password = self.password().ok().flatten().or(of_string);
        let timeout = first.get_connect_timeout().map(|timeout| timeout.as_secs().to_string());
        let tls = self.tls.as_ref().map(|tls| tls.words.clone());
        let plain = || vec![("sslmode", "disable".to_owned())];
        let address = |config: &Config| config.get_hostaddrs().first().map(ToString::to_string);
        let port = |config: &Config| config.get_ports().first().map(ToString::to_string);
        let own = [
            ("host", self.each(host)),
            ("hostaddr", self.each(address)),
            ("port", self.each(port)),
            ("user", first.get_user().map(str::to_owned)),
            ("dbname", first.get_dbname().map(str::to_owned)),
            ("password", password),
            ("options", first.get_options().map(str::to_owned)),
            ("connect_timeout", timeout),
            ("target_session_attrs", session(first)),
            ("channel_binding", binding(first)),
        ];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
        own.chain(tls.unwrap_or_else(plain)).collect()
    }

    /// One value a host, or none at all.
    fn each(&self, value: impl Fn(&Config) -> Option<String>) -> Option<String> {
        let values: Vec<String> =
            self.hosts.iter().map(|host| value(host).unwrap_or_default()).collect();
        values.iter().any(|value| !value.is_empty()).then(|| values.join(","))
    }
}

fn host(config: &Config) -> Option<String> {
    Some(match hosts::host(config)? {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    })
}

fn session(config: &Config) -> Option<String> {
    match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => Some("read-write".to_owned()),
        TargetSessionAttrs::ReadOnly => Some("read-only".to_owned()),
        _ => None,
    }
}

fn binding(config: &Config) -> Option<String> {
    match config.get_channel_binding() {
        ChannelBinding::Require => Some("require".to_owned()),
        ChannelBinding::Disable => Some("disable".to_owned()),
        _ => None,
    }
}
