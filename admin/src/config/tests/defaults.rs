//! The contract: which keys there are and what they are when nobody says anything.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::setup;
use crate::config::{Fallback, KEYS, Kind, LogFormat, Migrate};

/// The documented keys and defaults, sorted by key.
fn documented() -> Json {
    json!({
        "admin_uids": [],
        "append_batch_max_events": 1000,
        "append_batch_max_wait_ms": 0,
        "console": false,
        "console_payloads": false,
        "data_dir": ".decisiongraph",
        "database_password_file": null,
        "database_url": null,
        "digest_idle_ms": 2000,
        "log_format": "auto",
        "log_level": "info",
        "metrics_listen": "127.0.0.1:9464",
        "metrics_max_tenants": 200,
        "migrate": "apply",
        "observer_uids": [],
        "pool_size": 16,
        "postgres_bin_dir": null,
        "projection_batch_size": 1000,
        "projection_job_batch_size": 5000,
        "projection_max_edges": 500,
        "projection_max_nodes": 500,
        "projection_max_retries": 5,
        "projection_max_workers": 6000,
        "projection_partitions": 1,
        "projection_poll_interval_ms": 1000,
        "projection_retry_base_ms": 250,
        "projection_retry_max_ms": 30000,
        "projections": ["context_graph", "trace_summary", "precedent_index"],
        "resume_interrupted_runs": false,
        "shutdown_timeout_ms": 10000,
        "socket_path": ".decisiongraph/decisiongraph.sock",
        "storage_timeout_ms": 30000,
        "tenant_idle_stop_ms": 600000,
    })
}

#[test]
fn every_documented_key_exists_with_its_default() {
    let config = setup().load().unwrap();
    let documented = documented();
    let documented = documented.as_object().unwrap();
    let shown: Vec<_> = config.effective().map(|one| (one.key, &one.value)).collect();
    let expected: Vec<_> = documented.iter().map(|(key, value)| (key.as_str(), value)).collect();
    assert_eq!(shown, expected);
    assert!(config.effective().all(|one| one.source.to_string() == "default"));
    assert_eq!(config.effective_json()["pool_size"], json!({"value": 16, "source": "default"}));
}

#[test]
fn the_typed_configuration_has_the_defaults() {
    let config = setup().load().unwrap();
    assert!(config.database_url.is_none() && config.postgres_bin_dir.is_none());
    assert_eq!(config.socket_path.to_str(), Some(".decisiongraph/decisiongraph.sock"));
    assert_eq!((config.migrate, config.log_format), (Migrate::Apply, LogFormat::Auto));
    assert_eq!((config.pool_size, config.projection_partitions), (16, 1));
    assert_eq!(config.metrics_listen, "127.0.0.1:9464".parse().ok());
    assert_eq!(config.append_batch_max_wait, Duration::ZERO);
    assert_eq!(config.projection_retry_base, Duration::from_millis(250));
    assert_eq!(config.tenant_idle_stop, Duration::from_secs(600));
    assert_eq!(config.projections, ["context_graph", "trace_summary", "precedent_index"]);
}

#[test]
fn waits_are_at_least_a_millisecond_but_for_an_append_s() {
    for key in KEYS {
        let Kind::Count { min, .. } = key.kind else { continue };
        if key.name.ends_with("_ms") {
            assert_eq!(min, u64::from(key.name != "append_batch_max_wait_ms"), "{}", key.name);
            assert_eq!(key.unit, "ms", "{}", key.name);
        }
        assert_ne!(key.fallback, Fallback::Unset, "{}", key.name);
    }
}
