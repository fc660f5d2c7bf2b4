//! How a supervisor begins: its children, how they are started, its limits.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::life::{Parent, StartFuture};
use super::report::Observer;
use super::spec::{ChildSpec, Flags, Key, SpecError, Strategy};

/// Starts a child, by [`Parent::spawn`]: called anew for each of its lives. What it spawned is killed
/// again if it fails, panics, or takes longer than [`Init::start_timeout`]; but it must not block its
/// thread.
pub type StartFn = Arc<dyn Fn(Parent) -> StartFuture + Send + Sync>;

/// Starts the instance of a name: the template of a dynamic supervisor.
pub type TemplateFn<K> = Arc<dyn Fn(K, Parent) -> StartFuture + Send + Sync>;

/// What the children of a dynamic supervisor have in common.
#[derive(Clone)]
pub struct Template<K> {
    /// The specification of the instance of a name.
    pub spec: Arc<dyn Fn(K) -> ChildSpec<K> + Send + Sync>,
    /// How an instance is started.
    pub start: TemplateFn<K>,
}

/// How a supervisor begins.
pub struct Init<K> {
    /// Its name in reports and logs.
    pub name: String,
    /// Its flags.
    pub flags: Flags,
    /// Its children, in start order.
    pub children: Vec<(ChildSpec<K>, StartFn)>,
    /// Its template, if it is dynamic.
    pub template: Option<Template<K>>,
    /// The longest that one start may take; that of a supervisor includes all its children's.
    pub start_timeout: Duration,
    /// How long a killed child may take to end before it counts as a zombie.
    pub kill_grace: Duration,
    /// Told of everything.
    pub observer: Option<Observer<K>>,
}

impl<K: Key> Init<K> {
    /// A supervisor of these children.
    pub fn new(name: &str, flags: Flags, children: Vec<(ChildSpec<K>, StartFn)>) -> Init<K> {
        Init {
            name: name.to_owned(),
            flags,
            children,
            template: None,
            start_timeout: Duration::from_secs(30),
            kill_grace: Duration::from_secs(5),
            observer: None,
        }
    }

    /// A supervisor of instances of a template, without any at first.
    pub fn dynamic(name: &str, flags: Flags, template: Template<K>) -> Init<K> {
        let flags = Flags { strategy: Strategy::SimpleOneForOne, ..flags };
        Init { template: Some(template), ..Init::new(name, flags, Vec::new()) }
    }

    /// Whether flags, children and template go together.
    pub(super) fn check(&self) -> Result<(), SpecError> {
        let dynamic = self.flags.strategy == Strategy::SimpleOneForOne;
        if dynamic != self.template.is_some() || (dynamic && !self.children.is_empty()) {
            return Err(SpecError::Template);
        }
        self.flags.check()?;
        let mut names = HashSet::new();
        for (spec, _) in &self.children {
            spec.check(&self.flags)?;
            if !names.insert(&spec.id) {
                return Err(SpecError::Duplicate(spec.id.to_string()));
            }
        }
        Ok(())
    }
}

/// The reason why a supervisor did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to start child {id}: {reason}")]
pub struct FailedToStartChild {
    /// The child.
    pub id: String,
    /// What its start ended with.
    pub reason: String,
}
