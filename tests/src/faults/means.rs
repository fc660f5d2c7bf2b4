//! What takes root, or a program that may be missing: volumes, a network namespace, clocks, a limit of
//! memory. Each can be had or says why not, and is gone with its value.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Directory;

/// Why something cannot be had here.
pub(super) type Missing = String;

/// Runs a program; what it said when it failed.
fn run(program: &str, arguments: &[&str]) -> Result<(), Missing> {
    let output = Command::new(program).args(arguments).output();
    match output {
        Err(error) => Err(format!("{program}: {error}")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim_end()))
        }
    }
}

/// A small volume in memory.
#[derive(Debug)]
pub(super) struct Volume(Directory);

impl Volume {
    pub(super) fn mount(megabytes: u32) -> Result<Volume, Missing> {
        let directory = Directory::new();
        let place = directory.path().display().to_string();
        let size = format!("size={megabytes}m,mode=755");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &place])?;
        Ok(Volume(directory))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Leaves no room on it.
    pub(super) fn fill(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).unwrap();
        for size in [1 << 20, 4096] {
            while ballast.write_all(&vec![1; size]).is_ok() {}
        }
    }

    pub(super) fn free(&self) {
        let _ = std::fs::remove_file(self.ballast());
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Also with files open: it goes with the last of them.
        let _ = run("umount", &["-l", &self.path().display().to_string()]);
    }
}

/// What is lost in a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// What goes to this port.
    Requests,
    /// What comes from it.
    Answers,
    /// Both.
    All,
    /// The link is down.
    Link,
}

/// A network of its own, with a loopback and nothing else.
#[derive(Debug)]
pub(super) struct Netns(Child);

impl Netns {
    pub(super) fn new() -> Result<Netns, Missing> {
        let hold = "ip link set lo up && echo up && exec sleep infinity";
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", hold]);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut holder = spawned.map_err(|error| format!("setpriv: {error}"))?;
        let mut said = String::new();
        if let Some(stdout) = holder.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut said);
        }
        let netns = Netns(holder);
        if said.trim() != "up" {
            return Err("no network namespace can be made".to_owned());
        }
        netns.inside("nft", &["list", "ruleset"])?;
        Ok(netns)
    }

    /// As a file.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }

    fn inside(&self, program: &str, arguments: &[&str]) -> Result<(), Missing> {
        let net = format!("--net={}", self.path().display());
        run("nsenter", &[&[&net, "--", program], arguments].concat())
    }

    pub(super) fn lose(&self, loss: Loss, port: &str) -> Result<(), Missing> {
        let rule = |what: &str| format!("add rule ip faults lost tcp {what} {port} drop\n");
        let rules = match loss {
            Loss::Requests => rule("dport"),
            Loss::Answers => rule("sport"),
            Loss::All => rule("dport") + &rule("sport"),
            Loss::Link => return self.inside("ip", &["link", "set", "lo", "down"]),
        };
        let chain = "add table ip faults; \
            add chain ip faults lost { type filter hook input priority 0; }";
        self.inside("nft", &[&format!("{chain}\n{rules}")])
    }

    /// Nothing is lost any more.
    pub(super) fn mend(&self) {
        let _ = self.inside("nft", &["flush", "ruleset"]);
        let _ = self.inside("ip", &["link", "set", "lo", "up"]);
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A wall clock that can be set, of the processes that have its variables. It leaves the monotonic one.
#[derive(Debug)]
pub(super) struct Clock {
    library: PathBuf,
    directory: Directory,
}

impl Clock {
    pub(super) fn new() -> Result<Clock, Missing> {
        let places = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let library = places
            .map(|place| place.path().join("faketime/libfaketimeMT.so.1"))
            .chain(["/usr/lib/faketime/libfaketimeMT.so.1".into()])
            .find(|library| library.exists())
            .ok_or("no libfaketime, which is in Debian's package faketime")?;
        let clock = Clock { library, directory: Directory::new() };
        clock.set(0);
        Ok(clock)
    }

    /// So many seconds later than it is.
    pub(super) fn set(&self, seconds: i64) {
        // In one step: whoever reads it sees the old text or the new one.
        let next = self.directory.file("next", format!("{seconds:+}\n"));
        std::fs::rename(next, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("clock")
    }

    /// What a process has in its environment to go by it.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let variables = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// A bound of memory, beyond which the kernel kills.
#[derive(Debug)]
pub(super) struct MemoryLimit(PathBuf);

impl MemoryLimit {
    /// Bounds what a process allocates from now on.
    pub(super) fn of(pid: i32, megabytes: u64) -> Result<MemoryLimit, Missing> {
        let group = format!("/sys/fs/cgroup/memory/decisiongraph-faults-{pid}");
        let why = |error: std::io::Error| format!("no memory cgroup (version 1): {error}");
        std::fs::create_dir(&group).map_err(why)?;
        let limit = MemoryLimit(group.into());
        let write = |name: &str, value: String| std::fs::write(limit.0.join(name), value);
        write("memory.limit_in_bytes", (megabytes << 20).to_string()).map_err(why)?;
        write("cgroup.procs", pid.to_string()).map_err(why)?;
        Ok(limit)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // What is still in it goes back to where it came from.
        for pid in std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default().lines()
        {
            let _ = std::fs::write("/sys/fs/cgroup/memory/cgroup.procs", pid);
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}
