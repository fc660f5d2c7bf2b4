//! A reader who follows a page literally: types each command into one shell, and compares what it
//! prints with what the page shows.
//!
//! A command is expected to succeed, unless the page asks `echo $?` after it and shows another code.
//! What is shown is compared word for word; numbers, times, identifiers and digests are another
//! machine's and stand for each other, and a line `...` for any lines. A command that only looks is
//! typed again until it shows what the page says, as a reader would, while the daemon is at it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use dg_tests::{Directory, binary, try_until};

use super::blocks::Shown;

/// How long a reader looks again, and how long one command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Commands that may be typed again: they change nothing, or end once more what is in the way.
const LOOKS: [&str; 12] = [
    "status",
    "health",
    "workers",
    "failures",
    "runs",
    "run",
    "verify",
    "summary",
    "doctor",
    "precedents",
    "psql -c \"SELECT",
    "psql -At -c \"SELECT",
];

/// Somebody at a shell.
#[derive(Debug)]
pub(crate) struct Reader {
    shell: Child,
    keys: ChildStdin,
    directory: Directory,
    typed: usize,
}

impl Reader {
    /// Sits down in a new directory, with these variables.
    pub(crate) fn new(variables: &[(String, String)]) -> Reader {
        let directory = Directory::new();
        std::os::unix::fs::symlink(binary(), directory.path().join("decisiongraph")).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DECISIONGRAPH_")) {
            command.env_remove(name);
        }
        command.env_remove("DATABASE_URL").env("NO_COLOR", "1");
        command.env("PATH", format!("{}:{path}", directory.path().display()));
        command.env("DECISIONGRAPH_METRICS_LISTEN", "off").envs(variables.iter().cloned());
        command.args(["--norc", "--noprofile"]).current_dir(directory.path());
        let mut shell = command.stdin(Stdio::piped()).spawn().unwrap();
        let keys = shell.stdin.take().unwrap();
        Reader { shell, keys, directory, typed: 0 }
    }

    /// Where the reader is.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Follows commands in their order; what went otherwise than the page says.
    pub(crate) fn follow(&mut self, commands: &[Shown]) -> Result<(), String> {
        for (place, command) in commands.iter().enumerate() {
            let asked = commands.get(place + 1).filter(|next| next.text == "echo $?");
            let code = asked.map_or("0", |next| next.output[0].as_str()).parse().unwrap();
            self.hand_over(command);
            let mut last = self.enter(command, code);
            if looks(&command.text) && last.is_err() {
                let again = || self.enter(command, code).map_err(|found| last = Err(found)).ok();
                if try_until(PATIENCE, again).is_some() {
                    last = Ok(());
                }
            }
            last.map_err(|found| format!("{}: {}\n{found}", command.place, command.text))?;
        }
        Ok(())
    }

    /// A file that the page shows with `cat` and nobody has made is what the page shows.
    fn hand_over(&self, command: &Shown) {
        if let Some(name) = command.text.strip_prefix("cat ") {
            let file = self.directory.path().join(name);
            if !file.exists() {
                std::fs::write(file, command.output.join("\n") + "\n").unwrap();
            }
        }
    }

    /// Types a command once.
    fn enter(&mut self, command: &Shown, expected: i32) -> Result<(), String> {
        let (code, printed) = self.run(&command.text)?;
        println!("$ {}\n{printed}", command.text);
        if command.text.starts_with("decisiongraph serve") {
            let up = || self.run("decisiongraph status").ok().filter(|(code, _)| *code == 0);
            return match try_until(PATIENCE, up) {
                Some(_) => Ok(()),
                None => Err("it did not come up".to_owned()),
            };
        }
        if code != expected {
            return Err(format!("exit code {code} instead of {expected}; it printed:\n{printed}"));
        }
        if !command.output.is_empty() && !resembles(&command.output, &printed) {
            return Err(format!("the page shows something else; it printed:\n{printed}"));
        }
        Ok(())
    }

    /// Runs a command to its end; its exit code and all that it printed.
    pub(crate) fn run(&mut self, text: &str) -> Result<(i32, String), String> {
        self.typed += 1;
        let path = |what: &str| -> PathBuf {
            self.directory.path().join(format!(".{}.{what}", self.typed))
        };
        let (printed, done, code) = (path("printed"), path("done"), path("code"));
        let own = format!(
            "{{ (exit ${{last:-0}})\n{text}\n}} >{} 2>&1 </dev/null; last=$?; echo $last >{}; mv {1} {}\n",
            printed.display(),
            done.display(),
            code.display(),
        );
        self.keys.write_all(own.as_bytes()).unwrap();
        let ended = try_until(PATIENCE * 2, || std::fs::read_to_string(&code).ok());
        let printed = std::fs::read_to_string(&printed).unwrap_or_default();
        let code = ended.ok_or_else(|| format!("it does not end; it printed:\n{printed}"))?;
        Ok((code.trim().parse().unwrap(), printed))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // A daemon in the background goes before its directory.
        let _ = self.keys.write_all(b"kill $(jobs -p) 2>/dev/null; wait; exit\n");
        let gone = try_until(Duration::from_secs(15), || self.shell.try_wait().ok().flatten());
        if gone.is_none() {
            let _ = self.shell.kill();
            let _ = self.shell.wait();
        }
    }
}

