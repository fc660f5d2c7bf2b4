//! What Prometheus' client libraries tell of their process, under the same names. All of it from
//! `/proc/self` and system calls: where a sandbox hides the rest of `/proc` (`ProcSubset=pid`),
//! nothing is missing, the start included, which others compute from `/proc/stat`.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use dg_runtime::metrics::Page;
use nix::sys::resource::{Resource, getrlimit};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// Writes what is known now; what the system does not tell is left out.
pub(super) fn write(page: &mut Page) {
    if let Some(stat) =
        std::fs::read_to_string("/proc/self/stat").ok().and_then(|text| parse(&text))
    {
        write_stat(page, &stat);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // The look itself has one open.
        let count = open.count().saturating_sub(1);
        page.gauge("process_open_fds", "File descriptors that are open.").add(&[], count as f64);
    }
    if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let meaning = "File descriptors that may be open.";
        page.gauge("process_max_fds", meaning).add(&[], most as f64);
    }
}

fn write_stat(page: &mut Page, stat: &Stat) {
    if let Some(ticks) = a_second() {
        let meaning = "Processor time in user and system mode, in seconds.";
        page.counter("process_cpu_seconds_total", meaning).add(&[], stat.worked as f64 / ticks);
        if let Some(start) = start(stat.started as f64 / ticks) {
            let meaning = "When the process started, as Unix time in seconds.";
            page.gauge("process_start_time_seconds", meaning).add(&[], start);
        }
    }
    if let Ok(Some(bytes)) = sysconf(SysconfVar::PAGE_SIZE) {
        let meaning = "Memory that is resident, in bytes.";
        let resident = stat.resident_pages as f64 * bytes as f64;
        page.gauge("process_resident_memory_bytes", meaning).add(&[], resident);
    }
    let meaning = "Memory that is addressed, in bytes.";
    page.gauge("process_virtual_memory_bytes", meaning).add(&[], stat.virtual_bytes as f64);
    page.gauge("process_threads", "Threads of the process.").add(&[], stat.threads as f64);
}

/// Processor time that a process has had, of which `/proc` tells in this directory.
pub(crate) fn processor_seconds(process: &Path) -> Option<f64> {
    let stat = parse(&std::fs::read_to_string(process.join("stat")).ok()?)?;
    Some(stat.worked as f64 / a_second()?)
}

/// Ticks of the clock that the kernel counts in.
fn a_second() -> Option<f64> {
    sysconf(SysconfVar::CLK_TCK).ok().flatten().map(|ticks| ticks as f64)
}

/// The Unix time of so many seconds after boot; the same at each scrape, though clocks are set.
fn start(after_boot: f64) -> Option<f64> {
    static START: OnceLock<Option<f64>> = OnceLock::new();
    *START.get_or_init(|| {
        let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
        let age = since_boot.as_secs_f64() - after_boot;
        let now = SystemTime::UNIX_EPOCH.elapsed().ok()?.as_secs_f64();
        Some(((now - age) * 100.0).round() / 100.0)
    })
}

/// What is of use in `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Ticks in user and system mode.
    worked: u64,
    threads: u64,
    /// Ticks from boot.
    started: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// The name of the program stands in parentheses and may hold anything, parentheses too.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The manual counts from 1, name and number of the process included.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        worked: field(14)? + field(15)?,
        threads: field(20)?,
        started: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read_whatever_the_program_is_called() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 150 25 0 0 20 0 4 0 98765 4096000 321 \
            18446744073709551615 0 0";
        let stat = Stat {
            worked: 175,
            threads: 4,
            started: 98765,
            virtual_bytes: 4_096_000,
            resident_pages: 321,
        };
        assert_eq!(parse(line), Some(stat));
        assert_eq!(parse("7 (a) S 1"), None);
        assert_eq!(parse(""), None);
    }
}
