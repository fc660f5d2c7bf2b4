//! Pages that change while somebody looks on.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use dg_projections::json::{self, Json};
use dg_tests::http::address;
use dg_tests::{Daemon, until};

use crate::{append, encoded, stage};

/// The events of a page: name and data.
struct Events(BufReader<TcpStream>);

impl Events {
    fn of(daemon: &Daemon, page: &str) -> Events {
        let mut stream = TcpStream::connect(address(daemon)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let page = encoded(page);
        write!(stream, "GET /console/live?page={page} HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        Events(BufReader::new(stream))
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.0.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event; none at the end.
    fn next(&mut self) -> Option<(String, Json)> {
        loop {
            let line = self.line()?;
            if let Some(name) = line.strip_prefix("event: ") {
                let data = self.line()?;
                return Some((name.to_owned(), json::parse(data.strip_prefix("data: ")?).unwrap()));
            }
        }
    }

    /// The next HTML of a region.
    fn region(&mut self, id: &str) -> String {
        loop {
            let (name, data) = self.next().expect("the stream goes on");
            let text = |member| data.get(member).and_then(Json::as_str);
            if name == "region" && text("id") == Some(id) {
                return text("html").unwrap().to_owned();
            }
        }
    }
}

#[test]
fn what_changes_is_told_and_what_does_not_is_not() {
    let stage = stage(&[]);
    append(&stage.daemon, "acme", "deal-1");
    let mut overview = Events::of(&stage.daemon, "/console");
    assert!(overview.region("tenants").contains("acme"));
    append(&stage.daemon, "zenith", "deal-1");
    until("the new tenant is told", || overview.region("tenants").contains("zenith").then_some(()));
    // A trace that has ended says nothing more than that the daemon is there.
    let mut trace = Events::of(&stage.daemon, "/console/trace?tenant=acme&id=deal-1");
    let mut told = Vec::new();
    while told.iter().filter(|name| *name == "now").count() < 2 {
        told.push(trace.next().unwrap().0);
    }
    assert_eq!(told, ["region", "region", "region", "region", "now", "now"]);
}

#[test]
fn streams_end_with_the_daemon() {
    let mut stage = stage(&[]);
    let mut events = Events::of(&stage.daemon, "/console");
    events.region("daemon");
    assert_eq!(stage.daemon.stop(), 0);
    while events.next().is_some() {}
}
