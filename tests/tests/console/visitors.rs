//! Who is answered, how, and how many at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use dg_tests::http::{WATCHED, address, ask};
use dg_tests::{Stage, until};

use crate::{get, stage};

#[test]
fn it_is_off_until_it_is_switched_on() {
    let stage = Stage::new(&WATCHED);
    let address = address(&stage.daemon);
    for path in ["/", "/console", "/console/console.js", "/console/live?page=/console"] {
        let answer = get(&address, path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.contains("`console = true` adds /console"), "{answer:?}");
    }
}

#[test]
fn every_answer_forbids_what_the_console_does_not_need() {
    let stage = stage(&[]);
    let address = address(&stage.daemon);
    let paths = ["/", "/console", "/console/tenants", "/console/none", "/console/console.css"];
    for path in paths {
        let head = get(&address, path).head;
        for header in [
            "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(header), "{path}: {header} is not in {head}");
        }
    }
    let root = get(&address, "/");
    assert_eq!(root.status, 302);
    assert!(root.head.contains("location: /console"), "{root:?}");
}

#[test]
fn only_names_of_this_machine_and_only_looks_are_answered() {
    let stage = stage(&[]);
    let address = address(&stage.daemon);
    for (host, status) in [
        ("host: localhost", 200),
        ("host: LOCALHOST:8080", 200),
        ("host: 127.0.0.1:9464", 200),
        ("host: [::1]", 200),
        ("host: evil.example", 421),
        ("host: localhost.evil.example:9464", 421),
        ("x: y", 421),
    ] {
        let answer = ask(&address, "GET /console", &[host]);
        // Without a host HTTP/1.1 itself is broken; whoever refuses it, it is refused.
        assert_eq!(answer.status, status, "{host}: {answer:?}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = ask(&address, &format!("{method} /console"), &["host: localhost"]);
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{answer:?}");
    }
    let answer = ask(&address, "HEAD /console", &["host: localhost"]);
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    // Who scrapes comes by any name, as before.
    assert_eq!(ask(&address, "GET /metrics", &["host: evil.example"]).status, 200);
}

#[test]
fn those_who_look_on_never_take_the_places_of_those_who_scrape() {
    let stage = stage(&[]);
    let address = address(&stage.daemon);
    let look_on = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        let request = "GET /console/live?page=/console HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (stream, String::from_utf8(head.to_vec()).unwrap())
    };
    // They read no more than the status, and stay.
    let crowd: Vec<_> = (0..20).map(|_| look_on()).collect();
    let count = |status: &str| crowd.iter().filter(|(_, head)| head.ends_with(status)).count();
    assert_eq!((count("200"), count("503")), (8, 12));
    for path in ["/metrics", "/healthz", "/readyz", "/console"] {
        assert_eq!(get(&address, path).status, 200, "{path}");
    }
    drop(crowd);
    until("a place is free again", || look_on().1.ends_with("200").then_some(()));
}
