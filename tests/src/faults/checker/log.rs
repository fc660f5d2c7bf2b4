//! The log against what clients were told.

use std::collections::BTreeMap;

use super::Counted;
use crate::Sql;
use crate::faults::Arena;
use crate::faults::history::Told;
use crate::faults::workload::TENANTS;

/// What is in the log against what clients know of it.
pub(super) fn check(arena: &Arena, sql: &Sql) -> Counted {
    let rows = sql.rows(&format!(
        "SELECT tenant_id, event_id, log_seq, trace_id, trace_seq, payload_json
         FROM dg_event_log WHERE tenant_id IN ('{}') ORDER BY tenant_id, log_seq",
        TENANTS.join("', '")
    ));
    let rows: Vec<LogRow> = rows.into_iter().map(LogRow::from).collect();
    let (counted, wrong) = compare_log(&arena.told(), &rows);
    wrong.into_iter().for_each(|what| arena.wrong(what));
    counted
}

/// A row of the log.
#[derive(Debug)]
struct LogRow {
    name: (String, String),
    log_seq: i64,
    trace_id: String,
    trace_seq: i64,
    payload: String,
}

impl From<Vec<Option<String>>> for LogRow {
    fn from(row: Vec<Option<String>>) -> LogRow {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || row.next().unwrap_or_default();
        let name = (next(), next());
        let log_seq = next().parse().unwrap_or(-1);
        let trace_id = next();
        LogRow { name, log_seq, trace_id, trace_seq: next().parse().unwrap_or(-1), payload: next() }
    }
}

/// Every acknowledged event exactly once, under its number; nothing that nobody sent; numbers and
/// traces without gaps; each client's events in its order.
fn compare_log(told: &Told, rows: &[LogRow]) -> (Counted, Vec<String>) {
    let (mut counted, mut wrong) =
        (Counted { events: rows.len(), ..Counted::default() }, Vec::new());
    let mut ends: BTreeMap<&str, i64> = BTreeMap::new();
    let mut traces: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let mut found: BTreeMap<&(String, String), i64> = BTreeMap::new();
    for row in rows {
        let tenant = row.name.0.as_str();
        let end = ends.entry(tenant).or_default();
        *end += 1;
        if row.log_seq != *end {
            wrong.push(format!("{tenant}: number {} stands where {end} should", row.log_seq));
        }
        let next = traces.entry((tenant, &row.trace_id)).or_default();
        if row.trace_seq != *next {
            let (trace, seq) = (&row.trace_id, row.trace_seq);
            wrong.push(format!("{tenant}/{trace}: {seq} stands where {next} should"));
        }
        *next += 1;
        if found.insert(&row.name, row.log_seq).is_some() {
            counted.doubled += 1;
            wrong.push(format!("{:?} is in the log twice", row.name));
        }
        match told.events.get(&row.name) {
            None => wrong.push(format!("{:?} is in the log and nobody sent it", row.name)),
            Some(sent) if *sent.line.event.payload != *row.payload => {
                wrong.push(format!("{:?} has another payload than was sent", row.name));
            }
            Some(_) => {}
        }
    }
    for (name, sent) in &told.events {
        let Some(log_seq) = sent.acknowledged else { continue };
        if found.get(name) != Some(&log_seq) {
            counted.lost += 1;
            wrong.push(format!("{name:?} was acknowledged as {log_seq}: {:?}", found.get(name)));
        }
    }
    for (client, order) in &told.orders {
        if !order.is_sorted_by(|one, next| one < next) {
            wrong.push(format!("{client:?}: acknowledged in another order than sent: {order:?}"));
        }
    }
    (counted, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events;
    use crate::faults::history::Sent;
    use crate::log::parsed;

    fn told(acknowledged: [Option<i64>; 2]) -> Told {
        let lines = parsed("a", &[events::started("t"), events::observed("t", 1)]);
        let sent = lines.into_iter().zip(acknowledged).map(|(line, acknowledged)| {
            (("a".to_owned(), line.event.event_id.clone()), Sent { line, acknowledged })
        });
        Told { events: sent.collect(), ..Told::default() }
    }

    fn rows(told: &Told, numbers: &[i64]) -> Vec<LogRow> {
        let rows = told.events.iter().zip(numbers).map(|((name, sent), log_seq)| LogRow {
            name: name.clone(),
            log_seq: *log_seq,
            trace_id: sent.line.event.trace_id.clone(),
            trace_seq: sent.line.event.trace_seq,
            payload: sent.line.event.payload.to_string(),
        });
        rows.collect()
    }

    #[test]
    fn a_log_that_has_what_was_acknowledged_is_right() {
        for (acknowledged, numbers) in
            [([Some(1), Some(2)], &[1, 2][..]), ([Some(1), None], &[1]), ([Some(1), None], &[1, 2])]
        {
            let told = told(acknowledged);
            let (counted, wrong) = compare_log(&told, &rows(&told, numbers));
            assert_eq!((counted.lost, counted.doubled, wrong), (0, 0, vec![]));
        }
    }

    #[test]
    fn each_thing_that_can_be_wrong_with_a_log_is_seen() {
        let told_all = told([Some(1), Some(2)]);
        let right = || rows(&told_all, &[1, 2]);
        let wrong_with = |told: &Told, rows: &[LogRow]| compare_log(told, rows).1.join("; ");
        assert!(wrong_with(&told_all, &right()[..1]).contains("was acknowledged as 2: None"));
        assert!(wrong_with(&told_all, &rows(&told_all, &[1, 3])).contains("3 stands where 2"));
        let mut twice = right();
        twice.push(LogRow {
            name: twice[1].name.clone(),
            payload: twice[1].payload.clone(),
            log_seq: 3,
            trace_id: "t".into(),
            trace_seq: 2,
        });
        assert!(wrong_with(&told_all, &twice).contains("twice"));
        let mut changed = right();
        changed[0].payload = "{}".to_owned();
        assert!(wrong_with(&told_all, &changed).contains("another payload"));
        let mut strange = right();
        strange[1].name.1 = "nobody's".to_owned();
        assert!(wrong_with(&told_all, &strange).contains("nobody sent it"));
        let mut disordered = told([Some(1), Some(2)]);
        disordered.orders.insert(("p".into(), "a".into()), vec![2, 1]);
        assert!(wrong_with(&disordered, &right()).contains("another order"));
    }
}
