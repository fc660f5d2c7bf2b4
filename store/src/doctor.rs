//! What `doctor` asks a server: how it is set, what a role may do, its time. Changes nothing.

use time::OffsetDateTime;

use crate::{Store, StoreError};

/// Why a server did not let us in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It does not know the user, or not by this password.
    Login,
    /// The role is one that may not log in.
    NoLogin,
    /// It has no such database.
    NoDatabase,
    /// It has too many connections.
    Full,
    /// It is not there, or does not take connections.
    Away,
    /// It does not know the role that was asked about.
    NoRole,
    /// It let us in, and who we are may not do what was asked.
    Privilege,
    /// It let us in, and refused what was asked.
    Asked,
}

impl Refusal {
    /// The reason for an error of a question to a server.
    pub fn of(error: &StoreError) -> Refusal {
        match error.sqlstate.as_deref() {
            // One state for several reasons: a server that speaks another language leaves it at that.
            Some("28000") if error.message.contains("not permitted to log in") => Refusal::NoLogin,
            Some(state) if state.starts_with("28") => Refusal::Login,
            Some("42501") => Refusal::Privilege,
            Some("3D000") => Refusal::NoDatabase,
            Some("53300") => Refusal::Full,
            Some("42704") => Refusal::NoRole,
            // Asked for a password and having none, the client gives up before the server does.
            None if error.message.ends_with("password missing") => Refusal::Login,
            None => Refusal::Away,
            Some(_) if error.is_outage => Refusal::Away,
            Some(_) => Refusal::Asked,
        }
    }
}

/// How a server is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// As it names it, such as `15.18`.
    pub version: String,
    /// As a number that grows, such as 150018.
    pub version_number: i32,
    /// The database that we are in.
    pub database: String,
    /// Its encoding.
    pub encoding: String,
    /// Who we are to it.
    pub login: String,
    /// Whether it takes no writes.
    pub is_standby: bool,
    /// Whether a commit is forced to the disk.
    pub fsync: String,
    /// Whether a page torn by a crash can be mended.
    pub full_page_writes: String,
    /// Whether an answered commit is one that stays.
    pub synchronous_commit: String,
    /// Connections at most.
    pub max_connections: i32,
    /// Those of them that are kept for others.
    pub reserved_connections: i32,
    /// Where its data is, if it is on this machine and we may know.
    pub local_data: Option<String>,
}

// The directory of the data is told to few roles: pg_settings leaves out what it may not tell. A
// server that was reached over the network is on another machine, or in a house of its own.
const SERVER: &str = "SELECT current_setting('server_version'),
        current_setting('server_version_num')::integer, current_database()::text,
        current_setting('server_encoding'), session_user::text, pg_is_in_recovery(),
        current_setting('fsync'), current_setting('full_page_writes'),
        current_setting('synchronous_commit'), current_setting('max_connections')::integer,
        current_setting('superuser_reserved_connections')::integer
            + coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::integer,
        (SELECT setting FROM pg_settings WHERE name = 'data_directory'
            AND coalesce(inet_server_addr() <<= inet '127.0.0.0/8'
                OR inet_server_addr() = inet '::1', true))";

/// What a role may do with the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// The role.
    pub role: String,
    /// Who owns the tables, if they are there.
    pub owner: Option<String>,
    /// What a daemon needs and it may not, by table.
    pub missing: Vec<Lacking>,
    /// Whether who logged in may bring the schema up to date.
    pub may_migrate: bool,
}

/// Privileges on a table that a role lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The table.
    pub table: String,
    /// As a `GRANT` names them, such as `INSERT, DELETE`.
    pub privileges: String,
}

impl Rights {
    /// The statements that give the role what it lacks.
    pub fn grants(&self) -> Vec<String> {
        let mut tables_of: Vec<(&str, Vec<&str>)> = Vec::new();
        for Lacking { table, privileges } in &self.missing {
            match tables_of.iter_mut().find(|(known, _)| known == privileges) {
                Some((_, tables)) => tables.push(table),
                None => tables_of.push((privileges, vec![table])),
            }
        }
        let role = name_in_sql(&self.role);
        let grant = |(privileges, tables): (&str, Vec<&str>)| {
            format!("GRANT {privileges} ON {} TO {role}", tables.join(", "))
        };
        tables_of.into_iter().map(grant).collect()
    }
}

/// A name as statements have it: in quotes, unless it is of the plainest kind.
pub fn name_in_sql(name: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
    let mut bytes = name.as_bytes().iter();
    match bytes.next().is_some_and(is_plain) && bytes.all(|b| is_plain(b) || b.is_ascii_digit()) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The names of our tables.
pub(crate) fn tables() -> Vec<&'static str> {
    NEEDED.into_iter().map(|(name, _)| name).collect()
}

/// What a daemon does with each table: see `migrations/roles.sql`.
const NEEDED: [(&str, &str); 14] = [
    ("dg_schema_migrations", "SELECT"),
    ("dg_event_log", "SELECT,INSERT"),
    ("dg_tenant_heads", "SELECT,INSERT,UPDATE"),
    ("dg_projections", ALL),
    ("dg_projection_cursors", ALL),
    ("dg_cg_nodes", ALL),
    ("dg_cg_edges", ALL),
    ("dg_trace_summary", ALL),
    ("dg_policy_eval_index", ALL),
    ("dg_precedent_index", ALL),
    ("dg_projection_digests", ALL),
    ("dg_projection_failures", ALL),
    ("dg_projection_runs", ALL),
    ("dg_projection_run_steps", ALL),
];
const ALL: &str = "SELECT,INSERT,UPDATE,DELETE";

