#!/usr/bin/env python3
"""Writes the sample log beside this file, one JSON Lines file a tenant.

    make_sample.py            write the files
    make_sample.py --check    compare them with what would be written; ends with 1 when they differ
    make_sample.py --counts   write nothing, print what the story holds

Python 3.11 or later, standard library only; no clock, no network: the same bytes every time. Each
event is checked against the contract before anything is written.
"""

import json
import sys
from collections import Counter
from datetime import timedelta, timezone
from pathlib import Path

sys.dont_write_bytecode = True

from story import aurora, harbor, northwind  # noqa: E402
from story.check import check_log  # noqa: E402

HERE = Path(__file__).resolve().parent


def envelope(tenant, event):
    """The event as a client would send it."""
    zone = timezone(timedelta(hours=tenant.zone(event["at"])))
    by = event["by"]
    human = by["actor_type"] != "agent"
    kind = "".join("-" + c.lower() if c.isupper() else c for c in event["kind"]).strip("-")
    return {
        "tenant_id": tenant.tenant_id,
        "trace_id": event["trace_id"],
        "trace_seq": event["trace_seq"],
        "event_type": event["kind"],
        "occurred_at": event["at"].replace(tzinfo=zone).isoformat().replace("+00:00", "Z"),
        "event_id": event["id"],
        "actor": {"actor_type": by["actor_type"], "actor_id": by["actor_id"]},
        "source": {"producer_id": "console" if human else by["actor_id"],
                   "system": event["system"], "subsystem": "web" if human else None},
        "idempotency_key": "%s:%d:%s" % (event["trace_id"], event["trace_seq"], kind),
        "correlation_id": event["correlation"],
        "causation_event_id": event["cause"],
        "schema_version": 1,
        "tags": event["tags"],
        "payload": event["payload"],
    }


def write_lines(events):
    return "".join(json.dumps(e, ensure_ascii=False, separators=(",", ":")) + "\n" for e in events)


def count(tenant_id, events, size):
    """What the README says about a tenant."""
    kinds = Counter(e["event_type"] for e in events)
    outcomes = Counter(e["payload"]["outcome"] for e in events if e["event_type"] == "TraceFinished")
    started = kinds["TraceStarted"]
    print("%s: %d events, %d bytes, %d traces, %d open" % (
        tenant_id, len(events), size, started, started - kinds["TraceFinished"]))
    print("  ", dict(sorted(kinds.items())), dict(sorted(outcomes.items())))


def main(argument=None):
    same = True
    for story in (northwind, harbor, aurora):
        tenant = story.tell()
        events = [envelope(tenant, event) for event in tenant.events()]
        check_log(events)
        data = write_lines(events).encode()
        path = HERE / (tenant.tenant_id + ".jsonl")
        if argument == "--counts":
            count(tenant.tenant_id, events, len(data))
        elif argument == "--check":
            same = path.read_bytes() == data and same
        else:
            path.write_bytes(data)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
