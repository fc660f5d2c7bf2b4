//! A projector's page: the events after a cursor, and what the log says of the traces they continue.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::LazyLock;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use dg_projections::event::{EventType, LogEvent};
use dg_projections::projection::{Projection, Traces};
use futures_util::TryStreamExt as _;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::cursors::TRACE_HASH;
use crate::rows::hash;
use crate::timeline::{TIMELINE, Timeline};
use crate::{Cursor, Share, Store, StoreError};

/// The next events of a tenant and their context; see [`Traces::load`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// In log order, from the first after the cursor.
    pub events: Vec<LogEvent>,
    /// How far the log was looked through: up to here these are all events of the share.
    pub end: i64,
    /// Traces that the page continues, with the `trace_seq` of their first event in it, if the log
    /// holds its predecessor.
    pub resumed: Vec<(String, i64)>,
    /// Earlier events that the projection needs again, in log order.
    pub recalled: Vec<LogEvent>,
    /// Whether the log may have more after that.
    pub more: bool,
    /// How long ago the first of them was recorded, by the clock that recorded it.
    pub age: Duration,
    /// The history that they are of.
    pub timeline: Timeline,
}

impl Page {
    /// The page of each partition, of a page of the whole log.
    pub fn divide(self, partitions: i32) -> Vec<Page> {
        let Page { events, end, resumed, recalled, more, age, timeline } = self;
        let empty = || Page { end, more, age, timeline, ..Page::default() };
        let mut pages: Vec<Page> = (0..partitions).map(|_| empty()).collect();
        let place = |trace_id: &str| Share::partition_of(trace_id, partitions) as usize; // from 0
        for event in events {
            pages[place(&event.trace_id)].events.push(event);
        }
        for trace in resumed {
            pages[place(&trace.0)].resumed.push(trace);
        }
        for event in recalled {
            pages[place(&event.trace_id)].recalled.push(event);
        }
        pages
    }
}

/// What a projection needs of an event, and no more: the payload is most of a page.
pub(crate) const LOG_EVENT_COLUMNS: &str = "log_seq, event_id, trace_id, trace_seq, event_type,
    occurred_at, actor_type, actor_id, payload_json, payload_hash";

/// Payload that one page may bring into memory; a page has one event at least, however large.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// The rows of a page up to [`PAGE_BYTES`]. The lengths are known without reading the payloads that
/// are left out.
pub(crate) fn within_bytes(page: &str, order: &str) -> String {
    format!(
        "SELECT * FROM (
            SELECT page.*, sum(octet_length(payload_json))
                    OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING)
                - octet_length(payload_json) AS bytes_before
            FROM ({page}) AS page
         ) AS page WHERE bytes_before < {PAGE_BYTES} ORDER BY {order}"
    )
}

/// A page of the whole log up to [`PAGE_BYTES`]. Its lengths are added up first; who had what before it,
/// which takes as long as the page, is asked only where they are too much together.
static WHOLE: LazyLock<String> = LazyLock::new(|| {
    const LENGTHS: &str = "SELECT log_seq, octet_length(payload_json) AS bytes FROM dg_event_log
        WHERE tenant_id = $1 AND log_seq > $2 AND log_seq <= $4 ORDER BY log_seq LIMIT $3";
    format!(
        "SELECT {LOG_EVENT_COLUMNS} FROM dg_event_log
         WHERE tenant_id = $1 AND log_seq > $2 AND log_seq <= (
            SELECT CASE WHEN sum(bytes) < {PAGE_BYTES} THEN max(log_seq) ELSE (
                SELECT max(log_seq) FROM (
                    SELECT log_seq, sum(bytes) OVER (ORDER BY log_seq ROWS UNBOUNDED PRECEDING) - bytes
                        AS bytes_before
                    FROM ({LENGTHS}) AS page
                ) AS page WHERE bytes_before < {PAGE_BYTES}) END
            FROM ({LENGTHS}) AS page)
         ORDER BY log_seq LIMIT $3"
    )
});

// The predecessor by its unique key: one probe a trace, however long the trace is. Asked for in the
// order of that key, and held against it outside, so that no other index will do.
const RESUMED: &str = "SELECT asked.trace_id, asked.trace_seq
    FROM unnest($2::text[], $3::bigint[]) AS asked (trace_id, trace_seq)
    CROSS JOIN LATERAL (SELECT l.trace_seq, l.log_seq FROM dg_event_log AS l
        WHERE l.tenant_id = $1 AND l.trace_id = asked.trace_id
          AND l.trace_seq < asked.trace_seq ORDER BY l.trace_seq DESC LIMIT 1) AS before
    WHERE before.trace_seq = asked.trace_seq - 1 AND before.log_seq <= $4";

