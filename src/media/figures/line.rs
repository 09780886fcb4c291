//! How fast the encoder's clock runs against ours: a robust line through what arrives.
//!
//! Of each block of time the frame counts that the network held up least. Through those points goes the line of Theil and Sen, whose slope is
//! the median of the slopes of all pairs: nearly a third of the points may lie anywhere. Blocks last a second at first; when there are
//! [`POINTS_MAX`] points, two and two become one and blocks last twice as long, up to [`BLOCK_MAX`]: so there is an early figure, and in time
//! an exact one, over the last 4 to 8 minutes.
//!
//! An encoder that sets its clock, or whose clock changes its pace, leaves the line: [`STRAYS`] seconds in a row that lie further than
//! [`STRAY_US`] from it begin a new one.
//! # Bounds
//! [`POINTS_MAX`] points, in memory that is taken once; at most 496 slopes a block.
//! # Errors
//! None. A link whose delay grows for as long looks like a slow clock, and nobody can tell the two apart.

use alloc::vec::Vec;
use core::time::Duration;

use smallvec::SmallVec;

use crate::session::Instant;

/// Points that a line is drawn through at most.
pub const POINTS_MAX: usize = 32;

/// And at least.
pub const POINTS_MIN: usize = 8;

/// Longest block of which one point is made.
pub const BLOCK_MAX: Duration = Duration::from_secs(16);

const BLOCK_MIN: Duration = Duration::from_secs(1);

/// Further from the line than this, a point does not belong to it, µs: a network that delivers at all seldom delays its fastest frame of a second so much.
pub const STRAY_US: i64 = 500_000;

/// Strays in a row that are a new line.
pub const STRAYS: usize = 3;

/// A change of this over all that a line goes through is no jitter, µs.
const SURE_US: i64 = 250_000;

/// The clock of one encoder.
#[derive(Clone, Debug)]
pub(super) struct Line {
    points: Vec<Point>,
    block: Duration,
    /// The block that is not over.
    open: Option<(Instant, Point)>,
    strays: SmallVec<[Point; STRAYS]>,
    fit: Option<Fit>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at_us: i64,
    early_us: i64,
}

#[derive(Clone, Copy, Debug)]
struct Fit {
    ppm: i64,
    /// A point on it.
    through: Point,
    /// What it changes over the points that it goes through, µs.
    change_us: i64,
}

impl Fit {
    fn early_us(&self, at_us: i64) -> i64 {
        let passed_us = at_us.saturating_sub(self.through.at_us);
        self.through.early_us.saturating_add(self.ppm.saturating_mul(passed_us) / 1_000_000)
    }
}

impl Default for Line {
    fn default() -> Self {
        Self { points: Vec::new(), block: BLOCK_MIN, open: None, strays: SmallVec::new(), fit: None }
    }
}

impl Line {
    /// How early the least delayed frame of the last second came, by a base that stays.
    pub(super) fn note(&mut self, now: Instant, early_us: i64) {
        let point = Point { at_us: i64::try_from(now.as_micros()).unwrap_or(i64::MAX), early_us };
        if let Some(fit) = &self.fit {
            if early_us.saturating_sub(fit.early_us(point.at_us)).saturating_abs() > STRAY_US {
                self.strays.push(point);
                if self.strays.len() >= STRAYS {
                    let strays = core::mem::take(&mut self.strays);
                    self.restart();
                    self.points.extend(strays);
                }
                return;
            }
            self.strays.clear();
        }
        let (began, best) = *self.open.get_or_insert((now, point));
        let best = if early_us > best.early_us { point } else { best };
        self.open = Some((began, best));
        // A judgement may come a little early.
        if now - began + BLOCK_MIN / 2 >= self.block - BLOCK_MIN {
            self.open = None;
            self.push(best);
            self.draw();
        }
    }

    /// Nothing that was is of any use any more.
    pub(super) fn restart(&mut self) {
        self.points.clear();
        self.strays.clear();
        (self.block, self.open, self.fit) = (BLOCK_MIN, None, None);
    }

    /// How much faster the encoder's clock runs, millionths; `None` while nobody knows.
    pub(super) fn ppm(&self) -> Option<i64> {
        self.fit.map(|fit| fit.ppm)
    }

    /// Whether the clock is off by more than this for certain.
    pub(super) fn drifts(&self, ppm_max: u32) -> bool {
        self.fit.is_some_and(|fit| {
            fit.ppm.unsigned_abs() > u64::from(ppm_max) && fit.change_us.saturating_abs() >= SURE_US
        })
    }

