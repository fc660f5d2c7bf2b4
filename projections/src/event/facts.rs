//! What a payload says, by event type: the shape check and the extraction in one.
//!
//! A payload that yields its [`Facts`] has every required field of its type; the rest of it is kept
//! and never looked at.

use crate::error::{Code, Rejection};
use crate::event::EventType;
use crate::json::{Borrowed, Json, Object, Piece, member_path};

/// An entity as a payload names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity<'t> {
    /// Its type.
    pub entity_type: Piece<'t>,
    /// Its identifier.
    pub entity_id: Piece<'t>,
    /// The system that knows it; read of a primary entity only, free for the others.
    pub system: Option<Piece<'t>>,
}

/// What a payload says that any projection uses, as pieces of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's")]
pub enum Facts<'t> {
    TraceStarted {
        workflow: Piece<'t>,
        title: Piece<'t>,
        primary_entity: Entity<'t>,
    },
    InputObserved {
        input_id: Piece<'t>,
    },
    EntityObserved {
        entity: Entity<'t>,
    },
    PolicyEvaluated {
        policy_id: Piece<'t>,
        policy_version: Piece<'t>,
    },
    ExceptionRequested {
        exception_id: Piece<'t>,
        policy_id: Piece<'t>,
        policy_version: Piece<'t>,
    },
    ApprovalRecorded {
        approver_type: Piece<'t>,
        approver_id: Piece<'t>,
        exception_id: Option<Piece<'t>>,
    },
    PrecedentCited {
        cited_trace_id: Piece<'t>,
    },
    ActionProposed {
        action_id: Piece<'t>,
        target_entity: Entity<'t>,
    },
    ActionCommitted {
        action_id: Piece<'t>,
    },
    TraceFinished {
        outcome: Piece<'t>,
    },
}

impl<'t> Facts<'t> {
    /// Reads a payload of the given type.
    ///
    /// # Errors
    /// `schema_violation` at the first field, in the order of the contract's table, that is missing
    /// or of another shape; `invalid_argument` for a NUL in a string that becomes a column.
    pub fn of(event_type: EventType, payload: &Borrowed<'t>) -> Result<Facts<'t>, Rejection> {
        let Some(members) = payload.as_object() else {
            return Err(Rejection::at(Code::SchemaViolation, "$.payload", "must be an object"));
        };
        let at = Fields { members, place: Place::Payload };
        match event_type {
            EventType::TraceStarted => trace_started(&at),
            EventType::InputObserved => input_observed(&at),
            EventType::EntityObserved => entity_observed(&at),
            EventType::PolicyEvaluated => policy_evaluated(&at),
            EventType::ExceptionRequested => exception_requested(&at),
            EventType::ApprovalRecorded => approval_recorded(&at),
            EventType::PrecedentCited => precedent_cited(&at),
            EventType::ActionProposed => action_proposed(&at),
            EventType::ActionCommitted => action_committed(&at),
            EventType::TraceFinished => trace_finished(&at),
        }
    }
}

fn trace_started<'t>(at: &Fields<'_, 't>) -> Result<Facts<'t>, Rejection> {
    Ok(Facts::TraceStarted {
        workflow: at.column("workflow")?,
        title: at.column("title")?,
        primary_entity: at.primary_entity()?,
    })
}

fn input_observed<'t>(at: &Fields<'_, 't>) -> Result<Facts<'t>, Rejection> {
    let input_id = at.identifier("input_id")?;
    let source = at.object("source")?;
    for field in ["system", "object_type", "object_id"] {
        source.text(field)?;
    }
    at.list("facts")?;
    Ok(Facts::InputObserved { input_id })
}

fn entity_observed<'t>(at: &Fields<'_, 't>) -> Result<Facts<'t>, Rejection> {
    let entity = at.entity("entity")?;
    at.one_of("role", &["primary", "related"])?;
    at.list("facts")?;
    Ok(Facts::EntityObserved { entity })
}

fn policy_evaluated<'t>(at: &Fields<'_, 't>) -> Result<Facts<'t>, Rejection> {
    let (policy_id, policy_version) = at.policy()?;
    at.list("inputs")?;
    at.one_of("decision", &["allow", "deny", "require_exception"])?;
    Ok(Facts::PolicyEvaluated { policy_id, policy_version })
}

fn exception_requested<'t>(at: &Fields<'_, 't>) -> Result<Facts<'t>, Rejection> {
    let exception_id = at.identifier("exception_id")?;
    let (policy_id, policy_version) = at.policy()?;
    at.text("reason")?;
    at.optional_list("evidence")?;
    Ok(Facts::ExceptionRequested { exception_id, policy_id, policy_version })
}

fn approval_recorded<'t>(at: &Fields<'_, 't>) -> Result<Facts<'t>, Rejection> {
    at.text("approval_id")?;
    let subject = at.object("subject")?;
    let is_exception = subject.text("subject_type")? == "exception";
    subject.text("subject_id")?;
    let exception_id = if is_exception { Some(subject.identifier("subject_id")?) } else { None };
    let approver = at.object("approver")?;
    let approver_type = approver.identifier("actor_type")?;
    let approver_id = approver.identifier("actor_id")?;
    at.one_of("decision", &["approved", "rejected"])?;
    at.optional_list("evidence")?;
    at.optional_text("reason")?;
    Ok(Facts::ApprovalRecorded { approver_type, approver_id, exception_id })
}

fn precedent_cited<'t>(at: &Fields<'_, 't>) -> Result<Facts<'t>, Rejection> {
    let cited_trace_id = at.identifier("cited_trace_id")?;
    at.text("reason")?;
    at.optional_text("similarity_score")?;
    Ok(Facts::PrecedentCited { cited_trace_id })
}

fn action_proposed<'t>(at: &Fields<'_, 't>) -> Result<Facts<'t>, Rejection> {
    let action_id = at.identifier("action_id")?;
    at.text("action_type")?;
    let target_entity = at.entity("target_entity")?;
    at.text("target_system")?;
    at.list("changes")?;
    Ok(Facts::ActionProposed { action_id, target_entity })
}

fn action_committed<'t>(at: &Fields<'_, 't>) -> Result<Facts<'t>, Rejection> {
    let action_id = at.identifier("action_id")?;
    at.one_of("status", &["success", "failure", "partial"])?;
    at.optional_text("external_reference")?;
    at.optional_text("error")?;
    Ok(Facts::ActionCommitted { action_id })
}

fn trace_finished<'t>(at: &Fields<'_, 't>) -> Result<Facts<'t>, Rejection> {
    let outcome = at.one_of("outcome", &["success", "failure", "abandoned"])?;
    at.optional_text("summary")?;
    Ok(Facts::TraceFinished { outcome })
}

/// The members of an object and where it stands.
struct Fields<'a, 't> {
    members: &'a Object<Piece<'t>>,
    place: Place<'a>,
}

/// Where an object stands; written down for a refusal alone.
#[derive(Clone, Copy)]
enum Place<'a> {
    Payload,
    Member(&'a Place<'a>, &'a str),
}

impl Place<'_> {
    fn path(self) -> String {
        match self {
            Place::Payload => "$.payload".to_owned(),
            Place::Member(parent, field) => member_path(&parent.path(), field),
        }
    }
}

