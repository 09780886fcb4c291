//! One media message as the hub hands it on.
//!
//! A frame is made once, by [`super::Ingest`], and then shared behind one `Arc` by every subscriber on every core;
//! nothing in it changes. What every RTMP subscriber would otherwise make anew, the chunk headers, is made with it.
//!
//! It goes out in one of at most two wire forms ([`Form`]), each shared by all who get it. The second, the plain one, is made with the
//! frame too, though nobody may want it: a frame stays plain data without cells that fill later, and only a message that needs one pays
//! (several tracks, ModEx, AVC or AAC behind an enhanced header), one allocation.
//! # Bounds
//! [`Frame::retained_bytes`] is what a queue or a cache that holds the frame has to account for. [`FRAME_SLICES_MAX`] bounds the
//! slices of a body, so that the wire form of any frame fits one write.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::plain::Plain;
use super::track_set::TrackSet;
use crate::rtmp::Payload;
use crate::rtmp::chunk::WireHeaders;
use crate::rtmp::message::{MessageHeader, type_id};
use crate::rtmp::payload::INLINE_SLICES;
use crate::session::Instant;
pub use crate::session::MediaKind;

/// Chunk size of the wire form, bytes: what sessions announce by default (`chunk_size_out`), so that nearly every
/// message is one chunk and the length of a chunk still fits 16 bits.
pub const FRAME_CHUNK_SIZE: u32 = 60_000;

/// Message stream of the wire form; a subscriber on another one gets its first header made anew.
pub const FRAME_STREAM_ID: u32 = 1;

/// Slices of a frame's body. One that arrived in more is copied into one piece, once for all its readers.
///
/// A write takes 1,024 slices (`IOV_MAX`) and a frame cannot be parted between two. The longest message (16,777,215 bytes) is 280
/// chunks; each but the first adds its header and at most one cut: 256 + 2 * 279 and the first header are 815. A peer with
/// chunks of 4,096 bytes gets there with a message of 1 MB.
pub const FRAME_SLICES_MAX: usize = 256;

/// Which of several tracks of one kind (E-RTMP v2 `videoTrackId`, `audioTrackId`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u8);

impl TrackId {
    /// The track that legacy messages belong to and that players take when nobody tells them otherwise.
    pub const DEFAULT: Self = Self(0);
}

/// Which of a frame's wire forms a reader gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// The message as it came, with all its tracks: for readers that negotiated multitrack.
    #[default]
    Full,
    /// The default track alone, in the oldest header that can say it ([`super::plain`]): for all others.
    Plain,
}

/// What a frame is to those who hand it on, hold it back or drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameRole {
    /// A track's codec configuration: players need the newest before anything else of the track.
    SequenceHeader,
    /// What else belongs to a track as a whole: HDR metadata, speaker positions (E-RTMP v2 `Metadata`,
    /// `MultichannelConfig`). Kept for late joiners like a sequence header.
    TrackInfo,
    /// Video that decoding can start at.
    Key,
    /// All other video.
    Inter,
    /// Sound.
    Audio,
    /// `onMetaData`: kept for late joiners.
    Metadata,
    /// Every other data message.
    Data,
    /// Neither pictures nor sound: video commands, ends of sequences, packet types that we do not know.
    Other,
}

impl FrameRole {
    /// Whether it describes what follows instead of being part of it: late joiners need the newest of each,
    /// and dropping one makes what follows useless.
    pub fn is_header(self) -> bool {
        matches!(self, Self::SequenceHeader | Self::TrackInfo | Self::Metadata)
    }

    /// Whether it is picture or sound.
    pub fn is_coded(self) -> bool {
        matches!(self, Self::Key | Self::Inter | Self::Audio)
    }
}

/// What is known of a frame beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// Audio, video or data.
    pub kind: MediaKind,
    /// What it is to those who hand it on.
    pub role: FrameRole,
    /// Its track; of a message with several tracks the first.
    pub track: TrackId,
    /// Milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// When its last byte arrived.
    pub arrived: Instant,
    /// Whether a GOP starts here: a key frame of the track that leads the stream.
    pub starts_gop: bool,
}

/// One media message, immutable. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Frame {
    info: FrameInfo,
    payload: Payload,
    pinned_bytes: usize,
    wire: WireHeaders,
    in_plain: InPlain,
    enhanced: Option<Box<Enhanced>>,
}

/// What a plain reader gets of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InPlain {
    /// The frame as it is.
    Same,
    /// Nothing.
    Nothing,
    /// The form that `enhanced` has.
    Made,
}

/// What only frames have that are of several tracks, or whose plain form is another one.
#[derive(Clone, Debug)]
struct Enhanced {
    /// Tracks that the message has a part for.
    tracks: TrackSet,
    /// The track of the plain form.
    plain_track: TrackId,
    payload: Payload,
    wire: WireHeaders,
}

