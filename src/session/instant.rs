//! Time as an argument: floors 0-3 read no clock.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Microseconds since an epoch that the caller chose (the engine's start, say).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Further away than any deadline.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Time since an earlier instant; zero when it is later.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let at = Instant::from_micros;
        assert_eq!(at(5) + Duration::from_micros(3), at(8));
        assert_eq!(at(8) - at(5), Duration::from_micros(3));
        assert_eq!(at(5) - at(8), Duration::ZERO);
        assert_eq!(at(5) + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(Instant::FAR_FUTURE + Duration::from_secs(1), Instant::FAR_FUTURE);
        assert_eq!(at(1_999).as_millis(), 1);
    }
}
