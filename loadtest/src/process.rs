//! What a process uses, as `/proc` tells it.

use std::fs;

/// CPU time and memory of one process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// CPU seconds outside the kernel since its start.
    pub user_s: f64,
    /// CPU seconds in the kernel since its start.
    pub system_s: f64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
}

/// What the process uses now; `None` when there is none of this number.
pub fn usage(pid: u32) -> Option<Usage> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Proportional memory, bytes; `None` where we may not read it.
pub fn pss_bytes(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

fn parse(stat: &str) -> Option<Usage> {
    // The name, in parentheses, may hold anything: fields count from the last one. State is the third.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None; // dead, and only its number is left
    }
    let mut number = |skip| fields.nth(skip)?.parse::<u64>().ok();
    let (user, system, rss_pages) = (number(10)?, number(0)?, number(8)?);
    // SAFETY: sysconf takes and gives plain numbers.
    let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
    Some(Usage {
        user_s: user as f64 / ticks as f64,
        system_s: system as f64 / ticks as f64,
        rss_bytes: rss_pages * page as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_nobody_has_pid_zero() {
        let used = usage(std::process::id()).unwrap();
        assert!(used.rss_bytes > 100_000 && used.user_s < 10_000.0);
        assert_eq!(usage(0), None);
    }

    #[test]
    fn names_may_hold_parentheses_and_the_dead_use_nothing() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 4096 3 1844";
        assert_eq!(parse(stat).unwrap(), Usage { user_s: 2.5, system_s: 0.5, rss_bytes: 3 * 4096 });
        assert_eq!(parse(&stat.replace(" S ", " Z ")), None);
        assert_eq!(parse(""), None);
    }
}
