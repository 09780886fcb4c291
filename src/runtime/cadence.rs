//! How often something comes, followed over a few times.

use std::time::Duration;

use crate::session::Instant;

/// Weight of the newest pause, as a divisor: a change shows within some ten receives.
const NEWEST_SHARE: u64 = 8;
/// A longer pause counts as this one: a stream that rested for an hour is not slow for an hour.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The smoothed pause between the times that something came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cadence {
    last: Option<Instant>,
    pause_us: u64,
}

impl Cadence {
    /// Something came.
    pub(crate) fn on_come(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let newest = (now - last).min(PAUSE_MAX).as_micros() as u64;
            self.pause_us = (self.pause_us * (NEWEST_SHARE - 1) + newest) / NEWEST_SHARE;
        }
    }

    /// The usual pause; zero before anything is known.
    pub(crate) fn pause(&self) -> Duration {
        Duration::from_micros(self.pause_us)
    }

    /// When something came last, if anything has.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.last
    }

    /// Time since something came last; zero when nothing has.
    pub(crate) fn since(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| now - last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It follows a change within some twenty times, and one long rest does not make it slow for long.
    #[test]
    fn follows_a_change_and_forgets_a_rest() {
        let mut cadence = Cadence::default();
        let mut now = Instant::default();
        let mut come = |cadence: &mut Cadence, times: u32, pause_ms: u64| {
            for _ in 0..times {
                now = now + Duration::from_millis(pause_ms);
                cadence.on_come(now);
            }
        };
        assert_eq!(cadence.pause(), Duration::ZERO);
        come(&mut cadence, 40, 10);
        assert!((9..=10).contains(&cadence.pause().as_millis()), "{:?}", cadence.pause());
        come(&mut cadence, 30, 200);
        assert!(cadence.pause().as_millis() > 180, "{:?}", cadence.pause());
        come(&mut cadence, 30, 10);
        assert!(cadence.pause().as_millis() < 15, "{:?}", cadence.pause());
        come(&mut cadence, 1, 3_600_000);
        come(&mut cadence, 30, 10);
        assert!(cadence.pause().as_millis() < 20, "{:?}", cadence.pause());
    }
}
