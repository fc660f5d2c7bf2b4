"""The contract's rules for an event and for a log, written down again: nothing invalid is written."""

import re
from datetime import datetime

REQUIRED = {
    "TraceStarted": "workflow title primary_entity.entity_type primary_entity.entity_id",
    "InputObserved": "input_id source.system source.object_type source.object_id facts[]",
    "EntityObserved": "entity.entity_type entity.entity_id role=primary|related facts[]",
    "PolicyEvaluated": "policy.policy_id policy.policy_version inputs[] decision=allow|deny|require_exception",
    "ExceptionRequested": "exception_id policy.policy_id policy.policy_version reason evidence[]",
    "ApprovalRecorded": "approval_id subject.subject_type subject.subject_id approver.actor_type"
    " approver.actor_id decision=approved|rejected",
    "PrecedentCited": "cited_trace_id reason similarity_score",
    "ActionProposed": "action_id action_type target_entity.entity_type target_entity.entity_id target_system changes[]",
    "ActionCommitted": "action_id status=success|failure|partial",
    "TraceFinished": "outcome=success|failure|abandoned summary",
}
ACTORS = ("agent", "person", "role", "system")
GUARD = (
    "bearer ,xoxb-,xoxp-,xoxa-,xoxr-,sk-,ghp_,gho_,ghu_,ghs_,ghr_,-----begin,akia,asia,"
    "api_key=,apikey=,api-key:,password=,passwd=,secret=,token="
).split(",")
PRIVATE = re.compile(r"@|https?:|\+\d|\d{8}")  # addresses, telephone and card numbers


def strings(value):
    """All string values at any depth; numbers must be whole."""
    if isinstance(value, dict):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)
    elif isinstance(value, str):
        yield value
    else:
        assert value is None or type(value) is int, "not a string or whole number: %r" % (value,)


def is_text(value):
    return isinstance(value, str) and value.strip() == value != ""


def check_payload(kind, payload):
    for rule in REQUIRED[kind].split():
        path, _, closed = rule.partition("=")
        value = payload
        for name in path.removesuffix("[]").split("."):
            value = value[name]
        assert isinstance(value, list) if path.endswith("[]") else is_text(value), (kind, path, value)
        assert not closed or value in closed.split("|"), (kind, path, value)


def check_event(event):
    for name in ("tenant_id", "event_id", "trace_id", "occurred_at"):
        assert is_text(event[name]), name
    assert datetime.fromisoformat(event["occurred_at"]).tzinfo, event["occurred_at"]
    assert is_text(event["source"]["producer_id"]) and is_text(event["source"]["system"])
    assert is_text(event["actor"]["actor_id"]) and event["actor"]["actor_type"] in ACTORS
    assert 1 <= len(event["idempotency_key"].encode()) <= 200 and event["schema_version"] == 1
    assert all(is_text(tag) for tag in event["tags"])
    check_payload(event["event_type"], event["payload"])
    for text in strings(event):
        found = [pattern for pattern in GUARD if pattern in text.lower()]
        assert not found and "\0" not in text, (found, text)
    for text in strings(event["payload"]):
        assert not PRIVATE.search(text), text


def check_log(events):
    """One tenant's events in order: sequences, unique keys, causes and precedents."""
    next_seq, seen, keys, policies, finished = {}, set(), set(), {}, {}
    times = [datetime.fromisoformat(e["occurred_at"]) for e in events]
    assert times == sorted(times), "time goes back"
    for event in events:
        check_event(event)
        trace, kind, payload = event["trace_id"], event["event_type"], event["payload"]
        assert event["trace_seq"] == next_seq.get(trace, 0) and trace not in finished
        assert (kind == "TraceStarted") == (event["trace_seq"] == 0)
        next_seq[trace] = event["trace_seq"] + 1
        key = (event["source"]["producer_id"], event["idempotency_key"])
        assert event["event_id"] not in seen and key not in keys
        assert event["causation_event_id"] in seen or event["trace_seq"] == 0
        seen.add(event["event_id"]), keys.add(key)
        if kind == "PolicyEvaluated":
            policies.setdefault(trace, set()).add(payload["policy"]["policy_id"])
        if kind == "PrecedentCited":
            cited = payload["cited_trace_id"]
            assert cited in finished and policies[cited] & policies[trace], (trace, cited)
        if kind == "TraceFinished":
            finished[trace] = payload["outcome"]
    assert len(finished) < len(next_seq), "some traces stay open"
