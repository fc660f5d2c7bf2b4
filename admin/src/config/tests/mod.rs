//! Loading as a whole: precedence, defaults, every problem at once.

mod defaults;
mod password;
mod precedence;
mod problems;
mod warnings;

use std::path::PathBuf;

use super::{Config, ConfigError, Inputs};

/// Inputs for a test; a file written for it is removed with it.
#[derive(Default)]
struct Setup {
    inputs: Inputs,
    file: Option<PathBuf>,
}

impl Setup {
    /// A configuration file with this text, for this test alone.
    fn file(mut self, text: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("dg-config-{}-{}.toml", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        self.inputs.config_file = Some(path.clone());
        self.file = Some(path);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.inputs.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flag(mut self, key: &'static str, value: &str) -> Self {
        self.inputs.flags.insert(key, value.to_owned());
        self
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.inputs)
    }

    /// The value in effect as JSON and its source, the path of the file replaced by `FILE`.
    fn effective(&self, key: &str) -> (String, String) {
        let config = self.load().unwrap();
        let one = config.effective().find(|one| one.key == key).unwrap();
        (one.value.to_string(), self.neutral(&one.source.to_string()))
    }

    /// The lines of the error, the path of the file replaced by `FILE`.
    fn problems(&self) -> Vec<String> {
        let error = self.load().unwrap_err().to_string();
        error.lines().map(|line| self.neutral(line)).collect()
    }

    fn neutral(&self, text: &str) -> String {
        match &self.file {
            Some(path) => text.replace(&path.display().to_string(), "FILE"),
            None => text.to_owned(),
        }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        if let Some(path) = &self.file {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn setup() -> Setup {
    Setup::default()
}
