//! `digest`, `parity`.

use std::collections::BTreeSet;
use std::time::Duration;

use dg_projections::Code;
use dg_projections::json::{self, Json};
use dg_projections::log_hash::{LogHash, Mark};

use super::direct;
use super::run::Signals;
use super::{watch, which_tenant};
use crate::cli::Session;
use crate::client::Client;
use crate::failure::{Failure, exit};
use crate::output::{field, grouped, heard_or_not, line, since};
use crate::parity;
use crate::wire::object;

pub(crate) async fn digest(session: &Session) -> Result<u8, Failure> {
    let client = session.client()?;
    watch::shown(session, async || {
        let asked = client.get("/v1/digests", &[("fresh", session.flag("fresh"))]).await;
        let mut data = asked.map_err(which_tenant)?;
        if session.args.get_flag("log-hash") {
            add_log_hash(&client, &mut data).await?;
        }
        Ok(session.output.text_of_one(&data, |data| digest_table(session, data)))
    })
    .await
}

/// The log's own hash is made of an export, here: the whole log is read for it, which nobody should
/// make a daemon do who only wants to see the digests.
async fn add_log_hash(client: &Client, data: &mut Json) -> Result<(), Failure> {
    let until = data.get("last_log_seq").and_then(Json::as_i64).unwrap_or(0);
    let mut hash = LogHash::new(u64::MAX, BTreeSet::new());
    let each = |text: &str| {
        let event = json::parse(text).ok();
        let log_seq = event.and_then(|event| event.get("log_seq")?.as_i64()).unwrap_or(0);
        match hash.exported(log_seq, text) {
            true => Ok(()),
            false => {
                Err(Failure::new(Code::Internal, "the daemon has sent a line that is no event"))
            }
        }
    };
    client.lines("/v1/events", &[("until_log_seq", Some(until.to_string()))], each).await?;
    if let Json::Object(members) = data {
        members.insert("log".to_owned(), log_hash(&hash.end()));
    }
    Ok(())
}

/// The hash of a log's first events.
pub(super) fn log_hash(of: &Mark) -> Json {
    object([
        ("event_count", (of.events as i64).into()),
        ("last_log_seq", of.log_seq.into()),
        ("hash", of.hash.to_string().into()),
    ])
}

pub(super) fn digest_table(session: &Session, data: &Json) -> String {
    let digests = data.get("digests").and_then(Json::as_object).cloned().unwrap_or_default();
    let row = |(name, one): (&String, &Json)| {
        vec![name.clone(), field(one, "log_seq"), field(one, "digest"), since(one, "updated_at")]
    };
    let mut rows: Vec<Vec<String>> = digests.iter().map(row).collect();
    if let Some(log) = data.get("log") {
        let now = "now".to_owned();
        rows.push(vec!["log".to_owned(), field(log, "last_log_seq"), field(log, "hash"), now]);
    }
    session.output.table(&["digest of", "log_seq", "value", "computed"], rows)
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
