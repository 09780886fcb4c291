//! The header of a video message: legacy (FLV 10.1 §E.4.3.1) and enhanced (E-RTMP v2 "ExVideoTagHeader").

use super::codec::VideoCodec;
use super::ex_header::{Bodies, TrackLayout, read_mod_ex, read_tracks};
use super::frame::{FrameRole, TrackId};
use super::tag::{TagError, TagReader};
use crate::rtmp::Payload;

/// What a video message's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoTag {
    /// Key frame or not.
    pub frame_type: VideoFrameType,
    /// Codec of the first track; `None` in a command and in a layout of tracks that we do not know.
    pub codec: Option<VideoCodec>,
    /// What the message carries.
    pub packet: VideoPacket,
    /// The first track; the default one behind a legacy header.
    pub track: TrackId,
    /// When to show the first track's picture, relative to the message's timestamp, ms; may be negative.
    pub composition_ms: i32,
    /// What ModEx adds to the message's timestamp, ns.
    pub timestamp_offset_ns: u32,
    /// Where the tracks' bodies are. In a legacy message the body starts behind the composition time; in an
    /// enhanced one the composition time belongs to each body.
    pub bodies: Bodies,
}

/// `VideoFrameType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoFrameType {
    /// Decoding can start here.
    Key,
    /// It cannot.
    Inter,
    /// An inter frame that no other refers to (H.263).
    DisposableInter,
    /// A key frame made by a server.
    GeneratedKey,
    /// No picture but a command to the player.
    Command,
    /// 0, 6 or 7.
    Reserved(u8),
}

/// What a video message carries: `VideoPacketType`, and `AVCPacketType` of legacy messages under the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoPacket {
    /// The codec's configuration.
    SequenceStart,
    /// Pictures.
    CodedFrames,
    /// Pictures without a composition time: shown when they are decoded.
    CodedFramesX,
    /// Nothing more follows of this sequence.
    SequenceEnd,
    /// AMF metadata of the track, such as HDR.
    Metadata,
    /// The codec's configuration as an MPEG-2 TS descriptor.
    Mpeg2TsSequenceStart,
    /// A command to the player ([`VideoTag::command`]).
    Command,
    /// A type that we do not know.
    Unknown(u8),
}

/// What a command tells the player (`VideoCommand`): it is seeking, and what comes in between is not to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoCommand {
    /// A sequence of frames begins that are for a client-side seek.
    StartSeek,
    /// It ends.
    EndSeek,
    /// 2 and more.
    Reserved(u8),
}

/// The bit of the first byte that says that the header is an enhanced one (`isExVideoHeader`).
pub(super) const EX_HEADER: u8 = 0x80;
const METADATA: u8 = 4;
pub(super) const MULTITRACK: u8 = 6;

impl VideoTag {
    /// Whether it belongs to no track: a command, or a layout of tracks that we do not know.
    pub fn is_of_no_track(&self) -> bool {
        self.packet == VideoPacket::Command || matches!(self.bodies.layout, TrackLayout::Unknown(_))
    }

    /// Reads the header from the first bytes of the message's body.
    pub fn parse(payload: &Payload) -> Result<Self, TagError> {
        let mut reader = TagReader::new(payload);
        let (upper, lower) = reader.nibbles()?;
        let frame_type = VideoFrameType::from_bits(upper & 7);
        if upper & 8 == 0 { legacy(reader, frame_type, lower) } else { enhanced(reader, frame_type, lower) }
    }

    /// What the message is to the hub.
    pub fn role(&self) -> FrameRole {
        match self.packet {
            VideoPacket::SequenceStart | VideoPacket::Mpeg2TsSequenceStart => FrameRole::SequenceHeader,
            VideoPacket::CodedFrames | VideoPacket::CodedFramesX => match self.frame_type {
                VideoFrameType::Key | VideoFrameType::GeneratedKey => FrameRole::Key,
                _ => FrameRole::Inter,
            },
            VideoPacket::Metadata => FrameRole::TrackInfo,
            VideoPacket::SequenceEnd | VideoPacket::Command | VideoPacket::Unknown(_) => FrameRole::Other,
        }
    }

    /// The command in a message that is one; `None` when it is none, or ends before it.
    pub fn command(&self, payload: &Payload) -> Option<VideoCommand> {
        match self.packet {
            VideoPacket::Command => payload.byte(self.bodies.start).map(VideoCommand::from_byte),
            _ => None,
        }
    }
}

