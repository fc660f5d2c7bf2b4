//! A Postgres server of one test's own, on a port of the loopback address: for what the shared one
//! cannot be, such as encrypted, a standby, or gone.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};

use crate::{Directory, Sql, server, until};

/// Lets everybody in, for a server that nobody else knows.
const TRUST: &str = "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n";
const SETTINGS: &str = "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\n\
    fsync = off\nshared_buffers = 16MB\nmax_connections = 50\nlog_connections = on\n";

/// The server ends when its standard input does: with the test, however that ends.
const LIFELINE: &str = r#""$@" & server=$!; read -r _; kill -QUIT $server; wait $server"#;

/// What is unusual about a server.
#[derive(Debug, Clone, Default)]
pub struct Fitting {
    /// The volume that its data is on, if not in a directory of its own.
    pub data: Option<PathBuf>,
    /// The volume that its write-ahead log is on, if not with its data.
    pub wal: Option<PathBuf>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// The network namespace that it is in, as a file. It has a Unix socket then.
    pub network: Option<PathBuf>,
}

/// A server, stopped in the end.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    programs: PathBuf,
    process: Option<Child>,
    directory: Directory,
    fitting: Fitting,
}

impl Postgres {
    /// Starts an empty one with the superuser `decisiongraph`, who needs no password.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Postgres {
        Postgres::start_fitted(Fitting::default())
    }

    /// The same with something unusual.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub fn start_fitted(fitting: Fitting) -> Postgres {
        let mut postgres = Postgres::prepare(fitting);
        let data = postgres.data().display().to_string();
        let user = "--username=decisiongraph";
        let mut flags =
            vec!["-D", &data, user, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
        let wal = postgres.fitting.wal.as_ref().map(|wal| wal.join("wal"));
        let wal = wal.map(|wal| format!("--waldir={}", wal.display()));
        if let Some(wal) = &wal {
            flags.extend(["--wal-segsize=1", wal]);
        }
        postgres.run("initdb", &flags);
        postgres.settings(SETTINGS);
        if wal.is_some() {
            postgres.settings("min_wal_size = 2MB\nmax_wal_size = 8MB");
        }
        if postgres.fitting.network.is_some() {
            postgres.settings(&format!("unix_socket_directories = '{data}'"));
        }
        postgres.admit_all();
        postgres.settings(&format!("port = {}", postgres.port));
        postgres.start_again();
        postgres
    }

    /// Starts a standby that streams from this one.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn standby(&self) -> Postgres {
        let mut standby = Postgres::prepare(Fitting::default());
        let (data, port) = (standby.data().display().to_string(), self.port.to_string());
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "decisiongraph", "-c", "fast"];
        standby.run("pg_basebackup", &[&["-D", &data, "-R", "--no-sync"], &from[..]].concat());
        standby.settings(&format!("port = {}", standby.port));
        standby.start_again();
        standby
    }

    fn prepare(fitting: Fitting) -> Postgres {
        let directory = Directory::new();
        let sql = Sql::connect(&server().parse().unwrap());
        let programs = sql.one("SELECT setting FROM pg_config WHERE name = 'BINDIR'").into();
        // Another program may take it before the server does, but none does so on purpose.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let postgres = Postgres { port, programs, process: None, directory, fitting };
        let wal = postgres.fitting.wal.iter().map(|wal| wal.join("wal"));
        for own in wal.chain([postgres.data()]) {
            std::fs::create_dir(&own).unwrap();
            std::fs::set_permissions(&own, PermissionsExt::from_mode(0o700)).unwrap();
            postgres.own(&own);
        }
        postgres
    }

    /// Lets everybody in, from the next connection on.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn admit_all(&self) {
        self.admit(TRUST);
    }

    /// Lets in whom this `pg_hba.conf` says, once the server has read it again.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn admit(&self, access: &str) {
        self.write("pg_hba.conf", &format!("local all all trust\n{access}"));
    }

    /// Adds settings to its file, which count from its next start or reload on.
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn set(&self, lines: &str) {
        self.settings(lines);
    }

    /// Whether its postmaster is gone: nobody has stopped it.
    pub fn has_crashed(&self) -> bool {
        self.process.is_some() && !self.data().join("postmaster.pid").exists()
    }

    /// Encrypts from now on, as this host and nothing else: who comes without TLS is refused.
    ///
    /// # Panics
    /// When it does not take the certificate.
    pub fn encrypt(&mut self, server: &crate::Identity, root: &str, access: &str) {
        self.write("server.crt", &server.certificate);
        self.write("server.key", &server.key);
        self.write("root.crt", root);
        self.write("pg_hba.conf", access);
        self.settings("ssl = on\nssl_ca_file = 'root.crt'");
        self.stop();
        self.start_again();
    }

    /// Starts it after [`Postgres::stop`].
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.shell();
        command.envs(self.fitting.environment.iter().cloned());
        command.args(["-c", LIFELINE, "sh"]).arg(self.programs.join("postgres"));
        command.arg("-D").arg(self.data()).stdin(Stdio::piped());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let (port, host) = (self.port.to_string(), self.host());
        until("a server of the test is up", || {
            let mut asking = self.command(&self.programs.join("pg_isready"));
            let asked = asking.args(["-h", &host, "-p", &port]).output().unwrap();
            asked.status.success().then_some(())
        });
    }

    /// Starts it, unless it runs.
    ///
    /// # Panics
    /// As [`Postgres::start_again`].
    pub fn start_if_stopped(&mut self) {
        if self.process.is_none() {
            self.start_again();
        }
    }

    /// Kills the postmaster and every process of it: memory is lost, what was written is not.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let postmaster = self.postmaster();
        let children = children(postmaster);
        kill(postmaster, Signal::SIGKILL).unwrap();
        for child in children {
            let _ = kill(child, Signal::SIGKILL);
        }
        self.stop();
    }

    /// Lets all its processes hang until [`Postgres::thaw`]: connections stay, and nothing is answered.
    pub fn freeze(&self) {
        // The postmaster first, so that it starts no others meanwhile.
        self.signal_all(Signal::SIGSTOP);
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    fn signal_all(&self, signal: Signal) {
        let Some(postmaster) = self.running() else { return };
        let _ = kill(postmaster, signal);
        for child in children(postmaster) {
            let _ = kill(child, signal);
        }
    }

    /// Stops it as an operator does who cannot wait: sessions are ended, nothing is to be recovered.
    ///
    /// # Panics
    /// When it does not run.
    pub fn stop_fast(&mut self) {
        let lock = self.data().join("postmaster.pid");
        kill(self.postmaster(), Signal::SIGINT).unwrap();
        until("a server of the test has stopped", || (!lock.exists()).then_some(()));
        self.stop();
    }

    fn postmaster(&self) -> Pid {
        self.running().unwrap()
    }

    fn running(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok().map(Pid::from_raw)
    }

    /// Stops it at once, as a crash would; does nothing when it does not run.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // What is frozen does not end.
            self.signal_all(Signal::SIGCONT);
            drop(process.stdin.take());
            let _ = process.wait();
        }
    }

    /// Makes a standby the primary.
    ///
    /// # Panics
    /// When it is none.
    pub fn promote(&self) {
        let data = self.data().display().to_string();
        self.run("pg_ctl", &["promote", "-w", "-D", &data]);
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// An operator's connection, without TLS.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn sql(&self) -> Sql {
        Sql::connect(&self.config())
    }

    /// An operator's way to it.
    ///
    /// # Panics
    /// Never.
    pub fn config(&self) -> tokio_postgres::Config {
        let (host, port) = (self.host(), self.port);
        let text =
            format!("host={host} port={port} user=decisiongraph dbname=postgres sslmode=disable");
        text.parse().unwrap()
    }

    /// Its address, or the directory of its socket.
    fn host(&self) -> String {
        match self.fitting.network {
            Some(_) => self.data().display().to_string(),
            None => "127.0.0.1".to_owned(),
        }
    }

    /// The same, if there is a place for it.
    pub fn try_sql(&self) -> Option<Sql> {
        Sql::try_connect(&self.config()).ok()
    }

    /// A file for its clients.
    pub fn file(&self, name: &str, content: &str) -> String {
        self.directory.file(name, content).display().to_string()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn data(&self) -> PathBuf {
        self.fitting.data.as_deref().unwrap_or(self.directory.path()).join("data")
    }

    /// A shell in the network namespace of the server, as its account.
    fn shell(&self) -> Command {
        let Some(network) = &self.fitting.network else { return self.command("sh".as_ref()) };
        let (uid, gid) = account().unwrap_or((geteuid().as_raw(), nix::unistd::getegid().as_raw()));
        let mut command = Command::new("nsenter");
        command.current_dir("/").arg(format!("--net={}", network.display()));
        command.args(["--", "setpriv", "--clear-groups"]);
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "sh".to_owned()]);
        command
    }

    fn settings(&self, lines: &str) {
        let file = self.data().join("postgresql.conf");
        let mut file = std::fs::File::options().append(true).open(file).unwrap();
        writeln!(file, "{lines}").unwrap();
    }

    /// Writes a file of the server, which takes only keys that are its own.
    fn write(&self, name: &str, content: &str) {
        let file = self.data().join(name);
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        self.own(&file);
    }

    fn own(&self, path: &Path) {
        if let Some((uid, gid)) = account() {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(&self.programs.join(program)).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}\n{}", self.log());
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::null());
        if let Some((uid, gid)) = account() {
            command.uid(uid).gid(gid);
        }
        command
    }
}

fn children(process: Pid) -> Vec<Pid> {
    let children = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// Postgres refuses to run as root.
fn account() -> Option<(u32, u32)> {
    let other = || User::from_name("postgres").ok().flatten();
    let nobody = || User::from_name("nobody").ok().flatten();
    let user = geteuid().is_root().then(|| other().or_else(nobody).unwrap());
    user.map(|user| (user.uid.as_raw(), user.gid.as_raw()))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the server's log:\n{}", self.log());
        }
        self.stop();
    }
}
