//! Runs: what is going on and has gone on, and the requests that start, cancel and resume one.

use dg_projections::Rejection;
use dg_projections::json::{self, Json, Object};
use dg_projections::projection::Projection;
use dg_runtime::{RunRequest, RunView};
use dg_store::{ALL_PROJECTIONS, RunFilter, RunMode, RunStatus, StoreError};
use hyper::body::Incoming;

use super::asked::{Asked, Handled, invalid, not_found};
use super::audit::Act;
use super::body;
use super::peer::Crowd;
use super::reads::operate::projection;
use super::respond::Answer;
use crate::wire;

/// Those that keep others from the same projection.
pub(crate) const ACTIVE: [RunStatus; 2] = [RunStatus::Queued, RunStatus::Running];
/// Those that somebody has yet to see to.
pub(crate) const OPEN: [RunStatus; 3] =
    [RunStatus::Queued, RunStatus::Running, RunStatus::Interrupted];

/// Runs that a list has unless told otherwise, and at most.
const LISTED: i64 = 100;
const MOST_LISTED: i64 = 1000;
/// Runs of all tenants that are told of beside something else, at most.
const MOST_TOLD: i64 = 10_000;

const MEMBERS: [&str; 5] = ["mode", "projection_name", "reason", "until_log_seq", "dry_run"];

/// Runs in one of these states, of one tenant or of all.
pub(crate) async fn of(
    asked: &Asked<'_>,
    tenant: Option<&str>,
    statuses: &[RunStatus],
) -> Result<Vec<RunView>, StoreError> {
    asked.runtime()?.runs(RunFilter { tenant, statuses, limit: MOST_TOLD }).await
}

/// Those of the tenant that the request names, the newest first; of all tenants if it names none.
pub(crate) async fn list(asked: Asked<'_>) -> Handled {
    let all = asked.query.flag("all")?;
    let limit = asked.query.bounded("limit", LISTED, 1, MOST_LISTED)?;
    let status = asked.query.text("status").map(|word| status(&word)).transpose()?;
    let tenant = asked.named_tenant().filter(|_| !all);
    let filter = RunFilter { tenant, statuses: status.as_slice(), limit };
    let found = asked.runtime()?.runs(filter).await?;
    Ok(Json::Array(found.iter().map(wire::run).collect()).into())
}

fn status(word: &str) -> Result<RunStatus, Rejection> {
    RunStatus::from_word(word).ok_or_else(|| {
        let states = RunStatus::ALL.map(RunStatus::as_str).join(", ");
        invalid(format!("no run is ever '{word}'; states are {states}"))
    })
}

pub(crate) async fn one(asked: Asked<'_>, run_id: &str) -> Handled {
    let found = asked.runtime()?.run(asked.named_tenant(), run_id).await?;
    let found = found.ok_or_else(|| not_found(format!("there is no run {run_id}")))?;
    Ok(wire::run(&found).into())
}

pub(crate) async fn cancel(asked: Asked<'_>, run_id: &str, act: &mut Act) -> Handled {
    let cancelled = asked.runtime()?.cancel_run(asked.named_tenant(), run_id).await??;
    Ok(done(&cancelled, act))
}

pub(crate) async fn resume(asked: Asked<'_>, run_id: &str, act: &mut Act) -> Handled {
    let resumed = asked.runtime()?.resume_run(asked.named_tenant(), run_id).await??;
    asked.context.watch.admitted(&resumed);
    Ok(done(&resumed, act))
}

/// What was done to a run, which need not have been asked for by its tenant's name.
fn done(view: &RunView, act: &mut Act) -> Answer {
    act.tenant = Some(view.run.key.tenant_id.clone());
    wire::run(view).into()
}

pub(crate) async fn start(
    asked: Asked<'_>,
    body: &mut Incoming,
    crowd: &Crowd,
    act: &mut Act,
) -> Handled {
    act.tenant = Some(asked.tenant.clone());
    let runtime = asked.runtime()?;
    let wanted = Wanted::read(&body::read(body, crowd).await?.text)?;
    act.what = Some(wanted.in_words());
    act.reason = Some(wanted.reason.clone());
    let requested_by = asked.uid.map(|uid| format!("uid {uid}"));
    let request = RunRequest {
        tenant: &asked.tenant,
        mode: wanted.mode,
        scope: wanted.scope,
        dry_run: wanted.dry_run,
        reason: &wanted.reason,
        until_log_seq: wanted.until_log_seq,
        requested_by: requested_by.as_deref(),
    };
    let started = runtime.start_run(request).await??;
    act.what = Some(format!("{} {}", wanted.in_words(), started.run.key.run_id));
    asked.context.watch.admitted(&started);
    Ok(done(&started, act))
}

/// What the body of a request for a run says.
#[derive(Debug)]
pub(super) struct Wanted {
    mode: RunMode,
    scope: Option<Projection>,
    reason: String,
    until_log_seq: Option<i64>,
    dry_run: bool,
}

impl Wanted {
    fn in_words(&self) -> String {
        let scope = self.scope.map_or(ALL_PROJECTIONS, Projection::as_str);
        let kind = if self.dry_run { " (dry run)" } else { "" };
        format!("{} {scope}{kind}", self.mode.as_str())
    }

