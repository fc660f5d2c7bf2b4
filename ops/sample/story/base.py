"""What the three stories are told with: dice, a working calendar, traces, tenants.

Everything follows from fixed seeds: every Python from 3.11 on writes the same bytes.
"""

from datetime import datetime, timedelta

BEGIN = datetime(2026, 9, 7, 8, 0)  # a Monday; times are local to the tenant
END = datetime(2026, 11, 27, 17, 0)  # what would happen later has not happened: those traces stay open
DAYS = 60  # working days of ten hours between the two
MASK = (1 << 64) - 1


class Dice:
    """SplitMix64, written out: the library's generator may change between versions."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return ((z ^ (z >> 31)) * bound) >> 64

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def pick(self, items):
        return items[self.below(len(items))]

    def chance(self, percent):
        return self.below(100) < percent


def working_moment(seconds):
    """The local time after so many working seconds since BEGIN."""
    day, second = divmod(seconds, 36_000)
    week, weekday = divmod(day, 5)
    return BEGIN + timedelta(days=7 * week + weekday, seconds=second)


def next_working(at):
    """The same time, or the next working morning a few minutes past eight."""
    if at.hour >= 18:
        at = (at + timedelta(days=1)).replace(hour=8, minute=3 + at.minute // 2)
    elif at.hour < 8:
        at = at.replace(hour=8, minute=3 + at.minute // 2)
    while at.weekday() >= 5:
        at += timedelta(days=1)
    return at


def person(actor_id, name, title):
    return {"actor_type": "person", "actor_id": actor_id, "name": name, "title": title}


def agent(actor_id):
    return {"actor_type": "agent", "actor_id": actor_id}


def facts(**values):
    return [{"key": key, "value": value} for key, value in values.items()]


class Policy:
    """A policy whose version depends on the day: [(first day, version, limit), ...]."""

    def __init__(self, policy_id, *versions):
        self.policy_id, self.versions = policy_id, versions

    def at(self, when):
        """Version and limit in force."""
        return [v[1:] for v in self.versions if v[0] <= when.strftime("%m-%d")][-1]

    def ref(self, when):
        return {"policy_id": self.policy_id, "policy_version": self.at(when)[0]}


class Tenant:
    def __init__(self, tenant_id, zone, system, bot, seed):
        self.tenant_id, self.zone, self.system, self.bot = tenant_id, zone, system, bot
        self.dice, self.traces = Dice(seed), []

    def schedule(self, count, pattern, first=1):
        """Trace ids with their starts, spread over the working time, in order."""
        span = DAYS * 36_000 // count
        for number in range(count):
            yield pattern % (number + first), working_moment(number * span + self.dice.below(span))

    def precedents(self, policy_id, before, outcome="success"):
        """Finished traces in which an exception to the policy was decided."""
        return [
            trace for trace in self.traces
            if policy_id in trace.exceptions and trace.outcome == outcome
            and trace.events[-1]["at"] < before
        ]

    def events(self):
        """All events that happened by END, in the order in which they did."""
        happened = [e for trace in self.traces for e in trace.events]
        return sorted(happened, key=lambda e: (e["at"], e["trace_id"], e["trace_seq"]))


class Trace:
    """One decision as it unfolds; each method appends one event."""

    answered = False  # told by hand: every request gets its answer

    def __init__(self, tenant, trace_id, start, correlation=None, tags=()):
        self.tenant, self.id, self.now = tenant, trace_id, start
        self.correlation, self.tags = correlation, list(tags)
        self.events, self.exceptions, self.outcome = [], {}, None
        tenant.traces.append(self)

    def say(self, kind, payload, by=None, minutes=(0, 2), cause=None):
        dice = self.tenant.dice
        by = by or self.tenant.bot
        if self.events:
            self.now += timedelta(seconds=dice.between(60 * minutes[0] + 4, 60 * minutes[1] + 9))
        if by["actor_type"] != "agent" or minutes[1] > 300:  # people decide, sign and answer by day
            self.now = next_working(self.now)
        if self.now > END:
            return None
        event = {
            "at": self.now, "kind": kind, "trace_id": self.id, "trace_seq": len(self.events), "by": by,
            "cause": cause or (self.events[-1]["id"] if self.events else None),
            "id": "%s.%02d" % (self.id, len(self.events)), "payload": payload,
            "correlation": self.correlation, "tags": self.tags, "system": self.tenant.system,
        }
        self.events.append(event)
        return event["id"]

    def start(self, workflow, title, entity, by=None):
        kind, entity_id, system, _ = entity
        primary = {"entity_type": kind, "entity_id": entity_id, "system": system}
        self.say("TraceStarted", {"workflow": workflow, "title": title, "primary_entity": primary}, by)

    def entity(self, entity, role, **values):
        kind, entity_id, system, name = entity
        what = {"entity_type": kind, "entity_id": entity_id, "system": system, "name": name}
        self.say("EntityObserved", {"entity": what, "role": role, "facts": facts(**values)})

    def input(self, input_id, source, **values):
        system, kind, object_id = source
        what = {"system": system, "object_type": kind, "object_id": object_id}
        self.say("InputObserved", {"input_id": input_id, "source": what, "facts": facts(**values)})

    def evaluate(self, policy, inputs, decision, why, **more):
        said = {"policy": policy.ref(self.now), "inputs": inputs, "decision": decision}
        self.say("PolicyEvaluated", {**said, "explanation": {"summary": why}, **more})

    def ask(self, policy, exception_id, reason, by=None, minutes=(5, 90), evidence=()):
        said = {"exception_id": exception_id, "policy": policy.ref(self.now), "reason": reason}
        asked = self.say("ExceptionRequested", {**said, "evidence": list(evidence)}, by, minutes)
        if asked:
            self.exceptions[policy.policy_id] = exception_id
        return asked

    def cite(self, trace_id, reason, score, by=None):
        said = {"cited_trace_id": trace_id, "reason": reason, "similarity_score": score}
        self.say("PrecedentCited", said, by, (1, 20))

    def decide(self, subject, decision, by, reason, minutes=(40, 1_500), cause=None):
        if not self.answered and self.tenant.dice.chance(4):
            self.now = END + timedelta(days=1)  # nobody answers: the trace stays open
        number = 1 + sum(e["kind"] == "ApprovalRecorded" for e in self.events)
        said = {
            "approval_id": "apr-%s-%d" % (self.id, number),
            "subject": {"subject_type": subject[0], "subject_id": subject[1]},
            "approver": by, "decision": decision, "reason": reason,
        }
        self.say("ApprovalRecorded", said, by, minutes, cause)

    def propose(self, action_id, action_type, target, system, changes, by=None):
        said = {
            "action_id": action_id, "action_type": action_type, "target_system": system,
            "target_entity": {"entity_type": target[0], "entity_id": target[1], "system": target[2]},
            "changes": [{"field": f, "from": a, "to": b} for f, a, b in changes],
        }
        return self.say("ActionProposed", said, by, (1, 15))

    def commit(self, action_id, status="success", reference=None, error=None, minutes=(1, 9)):
        more = {key: v for key, v in (("external_reference", reference), ("error", error)) if v}
        self.say("ActionCommitted", {"action_id": action_id, "status": status, **more}, None, minutes)

    def finish(self, outcome, summary, minutes=(1, 30)):
        if self.say("TraceFinished", {"outcome": outcome, "summary": summary}, None, minutes):
            self.outcome = outcome
