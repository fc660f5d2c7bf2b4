//! Whether the next batch of a lane goes while others are under way: pure.

use super::company::Company;

/// Batches of a lane under way at once: while one is committed, the next is written.
const UNDER_WAY: usize = 2;
/// Events that are worth a transaction of their own while another is under way, however large that is.
const WORTH: usize = 16;

/// The last of the batches under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    pub(super) events: usize,
    /// It is at the database, with nothing behind it, and one may be sent there.
    pub(super) may_be_followed: bool,
}

/// When and how the next batch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goes {
    /// When one under way was answered, or more waits.
    Later,
    /// Behind the last one.
    Behind,
    /// The same, with a turn of company, as those have whose events are as few.
    BehindInTurn,
}

/// How a batch of the `waiting` events goes behind the `last` of so many that are `under_way`.
pub(super) fn goes(under_way: usize, last: Last, waiting: usize) -> Goes {
    let is_worth_it = waiting >= last.events.min(WORTH);
    if under_way >= UNDER_WAY || !last.may_be_followed || !is_worth_it {
        return Goes::Later;
    }
    match (Company::takes(waiting), Company::takes(last.events)) {
        (true, true) => Goes::BehindInTurn,
        // It would hold its turn for as long as the large one takes.
        (true, false) => Goes::Later,
        (false, _) => Goes::Behind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_goes_behind_one_other_that_is_at_the_database_if_it_is_worth_it() {
        let last = |events| Last { events, may_be_followed: true };
        let not_yet = |events| Last { events, may_be_followed: false };
        for (under_way, last, waiting, expected) in [
            (1, last(4), 4, Goes::BehindInTurn),
            (1, last(4), 3, Goes::Later),
            (1, last(100), WORTH, Goes::BehindInTurn),
            (1, last(100), WORTH - 1, Goes::Later),
            (1, last(1_000), 1_000, Goes::Behind),
            (1, last(4), 1_000, Goes::Behind),
            (1, last(1_000), 100, Goes::Later),
            (1, not_yet(4), 1_000, Goes::Later),
            (2, last(4), 1_000, Goes::Later),
        ] {
            assert_eq!(goes(under_way, last, waiting), expected, "{under_way} {last:?} {waiting}");
        }
    }
}
