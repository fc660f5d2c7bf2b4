//! The journal's own protocol: a datagram an event, with a field for each value.
//!
//! `MESSAGE` is the whole line with its values, so that plain `journalctl` tells as much as a log
//! file. Each value is a field as well (`tenant` is `DG_TENANT`), to select by; events that operators
//! look for have a `MESSAGE_ID` that stays the same whatever becomes of their words.

use std::fmt::{Debug, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

const SOCKET: &str = "/run/systemd/journal/socket";
/// Longer values are cut, so that an event fits into a datagram.
const MOST_BYTES: usize = 16 * 1024;

/// What operators look for, by the words it is logged with.
#[rustfmt::skip]
pub(super) const MESSAGE_IDS: [(&str, &str); 12] = [
    ("ready", "f1a616a676014d52b4c326fc817f896a"),
    ("database away", "b1769a99268542159558d9b918f6c6e7"),
    ("database back", "5c5ad09f4a51467fbdb8c5f092495f59"),
    ("tenant parked", "18c08e6ba8d64f4dbf0c3eda574277a5"),
    ("worker failed", "3e68635422a344f8ab447d46aaaeaa3e"),
    ("run failed", "6555e38c0dfd41409dc5724e1077b1e1"),
    ("what is served is not what the log says", "706d8d16df0a4f86b9cd840580acc238"),
    ("the supervision tree has ended", "f782a40154934d69a6396737688aab23"),
    ("the watchdog is not fed", "8178eb0aad8a41cb9291163efda1fbea"),
    ("the embedded Postgres ended by itself", "2a4e259efb3042bcbb58d0e7de34b919"),
    ("configuration refused; the old one stays", "f842b0d4c0884897b8d8dfa6fefdc44c"),
    ("audit", "8cda716092a840998ea476b7580625dc"),
];

/// The way to the journal.
#[derive(Debug)]
pub(super) struct Journal(UnixDatagram);

impl Journal {
    /// Finds the journal.
    ///
    /// # Errors
    /// When it does not run, or may not be used.
    pub(super) fn connect() -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        Ok(Journal(socket))
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // There is nobody to tell that nothing can be told.
        let _ = self.0.send(&datagram(event));
    }
}

fn datagram(event: &Event<'_>) -> Vec<u8> {
    let mut values = Values::default();
    event.record(&mut values);
    let metadata = event.metadata();
    let mut entry = Entry::default();
    entry.add("MESSAGE", &(values.message.clone() + &values.rest));
    entry.add("PRIORITY", priority(*metadata.level()));
    entry.add("SYSLOG_IDENTIFIER", "decisiongraph");
    entry.add("DG_TARGET", metadata.target());
    if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
        entry.add("CODE_FILE", file);
        entry.add("CODE_LINE", &line.to_string());
    }
    if let Some((_, id)) = MESSAGE_IDS.iter().find(|(words, _)| *words == values.message) {
        entry.add("MESSAGE_ID", id);
    }
    for (name, value) in &values.fields {
        entry.add(name, value);
    }
    entry.0
}

/// As syslog counts.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// The bytes of an entry: each value with its length, so that it may hold anything.
#[derive(Default)]
struct Entry(Vec<u8>);

impl Entry {
    fn add(&mut self, name: &str, value: &str) {
        let mut end = value.len().min(MOST_BYTES);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        self.0.extend(name.bytes());
        self.0.push(b'\n');
        self.0.extend((end as u64).to_le_bytes());
        self.0.extend(value[..end].bytes());
        self.0.push(b'\n');
    }
}

/// An event's words and values.
#[derive(Default)]
struct Values {
    message: String,
    /// The values as the line shows them.
    rest: String,
    fields: Vec<(String, String)>,
}

impl Values {
    /// A run is named `tenant/run`; operators have the two of them apart.
    fn add(&mut self, name: &str, value: String) {
        match (name, value.split_once('/')) {
            ("run", Some((tenant, run))) => {
                self.fields.push(("DG_TENANT".to_owned(), tenant.to_owned()));
                self.fields.push(("DG_RUN_ID".to_owned(), run.to_owned()));
            }
            _ => self.fields.push((format!("DG_{}", name.to_ascii_uppercase()), value)),
        }
    }

    /// Writing to a String does not fail.
    fn show(&mut self, name: &str, value: &dyn Debug) {
        let _ = write!(self.rest, " {name}={value:?}");
    }
}

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.show(field.name(), &value);
        self.add(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
            return;
        }
        self.show(field.name(), value);
        self.add(field.name(), text);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What events would be sent as.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Vec<u8>>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(datagram(event));
        }
    }

    fn fields(mut bytes: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            let name = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = u64::from_le_bytes(bytes[end + 1..end + 9].try_into().unwrap()) as usize;
            let value = &bytes[end + 9..end + 9 + length];
            assert_eq!(bytes[end + 9 + length], b'\n');
            fields.push((name, String::from_utf8(value.to_vec()).unwrap()));
            bytes = &bytes[end + 10 + length..];
        }
        fields
    }

    fn sent(log: impl FnOnce()) -> Vec<(String, String)> {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::registry().with(kept.clone());
        tracing::subscriber::with_default(subscriber, log);
        let sent = kept.0.lock().unwrap().pop().unwrap();
        fields(&sent)
    }

    fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
        fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_line_has_its_values_as_words_and_as_fields() {
        let worker = "acme";
        let got = sent(|| {
            tracing::error!(tenant = %worker, projection = "trace_summary", log_seq = 7, reason = "a\nb", "worker failed");
        });
        let message =
            "worker failed tenant=acme projection=\"trace_summary\" log_seq=7 reason=\"a\\nb\"";
        for (name, expected) in [
            ("MESSAGE", message),
            ("PRIORITY", "3"),
            ("MESSAGE_ID", "3e68635422a344f8ab447d46aaaeaa3e"),
            ("DG_TENANT", "acme"),
            ("DG_PROJECTION", "trace_summary"),
            ("DG_LOG_SEQ", "7"),
            ("DG_REASON", "a\nb"),
        ] {
            assert_eq!(value(&got, name), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_run_is_told_with_its_tenant_and_what_nobody_looks_for_has_no_id() {
        let got = sent(|| tracing::info!(run = %"acme/r-1", "run at work"));
        assert_eq!(value(&got, "DG_TENANT"), Some("acme"));
        assert_eq!(value(&got, "DG_RUN_ID"), Some("r-1"));
        assert_eq!((value(&got, "PRIORITY"), value(&got, "MESSAGE_ID")), (Some("6"), None));
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let long = "é".repeat(MOST_BYTES);
        let got = sent(|| tracing::info!(reason = long, "audit"));
        assert_eq!(value(&got, "DG_REASON").unwrap().len(), MOST_BYTES);
    }

    #[test]
    fn ids_are_of_their_own_and_name_words_that_are_logged() {
        let ids: BTreeSet<&str> = MESSAGE_IDS.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), MESSAGE_IDS.len());
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        let mut sources = String::new();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut folders = vec![root.join("admin/src"), root.join("runtime/src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.ends_with("logging/journal.rs") => {}
                    false => sources += &std::fs::read_to_string(path).unwrap_or_default(),
                }
            }
        }
        for (words, _) in MESSAGE_IDS {
            // A worker says what became of it.
            let literal = words.replace("worker failed", "worker {after}");
            assert!(sources.contains(&format!("\"{literal}\"")), "{words} is not logged");
        }
    }
}
