//! What somebody changed by hand is found and named: table, key, field, event.

#![allow(clippy::unwrap_used, reason = "tests")]

use dg_projections::json::Json;
use dg_tests::events::{generated, joined, whole_trace};
use dg_tests::{Sql, Stage, run, until};

const TABLES: [&str; 9] = [
    "dg_tenant_heads",
    "dg_event_log",
    "dg_projection_cursors",
    "dg_projection_digests",
    "dg_cg_nodes",
    "dg_cg_edges",
    "dg_trace_summary",
    "dg_policy_eval_index",
    "dg_precedent_index",
];

/// Three whole traces, projected, with digests, and nobody at work on them.
struct Sound {
    stage: Stage,
    sql: Sql,
}

impl Sound {
    fn new() -> Sound {
        let mut stage = Stage::new(&[]);
        stage.import(&["a", "b", "c"].map(whole_trace).concat());
        stage.daemon.cli(&["digest"]).ok();
        assert_eq!(stage.daemon.stop(), 0);
        let sql = stage.daemon.sql();
        for table in TABLES {
            sql.rows(&format!("CREATE TABLE saved_{table} AS TABLE {table}"));
        }
        Sound { stage, sql }
    }

    /// What `verify` finds after this was done to the database; which is sound again afterwards.
    #[track_caller]
    fn after(&self, tampering: &str) -> Json {
        self.sql.tamper(tampering);
        let answer = self.stage.daemon.direct(&["verify", "-o", "json"]);
        let shown = self.stage.daemon.direct(&["verify"]);
        for table in TABLES {
            self.sql
                .tamper(&format!("DELETE FROM {table}; INSERT INTO {table} TABLE saved_{table}"));
        }
        assert_eq!(answer.code, 7, "{tampering}\n{answer:?}");
        assert_eq!((shown.code, shown.stdout.lines().count()), (7, 1), "{shown:?}");
        assert!(
            shown.stdout.starts_with("different: ") && shown.stderr.starts_with("help: "),
            "{shown:?}"
        );
        let answer = answer.json();
        assert_eq!(answer.get("proven").and_then(Json::as_bool), Some(false));
        let difference = answer.get("difference").unwrap().clone();
        for name in ["table", "key"] {
            let value = difference.get(name).and_then(Json::as_str).unwrap();
            assert!(shown.stdout.contains(value), "{shown:?}");
        }
        difference
    }

    /// The same, held against table, key, field and event.
    #[track_caller]
    fn names(
        &self,
        tampering: &str,
        table: &str,
        key: &str,
        field: Option<&str>,
        event: Option<&str>,
    ) -> Json {
        let found = self.after(tampering);
        let text = |name| found.get(name).and_then(Json::as_str);
        let named = (text("table"), text("key"), text("field"), text("event_id"));
        assert_eq!(named, (Some(table), Some(key), field, event), "{tampering}");
        found
    }
}

fn values(difference: &Json) -> (Option<&str>, Option<&str>) {
    let text = |name| difference.get(name).and_then(Json::as_str);
    (text("expected"), text("found"))
}

/// A row of each projection table: its key column, its key, a column to change, the event that owns
/// the row, and the event named for one more row like it.
const ROWS: [(&str, &str, &str, &str, &str); 5] = [
    ("dg_cg_nodes", "node_id", "exception:ex-b", "created_at", "b.3"),
    (
        "dg_cg_edges",
        "edge_id",
        "trace_requested_exception:trace:b:exception:ex-b:b.3",
        "to_node_id",
        "b.3",
    ),
    ("dg_trace_summary", "trace_id", "b", "title", "b.5"),
    ("dg_policy_eval_index", "index_id", "b:limit:1:b.2", "policy_version", "b.2"),
    ("dg_precedent_index", "source_event_id", "b.3", "exception_id", "b.3"),
];

#[test]
fn a_projection_row_changed_by_hand_is_named_with_its_field_and_event() {
    let sound = Sound::new();
    for (table, key_column, key, column, event) in ROWS {
        let change = format!("UPDATE {table} SET {column} = 'forged' WHERE {key_column} = '{key}'");
        let found = sound.names(&change, table, key, Some(column), Some(event));
        assert_eq!(values(&found).1, Some("forged"), "{found:?}");
        assert_ne!(values(&found).0, None, "{found:?}");
    }
    let number = "UPDATE dg_trace_summary SET event_count = 6 WHERE trace_id = 'b'";
    let found = sound.names(number, "dg_trace_summary", "b", Some("event_count"), Some("b.5"));
    assert_eq!(values(&found), (Some("2"), Some("6")));
    let attrs = r#"UPDATE dg_cg_nodes SET attrs = '{"x": 1}' WHERE node_id = 'trace:b'"#;
    sound.names(attrs, "dg_cg_nodes", "trace:b", Some("attrs"), Some("b.0"));
    let null = "UPDATE dg_trace_summary SET outcome = NULL WHERE trace_id = 'b'";
    let found = sound.names(null, "dg_trace_summary", "b", Some("outcome"), Some("b.5"));
    assert_eq!(values(&found), (Some("success"), None));
}

