//! Rates that a peer may not exceed: a token bucket on the caller's time.

use super::Instant;

/// Tokens are counted in millionths, so that a rate per second refills exactly once a microsecond.
const MILLION: u64 = 1_000_000;

/// Allows `per_second` units on average and `burst` at once.
///
/// Starts full. Holds at most `u32::MAX` million millionths, which fits `u64` with room to add to.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    per_second: u32,
    burst: u32,
    level_millionths: u64,
    refilled_at: Instant,
}

impl TokenBucket {
    /// A full bucket that holds one second's worth.
    pub fn new(now: Instant, per_second: u32) -> Self {
        Self::with_burst(now, per_second, per_second)
    }

    /// A full bucket.
    pub fn with_burst(now: Instant, per_second: u32, burst: u32) -> Self {
        Self { per_second, burst, level_millionths: u64::from(burst) * MILLION, refilled_at: now }
    }

    /// Whole units that can be taken now.
    pub fn level(&mut self, now: Instant) -> u64 {
        self.refill(now);
        self.level_millionths / MILLION
    }

    /// Whether nothing was taken that has not been refilled: a fresh bucket would do as well.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level_millionths == u64::from(self.burst) * MILLION
    }

    /// How much of the bucket is gone, of a million.
    pub fn spent_millionths(&mut self, now: Instant) -> u64 {
        self.refill(now);
        let full = u64::from(self.burst) * MILLION;
        (full - self.level_millionths).div_ceil(u64::from(self.burst).max(1))
    }

    /// Takes `amount` units; false, and nothing taken, when there are not as many.
    #[must_use]
    pub fn take(&mut self, now: Instant, amount: u64) -> bool {
        self.refill(now);
        let wanted = amount.saturating_mul(MILLION);
        match self.level_millionths.checked_sub(wanted) {
            Some(left) => {
                self.level_millionths = left;
                true
            }
            None => false,
        }
    }

    fn refill(&mut self, now: Instant) {
        // Many messages come with one read.
        if now <= self.refilled_at {
            return;
        }
        let full = u64::from(self.burst) * MILLION;
        let elapsed_us = u64::try_from((now - self.refilled_at).as_micros()).unwrap_or(u64::MAX);
        let gained = elapsed_us.saturating_mul(u64::from(self.per_second));
        self.level_millionths = self.level_millionths.saturating_add(gained).min(full);
        self.refilled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn a_second_refills_a_seconds_worth_and_no_more() {
        let start = Instant::from_micros(5);
        let mut bucket = TokenBucket::new(start, 10);
        assert!(bucket.take(start, 10));
        assert!(!bucket.take(start, 1));
        let later = start + Duration::from_millis(500);
        assert!(bucket.take(later, 5));
        assert!(!bucket.take(later, 1));
        let much_later = later + Duration::from_secs(3600);
        assert!(!bucket.take(much_later, 11));
        assert!(bucket.take(much_later, 10));
    }

    #[test]
    fn the_burst_may_be_more_than_a_second_gives() {
        let start = Instant::default();
        let mut bucket = TokenBucket::with_burst(start, 10, 40);
        assert_eq!((bucket.level(start), bucket.is_full(start)), (40, true));
        assert!(bucket.take(start, 40) && !bucket.take(start, 1));
        let later = start + Duration::from_micros(3_999_999);
        assert_eq!((bucket.level(later), bucket.is_full(later)), (39, false));
        assert_eq!(bucket.spent_millionths(start + Duration::from_secs(1)), 1, "time does not step back");
        let full = start + Duration::from_secs(4);
        assert!(bucket.is_full(full) && bucket.take(full, 40));
    }

    #[test]
    fn refilling_in_small_steps_loses_nothing() {
        let mut now = Instant::default();
        let mut bucket = TokenBucket::new(now, 3);
        assert!(bucket.take(now, 3));
        for _ in 0..1_000_000 {
            now = now + Duration::from_micros(1);
            let _ = bucket.take(now, u64::MAX);
        }
        assert!(bucket.take(now, 3));
    }

    #[test]
    fn time_that_steps_back_gives_nothing() {
        let mut bucket = TokenBucket::new(Instant::from_micros(1_000_000), 1);
        assert!(bucket.take(Instant::from_micros(1_000_000), 1));
        assert!(!bucket.take(Instant::default(), 1));
        assert!(!bucket.take(Instant::from_micros(1_500_000), 1));
        assert!(bucket.take(Instant::from_micros(2_000_000), 1));
    }
}
