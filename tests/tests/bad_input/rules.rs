//! The rules of the contract, each broken once.

use dg_projections::json::{self, Json, canonical};
use dg_tests::events::{event, observed, started};

/// A line to be refused, with its code and the path that must be named, if the rule has one.
pub(crate) struct Bad {
    pub(crate) line: String,
    pub(crate) code: &'static str,
    pub(crate) path: Option<String>,
}

fn bad(line: String, code: &'static str, path: &str) -> Bad {
    Bad { line, code, path: (!path.is_empty()).then(|| path.to_owned()) }
}

const INVALID: &str = "invalid_argument";
const SCHEMA: &str = "schema_violation";
const SECRET: &str = "pii_policy_violation";

/// The line with a value put in place of that at a path, or taken out.
fn with(line: &str, path: &str, value: Option<&str>) -> String {
    fn put(at: &mut Json, path: &[&str], value: Option<&str>) {
        let Json::Object(members) = at else { panic!("no object on the way to {path:?}") };
        match (path, value) {
            ([key], Some(value)) => {
                drop(members.insert((*key).to_owned(), json::parse(value).unwrap()));
            }
            ([key], None) => drop(members.remove(*key)),
            ([key, rest @ ..], value) => put(members.get_mut(*key).unwrap(), rest, value),
            ([], _) => {}
        }
    }
    let mut event = json::parse(line).unwrap();
    put(&mut event, &path.split('.').collect::<Vec<_>>(), value);
    canonical(&event)
}

/// Numbers the traces of bad lines, so that each breaks one rule only.
#[derive(Default)]
pub(crate) struct Traces(usize);

impl Traces {
    fn start(&mut self) -> String {
        self.0 += 1;
        started(&format!("bad-{}", self.0))
    }
}

