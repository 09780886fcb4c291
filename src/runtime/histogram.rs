//! How long things take inside a core, and how much a receive brings: histograms of fixed buckets, cheap enough for every batch.
//!
//! # Bounds
//! A histogram is one counter a bound and one more, whatever it counts.

use std::time::Duration;

/// What a histogram counts, and so its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Durations, shown in seconds.
    Seconds,
    /// Sizes.
    Bytes,
}

/// Bounds of a histogram.
const BOUNDS: usize = 16;

impl Unit {
    /// Upper bounds of the buckets, microseconds or bytes; what is more goes into one more.
    fn bounds(self) -> &'static [u64; BOUNDS] {
        match self {
            Self::Seconds => &[
                50, 100, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 15_000, 20_000, 50_000, 100_000,
                250_000, 1_000_000, 5_000_000,
            ],
            Self::Bytes => &[
                128,
                256,
                512,
                1_024,
                1_448,
                2_048,
                3_072,
                4_096,
                6_144,
                8_192,
                12_288,
                16_384,
                24_576,
                32_768,
                64 * 1_024,
                128 * 1_024,
            ],
        }
    }

    /// How metrics' names end.
    pub fn label(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }

    /// What is counted, as it is shown.
    fn shown(self, value: u64) -> f64 {
        match self {
            Self::Seconds => value as f64 / 1e6,
            Self::Bytes => value as f64,
        }
    }
}

/// Durations or sizes by bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    unit: Unit,
    buckets: [u64; BOUNDS + 1],
    sum: u64,
}

impl Histogram {
    /// One that has counted nothing.
    pub const fn new(unit: Unit) -> Self {
        Self { unit, buckets: [0; BOUNDS + 1], sum: 0 }
    }

    /// Counts one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        self.record_value(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts one size.
    pub(crate) fn record_bytes(&mut self, bytes: usize) {
        self.record_value(bytes as u64);
    }

    fn record_value(&mut self, value: u64) {
        self.buckets[self.unit.bounds().partition_point(|bound| *bound < value)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// What it counts.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Each bucket's upper bound in seconds or bytes, the last one's infinite, and how many fell into it and not into one before.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.unit.bounds().iter().map(|bound| self.unit.shown(*bound)).chain([f64::INFINITY]);
        bounds.zip(self.buckets)
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all, seconds or bytes.
    pub fn sum(&self) -> f64 {
        self.unit.shown(self.sum)
    }
}

/// Defines the histograms of a core together with their names and what they mean.
macro_rules! histograms {
    ($( $(#[doc = $doc:literal])* $unit:ident $name:ident; )*) => {
        /// What each core measures.
        #[derive(Clone, Copy, Debug)]
        pub struct Histograms { $( $(#[doc = $doc])* pub $name: Histogram, )* }

        impl Default for Histograms {
            fn default() -> Self {
                Self { $( $name: Histogram::new(Unit::$unit), )* }
            }
        }

        impl Histograms {
            /// Calls `f` with (name, help, histogram) of each.
            pub fn for_each(&self, mut f: impl FnMut(&'static str, &'static str, &Histogram)) {
                $( f(stringify!($name), concat!($($doc),*).trim_start(), &self.$name); )*
            }
        }
    };
}

histograms! {
    /// What one receive from a publisher brought.
    Bytes receive;
    /// From when a receive, or the batch of a tick's receives that it is in, came back, until all that it completed is framed and queued.
    Seconds read_to_framed;
    /// From the first frame that a turn had for players until the kernel has taken a player's frames of that turn.
    Seconds framed_to_written;
    /// From when a receive, or its batch, came back until the kernel has taken the oldest frame of a batch, on whatever core: the time inside the
    /// server. What a late joiner is given of the past does not count.
    Seconds read_to_written;
    /// Work of one tick, its writes included.
    Seconds tick;
    /// From when a tick was due until it began.
    Seconds tick_late;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bound belongs to its own bucket, and what is over the last one is still counted.
    #[test]
    fn values_fall_into_their_buckets() {
        let mut durations = Histogram::new(Unit::Seconds);
        for micros in [0, 50, 51, 5_000_000, 5_000_001] {
            durations.record(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = durations.buckets().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (2, 1, 1, 1));
        // A quantile is worked out by Prometheus only where the last bucket is the one of `+Inf`.
        assert_eq!(durations.buckets().last(), Some((f64::INFINITY, 1)));
        assert_eq!(durations.count(), 5);
        assert!((durations.sum() - 10.000_102).abs() < 1e-9);
        let mut sizes = Histogram::new(Unit::Bytes);
        sizes.record_bytes(1_448);
        sizes.record_bytes(1_449);
        let bounds: Vec<_> = sizes.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(bounds, [(1_448.0, 1), (2_048.0, 1)]);
        assert_eq!(sizes.sum(), 2_897.0);
    }

    /// Bounds ascend, or a bucket would never be found.
    #[test]
    fn bounds_ascend() {
        for unit in [Unit::Seconds, Unit::Bytes] {
            assert!(unit.bounds().is_sorted());
        }
    }
}
