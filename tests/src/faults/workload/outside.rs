//! A program that appends with SQL, beside the daemon.

use std::time::Instant;

use dg_projections::event::Line;

use super::PATIENCE;
use super::asker::{Asker, PAUSE, may_be_unknown};
use crate::by_hand::dg_append;
use crate::faults::producer::Producer;

/// The longest pause, in milliseconds: shorter than a lane waits before it asks what became of a commit
/// that broke off.
const OUTSIDE: usize = 180;

impl Asker {
    /// Another program, with a connection of its own.
    pub(super) async fn append_with_sql(mut self, name: String, mut producer: Producer) {
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
                self.rest(OUTSIDE).await;
            }
            self.rest(OUTSIDE).await;
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
