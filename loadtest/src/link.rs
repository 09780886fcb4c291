//! The way between a peer and its socket: as wide as the socket, or narrowed by a persona.

use std::time::Duration;

use crate::clock::now_us;
use crate::persona::Persona;

/// What a slow link lets through at once lasts so long at its rate.
const QUANTUM_US: u64 = 10_000;
/// Single bytes written before other peers get their turn.
const SINGLES_MAX: usize = 512;
/// Receive buffer of a peer that is to be slow, so that the server feels it. The kernel doubles it for its own needs.
const RECEIVE_BYTES: u32 = 32 * 1024;

/// What a peer may write and read when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// All that the socket takes and has.
    Free,
    /// Any number of writes of one byte.
    OneByte,
    /// So many bits a second each way.
    Slow {
        /// Of payload.
        bits_per_second: u64,
        /// When what was written has passed.
        written_us: u64,
        /// When what was read has passed.
        read_us: u64,
    },
    /// As [`Self::Free`], with the receive buffer of a slow one.
    Shallow,
}

impl Link {
    /// The one that a persona has.
    pub fn of(persona: &Persona) -> Self {
        match persona {
            Persona::SlowLink { bits_per_second } => {
                Self::Slow { bits_per_second: *bits_per_second, written_us: 0, read_us: 0 }
            }
            Persona::OneByte => Self::OneByte,
            Persona::Stalling { .. } => Self::Shallow,
            _ => Self::Free,
        }
    }

    /// The size of its receive buffer; `None` for the kernel's choice.
    pub fn receive_bytes(self) -> Option<u32> {
        matches!(self, Self::Slow { .. } | Self::Shallow).then_some(RECEIVE_BYTES)
    }

    /// Whether writes are as the socket takes them.
    pub fn writes_freely(self) -> bool {
        matches!(self, Self::Free | Self::Shallow)
    }

    /// How many bytes may be written after `written` in this turn; `Err` when none, until then.
    pub fn may_write(self, written: usize, now_us: u64) -> Result<usize, u64> {
        match self {
            Self::Free | Self::Shallow => Ok(usize::MAX),
            Self::OneByte if written >= SINGLES_MAX => Err(now_us),
            Self::OneByte => Ok(1),
            Self::Slow { written_us, .. } if now_us < written_us => Err(written_us),
            Self::Slow { bits_per_second, .. } => Ok(quantum_bytes(bits_per_second)),
        }
    }

    /// How many bytes may be read; `Err` when none, until then.
    pub fn may_read(self, now_us: u64) -> Result<usize, u64> {
        match self {
            Self::Slow { read_us, .. } if now_us < read_us => Err(read_us),
            Self::Slow { bits_per_second, .. } => Ok(quantum_bytes(bits_per_second)),
            _ => Ok(usize::MAX),
        }
    }

    /// So many bytes were written.
    pub fn on_written(&mut self, bytes: usize, now_us: u64) {
        if let Self::Slow { bits_per_second, written_us, .. } = self {
            *written_us = now_us.max(*written_us) + passing_us(bytes, *bits_per_second);
        }
    }

    /// So many bytes were read.
    pub fn on_read(&mut self, bytes: usize, now_us: u64) {
        if let Self::Slow { bits_per_second, read_us, .. } = self {
            *read_us = now_us.max(*read_us) + passing_us(bytes, *bits_per_second);
        }
    }
}

/// Sleeps until [`now_us`] is about `at_us`; timers round up to a millisecond.
pub async fn sleep_until_us(at_us: u64) {
    tokio::time::sleep(Duration::from_micros(at_us.saturating_sub(now_us()))).await;
}

fn quantum_bytes(bits_per_second: u64) -> usize {
    (bits_per_second / 8 * QUANTUM_US / 1_000_000).max(1) as usize
}

fn passing_us(bytes: usize, bits_per_second: u64) -> u64 {
    bytes as u64 * 8_000_000 / bits_per_second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_passes_its_rate_and_no_more() {
        let mut link = Link::of(&Persona::SlowLink { bits_per_second: 800_000 });
        let (mut now_us, mut passed) = (5_000_000, 0);
        while now_us < 15_000_000 {
            match link.may_read(now_us) {
                Ok(bytes) => {
                    link.on_read(bytes, now_us);
                    passed += bytes;
                }
                Err(at_us) => now_us = at_us,
            }
        }
        // 10 s of 100 kB, and what is on its way.
        assert!((1_000_000..=1_001_000).contains(&passed), "{passed}");
        assert_eq!(link.may_write(0, now_us), Ok(1_000));
    }

    #[test]
    fn single_bytes_leave_others_their_turn() {
        assert_eq!(Link::OneByte.may_write(0, 7), Ok(1));
        assert_eq!(Link::OneByte.may_write(SINGLES_MAX, 7), Err(7));
        assert_eq!(Link::Free.may_write(usize::MAX, 7), Ok(usize::MAX));
    }
}
