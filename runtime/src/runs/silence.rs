//! Silence of those who say to be at a run, as far as this daemon has witnessed it.
//!
//! - what passes while the database answers nobody is no silence: the owner may have had his word in
//!   hand all that time. So a look counts from the end of the one before it until it asks itself; what
//!   passes while it waits for answers counts for nothing, nor does anything around one that failed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dg_store::RunKey;
use time::OffsetDateTime;

/// A run whose owner has said nothing for so long has none; he says something every second.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// A run, and when somebody last said to be at it.
pub(super) type Running = (RunKey, OffsetDateTime);

/// How long each run was witnessed to be silent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Silences {
    /// When the look before ended; none if it failed or there was none.
    looked: Option<Instant>,
    of: BTreeMap<RunKey, (OffsetDateTime, Duration)>,
}

impl Silences {
    /// Takes note of what a look has found that asked at this time, and names the runs that have been
    /// silent for long enough. It is under way until it has `ended`.
    pub(super) fn look(&mut self, running: Vec<Running>, asked: Instant) -> Vec<Running> {
        let witnessed = self.looked.take().map_or(Duration::ZERO, |before| asked - before);
        let before = std::mem::take(&mut self.of);
        for (key, seen) in running {
            let silent = match before.get(&key) {
                Some((at, silent)) if *at == seen => *silent + witnessed,
                Some(_) | None => Duration::ZERO,
            };
            self.of.insert(key, (seen, silent));
        }
        let too_long = self.of.iter().filter(|(_, (_, silent))| *silent >= SILENCE);
        too_long.map(|(key, (seen, _))| (key.clone(), *seen)).collect()
    }

    /// The look has all its answers: from here on silence is witnessed.
    pub(super) const fn ended(&mut self, at: Instant) {
        self.looked = Some(at);
    }

    /// A look failed: nothing is witnessed until one has ended.
    pub(super) const fn failed(&mut self) {
        self.looked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(seen: i64) -> Vec<Running> {
        let key = RunKey { tenant_id: "a".into(), run_id: "run".into() };
        vec![(key, OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seen))]
    }

    /// Each look: when it asked and ended, in milliseconds, nothing where it failed; when the owner was
    /// last seen; and whether the run is given up after it.
    type Look = (u64, Option<u64>, i64, bool);

    fn assert_looks(what: &str, looks: &[Look]) {
        let (start, mut silences) = (Instant::now(), Silences::default());
        for &(asked, ended, seen, given_up) in looks {
            let at = |ms| start + Duration::from_millis(ms);
            let named = match ended {
                Some(ended) => {
                    let named = silences.look(running(seen), at(asked));
                    silences.ended(at(ended));
                    named
                }
                None => {
                    silences.failed();
                    Vec::new()
                }
            };
            let expected = if given_up { running(seen) } else { Vec::new() };
            assert_eq!(named, expected, "{what}: at {asked} ms");
        }
    }

    #[test]
    fn only_silence_that_was_witnessed_gives_a_run_up() {
        assert_looks(
            "nobody says anything",
            &[
                (0, Some(0), 7, false),
                (3_000, Some(3_000), 7, false),
                (5_000, Some(5_000), 7, true),
            ],
        );
        assert_looks(
            "a word in between begins anew",
            &[
                (0, Some(0), 7, false),
                (4_000, Some(4_000), 8, false),
                (8_000, Some(8_000), 8, false),
                (9_000, Some(9_000), 8, true),
            ],
        );
        assert_looks(
            "a look that takes long is no silence",
            &[
                (0, Some(0), 7, false),
                (150, Some(7_000), 7, false),
                (7_150, Some(20_000), 7, false),
                (24_700, Some(24_700), 7, true),
            ],
        );
        assert_looks(
            "nor is an outage",
            &[
                (0, Some(0), 7, false),
                (3_000, Some(3_000), 7, false),
                (6_000, None, 7, false),
                (60_000, Some(60_000), 7, false),
                (62_000, Some(62_000), 7, true),
            ],
        );
    }

    #[test]
    fn a_run_that_is_not_running_any_more_is_forgotten() {
        let (start, mut silences) = (Instant::now(), Silences::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        for (seconds, now) in [(0, running(7)), (4, Vec::new()), (8, running(7))] {
            assert_eq!(silences.look(now, at(seconds)), []);
            silences.ended(at(seconds));
        }
    }
}