impl<'t> Fields<'_, 't> {
    fn path_of(&self, field: &str) -> String {
        Place::Member(&self.place, field).path()
    }

    fn wrong(&self, field: &str, expected: impl std::fmt::Display) -> Rejection {
        let found =
            if self.members.contains_key(field) { "is not" } else { "is missing; expected" };
        let path = self.path_of(field);
        Rejection::at(Code::SchemaViolation, &path, format!("{found} {expected}"))
    }

    /// A required string that is not blank.
    fn text(&self, field: &str) -> Result<Piece<'t>, Rejection> {
        match self.members.get(field) {
            Some(Json::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
            _ => Err(self.wrong(field, "a string that is not blank")),
        }
    }

    /// A required string that becomes a column: Postgres text has no NUL.
    fn column(&self, field: &str) -> Result<Piece<'t>, Rejection> {
        let text = self.text(field)?;
        super::envelope::no_nul(&text, || self.path_of(field))?;
        Ok(text)
    }

    /// A required string that becomes part of a key.
    fn identifier(&self, field: &str) -> Result<Piece<'t>, Rejection> {
        let text = self.column(field)?;
        super::envelope::short_enough(&text, || self.path_of(field))?;
        Ok(text)
    }

    fn one_of(&self, field: &str, allowed: &[&str]) -> Result<Piece<'t>, Rejection> {
        let text = self.text(field)?;
        if !allowed.contains(&text.as_ref()) {
            return Err(self.wrong(field, format!("one of {}", allowed.join(", "))));
        }
        Ok(text)
    }

    fn list(&self, field: &str) -> Result<(), Rejection> {
        match self.members.get(field) {
            Some(Json::Array(_)) => Ok(()),
            _ => Err(self.wrong(field, "a list")),
        }
    }

    fn optional_list(&self, field: &str) -> Result<(), Rejection> {
        match self.members.get(field) {
            None | Some(Json::Null | Json::Array(_)) => Ok(()),
            Some(_) => Err(self.wrong(field, "a list or null")),
        }
    }

    fn optional_text(&self, field: &str) -> Result<Option<Piece<'t>>, Rejection> {
        match self.members.get(field) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(field, "a string or null")),
        }
    }

    fn object<'b>(&'b self, field: &'b str) -> Result<Fields<'b, 't>, Rejection> {
        match self.members.get(field) {
            Some(Json::Object(members)) => {
                Ok(Fields { members, place: Place::Member(&self.place, field) })
            }
            _ => Err(self.wrong(field, "an object")),
        }
    }

    fn entity(&self, field: &str) -> Result<Entity<'t>, Rejection> {
        let entity = self.object(field)?;
        Ok(Entity {
            entity_type: entity.identifier("entity_type")?,
            entity_id: entity.identifier("entity_id")?,
            system: None,
        })
    }

    /// The one entity whose system becomes a column.
    fn primary_entity(&self) -> Result<Entity<'t>, Rejection> {
        let entity = self.entity("primary_entity")?;
        let at = self.object("primary_entity")?;
        let system = at.optional_text("system")?;
        if let Some(text) = &system {
            super::envelope::no_nul(text, || at.path_of("system"))?;
        }
        Ok(Entity { system, ..entity })
    }

    fn policy(&self) -> Result<(Piece<'t>, Piece<'t>), Rejection> {
        let policy = self.object("policy")?;
        Ok((policy.identifier("policy_id")?, policy.identifier("policy_version")?))
    }
}
