//! What a message says of itself: which stream's, which track's, which one, and when it was due.
//!
//! It travels inside the media, where every server leaves it alone and every decoder skips it: in H.264 and H.265 a NAL unit of
//! supplemental information (H.264 Annex D.1.7, user data unregistered) before the picture, in AV1 an OBU of padding (§5.8), in AAC a data
//! stream element (ISO/IEC 14496-3 §4.4.2.7) before the sound. All name it by the same UUID. In codecs that have no such place it stands
//! bare before the rest, which no decoder takes.
//!
//! The values go seven bits a byte with the upper bit set, so that no start code can come up in them.
//!
//! In a message of several tracks each body has its own.
//!
//! # Errors
//! Whatever is no stamp reads as `None`; nothing a server sends panics.

use bytes::{BufMut, Bytes, BytesMut};
use inrush::media::audio_tag::{AudioPacket, AudioTag};
use inrush::media::codec::{AudioCodec, FourCc, VideoCodec};
use inrush::media::ex_header::{Bodies, TrackLayout};
use inrush::media::video_tag::{VideoPacket, VideoTag};
use inrush::rtmp::Payload;

use super::type_id;

/// Names the stamp.
const UUID: [u8; 16] = *b"\x9b\x1finrush-stamp\xa1\x42";
/// 32 + 32 + 64 + 16 + 48 bits as one number, seven a byte.
const VALUE_BYTES: usize = 28;
const USER_DATA_BYTES: usize = UUID.len() + VALUE_BYTES;
/// Bits of `due_us`: nine years of microseconds since the machine started.
const DUE_BITS: u32 = 48;

/// What stands before the UUID, in each carrier; an AVC or HEVC unit has its length before that.
const AVC_HEAD: [u8; 7] = [0, 0, 0, (AVC_BYTES - 4) as u8, 0x06, 0x05, USER_DATA_BYTES as u8];
const AVC_BYTES: usize = 7 + USER_DATA_BYTES + 1;
/// NAL unit type 39 (prefix SEI), payload type 5, size.
const HEVC_HEAD: [u8; 8] = [0, 0, 0, (HEVC_BYTES - 4) as u8, 39 << 1, 1, 0x05, USER_DATA_BYTES as u8];
const HEVC_BYTES: usize = 8 + USER_DATA_BYTES + 1;
/// OBU_PADDING with a size.
const AV1_HEAD: [u8; 2] = [15 << 3 | 2, (USER_DATA_BYTES + 1) as u8];
/// id_syn_ele 4, element_instance_tag 0, data_byte_align_flag 1; count.
const AAC_HEAD: [u8; 2] = [0x81, USER_DATA_BYTES as u8];
/// rbsp_trailing_bits; trailing_bits.
const TRAILING: u8 = 0x80;

/// A stamp with its head, at most; no carrier is longer.
const FOUND_BYTES_MAX: usize = HEVC_BYTES;
/// Bytes of a composition time, which may stand before a body.
const COMPOSITION_TIME_BYTES: usize = 3;

/// What carries a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A NAL unit of H.264.
    Avc,
    /// A NAL unit of H.265.
    Hevc,
    /// An OBU of AV1.
    Av1,
    /// A data stream element of AAC.
    Aac,
    /// Nothing but itself.
    Bare,
}

impl Carrier {
    /// What fits a tag of a file: coded pictures of AVC with NAL unit lengths of four bytes, and AAC frames, both behind legacy headers.
    pub fn of(type_id: u8, tag: &[u8]) -> Option<Self> {
        match (type_id, tag) {
            (type_id::VIDEO, [first, 1, _, _, _, ..]) if first & 0x8f == 0x07 => Some(Self::Avc),
            (type_id::AUDIO, [first, 1, ..]) if first >> 4 == 10 => Some(Self::Aac),
            _ => None,
        }
    }

    /// Bytes of the legacy tag header, behind which the stamp goes.
    pub fn offset(self) -> usize {
        match self {
            Self::Aac => 2,
            _ => 5,
        }
    }

    /// Bytes that the stamp adds.
    pub fn bytes(self) -> usize {
        self.head().len() + USER_DATA_BYTES + usize::from(self.has_trailing())
    }

