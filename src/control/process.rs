//! What the kernel counts for this process (proc(5)), under the names that every Prometheus client uses.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Clock ticks a second in `/proc/*/stat`: `USER_HZ`, which Linux fixed at 100 for all of user space (proc_pid_stat(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Where control groups of version 2 show.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Memory, descriptors and CPU time now.
pub(super) struct Usage {
    pub(super) resident_bytes: u64,
    pub(super) open_fds: u64,
    pub(super) max_fds: u64,
    pub(super) cpu_seconds: f64,
}

impl Usage {
    /// `None` where `/proc` cannot be read, which includes having no descriptor left to read it with.
    pub(super) fn now() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let resident_kb: u64 = field(&status, "VmRSS:")?.parse().ok()?;
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let max_fds = match field(&limits, "Max open files")? {
            "unlimited" => u64::MAX,
            number => number.parse().ok()?,
        };
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        Some(Self {
            resident_bytes: resident_kb * 1024,
            // Less the one that reads the directory.
            open_fds: (fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1),
            max_fds,
            cpu_seconds: cpu_seconds(&stat)?,
        })
    }
}

/// CPU time used by each thread of this process, user and system, by the thread's name; those that cannot be read are left out.
pub(super) fn cpu_seconds_of_threads() -> HashMap<String, f64> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let thread = |entry: fs::DirEntry| {
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((name.trim_end().to_owned(), cpu_seconds(&stat)?))
    };
    threads.filter_map(thread).collect()
}

/// The host's name for itself (uname(2)); empty where it cannot be read.
pub(super) fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim_end().to_owned()
}

/// User and system time of a process's or thread's `stat`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the program's name in brackets, and may hold anything; utime and stime are fields 14 and 15.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut ticks = after_name.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = ticks.next()?.ok()? + ticks.next()?.ok()?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

/// Memory that the process may use, bytes: that of the host, or less where its control group, or one that this is in, may have less
/// (`memory.max`; a container's limit is one). `None` where `/proc` cannot be read.
pub(super) fn memory_max_bytes() -> Option<u64> {
    let total_kb: u64 = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?.parse().ok()?;
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = cgroups(&own);
    let limits = limits.iter().filter_map(|group| fs::read_to_string(group.join("memory.max")).ok());
    // One without a limit says `max`.
    limits.filter_map(|limit| limit.trim().parse().ok()).chain([total_kb * 1024]).min()
}

/// Directories of the control group that `/proc/self/cgroup` names (`0::/a/b`, cgroups(7)) and of those that it is in.
fn cgroups(own: &str) -> Vec<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let root = Path::new(CGROUPS);
    root.join(path).ancestors().take_while(|group| group.starts_with(root)).map(Path::to_path_buf).collect()
}

/// The first word after `name`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit of a slice holds for a service in it.
    #[test]
    fn limits_of_all_groups_around_count() {
        let groups = cgroups("1:name=systemd:/x\n0::/system.slice/inrush.service\n");
        let expected = ["/system.slice/inrush.service", "/system.slice", ""]
            .map(|path| PathBuf::from(format!("{CGROUPS}{path}")));
        assert_eq!(groups, expected);
        // In a container its own group is the root.
        assert_eq!(cgroups("0::/\n"), [PathBuf::from(CGROUPS)]);
        assert_eq!(cgroups(""), [PathBuf::from(CGROUPS)]);
        let used = Usage::now().expect("/proc").resident_bytes;
        assert!(memory_max_bytes().expect("/proc") > used);
    }

    #[test]
    fn usage_is_that_of_this_process() {
        let before = Usage::now().expect("/proc");
        assert!(before.resident_bytes > 100_000, "{}", before.resident_bytes);
        assert!(before.open_fds < before.max_fds);
        // Until it shows: on a loaded machine others have the processor meanwhile.
        let start = std::time::Instant::now();
        let has_grown = |usage: &Usage| usage.cpu_seconds >= before.cpu_seconds + 0.03;
        while !Usage::now().is_some_and(|usage| has_grown(&usage)) {
            assert!(start.elapsed() < std::time::Duration::from_secs(30), "{}", before.cpu_seconds);
        }
    }
    #[test]
    fn threads_are_told_apart_by_name() {
        let busy = || {
            let start = std::time::Instant::now();
            let used = || cpu_seconds_of_threads().get("busy-thread").copied();
            while !used().is_some_and(|seconds| seconds >= 0.03) {
                assert!(start.elapsed() < std::time::Duration::from_secs(30), "{:?}", used());
            }
        };
        std::thread::Builder::new().name("busy-thread".into()).spawn(busy).unwrap().join().unwrap();
        assert!(!cpu_seconds_of_threads().contains_key("busy-thread"), "it is over");
        assert!(!host_name().is_empty());
    }
}
