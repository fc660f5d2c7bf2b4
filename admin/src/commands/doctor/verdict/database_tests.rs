//! The verdicts on the database, as tables.

use dg_store::Lacking;

use super::*;
use crate::commands::doctor::finding::Status;

fn healthy() -> Server {
    let on = || "on".to_owned();
    Server {
        version: "15.18".to_owned(),
        version_number: 150_018,
        database: "dg".to_owned(),
        encoding: "UTF8".to_owned(),
        login: "ann".to_owned(),
        is_standby: false,
        fsync: on(),
        full_page_writes: on(),
        synchronous_commit: on(),
        max_connections: 100,
        reserved_connections: 3,
        local_data: None,
    }
}

#[test]
fn a_server_is_to_be_new_enough_and_the_primary() {
    for (number, expected) in
        [(140_022, Status::Warning), (150_000, Status::Ok), (180_004, Status::Ok)]
    {
        let server = Server { version_number: number, ..healthy() };
        assert_eq!(version(&server).status, expected, "{number}");
    }
    assert_eq!(reached(&healthy()).found, "dg as ann");
    assert_eq!(reached(&Server { is_standby: true, ..healthy() }).status, Status::Failed);
    assert_eq!(encoding("UTF8").status, Status::Ok);
    assert_eq!(encoding("SQL_ASCII").status, Status::Failed);
}

#[test]
fn what_may_lose_an_answered_append_is_named() {
    assert_eq!(durability(&healthy()).status, Status::Ok);
    let remote = "remote_apply".to_owned();
    assert_eq!(durability(&Server { synchronous_commit: remote, ..healthy() }).status, Status::Ok);
    let off = || "off".to_owned();
    for (server, named) in [
        (Server { fsync: off(), ..healthy() }, "fsync = on"),
        (Server { full_page_writes: off(), ..healthy() }, "full_page_writes = on"),
        (Server { synchronous_commit: off(), ..healthy() }, "synchronous_commit = on"),
    ] {
        let verdict = durability(&server);
        assert_eq!(verdict.status, Status::Warning, "{named}");
        assert!(verdict.help.is_some_and(|help| help.contains(named)), "{named}");
    }
}

#[test]
fn the_pool_must_fit_with_a_few_beside_it() {
    for (most, expected) in
        [(18, Status::Failed), (19, Status::Warning), (23, Status::Warning), (24, Status::Ok)]
    {
        let server = Server { max_connections: most, ..healthy() };
        assert_eq!(connections(&server, 16).status, expected, "{most}");
    }
}

#[test]
fn steps_that_are_pending_are_for_who_may_apply_them() {
    let pending = MigrationStatus { pending: vec![1, 2], ..MigrationStatus::default() };
    let newer = dg_store::Drift::Newer {
        version: 999,
        name: "later".to_owned(),
        binary_version: "9.9.9".to_owned(),
    };
    let drifted = MigrationStatus { drift: vec![newer], ..MigrationStatus::default() };
    for (status, migrate, expected) in [
        (MigrationStatus::default(), Migrate::Check, Status::Ok),
        (pending.clone(), Migrate::Apply, Status::Ok),
        (pending, Migrate::Check, Status::Failed),
        (drifted, Migrate::Apply, Status::Failed),
    ] {
        assert_eq!(schema(&status, &[], migrate).status, expected, "{status:?} {migrate:?}");
    }
}

#[test]
fn what_was_taken_out_of_the_schema_is_named_with_its_statement() {
    let index = Missing {
        kind: "index",
        name: "dg_i".to_owned(),
        table: Some("dg_t".to_owned()),
        state: "is not there".to_owned(),
        statement: Some("CREATE INDEX dg_i ON dg_t USING btree (a)".to_owned()),
    };
    let table = Missing { kind: "table", table: None, statement: None, ..index.clone() };
    let status = MigrationStatus::default();
    let verdict = schema(&status, &[index, table.clone()], Migrate::Apply);
    assert_eq!(verdict.status, Status::Failed);
    let found = "version 0, but index dg_i on dg_t is not there; table dg_i is not there";
    assert_eq!(verdict.found, found);
    let help = verdict.help.unwrap();
    assert!(
        help.contains("psql -c 'CREATE INDEX dg_i") && help.contains("failed-upgrade"),
        "{help}"
    );
    let verdict = schema(&status, &[table], Migrate::Apply);
    assert!(verdict.help.is_some_and(|help| help.starts_with("`decisiongraph migrate status`")));
}

