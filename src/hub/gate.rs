//! Which video tracks a subscriber is shown: a track flows from one of its key frames on, until the gate is closed.
//!
//! So whatever made the gap (a join in mid-GOP, the drop policy, a core that fell behind, the player's own pause), what follows
//! it can be decoded. Each track waits for a key frame of its own: tracks need not have theirs at the same time. A message of several
//! tracks goes out as one or not at all. Its key frames open all of them. Other pictures pass when any of them flows: kept back, they would
//! tear that one, while a track that waits gets pictures that it has no use for until its key frame comes.
//! # Bounds
//! One bit a track; tracks from 63 on share the last one, so there the key frame of any of them lets all of them in.

use crate::media::{TrackId, TrackSet};

/// The bits of the tracks that one message has a part for: one, nearly always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TrackBits(u64);

impl From<TrackId> for TrackBits {
    fn from(track: TrackId) -> Self {
        Self(1 << track.0.min(63))
    }
}

impl From<&TrackSet> for TrackBits {
    fn from(tracks: &TrackSet) -> Self {
        Self(tracks.iter().fold(0, |bits, track| bits | Self::from(track).0))
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
    /// Whether any of these tracks flows.
    pub(super) fn is_open(&self, tracks: TrackBits) -> bool {
        self.open & tracks.0 != 0
    }

    /// Whether what the gate keeps back of these tracks is our loss, and not what the player asked for or never had.
    pub(super) fn is_lost(&self, tracks: TrackBits) -> bool {
        self.lost & tracks.0 != 0
    }

    /// Key frames of these tracks are here.
    pub(super) fn open(&mut self, tracks: TrackBits) {
        self.open |= tracks.0;
        self.lost &= !tracks.0;
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

    fn tracks(ids: &[u8]) -> TrackBits {
        (&ids.iter().copied().map(TrackId).collect::<TrackSet>()).into()
    }

    /// A track flows from its own key frame on, and a loss is counted for exactly the tracks that were flowing.
    #[test]
    fn each_track_waits_for_its_own_key_frame() {
        let [first, second] = [TrackId(0), TrackId(1)].map(TrackBits::from);
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

    /// Key frames of several tracks in one message open all of them. A picture of several passes when any is open.
    #[test]
    fn a_message_of_several_tracks_is_let_in_as_one() {
        let mut gate = Gate::default();
        gate.open(tracks(&[0, 2]));
        assert!(gate.is_open(tracks(&[0])) && gate.is_open(tracks(&[2])) && gate.is_open(tracks(&[0, 1])));
        assert!(!gate.is_open(tracks(&[1])) && !gate.is_open(tracks(&[1, 3])));
        gate.close_at_loss();
        assert!(gate.is_lost(tracks(&[0, 1])) && !gate.is_lost(tracks(&[1])));
    }

    /// Every track id has a bit, and the last bit is shared.
    #[test]
    fn the_highest_tracks_share_a_bit() {
        assert_eq!(tracks(&[63]), tracks(&[255]));
        assert_eq!(tracks(&[64, 255]), tracks(&[63]));
        assert_ne!(tracks(&[62]), tracks(&[63]));
    }
}
