//! Personas: the kinds of peers that real life sends beside steady ones.
//!
//! Most change connections of the load; [`Persona::is_extra`] ones come beside it. How many play one is a [`share`], and who does is
//! the [`cast`].

pub mod cast;
pub mod share;

use inrush::session::Role;

use crate::hostile::kind::Kind;

/// How a peer behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persona {
    /// As it should.
    Steady,
    /// Reads and writes at most so many bits a second.
    SlowLink {
        /// Each way.
        bits_per_second: u64,
    },
    /// A player that stops reading for so long, reads for as long, and so on.
    Stalling {
        /// Of each stop.
        stall_us: u64,
    },
    /// Cuts its connection without a word, each at another time, and comes back at once.
    Reconnecting {
        /// From cut to cut.
        every_us: u64,
    },
    /// The same, all at one moment.
    Storm {
        /// From cut to cut.
        every_us: u64,
    },
    /// Leaves as it should, and comes back.
    Churning {
        /// From the accepted publish or play until it leaves.
        stay_us: u64,
        /// Until it comes back.
        away_us: u64,
    },
    /// A publisher that writes one byte at a time.
    OneByte,
    /// Below RTMP: half open, or garbage. The others come by number, with `--hostile`.
    Hostile(Kind),
    /// Asks to publish a name that nobody uses with this query, which should be refused.
    WrongKey {
        /// What follows the `?`; nothing when empty.
        query: String,
    },
}

impl Persona {
    /// Its name on the command line, without its parameter.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::SlowLink { .. } => "slow-link",
            Self::Stalling { .. } => "stalling",
            Self::Reconnecting { .. } => "reconnecting",
            Self::Storm { .. } => "storm",
            Self::Churning { .. } => "churning",
            Self::OneByte => "one-byte",
            Self::Hostile(kind) => kind.name(),
            Self::WrongKey { .. } => "wrong-key",
        }
    }

    /// Whether it comes beside the load, rather than change a part of it.
    pub fn is_extra(&self) -> bool {
        matches!(self, Self::Hostile(_) | Self::WrongKey { .. })
    }

    /// Whether a peer of this role can play it.
    pub fn suits(&self, role: Role) -> bool {
        match self {
            Self::Stalling { .. } => role == Role::Play,
            Self::OneByte => role == Role::Publish,
            _ => !self.is_extra(),
        }
    }

    /// Whether it opens a new connection after its last one ended.
    pub fn comes_back(&self) -> bool {
        matches!(self, Self::Reconnecting { .. } | Self::Storm { .. } | Self::Churning { .. })
    }

    /// Whether it says goodbye when it leaves.
    pub fn says_goodbye(&self) -> bool {
        matches!(self, Self::Churning { .. } | Self::WrongKey { .. })
    }

    /// When it leaves that was let in at `ready_us`. The measurement begins at `from_us`; nothing is cut before. `phase` is its place
    /// among those of its kind, as a fraction of 2³².
    pub fn leaves_us(&self, ready_us: u64, from_us: u64, phase: u32) -> Option<u64> {
        let after = |first_us: u64, every_us: u64| match ready_us.checked_sub(first_us) {
            None => first_us,
            Some(passed_us) => first_us + (passed_us / every_us + 1) * every_us,
        };
        match self {
            Self::Reconnecting { every_us } => Some(after(from_us + part_of(*every_us, phase), *every_us)),
            Self::Storm { every_us } => Some(after(from_us + every_us, *every_us)),
            Self::Churning { stay_us, .. } => Some(ready_us + stay_us),
            // It has learnt what it asked for.
            Self::WrongKey { .. } => Some(ready_us),
            _ => None,
        }
    }

    /// Until when a player of it, let in at `ready_us`, does not read. `phase` as in [`Self::leaves_us`].
    pub fn stalls_until_us(&self, now_us: u64, ready_us: u64, phase: u32) -> Option<u64> {
        let Self::Stalling { stall_us } = self else { return None };
        let period_us = 2 * stall_us;
        let at_us = (now_us.saturating_sub(ready_us) + part_of(period_us, phase)) % period_us;
        (at_us >= *stall_us).then(|| now_us + period_us - at_us)
    }
}

/// A fraction of `whole_us`, in 2³²ths.
fn part_of(whole_us: u64, phase: u32) -> u64 {
    ((u128::from(whole_us) * u128::from(phase)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_one_moment_and_reconnecting_is_many() {
        let storm = Persona::Storm { every_us: 1_000 };
        assert_eq!(storm.leaves_us(5, 10_000, 7), Some(11_000));
        assert_eq!(storm.leaves_us(11_000, 10_000, u32::MAX), Some(12_000));
        let reconnecting = Persona::Reconnecting { every_us: 1_000 };
        assert_eq!(reconnecting.leaves_us(5, 10_000, 1 << 31), Some(10_500));
        assert_eq!(reconnecting.leaves_us(10_500, 10_000, 1 << 31), Some(11_500));
        assert_eq!(reconnecting.leaves_us(12_499, 10_000, 1 << 31), Some(12_500));
        let churning = Persona::Churning { stay_us: 3, away_us: 0 };
        assert_eq!(churning.leaves_us(5, 10_000, 0), Some(8));
        assert_eq!(Persona::Steady.leaves_us(5, 10_000, 0), None);
    }

    #[test]
    fn a_staller_reads_and_stops_in_turn() {
        let stalling = Persona::Stalling { stall_us: 100 };
        let stalled: Vec<_> =
            (0..6).map(|tick| stalling.stalls_until_us(1_000 + tick * 50, 1_000, 0)).collect();
        assert_eq!(stalled, [None, None, Some(1_200), Some(1_200), None, None]);
        assert_eq!(stalling.stalls_until_us(1_000, 1_000, 1 << 31), Some(1_100));
    }
}
