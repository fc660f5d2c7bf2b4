//! The Debian package: what is in it, and its life on a machine of its own with a systemd.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use dg_tests::{Answer, Directory, Machine, binary, skip, until};

const EVENT: &str = r#"{"event_id":"e1","trace_id":"deal-1","trace_seq":0,"event_type":"TraceStarted","occurred_at":"2026-11-20T09:00:00Z","source":{"producer_id":"desk","system":"crm"},"actor":{"actor_type":"agent","actor_id":"deal_agent"},"idempotency_key":"deal-1:0","payload":{"workflow":"deal_approval","title":"Shelving","primary_entity":{"entity_type":"opportunity","entity_id":"opp-1"}}}"#;

/// Packages of the binary under test; not made small, which takes long.
fn build(revision: &str, output: &Path) -> Result<PathBuf, String> {
    let answer = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/package.sh"))
        .arg("--binary")
        .arg(binary())
        .args(["--compression", "none", "--revision", revision, "--output"])
        .arg(output)
        .output();
    let answer = Answer::of(&answer.unwrap());
    if answer.code != 0 && answer.stderr.contains("was not found") {
        return Err(answer.stderr.lines().next().unwrap().to_owned());
    }
    Ok(PathBuf::from(answer.ok().stdout.trim()))
}

/// A directory with two revisions of the package; said aloud why there is none.
fn packages() -> Option<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        build("1", &directory).and_then(|_| build("2", &directory))?;
        Ok(directory)
    });
    built.as_ref().map(PathBuf::as_path).map_err(|why| skip(why)).ok()
}

/// One of them, as a pattern for a shell in that directory.
const FIRST: &str = "decisiongraph_*-1_*.deb";

/// A machine that finds both revisions at `/mnt`, and starts what is installed.
fn machine() -> Option<Machine> {
    let machine = Machine::boot_bare(packages()?)?;
    // An image may forbid that services start; an index of manual pages takes seconds.
    machine.shell("rm -f /usr/sbin/policy-rc.d /var/lib/man-db/auto-update").ok();
    Some(machine)
}

/// What a script of the host's shell prints, in the directory of the packages.
fn shell(script: &str) -> Option<Answer> {
    let output = Command::new("bash").args(["-c", script]).current_dir(packages()?).output();
    Some(Answer::of(&output.unwrap()))
}

