//! The header of an audio message: legacy (FLV 10.1 §E.4.2.1) and enhanced (E-RTMP v2 "ExAudioTagHeader").

use super::codec::{AudioCodec, Codec};
use super::ex_header::{Bodies, TrackLayout, read_mod_ex, read_tracks};
use super::frame::{FrameRole, TrackId};
use super::tag::{TagError, TagReader};
use crate::rtmp::Payload;

/// What an audio message's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioTag {
    /// Codec of the first track; `None` in a layout of tracks that we do not know.
    pub codec: Option<AudioCodec>,
    /// What the message carries.
    pub packet: AudioPacket,
    /// The first track; the default one behind a legacy header.
    pub track: TrackId,
    /// Samples a second, Hz, where a legacy header tells the truth about them.
    pub sample_rate: Option<u32>,
    /// Channels, where a legacy header tells the truth about them.
    pub channels: Option<u8>,
    /// What ModEx adds to the message's timestamp, ns.
    pub timestamp_offset_ns: u32,
    /// Where the tracks' bodies are.
    pub bodies: Bodies,
}

/// What an audio message carries: `AudioPacketType`, and `AACPacketType` of legacy messages under the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioPacket {
    /// The codec's configuration.
    SequenceStart,
    /// Sound.
    CodedFrames,
    /// Nothing more follows of this sequence.
    SequenceEnd,
    /// Which speaker each channel is for.
    MultichannelConfig,
    /// A type that we do not know.
    Unknown(u8),
}

/// `SoundFormat.ExHeader`.
pub(super) const EX_HEADER: u8 = 9;
pub(super) const MULTITRACK: u8 = 5;

impl AudioTag {
    /// Reads the header from the first bytes of the message's body.
    pub fn parse(payload: &Payload) -> Result<Self, TagError> {
        let mut reader = TagReader::new(payload);
        match reader.nibbles()? {
            (EX_HEADER, packet_type) => enhanced(reader, packet_type),
            (format, flags) => legacy(reader, format, flags),
        }
    }

    /// What the message is to the hub.
    pub fn role(&self) -> FrameRole {
        match self.packet {
            AudioPacket::SequenceStart => FrameRole::SequenceHeader,
            AudioPacket::CodedFrames => FrameRole::Audio,
            AudioPacket::MultichannelConfig => FrameRole::TrackInfo,
            AudioPacket::SequenceEnd | AudioPacket::Unknown(_) => FrameRole::Other,
        }
    }
}

impl AudioPacket {
    /// `AudioPacketType` of an enhanced header.
    pub fn ex_type(self) -> u8 {
        match self {
            Self::SequenceStart => 0,
            Self::CodedFrames => 1,
            Self::SequenceEnd => 2,
            Self::MultichannelConfig => 4,
            Self::Unknown(other) => other & 0x0f,
        }
    }
}

fn legacy(mut reader: TagReader<'_>, format: u8, flags: u8) -> Result<AudioTag, TagError> {
    let codec = AudioCodec::from_id(format);
    let mut packet = AudioPacket::CodedFrames;
    if codec == AudioCodec::Aac {
        packet = match reader.u8()? {
            0 => AudioPacket::SequenceStart,
            1 => AudioPacket::CodedFrames,
            other => AudioPacket::Unknown(other),
        };
    }
    // `SoundRate` and `SoundType`; for some formats the specification says to ignore them.
    let rate = [5_512, 11_025, 22_050, 44_100][usize::from(flags >> 2 & 3)];
    let channels = 1 + (flags & 1);
    let (sample_rate, channels) = match format {
        10 => (None, None), // always flagged 44.1 kHz stereo: the configuration knows
        4 | 11 => (Some(16_000), Some(1)),
        5 | 7 | 8 => (Some(8_000), Some(if format == 5 { 1 } else { channels })),
        14 => (Some(8_000), Some(channels)),
        _ if Codec::Audio(codec).is_unknown() => (None, None),
        _ => (Some(rate), Some(channels)),
    };
    Ok(AudioTag {
        codec: Some(codec),
        packet,
        track: TrackId::DEFAULT,
        sample_rate,
        channels,
        timestamp_offset_ns: 0,
        bodies: Bodies::legacy(reader.position()),
    })
}

