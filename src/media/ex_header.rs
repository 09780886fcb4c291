//! What the enhanced audio and video headers share (E-RTMP v2 "ExAudioTagHeader", "ExVideoTagHeader"): ModEx
//! prefixes, FourCC and tracks.
//!
//! The two headers differ only in their packet types, which `audio_tag` and `video_tag` read.
//! # Bounds
//! At most [`MOD_EX_MAX`] prefixes are skipped, and [`BODIES_MAX`] tracks of one message are looked at.
//! # Errors
//! Only a header that ends early. Unknown packet types, layouts and FourCCs are values, not errors.

use super::codec::FourCc;
use super::frame::TrackId;
use super::tag::{TagError, TagReader};
use super::track::TRACKS_MAX;
use crate::rtmp::Payload;

/// ModEx prefixes that are skipped before one message is given up: the specification defines one kind, so more
/// than one of each of its sixteen is not meant seriously.
pub const MOD_EX_MAX: usize = 16;

/// Tracks of one message that are looked at: twice as many as are told apart. A track's part may be 4 bytes long, so without a bound a
/// message of 16 MB could hold four million.
pub const BODIES_MAX: usize = 2 * TRACKS_MAX;

/// `AudioPacketType.ModEx` and `VideoPacketType.ModEx`.
pub(super) const MOD_EX: u8 = 7;

/// `AudioPacketModExType.TimestampOffsetNano` and `VideoPacketModExType.TimestampOffsetNano`.
pub(super) const TIMESTAMP_OFFSET_NANO: u8 = 0;

/// How the tracks lie in a message (E-RTMP v2 `AvMultitrackType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackLayout {
    /// No multitrack header: the body is that of the default track.
    Single,
    /// One track, whose id the header says.
    OneTrack,
    /// Several tracks of one codec.
    ManyTracks,
    /// Several tracks, each with a codec of its own.
    ManyTracksManyCodecs,
    /// A layout that we do not know: neither codec nor track can be told.
    Unknown(u8),
}

impl TrackLayout {
    /// `AvMultitrackType`; `None` without a multitrack header.
    pub(super) fn bits(self) -> Option<u8> {
        match self {
            Self::Single => None,
            Self::OneTrack => Some(0),
            Self::ManyTracks => Some(1),
            Self::ManyTracksManyCodecs => Some(2),
            Self::Unknown(bits) => Some(bits),
        }
    }

    fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::OneTrack,
            1 => Self::ManyTracks,
            2 => Self::ManyTracksManyCodecs,
            bits => Self::Unknown(bits),
        }
    }
}

/// Where a message's bodies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bodies {
    /// How they lie.
    pub layout: TrackLayout,
    /// FourCC of all of them, where the header has one.
    pub fourcc: Option<FourCc>,
    /// Where the body starts or, in a multitrack message, the list of tracks.
    pub start: usize,
}

/// Where one track's part of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodySpan {
    /// Its FourCC; `None` behind a legacy header.
    pub fourcc: Option<FourCc>,
    /// Its track.
    pub track: TrackId,
    /// Where it starts, bytes from the start of the message.
    pub start: usize,
    /// Its bytes.
    pub len: usize,
}

/// One track's part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackBody {
    /// Its FourCC; `None` behind a legacy header.
    pub fourcc: Option<FourCc>,
    /// Its track.
    pub track: TrackId,
    /// Its bytes, shared with the message.
    pub payload: Payload,
}

impl Bodies {
    /// The one body behind a legacy header.
    pub(super) fn legacy(start: usize) -> Self {
        Self { layout: TrackLayout::Single, fourcc: None, start }
    }

    /// Whether they are behind a legacy header, or in a command.
    pub fn is_legacy(&self) -> bool {
        self.layout == TrackLayout::Single && self.fourcc.is_none()
    }

    /// Whether the enhanced header is nothing but a packet type and a FourCC: neither ModEx nor tracks.
    pub fn is_bare(&self) -> bool {
        self.layout == TrackLayout::Single && self.fourcc.is_some() && self.start == 1 + size_of::<FourCc>()
    }

    /// Whether the header is a multitrack one that may have more than one track.
    pub fn may_be_several(&self) -> bool {
        matches!(self.layout, TrackLayout::ManyTracks | TrackLayout::ManyTracksManyCodecs)
    }

