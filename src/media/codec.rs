//! Which codec a track carries: the ids of FLV tag headers and the FourCCs of Enhanced RTMP, under one name each.

use alloc::borrow::Cow;
use alloc::format;

pub use crate::rtmp::FourCc;

/// What a video track is coded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// Sorenson H.263 (legacy id 2).
    SorensonH263,
    /// Screen video (legacy id 3).
    ScreenVideo,
    /// On2 VP6 (legacy id 4).
    Vp6,
    /// On2 VP6 with alpha channel (legacy id 5).
    Vp6Alpha,
    /// Screen video version 2 (legacy id 6).
    ScreenVideo2,
    /// H.264 (legacy id 7, `avc1`).
    Avc,
    /// H.265 (`hvc1`, and the id 12 that never was in the specification but is in the field).
    Hevc,
    /// AV1 (`av01`).
    Av1,
    /// VP8 (`vp08`).
    Vp8,
    /// VP9 (`vp09`).
    Vp9,
    /// H.266 (`vvc1`).
    Vvc,
    /// A legacy id without a meaning.
    UnknownId(u8),
    /// A FourCC that we do not know.
    UnknownFourCc(FourCc),
}

impl VideoCodec {
    /// From the legacy `VideoCodecId` (FLV 10.1 §E.4.3.1).
    pub fn from_id(id: u8) -> Self {
        match id {
            2 => Self::SorensonH263,
            3 => Self::ScreenVideo,
            4 => Self::Vp6,
            5 => Self::Vp6Alpha,
            6 => Self::ScreenVideo2,
            7 => Self::Avc,
            12 => Self::Hevc,
            id => Self::UnknownId(id),
        }
    }

    /// From an E-RTMP v2 `VideoFourCc`.
    pub fn from_fourcc(fourcc: FourCc) -> Self {
        match &fourcc.0 {
            b"avc1" => Self::Avc,
            b"hvc1" => Self::Hevc,
            b"av01" => Self::Av1,
            b"vp08" => Self::Vp8,
            b"vp09" => Self::Vp9,
            b"vvc1" => Self::Vvc,
            _ => Self::UnknownFourCc(fourcc),
        }
    }

    /// Its E-RTMP v2 `VideoFourCc`; `None` for codecs that only legacy ids name.
    pub fn fourcc(self) -> Option<FourCc> {
        Some(match self {
            Self::Avc => FourCc(*b"avc1"),
            Self::Hevc => FourCc(*b"hvc1"),
            Self::Av1 => FourCc(*b"av01"),
            Self::Vp8 => FourCc(*b"vp08"),
            Self::Vp9 => FourCc(*b"vp09"),
            Self::Vvc => FourCc(*b"vvc1"),
            Self::UnknownFourCc(fourcc) => fourcc,
            _ => return None,
        })
    }

    /// Whether E-RTMP's `CodedFrames` of this codec start with a composition time (E-RTMP v2 "ExVideoTagBody").
    pub fn has_composition_time(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc | Self::Vvc)
    }
}

/// What an audio track is coded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// Linear PCM in the byte order of the encoder's machine (legacy id 0).
    PcmPlatformEndian,
    /// ADPCM (legacy id 1).
    Adpcm,
    /// MP3 (legacy id 2 and, at 8 kHz, 14; `.mp3`).
    Mp3,
    /// Linear PCM, little endian (legacy id 3).
    PcmLittleEndian,
    /// Nellymoser (legacy id 6 and, at 16 kHz and 8 kHz mono, 4 and 5).
    Nellymoser,
    /// G.711 A-law (legacy id 7).
    G711ALaw,
    /// G.711 mu-law (legacy id 8).
    G711MuLaw,
    /// AAC (legacy id 10, `mp4a`).
    Aac,
    /// Speex (legacy id 11).
    Speex,
    /// Whatever the device makes (legacy id 15).
    DeviceSpecific,
    /// Opus (`Opus`).
    Opus,
    /// FLAC (`fLaC`).
    Flac,
    /// AC-3 (`ac-3`).
    Ac3,
    /// E-AC-3 (`ec-3`).
    Eac3,
    /// A legacy id without a meaning.
    UnknownId(u8),
    /// A FourCC that we do not know.
    UnknownFourCc(FourCc),
}

