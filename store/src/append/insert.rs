//! Rows of the log on their way in: one statement for all of them. Many go as arrays, one a column; a
//! single row as plain values, which is cheaper for the server than arrays of one.

use std::collections::HashSet;
use std::sync::LazyLock;

use deadpool_postgres::{ClientWrapper, Transaction};
use dg_projections::event::Event;
use dg_projections::json::{Json, canonical};
use tokio_postgres::types::ToSql;

use crate::StoreError;

/// The columns of new events.
#[derive(Default)]
pub(crate) struct Rows<'a> {
    tenant_id: Vec<&'a str>,
    log_seq: Vec<i64>,
    trace_seq: Vec<i64>,
    occurred_at_utc: Vec<time::OffsetDateTime>,
    schema_version: Vec<i32>,
    event_id: Vec<&'a str>,
    trace_id: Vec<&'a str>,
    event_type: Vec<&'static str>,
    occurred_at: Vec<&'a str>,
    producer_id: Vec<&'a str>,
    source_system: Vec<&'a str>,
    source_subsystem: Vec<Option<&'a str>>,
    actor_type: Vec<&'static str>,
    actor_id: Vec<&'a str>,
    idempotency_key: Vec<&'a str>,
    correlation_id: Vec<Option<&'a str>>,
    causation_event_id: Vec<Option<&'a str>>,
    tags: Vec<String>,
    payload_json: Vec<&'a str>,
    payload_hash: Vec<&'a [u8]>,
}

/// The columns and their types, in the order of the parameters.
const COLUMNS: [(&str, &str); 20] = [
    ("tenant_id", "text"),
    ("log_seq", "bigint"),
    ("trace_seq", "bigint"),
    ("occurred_at_utc", "timestamptz"),
    ("schema_version", "integer"),
    ("event_id", "text"),
    ("trace_id", "text"),
    ("event_type", "text"),
    ("occurred_at", "text"),
    ("producer_id", "text"),
    ("source_system", "text"),
    ("source_subsystem", "text"),
    ("actor_type", "text"),
    ("actor_id", "text"),
    ("idempotency_key", "text"),
    ("correlation_id", "text"),
    ("causation_event_id", "text"),
    ("tags", "text"),
    ("payload_json", "text"),
    ("payload_hash", "bytea"),
];

/// Statements by what they insert: one row, or any number.
struct Statements {
    one: String,
    many: String,
}

impl Statements {
    fn of(whole: impl Fn(&str) -> String) -> Statements {
        Statements::into("dg_event_log", whole)
    }

    fn into(table: &str, whole: impl Fn(&str) -> String) -> Statements {
        let parameters = |suffix: &str| {
            let each = (1..).zip(COLUMNS);
            let each = each.map(|(number, (_, kind))| format!("${number}::{kind}{suffix}"));
            each.collect::<Vec<_>>().join(", ")
        };
        let names = COLUMNS.map(|(name, _)| name).join(", ");
        let values = names.replace("tags", "tags::jsonb");
        let insert = |source: &str| {
            whole(&format!(
                "INSERT INTO {table} ({names}) SELECT {values} FROM {source} AS rows ({names})"
            ))
        };
        Statements {
            one: insert(&format!("(VALUES ({}))", parameters(""))),
            many: insert(&format!("unnest({})", parameters("[]"))),
        }
    }

    fn text(&self, rows: usize) -> &str {
        if rows == 1 { &self.one } else { &self.many }
    }
}

static INSERT: LazyLock<Statements> = LazyLock::new(|| Statements::of(str::to_owned));

/// A copy of the log that nothing keeps, for who measures what the server gives.
pub(crate) const COPY: &str = "dg_floor_log";

static INSERT_COPY: LazyLock<Statements> = LazyLock::new(|| Statements::into(COPY, str::to_owned));

