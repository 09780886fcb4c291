//! What the rounds of a case say about a row.
//!
//! A ratio or difference is taken within a round, since what disturbs the machine disturbs a round's runs alike; the rounds' median is
//! what counts.
//!
//! # Invariant
//! A figure from runs that were not valid is never met: unless most rounds are valid, the row is [`Verdict::NotValid`].

use super::figure::Figure;
use super::row::{Reach, Row};
use super::trial::Measured;

/// The middle of some values, and their ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// `None` without values.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 };
        Some(Self { median, min, max })
    }
}

/// What is said of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    Missed,
    /// There was nothing to be reached.
    Stated,
    NotValid,
    /// No round gave one.
    NotMeasured,
}

/// A row's result.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// What is to be reached, or is stated: the figure, or its ratio or difference to another.
    pub(super) value: Option<Spread>,
    /// The figure itself.
    pub(super) own: Option<Spread>,
    /// That of the other server.
    pub(super) other: Option<Spread>,
    /// How much later than due the harness itself was, p99, where latency is the figure, milliseconds.
    pub(super) late_ms: Option<Spread>,
    /// What GOP caches held a publisher, kB, where it is taken off the figure.
    pub(super) gop_kb: Option<Spread>,
    pub(super) valid: usize,
    pub(super) rounds: usize,
    /// What was wrong, each once.
    pub(super) faults: Vec<String>,
}

impl Outcome {
    /// The same without a judgement: its figures are stated, if there are any.
    pub(super) fn stated(self) -> Self {
        let verdict = match self.verdict {
            Verdict::NotMeasured => Verdict::NotMeasured,
            _ => Verdict::Stated,
        };
        Self { verdict, ..self }
    }
}

/// Takes a row from the rounds of its case.
pub(super) fn judge(row: &Row, rounds: &[Vec<Result<Measured, String>>]) -> Outcome {
    let mut faults = Vec::new();
    let mut readings = Vec::new();
    for round in rounds {
        let needed = [Some(row.subject), row.reach.of()].into_iter().flatten().map(|at| &round[at]);
        let mut valid = true;
        for outcome in needed {
            let said = match outcome {
                Ok(measured) => &measured.faults[..],
                Err(why) => std::slice::from_ref(why),
            };
            valid &= said.is_empty();
            for fault in said.iter().filter(|fault| !faults.contains(*fault)).cloned().collect::<Vec<_>>() {
                faults.push(fault);
            }
        }
        readings.extend(Reading::of(row, round).map(|reading| (valid, reading)));
    }
    let valid = readings.iter().filter(|(valid, _)| *valid).count();
    let majority = 2 * valid > rounds.len();
    // Those that are valid, if they are enough to say something.
    let taken: Vec<_> =
        readings.iter().filter(|(valid, _)| *valid || !majority).map(|(_, reading)| reading).collect();
    let spread =
        |of: &dyn Fn(&Reading) -> Option<f64>| Spread::of(taken.iter().filter_map(|it| of(it)).collect());
    let value = spread(&|reading| Some(reading.value));
    let verdict = match (value, row.reach) {
        (None, _) => Verdict::NotMeasured,
        (Some(_), _) if !majority => Verdict::NotValid,
        (Some(_), Reach::Stated | Reach::StatedRatio { .. }) => Verdict::Stated,
        (
            Some(value),
            Reach::Ratio { at_most, .. } | Reach::Above { at_most, .. } | Reach::AtMost(at_most),
        ) => {
            if value.median <= at_most {
                Verdict::Met
            } else {
                Verdict::Missed
            }
        }
    };
    Outcome {
        verdict,
        value,
        own: spread(&|reading| Some(reading.own)),
        other: spread(&|reading| reading.other),
        late_ms: spread(&|reading| reading.late_ms),
        gop_kb: spread(&|reading| reading.gop_kb),
        valid,
        rounds: rounds.len(),
        faults,
    }
}

/// A row's figures in one round.
struct Reading {
    value: f64,
    own: f64,
    other: Option<f64>,
    late_ms: Option<f64>,
    gop_kb: Option<f64>,
}

