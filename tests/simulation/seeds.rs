//! One run after another over a range of seeds, on all cores of the machine.
//!
//! `INRUSH_SEEDS` says how many seeds to run and `INRUSH_SEEDS_FROM` from which on, so that a run that was stopped can go on; `INRUSH_SEED`
//! runs a single one again. A failure names its seed.

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// A run over very many seeds says how far it is.
const PROGRESS_EVERY: u64 = 20_000;

/// What a run counted, to be added up.
pub trait Sum: Default + Send {
    fn add(&mut self, other: &Self);
}

/// Runs as many seeds as the environment says, `default` otherwise; gives how many, and the sum of what they counted.
///
/// `test` is the name of the test file, for whoever has to run a seed again.
pub fn run<S: Sum>(test: &str, default: u64, world: fn(u64) -> S) -> (u64, S) {
    if let Some(seed) = number("INRUSH_SEED") {
        return (1, world(seed));
    }
    let from = number("INRUSH_SEEDS_FROM").unwrap_or(0);
    let seeds = number("INRUSH_SEEDS").unwrap_or(default);
    let began = Instant::now();
    let next = AtomicU64::new(from);
    let sum = Mutex::new(S::default());
    let failed = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |cores| cores.get()) {
            scope.spawn(|| {
                let mut own = S::default();
                while failed.lock().expect("no panic under it").is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        break;
                    }
                    if seed > from && seed.is_multiple_of(PROGRESS_EVERY) {
                        println!("seed {seed} begun after {:.0} s", began.elapsed().as_secs_f64());
                    }
                    match catch_unwind(|| world(seed)) {
                        Ok(counted) => own.add(&counted),
                        Err(_) => *failed.lock().expect("no panic under it") = Some(seed),
                    }
                }
                sum.lock().expect("no panic under it").add(&own);
            });
        }
    });
    if let Some(seed) = failed.into_inner().expect("no panic under it") {
        panic!("seed {seed} failed; again with: INRUSH_SEED={seed} cargo test --test {test}");
    }
    println!("{seeds} seeds in {:.1} s; events by kind:", began.elapsed().as_secs_f64());
    (seeds, sum.into_inner().expect("no panic under it"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
