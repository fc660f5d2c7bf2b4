//! The web console: what `top` shows, for those who prefer a browser. Read-only, served beside the
//! metrics on loopback.
//!
//! ```text
//! monitor ── visitor ── guard ── route ── look ── view ── pages ── html
//!                                  └─ live: the same again and again, what has changed is sent
//! ```
//! Invariants:
//! - it is off unless it was switched on: the admin socket knows its callers by uid, loopback does not,
//!   and names of tenants, titles and graphs are business data that any local user could read here.
//!   Payloads take a second switch;
//! - a page is a pure function of what was seen, and everything in it is escaped ([`html`]);
//! - what it costs is bounded, however many tenants and visitors there are: lists have an end, looks
//!   have a deadline, and visitors have places of their own, so that who scrapes always finds one;
//! - nothing is fetched from anywhere else, and nothing is lost without scripts but liveness.

mod chart;
mod graph;
mod guard;
mod html;
mod live;
mod look;
mod pages;
mod parts;
mod route;
mod view;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dg_projections::{Code, Rejection};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::Config;
use crate::history::History;
use crate::server::{Body, RuntimeSlot};
use parts::Clock;
use route::{Page, Wanted};

/// Answers at once, and pages that are live: together a small part of the monitor's connections.
const MOST_ANSWERS: usize = 8;
const MOST_STREAMS: usize = 8;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What pages are made from.
#[derive(Debug)]
pub(crate) struct Console {
    runtime: RuntimeSlot,
    history: History,
    owner: String,
    started_at: OffsetDateTime,
    projections: Vec<&'static str>,
    shows_payloads: bool,
    answers: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Set when the daemon stops: streams end then.
    stop: watch::Receiver<bool>,
}

/// Whether a path is the console's to answer.
pub(crate) fn is_ours(path: &str) -> bool {
    route::is_ours(path)
}

impl Console {
    /// The console of a daemon; none unless it is configured.
    pub(crate) fn new(
        config: &Config,
        owner: &str,
        (runtime, history): (RuntimeSlot, History),
        stop: watch::Receiver<bool>,
    ) -> Option<Arc<Console>> {
        let console = Console {
            runtime,
            history,
            owner: owner.to_owned(),
            started_at: OffsetDateTime::now_utc(),
            projections: config.projections.clone(),
            shows_payloads: config.console_payloads,
            answers: Arc::new(Semaphore::new(MOST_ANSWERS)),
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            stop,
        };
        config.console.then(|| Arc::new(console))
    }
}

/// One connection. It asks once, and keeps its place until it has read the answer.
#[derive(Debug)]
pub(crate) struct Visitor {
    console: Arc<Console>,
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Visitor {
    pub(crate) fn new(console: Arc<Console>) -> Visitor {
        Visitor { console, place: Mutex::new(None) }
    }

    pub(crate) async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let mut response = self.respond(request).await;
        guard::protect(response.headers_mut());
        response
    }

    async fn respond(&self, request: &Request<Incoming>) -> Response<Body> {
        if !guard::is_for_us(request.headers()) {
            let words = "The console answers to localhost and to loopback addresses only.";
            return refused(StatusCode::MISDIRECTED_REQUEST, "Not for this address", words);
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut answer = refused(
                StatusCode::METHOD_NOT_ALLOWED,
                "Only for looking",
                "The console takes GET and HEAD; the command line changes things.",
            );
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let query = request.uri().query().unwrap_or_default();
        match route::find(request.uri().path(), query) {
            Ok(wanted) => self.give(wanted).await,
            Err(Rejection { code: Code::NotFound, message, .. }) => {
                refused(StatusCode::NOT_FOUND, "There is no such page", &message)
            }
            Err(rejection) => {
                refused(StatusCode::BAD_REQUEST, "That was not understood", &rejection.message)
            }
        }
    }

    async fn give(&self, wanted: Wanted) -> Response<Body> {
        let console = &self.console;
        let places =
            if matches!(wanted, Wanted::Live(_)) { &console.streams } else { &console.answers };
        let Ok(place) = places.clone().try_acquire_owned() else {
            let words = "Too many look at the console at once. Try again in a moment.";
            let mut answer = refused(StatusCode::SERVICE_UNAVAILABLE, "Busy", words);
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
            return answer;
        };
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        match wanted {
            Wanted::Root => moved(),
            Wanted::Style => whole(StatusCode::OK, CSS, include_str!("assets/console.css")),
            Wanted::Script => whole(StatusCode::OK, SCRIPT, include_str!("assets/console.js")),
            Wanted::Live(page) => live::stream(console.clone(), page),
            Wanted::Page(page) => show(console, &page).await,
        }
    }
}

async fn show(console: &Console, page: &Page) -> Response<Body> {
    let view = look::look(console, page).await;
    let clock = Clock { now: OffsetDateTime::now_utc(), is_live: false };
    let status = if view.shown.is_missing() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    whole(status, HTML, pages::document(page, &view, clock))
}

fn refused(status: StatusCode, title: &str, message: &str) -> Response<Body> {
    whole(status, HTML, pages::refusal(title, message))
}

fn moved() -> Response<Body> {
    let mut response = whole(StatusCode::FOUND, HTML, "");
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(route::ROOT));
    response
}

fn whole(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