impl VideoPacket {
    /// `VideoPacketType` of an enhanced header; `None` for a command, which has none.
    pub fn ex_type(self) -> Option<u8> {
        Some(match self {
            Self::SequenceStart => 0,
            Self::CodedFrames => 1,
            Self::SequenceEnd => 2,
            Self::CodedFramesX => 3,
            Self::Metadata => METADATA,
            Self::Mpeg2TsSequenceStart => 5,
            Self::Unknown(other) => other & 0x0f,
            Self::Command => return None,
        })
    }
}

impl VideoCommand {
    /// From its byte.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::StartSeek,
            1 => Self::EndSeek,
            other => Self::Reserved(other),
        }
    }

    /// Its byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::StartSeek => 0,
            Self::EndSeek => 1,
            Self::Reserved(other) => other,
        }
    }
}

impl VideoFrameType {
    fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Key,
            2 => Self::Inter,
            3 => Self::DisposableInter,
            4 => Self::GeneratedKey,
            5 => Self::Command,
            bits => Self::Reserved(bits),
        }
    }

    /// The three bits that say it.
    pub fn bits(self) -> u8 {
        match self {
            Self::Key => 1,
            Self::Inter => 2,
            Self::DisposableInter => 3,
            Self::GeneratedKey => 4,
            Self::Command => 5,
            Self::Reserved(bits) => bits & 7,
        }
    }
}

fn legacy(mut reader: TagReader<'_>, frame_type: VideoFrameType, codec_id: u8) -> Result<VideoTag, TagError> {
    let codec = VideoCodec::from_id(codec_id);
    let mut tag = VideoTag {
        frame_type,
        codec: Some(codec),
        packet: VideoPacket::CodedFrames,
        track: TrackId::DEFAULT,
        composition_ms: 0,
        timestamp_offset_ns: 0,
        bodies: Bodies::legacy(1),
    };
    if frame_type == VideoFrameType::Command {
        tag.packet = VideoPacket::Command;
        tag.codec = None;
    } else if matches!(codec, VideoCodec::Avc | VideoCodec::Hevc) {
        // AVCVIDEOPACKET (FLV 10.1 §E.4.3.2), which codec id 12 took over for HEVC.
        tag.packet = match reader.u8()? {
            0 => VideoPacket::SequenceStart,
            1 => VideoPacket::CodedFrames,
            2 => VideoPacket::SequenceEnd,
            other => VideoPacket::Unknown(other),
        };
        // Without pictures the composition time means nothing, and some encoders leave it away.
        if tag.packet == VideoPacket::CodedFrames {
            tag.composition_ms = reader.i24()?;
        }
        tag.bodies = Bodies::legacy(5);
    }
    Ok(tag)
}