fn looks(text: &str) -> bool {
    LOOKS.iter().any(|name| text.starts_with(&format!("decisiongraph {name}")))
}

/// Whether this is what a page shows, on another machine and another day.
pub(crate) fn resembles(shown: &[String], printed: &str) -> bool {
    let told = |lines: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        lines.filter(|line| !line.trim().is_empty()).map(plain).collect()
    };
    let shown = told(&mut shown.iter().map(String::as_str));
    matches(&shown, &told(&mut printed.lines()))
}

fn matches(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == "..." => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        Some((line, rest)) => {
            printed.first().is_some_and(|found| line_matches(line, found))
                && matches(rest, &printed[1..])
        }
    }
}

/// `...` in a line stands for anything.
fn line_matches(shown: &str, printed: &str) -> bool {
    match shown.split_once("...") {
        Some((head, tail)) => {
            printed.starts_with(head.trim_end()) && printed.ends_with(tail.trim_start())
        }
        None => shown == printed,
    }
}

/// A line without what is a machine's and a moment's own: numbers with their units, times, hashes.
fn plain(line: &str) -> String {
    if line.contains("--") && line.chars().all(|letter| "-+ ".contains(letter)) {
        return "the rule below a head of psql".to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let is_unit = ["s", "ms", "min", "h", "d", "kB", "MB", "kiB", "MiB", "GiB"].contains(&word);
        let follows = words.last().is_some_and(|last| last == "#");
        let word = number(word);
        if !(follows && (is_unit || word == "#")) {
            words.push(word);
        }
    }
    words.join(" ")
}

/// A word with `#` for each number, hash or `host:pid` in it.
fn number(word: &str) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if word.len() == 36 && word.matches('-').count() == 4 {
        return "#".to_owned();
    }
    let trimmed = word.trim_end_matches([',', ';', ')']);
    if trimmed.rsplit_once(':').is_some_and(|(host, pid)| !host.contains('/') && digits(pid)) {
        return "#".to_owned();
    }
    let mut plain = String::new();
    for part in word.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
        let name = part.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let is_hash = name.len() >= 8
            && name.bytes().all(|byte| byte.is_ascii_hexdigit())
            && name.bytes().any(|byte| byte.is_ascii_digit());
        if is_hash {
            plain.push('#');
        } else {
            plain.extend(name.chars().map(|l| if l.is_ascii_digit() { '#' } else { l }));
        }
        plain.push_str(&part[name.len()..]);
    }
    for between in ["##", "#,#", "#.#", "#:#", "#-#", "#T#"] {
        while plain.contains(between) {
            plain = plain.replace(between, "#");
        }
    }
    plain.replace("#Z", "#").replace("+#", "#")
}

#[test]
fn what_is_shown_is_compared_but_for_what_is_another_machines() {
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let same = [
        ("a  1,834  idle", "a 7 idle"),
        ("since 4 s ago", "since 1 min 24 s ago"),
        ("owner vm:2689", "owner other-host:1"),
        ("one\n...\nfour", "one\ntwo\nthree\nfour"),
        ("sha256:a68cc8b7724a at 100000", "sha256:11bb22cc33dd at 2"),
        (
            "database  down since 2026-11-21T08:00:00Z, 3 s ago: ...",
            "database down since 2026-01-01T01:00:00Z, 1 ms ago: gone",
        ),
    ];
    for (page, printed) in same {
        assert!(resembles(&shown(page), printed), "{page} / {printed}");
    }
    for (page, printed) in [("a 1 idle", "a 1 failed"), ("a", "a\nb"), ("a\n...\nb", "a\nc")] {
        assert!(!resembles(&shown(page), printed), "{page} / {printed}");
    }
}
