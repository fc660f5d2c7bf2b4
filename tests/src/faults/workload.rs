//! The workload: clients that append, read and operate through the socket, and a program that appends
//! with SQL. They go on through every fault, as patient clients do: what has no answer is sent again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dg_admin::client::Client;
use dg_admin::failure::Failure;
use dg_projections::event::Line;
use dg_projections::json::Json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use super::history::History;
use super::producer::{Producer, body};
use crate::Random;
use crate::by_hand::dg_append;
use crate::log::ALL;

/// The tenants that everybody writes to.
pub(super) const TENANTS: [&str; 3] = ["a", "b", "c"];
/// A tenant whose first event cannot be projected.
pub(super) const CURSED: &str = "cursed";

const APPENDERS: usize = 4;
const READERS: usize = 2;
const LINES: &str = "application/x-ndjson";
const JSON: &str = "application/json";
/// Before something without an answer is sent again.
const PAUSE: Duration = Duration::from_millis(30);
/// After the faults an answer must come within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all clients share.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) history: Arc<History>,
    /// The sockets of the daemons: who gets no answer from one asks another.
    pub(super) sockets: Vec<PathBuf>,
    /// The way to the database that no fault of the network is on.
    pub(super) database: tokio_postgres::Config,
    /// How busy they are.
    pub(super) pace: Pace,
}

/// The longest pauses, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// From one act of the operator to the next.
    pub(super) operator: usize,
    /// From one batch of an appender to the next.
    pub(super) append: usize,
}

/// The clients at work.
#[derive(Debug)]
pub(super) struct Workload {
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

impl Workload {
    /// Those of an `era` have names of their own. Must be called within a tokio runtime.
    pub(super) fn start(ground: &Ground, era: usize, seed: &mut Random) -> Workload {
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for number in 0..APPENDERS {
            let client = Clients::new(ground, &stopped, seed.fork());
            let name = format!("p{number}.{era}");
            let producer = Producer::new(&name, &TENANTS, seed.fork());
            clients.spawn(client.append(name, producer));
        }
        for _ in 0..READERS {
            clients.spawn(Clients::new(ground, &stopped, seed.fork()).read());
        }
        clients.spawn(Clients::new(ground, &stopped, seed.fork()).operate());
        let name = format!("sql.{era}");
        let outside = Producer::new(&name, &TENANTS, seed.fork());
        let client = Clients::new(ground, &stopped, seed.fork());
        clients.spawn(client.append_with_sql(name, outside));
        Workload { stop, clients }
    }

    /// Lets every client end what it is at: nothing is left without an answer.
    pub(super) async fn finish(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
    }
}

/// One client, or one operator.
struct Clients {
    ground: Ground,
    stopped: watch::Receiver<bool>,
    random: Random,
    /// Which daemon it asks.
    at: usize,
}

impl Clients {
    fn new(ground: &Ground, stopped: &watch::Receiver<bool>, mut random: Random) -> Clients {
        let at = random.below(ground.sockets.len());
        Clients { ground: ground.clone(), stopped: stopped.clone(), random, at }
    }

    fn history(&self) -> &History {
        &self.ground.history
    }

    fn client(&self, tenant: &str) -> Client {
        let socket: &Path = &self.ground.sockets[self.at % self.ground.sockets.len()];
        Client::new(socket.to_owned(), Some(tenant.to_owned()))
    }

    fn is_over(&self) -> bool {
        *self.stopped.borrow()
    }

    /// A moment of at most so many milliseconds.
    async fn rest(&mut self, most: usize) {
        let pause = Duration::from_millis(self.random.below(most) as u64);
        let _ = tokio::time::timeout(pause, self.stopped.wait_for(|stop| *stop)).await;
    }

    /// No answer: the next attempt goes to another daemon, if there is one.
    async fn no_answer(&mut self) {
        self.history().unknown();
        self.at += 1;
        tokio::time::sleep(PAUSE).await;
    }

    async fn append(mut self, name: String, mut producer: Producer) {
        let mut connection = None;
        while !self.is_over() {
            let batch = producer.batch();
            self.history().sends(&batch);
            let numbers = self.deliver(&batch).await;
            match numbers {
                Some(numbers) => {
                    for (line, log_seq) in batch.iter().zip(&numbers) {
                        self.history().acknowledged(&name, line, *log_seq);
                    }
                    if let Some(last) = batch.iter().zip(&numbers).next_back() {
                        self.look_for(&mut connection, last).await;
                    }
                    if self.random.once_in(10) {
                        self.deliver_again(&batch, &numbers).await;
                    }
                }
                None => producer.give_up(&batch),
            }
            self.rest(self.ground.pace.append).await;
        }
    }

