//! Is this host ready? Each check names what it found and, where it failed, the command that fixes it.
//!
//! [`check`] is what the engine cannot do without, and what every start looks at. [`advise`] is what `deploy/HOST.md` advises beside, for who asks.

mod host;
mod network;
mod numbers;
#[cfg(test)]
mod planted;

use std::fs;
use std::io;

use host::Host;

/// The oldest kernel that everything in [`super::op`] works on.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Open files below which the engine warns: each connection is one.
const OPEN_FILES_WANTED: u64 = 65_536;

/// Open files that the engine needs for itself: rings, listeners, control HTTP, logs.
const OPEN_FILES_MIN: u64 = 64;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable name of the check.
    pub name: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was found, for a person.
    pub detail: String,
    /// The command that fixes it; empty when nothing is wrong, or nothing can be said.
    pub fix: String,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It cannot be told here, in a container for example, and so is nobody's fault.
    Unknown,
    /// It works, but not as well as it could.
    Warning,
    /// The engine cannot run.
    Failed,
}

impl Finding {
    fn ok(name: &'static str, detail: String) -> Self {
        Self { name, verdict: Verdict::Ok, detail, fix: String::new() }
    }

    fn unknown(name: &'static str, detail: String) -> Self {
        Self { name, verdict: Verdict::Unknown, detail, fix: String::new() }
    }

    fn warning(name: &'static str, detail: String, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warning, detail, fix: fix.into() }
    }

    fn failed(name: &'static str, detail: String, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Failed, detail, fix: fix.into() }
    }
}

/// Checks what the engine cannot do without. It raises the soft limit of open files to the hard one on the way.
pub fn check() -> Vec<Finding> {
    let setting = io_uring_setting();
    let ring = io_uring_works(setting.verdict == Verdict::Ok);
    vec![kernel(), setting, ring, open_files()]
}

/// Looks at what the host could do better for so many cores (0 is all that the process may use), as `deploy/HOST.md` says. None of it
/// keeps the engine from running. It reads files of the kernel and changes nothing.
pub fn advise(cores: usize) -> Vec<Finding> {
    let host = Host::here(cores);
    let mut findings = host.judge();
    findings.extend(network::judge(&host));
    findings
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    judge_kernel(release.trim())
}

fn judge_kernel(release: &str) -> Finding {
    let (major, minor) = KERNEL_MIN;
    if version(release) >= KERNEL_MIN {
        Finding::ok("kernel", format!("Linux {release}"))
    } else {
        let fix = format!(
            "boot a kernel of {major}.{minor} or later (Debian 12: apt-get install linux-image-amd64)"
        );
        Finding::failed("kernel", format!("Linux {release} is older than {major}.{minor}"), fix)
    }
}

/// The first two numbers of a release; zeroes when it has none.
fn version(release: &str) -> (u32, u32) {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn io_uring_setting() -> Finding {
    // Kernels before 6.6 have no such setting, and io_uring is on.
    let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_else(|_| "0".into());
    // SAFETY: takes nothing and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let group = fs::read_to_string("/proc/sys/kernel/io_uring_group").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    judge_io_uring_setting(setting.trim(), is_root || is_in_group(group.trim(), &status))
}

/// Whether the process, of which this is `/proc/self/status`, has the group; -1 is nobody's.
fn is_in_group(group: &str, status: &str) -> bool {
    let ids = |name| status.lines().find_map(|line: &str| line.strip_prefix(name)).unwrap_or_default();
    // Real, effective, saved and that of files: the last one counts, and the supplementary ones.
    let of_files = ids("Gid:").split_whitespace().nth(3);
    !group.is_empty() && of_files.into_iter().chain(ids("Groups:").split_whitespace()).any(|id| id == group)
}

fn judge_io_uring_setting(setting: &str, is_let: bool) -> Finding {
    let detail = format!("kernel.io_uring_disabled = {setting}");
    match (setting, is_let) {
        ("0", _) | ("1", true) => Finding::ok("io_uring_disabled", detail),
        _ => Finding::failed("io_uring_disabled", detail, "sysctl -w kernel.io_uring_disabled=0"),
    }
}

fn io_uring_works(is_let: bool) -> Finding {
    match io_uring::IoUring::new(8) {
        Ok(_ring) => Finding::ok("io_uring", "a ring can be made".into()),
        Err(error) => judge_ring_error(&error, is_let),
    }
}

/// `is_let` tells whether `kernel.io_uring_disabled` lets this process have rings.
fn judge_ring_error(error: &io::Error, is_let: bool) -> Finding {
    let (cause, fix) = match error.raw_os_error() {
        // The setting refuses with the same error as a filter: whether there is a filter too shows when the setting is mended.
        Some(libc::EPERM) if !is_let => {
            let detail = format!("kernel.io_uring_disabled comes first ({error})");
            return Finding::unknown("io_uring", detail);
        }
        Some(libc::EPERM | libc::EACCES) => (
            "a seccomp filter or security module refuses io_uring",
            "allow io_uring_setup, io_uring_enter and io_uring_register, as deploy/container/seccomp.json does \
             (docker run --security-opt seccomp=FILE; Kubernetes: seccompProfile of type Localhost)",
        ),
        Some(libc::ENOSYS) => {
            ("the kernel was built without io_uring", "boot a kernel with CONFIG_IO_URING=y")
        }
        Some(libc::ENOMEM) => ("no memory may be locked for the ring", "ulimit -l unlimited"),
        Some(libc::EMFILE | libc::ENFILE) => ("too many open files", "ulimit -n 65536"),
        _ => ("the kernel refuses", "see the error"),
    };
    Finding::failed("io_uring", format!("no ring can be made: {cause} ({error})"), fix)
}

fn open_files() -> Finding {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live `rlimit`.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        let error = io::Error::last_os_error();
        return Finding::warning("open_files", format!("limit unknown: {error}"), "ulimit -n 65536");
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: as above.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            limit = raised;
        }
    }
    judge_open_files(limit.rlim_cur)
}

