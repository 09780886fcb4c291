//! Who publishes a stream, who is about to, and who stands by; and what outlives each of them.
//!
//! ```text
//!             Begins                       lost, or taken over
//!   nobody ──────────────> on air ─────────────────────────────> absent (grace)
//!                            ^                                     │ a newcomer Follows
//!                            │ enters at its first key frame       v
//!                            └───────────────────────────────── successor <── standby (failover)
//! ```
//! # Invariant
//! At most one publisher is on the air, and only its frames reach anybody. A stream is *live* from its first publisher until nobody is on
//! the air, about to be, or waited for: for its readers that is one broadcast, with one notice at its beginning and one at its end.

use super::claim::{Flaps, Holder, Takeover};
use super::{ConnectionRef, ContinuitySettings, Identity, PublisherKey, StreamId};
use crate::media::codec::Codec;
use crate::media::health::Health;
use crate::media::limits::Pace;
use crate::media::{
    Frame, FrameRole, GopCache, GopSettings, Ingest, MediaKind, TrackId, Tracks, VIDEO_SILENT_MAX,
};

use crate::session::Instant;

use std::time::Duration;

use smallvec::SmallVec;

/// How long the sound of a newcomer waits for pictures that the stream has had and that the newcomer has not announced.
const PICTURES_AWAITED: Duration = Duration::from_secs(1);

/// How a publisher takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Its frames are the stream's.
    OnAir,
    /// It goes on the air with its first key frame.
    Successor,
    /// It is taken in, in case.
    Standby,
    /// It was taken over from, does not match, or has exceeded a limit: its driver is told, and nothing of it counts any more.
    Retired,
}

/// One publisher.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) stream: StreamId,
    pub(super) connection: ConnectionRef,
    pub(super) identity: Option<Identity>,
    pub(super) priority: u32,
    pub(super) since: Instant,
    pub(super) part: Part,
    /// When its last message was whole.
    pub(super) spoke_at: Instant,
    /// When something of it came last, as far as its driver has told.
    pub(super) heard_at: Instant,
    /// Whether its peer has closed, as far as its driver has told: what still comes of it was sent before.
    pub(super) is_leaving: bool,
    /// When it took the stream over, if it did.
    pub(super) took_over_at: Option<Instant>,
    pub(super) ingest: Ingest,
    /// Its headers while it is not on the air, for when it will be.
    pub(super) rehearsal: Option<Box<GopCache>>,
    pub(super) bytes: u64,
    pub(super) messages: u64,
    pub(super) health: Health,
    /// How fast it sends, where that is limited.
    pub(super) pace: Option<Box<Pace>>,
}

impl Publisher {
    /// When something of it came last.
    pub(super) fn heard_at(&self) -> Instant {
        self.heard_at.max(self.spoke_at)
    }

    /// What a newcomer meets.
    pub(super) fn as_holder(&self) -> Holder<'_> {
        Holder {
            identity: self.identity.as_ref(),
            priority: self.priority,
            heard_at: self.heard_at(),
            is_leaving: self.is_leaving,
            took_over_at: self.took_over_at,
        }
    }

    /// A place for the headers of a publisher that is not on the air: no frame is kept.
    pub(super) fn rehearsal() -> Box<GopCache> {
        Box::new(GopCache::new(GopSettings { enabled: false, ..GopSettings::default() }))
    }

    /// Whether it can go on the air with this frame: with a key frame that starts a GOP; with sound where there are no pictures to wait
    /// for, or those that were announced do not come. `since` is when it was called.
    pub(super) fn enters_with(
        &self,
        now: Instant,
        frame: &Frame,
        since: Instant,
        expects_video: bool,
    ) -> bool {
        if frame.starts_gop() {
            return true;
        }
        if frame.role() != FrameRole::Audio {
            return false;
        }
        let wait_max = match (self.ingest.tracks().default_video(), expects_video) {
            (Some(_), _) => VIDEO_SILENT_MAX,
            (None, true) => PICTURES_AWAITED,
            (None, false) => Duration::ZERO,
        };
        let pictures_at = self.ingest.picture_at().map_or(since, |at| at.max(since));
        now - pictures_at >= wait_max
    }
}

/// Why a successor is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nobody was there.
    Return,
    /// It takes over.
    Takeover(Takeover),
    /// It stood by for whoever is gone or starves.
    Failover,
}

/// Who goes on the air next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Succession {
    pub(super) publisher: PublisherKey,
    pub(super) cause: Cause,
    pub(super) since: Instant,
}

/// A newcomer that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) connection: ConnectionRef,
    pub(super) since: Instant,
    /// It was told to ask again.
    pub(super) told: bool,
}

