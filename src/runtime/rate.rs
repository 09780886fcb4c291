//! Bytes a second, smoothed over a few seconds.

use std::time::Duration;

/// Weight of the newest second: half of what is shown is less than two seconds old.
const NEWEST_SHARE: f64 = 0.35;

/// A smoothed rate of something that is only ever counted up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    total_before: u64,
    per_second: f64,
    measured: bool,
}

impl Rate {
    /// Takes the total after another `elapsed`.
    pub(crate) fn measure(&mut self, total: u64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let newest = total.saturating_sub(self.total_before) as f64 / seconds;
        self.total_before = total;
        self.per_second =
            if self.measured { self.per_second + NEWEST_SHARE * (newest - self.per_second) } else { newest };
        self.measured = true;
    }

    /// Units a second.
    pub(crate) fn per_second(&self) -> u64 {
        self.per_second as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A steady flow shows its rate from the first second on, and a flow that ended fades.
    #[test]
    fn follows_the_flow() {
        let mut rate = Rate::default();
        for second in 1..=5 {
            rate.measure(second * 1000, Duration::from_secs(1));
            assert_eq!(rate.per_second(), 1000);
        }
        for _ in 0..20 {
            rate.measure(5000, Duration::from_secs(1));
        }
        assert_eq!(rate.per_second(), 0);
    }
}