    /// Where the body of each track is, in order; ends early where the list of tracks does not add up.
    pub fn spans<'a>(&self, payload: &'a Payload) -> impl Iterator<Item = BodySpan> + use<'a> {
        let mut next = Some(*self);
        core::iter::from_fn(move || {
            let (span, rest) = next.take()?.first(payload)?;
            next = rest;
            Some(span)
        })
        .take(BODIES_MAX)
    }

    /// The body of each track, as [`Self::spans`] finds them.
    pub fn iter<'a>(&self, payload: &'a Payload) -> impl Iterator<Item = TrackBody> + use<'a> {
        self.spans(payload).map(|span| span.body(payload))
    }

    /// The first body and what follows it.
    fn first(self, payload: &Payload) -> Option<(BodySpan, Option<Self>)> {
        let mut reader = TagReader::at(payload, self.start);
        let head = read_track_head(&mut reader, self.layout, self.fourcc).ok()?;
        let start = reader.position();
        let left = payload.len().saturating_sub(start);
        let len = head.len.unwrap_or(left);
        if len > left {
            return None;
        }
        let rest = (len < left).then_some(Self { start: start + len, ..self });
        Some((BodySpan { fourcc: head.fourcc, track: head.track, start, len }, rest))
    }
}

impl BodySpan {
    /// The bytes, shared with the message.
    pub fn payload(&self, message: &Payload) -> Payload {
        message.skip(self.start).take(self.len)
    }

    /// With its bytes.
    pub fn body(&self, message: &Payload) -> TrackBody {
        TrackBody { fourcc: self.fourcc, track: self.track, payload: self.payload(message) }
    }
}

/// What an enhanced header says after its first byte, up to the first track's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExHeader {
    /// The packet type that applies to every track.
    pub(super) packet_type: u8,
    /// FourCC of the first track; `None` in a layout that we do not know.
    pub(super) fourcc: Option<FourCc>,
    /// The first track.
    pub(super) track: TrackId,
    /// All tracks.
    pub(super) bodies: Bodies,
}

/// Skips ModEx prefixes; gives the packet type behind them and the time, in nanoseconds, that the last
/// `TimestampOffsetNano` among them adds to the timestamp.
pub(super) fn read_mod_ex(reader: &mut TagReader<'_>, mut packet_type: u8) -> Result<(u8, u32), TagError> {
    let mut offset_ns = 0;
    let mut prefixes = 0;
    while packet_type == MOD_EX {
        prefixes += 1;
        if prefixes > MOD_EX_MAX {
            return Err(TagError::TooManyModEx);
        }
        let mut len = usize::from(reader.u8()?) + 1;
        if len == 256 {
            len = usize::from(reader.u16()?) + 1;
        }
        let mut first = None;
        if len >= 3 {
            first = Some(reader.u24()?);
            len -= 3;
        }
        reader.skip(len)?;
        let (kind, next) = reader.nibbles()?;
        if let (TIMESTAMP_OFFSET_NANO, Some(ns)) = (kind, first) {
            offset_ns = ns;
        }
        packet_type = next;
    }
    Ok((packet_type, offset_ns))
}

/// Reads on from a packet type that is not ModEx to the first track's body. `multitrack` is the packet type that
/// announces tracks: 5 in audio, 6 in video.
pub(super) fn read_tracks(
    reader: &mut TagReader<'_>,
    packet_type: u8,
    multitrack: u8,
) -> Result<ExHeader, TagError> {
    let (mut packet_type, mut layout) = (packet_type, TrackLayout::Single);
    if packet_type == multitrack {
        let (kind, inner) = reader.nibbles()?;
        packet_type = inner;
        layout = TrackLayout::from_bits(kind);
    }
    let fourcc = match layout {
        TrackLayout::Single | TrackLayout::OneTrack | TrackLayout::ManyTracks => Some(reader.fourcc()?),
        TrackLayout::ManyTracksManyCodecs | TrackLayout::Unknown(_) => None,
    };
    let bodies = Bodies { layout, fourcc, start: reader.position() };
    let first = read_track_head(reader, layout, fourcc)?;
    Ok(ExHeader { packet_type, fourcc: first.fourcc, track: first.track, bodies })
}

struct TrackHead {
    fourcc: Option<FourCc>,
    track: TrackId,
    /// Length of the body; `None` when it is the rest of the message.
    len: Option<usize>,
}

/// What stands before each track's body.
fn read_track_head(
    reader: &mut TagReader<'_>,
    layout: TrackLayout,
    fourcc: Option<FourCc>,
) -> Result<TrackHead, TagError> {
    let mut head = TrackHead { fourcc, track: TrackId::DEFAULT, len: None };
    if layout == TrackLayout::ManyTracksManyCodecs {
        head.fourcc = Some(reader.fourcc()?);
    }
    if matches!(layout, TrackLayout::OneTrack | TrackLayout::ManyTracks | TrackLayout::ManyTracksManyCodecs) {
        head.track = TrackId(reader.u8()?);
    }
    if matches!(layout, TrackLayout::ManyTracks | TrackLayout::ManyTracksManyCodecs) {
        head.len = Some(reader.u24()? as usize);
    }
    Ok(head)
}
