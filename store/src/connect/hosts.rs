//! The hosts of a connection string, each as a configuration of its own.
//!
//! The driver tries several hosts under one time limit, or none: a host that accepts and says
//! nothing would keep it from the next. So each is tried by itself.

use std::net::IpAddr;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// One configuration a host, in their order.
pub(super) fn split(all: &Config) -> Result<Vec<Config>, String> {
    let hosts: Vec<Host> = all.get_hosts().iter().flat_map(names).collect();
    let (addresses, ports) = (all.get_hostaddrs(), all.get_ports());
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err("names no host".to_owned());
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err("has not as many hostaddr as hosts".to_owned());
    }
    if ports.len() > 1 && ports.len() != count {
        return Err("has not as many ports as hosts".to_owned());
    }
    let one = |at| {
        let port = ports.get(at).or(ports.first()).copied();
        alone(all, hosts.get(at), addresses.get(at).copied(), port)
    };
    Ok((0..count).map(one).collect())
}

/// In a URL's `?host=a,b` the driver sees one name.
fn names(host: &Host) -> Vec<Host> {
    match host {
        Host::Tcp(names) => names.split(',').map(|name| Host::Tcp(name.to_owned())).collect(),
        Host::Unix(_) => vec![host.clone()],
    }
}

/// The settings of `all` for one host. An address without a name is its own name: what a server's
/// certificate must then be for.
fn alone(all: &Config, host: Option<&Host>, address: Option<IpAddr>, port: Option<u16>) -> Config {
    let mut one = Config::new();
    match (host, address) {
        (Some(Host::Unix(path)), _) => one.host_path(path),
        (Some(Host::Tcp(name)), _) => one.host(name),
        (None, address) => one.host(address.map(|it| it.to_string()).unwrap_or_default()),
    };
    address.map(|address| one.hostaddr(address));
    port.map(|port| one.port(port));
    copy(all, &mut one);
    one
}

/// Everything but the hosts.
fn copy(from: &Config, to: &mut Config) {
    from.get_user().map(|it| to.user(it));
    from.get_password().map(|it| to.password(it));
    from.get_dbname().map(|it| to.dbname(it));
    from.get_options().map(|it| to.options(it));
    from.get_application_name().map(|it| to.application_name(it));
    from.get_connect_timeout().map(|it| to.connect_timeout(*it));
    from.get_tcp_user_timeout().map(|it| to.tcp_user_timeout(*it));
    from.get_keepalives_interval().map(|it| to.keepalives_interval(it));
    from.get_keepalives_retries().map(|it| to.keepalives_retries(it));
    to.keepalives(from.get_keepalives())
        .keepalives_idle(from.get_keepalives_idle())
        .ssl_mode(from.get_ssl_mode())
        .ssl_negotiation(from.get_ssl_negotiation())
        .target_session_attrs(from.get_target_session_attrs())
        .channel_binding(from.get_channel_binding())
        .load_balance_hosts(from.get_load_balance_hosts());
}

/// A configuration's one host.
pub(super) fn host(config: &Config) -> Option<&Host> {
    config.get_hosts().first()
}

/// Whether a host is this machine, so that nobody else can read on the way.
pub(super) fn is_here(config: &Config) -> bool {
    match (config.get_hostaddrs().first(), host(config)) {
        (Some(address), _) => address.is_loopback(),
        (None, Some(Host::Tcp(name))) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        (None, Some(Host::Unix(_))) => true,
        (None, None) => false,
    }
}

/// A socket of this machine has no TLS: as libpq does, the mode counts for the others.
pub(super) fn encrypt(config: &mut Config, tls: bool) {
    let is_unix = matches!(host(config), Some(Host::Unix(_)));
    config.ssl_mode(if tls && !is_unix { SslMode::Require } else { SslMode::Disable });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_keeps_every_setting() {
        let settings = "user=u password=p dbname=d options=o application_name=a connect_timeout=1 \
            tcp_user_timeout=2 keepalives=0 keepalives_idle=3 keepalives_interval=4 \
            keepalives_retries=5 target_session_attrs=read-only channel_binding=require \
            load_balance_hosts=random sslmode=require sslnegotiation=direct";
        let parse = |hosts: &str| format!("{hosts} {settings}").parse::<Config>().unwrap();
        let table = [
            ("host=a,/s port=1,2", vec!["host=a port=1", "host=/s port=2"]),
            ("host=a,b port=1", vec!["host=a port=1", "host=b port=1"]),
            (
                "host=a,b hostaddr=127.0.0.1,::1",
                vec!["host=a hostaddr=127.0.0.1", "host=b hostaddr=::1"],
            ),
            ("hostaddr=::1", vec!["host=::1 hostaddr=::1"]),
            ("host=a", vec!["host=a"]),
        ];
        for (all, each) in table {
            let each: Vec<Config> = each.into_iter().map(parse).collect();
            assert_eq!(split(&parse(all)), Ok(each), "{all}");
        }
        let in_a_url: Config = "postgres:///d?host=a,b&port=1,2".parse().unwrap();
        assert_eq!(split(&in_a_url).map(|each| each.len()), Ok(2));
    }

    #[test]
    fn only_this_machine_is_here() {
        let table = [
            ("host=localhost", true),
            ("host=127.9.9.9", true),
            ("host=::1", true),
            ("host=/run/postgresql", true),
            ("host=db.example hostaddr=127.0.0.1", true),
            ("host=localhost hostaddr=192.0.2.1", false),
            ("host=db.example", false),
            ("host=192.0.2.1", false),
        ];
        for (text, expected) in table {
            assert_eq!(is_here(&text.parse().unwrap()), expected, "{text}");
        }
    }
}
