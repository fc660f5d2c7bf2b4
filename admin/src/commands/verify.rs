//! `verify`: a tenant's log held against everything that was made of it, and against a receipt.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use dg_projections::compare::Difference;
use dg_projections::hash::Hash;
use dg_projections::json::Json;
use dg_store::{Checked, Store, Verdict, Wanted};
use indicatif::{ProgressBar, ProgressStyle};
use time::OffsetDateTime;

use super::prove::log_hash;
use super::{direct, which_tenant};
use crate::cli::Session;
use crate::failure::{Failure, exit};
use crate::output::{Format, grouped, heard_or_not, note, pretty, shell_word};
use crate::receipt::{self, Parting, Receipt, Sameness, Witness};
use crate::wire::object;

pub(crate) async fn verify(session: &Session) -> Result<u8, Failure> {
    let file = |name| session.args.get_one::<PathBuf>(name);
    let (written, other) = (file("receipt"), file("against"));
    // What cannot come to anything is told before the work.
    written.map_or(Ok(()), |path| receipt::refuse_existing(path))?;
    let other = other.map(|path| receipt::read(path)).transpose()?;
    if let Some(other) = other.as_ref().filter(|it| it.tenant_id != session.tenant()) {
        return told_of_another(session, other);
    }
    let store = direct::store(session)?;
    let verdict = prove(session, &store, other.as_ref()).await?;
    if let Some(path) = written {
        receipt::write_new(path, &receipt_of(session, &store, &verdict).await?)?;
    }
    match verdict {
        Verdict::Proven(checked) => {
            let compared = other.as_ref().map(|other| receipt::compare(other, &checked));
            told_of_proof(session, &checked, other.as_ref().zip(compared))
        }
        Verdict::Different(difference) => told_of_difference(session, &difference),
    }
}

async fn prove(
    session: &Session,
    store: &Store,
    other: Option<&Receipt>,
) -> Result<Verdict, Failure> {
    let bar = events_bar();
    let progress = |done: u64, all: u64| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let marks = other.map_or(BTreeSet::new(), |it| it.marks.iter().map(|at| at.events).collect());
    let wanted = Wanted { marks, digests_at: other.map(|it| it.end().log_seq) };
    let verdict = store.verify_and_tell(session.tenant(), wanted, &progress).await;
    bar.finish_and_clear();
    verdict.map_err(|error| which_tenant(error.into()))
}

async fn receipt_of(
    session: &Session,
    store: &Store,
    verdict: &Verdict,
) -> Result<String, Failure> {
    let database = store.identity().await?;
    let schema_version = store.migration_status().await?.version();
    let (tenant, at) = (session.tenant(), OffsetDateTime::now_utc());
    let witness = Witness { tenant, database: &database, schema_version, at };
    let statement = match verdict {
        Verdict::Proven(checked) => witness.proven(checked),
        Verdict::Different(difference) => witness.different(difference),
    };
    Ok(pretty(&statement) + "\n")
}

fn told_of_another(session: &Session, other: &Receipt) -> Result<u8, Failure> {
    let (here, there) = (session.tenant(), &other.tenant_id);
    let parting = Parting {
        what: "tenant",
        key: here.to_owned(),
        expected: there.clone(),
        found: here.to_owned(),
        between: None,
        same_events: None,
    };
    let shown = object([
        ("tenant_id", here.into()),
        ("against", against(other, &Err(Box::new(parting.clone())))),
    ]);
    heard_or_not(session.output.one(&shown, |_| format!("different: {parting}")))?;
    helped(session, &format!("the receipt is of that tenant: -t {}", shell_word(there)));
    Ok(exit::PROOF)
}

fn told_of_difference(session: &Session, difference: &Difference) -> Result<u8, Failure> {
    let shown = object([
        ("tenant_id", session.tenant().into()),
        ("proven", false.into()),
        ("difference", difference.to_json()),
    ]);
    heard_or_not(session.output.one(&shown, |_| format!("different: {difference}")))?;
    helped(session, &remedy(session.tenant(), difference));
    Ok(exit::PROOF)
}

fn told_of_proof(
    session: &Session,
    checked: &Checked,
    beside: Option<(&Receipt, Result<Sameness, Box<Parting>>)>,
) -> Result<u8, Failure> {
    let tenant = session.tenant();
    let mut shown = proven(tenant, checked);
    if let (Json::Object(members), Some((other, compared))) = (&mut shown, &beside) {
        members.insert("against".to_owned(), against(other, compared));
    }
    let beside = beside.map(|(other, compared)| (other.checked_at.clone(), compared));
    session.output.one(&shown, |_| {
        let proof = proven_text(tenant, checked);
        let beside =
            beside.as_ref().map(|(at, compared)| format!("\n{}", compared_text(at, compared)));
        proof + &beside.unwrap_or_default()
    })?;
    let Some((_, Err(parting))) = beside else { return Ok(0) };
    helped(session, &way_on(tenant, &parting));
    Ok(exit::PROOF)
}

