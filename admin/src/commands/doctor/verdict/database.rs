//! The server, its settings, the schema, the rights.

use std::time::Duration;

use dg_store::{
    DAEMON_ROLE, Holder, MigrationStatus, Missing, Refusal, Rights, Server, StoreError, name_in_sql,
};

use crate::commands::doctor::finding::{Verdict, some};
use crate::config::Migrate;
use crate::failure::let_log_in;
use crate::output::{duration, shell_word};

/// The oldest release that is tested, as the server counts.
const OLDEST: i32 = 150_000;
/// Connections beside the pool's: `verify`, `psql`, migrations, this.
const BESIDE: i64 = 5;
/// A clock that is off by this much confuses who reads times.
const CLOCK_WARNING: Duration = Duration::from_secs(1);
/// By this much, one of the two is wrong.
const CLOCK_FAILED: Duration = Duration::from_secs(60);

pub(in crate::commands::doctor) const AWAY: &str =
    "see that Postgres runs and that the host in database_url is right";

/// Why the server did not answer, or not what was asked.
pub(in crate::commands::doctor) fn refused(error: &StoreError) -> Verdict {
    let help = match Refusal::of(error) {
        Refusal::NoLogin => &let_log_in(error),
        Refusal::Login => {
            "set user and password of database_url (or database_password_file) right, or let them in (pg_hba.conf)"
        }
        Refusal::NoDatabase => "make it with `createdb`, or set the name in database_url right",
        Refusal::Full => {
            "see as a superuser in pg_stat_activity who holds them, or raise max_connections; `decisiongraph runbook store-errors` has the commands"
        }
        Refusal::Away => AWAY,
        Refusal::NoRole => "`decisiongraph migrate --roles` makes the roles",
        Refusal::Privilege => {
            "GRANT what the message names to who logs in, as the owner of the tables; `privileges` names all that a daemon needs"
        }
        Refusal::Asked => "see the message of the server, and its log",
    };
    Verdict::failed(error.message.clone(), help)
}

/// A server that its daemon has, and that is closed to whoever asks here.
pub(in crate::commands::doctor) fn closed(error: &StoreError) -> Verdict {
    let help = "ask as the daemon's user, or root: the embedded Postgres lets nobody else in";
    Verdict::warning(format!("the daemon has it, but it cannot be asked: {error}"), help)
}

pub(in crate::commands::doctor) fn reached(server: &Server) -> Verdict {
    let found = format!("{} as {}", server.database, server.login);
    if server.is_standby {
        let help = "name the primary in database_url, or both: of several hosts, the one that takes writes is used";
        return Verdict::failed(format!("{found}, and it takes no writes: a standby"), help);
    }
    Verdict::ok(found)
}

pub(in crate::commands::doctor) fn version(server: &Server) -> Verdict {
    let found = format!("Postgres {}", server.version);
    if server.version_number < OLDEST {
        let help = "upgrade to Postgres 15 or newer: older ones are not tested";
        return Verdict::warning(found, help);
    }
    Verdict::ok(found)
}

pub(in crate::commands::doctor) fn encoding(encoding: &str) -> Verdict {
    if encoding == "UTF8" {
        return Verdict::ok(encoding);
    }
    let help = "make the database anew: createdb --encoding=UTF8 --template=template0";
    Verdict::failed(format!("{encoding}, which cannot hold every event"), help)
}

pub(in crate::commands::doctor) fn durability(server: &Server) -> Verdict {
    let settings = [
        ("fsync", &server.fsync),
        ("full_page_writes", &server.full_page_writes),
        ("synchronous_commit", &server.synchronous_commit),
    ];
    let shown = settings.map(|(name, value)| format!("{name} {value}")).join(", ");
    let off: Vec<String> = settings
        .iter()
        .filter(|(_, value)| *value == "off")
        .map(|(name, _)| format!("{name} = on"))
        .collect();
    if off.is_empty() {
        return Verdict::ok(shown);
    }
    let help = format!(
        "set {} in postgresql.conf and reload: an answered append may be lost with the power",
        off.join(", ")
    );
    Verdict::warning(shown, help)
}

/// The pool must fit in what the server has for us; a few more are for commands.
pub(in crate::commands::doctor) fn connections(server: &Server, pool_size: usize) -> Verdict {
    let (most, reserved) =
        (i64::from(server.max_connections), i64::from(server.reserved_connections));
    let (ours, pool) = (most - reserved, pool_size as i64);
    let found = format!("max_connections {most}, {reserved} of them reserved; pool_size {pool}");
    let help = format!(
        "raise max_connections to {} at least, or lower pool_size",
        pool + reserved + BESIDE
    );
    match ours {
        ours if ours < pool => Verdict::failed(found, help),
        ours if ours < pool + BESIDE => Verdict::warning(found, help),
        _ => Verdict::ok(found),
    }
}

