//! What each event says, as canonical JSON of a given size.
//!
//! Bodies are written with their keys in order and no white space. The last key, `writeup`, sorts
//! after every other one and is filled with words until the payload has the size asked for.
//! In the standard workload each event makes one new node and one edge on average: things are new
//! with every event, while policies and agents are few and shared.

use dg_projections::event::EventType;

use super::Plan;
use super::ids::{Purpose, hex};
use super::line::{put, trace_id};
use super::pattern::{ACTION_SEQ, EXCEPTION_SEQ, INPUT_SEQ};
use super::rng::{Rng, key};
use super::schedule::Place;

const CONTENT_PURPOSE: u64 = 0x7E87;
const STORY_PURPOSE: u64 = 0x5707;

const POLICIES: [&str; 4] =
    ["discount-limit", "credit-exposure", "refund-window", "delivery-waiver"];
const SEGMENTS: [&str; 4] = ["retail", "wholesale", "public", "partner"];

/// Words that cannot spell a pattern of the content guard, whatever their order.
const WORDS: [&str; 32] = [
    "margin",
    "quarter",
    "renewal",
    "volume",
    "delivery",
    "invoice",
    "customer",
    "account",
    "discount",
    "limit",
    "review",
    "approved",
    "earlier",
    "similar",
    "because",
    "within",
    "budget",
    "contract",
    "annual",
    "order",
    "regional",
    "manager",
    "agreed",
    "before",
    "price",
    "condition",
    "payment",
    "deadline",
    "product",
    "bundle",
    "target",
    "figure",
];

