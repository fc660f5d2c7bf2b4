//! What waits in a lane, and what the answers of a repeated batch mean: pure.

use std::collections::VecDeque;
use std::sync::Arc;

use dg_projections::admission::Admission;
use dg_projections::event::Line;
use dg_store::Answer;

/// A request that waits for its answers.
#[derive(Debug)]
pub(super) struct Waiting<R, P> {
    pub(super) lines: Arc<[Line]>,
    pub(super) reply: R,
    /// Given back when the request is gone.
    pub(super) place: P,
}

/// What an event takes of memory, roughly.
pub(super) fn bytes_of(line: &Line) -> usize {
    const FIELDS: usize = 1024;
    FIELDS + line.event.payload.len() + line.event.tags.iter().map(String::len).sum::<usize>()
}

/// Requests in the order they came.
#[derive(Debug)]
pub(super) struct Queue<R, P> {
    requests: VecDeque<Waiting<R, P>>,
    events: usize,
}

impl<R, P> Queue<R, P> {
    pub(super) fn new() -> Queue<R, P> {
        Queue { requests: VecDeque::new(), events: 0 }
    }

    pub(super) fn push(&mut self, request: Waiting<R, P>) {
        self.events += request.lines.len();
        self.requests.push_back(request);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// How many events wait.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// The next batch: whole requests, up to `most` events; one request goes whatever its size.
    pub(super) fn take(&mut self, most: usize) -> Vec<Waiting<R, P>> {
        let mut batch: Vec<Waiting<R, P>> = Vec::new();
        let mut taken = 0;
        while let Some(next) = self.requests.front() {
            if !batch.is_empty() && taken + next.lines.len() > most {
                break;
            }
            taken += next.lines.len();
            batch.extend(self.requests.pop_front());
        }
        self.events -= taken;
        batch
    }
}

/// The answers of a batch that was sent twice, since the first commit broke off: what the first
/// attempt was about to insert, and the second found under that very number, was inserted by it.
pub(super) fn truthful(first: &[Answer], second: Vec<Answer>) -> Vec<Answer> {
    let answer = |(first, second): (&Answer, Answer)| match (first, &second) {
        (Ok(Admission::Insert { log_seq }), Ok(Admission::Reused { log_seq: found, .. }))
            if log_seq == found =>
        {
            Ok(Admission::Insert { log_seq: *log_seq })
        }
        _ => second,
    };
    first.iter().zip(second).map(answer).collect()
}

#[cfg(test)]
mod tests {
    use dg_projections::event::{Keeping, parse_line};

    use super::*;

    fn request(events: usize, reply: usize) -> Waiting<usize, ()> {
        let text = r#"{"event_id":"e","trace_id":"t","trace_seq":0,"event_type":"TraceFinished","occurred_at":"2026-01-01T00:00:00Z","source":{"producer_id":"p","system":"s"},"actor":{"actor_type":"agent","actor_id":"a"},"idempotency_key":"k","payload":{"outcome":"success"}}"#;
        let line = parse_line(text, "t", Keeping::NewNumbers).unwrap();
        Waiting { lines: vec![line; events].into(), reply, place: () }
    }

    #[test]
    fn a_batch_is_whole_requests_in_order_up_to_its_size() {
        for (sizes, most, batches) in [
            (vec![1, 1, 1], 10, vec![vec![0, 1, 2]]),
            (vec![4, 4, 4], 8, vec![vec![0, 1], vec![2]]),
            (vec![20, 1], 8, vec![vec![0], vec![1]]),
            (vec![1, 20, 1], 8, vec![vec![0], vec![1], vec![2]]),
            (vec![8], 8, vec![vec![0]]),
        ] {
            let mut queue = Queue::new();
            for (reply, size) in sizes.iter().enumerate() {
                queue.push(request(*size, reply));
            }
            for batch in batches {
                let taken: Vec<usize> =
                    queue.take(most).iter().map(|request| request.reply).collect();
                assert_eq!(taken, batch, "{sizes:?} by {most}");
            }
            assert!(queue.is_empty() && queue.events() == 0);
        }
    }

    #[test]
    fn what_the_first_attempt_wrote_counts_as_inserted_and_nothing_else() {
        let insert = |log_seq| Ok(Admission::Insert { log_seq });
        let reused = |log_seq| Ok(Admission::Reused { log_seq, event_id: "e".to_owned() });
        let first = [insert(7), insert(8), reused(3), insert(9)];
        // The first two were committed; the last was not, and somebody else has 9 now.
        let second = vec![reused(7), reused(8), reused(3), insert(10)];
        assert_eq!(truthful(&first, second), [insert(7), insert(8), reused(3), insert(10)]);
        let elsewhere = vec![reused(4), insert(8), reused(3), insert(9)];
        assert_eq!(truthful(&first, elsewhere)[0], reused(4));
    }
}
