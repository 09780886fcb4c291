//! How the host is set up, as far as the engine gains or loses by it: limits, kernel settings and memory. What it cannot do without is
//! judged by [`super::check`]; nothing here keeps it from running. `deploy/HOST.md` tells of each check, by its name.

use std::fs;
use std::path::{Path, PathBuf};

use super::Finding;
use super::numbers::{capabilities, list};
use crate::runtime::affinity;

/// What the kernel charges for one core's ring, rounded up: 1,024 submissions of 64 bytes, 8,192 completions of 16, and their heads.
pub(super) const RING_LOCKED_BYTES: u64 = 208 * 1024;
/// The first kernel that charges rings to the user's locked memory; 6.18 still does.
const RINGS_CHARGED_SINCE: (u32, u32) = (6, 14);
/// Who has this capability is charged nothing (capability.h).
const CAP_IPC_LOCK: u32 = 14;

/// What a setting of `deploy/sysctl.d/60-inrush.conf` should be.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    AtLeast(u64),
    Exactly(u64),
    /// First and last port, with at least so many between.
    Ports(u64),
}

/// The settings of the file that are judged here, with the value that it gives. `kernel.io_uring_disabled` is judged on its own.
const SETTINGS: [(&str, Wanted, &str); 6] = [
    ("net.core.somaxconn", Wanted::AtLeast(4096), "4096"),
    ("net.ipv4.tcp_syncookies", Wanted::AtLeast(1), "1"),
    ("net.ipv4.ip_local_port_range", Wanted::Ports(50_000), "10240 65535"),
    ("net.ipv4.tcp_slow_start_after_idle", Wanted::Exactly(0), "0"),
    ("net.ipv4.tcp_mtu_probing", Wanted::AtLeast(1), "1"),
    ("kernel.numa_balancing", Wanted::Exactly(0), "0"),
];

/// The host that is looked at, and what the engine will use of it.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Where `proc` and `sys` are: `/`, or a test's folder.
    pub(super) root: PathBuf,
    /// The CPUs that cores will be pinned to.
    pub(super) cpus: Vec<usize>,
    /// How many cores there will be.
    pub(super) cores: usize,
}

impl Host {
    /// This host, for an engine of so many cores; 0 is all that the process may use.
    pub(super) fn here(cores: usize) -> Self {
        let mut cpus = affinity::allowed();
        let cores = if cores == 0 { cpus.len() } else { cores };
        cpus.truncate(cores);
        Self { root: PathBuf::from("/"), cpus, cores }
    }

    /// What a file of the kernel says; nothing when it is not there or not ours to read.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    /// The settings, the limit of locked memory and the huge pages.
    pub(super) fn judge(&self) -> Vec<Finding> {
        let mut findings = vec![self.locked_memory()];
        findings.extend(SETTINGS.map(|(key, wanted, value)| self.setting(key, wanted, value)));
        findings.push(self.huge_pages());
        findings
    }

    fn setting(&self, key: &'static str, wanted: Wanted, value: &str) -> Finding {
        let Some(found) = self.read(Path::new("proc/sys").join(key.replace('.', "/"))) else {
            return Finding::unknown(key, "this kernel does not show it here".into());
        };
        let detail = format!("{key} = {}", found.split_whitespace().collect::<Vec<_>>().join(" "));
        if is_as_wanted(&found, wanted) {
            Finding::ok(key, detail)
        } else {
            Finding::warning(key, detail, format!("sysctl -w {key}=\"{value}\""))
        }
    }

    fn locked_memory(&self) -> Finding {
        let name = "locked_memory";
        let limit = self.read("proc/self/limits").and_then(|limits| locked_limit(&limits));
        let Some(limit) = limit else {
            return Finding::unknown(name, "the limit is not shown here".into());
        };
        let release = self.read("proc/sys/kernel/osrelease").unwrap_or_default();
        let status = self.read("proc/self/status").unwrap_or_default();
        let is_exempt = capabilities(&status) >> CAP_IPC_LOCK & 1 == 1;
        let is_charged = super::version(&release) >= RINGS_CHARGED_SINCE && !is_exempt;
        judge_locked_memory(limit, self.cores, is_charged)
    }

