//! The one statement of a commit.
//!
//! ```text
//! WITH standing AS (rows that the change goes on from)
//!      moved AS (the cursor, if it is still where the batch was read from and all of those are there)
//!      resolved AS (the failures that it passes), nodes AS (...), ... WHERE EXISTS (SELECT FROM moved)
//! ```
//! Its text depends on what kinds of rows there are, and is prepared once for each.

use std::fmt::Write as _;
use std::sync::LazyLock;

use tokio_postgres::types::ToSql;
use tokio_postgres::{GenericClient, Statement as Prepared};

use super::{Commit, Committed};
use crate::failures::RESOLVE_FAILURES;
use crate::timeline::TIMELINE;
use crate::{Share, StoreError};

// Parameters: 1 tenant, 2 projection, 3 partition, 4 cursor after, 5 partitions, 6 generation, 7 cursor before,
// 8 applied, 9 timeline; then the columns of rows.

/// The cursor, if it is still where the batch was read from.
static CURSOR: LazyLock<String> = LazyLock::new(|| {
    format!(
        "tenant_id = $1 AND projection_name = $2 AND generation = $6 AND partition = $3
            AND partitions = $5 AND last_log_seq = $7
            AND (respread_at IS NULL OR respread_at >= $4) AND NOT retired
            AND {TIMELINE} = $9"
    )
});

const MOVE: &str = "UPDATE dg_projection_cursors
    SET last_log_seq = $4, applied_events = $8, updated_at = now() WHERE";

/// Rows of one kind as arrays, a column each.
#[derive(Debug)]
pub(super) struct Part {
    /// What the part of the statement is called.
    pub(super) name: &'static str,
    /// The types of its columns.
    pub(super) types: &'static [&'static str],
    /// What is done with them: `{columns}` stands for the arrays.
    pub(super) sql: &'static str,
}

pub(super) type Column<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// A column of rows, as an array: numbers, or texts by the method that borrows them.
macro_rules! column {
    ($rows:expr, $field:ident $(, $borrow:ident)?) => {
        Box::new($rows.iter().map(|row| row.$field$(.$borrow())?).collect::<Vec<_>>())
            as $crate::commit::statement::Column<'_>
    };
}
pub(super) use column;

pub(super) struct Statement<'a> {
    arguments: Vec<Column<'a>>,
    is_live: bool,
    /// What is looked up before the cursor is moved, and in which array is what has to be found.
    standing: Option<(String, usize)>,
    rows: Vec<String>,
}

impl<'a> Statement<'a> {
    /// That moves the cursor, and no rows yet.
    pub(super) fn of(batch: &'a Commit<'a>) -> Statement<'a> {
        let Share { partition, partitions } = batch.from.share;
        let arguments: Vec<Column<'a>> = vec![
            Box::new(batch.tenant),
            Box::new(batch.projection.as_str()),
            Box::new(partition),
            Box::new(batch.to.last_log_seq),
            Box::new(partitions),
            Box::new(batch.from.generation),
            Box::new(batch.from.last_log_seq),
            Box::new(batch.to.applied_events),
            Box::new(batch.timeline.0),
        ];
        Statement { arguments, is_live: batch.is_live, standing: None, rows: Vec::new() }
    }

    /// Rows that are written if the cursor moves.
    pub(super) fn put(&mut self, part: &Part, columns: Vec<Column<'a>>) {
        let part = self.part(part, columns);
        self.rows.push(part);
    }

    /// Rows that are looked for; the cursor moves if each of the first column is found.
    pub(super) fn look_for(&mut self, part: &Part, columns: Vec<Column<'a>>) {
        let first = self.arguments.len() + 1;
        self.standing = Some((self.part(part, columns), first));
    }

    fn part(&mut self, part: &Part, columns: Vec<Column<'a>>) -> String {
        debug_assert_eq!(part.types.len(), columns.len(), "{}", part.name);
        let places = (self.arguments.len() + 1..).zip(part.types);
        let places: Vec<String> = places.map(|(at, kind)| format!("${at}::{kind}[]")).collect();
        self.arguments.extend(columns);
        format!("{} AS ({})", part.name, part.sql.replace("{columns}", &places.join(", ")))
    }

    pub(super) fn text(&self) -> String {
        let mut text = "WITH ".to_owned();
        let (mut all_stand, mut lacking) = (String::new(), "0::bigint".to_owned());
        if let Some((look, array)) = &self.standing {
            let found = "(SELECT count(*) FROM standing)";
            all_stand = format!(" AND {found} = cardinality(${array})");
            // Of a generation that is cleared, rows are gone as well: then it is no longer ours.
            lacking = format!(
                "CASE WHEN EXISTS (SELECT FROM dg_projection_cursors WHERE {})
                    THEN cardinality(${array}) - {found} ELSE 0 END",
                *CURSOR
            );
            text.push_str(look);
            text.push_str(", ");
        }
        let _ = write!(text, "moved AS ({MOVE} {}{all_stand} RETURNING 1)", *CURSOR);
        let resolved = match self.is_live {
            true => {
                let _ = write!(
                    text,
                    ", resolved AS ({RESOLVE_FAILURES} AND EXISTS (SELECT FROM moved) RETURNING 1)"
                );
                "(SELECT count(*) FROM resolved)"
            }
            false => "0::bigint",
        };
        for part in &self.rows {
            text.push_str(", ");
            text.push_str(part);
        }
        let _ = write!(text, " SELECT (SELECT count(*) FROM moved), {resolved}, {lacking}");
        text
    }

    /// What became of it; `prepared` is its text.
    ///
    /// # Errors
    /// When it failed, or rows that are to be changed are not there: nothing is in.
    pub(super) async fn execute(
        &self,
        session: &impl GenericClient,
        prepared: &Prepared,
    ) -> Result<Committed, StoreError> {
        let arguments = self.arguments.iter().map(|each| &**each as &(dyn ToSql + Sync));
        let arguments: Vec<&(dyn ToSql + Sync)> = arguments.collect();
        let row = session.query_one(prepared, &arguments).await?;
        let (moved, resolved): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let lacking: i64 = row.try_get(2)?;
        match (moved, lacking) {
            (_, 1..) => {
                Err(StoreError::internal(format!("{lacking} finished traces have no summary row")))
            }
            (0, _) => Ok(Committed::Superseded),
            _ => Ok(Committed::Done { resolved: resolved.unsigned_abs() }),
        }
    }
}
