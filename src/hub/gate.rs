//! Which video tracks a subscriber is shown: a track flows from one of its key frames on, until the gate is closed.
//!
//! So whatever made the gap (a join in mid-GOP, the drop policy, a core that fell behind, the player's own pause), what follows
//! it can be decoded. Each track waits for a key frame of its own: tracks need not have theirs at the same time.
//! # Bounds
//! One bit a track; tracks from 63 on share the last one, so there the key frame of any of them lets all of them in.

use crate::media::TrackId;

/// The bit of one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TrackBit(u64);

impl From<TrackId> for TrackBit {
    fn from(track: TrackId) -> Self {
        Self(1 << track.0.min(63))
    }
}

/// See the module. A new gate is closed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gate {
    open: u64,
    /// Tracks that were flowing when we had to stop them: what they miss is a loss.
    lost: u64,
}

impl Gate {
    pub(super) fn is_open(&self, track: TrackBit) -> bool {
        self.open & track.0 != 0
    }

    /// Whether what the gate keeps back of this track is our loss, and not what the player asked for or never had.
    pub(super) fn is_lost(&self, track: TrackBit) -> bool {
        self.lost & track.0 != 0
    }

    /// A key frame of the track is here.
    pub(super) fn open(&mut self, track: TrackBit) {
        self.open |= track.0;
        self.lost &= !track.0;
    }

    /// All tracks wait for their next key frame; nothing that the reader had a right to is missed.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    /// All tracks wait for their next key frame, and those that were flowing lose what comes before it.
    pub(super) fn close_at_loss(&mut self) {
        self.lost |= self.open;
        self.open = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A track flows from its own key frame on, and a loss is counted for exactly the tracks that were flowing.
    #[test]
    fn each_track_waits_for_its_own_key_frame() {
        let [first, second] = [TrackId(0), TrackId(1)].map(TrackBit::from);
        let mut gate = Gate::default();
        gate.open(first);
        assert!(gate.is_open(first) && !gate.is_open(second));
        gate.close_at_loss();
        gate.close_at_loss();
        assert!(!gate.is_open(first) && gate.is_lost(first) && !gate.is_lost(second));
        gate.open(second);
        assert!(gate.is_open(second) && gate.is_lost(first), "the other track's key frame does not help");
        gate.open(first);
        assert!(gate.is_open(first) && !gate.is_lost(first));
        gate.close();
        assert!(!gate.is_open(first) && !gate.is_lost(first));
    }

    /// Every track id has a bit, and the last bit is shared.
    #[test]
    fn the_highest_tracks_share_a_bit() {
        assert_eq!(TrackBit::from(TrackId(63)), TrackBit::from(TrackId(255)));
        assert_ne!(TrackBit::from(TrackId(62)), TrackBit::from(TrackId(63)));
    }
}
