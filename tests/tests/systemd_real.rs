//! The shipped units under a real systemd, on machines of the tests' own.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::json::{self, Json};
use dg_tests::{Machine, until};

const SOCKET: &str = "/run/decisiongraph/decisiongraph.sock";

/// The journal's entries that a match selects.
fn entries(machine: &Machine, selected: &str) -> Vec<Json> {
    let lines = machine.run(&["journalctl", selected, "-o", "json", "--no-pager"]).stdout;
    lines.lines().map(|line| json::parse(line).unwrap()).collect()
}

fn field<'a>(entry: &'a Json, name: &str) -> Option<&'a str> {
    entry.get(name)?.as_str()
}

/// A command of the client as another user in the socket's group.
fn as_user(machine: &Machine, uid: &str, command: &str) -> dg_tests::Answer {
    let script = format!("decisiongraph {command} --socket {SOCKET}");
    let user = ["setpriv", "--reuid", uid, "--groups", "decisiongraph", "bash", "-c", &script];
    machine.run(&user)
}

#[test]
fn it_starts_tells_how_it_is_reloads_and_stops_under_load() {
    let Some(machine) = Machine::boot() else { return };
    machine.start();
    machine.until_shown("StatusText", "no tenant at work");
    assert_eq!(machine.shown("ActiveState"), "active");
    // Root finds the socket through the configuration.
    machine.run(&["decisiongraph", "status"]).ok();
    machine.shell("decisiongraph generate --traces 20 | decisiongraph import - -t acme").ok();
    machine.until_shown("StatusText", "1 tenant current");

    // The journal has the values as fields.
    machine.shell("decisiongraph rebuild all -t acme --reason test --wait").ok();
    let of_tenant = until("the journal has the run", || {
        let found = entries(&machine, "DG_TENANT=acme");
        found.iter().any(|entry| field(entry, "DG_RUN_ID").is_some()).then_some(found)
    });
    let act = of_tenant.iter().find(|entry| field(entry, "DG_TARGET") == Some("audit")).unwrap();
    assert_eq!(field(act, "DG_REASON"), Some("test"));
    assert_eq!(field(act, "PRIORITY"), Some("6"));
    assert_eq!(field(act, "SYSLOG_IDENTIFIER"), Some("decisiongraph"));
    assert_eq!(field(act, "_SYSTEMD_UNIT"), Some("decisiongraph.service"));
    let id = format!("MESSAGE_ID={}", field(act, "MESSAGE_ID").unwrap());
    assert!(entries(&machine, &id).iter().all(|one| field(one, "DG_TARGET") == Some("audit")));

    // Peers: the daemon's own user, a stranger, an observer after the reload.
    as_user(&machine, "decisiongraph", "status").ok();
    let stranger = as_user(&machine, "1234", "status");
    assert!(stranger.stderr.contains("may not use the admin socket"), "{stranger:?}");
    let config = "/etc/decisiongraph/config.toml";
    machine.shell(&format!("echo 'observer_uids = [1234]' >>{config}")).ok();
    machine.run(&["systemctl", "reload", "decisiongraph"]).ok();
    until("an observer may look", || (as_user(&machine, "1234", "status").code == 0).then_some(()));
    let act = as_user(&machine, "1234", "rebuild all -t acme --reason test");
    assert!(act.stderr.contains("may only look"), "{act:?}");
    machine.shell(&format!("echo 'pool_sze = 1' >>{config}")).ok();
    let refused = machine.run(&["systemctl", "reload", "decisiongraph"]);
    assert_ne!(refused.code, 0, "a wrong configuration is told by the reload");
    assert!(machine.journal().contains("did you mean `pool_size`?"));
    machine.shell(&format!("sed -i '/pool_sze/d' {config}")).ok();

    // Under load: a stop is clean, and nothing that was answered is lost.
    let load = "decisiongraph generate --traces 5000 --seed 7 | decisiongraph import - -t load";
    machine.shell(&format!("({load}) >/dev/null 2>&1 &")).ok();
    until("the load has come", || {
        let status = machine.run(&["decisiongraph", "health", "-t", "load"]);
        (status.code == 0).then_some(())
    });
    machine.run(&["systemctl", "stop", "decisiongraph"]).ok();
    assert_eq!(machine.shown("Result"), "success");
    assert_eq!(machine.shown("ExecMainStatus"), "0");
    assert!(machine.journal().contains("stopped the embedded Postgres"));
    machine.start();
    machine.shell("decisiongraph verify -t acme && decisiongraph verify -t load").ok();
    let score = machine
        .shell("systemd-analyze security decisiongraph --threshold=15 --no-pager | tail -n 1");
    assert_eq!(score.code, 0, "{score:?}");
}

