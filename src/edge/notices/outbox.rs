//! What waits to be told, and when it is tried again. Sans-I/O: time is an argument, and a driver makes the calls.
//!
//! Notices go in order, in batches, one batch at a time: one that fails is tried again, with a pause that doubles, and those behind it wait.
//!
//! One notice that a back end stumbles over must not hold up the others. So a batch that fails [`FAILURES_MAX`] times in a row, or that is refused
//! and has more than one notice, is told one by one. What is refused alone is dropped, since it would be refused for ever. What fails alone is
//! passed over, and tried again in its place once another has been taken; it is dropped when others were taken after [`STRIKES_MAX`] such failures. While
//! nothing at all is taken nothing is dropped: then it is the back end that fails, not a notice.
//! # Bounds
//! `waiting_max` notices and one batch of [`BATCH_MAX`]. Beyond it the oldest that waits goes: what happens now matters more than what happened
//! during an outage.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::session::Instant;

/// Notices of one batch.
pub const BATCH_MAX: usize = 100;

/// Failures in a row after which a batch is told one by one.
pub const FAILURES_MAX: u32 = 3;

/// How often a notice may fail alone while others are taken.
pub const STRIKES_MAX: u32 = 3;

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
    /// Notices that were refused, or failed again and again while others were taken.
    pub refused: u64,
    /// Notices that went since too many waited.
    pub dropped: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Notices that wait.
    pub waiting_now: u64,
}