    pub(super) fn read(text: &str) -> Result<Wanted, Rejection> {
        let body = json::parse(text).map_err(|error| invalid(format!("the body: {error}")))?;
        let Json::Object(members) = body else {
            return Err(invalid("the body must be a JSON object"));
        };
        if let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            let known = MEMBERS.join(", ");
            return Err(misfit(unknown, &format!("is not known; a run has {known}")));
        }
        Ok(Wanted {
            mode: mode(&members)?,
            reason: required(&members, "reason")?,
            until_log_seq: number(&members, "until_log_seq")?,
            dry_run: flag(&members, "dry_run")?,
            scope: scope(&required(&members, "projection_name")?)?,
        })
    }
}

/// A refusal that names the member to blame.
fn misfit(member: &str, why: &str) -> Rejection {
    invalid(format!("member '{member}' {why}")).with("member", member)
}

fn mode(members: &Object) -> Result<RunMode, Rejection> {
    let word = required(members, "mode")?;
    let modes = RunMode::ALL.map(RunMode::as_str).join(" or ");
    RunMode::from_word(&word)
        .ok_or_else(|| misfit("mode", &format!("must be {modes}, not '{word}'")))
}

/// One projection; none for all of them.
fn scope(name: &str) -> Result<Option<Projection>, Rejection> {
    if name == ALL_PROJECTIONS { Ok(None) } else { projection(name).map(Some) }
}

/// A member that says something: null says nothing.
fn given<'a>(members: &'a Object, name: &str) -> Option<&'a Json> {
    members.get(name).filter(|value| !value.is_null())
}

fn required(members: &Object, name: &str) -> Result<String, Rejection> {
    let value = given(members, name).ok_or_else(|| misfit(name, "is missing"))?;
    let text = value.as_str().ok_or_else(|| misfit(name, "must be a string"))?;
    if text.contains('\0') {
        return Err(misfit(name, "contains a NUL character"));
    }
    Ok(text.to_owned())
}

fn number(members: &Object, name: &str) -> Result<Option<i64>, Rejection> {
    let number =
        |value: &Json| value.as_i64().ok_or_else(|| misfit(name, "must be a whole number"));
    given(members, name).map(number).transpose()
}

fn flag(members: &Object, name: &str) -> Result<bool, Rejection> {
    let flag = |value: &Json| value.as_bool().ok_or_else(|| misfit(name, "must be true or false"));
    given(members, name).map_or(Ok(false), flag)
}

#[cfg(test)]
mod tests {
    use dg_projections::Code;

    use super::*;

    #[test]
    fn a_run_is_read_from_its_members() {
        let least = r#"{"mode":"replay","projection_name":"all","reason":"x"}"#;
        let wanted = Wanted::read(least).unwrap();
        assert_eq!((wanted.mode, wanted.scope, wanted.dry_run), (RunMode::Replay, None, false));
        assert_eq!(wanted.until_log_seq, None);
        let most = r#"{"mode":"rebuild","projection_name":"trace_summary","reason":"x",
            "until_log_seq":7,"dry_run":true}"#;
        let wanted = Wanted::read(most).unwrap();
        assert_eq!(wanted.scope, Some(Projection::TraceSummary));
        assert_eq!((wanted.until_log_seq, wanted.dry_run), (Some(7), true));
    }

    #[test]
    fn what_makes_no_run_is_refused_by_its_member() {
        let with = |more: &str| {
            format!(r#"{{"mode":"replay","projection_name":"all","reason":"x",{more}}}"#)
        };
        for (body, member) in [
            (r#"{"projection_name":"all","reason":"x"}"#.to_owned(), "mode"),
            (r#"{"mode":"redo","projection_name":"all","reason":"x"}"#.to_owned(), "mode"),
            (r#"{"mode":"replay","reason":"x"}"#.to_owned(), "projection_name"),
            (r#"{"mode":"replay","projection_name":"all"}"#.to_owned(), "reason"),
            (r#"{"mode":"replay","projection_name":"all","reason":7}"#.to_owned(), "reason"),
            (r#"{"mode":"replay","projection_name":"all","reason":"\u0000"}"#.to_owned(), "reason"),
            (with(r#""until_log_seq":"7""#), "until_log_seq"),
            (with(r#""until_log_seq":7.5"#), "until_log_seq"),
            (with(r#""dry_run":"yes""#), "dry_run"),
            (with(r#""tenant_id":"t""#), "tenant_id"),
        ] {
            let refused = Wanted::read(&body).unwrap_err();
            assert_eq!(refused.code, Code::InvalidArgument, "{body}");
            assert_eq!(refused.details.get("member"), Some(&Json::from(member)), "{body}");
            assert!(refused.message.contains(member), "{refused:?}");
        }
        for body in ["", "[]", "7", "{", r#"{"mode":"replay","mode":"replay"}"#] {
            assert_eq!(Wanted::read(body).unwrap_err().code, Code::InvalidArgument, "{body}");
        }
        let unknown = r#"{"mode":"replay","projection_name":"nope","reason":"x"}"#;
        assert_eq!(Wanted::read(unknown).unwrap_err().code, Code::NotFound);
    }
}