impl AudioCodec {
    /// From the legacy `SoundFormat` (FLV 10.1 §E.4.2.1).
    pub fn from_id(id: u8) -> Self {
        match id {
            0 => Self::PcmPlatformEndian,
            1 => Self::Adpcm,
            2 | 14 => Self::Mp3,
            3 => Self::PcmLittleEndian,
            4..=6 => Self::Nellymoser,
            7 => Self::G711ALaw,
            8 => Self::G711MuLaw,
            10 => Self::Aac,
            11 => Self::Speex,
            15 => Self::DeviceSpecific,
            id => Self::UnknownId(id),
        }
    }

    /// From an E-RTMP v2 `AudioFourCc`.
    pub fn from_fourcc(fourcc: FourCc) -> Self {
        match &fourcc.0 {
            b"mp4a" => Self::Aac,
            b"Opus" => Self::Opus,
            b".mp3" => Self::Mp3,
            b"fLaC" => Self::Flac,
            b"ac-3" => Self::Ac3,
            b"ec-3" => Self::Eac3,
            _ => Self::UnknownFourCc(fourcc),
        }
    }

    /// Its E-RTMP v2 `AudioFourCc`; `None` for codecs that only legacy ids name.
    pub fn fourcc(self) -> Option<FourCc> {
        Some(match self {
            Self::Aac => FourCc(*b"mp4a"),
            Self::Opus => FourCc(*b"Opus"),
            Self::Mp3 => FourCc(*b".mp3"),
            Self::Flac => FourCc(*b"fLaC"),
            Self::Ac3 => FourCc(*b"ac-3"),
            Self::Eac3 => FourCc(*b"ec-3"),
            Self::UnknownFourCc(fourcc) => fourcc,
            _ => return None,
        })
    }
}

/// What a track is coded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// A video codec.
    Video(VideoCodec),
    /// An audio codec.
    Audio(AudioCodec),
}

/// Every codec that has a name.
const NAMED: [Codec; 25] = {
    use AudioCodec as A;
    use Codec::{Audio, Video};
    use VideoCodec as V;
    [
        Video(V::SorensonH263),
        Video(V::ScreenVideo),
        Video(V::Vp6),
        Video(V::Vp6Alpha),
        Video(V::ScreenVideo2),
        Video(V::Avc),
        Video(V::Hevc),
        Video(V::Av1),
        Video(V::Vp8),
        Video(V::Vp9),
        Video(V::Vvc),
        Audio(A::PcmPlatformEndian),
        Audio(A::Adpcm),
        Audio(A::Mp3),
        Audio(A::PcmLittleEndian),
        Audio(A::Nellymoser),
        Audio(A::G711ALaw),
        Audio(A::G711MuLaw),
        Audio(A::Aac),
        Audio(A::Speex),
        Audio(A::DeviceSpecific),
        Audio(A::Opus),
        Audio(A::Flac),
        Audio(A::Ac3),
        Audio(A::Eac3),
    ]
};

impl Codec {
    /// The codecs that are shown under this name ([`Codec::label`]): none if it is no name, two for `pcm`.
    pub fn labelled(label: &str) -> impl Iterator<Item = Self> {
        NAMED.into_iter().filter(move |codec| codec.label() == label)
    }

