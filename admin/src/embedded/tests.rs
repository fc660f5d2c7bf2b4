//! Real clusters on scratch directories. Skipped, with a printed line, where no Postgres is
//! installed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tokio_postgres::{Config, NoTls};

use super::{Cluster, EmbeddedError, Options, config_of, discover, orphan, socket_dir};

const DEADLINE: Duration = Duration::from_secs(20);

/// A directory of one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("dg-pg-{}-{number}", std::process::id()));
        fs::create_dir(&dir).expect("scratch directory");
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("mode");
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

async fn postgres_is_missing() -> bool {
    let missing = discover::find(None, None).await.is_err();
    if missing {
        println!("skipped: no Postgres installed");
    }
    missing
}

async fn start(data_dir: &Path) -> Cluster {
    Cluster::start(data_dir, &Options::default()).await.expect("start")
}

async fn stop(cluster: &mut Cluster) {
    cluster.stop(DEADLINE).await.expect("stop");
}

/// Runs statements and gives the single text value of the last row, if any.
async fn sql(config: &Config, text: &str) -> Option<String> {
    let (client, connection) = config.connect(NoTls).await.expect("connect");
    let driver = tokio::spawn(connection);
    let messages = client.simple_query(text).await.expect(text);
    drop(client);
    let _ended = driver.await;
    messages.into_iter().rev().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

/// A server without a handle. It stays an unreaped child of this process, so its number cannot pass
/// to another one.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        orphan::send(self.0, Signal::SIGQUIT);
    }
}

/// Leaves the server running and releases the lock, as `kill -9` of a daemon does.
fn abandon(cluster: Cluster) -> Orphan {
    let pid = cluster.pid().expect("running");
    let Cluster { server, _lock, .. } = cluster;
    std::mem::forget(server);
    Orphan(pid)
}

#[tokio::test]
async fn starts_serves_and_stops() {
    if postgres_is_missing().await {
        return;
    }
    let scratch = Scratch::new();
    let data_dir = scratch.0.join("a, \"b\"/data");
    assert!(config_of(&data_dir).expect("it may be seen").is_none());
    let mut cluster = start(&data_dir).await;
    let settings = "SELECT concat_ws(' ', current_user, current_database(), \
        current_setting('fsync'), current_setting('data_checksums'), \
        current_setting('server_encoding'), current_setting('listen_addresses') = '')";
    let found =
        sql(&config_of(&data_dir).expect("it may be seen").expect("a cluster"), settings).await;
    assert_eq!(found.as_deref(), Some("decisiongraph decisiongraph on on UTF8 t"));
    let refused = Cluster::start(&data_dir, &Options::default()).await.expect_err("locked");
    assert!(matches!(refused, EmbeddedError::InUse { pid: Some(_), .. }), "{refused}");
    for private in [data_dir.join("pg/data"), socket_dir(&data_dir)] {
        let mode = fs::metadata(&private).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", private.display());
    }
    stop(&mut cluster).await;
    stop(&mut cluster).await;
    assert_eq!(cluster.pid(), None);
    assert!(cluster.exited().await.success());
}

#[tokio::test]
async fn a_second_start_finds_the_data_and_makes_a_missing_database() {
    if postgres_is_missing().await {
        return;
    }
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("pg/data.new-1/base")).expect("an unfinished cluster");
    let mut cluster = start(&scratch.0).await;
    assert!(!scratch.0.join("pg/data.new-1").exists());
    let mut other = cluster.config();
    other.dbname("postgres");
    sql(&other, "CREATE TABLE kept AS SELECT 'yes'::text AS answer").await;
    sql(&other, "DROP DATABASE decisiongraph").await;
    stop(&mut cluster).await;
    drop(cluster);

    let mut cluster = start(&scratch.0).await;
    assert_eq!(sql(&other, "SELECT answer FROM kept").await.as_deref(), Some("yes"));
    let found = sql(&cluster.config(), "SELECT current_database()").await;
    assert_eq!(found.as_deref(), Some("decisiongraph"));
    stop(&mut cluster).await;
}

#[tokio::test]
async fn starts_that_were_cancelled_leave_nothing_in_the_way() {
    if postgres_is_missing().await {
        return;
    }
    let scratch = Scratch::new();
    let options = Options::default();
    for millis in [20, 100, 200, 300, 400, 500, 600, 700] {
        let patience = Duration::from_millis(millis);
        match tokio::time::timeout(patience, Cluster::start(&scratch.0, &options)).await {
            Ok(Ok(mut cluster)) => stop(&mut cluster).await,
            Ok(Err(error)) => panic!("after {millis} ms: {error}"),
            Err(_cancelled) => {}
        }
    }
    let mut cluster = start(&scratch.0).await;
    let left = fs::read_dir(scratch.0.join("pg")).expect("pg").flatten();
    let unfinished = |name: &str| name.starts_with("data.new");
    assert!(!left.into_iter().any(|it| it.file_name().to_str().is_some_and(unfinished)));
    stop(&mut cluster).await;
}

#[tokio::test]
async fn takes_over_from_an_orphan() {
    if postgres_is_missing().await {
        return;
    }
    let scratch = Scratch::new();
    let cluster = start(&scratch.0).await;
    let config = cluster.config();
    sql(&config, "CREATE TABLE kept AS SELECT 'yes'::text AS answer").await;
    let orphan = abandon(cluster);

    // The orphan ends as a zombie, since this process forgot it.
    let mut cluster = start(&scratch.0).await;
    assert_ne!(cluster.pid(), Some(orphan.0));
    assert_eq!(sql(&config, "SELECT answer FROM kept").await.as_deref(), Some("yes"));
    stop(&mut cluster).await;
}

