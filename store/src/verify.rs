//! The proof: the whole log of a tenant, projected in memory, held against every row and digest.
//!
//! One snapshot, so it may run beside live writers; it changes nothing. The log is checked first
//! (numbers, hashes, sequences, the head's counts), since a projection of a damaged log proves
//! nothing.

use deadpool_postgres::Transaction;
use dg_projections::compare::{Comparison, Difference};
use dg_projections::event::LogEvent;
use dg_projections::model::{Model, Tables};
use dg_projections::projection::{Poison, Projection};
use dg_projections::rows::{EdgeRow, NodeRow, PolicyEvalRow, PrecedentRow, SummaryRow};
use dg_projections::{Code, hash::Hash};
use futures_util::{StreamExt as _, pin_mut};

use crate::database::snapshot;
use crate::digests::active_cursor;
use crate::page::{LOG_EVENT_COLUMNS, log_event_from};
use crate::rows::{StoredRow, hash, stream};
use crate::{Cursor, Store, StoreError};

/// What was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Events of the log.
    pub events: u64,
    /// Rows of the projection tables.
    pub rows: u64,
    /// Stored digests that stood for the rows' cursor.
    pub digests: u64,
    /// The digests that the log gives, by name, each at its projection's cursor.
    pub computed: Vec<(String, Hash, i64)>,
}

/// The result of a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is as the log says.
    Proven(Checked),
    /// The first difference.
    Different(Box<Difference>),
}

/// Told how many events were read of how many.
pub type VerifyProgress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Either a difference, which is a result, or a failure to look.
enum Stop {
    Different(Box<Difference>),
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Stop {
        Stop::Failed(error)
    }
}

impl From<tokio_postgres::Error> for Stop {
    fn from(error: tokio_postgres::Error) -> Stop {
        Stop::Failed(error.into())
    }
}

impl From<Box<Difference>> for Stop {
    fn from(difference: Box<Difference>) -> Stop {
        Stop::Different(difference)
    }
}

const PAGE: i64 = 2_000;

impl Store {
    /// Proves a tenant, or names the first difference.
    ///
    /// # Errors
    /// `not_found` for a tenant without a log; otherwise when the database cannot be asked.
    pub async fn verify(
        &self,
        tenant: &str,
        progress: VerifyProgress<'_>,
    ) -> Result<Verdict, StoreError> {
        let mut client = self.client().await?;
        let transaction = snapshot(&mut client, true).await?;
        let mut proof =
            Proof { transaction, tenant, model: Model::new(), checked: Checked::default() };
        match proof.run(progress).await {
            Ok(()) => Ok(Verdict::Proven(proof.checked)),
            Err(Stop::Different(mut difference)) => {
                proof.name_event(&mut difference).await?;
                Ok(Verdict::Different(difference))
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }
}

struct Head {
    last_log_seq: i64,
    event_count: i64,
    kept_numbers: bool,
}

struct Proof<'a> {
    transaction: Transaction<'a>,
    tenant: &'a str,
    model: Model,
    checked: Checked,
}

impl Proof<'_> {
    async fn run(&mut self, progress: VerifyProgress<'_>) -> Result<(), Stop> {
        let head = self.head().await?;
        let mut cursors = Vec::new();
        for projection in Projection::ALL {
            let cursor = match active_cursor(&self.transaction, self.tenant, projection).await? {
                Some(cursor) => cursor,
                None => self.before_the_first_event(projection).await?,
            };
            cursors.push((projection, cursor));
        }
        self.read_log(&head, &mut cursors.clone(), progress).await?;
        for (projection, cursor) in &cursors {
            self.compare(*projection, *cursor).await?;
        }
        self.compare_digests(&cursors).await
    }