pub(in crate::commands::doctor) fn schema(
    status: &MigrationStatus,
    missing: &[Missing],
    migrate: Migrate,
) -> Verdict {
    if let Some(drift) = status.drift.first() {
        let help = "`decisiongraph migrate status` shows the schema; run the release that made it, or a later one";
        return Verdict::failed(format!("drift: {drift}"), help);
    }
    let (version, pending) = (status.version(), status.pending.len());
    if let Some(help) = put_back(missing) {
        let named: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let found = |named: &str| format!("version {version}, but {named}");
        let brief = found(&some(&named, "; "));
        return Verdict::failed(found(&named.join("; ")), help).shown_as(brief);
    }
    let found = format!("version {version}, steps pending: {pending}");
    match (pending, migrate) {
        (0, _) => Verdict::ok(format!("version {version}, as this release knows it")),
        (_, Migrate::Apply) => {
            Verdict::ok(format!("{found}; the start of the daemon applies them"))
        }
        (_, Migrate::Check) => Verdict::failed(
            found,
            "`decisiongraph migrate` applies them, as the owner of the tables; --migrate=check does not",
        ),
    }
}

/// What to do about what was taken out of the schema, if anything was.
pub(in crate::commands::doctor) fn put_back(missing: &[Missing]) -> Option<String> {
    let first = missing.first()?;
    let status = "`decisiongraph migrate status` names all, with their statements";
    let page = "`decisiongraph runbook failed-upgrade` tells more";
    Some(match &first.statement {
        Some(statement) => format!(
            "as the owner of the tables: `decisiongraph psql -c {}`; {status}; {page}",
            shell_word(statement)
        ),
        None => format!("{status}; {page}"),
    })
}

pub(in crate::commands::doctor) fn rights(rights: &Rights, migrate: Migrate) -> Verdict {
    let Rights { role, may_migrate, .. } = rights;
    if !rights.missing.is_empty() {
        return lacking(rights);
    }
    match (may_migrate, migrate) {
        (false, Migrate::Apply) => Verdict::failed(
            format!("{role} may do the daemon's work, but not migrate, which --migrate=apply does"),
            "start it with `serve --migrate=check`, or as the owner of the tables",
        ),
        (true, _) => Verdict::ok(format!("{role} may do the daemon's work, and migrate")),
        (false, Migrate::Check) => Verdict::ok(format!("{role} may do the daemon's work")),
    }
}

/// Whoever owns a table may give anybody any right on it, itself included; roles are made by others.
fn lacking(rights: &Rights) -> Verdict {
    let Rights { role, owner, missing, .. } = rights;
    let named: Vec<String> =
        missing.iter().map(|one| format!("{} on {}", one.privileges, one.table)).collect();
    let statements = shell_word(&rights.grants().join("; "));
    let grant = format!("`decisiongraph psql -c {statements}`");
    let help = match owner {
        Some(owner) if owner == role => format!("as {role}, who owns the tables: {grant}"),
        owner => {
            let owner = owner.as_deref().unwrap_or("the owner");
            let again = match role == DAEMON_ROLE {
                true => {
                    "`decisiongraph migrate --roles` gives it all that it has by design".to_owned()
                }
                false => format!(
                    "`decisiongraph migrate --roles`, then GRANT dg_daemon TO {}",
                    name_in_sql(role)
                ),
            };
            format!(
                "as {owner}, who owns the tables: {grant}; or, as a superuser or an owner with CREATEROLE, {again}"
            )
        }
    };
    let found = |named: &str| format!("{role} lacks {named}");
    Verdict::failed(found(&named.join("; ")), help).shown_as(found(&some(&named, "; ")))
}

/// Who keeps others from our tables.
pub(in crate::commands::doctor) fn locks(holders: &[Holder]) -> Verdict {
    let Some(first) = holders.first() else {
        return Verdict::ok("nobody is waited for, and no transaction is left open");
    };
    let named: Vec<String> = holders.iter().map(holder).collect();
    let command = format!("`decisiongraph psql -At -c \"{}\"`", first.ended_by());
    let help = match first.pid {
        0 => format!("{command} shows it: COMMIT PREPARED or ROLLBACK PREPARED ends it"),
        _ => format!(
            "ask its owner to commit; if nobody answers, {command} ends it, as its user or a superuser"
        ),
    };
    let help = format!("{help}; `decisiongraph runbook locks` tells more");
    Verdict::warning(named.join("; "), help).shown_as(some(&named, "; "))
}

fn holder(it: &Holder) -> String {
    let who = match (it.pid, it.application.as_deref(), it.user.as_deref()) {
        (0, ..) => "a prepared transaction".to_owned(),
        (pid, Some(name), Some(user)) => format!("pid {pid} ({name}, user {user})"),
        (pid, name, user) => match name.or(user) {
            Some(known) => format!("pid {pid} ({known})"),
            None => format!("pid {pid}"),
        },
    };
    let state = it.state.as_deref().unwrap_or("holds locks");
    let open = it.open_seconds.map_or(String::new(), |open| format!(" for {}", duration(open)));
    let waits = match it.waiters {
        0 => ", with locks on our tables".to_owned(),
        1 => format!(", and a session waits for it, for {}", duration(it.waited_seconds)),
        more => {
            format!(", and {more} sessions wait for it, for up to {}", duration(it.waited_seconds))
        }
    };
    format!("{who}: {state}{open}{waits}")
}

pub(in crate::commands::doctor) fn clock(apart: Duration) -> Verdict {
    let off = duration(apart.as_secs_f64());
    let help = "let both machines follow a time server (timedatectl set-ntp true)";
    if apart > CLOCK_FAILED {
        return Verdict::failed(format!("{off} apart from the server's"), help);
    }
    if apart > CLOCK_WARNING {
        return Verdict::warning(format!("{off} apart from the server's"), help);
    }
    Verdict::ok(format!("{off} apart from the server's"))
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