    /// Sends a batch until it has its answer; the numbers. Some clients give up.
    async fn deliver(&mut self, batch: &[Line]) -> Option<Vec<i64>> {
        let tenant = batch[0].event.tenant_id.clone();
        let mut over_at = None;
        loop {
            self.history().asked();
            let client = self.client(&tenant);
            let sent = client.post("/v1/events", &[], LINES, body(batch).into()).await;
            match sent.map(|data| numbers(&data)) {
                Ok(Ok(numbers)) => return Some(numbers),
                Ok(Err(code)) if !may_be_unknown(&code) => {
                    if self.is_broken(batch) {
                        return None;
                    }
                    self.history().wrong(format!("a valid append was refused: {code}"));
                    return None;
                }
                Err(failure) if !may_be_unknown(&failure.code) => {
                    self.history().wrong(format!("a valid append was refused: {failure:?}"));
                    return None;
                }
                Ok(Err(_)) | Err(_) => {}
            }
            self.no_answer().await;
            if !self.is_over() && self.random.once_in(40) {
                return None;
            }
            if self.is_over() && over_at.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                self.history().wrong("an append gets no answer, long after the faults");
                return None;
            }
        }
    }

    /// What was acknowledged is in the log for everybody, from the moment that the client was told.
    async fn look_for(
        &self,
        connection: &mut Option<tokio_postgres::Client>,
        (line, log_seq): (&Line, &i64),
    ) {
        self.connect(connection).await;
        let Some(client) = connection else { return };
        let losses = self.history().told().losses;
        let of = "SELECT log_seq FROM dg_event_log WHERE tenant_id = $1 AND event_id = $2";
        let event = &line.event;
        match client.query_opt(of, &[&event.tenant_id, &event.event_id]).await {
            Ok(Some(row)) if row.get::<_, i64>(0) == *log_seq => {}
            // Gone with the server that had it.
            Ok(_)
                if self.history().told().losses != losses
                    || self.is_broken(std::slice::from_ref(line)) => {}
            Ok(found) => {
                let found: Option<i64> = found.map(|row| row.get(0));
                let (tenant, id) = (&event.tenant_id, &event.event_id);
                self.history().wrong(format!(
                    "an event is acknowledged and not in the log: {tenant}/{id} as {log_seq}, found {found:?}"
                ));
            }
            // Away, which is not what is looked for.
            Err(_) => *connection = None,
        }
    }

    async fn connect(&self, connection: &mut Option<tokio_postgres::Client>) {
        if connection.is_none()
            && let Ok((client, driver)) = self.ground.database.connect(NoTls).await
        {
            tokio::spawn(driver);
            *connection = Some(client);
        }
    }

    /// Whether what the batch continues is gone with a server.
    fn is_broken(&self, batch: &[Line]) -> bool {
        let told = self.history().told();
        batch.iter().any(|line| told.is_broken(&line.event.tenant_id, &line.event.trace_id))
    }

    /// A client that has forgotten that it was told.
    async fn deliver_again(&mut self, batch: &[Line], before: &[i64]) {
        let losses = self.history().told().losses;
        if let Some(numbers) = self.deliver(batch).await
            && numbers != before
            && self.history().told().losses == losses
        {
            let first = &batch[0].event.event_id;
            self.history().wrong(format!("sent again, {first}...: {numbers:?}, was {before:?}"));
        }
    }

    /// What was acknowledged is there for whoever waits for it.
    async fn read(mut self) {
        while !self.is_over() {
            let finished = self.ground.history.finished(&mut self.random);
            if let Some((tenant, trace)) = finished {
                self.history().asked();
                let path = format!("/v1/traces/{trace}/summary");
                let wait = [("wait_ms", Some("5000".to_owned()))];
                match self.client(&tenant).get(&path, &wait).await {
                    Ok(summary) if word(&summary, "outcome") == Some("success") => {}
                    _ if self.history().told().is_broken(&tenant, &trace) => {}
                    Ok(summary) => {
                        self.history().wrong(format!("{tenant}/{trace} has ended: {summary:?}"));
                    }
                    Err(failure) if is_trouble(&failure) => self.no_answer().await,
                    Err(failure) => {
                        self.history().wrong(format!("{tenant}/{trace}: {failure:?}"));
                    }
                }
            }
            self.rest(40).await;
        }
    }

    /// Replays, rebuilds, cancels, resumes and retries at random.
    async fn operate(mut self) {
        let mut runs: Vec<(String, String)> = Vec::new();
        while !self.is_over() {
            self.rest(self.ground.pace.operator).await;
            match (self.random.below(10), runs.is_empty()) {
                (0..=4, _) | (5..=7, true) => {
                    let tenant = (*self.random.pick(&TENANTS)).to_owned();
                    let admitted = self.start_runs(&tenant).await;
                    runs.extend(admitted.into_iter().map(|run| (tenant.clone(), run)));
                }
                (5..=7, false) => {
                    let (tenant, run) = self.random.pick(&runs).clone();
                    let act = *self.random.pick(&["cancel", "cancel", "resume"]);
                    self.act(&tenant, &format!("/v1/runs/{run}/{act}")).await;
                }
                _ => {
                    let projection = *self.random.pick(&ALL);
                    self.act(CURSED, &format!("/v1/projections/{projection}/retry")).await;
                }
            }
        }
    }