#[tokio::test]
async fn starts_over_lock_files_of_a_zombie_and_of_a_stranger() {
    if postgres_is_missing().await {
        return;
    }
    let scratch = Scratch::new();
    let cluster = start(&scratch.0).await;
    // Killed and never reaped: a zombie whose number stands in both lock files.
    let zombie = abandon(cluster);
    orphan::send(zombie.0, Signal::SIGKILL);
    let mut cluster = start(&scratch.0).await;
    stop(&mut cluster).await;
    drop(cluster);

    let pid_file = scratch.0.join("pg/data/postmaster.pid");
    let text = format!("{}\n{}\n", std::process::id(), scratch.0.join("pg/data").display());
    fs::write(&pid_file, text).expect("a stale pid file");
    let mut cluster = start(&scratch.0).await;
    stop(&mut cluster).await;
}

#[tokio::test]
async fn a_death_is_seen_and_a_restart_heals_it() {
    if postgres_is_missing().await {
        return;
    }
    let scratch = Scratch::new();
    let mut cluster = start(&scratch.0).await;
    sql(&cluster.config(), "CREATE TABLE kept AS SELECT 'yes'::text AS answer").await;
    orphan::send(cluster.pid().expect("running"), Signal::SIGKILL);
    assert!(!cluster.exited().await.success());
    cluster.restart().await.expect("restart");
    let answer = sql(&cluster.config(), "SELECT answer FROM kept").await;
    assert_eq!(answer.as_deref(), Some("yes"));
    stop(&mut cluster).await;
}

#[tokio::test]
async fn a_drop_without_stop_asks_the_server_to_end() {
    if postgres_is_missing().await {
        return;
    }
    let scratch = Scratch::new();
    let cluster = start(&scratch.0).await;
    drop(cluster);
    let pid_file = scratch.0.join("pg/data/postmaster.pid");
    for _poll in 0..200 {
        if !pid_file.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("still running");
}

#[tokio::test]
async fn a_long_path_moves_the_socket_to_tmp() {
    if postgres_is_missing().await {
        return;
    }
    let scratch = Scratch::new();
    let data_dir = scratch.0.join("d".repeat(100));
    let mut cluster = start(&data_dir).await;
    let dir = socket_dir(&data_dir);
    assert!(dir.starts_with("/tmp") && dir.is_dir(), "{}", dir.display());
    assert!(sql(&cluster.config(), "SELECT 1").await.is_some());
    stop(&mut cluster).await;
    drop(cluster);

    fs::remove_dir(&dir).expect("empty after the stop");
    std::os::unix::fs::symlink(&scratch.0, &dir).expect("a trap");
    let error = Cluster::start(&data_dir, &Options::default()).await.expect_err("a trap");
    fs::remove_file(&dir).expect("the link");
    assert!(matches!(error, EmbeddedError::SocketDir { .. }), "{error}");
}

#[tokio::test]
async fn an_early_death_shows_the_log() {
    if postgres_is_missing().await {
        return;
    }
    let scratch = Scratch::new();
    let mut cluster = start(&scratch.0).await;
    stop(&mut cluster).await;
    drop(cluster);
    let conf = scratch.0.join("pg/data/postgresql.conf");
    fs::write(&conf, "no_such_setting = 1\n").expect("a broken configuration");
    let error = Cluster::start(&scratch.0, &Options::default()).await.expect_err("broken");
    assert!(matches!(error, EmbeddedError::Died { .. }), "{error}");
    assert!(error.to_string().contains("no_such_setting"), "{error}");

    fs::write(scratch.0.join("pg/data/PG_VERSION"), "8.4\n").expect("an old version");
    let error = Cluster::start(&scratch.0, &Options::default()).await.expect_err("too old");
    assert!(matches!(error, EmbeddedError::OtherMajor { .. }), "{error}");
}

/// Needs Postgres, root and `unshare`; prints what is missing.
async fn namespaces_are_missing() -> bool {
    let mut unshare = tokio::process::Command::new("unshare");
    let works = unshare.args(["--user", "--map-user=1", "--map-group=1", "true"]).status().await;
    let missing = !geteuid().is_root() || !works.is_ok_and(|status| status.success());
    if missing {
        println!("skipped: needs root and `unshare --user`");
    }
    missing || postgres_is_missing().await
}

#[tokio::test]
async fn root_under_a_private_directory_uses_a_user_namespace() {
    if namespaces_are_missing().await {
        return;
    }
    let scratch = Scratch::new();
    fs::set_permissions(&scratch.0, Permissions::from_mode(0o700)).expect("mode");
    let data_dir = scratch.0.join("data");
    let mut cluster = start(&data_dir).await;
    assert_eq!(fs::metadata(data_dir.join("pg/data")).expect("there").uid(), 0);
    assert!(sql(&cluster.config(), "SELECT 1").await.is_some());
    let pid = cluster.pid().expect("running");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("proc");
    assert!(status.contains("Name:\tpostgres"), "a direct child: {status}");
    assert!(status.lines().any(|line| line.trim_end() == "Groups:"), "{status}");
    stop(&mut cluster).await;
    drop(cluster);

    // The owner decides from now on, also when others may enter.
    fs::set_permissions(&scratch.0, Permissions::from_mode(0o755)).expect("mode");
    let orphan = abandon(start(&data_dir).await);
    let mut cluster = start(&data_dir).await;
    assert_ne!(cluster.pid(), Some(orphan.0));
    stop(&mut cluster).await;
}
