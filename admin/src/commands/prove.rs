//! `digest`, `verify`, `parity`.

use std::io::IsTerminal as _;
use std::time::Duration;

use dg_projections::compare::Difference;
use dg_projections::json::Json;
use dg_store::{Checked, Verdict};
use indicatif::{ProgressBar, ProgressStyle};

use super::direct;
use super::run::Signals;
use super::{watch, which_tenant};
use crate::cli::Session;
use crate::failure::{Failure, exit};
use crate::output::{field, grouped, heard_or_not, line, note, shell_word, since};
use crate::parity;
use crate::wire::object;

pub(crate) async fn digest(session: &Session) -> Result<u8, Failure> {
    let client = session.client()?;
    watch::shown(session, async || {
        let asked = client.get("/v1/digests", &[("fresh", session.flag("fresh"))]).await;
        let data = asked.map_err(which_tenant)?;
        Ok(session.output.text_of_one(&data, |data| digest_table(session, data)))
    })
    .await
}

pub(super) fn digest_table(session: &Session, data: &Json) -> String {
    let digests = data.get("digests").and_then(Json::as_object).cloned().unwrap_or_default();
    let row = |(name, one): (&String, &Json)| {
        vec![name.clone(), field(one, "log_seq"), field(one, "digest"), since(one, "updated_at")]
    };
    session
        .output
        .table(&["digest of", "log_seq", "value", "computed"], digests.iter().map(row).collect())
}

pub(crate) async fn verify(session: &Session) -> Result<u8, Failure> {
    let store = direct::store(session)?;
    let bar = events_bar();
    let progress = |done: u64, all: u64| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let verdict = store.verify(session.tenant(), &progress).await;
    bar.finish_and_clear();
    match verdict.map_err(|error| which_tenant(error.into()))? {
        Verdict::Proven(checked) => {
            session.output.one(&proven(session.tenant(), &checked), |_| {
                proven_text(session.tenant(), &checked)
            })?;
            Ok(0)
        }
        Verdict::Different(difference) => {
            let shown = object([
                ("tenant_id", session.tenant().into()),
                ("proven", false.into()),
                ("difference", difference.to_json()),
            ]);
            heard_or_not(session.output.one(&shown, |_| format!("different: {difference}")))?;
            if session.output.format == crate::output::Format::Table {
                note(&remedy(session.tenant(), &difference));
            }
            Ok(exit::PROOF)
        }
    }
}

/// Projections can be had again from the log; the log only from somewhere else.
fn remedy(tenant: &str, difference: &Difference) -> String {
    if matches!(&*difference.table, "dg_event_log" | "dg_tenant_heads") {
        return "help: put back what was changed, or restore from a backup".to_owned();
    }
    let tenant = shell_word(tenant);
    format!("help: `decisiongraph rebuild all -t {tenant} --reason TEXT --wait` mends it")
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
    let one = |(name, digest, log_seq): &(String, dg_projections::hash::Hash, i64)| {
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
        ("digests", Json::Object(checked.computed.iter().map(one).collect())),
    ])
}

pub(super) fn proven_text(tenant: &str, checked: &Checked) -> String {
    let end = checked.last_log_seq;
    let line = |(name, digest, log_seq): &(String, dg_projections::hash::Hash, i64)| {
        let behind =
            if *log_seq < end { format!(", the log goes to {end}") } else { String::new() };
        format!("\n  {name:<16} {digest} at {log_seq}{behind}")
    };
    let digests: String = checked.computed.iter().map(line).collect();
    format!(
        "proven: tenant {tenant}, {} events give the {} rows that are there{digests}",
        grouped(checked.events as i64),
        grouped(checked.rows as i64),
    )
}

pub(crate) async fn parity(session: &Session) -> Result<u8, Failure> {
    let files: Vec<String> =
        session.args.get_many::<String>("files").into_iter().flatten().cloned().collect();
    // The scratch database is removed however this ends.
    let mut signals = Signals::new()?;
    let scratch = parity::Scratch::open(direct::database(session).ok(), &session.config()?).await?;
    let outcome = tokio::select! {
        outcome = run_bundles(session, &scratch, &files) => outcome,
        () = signals.next() => Err(Failure::interrupted()),
    };
    scratch.close(Duration::from_secs(10)).await;
    let (scenarios, failed) = outcome?;
    if session.output.format == crate::output::Format::Table {
        heard_or_not(line(&format!("{} scenarios, {failed} different", grouped(scenarios))))?;
    }
    Ok(if failed == 0 { 0 } else { exit::PROOF })
}

async fn run_bundles(
    session: &Session,
    scratch: &parity::Scratch,
    files: &[String],
) -> Result<(i64, i64), Failure> {
    let (mut scenarios, mut failed, mut shown) = (0, 0, Vec::new());
    for file in files {
        for scenario in parity::read_bundle(file)? {
            let result = scratch.run(&scenario).await?;
            scenarios += 1;
            failed += i64::from(!result.is_same());
            if session.output.format == crate::output::Format::Table {
                heard_or_not(line(&result.to_line()))?;
            } else {
                shown.push(result.to_json());
            }
        }
    }
    if session.output.format != crate::output::Format::Table {
        heard_or_not(session.output.many(&shown, |_| String::new()))?;
    }
    Ok((scenarios, failed))
}

#[cfg(test)]
mod tests {
    use dg_projections::hash::Hash;

    use super::*;

    #[test]
    fn what_lags_is_proven_up_to_its_cursor_and_says_so() {
        let computed = [("context_graph", 85), ("trace_summary", 100)];
        let computed = computed.map(|(name, at)| (name.to_owned(), Hash([0; 32]), at)).to_vec();
        let checked = Checked { events: 100, last_log_seq: 100, rows: 9, digests: 0, computed };
        let text = proven_text("a", &checked);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with(" at 85, the log goes to 100"), "{text}");
        assert!(lines[2].ends_with(" at 100"), "{text}");
    }
}