#[test]
fn it_has_what_belongs_in_it_with_owners_and_modes() {
    let Some(listing) = shell(&format!("dpkg-deb --contents {FIRST}")) else { return };
    let listing = listing.ok().stdout;
    let found = |path: &str| {
        let line = listing.lines().find(|line| line.ends_with(&format!(" .{path}")));
        line.unwrap_or_else(|| panic!("{path} is not in:\n{listing}")).to_owned()
    };
    for (mode, path) in [
        ("-rwxr-xr-x", "/usr/bin/decisiongraph"),
        ("-rw-r-----", "/etc/decisiongraph/config.toml"),
        ("-rw-r--r--", "/usr/lib/systemd/system/decisiongraph.service"),
        ("-rw-r--r--", "/usr/lib/systemd/system/decisiongraph.socket"),
        ("-rw-r--r--", "/usr/lib/sysusers.d/decisiongraph.conf"),
        ("-rw-r--r--", "/usr/lib/tmpfiles.d/decisiongraph.conf"),
        ("-rw-r--r--", "/usr/share/man/man1/decisiongraph.1.gz"),
        ("-rw-r--r--", "/usr/share/man/man1/decisiongraph-serve.1.gz"),
        ("-rw-r--r--", "/usr/share/bash-completion/completions/decisiongraph"),
        ("-rw-r--r--", "/usr/share/zsh/vendor-completions/_decisiongraph"),
        ("-rw-r--r--", "/usr/share/fish/vendor_completions.d/decisiongraph.fish"),
        ("-rw-r--r--", "/usr/share/doc/decisiongraph/README.md"),
        ("-rw-r--r--", "/usr/share/doc/decisiongraph/copyright"),
        ("-rw-r--r--", "/usr/share/doc/decisiongraph/third-party.gz"),
        ("-rw-r--r--", "/usr/share/doc/decisiongraph/changelog.Debian.gz"),
        ("-rw-r--r--", "/usr/share/doc/decisiongraph/prometheus/decisiongraph.rules.yml"),
        ("-rw-r--r--", "/usr/share/doc/decisiongraph/grafana/decisiongraph.json"),
        ("-rw-r--r--", "/usr/share/doc/decisiongraph/runbooks/README.md"),
        ("-rw-r--r--", "/usr/share/doc/decisiongraph/runbooks/store-down.md"),
    ] {
        let line = found(path);
        assert!(line.starts_with(mode), "{line}");
    }
    assert!(listing.lines().all(|line| line.contains(" root/root ")), "{listing}");
    let field = |name| shell(&format!("dpkg-deb --field {FIRST} {name}")).unwrap().ok().stdout;
    let version = format!("{}-1\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(field("Version"), version);
    assert!(field("Depends").contains("libc6 (>= "), "{}", field("Depends"));
    let conffiles = shell(&format!("dpkg-deb --info {FIRST} conffiles")).unwrap().ok().stdout;
    assert_eq!(conffiles, "/etc/decisiongraph/config.toml\n");
}

#[test]
fn the_same_commit_and_binary_give_the_same_bytes() {
    let Some(packages) = packages() else { return };
    let directory = Directory::new();
    let again = build("1", directory.path()).unwrap();
    let first = packages.join(again.file_name().unwrap());
    assert!(std::fs::read(&again).unwrap() == std::fs::read(&first).unwrap());
}

#[test]
fn what_is_packaged_is_what_was_built() {
    let tools = Directory::new();
    let cargo = "#!/bin/sh\necho \"builds in $CARGO_TARGET_DIR\" >&2; exit 1\n";
    let cargo = tools.file("cargo", cargo);
    std::fs::set_permissions(cargo, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/package.sh"));
    let answer = command.env("PATH", path).env("CARGO_TARGET_DIR", "/elsewhere").output();
    let answer = Answer::of(&answer.unwrap());
    if answer.stderr.contains("was not found") {
        return skip(answer.stderr.lines().next().unwrap());
    }
    assert!(answer.stderr.contains("builds in target\n"), "{answer:?}");
}

#[test]
fn lintian_finds_nothing() {
    let Some(there) = shell("command -v lintian") else { return };
    if there.code != 0 {
        return skip("no lintian to look at the package");
    }
    // Packed as it is for tests alone.
    let packed = "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball";
    let script =
        format!("lintian --allow-root --fail-on error,warning --suppress-tags {packed} {FIRST}");
    let answer = shell(&script).unwrap();
    assert_eq!((answer.code, &*answer.stdout), (0, ""), "{answer:?}");
}

#[test]
fn a_daemon_that_cannot_start_is_told_at_the_installation() {
    let Some(machine) = machine() else { return };
    let without_postgres = "d=/etc/systemd/system/decisiongraph.service.d && mkdir -p $d && \
        printf '[Service]\\nEnvironment=DECISIONGRAPH_POSTGRES_BIN_DIR=/nowhere\\n' >$d/test.conf";
    machine.shell(without_postgres).ok();
    let installed = machine.shell(&format!("dpkg --install /mnt/{FIRST}")).ok();
    let told =
        "decisiongraph did not start. Why: decisiongraph doctor, journalctl -u decisiongraph";
    assert!(installed.stderr.contains(told), "{installed:?}");
}

#[test]
fn it_is_installed_and_purged_where_no_systemd_runs() {
    let Some(machine) = machine() else { return };
    // How maintainer scripts tell: an image that is being made has none.
    machine.shell("rm -r /run/systemd/system").ok();
    let files = "find /etc /usr /var/lib -name '*decisiongraph*' ! -path '/var/lib/dpkg/*' | sort";
    let before = machine.shell(files).ok().stdout;
    machine.shell(&format!("dpkg --install /mnt/{FIRST}")).ok();

    let config = machine.shell("stat -c '%a %U:%G' /etc/decisiongraph/config.toml").ok().stdout;
    assert_eq!(config, "640 root:decisiongraph\n");
    let wanted = "readlink /etc/systemd/system/multi-user.target.wants/decisiongraph.service";
    assert!(machine.shell(wanted).ok().stdout.ends_with("/systemd/system/decisiongraph.service\n"));
    let version = machine.shell("decisiongraph --version").ok().stdout;
    assert_eq!(version, format!("decisiongraph {}\n", env!("CARGO_PKG_VERSION")));
    let origins = machine.shell("cd / && decisiongraph config --origin").ok().stdout;
    for (key, value) in [
        ("data_dir ", " /var/lib/decisiongraph "),
        ("socket_path ", " /run/decisiongraph/decisiongraph.sock "),
    ] {
        let line = origins.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(line.contains(value) && line.contains(" file:/etc/decisiongraph/config.toml:"));
    }
    let check = machine.shell("decisiongraph config check").ok().stdout;
    assert_eq!(check, "the configuration is valid\n");

    // Whoever is not in its group is told what to do.
    let stranger =
        machine.shell("cd / && setpriv --reuid 65534 --clear-groups decisiongraph status");
    assert!(stranger.code == 64 && stranger.stderr.contains("in its group"), "{stranger:?}");

    let complete = ". /usr/share/bash-completion/completions/decisiongraph && \
        COMP_WORDS=(decisiongraph reb) COMP_CWORD=1 && _decisiongraph decisiongraph reb decisiongraph && \
        echo ${COMPREPLY[@]}";
    assert_eq!(machine.shell(complete).ok().stdout, "rebuild\n");
    let page = "man --warnings -E UTF-8 -l /usr/share/man/man1/decisiongraph-rebuild.1.gz";
    let page = machine.shell(page).ok();
    assert!(page.stdout.contains("--dry-run") && page.stderr.is_empty(), "{page:?}");
    let units = "systemd-analyze verify decisiongraph.service decisiongraph.socket";
    assert_eq!(machine.shell(units).stderr, "");

    let purged = machine.shell("dpkg --purge decisiongraph").ok();
    assert!(!purged.stderr.contains("kept"), "{purged:?}");
    assert_eq!(machine.shell(files).ok().stdout, before);
}

fn until_up(machine: &Machine) {
    until("the daemon is up", || {
        machine.shell("decisiongraph status -o json").says_up().then_some(())
    });
}

#[test]
fn it_is_a_service_that_outlives_upgrades_and_leaves_its_data() {
    let Some(machine) = machine() else { return };
    let installed = machine.shell(&format!("dpkg --install /mnt/{FIRST}")).ok();
    assert_eq!(machine.shown("ActiveState"), "active", "{installed:?}");
    until_up(&machine);
    machine.shell(&format!("echo '{EVENT}' | decisiongraph append")).ok();
    let summary = "cd / && decisiongraph summary deal-1 --wait";
    machine.shell(summary).ok();

    // Upgraded: what the operator has written stays, the daemon is another one.
    machine.shell("echo 'pool_size = 7' >>/etc/decisiongraph/config.toml").ok();
    let before = machine.shown("MainPID");
    machine.shell("dpkg --install /mnt/decisiongraph_*-2_*.deb").ok();
    assert_ne!(machine.shown("MainPID"), before);
    until_up(&machine);
    machine.shell(summary).ok();
    let pool = machine.shell("decisiongraph config | grep pool_size").ok().stdout;
    assert!(pool.contains(" 7 "), "{pool}");

    // A configuration that the new binary refuses leaves the old daemon at work.
    machine.shell("echo 'pol_size = 7' >>/etc/decisiongraph/config.toml").ok();
    let before = machine.shown("MainPID");
    let upgraded = machine.shell(&format!("dpkg --install /mnt/{FIRST}")).ok();
    assert!(upgraded.stderr.contains("did you mean `pool_size`?"), "{upgraded:?}");
    assert!(upgraded.stderr.contains("decisiongraph was not restarted"), "{upgraded:?}");
    assert_eq!(machine.shown("MainPID"), before);
    machine.shell("sed -i /pol_size/d /etc/decisiongraph/config.toml").ok();

    // A schema of a later release refuses an older binary, and says so.
    let later = "INSERT INTO dg_schema_migrations (version, name, checksum, binary_version) \
        VALUES (999, 'later', sha256('x'), '9.9.9')";
    machine.shell(&format!("decisiongraph psql -c \"{later}\"")).ok();
    machine.shell("systemctl restart decisiongraph");
    let why = "journalctl --unit decisiongraph | grep 'step 999 (later) of release 9.9.9'";
    until("the journal says why", || (machine.shell(why).code == 0).then_some(()));

    machine.shell("systemctl stop decisiongraph");
    let away = machine.shell("cd / && decisiongraph status");
    assert!(away.stderr.contains("`systemctl start decisiongraph`"), "{away:?}");
    let unproven = machine.shell("cd / && decisiongraph verify");
    assert!(unproven.code == 69 && unproven.stderr.contains("is not running"), "{unproven:?}");
    assert!(unproven.stderr.contains("`systemctl start decisiongraph`"), "{unproven:?}");
    // Who may not see it is not told that it is not there.
    let in_the_group = "cd / && setpriv --reuid 65534 --groups decisiongraph decisiongraph";
    let closed = machine.shell(&format!("{in_the_group} verify"));
    let why = "cannot look at /var/lib/decisiongraph/pg/data: Permission denied";
    assert!(closed.stderr.contains(why), "{closed:?}");
    assert!(closed.stderr.contains("ask as the daemon's user, or root"), "{closed:?}");
    let doctor = machine.shell(&format!("{in_the_group} doctor"));
    assert_eq!(doctor.stdout.matches(why).count(), 2, "{doctor:?}");

    // Removed: nothing of the program is left, all of its data and configuration is.
    machine.shell("dpkg --remove decisiongraph").ok();
    assert_eq!(machine.shell("pgrep -c 'decisiongraph|postgres'").stdout, "0\n");
    machine.shell("test ! -e /usr/bin/decisiongraph -a -e /etc/decisiongraph/config.toml").ok();
    let data = "test -d /var/lib/decisiongraph/pg/data";
    machine.shell(data).ok();
    let purged = machine.shell("dpkg --purge decisiongraph").ok();
    assert!(purged.stderr.contains("kept: /var/lib/decisiongraph, which holds the event log"));
    machine.shell("test ! -e /etc/decisiongraph").ok();
    machine.shell(data).ok();
}