impl Reading {
    fn of(row: &Row, round: &[Result<Measured, String>]) -> Option<Self> {
        let measured = round[row.subject].as_ref().ok()?;
        let own = row.figure.of(measured)?;
        let other = match row.reach.of() {
            Some(other) => Some(row.figure.of(round[other].as_ref().ok()?)?),
            None => None,
        };
        let value = match (row.reach, other) {
            (Reach::Ratio { .. } | Reach::StatedRatio { .. }, Some(other)) if other > 0.0 => own / other,
            (Reach::Above { .. }, Some(other)) => own - other,
            (Reach::AtMost(_) | Reach::Stated, _) => own,
            _ => return None,
        };
        let late = &measured.run.latencies.generator_late;
        let is_latency = row.figure == Figure::E2eP99 && late.count > 0;
        let publishers = f64::from(measured.run.setting.publishers);
        let gop = measured.memory.as_ref().and_then(|memory| memory.gop_bytes);
        Some(Self {
            value,
            own,
            other,
            late_ms: is_latency.then_some(late.p99 as f64 / 1e3),
            gop_kb: gop
                .filter(|_| row.figure == Figure::PublisherMemoryBeyondGop)
                .map(|it| it / publishers / 1e3),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ServerCost;

    fn measured(cpu: f64, valid: bool) -> Result<Measured, String> {
        let mut measured = Measured::default();
        measured.run.server = Some(ServerCost { cpu_s_per_gb_in: Some(cpu), ..ServerCost::default() });
        if !valid {
            measured.faults.push("late".into());
        }
        Ok(measured)
    }

    fn row(reach: Reach) -> Row {
        Row { subject: 1, figure: Figure::CpuPerGbIn, reach, note: "" }
    }

    /// Rounds of another server's figure and our own.
    fn rounds(figures: &[(f64, f64)]) -> Vec<Vec<Result<Measured, String>>> {
        figures.iter().map(|(other, own)| vec![measured(*other, true), measured(*own, true)]).collect()
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        let spread = Spread::of(vec![5.0, 1.0, 3.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (3.0, 1.0, 5.0));
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 100.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of(Vec::new()), None);
    }

    /// The ratio of the medians is another number: 2/4 here, where the rounds say 0.25, 0.4 and 2.
    #[test]
    fn ratios_are_taken_within_a_round() {
        let rounds = rounds(&[(4.0, 1.0), (1.0, 2.0), (10.0, 4.0)]);
        let outcome = judge(&row(Reach::Ratio { of: 0, at_most: 0.4 }), &rounds);
        let value = outcome.value.unwrap();
        assert_eq!((value.median, value.min, value.max), (0.4, 0.25, 2.0));
        assert_eq!((outcome.own.unwrap().median, outcome.other.unwrap().median), (2.0, 4.0));
        assert_eq!(outcome.verdict, Verdict::Met);
        assert_eq!(judge(&row(Reach::Ratio { of: 0, at_most: 0.39 }), &rounds).verdict, Verdict::Missed);
        assert_eq!(judge(&row(Reach::StatedRatio { of: 0 }), &rounds).verdict, Verdict::Stated);
    }

    #[test]
    fn differences_and_plain_figures() {
        let rounds = rounds(&[(4.0, 5.0)]);
        let above = judge(&row(Reach::Above { of: 0, at_most: 1.0 }), &rounds);
        assert_eq!((above.value.unwrap().median, above.verdict), (1.0, Verdict::Met));
        let plain = judge(&row(Reach::AtMost(4.9)), &rounds);
        assert_eq!((plain.value.unwrap().median, plain.verdict), (5.0, Verdict::Missed));
        assert!(plain.other.is_none());
    }

    #[test]
    fn a_round_that_is_not_valid_does_not_count_and_too_few_that_are_say_nothing() {
        let reach = Reach::Ratio { of: 0, at_most: 0.5 };
        let mut all = rounds(&[(10.0, 4.0), (10.0, 4.0), (10.0, 4.0)]);
        all[0][0] = measured(1.0, false);
        let outcome = judge(&row(reach), &all);
        assert_eq!((outcome.valid, outcome.rounds, outcome.verdict), (2, 3, Verdict::Met));
        assert_eq!(outcome.value.unwrap().max, 0.4);
        assert_eq!(outcome.faults, ["late"]);
        all[1][1] = measured(1.0, false);
        let outcome = judge(&row(reach), &all);
        assert_eq!((outcome.valid, outcome.verdict), (1, Verdict::NotValid));
        // It is shown, all of it.
        assert_eq!(outcome.value.unwrap().max, 4.0);
    }

    #[test]
    fn a_row_whose_trial_gave_nothing_is_not_measured_and_says_why() {
        let failed = vec![vec![measured(0.0, true), measured(1.0, true)]];
        let reach = Reach::Ratio { of: 0, at_most: 9.0 };
        assert_eq!(judge(&row(reach), &failed).verdict, Verdict::NotMeasured, "no ratio to nothing");
        let gone = vec![vec![Err("no root".to_owned()), measured(1.0, true)]];
        let outcome = judge(&row(reach), &gone);
        assert_eq!((outcome.verdict, outcome.faults), (Verdict::NotMeasured, vec!["no root".to_owned()]));
    }
}
