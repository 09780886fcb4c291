//! What the harness's tests share: servers to load, the harness itself, and what it wrote.
//!
//! Every process and file belongs to a guard that ends it, also when a test panics.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file is a crate of its own and uses its own part of this"
)]

pub mod ffmpeg;
pub mod keyed;
pub mod proxy;
pub mod secured;
pub mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use inrush_loadtest::report::{Bucket, Run};

/// How long anything may take that works: generous, since a loaded machine is no defect.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until `condition` gives a value, and gives it back. Panics with `what` once [`PATIENCE`] is over.
#[track_caller]
pub fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file of one test, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Not there yet; `name` ends its name.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{unique}-{name}")))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is in it.
    #[track_caller]
    pub fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_else(|error| panic!("{}: {error}", self.0.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Of a test that failed before it was written, it is not there.
        let _ = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
    }
}

/// The harness with this command line.
pub fn harness(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inrush-loadtest"));
    command.args(args);
    command
}

/// Runs the harness with `--json`, and gives what it wrote.
#[track_caller]
pub fn measure(args: &[&str]) -> (Output, Run) {
    let file = Scratch::new("run.json");
    let output = harness(args).arg("--json").arg(file.path()).output().expect("run the harness");
    assert!(file.path().exists(), "no report: {output:?}");
    (output, Run::from_json(&file.text()).expect("a report"))
}

/// Whether no condition of `--fail-if` was crossed. A machine so busy that the generator fell behind makes a run not valid, which fails
/// it as well, and is no defect of what is tested.
pub fn passed(output: &Output, run: &Run) -> bool {
    let told = String::from_utf8_lossy(&output.stdout);
    let failures: Vec<_> = told.lines().filter(|line| line.starts_with("failed: ")).collect();
    let excused = || {
        failures.iter().all(|line| line.starts_with("failed: the run is not valid: "))
            && run.valid.reasons.iter().all(|reason| reason.starts_with("the generator fell behind"))
    };
    output.status.code() == Some(i32::from(!failures.is_empty())) && (failures.is_empty() || excused())
}

/// Runs again that came out wrong for want of a processor, at most.
const TRIES: usize = 4;

/// Passes when one of a few runs does. `run` panics over what must hold in each, however busy the machine is, and returns what
/// may be the machine's doing: a harness that is wrong is wrong every time.
#[track_caller]
pub fn in_one_of_a_few_runs(run: impl Fn() -> Result<(), String>) {
    let mut told = Vec::new();
    while let Err(what) = run() {
        println!("again: {what}");
        told.push(what);
        assert!(told.len() < TRIES, "in each run: {told:?}");
    }
}

/// How many values of a distribution are at or above `us`, as far as its buckets tell.
pub fn at_least(buckets: &[Bucket], us: u64) -> u64 {
    buckets.iter().filter(|bucket| bucket.up_to_us >= us).map(|bucket| bucket.count).sum()
}

/// The median of what falls into these buckets, µs.
#[track_caller]
pub fn median(buckets: &[Bucket]) -> u64 {
    let count: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let mut seen = 0;
    let middle = buckets.iter().find(|bucket| {
        seen += bucket.count;
        2 * seen >= count
    });
    middle.expect("something was measured").up_to_us
}
