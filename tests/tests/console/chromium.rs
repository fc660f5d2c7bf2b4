//! A headless Chromium, driven through its debugging pipe.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use dg_projections::json::{self, Json, canonical};
use dg_tests::{Directory, until};

/// No command of a test takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pipe is file descriptors 3 and 4, and its messages end with a NUL. Root may not have a
/// sandbox, and nothing from outside is shown.
const START: &str = r#"exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
    --no-first-run --disable-background-networking --disable-component-update --disable-sync \
    --disable-breakpad --remote-debugging-pipe --user-data-dir="$1" about:blank \
    3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// A browser with one page; it ends with its value.
pub(crate) struct Chromium {
    process: Child,
    commands: ChildStdin,
    answers: Receiver<Json>,
    session: Option<String>,
    count: i64,
    events: VecDeque<Json>,
    _profile: Directory,
}

impl Chromium {
    /// Starts it; none where it is not installed.
    pub(crate) fn start() -> Option<Chromium> {
        Command::new("chromium")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .ok()?;
        let profile = Directory::new();
        let mut process = Command::new("sh")
            .args(["-c", START, "chromium"])
            .arg(profile.path())
            .env("TMPDIR", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let answers = read(BufReader::new(process.stdout.take().unwrap()));
        let mut browser = Chromium {
            process,
            commands,
            answers,
            session: None,
            count: 0,
            events: VecDeque::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", r#"{"url":"about:blank"}"#);
        let id = text(&target, "targetId");
        let attached = format!(r#"{{"targetId":"{id}","flatten":true}}"#);
        browser.session =
            Some(text(&browser.call("Target.attachToTarget", &attached), "sessionId"));
        for domain in ["Runtime", "Log", "Network", "Page"] {
            browser.call(&format!("{domain}.enable"), "{}");
        }
        Some(browser)
    }

    /// The result of a command.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, parameters: &str) -> Json {
        self.count += 1;
        let session = self.session.as_ref().map(|id| format!(r#","sessionId":"{id}""#));
        let (id, session) = (self.count, session.unwrap_or_default());
        let command =
            format!(r#"{{"id":{id},"method":"{method}","params":{parameters}{session}}}"#);
        self.commands.write_all(command.as_bytes()).unwrap();
        self.commands.write_all(b"\0").unwrap();
        loop {
            let answer = self.answers.recv_timeout(PATIENCE).expect("Chromium answers");
            if answer.get("id").and_then(Json::as_i64) != Some(id) {
                self.events.push_back(answer);
                continue;
            }
            let result = answer.get("result").cloned();
            return result.unwrap_or_else(|| panic!("{method}: {}", canonical(&answer)));
        }
    }

    /// Loads a page and waits until it is there.
    #[track_caller]
    pub(crate) fn load(&mut self, address: &str) {
        self.call("Page.navigate", &format!(r#"{{"url":"{address}"}}"#));
        until("the page is loaded", || {
            let is_there = "document.readyState == 'complete' && location.href != 'about:blank'";
            (self.value(is_there) == Json::from(true)).then_some(())
        });
    }

    /// The value of an expression.
    #[track_caller]
    pub(crate) fn value(&mut self, expression: &str) -> Json {
        let expression = canonical(&Json::from(expression));
        let parameters = format!(r#"{{"expression":{expression},"returnByValue":true}}"#);
        let answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{}", canonical(&answer));
        answer.get("result").and_then(|result| result.get("value")).cloned().unwrap_or(Json::Null)
    }

    /// The same as text.
    #[track_caller]
    pub(crate) fn words(&mut self, expression: &str) -> String {
        self.value(expression).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        until(expression, || (self.value(expression) == Json::from(true)).then_some(()));
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, key: &str, code: u32) {
        let text = if key == "Enter" { r#","text":"\r""# } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let press = format!(
                r#"{{"type":"{kind}","key":"{key}","code":"{key}","windowsVirtualKeyCode":{code}{text}}}"#
            );
            self.call("Input.dispatchKeyEvent", &press);
        }
    }

    /// Sets the width of the window.
    pub(crate) fn widen(&mut self, width: u32) {
        let size =
            format!(r#"{{"width":{width},"height":900,"deviceScaleFactor":1,"mobile":false}}"#);
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// What it has complained of so far.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        let told = ["Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"];
        let is_complaint = |event: &&Json| {
            event.get("method").and_then(Json::as_str).is_some_and(|method| told.contains(&method))
        };
        self.events.iter().filter(is_complaint).map(canonical).collect()
    }

    /// Every address that it has asked for so far.
    pub(crate) fn requests(&mut self) -> Vec<String> {
        let asked = |event: &Json| {
            let is_request =
                event.get("method").and_then(Json::as_str) == Some("Network.requestWillBeSent");
            let url = event.get("params")?.get("request")?.get("url")?.as_str()?.to_owned();
            is_request.then_some(url)
        };
        self.events.iter().filter_map(asked).collect()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Asked to, it ends its other processes first; if it were killed, they might still write into what is removed.
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        while self.answers.recv_timeout(PATIENCE).is_ok() {}
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Its messages, as they come.
fn read(mut pipe: BufReader<std::process::ChildStdout>) -> Receiver<Json> {
    let (tell, messages) = channel();
    std::thread::spawn(move || {
        let mut message = Vec::new();
        while pipe.read_until(0, &mut message).is_ok_and(|count| count > 0) {
            message.pop();
            // Numbers with a fraction are none of our business: what has them is left out.
            if let Ok(text) = std::str::from_utf8(&message)
                && let Ok(message) = json::parse(text)
                && tell.send(message).is_err()
            {
                return;
            }
            message.clear();
        }
    });
    messages
}

fn text(value: &Json, member: &str) -> String {
    value.get(member).and_then(Json::as_str).unwrap().to_owned()
}
