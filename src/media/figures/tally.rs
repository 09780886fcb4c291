//! What is noted with every frame of a kind's default track: a few adds.

use crate::media::timestamps::{JUMP_MS, serial};
use crate::session::Instant;

/// A longer step between two pictures is a gap in the stream, ms, and says nothing of its frame rate or of its GOPs.
pub const GAP_MS: i32 = 2_000;

/// Where the encoder's clock and ours are compared from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    timestamp: u32,
    at: Instant,
}

impl Base {
    pub(super) fn new(now: Instant, timestamp: u32) -> Self {
        Self { timestamp, at: now }
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// How much earlier a frame comes than one that took as long as the base's, µs.
    pub(super) fn early_us(&self, now: Instant, timestamp: u32) -> i64 {
        i64::from(serial(timestamp, self.timestamp)) * 1_000 - passed_us(now, self.at)
    }

    /// Moves both clocks on alike, so that no frame is ever half of the timestamps' circle away.
    pub(super) fn advance(&mut self, now: Instant) {
        let passed_ms = passed_us(now, self.at) / 1_000;
        self.timestamp = self.timestamp.wrapping_add(passed_ms as u32); // as timestamps wrap
        self.at = self.at + core::time::Duration::from_millis(passed_ms.unsigned_abs());
    }
}

/// With every frame: in whole microseconds, without the divisions of a [`core::time::Duration`].
fn passed_us(now: Instant, since: Instant) -> i64 {
    i64::try_from(now.as_micros().saturating_sub(since.as_micros())).unwrap_or(i64::MAX)
}

/// The frames of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Frames so far.
    pub(super) frames: u64,
    last: Option<Last>,
    /// Interarrival jitter, sixteenths of a µs (RFC 3550 §6.4.1, A.8).
    jitter: i64,
    lately: Lately,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    timestamp: u32,
    early_us: i64,
}

/// What has come since this was last taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lately {
    count: u32,
    early_sum_us: i64,
    early_max_us: i64,
}

impl Lately {
    /// How early its frames came on average, µs.
    pub(super) fn early_us(&self) -> Option<i64> {
        (self.count > 0).then(|| self.early_sum_us / i64::from(self.count))
    }

    /// How early the one came that the network held up least, µs.
    pub(super) fn earliest_us(&self) -> Option<i64> {
        (self.count > 0).then_some(self.early_max_us)
    }
}

impl Tally {
    /// A frame. Gives the step from the one before it, ms.
    pub(super) fn note(&mut self, timestamp: u32, early_us: i64) -> Option<i32> {
        self.frames += 1;
        let lately = &mut self.lately;
        lately.early_max_us = if lately.count == 0 { early_us } else { lately.early_max_us.max(early_us) };
        lately.count = lately.count.saturating_add(1);
        lately.early_sum_us = lately.early_sum_us.saturating_add(early_us);
        let last = self.last.replace(Last { timestamp, early_us })?;
        let step_ms = serial(timestamp, last.timestamp);
        if step_ms.unsigned_abs() <= JUMP_MS.unsigned_abs() {
            let difference_us = early_us.saturating_sub(last.early_us).saturating_abs();
            self.jitter += difference_us - self.jitter / 16;
        }
        Some(step_ms)
    }

    /// Interarrival jitter, µs.
    pub(super) fn jitter_us(&self) -> u64 {
        self.jitter.unsigned_abs() / 16
    }

    /// What has come since this was last asked.
    pub(super) fn take_lately(&mut self) -> Lately {
        core::mem::take(&mut self.lately)
    }
}

/// The steps between pictures, until there are enough to say whether they are even.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steps {
    count: u32,
    sum_ms: u64,
    squares_ms: u64,
}

/// Steps that are judged together, at least: of fewer a single late one would decide.
const STEPS_MIN: u32 = 8;

impl Steps {
    pub(super) fn note(&mut self, step_ms: i32) {
        if let 0..=GAP_MS = step_ms {
            let step_ms = u64::from(step_ms.unsigned_abs());
            self.count = self.count.saturating_add(1);
            self.sum_ms += step_ms;
            self.squares_ms += step_ms * step_ms;
        }
    }

    /// Whether they vary, once there are enough, and begins anew then. Their standard deviation is more than 3/10 of their mean then, beside
    /// what timestamps of whole milliseconds make of any even rate, 1 ms.
    pub(super) fn take_whether_uneven(&mut self) -> Option<bool> {
        if self.count < STEPS_MIN {
            return None;
        }
        let Self { count, sum_ms, squares_ms } = core::mem::take(self);
        let (count, sum, squares) = (u128::from(count), u128::from(sum_ms), u128::from(squares_ms));
        // count² · variance, against count² · (1 + 9/100 mean²).
        let variance = (count * squares).saturating_sub(sum * sum);
        Some(100 * variance > 100 * count * count + 9 * sum * sum)
    }
}

/// The groups of pictures: each from a key frame to the one before the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gops {
    current: Option<Current>,
    whole: Option<Gop>,
}