impl Store {
    /// Up to `limit` events of its share and some megabytes after a cursor, with what `projection`
    /// must know of their traces.
    ///
    /// The log is append-only and read in commit order, so the statements need no snapshot.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn read_page(
        &self,
        tenant: &str,
        projection: Projection,
        from: Cursor,
        limit: i64,
    ) -> Result<Page, StoreError> {
        let client = self.client().await?;
        let reading = Reading { client: &client, tenant, from, limit };
        let found = match from {
            Cursor { share: Share::WHOLE, .. } => reading.whole().await?,
            _ => reading.shared().await?,
        };
        let continued = Traces::continued(&found.events);
        let wanted: Vec<&str> = Traces::recalled(projection, &found.events).into_iter().collect();
        let ((age, timeline), resumed, recalled) = tokio::try_join!(
            reading.mark_of(&found),
            resume(&client, tenant, continued, from.last_log_seq),
            recall(&client, tenant, &wanted, from.last_log_seq),
        )?;
        let Found { events, end, more, .. } = found;
        Ok(Page { events, end, resumed, recalled, more, age, timeline })
    }
}

/// Of a share, how far a page looks: what is visible now, so that what the next statement does not
/// see up to there does not exist (numbers are handed out in commit order).
static WINDOW: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT coalesce(max(log_seq), $2), count(*), {TIMELINE} FROM (
            SELECT log_seq FROM dg_event_log
            WHERE tenant_id = $1 AND log_seq > $2 AND log_seq <= $3 ORDER BY log_seq LIMIT $4
         ) AS page"
    )
});

struct Reading<'a> {
    client: &'a ClientWrapper,
    tenant: &'a str,
    from: Cursor,
    limit: i64,
}

/// The events of a page, how far it looked, whether there may be more, and their mark if it came along.
struct Found {
    events: Vec<LogEvent>,
    end: i64,
    more: bool,
    mark: Option<Mark>,
}

/// How long ago the first event of a page was recorded, and the history that the page is of.
type Mark = (Duration, Timeline);

/// How long ago an event was recorded, and the history: asked once a page, as the clock costs more
/// than the row.
static MARK: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT extract(epoch FROM clock_timestamp() - recorded_at)::float8, {TIMELINE}
         FROM dg_event_log WHERE tenant_id = $1 AND log_seq >= $2 ORDER BY log_seq LIMIT 1"
    )
});

