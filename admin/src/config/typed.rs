//! Typed access to merged settings without problems.
//!
//! Invariant: `merge` made a setting of the key's kind for every key, as there was no problem.
//! Where the fields of `Config` and the table of keys disagree this panics; a test loads them all.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

use super::merge::{Merged, Setting};
use super::secret::Secret;
use super::settings::{EffectiveValue, LogFormat, Migrate};
use super::value::Value;

/// Defines an accessor that returns what one variant of [`Value`] holds.
macro_rules! accessor {
    ($name:ident, $variant:ident, $kind:ty) => {
        pub(super) fn $name(&self, key: &str) -> $kind {
            match self.value(key) {
                Some(Value::$variant(inner)) => inner.clone(),
                _ => disagree(key),
            }
        }
    };
}

impl Merged {
    accessor!(path, Path, PathBuf);
    accessor!(uids, Uids, Vec<u32>);
    accessor!(listen, Listen, Option<SocketAddr>);
    accessor!(filter, Filter, String);
    accessor!(choices, Choices, Vec<&'static str>);
    accessor!(switch, Switch, bool);
    accessor!(count, Count, u64);
    accessor!(choice, Choice, &'static str);

    fn value(&self, key: &str) -> Option<&Value> {
        self.settings.get(key).unwrap_or_else(|| disagree(key)).value.as_ref()
    }

    pub(super) fn optional_path(&self, key: &str) -> Option<PathBuf> {
        self.value(key).map(|_| self.path(key))
    }

    pub(super) fn secret(&self, key: &str) -> Option<Secret> {
        match self.value(key) {
            None => None,
            Some(Value::Secret(secret)) => Some(secret.clone()),
            Some(_) => disagree(key),
        }
    }

    pub(super) fn size(&self, key: &str) -> usize {
        self.count(key).try_into().unwrap_or_else(|_| disagree(key))
    }

    pub(super) fn small(&self, key: &str) -> u32 {
        self.count(key).try_into().unwrap_or_else(|_| disagree(key))
    }

    pub(super) fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(self.count(key))
    }

    pub(super) fn migrate(&self, key: &str) -> Migrate {
        match self.choice(key) {
            "apply" => Migrate::Apply,
            "check" => Migrate::Check,
            _ => disagree(key),
        }
    }

    pub(super) fn log_format(&self, key: &str) -> LogFormat {
        match self.choice(key) {
            "auto" => LogFormat::Auto,
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            "journald" => LogFormat::Journald,
            _ => disagree(key),
        }
    }

    /// Every setting for output, sorted by key.
    pub(super) fn effective(&self) -> Vec<EffectiveValue> {
        self.settings.iter().map(|(key, setting)| effective(key, setting)).collect()
    }
}

fn effective(key: &'static str, setting: &Setting) -> EffectiveValue {
    EffectiveValue {
        key,
        value: setting.value.as_ref().map_or(Json::Null, Value::to_json),
        source: setting.source.clone(),
        line: setting.position.map(|position| position.line),
        overridden: setting.overridden.iter().map(|setting| effective(key, setting)).collect(),
    }
}

fn disagree(key: &str) -> ! {
    unreachable!("the table of keys and Config disagree about `{key}`")
}
