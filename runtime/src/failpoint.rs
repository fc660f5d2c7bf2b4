//! Fail points: places where a test makes something go wrong. Without the feature `failpoints` there
//! is no code of them in the binary.
//!
//! `DECISIONGRAPH_TEST_FAILPOINTS` is a list `point[/who]=action[*times][@hit]` separated by `;`, where
//! the action is `panic`, `abort` or `freeze` and begins with that hit of the point, the first if none
//! is said; `who` narrows it to one worker, such as `worker_apply_before/acme/context_graph/0=panic*1`.
//! Only where somebody waits can one freeze: at [`freeze`], where the other actions do nothing.

/// The places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// A worker is about to apply a page.
    WorkerApplyBefore,
    /// The gate is about to handle a message.
    GateHandleBefore,
    /// A supervisor is about to answer a call.
    SupervisorHandleBefore,
    /// A rebuild has the generation that it builds.
    RunOpenAfter,
    /// A run has applied a page.
    RunApplyAfter,
    /// A run has written down how far it is.
    RunCheckpointAfter,
    /// A rebuild is about to compare.
    RunCompareBefore,
    /// It has, and has written down what it came to.
    RunCompareAfter,
    /// It is about to give readers what was built.
    RunSwitchBefore,
    /// They have it.
    RunSwitchAfter,
    /// A run is about to write down how it ended.
    RunEndBefore,
}

#[cfg(feature = "failpoints")]
impl Point {
    const fn name(self) -> &'static str {
        match self {
            Point::WorkerApplyBefore => "worker_apply_before",
            Point::GateHandleBefore => "gate_handle_before",
            Point::SupervisorHandleBefore => "supervisor_handle_before",
            Point::RunOpenAfter => "run_open_after",
            Point::RunApplyAfter => "run_apply_after",
            Point::RunCheckpointAfter => "run_checkpoint_after",
            Point::RunCompareBefore => "run_compare_before",
            Point::RunCompareAfter => "run_compare_after",
            Point::RunSwitchBefore => "run_switch_before",
            Point::RunSwitchAfter => "run_switch_after",
            Point::RunEndBefore => "run_end_before",
        }
    }
}

#[cfg(not(feature = "failpoints"))]
pub(crate) fn hit(_: Point, _: &str) {}

#[cfg(not(feature = "failpoints"))]
pub(crate) async fn freeze(_: Point, _: &str) {}

#[cfg(feature = "failpoints")]
pub(crate) use armed::{freeze, hit};

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Point;

    #[derive(Clone, Copy, PartialEq)]
    enum Action {
        Panic,
        /// The process ends, without a word.
        Abort,
        /// Whoever is there never goes on.
        Freeze,
    }

    struct Armed {
        place: String,
        action: Action,
        /// Hits that pass before.
        spared: AtomicU64,
        left: AtomicU64,
    }

    static ARMED: LazyLock<Vec<Armed>> = LazyLock::new(|| {
        let text = std::env::var("DECISIONGRAPH_TEST_FAILPOINTS").unwrap_or_default();
        text.split(';').filter_map(parse).collect()
    });

    fn parse(one: &str) -> Option<Armed> {
        let (place, action) = one.trim().split_once('=')?;
        let (action, hit) = action.split_once('@').unwrap_or((action, "1"));
        let spared = AtomicU64::new(hit.parse::<u64>().ok()?.checked_sub(1)?);
        let (action, times) = action.split_once('*').unwrap_or((action, "18446744073709551615"));
        let left = AtomicU64::new(times.parse().ok()?);
        let action = match action {
            "panic" => Action::Panic,
            "abort" => Action::Abort,
            "freeze" => Action::Freeze,
            _ => return None,
        };
        Some(Armed { place: place.to_owned(), action, spared, left })
    }

    impl Armed {
        fn is_here(&self, name: &str, who: &str) -> bool {
            let rest = self.place.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('/') == Some(who))
        }

        /// Counts a hit; whether this one is meant.
        fn takes(&self) -> bool {
            let count_down = |count: &AtomicU64| {
                let less = |left: u64| left.checked_sub(1);
                count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
            };
            !count_down(&self.spared) && count_down(&self.left)
        }
    }

    /// Panics or ends the process if a test has armed this place for this one.
    pub(crate) fn hit(point: Point, who: &str) {
        let name = point.name();
        for armed in ARMED.iter().filter(|armed| armed.is_here(name, who)) {
            match armed.action {
                Action::Abort if armed.takes() => std::process::abort(),
                Action::Panic => assert!(!armed.takes(), "fail point {name}/{who}"),
                Action::Abort | Action::Freeze => {}
            }
        }
    }

    /// Never comes back if a test has armed this place for this one.
    pub(crate) async fn freeze(point: Point, who: &str) {
        let mut here = ARMED.iter().filter(|armed| armed.is_here(point.name(), who));
        if here.any(|armed| armed.action == Action::Freeze && armed.takes()) {
            std::future::pending::<()>().await;
        }
    }
}
