//! The proof: the whole log of a tenant, projected in memory, held against every row and digest.
//!
//! One snapshot, so it may run beside live writers; it changes nothing. The log is checked first
//! (numbers, hashes, sequences, the head's counts), since a projection of a damaged log proves
//! nothing. On the way it is hashed as well: it is read whole here, which is what a hash costs.

mod differences;

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use dg_projections::compare::{Comparison, Difference};
use dg_projections::event::{LogEvent, RecordedEvent};
use dg_projections::log_hash::{LogHash, Mark, spacing};
use dg_projections::model::{Model, Tables};
use dg_projections::projection::Projection;
use dg_projections::rows::{EdgeRow, NodeRow, PolicyEvalRow, PrecedentRow, SummaryRow};
use dg_projections::{Code, hash::Hash};
use futures_util::{StreamExt as _, pin_mut};

use crate::cursors::{Standing, TRACE_HASH};
use crate::database::snapshot;
use crate::log::{COLUMNS, recorded_from};
use crate::rows::{StoredRow, hash, stream, tags_from};
use crate::{Store, StoreError};
use differences::{
    cursor_difference, damaged, digest_difference, head_difference, headless, log_difference,
};

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
    /// The hash of the log: of its beginnings, and last of all of it.
    pub marks: Vec<Mark>,
    /// How many rows each table has.
    pub tables: Vec<(&'static str, u64)>,
    /// The digests at the place that was asked for, of those projections that have passed it.
    pub then: Vec<(String, Hash)>,
}

