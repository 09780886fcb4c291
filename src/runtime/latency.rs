//! How long things take inside a core: histograms of fixed buckets, cheap enough for every batch.
//!
//! # Bounds
//! A histogram is [`BOUNDS_US`] plus one counters, whatever it counts.

use std::time::Duration;

/// Upper bounds of the buckets, microseconds; what is longer goes into one more.
pub const BOUNDS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 15_000, 20_000, 50_000, 100_000, 250_000,
    1_000_000, 5_000_000,
];

/// Durations by bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_US.partition_point(|bound| *bound < micros)] += 1;
        self.sum_us = self.sum_us.saturating_add(micros);
    }

    /// Each bucket's upper bound in seconds, the last one's infinite, and how many fell into it and not into one before.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::MAX]);
        bounds.zip(self.buckets)
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all, seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }
}

/// Defines the histograms of a core together with their names and what they mean.
macro_rules! latencies {
    ($( $(#[doc = $doc:literal])* $name:ident; )*) => {
        /// What each core measures.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Latencies { $( $(#[doc = $doc])* pub $name: Histogram, )* }

        impl Latencies {
            /// Calls `f` with (name, help, histogram) of each.
            pub fn for_each(&self, mut f: impl FnMut(&'static str, &'static str, &Histogram)) {
                $( f(stringify!($name), concat!($($doc),*).trim_start(), &self.$name); )*
            }
        }
    };
}

latencies! {
    /// From the completion of a receive until all that it completed is framed and queued.
    read_to_framed;
    /// From the completion of a receive until the kernel has taken the oldest frame of a batch, on whatever core: the time inside the
    /// server. What a late joiner is given of the past does not count.
    read_to_written;
    /// Work of one tick.
    tick;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bound belongs to its own bucket, and what is over the last one is still counted.
    #[test]
    fn durations_fall_into_their_buckets() {
        let mut histogram = Histogram::default();
        for micros in [0, 50, 51, 5_000_000, 5_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = histogram.buckets().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (2, 1, 1, 1));
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum_seconds() - 10.000_102).abs() < 1e-9);
    }
}