// A table that is not there is the schema's matter.
const MISSING: &str = "SELECT name, string_agg(privilege, ', ' ORDER BY rank)
    FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS wanted (name, privileges, place)
    CROSS JOIN unnest(string_to_array(privileges, ',')) WITH ORDINALITY AS one (privilege, rank)
    WHERE to_regclass(name) IS NOT NULL
        AND NOT has_table_privilege($1::text::name, to_regclass(name)::oid, privilege)
    GROUP BY place, name ORDER BY place";

const OWNER: &str = "SELECT pg_get_userbyid(relowner)::text FROM pg_class
    WHERE oid = to_regclass('dg_event_log')::oid";

// A step of the schema makes tables and alters those that are there.
const MAY_MIGRATE: &str = "SELECT
        coalesce(has_schema_privilege(current_schema()::text, 'CREATE'), false)
        AND NOT EXISTS (SELECT 1 FROM pg_class AS c
            WHERE c.oid IN (SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS wanted (name))
                AND NOT pg_has_role(c.relowner, 'USAGE'))";

impl Store {
    /// How the server is set.
    ///
    /// # Errors
    /// Why it cannot be asked: see [`Refusal::of`].
    pub async fn server(&self) -> Result<Server, StoreError> {
        let row = self.client().await?.query_one(SERVER, &[]).await?;
        Ok(Server {
            version: row.try_get(0)?,
            version_number: row.try_get(1)?,
            database: row.try_get(2)?,
            encoding: row.try_get(3)?,
            login: row.try_get(4)?,
            is_standby: row.try_get(5)?,
            fsync: row.try_get(6)?,
            full_page_writes: row.try_get(7)?,
            synchronous_commit: row.try_get(8)?,
            max_connections: row.try_get(9)?,
            reserved_connections: row.try_get(10)?,
            local_data: row.try_get(11)?,
        })
    }

    /// What a role may do with the tables; who logged in, if none is named.
    ///
    /// # Errors
    /// When the database cannot be asked, or has no such role.
    pub async fn rights(&self, role: Option<&str>) -> Result<Rights, StoreError> {
        let client = self.client().await?;
        let role = match role {
            Some(role) => role.to_owned(),
            None => client.query_one("SELECT current_user::text", &[]).await?.try_get(0)?,
        };
        let (names, privileges): (Vec<&str>, Vec<&str>) = NEEDED.into_iter().unzip();
        let rows = client.query(MISSING, &[&role, &names, &privileges]).await?;
        let lacking = |row: &tokio_postgres::Row| -> Result<Lacking, StoreError> {
            Ok(Lacking { table: row.try_get(0)?, privileges: row.try_get(1)? })
        };
        let missing = rows.iter().map(lacking).collect::<Result<_, _>>()?;
        let owner = client.query_opt(OWNER, &[]).await?;
        let owner = owner.map(|row| row.try_get(0)).transpose()?;
        let may_migrate = client.query_one(MAY_MIGRATE, &[&names]).await?.try_get(0)?;
        Ok(Rights { role, owner, missing, may_migrate })
    }

    /// What time it is there.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn clock(&self) -> Result<OffsetDateTime, StoreError> {
        let row = self.client().await?.query_one("SELECT clock_timestamp()", &[]).await?;
        Ok(row.try_get(0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_answers_to_a_stranger_has_its_reason() {
        let refusal = |state: &str, is_outage| {
            let sqlstate = Some(state.to_owned());
            Refusal::of(&StoreError { sqlstate, is_outage, ..StoreError::outage("x") })
        };
        assert_eq!(refusal("28P01", false), Refusal::Login);
        assert_eq!(refusal("28000", false), Refusal::Login);
        assert_eq!(refusal("3D000", true), Refusal::NoDatabase);
        assert_eq!(refusal("53300", false), Refusal::Full);
        assert_eq!(refusal("57P03", true), Refusal::Away);
        assert_eq!(refusal("42704", false), Refusal::NoRole);
        assert_eq!(refusal("42501", false), Refusal::Privilege);
        assert_eq!(refusal("42883", false), Refusal::Asked);
        let no_login = StoreError {
            sqlstate: Some("28000".to_owned()),
            ..StoreError::outage("role \"dg\" is not permitted to log in [SQLSTATE 28000]")
        };
        assert_eq!(Refusal::of(&no_login), Refusal::NoLogin);
        assert_eq!(Refusal::of(&StoreError::outage("x")), Refusal::Away);
    }

    #[test]
    fn what_is_missing_is_given_by_one_statement_for_each_kind() {
        let lacking = |table: &str, privileges: &str| Lacking {
            table: table.to_owned(),
            privileges: privileges.to_owned(),
        };
        let missing = vec![
            lacking("dg_event_log", "INSERT"),
            lacking("dg_cg_nodes", "UPDATE, DELETE"),
            lacking("dg_trace_summary", "INSERT"),
        ];
        let rights = Rights { role: "a\"B".to_owned(), owner: None, missing, may_migrate: false };
        let expected = [
            "GRANT INSERT ON dg_event_log, dg_trace_summary TO \"a\"\"B\"",
            "GRANT UPDATE, DELETE ON dg_cg_nodes TO \"a\"\"B\"",
        ];
        assert_eq!(rights.grants(), expected);
        for (name, expected) in [("dg_1", "dg_1"), ("1dg", "\"1dg\""), ("", "\"\"")] {
            assert_eq!(name_in_sql(name), expected);
        }
    }

    #[test]
    fn every_table_of_the_schema_is_asked_for() {
        let sql: String = crate::migrations().iter().map(|step| step.sql).collect();
        let made = sql.lines().filter_map(|line| line.strip_prefix("CREATE TABLE "));
        for name in made.filter_map(|rest| rest.split([' ', '(']).next()) {
            assert!(NEEDED.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