fn helped(session: &Session, help: &str) {
    if session.output.format == Format::Table {
        note(&format!("help: {help}"));
    }
}

/// Projections can be had again from the log; the log only from somewhere else.
fn remedy(tenant: &str, difference: &Difference) -> String {
    if matches!(&*difference.table, "dg_event_log" | "dg_tenant_heads") {
        return "put back what was changed, or restore a backup: `decisiongraph runbook log-damage`".to_owned();
    }
    let rebuild = format!(
        "`decisiongraph rebuild all -t {} --reason TEXT --wait` mends it",
        shell_word(tenant)
    );
    // After a rebuild nobody would see any more that events were lost.
    match (&*difference.table, difference.field.as_deref()) {
        ("dg_projection_cursors", Some("last_log_seq")) => format!(
            "the log ends before what was applied: first what was lost is to be appended again (`decisiongraph runbook lost-commits`), then {rebuild}"
        ),
        _ => rebuild,
    }
}

/// Which of the two is right, no hash can tell: the events are to be looked at.
fn way_on(tenant: &str, parting: &Parting) -> String {
    let Some((since, until)) = parting.between else {
        return "both are as their logs say, and the logs are the same: see the versions of the two, and their receipts".to_owned();
    };
    format!(
        "see the events at both places: `decisiongraph events -o jsonl -t {} --since-log-seq {since} --until-log-seq {until} --limit 10000`",
        shell_word(tenant)
    )
}

fn events_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{elapsed_precise} [{wide_bar}] {human_pos}/{human_len} events {per_sec} eta {eta}",
    );
    let bar = ProgressBar::new(0);
    match style {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

pub(super) fn proven(tenant: &str, checked: &Checked) -> Json {
    let one = |(name, digest, log_seq): &(String, Hash, i64)| {
        (
            name.clone(),
            object([("digest", digest.to_string().into()), ("log_seq", (*log_seq).into())]),
        )
    };
    object([
        ("tenant_id", tenant.into()),
        ("proven", true.into()),
        ("events", (checked.events as i64).into()),
        ("last_log_seq", checked.last_log_seq.into()),
        ("rows", (checked.rows as i64).into()),
        ("stored_digests", (checked.digests as i64).into()),
        ("log", checked.marks.last().map_or(Json::Null, log_hash)),
        ("digests", Json::Object(checked.computed.iter().map(one).collect())),
    ])
}

pub(super) fn proven_text(tenant: &str, checked: &Checked) -> String {
    let end = checked.last_log_seq;
    let line = |(name, digest, log_seq): &(String, Hash, i64)| {
        let behind =
            if *log_seq < end { format!(", the log goes to {end}") } else { String::new() };
        format!("\n  {name:<16} {digest} at {log_seq}{behind}")
    };
    let digests: String = checked.computed.iter().map(line).collect();
    let log = checked.marks.last().map(|log| format!("\n  {:<16} {} at {end}", "log", log.hash));
    format!(
        "proven: tenant {tenant}, {} events give the {} rows that are there{digests}{}",
        grouped(checked.events as i64),
        grouped(checked.rows as i64),
        log.unwrap_or_default(),
    )
}

fn against(other: &Receipt, compared: &Result<Sameness, Box<Parting>>) -> Json {
    let checked_at = ("checked_at", Json::from(other.checked_at.as_str()));
    match compared {
        Ok(Sameness { events, since, not_compared }) => object([
            checked_at,
            ("same", true.into()),
            ("difference", Json::Null),
            ("events", (*events as i64).into()),
            ("events_since", (*since as i64).into()),
            (
                "not_compared",
                not_compared.iter().cloned().map(Json::from).collect::<Vec<_>>().into(),
            ),
        ]),
        Err(parting) => {
            object([checked_at, ("same", false.into()), ("difference", parting.to_json())])
        }
    }
}

fn compared_text(at: &str, compared: &Result<Sameness, Box<Parting>>) -> String {
    let (events, since, not_compared) = match compared {
        Err(parting) => return format!("different from the receipt of {at}: {parting}"),
        Ok(Sameness { events, since, not_compared }) => (*events, *since, not_compared),
    };
    let mut text = match since {
        0 => format!("same as in the receipt of {at}: {} events", grouped(events as i64)),
        _ => format!(
            "same as in the receipt of {at}: the first {} events; {} came after them",
            grouped(events as i64),
            grouped(since as i64)
        ),
    };
    if !not_compared.is_empty() {
        text += &format!(
            "\nnot compared, for want of one at the same place: {}",
            not_compared.join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lags_is_proven_up_to_its_cursor_and_says_so() {
        let computed = [("context_graph", 85), ("trace_summary", 100)];
        let computed = computed.map(|(name, at)| (name.to_owned(), Hash([0; 32]), at)).to_vec();
        let (events, last_log_seq, rows) = (100, 100, 9);
        let checked = Checked { events, last_log_seq, rows, computed, ..Checked::default() };
        let text = proven_text("a", &checked);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with(" at 85, the log goes to 100"), "{text}");
        assert!(lines[2].ends_with(" at 100"), "{text}");
    }
}
