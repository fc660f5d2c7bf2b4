//! The management calls: what may be asked of a supervisor, and OTP's answers, as pure functions.

use std::time::Duration;

use super::restart::{ChildState, Children, Incarnation};
use super::spec::{ChildSpec, ChildType, Key, SpecError, Strategy};

/// A call that the supervisor refuses; the words are OTP's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The child runs already: this is its present life.
    #[error("already_started")]
    AlreadyStarted(Incarnation),
    /// The child is known but does not run.
    #[error("already_present")]
    AlreadyPresent,
    /// The child runs.
    #[error("running")]
    Running,
    /// The child is being restarted.
    #[error("restarting")]
    Restarting,
    /// There is no such child.
    #[error("not_found")]
    NotFound,
    /// A dynamic supervisor does not take this call.
    #[error("simple_one_for_one")]
    SimpleOneForOne,
    /// There are as many children as there may be.
    #[error("max_children")]
    MaxChildren,
    /// The child did not start, and why.
    #[error("start_failed: {0}")]
    StartFailed(String),
    /// The specification makes no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// A line of `which_children`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildInfo<K> {
    /// The child.
    pub id: K,
    /// Where it is.
    pub state: ChildState,
    /// What it is.
    pub child_type: ChildType,
    /// How many restarts it caused.
    pub restarts: u64,
    /// How long its present life has lasted; told by the supervisor, which knows a clock.
    pub age: Option<Duration>,
}

/// The answer of `count_children`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Specifications.
    pub specs: usize,
    /// Children that run.
    pub active: usize,
    /// Supervisors among all children, running or not.
    pub supervisors: usize,
    /// Workers among all children, running or not.
    pub workers: usize,
}

impl<K: Key> Children<K> {
    fn is_dynamic(&self) -> bool {
        self.flags().strategy == Strategy::SimpleOneForOne
    }

    /// Whether a child may be added and started now.
    ///
    /// # Errors
    /// `AlreadyStarted` or `AlreadyPresent` for a name that is taken, `MaxChildren` when full, or
    /// what is wrong with the specification.
    pub fn may_start(&self, spec: &ChildSpec<K>) -> Result<(), Refused> {
        spec.check(self.flags())?;
        match self.get(&spec.id).map(|child| child.state) {
            Some(ChildState::Running(life)) => Err(Refused::AlreadyStarted(life)),
            Some(ChildState::Stopped | ChildState::Restarting) => Err(Refused::AlreadyPresent),
            None if self.len() >= self.flags().max_children => Err(Refused::MaxChildren),
            None => Ok(()),
        }
    }

    /// Whether `terminate_child` finds its child.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn may_terminate(&self, id: &K) -> Result<(), Refused> {
        self.get(id).map(drop).ok_or(Refused::NotFound)
    }

    /// Whether a stopped child may be started again.
    ///
    /// # Errors
    /// `Running`, `Restarting`, `NotFound`, or `SimpleOneForOne`.
    pub fn may_restart(&self, id: &K) -> Result<(), Refused> {
        self.must_be_stopped(id)
    }

    /// Whether a stopped child may be forgotten.
    ///
    /// # Errors
    /// `Running`, `Restarting`, `NotFound`, or `SimpleOneForOne`.
    pub fn may_delete(&self, id: &K) -> Result<(), Refused> {
        self.must_be_stopped(id)
    }

    fn must_be_stopped(&self, id: &K) -> Result<(), Refused> {
        if self.is_dynamic() {
            return Err(Refused::SimpleOneForOne);
        }
        match self.get(id).map(|child| child.state) {
            Some(ChildState::Stopped) => Ok(()),
            Some(ChildState::Running(_)) => Err(Refused::Running),
            Some(ChildState::Restarting) => Err(Refused::Restarting),
            None => Err(Refused::NotFound),
        }
    }

    /// All children in start order.
    pub fn which(&self) -> Vec<ChildInfo<K>> {
        let info = |child: &super::restart::Child<K>| ChildInfo {
            id: child.spec.id.clone(),
            state: child.state,
            child_type: child.spec.child_type,
            restarts: child.restarts,
            age: None,
        };
        self.iter().map(info).collect()
    }

    /// How many of what.
    pub fn count(&self) -> Counts {
        let supervisors =
            self.iter().filter(|child| child.spec.child_type == ChildType::Supervisor).count();
        Counts {
            // A dynamic supervisor has one specification, the template.
            specs: if self.is_dynamic() { 1 } else { self.len() },
            active: self
                .iter()
                .filter(|child| matches!(child.state, ChildState::Running(_)))
                .count(),
            supervisors,
            workers: self.len() - supervisors,
        }
    }
}
