//! Rows of the log on their way in: one by `VALUES`, many by binary `COPY`.
//!
//! Both fire the statement trigger of `dg_event_log` once and are refused by the same rules. `COPY`
//! spares the server parsing and unnesting: of the ways to insert many rows it costs least.

use std::error::Error;

use bytes::BytesMut;
use deadpool_postgres::Transaction;
use dg_projections::event::Event;
use dg_projections::json::{Json, canonical};
use tokio_postgres::binary_copy::BinaryCopyInWriter;

use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::StoreError;

const COLUMNS: &str = "tenant_id, log_seq, trace_seq, occurred_at_utc, schema_version, event_id,
    trace_id, event_type, occurred_at, producer_id, source_system, source_subsystem, actor_type,
    actor_id, idempotency_key, correlation_id, causation_event_id, tags, payload_json, payload_hash";

const TYPES: [Type; 20] = {
    use Type as T;
    #[rustfmt::skip]
    let types = [
        T::TEXT, T::INT8, T::INT8, T::TIMESTAMPTZ, T::INT4, T::TEXT,
        T::TEXT, T::TEXT, T::TEXT, T::TEXT, T::TEXT, T::TEXT, T::TEXT,
        T::TEXT, T::TEXT, T::TEXT, T::TEXT, T::JSONB, T::TEXT, T::BYTEA,
    ];
    types
};

/// An event at its place in the log.
pub(super) struct Row<'a> {
    tenant: &'a str,
    log_seq: i64,
    event: &'a Event,
    event_type: &'static str,
    actor_type: &'static str,
    tags: Jsonb,
    payload_hash: &'a [u8],
}

impl<'a> Row<'a> {
    pub(super) fn new(tenant: &'a str, log_seq: i64, event: &'a Event) -> Row<'a> {
        let tags = event.tags.iter().map(|tag| Json::from(tag.as_str())).collect();
        Row {
            tenant,
            log_seq,
            event,
            event_type: event.event_type.as_str(),
            actor_type: event.actor.actor_type.as_str(),
            tags: Jsonb(canonical(&Json::Array(tags))),
            payload_hash: &event.payload_hash.0,
        }
    }

    /// In the order of [`COLUMNS`].
    fn values(&self) -> [&(dyn ToSql + Sync); 20] {
        let event = self.event;
        [
            &self.tenant,
            &self.log_seq,
            &event.trace_seq,
            &event.occurred_instant,
            &event.schema_version,
            &event.event_id,
            &event.trace_id,
            &self.event_type,
            &event.occurred_at,
            &event.source.producer_id,
            &event.source.system,
            &event.source.subsystem,
            &self.actor_type,
            &event.actor.actor_id,
            &event.idempotency_key,
            &event.correlation_id,
            &event.causation_event_id,
            &self.tags,
            &event.payload,
            &self.payload_hash,
        ]
    }
}

/// Inserts rows of one tenant, in order.
pub(super) async fn insert(
    transaction: &Transaction<'_>,
    rows: &[Row<'_>],
) -> Result<(), StoreError> {
    match rows {
        [] => Ok(()),
        [row] => {
            let places: Vec<String> = (1..=TYPES.len()).map(|at| format!("${at}")).collect();
            let sql =
                format!("INSERT INTO dg_event_log ({COLUMNS}) VALUES ({})", places.join(", "));
            let statement = transaction.prepare_cached(&sql).await?;
            transaction.execute(&statement, &row.values()).await?;
            Ok(())
        }
        rows => copy(transaction, rows).await,
    }
}

async fn copy(transaction: &Transaction<'_>, rows: &[Row<'_>]) -> Result<(), StoreError> {
    let sql = format!("COPY dg_event_log ({COLUMNS}) FROM STDIN (FORMAT binary)");
    let statement = transaction.prepare_cached(&sql).await?;
    let sink = transaction.copy_in(&statement).await?;
    let mut writer = std::pin::pin!(BinaryCopyInWriter::new(sink, &TYPES));
    for row in rows {
        writer.as_mut().write(&row.values()).await?;
    }
    writer.finish().await?;
    Ok(())
}

/// JSON text on its way into a `jsonb` column.
#[derive(Debug)]
struct Jsonb(String);

impl ToSql for Jsonb {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        const VERSION: u8 = 1; // of the binary format: text follows
        out.extend_from_slice(&[VERSION]);
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(wanted: &Type) -> bool {
        *wanted == Type::JSONB
    }

    to_sql_checked!();
}
