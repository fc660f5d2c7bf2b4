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

use crate::cursors::{Standing, TRACE_HASH};
use crate::database::snapshot;
use crate::page::{LOG_EVENT_COLUMNS, log_event_from};
use crate::rows::{StoredRow, hash, stream};
use crate::{Store, StoreError};

/// What was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Events of the log.
    pub events: u64,
    /// Where the log ends; a projection whose cursor is before it is proven up to there.
    pub last_log_seq: i64,
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

/// Where a projection is, and what the log has for it up to there.
struct Place {
    projection: Projection,
    standing: Standing,
    /// How many events of the log its cursors have passed.
    passed: i64,
}

impl Place {
    /// Those of a page that its cursors have passed, by the hashes of their traces.
    fn passed_of(&self, page: &[LogEvent], hashes: &[i32]) -> Vec<LogEvent> {
        let places = &self.standing.places;
        let cursor = |hash: &i32| places[*hash as usize % places.len()];
        let passed = page.iter().zip(hashes).filter(|(event, hash)| event.log_seq <= cursor(hash));
        passed.map(|(event, _)| event.clone()).collect()
    }
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
        self.checked.last_log_seq = head.last_log_seq;
        let mut places = Vec::new();
        for projection in Projection::ALL {
            places.push(self.place(projection).await?);
        }
        self.read_log(&head, &mut places, progress).await?;
        for place in &places {
            self.compare(place).await?;
        }
        self.compare_digests(&places).await
    }

    async fn place(&self, projection: Projection) -> Result<Place, Stop> {
        let standing = Standing::read(&self.transaction, self.tenant, projection).await?;
        let standing = match standing {
            Some(standing) => standing,
            None => self.before_the_first_event(projection).await?,
        };
        Ok(Place { projection, standing, passed: 0 })
    }

    /// Where a projection without a cursor stands: its tables must then be empty.
    async fn before_the_first_event(&self, projection: Projection) -> Result<Standing, Stop> {
        let sql = "SELECT active_generation FROM dg_projections
                   WHERE tenant_id = $1 AND projection_name = $2";
        let row = self.transaction.query_opt(sql, &[&self.tenant, &projection.as_str()]).await?;
        let generation = row.map_or(Ok(1), |row| row.try_get(0))?;
        Ok(Standing::start(generation))
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

    /// Reads the log to its end, checking it, and projects each projection to its own cursors.
    async fn read_log(
        &mut self,
        head: &Head,
        places: &mut [Place],
        progress: VerifyProgress<'_>,
    ) -> Result<(), Stop> {
        let sql = format!(
            "SELECT {LOG_EVENT_COLUMNS}, {TRACE_HASH} AS trace_hash FROM dg_event_log
             WHERE tenant_id = $1 AND log_seq > $2 ORDER BY log_seq LIMIT $3"
        );
        let statement = self.transaction.prepare(&sql).await?;
        // The log itself is proven to its end, also where no projection has arrived yet.
        let mut beyond = Model::new();
        let mut last = 0;
        loop {
            let rows = self.transaction.query(&statement, &[&self.tenant, &last, &PAGE]).await?;
            let page = rows.iter().map(log_event_from).collect::<Result<Vec<_>, _>>()?;
            let hashes = rows.iter().map(|row| row.try_get("trace_hash"));
            let hashes = hashes.collect::<Result<Vec<i32>, _>>()?;
            let Some(end) = page.last() else { break };
            check_numbers(&page, last, head)?;
            beyond.apply(Projection::TraceSummary, &page).map_err(|poison| damaged(&poison))?;
            beyond.tables = Tables::default();
            for place in places.iter_mut() {
                let passed = match end.log_seq <= place.standing.least() {
                    true => &page,
                    false => &place.passed_of(&page, &hashes),
                };
                place.passed += passed.len() as i64;
                let applied = self.model.apply(place.projection, passed);
                applied.map_err(|poison| damaged(&poison))?;
            }
            last = end.log_seq;
            self.checked.events += page.len() as u64;
            progress(self.checked.events, head.event_count as u64);
        }
        self.check_end(head, last)?;
        check_counts(head, places)
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

    async fn compare(&mut self, place: &Place) -> Result<(), Stop> {
        let tables = &self.model.tables;
        let (transaction, tenant, generation) =
            (&self.transaction, self.tenant, place.standing.generation);
        let rows = match place.projection {
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
    async fn check_digests_not_ahead(&self, places: &[Place]) -> Result<(), Stop> {
        let sql = "SELECT log_seq FROM dg_projection_digests
                   WHERE tenant_id = $1 AND digest_name = $2 AND generation = $3 AND log_seq > $4";
        for place in places {
            let (name, least) = (place.projection.as_str(), place.standing.least());
            let row = self
                .transaction
                .query_opt(sql, &[&self.tenant, &name, &place.standing.generation, &least])
                .await?;
            if let Some(row) = row {
                let stands_for: i64 = row.try_get(0)?;
                let (expected, found) = (least.to_string(), stands_for.to_string());
                return Err(digest_difference(name, least, ("log_seq", expected, found)).into());
            }
        }
        Ok(())
    }

    /// Every stored digest that claims to stand for these rows must be the computed one.
    async fn compare_digests(&mut self, places: &[Place]) -> Result<(), Stop> {
        self.check_digests_not_ahead(places).await?;
        let digests = self.model.tables.digests().map_err(StoreError::from)?;
        let of = |place: &Place| {
            let name = place.projection.as_str().to_owned();
            Some((name, digests.of(place.projection), place.standing.common()?))
        };
        let mut computed: Vec<(String, Hash, i64)> = places.iter().filter_map(of).collect();
        if let Some(first) = places.first().and_then(|place| place.standing.common())
            && places.iter().all(|place| place.standing.common() == Some(first))
        {
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

/// The exact proof: as many events applied as the log has up to the cursors, none of which is ahead
/// of the log.
fn check_counts(head: &Head, places: &[Place]) -> Result<(), Stop> {
    for place in places {
        if place.passed != place.standing.applied_events() {
            let fields = ("applied_events", place.passed, place.standing.applied_events());
            return Err(cursor_difference(place, fields).into());
        }
        if place.standing.foremost() > head.last_log_seq {
            let fields = ("last_log_seq", head.last_log_seq, place.standing.foremost());
            return Err(cursor_difference(place, fields).into());
        }
    }
    Ok(())
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

fn cursor_difference(place: &Place, (field, expected, found): (&str, i64, i64)) -> Box<Difference> {
    Box::new(Difference {
        table: "dg_projection_cursors".to_owned(),
        key: place.projection.as_str().to_owned(),
        field: Some(field.to_owned()),
        expected: Some(expected.to_string()),
        found: Some(found.to_string()),
        log_seq: Some(place.standing.foremost()),
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
