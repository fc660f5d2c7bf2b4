//! `status`, `health`, `workers`, `failures`, `retry`.

use std::collections::BTreeSet;

use bytes::Bytes;
use dg_projections::Code;
use dg_projections::json::Json;

use super::{runs, watch, which_tenant};
use crate::cli::Session;
use crate::failure::Failure;
use crate::output::{duration, field, grouped, heard_or_not, line, printable, since};

pub(crate) async fn status(session: &Session) -> Result<u8, Failure> {
    let client = session.client()?;
    watch::shown(session, async || {
        if session.args.get_flag("tree") {
            let data = client.get("/v1/tree", &[]).await?;
            return Ok(session.output.text_of_one(&data, |data| tree_lines(session, data)));
        }
        let data = client.get("/v1/status", &[]).await?;
        Ok(session.output.text_of_one(&data, |data| status_card(session, data)))
    })
    .await
}

/// The supervision tree, a line each, with what stands out marked by its state.
fn tree_lines(session: &Session, data: &Json) -> String {
    let mut rows = Vec::new();
    add_branch(data, "", "", &mut rows);
    session.output.table(&["child", "type", "state", "restarts", "age"], rows)
}

fn add_branch(node: &Json, stem: &str, below: &str, rows: &mut Vec<Vec<String>>) {
    let age =
        node.get("age_seconds").and_then(Json::as_f64).map_or_else(|| "-".to_owned(), duration);
    let name = format!("{stem}{}", field(node, "name"));
    rows.push(vec![name, field(node, "type"), field(node, "state"), field(node, "restarts"), age]);
    let children = node.get("children").and_then(Json::as_array).unwrap_or_default();
    for (index, child) in children.iter().enumerate() {
        let (branch, bar) =
            if index + 1 < children.len() { ("├─ ", "│  ") } else { ("└─ ", "   ") };
        add_branch(child, &format!("{below}{branch}"), &format!("{below}{bar}"), rows);
    }
}

fn status_card(session: &Session, data: &Json) -> String {
    let empty = Json::Null;
    let database = data.get("database").unwrap_or(&empty);
    let reason = match field(database, "reason").as_str() {
        "-" => String::new(),
        reason => {
            format!(
                " since {}, {}: {reason}",
                field(database, "down_since"),
                since(database, "down_since")
            )
        }
    };
    let workers = data.get("workers").and_then(Json::as_object).cloned().unwrap_or_default();
    let workers: Vec<String> = workers
        .iter()
        .map(|(state, count)| {
            format!("{} {}", grouped(count.as_i64().unwrap_or(0)), session.output.state(state))
        })
        .collect();
    let workers = if workers.is_empty() { "none at work".to_owned() } else { workers.join(", ") };
    let parked = data.get("parked").and_then(Json::as_array).unwrap_or_default();
    let parked: Vec<String> = parked
        .iter()
        .map(|one| {
            format!(
                "{} since {}, {}: {}",
                field(one, "tenant_id"),
                field(one, "since"),
                since(one, "since"),
                field(one, "reason")
            )
        })
        .collect();
    let parked = if parked.is_empty() { "none".to_owned() } else { parked.join("\n             ") };
    let active = data.get("active_runs").and_then(Json::as_array);
    let interrupted = data.get("interrupted_runs").and_then(Json::as_i64).unwrap_or(0);
    let names = data.get("projections").and_then(Json::as_array).unwrap_or_default();
    let names: Vec<&str> = names.iter().filter_map(Json::as_str).collect();
    let uptime = duration(data.get("uptime_seconds").and_then(Json::as_f64).unwrap_or(0.0));
    let lines = [
        ("version", field(data, "version")),
        ("owner", field(data, "owner")),
        ("uptime", uptime),
        ("database", format!("{}{reason}", session.output.state(&field(database, "state")))),
        ("schema", field(database, "schema_version")),
        ("workers", workers),
        ("parked", parked),
        ("runs", active.map_or_else(|| "-".to_owned(), |active| runs_told(active, interrupted))),
        ("projections", names.join(", ")),
    ];
    let lines = lines.into_iter().map(|(name, text)| format!("{name:<13}{text}"));
    lines.chain(waiting(data)).chain(neighbours(data)).collect::<Vec<_>>().join("\n")
}

/// Only while there are any: they come by themselves.
fn waiting(data: &Json) -> Option<String> {
    let waiting = data.get("waiting_tenants").and_then(Json::as_i64).filter(|count| *count > 0)?;
    let until = "until other tenants come to rest (projection_max_workers bounds those at work)";
    Some(format!("{:<13}{} {until}", "waiting", grouped(waiting)))
}