/// Everybody who publishes one stream, at its home.
#[derive(Debug, Default)]
pub(super) struct Cast {
    pub(super) on_air: Option<PublisherKey>,
    pub(super) successor: Option<Succession>,
    pub(super) standby: Option<PublisherKey>,
    pub(super) waiting: Option<Waiting>,
    /// Until when a stream that nobody is on the air for is kept.
    pub(super) absent_until: Option<Instant>,
    /// Of the newest publisher's app.
    pub(super) settings: ContinuitySettings,
    /// What the stream's last publisher on the air sent.
    pub(super) media: MediaSet,
    pub(super) flaps: Flaps,
    /// Times that it went on with another publisher.
    pub(super) discontinuities: u64,
    /// It is in the hub's list of streams that time changes.
    pub(super) is_watched: bool,
}

impl Cast {
    /// Whether there is a broadcast, though there may be nothing to see now.
    pub(super) fn is_live(&self) -> bool {
        self.on_air.is_some() || self.successor.is_some() || self.absent_until.is_some()
    }

    /// Whether time alone can change something.
    pub(super) fn is_restless(&self) -> bool {
        self.waiting.is_some()
            || self.absent_until.is_some()
            || self.standby.is_some()
            || self.successor.is_some()
    }

    /// Whether nobody needs the stream for publishing.
    pub(super) fn is_unused(&self) -> bool {
        !self.is_live() && self.standby.is_none() && self.waiting.is_none()
    }

    /// Whether the standby was called while somebody is on the air: one of the two will stand by.
    pub(super) fn has_called(&self) -> bool {
        self.on_air.is_some() && self.successor.is_some_and(|successor| successor.cause == Cause::Failover)
    }

    /// Who has the standby's place: whoever stands by, or is on the air while its standby has been called.
    pub(super) fn in_standby_place(&self) -> Option<PublisherKey> {
        if self.has_called() { self.on_air } else { self.standby }
    }

    /// All whose signs of life decide what becomes of a newcomer.
    pub(super) fn incumbents(&self) -> impl Iterator<Item = PublisherKey> + use<> {
        [self.holder(), self.in_standby_place()].into_iter().flatten()
    }

    /// Whom a newcomer meets: who is about to publish the stream, else who does.
    pub(super) fn holder(&self) -> Option<PublisherKey> {
        self.successor.map(|successor| successor.publisher).or(self.on_air)
    }
}

/// The tracks of a publisher and their codecs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MediaSet(SmallVec<[(MediaKind, TrackId, Codec); 2]>);

/// What a newcomer's media is to a stream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    Same,
    /// Something is missing so far.
    Lacking,
    Different,
}

impl MediaSet {
    pub(super) fn of(tracks: &Tracks) -> Self {
        Self(tracks.iter().map(|track| (track.kind, track.id, track.codec)).collect())
    }

    pub(super) fn has_video(&self) -> bool {
        self.0.iter().any(|(kind, ..)| *kind == MediaKind::Video)
    }

    /// What a newcomer with these tracks would be. A stream that has had none is like any.
    pub(super) fn likeness(&self, newcomer: &Self) -> Likeness {
        let Self(tracks) = self;
        if tracks.is_empty() {
            return Likeness::Same;
        }
        match (newcomer.0.iter().all(|track| tracks.contains(track)), newcomer.0.len() == tracks.len()) {
            (true, true) => Likeness::Same,
            (true, false) => Likeness::Lacking,
            (false, _) => Likeness::Different,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::{AudioCodec, VideoCodec};

    /// Tracks and codecs make the likeness; what has not shown yet is no difference.
    #[test]
    fn media_is_alike_by_tracks_and_codecs() {
        let video = |codec| (MediaKind::Video, TrackId(0), Codec::Video(codec));
        let audio = |track| (MediaKind::Audio, TrackId(track), Codec::Audio(AudioCodec::Aac));
        let set = |tracks: &[_]| MediaSet(tracks.iter().copied().collect());
        let stream = set(&[video(VideoCodec::Avc), audio(0)]);
        assert_eq!(stream.likeness(&set(&[video(VideoCodec::Avc), audio(0)])), Likeness::Same);
        assert_eq!(stream.likeness(&set(&[video(VideoCodec::Avc)])), Likeness::Lacking);
        assert_eq!(stream.likeness(&set(&[video(VideoCodec::Hevc)])), Likeness::Different);
        assert_eq!(stream.likeness(&set(&[audio(0), audio(1)])), Likeness::Different);
        assert_eq!(set(&[]).likeness(&stream), Likeness::Same);
        assert!(stream.has_video() && !set(&[audio(0)]).has_video());
    }
}
