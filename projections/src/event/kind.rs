//! The closed vocabularies of the envelope.

use std::fmt;

/// The ten event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub enum EventType {
    TraceStarted,
    InputObserved,
    EntityObserved,
    PolicyEvaluated,
    ExceptionRequested,
    ApprovalRecorded,
    PrecedentCited,
    ActionProposed,
    ActionCommitted,
    TraceFinished,
}

impl EventType {
    /// All of them, in the order of the contract.
    pub const ALL: [EventType; 10] = [
        EventType::TraceStarted,
        EventType::InputObserved,
        EventType::EntityObserved,
        EventType::PolicyEvaluated,
        EventType::ExceptionRequested,
        EventType::ApprovalRecorded,
        EventType::PrecedentCited,
        EventType::ActionProposed,
        EventType::ActionCommitted,
        EventType::TraceFinished,
    ];

    /// The name in the envelope.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventType::TraceStarted => "TraceStarted",
            EventType::InputObserved => "InputObserved",
            EventType::EntityObserved => "EntityObserved",
            EventType::PolicyEvaluated => "PolicyEvaluated",
            EventType::ExceptionRequested => "ExceptionRequested",
            EventType::ApprovalRecorded => "ApprovalRecorded",
            EventType::PrecedentCited => "PrecedentCited",
            EventType::ActionProposed => "ActionProposed",
            EventType::ActionCommitted => "ActionCommitted",
            EventType::TraceFinished => "TraceFinished",
        }
    }

    /// The type of a name.
    pub fn from_name(name: &str) -> Option<EventType> {
        EventType::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kinds of actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub enum ActorType {
    Agent,
    Person,
    Role,
    System,
}

impl ActorType {
    /// All of them, in the order of the contract.
    pub const ALL: [ActorType; 4] =
        [ActorType::Agent, ActorType::Person, ActorType::Role, ActorType::System];

    /// The name in the envelope.
    pub const fn as_str(self) -> &'static str {
        match self {
            ActorType::Agent => "agent",
            ActorType::Person => "person",
            ActorType::Role => "role",
            ActorType::System => "system",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<ActorType> {
        ActorType::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}
