//! Those who append through the socket, and look at once for what they were told.

use std::time::Instant;

use dg_projections::event::Line;
use dg_projections::json::Json;

use super::PATIENCE;
use super::asker::{Asker, may_be_unknown, word};
use crate::faults::producer::{Producer, body};

const LINES: &str = "application/x-ndjson";

impl Asker {
    /// Batch after batch; each event is looked for in the log as soon as it is acknowledged.
    pub(super) async fn append(mut self, name: String, mut producer: Producer) {
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
