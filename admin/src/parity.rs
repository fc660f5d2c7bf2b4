//! Parity: bundles of scenarios through the real pipeline into Postgres, rows and digests compared
//! with what the bundle says.
//!
//! Both formats are read: a bundle exported by the reference has one object as `trace_summary`,
//! without `primary_entity_system`; the fields that are there are compared.

use std::time::Duration;

use dg_projections::Code;
use dg_projections::event::{Keeping, Line, parse_line};
use dg_projections::json::{self, Json, canonical};
use dg_projections::model::Tables;
use dg_projections::projection::Projection;
use dg_projections::rows::Row;
use dg_runtime::{Runtime, Settings};
use dg_store::{Store, StoredDigest, Target};
use tokio::time::Instant;

use crate::config::Config;
use crate::daemon::{settings, store_options};
use crate::failure::Failure;
use crate::scratch::ScratchServer;
use crate::wire::object;

/// How long a scenario may take to be projected.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream of events and what it gives.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    bundle: Json,
}

/// The scenarios of a bundle file.
///
/// # Errors
/// `not_found` or `invalid_argument` for what is no bundle.
pub fn read_bundle(file: &str) -> Result<Vec<Scenario>, Failure> {
    let refuse = |code, why: String| Failure::new(code, format!("{file}: {why}"));
    let text = std::fs::read_to_string(file).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        refuse(if missing { Code::NotFound } else { Code::InvalidArgument }, error.to_string())
    })?;
    let bundle =
        json::parse(&text).map_err(|error| refuse(Code::InvalidArgument, error.to_string()))?;
    let scenarios = bundle.get("scenarios").and_then(Json::as_array);
    let scenarios = scenarios
        .ok_or_else(|| refuse(Code::InvalidArgument, "has no list of scenarios".to_owned()))?;
    let scenario = |(index, bundle): (usize, &Json)| {
        let name = bundle
            .get("scenario")
            .and_then(Json::as_str)
            .map_or_else(|| format!("#{index}"), str::to_owned);
        Scenario { name, bundle: bundle.clone() }
    };
    Ok(scenarios.iter().enumerate().map(scenario).collect())
}

/// What became of a scenario.
#[derive(Debug, Clone)]
pub struct Outcome {
    name: String,
    events: usize,
    rows: usize,
    difference: Option<String>,
}

impl Outcome {
    /// Whether rows and digests are those of the bundle.
    pub fn is_same(&self) -> bool {
        self.difference.is_none()
    }

    /// One line for people.
    pub fn to_line(&self) -> String {
        match &self.difference {
            None => format!(
                "same       {:<24} {:>4} events {:>5} rows",
                self.name, self.events, self.rows
            ),
            Some(difference) => format!("different  {:<24} {difference}", self.name),
        }
    }

    /// The same for scripts.
    pub fn to_json(&self) -> Json {
        object([
            ("scenario", self.name.as_str().into()),
            ("same", self.is_same().into()),
            ("events", (self.events as i64).into()),
            ("rows", (self.rows as i64).into()),
            ("difference", Json::from(self.difference.clone())),
        ])
    }
}

/// A scratch database with a runtime on it.
#[derive(Debug)]
pub struct Scratch {
    store: Store,
    runtime: Runtime,
    server: ScratchServer,
    name: String,
}

impl Scratch {
    /// Opens one.
    ///
    /// # Errors
    /// When no database can be had.
    pub async fn open(server: Option<Target>, config: &Config) -> Result<Scratch, Failure> {
        let name = format!("dg_parity_{}", std::process::id());
        let (server, database) = make_database(server, config, &name).await?;
        match Scratch::on(database, config).await {
            Ok((store, runtime)) => Ok(Scratch { store, runtime, server, name }),
            Err(failure) => {
                server.drop(&name).await;
                server.close(PATIENCE).await;
                Err(failure)
            }
        }
    }

    async fn on(database: Target, config: &Config) -> Result<(Store, Runtime), Failure> {
        let store = Store::new(database, &store_options(config))?;
        store.migrate(env!("CARGO_PKG_VERSION"), PATIENCE).await?;
        // Whatever the daemon keeps, a bundle tells of all three.
        let settings = Settings {
            projections: Projection::ALL.to_vec(),
            ..settings(config, "parity".to_owned())
        };
        let runtime = Runtime::start(store.clone(), settings).await;
        Ok((store, runtime.map_err(|error| Failure::new(Code::Internal, error.to_string()))?))
    }

    /// Stops the runtime and removes the database.
    pub async fn close(self, patience: Duration) {
        self.runtime.stop(patience).await;
        self.server.drop(&self.name).await;
        self.server.close(patience).await;
    }

    /// Appends and projects a scenario as a tenant of its own, and compares.
    ///
    /// # Errors
    /// When the database fails; a scenario that is refused or differs is an [`Outcome`].
    pub async fn run(&self, scenario: &Scenario) -> Result<Outcome, Failure> {
        let outcome = |events, rows, difference| Outcome {
            name: scenario.name.clone(),
            events,
            rows,
            difference,
        };
        // Unique, since bundles may repeat a name.
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let tenant = format!("parity-{number}-{}", scenario.name);
        let lines = match scenario.lines(&tenant) {
            Ok(lines) => lines,
            Err(refusal) => return Ok(outcome(0, 0, Some(refusal))),
        };
        for answer in self.runtime.append(&tenant, &lines[..]).await? {
            if let Err(rejection) = answer {
                return Ok(outcome(lines.len(), 0, Some(rejection.to_string())));
            }
        }
        if let Err(difference) = self.until_current(&tenant).await? {
            return Ok(outcome(lines.len(), 0, Some(difference)));
        }
        let digests = self.store.compute_digests(&tenant).await?;
        let tables = self.store.tables(&tenant).await?;
        let rows = count(&tables);
        Ok(outcome(lines.len(), rows, scenario.compare(&tables, &digests, lines.len())))
    }

