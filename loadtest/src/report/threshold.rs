//! `--fail-if 'e2e.p99>50ms'`: when a run counts as failed.
//!
//! FIGURE OPERATOR LIMIT, with or without blanks. Figures are named as in [`Metric`]; operators are `>`, `>=`, `<`, `<=`, `=`
//! and `!=`. A latency takes `us`, `µs`, `ms`, `s` or `min`, and needs one of them unless it is 0; bytes take `B`, `kB`, `MB`,
//! `GB`, `KiB`, `MiB`, `GiB`; seconds take `ms`, `s`, `min`. A figure that the run did not measure fails: what cannot be
//! shown to hold must not pass.

use std::fmt;
use std::str::FromStr;

use super::metric::{Metric, Unit, UnknownMetric};
use super::model::Run;

/// A condition under which a run failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    metric: Metric,
    operator: Operator,
    /// In the metric's unit.
    limit: f64,
    /// As it was written.
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    Different,
}

/// With what is longer before what it starts with.
const OPERATORS: [(&str, Operator); 7] = [
    (">=", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("!=", Operator::Different),
    ("==", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("=", Operator::Equal),
];

/// What is wrong with a condition as it was written. Known before any load starts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadThreshold {
    /// No comparison.
    #[error("`{0}` compares nothing: write it like e2e.p99>50ms or lost>0")]
    Operator(String),
    /// No figure of that name.
    #[error("`{text}`: {source}")]
    Metric {
        /// The condition.
        text: String,
        /// What is wrong.
        source: UnknownMetric,
    },
    /// Not a number.
    #[error("`{text}`: `{limit}` is not a number")]
    Number {
        /// The condition.
        text: String,
        /// What stands where the limit should.
        limit: String,
    },
    /// A latency that could be anything.
    #[error("`{text}`: {limit} what? Say us, ms or s")]
    NoUnit {
        /// The condition.
        text: String,
        /// The limit.
        limit: String,
    },
    /// A unit that does not measure this.
    #[error("`{text}`: {metric} is not measured in `{unit}`, but in {known}")]
    Unit {
        /// The condition.
        text: String,
        /// The figure.
        metric: String,
        /// What was written.
        unit: String,
        /// What can be.
        known: String,
    },
}

/// How a condition turned out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The run passes; the value in the metric's unit.
    Held(f64),
    /// The run fails; the value in the metric's unit.
    Crossed(f64),
    /// The run fails, since nothing shows that it passes.
    NotMeasured,
}

impl Verdict {
    /// Whether the exit code is 1.
    pub const fn fails(self) -> bool {
        !matches!(self, Self::Held(_))
    }
}

impl Threshold {
    /// Holds a run to it.
    pub fn check(&self, run: &Run) -> Verdict {
        let Some(value) = self.metric.of(run) else { return Verdict::NotMeasured };
        let crossed = match self.operator {
            Operator::Greater => value > self.limit,
            Operator::GreaterOrEqual => value >= self.limit,
            Operator::Less => value < self.limit,
            Operator::LessOrEqual => value <= self.limit,
            Operator::Equal => value == self.limit,
            Operator::Different => value != self.limit,
        };
        if crossed { Verdict::Crossed(value) } else { Verdict::Held(value) }
    }

