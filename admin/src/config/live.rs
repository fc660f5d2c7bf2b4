//! The configuration in effect while the daemon runs: what a reload changes, and what it cannot.

use std::sync::Arc;

use tokio::sync::watch;

use super::keys::KEYS;
use super::settings::{Config, EffectiveValue};

/// What a reload comes to.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// The configuration in effect from now on.
    pub(crate) config: Config,
    /// Keys that have another value now.
    pub(crate) changed: Vec<&'static str>,
    /// Keys that will have another value after a restart.
    pub(crate) need_restart: Vec<&'static str>,
}

impl Config {
    /// What becomes of this configuration when a daemon that runs with it is told to take `new`.
    pub(crate) fn reloaded(&self, new: &Config) -> Reloaded {
        let differs = |name: &str| {
            // Its password is masked where it is shown.
            let url = name == "database_url" && self.database_url != new.database_url;
            url || self.shown(name) != new.shown(name)
        };
        let of = |reloadable: bool| {
            let keys = KEYS.iter().filter(move |key| key.reloadable == reloadable);
            keys.map(|key| key.name).filter(|name| differs(name)).collect::<Vec<_>>()
        };
        let (changed, need_restart) = (of(true), of(false));
        Reloaded { config: self.with_live_of(new, &changed), changed, need_restart }
    }

    /// The same with the reloadable values of another.
    fn with_live_of(&self, new: &Config, changed: &[&str]) -> Config {
        let pick = |one: &EffectiveValue| {
            let newer = new.effective().find(|other| other.key == one.key);
            newer.filter(|_| changed.contains(&one.key)).unwrap_or(one).clone()
        };
        Config {
            admin_uids: new.admin_uids.clone(),
            observer_uids: new.observer_uids.clone(),
            metrics_max_tenants: new.metrics_max_tenants,
            log_level: new.log_level.clone(),
            projection_max_nodes: new.projection_max_nodes,
            projection_max_edges: new.projection_max_edges,
            effective: self.effective().map(pick).collect(),
            warnings: new.warnings.clone(),
            ..self.clone()
        }
    }

    fn shown(&self, name: &str) -> Option<&serde_json::Value> {
        self.effective().find(|one| one.key == name).map(|one| &one.value)
    }
}

/// The configuration in effect, for those who ask again each time. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LiveConfig(Arc<watch::Sender<Arc<Config>>>);

impl LiveConfig {
    pub(crate) fn new(config: Config) -> LiveConfig {
        LiveConfig(Arc::new(watch::channel(Arc::new(config)).0))
    }

    /// As it stands; later changes are not seen in it.
    pub(crate) fn get(&self) -> Arc<Config> {
        self.0.borrow().clone()
    }

    pub(crate) fn set(&self, config: Config) {
        self.0.send_replace(Arc::new(config));
    }

    /// Waits until something is true of the configuration.
    pub(crate) async fn until(&self, is_so: impl Fn(&Config) -> bool) {
        let mut changes = self.0.subscribe();
        if changes.wait_for(|config| is_so(config)).await.is_err() {
            // Nobody is left to change it.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::env::Inputs;
    use super::super::kind::Kind;
    use super::*;

    fn config(flags: &[(&'static str, &str)]) -> Config {
        let flags = flags.iter().map(|(key, text)| (*key, (*text).to_owned())).collect();
        Config::load(&Inputs { flags, ..Inputs::default() }).unwrap()
    }

    /// Another value than the default.
    fn other(kind: Kind) -> String {
        match kind {
            Kind::Count { min, .. } => (min + 3).to_string(),
            Kind::Path { .. } => "/elsewhere".to_owned(),
            Kind::Postgres => "host=/s password=s3cret".to_owned(),
            Kind::Listen => "off".to_owned(),
            Kind::Filter => "trace".to_owned(),
            Kind::Choice(words) => words[1].to_owned(),
            Kind::Choices(words) => words[0].to_owned(),
            Kind::Switch => "true".to_owned(),
            Kind::Uids => "7".to_owned(),
        }
    }

    #[test]
    fn every_reloadable_key_takes_effect_and_no_other() {
        let old = config(&[]);
        for key in KEYS.iter().filter(|key| key.name != "database_password_file") {
            let value = match key.name {
                // It may not be below another key's default.
                "projection_retry_max_ms" => "40000".to_owned(),
                _ => other(key.kind),
            };
            let new = config(&[(key.name, &value)]);
            let Reloaded { config, changed, need_restart } = old.reloaded(&new);
            let (live, restart) =
                if key.reloadable { (&changed, &need_restart) } else { (&need_restart, &changed) };
            assert!(live.contains(&key.name), "{}", key.name);
            assert!(restart.is_empty(), "{}: {restart:?}", key.name);
            // The typed fields and what is shown of them agree.
            let expected = if key.reloadable { &new } else { &old };
            assert_eq!(format!("{config:?}"), format!("{expected:?}"), "{}", key.name);
        }
    }

    #[test]
    fn another_password_in_the_url_needs_a_restart_too() {
        let old = config(&[("database_url", "host=/s password=one")]);
        let new = config(&[("database_url", "host=/s password=two")]);
        assert_eq!(old.reloaded(&new).need_restart, ["database_url"]);
        assert!(old.reloaded(&old).need_restart.is_empty());
    }
}
