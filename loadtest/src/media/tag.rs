//! Tag headers as they are written: legacy (FLV 10.1 annex E.4) and enhanced (E-RTMP v2 "ExVideoTagHeader", "ExAudioTagHeader"), around
//! the bodies of one or several tracks.

use bytes::Bytes;
use smallvec::SmallVec;

use super::layout::Multitrack;
use super::stamp::{Carrier, Lane};
use super::{Message, Part, type_id};

/// `VideoPacketType` and `AudioPacketType`, as far as they are the same.
pub(super) const SEQUENCE_START: u8 = 0;
/// The same.
pub(super) const CODED_FRAMES: u8 = 1;
/// `VideoPacketType.CodedFramesX`: the composition time is 0 and left out.
pub(super) const CODED_FRAMES_X: u8 = 3;

/// The body of one track.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// Its codec.
    pub(super) fourcc: [u8; 4],
    /// What of it goes before the stamp: a composition time, say.
    pub(super) before: &'static [u8],
    /// What carries its stamp, if it is to have one.
    pub(super) carrier: Option<Carrier>,
    /// The rest.
    pub(super) rest: Bytes,
}

impl Body {
    fn bytes(&self) -> usize {
        self.before.len() + self.carrier.map_or(0, Carrier::bytes) + self.rest.len()
    }
}

/// Audio or video, as the first byte of an enhanced header tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `IsExVideoHeader`, and whether it is a key frame.
    Video { is_key: bool },
    /// `SoundFormat.ExHeader`.
    Audio,
}

impl Kind {
    fn type_id(self) -> u8 {
        match self {
            Self::Video { .. } => type_id::VIDEO,
            Self::Audio => type_id::AUDIO,
        }
    }

    /// The upper half of the first byte.
    fn upper(self) -> u8 {
        match self {
            Self::Video { is_key: true } => 0x90,
            Self::Video { is_key: false } => 0xa0,
            Self::Audio => 0x90,
        }
    }

    /// `VideoPacketType.Multitrack` and `AudioPacketType.Multitrack`.
    fn multitrack(self) -> u8 {
        match self {
            Self::Video { .. } => 6,
            Self::Audio => 5,
        }
    }

    fn lane(self, track: u8) -> Lane {
        match self {
            Self::Video { .. } => Lane::video(track),
            Self::Audio => Lane::audio(track),
        }
    }
}

/// The message of the one track of its kind behind a legacy header.
pub(super) fn legacy(kind: Kind, time_ms: u32, header: &[u8], body: Body) -> Message {
    let head = Bytes::from([header, body.before].concat());
    let part = Part { head, carrier: body.carrier, body: body.rest, lane: Lane::WHOLE, number: 0 };
    Message { type_id: kind.type_id(), time_ms, parts: SmallVec::from_buf([part]) }
}

/// The message of the one track of its kind behind an enhanced header without tracks.
pub(super) fn single(kind: Kind, time_ms: u32, packet: u8, body: Body) -> Message {
    let header = [&[kind.upper() | packet][..], &body.fourcc].concat();
    legacy(kind, time_ms, &header, body)
}