/// Appends the payload of the event at `place`.
pub(super) fn write(out: &mut String, plan: &Plan, place: &Place, kind: EventType) {
    let start = out.len();
    let mut event = Event::new(plan, place);
    out.push('{');
    event.put_body(out, kind);
    out.push_str(r#","writeup":""#);
    let missing = plan.payload_bytes.saturating_sub(out.len() - start + r#""}"#.len());
    put_words(out, missing, &mut event.rng);
    out.push_str(r#""}"#);
}

/// Exactly `bytes` bytes of words.
fn put_words(out: &mut String, bytes: usize, rng: &mut Rng) {
    let end = out.len() + bytes;
    let mut dice = 0;
    while out.len() < end {
        dice = if dice == 0 { rng.next() } else { dice };
        out.push_str(WORDS[(dice % 32) as usize]);
        out.push(' ');
        dice >>= 5;
    }
    out.truncate(end);
}

/// What all events of a trace agree on.
struct Story {
    policy: &'static str,
    version: u64,
    rejected: bool,
}

/// One event and what its payload is drawn from.
struct Event<'a> {
    plan: &'a Plan,
    place: &'a Place,
    rng: Rng,
}

impl<'a> Event<'a> {
    fn new(plan: &'a Plan, place: &'a Place) -> Self {
        let number = place.event(plan, place.seq);
        Self { plan, place, rng: Rng::new(key(plan.seed, CONTENT_PURPOSE) ^ number) }
    }

    fn story(&self) -> Story {
        let mut rng = Rng::new(key(self.plan.seed, STORY_PURPOSE) ^ self.place.trace);
        Story {
            policy: POLICIES[rng.below(4) as usize],
            version: 1 + rng.below(3),
            rejected: rng.below(10) == 0,
        }
    }

    /// The thing that event `seq` of this trace introduces.
    fn thing(&self, seq: u32) -> String {
        hex(self.plan.seed, Purpose::Thing, self.place.event(self.plan, seq))
    }

    /// A second thing of this event.
    fn other(&self) -> String {
        hex(self.plan.seed, Purpose::Other, self.place.event(self.plan, self.place.seq))
    }

    /// Appends the payload's keys and values, without the braces and the padding.
    fn put_body(&mut self, out: &mut String, kind: EventType) {
        match kind {
            EventType::TraceStarted => self.started(out),
            EventType::InputObserved => self.input(out),
            EventType::EntityObserved => self.entity(out),
            EventType::PolicyEvaluated => self.policy(out),
            EventType::ExceptionRequested => self.exception(out),
            EventType::ApprovalRecorded => self.approval(out),
            EventType::PrecedentCited => self.precedent(out),
            EventType::ActionProposed => self.proposal(out),
            EventType::ActionCommitted => self.commit(out),
            EventType::TraceFinished => self.finished(out),
        }
    }

    fn started(&self, out: &mut String) {
        let order = self.thing(self.place.seq);
        let number = self.place.trace + 1;
        put(
            out,
            format_args!(
                r#""primary_entity":{{"entity_id":"{order}","entity_type":"order","system":"orders"}},"#
            ),
        );
        put(out, format_args!(r#""title":"Terms of order {number}","workflow":"order_terms""#));
    }

    fn entity(&mut self, out: &mut String) {
        let customer = self.thing(self.place.seq);
        let segment = SEGMENTS[self.rng.below(4) as usize];
        put(
            out,
            format_args!(
                r#""entity":{{"entity_id":"{customer}","entity_type":"customer","system":"crm"}},"#
            ),
        );
        put(
            out,
            format_args!(
                r#""facts":[{{"key":"segment","value":{{"type":"string","value":"{segment}"}}}}],"#
            ),
        );
        out.push_str(r#""role":"related""#);
    }

    fn input(&mut self, out: &mut String) {
        let (input, object) = (self.thing(self.place.seq), self.other());
        let cents = 10_000 + self.rng.below(90_000_000);
        put(
            out,
            format_args!(
                r#""facts":[{{"key":"order_value_cents","value":{{"type":"int","value":"{cents}"}}}}],"#
            ),
        );
        put(out, format_args!(r#""input_id":"{input}","source":{{"object_id":"{object}","#));
        out.push_str(r#""object_type":"quote","system":"orders"}"#);
    }

    fn policy(&self, out: &mut String) {
        let standard = self.place.seq < EXCEPTION_SEQ;
        let decision = if standard { "require_exception" } else { "allow" };
        let input = self.thing(INPUT_SEQ);
        put(out, format_args!(r#""decision":"{decision}","inputs":["{input}"],"#));
        self.policy_used(out);
    }

    fn exception(&self, out: &mut String) {
        put(out, format_args!(r#""exception_id":"{}","#, self.thing(EXCEPTION_SEQ)));
        self.policy_used(out);
        out.push_str(r#","reason":"The order needs terms beyond the limit""#);
    }

    fn policy_used(&self, out: &mut String) {
        let Story { policy, version, .. } = self.story();
        put(
            out,
            format_args!(r#""policy":{{"policy_id":"{policy}","policy_version":"{version}"}}"#),
        );
    }

    fn approval(&self, out: &mut String) {
        let (approval, approver) = (self.thing(self.place.seq), self.other());
        let decision = if self.story().rejected { "rejected" } else { "approved" };
        let exception = self.thing(EXCEPTION_SEQ);
        put(
            out,
            format_args!(
                r#""approval_id":"{approval}","approver":{{"actor_id":"{approver}","actor_type":"person"}},"#
            ),
        );
        put(
            out,
            format_args!(
                r#""decision":"{decision}","subject":{{"subject_id":"{exception}","subject_type":"exception"}}"#
            ),
        );
    }

    fn precedent(&mut self, out: &mut String) {
        let Place { first_trace, trace, .. } = *self.place;
        let cited = trace_id(self.plan, first_trace + self.rng.below(trace - first_trace));
        put(
            out,
            format_args!(r#""cited_trace_id":"{cited}","reason":"Similar terms were agreed""#),
        );
    }

    fn proposal(&mut self, out: &mut String) {
        let (action, invoice) = (self.thing(ACTION_SEQ), self.other());
        let percent = 5 + self.rng.below(30);
        put(out, format_args!(r#""action_id":"{action}","action_type":"apply_discount","#));
        put(out, format_args!(r#""changes":[{{"field":"discount_percent","to":{percent}}}],"#));
        put(
            out,
            format_args!(r#""target_entity":{{"entity_id":"{invoice}","entity_type":"invoice"}},"#),
        );
        out.push_str(r#""target_system":"billing""#);
    }

    fn commit(&self, out: &mut String) {
        put(out, format_args!(r#""action_id":"{}","status":"success""#, self.thing(ACTION_SEQ)));
    }

    fn finished(&self, out: &mut String) {
        let outcome = if self.story().rejected { "abandoned" } else { "success" };
        put(out, format_args!(r#""outcome":"{outcome}","summary":"The terms were decided""#));
    }
}