pub(crate) fn broken_envelopes(traces: &mut Traces) -> Vec<Bad> {
    let rules: &[(&str, &str, &[&str], bool)] = &[
        ("tenant_id", SCHEMA, &["\" \"", "\"\"", "7"], false),
        ("event_id", SCHEMA, &["\" \"", "7", "null"], true),
        ("trace_id", SCHEMA, &["\"\\t\"", "[]"], true),
        ("trace_seq", INVALID, &["-1", "\"0\"", "0.5", "99999999999999999999"], true),
        ("event_type", SCHEMA, &["\"Started\"", "\"tracestarted\"", "1"], true),
        (
            "occurred_at",
            INVALID,
            &["\"2026-05-04T10:00:00\"", "\"yesterday\"", "\"2026-02-30T10:00:00Z\"", "1"],
            true,
        ),
        ("source", SCHEMA, &["\"p\"", "null"], true),
        ("source.producer_id", SCHEMA, &["\" \"", "1"], true),
        ("source.system", SCHEMA, &["\"\"", "null"], true),
        ("source.subsystem", SCHEMA, &["1"], false),
        ("actor", SCHEMA, &["[]"], true),
        ("actor.actor_id", SCHEMA, &["\" \"", "{}"], true),
        ("actor.actor_type", SCHEMA, &["\"robot\"", "1"], true),
        ("idempotency_key", INVALID, &["\"\"", "5"], true),
        ("correlation_id", SCHEMA, &["5"], false),
        ("causation_event_id", SCHEMA, &["[]"], false),
        ("schema_version", SCHEMA, &["0", "-1", "\"1\"", "1.0", "4294967296"], false),
        ("tags", SCHEMA, &["\"a\"", "{}"], false),
        ("payload", SCHEMA, &["[]", "\"{}\"", "null"], true),
    ];
    let mut all = Vec::new();
    for (path, code, values, required) in rules {
        let values = values.iter().copied().map(Some).chain(required.then_some(None));
        for value in values {
            all.push(bad(with(&traces.start(), path, value), code, &format!("$.{path}")));
        }
    }
    let long = format!("\"{}\"", "ä".repeat(101));
    all.push(bad(
        with(&traces.start(), "idempotency_key", Some(&long)),
        INVALID,
        "$.idempotency_key",
    ));
    all.push(bad(with(&traces.start(), "tags", Some(r#"["a"," "]"#)), SCHEMA, "$.tags[1]"));
    all.push(bad(with(&traces.start(), "tags", Some("[1]")), SCHEMA, "$.tags[0]"));
    all.push(bad(with(&traces.start(), "corelation_id", Some("\"x\"")), SCHEMA, "$.corelation_id"));
    all.push(bad(with(&traces.start(), "source.host", Some("\"x\"")), SCHEMA, "$.source.host"));
    let columns = "tenant_id event_id trace_id occurred_at source.producer_id source.system source.subsystem
        actor.actor_id idempotency_key correlation_id causation_event_id payload.workflow payload.title
        payload.primary_entity.entity_type payload.primary_entity.entity_id payload.primary_entity.system";
    for path in columns.split_whitespace() {
        all.push(bad(
            with(&traces.start(), path, Some(r#""a\u0000b""#)),
            INVALID,
            &format!("$.{path}"),
        ));
    }
    let identifiers = "tenant_id event_id trace_id source.producer_id actor.actor_id
        payload.primary_entity.entity_type payload.primary_entity.entity_id";
    for path in identifiers.split_whitespace() {
        let long = format!("\"{}\"", "x".repeat(513));
        all.push(bad(with(&traces.start(), path, Some(&long)), INVALID, &format!("$.{path}")));
    }
    all
}

/// A valid payload of each type, its required fields, its closed ones, and its optional ones with a
/// value of a wrong type.
const PAYLOADS: [(&str, &str, &str, &str, &str); 10] = [
    (
        "TraceStarted",
        r#"{"workflow":"w","title":"t","primary_entity":{"entity_type":"a","entity_id":"1"}}"#,
        "workflow title primary_entity primary_entity.entity_type primary_entity.entity_id",
        "",
        "",
    ),
    (
        "InputObserved",
        r#"{"input_id":"i","source":{"system":"s","object_type":"o","object_id":"1"},"facts":[]}"#,
        "input_id source source.system source.object_type source.object_id facts",
        "",
        "",
    ),
    (
        "EntityObserved",
        r#"{"entity":{"entity_type":"a","entity_id":"1"},"role":"related","facts":[]}"#,
        "entity entity.entity_type entity.entity_id role facts",
        "role",
        "",
    ),
    (
        "PolicyEvaluated",
        r#"{"policy":{"policy_id":"p","policy_version":"1"},"inputs":[],"decision":"allow"}"#,
        "policy policy.policy_id policy.policy_version inputs decision",
        "decision",
        "",
    ),
    (
        "ExceptionRequested",
        r#"{"exception_id":"e","policy":{"policy_id":"p","policy_version":"1"},"reason":"r"}"#,
        "exception_id policy policy.policy_id policy.policy_version reason",
        "",
        "evidence",
    ),
    (
        "ApprovalRecorded",
        r#"{"approval_id":"a","subject":{"subject_type":"exception","subject_id":"e"},"approver":{"actor_type":"person","actor_id":"ann"},"decision":"approved"}"#,
        "approval_id subject subject.subject_type subject.subject_id approver approver.actor_type approver.actor_id decision",
        "decision",
        "evidence reason",
    ),
    (
        "PrecedentCited",
        r#"{"cited_trace_id":"g","reason":"r"}"#,
        "cited_trace_id reason",
        "",
        "similarity_score",
    ),
    (
        "ActionProposed",
        r#"{"action_id":"a","action_type":"t","target_entity":{"entity_type":"a","entity_id":"1"},"target_system":"s","changes":[]}"#,
        "action_id action_type target_entity target_entity.entity_type target_entity.entity_id target_system changes",
        "",
        "",
    ),
    (
        "ActionCommitted",
        r#"{"action_id":"a","status":"success"}"#,
        "action_id status",
        "status",
        "external_reference error",
    ),
    ("TraceFinished", r#"{"outcome":"success"}"#, "outcome", "outcome", "summary"),
];

pub(crate) fn broken_payloads(traces: &mut Traces) -> Vec<Bad> {
    let mut all = Vec::new();
    for (event_type, payload, required, closed, optional) in PAYLOADS {
        let mut put = |field: &str, value: Option<&str>| {
            traces.0 += 1;
            let line = event(&format!("bad-{}", traces.0), 0, event_type, payload);
            let path = format!("payload.{field}");
            all.push(bad(with(&line, &path, value), SCHEMA, &format!("$.{path}")));
        };
        for field in required.split_whitespace() {
            for value in [None, Some("\" \""), Some("7"), Some("null")] {
                put(field, value);
            }
        }
        closed.split_whitespace().for_each(|field| put(field, Some("\"perhaps\"")));
        optional.split_whitespace().for_each(|field| put(field, Some("7")));
    }
    let start = |traces: &mut Traces, extra: &str| {
        traces.start().replace("\"workflow\"", &format!("{extra},\"workflow\""))
    };
    for (extra, path) in [
        (r#""n":1.5"#, "$.payload.n"),
        (r#""n":1e3"#, "$.payload.n"),
        (r#""n":-0.0"#, "$.payload.n"),
        (r#""a":{"b":[1,{"c":2.5}]}"#, "$.payload.a.b[1].c"),
        (r#""s":"\ud800""#, "$.payload.s"),
        (r#""s":["\udc00\ud800"]"#, "$.payload.s[0]"),
    ] {
        all.push(bad(start(traces, extra), SCHEMA, path));
    }
    all
}

pub(crate) fn secrets(traces: &mut Traces) -> Vec<Bad> {
    let mut all = Vec::new();
    let patterns = "Bearer |xoxb-|xoxp-|xoxa-|xoxr-|sk-|ghp_|gho_|ghu_|ghs_|ghr_|-----BEGIN|AKIA|ASIA|api_key=|apikey=|api-key:|password=|passwd=|secret=|token=";
    for (index, pattern) in patterns.split('|').enumerate() {
        let text = if index % 2 == 0 { pattern.to_uppercase() } else { pattern.to_lowercase() };
        let value = format!("[{{\"key\":\"x{text}HIDDEN\"}}]");
        all.push(bad(
            with(&traces.start(), "payload.notes", Some(&value)),
            SECRET,
            "$.payload.notes[0].key",
        ));
    }
    let places = "source.producer_id source.system source.subsystem actor.actor_id idempotency_key correlation_id causation_event_id";
    for path in places.split_whitespace() {
        all.push(bad(
            with(&traces.start(), path, Some("\"token=HIDDEN\"")),
            SECRET,
            &format!("$.{path}"),
        ));
    }
    all.push(bad(
        with(&traces.start(), "tags", Some("[\"a\",\"sk-HIDDEN\"]")),
        SECRET,
        "$.tags[1]",
    ));
    all
}

/// What only the log can refuse; `done` is a finished trace, `open` one with two events.
pub(crate) fn out_of_place(traces: &mut Traces) -> Vec<Bad> {
    let sequence = "event_sequence_invalid";
    let key = |line: String, key: &str| with(&line, "idempotency_key", Some(&format!("\"{key}\"")));
    let mut all = vec![
        bad(observed("done", 2), "conflict", ""),
        bad(key(started("done"), "done again"), "conflict", ""),
        bad(observed("open", 3), sequence, ""),
        bad(key(observed("open", 1), "open again"), sequence, ""),
        bad(observed("new", 0), sequence, ""),
        bad(observed("new", 1), sequence, ""),
        bad(with(&key(started("open"), "second start"), "trace_seq", Some("2")), sequence, ""),
        bad(with(&traces.start(), "event_id", Some("\"open.1\"")), "conflict", ""),
    ];
    for (path, value) in [
        ("payload.title", "\"another\""),
        ("trace_id", "\"other\""),
        ("source.system", "\"other\""),
        ("actor.actor_id", "\"eve\""),
        ("correlation_id", "\"c\""),
        ("causation_event_id", "\"c\""),
        ("schema_version", "2"),
        ("tags", "[\"t\"]"),
    ] {
        all.push(bad(with(&started("open"), path, Some(value)), "idempotency_conflict", ""));
    }
    all
}