/// The rows of one tenant, if its head is as it must be and can be had at once; it stays locked until the
/// statement's transaction ends. Asked for by its key alone: with an array of one the server would plan
/// anew each time. Meanwhile it holds its end, for who is sent behind it.
static INSERT_AT_HEAD: LazyLock<Statements> = LazyLock::new(|| {
    Statements::of(|insert| {
        format!(
            "WITH ready AS MATERIALIZED (
                SELECT pg_advisory_xact_lock(hashtextextended($21, $24::bigint))
                FROM dg_tenant_heads AS h
                WHERE h.tenant_id = $21::text AND h.last_log_seq = $22::bigint
                    AND set_config('lock_timeout', $23, true) IS NOT NULL
                FOR UPDATE SKIP LOCKED)
            {insert} WHERE EXISTS (SELECT FROM ready)"
        )
    })
});

/// The rows of one tenant behind a transaction that holds its head and, under the number with which the log then
/// ends, a lock: when they are written it is waited for, for as long as a batch may take, and then the trigger looks
/// whether they continue the log. The head is free then or somebody else's, who may be after a number written here:
/// that one is not waited for. That all wait for the head itself would not do: of three the last might have it
/// before the second.
static INSERT_BEHIND: LazyLock<Statements> = LazyLock::new(|| {
    Statements::of(|insert| {
        format!(
            "WITH own AS MATERIALIZED (
                SELECT set_config('lock_timeout', $23, true) AS bound,
                    pg_advisory_xact_lock(hashtextextended($21, $24::bigint))),
            written AS ({insert} WHERE EXISTS (SELECT FROM own WHERE bound IS NOT NULL) RETURNING 1)
            SELECT set_config('lock_timeout', '5s', true),
                pg_advisory_xact_lock(hashtextextended($21::text, $22::bigint)),
                set_config('lock_timeout', '5ms', true)
            FROM (SELECT count(*) FROM written) AS whole"
        )
    })
});

/// The rows of those tenants of which the same is true, or who have no head yet, and who they are. A subquery that
/// locks is looked at for each row before it; the trigger makes the heads that are not there.
static INSERT_AT_HEADS: LazyLock<Statements> = LazyLock::new(|| {
    Statements::of(|insert| {
        format!(
            "WITH ready AS MATERIALIZED (
                SELECT asked.tenant_id
                FROM (SELECT set_config('lock_timeout', $23, true) AS bound) AS patience,
                    unnest($21::text[], $22::bigint[]) AS asked (tenant_id, head)
                    LEFT JOIN LATERAL (SELECT true AS is_free FROM dg_tenant_heads AS h
                        WHERE h.tenant_id = asked.tenant_id AND h.last_log_seq = asked.head
                        FOR UPDATE SKIP LOCKED) AS head ON true
                WHERE patience.bound IS NOT NULL AND (head.is_free OR asked.head = 0 AND NOT EXISTS (
                    SELECT FROM dg_tenant_heads AS h WHERE h.tenant_id = asked.tenant_id)))
            {insert} WHERE rows.tenant_id IN (SELECT tenant_id FROM ready)
            RETURNING tenant_id"
        )
    })
});

/// How long is a moment, in which somebody who holds a key may let it go, in milliseconds.
pub(super) const PATIENCE: &str = "100";

impl<'a> Rows<'a> {
    pub(crate) fn push(&mut self, event: &'a Event, log_seq: i64) {
        self.tenant_id.push(&event.tenant_id);
        self.log_seq.push(log_seq);
        self.trace_seq.push(event.trace_seq);
        self.occurred_at_utc.push(event.occurred_instant);
        self.schema_version.push(event.schema_version);
        self.event_id.push(&event.event_id);
        self.trace_id.push(&event.trace_id);
        self.event_type.push(event.event_type.as_str());
        self.occurred_at.push(&event.occurred_at);
        self.producer_id.push(&event.source.producer_id);
        self.source_system.push(&event.source.system);
        self.source_subsystem.push(event.source.subsystem.as_deref());
        self.actor_type.push(event.actor.actor_type.as_str());
        self.actor_id.push(&event.actor.actor_id);
        self.idempotency_key.push(&event.idempotency_key);
        self.correlation_id.push(event.correlation_id.as_deref());
        self.causation_event_id.push(event.causation_event_id.as_deref());
        let tags = event.tags.iter().map(|tag| Json::from(tag.as_str())).collect();
        self.tags.push(canonical(&Json::Array(tags)));
        self.payload_json.push(&event.payload);
        self.payload_hash.push(&event.payload_hash.0);
    }