    /// Where a projection without a cursor stands: its tables must then be empty.
    async fn before_the_first_event(&self, projection: Projection) -> Result<Cursor, Stop> {
        let sql = "SELECT active_generation FROM dg_projections
                   WHERE tenant_id = $1 AND projection_name = $2";
        let row = self.transaction.query_opt(sql, &[&self.tenant, &projection.as_str()]).await?;
        let generation = row.map_or(Ok(1), |row| row.try_get(0))?;
        Ok(Cursor { generation, last_log_seq: 0, applied_events: 0 })
    }

    async fn head(&self) -> Result<Head, Stop> {
        let sql = "SELECT last_log_seq, event_count, kept_numbers FROM dg_tenant_heads WHERE tenant_id = $1";
        match self.transaction.query_opt(sql, &[&self.tenant]).await? {
            Some(row) => Ok(Head {
                last_log_seq: row.try_get(0)?,
                event_count: row.try_get(1)?,
                kept_numbers: row.try_get(2)?,
            }),
            None => Err(self.no_head().await?),
        }
    }

    /// A log without a head lost it; without a log there is nothing to prove.
    async fn no_head(&self) -> Result<Stop, Stop> {
        let sql = "SELECT log_seq FROM dg_event_log WHERE tenant_id = $1 LIMIT 1";
        if self.transaction.query_opt(sql, &[&self.tenant]).await?.is_some() {
            let lost = Difference {
                table: "dg_tenant_heads".to_owned(),
                key: self.tenant.to_owned(),
                field: None,
                expected: Some("a row".to_owned()),
                found: None,
                log_seq: None,
                event_id: None,
            };
            return Ok(Stop::Different(Box::new(lost)));
        }
        let message = format!("tenant '{}' has no log", self.tenant);
        Ok(StoreError::new(Code::NotFound, message).into())
    }

    /// Reads the log to its end, checking it, and projects each projection to its own cursor.
    async fn read_log(
        &mut self,
        head: &Head,
        cursors: &mut [(Projection, Cursor)],
        progress: VerifyProgress<'_>,
    ) -> Result<(), Stop> {
        let sql = format!(
            "SELECT {LOG_EVENT_COLUMNS} FROM dg_event_log
             WHERE tenant_id = $1 AND log_seq > $2 ORDER BY log_seq LIMIT $3"
        );
        let statement = self.transaction.prepare(&sql).await?;
        // The log itself is proven to its end, also where no projection has arrived yet.
        let mut beyond = Model::new();
        let mut last = 0;
        loop {
            let rows = self.transaction.query(&statement, &[&self.tenant, &last, &PAGE]).await?;
            let page = rows.iter().map(log_event_from).collect::<Result<Vec<_>, _>>()?;
            let Some(end) = page.last() else { break };
            check_numbers(&page, last, head)?;
            beyond.apply(Projection::TraceSummary, &page).map_err(|poison| damaged(&poison))?;
            beyond.tables = Tables::default();
            for (projection, cursor) in cursors.iter() {
                let covered = page.partition_point(|event| event.log_seq <= cursor.last_log_seq);
                self.model
                    .apply(*projection, &page[..covered])
                    .map_err(|poison| damaged(&poison))?;
            }
            last = end.log_seq;
            self.checked.events += page.len() as u64;
            progress(self.checked.events, head.event_count as u64);
        }
        self.check_end(head, last)?;
        self.check_counts(head, cursors).await
    }

    fn check_end(&self, head: &Head, last: i64) -> Result<(), Stop> {
        if last != head.last_log_seq {
            let gone =
                log_difference(head.last_log_seq, "log_seq", &head.last_log_seq.to_string(), None);
            return Err(gone.into());
        }
        let count = self.checked.events as i64;
        if count != head.event_count {
            let difference = head_difference(self.tenant, "event_count", count, head.event_count);
            return Err(difference.into());
        }
        Ok(())
    }