    fn head(self) -> &'static [u8] {
        match self {
            Self::Avc => &AVC_HEAD,
            Self::Hevc => &HEVC_HEAD,
            Self::Av1 => &AV1_HEAD,
            Self::Aac => &AAC_HEAD,
            Self::Bare => &[],
        }
    }

    fn has_trailing(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc | Self::Av1)
    }

    fn of_video(codec: VideoCodec) -> Self {
        match codec {
            VideoCodec::Avc => Self::Avc,
            VideoCodec::Hevc => Self::Hevc,
            VideoCodec::Av1 => Self::Av1,
            _ => Self::Bare,
        }
    }

    fn of_audio(codec: AudioCodec) -> Self {
        if codec == AudioCodec::Aac { Self::Aac } else { Self::Bare }
    }
}

/// What is numbered by itself: a stream of one video and one audio track as a whole, or one of several tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u16);

impl Lane {
    /// A stream without track numbers.
    pub const WHOLE: Self = Self(0);
    const VIDEO: u16 = 0x100;
    const AUDIO: u16 = 0x200;

    /// A video track.
    pub fn video(track: u8) -> Self {
        Self(Self::VIDEO | u16::from(track))
    }

    /// An audio track.
    pub fn audio(track: u8) -> Self {
        Self(Self::AUDIO | u16::from(track))
    }

    /// Whether a player gets it that knows nothing of tracks: streams made here number them from 0.
    pub fn is_default(self) -> bool {
        self.0 & 0xff == 0
    }
}

/// One message's identity, or that of one track's part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Whose clock it is ([`crate::clock::machine`]).
    pub machine: u32,
    /// Number of the stream.
    pub stream: u32,
    /// What of the stream it is numbered in.
    pub lane: Lane,
    /// Number among the stamps of its lane, from 0.
    pub sequence: u64,
    /// When its last byte was due to be sent, on [`crate::clock::now_us`]; 48 bits.
    pub due_us: u64,
}

/// Coded media of one track in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its stamp, if it has an intact one that belongs to this track.
    pub stamp: Option<Stamp>,
    /// Whether all publishers of the harness stamp such media, files too: AVC and AAC behind legacy headers.
    pub is_owed: bool,
}

impl Stamp {
    /// The tag header followed by the stamp.
    pub fn behind(&self, head: &[u8], carrier: Carrier) -> Bytes {
        let mut out = BytesMut::with_capacity(head.len() + carrier.bytes());
        out.put_slice(head);
        out.put_slice(carrier.head());
        out.put_slice(&UUID);
        let ids = u64::from(self.machine) << 32 | u64::from(self.stream);
        let lane_and_due = u64::from(self.lane.0) << DUE_BITS | self.due_us & ((1 << DUE_BITS) - 1);
        put_sevens(ids, u128::from(self.sequence) << 64 | u128::from(lane_and_due), &mut out);
        if carrier.has_trailing() {
            out.put_u8(TRAILING);
        }
        out.freeze()
    }

    /// The stamp of a received message, the first if it has several.
    pub fn read(type_id: u8, payload: &Payload) -> Option<Self> {
        let mut first = None;
        Self::read_all(type_id, payload, |found| first = first.or(found.stamp));
        first
    }

    /// What coded media a received message has, track by track.
    pub fn read_all(type_id: u8, payload: &Payload, mut each: impl FnMut(Found)) {
        match type_id {
            type_id::VIDEO => {
                let Ok(tag) = VideoTag::parse(payload) else { return };
                if matches!(tag.packet, VideoPacket::CodedFrames | VideoPacket::CodedFramesX) {
                    let is_owed = tag.bodies.fourcc.is_none() && tag.codec == Some(VideoCodec::Avc);
                    let carrier = tag.codec.map_or(Carrier::Bare, Carrier::of_video);
                    let of = |fourcc| Carrier::of_video(VideoCodec::from_fourcc(fourcc));
                    bodies(payload, &tag.bodies, carrier, of, Lane::video, |stamp| {
                        each(Found { stamp, is_owed })
                    });
                }
            }
            type_id::AUDIO => {
                let Ok(tag) = AudioTag::parse(payload) else { return };
                if tag.packet == AudioPacket::CodedFrames {
                    let is_owed = tag.bodies.fourcc.is_none() && tag.codec == Some(AudioCodec::Aac);
                    let carrier = tag.codec.map_or(Carrier::Bare, Carrier::of_audio);
                    let of = |fourcc| Carrier::of_audio(AudioCodec::from_fourcc(fourcc));
                    bodies(payload, &tag.bodies, carrier, of, Lane::audio, |stamp| {
                        each(Found { stamp, is_owed })
                    });
                }
            }
            _ => {}
        }
    }