    async fn until_current(&self, tenant: &str) -> Result<Result<(), String>, Failure> {
        let names = Projection::ALL.map(Projection::as_str);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let health = self.store.health(Some(tenant), &names).await?;
            if health.first().is_some_and(|health| !health.is_stale()) {
                return Ok(Ok(()));
            }
            let failure = self.store.failures(tenant, false).await?.pop();
            if let Some(failure) = failure {
                return Ok(Err(format!(
                    "{}: {}: {}",
                    failure.projection_name, failure.error_code, failure.error_message
                )));
            }
            if Instant::now() > deadline {
                return Ok(Err("was not projected in time".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Beside the daemon's database if its server answers, else in a cluster of our own.
async fn make_database(
    server: Option<Target>,
    config: &Config,
    name: &str,
) -> Result<(ScratchServer, Target), Failure> {
    if let Some(server) = server.map(ScratchServer::beside) {
        match server.create(name).await {
            Ok(database) => return Ok((server, database)),
            // A database that was asked for must be there; the embedded one need not run.
            Err(failure) if config.database_url.is_some() => return Err(failure),
            Err(_) => {}
        }
    }
    let server = ScratchServer::own(name, config.postgres_bin_dir.clone()).await?;
    let database = server.create(name).await?;
    Ok((server, database))
}

impl Scenario {
    fn lines(&self, tenant: &str) -> Result<Vec<Line>, String> {
        let events = self.bundle.get("events").and_then(Json::as_array).ok_or("has no events")?;
        let line = |(index, event): (usize, &Json)| {
            let mut members = event.as_object().cloned().unwrap_or_default();
            members.remove("tenant_id");
            parse_line(&canonical(&Json::Object(members)), tenant, Keeping::NewNumbers)
                .map_err(|rejection| format!("event {index}: {rejection}"))
        };
        events.iter().enumerate().map(line).collect()
    }

    fn compare(&self, tables: &Tables, digests: &[StoredDigest], events: usize) -> Option<String> {
        let snapshot = self.bundle.get("projection_snapshot").unwrap_or(&Json::Null);
        let graph = snapshot.get("context_graph").unwrap_or(&Json::Null);
        let lists = [
            compare_rows(graph.get("nodes"), "node_id", tables.nodes.values()),
            compare_rows(graph.get("edges"), "edge_id", tables.edges.values()),
            compare_rows(snapshot.get("trace_summary"), "trace_id", tables.summaries.values()),
            compare_rows(
                snapshot.get("policy_eval_index"),
                "index_id",
                tables.policy_evals.values(),
            ),
            compare_rows(
                snapshot.get("precedent_index"),
                "source_event_id",
                tables.precedents.values(),
            ),
        ];
        let cursor =
            snapshot.get("projection_cursor").and_then(Json::as_i64).unwrap_or(events as i64);
        let cursors = digests.iter().find(|digest| digest.log_seq != cursor);
        lists
            .into_iter()
            .flatten()
            .next()
            .or_else(|| {
                cursors.map(|digest| {
                    format!("{} stands at {}, not {cursor}", digest.name, digest.log_seq)
                })
            })
            .or_else(|| self.compare_digests(digests))
    }

    fn compare_digests(&self, digests: &[StoredDigest]) -> Option<String> {
        let expected = self.bundle.get("expected_digests").and_then(Json::as_object);
        let Some(expected) = expected else { return Some("has no expected digests".to_owned()) };
        expected.iter().find_map(|(name, expected)| {
            let expected = expected.as_str().unwrap_or_default();
            let found = digests
                .iter()
                .find(|digest| digest.name == *name)
                .map(|digest| digest.digest.to_string());
            match found {
                Some(found) if found == expected => None,
                found => Some(format!(
                    "digest {name} is {}, not {expected}",
                    found.unwrap_or_else(|| "missing".to_owned())
                )),
            }
        })
    }
}

fn count(tables: &Tables) -> usize {
    tables.nodes.len()
        + tables.edges.len()
        + tables.summaries.len()
        + tables.policy_evals.len()
        + tables.precedents.len()
}

/// The first difference between the rows of a bundle and ours, over the fields that the bundle has.
fn compare_rows<'a, R: Row + 'a>(
    expected: Option<&Json>,
    key: &str,
    rows: impl ExactSizeIterator<Item = &'a R>,
) -> Option<String> {
    let expected = match expected? {
        Json::Array(rows) => rows.as_slice(),
        one => std::slice::from_ref(one),
    };
    if expected.len() != rows.len() {
        return Some(format!("{} has {} rows, not {}", R::TABLE, rows.len(), expected.len()));
    }
    let expected_of = |wanted: &str| {
        expected.iter().find(|row| row.get(key).and_then(Json::as_str) == Some(wanted))
    };
    for row in rows {
        let Some(expected) = expected_of(row.key()) else {
            return Some(format!("{} '{}' is not in the bundle", R::TABLE, row.key()));
        };
        for (field, value) in row.fields() {
            let Some(wanted) = expected.get(field) else { continue };
            let wanted = match wanted {
                Json::Null => None,
                Json::String(text) => Some(text.clone()),
                other => Some(canonical(other)),
            };
            if wanted.as_deref() != value.as_deref() {
                return Some(format!(
                    "{} '{}' field {field}: expected {wanted:?}, found {value:?}",
                    R::TABLE,
                    row.key()
                ));
            }
        }
    }
    None
}
