//! The rounds of a case: every server has its turn in each, and what was not valid is repeated.
//!
//! # Bounds
//! Each server of a case has [`REPEATS_MAX`] repeats for all rounds: one whose runs are never valid shows that soon, and the time is
//! better spent on other cases.

use std::time::Instant;

use super::case::Case;
use super::child;
use super::trial::{Measured, Trial};

/// How many runs of one server of a case are repeated, all rounds together, that were not valid or did not give their figure.
const REPEATS_MAX: usize = 2;

/// The rounds of one case: what came of each trial, or why nothing did. `run` runs one; its JSON goes to a file of that name.
pub(super) fn measure(
    case: &Case,
    rounds: usize,
    short: bool,
    progress: &mut Progress,
    mut run: impl FnMut(&Trial, &str) -> Result<Measured, String>,
) -> Result<Vec<Vec<Result<Measured, String>>>, String> {
    let mut all = Vec::new();
    let mut repeats_left = vec![REPEATS_MAX; case.trials.len()];
    for round in 1..=rounds {
        let mut outcomes = Vec::new();
        for (number, trial) in case.trials.iter().enumerate() {
            let name = format!("{}, round {round} of {rounds}: {trial}", case.name);
            let file = format!("{}-{}-{round}.json", case.name, trial.file_name());
            let wanted: Vec<_> =
                case.rows.iter().filter(|row| row.needs(number)).map(|row| row.figure).collect();
            let outcome = loop {
                progress.begins(&name);
                let outcome = run(trial, &file);
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
                if (valid && complete) || repeats_left[number] == 0 {
                    break outcome;
                }
                repeats_left[number] -= 1;
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

#[cfg(test)]
mod tests {
    use super::super::case;
    use super::super::result::{Verdict, judge};
    use super::super::size::Length;
    use super::*;
    use crate::report::ServerCost;

    const ROUNDS: usize = 5;

    fn many() -> Case {
        case::all(Length::Full).into_iter().find(|case| case.name == "many").unwrap()
    }

    fn measured(faults: &[&str]) -> Result<Measured, String> {
        let mut measured = Measured::default();
        measured.run.server = Some(ServerCost { cpu_s_per_gb_in: Some(1.0), ..ServerCost::default() });
        measured.faults = faults.iter().map(|fault| (*fault).to_owned()).collect();
        Ok(measured)
    }

    /// A run a round and two more of each server; the row is not valid and says why.
    #[test]
    fn a_case_that_is_never_valid_costs_two_more_runs_a_server() {
        let case = many();
        let mut runs = Vec::new();
        let rounds = measure(&case, ROUNDS, false, &mut Progress::new(&[], ROUNDS), |trial, _| {
            runs.push(trial.file_name());
            measured(&["p99 of its own lateness is 11.0 ms"])
        });
        let rounds = rounds.unwrap();
        for trial in &case.trials {
            let own = trial.file_name();
            assert_eq!(runs.iter().filter(|name| **name == own).count(), ROUNDS + REPEATS_MAX, "{own}");
        }
        assert_eq!(runs.len(), case.trials.len() * (ROUNDS + REPEATS_MAX));
        let outcome = judge(&case.rows[0], &rounds);
        assert_eq!((outcome.verdict, outcome.valid, outcome.rounds), (Verdict::NotValid, 0, ROUNDS));
        assert_eq!(outcome.faults, ["p99 of its own lateness is 11.0 ms"]);
    }

    /// What one server is repeated takes nothing from the others, and a valid repeat stands for its round.
    #[test]
    fn a_run_that_is_not_valid_is_repeated_in_its_round() {
        let case = many();
        let nginx = case.trials[0].file_name();
        let mut runs = 0;
        let rounds = measure(&case, ROUNDS, false, &mut Progress::new(&[], ROUNDS), |trial, _| {
            runs += 1;
            // The first run of all, and the second that nginx has in round 2.
            measured(if trial.file_name() == nginx && [1, 5].contains(&runs) { &["late"] } else { &[] })
        });
        assert_eq!(runs, case.trials.len() * ROUNDS + 2);
        assert_eq!(judge(&case.rows[0], &rounds.unwrap()).valid, ROUNDS);
    }

    /// A server that does not start is not started again, and no more is asked of the short form than a figure.
    #[test]
    fn what_cannot_run_or_is_not_judged_is_not_repeated() {
        let case = many();
        let count = |short: bool, outcome: &dyn Fn() -> Result<Measured, String>| {
            let mut runs = 0;
            let all = measure(&case, 1, short, &mut Progress::new(&[], 1), |_, _| {
                runs += 1;
                outcome()
            });
            assert_eq!(all.unwrap().len(), 1);
            runs
        };
        assert_eq!(count(false, &|| Err("no root".into())), case.trials.len());
        assert_eq!(count(true, &|| measured(&["late"])), case.trials.len());
    }
}
