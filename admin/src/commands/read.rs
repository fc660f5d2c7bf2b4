//! `summary`, `graph`, `edges`, `precedents`.

use dg_projections::json::Json;

use crate::cli::Session;
use crate::failure::Failure;
use crate::output::{field, printable};

pub(crate) async fn summary(session: &Session) -> Result<u8, Failure> {
    let trace = crate::server::encode(&session.required("trace")?);
    let path = format!("/v1/traces/{trace}/summary");
    let asked = session.client()?.get(&path, &[wait(session)]).await;
    let data = asked.map_err(super::which_tenant)?;
    session.output.one(&data, summary_card)?;
    Ok(0)
}

pub(super) fn summary_card(data: &Json) -> String {
    let entity =
        format!("{} {}", field(data, "primary_entity_type"), field(data, "primary_entity_id"));
    let outcome = match data.get("outcome") {
        Some(Json::String(outcome)) => outcome.clone(),
        _ => "still open".to_owned(),
    };
    let lines = [
        ("trace", field(data, "trace_id")),
        ("title", field(data, "title")),
        ("workflow", field(data, "workflow")),
        ("about", entity),
        ("started", field(data, "started_at")),
        ("finished", field(data, "finished_at")),
        ("outcome", outcome),
    ];
    let lines: Vec<String> =
        lines.into_iter().map(|(name, text)| format!("{name:<10}{text}")).collect();
    lines.join("\n")
}

fn number(session: &Session, name: &str) -> Option<String> {
    session.args.get_one::<u64>(name).map(u64::to_string)
}

fn wait(session: &Session) -> (&'static str, Option<String>) {
    let seconds = session.args.get_one::<u64>("wait");
    ("wait_ms", seconds.map(|seconds| (seconds * 1000).to_string()))
}

pub(crate) async fn graph(session: &Session) -> Result<u8, Failure> {
    let parameters = [
        ("kind", Some(session.required("kind")?)),
        ("id", Some(session.required("id")?)),
        ("depth", number(session, "depth")),
        ("max_nodes", number(session, "max-nodes")),
        ("max_edges", number(session, "max-edges")),
        ("node_type", session.text("node-type")),
        ("edge_type", session.text("edge-type")),
        wait(session),
    ];
    let asked = session.client()?.get("/v1/graph", &parameters).await;
    let data = asked.map_err(super::which_tenant)?;
    session.output.one(&data, |data| graph_table(session, data))?;
    Ok(0)
}

pub(super) fn graph_table(session: &Session, data: &Json) -> String {
    let items = |name| data.get(name).and_then(Json::as_array).unwrap_or_default();
    let (nodes, edges) = (items("nodes"), items("edges"));
    let cut = match data.get("truncated").and_then(Json::as_bool) {
        Some(true) => ", truncated: raise --max-nodes or --max-edges for more",
        _ => "",
    };
    format!("{} nodes, {} edges{cut}\n\n{}", nodes.len(), edges.len(), edge_table(session, edges))
}

fn edge_table(session: &Session, edges: &[Json]) -> String {
    let row = |edge: &Json| {
        ["log_seq", "from_node_id", "edge_type", "to_node_id"]
            .map(|name| field(edge, name))
            .to_vec()
    };
    session.output.table(&["log_seq", "from", "edge", "to"], edges.iter().map(row).collect())
}

pub(crate) async fn edges(session: &Session) -> Result<u8, Failure> {
    let parameters = [
        ("kind", Some(session.required("kind")?)),
        ("id", Some(session.required("id")?)),
        ("direction", session.text("direction")),
        ("limit", number(session, "limit")),
        ("cursor", session.text("cursor")),
        wait(session),
    ];
    let data = session.client()?.get("/v1/edges", &parameters).await?;
    session.output.one(&data, |data| {
        let table =
            edge_table(session, data.get("edges").and_then(Json::as_array).unwrap_or_default());
        match data.get("next_cursor").and_then(Json::as_str) {
            Some(next) => format!("{table}\n\nmore: --cursor '{}'", printable(next)),
            None => table,
        }
    })?;
    Ok(0)
}

pub(crate) async fn precedents(session: &Session) -> Result<u8, Failure> {
    let parameters = [
        ("policy_id", session.text("policy")),
        ("policy_version", session.text("policy-version")),
        ("outcome", session.text("outcome")),
        ("entity_type", session.text("entity-type")),
        ("entity_id", session.text("entity-id")),
        ("limit", number(session, "limit")),
        wait(session),
    ];
    let data = session.client()?.get("/v1/precedents", &parameters).await?;
    session
        .output
        .many(data.as_array().unwrap_or_default(), |hits| precedent_table(session, hits))?;
    Ok(0)
}

pub(super) fn precedent_table(session: &Session, hits: &[Json]) -> String {
    let fields = [
        "trace_id",
        "title",
        "outcome",
        "policy_id",
        "policy_version",
        "exception_id",
        "finished_at",
    ];
    let row = |hit: &Json| fields.map(|name| field(hit, name)).to_vec();
    let head = ["trace", "title", "outcome", "policy", "version", "exception", "finished at"];
    session.output.table(&head, hits.iter().map(row).collect())
}
