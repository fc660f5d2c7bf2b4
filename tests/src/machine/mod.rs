//! A private machine with a real systemd, on which the daemon is installed as the README says, or is
//! yet to be.
//!
//! Namespaces of its own, and memory over the host's files: nothing outside sees or keeps anything of
//! it. It ends with the test, however that ends; the cgroups it leaves are removed with it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::cli::{Answer, binary};
use crate::{Directory, skip, until};

/// Where systemd and its journal are.
const NEEDED: [&str; 4] = [
    "/lib/systemd/systemd",
    "/lib/systemd/systemd-journald",
    "/usr/bin/unshare",
    "/usr/bin/setpriv",
];

/// Where its programs are, whatever the tests' own environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A machine, gone in the end.
#[derive(Debug)]
pub struct Machine {
    /// `unshare`, whose child is the machine's first process.
    process: Child,
    first: Pid,
    cgroup: PathBuf,
    directory: Directory,
}

impl Machine {
    /// Boots one on which the daemon is installed by hand; says why when that cannot be had here.
    ///
    /// # Panics
    /// When it should come up and does not.
    pub fn boot() -> Option<Machine> {
        Machine::boot_with("".as_ref(), &[binary(), units()])
    }

    /// The same without the daemon, and with a directory of the host's at `/mnt`.
    ///
    /// # Panics
    /// As [`Machine::boot`].
    pub fn boot_bare(share: &Path) -> Option<Machine> {
        Machine::boot_with(share, &[])
    }

    fn boot_with(share: &Path, by_hand: &[PathBuf]) -> Option<Machine> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let cgroups = match cgroups() {
            Ok(cgroups) => cgroups,
            Err(missing) => {
                skip(&format!("no systemd in a machine of its own: {missing}"));
                return None;
            }
        };
        let directory = Directory::new();
        directory.file("enter.sh", include_str!("enter.sh"));
        directory.file("boot.sh", include_str!("boot.sh"));
        let said = std::fs::File::create(directory.path().join("console")).unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dg-test-{}-{number}", std::process::id());
        // Killed with whoever started it, and its child with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "bash"]).arg(directory.path().join("enter.sh"));
        let cgroup = cgroups.join(&name);
        command.arg(&cgroup).arg(directory.path()).arg(&name).arg(share).args(by_hand);
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        let process = command.spawn().unwrap();
        let first = Pid::from_raw(0);
        let mut machine = Machine { process, first, cgroup, directory };
        machine.first = until("the machine has a first process", || {
            let ended = machine.process.try_wait().unwrap();
            assert!(ended.is_none(), "the machine ended: {ended:?}\n{}", machine.console());
            machine.child()
        });
        until("systemd runs", || {
            let ended = machine.process.try_wait().unwrap();
            assert!(ended.is_none(), "the machine ended: {ended:?}\n{}", machine.console());
            let asked = machine.run(&["systemctl", "is-active", "dgtest.target"]);
            (asked.stdout.trim() == "active").then_some(())
        });
        Some(machine)
    }

    /// The only child of `unshare`, once the script has become that.
    fn child(&self) -> Option<Pid> {
        let pid = self.process.id();
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        if name.trim() != "unshare" {
            return None;
        }
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
    }

    fn console(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("console")).unwrap_or_default()
    }

    /// Runs a command in it, as root.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn run(&self, command: &[&str]) -> Answer {
        let mut enter = Command::new("nsenter");
        enter.args(["-t", &self.first.to_string(), "-m", "-p", "-u", "-i", "-n", "--"]);
        enter.env_clear().env("PATH", PATH).env("HOME", "/root").args(command);
        Answer::of(&enter.stdin(Stdio::null()).output().unwrap())
    }

    /// Runs a shell script in it.
    pub fn shell(&self, script: &str) -> Answer {
        self.run(&["bash", "-euc", script])
    }

    /// A property of the service.
    pub fn shown(&self, property: &str) -> String {
        let shown = self.run(&["systemctl", "show", "-P", property, "decisiongraph"]);
        shown.stdout.trim().to_owned()
    }

    /// Waits until a property of the service is this.
    ///
    /// # Panics
    /// When it does not become so.
    #[track_caller]
    pub fn until_shown(&self, property: &str, expected: &str) {
        until(&format!("{property} is {expected}"), || {
            (self.shown(property) == expected).then_some(())
        });
    }

    /// Starts the service and waits until systemd takes it for ready.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start(&self) {
        let started = self.run(&["systemctl", "start", "decisiongraph"]);
        assert_eq!(started.code, 0, "{started:?}\n{}", self.journal());
    }

    /// Changes the service's unit with a drop-in.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn drop_in(&self, lines: &str) {
        let place = "/etc/systemd/system/decisiongraph.service.d";
        self.shell(&format!(
            "mkdir -p {place} && echo '{lines}' >{place}/test.conf && systemctl daemon-reload"
        ))
        .ok();
    }

    /// What the service has logged.
    pub fn journal(&self) -> String {
        self.run(&["journalctl", "-u", "decisiongraph", "-o", "cat", "--no-pager"]).stdout
    }
}

/// The units as they are shipped.
pub fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("ops/systemd")
}

/// Where a machine's cgroup can be made, or what is missing for a machine.
fn cgroups() -> Result<PathBuf, String> {
    if !geteuid().is_root() {
        return Err("not root".to_owned());
    }
    let file = NEEDED.iter().find(|file| !Path::new(file).exists());
    if let Some(file) = file {
        return Err(format!("there is no {file}"));
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let cgroup2 = mounts.find(|mount| mount.get(2) == Some(&"cgroup2"));
    let cgroup2 = cgroup2.ok_or("no cgroup2 is mounted")?;
    let namespaces = ["--pid", "--fork", "--mount", "--uts", "--ipc", "--net", "--cgroup", "true"];
    let tried = Command::new("unshare").args(namespaces).output().unwrap();
    let said = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
    if !tried.status.success() {
        return Err(said);
    }
    Ok(PathBuf::from(cgroup2[1]))
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = format!("{}\n{}", self.console(), self.journal());
            let _ = writeln!(std::io::stderr(), "the machine's log:\n{said}");
        }
        // Its first process takes all others along, and the last of them its mounts.
        let _ = kill(Pid::from_raw(self.process.id() as i32), Signal::SIGKILL);
        let _ = self.process.wait();
        for _ in 0..200 {
            let mut folders = Command::new("find");
            folders.arg(&self.cgroup).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
            let _ = folders.stderr(Stdio::null()).status();
            if !self.cgroup.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
