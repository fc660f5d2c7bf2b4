//! `replay`, `rebuild`, `runs`, `run`, `cancel`, `resume`.

mod card;
mod follow;
mod outcome;

use bytes::Bytes;
use dg_projections::Code;
use dg_projections::json::{Json, canonical};

use super::{watch, which_tenant};
use crate::cli::Session;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Format, field, heard_or_not, note};
use crate::server::{JSON, encode};
use crate::wire::object;

pub(super) use card::{card, mode, percent, what};

pub(crate) async fn replay(session: &Session) -> Result<u8, Failure> {
    let until = session.args.get_one::<u64>("until-log-seq");
    // Beyond what a number of the log can be: the daemon says so.
    let until = until.map_or(Json::Null, |until| Json::Number(until.to_string()));
    start(session, [("mode", "replay".into()), ("until_log_seq", until)]).await
}

pub(crate) async fn rebuild(session: &Session) -> Result<u8, Failure> {
    let dry_run = session.args.get_flag("dry-run");
    start(session, [("mode", "rebuild".into()), ("dry_run", dry_run.into())]).await
}

async fn start(session: &Session, [mode, option]: [(&str, Json); 2]) -> Result<u8, Failure> {
    let projection = session.required("projection")?;
    let body = object([
        mode,
        option,
        ("projection_name", projection.into()),
        ("reason", session.required("reason")?.into()),
    ]);
    let client = session.client()?;
    let asked = client.post("/v1/runs", &[], JSON, Bytes::from(canonical(&body))).await;
    begun(session, &client, asked.map_err(|failure| not_started(session, failure))?).await
}

/// A run that waits for its turn now: its identifier alone, for scripts, unless somebody waits for it.
async fn begun(session: &Session, client: &Client, run: Json) -> Result<u8, Failure> {
    if session.args.get_flag("wait") {
        return follow_to_its_end(session, client, run).await;
    }
    let id = field(&run, "run_id");
    session.output.one(&run, |_| id.clone())?;
    if session.output.format == Format::Table {
        note(&format!("`decisiongraph run {id} --wait` follows it"));
    }
    Ok(0)
}

async fn follow_to_its_end(session: &Session, client: &Client, run: Json) -> Result<u8, Failure> {
    let run = follow::until_over(client, run).await?;
    heard_or_not(session.output.one(&run, |run| card(session.output, run)))?;
    outcome::of(&run)
}

pub(crate) async fn runs(session: &Session) -> Result<u8, Failure> {
    let limit = session.args.get_one::<u64>("limit").map(u64::to_string);
    let parameters = [("status", session.text("status")), ("limit", limit)];
    let client = session.client_of_all_or_one()?;
    watch::shown(session, async || {
        let data = client.get("/v1/runs", &parameters).await?;
        let runs = data.as_array().unwrap_or_default();
        Ok(session.output.text_of_many(runs, |runs| card::history(session, runs)))
    })
    .await
}

pub(crate) async fn run(session: &Session) -> Result<u8, Failure> {
    let (client, id) = (session.client()?, session.required("run")?);
    let run = client.get(&path(&id), &[]).await.map_err(|failure| of_a_run(&id, failure))?;
    if session.args.get_flag("wait") {
        return follow_to_its_end(session, &client, run).await;
    }
    session.output.one(&run, |run| card(session.output, run))?;
    Ok(0)
}

pub(crate) async fn cancel(session: &Session) -> Result<u8, Failure> {
    let run = turn(session, &session.client()?, "cancel").await?;
    session
        .output
        .one(&run, |run| format!("run {} is {}", field(run, "run_id"), field(run, "status")))?;
    Ok(0)
}

pub(crate) async fn resume(session: &Session) -> Result<u8, Failure> {
    let client = session.client()?;
    let run = turn(session, &client, "resume").await?;
    begun(session, &client, run).await
}

async fn turn(session: &Session, client: &Client, verb: &str) -> Result<Json, Failure> {
    let id = session.required("run")?;
    let asked = client.post(&format!("{}/{verb}", path(&id)), &[], JSON, Bytes::new()).await;
    asked.map_err(|failure| of_a_run(&id, failure))
}

fn path(id: &str) -> String {
    format!("/v1/runs/{}", encode(id))
}

/// Why a run was not admitted, and what to do about it.
fn not_started(session: &Session, failure: Failure) -> Failure {
    let about_tenant = format!("tenant '{}'", session.tenant());
    if failure.message.starts_with(&about_tenant) {
        return which_tenant(failure);
    }
    if failure.message.starts_with("until_log_seq") {
        return failure.help("without --until-log-seq it goes to the end of the log");
    }
    in_the_way(failure)
}

/// The run that is in the way of another is named by its refusal.
fn in_the_way(failure: Failure) -> Failure {
    let Some(id) = failure.details.get("run_id").and_then(Json::as_str) else { return failure };
    let help =
        format!("`decisiongraph run {id} --wait` follows it, `decisiongraph cancel {id}` ends it");
    failure.help(help)
}

fn of_a_run(id: &str, failure: Failure) -> Failure {
    match Code::from_word(&failure.code) {
        Some(Code::NotFound) => failure.help("`decisiongraph runs` lists those there are"),
        Some(Code::Conflict) if !failure.details.contains_key("run_id") => {
            failure.help(format!("`decisiongraph run {id}` shows it"))
        }
        _ => in_the_way(failure),
    }
}
