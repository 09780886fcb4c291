//! What waits to be told, and when it is tried again. Sans-I/O: time is an argument, and a driver makes the calls.
//!
//! Notices go in order, in batches, one batch at a time: one that fails is tried again, with a pause that doubles, and those behind it wait. A batch
//! that is refused is dropped, since it would be refused for ever.
//! # Bounds
//! `waiting_max` notices and one batch of [`BATCH_MAX`]. Beyond it the oldest that waits goes: what happens now matters more than what happened
//! during an outage.

use std::collections::VecDeque;
use std::time::Duration;

use crate::session::Instant;

/// Notices of one batch.
pub const BATCH_MAX: usize = 100;

/// Pause after a first failure.
pub const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Longest pause.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Taken,
    /// It will never be taken.
    Refused,
    /// It may be taken later.
    Failed,
}

/// What has been told so far, and what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Notices that were taken.
    pub taken: u64,
    /// Notices that were refused.
    pub refused: u64,
    /// Notices that went since too many waited.
    pub dropped: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Notices that wait.
    pub waiting_now: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Outbox<N> {
    waiting: VecDeque<N>,
    batch: Vec<N>,
    is_under_way: bool,
    /// Failures since something was taken.
    failures: u32,
    not_before: Instant,
    waiting_max: usize,
    counters: Counters,
}

impl<N> Outbox<N> {
    /// An empty one.
    pub fn new(waiting_max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            batch: Vec::new(),
            is_under_way: false,
            failures: 0,
            not_before: Instant::default(),
            waiting_max,
            counters: Counters::default(),
        }
    }

    /// Something is to be told.
    pub fn push(&mut self, notice: N) {
        if self.waiting.len() >= self.waiting_max {
            self.waiting.pop_front();
            self.counters.dropped += 1;
        }
        self.waiting.push_back(notice);
    }

    /// The batch to be told now, if there is one and its time has come. Its outcome is given to [`Outbox::handle_outcome`].
    pub fn begin(&mut self, now: Instant) -> Option<&[N]> {
        if self.next_begin().is_none_or(|at| now < at) {
            return None;
        }
        if self.batch.is_empty() {
            let count = self.waiting.len().min(BATCH_MAX);
            self.batch.extend(self.waiting.drain(..count));
        }
        self.is_under_way = true;
        Some(&self.batch)
    }

    /// When [`Outbox::begin`] has something, if nothing else happens.
    pub fn next_begin(&self) -> Option<Instant> {
        let has_some = !self.batch.is_empty() || !self.waiting.is_empty();
        (has_some && !self.is_under_way).then_some(self.not_before)
    }

    /// What became of the batch that was begun.
    pub fn handle_outcome(&mut self, now: Instant, outcome: Outcome) {
        self.is_under_way = false;
        let count = self.batch.len() as u64;
        match outcome {
            Outcome::Taken => self.counters.taken += count,
            Outcome::Refused => self.counters.refused += count,
            Outcome::Failed => {
                self.counters.failed += 1;
                let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(16));
                self.failures += 1;
                self.not_before = now + pause.min(PAUSE_MAX);
                return;
            }
        }
        self.batch.clear();
        self.failures = 0;
    }

    /// What it has told, and what waits.
    pub fn counters(&self) -> Counters {
        Counters { waiting_now: (self.waiting.len() + self.batch.len()) as u64, ..self.counters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::default() + Duration::from_millis(ms)
    }

    #[test]
    fn notices_go_in_order_and_in_batches() {
        let mut outbox = Outbox::new(1000);
        assert_eq!(outbox.next_begin(), None);
        (0..250).for_each(|number| outbox.push(number));
        let mut told = Vec::new();
        while let Some(batch) = outbox.begin(at(0)) {
            assert!(batch.len() <= BATCH_MAX);
            told.extend_from_slice(batch);
            assert!(outbox.begin(at(0)).is_none(), "one at a time");
            outbox.push(1_000 + told.len());
            outbox.handle_outcome(at(0), Outcome::Taken);
            if told.len() > 300 {
                break;
            }
        }
        assert_eq!(told[..250], (0..250).collect::<Vec<_>>());
        assert_eq!(told[250..252], [1_100, 1_200]);
    }

    #[test]
    fn a_failure_is_tried_again_with_a_pause_that_doubles() {
        let mut outbox = Outbox::new(10);
        outbox.push("a");
        let mut now = at(0);
        for pause_ms in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(outbox.begin(now), Some(&["a"][..]));
            outbox.push("b");
            outbox.handle_outcome(now, Outcome::Failed);
            assert_eq!(outbox.begin(now), None);
            let next = outbox.next_begin().unwrap();
            assert_eq!(next, now + Duration::from_millis(pause_ms));
            now = next;
        }
        assert_eq!(outbox.begin(now), Some(&["a"][..]), "those behind it wait");
        outbox.handle_outcome(now, Outcome::Taken);
        assert_eq!(outbox.begin(now).map(<[_]>::len), Some(8));
        outbox.handle_outcome(now, Outcome::Failed);
        assert_eq!(outbox.next_begin(), Some(now + PAUSE_MIN), "an outage of its own");
        assert_eq!(outbox.counters().failed, 9);
    }

    #[test]
    fn what_is_refused_is_not_said_again() {
        let mut outbox = Outbox::new(10);
        outbox.push(1);
        outbox.begin(at(0));
        outbox.push(2);
        outbox.handle_outcome(at(0), Outcome::Refused);
        assert_eq!(outbox.begin(at(0)), Some(&[2][..]));
        outbox.handle_outcome(at(0), Outcome::Taken);
        assert_eq!(outbox.counters(), Counters { taken: 1, refused: 1, ..Counters::default() });
    }

    #[test]
    fn the_oldest_goes_when_too_many_wait() {
        let mut outbox = Outbox::new(3);
        outbox.push(0);
        assert_eq!(outbox.begin(at(0)), Some(&[0][..]));
        (1..=5).for_each(|number| outbox.push(number));
        assert_eq!((outbox.counters().dropped, outbox.counters().waiting_now), (2, 4));
        outbox.handle_outcome(at(0), Outcome::Taken);
        assert_eq!(outbox.begin(at(0)), Some(&[3, 4, 5][..]));
    }
}