    /// The exact proof: as many events applied as the log has up to the cursor, which is not ahead
    /// of the log.
    async fn check_counts(
        &self,
        head: &Head,
        cursors: &[(Projection, Cursor)],
    ) -> Result<(), Stop> {
        let sql = "SELECT count(*) FROM dg_event_log WHERE tenant_id = $1 AND log_seq <= $2";
        for (projection, cursor) in cursors {
            let Cursor { last_log_seq, applied_events, .. } = *cursor;
            let row = self.transaction.query_one(sql, &[&self.tenant, &last_log_seq]).await?;
            let count: i64 = row.try_get(0)?;
            if count != applied_events {
                let fields = ("applied_events", count, applied_events);
                return Err(cursor_difference(*projection, cursor, fields).into());
            }
            if last_log_seq > head.last_log_seq {
                let fields = ("last_log_seq", head.last_log_seq, last_log_seq);
                return Err(cursor_difference(*projection, cursor, fields).into());
            }
        }
        Ok(())
    }

    async fn compare(&mut self, projection: Projection, cursor: Cursor) -> Result<(), Stop> {
        let tables = &self.model.tables;
        let (transaction, tenant, generation) = (&self.transaction, self.tenant, cursor.generation);
        let rows = match projection {
            Projection::ContextGraph => {
                compare_table::<NodeRow>(transaction, tenant, generation, &tables.nodes).await?
                    + compare_table::<EdgeRow>(transaction, tenant, generation, &tables.edges)
                        .await?
            }
            Projection::TraceSummary => {
                compare_table::<SummaryRow>(transaction, tenant, generation, &tables.summaries)
                    .await?
            }
            Projection::PrecedentIndex => {
                compare_table::<PolicyEvalRow>(
                    transaction,
                    tenant,
                    generation,
                    &tables.policy_evals,
                )
                .await?
                    + compare_table::<PrecedentRow>(
                        transaction,
                        tenant,
                        generation,
                        &tables.precedents,
                    )
                    .await?
            }
        };
        self.checked.rows += rows;
        Ok(())
    }

    /// No digest stands for rows that are yet to come.
    async fn check_digests_not_ahead(&self, cursors: &[(Projection, Cursor)]) -> Result<(), Stop> {
        let sql = "SELECT log_seq FROM dg_projection_digests
                   WHERE tenant_id = $1 AND digest_name = $2 AND generation = $3 AND log_seq > $4";
        for (projection, cursor) in cursors {
            let name = projection.as_str();
            let Cursor { generation, last_log_seq, .. } = cursor;
            let row = self
                .transaction
                .query_opt(sql, &[&self.tenant, &name, generation, last_log_seq])
                .await?;
            if let Some(row) = row {
                let stands_for: i64 = row.try_get(0)?;
                let (expected, found) = (last_log_seq.to_string(), stands_for.to_string());
                return Err(
                    digest_difference(name, *last_log_seq, ("log_seq", expected, found)).into()
                );
            }
        }
        Ok(())
    }

    /// Every stored digest that claims to stand for these rows must be the computed one.
    async fn compare_digests(&mut self, cursors: &[(Projection, Cursor)]) -> Result<(), Stop> {
        self.check_digests_not_ahead(cursors).await?;
        let digests = self.model.tables.digests().map_err(StoreError::from)?;
        let mut computed: Vec<(String, Hash, i64)> = cursors
            .iter()
            .map(|(projection, cursor)| {
                (projection.as_str().to_owned(), digests.of(*projection), cursor.last_log_seq)
            })
            .collect();
        let first = cursors.first().map_or(0, |(_, cursor)| cursor.last_log_seq);
        if cursors.iter().all(|(_, cursor)| cursor.last_log_seq == first) {
            computed.push(("full_projection".to_owned(), digests.full_projection(), first));
        }
        let sql = "SELECT digest FROM dg_projection_digests
                   WHERE tenant_id = $1 AND digest_name = $2 AND log_seq = $3";
        for (name, digest, log_seq) in &computed {
            let Some(row) = self.transaction.query_opt(sql, &[&self.tenant, name, log_seq]).await?
            else {
                continue;
            };
            let stored = hash(row.try_get(0)?)?;
            if stored != *digest {
                let fields = ("digest", digest.to_string(), stored.to_string());
                return Err(digest_difference(name, *log_seq, fields).into());
            }
            self.checked.digests += 1;
        }
        self.checked.computed = computed;
        Ok(())
    }

