//! A page as it changes: server-sent events, one for each region that is not as it was.
//!
//! Invariants: a look is followed by a rest that is longer than the look took, so that many who look
//! on at a slow database do not slow it further; who does not read is looked for no longer, as the
//! next look waits until what was sent last is on its way.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dg_projections::event::rfc3339;
use dg_projections::json::{Json, canonical};
use futures_util::{Stream, stream};
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::html::Html;
use super::pages::{Region, regions};
use super::parts::Clock;
use super::route::Page;
use super::{Console, look};
use crate::server::{Body, streamed};
use crate::wire::object;

const EVENTS: &str = "text/event-stream";
/// From one look to the next.
const PERIOD: Duration = Duration::from_secs(1);
/// How much of the time may go into looks, as one part of so many.
const SHARE: u32 = 10;
/// How often the page is told that the daemon is there, whether anything has changed or not.
const HEARTBEAT: Duration = Duration::from_secs(5);

pub(super) fn stream(console: Arc<Console>, page: Page) -> Response<Body> {
    let mut response = Response::new(streamed(changes(console, page)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    response
}

/// What is known of a page that is looked at.
struct Onlooker {
    console: Arc<Console>,
    page: Page,
    known: HashMap<&'static str, Html>,
    looks_at: Instant,
    told_at: Option<Instant>,
}

fn changes(console: Arc<Console>, page: Page) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let known = HashMap::new();
    let onlooker = Onlooker { console, page, known, looks_at: Instant::now(), told_at: None };
    stream::unfold(onlooker, |mut onlooker| async move {
        let mut stop = onlooker.console.stop.clone();
        tokio::select! {
            text = onlooker.next() => Some((Ok(Bytes::from(text)), onlooker)),
            _ = stop.wait_for(|stop| *stop) => None,
        }
    })
}

impl Onlooker {
    /// What there is to tell next, as soon as there is something.
    async fn next(&mut self) -> String {
        loop {
            tokio::time::sleep_until(self.looks_at).await;
            let started = Instant::now();
            let view = look::look(&self.console, &self.page).await;
            self.looks_at = started + PERIOD.max(started.elapsed() * SHARE);
            let now = OffsetDateTime::now_utc();
            let clock = Clock { now, is_live: true };
            let mut text = changed(&mut self.known, regions(&view, clock));
            let is_due = self.told_at.is_none_or(|told| told.elapsed() >= HEARTBEAT);
            if is_due || !text.is_empty() {
                text.push_str(&event("now", &object([("at", Json::from(rfc3339(now)))])));
                self.told_at = Some(Instant::now());
                return text;
            }
        }
    }
}

/// An event for each region that is not as it was known, and for each that is gone.
fn changed(known: &mut HashMap<&'static str, Html>, regions: Vec<Region>) -> String {
    let mut text = String::new();
    let gone: Vec<&'static str> =
        known.keys().filter(|id| !regions.iter().any(|one| one.id == **id)).copied().collect();
    for id in gone {
        known.remove(id);
        text.push_str(&region(id, ""));
    }
    for Region { id, html } in regions {
        if known.get(id) != Some(&html) {
            text.push_str(&region(id, html.as_str()));
            known.insert(id, html);
        }
    }
    text
}

fn region(id: &str, html: &str) -> String {
    event("region", &object([("id", Json::from(id)), ("html", Json::from(html))]))
}

/// JSON has no line breaks of its own, which would end an event.
fn event(name: &str, data: &Json) -> String {
    format!("event: {name}\ndata: {}\n\n", canonical(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: &'static str, text: &str) -> Region {
        Region { id, html: Html::text(text) }
    }

    #[test]
    fn only_what_has_changed_is_told_each_on_a_line() {
        let mut known = HashMap::new();
        let told = changed(&mut known, vec![one("a", "x\ny"), one("b", "<")]);
        assert_eq!(
            told,
            "event: region\ndata: {\"html\":\"x\u{fffd}y\",\"id\":\"a\"}\n\n\
             event: region\ndata: {\"html\":\"&lt;\",\"id\":\"b\"}\n\n"
        );
        assert_eq!(changed(&mut known, vec![one("a", "x\ny"), one("b", "<")]), "");
        let told = changed(&mut known, vec![one("a", "z")]);
        assert_eq!(
            told,
            "event: region\ndata: {\"html\":\"\",\"id\":\"b\"}\n\n\
             event: region\ndata: {\"html\":\"z\",\"id\":\"a\"}\n\n"
        );
    }
}