    /// The stamp that begins at `start`, or behind a composition time there.
    fn at(payload: &Payload, start: usize, carrier: Carrier) -> Option<Self> {
        let mut bytes = [0; COMPOSITION_TIME_BYTES + FOUND_BYTES_MAX];
        let filled = payload.copy_to(start, &mut bytes);
        let bytes = bytes.get(..filled)?;
        let from = |start: usize| bytes.get(start..)?.strip_prefix(carrier.head())?.strip_prefix(&UUID);
        let values = from(0).or_else(|| from(COMPOSITION_TIME_BYTES))?.get(..VALUE_BYTES)?;
        let (ids, rest) = sevens(values);
        let lane_and_due = rest as u64;
        Some(Self {
            machine: (ids >> 32) as u32,
            stream: ids as u32,
            lane: Lane((lane_and_due >> DUE_BITS) as u16),
            sequence: (rest >> 64) as u64,
            due_us: lane_and_due & ((1 << DUE_BITS) - 1),
        })
    }
}

/// Looks for a stamp in each body. One that belongs to another track than its body's is none; what came without track number may be the
/// default track, which a server has taken out of its header.
fn bodies(
    payload: &Payload,
    bodies: &Bodies,
    carrier: Carrier,
    of: impl Fn(FourCc) -> Carrier,
    lane: impl Fn(u8) -> Lane,
    mut each: impl FnMut(Option<Stamp>),
) {
    if bodies.layout == TrackLayout::Single {
        let fits = |stamp: &Stamp| stamp.lane == Lane::WHOLE || stamp.lane == lane(0);
        return each(Stamp::at(payload, bodies.start, carrier).filter(fits));
    }
    for body in bodies.iter(payload) {
        let carrier = body.fourcc.map_or(carrier, &of);
        let fits = |stamp: &Stamp| stamp.lane == lane(body.track.0);
        each(Stamp::at(&body.payload, 0, carrier).filter(fits));
    }
}

/// 192 bits, the upper 64 and the lower 128, in groups of seven, the uppermost first.
fn put_sevens(upper: u64, lower: u128, out: &mut BytesMut) {
    for group in (0..VALUE_BYTES).rev() {
        let shift = group * 7;
        let bits = match shift {
            0..128 => (lower >> shift) as u64 | if shift > 64 { upper << (128 - shift).min(63) } else { 0 },
            _ => upper >> (shift - 128),
        };
        out.put_u8(0x80 | (bits & 0x7f) as u8);
    }
}