#[test]
fn a_frozen_daemon_is_restarted_a_crashing_one_is_left_alone_and_a_wrong_one_is_not_tried_twice() {
    let Some(machine) = Machine::boot() else { return };
    machine.drop_in("[Unit]\nStartLimitBurst=4\n[Service]\nWatchdogSec=2s\nRestartSec=100ms");
    machine.start();
    let frozen = machine.shown("MainPID");
    machine.run(&["kill", "-STOP", &frozen]).ok();
    machine.until_shown("NRestarts", "1");
    machine.until_shown("ActiveState", "active");
    assert_ne!(machine.shown("MainPID"), frozen);
    until("systemd says why", || {
        let said = machine.run(&["journalctl", "-o", "cat", "--no-pager"]).stdout;
        said.contains("Watchdog timeout").then_some(())
    });

    until("systemd gives up", || {
        let pid = machine.shown("MainPID");
        if pid != "0" {
            machine.run(&["kill", "-KILL", &pid]);
        }
        (machine.shown("ActiveState") == "failed").then_some(())
    });
    let restarts: u32 = machine.shown("NRestarts").parse().unwrap();
    assert!(restarts <= 4, "{restarts}");

    machine.shell("echo 'pool_size = 1' >>/etc/decisiongraph/config.toml").ok();
    machine.run(&["systemctl", "reset-failed", "decisiongraph"]).ok();
    assert_ne!(machine.run(&["systemctl", "start", "decisiongraph"]).code, 0);
    machine.until_shown("ActiveState", "failed");
    assert_eq!(
        (machine.shown("ExecMainStatus"), machine.shown("NRestarts")),
        ("64".into(), "0".into())
    );
    assert!(machine.journal().contains("pool_size (file:/etc/decisiongraph/config.toml"));
}

/// A Postgres that wants a password, beside the daemon.
const POSTGRES: &str = "
    bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
    install -d -o postgres /srv/pg /srv/pg/socket && chmod 755 /srv/pg/socket
    echo right >/srv/pg/password && chmod 644 /srv/pg/password
    as='setpriv --reuid postgres --regid postgres --clear-groups'
    $as $bin/initdb -D /srv/pg/data -U dg --auth=scram-sha-256 --pwfile=/srv/pg/password --no-sync >/dev/null
    chmod 755 /srv/pg
    $as $bin/pg_ctl -D /srv/pg/data -w -l /srv/pg/log \
        -o '-c listen_addresses= -c unix_socket_directories=/srv/pg/socket' start >/dev/null
    echo \"database_url = 'host=/srv/pg/socket user=dg dbname=postgres'\" >>/etc/decisiongraph/config.toml
";

#[test]
fn a_client_starts_it_through_its_socket_and_the_password_is_a_credential() {
    let Some(machine) = Machine::boot() else { return };
    machine.shell(POSTGRES).ok();
    let credential = "/etc/credstore/decisiongraph.pg-password";
    machine.shell(&format!("umask 077; echo wrong >{credential}")).ok();
    machine.start();
    until("the refusal is told", || {
        machine.shown("StatusText").contains("password authentication failed").then_some(())
    });
    machine.run(&["systemctl", "stop", "decisiongraph"]).ok();

    machine.shell(&format!("cp /srv/pg/password {credential}")).ok();
    machine.run(&["systemctl", "start", "decisiongraph.socket"]).ok();
    assert_eq!(machine.shown("ActiveState"), "inactive");
    let socket = machine.run(&["stat", "-c", "%a %U %G", SOCKET]).ok();
    assert_eq!(socket.stdout.trim(), "660 decisiongraph decisiongraph");
    until("the first client is answered", || {
        let status = machine.run(&["decisiongraph", "status", "-o", "json"]);
        status.says_up().then_some(())
    });
    machine.until_shown("ActiveState", "active");
    let shown = "decisiongraph config --config /etc/decisiongraph/config.toml";
    let asked = machine.shell(&format!(
        "mkdir -p /srv/c && cp {credential} /srv/c/pg-password && CREDENTIALS_DIRECTORY=/srv/c {shown}"
    ));
    assert!(asked.ok().stdout.contains("credential:pg-password"));

    // The socket outlives the daemon: clients wait for its next life.
    machine.run(&["systemctl", "restart", "decisiongraph"]).ok();
    machine.run(&["decisiongraph", "status"]).ok();
    machine.run(&["systemctl", "stop", "decisiongraph"]).ok();
    assert_eq!(machine.run(&["test", "-S", SOCKET]).code, 0);
    machine.run(&["systemctl", "stop", "decisiongraph.socket"]).ok();
    assert_ne!(machine.run(&["test", "-e", SOCKET]).code, 0);
}