/// Headers of this body in the frame's wire form.
fn wire_headers(info: &FrameInfo, payload: &Payload) -> WireHeaders {
    let type_id = match info.kind {
        MediaKind::Audio => type_id::AUDIO,
        MediaKind::Video => type_id::VIDEO,
        // AMF3 data messages have become AMF0 ones by now (see `Ingest`).
        MediaKind::Data => type_id::DATA_AMF0,
    };
    let header = MessageHeader { timestamp: info.timestamp, type_id, stream_id: FRAME_STREAM_ID };
    WireHeaders::new(&header, payload.len(), FRAME_CHUNK_SIZE)
}

/// The body in so few slices that it can be written at once.
fn within_slices_max(payload: Payload) -> Payload {
    match payload.slices().len() {
        ..=FRAME_SLICES_MAX => payload,
        _ => payload.to_bytes().into(),
    }
}

impl Frame {
    /// A frame of a message's body. `pinned_bytes` is how much memory the body's slices keep alive, in bytes; it
    /// is never taken as less than the body itself.
    pub fn new(info: FrameInfo, payload: Payload, pinned_bytes: usize) -> Self {
        let payload = within_slices_max(payload);
        let wire = wire_headers(&info, &payload);
        let pinned_bytes = pinned_bytes.max(payload.len());
        Self { info, pinned_bytes, payload, wire, in_plain: InPlain::Same, enhanced: None }
    }

    /// Says what it is to plain readers, who get `default` of its kind, and which tracks it has a part for when that is not just its
    /// own. Allocates unless it has one track and nothing is made for them.
    pub(super) fn with_plain(mut self, several: Option<TrackSet>, default: TrackId, plain: Plain) -> Self {
        let (in_plain, payload) = match plain {
            Plain::Same => (InPlain::Same, Payload::new()),
            Plain::Nothing => (InPlain::Nothing, Payload::new()),
            Plain::Made(payload) => (InPlain::Made, within_slices_max(payload)),
        };
        self.in_plain = in_plain;
        if several.is_some() || in_plain == InPlain::Made {
            let tracks = several.unwrap_or_else(|| self.info.track.into());
            let wire = wire_headers(&self.info, &payload);
            self.enhanced = Some(Box::new(Enhanced { tracks, plain_track: default, payload, wire }));
        }
        self
    }

    /// A frame of one track's part of this one.
    pub(super) fn reduced(&self, track: TrackId, payload: Payload) -> Self {
        Self::new(FrameInfo { track, ..self.info }, payload, 0)
    }

    /// The same frame at another time, sharing the bytes: late joiners get headers with the timestamp of the
    /// first frame that follows them.
    pub fn at(&self, timestamp: u32) -> Self {
        let info = FrameInfo { timestamp, ..self.info };
        let mut frame = Self { info, wire: wire_headers(&info, &self.payload), ..self.clone() };
        if let Some(enhanced) = &mut frame.enhanced {
            enhanced.wire = wire_headers(&info, &enhanced.payload);
        }
        frame
    }

    /// Audio, video or data.
    pub fn kind(&self) -> MediaKind {
        self.info.kind
    }

    /// What it is to those who hand it on.
    pub fn role(&self) -> FrameRole {
        self.info.role
    }

    /// Its track; of a message with several tracks the first.
    pub fn track(&self) -> TrackId {
        self.info.track
    }

    /// The tracks that it has a part for, when it may be more than [`track`](Self::track).
    pub fn several_tracks(&self) -> Option<&TrackSet> {
        self.enhanced.as_ref().map(|enhanced| &enhanced.tracks)
    }

    /// Whether it has a part for that track.
    pub fn has_track(&self, track: TrackId) -> bool {
        self.several_tracks().map_or(self.info.track == track, |tracks| tracks.contains(track))
    }

    /// The track that its plain form is of; `None` when it has none. Of a header, use [`super::plain::header`].
    pub fn plain_track(&self) -> Option<TrackId> {
        match (self.in_plain, &self.enhanced) {
            (InPlain::Same, _) => Some(self.info.track),
            (InPlain::Made, Some(enhanced)) => Some(enhanced.plain_track),
            _ => None,
        }
    }

    /// Milliseconds, wrapping at 2^32.
    pub fn timestamp(&self) -> u32 {
        self.info.timestamp
    }

    /// When its last byte arrived.
    pub fn arrived(&self) -> Instant {
        self.info.arrived
    }

    /// Whether a GOP starts here: from this frame on, a player can show everything. True for the key frames of one
    /// track only, so that with several video tracks there is one start a GOP, not one a track.
    pub fn starts_gop(&self) -> bool {
        self.info.starts_gop
    }

    /// The message's body in its full form: an FLV tag body, or AMF0 data without `@setDataFrame`.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Memory that the frame keeps alive, bytes: itself, its list of slices, and the input that they pin.
    pub fn retained_bytes(&self) -> usize {
        let list = |payload: &Payload| match payload.slices() {
            slices if slices.len() > INLINE_SLICES => size_of_val(slices),
            _ => 0,
        };
        let enhanced = self.enhanced.as_ref().map_or(0, |enhanced| {
            let head = enhanced.payload.slices().first().map_or(0, |head| head.len());
            size_of::<Enhanced>() + list(&enhanced.payload) + head
        });
        size_of::<Self>() + list(&self.payload) + enhanced + self.pinned_bytes
    }