/// Those at work, and how many wait for somebody to resume or cancel them.
fn runs_told(active: &[Json], interrupted: i64) -> String {
    let one = |run: &Json| {
        let (id, tenant) = (field(run, "run_id"), field(run, "tenant_id"));
        format!("{id} {}: {} of tenant {tenant}", field(run, "status"), runs::what(run))
    };
    let interrupted = (interrupted > 0).then(|| format!("{} interrupted", grouped(interrupted)));
    match active {
        [] => {
            ["none active".to_owned()].into_iter().chain(interrupted).collect::<Vec<_>>().join(", ")
        }
        active => {
            active.iter().map(one).chain(interrupted).collect::<Vec<_>>().join("\n             ")
        }
    }
}

/// A warning when this daemon is not alone at its database.
fn neighbours(data: &Json) -> Option<String> {
    let others = data.get("other_owners").and_then(Json::as_array).unwrap_or_default();
    let others: Vec<String> = others.iter().filter_map(Json::as_str).map(printable).collect();
    (!others.is_empty()).then(|| {
        let others = others.join(", ");
        format!("warning: other daemons are at this database and do the same work: {others}")
    })
}

pub(crate) async fn health(session: &Session) -> Result<u8, Failure> {
    if session.args.get_flag("check") {
        return check(session).await;
    }
    let client = session.client()?;
    let parameters = [("all", session.flag("all-tenants"))];
    watch::shown(session, async || {
        let asked = client.get("/v1/health", &parameters).await;
        let mut data = asked.map_err(which_tenant)?;
        if session.args.get_flag("digests") {
            refresh_digests(session, &data).await?;
            data = client.get("/v1/health", &parameters).await?;
        }
        let table = |tenants: &[Json]| health_table(session, tenants);
        Ok(match data.as_array() {
            Some(tenants) => session.output.text_of_many(tenants, table),
            None => session.output.text_of_one(&data, |data| table(std::slice::from_ref(data))),
        })
    })
    .await
}

async fn refresh_digests(session: &Session, data: &Json) -> Result<(), Failure> {
    let one = std::slice::from_ref(data);
    for tenant in data.as_array().unwrap_or(one) {
        let name = tenant.get("tenant_id").and_then(Json::as_str).unwrap_or_default();
        session.client_for(name)?.get("/v1/digests", &[]).await?;
    }
    Ok(())
}

pub(super) fn health_table(session: &Session, tenants: &[Json]) -> String {
    let mut rows = Vec::new();
    let with_digests =
        tenants.iter().any(|tenant| !tenant.get("full_digest").is_none_or(Json::is_null));
    for tenant in tenants {
        for projection in tenant.get("projections").and_then(Json::as_array).unwrap_or_default() {
            let lag = projection.get("lag_seconds").and_then(Json::as_f64).unwrap_or(0.0);
            let lag = if lag > 0.0 { duration(lag) } else { "-".to_owned() };
            let mut row = vec![
                field(tenant, "tenant_id"),
                field(projection, "projection_name"),
                field(projection, "status"),
                field(tenant, "event_log_last_seq"),
                field(projection, "last_log_seq"),
                field(projection, "pending_events"),
                lag,
                field(projection, "open_failures"),
            ];
            if with_digests {
                row.push(short_digest(&field(projection, "digest")));
            }
            rows.push(row);
        }
    }
    let mut head =
        vec!["tenant", "projection", "status", "log", "cursor", "pending", "lag", "failures"];
    if with_digests {
        head.push("digest");
    }
    session.output.table(&head, rows)
}

fn short_digest(digest: &str) -> String {
    digest
        .strip_prefix("sha256:")
        .map_or_else(|| digest.to_owned(), |hex| hex.chars().take(12).collect())
}

/// Monitoring plug-ins: one line, and 0 current, 1 behind, 2 failed, 3 unknown.
async fn check(session: &Session) -> Result<u8, Failure> {
    let asked = match session.client() {
        Ok(client) => client.get("/v1/health", &[("all", session.flag("all-tenants"))]).await,
        Err(failure) => Err(failure),
    };
    let data = match asked {
        Ok(data) => data,
        Err(failure) => {
            let text = format!("UNKNOWN: {}: {}", failure.code, printable(&failure.message));
            heard_or_not(line(&text))?;
            return Ok(3);
        }
    };
    let one = std::slice::from_ref(&data);
    let tenants = data.as_array().unwrap_or(one);
    let projections = || {
        tenants.iter().flat_map(|tenant| {
            tenant.get("projections").and_then(Json::as_array).unwrap_or_default()
        })
    };
    let failed =
        projections().filter(|p| p.get("status").and_then(Json::as_str) == Some("failed")).count();
    let pending: i64 =
        projections().filter_map(|p| p.get("pending_events").and_then(Json::as_i64)).sum();
    let (word, code) = match (failed, pending) {
        (0, 0) => ("OK", 0),
        (0, _) => ("WARNING", 1),
        _ => ("CRITICAL", 2),
    };
    heard_or_not(line(&format!(
        "{word}: {} tenants, {failed} failed projections, {} events pending | failed={failed} pending={pending}",
        tenants.len(),
        grouped(pending)
    )))?;
    Ok(code)
}