/// What a proof is to tell besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The hash of the log after each of these many events; others come anyway.
    pub marks: BTreeSet<u64>,
    /// The digests that the log gives up to this number.
    pub digests_at: Option<i64>,
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
        self.verify_and_tell(tenant, Wanted::default(), progress).await
    }

    /// The same, and what is wanted besides.
    ///
    /// # Errors
    /// As [`Store::verify`].
    pub async fn verify_and_tell(
        &self,
        tenant: &str,
        wanted: Wanted,
        progress: VerifyProgress<'_>,
    ) -> Result<Verdict, StoreError> {
        let mut client = self.client().await?;
        let transaction = snapshot(&mut client, true).await?;
        let mut proof =
            Proof { transaction, tenant, wanted, model: Model::new(), checked: Checked::default() };
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
    /// Its projection and how far that is.
    fn name(&self) -> (&'static str, i64) {
        (self.projection.as_str(), self.standing.foremost())
    }

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
    wanted: Wanted,
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
            return Ok(Stop::Different(headless(self.tenant)));
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
            "SELECT {COLUMNS}, {TRACE_HASH} AS trace_hash FROM dg_event_log
             WHERE tenant_id = $1 AND log_seq > $2 ORDER BY log_seq LIMIT $3"
        );
        let statement = self.transaction.prepare(&sql).await?;
        // The log itself is proven to its end, also where no projection has arrived yet.
        let mut beyond = Model::new();
        let every = spacing(head.event_count.max(0) as u64);
        let mut log_hash = LogHash::new(every, std::mem::take(&mut self.wanted.marks));
        let mut last = 0;
        loop {
            let rows = self.transaction.query(&statement, &[&self.tenant, &last, &PAGE]).await?;
            let (page, hashes) = decoded(&rows, &mut log_hash)?;
            let Some(end) = page.last() else { break };
            check_numbers(&page, last, head)?;
            last = end.log_seq;
            beyond.apply(Projection::TraceSummary, &page).map_err(|poison| damaged(&poison))?;
            beyond.tables = Tables::default();
            let until = self.wanted.digests_at.unwrap_or(0);
            let before = page.partition_point(|event| event.log_seq <= until);
            self.project(places, &page[..before], &hashes[..before])?;
            if page[..before].last().is_some_and(|event| event.log_seq == until) {
                self.note_digests(places, until)?;
            }
            self.project(places, &page[before..], &hashes[before..])?;
            self.checked.events += page.len() as u64;
            progress(self.checked.events, head.event_count as u64);
        }
        self.checked.marks = log_hash.finish();
        self.check_end(head, last)?;
        check_counts(head, places)
    }

    /// Those of these events that their cursors have passed.
    fn project(
        &mut self,
        places: &mut [Place],
        page: &[LogEvent],
        hashes: &[i32],
    ) -> Result<(), Stop> {
        let Some(end) = page.last() else { return Ok(()) };
        for place in places.iter_mut() {
            let passed = match end.log_seq <= place.standing.least() {
                true => page,
                false => &place.passed_of(page, hashes),
            };
            place.passed += passed.len() as i64;
            let applied = self.model.apply(place.projection, passed);
            applied.map_err(|poison| damaged(&poison))?;
        }
        Ok(())
    }

    /// The digests on the way, of those that go as far.
    fn note_digests(&mut self, places: &[Place], at: i64) -> Result<(), Stop> {
        let digests = self.model.tables.digests().map_err(StoreError::from)?;
        let there: Vec<&Place> = places.iter().filter(|it| it.standing.least() >= at).collect();
        let of = |it: &&Place| (it.projection.as_str().to_owned(), digests.of(it.projection));
        self.checked.then = there.iter().map(of).collect();
        if there.len() == places.len() {
            self.checked.then.push(("full_projection".to_owned(), digests.full_projection()));
        }
        Ok(())
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
        let at = (transaction, tenant, generation);
        let counts = match place.projection {
            Projection::ContextGraph => vec![
                compare_table::<NodeRow>(at, &tables.nodes).await?,
                compare_table::<EdgeRow>(at, &tables.edges).await?,
            ],
            Projection::TraceSummary => {
                vec![compare_table::<SummaryRow>(at, &tables.summaries).await?]
            }
            Projection::PrecedentIndex => vec![
                compare_table::<PolicyEvalRow>(at, &tables.policy_evals).await?,
                compare_table::<PrecedentRow>(at, &tables.precedents).await?,
            ],
        };
        self.checked.rows += counts.iter().map(|(_, rows)| rows).sum::<u64>();
        self.checked.tables.extend(counts);
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

/// The table, and how many rows it has.
async fn compare_table<R: StoredRow>(
    (transaction, tenant, generation): (&Transaction<'_>, &str, i32),
    expected: &std::collections::BTreeMap<String, R>,
) -> Result<(&'static str, u64), Stop> {
    let mut comparison = Comparison::new(expected);
    let rows = stream::<R>(transaction, tenant, generation).await?;
    pin_mut!(rows);
    while let Some(row) = rows.next().await {
        comparison.row(&row?)?;
    }
    Ok((R::TABLE, comparison.finish()?))
}

/// The events of a page, hashed, and the hashes of their traces.
fn decoded(
    rows: &[tokio_postgres::Row],
    log_hash: &mut LogHash,
) -> Result<(Vec<LogEvent>, Vec<i32>), Stop> {
    let (mut page, mut hashes) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        let tags: &str = row.try_get("tags")?;
        if tags_from(tags).is_err() {
            let (at, expected) = (row.try_get("log_seq")?, "a list of strings");
            return Err(log_difference(at, "tags", expected, Some(tags.to_owned())).into());
        }
        let event = recorded_from(row)?;
        log_hash.event(&event);
        page.push(projected(event));
        hashes.push(row.try_get("trace_hash")?);
    }
    Ok((page, hashes))
}

/// What a projection needs of an event.
fn projected(event: RecordedEvent) -> LogEvent {
    LogEvent {
        log_seq: event.log_seq,
        event_id: event.event_id,
        trace_id: event.trace_id,
        trace_seq: event.trace_seq,
        event_type: event.event_type,
        occurred_at: event.occurred_at,
        actor_type: event.actor_type,
        actor_id: event.actor_id,
        payload: event.payload,
        payload_hash: event.payload_hash,
    }
}

/// The exact proof: as many events applied as the log has up to the cursors, none of which is ahead
/// of the log.
fn check_counts(head: &Head, places: &[Place]) -> Result<(), Stop> {
    for place in places {
        if place.passed != place.standing.applied_events() {
            let fields = ("applied_events", place.passed, place.standing.applied_events());
            return Err(cursor_difference(place.name(), fields).into());
        }
        if place.standing.foremost() > head.last_log_seq {
            let fields = ("last_log_seq", head.last_log_seq, place.standing.foremost());
            return Err(cursor_difference(place.name(), fields).into());
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
