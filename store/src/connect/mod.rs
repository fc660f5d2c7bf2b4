//! How to reach Postgres: the one place that reads a connection string and makes a connection.
//!
//! Invariants:
//! - whether a connection is encrypted is said, never guessed: see [`tls`];
//! - every wait has an end: a host that is away, or accepts and stays silent, costs its time-out and
//!   then the next host is tried;
//! - of several hosts, only one that takes writes will do, unless the string says otherwise.
//!
//! Deliberately absent: `~/.postgresql`, `.pgpass`, service files and `PG*` variables. What counts
//! stands in the string, or in the one file that may hold its password.

mod any_name;
mod hosts;
mod libpq;
mod password;
mod reach;
mod tls;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use dg_projections::Code;
use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;

use crate::StoreError;
use tls::Tls;
use words::Words;

pub(crate) use tls::explain as explain_tls;

/// How long one host may take to let us in, unless the string says.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// When an idle connection is asked whether it lives, unless the string says.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
/// When it is asked again; the system's default of over a minute would let a proof wait for long.
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);

/// A database and the ways to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// At least one; each names one host.
    hosts: Vec<Config>,
    tls: Option<Tls>,
    /// What holds the password, if the string does not.
    password_file: Option<PathBuf>,
    /// For each host: name look-up, connection, TLS and login.
    patience: Duration,
}

impl Target {
    /// Reads a connection string of either form, and the certificates that it names.
    ///
    /// # Errors
    /// `invalid_argument` with the rest of a sentence about the string, which repeats nothing of it
    /// but names of options and files.
    pub fn parse(text: &str) -> Result<Target, StoreError> {
        read(text).map_err(|problem| StoreError::new(Code::InvalidArgument, problem))
    }

    /// Another database of the same server.
    #[must_use]
    pub fn database(&self, name: &str) -> Target {
        let mut target = self.clone();
        target.configure(|config| {
            config.dbname(name);
        });
        target
    }

    /// Changes the settings for every host.
    pub(crate) fn configure(&mut self, change: impl FnMut(&mut Config)) {
        self.hosts.iter_mut().for_each(change);
    }

    /// Leaves every host its share of a time in which all are to be tried.
    pub(crate) fn within(&mut self, time: Duration) {
        let is_given = self.hosts.iter().any(|host| host.get_connect_timeout().is_some());
        if self.hosts.len() > 1 && !is_given {
            self.patience = self.patience.min(time / self.hosts.len() as u32);
        }
    }

    /// Whether others may read on the way what is said: no TLS, to another machine.
    #[must_use]
    pub fn is_readable_on_the_way(&self) -> bool {
        self.tls.is_none() && !self.hosts.iter().all(hosts::is_here)
    }

    /// Whether only a server that takes writes will do.
    pub(crate) fn must_write(&self) -> bool {
        let writes =
            |host: &Config| host.get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
        self.hosts.iter().any(writes)
    }
}

/// A server of this machine, without TLS: the driver's own settings, which name one host.
impl From<Config> for Target {
    fn from(mut config: Config) -> Target {
        hosts::encrypt(&mut config, false);
        let patience = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        Target { hosts: vec![config], tls: None, password_file: None, patience }
    }
}

fn read(text: &str) -> Result<Target, String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    let words = Words::of(text);
    let mut config = words.config()?;
    set_times(&words, &mut config)?;
    let mut hosts = hosts::split(&config)?;
    let is_left_open = words.get("target_session_attrs").is_none();
    if hosts.len() > 1 && is_left_open {
        for host in &mut hosts {
            host.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
    }
    let tls = Tls::of(&words, hosts.iter().all(hosts::is_here))?;
    hosts.iter_mut().for_each(|host| hosts::encrypt(host, tls.is_some()));
    let patience = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
    Ok(Target { hosts, tls, password_file: None, patience })
}

/// The times that the driver leaves to the system, or counts otherwise than libpq.
fn set_times(words: &Words, config: &mut Config) -> Result<(), String> {
    if words.get("keepalives_idle").is_none() {
        config.keepalives_idle(KEEPALIVES_IDLE);
    }
    if words.get("keepalives_interval").is_none() {
        config.keepalives_interval(KEEPALIVES_INTERVAL);
    }
    if let Some(count) = words.number("keepalives_count")? {
        config.keepalives_retries(count);
    }
    // Milliseconds, as libpq has it; to the driver they would be seconds. 0 leaves it open.
    if let Some(millis) = words.number("tcp_user_timeout")?.filter(|millis| *millis > 0) {
        config.tcp_user_timeout(Duration::from_millis(millis.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_string_or_ours() {
        let times = |text: &str| {
            let target = Target::parse(text).unwrap();
            let host = &target.hosts[0];
            let interval = host.get_keepalives_interval().unwrap();
            let silence = host.get_tcp_user_timeout().map(Duration::as_millis);
            let seconds = |time: Duration| time.as_secs();
            (
                seconds(target.patience),
                seconds(host.get_keepalives_idle()),
                seconds(interval),
                silence,
            )
        };
        assert_eq!(times("host=/s"), (5, 30, 10, None));
        let given = "host=/s connect_timeout=60 keepalives_idle=7200 keepalives_interval=75 \
            tcp_user_timeout=1500";
        assert_eq!(times(given), (60, 7200, 75, Some(1500)));
    }

    #[test]
    fn of_several_hosts_only_one_that_takes_writes_will_do() {
        let table = [
            ("host=/a", false),
            ("host=/a,/b", true),
            ("host=/a,/b target_session_attrs=any", false),
            ("postgres://localhost,127.0.0.1/d", true),
            ("host=/a target_session_attrs=read-write", true),
        ];
        for (text, expected) in table {
            assert_eq!(Target::parse(text).unwrap().must_write(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_shown_of_a_target_has_no_password() {
        let shown = format!("{:?}", Target::parse("host=/a,/b password=s3cret").unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
