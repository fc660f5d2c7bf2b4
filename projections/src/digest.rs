//! The four digests: SHA-256 over digest JSON, streamed row by row in key order.
//!
//! Digest JSON is canonical JSON whose strings are escaped to ASCII (the Python reference decides;
//! the Elixir port differs). Rows must come in the byte order of their keys: the writers check it,
//! since a database with another collation would give a wrong digest without a sign.

use sha2::{Digest as _, Sha256};

use crate::hash::Hash;
use crate::json::ascii_string;
use crate::rows::{EdgeRow, NodeRow, PrecedentRow, Row, SummaryRow};

/// A row that came out of key order: a digest over it would mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{table}: row '{key}' came after '{previous}'; rows must come in byte order of their keys")]
pub struct OutOfOrder {
    table: &'static str,
    key: String,
    previous: String,
}

/// A row that enters a digest.
pub trait DigestRow: Row {
    /// Appends the row's digest JSON: an object with sorted keys.
    fn write(&self, out: &mut String);
}

/// A digest in the making over one list of rows.
#[derive(Debug, Clone, Default)]
struct List {
    hasher: Sha256,
    previous: Option<String>,
    buffer: String,
}

/// Hashing is quickest in pieces of some size.
const FLUSH_BYTES: usize = 16 * 1024;

impl List {
    fn text(&mut self, text: &str) {
        self.buffer.push_str(text);
    }

    fn row<R: DigestRow>(&mut self, row: &R) -> Result<(), OutOfOrder> {
        match &mut self.previous {
            Some(previous) if previous.as_bytes() >= row.key().as_bytes() => {
                let (key, previous) = (row.key().to_owned(), previous.clone());
                return Err(OutOfOrder { table: R::TABLE, key, previous });
            }
            Some(previous) => {
                previous.clear();
                previous.push_str(row.key());
                self.buffer.push(',');
            }
            none => *none = Some(row.key().to_owned()),
        }
        row.write(&mut self.buffer);
        if self.buffer.len() >= FLUSH_BYTES {
            self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.hasher.update(self.buffer.as_bytes());
        self.buffer.clear();
    }

    fn finish(mut self) -> Hash {
        self.flush();
        Hash(self.hasher.finalize().into())
    }
}

/// `{"edges":[...],"nodes":[...]}`: all edges, then all nodes.
#[derive(Debug, Clone)]
pub struct GraphDigest {
    list: List,
}

impl GraphDigest {
    /// Ready for the first edge.
    pub fn new() -> GraphDigest {
        let mut list = List::default();
        list.text("{\"edges\":[");
        GraphDigest { list }
    }

    /// The next edge by `edge_id`.
    ///
    /// # Errors
    /// If it is not the next.
    pub fn edge(&mut self, row: &EdgeRow) -> Result<(), OutOfOrder> {
        self.list.row(row)
    }

    /// No more edges: ready for the first node.
    pub fn nodes(mut self) -> GraphNodesDigest {
        self.list.text("],\"nodes\":[");
        self.list.previous = None;
        GraphNodesDigest { list: self.list }
    }
}

impl Default for GraphDigest {
    fn default() -> GraphDigest {
        GraphDigest::new()
    }
}

/// A [`GraphDigest`] whose edges are in.
#[derive(Debug, Clone)]
pub struct GraphNodesDigest {
    list: List,
}

impl GraphNodesDigest {
    /// The next node by `node_id`.
    ///
    /// # Errors
    /// If it is not the next.
    pub fn node(&mut self, row: &NodeRow) -> Result<(), OutOfOrder> {
        self.list.row(row)
    }

    /// The digest.
    pub fn finish(mut self) -> Hash {
        self.list.text("]}");
        self.list.finish()
    }
}

/// A JSON list of rows in key order.
#[derive(Debug, Clone)]
pub struct ListDigest<R> {
    list: List,
    rows: std::marker::PhantomData<R>,
}

impl<R: DigestRow> ListDigest<R> {
    /// Ready for the first row.
    pub fn new() -> ListDigest<R> {
        let mut list = List::default();
        list.text("[");
        ListDigest { list, rows: std::marker::PhantomData }
    }