#[test]
fn a_missing_right_is_named_with_the_grant() {
    let lacking = |one: &&str| {
        let (privileges, table) = one.split_once(" on ").unwrap();
        Lacking { table: table.to_owned(), privileges: privileges.to_owned() }
    };
    let with = |missing: &[&str], may_migrate| Rights {
        role: "ann".to_owned(),
        owner: Some("bob".to_owned()),
        missing: missing.iter().map(lacking).collect(),
        may_migrate,
    };
    for (found, migrate, expected) in [
        (with(&[], true), Migrate::Apply, Status::Ok),
        (with(&[], false), Migrate::Check, Status::Ok),
        (with(&[], false), Migrate::Apply, Status::Failed),
        (with(&["INSERT on dg_event_log"], true), Migrate::Apply, Status::Failed),
    ] {
        assert_eq!(rights(&found, migrate).status, expected, "{found:?} {migrate:?}");
    }
    let many = ["INSERT on a", "UPDATE, DELETE on b", "INSERT on c", "INSERT on d", "SELECT on e"];
    let verdict = rights(&with(&many, true), Migrate::Apply);
    let all = "INSERT on a; UPDATE, DELETE on b; INSERT on c; INSERT on d";
    assert_eq!(verdict.found, format!("ann lacks {all}; SELECT on e"));
    let brief = format!("ann lacks {all}; and 1 more: -o json names all");
    assert_eq!(verdict.brief, Some(brief));
    let help = verdict.help.unwrap();
    let grants = "psql -c 'GRANT INSERT ON a, c, d TO ann; GRANT UPDATE, DELETE ON b TO ann; GRANT SELECT ON e TO ann'";
    assert!(help.starts_with("as bob") && help.contains(grants), "{help}");
    assert!(help.contains("GRANT dg_daemon TO ann") && help.contains("CREATEROLE"), "{help}");
    let own = Rights { owner: Some("ann".to_owned()), ..with(&["INSERT on a"], true) };
    let help = rights(&own, Migrate::Apply).help.unwrap();
    assert!(help.contains("GRANT INSERT ON a TO ann") && !help.contains("dg_daemon"), "{help}");
}

#[test]
fn who_is_in_the_way_is_named_and_what_ends_it() {
    let waited_for = Holder {
        pid: 7,
        user: Some("ann".to_owned()),
        application: Some("psql".to_owned()),
        state: Some("idle in transaction".to_owned()),
        open_seconds: Some(42.0),
        waiters: 2,
        waited_seconds: 5.0,
    };
    let unseen = Holder { state: None, open_seconds: None, waiters: 1, ..waited_for.clone() };
    let alone = Holder { waiters: 0, user: None, ..waited_for.clone() };
    let prepared = Holder { pid: 0, ..unseen.clone() };
    for (it, expected) in [
        (
            &waited_for,
            "pid 7 (psql, user ann): idle in transaction for 42.0 s, and 2 sessions wait for it, for up to 5.0 s",
        ),
        (&unseen, "pid 7 (psql, user ann): holds locks, and a session waits for it, for 5.0 s"),
        (&alone, "pid 7 (psql): idle in transaction for 42.0 s, with locks on our tables"),
        (&prepared, "a prepared transaction: holds locks, and a session waits for it, for 5.0 s"),
    ] {
        let verdict = locks(std::slice::from_ref(it));
        assert_eq!((verdict.status, verdict.found.as_str()), (Status::Warning, expected));
        assert!(verdict.help.is_some_and(|help| help.contains("runbook locks")));
    }
    assert!(locks(&[waited_for]).help.unwrap().contains("\"SELECT pg_terminate_backend(7)\""));
    assert!(locks(&[prepared]).help.unwrap().contains("ROLLBACK PREPARED"));
    assert_eq!(locks(&[]).status, Status::Ok);
}

#[test]
fn clocks_apart_are_a_warning_and_then_a_failure() {
    for (millis, expected) in [
        (0, Status::Ok),
        (1_000, Status::Ok),
        (1_001, Status::Warning),
        (60_000, Status::Warning),
        (60_001, Status::Failed),
    ] {
        assert_eq!(clock(Duration::from_millis(millis)).status, expected, "{millis}");
    }
}

#[test]
fn each_refusal_has_its_remedy() {
    let error = |state: Option<&str>| StoreError {
        sqlstate: state.map(str::to_owned),
        ..StoreError::new(dg_projections::Code::Storage, "x")
    };
    for (state, named) in [
        (Some("28P01"), "password"),
        (Some("3D000"), "createdb"),
        (Some("53300"), "max_connections"),
        (Some("42704"), "migrate --roles"),
        (Some("28000"), "pg_hba.conf"),
        (Some("42501"), "`privileges`"),
        (Some("42883"), "log"),
        (None, "Postgres runs"),
    ] {
        let verdict = refused(&error(state));
        assert_eq!(verdict.status, Status::Failed);
        assert!(verdict.help.is_some_and(|help| help.contains(named)), "{state:?}");
    }
    let message = "role \"dg\" is not permitted to log in [SQLSTATE 28000]";
    let no_login = StoreError { message: message.to_owned(), ..error(Some("28000")) };
    assert!(refused(&no_login).help.unwrap().contains("ALTER ROLE dg LOGIN"));
}
