//! Who is taken to rest, who leaves, and who is next.

use dg_projections::projection::Projection;

use super::*;
use crate::worker::WorkerKey;

const IDLE_STOP: Duration = Duration::from_secs(600);
const TURN: Duration = Duration::from_secs(10);

fn worker(status: &'static str, synced: Option<OffsetDateTime>) -> WorkerSnapshot {
    let (tenant_id, projection) = ("a".to_owned(), Projection::ContextGraph);
    let key = WorkerKey { tenant_id, projection, partition: 0 };
    let is_busy = ["starting", "catching_up"].contains(&status);
    WorkerSnapshot { status, last_sync_at: synced, is_busy, ..WorkerSnapshot::new(key) }
}

#[test]
fn at_rest_is_who_is_idle_and_has_looked_since_it_was_woken() {
    let now = OffsetDateTime::now_utc();
    let (early, late) = (Some(now - TURN), Some(now));
    let at_rest = Standing::AtRest(now);
    for (first, second, woken, expected) in [
        (("idle", late), ("idle", early), None, at_rest),
        (("idle", late), ("idle", early), early, at_rest),
        (("idle", late), ("idle", early), late, Standing::AtWork),
        (("idle", late), ("idle", None), None, Standing::AtWork),
        (("idle", late), ("catching_up", early), None, Standing::AtWork),
        (("idle", late), ("starting", None), None, Standing::AtWork),
        (("failed", None), ("starting", None), None, Standing::AtWork),
        (("failed", None), ("failed", None), late, Standing::Failed),
        (("idle", late), ("failed", None), late, Standing::Failed),
        (("idle", early), ("failed", None), late, Standing::AtWork),
        (("failed", None), ("retrying", late), late, Standing::Stuck),
        (("idle", late), ("retrying", late), None, Standing::Stuck),
        (("idle", late), ("paused", late), None, Standing::Stuck),
        (("paused", late), ("catching_up", late), None, Standing::AtWork),
        (("idle", late), ("stopping", late), None, Standing::Kept),
    ] {
        let workers = [worker(first.0, first.1), worker(second.0, second.1)];
        let found = standing(&workers, 2, woken);
        assert_eq!(found, expected, "{first:?} {second:?} {woken:?}");
        assert_eq!(standing(&workers, 3, woken), Standing::Kept, "one is between two lives");
        let busy = workers.map(|worker| WorkerSnapshot { is_busy: true, ..worker });
        let kept = matches!(expected, Standing::Kept);
        let while_busy = if kept { Standing::Kept } else { Standing::AtWork };
        assert_eq!(standing(&busy, 2, woken), while_busy, "nobody is stopped who is writing");
    }
}

/// Each tenant by its name, how it stands, and for how many seconds it has its place.
fn leave(seated: &[(&str, Standing, u64)], wanted: usize, now: OffsetDateTime) -> String {
    let seated = seated.iter().map(|(tenant, standing, seconds)| Seated {
        tenant: (*tenant).to_owned(),
        standing: *standing,
        since: now - Duration::from_secs(*seconds),
    });
    let Leave { now, soon } = who_leaves(seated.collect(), wanted, (IDLE_STOP, TURN), now);
    format!("{} | {}", now.join(" "), soon.join(" "))
}

#[test]
fn who_rests_longest_leaves_first_then_the_failed_then_who_has_had_a_turn_and_the_stuck_last() {
    let now = OffsetDateTime::now_utc();
    let rests = |seconds| Standing::AtRest(now - Duration::from_secs(seconds));
    let seated = [
        ("stuck", Standing::Stuck, 3_000),
        ("failed", Standing::Failed, 1),
        ("kept", Standing::Kept, 3_000),
        ("new", Standing::AtWork, 9),
        ("old", Standing::AtWork, 10),
        ("older", Standing::AtWork, 11),
        ("rested", rests(1), 12),
        ("settling", rests(0), 12),
        ("rests", rests(7), 1),
        ("slept", rests(600), 700),
    ];
    for (wanted, expected) in [
        (0, "slept | "),
        (1, "slept | "),
        (2, "slept rests | "),
        (3, "slept rests rested | "),
        (4, "slept rests rested failed | "),
        (5, "slept rests rested failed | older"),
        (6, "slept rests rested failed | older old"),
        (7, "slept rests rested failed stuck | older old"),
        (100, "slept rests rested failed stuck | older old"),
    ] {
        assert_eq!(leave(&seated, wanted, now), expected, "{wanted}");
    }
}

#[test]
fn who_waits_has_one_place_in_the_order_of_asking() {
    let mut queue = Queue::default();
    for tenant in ["b", "a", "b"] {
        queue.put(tenant);
    }
    assert_eq!((queue.len(), queue.first()), (2, Some(&"b".to_owned())));
    queue.remove_first();
    queue.put("b");
    assert_eq!(queue.order, ["a", "b"]);
    queue.put_first("b");
    queue.put_first("c");
    assert_eq!((queue.len(), queue.has("c")), (3, true));
    assert_eq!(queue.order, ["c", "b", "a"]);
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_in_its_place() {
    let now = OffsetDateTime::now_utc();
    for (since, expected) in [(now - TURN, true), (now - TURN / 2, false), (now + TURN, true)] {
        assert_eq!(lasts(since, TURN, now), expected);
    }
}