fn judge_open_files(limit: u64) -> Finding {
    let fix = "ulimit -n 65536 (systemd: LimitNOFILE=1048576)";
    match limit {
        ..OPEN_FILES_MIN => Finding::failed("open_files", format!("only {limit} files may be open"), fix),
        OPEN_FILES_MIN..OPEN_FILES_WANTED => {
            Finding::warning("open_files", format!("{limit} files may be open: each connection is one"), fix)
        }
        _ => Finding::ok("open_files", format!("{limit} files may be open")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions are compared as numbers, whatever a distribution appends.
    #[test]
    fn kernels_are_told_apart() {
        for (release, verdict) in [
            ("6.1.0-18-amd64", Verdict::Ok),
            ("6.18.44", Verdict::Ok),
            ("10.0", Verdict::Ok),
            ("6.0.19", Verdict::Failed),
            ("5.15.0-91-generic", Verdict::Failed),
            ("", Verdict::Failed),
        ] {
            assert_eq!(judge_kernel(release).verdict, verdict, "{release}");
        }
    }

    /// The setting 1 shuts io_uring to everybody but root and a group, 2 to all.
    #[test]
    fn a_disabled_io_uring_names_the_sysctl() {
        assert_eq!(judge_io_uring_setting("0", false).verdict, Verdict::Ok);
        assert_eq!(judge_io_uring_setting("1", true).verdict, Verdict::Ok);
        for (setting, is_root) in [("1", false), ("2", true), ("2", false)] {
            let finding = judge_io_uring_setting(setting, is_root);
            assert_eq!(finding.verdict, Verdict::Failed);
            assert!(finding.fix.contains("sysctl -w kernel.io_uring_disabled=0"));
        }
    }

    /// With the setting 1, who is in the group of io_uring may use it, like root.
    #[test]
    fn the_group_of_io_uring_is_let_in() {
        let status = "Name:\tinrush\nUid:\t7\t7\t7\t7\nGid:\t5\t105\t105\t105\nGroups:\t20 300 \n";
        for (group, is_in) in [
            ("105", true),
            ("20", true),
            ("300", true),
            ("5", false),
            ("30", false),
            ("-1", false),
            ("", false),
        ] {
            assert_eq!(is_in_group(group, status), is_in, "{group}");
        }
        assert!(!is_in_group("0", ""));
    }

    /// EPERM from the ring is a seccomp filter, and the fix says so.
    #[test]
    fn a_seccomp_refusal_names_the_profile() {
        let refused = io::Error::from_raw_os_error(libc::EPERM);
        let finding = judge_ring_error(&refused, true);
        assert_eq!(finding.verdict, Verdict::Failed);
        assert!(finding.detail.contains("seccomp") && finding.fix.contains("io_uring_setup"));
        // Unless the setting explains it, which has a finding of its own.
        let finding = judge_ring_error(&refused, false);
        assert_eq!((finding.verdict, finding.fix.as_str()), (Verdict::Unknown, ""));
    }

    /// Few files are a warning, next to none a refusal.
    #[test]
    fn open_files_are_judged() {
        assert_eq!(judge_open_files(10).verdict, Verdict::Failed);
        assert_eq!(judge_open_files(1024).verdict, Verdict::Warning);
        assert_eq!(judge_open_files(1_048_576).verdict, Verdict::Ok);
    }
}