fn enhanced(mut reader: TagReader<'_>, frame_type: VideoFrameType, packet: u8) -> Result<VideoTag, TagError> {
    let (packet, timestamp_offset_ns) = read_mod_ex(&mut reader, packet)?;
    if frame_type == VideoFrameType::Command && packet != METADATA {
        return Ok(VideoTag {
            frame_type,
            codec: None,
            packet: VideoPacket::Command,
            track: TrackId::DEFAULT,
            composition_ms: 0,
            timestamp_offset_ns,
            bodies: Bodies::legacy(reader.position()),
        });
    }
    let header = read_tracks(&mut reader, packet, MULTITRACK)?;
    let codec = header.fourcc.map(VideoCodec::from_fourcc);
    let (packet, has_time) = match header.packet_type {
        _ if matches!(header.bodies.layout, TrackLayout::Unknown(_)) => {
            (VideoPacket::Unknown(header.packet_type), false)
        }
        0 => (VideoPacket::SequenceStart, false),
        1 => (VideoPacket::CodedFrames, codec.is_some_and(VideoCodec::has_composition_time)),
        2 => (VideoPacket::SequenceEnd, false),
        3 => (VideoPacket::CodedFramesX, false),
        METADATA => (VideoPacket::Metadata, false),
        5 => (VideoPacket::Mpeg2TsSequenceStart, false),
        other => (VideoPacket::Unknown(other), false),
    };
    Ok(VideoTag {
        frame_type,
        codec,
        packet,
        track: header.track,
        composition_ms: if has_time { reader.i24()? } else { 0 },
        timestamp_offset_ns,
        bodies: header.bodies,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::media::codec::FourCc;
    use crate::media::config::hex;
    use crate::media::ex_header::{MOD_EX_MAX, TrackBody};

    fn payload(text: &str) -> Payload {
        Payload::from(Bytes::from(hex(text)))
    }

    fn tag(text: &str) -> VideoTag {
        VideoTag::parse(&payload(text)).unwrap()
    }

    fn bodies(text: &str) -> Vec<(u8, Option<FourCc>, Vec<u8>)> {
        let payload = payload(text);
        let bodies = VideoTag::parse(&payload).unwrap().bodies;
        bodies
            .iter(&payload)
            .map(|TrackBody { fourcc, track, payload }| (track.0, fourcc, payload.to_vec()))
            .collect()
    }

    /// The first bytes of what ffmpeg 5.1 and 9.0 publish.
    #[test]
    fn headers_of_ffmpeg_are_read() {
        let header = tag("1700000000 0142c028");
        assert_eq!((header.codec, header.role()), (Some(VideoCodec::Avc), FrameRole::SequenceHeader));
        assert_eq!(header.bodies.start, 5);
        let key = tag("17010000c8 000002a0");
        assert_eq!((key.role(), key.composition_ms, key.track), (FrameRole::Key, 200, TrackId::DEFAULT));
        assert_eq!(tag("27010001f4 00000442").role(), FrameRole::Inter);
        assert_eq!(tag("1702000000").role(), FrameRole::Other);

        let header = tag("9068766331 01016000");
        assert_eq!((header.codec, header.role()), (Some(VideoCodec::Hevc), FrameRole::SequenceHeader));
        let key = tag("9168766331 0000c8 000032a5");
        assert_eq!((key.role(), key.composition_ms), (FrameRole::Key, 200));
        assert_eq!(tag("a168766331 0001f4 00000655").role(), FrameRole::Inter);
        assert_eq!(tag("d468766331 020009636f6c6f72496e666f").role(), FrameRole::TrackInfo);

        let header = tag("9061763031"); // ffmpeg announces AV1 before it has a configuration
        assert_eq!((header.codec, header.role()), (Some(VideoCodec::Av1), FrameRole::SequenceHeader));
        let key = tag("9161763031 12000a0b");
        assert_eq!((key.role(), key.composition_ms), (FrameRole::Key, 0), "AV1 has no composition time");
        assert_eq!(tag("a161763031 120032c1").role(), FrameRole::Inter);
    }

    /// Composition times are signed; CodedFramesX has none.
    #[test]
    fn composition_times_are_signed() {
        assert_eq!(tag("2701ffffff 00").composition_ms, -1);
        assert_eq!(tag("2701800000 00").composition_ms, -8_388_608);
        assert_eq!(tag("a168766331 ffffd8 00").composition_ms, -40);
        assert_eq!(tag("a368766331 ffffd8 00").composition_ms, 0);
    }

    /// Codecs of before AVC have no packet type; codec id 12 has AVC's.
    #[test]
    fn legacy_codecs_are_read() {
        assert_eq!(
            (tag("12 00").codec, tag("12 00").role()),
            (Some(VideoCodec::SorensonH263), FrameRole::Key)
        );
        assert_eq!((tag("34").codec, tag("34").role()), (Some(VideoCodec::Vp6), FrameRole::Inter));
        assert_eq!(tag("1c00000000 01").codec, Some(VideoCodec::Hevc));
        assert_eq!(tag("1c00000000 01").role(), FrameRole::SequenceHeader);
        assert_eq!(tag("2c01000000 01").role(), FrameRole::Inter);
        assert_eq!(tag("1d 00").codec, Some(VideoCodec::UnknownId(13)));
        assert_eq!(tag("1d 00").role(), FrameRole::Key);
        assert_eq!((tag("57 00").packet, tag("57 00").role()), (VideoPacket::Command, FrameRole::Other));
        assert_eq!(tag("17 02").packet, VideoPacket::SequenceEnd, "without composition time");
        assert_eq!(tag("1709000000").packet, VideoPacket::Unknown(9));
        assert_eq!(tag("07 01 000000").frame_type, VideoFrameType::Reserved(0));
    }

    /// A command has no FourCC behind it, metadata has one whatever the frame type says.
    #[test]
    fn enhanced_commands_end_after_the_packet_type() {
        assert_eq!((tag("d0 00").packet, tag("d0 00").codec), (VideoPacket::Command, None));
        assert_eq!(tag("d4 61763031").packet, VideoPacket::Metadata);
    }

    /// ModEx: one byte of size, two bytes of size, unknown kinds, several in a row.
    #[test]
    fn mod_ex_prefixes_are_skipped() {
        let tagged = tag("97 02 0f423f 01 68766331 000010 aa");
        assert_eq!((tagged.role(), tagged.composition_ms), (FrameRole::Key, 16));
        assert_eq!(tagged.timestamp_offset_ns, 999_999);
        let unknown = tag("97 00 ee 51 68766331 000010 aa");
        assert_eq!((unknown.timestamp_offset_ns, unknown.composition_ms), (0, 16));

        let long = format!("a7 ff 0103 {} 07 03 00000aff 03 61763031 aa", "00".repeat(0x104));
        let tagged = tag(&long);
        assert_eq!((tagged.codec, tagged.role()), (Some(VideoCodec::Av1), FrameRole::Inter));
        assert_eq!(tagged.timestamp_offset_ns, 10, "the later one counts");
        assert_eq!(VideoTag::parse(&payload(&long[..long.len() - 40])), Err(TagError::Truncated));

        let flood = format!("97 {}", "00 aa 07 ".repeat(MOD_EX_MAX + 1));
        assert_eq!(VideoTag::parse(&payload(&flood)), Err(TagError::TooManyModEx));
    }

    /// One track, several of one codec, several of several; what follows a bad size is not believed.
    #[test]
    fn tracks_are_told_apart() {
        let one = tag("96 01 68766331 03 000010 aabb");
        assert_eq!((one.track, one.role(), one.composition_ms), (TrackId(3), FrameRole::Key, 16));
        let avc1 = Some(FourCc(*b"avc1"));
        let av01 = Some(FourCc(*b"av01"));
        assert_eq!(bodies("96 00 61766331 03 aabb"), [(3, avc1, vec![0xaa, 0xbb])]);
        let many = "96 10 61766331 01 000002 aabb 02 000000 07 000001 cc";
        assert_eq!(bodies(many), [(1, avc1, vec![0xaa, 0xbb]), (2, avc1, vec![]), (7, avc1, vec![0xcc])]);
        assert_eq!((tag(many).track, tag(many).role()), (TrackId(1), FrameRole::SequenceHeader));
        let codecs = "96 20 61763031 00 000001 aa 61766331 01 000001 bb";
        assert_eq!(bodies(codecs), [(0, av01, vec![0xaa]), (1, avc1, vec![0xbb])]);
        assert_eq!(bodies("96 10 61766331 01 000002 aabb 02 000009 cc"), [(1, avc1, vec![0xaa, 0xbb])]);
    }

    /// A reserved layout, packet type or FourCC is a value.
    #[test]
    fn the_unknown_is_no_error() {
        let layout = tag("96 31 61763031");
        assert_eq!((layout.packet, layout.codec), (VideoPacket::Unknown(1), None));
        assert_eq!(tag("9a 61763031").packet, VideoPacket::Unknown(10));
        assert_eq!(tag("96 06 61763031 00").packet, VideoPacket::Unknown(6), "multitrack within multitrack");
        let unknown = tag("91 7a7a3939 00");
        assert_eq!(unknown.codec, Some(VideoCodec::UnknownFourCc(FourCc(*b"zz99"))));
        assert_eq!(unknown.role(), FrameRole::Key);
    }

    proptest! {
        /// Any bytes in any slices: no panic, the same answer as in one slice, and bodies that lie within.
        #[test]
        fn any_bytes_in_any_slices(bytes in prop::collection::vec(any::<u8>(), 0..60), cuts: [prop::sample::Index; 3], enhanced: bool) {
            let mut bytes = bytes;
            if enhanced && let Some(first) = bytes.first_mut() {
                *first |= 0x80;
            }
            let whole = Payload::from(Bytes::from(bytes.clone()));
            let mut cuts = cuts.map(|cut| cut.index(bytes.len() + 1));
            cuts.sort_unstable();
            let slices = [0, cuts[0], cuts[1], cuts[2], bytes.len()];
            let sliced: Payload = slices.windows(2).map(|w| Bytes::copy_from_slice(&bytes[w[0]..w[1]])).collect();
            let tag = VideoTag::parse(&whole);
            prop_assert_eq!(tag, VideoTag::parse(&sliced));
            if let Ok(tag) = tag {
                let bodies: Vec<TrackBody> = tag.bodies.iter(&whole).collect();
                prop_assert_eq!(&bodies, &tag.bodies.iter(&sliced).collect::<Vec<_>>());
                prop_assert!(bodies.iter().map(|b| b.payload.len()).sum::<usize>() <= bytes.len());
            }
        }
    }
}
