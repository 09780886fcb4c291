//! The text that HdrHistogram's own tools write and its plotters read: `--hgrm`.
//!
//! Values are milliseconds, as in the files that plotters are usually given. One file holds one distribution.

use std::fmt::Write;

use super::histogram::Histogram;

/// Lines for each halving of what is left up to 100 %: HdrHistogram's default.
const TICKS: f64 = 5.0;

/// How near to 100 % points are told apart.
const FINEST: f64 = 1e-12;

/// A distribution in the percentile format.
pub fn text(histogram: &Histogram) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for point in points(histogram) {
        let ms = point.us as f64 / 1e3;
        // Writing to a `String` cannot fail.
        let _ = if point.quantile < 1.0 {
            let inverse = 1.0 / (1.0 - point.quantile);
            writeln!(text, "{ms:12.3} {:2.12} {:10} {inverse:14.2}", point.quantile, point.count)
        } else {
            writeln!(text, "{ms:12.3} {:2.12} {:10}", point.quantile, point.count)
        };
    }
    let (mean, stdev, max) = (histogram.mean / 1e3, histogram.stdev / 1e3, histogram.max as f64 / 1e3);
    let hdr = histogram.to_hdr();
    let sub_buckets = 2048; // for three digits
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {stdev:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.count);
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]", hdr.buckets());
    text
}

/// A point of the percentile plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Which share of the values is at or below, 0 to 1.
    pub(super) quantile: f64,
    /// The value.
    pub(super) us: u64,
    /// How many values are at or below.
    pub(super) count: u64,
}

/// The points of a percentile plot, [`TICKS`] for each halving of what is left up to 100 %.
pub(super) fn points(histogram: &Histogram) -> Vec<Point> {
    let total = histogram.count as f64;
    let mut points = Vec::new();
    let (mut quantile, mut count) = (0.0_f64, 0);
    for bucket in &histogram.buckets {
        count += bucket.count;
        // The slack is for sums of fractions; without `FINEST` the steps would become too small to move on.
        while 1.0 - quantile > FINEST && count as f64 / total >= quantile - 1e-9 * (1.0 - quantile) {
            points.push(Point { quantile, us: bucket.up_to_us, count });
            let halvings = (1.0 / (1.0 - quantile) + 1e-9).log2().floor();
            quantile += 1.0 / (TICKS * (halvings + 1.0).exp2());
            // The last bucket has one point on its way and one at its end.
            if count == histogram.count {
                break;
            }
        }
        if count == histogram.count {
            points.push(Point { quantile: 1.0, us: bucket.up_to_us, count });
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Bucket, Recorder, RunFacts};
    use super::*;

    #[test]
    fn exact_text_of_four_values() {
        let mut recorder = Recorder::new();
        for us in [1000, 2000, 2000, 4000] {
            recorder.e2e(us);
        }
        let run = recorder.into_run(RunFacts::default());
        let expected = "       \
       Value     Percentile TotalCount 1/(1-Percentile)

       1.000 0.000000000000          1           1.00
       1.000 0.100000000000          1           1.11
       1.000 0.200000000000          1           1.25
       2.000 0.300000000000          3           1.43
       2.000 0.400000000000          3           1.67
       2.000 0.500000000000          3           2.00
       2.000 0.550000000000          3           2.22
       2.000 0.600000000000          3           2.50
       2.000 0.650000000000          3           2.86
       2.000 0.700000000000          3           3.33
       2.000 0.750000000000          3           4.00
       4.001 0.775000000000          4           4.44
       4.001 1.000000000000          4
#[Mean    =        2.250, StdDeviation   =        1.090]
#[Max     =        4.001, Total count    =            4]
#[Buckets =            2, SubBuckets     =         2048]
";
        assert_eq!(text(&run.latencies.e2e), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Also for counts so large that a single value is less than a fraction can tell.
        #[test]
        fn points_ascend_to_all_of_it(
            counts in proptest::collection::vec(prop_oneof![1..100u64, 1..u64::MAX / 64], 1..40),
        ) {
            let buckets: Vec<_> = (1..).zip(&counts).map(|(up_to_us, count)| Bucket { up_to_us, count: *count }).collect();
            let histogram = Histogram { count: counts.iter().sum(), buckets, ..Histogram::default() };
            prop_assert_eq!(histogram.check(), Ok(()));
            let points = points(&histogram);
            prop_assert!(points.is_sorted_by(|a, b| a.quantile < b.quantile && a.us <= b.us && a.count <= b.count));
            prop_assert!(points.len() < 500);
            let last = points.last().unwrap();
            prop_assert_eq!((last.quantile, last.count, last.us), (1.0, histogram.count, counts.len() as u64));
            prop_assert_eq!(points.first().unwrap().us, 1);
        }
    }

    #[test]
    fn nothing_recorded_is_a_table_without_rows() {
        assert_eq!(text(&Histogram::default()).lines().filter(|line| line.contains("0.")).count(), 2);
    }
}
