//! `append`, `import`, `export`, `events`, `trace`, `generate`.

use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::time::Instant;

use dg_projections::Code;
use dg_projections::json::{Json, canonical};
use indicatif::{ProgressBar, ProgressStyle};

use super::feed::{Mode, Tally, feed};
use super::source::Source;
use super::which_tenant;
use crate::cli::Session;
use crate::failure::Failure;
use crate::generate::{Plan, lines};
use crate::output::{Format, field, grouped, heard_or_not, line, note, printable};
use crate::wire::object;

/// Events that `events` lists unless told otherwise.
const LISTED: u64 = 100;

/// Rejected lines that `import` prints; the rest is only counted.
const SHOWN_REJECTIONS: u64 = 20;

pub(crate) async fn append(session: &Session) -> Result<u8, Failure> {
    let mut source = Source::open(&session.required("file")?).await?;
    let mode = Mode { atomic: session.args.get_flag("atomic"), ..Mode::default() };
    let client = session.client()?;
    let tally =
        feed(&client, &mut source, mode, |result, _| heard_or_not(line(&canonical(result))))
            .await?;
    if tally.broken_off.is_none() && tally.lines() == 0 {
        note("no events in the input");
    }
    outcome(tally)
}

/// The exit code, or why not all lines were processed.
fn outcome(tally: Tally) -> Result<u8, Failure> {
    match tally.broken_off {
        Some(failure) if failure.code == Code::Storage.as_str() => Err(failure.help(SEND_AGAIN)),
        Some(failure) => Err(failure),
        None => Ok(tally.exit()),
    }
}

const SEND_AGAIN: &str = "`decisiongraph doctor` finds what is in the way; then run the same again: what is in is reused";

pub(crate) async fn import(session: &Session) -> Result<u8, Failure> {
    let mut source = Source::open(&session.required("file")?).await?;
    let mode = Mode { keep_log_seq: session.args.get_flag("keep-log-seq"), ..Mode::default() };
    let client = session.client()?;
    let bar = progress_bar(source.progress().1);
    let started = Instant::now();
    let mut rejections = 0;
    let tally = feed(&client, &mut source, mode, |result, (read, _)| {
        bar.set_position(read);
        if is_refused(result) {
            rejections += 1;
            if rejections <= SHOWN_REJECTIONS {
                bar.suspend(|| show_rejection(result));
            }
        }
        Ok(())
    })
    .await;
    bar.finish_and_clear();
    let tally = tally?;
    if rejections > SHOWN_REJECTIONS {
        note(&format!(
            "... and {} more rejected lines",
            grouped((rejections - SHOWN_REJECTIONS) as i64)
        ));
    }
    if tally.broken_off.is_none() || tally.lines() > 0 {
        heard_or_not(summary_of_import(session, &tally, started.elapsed().as_secs_f64()))?;
    }
    outcome(tally)
}

/// Whether a line was rejected for what it says, rather than for a database that is away.
fn is_refused(result: &Json) -> bool {
    let word = |key| result.get(key).and_then(Json::as_str);
    word("status") == Some("rejected") && word("code") != Some(Code::Storage.as_str())
}

fn show_rejection(result: &Json) {
    note(&format!(
        "line {}: {}: {}",
        field(result, "line"),
        field(result, "code"),
        field(result, "message")
    ));
}

