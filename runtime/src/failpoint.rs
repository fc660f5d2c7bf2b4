//! Fail points: places where a test makes something go wrong. Without the feature `failpoints` there
//! is no code of them in the binary.
//!
//! `DECISIONGRAPH_TEST_FAILPOINTS` is a list `point[/who]=action[*times][@hit]` separated by `;`, where
//! the action is `panic` or `abort` and begins with that hit of the point, the first if none is said;
//! `who` narrows it to one worker, such as `worker_apply_before/acme/context_graph/0=panic*1`.

/// The places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// A worker is about to apply a page.
    WorkerApplyBefore,
    /// The gate is about to handle a message.
    GateHandleBefore,
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

#[cfg(feature = "failpoints")]
pub(crate) use armed::hit;

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Point;

    struct Armed {
        place: String,
        /// Whether the process ends, without a word; otherwise whoever is there panics.
        aborts: bool,
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
        let aborts = action == "abort";
        (aborts || action == "panic").then(|| Armed {
            place: place.to_owned(),
            aborts,
            spared,
            left,
        })
    }

    /// Panics or ends the process if a test has armed this place for this one.
    pub(crate) fn hit(point: Point, who: &str) {
        let name = point.name();
        let here = format!("{name}/{who}");
        for armed in ARMED.iter().filter(|armed| armed.place == name || armed.place == here) {
            let count_down = |count: &AtomicU64| {
                count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            };
            if count_down(&armed.spared).is_ok() {
                continue;
            }
            let take = count_down(&armed.left);
            if take.is_ok() && armed.aborts {
                std::process::abort();
            }
            assert!(take.is_err(), "fail point {here}");
        }
    }
}
