//! Events as a producer writes them: JSON Lines.

use dg_admin::generate::{Plan, lines};

/// One valid event of the default tenant, if the payload is one of its type.
pub fn event(trace: &str, seq: usize, event_type: &str, payload: &str) -> String {
    format!(
        r#"{{"event_id":"{trace}.{seq}","trace_id":"{trace}","trace_seq":{seq},"event_type":"{event_type}","occurred_at":"2026-05-04T10:00:{:02}Z","source":{{"producer_id":"p","system":"s"}},"actor":{{"actor_type":"agent","actor_id":"bot"}},"idempotency_key":"{trace}:{seq}","payload":{payload}}}"#,
        seq % 60
    )
}

/// The first event of a trace.
pub fn started(trace: &str) -> String {
    let payload = format!(
        r#"{{"workflow":"w","title":"About {trace}","primary_entity":{{"entity_type":"account","entity_id":"acc-{trace}"}}}}"#
    );
    event(trace, 0, "TraceStarted", &payload)
}

/// The last event of a trace.
pub fn finished(trace: &str, seq: usize) -> String {
    event(trace, seq, "TraceFinished", r#"{"outcome":"success"}"#)
}

/// An event that a trace may have any number of.
pub fn observed(trace: &str, seq: usize) -> String {
    let payload = format!(
        r#"{{"entity":{{"entity_type":"item","entity_id":"{trace}-{seq}"}},"role":"related","facts":[]}}"#
    );
    event(trace, seq, "EntityObserved", &payload)
}

/// A finished trace of six events that leaves rows in every projection table.
pub fn whole_trace(trace: &str) -> Vec<String> {
    let policy = r#""policy":{"policy_id":"limit","policy_version":"1"}"#;
    let evaluated = format!(r#"{{{policy},"inputs":[],"decision":"require_exception"}}"#);
    let requested = format!(r#"{{"exception_id":"ex-{trace}",{policy},"reason":"good customer"}}"#);
    let approved = format!(
        r#"{{"approval_id":"ap-{trace}","subject":{{"subject_type":"exception","subject_id":"ex-{trace}"}},"approver":{{"actor_type":"person","actor_id":"ann"}},"decision":"approved"}}"#
    );
    vec![
        started(trace),
        observed(trace, 1),
        event(trace, 2, "PolicyEvaluated", &evaluated),
        event(trace, 3, "ExceptionRequested", &requested),
        event(trace, 4, "ApprovalRecorded", &approved),
        finished(trace, 5),
    ]
}

/// A generated log: traces that interleave, 8 events each, spread over the tenants.
pub fn generated(traces: u64, tenants: u32) -> Vec<String> {
    lines(Plan { traces, tenants, payload_bytes: 200, ..Plan::default() }).collect()
}

/// The lines as a file has them.
pub fn joined<L: AsRef<str>>(lines: &[L]) -> String {
    lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect()
}
