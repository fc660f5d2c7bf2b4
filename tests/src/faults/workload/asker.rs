//! Whoever asks: which daemon, again and again, until the clients are to end.

use std::path::Path;
use std::time::Duration;

use dg_admin::client::Client;
use dg_admin::failure::Failure;
use dg_projections::event::Line;
use dg_projections::json::Json;
use tokio::sync::watch;
use tokio_postgres::NoTls;

use super::Ground;
use crate::Random;
use crate::faults::history::History;

/// Before something without an answer is sent again.
pub(super) const PAUSE: Duration = Duration::from_millis(30);

/// One of them.
pub(super) struct Asker {
    pub(super) ground: Ground,
    stopped: watch::Receiver<bool>,
    pub(super) random: Random,
    /// Which daemon it asks.
    at: usize,
}

impl Asker {
    pub(super) fn new(
        ground: &Ground,
        stopped: &watch::Receiver<bool>,
        mut random: Random,
    ) -> Asker {
        let at = random.below(ground.sockets.len());
        Asker { ground: ground.clone(), stopped: stopped.clone(), random, at }
    }

    pub(super) fn history(&self) -> &History {
        &self.ground.history
    }

    pub(super) fn client(&self, tenant: &str) -> Client {
        self.client_beside(0, tenant)
    }

    /// A client of the daemon so many places further.
    pub(super) fn client_beside(&self, place: usize, tenant: &str) -> Client {
        let socket: &Path = &self.ground.sockets[(self.at + place) % self.ground.sockets.len()];
        Client::new(socket.to_owned(), Some(tenant.to_owned()))
    }

    pub(super) fn is_over(&self) -> bool {
        *self.stopped.borrow()
    }

    /// A moment of at most so many milliseconds.
    pub(super) async fn rest(&mut self, most: usize) {
        let pause = Duration::from_millis(self.random.below(most) as u64);
        let _ = tokio::time::timeout(pause, self.stopped.wait_for(|stop| *stop)).await;
    }

    /// No answer: the next attempt goes to another daemon, if there is one.
    pub(super) async fn no_answer(&mut self) {
        self.history().unknown();
        self.at += 1;
        tokio::time::sleep(PAUSE).await;
    }

    /// Has a connection to the database, if one can be had.
    pub(super) async fn connect(&self, connection: &mut Option<tokio_postgres::Client>) {
        if connection.is_none()
            && let Ok((client, driver)) = self.ground.database.connect(NoTls).await
        {
            tokio::spawn(driver);
            *connection = Some(client);
        }
    }

    /// Whether what the batch continues is gone with a server.
    pub(super) fn is_broken(&self, batch: &[Line]) -> bool {
        let told = self.history().told();
        batch.iter().any(|line| told.is_broken(&line.event.tenant_id, &line.event.trace_id))
    }
}

/// Codes after which nobody knows whether it was done: the database was in trouble, or whoever was at
/// it crashed.
pub(super) fn may_be_unknown(code: &str) -> bool {
    code == "storage" || code == "internal"
}

/// What a reader or an operator must put up with while faults come.
pub(super) fn is_trouble(failure: &Failure) -> bool {
    may_be_unknown(&failure.code) || failure.code == "projection_out_of_date"
}

pub(super) fn word<'a>(value: &'a Json, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Json::as_str)
}
