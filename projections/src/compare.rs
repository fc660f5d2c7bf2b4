//! Holding stored rows against the model's: the first difference, named so that an operator can
//! find it.

use std::collections::BTreeMap;
use std::fmt;

use crate::json::{Json, Object};
use crate::rows::Row;

/// Where the tables and the model part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The table, or `dg_event_log`.
    pub table: String,
    /// The row's key within the tenant.
    pub key: String,
    /// The column; `None` when the whole row is missing or too many.
    pub field: Option<String>,
    /// What the log says it is.
    pub expected: Option<String>,
    /// What stands there.
    pub found: Option<String>,
    /// The event that owns the row.
    pub log_seq: Option<i64>,
    /// Its identifier, where the log still knows it.
    pub event_id: Option<String>,
}

impl Difference {
    /// The difference as JSON, one member a field.
    pub fn to_json(&self) -> Json {
        let text = |value: &Option<String>| Json::from(value.clone());
        Json::Object(Object::from([
            ("table".to_owned(), Json::from(self.table.as_str())),
            ("key".to_owned(), Json::from(self.key.as_str())),
            ("field".to_owned(), text(&self.field)),
            ("expected".to_owned(), text(&self.expected)),
            ("found".to_owned(), text(&self.found)),
            ("log_seq".to_owned(), self.log_seq.map_or(Json::Null, Json::from)),
            ("event_id".to_owned(), text(&self.event_id)),
        ]))
    }
}

impl Difference {
    /// The difference that [`Difference::to_json`] told; what is missing is empty.
    pub fn from_json(value: &Json) -> Difference {
        let text = |key| value.get(key).and_then(Json::as_str).map(str::to_owned);
        Difference {
            table: text("table").unwrap_or_default(),
            key: text("key").unwrap_or_default(),
            field: text("field"),
            expected: text("expected"),
            found: text("found"),
            log_seq: value.get("log_seq").and_then(Json::as_i64),
            event_id: text("event_id"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<String>| {
            value.as_ref().map_or_else(|| "nothing".to_owned(), |text| format!("'{text}'"))
        };
        write!(f, "{} '{}'", self.table, self.key)?;
        if let Some(field) = &self.field {
            write!(f, " field {field}")?;
        }
        write!(f, ": expected {}, found {}", show(&self.expected), show(&self.found))?;
        match (&self.event_id, self.log_seq) {
            (Some(event_id), Some(log_seq)) => write!(f, " (event {event_id}, log_seq {log_seq})"),
            (None, Some(log_seq)) => write!(f, " (log_seq {log_seq})"),
            _ => Ok(()),
        }
    }
}

/// Compares stored rows, coming in key order, with a table of the model.
#[derive(Debug)]
pub struct Comparison<'a, R> {
    expected: std::iter::Peekable<std::collections::btree_map::Iter<'a, String, R>>,
    compared: u64,
}

impl<'a, R: Row> Comparison<'a, R> {
    /// Before the first row.
    pub fn new(table: &'a BTreeMap<String, R>) -> Comparison<'a, R> {
        Comparison { expected: table.iter().peekable(), compared: 0 }
    }

    /// How many rows were equal so far.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// The next stored row.
    ///
    /// # Errors
    /// The first difference: a row of the model that did not come, a row that should not be there,
    /// or a field.
    pub fn row(&mut self, found: &R) -> Result<(), Box<Difference>> {
        match self.expected.peek() {
            Some((key, row)) if key.as_str() < found.key() => Err(missing(*row)),
            Some((key, row)) if key.as_str() == found.key() => {
                same(*row, found)?;
                self.expected.next();
                self.compared += 1;
                Ok(())
            }
            _ => Err(unexpected(found)),
        }
    }

    /// No more stored rows.
    ///
    /// # Errors
    /// A row of the model that did not come.
    pub fn finish(mut self) -> Result<u64, Box<Difference>> {
        match self.expected.next() {
            Some((_, row)) => Err(missing(row)),
            None => Ok(self.compared),
        }
    }
}

fn difference<R: Row>(row: &R) -> Difference {
    Difference {
        table: R::TABLE.to_owned(),
        key: row.key().to_owned(),
        field: None,
        expected: None,
        found: None,
        log_seq: Some(row.log_seq()),
        event_id: None,
    }
}

fn missing<R: Row>(row: &R) -> Box<Difference> {
    Box::new(Difference { expected: Some("a row".to_owned()), ..difference(row) })
}

fn unexpected<R: Row>(row: &R) -> Box<Difference> {
    Box::new(Difference { found: Some("a row".to_owned()), ..difference(row) })
}

fn same<R: Row>(expected: &R, found: &R) -> Result<(), Box<Difference>> {
    if expected == found {
        return Ok(());
    }
    let pairs = expected.fields().into_iter().zip(found.fields());
    let differing = pairs.into_iter().find(|(expected, found)| expected != found);
    Err(Box::new(match differing {
        Some(((field, expected_value), (_, found_value))) => Difference {
            field: Some(field.to_owned()),
            expected: expected_value.map(|value| value.into_owned()),
            found: found_value.map(|value| value.into_owned()),
            ..difference(expected)
        },
        None => difference(expected),
    }))
}
