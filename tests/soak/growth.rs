//! Looks at a server over a long time, and whether it holds more and more.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// One look at the server.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at: Duration,
    pub rss_bytes: u64,
    pub open_files: usize,
}

/// How much more there may be of something: a share of it in percent, and so much.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    pub percent: u64,
    pub more: u64,
}

/// From the first quarter of the time to the last one.
///
/// Growth shows in the mean: storms, and whatever else comes and goes, are in every quarter alike. The highest value is chance to a part, and may
/// differ by more.
#[derive(Clone, Copy, Debug)]
pub struct Allowances {
    pub mean_rss_bytes: Allowance,
    pub highest_rss_bytes: Allowance,
    pub mean_files: Allowance,
    pub highest_files: Allowance,
}

/// What the server held in each quarter of the time.
pub struct Quarters {
    rss_bytes: [Summary; 4],
    open_files: [Summary; 4],
}

impl Quarters {
    pub fn of(samples: &[Sample]) -> Self {
        let time = samples.last().expect("it was looked at").at;
        let quarter = |number: u32| {
            let within = time / 4 * number..=time / 4 * (number + 1);
            samples.iter().filter(|sample| within.contains(&sample.at)).copied().collect::<Vec<_>>()
        };
        let quarters = [0, 1, 2, 3].map(quarter);
        Self {
            rss_bytes: quarters.each_ref().map(|quarter| Summary::of(quarter, |sample| sample.rss_bytes)),
            open_files: quarters
                .each_ref()
                .map(|quarter| Summary::of(quarter, |sample| sample.open_files as u64)),
        }
    }

    /// Says what is more in the last quarter than in the first, if anything is.
    pub fn growth(&self, allowances: &Allowances) -> Option<String> {
        let [rss, .., rss_after] = self.rss_bytes;
        let [files, .., files_after] = self.open_files;
        let compared = [
            ("memory", rss.mean, rss_after.mean, allowances.mean_rss_bytes),
            ("the most memory", rss.highest, rss_after.highest, allowances.highest_rss_bytes),
            ("descriptors", files.mean, files_after.mean, allowances.mean_files),
            ("the most descriptors", files.highest, files_after.highest, allowances.highest_files),
        ];
        compared.into_iter().find_map(|(what, before, after, Allowance { percent, more })| {
            let most = before + before * percent / 100 + more;
            (after > most).then(|| format!("{what} grew from {before} to {after}, beyond {most}"))
        })
    }
}

impl Display for Quarters {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let shown = |summaries: &[Summary; 4], unit: u64| {
            summaries.map(|it| format!("{}/{}", it.mean / unit, it.highest / unit)).join(", ")
        };
        let (memory, files) = (shown(&self.rss_bytes, 1_000), shown(&self.open_files, 1));
        write!(f, "by quarter, mean/highest: memory, kB {memory}; descriptors {files}")
    }
}

#[derive(Clone, Copy)]
struct Summary {
    mean: u64,
    highest: u64,
}

impl Summary {
    fn of(samples: &[Sample], value: impl Fn(&Sample) -> u64) -> Self {
        let values: Vec<u64> = samples.iter().map(value).collect();
        let highest = values.iter().copied().max().expect("it was looked at in each quarter");
        Self { mean: values.iter().sum::<u64>() / values.len() as u64, highest }
    }
}

/// What is looked for is found: memory and descriptors that rise all the time, and not what a storm adds for a moment.
#[test]
fn growth_is_told_from_a_peak() {
    let samples = |rss_bytes: &dyn Fn(u64) -> u64, open_files: &dyn Fn(u64) -> usize| -> Vec<Sample> {
        let look = |second| Sample {
            at: Duration::from_secs(second),
            rss_bytes: rss_bytes(second),
            open_files: open_files(second),
        };
        (0..1_800).map(look).collect()
    };
    let grew = |samples: Vec<Sample>| Quarters::of(&samples).growth(&super::LONG.allowances).is_some();
    let storms = |second: u64| 500 + if second.is_multiple_of(20) { 50 } else { 0 };
    let steady = |second: u64| 40_000_000 + if second % 500 == 499 { 2_000_000 } else { 0 };
    assert!(!grew(samples(&steady, &storms)));
    assert!(grew(samples(&|second| 40_000_000 + second * 3_000, &storms)), "3 kB a second");
    assert!(grew(samples(&steady, &|second| storms(second) + second as usize / 30)), "two a minute");
}