#[test]
fn a_projection_row_deleted_by_hand_is_named_with_its_event() {
    let sound = Sound::new();
    for (table, key_column, key, _, event) in ROWS {
        let delete = format!("DELETE FROM {table} WHERE {key_column} = '{key}'");
        let found = sound.names(&delete, table, key, None, Some(event));
        assert_eq!(values(&found), (Some("a row"), None));
        sound.after(&format!("DELETE FROM {table}"));
    }
}

#[test]
fn a_projection_row_added_by_hand_is_named() {
    let sound = Sound::new();
    for (table, key_column, key, _, event) in ROWS {
        for forged in ["0", "zz"] {
            let insert = format!(
                "CREATE TEMP TABLE forged ON COMMIT DROP AS SELECT * FROM {table} WHERE {key_column} = '{key}';
                 UPDATE forged SET {key_column} = '{forged}'; INSERT INTO {table} TABLE forged"
            );
            let found = sound.names(&insert, table, forged, None, Some(event));
            assert_eq!(values(&found), (None, Some("a row")));
        }
    }
}

#[test]
fn a_change_in_the_log_is_named_with_its_event() {
    let sound = Sound::new();
    let log = "dg_event_log";
    let change =
        |set: &str, event: &str| format!("UPDATE {log} SET {set} WHERE event_id = '{event}'");
    for payload in
        ["replace(payload_json, 'limit', 'other')", "''", "'not json'", "payload_json || ' '"]
    {
        let change = change(&format!("payload_json = {payload}"), "b.2");
        sound.names(&change, log, "9", Some("payload_json"), Some("b.2"));
    }
    // A forger who knows of the hash: now the rows tell.
    let forged = "payload_json = replace(payload_json, 'About', 'On'),
        payload_hash = sha256(convert_to(replace(payload_json, 'About', 'On'), 'UTF8'))";
    let found =
        sound.names(&change(forged, "b.0"), "dg_trace_summary", "b", Some("title"), Some("b.5"));
    assert_eq!(values(&found), (Some("On b"), Some("About b")));
    sound.names(&change("trace_seq = 7", "b.1"), log, "8", Some("trace_seq"), Some("b.1"));
    sound.names(&change("trace_id = 'd'", "b.1"), log, "8", Some("trace_seq"), Some("b.1"));
    sound.names(
        &change("event_type = 'ActionProposed'", "b.3"),
        log,
        "10",
        Some("payload_json"),
        Some("b.3"),
    );
    sound.names(
        &change("actor_id = 'eve'", "b.0"),
        "dg_cg_nodes",
        "actor:agent:eve",
        None,
        Some("b.0"),
    );
    let found = sound.after(&change("occurred_at = '2026-05-04T10:00:59Z'", "b.3"));
    assert_eq!(found.get("field").and_then(Json::as_str), Some("created_at"), "{found:?}");
}

#[test]
fn an_event_deleted_by_hand_is_named_by_its_number() {
    let sound = Sound::new();
    let delete = |which: &str| format!("DELETE FROM dg_event_log WHERE {which}");
    let log = "dg_event_log";
    sound.names(&delete("log_seq = 1"), log, "1", Some("log_seq"), None);
    sound.names(&delete("event_id = 'b.2'"), log, "9", Some("log_seq"), None);
    sound.names(&delete("trace_id = 'b'"), log, "7", Some("log_seq"), None);
    sound.names(&delete("event_id = 'c.5'"), log, "18", Some("log_seq"), None);
    sound.names(&delete("true"), log, "18", Some("log_seq"), None);
    // A forger who knows of the head.
    let head = "UPDATE dg_tenant_heads SET last_log_seq = 17, event_count = 17";
    let both = format!("{}; {head}", delete("event_id = 'c.5'"));
    let found =
        sound.names(&both, "dg_projection_cursors", "context_graph", Some("applied_events"), None);
    assert_eq!(values(&found), (Some("17"), Some("18")));
    // With kept numbers a gap is no proof, but the count is.
    let kept = "UPDATE dg_tenant_heads SET kept_numbers = true";
    let gap = format!("{}; {kept}", delete("trace_id = 'b'"));
    sound.names(&gap, "dg_tenant_heads", "default", Some("event_count"), None);
}

