//! One media message as the hub hands it on.
//!
//! A frame is made once, by [`super::Ingest`], and then shared behind one `Arc` by every subscriber on every core;
//! nothing in it changes. What every RTMP subscriber would otherwise make anew, the chunk headers, is made with it.
//! # Bounds
//! [`Frame::retained_bytes`] is what a queue or a cache that holds the frame has to account for. [`FRAME_SLICES_MAX`] bounds the
//! slices of a body, so that the wire form of any frame fits one write.

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
}

impl Frame {
    /// A frame of a message's body. `pinned_bytes` is how much memory the body's slices keep alive, in bytes; it
    /// is never taken as less than the body itself.
    pub fn new(info: FrameInfo, payload: Payload, pinned_bytes: usize) -> Self {
        let payload = match payload.slices().len() {
            ..=FRAME_SLICES_MAX => payload,
            _ => payload.to_bytes().into(),
        };
        let type_id = match info.kind {
            MediaKind::Audio => type_id::AUDIO,
            MediaKind::Video => type_id::VIDEO,
            // AMF3 data messages have become AMF0 ones by now (see `Ingest`).
            MediaKind::Data => type_id::DATA_AMF0,
        };
        let header = MessageHeader { timestamp: info.timestamp, type_id, stream_id: FRAME_STREAM_ID };
        let wire = WireHeaders::new(&header, payload.len(), FRAME_CHUNK_SIZE);
        Self { info, pinned_bytes: pinned_bytes.max(payload.len()), payload, wire }
    }

    /// The same frame at another time, sharing the bytes: late joiners get headers with the timestamp of the
    /// first frame that follows them.
    pub fn at(&self, timestamp: u32) -> Self {
        Self::new(FrameInfo { timestamp, ..self.info }, self.payload.clone(), self.pinned_bytes)
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

    /// The message's body: an FLV tag body, or AMF0 data without `@setDataFrame`.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Memory that the frame keeps alive, bytes: itself, its list of slices, and the input that they pin.
    pub fn retained_bytes(&self) -> usize {
        let slices = self.payload.slices();
        let list = if slices.len() > INLINE_SLICES { size_of_val(slices) } else { 0 };
        size_of::<Self>() + list + self.pinned_bytes
    }

    /// The chunk headers for [`FRAME_STREAM_ID`] and [`FRAME_CHUNK_SIZE`], shared by every subscriber.
    pub fn wire(&self) -> &WireHeaders {
        &self.wire
    }
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
