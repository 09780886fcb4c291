//! The rounds of a case: every server has its turn in each, and what was not valid is repeated.

use std::time::Instant;

use super::case::Case;
use super::child;
use super::trial::{Measured, Place};

/// How often a trial is repeated that was not valid, or did not give its figure.
const REPEATS_MAX: usize = 2;
/// The rounds of one case: what came of each trial, or why nothing did.
pub(super) fn measure(
    case: &Case,
    rounds: usize,
    short: bool,
    place: &Place,
    progress: &mut Progress,
) -> Result<Vec<Vec<Result<Measured, String>>>, String> {
    let mut all = Vec::new();
    for round in 1..=rounds {
        let mut outcomes = Vec::new();
        for (number, trial) in case.trials.iter().enumerate() {
            let name = format!("{}, round {round} of {rounds}: {}", case.name, trial.server);
            let file = format!("{}-{}-{round}.json", case.name, trial.server.file_name());
            let wanted: Vec<_> =
                case.rows.iter().filter(|row| row.needs(number)).map(|row| row.figure).collect();
            let mut repeats = 0;
            let outcome = loop {
                progress.begins(&name);
                let outcome = trial.run(place, &file);
                if child::is_interrupted() {
                    return Err("interrupted".into());
                }
                let told = match &outcome {
                    Ok(measured) => measured.told(&wanted),
                    Err(why) => why.clone(),
                };
                progress.ends(&told, trial.seconds());
                // What could not be run at all cannot be run the next time.
                let Ok(measured) = &outcome else { break outcome };
                let valid = short || measured.faults.is_empty();
                let complete =
                    wanted.iter().all(|figure| figure.of(measured).is_some_and(|value| value != 0.0));
                if (valid && complete) || repeats == REPEATS_MAX {
                    break outcome;
                }
                repeats += 1;
                progress.repeats(trial.seconds());
            };
            outcomes.push(outcome);
        }
        all.push(outcomes);
    }
    Ok(all)
}

/// Tells on stderr what runs, and how long it may still take.
pub(super) struct Progress {
    began: Instant,
    trials: usize,
    number: usize,
    planned_s: f64,
    done_s: f64,
}

impl Progress {
    pub(super) fn new(cases: &[Case], rounds: usize) -> Self {
        let all = || cases.iter().flat_map(|case| &case.trials);
        Self {
            began: Instant::now(),
            trials: all().count() * rounds,
            number: 0,
            planned_s: all().map(|trial| trial.seconds()).sum::<f64>() * rounds as f64,
            done_s: 0.0,
        }
    }

    fn begins(&mut self, name: &str) {
        self.number += 1;
        // What was done took longer than planned, and so will the rest.
        let stretch = if self.done_s > 0.0 { self.began.elapsed().as_secs_f64() / self.done_s } else { 1.0 };
        let left_s = (self.planned_s - self.done_s) * stretch;
        let left = if left_s < 90.0 { format!("{left_s:.0} s") } else { format!("{:.0} min", left_s / 60.0) };
        eprint!("[{}/{}, {left} left] {name} ... ", self.number, self.trials);
    }

    fn ends(&mut self, told: &str, seconds: f64) {
        self.done_s += seconds;
        eprintln!("{told}");
    }

    fn repeats(&mut self, seconds: f64) {
        self.trials += 1;
        self.planned_s += seconds;
    }
}