    /// The name that it is shown under outside: its FourCC, else that of [`Codec::name`].
    pub fn label(self) -> Cow<'static, str> {
        self.fourcc().map_or_else(|| self.name(), |fourcc| Cow::Owned(format!("{fourcc}")))
    }

    /// Whether neither we nor the specifications know it.
    pub fn is_unknown(self) -> bool {
        matches!(
            self,
            Self::Video(VideoCodec::UnknownId(_) | VideoCodec::UnknownFourCc(_))
                | Self::Audio(AudioCodec::UnknownId(_) | AudioCodec::UnknownFourCc(_))
        )
    }

    /// Its E-RTMP v2 FourCC; `None` for codecs that only legacy ids name.
    pub fn fourcc(self) -> Option<FourCc> {
        match self {
            Self::Video(codec) => codec.fourcc(),
            Self::Audio(codec) => codec.fourcc(),
        }
    }

    /// The short name that stands for the codec while its configuration is not known: where RFC 6381 has a
    /// string for the codec as such, that one.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Video(codec) => match codec {
                VideoCodec::SorensonH263 => "flv1",
                VideoCodec::ScreenVideo => "flashsv",
                VideoCodec::Vp6 => "vp6f",
                VideoCodec::Vp6Alpha => "vp6a",
                VideoCodec::ScreenVideo2 => "flashsv2",
                VideoCodec::Avc => "avc1",
                VideoCodec::Hevc => "hvc1",
                VideoCodec::Av1 => "av01",
                VideoCodec::Vp8 => "vp08",
                VideoCodec::Vp9 => "vp09",
                VideoCodec::Vvc => "vvc1",
                VideoCodec::UnknownId(id) => return Cow::Owned(format!("video-{id}")),
                VideoCodec::UnknownFourCc(fourcc) => return Cow::Owned(format!("{fourcc}")),
            },
            Self::Audio(codec) => match codec {
                AudioCodec::PcmPlatformEndian | AudioCodec::PcmLittleEndian => "pcm",
                AudioCodec::Adpcm => "adpcm",
                AudioCodec::Mp3 => "mp3",
                AudioCodec::Nellymoser => "nellymoser",
                AudioCodec::G711ALaw => "alaw",
                AudioCodec::G711MuLaw => "ulaw",
                AudioCodec::Aac => "mp4a.40",
                AudioCodec::Speex => "speex",
                AudioCodec::DeviceSpecific => "device",
                AudioCodec::Opus => "opus",
                AudioCodec::Flac => "flac",
                AudioCodec::Ac3 => "ac-3",
                AudioCodec::Eac3 => "ec-3",
                AudioCodec::UnknownId(id) => return Cow::Owned(format!("audio-{id}")),
                AudioCodec::UnknownFourCc(fourcc) => return Cow::Owned(format!("{fourcc}")),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// Every FourCC of the specification names a codec, and legacy and enhanced names of one codec meet.
    #[test]
    fn legacy_ids_and_fourccs_meet_in_one_codec() {
        for fourcc in [b"avc1", b"hvc1", b"av01", b"vp08", b"vp09", b"vvc1"].map(|name| FourCc(*name)) {
            let codec = VideoCodec::from_fourcc(fourcc);
            assert!(!Codec::Video(codec).is_unknown());
            assert_eq!(codec.fourcc(), Some(fourcc));
        }
        for fourcc in [b"mp4a", b"Opus", b".mp3", b"fLaC", b"ac-3", b"ec-3"].map(|name| FourCc(*name)) {
            let codec = AudioCodec::from_fourcc(fourcc);
            assert!(!Codec::Audio(codec).is_unknown());
            assert_eq!(codec.fourcc(), Some(fourcc));
        }
        assert_eq!((VideoCodec::from_id(4).fourcc(), AudioCodec::from_id(11).fourcc()), (None, None));
        assert_eq!(VideoCodec::from_id(7), VideoCodec::from_fourcc(FourCc(*b"avc1")));
        assert_eq!(VideoCodec::from_id(12), VideoCodec::from_fourcc(FourCc(*b"hvc1")));
        assert_eq!(AudioCodec::from_id(10), AudioCodec::from_fourcc(FourCc(*b"mp4a")));
        assert_eq!(AudioCodec::from_id(14), AudioCodec::from_fourcc(FourCc(*b".mp3")));
        assert!(Codec::Video(VideoCodec::from_id(13)).is_unknown());
        assert!(Codec::Audio(AudioCodec::from_id(9)).is_unknown(), "9 switches to the enhanced header");
    }

    /// Every codec that an id or a FourCC of the specifications names is found by the name that it is shown under, and by no other.
    #[test]
    fn codecs_are_found_by_their_names() {
        let legacy = (0..16)
            .flat_map(|id| [Codec::Video(VideoCodec::from_id(id)), Codec::Audio(AudioCodec::from_id(id))]);
        for codec in legacy.chain(NAMED).filter(|codec| !codec.is_unknown()) {
            assert!(Codec::labelled(&codec.label()).any(|found| found == codec), "{codec:?}");
        }
        assert_eq!(Codec::labelled("avc1").collect::<Vec<_>>(), [Codec::Video(VideoCodec::Avc)]);
        assert_eq!(Codec::labelled("pcm").count(), 2);
        for nothing in ["", "AVC1", "avc1.64001f", "h264", "zz99", "video-9", "opus"] {
            assert_eq!(Codec::labelled(nothing).count(), 0, "{nothing}");
        }
    }
}