    fn huge_pages(&self) -> Finding {
        let name = "huge_pages";
        match self.read("proc/sys/vm/nr_hugepages").and_then(|number| number.parse::<u64>().ok()) {
            None => Finding::unknown(name, "this kernel does not show vm.nr_hugepages here".into()),
            Some(0) => Finding::ok(name, "none set aside; the engine uses none".into()),
            Some(number) => Finding::warning(
                name,
                format!("{number} set aside, which the engine does not use"),
                "sysctl -w vm.nr_hugepages=0, unless another program is to have them",
            ),
        }
    }
}

fn is_as_wanted(found: &str, wanted: Wanted) -> bool {
    let numbers: Vec<u64> = list(found);
    match (wanted, numbers.as_slice()) {
        (Wanted::AtLeast(least), [number]) => *number >= least,
        (Wanted::Exactly(exact), [number]) => *number == exact,
        (Wanted::Ports(least), [first, last]) => last.saturating_sub(*first) >= least,
        _ => false,
    }
}

/// The soft limit in bytes, of `/proc/self/limits`; unlimited is the largest number.
fn locked_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn judge_locked_memory(limit: u64, cores: usize, is_charged: bool) -> Finding {
    let name = "locked_memory";
    let needed = RING_LOCKED_BYTES.saturating_mul(cores as u64);
    let kib = needed.div_ceil(1024);
    if !is_charged {
        Finding::ok(name, "this process's rings are not charged to it".into())
    } else if limit >= needed {
        Finding::ok(name, format!("enough for {cores} rings, {kib} KiB"))
    } else {
        let detail = format!("{} KiB may be locked, and {cores} rings need {kib}", limit / 1024);
        Finding::warning(name, detail, "ulimit -l 65536 (systemd: LimitMEMLOCK=64M)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge_open_files;
    use super::super::planted::Planted;
    use super::*;
    use crate::runtime::preflight::Verdict;

    fn deploy(path: &str) -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)).unwrap()
    }

    /// The lines that set something, each of which has its reason in a comment above it.
    fn reasoned(file: &str) -> Vec<String> {
        let text = deploy(file);
        let lines: Vec<&str> = text.lines().collect();
        let mut set = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            assert!(number > 0 && lines[number - 1].starts_with("# "), "{file}: no reason above {line:?}");
            set.push((*line).to_owned());
        }
        set
    }

    /// The file sets what preflight judges, nothing else, to values that it finds right; and there is no key that this kernel has not.
    #[test]
    fn the_file_of_settings_and_preflight_agree_and_every_key_exists() {
        let mut keys = Vec::new();
        for line in reasoned("sysctl.d/60-inrush.conf") {
            let (key, value) = line.split_once(" = ").unwrap_or_else(|| panic!("{line:?}"));
            // A key with a dash may be missing: older kernels and those without NUMA lack it.
            let (key, may_lack) = key.strip_prefix('-').map_or((key, false), |key| (key, true));
            let path = Path::new("/proc/sys").join(key.replace('.', "/"));
            assert!(path.exists() || may_lack, "there is no {}", path.display());
            match SETTINGS.iter().find(|(name, ..)| *name == key) {
                Some((_, wanted, fix)) => {
                    assert!(is_as_wanted(value, *wanted), "{line}");
                    assert_eq!(value, *fix, "{line}");
                }
                None => assert_eq!((key, value), ("kernel.io_uring_disabled", "0")),
            }
            keys.push(key.to_owned());
        }
        let judged: Vec<_> =
            ["kernel.io_uring_disabled"].into_iter().chain(SETTINGS.map(|(key, ..)| key)).collect();
        assert_eq!(keys, judged);
    }

    /// The limits of the file are enough for as many cores as the engine can have, twice over for a restart.
    #[test]
    fn the_file_of_limits_is_enough() {
        let lines = reasoned("limits.d/60-inrush.conf");
        let fields: Vec<Vec<&str>> = lines.iter().map(|line| line.split_whitespace().collect()).collect();
        let [["inrush", "-", "nofile", files], ["inrush", "-", "memlock", kib]] =
            [&fields[0][..], &fields[1][..]]
        else {
            panic!("{fields:?}");
        };
        assert_eq!(fields.len(), 2);
        assert_eq!(judge_open_files(files.parse().unwrap()).verdict, Verdict::Ok);
        let bytes = kib.parse::<u64>().unwrap() * 1024;
        assert_eq!(judge_locked_memory(bytes / 2, 128, true).verdict, Verdict::Ok);
    }

    /// Values are read as numbers, whatever blanks the kernel puts between them.
    #[test]
    fn settings_are_judged() {
        let host = Planted::new("settings");
        for (key, value, verdict) in [
            ("net.core.somaxconn", "4096\n", Verdict::Ok),
            ("net.core.somaxconn", "65535\n", Verdict::Ok),
            ("net.core.somaxconn", "128\n", Verdict::Warning),
            ("net.ipv4.ip_local_port_range", "10240\t65535\n", Verdict::Ok),
            ("net.ipv4.ip_local_port_range", "32768\t60999\n", Verdict::Warning),
            ("net.ipv4.tcp_slow_start_after_idle", "0\n", Verdict::Ok),
            ("net.ipv4.tcp_slow_start_after_idle", "1\n", Verdict::Warning),
            ("kernel.numa_balancing", "1\n", Verdict::Warning),
        ] {
            host.file(&format!("proc/sys/{}", key.replace('.', "/")), value);
            let findings = host.host(&[0]).judge();
            let finding = findings.iter().find(|finding| finding.name == key).unwrap();
            assert_eq!(finding.verdict, verdict, "{key} = {value}");
            assert_eq!(finding.fix.contains(&format!("sysctl -w {key}=")), verdict == Verdict::Warning);
        }
    }

    /// Where nothing can be read, nothing is found wrong.
    #[test]
    fn what_cannot_be_read_is_unknown() {
        for finding in Planted::new("nothing").host(&[0, 1]).judge() {
            assert_eq!(finding.verdict, Verdict::Unknown, "{finding:?}");
            assert!(!finding.detail.is_empty() && finding.fix.is_empty(), "{finding:?}");
        }
    }

    /// The limit counts for who is charged: on a newer kernel, without the capability, and with more cores than fit.
    #[test]
    fn locked_memory_is_judged_by_kernel_cores_and_capability() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 1048576              files\n\
                      Max locked memory         8388608              unlimited            bytes\n";
        for (release, capabilities, cores, verdict) in [
            ("6.18.4", "0000000000000000", 64, Verdict::Warning),
            ("6.18.4", "0000000000000000", 32, Verdict::Ok),
            ("6.18.4", "000001ffffffffff", 64, Verdict::Ok),
            ("6.12.9", "0000000000000000", 64, Verdict::Ok),
        ] {
            let host = Planted::new("locked_memory");
            host.file("proc/self/limits", limits);
            host.file("proc/sys/kernel/osrelease", release);
            host.file("proc/self/status", &format!("Name:\tinrush\nCapEff:\t{capabilities}\n"));
            let cpus: Vec<usize> = (0..cores).collect();
            let finding = host.host(&cpus).locked_memory();
            assert_eq!(finding.verdict, verdict, "{release} {capabilities} {cores}: {finding:?}");
        }
        assert_eq!(
            locked_limit("Max locked memory         unlimited            unlimited            bytes"),
            Some(u64::MAX)
        );
    }

    /// Pages that are set aside are lost to the engine.
    #[test]
    fn huge_pages_are_lost_memory() {
        let host = Planted::new("huge_pages");
        for (pages, verdict) in [("0\n", Verdict::Ok), ("512\n", Verdict::Warning)] {
            host.file("proc/sys/vm/nr_hugepages", pages);
            assert_eq!(host.host(&[0]).huge_pages().verdict, verdict);
        }
    }
}