/// What is known against a notice.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// It failed alone, and nothing has been taken since.
    is_suspect: bool,
    /// Times that it failed alone and another was taken then.
    strikes: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Outbox<N> {
    waiting: VecDeque<N>,
    batch: Vec<N>,
    /// One a notice of the batch.
    marks: Vec<Mark>,
    /// Which of the batch are being told.
    under_way: Option<Range<usize>>,
    /// Whether the batch is told one by one.
    is_single: bool,
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
            marks: Vec::new(),
            under_way: None,
            is_single: false,
            failures: 0,
            not_before: Instant::default(),
            waiting_max,
            counters: Counters::default(),
        }
    }

    /// Another bound; beyond it the oldest go at once. The batch that is being told is not touched.
    pub fn set_waiting_max(&mut self, waiting_max: usize) {
        self.waiting_max = waiting_max;
        let excess = self.waiting.len().saturating_sub(waiting_max);
        self.waiting.drain(..excess);
        self.counters.dropped += excess as u64;
    }

    /// There is nobody to tell any more: what waits is dropped, and what has failed before is tried no more. While something is under way, its outcome
    /// is waited for first.
    pub fn clear(&mut self) {
        if self.under_way.is_some() {
            return;
        }
        self.counters.dropped += (self.waiting.len() + self.batch.len()) as u64;
        self.waiting.clear();
        self.batch.clear();
        self.marks.clear();
        self.is_single = false;
        self.failures = 0;
        self.not_before = Instant::default();
    }

    /// Something is to be told.
    pub fn push(&mut self, notice: N) {
        self.waiting.push_back(notice);
        self.set_waiting_max(self.waiting_max);
    }

    /// The batch to be told now, if there is one and its time has come. Its outcome is given to [`Outbox::handle_outcome`].
    pub fn begin(&mut self, now: Instant) -> Option<&[N]> {
        if self.next_begin().is_none_or(|at| now < at) {
            return None;
        }
        let range = if self.is_single {
            let index = self.next_single();
            index..index + 1
        } else {
            if self.batch.is_empty() {
                let count = self.waiting.len().min(BATCH_MAX);
                self.batch.extend(self.waiting.drain(..count));
                self.marks.resize(self.batch.len(), Mark::default());
            }
            0..self.batch.len()
        };
        self.under_way = Some(range.clone());
        self.batch.get(range)
    }

    /// Which of the batch to tell alone: the first that is not suspect, from behind the batch if need be.
    fn next_single(&mut self) -> usize {
        if let Some(index) = self.marks.iter().position(|mark| !mark.is_suspect) {
            return index;
        }
        if let Some(next) = self.waiting.pop_front() {
            if self.batch.len() >= BATCH_MAX {
                // A whole batch of suspects: the oldest goes behind all others, so that these get their turn.
                self.waiting.push_back(self.batch.remove(0));
                self.marks.remove(0);
            }
            self.batch.push(next);
            self.marks.push(Mark::default());
            return self.batch.len() - 1;
        }
        // Nothing else is there to tell the back end's fault from theirs.
        self.marks.iter_mut().for_each(|mark| mark.is_suspect = false);
        0
    }

    /// When [`Outbox::begin`] has something, if nothing else happens.
    pub fn next_begin(&self) -> Option<Instant> {
        let has_some = !self.batch.is_empty() || !self.waiting.is_empty();
        (has_some && self.under_way.is_none()).then_some(self.not_before)
    }

    /// What became of what was begun.
    pub fn handle_outcome(&mut self, now: Instant, outcome: Outcome) {
        let Some(range) = self.under_way.take() else { return };
        let count = range.len() as u64;
        match outcome {
            Outcome::Taken => self.counters.taken += count,
            Outcome::Refused if count > 1 => {
                self.is_single = true;
                return;
            }
            Outcome::Refused => self.counters.refused += count,
            Outcome::Failed => {
                self.counters.failed += 1;
                let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(16));
                self.failures = self.failures.saturating_add(1);
                self.not_before = now + pause.min(PAUSE_MAX);
                if self.is_single {
                    self.marks[range].iter_mut().for_each(|mark| mark.is_suspect = true);
                }
                self.is_single |= self.failures >= FAILURES_MAX;
                return;
            }
        }
        self.batch.drain(range.clone());
        self.marks.drain(range);
        self.failures = 0;
        if outcome == Outcome::Taken {
            self.count_strikes();
        }
        self.is_single &= !self.batch.is_empty();
    }

    /// Something was taken: it is not the back end that fails, so that those which failed alone have failed for themselves.
    fn count_strikes(&mut self) {
        let (batch, marks) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.marks));
        for (notice, mut mark) in batch.into_iter().zip(marks) {
            mark.strikes += u32::from(std::mem::take(&mut mark.is_suspect));
            if mark.strikes >= STRIKES_MAX {
                self.counters.refused += 1;
            } else {
                self.batch.push(notice);
                self.marks.push(mark);
            }
        }
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
            outbox.handle_outcome(now, Outcome::Failed);
            assert_eq!(outbox.begin(now), None);
            let next = outbox.next_begin().unwrap();
            assert_eq!(next, now + Duration::from_millis(pause_ms));
            now = next;
        }
        assert_eq!(outbox.begin(now), Some(&["a"][..]));
        (0..8).for_each(|_| outbox.push("b"));
        outbox.handle_outcome(now, Outcome::Taken);
        assert_eq!(outbox.begin(now).map(<[_]>::len), Some(8));
        outbox.handle_outcome(now, Outcome::Failed);
        assert_eq!(outbox.next_begin(), Some(now + PAUSE_MIN), "an outage of its own");
        assert_eq!(outbox.counters().failed, 9);
    }

    /// Once there is nobody to tell, a batch that failed does not stay to be told to whoever comes later, and neither does its pause.
    #[test]
    fn without_anybody_to_tell_nothing_stays() {
        let mut outbox = Outbox::new(1000);
        (0..250).for_each(|notice| outbox.push(notice));
        assert_eq!(outbox.begin(at(0)).unwrap().len(), BATCH_MAX);
        outbox.clear();
        assert_eq!(outbox.counters().waiting_now, 250, "its outcome is waited for");
        outbox.handle_outcome(at(1), Outcome::Failed);
        outbox.clear();
        assert_eq!((outbox.counters().waiting_now, outbox.counters().dropped), (0, 250));
        assert_eq!(outbox.next_begin(), None);
        outbox.push(250);
        assert_eq!(outbox.begin(at(2)).unwrap(), [250]);
        outbox.handle_outcome(at(3), Outcome::Taken);
        assert_eq!((outbox.counters().taken, outbox.counters().waiting_now), (1, 0));
    }

    /// Tells all to a back end that `says` what becomes of each post; gives what was taken, in order.
    fn told(outbox: &mut Outbox<u32>, tries: u32, says: impl Fn(u32, &[u32]) -> Outcome) -> Vec<u32> {
        let mut taken = Vec::new();
        for number in 0..tries {
            let Some(now) = outbox.next_begin() else { break };
            let post = outbox.begin(now).unwrap().to_vec();
            let outcome = says(number, &post);
            if outcome == Outcome::Taken {
                taken.extend(post);
            }
            outbox.handle_outcome(now, outcome);
        }
        taken
    }

    #[test]
    fn one_that_is_stumbled_over_does_not_hold_up_the_others() {
        for outcome in [Outcome::Failed, Outcome::Refused] {
            let mut outbox = Outbox::new(1000);
            (0..250).for_each(|number| outbox.push(number));
            let poison = |_, post: &[u32]| if post.contains(&7) { outcome } else { Outcome::Taken };
            let taken = told(&mut outbox, 1000, poison);
            assert_eq!(taken, (0..250).filter(|number| *number != 7).collect::<Vec<_>>(), "{outcome:?}");
            let Counters { taken, refused, waiting_now, dropped, .. } = outbox.counters();
            assert_eq!((taken, refused, waiting_now, dropped), (249, 1, 0, 0), "{outcome:?}");
        }
        // Alone in its batch, and the others come later.
        let mut outbox = Outbox::new(1000);
        outbox.push(7);
        let poison = |_, post: &[u32]| if post.contains(&7) { Outcome::Failed } else { Outcome::Taken };
        assert!(told(&mut outbox, 20, poison).is_empty());
        assert_eq!(outbox.counters().waiting_now, 1, "it may be the back end");
        (0..5).for_each(|number| outbox.push(number));
        assert_eq!(told(&mut outbox, 20, poison), [0, 1, 2, 3, 4]);
        assert_eq!(outbox.counters().refused, 1);
    }

    #[test]
    fn a_whole_batch_that_is_stumbled_over_does_not_hold_up_the_others_either() {
        let mut outbox = Outbox::new(1000);
        (0..150).for_each(|number| outbox.push(number));
        let poison = |_, post: &[u32]| {
            if post.iter().any(|one| *one < 110) { Outcome::Failed } else { Outcome::Taken }
        };
        assert_eq!(told(&mut outbox, 2000, poison), (110..150).collect::<Vec<_>>());
    }

    #[test]
    fn an_outage_however_long_costs_no_notice() {
        for down in [1, 3, 4, 50, 103, 104, 110, 400] {
            let mut outbox = Outbox::new(1000);
            (0..250).for_each(|number| outbox.push(number));
            let says = |number, _: &[u32]| if number < down { Outcome::Failed } else { Outcome::Taken };
            let mut taken = told(&mut outbox, 2000, says);
            taken.sort_unstable();
            assert_eq!(taken, (0..250).collect::<Vec<_>>(), "{down} tries");
        }
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
