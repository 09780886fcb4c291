//! Numbers as the kernel writes them in its files: lists, masks, sets of CPUs.

use std::collections::BTreeSet;
use std::str::FromStr;

/// Numbers between blanks; what is none is left out.
pub(super) fn list<T: FromStr>(text: &str) -> Vec<T> {
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// The CPUs or nodes of `0-3,8`; what is no range is left out.
pub(super) fn set(text: &str) -> BTreeSet<usize> {
    let mut members = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            members.extend(first..=last);
        }
    }
    members
}

/// Whether a mask of CPUs, in hexadecimal groups with commas between, names any.
pub(super) fn names_any(mask: &str) -> bool {
    mask.chars().any(|digit| digit.is_ascii_hexdigit() && digit != '0')
}

/// The capabilities in force, of `/proc/self/status`; none when it does not tell.
pub(super) fn capabilities(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_ways_of_writing_are_read() {
        assert_eq!(list::<u64>("10240\t65535\n"), [10_240, 65_535]);
        assert_eq!(set("0-2,8\n"), BTreeSet::from([0, 1, 2, 8]));
        assert_eq!(set("\n"), BTreeSet::new());
        assert!(names_any("00000000,00000100\n") && !names_any("00000000,00000000\n"));
        assert_eq!(capabilities("Name:\tx\nCapEff:\t0000000000004000\n"), 1 << 14);
    }
}
