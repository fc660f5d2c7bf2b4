//! What a worker that catches up knows of the nodes of its graph: pure.
//!
//! A node that it has written itself is owned by an earlier event and need not be written again. The others
//! are mostly new, and cost half when they are taken to be. Where that is wrong the work was in vain: so the
//! first page of a row is never taken so, since most of what is shared is met there, and whoever was wrong
//! does without for a while, twice as long each time.
//!
//! It is told by a part of SHA-256 that two nodes do not share, and forgets what was long ago: such a node may
//! be met again, which costs time and nothing else.

use std::collections::{BTreeMap, HashSet};

use dg_projections::hash::Hash;
use dg_projections::rows::NodeRow;

/// Nodes of late, and as many before them.
const REMEMBERED: usize = 1 << 16;
/// Batches that are merged after one that was not new, at most.
const LONGEST: u32 = 64;

/// What is known while pages follow each other.
#[derive(Debug)]
pub(super) struct Written {
    /// How many of late are remembered.
    most: usize,
    late: HashSet<u128>,
    before: HashSet<u128>,
    /// Batches that are merged.
    cautious: u32,
    /// How many that were, the last time.
    penalty: u32,
}

impl Written {
    /// Nothing yet; one of so many that are at work together.
    pub(super) fn nothing(among: usize) -> Written {
        let (late, before) = (HashSet::new(), HashSet::new());
        Written { most: REMEMBERED / among, late, before, cautious: 1, penalty: 0 }
    }

    /// Takes out what was written before; what the others are known by.
    pub(super) fn leave_out(&mut self, nodes: &mut BTreeMap<String, NodeRow>) -> Vec<u128> {
        let mut new = Vec::with_capacity(nodes.len());
        nodes.retain(|node_id, _| {
            let mark = mark(node_id);
            let known = self.knows(mark);
            if !known {
                new.push(mark);
            }
            !known
        });
        new
    }

    fn knows(&mut self, mark: u128) -> bool {
        if self.late.contains(&mark) {
            return true;
        }
        let known = self.before.remove(&mark);
        if known {
            self.remember(mark);
        }
        known
    }

    fn remember(&mut self, mark: u128) {
        if self.late.len() >= self.most {
            self.before = std::mem::take(&mut self.late);
        }
        self.late.insert(mark);
    }

    /// Whether the next nodes are to be taken for new.
    pub(super) fn are_taken_for_new(&self) -> bool {
        self.cautious == 0
    }

    /// They were not.
    pub(super) fn was_wrong(&mut self) {
        self.penalty = (self.penalty * 2).clamp(1, LONGEST);
        self.cautious = self.penalty + 1; // with the batch itself
    }

    /// They are in.
    pub(super) fn wrote(&mut self, new: Vec<u128>) {
        match self.cautious {
            0 => self.penalty = 0,
            _ => self.cautious -= 1,
        }
        new.into_iter().for_each(|mark| self.remember(mark));
    }
}

fn mark(node_id: &str) -> u128 {
    let hash = Hash::of(node_id.as_bytes()).0;
    let mut mark = [0; 16];
    mark.copy_from_slice(&hash[..16]);
    u128::from_le_bytes(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: impl IntoIterator<Item = usize>) -> BTreeMap<String, NodeRow> {
        let row = |id: usize| {
            let node_id = format!("n{id}");
            let text = String::new;
            let row = NodeRow {
                node_id: node_id.clone(),
                node_type: text(),
                trace_id: text(),
                log_seq: 1,
                created_at: text(),
                attrs: text(),
            };
            (node_id, row)
        };
        ids.into_iter().map(row).collect()
    }

    fn write(written: &mut Written, ids: impl IntoIterator<Item = usize>) -> Vec<String> {
        let mut nodes = nodes(ids);
        let new = written.leave_out(&mut nodes);
        assert_eq!(new.len(), nodes.len());
        written.wrote(new);
        nodes.into_keys().collect()
    }

    #[test]
    fn a_node_is_written_once_while_it_is_remembered() {
        let mut written = Written::nothing(1);
        assert_eq!(write(&mut written, [1, 2]), ["n1", "n2"]);
        assert_eq!(write(&mut written, [2, 3]), ["n3"]);
        // What is not in is not known.
        written.leave_out(&mut nodes([4]));
        assert_eq!(write(&mut written, [4]), ["n4"]);
        // One that is met now and then is kept; the others are forgotten in time.
        for batch in 1..6 {
            let ids = batch * REMEMBERED..(batch + 1) * REMEMBERED - 1;
            assert_eq!(write(&mut written, ids).len(), REMEMBERED - 1);
            assert_eq!(write(&mut written, [3]), Vec::<String>::new(), "{batch}");
        }
        assert_eq!(write(&mut written, [1, 2, 3]), ["n1", "n2"]);
        assert!(written.late.len() + written.before.len() <= 2 * REMEMBERED);
    }

    #[test]
    fn being_wrong_again_and_again_costs_ever_less_often() {
        let mut written = Written::nothing(1);
        assert!(!written.are_taken_for_new(), "the first page meets what is shared");
        written.wrote(Vec::new());
        let mut merged = Vec::new();
        for _ in 0..8 {
            assert!(written.are_taken_for_new());
            written.was_wrong();
            let mut batches = 0;
            while !written.are_taken_for_new() {
                written.wrote(Vec::new());
                batches += 1;
            }
            merged.push(batches - 1);
        }
        assert_eq!(merged, [1, 2, 4, 8, 16, 32, 64, 64]);
        written.wrote(Vec::new());
        written.was_wrong();
        assert_eq!(written.cautious, 2);
    }
}
