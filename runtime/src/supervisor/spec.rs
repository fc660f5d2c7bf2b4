//! What a supervisor is told: flags and child specifications, in OTP's words and with its defaults.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

/// Names a child within its supervisor.
pub trait Key: Clone + Eq + Hash + Ord + fmt::Debug + fmt::Display + Send + Sync + 'static {}

impl<K: Clone + Eq + Hash + Ord + fmt::Debug + fmt::Display + Send + Sync + 'static> Key for K {}

/// Which children are restarted when one of them ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// That one.
    #[default]
    OneForOne,
    /// All of them.
    OneForAll,
    /// That one and those started after it.
    RestForOne,
    /// That one; all children are instances of one template, started on demand.
    SimpleOneForOne,
}

/// Whether the end of significant children ends the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoShutdown {
    /// Never.
    #[default]
    Never,
    /// The first one that ends by itself.
    AnySignificant,
    /// The last one that ends by itself.
    AllSignificant,
}

/// A supervisor's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// Which children are restarted together.
    pub strategy: Strategy,
    /// Restarts that are tolerated within `period`.
    pub intensity: usize,
    /// The window in which restarts are counted.
    pub period: Duration,
    /// Whether the end of significant children ends the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// How many children a dynamic supervisor may have, those being restarted included.
    pub max_children: usize,
}

impl Default for Flags {
    /// OTP's: `one_for_one`, one restart within five seconds, no automatic shutdown.
    fn default() -> Flags {
        Flags {
            strategy: Strategy::default(),
            intensity: 1,
            period: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::default(),
            max_children: usize::MAX,
        }
    }
}

impl Flags {
    /// Whether they make sense.
    ///
    /// # Errors
    /// `Period`.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.period.is_zero() { Err(SpecError::Period) } else { Ok(()) }
    }
}

/// When a child that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// When it ended abnormally.
    Transient,
    /// Never; its specification is forgotten.
    Temporary,
}

/// How a child is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// It is not asked.
    BrutalKill,
    /// It is killed if it has not ended by then.
    Timeout(Duration),
    /// It may take as long as it needs: for supervisors.
    Infinity,
}

/// Only counted: how a child ends is told by its shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "OTP's words")]
pub enum ChildType {
    #[default]
    Worker,
    Supervisor,
}

/// A child's specification, but for how it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSpec<K> {
    /// Its name within the supervisor.
    pub id: K,
    /// When it is started again.
    pub restart: Restart,
    /// How it is asked to end.
    pub shutdown: Shutdown,
    /// Whether its end counts for `auto_shutdown`.
    pub significant: bool,
    /// What it is.
    pub child_type: ChildType,
}

impl<K> ChildSpec<K> {
    /// A permanent worker with five seconds to end.
    pub fn worker(id: K) -> ChildSpec<K> {
        ChildSpec {
            id,
            restart: Restart::Permanent,
            shutdown: Shutdown::Timeout(Duration::from_secs(5)),
            significant: false,
            child_type: ChildType::Worker,
        }
    }

    /// A permanent supervisor, which may take as long as its children need.
    pub fn supervisor(id: K) -> ChildSpec<K> {
        let child_type = ChildType::Supervisor;
        ChildSpec { shutdown: Shutdown::Infinity, child_type, ..ChildSpec::worker(id) }
    }

    /// The same with another restart type.
    #[must_use]
    pub fn restart(self, restart: Restart) -> ChildSpec<K> {
        ChildSpec { restart, ..self }
    }

    /// The same with another shutdown.
    #[must_use]
    pub fn shutdown(self, shutdown: Shutdown) -> ChildSpec<K> {
        ChildSpec { shutdown, ..self }
    }

    /// The same, significant.
    #[must_use]
    pub fn significant(self) -> ChildSpec<K> {
        ChildSpec { significant: true, ..self }
    }

    /// Whether the child may end like that by itself; a permanent one never may.
    pub fn ends_orderly(&self, exit: &Exit) -> bool {
        self.restart != Restart::Permanent && !exit.is_abnormal()
    }
}

impl<K: Key> ChildSpec<K> {
    /// Whether it makes sense under these flags.
    ///
    /// # Errors
    /// `Significant`.
    pub fn check(&self, flags: &Flags) -> Result<(), SpecError> {
        let refuse = |why| Err(SpecError::Significant(self.id.to_string(), why));
        match (self.significant, self.restart, flags.auto_shutdown) {
            (true, Restart::Permanent, _) => refuse("it is permanent"),
            (true, _, AutoShutdown::Never) => refuse("the supervisor's auto_shutdown is never"),
            _ => Ok(()),
        }
    }
}

/// Why a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Of itself, its work done.
    Normal,
    /// It was asked to, or ended as if it had been.
    Shutdown,
    /// The same with something to say.
    ShutdownWith(String),
    /// It was killed.
    Killed,
    /// Anything else: an error or a panic.
    Crash(String),
}

impl Exit {
    /// Whether a transient child is started again after it.
    pub fn is_abnormal(&self) -> bool {
        matches!(self, Exit::Killed | Exit::Crash(_))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Normal => f.write_str("normal"),
            Exit::Shutdown => f.write_str("shutdown"),
            Exit::ShutdownWith(what) => write!(f, "shutdown: {what}"),
            Exit::Killed => f.write_str("killed"),
            Exit::Crash(what) => f.write_str(what),
        }
    }
}

/// A specification that no supervisor takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Two children of one name.
    #[error("duplicate child name {0}")]
    Duplicate(String),
    /// A significant child that is permanent, or under a supervisor that never shuts down by itself.
    #[error("child {0} cannot be significant: {1}")]
    Significant(String, &'static str),
    /// A dynamic supervisor without a template or with children of its own, or a static one with a
    /// template.
    #[error("a dynamic supervisor has a template and no children of its own, others no template")]
    Template,
    /// A supervisor that counts restarts within no time.
    #[error("the period must be longer than nothing")]
    Period,
}
