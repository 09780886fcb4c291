//! Which of the sessions that neither publish nor play have to go when they hold too much together.
//!
//! The greediest go first. What a session takes is memory for a time, so its greed is its bytes times the seconds for which it has been
//! pending; the first [`HONEST_PENDING`] count whole from the beginning, since an honest peer may need as much. So one that holds a lot
//! goes at once, before those that merely hold a handshake; one that holds little for long goes before those that have just come; and
//! when everybody has just come, as after a cut, the newest goes, so that the others get through instead of nobody.
//! # Bounds
//! One pass over the core's connections for each eighth of the bound that peers fill: what goes brings the sum down by as much, or more.

use std::cmp::Reverse;
use std::time::Duration;

use super::connection::ConnectionKey;

/// How long an honest peer may need until it publishes or plays: five round trips over a bad mobile network.
const HONEST_PENDING: Duration = Duration::from_secs(5);

/// A pending session, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) key: ConnectionKey,
    /// What it holds.
    pub(crate) bytes: usize,
    /// For how long it has neither published nor played.
    pub(crate) age: Duration,
}

impl Pending {
    fn greed(&self) -> u128 {
        self.bytes as u128 * self.age.max(HONEST_PENDING).as_millis()
    }
}

/// Below which sum the sessions are brought when they hold more than `bytes_max`.
pub(crate) fn target_bytes(bytes_max: usize) -> usize {
    bytes_max - bytes_max / 8
}

/// Those that have to go so that the rest hold no more than `target_bytes`, greediest first.
pub(crate) fn to_shed(mut pending: Vec<Pending>, target_bytes: usize) -> Vec<ConnectionKey> {
    pending.sort_unstable_by_key(|one| (Reverse(one.greed()), one.age));
    let mut left: usize = pending.iter().map(|one| one.bytes).sum();
    let goes = |one: &Pending| {
        let goes = left > target_bytes;
        left = left.saturating_sub(one.bytes);
        goes.then_some(one.key)
    };
    pending.iter().map_while(goes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(index: usize, bytes: usize, age_ms: u64) -> Pending {
        Pending { key: ConnectionKey::new(index, 0), bytes, age: Duration::from_millis(age_ms) }
    }

    fn shed(pending: &[Pending], target_bytes: usize) -> Vec<u32> {
        to_shed(pending.to_vec(), target_bytes).into_iter().map(|key| key.index).collect()
    }

    #[test]
    fn nobody_goes_while_all_fit() {
        assert!(shed(&[pending(0, 500, 0), pending(1, 500, 90_000)], 1000).is_empty());
        assert!(shed(&[], 0).is_empty());
    }

    #[test]
    fn who_holds_much_goes_before_all_others_however_new_he_is() {
        let mut all: Vec<_> = (0..100).map(|nth| pending(nth, 10_000, 100 * nth as u64)).collect();
        all.push(pending(100, 8_000_000, 1));
        all.push(pending(101, 4_000_000, 1));
        assert_eq!(shed(&all, 5_000_000), [100]);
        assert_eq!(shed(&all, 4_000_000), [100, 101]);
    }

    #[test]
    fn who_holds_little_for_long_goes_before_who_has_just_come() {
        let slow = [pending(0, 10_000, 9_000), pending(1, 10_000, 6_000), pending(2, 10_000, 30_000)];
        let honest = [pending(3, 10_000, 10), pending(4, 10_000, 1_200)];
        assert_eq!(shed(&[honest, [slow[0], slow[1]]].concat(), 29_000), [0, 1]);
        assert_eq!(shed(&[&honest[..], &slow].concat(), 40_000), [2]);
    }

    #[test]
    fn of_those_that_have_all_just_come_the_newest_go() {
        let all: Vec<_> = (0..10).map(|nth| pending(nth, 1_000, 400 * nth as u64)).collect();
        assert_eq!(shed(&all, 7_000), [0, 1, 2]);
    }

    #[test]
    fn no_more_go_than_have_to() {
        let all = [pending(0, 3_000, 0), pending(1, 2_000, 0), pending(2, 1_000, 0)];
        assert!(shed(&all, 6_000).is_empty());
        assert_eq!(shed(&all, 5_999), [0]);
        assert_eq!(shed(&all, 3_000), [0]);
        assert_eq!(shed(&all, 2_999), [0, 1]);
        assert_eq!(shed(&all, 0), [0, 1, 2]);
        assert_eq!(target_bytes(64 << 20), 56 << 20);
    }
}