fn enhanced(mut reader: TagReader<'_>, packet_type: u8) -> Result<AudioTag, TagError> {
    let (packet_type, timestamp_offset_ns) = read_mod_ex(&mut reader, packet_type)?;
    let header = read_tracks(&mut reader, packet_type, MULTITRACK)?;
    let packet = match header.packet_type {
        other if matches!(header.bodies.layout, TrackLayout::Unknown(_)) => AudioPacket::Unknown(other),
        0 => AudioPacket::SequenceStart,
        1 => AudioPacket::CodedFrames,
        2 => AudioPacket::SequenceEnd,
        4 => AudioPacket::MultichannelConfig,
        other => AudioPacket::Unknown(other),
    };
    Ok(AudioTag {
        codec: header.fourcc.map(AudioCodec::from_fourcc),
        packet,
        track: header.track,
        sample_rate: None,
        channels: None,
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

    fn tag(text: &str) -> AudioTag {
        AudioTag::parse(&Payload::from(Bytes::from(hex(text)))).unwrap()
    }

    /// The first bytes of what ffmpeg 9.0 publishes.
    #[test]
    fn headers_of_ffmpeg_are_read() {
        let header = tag("af00 119056e500");
        assert_eq!((header.codec, header.role()), (Some(AudioCodec::Aac), FrameRole::SequenceHeader));
        assert_eq!((header.sample_rate, header.channels, header.bodies.start), (None, None, 2));
        assert_eq!(tag("af01 dc004c61").role(), FrameRole::Audio);
        let channels = tag("946d703461 01 06 0000003f");
        assert_eq!((channels.codec, channels.role()), (Some(AudioCodec::Aac), FrameRole::TrackInfo));
        assert_eq!(channels.bodies.start, 5);
        let mp3 = tag("2f fffb90");
        assert_eq!((mp3.codec, mp3.role()), (Some(AudioCodec::Mp3), FrameRole::Audio));
        assert_eq!((mp3.sample_rate, mp3.channels), (Some(44_100), Some(2)));
        assert_eq!(tag("904f707573 4f70757348656164").role(), FrameRole::SequenceHeader);
        assert_eq!(tag("914f707573 fc7e02").codec, Some(AudioCodec::Opus));
        assert_eq!(
            tag("9061632d33").codec,
            Some(AudioCodec::Ac3),
            "ffmpeg's sequence start of AC-3 is empty"
        );
        assert_eq!(tag("92664c6143").role(), FrameRole::Other);
    }

    /// Formats whose rate and channels the specification fixes, whatever the bits say.
    #[test]
    fn legacy_formats_are_read() {
        let facts = |text| (tag(text).codec.unwrap(), tag(text).sample_rate, tag(text).channels);
        assert_eq!(facts("b6"), (AudioCodec::Speex, Some(16_000), Some(1)));
        assert_eq!(facts("be"), (AudioCodec::Speex, Some(16_000), Some(1)));
        assert_eq!(facts("52"), (AudioCodec::Nellymoser, Some(8_000), Some(1)));
        assert_eq!(facts("4e"), (AudioCodec::Nellymoser, Some(16_000), Some(1)));
        assert_eq!(facts("6a"), (AudioCodec::Nellymoser, Some(22_050), Some(1)));
        assert_eq!(facts("73"), (AudioCodec::G711ALaw, Some(8_000), Some(2)));
        assert_eq!(facts("ef"), (AudioCodec::Mp3, Some(8_000), Some(2)));
        assert_eq!(facts("3f"), (AudioCodec::PcmLittleEndian, Some(44_100), Some(2)));
        assert_eq!(facts("c0"), (AudioCodec::UnknownId(12), None, None));
    }

    /// Multitrack is packet type 5 here, ModEx 7 as in video.
    #[test]
    fn tracks_and_mod_ex_are_read() {
        let track = tag("95 01 4f707573 02 fc7e");
        assert_eq!(
            (track.track, track.role(), track.bodies.layout),
            (TrackId(2), FrameRole::Audio, TrackLayout::OneTrack)
        );
        let both = tag("97 02 000064 05 01 6d703461 01 2111");
        assert_eq!(
            (both.track, both.timestamp_offset_ns, both.codec),
            (TrackId(1), 100, Some(AudioCodec::Aac))
        );
        assert_eq!(tag("96 4f707573").packet, AudioPacket::Unknown(6));
        let unknown = FourCc(*b"zz99");
        assert_eq!(tag("91 7a7a3939").codec, Some(AudioCodec::UnknownFourCc(unknown)));
    }

    /// AAC without a packet type and a FourCC cut in two are truncated; so is nothing at all.
    #[test]
    fn headers_that_end_early_are_truncated() {
        for text in ["", "af", "90 4f7075", "95 01 4f707573", "97 02 0000"] {
            let payload = Payload::from(Bytes::from(hex(text)));
            assert_eq!(AudioTag::parse(&payload), Err(TagError::Truncated), "{text}");
        }
    }

    proptest! {
        /// Any bytes: no panic, and bodies that lie within.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..40), enhanced: bool) {
            let mut bytes = bytes;
            if enhanced && let Some(first) = bytes.first_mut() {
                *first = 0x90 | *first & 0x0f;
            }
            let payload = Payload::from(Bytes::from(bytes));
            if let Ok(tag) = AudioTag::parse(&payload) {
                let total: usize = tag.bodies.iter(&payload).map(|body| body.payload.len()).sum();
                prop_assert!(total <= payload.len());
            }
        }
    }
}