    fn push(&mut self, point: Point) {
        if self.points.capacity() == 0 {
            self.points.reserve_exact(POINTS_MAX);
        }
        if self.points.len() >= POINTS_MAX {
            if self.block < BLOCK_MAX {
                self.block *= 2;
                let better = |pair: &[Point]| pair.iter().copied().max_by_key(|point| point.early_us);
                let halved: SmallVec<[Point; POINTS_MAX / 2]> =
                    self.points.chunks(2).filter_map(better).collect();
                self.points.clear();
                self.points.extend(halved);
            } else {
                self.points.remove(0);
            }
        }
        self.points.push(point);
    }

    /// The line of Theil and Sen.
    fn draw(&mut self) {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else { return };
        if self.points.len() < POINTS_MIN {
            return;
        }
        let mut slopes = SmallVec::<[i64; POINTS_MAX * (POINTS_MAX - 1) / 2]>::new();
        for (index, right) in self.points.iter().enumerate() {
            for left in self.points.iter().take(index) {
                let passed_us = right.at_us.saturating_sub(left.at_us).max(1);
                let change_us = right.early_us.saturating_sub(left.early_us);
                slopes.push(change_us.saturating_mul(1_000_000) / passed_us);
            }
        }
        let Some(ppm) = median(&mut slopes) else { return };
        let at_us = last.at_us;
        let slope = Fit { ppm, through: Point { at_us: 0, early_us: 0 }, change_us: 0 };
        let mut heights: SmallVec<[i64; POINTS_MAX]> = self
            .points
            .iter()
            .map(|point| point.early_us.saturating_add(slope.early_us(at_us.saturating_sub(point.at_us))))
            .collect();
        let Some(early_us) = median(&mut heights) else { return };
        let change_us = slope.early_us(at_us.saturating_sub(first.at_us));
        self.fit = Some(Fit { ppm, through: Point { at_us, early_us }, change_us });
    }
}

fn median(values: &mut [i64]) -> Option<i64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    Some(*values.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A second each: how early the clock comes that runs off by so much, less what the network takes.
    fn follow(line: &mut Line, from: u64, seconds: u64, early_us: impl Fn(u64) -> i64) {
        for second in from..from + seconds {
            line.note(Instant::from_micros(3_000_000 + second * 1_000_000), early_us(second));
        }
    }

    proptest! {
        /// Any drift is found within a few parts of what jitter leaves open, though a quarter of the seconds are delayed by anything; in time
        /// exactly.
        #[test]
        fn a_drift_is_found_through_delays(
            ppm in -100_000_i64..100_000,
            delays in prop::collection::vec((0_u8..4, 0_i64..400_000, 0_i64..5_000), 600),
        ) {
            let mut line = Line::default();
            let early = |second: u64| {
                let (kind, long, short) = delays[second as usize];
                ppm * second as i64 - if kind == 0 && second % 4 == 1 { long } else { short }
            };
            follow(&mut line, 0, 600, early);
            let found = line.ppm().unwrap();
            prop_assert!((found - ppm).abs() <= 60, "{found} for {ppm}");
            prop_assert!(line.points.len() <= POINTS_MAX);
            prop_assert_eq!(line.points.capacity(), POINTS_MAX);
            prop_assert_eq!(line.drifts(2_000), found.abs() > 2_000);
        }
    }

    /// A clock that is set anew, or changes its pace, is followed: seconds later nothing of the line before is left.
    #[test]
    fn a_new_pace_begins_a_new_line() {
        let mut line = Line::default();
        follow(&mut line, 0, 7, |second| second as i64 * 100_000);
        assert_eq!(line.ppm(), None);
        follow(&mut line, 7, 13, |second| second as i64 * 100_000);
        assert_eq!((line.ppm(), line.drifts(90_000)), (Some(100_000), true));
        follow(&mut line, 20, 10, |_| 2_000_000);
        assert!(!line.drifts(1_000), "{:?}", line.ppm());
        follow(&mut line, 30, 10, |_| 2_000_000);
        assert_eq!((line.ppm(), line.drifts(0)), (Some(0), false));
        follow(&mut line, 40, 12, |_| -4_000_000_000_000);
        assert_eq!((line.ppm(), line.drifts(0)), (Some(0), false));
        // Two seconds in which nothing came in time change nothing.
        follow(&mut line, 52, 2, |_| -4_000_003_000_000);
        follow(&mut line, 54, 10, |_| -4_000_000_000_000);
        assert_eq!(line.ppm(), Some(0));
    }
}
