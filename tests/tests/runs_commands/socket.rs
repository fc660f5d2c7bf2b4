//! Runs over the socket, as `curl` asks for them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use dg_projections::json;

use crate::*;

/// Status, head and body of a request as `curl` makes it.
fn curl(stage: &Stage, line: &str, tenant: &str, body: &str) -> (u16, String, Json) {
    let mut stream = UnixStream::connect(stage.daemon.socket()).unwrap();
    let tenant =
        if tenant.is_empty() { String::new() } else { format!("x-tenant-id: {tenant}\r\n") };
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{tenant}content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), json::parse(body).unwrap())
}

const REBUILD: &str = r#"{"mode":"rebuild","projection_name":"all","reason":"x"}"#;

#[test]
fn the_socket_takes_runs_from_anybody_who_speaks_http() {
    let (stage, sql) = held();
    let (status, _, answer) = curl(&stage, "POST /v1/runs", "other", REBUILD);
    assert_eq!(status, 200, "{answer:?}");
    let run = member(&answer, "data");
    assert_eq!((word(run, "tenant_id"), word(run, "status")), ("other".into(), "queued".into()));
    let uid = nix::unistd::geteuid();
    assert_eq!(word(run, "requested_by"), format!("uid {uid}"));
    let at = format!("/v1/runs/{}", word(run, "run_id"));
    for (line, tenant, expected) in [
        (format!("GET {at}"), "", 200),
        (format!("GET {at}"), "other", 200),
        (format!("GET {at}"), "default", 404),
        (format!("POST {at}/cancel"), "default", 404),
        (format!("POST {at}/cancel"), "other", 200),
        (format!("POST {at}/cancel"), "", 409),
        (format!("POST {at}/resume"), "", 200),
        (format!("GET {at}/resume"), "", 405),
        (format!("DELETE {at}"), "", 405),
        ("DELETE /v1/runs".to_owned(), "", 405),
        (format!("POST {at}/pause"), "", 404),
        ("GET /v1/runs?status=lost".to_owned(), "", 400),
        ("GET /v1/runs?limit=1001".to_owned(), "", 400),
        ("GET /v1/runs?colour=red".to_owned(), "", 400),
        ("POST /v1/runs?dry_run=true".to_owned(), "", 400),
    ] {
        let (status, head, answer) = curl(&stage, &line, tenant, "");
        assert_eq!(status, expected, "{line}: {answer:?}");
        assert_eq!(head.contains("\r\nallow: "), status == 405, "{line}: {head}");
    }
    make(&sql, 1, CANCELLED);
    let listed = |path: &str, tenant| {
        let (_, _, answer) = curl(&stage, &format!("GET /v1/runs{path}"), tenant, "");
        member(&answer, "data").as_array().unwrap().len()
    };
    assert_eq!((listed("", ""), listed("", "other"), listed("?all=true", "other")), (2, 1, 2));
    assert_eq!((listed("?status=cancelled", ""), listed("?limit=1", "")), (1, 1));
}

#[test]
fn a_body_that_makes_no_run_is_refused_by_its_member() {
    let (stage, sql) = held();
    for (body, status, said) in [
        ("", 400, "the body"),
        ("[]", 400, "the body must be a JSON object"),
        (r#"{"mode":"rebuild","projection_name":"all"}"#, 400, "'reason' is missing"),
        (
            r#"{"mode":"redo","projection_name":"all","reason":"x"}"#,
            400,
            "'mode' must be replay or",
        ),
        (r#"{"mode":"replay","projection_name":7,"reason":"x"}"#, 400, "'projection_name' must"),
        (
            r#"{"mode":"replay","projection_name":"all","reason":"x","tenant_id":"t"}"#,
            400,
            "'tenant_id' is not known",
        ),
        (
            r#"{"mode":"replay","projection_name":"all","reason":"x","dry_run":true}"#,
            400,
            "dry_run is for rebuilds",
        ),
        (
            r#"{"mode":"rebuild","projection_name":"all","reason":"x","until_log_seq":5}"#,
            400,
            "until_log_seq is for replays",
        ),
        (r#"{"mode":"replay","projection_name":"x","reason":"x"}"#, 404, "no projection 'x'"),
    ] {
        let (found, _, answer) = curl(&stage, "POST /v1/runs", "", body);
        let message = word(member(&answer, "error"), "message");
        assert_eq!(found, status, "{body}: {message}");
        assert!(message.contains(said), "{body}: {message}");
    }
    assert_eq!(sql.one("SELECT count(*) FROM dg_projection_runs"), "0");
}
