//! How long to wait before the next try: longer each time, and not all at once.

use std::time::Duration;

/// A forward that was live for so long has proven its target: what went wrong before counts no more.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Pauses between tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Longest pause after the first failure.
    pub min: Duration,
    /// Longest pause at all.
    pub max: Duration,
}

impl Backoff {
    /// The pause after so many failures in a row, 0 for the first: up to twice as long each time, and of that anything from the half on, so
    /// that a thousand streams that lost one target do not come back in the same moment.
    pub fn pause(&self, failures_before: u32, random: &mut fastrand::Rng) -> Duration {
        let factor = 1u32.checked_shl(failures_before).unwrap_or(u32::MAX);
        let longest = self.min.saturating_mul(factor).min(self.max);
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random.u64(micros / 2..=micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(30) };

    #[test]
    fn pauses_double_up_to_the_longest_and_lie_in_their_upper_half() {
        let mut random = fastrand::Rng::with_seed(7);
        for (failures, longest_s) in
            [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (6, 30), (31, 30), (32, 30), (u32::MAX, 30)]
        {
            let longest = Duration::from_secs(longest_s);
            let pauses: Vec<_> = (0..1000).map(|_| BACKOFF.pause(failures, &mut random)).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{failures}");
            let spread = *pauses.iter().max().unwrap() - *pauses.iter().min().unwrap();
            assert!(spread > longest / 3, "{failures}: they differ by {spread:?} alone");
        }
    }

    #[test]
    fn a_seed_gives_the_same_pauses_again() {
        let pauses = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            [0, 1, 2].map(|failures| BACKOFF.pause(failures, &mut random))
        };
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }
}
