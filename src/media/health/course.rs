//! The course of one code: when it begins and ends, by how long its cause has lasted.

use core::time::Duration;

use super::code::Terms;
use crate::session::Instant;

/// One code of one publisher.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    state: State,
    /// When it last ended, or its publisher began.
    ended_at: Instant,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// It does not hold.
    Away,
    /// It holds.
    Holds {
        since: Instant,
        /// Since when its cause is away, if it is.
        better_since: Option<Instant>,
    },
}

impl Course {
    pub(super) fn new(now: Instant) -> Self {
        Self { state: State::Away, ended_at: now }
    }

    pub(super) fn holds(&self) -> bool {
        self.held_since().is_some()
    }

    pub(super) fn held_since(&self) -> Option<Instant> {
        match self.state {
            State::Away => None,
            State::Holds { since, .. } => Some(since),
        }
    }

    /// Goes on to `now`, at which its cause has lasted for so long. Gives whether it begins or ends, and what [`super::Change::lasted`] is then.
    pub(super) fn step(
        &mut self,
        now: Instant,
        cause_lasted: Duration,
        terms: Terms,
    ) -> Option<(bool, Duration)> {
        let is_caused = cause_lasted >= terms.begins_after;
        match &mut self.state {
            State::Away if is_caused && now - self.ended_at >= terms.begins_after => {
                self.state = State::Holds { since: now, better_since: None };
                Some((true, cause_lasted))
            }
            State::Away => None,
            State::Holds { better_since, .. } if is_caused => {
                *better_since = None;
                None
            }
            State::Holds { better_since, .. } => {
                let better_since = *better_since.get_or_insert(now);
                if now - better_since < terms.ends_after {
                    return None;
                }
                self.cut_short(now).map(|lasted| (false, lasted))
            }
        }
    }

    /// Ends it, if it holds; gives how long it has.
    pub(super) fn cut_short(&mut self, now: Instant) -> Option<Duration> {
        let since = self.held_since()?;
        *self = Self::new(now);
        Some(now - since)
    }

    /// Nobody knows whether its cause was away.
    pub(super) fn forget(&mut self) {
        if let State::Holds { better_since, .. } = &mut self.state {
            *better_since = None;
        }
    }
}