    /// Body and chunk headers in one of its forms. A frame without a plain form is not given to plain readers; asked for it all the same,
    /// it gives the full one.
    pub fn in_form(&self, form: Form) -> (&Payload, &WireHeaders) {
        match (form, self.in_plain, &self.enhanced) {
            (Form::Plain, InPlain::Made, Some(enhanced)) => (&enhanced.payload, &enhanced.wire),
            _ => (&self.payload, &self.wire),
        }
    }

    /// The chunk headers of the full form for [`FRAME_STREAM_ID`] and [`FRAME_CHUNK_SIZE`], shared by every subscriber.
    pub fn wire(&self) -> &WireHeaders {
        &self.wire
    }
}

/// The frame with this timestamp, made anew only if it has another.
pub(super) fn at(frame: &Arc<Frame>, timestamp: u32) -> Arc<Frame> {
    if frame.timestamp() == timestamp { frame.clone() } else { Arc::new(frame.at(timestamp)) }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;

    fn info(kind: MediaKind, timestamp: u32) -> FrameInfo {
        let (track, arrived) = (TrackId::DEFAULT, Instant::from_micros(7));
        FrameInfo { kind, role: FrameRole::Inter, track, timestamp, arrived, starts_gop: false }
    }

    /// The wire form is that of the frame: type by kind, message stream 1, its timestamp, chunks of 60,000 bytes.
    #[test]
    fn the_wire_form_declares_the_frame() {
        let body = Bytes::from(vec![5; 60_001]);
        for (kind, first, type_id) in
            [(MediaKind::Audio, 4, 8), (MediaKind::Data, 5, 18), (MediaKind::Video, 6, 9)]
        {
            let frame = Frame::new(info(kind, 0x010203), body.clone().into(), 0);
            let mut out = BytesMut::new();
            frame.wire().write_to(frame.payload(), &mut out);
            assert_eq!(out[..12], [first, 1, 2, 3, 0, 0xea, 0x61, type_id, 1, 0, 0, 0]);
            assert_eq!(
                (out.len(), out[12 + 60_000], out[12 + 60_001]),
                (12 + 60_000 + 1 + 1, 0xc0 | first, 5)
            );
        }
    }

    /// An ordinary frame is no larger for what the others have: with the counts of its `Arc` it fills a block of 192 bytes.
    #[test]
    fn a_frame_fits_its_block() {
        assert!(size_of::<Frame>() + 2 * size_of::<usize>() <= 192);
    }

    /// A frame at another time shares its bytes and differs in nothing else.
    #[test]
    fn a_frame_at_another_time_shares_the_bytes() {
        let frame = Frame::new(info(MediaKind::Video, 100), Bytes::from_static(b"body").into(), 50);
        let later = frame.at(0x0100_0000);
        assert_eq!((later.timestamp(), later.wire().header().timestamp), (0x0100_0000, 0x0100_0000));
        assert_eq!(later.payload().slices()[0].as_ptr(), frame.payload().slices()[0].as_ptr());
        assert_eq!(later.info, FrameInfo { timestamp: 0x0100_0000, ..frame.info });
        assert_eq!(later.retained_bytes(), frame.retained_bytes());
    }

    /// However small the pieces that the longest message came in: its wire form fits one write of 1,024 slices, with room to spare.
    #[test]
    fn the_wire_form_of_any_frame_fits_one_write() {
        let longest = Bytes::from(vec![7; crate::rtmp::chunk::MESSAGE_LENGTH_MAX as usize]);
        for slices in [1, 2, FRAME_SLICES_MAX, FRAME_SLICES_MAX + 1, 2_000, 30_000] {
            let piece_bytes = longest.len().div_ceil(slices);
            let payload: Payload =
                longest.chunks(piece_bytes).map(|piece| longest.slice_ref(piece)).collect();
            let shared = payload.slices().len() <= FRAME_SLICES_MAX;
            let frame = Frame::new(info(MediaKind::Video, u32::MAX), payload, 0);
            assert!(frame.wire().slice_count(frame.payload()) <= 815, "{slices}");
            assert_eq!(frame.payload().slices()[0].as_ptr() == longest.as_ptr(), shared, "{slices}");
            assert_eq!(*frame.payload(), Payload::from(longest.clone()));
        }
    }

    /// What is accounted for is never less than the body, and never less than what the body pins.
    #[test]
    fn retained_bytes_cover_body_and_pinned_input() {
        let frame =
            |pinned| Frame::new(info(MediaKind::Audio, 0), Bytes::from_static(b"body").into(), pinned);
        assert_eq!(frame(0).retained_bytes(), size_of::<Frame>() + 4);
        assert_eq!(frame(900).retained_bytes(), size_of::<Frame>() + 900);
        let sliced: Payload = (0..100).map(|_| Bytes::from_static(b"x")).collect();
        let sliced = Frame::new(info(MediaKind::Audio, 0), sliced, 900);
        assert_eq!(sliced.retained_bytes(), size_of::<Frame>() + 900 + 100 * size_of::<Bytes>());
    }
}