pub(crate) async fn workers(session: &Session) -> Result<u8, Failure> {
    let client = session.client()?;
    let parameters = [("all", session.flag("all-tenants")), ("state", session.text("state"))];
    watch::shown(session, async || {
        let data = client.get("/v1/workers", &parameters).await?;
        let workers = data.as_array().unwrap_or_default();
        Ok(session.output.text_of_many(workers, |workers| workers_table(session, workers)))
    })
    .await
}

/// Each of several partitions has a worker: where there is one only, its number says nothing.
fn workers_table(session: &Session, workers: &[Json]) -> String {
    let is_partitioned = workers
        .iter()
        .any(|it| it.get("partition").and_then(Json::as_i64).is_some_and(|at| at > 0));
    let row = |worker: &Json| {
        let error = worker.get("last_error").filter(|error| !error.is_null());
        let error = error.map_or("-".to_owned(), |error| {
            format!("{}: {}", field(error, "code"), field(error, "message"))
        });
        let mut row: Vec<String> = [
            "tenant_id",
            "projection_name",
            "status",
            "cursor",
            "sync_count",
            "retry_count",
            "restarts",
        ]
        .iter()
        .map(|name| field(worker, name))
        .collect();
        row.push(error.chars().take(80).collect());
        if is_partitioned {
            row.insert(2, field(worker, "partition"));
        }
        row
    };
    let mut head = vec![
        "tenant",
        "projection",
        "status",
        "cursor",
        "syncs",
        "retries",
        "restarts",
        "last error",
    ];
    if is_partitioned {
        head.insert(2, "partition");
    }
    session.output.table(&head, workers.iter().map(row).collect())
}

pub(crate) async fn failures(session: &Session) -> Result<u8, Failure> {
    let client = session.client_of_all_or_one()?;
    watch::shown(session, async || {
        let data = client.get("/v1/failures", &[("all", session.flag("all"))]).await?;
        let failures = data.as_array().unwrap_or_default();
        Ok(session.output.text_of_many(failures, |failures| failures_table(session, failures)))
    })
    .await
}

fn failures_table(session: &Session, failures: &[Json]) -> String {
    let fields = [
        "tenant_id",
        "projection_name",
        "status",
        "log_seq",
        "event_id",
        "error_code",
        "retry_count",
    ];
    let row = |failure: &Json| {
        let mut row = fields.map(|name| field(failure, name)).to_vec();
        row.extend([since(failure, "recorded_at"), field(failure, "error_message")]);
        row
    };
    let head = [
        "tenant",
        "projection",
        "status",
        "log_seq",
        "event",
        "code",
        "retries",
        "since",
        "message",
    ];
    let table = session.output.table(&head, failures.iter().map(row).collect());
    [table].into_iter().chain(failures_help(failures)).collect::<Vec<_>>().join("\n")
}

/// What a worker says whose cursor is ahead of its log.
const LOST: &str = "but the log ends at";

/// Where it is said what to do about those that are open.
fn failures_help(failures: &[Json]) -> Vec<String> {
    let open = failures.iter().filter(|failure| field(failure, "status") == "open");
    let page = |failure| match Code::from_word(&field(failure, "error_code")) {
        // The code tells a defect, the message which.
        Some(Code::Internal) if field(failure, "error_message").contains(LOST) => "lost-commits",
        Some(code @ (Code::Internal | Code::Storage)) => code.as_str(),
        _ => "projection-failed", // the event's fault
    };
    let pages: BTreeSet<&str> = open.map(page).collect();
    pages.into_iter().map(|page| format!("help: `decisiongraph runbook {page}`")).collect()
}

pub(crate) async fn retry(session: &Session) -> Result<u8, Failure> {
    let projection = session.required("projection")?;
    let path = format!("/v1/projections/{}/retry", crate::server::encode(&projection));
    let asked = session.client()?.post(&path, &[], "application/json", Bytes::new()).await;
    let data = asked.map_err(nothing_to_retry)?;
    session.output.one(&data, |_| {
        format!("{} of tenant {} tries again", printable(&projection), printable(session.tenant()))
    })?;
    Ok(0)
}

/// It is another projection's or another tenant's worker, or none of either waits.
fn nothing_to_retry(failure: Failure) -> Failure {
    if failure.code != Code::NotFound.as_str() {
        return failure;
    }
    failure.help("`decisiongraph workers` lists those there are; name the tenant with --tenant")
}