impl Reading<'_> {
    async fn whole(&self) -> Result<Found, StoreError> {
        let until = self.from.until.unwrap_or(i64::MAX);
        let arguments: [&(dyn ToSql + Sync); 4] =
            [&self.tenant, &self.from.last_log_seq, &self.limit, &until];
        // The page goes first: what is told of its history holds for all that it has seen.
        let ((events, more), mark) = tokio::try_join!(
            self.events(&WHOLE, &arguments),
            self.mark(self.from.last_log_seq + 1)
        )?;
        let end = events.last().map_or(self.from.last_log_seq, |event| event.log_seq);
        Ok(Found { events, end, more, mark: Some(mark) })
    }

    /// As many events of the log as hold a page of the share on average, and of those its own.
    async fn shared(&self) -> Result<Found, StoreError> {
        let Cursor { last_log_seq, share: Share { partition, partitions }, until, .. } = self.from;
        let (until, width) =
            (until.unwrap_or(i64::MAX), self.limit.saturating_mul(i64::from(partitions)));
        let window = self.client.prepare_cached(&WINDOW).await?;
        let arguments: [&(dyn ToSql + Sync); 4] = [&self.tenant, &last_log_seq, &until, &width];
        let row = self.client.query_one(&window, &arguments).await?;
        let (end, looked): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let timeline = Timeline(row.try_get(2)?);
        if looked == 0 {
            let mark = Some((Duration::ZERO, timeline));
            return Ok(Found { events: Vec::new(), end, more: false, mark });
        }
        let page = format!(
            "SELECT {LOG_EVENT_COLUMNS} FROM dg_event_log
             WHERE tenant_id = $1 AND log_seq > $2 AND log_seq <= $4
               AND {TRACE_HASH} % $5 = $6 ORDER BY log_seq LIMIT $3"
        );
        let arguments: [&(dyn ToSql + Sync); 6] =
            [&self.tenant, &last_log_seq, &self.limit, &end, &partitions, &partition];
        let page = within_bytes(&page, "log_seq");
        let (events, cut) = self.events(&page, &arguments).await?;
        // Cut short, it looked no further than its last event.
        let (end, more) = match events.last() {
            Some(last) if cut => (last.log_seq, true),
            _ => (end, looked == width),
        };
        let mark = events.is_empty().then_some((Duration::ZERO, timeline));
        Ok(Found { events, end, more, mark })
    }

    /// The events of a page within its bytes, and whether more than those may be its own. Each is
    /// decoded while the next are on their way.
    async fn events(
        &self,
        page: &str,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<(Vec<LogEvent>, bool), StoreError> {
        let statement = self.client.prepare_cached(page).await?;
        let rows = self.client.query_raw(&statement, arguments.iter().copied()).await?;
        let mut rows = pin!(rows);
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await? {
            let event = log_event_from(&row)?;
            bytes += event.payload.len();
            events.push(event);
        }
        let cut = events.len() as i64 == self.limit || bytes >= PAGE_BYTES;
        Ok((events, cut))
    }

    async fn mark_of(&self, found: &Found) -> Result<Mark, StoreError> {
        match (found.mark, found.events.first()) {
            (Some(mark), _) => Ok(mark),
            (None, first) => self.mark(first.map_or(found.end, |first| first.log_seq)).await,
        }
    }

    /// Of the first event from a number on.
    async fn mark(&self, first: i64) -> Result<Mark, StoreError> {
        let statement = self.client.prepare_cached(&MARK).await?;
        let row = self.client.query_opt(&statement, &[&self.tenant, &first]).await?;
        let Some(row) = row else { return Ok(Default::default()) }; // there is none
        let age = Duration::try_from_secs_f64(row.try_get(0)?).unwrap_or_default();
        Ok((age, Timeline(row.try_get(1)?)))
    }
}

async fn resume(
    client: &ClientWrapper,
    tenant: &str,
    continued: HashMap<&str, i64>,
    cursor: i64,
) -> Result<Vec<(String, i64)>, StoreError> {
    if continued.is_empty() {
        return Ok(Vec::new());
    }
    let (traces, seqs): (Vec<&str>, Vec<i64>) = continued.into_iter().unzip();
    let statement = client.prepare_cached(RESUMED).await?;
    let rows = client.query(&statement, &[&tenant, &traces, &seqs, &cursor]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn recall(
    client: &ClientWrapper,
    tenant: &str,
    traces: &[&str],
    cursor: i64,
) -> Result<Vec<LogEvent>, StoreError> {
    if traces.is_empty() {
        return Ok(Vec::new());
    }
    // In the order of the key of a trace, and with OFFSET 0, which keeps the outer conditions
    // outside: trace by trace, by that key and no other.
    let sql = format!(
        "SELECT {LOG_EVENT_COLUMNS} FROM unnest($2::text[]) AS asked (asked_trace_id)
         CROSS JOIN LATERAL (SELECT * FROM dg_event_log AS l
            WHERE l.tenant_id = $1 AND l.trace_id = asked.asked_trace_id
            ORDER BY l.trace_seq OFFSET 0) AS e
         WHERE e.log_seq <= $3 AND e.event_type = ANY($4) ORDER BY e.log_seq"
    );
    let types =
        [EventType::TraceStarted, EventType::PolicyEvaluated, EventType::ExceptionRequested]
            .map(EventType::as_str)
            .to_vec();
    let statement = client.prepare_cached(&sql).await?;
    let rows = client.query(&statement, &[&tenant, &traces, &cursor, &types]).await?;
    rows.iter().map(log_event_from).collect()
}

pub(crate) fn log_event_from(row: &Row) -> Result<LogEvent, StoreError> {
    Ok(LogEvent {
        log_seq: row.try_get(0)?,
        event_id: row.try_get(1)?,
        trace_id: row.try_get(2)?,
        trace_seq: row.try_get(3)?,
        event_type: row.try_get(4)?,
        occurred_at: row.try_get(5)?,
        actor_type: row.try_get(6)?,
        actor_id: row.try_get(7)?,
        payload: row.try_get(8)?,
        payload_hash: hash(row.try_get(9)?)?,
    })
}
