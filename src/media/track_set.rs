//! Which tracks of one kind a message belongs to.

use super::frame::TrackId;

/// A set of track ids: one bit for each of the 256 that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackSet([u64; 4]);

impl TrackSet {
    /// The set of no track.
    pub const EMPTY: Self = Self([0; 4]);

    /// Adds a track.
    pub fn insert(&mut self, track: TrackId) {
        let (word, bit) = place(track);
        self.0[word] |= bit;
    }

    /// Whether the track is in it.
    pub fn contains(&self, track: TrackId) -> bool {
        let (word, bit) = place(track);
        self.0[word] & bit != 0
    }

    /// The tracks of both sets.
    pub fn with(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// Whether every track of the other set is in this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(own, other)| other & !own == 0)
    }

    /// Whether the two have a track in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).any(|(own, other)| own & other != 0)
    }

    /// The track with the lowest number.
    pub fn lowest(&self) -> Option<TrackId> {
        self.iter().next()
    }

    /// Its tracks, by number.
    pub fn iter(&self) -> impl Iterator<Item = TrackId> {
        (0..=u8::MAX).map(TrackId).filter(|track| self.contains(*track))
    }
}

/// The word and the bit in it.
fn place(track: TrackId) -> (usize, u64) {
    (usize::from(track.0 / 64), 1 << (track.0 % 64))
}

impl From<TrackId> for TrackSet {
    fn from(track: TrackId) -> Self {
        Self::from_iter([track])
    }
}

impl FromIterator<TrackId> for TrackSet {
    fn from_iter<I: IntoIterator<Item = TrackId>>(tracks: I) -> Self {
        let mut set = Self::EMPTY;
        tracks.into_iter().for_each(|track| set.insert(track));
        set
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It does what a set of numbers does.
        #[test]
        fn it_is_a_set(own: BTreeSet<u8>, other in prop::collection::btree_set(any::<u8>(), 0..4)) {
            let set = |ids: &BTreeSet<u8>| ids.iter().copied().map(TrackId).collect::<TrackSet>();
            let (a, b) = (set(&own), set(&other));
            prop_assert!(a.iter().map(|track| track.0).eq(own.iter().copied()));
            prop_assert_eq!(a.lowest().map(|track| track.0), own.first().copied());
            prop_assert_eq!(a.covers(&b), own.is_superset(&other));
            prop_assert_eq!(a.meets(&b), !own.is_disjoint(&other));
            prop_assert!(a.with(&b).iter().map(|track| track.0).eq(own.union(&other).copied()));
            prop_assert!(other.iter().all(|id| b.contains(TrackId(*id))));
            prop_assert_eq!(TrackSet::from(TrackId(9)).iter().count(), 1);
        }
    }
}