fn sevens(values: &[u8]) -> (u64, u128) {
    values.iter().fold((0, 0), |(upper, lower): (u64, u128), byte| {
        (upper << 7 | (lower >> 121) as u64, lower << 7 | u128::from(byte & 0x7f))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVC_TAG: [u8; 5] = [0x17, 1, 0, 0, 0];
    const AAC_TAG: [u8; 2] = [0xaf, 1];

    fn stamps() -> impl Iterator<Item = Stamp> {
        let edge = [0, 1, 0x7f, 0x80, 0x0102_0304_0506_0708, u64::MAX];
        edge.into_iter().flat_map(move |a| {
            edge.into_iter().map(move |b| Stamp {
                machine: b as u32,
                stream: a as u32,
                lane: Lane::WHOLE,
                sequence: a,
                due_us: b & ((1 << DUE_BITS) - 1),
            })
        })
    }

    fn one() -> Stamp {
        Stamp { machine: 1, stream: 2, lane: Lane::WHOLE, sequence: 3, due_us: 4 }
    }

    /// Each carrier, behind the headers that it comes with.
    const TAGS: [(u8, &[u8], Carrier); 11] = [
        (type_id::VIDEO, &AVC_TAG, Carrier::Avc),
        (type_id::VIDEO, b"\x91avc1\0\0\x10", Carrier::Avc),
        (type_id::VIDEO, b"\xa3avc1", Carrier::Avc),
        (type_id::VIDEO, &[0x1c, 1, 0, 0, 0], Carrier::Hevc),
        (type_id::VIDEO, b"\x91hvc1\0\0\0", Carrier::Hevc),
        (type_id::VIDEO, b"\xa1av01", Carrier::Av1),
        (type_id::VIDEO, b"\x91vp09", Carrier::Bare),
        (type_id::AUDIO, &AAC_TAG, Carrier::Aac),
        (type_id::AUDIO, b"\x91mp4a", Carrier::Aac),
        (type_id::AUDIO, b"\x91Opus", Carrier::Bare),
        (type_id::AUDIO, &[0x2f], Carrier::Bare),
    ];

    #[test]
    fn what_is_put_in_is_read_back_however_it_is_sliced() {
        for stamp in stamps() {
            for (type_id, head, carrier) in TAGS {
                let bytes = stamp.behind(head, carrier);
                assert_eq!(bytes.len(), head.len() + carrier.bytes());
                for slice in [1, 7, bytes.len()] {
                    let payload: Payload = bytes.chunks(slice).map(Bytes::copy_from_slice).collect();
                    assert_eq!(Stamp::read(type_id, &payload), Some(stamp), "{head:?}");
                }
            }
        }
    }

    /// Several tracks in a message, each with its own; a stamp under another track's number is none, and a server that takes the default
    /// track out of its header changes nothing.
    #[test]
    fn each_track_has_its_own_stamp() {
        let stamp = |lane| Stamp { lane, ..one() };
        let body = |lane| stamp(lane).behind(&[], Carrier::Av1);
        let message = |tracks: [u8; 2]| {
            let mut bytes = b"\x96\x11av01".to_vec();
            for (track, lane) in tracks.into_iter().zip([Lane::video(0), Lane::video(3)]) {
                let body = body(lane);
                bytes.push(track);
                bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
                bytes.extend(&body);
            }
            Payload::from(Bytes::from(bytes))
        };
        let seen = |payload: &Payload| {
            let mut seen = Vec::new();
            Stamp::read_all(type_id::VIDEO, payload, |found| seen.push(found.stamp.map(|stamp| stamp.lane)));
            seen
        };
        assert_eq!(seen(&message([0, 3])), [Some(Lane::video(0)), Some(Lane::video(3))]);
        assert_eq!(seen(&message([3, 0])), [None, None]);
        let alone = |lane| Payload::from(stamp(lane).behind(b"\x91av01", Carrier::Av1));
        assert_eq!(seen(&alone(Lane::video(0))), [Some(Lane::video(0))]);
        assert_eq!(seen(&alone(Lane::video(1))), [None]);
        assert_eq!(seen(&alone(Lane::audio(0))), [None]);
        assert!(Lane::audio(0).is_default() && Lane::WHOLE.is_default() && !Lane::video(1).is_default());
    }

    #[test]
    fn no_start_code_comes_up() {
        for stamp in stamps() {
            for carrier in [Carrier::Avc, Carrier::Hevc] {
                let bytes = stamp.behind(&[], carrier);
                assert!(!bytes[4..].windows(2).any(|pair| pair == [0, 0]));
            }
        }
    }

    #[test]
    fn what_is_no_stamp_reads_as_none() {
        let bytes = one().behind(&AVC_TAG, Carrier::Avc);
        for len in 0..bytes.len() - 1 {
            assert_eq!(Stamp::read(type_id::VIDEO, &bytes.slice(..len).into()), None, "{len} bytes");
        }
        assert_eq!(Stamp::read(type_id::AUDIO, &bytes.clone().into()), None);
        let mut other = bytes.to_vec();
        other[15] ^= 1;
        assert_eq!(Stamp::read(type_id::VIDEO, &Bytes::from(other).into()), None);
        // Sequence headers carry none, and of files nothing that is enhanced is stamped.
        assert_eq!(
            Stamp::read(type_id::VIDEO, &one().behind(&[0x17, 0, 0, 0, 0], Carrier::Avc).into()),
            None
        );
        assert_eq!(Carrier::of(type_id::VIDEO, &[0x17, 0, 0, 0, 0, 1]), None);
        assert_eq!(Carrier::of(type_id::VIDEO, &[0x97, 1, 0, 0, 0, 1]), None);
        assert_eq!(Carrier::of(type_id::AUDIO, &[0x2f, 1, 0]), None);
    }
}