/// The messages of several tracks, whose numbers are those of their places.
pub(super) fn tracks(
    kind: Kind,
    time_ms: u32,
    packet: u8,
    layout: Multitrack,
    bodies: Vec<Body>,
) -> Vec<Message> {
    let begin = [kind.upper() | kind.multitrack(), layout.bits() << 4 | packet];
    let mut messages: Vec<Message> = Vec::new();
    for (track, body) in (0..).zip(bodies) {
        let mut head = Vec::new();
        let is_new = layout == Multitrack::One || messages.is_empty();
        if is_new {
            head.extend(begin);
        }
        if is_new || layout == Multitrack::ManyCodecs {
            head.extend(body.fourcc);
        }
        head.push(track);
        if layout != Multitrack::One {
            // `sizeOfVideoTrack` and `sizeOfAudioTrack`, 24 bits.
            head.extend(&(body.bytes() as u32).to_be_bytes()[1..]);
        }
        head.extend(body.before);
        let lane = kind.lane(track);
        let part = Part { head: head.into(), carrier: body.carrier, body: body.rest, lane, number: 0 };
        match messages.last_mut() {
            Some(message) if !is_new => message.parts.push(part),
            _ => {
                let parts = SmallVec::from_buf([part]);
                messages.push(Message { type_id: kind.type_id(), time_ms, parts });
            }
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use inrush::media::audio_tag::{AudioPacket, AudioTag};
    use inrush::media::ex_header::TrackLayout;
    use inrush::media::video_tag::{VideoPacket, VideoTag};
    use inrush::rtmp::Payload;

    use super::*;

    fn body(fourcc: &[u8; 4], before: &'static [u8], rest: &'static [u8]) -> Body {
        Body { fourcc: *fourcc, before, carrier: None, rest: Bytes::from_static(rest) }
    }

    fn bytes(message: &Message) -> Vec<u8> {
        message.parts.iter().flat_map(|part| [&part.head[..], &part.body]).flatten().copied().collect()
    }

    /// Vectors by hand from E-RTMP v2 "ExVideoTagHeader" and "ExAudioTagHeader".
    #[test]
    fn headers_are_as_the_specification_has_them() {
        let key = Kind::Video { is_key: true };
        let inter = Kind::Video { is_key: false };
        let hevc = single(key, 0, CODED_FRAMES, body(b"hvc1", &[0, 0, 0], b"x"));
        assert_eq!(bytes(&hevc), b"\x91hvc1\0\0\0x");
        assert_eq!(bytes(&single(inter, 0, CODED_FRAMES_X, body(b"hvc1", &[], b"x"))), b"\xa3hvc1x");
        assert_eq!(bytes(&single(Kind::Audio, 0, SEQUENCE_START, body(b"Opus", &[], b"x"))), b"\x90Opusx");

        let two = || vec![body(b"av01", &[], b"a"), body(b"av01", &[], b"bc")];
        let one: Vec<_> = tracks(key, 0, CODED_FRAMES, Multitrack::One, two()).iter().map(bytes).collect();
        assert_eq!(one, [b"\x96\x01av01\x00a".to_vec(), b"\x96\x01av01\x01bc".to_vec()]);
        let many: Vec<_> =
            tracks(inter, 0, CODED_FRAMES, Multitrack::Many, two()).iter().map(bytes).collect();
        assert_eq!(many, [b"\xa6\x11av01\x00\0\0\x01a\x01\0\0\x02bc".to_vec()]);
        let sounds = vec![body(b"mp4a", &[], b"a"), body(b"Opus", &[], b"")];
        let codecs = tracks(Kind::Audio, 0, SEQUENCE_START, Multitrack::ManyCodecs, sounds);
        assert_eq!(bytes(&codecs[0]), b"\x95\x20mp4a\x00\0\0\x01aOpus\x01\0\0\0");
        assert_eq!(codecs.len(), 1);
    }

    /// What is written is what the engine reads, in each layout.
    #[test]
    fn the_engine_reads_the_tracks() {
        for (layout, wanted) in [
            (Multitrack::One, TrackLayout::OneTrack),
            (Multitrack::Many, TrackLayout::ManyTracks),
            (Multitrack::ManyCodecs, TrackLayout::ManyTracksManyCodecs),
        ] {
            let pictures = vec![body(b"hvc1", &[0, 0, 7], b"pic"), body(b"hvc1", &[0, 0, 9], b"ture")];
            let mut seen = Vec::new();
            for message in tracks(Kind::Video { is_key: true }, 0, CODED_FRAMES, layout, pictures) {
                let payload = Payload::from(Bytes::from(bytes(&message)));
                let tag = VideoTag::parse(&payload).unwrap();
                assert_eq!((tag.bodies.layout, tag.packet), (wanted, VideoPacket::CodedFrames));
                seen.extend(tag.bodies.iter(&payload).map(|body| (body.track.0, body.payload.to_vec())));
            }
            assert_eq!(seen, [(0, b"\0\0\x07pic".to_vec()), (1, b"\0\0\x09ture".to_vec())]);
            let sounds = vec![body(b"Opus", &[], b"so"), body(b"Opus", &[], b"und")];
            let mut seen = Vec::new();
            for message in tracks(Kind::Audio, 0, CODED_FRAMES, layout, sounds) {
                let payload = Payload::from(Bytes::from(bytes(&message)));
                let tag = AudioTag::parse(&payload).unwrap();
                assert_eq!((tag.bodies.layout, tag.packet), (wanted, AudioPacket::CodedFrames));
                seen.extend(tag.bodies.iter(&payload).map(|body| (body.track.0, body.payload.to_vec())));
            }
            assert_eq!(seen, [(0, b"so".to_vec()), (1, b"und".to_vec())]);
        }
    }
}
