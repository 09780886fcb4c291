//! A set of media kinds, in one byte.

use crate::media::MediaKind;

/// Which of audio, video and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NONE: Self = Self(0);
    pub(super) const AUDIO: Self = Self(1);
    pub(super) const VIDEO: Self = Self(2);
    pub(super) const ALL: Self = Self(7);

    pub(super) fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Whether the two sets have a kind in common.
    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl From<MediaKind> for Kinds {
    fn from(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Audio => Self::AUDIO,
            MediaKind::Video => Self::VIDEO,
            MediaKind::Data => Self(4),
        }
    }
}