#[test]
fn a_changed_digest_cursor_or_head_is_named() {
    let sound = Sound::new();
    for digest in ["context_graph", "trace_summary", "precedent_index", "full_projection"] {
        let change = format!(
            "UPDATE dg_projection_digests SET digest = sha256('x') WHERE digest_name = '{digest}'"
        );
        sound.names(&change, "dg_projection_digests", digest, Some("digest"), Some("c.5"));
    }
    for projection in ["context_graph", "trace_summary", "precedent_index"] {
        let of = format!("WHERE projection_name = '{projection}'");
        for (set, field) in [
            ("applied_events = 17", "applied_events"),
            ("last_log_seq = 17, applied_events = 17", "row"),
            ("last_log_seq = 19", "last_log_seq"),
            ("last_log_seq = 19, applied_events = 19", "applied_events"),
        ] {
            let change = format!("UPDATE dg_projection_cursors SET {set} {of}");
            let found = sound.after(&change);
            let text = |name| found.get(name).and_then(Json::as_str);
            match field {
                // It claims less than there is: what the last event left is too much.
                "row" => assert_ne!(text("table"), Some("dg_projection_cursors"), "{found:?}"),
                field => {
                    let named = (text("table"), text("key"), text("field"));
                    let expected = ("dg_projection_cursors", projection, field);
                    assert_eq!(named, (Some(expected.0), Some(expected.1), Some(expected.2)));
                }
            }
        }
        // Rows of nobody.
        let found = sound.after(&format!("DELETE FROM dg_projection_cursors {of}"));
        assert_eq!(values(&found), (None, Some("a row")), "{found:?}");
    }
    let found =
        sound.names("DELETE FROM dg_tenant_heads", "dg_tenant_heads", "default", None, None);
    assert_eq!(values(&found), (Some("a row"), None));
    let count = "UPDATE dg_tenant_heads SET kept_numbers = true, event_count = 17";
    let found = sound.names(count, "dg_tenant_heads", "default", Some("event_count"), None);
    assert_eq!(values(&found), (Some("18"), Some("17")));
}

/// Every version of every row.
fn versions(sql: &Sql) -> Vec<String> {
    let tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
    let tables = sql.rows(tables).into_iter().map(|mut row| row.remove(0).unwrap());
    let all = |table: String| {
        sql.one(&format!(
            "SELECT string_agg(concat(xmin, ctid, t), ';' ORDER BY ctid) FROM {table} AS t"
        ))
    };
    tables.map(all).collect()
}

#[test]
fn a_sound_tenant_is_proven_and_left_alone() {
    let sound = Sound::new();
    let before = versions(&sound.sql);
    assert!(before.len() >= 9 && !before[0].is_empty(), "{before:?}");
    let answer = sound.stage.daemon.direct(&["verify", "-o", "json"]).ok().json();
    let count = |name: &str| answer.get(name).and_then(Json::as_i64);
    assert_eq!((count("events"), count("stored_digests")), (Some(18), Some(4)));
    let rows: i64 = TABLES[4..]
        .iter()
        .map(|table| {
            sound.sql.one(&format!("SELECT count(*) FROM {table}")).parse::<i64>().unwrap()
        })
        .sum();
    assert_eq!(count("rows"), Some(rows));
    let shown = sound.stage.daemon.direct(&["verify"]).ok();
    assert!(shown.stdout.starts_with("proven: tenant default, 18 events"), "{shown:?}");
    assert_eq!(versions(&sound.sql), before);
    let absent = sound.stage.daemon.direct(&["verify", "-t", "absent"]);
    assert_eq!((absent.code, absent.stdout.as_str()), (3, ""), "{absent:?}");
}

#[test]
fn a_proof_beside_writers_sees_one_moment() {
    let stage = Stage::new(&["--projection-batch-size", "100"]);
    let file = stage.daemon.directory().file("log.jsonl", joined(&generated(500, 1)));
    let socket = stage.daemon.socket();
    let importing = std::thread::spawn(move || {
        run(&["import".as_ref(), file.as_os_str(), "--socket".as_ref(), socket.as_os_str()], b"")
    });
    let sql = stage.daemon.sql();
    until("the first events are in", || {
        (sql.one("SELECT count(*) FROM dg_event_log") != "0").then_some(())
    });
    while !importing.is_finished() {
        stage.daemon.direct(&["verify"]).ok();
    }
    importing.join().unwrap().ok();
    stage.daemon.until_current("default");
    stage.daemon.direct(&["verify"]).ok();
}
