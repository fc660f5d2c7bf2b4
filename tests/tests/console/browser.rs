//! The console as a browser shows it and a keyboard reaches it.

use dg_projections::json::Json;
use dg_tests::http::address;
use dg_tests::{Stage, skip};

use crate::chromium::Chromium;
use crate::{HOSTILE, append, encoded, rebuild, stage};

const TAB: (&str, u32) = ("Tab", 9);
const ENTER: (&str, u32) = ("Enter", 13);

/// What has the focus.
const FOCUSED: &str = "document.activeElement.textContent";
const IS_LIVE: &str = "document.getElementById('status').textContent == 'live'";

fn browser() -> Option<Chromium> {
    let browser = Chromium::start();
    if browser.is_none() {
        skip("chromium is not installed");
    }
    browser
}

fn base(stage: &Stage) -> String {
    format!("http://{}", address(&stage.daemon))
}

#[test]
fn every_page_is_quiet_self_contained_and_fits_every_screen() {
    let Some(mut browser) = browser() else { return };
    let stage = stage(&["--console-payloads", "true"]);
    append(&stage.daemon, "acme", "deal-1");
    append(&stage.daemon, HOSTILE, "deal-1");
    let run = rebuild(&stage.daemon, "acme");
    let base = base(&stage);
    for (path, words) in [
        ("/", "Tenants by lag".to_owned()),
        ("/console/tenants?prefix=", "acme".to_owned()),
        ("/console/tenant?name=acme", "About deal-1".to_owned()),
        (&format!("/console/tenant?name={}", encoded(HOSTILE)), HOSTILE.to_owned()),
        ("/console/trace?tenant=acme&id=deal-1", "ExceptionRequested".to_owned()),
        (&format!("/console/run?id={run}"), "to be looked at".to_owned()),
    ] {
        browser.load(&format!("{base}{path}"));
        browser.until(IS_LIVE);
        let text = browser.words("document.body.textContent");
        assert!(text.contains(&words), "{path}: {words} is not in {text}");
        for width in [1280, 360] {
            browser.widen(width);
            let wide = browser.value("document.documentElement.scrollWidth").as_i64().unwrap();
            assert!(wide <= i64::from(width), "{path} is {wide} wide at {width}");
        }
    }
    assert_eq!(browser.complaints(), [""; 0]);
    let foreign: Vec<String> = browser.requests();
    let is_ours = |url: &String| url.starts_with(&base) || url.starts_with("data:image/svg+xml,");
    assert!(foreign.len() > 6 && foreign.iter().all(is_ours), "{foreign:?}");
}

#[test]
fn the_night_is_dark_and_words_can_be_read_on_it() {
    let Some(mut browser) = browser() else { return };
    let stage = stage(&[]);
    browser.load(&format!("{}/console", base(&stage)));
    let mut ground = |scheme: &str| {
        let media =
            format!(r#"{{"features":[{{"name":"prefers-color-scheme","value":"{scheme}"}}]}}"#);
        browser.call("Emulation.setEmulatedMedia", &media);
        let color = |name: &str| format!("getComputedStyle(document.body).{name}");
        (browser.words(&color("backgroundColor")), browser.words(&color("color")))
    };
    assert_eq!(ground("light"), ("rgb(246, 247, 249)".to_owned(), "rgb(28, 36, 48)".to_owned()));
    assert_eq!(ground("dark"), ("rgb(18, 22, 28)".to_owned(), "rgb(227, 232, 239)".to_owned()));
}

#[test]
fn a_keyboard_reaches_everything_and_keeps_its_place_when_the_page_changes() {
    let Some(mut browser) = browser() else { return };
    let stage = stage(&[]);
    append(&stage.daemon, "acme", "deal-1");
    browser.load(&format!("{}/console", base(&stage)));
    browser.until(IS_LIVE);
    let mut visited = Vec::new();
    for _ in 0..4 {
        browser.press(TAB.0, TAB.1);
        visited.push(browser.words(FOCUSED));
        let outline = browser.words("getComputedStyle(document.activeElement).outlineStyle");
        assert_eq!(outline, "solid", "the focus is seen on {visited:?}");
    }
    assert_eq!(visited, ["Skip to the content", "Overview", "Tenants", "acme"]);
    // The list is exchanged below the focus, and the link is another one now.
    browser.value("window.before = document.activeElement; 1");
    append(&stage.daemon, "aaa-first", "deal-1");
    browser.until("document.getElementById('tenants').textContent.includes('aaa-first')");
    assert_eq!(browser.words(FOCUSED), "acme");
    assert_eq!(browser.value("window.before == document.activeElement"), Json::from(false));
    browser.press(ENTER.0, ENTER.1);
    browser.until("location.search == '?name=acme' && document.readyState == 'complete'");
    browser.press(TAB.0, TAB.1);
    browser.press(ENTER.0, ENTER.1);
    browser.until("document.activeElement.id == 'main'");
}

#[test]
fn without_scripts_a_link_refreshes_and_a_daemon_that_is_gone_is_missed() {
    let Some(mut browser) = browser() else { return };
    let mut stage = stage(&[]);
    let address = format!("{}/console", base(&stage));
    browser.call("Emulation.setScriptExecutionDisabled", r#"{"value":true}"#);
    browser.load(&address);
    let link = "document.querySelector('#status a').getAttribute('href')";
    assert_eq!(browser.words(link), "/console");
    browser.call("Emulation.setScriptExecutionDisabled", r#"{"value":false}"#);
    browser.load(&address);
    browser.until(IS_LIVE);
    stage.daemon.stop();
    browser.until("document.body.classList.contains('stale')");
    let status = browser.words("document.getElementById('status').textContent");
    assert_eq!(status, "the daemon does not answer; trying again");
}
