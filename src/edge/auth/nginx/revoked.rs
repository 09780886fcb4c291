//! Which sessions are to be ended since a back end has said no, collected for the engine. No clock: time is an argument.
//!
//! Nobody knows which core a connection is on, so that each core looks through all of its own for those that are named: once for many of them.
//! # Invariant
//! Each is handed on once, [`PAUSE`] later at most. No two hands follow closer than that unless one is full.
//! # Bounds
//! [`TOGETHER_MAX`] wait at a time.

use std::time::Duration;

use crate::runtime::observe::ConnectionId;
use crate::session::Instant;

/// Least time between two hands: a back end that says no to everybody has each core look through its connections so often.
pub const PAUSE: Duration = Duration::from_millis(20);

/// How many are handed on at once: what a core closes in one turn.
pub const TOGETHER_MAX: usize = 256;

/// A session that is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct One {
    /// Whose it is: it may end by itself while it waits here, and another begin on its connection.
    pub office: u64,
    /// Its number there.
    pub number: u64,
    /// What is to be closed.
    pub connection: ConnectionId,
}

/// Those that wait.
#[derive(Debug, Default)]
pub struct Revoked {
    waiting: Vec<One>,
    not_before: Instant,
}

impl Revoked {
    /// One is to be ended.
    pub fn push(&mut self, one: One) {
        self.waiting.push(one);
    }

    /// Those that are to be ended now.
    pub fn poll(&mut self, now: Instant) -> Option<Vec<One>> {
        let is_full = self.waiting.len() >= TOGETHER_MAX;
        if self.waiting.is_empty() || now < self.not_before && !is_full {
            return None;
        }
        self.not_before = now + PAUSE;
        Some(std::mem::take(&mut self.waiting))
    }

    /// When [`Revoked::poll`] has some, if nothing else happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(number: u64) -> One {
        One { office: 1, number, connection: ConnectionId(number) }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    /// However many noes come in a second, cores look through their connections fifty times; one that comes alone does not wait.
    #[test]
    fn many_are_closed_at_once() {
        let mut revoked = Revoked::default();
        revoked.push(one(0));
        assert_eq!(revoked.poll(at(500)), Some(vec![one(0)]), "at once");
        let (mut hands, mut closed) = (0, Vec::new());
        for number in 1..=10_000 {
            let now = at(500 + number / 10);
            revoked.push(one(number));
            if let Some(together) = revoked.poll(now) {
                hands += 1;
                closed.extend(together);
            }
        }
        let due = revoked.next_timeout().unwrap_or_else(|| at(1_500));
        closed.extend(revoked.poll(due).unwrap_or_default());
        assert!(hands <= 51, "{hands}");
        assert!(closed.into_iter().eq((1..=10_000).map(one)), "each once");
        assert_eq!((revoked.poll(at(9_000)), revoked.next_timeout()), (None, None));
    }

    #[test]
    fn a_full_hand_does_not_wait() {
        let mut revoked = Revoked::default();
        let mut sizes = Vec::new();
        for number in 0..=2 * TOGETHER_MAX as u64 {
            revoked.push(one(number));
            sizes.extend(revoked.poll(at(1)).map(|together| together.len()));
        }
        assert_eq!(sizes, [1, TOGETHER_MAX, TOGETHER_MAX]);
    }
}