    /// The verdict in one line.
    pub fn tell(&self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Held(value) => {
                format!("ok: {} is {}, not {}", self.metric, self.metric.show(value), self.rest())
            }
            Verdict::Crossed(value) => {
                format!("failed: {} is {}, so {}", self.metric, self.metric.show(value), self)
            }
            Verdict::NotMeasured => {
                format!("failed: {} was not measured, so {} cannot be ruled out", self.metric, self)
            }
        }
    }

    /// What stands behind the figure's name.
    fn rest(&self) -> &str {
        self.text.strip_prefix(self.metric.name()).unwrap_or(&self.text).trim()
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Units and what one of them is in the metric's own.
fn suffixes(unit: Unit) -> &'static [(&'static str, f64)] {
    match unit {
        Unit::Microseconds => {
            &[("us", 1.0), ("µs", 1.0), ("μs", 1.0), ("ms", 1e3), ("s", 1e6), ("min", 60e6)]
        }
        Unit::Seconds => &[("ms", 1e-3), ("s", 1.0), ("min", 60.0)],
        Unit::Bytes => &[
            ("B", 1.0),
            ("kB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("KiB", 1024.0),
            ("MiB", 1_048_576.0),
            ("GiB", 1_073_741_824.0),
        ],
        Unit::Number => &[],
    }
}

impl FromStr for Threshold {
    type Err = BadThreshold;

    fn from_str(text: &str) -> Result<Self, BadThreshold> {
        let text = text.trim();
        let at = text.find(['<', '>', '=', '!']);
        let parts = at.and_then(|at| {
            let (name, rest) = text.split_at(at);
            let found =
                OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
            found.map(|(operator, limit)| (name.trim(), operator, limit.trim()))
        });
        let Some((name, operator, limit)) = parts else {
            return Err(BadThreshold::Operator(text.to_owned()));
        };
        let metric: Metric =
            name.parse().map_err(|source| BadThreshold::Metric { text: text.to_owned(), source })?;

        // A unit starts at the first letter; `1e3` is no number here, so that `1e` is no unit either.
        let (digits, unit) = limit.split_at(limit.find(char::is_alphabetic).unwrap_or(limit.len()));
        let number = digits.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        let Some(number) = number else {
            return Err(BadThreshold::Number { text: text.to_owned(), limit: limit.to_owned() });
        };
        let known = suffixes(metric.unit());
        let scale = if unit.is_empty() {
            if metric.unit() == Unit::Microseconds && number != 0.0 {
                return Err(BadThreshold::NoUnit { text: text.to_owned(), limit: limit.to_owned() });
            }
            1.0
        } else {
            let found = known.iter().find(|(suffix, _)| *suffix == unit);
            found.map(|(_, scale)| *scale).ok_or_else(|| BadThreshold::Unit {
                text: text.to_owned(),
                metric: name.to_owned(),
                unit: unit.to_owned(),
                known: if known.is_empty() {
                    "plain numbers".to_owned()
                } else {
                    // The two ways to write a micro sign look alike.
                    let names: Vec<_> =
                        known.iter().map(|(suffix, _)| *suffix).filter(|name| *name != "μs").collect();
                    names.join(", ")
                },
            })?
        };
        Ok(Self { metric, operator, limit: number * scale, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture;
    use super::*;

    fn verdict(text: &str) -> Verdict {
        text.parse::<Threshold>().unwrap().check(&fixture::run())
    }

    #[test]
    fn each_operator_at_below_and_above() {
        // The fixture lost 2 messages.
        for (sign, at_1, at_2, at_3) in [
            (">", true, false, false),
            (">=", true, true, false),
            ("<", false, false, true),
            ("<=", false, true, true),
            ("=", false, true, false),
            ("==", false, true, false),
            ("!=", true, false, true),
        ] {
            let fails = [1, 2, 3].map(|limit| verdict(&format!("lost{sign}{limit}")).fails());
            assert_eq!(fails, [at_1, at_2, at_3], "{sign}");
        }
    }

    #[test]
    fn units_scale() {
        let limit = |text: &str| text.parse::<Threshold>().unwrap().limit;
        assert_eq!(limit("e2e.p99>50ms"), 50_000.0);
        assert_eq!(limit(" e2e.p99 > 1.5 s "), 1_500_000.0);
        assert_eq!(limit("e2e.max>=250µs"), 250.0);
        assert_eq!(limit("e2e.max>0"), 0.0);
        assert_eq!(limit("rss_bytes>1MiB"), 1_048_576.0);
        assert_eq!(limit("per_publisher_bytes>48kB"), 48_000.0);
        assert_eq!(limit("cpu_s_per_gb_in>0.94"), 0.94);
        assert_eq!(limit("user_s>500ms"), 0.5);
    }

    #[test]
    fn a_figure_that_was_not_measured_fails() {
        assert_eq!(verdict("first_frame.p99>1s"), Verdict::NotMeasured);
        assert!(verdict("first_frame.p99<1s").fails());
    }

    #[test]
    fn verdicts_in_words() {
        let tell = |text: &str| {
            let threshold: Threshold = text.parse().unwrap();
            threshold.tell(threshold.check(&fixture::run()))
        };
        assert_eq!(tell("lost > 0"), "failed: lost is 2, so lost > 0");
        assert_eq!(tell("e2e.p50>50ms"), "ok: e2e.p50 is 5.00 ms, not >50ms");
        assert_eq!(
            tell("first_frame.p99>1s"),
            "failed: first_frame.p99 was not measured, so first_frame.p99>1s cannot be ruled out"
        );
    }

    #[test]
    fn errors_in_words() {
        let error = |text: &str| text.parse::<Threshold>().unwrap_err().to_string();
        assert_eq!(error("lost"), "`lost` compares nothing: write it like e2e.p99>50ms or lost>0");
        assert_eq!(error("lost!3"), "`lost!3` compares nothing: write it like e2e.p99>50ms or lost>0");
        assert_eq!(error("lost>many"), "`lost>many`: `many` is not a number");
        assert_eq!(error("lost>"), "`lost>`: `` is not a number");
        assert_eq!(error("lost>>1"), "`lost>>1`: `>1` is not a number");
        assert_eq!(error("e2e.p99>50"), "`e2e.p99>50`: 50 what? Say us, ms or s");
        assert_eq!(error("lost>3ms"), "`lost>3ms`: lost is not measured in `ms`, but in plain numbers");
        assert_eq!(
            error("e2e.p99>3kB"),
            "`e2e.p99>3kB`: e2e.p99 is not measured in `kB`, but in us, µs, ms, s, min"
        );
        assert!(error("nope>1").starts_with("`nope>1`: no figure is called `nope`; there are "));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<Threshold>();
        }

        #[test]
        fn near_misses_are_taken_or_refused(text in "(e2e|lost|rss_bytes|errors)?[.]?(p[0-9.]{0,5})?[<>=! ]{0,3}[0-9.eE+-]{0,6}(ms|µs|s|kB)?") {
            if let Ok(threshold) = text.parse::<Threshold>() {
                prop_assert!(threshold.limit.is_finite());
                prop_assert_eq!(threshold.to_string().parse::<Threshold>().unwrap(), threshold);
            }
        }

        #[test]
        fn what_is_written_is_what_is_checked(
            value in 0..100_000u64,
            limit in 0..100_000u64,
            sign in 0..OPERATORS.len(),
            blanks in "[ ]{0,2}",
        ) {
            let mut run = fixture::run();
            run.counts.lost = value;
            let (sign, operator) = OPERATORS[sign];
            let threshold: Threshold = format!("{blanks}lost{blanks}{sign}{blanks}{limit}{blanks}").parse().unwrap();
            prop_assert_eq!(threshold.operator, operator);
            let crossed = match sign {
                ">" => value > limit,
                ">=" => value >= limit,
                "<" => value < limit,
                "<=" => value <= limit,
                "=" | "==" => value == limit,
                _ => value != limit,
            };
            prop_assert_eq!(threshold.check(&run).fails(), crossed);
        }
    }
}