    async fn name_event(&self, difference: &mut Difference) -> Result<(), StoreError> {
        if difference.event_id.is_some() {
            return Ok(());
        }
        let sql = "SELECT event_id FROM dg_event_log WHERE tenant_id = $1 AND log_seq = $2";
        let row = self.transaction.query_opt(sql, &[&self.tenant, &difference.log_seq]).await?;
        difference.event_id = row.map(|row| row.try_get(0)).transpose()?;
        Ok(())
    }
}

async fn compare_table<R: StoredRow>(
    transaction: &Transaction<'_>,
    tenant: &str,
    generation: i32,
    expected: &std::collections::BTreeMap<String, R>,
) -> Result<u64, Stop> {
    let mut comparison = Comparison::new(expected);
    let rows = stream::<R>(transaction, tenant, generation).await?;
    pin_mut!(rows);
    while let Some(row) = rows.next().await {
        comparison.row(&row?)?;
    }
    Ok(comparison.finish()?)
}

/// Without kept numbers the log has no gap: a number that is not there was removed.
fn check_numbers(page: &[LogEvent], last: i64, head: &Head) -> Result<(), Stop> {
    if head.kept_numbers {
        return Ok(());
    }
    for (expected, event) in (last + 1..).zip(page) {
        if event.log_seq != expected {
            return Err(log_difference(expected, "log_seq", &expected.to_string(), None).into());
        }
    }
    Ok(())
}

fn damaged(poison: &Poison) -> Box<Difference> {
    let (field, found) = match poison.reason.code {
        Code::Conflict => ("payload_json", poison.reason.message.clone()),
        Code::EventSequenceInvalid => ("trace_seq", poison.reason.message.clone()),
        _ => ("payload_json", poison.reason.to_string()),
    };
    let expected = match poison.reason.code {
        Code::Conflict => "the payload whose hash the log has",
        Code::EventSequenceInvalid => "the next event of its trace",
        _ => "a valid event",
    };
    let mut difference = log_difference(poison.log_seq, field, expected, Some(found));
    difference.event_id = Some(poison.event_id.clone());
    difference
}

fn log_difference(
    log_seq: i64,
    field: &str,
    expected: &str,
    found: Option<String>,
) -> Box<Difference> {
    Box::new(Difference {
        table: "dg_event_log".to_owned(),
        key: log_seq.to_string(),
        field: Some(field.to_owned()),
        expected: Some(expected.to_owned()),
        found,
        log_seq: Some(log_seq),
        event_id: None,
    })
}

fn cursor_difference(
    projection: Projection,
    cursor: &Cursor,
    (field, expected, found): (&str, i64, i64),
) -> Box<Difference> {
    Box::new(Difference {
        table: "dg_projection_cursors".to_owned(),
        key: projection.as_str().to_owned(),
        field: Some(field.to_owned()),
        expected: Some(expected.to_string()),
        found: Some(found.to_string()),
        log_seq: Some(cursor.last_log_seq),
        event_id: None,
    })
}

fn digest_difference(
    name: &str,
    log_seq: i64,
    (field, expected, found): (&str, String, String),
) -> Box<Difference> {
    Box::new(Difference {
        table: "dg_projection_digests".to_owned(),
        key: name.to_owned(),
        field: Some(field.to_owned()),
        expected: Some(expected),
        found: Some(found),
        log_seq: Some(log_seq),
        event_id: None,
    })
}

fn head_difference(tenant: &str, field: &str, expected: i64, found: i64) -> Box<Difference> {
    Box::new(Difference {
        table: "dg_tenant_heads".to_owned(),
        key: tenant.to_owned(),
        field: Some(field.to_owned()),
        expected: Some(expected.to_string()),
        found: Some(found.to_string()),
        log_seq: None,
        event_id: None,
    })
}