    /// The next row by key.
    ///
    /// # Errors
    /// If it is not the next.
    pub fn row(&mut self, row: &R) -> Result<(), OutOfOrder> {
        self.list.row(row)
    }

    /// The digest.
    pub fn finish(mut self) -> Hash {
        self.list.text("]");
        self.list.finish()
    }
}

impl<R: DigestRow> Default for ListDigest<R> {
    fn default() -> ListDigest<R> {
        ListDigest::new()
    }
}

/// `trace_summary`, by trace.
pub type SummaryDigest = ListDigest<SummaryRow>;

/// `precedent_index`, by source event.
pub type PrecedentDigest = ListDigest<PrecedentRow>;

/// `full_projection`: over the text of the other three.
pub fn full(graph: Hash, summary: Hash, precedent: Hash) -> Hash {
    Hash::of(format!("{graph}:{summary}:{precedent}").as_bytes())
}

/// Writes the members of one object; the caller keeps the keys sorted.
struct Members<'a> {
    out: &'a mut String,
    first: bool,
}

impl Members<'_> {
    fn write(out: &mut String, members: impl FnOnce(&mut Members<'_>)) {
        out.push('{');
        members(&mut Members { out, first: true });
        out.push('}');
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        ascii_string(value, self.out);
    }

    fn optional(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.raw(key, "null"),
        }
    }

    fn number(&mut self, key: &str, value: i64) {
        self.raw(key, &value.to_string());
    }

    fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.out.push_str(json);
    }
}

impl DigestRow for NodeRow {
    fn write(&self, out: &mut String) {
        Members::write(out, |object| {
            object.raw("attrs", &self.attrs);
            object.text("created_at", &self.created_at);
            object.number("log_seq", self.log_seq);
            object.text("node_id", &self.node_id);
            object.text("node_type", &self.node_type);
            object.text("trace_id", &self.trace_id);
        });
    }
}

impl DigestRow for EdgeRow {
    fn write(&self, out: &mut String) {
        Members::write(out, |object| {
            object.raw("attrs", &self.attrs);
            object.text("created_at", &self.created_at);
            object.text("edge_id", &self.edge_id);
            object.text("edge_type", &self.edge_type);
            object.text("from_node_id", &self.from_node_id);
            object.number("log_seq", self.log_seq);
            object.text("to_node_id", &self.to_node_id);
            object.text("trace_id", &self.trace_id);
        });
    }
}

impl DigestRow for SummaryRow {
    fn write(&self, out: &mut String) {
        Members::write(out, |object| {
            object.number("event_count", self.event_count);
            object.optional("finished_at", self.finished_at.as_deref());
            object.number("last_log_seq", self.last_log_seq);
            object.optional("outcome", self.outcome.as_deref());
            object.text("primary_entity_id", &self.primary_entity_id);
            object.text("primary_entity_type", &self.primary_entity_type);
            object.text("started_at", &self.started_at);
            object.text("title", &self.title);
            object.text("trace_id", &self.trace_id);
            object.text("workflow", &self.workflow);
        });
    }
}

impl DigestRow for PrecedentRow {
    fn write(&self, out: &mut String) {
        Members::write(out, |object| {
            object.optional("exception_id", self.exception_id.as_deref());
            object.number("log_seq", self.log_seq);
            object.text("policy_id", &self.policy_id);
            object.text("policy_version", &self.policy_version);
            object.text("primary_entity_id", &self.primary_entity_id);
            object.optional("primary_entity_system", self.primary_entity_system.as_deref());
            object.text("primary_entity_type", &self.primary_entity_type);
            object.text("source_event_id", &self.source_event_id);
            object.text("trace_id", &self.trace_id);
        });
    }
}
