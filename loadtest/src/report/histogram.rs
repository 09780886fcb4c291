//! A latency distribution at rest: the figures people ask for, and the buckets that any other can be computed from.
//!
//! Invariant: `buckets` ascend, hold no empty bucket, and their counts add up to `count`; [`Histogram::check`] holds a file
//! from outside to it. Three significant digits, from 1 µs to one hour; at most a few thousand buckets.

use hdrhistogram::Histogram as Hdr;
use serde::{Deserialize, Serialize};

/// The longest latency that is told apart, in microseconds: one hour. What is longer counts as this.
pub const HIGHEST_US: u64 = 3_600_000_000;

/// Significant decimal digits of a recorded value.
pub(super) const DIGITS: u8 = 3;

/// Values that are told as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Bucket {
    /// The highest value that falls in it, µs.
    pub up_to_us: u64,
    /// How many values did.
    pub count: u64,
}

impl From<(u64, u64)> for Bucket {
    fn from((up_to_us, count): (u64, u64)) -> Self {
        Self { up_to_us, count }
    }
}

impl From<Bucket> for (u64, u64) {
    fn from(bucket: Bucket) -> Self {
        (bucket.up_to_us, bucket.count)
    }
}

/// A distribution of latencies in microseconds. All figures are 0 when `count` is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// How many values were recorded.
    pub count: u64,
    /// The least value.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub stdev: f64,
    /// Half of the values are at or below this.
    pub p50: u64,
    /// 75 %.
    pub p75: u64,
    /// 90 %.
    pub p90: u64,
    /// 95 %.
    pub p95: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// 99.99 %.
    pub p9999: u64,
    /// The greatest value.
    pub max: u64,
    /// The distribution, as `[highest value of the bucket in µs, count]`, ascending.
    pub buckets: Vec<Bucket>,
}

impl Histogram {
    /// The value that `percent` of all values are at or below; `None` when there are none.
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        let wanted = ((percent / 100.0 * self.count as f64) - 1e-9).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets
            .iter()
            .find(|bucket| {
                seen += bucket.count;
                seen >= wanted
            })
            .or(self.buckets.last())
            .map(|bucket| bucket.up_to_us)
    }

    /// The same distribution as `hdrhistogram` holds it.
    pub fn to_hdr(&self) -> Hdr<u64> {
        let mut hdr = empty();
        for bucket in &self.buckets {
            // Grows as needed; `check` and `HIGHEST_US` bound it.
            hdr.record_n(bucket.up_to_us, bucket.count).expect("a histogram that grows takes any value");
        }
        hdr
    }

    /// What is wrong with a histogram that was read from a file, if anything is.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.buckets.iter().any(|bucket| bucket.count == 0) {
            return Err("has an empty bucket");
        }
        if !self.buckets.is_sorted_by(|a, b| a.up_to_us < b.up_to_us) {
            return Err("has buckets out of order");
        }
        // The bucket of the highest value ends a little above it.
        if self.buckets.last().is_some_and(|last| last.up_to_us > HIGHEST_US + HIGHEST_US / 1000) {
            return Err("has a value above one hour");
        }
        let sum = self.buckets.iter().try_fold(0u64, |sum, bucket| sum.checked_add(bucket.count));
        if sum != Some(self.count) {
            return Err("has buckets that do not add up to its count");
        }
        Ok(())
    }
}

impl From<&Hdr<u64>> for Histogram {
    fn from(hdr: &Hdr<u64>) -> Self {
        if hdr.is_empty() {
            return Self::default();
        }
        let at = |percent: f64| hdr.value_at_percentile(percent);
        let buckets = hdr
            .iter_recorded()
            .map(|value| Bucket {
                up_to_us: hdr.highest_equivalent(value.value_iterated_to()),
                count: value.count_since_last_iteration(),
            })
            .collect();
        Self {
            count: hdr.len(),
            min: hdr.min(),
            mean: hdr.mean(),
            stdev: hdr.stdev(),
            p50: at(50.0),
            p75: at(75.0),
            p90: at(90.0),
            p95: at(95.0),
            p99: at(99.0),
            p999: at(99.9),
            p9999: at(99.99),
            max: hdr.max(),
            buckets,
        }
    }
}

/// An `hdrhistogram` that grows with what it holds.
pub(crate) fn empty() -> Hdr<u64> {
    // The only error of `new` is more than five digits.
    Hdr::new(DIGITS).expect("three digits are allowed")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut hdr = empty();
        for &value in values {
            hdr.record(value).unwrap();
        }
        Histogram::from(&hdr)
    }

    #[test]
    fn figures_of_one_to_a_hundred() {
        let histogram = of(&(1..=100).collect::<Vec<_>>());
        assert_eq!((histogram.count, histogram.min, histogram.max), (100, 1, 100));
        assert_eq!((histogram.p50, histogram.p99, histogram.p9999), (50, 99, 100));
        assert_eq!(histogram.mean, 50.5);
        assert_eq!(histogram.percentile(99.5), Some(100));
        assert_eq!(Histogram::default().percentile(50.0), None);
    }

    #[test]
    fn a_bucket_is_a_pair_in_json() {
        let json = serde_json::to_value(of(&[5, 5, 7])).unwrap();
        assert_eq!(json["buckets"], serde_json::json!([[5, 2], [7, 1]]));
    }

    #[test]
    fn files_that_lie_are_told() {
        let mut histogram = of(&[1, 2, 3]);
        assert_eq!(histogram.check(), Ok(()));
        histogram.count = 4;
        assert_eq!(histogram.check(), Err("has buckets that do not add up to its count"));
        histogram.buckets.swap(0, 1);
        assert_eq!(histogram.check(), Err("has buckets out of order"));
        histogram.buckets = vec![Bucket { up_to_us: u64::MAX, count: 4 }];
        assert_eq!(histogram.check(), Err("has a value above one hour"));
        histogram.buckets = vec![Bucket { up_to_us: 1, count: 0 }];
        assert_eq!(histogram.check(), Err("has an empty bucket"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn buckets_hold_all_that_the_histogram_held(values in proptest::collection::vec(0..=HIGHEST_US, 1..200), percent in 0.0..=100.0f64) {
            let histogram = of(&values);
            prop_assert_eq!(histogram.check(), Ok(()));
            // Least and mean are of the values' buckets.
            let back = Histogram::from(&histogram.to_hdr());
            prop_assert_eq!((back.p50, back.p99, back.max, &back.buckets), (histogram.p50, histogram.p99, histogram.max, &histogram.buckets));
            prop_assert_eq!(histogram.percentile(percent), Some(histogram.to_hdr().value_at_percentile(percent)));
            let read: Histogram = serde_json::from_str(&serde_json::to_string(&histogram).unwrap()).unwrap();
            prop_assert_eq!(read.buckets, histogram.buckets);
        }
    }
}