/// A whole group of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gop {
    /// Pictures in it.
    pub frames: u32,
    /// Its length by its timestamps, ms.
    pub ms: u32,
    /// Time from its key frame's arrival to the next one's, ms.
    pub arrival_ms: u32,
}

#[derive(Clone, Copy, Debug)]
struct Current {
    /// It began with a key frame, and not in the middle.
    has_key: bool,
    at: Instant,
    timestamp: u32,
    newest_at: Instant,
    newest: u32,
    frames: u32,
}

impl Gop {
    /// Its length as both clocks have it: a jump in timestamps makes none longer, nor does a network that holds it up.
    fn least_ms(&self) -> u32 {
        self.ms.min(self.arrival_ms)
    }
}

impl Gops {
    pub(super) fn note(&mut self, now: Instant, timestamp: u32, is_key: bool) {
        if let Some(current) = &mut self.current {
            let step_ms = serial(timestamp, current.newest);
            let is_gap = !(0..=GAP_MS).contains(&step_ms) || is_gap(now, current.newest_at);
            if !is_gap && !is_key {
                (current.newest, current.newest_at) = (timestamp, now);
                current.frames = current.frames.saturating_add(1);
                return;
            }
            if !is_gap && current.has_key {
                self.whole = Some(current.until(now, timestamp));
            }
        }
        let (at, newest_at) = (now, now);
        self.current =
            Some(Current { has_key: is_key, at, timestamp, newest_at, newest: timestamp, frames: 1 });
    }

    /// The last whole one.
    pub(super) fn whole(&self) -> Option<Gop> {
        self.whole
    }

    /// Whether the last whole one is longer than this, or the one that is not whole yet; not while no picture comes.
    pub(super) fn exceed(&self, now: Instant, ms_max: u32) -> bool {
        let Some(current) = self.current.filter(|current| !is_gap(now, current.newest_at)) else {
            return false;
        };
        let current = current.until(current.newest_at, current.newest);
        let whole = self.whole.is_some_and(|whole| whole.least_ms() > ms_max);
        whole || current.least_ms() > ms_max
    }
}

fn is_gap(now: Instant, newest_at: Instant) -> bool {
    passed_us(now, newest_at) >= (i64::from(GAP_MS) + 1) * 1_000
}

impl Current {
    fn until(&self, at: Instant, timestamp: u32) -> Gop {
        Gop {
            frames: self.frames,
            ms: serial(timestamp, self.timestamp).max(0).unsigned_abs(),
            arrival_ms: u32::try_from((at - self.at).as_millis()).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    /// Steps of any even rate in whole milliseconds are even; a picture left out now and then leaves them so, two rates mixed do not.
    #[test]
    fn rounding_is_no_variable_frame_rate() {
        let uneven = |times_ms: &mut dyn Iterator<Item = u64>| {
            let mut steps = Steps::default();
            let times: alloc::vec::Vec<_> = times_ms.collect();
            times.windows(2).for_each(|pair| steps.note((pair[1] - pair[0]) as i32));
            steps.take_whether_uneven()
        };
        for rate in 1..=1_000 {
            assert_eq!(uneven(&mut (0..=rate.max(8)).map(|n| n * 1_000 / rate)), Some(false), "{rate}");
        }
        assert_eq!(uneven(&mut (0..=30).filter(|n| *n != 7).map(|n| n * 1_000 / 30)), Some(false));
        assert_eq!(
            uneven(&mut (0..=30).map(|n| n * 33 + if n > 15 { (n - 15) * 33 } else { 0 })),
            Some(true)
        );
        assert_eq!(uneven(&mut (0..8).map(|n| n * 40)), None, "seven steps are too few");
    }

    /// A whole group is what lies between two key frames; gaps and jumps end one that nobody counts.
    #[test]
    fn groups_are_whole_from_key_to_key() {
        let mut gops = Gops::default();
        for n in 0..10 {
            gops.note(at(n * 40), 7_000 + n as u32 * 40, false);
        }
        assert_eq!(
            (gops.whole(), gops.exceed(at(360), 300), gops.exceed(at(360), 360)),
            (None, true, false),
            "it began within one"
        );
        for n in 10..60 {
            gops.note(at(n * 40 + 3), 7_000 + n as u32 * 40, n % 25 == 10);
        }
        assert_eq!(gops.whole(), Some(Gop { frames: 25, ms: 1_000, arrival_ms: 1_000 }));
        // The timestamps jump within the last one, and after 5 s nothing came.
        gops.note(at(2_400), 20_000, false);
        gops.note(at(2_440), 20_040, true);
        assert_eq!(gops.whole().map(|gop| gop.ms), Some(1_000));
        gops.note(at(7_440), 25_040, false);
        gops.note(at(7_480), 25_080, true);
        assert_eq!((gops.whole().map(|gop| gop.ms), gops.exceed(at(7_480), 1_000)), (Some(1_000), false));
        gops.note(at(7_500), 25_120, true);
        assert_eq!(gops.whole(), Some(Gop { frames: 1, ms: 40, arrival_ms: 20 }));
    }
}
