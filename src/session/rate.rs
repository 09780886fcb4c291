//! Rates that a peer may not exceed: a token bucket on the caller's time.

use super::Instant;

/// Tokens are counted in millionths, so that a rate per second refills exactly once a microsecond.
const MILLION: u64 = 1_000_000;

/// Allows `per_second` units on average and as many at once: the burst is one second's worth.
///
/// Starts full. Holds at most `u32::MAX` million millionths, which fits `u64` with room to add to.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    per_second: u32,
    level_millionths: u64,
    refilled_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(now: Instant, per_second: u32) -> Self {
        Self { per_second, level_millionths: u64::from(per_second) * MILLION, refilled_at: now }
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
        let full = u64::from(self.per_second) * MILLION;
        let elapsed_us = u64::try_from((now - self.refilled_at).as_micros()).unwrap_or(u64::MAX);
        let gained = elapsed_us.saturating_mul(u64::from(self.per_second));
        self.level_millionths = self.level_millionths.saturating_add(gained).min(full);
        self.refilled_at = self.refilled_at.max(now);
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