    /// Most ask twice at the same moment, as who clicks twice does: one of the two is admitted at most.
    async fn start_runs(&mut self, tenant: &str) -> Vec<String> {
        let (run, is_patient) = (self.new_run(), self.random.once_in(3));
        let ask = |run: Bytes| {
            self.history().asked();
            let client = self.client(tenant);
            async move { client.post("/v1/runs", &[], JSON, run).await }
        };
        let asked = match is_patient {
            true => vec![ask(run).await],
            false => <[_; 2]>::from(tokio::join!(ask(run.clone()), ask(run))).to_vec(),
        };
        let mut admitted = Vec::new();
        for answer in asked {
            match answer {
                Ok(run) => admitted.extend(word(&run, "run_id").map(str::to_owned)),
                Err(failure) => self.refused(&failure).await,
            }
        }
        self.history().told().runs.extend(admitted.iter().cloned());
        admitted
    }

    fn new_run(&mut self) -> Bytes {
        let what = *self.random.pick(&[
            r#""mode":"replay","projection_name":"all""#,
            r#""mode":"replay","projection_name":"trace_summary""#,
            r#""mode":"rebuild","projection_name":"all""#,
            r#""mode":"rebuild","projection_name":"trace_summary""#,
            r#""mode":"rebuild","projection_name":"context_graph""#,
            r#""mode":"rebuild","projection_name":"precedent_index","dry_run":true"#,
        ]);
        format!(r#"{{{what},"reason":"a fault may come"}}"#).into()
    }

    async fn act(&mut self, tenant: &str, path: &str) {
        self.history().asked();
        if let Err(failure) = self.client(tenant).post(path, &[], JSON, Bytes::new()).await {
            self.refused(&failure).await;
        }
    }

    /// An operator is refused what is in the way of something else, and what is not there (yet).
    async fn refused(&mut self, failure: &Failure) {
        match failure.code.as_str() {
            "conflict" | "not_found" => {}
            _ if is_trouble(failure) => self.no_answer().await,
            _ => self.history().wrong(format!("an operator was refused: {failure:?}")),
        }
    }

    /// Another program, with a connection of its own.
    async fn append_with_sql(mut self, name: String, mut producer: Producer) {
        let mut connection = None;
        while !self.is_over() {
            let batch = producer.batch();
            self.history().sends(&batch);
            for line in &batch {
                match self.append_one(&mut connection, line).await {
                    Some(log_seq) => self.history().acknowledged(&name, line, log_seq),
                    None => {
                        producer.give_up(&batch);
                        break;
                    }
                }
            }
            self.rest(60).await;
        }
    }

    async fn append_one(
        &mut self,
        connection: &mut Option<tokio_postgres::Client>,
        line: &Line,
    ) -> Option<i64> {
        let started = Instant::now();
        loop {
            self.history().asked();
            self.connect(connection).await;
            if let Some(client) = connection {
                match dg_append(client, line).await {
                    Ok(log_seq) => return Some(log_seq),
                    Err(error) if may_be_unknown(error.code.as_str()) => *connection = None,
                    Err(_) if self.is_broken(std::slice::from_ref(line)) => return None,
                    Err(error) => {
                        self.history().wrong(format!("dg_append refused: {error}"));
                        return None;
                    }
                }
            }
            if self.is_over() && started.elapsed() > PATIENCE {
                self.history().wrong("dg_append gets no answer, long after the faults");
                return None;
            }
            self.history().unknown();
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The numbers of the answered lines, or the first code of a line that has none.
fn numbers(data: &Json) -> Result<Vec<i64>, String> {
    let results = data.get("results").and_then(Json::as_array).unwrap_or_default();
    let number = |result: &Json| match result.get("log_seq").and_then(Json::as_i64) {
        Some(log_seq) => Ok(log_seq),
        None => Err(word(result, "code").unwrap_or("no code").to_owned()),
    };
    results.iter().map(number).collect()
}

/// Codes after which nobody knows whether it was done: the database was in trouble, or whoever was at
/// it crashed.
fn may_be_unknown(code: &str) -> bool {
    code == "storage" || code == "internal"
}

/// What a reader or an operator must put up with while faults come.
fn is_trouble(failure: &Failure) -> bool {
    may_be_unknown(&failure.code) || failure.code == "projection_out_of_date"
}

fn word<'a>(value: &'a Json, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Json::as_str)
}