    /// Inserts them in a transaction that holds their tenant's head.
    pub(super) async fn insert(&self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        if self.log_seq.is_empty() {
            return Ok(());
        }
        let insert = transaction.prepare_cached(INSERT.text(self.log_seq.len())).await?;
        transaction.execute(&insert, &self.columns()).await?;
        Ok(())
    }

    /// Inserts them into the copy, as a transaction of their own.
    pub(crate) async fn insert_copy(&self, client: &ClientWrapper) -> Result<(), StoreError> {
        let insert = client.prepare_cached(INSERT_COPY.text(self.log_seq.len())).await?;
        client.execute(&insert, &self.columns()).await?;
        Ok(())
    }

    /// Inserts, as a transaction of their own, those of the tenants whose logs end at `heads`; which
    /// tenants they are.
    pub(super) async fn insert_at<'b>(
        &self,
        client: &ClientWrapper,
        tenants: &[&'b str],
        heads: &[i64],
        begun: &(dyn Fn() + Sync),
    ) -> Result<HashSet<&'b str>, tokio_postgres::Error> {
        let (rows, mut arguments) = (self.log_seq.len(), self.columns());
        // Who has no head yet goes with the statement for several, which does not ask for one.
        if let ([tenant], [head]) = (tenants, heads)
            && *head > 0
        {
            let insert = client.prepare_cached(INSERT_AT_HEAD.text(rows)).await?;
            let end = self.end(*head);
            arguments.extend([tenant as &(dyn ToSql + Sync), head, &PATIENCE, &end]);
            begun();
            let inserted = client.execute(&insert, &arguments).await?;
            return Ok((inserted > 0).then_some(*tenant).into_iter().collect());
        }
        let insert = client.prepare_cached(INSERT_AT_HEADS.text(rows)).await?;
        arguments.extend([&tenants as &(dyn ToSql + Sync), &heads, &PATIENCE]);
        let rows = client.query(&insert, &arguments).await?;
        let inserted = rows.iter().map(|row| row.try_get(0));
        let inserted = inserted.collect::<Result<HashSet<&str>, _>>()?;
        Ok(tenants.iter().copied().filter(|tenant| inserted.contains(tenant)).collect())
    }

    /// Inserts them, all of `tenant`, as a transaction of their own behind one with which its log ends at `head`.
    pub(super) async fn insert_behind(
        &self,
        client: &ClientWrapper,
        tenant: &str,
        head: i64,
        begun: &(dyn Fn() + Sync),
    ) -> Result<(), tokio_postgres::Error> {
        let insert = client.prepare_cached(INSERT_BEHIND.text(self.log_seq.len())).await?;
        let (mut arguments, end) = (self.columns(), self.end(head));
        arguments.extend([&tenant as &(dyn ToSql + Sync), &head, &PATIENCE, &end]);
        begun();
        client.execute(&insert, &arguments).await.map(drop)
    }

    /// Where a log ends that ended at `head` before these.
    fn end(&self, head: i64) -> i64 {
        head + self.log_seq.len() as i64
    }

    fn columns(&self) -> Vec<&(dyn ToSql + Sync)> {
        macro_rules! columns {
            ($($column:ident),+) => {
                match self.log_seq.len() {
                    1 => vec![$(&self.$column[0] as &(dyn ToSql + Sync)),+],
                    _ => vec![$(&self.$column as &(dyn ToSql + Sync)),+],
                }
            };
        }
        columns![
            tenant_id,
            log_seq,
            trace_seq,
            occurred_at_utc,
            schema_version,
            event_id,
            trace_id,
            event_type,
            occurred_at,
            producer_id,
            source_system,
            source_subsystem,
            actor_type,
            actor_id,
            idempotency_key,
            correlation_id,
            causation_event_id,
            tags,
            payload_json,
            payload_hash
        ]
    }
}
