//! Makes connections: one host after another, each within its time.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Socket};

use super::{Target, hosts};
use crate::StoreError;

/// A connection, and the task that moves its bytes.
pub(crate) type Connected = (Client, JoinHandle<()>);

impl Target {
    /// Connects to the first host that lets us in.
    ///
    /// # Errors
    /// What each host said, when none does.
    pub(crate) async fn connect(&self) -> Result<Connected, StoreError> {
        let password = self.password()?;
        let mut refusals = Vec::new();
        for host in in_order(&self.hosts) {
            let attempt = match &password {
                Some(password) => self.connect_host(host.clone().password(password)).await,
                None => self.connect_host(host).await,
            };
            match attempt {
                Ok(connected) => return Ok(connected),
                Err(refusal) => refusals.push((host, refusal)),
            }
        }
        Err(summary(refusals))
    }

    /// Tries each address that the host's name stands for.
    async fn connect_host(&self, host: &Config) -> Result<Connected, StoreError> {
        let mut outcome = Err(StoreError::outage("the name of the host has no address"));
        for place in within(self.patience, places(host)).await? {
            outcome = within(self.patience, self.connect_to(&place)).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn connect_to(&self, place: &Config) -> Result<Connected, StoreError> {
        match &self.tls {
            Some(tls) if place.get_ssl_mode() == SslMode::Require => {
                drive(place, tls.connector.clone()).await
            }
            _ => drive(place, NoTls).await,
        }
    }
}

async fn drive<T>(place: &Config, tls: T) -> Result<Connected, StoreError>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = place.connect(tls).await?;
    let driver = tokio::spawn(async move {
        // Whoever uses the connection is told as well, and the gate logs it.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the database ended");
        }
    });
    Ok((client, driver))
}

async fn within<T>(
    patience: Duration,
    attempt: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(patience, attempt).await.unwrap_or_else(|_| {
        Err(StoreError::outage(format!("no answer in {} ms", patience.as_millis())))
    })
}

/// The addresses of a host, each to be tried by itself.
async fn places(host: &Config) -> Result<Vec<Config>, StoreError> {
    let Some(Host::Tcp(name)) = hosts::host(host).filter(|_| host.get_hostaddrs().is_empty())
    else {
        return Ok(vec![host.clone()]);
    };
    // The port plays no part in the look-up.
    let found = lookup_host((name.as_str(), 0)).await;
    let found = found.map_err(|error| StoreError::outage(format!("name look-up: {error}")))?;
    let place = |address: std::net::SocketAddr| {
        let mut place = host.clone();
        place.hostaddr(address.ip());
        place
    };
    Ok(found.map(place).collect())
}

/// As they were given, or shuffled when that was asked for.
fn in_order(hosts: &[Config]) -> Vec<&Config> {
    let mut hosts: Vec<(usize, &Config)> = hosts.iter().enumerate().collect();
    let shuffled = |host: &Config| host.get_load_balance_hosts() == LoadBalanceHosts::Random;
    if hosts.iter().any(|(_, host)| shuffled(host)) {
        let chance = RandomState::new();
        hosts.sort_by_cached_key(|(at, _)| chance.hash_one(at));
    }
    hosts.into_iter().map(|(_, host)| host).collect()
}

/// One failure of all; of a single host it is that host's.
fn summary(mut refusals: Vec<(&Config, StoreError)>) -> StoreError {
    let told: Vec<String> = refusals
        .iter()
        .map(|(host, refusal)| format!("{}: {}", name(host), refusal.message))
        .collect();
    let is_outage = refusals.iter().any(|(_, refusal)| refusal.is_outage);
    match refusals.pop() {
        Some((_, refusal)) if refusals.is_empty() => refusal,
        Some((_, last)) => StoreError { message: told.join("; "), is_outage, ..last },
        None => StoreError::internal("a target without a host"),
    }
}

fn name(host: &Config) -> String {
    let port = host.get_ports().first().copied().unwrap_or(5432);
    match hosts::host(host) {
        Some(Host::Tcp(name)) => format!("{name}:{port}"),
        Some(Host::Unix(path)) => format!("{}:{port}", path.display()),
        None => String::new(),
    }
}