fn progress_bar(bytes: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{elapsed_precise} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
        ),
        None => (ProgressBar::new_spinner(), "{elapsed_precise} {spinner} {bytes} {bytes_per_sec}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

fn summary_of_import(session: &Session, tally: &Tally, seconds: f64) -> Result<(), Failure> {
    let done = tally.inserted + tally.reused;
    let rate = done as f64 / seconds.max(0.001);
    let summary = object([
        ("inserted", Json::from(tally.inserted as i64)),
        ("reused", Json::from(tally.reused as i64)),
        ("rejected", Json::from(tally.rejected as i64)),
        ("seconds", crate::wire::seconds(seconds)),
        ("events_per_second", crate::wire::seconds(rate)),
    ]);
    session.output.one(&summary, |_| {
        if done + tally.rejected == 0 {
            return "no events in the input".to_owned();
        }
        format!(
            "{} inserted, {} reused, {} rejected in {seconds:.1} s ({} events/s)",
            grouped(tally.inserted as i64),
            grouped(tally.reused as i64),
            grouped(tally.rejected as i64),
            grouped(rate as i64),
        )
    })
}

pub(crate) async fn export(session: &Session) -> Result<u8, Failure> {
    let mut events = 0_u64;
    let each = |text: &str| {
        events += 1;
        line(text)
    };
    session.client()?.lines("/v1/events", &[], each).await?;
    // An empty file is no backup of a tenant whose name was misspelt.
    if events == 0 {
        let message = format!("tenant '{}' has no events", session.tenant());
        return Err(which_tenant(Failure::new(Code::NotFound, message)));
    }
    Ok(0)
}

pub(crate) async fn events(session: &Session) -> Result<u8, Failure> {
    let number = |name: &str| session.args.get_one::<u64>(name).map(u64::to_string);
    let parameters = [
        ("trace_id", session.text("trace-id")),
        ("event_type", session.text("event-type")),
        ("since_log_seq", number("since-log-seq")),
        ("until_log_seq", number("until-log-seq")),
        ("since_occurred_at", session.text("since-occurred-at")),
        ("until_occurred_at", session.text("until-occurred-at")),
        ("limit", number("limit")),
    ];
    let data = session.client()?.get("/v1/events", &parameters).await?;
    let events = data.as_array().unwrap_or_default();
    session.output.many(events, |events| event_table(session, events))?;
    let limit = session.args.get_one::<u64>("limit").copied().unwrap_or(LISTED);
    if let (Format::Table, Some(last)) = (session.output.format, events.last())
        && events.len() as u64 >= limit
    {
        let last = field(last, "log_seq").replace(',', "");
        note(&format!("there may be more: --since-log-seq {last}, or a higher --limit"));
    }
    Ok(0)
}

fn event_table(session: &Session, events: &[Json]) -> String {
    let row = |event: &Json| {
        let actor = event.get("actor").map(|actor| field(actor, "actor_id")).unwrap_or_default();
        let cells = ["log_seq", "trace_id", "trace_seq", "event_type", "occurred_at", "event_id"];
        let mut row: Vec<String> = cells.iter().map(|name| field(event, name)).collect();
        row.insert(5, actor);
        row
    };
    let head = ["log_seq", "trace", "seq", "type", "occurred at", "actor", "event"];
    session.output.table(&head, events.iter().map(row).collect())
}

pub(crate) async fn trace(session: &Session) -> Result<u8, Failure> {
    let trace = session.required("trace")?;
    let since = session.args.get_one::<u64>("since-trace-seq").map(u64::to_string);
    let path = format!("/v1/traces/{}", crate::server::encode(&trace));
    let asked = session.client()?.get(&path, &[("since_trace_seq", since)]).await;
    let data = asked.map_err(which_tenant)?;
    session.output.one(&data, |data| {
        let events = data.get("events").and_then(Json::as_array).unwrap_or_default();
        let row = |event: &Json| {
            let actor =
                event.get("actor").map(|actor| field(actor, "actor_id")).unwrap_or_default();
            let mut row: Vec<String> = ["trace_seq", "event_type", "occurred_at"]
                .iter()
                .map(|name| field(event, name))
                .collect();
            row.extend([actor, gist(event)]);
            row
        };
        let table = session.output.table(
            &["seq", "type", "occurred at", "actor", "what"],
            events.iter().map(row).collect(),
        );
        let finished = data.get("finished").and_then(Json::as_bool) == Some(true);
        let end = if finished { "finished" } else { "still open" };
        format!(
            "trace {} of tenant {}: {end}\n\n{table}",
            printable(&trace),
            field(data, "tenant_id")
        )
    })?;
    Ok(0)
}

/// What an event says, in a few words of its payload.
fn gist(event: &Json) -> String {
    let empty = Json::Null;
    let payload = event.get("payload").unwrap_or(&empty);
    let at = |path: &[&str]| {
        path.iter()
            .try_fold(payload, |value, key| value.get(key))
            .and_then(Json::as_str)
            .unwrap_or("")
    };
    let text = match event.get("event_type").and_then(Json::as_str).unwrap_or_default() {
        "TraceStarted" => format!("{}: {}", at(&["workflow"]), at(&["title"])),
        "InputObserved" => at(&["input_id"]).to_owned(),
        "EntityObserved" => format!(
            "{} {}:{}",
            at(&["role"]),
            at(&["entity", "entity_type"]),
            at(&["entity", "entity_id"])
        ),
        "PolicyEvaluated" => format!(
            "{} {}: {}",
            at(&["policy", "policy_id"]),
            at(&["policy", "policy_version"]),
            at(&["decision"])
        ),
        "ExceptionRequested" => format!("{}: {}", at(&["exception_id"]), at(&["reason"])),
        "ApprovalRecorded" => format!("{} by {}", at(&["decision"]), at(&["approver", "actor_id"])),
        "PrecedentCited" => format!("{}: {}", at(&["cited_trace_id"]), at(&["reason"])),
        "ActionProposed" => format!("{} {}", at(&["action_type"]), at(&["action_id"])),
        "ActionCommitted" => format!("{}: {}", at(&["action_id"]), at(&["status"])),
        "TraceFinished" => at(&["outcome"]).to_owned(),
        _ => String::new(),
    };
    let short: String = printable(&text).chars().take(72).collect();
    if short.len() < text.len() { format!("{}…", short.trim_end()) } else { short }
}

pub(crate) fn generate(session: &Session) -> Result<u8, Failure> {
    let number = |name: &str| session.args.get_one::<u64>(name).copied().unwrap_or(0);
    let small = |name: &str| u32::try_from(number(name)).unwrap_or(u32::MAX);
    let plan = Plan {
        traces: number("traces"),
        events_per_trace: small("events-per-trace"),
        payload_bytes: usize::try_from(number("payload-bytes")).unwrap_or(usize::MAX),
        tenants: small("tenants"),
        seed: number("seed"),
    };
    plan.validate().map_err(|message| Failure::new(Code::InvalidArgument, message).exit(2))?;
    let mut out = BufWriter::with_capacity(256 * 1024, std::io::stdout().lock());
    let mut written = lines(plan).try_for_each(|line| writeln!(out, "{line}"));
    written = written.and_then(|()| out.flush());
    written.map(|()| 0).map_err(|error| Failure::unprinted(&error))
}
