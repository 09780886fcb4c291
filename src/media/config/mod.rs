//! Codec configuration: what a sequence header says of its track.
//!
//! One file a record. Each parses the record's fixed part and as much of the parameter sets as size or sample
//! rate need. A record that is malformed costs nobody the stream: the frame is forwarded all the same and the
//! fault is counted.
//! # Bounds
//! The caller bounds the record's length; each parser is linear in it and allocates nothing but codec strings.
//! # Errors
//! [`ConfigError`], always the publisher's fault, never fatal.

pub mod aac;
pub mod av1;
pub mod avc;
mod bits;
pub mod flac;
pub mod hevc;
pub mod opus;
pub mod vpx;

use alloc::string::String;

use thiserror::Error;

use super::codec::{AudioCodec, Codec, VideoCodec};

/// What is wrong with a configuration record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// No bytes at all: some encoders announce a track this way and send the record later.
    #[error("configuration record is empty")]
    Empty,
    /// It ends before its end.
    #[error("configuration record is truncated")]
    Truncated,
    /// A version other than the one that the format has.
    #[error("configuration record has unknown version {0}")]
    Version(u8),
    /// No sequence parameter set (sequence header OBU) in it.
    #[error("configuration record has no parameter set")]
    NoParameterSet,
    /// A number that the format forbids or that no picture or sound can have.
    #[error("configuration record has a number out of range")]
    OutOfRange,
}

/// Width and height of the picture as it is to be shown, in pixels, cropping applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Size {
    /// Largest width and height that are believed: what 16 bits hold, as in AV1 and in MP4's sample entries.
    pub const PIXELS_MAX: u32 = 65_536;

    /// Coded size less what is cropped off, if a picture is left and is not absurdly large.
    fn cropped(coded: (u64, u64), crop: (u64, u64)) -> Result<Self, ConfigError> {
        let side = |coded: u64, crop: u64| match coded.checked_sub(crop) {
            Some(pixels @ 1..) if pixels <= u64::from(Self::PIXELS_MAX) => Ok(pixels as u32),
            _ => Err(ConfigError::OutOfRange),
        };
        Ok(Self { width: side(coded.0, crop.0)?, height: side(coded.1, crop.1)? })
    }
}

/// What configuration records have in common: enough to show a track and to name it in a playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// RFC 6381 codec string (`avc1.64001f`, `mp4a.40.2`).
    pub codec_string: String,
    /// The codec's own profile number; AAC's audio object type.
    pub profile: Option<u8>,
    /// The codec's own level number.
    pub level: Option<u8>,
    /// Size of the picture.
    pub size: Option<Size>,
    /// Samples a second, Hz, as they come out of the decoder.
    pub sample_rate: Option<u32>,
    /// Channels that come out of the decoder.
    pub channels: Option<u8>,
    /// The part of the record that could not be read, when the rest could.
    pub fault: Option<ConfigError>,
}

/// Reads the record of any codec whose record we know; `None` for the others.
pub fn describe(codec: Codec, record: &[u8]) -> Option<Result<Description, ConfigError>> {
    Some(match codec {
        Codec::Video(VideoCodec::Avc) => avc::AvcConfig::parse(record).map(|config| config.describe()),
        Codec::Video(VideoCodec::Hevc) => hevc::HevcConfig::parse(record).map(|config| config.describe()),
        Codec::Video(VideoCodec::Av1) => av1::Av1Config::parse(record).map(|config| config.describe()),
        Codec::Audio(AudioCodec::Aac) => aac::AacConfig::parse(record).map(|config| config.describe()),
        Codec::Audio(AudioCodec::Flac) => flac::FlacConfig::parse(record).map(|config| config.describe()),
        Codec::Video(VideoCodec::Vp8 | VideoCodec::Vp9) => {
            let fourcc = codec.fourcc()?;
            vpx::VpxConfig::parse(record).map(|config| config.describe(fourcc))
        }
        Codec::Audio(AudioCodec::Opus) => opus::OpusConfig::parse(record).map(|config| config.describe()),
        _ => return None,
    })
}

/// Bytes from a hex string with spaces, for test vectors.
#[cfg(test)]
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DESCRIBED: [Codec; 7] = [
        Codec::Video(VideoCodec::Avc),
        Codec::Video(VideoCodec::Hevc),
        Codec::Video(VideoCodec::Av1),
        Codec::Audio(AudioCodec::Aac),
        Codec::Audio(AudioCodec::Opus),
        Codec::Audio(AudioCodec::Flac),
        Codec::Video(VideoCodec::Vp9),
    ];

    /// Records made by ffmpeg 9, as the seeds of mutations.
    fn records() -> Vec<(Codec, Vec<u8>)> {
        vec![
            (DESCRIBED[0], hex(avc::tests::HIGH_422_720P)),
            (DESCRIBED[0], hex(avc::tests::INTERLACED_576)),
            (DESCRIBED[1], hex(hevc::tests::MAIN_TWO_LAYERS_426X242)),
            (DESCRIBED[2], hex(av1::tests::MAIN_720P)),
            (DESCRIBED[3], hex("1190 56e500")),
            (DESCRIBED[4], hex(opus::tests::SURROUND)),
            (DESCRIBED[5], hex(flac::tests::MONO)),
            (DESCRIBED[6], hex(vpx::tests::PROFILE_0)),
        ]
    }

    /// Codecs without a record of ours are said to have none, not to be faulty.
    #[test]
    fn other_codecs_have_no_description() {
        assert_eq!(describe(Codec::Video(VideoCodec::Vvc), &[1, 2, 3]), None);
        assert_eq!(describe(Codec::Audio(AudioCodec::Mp3), &[]), None);
    }

    /// An empty record is its own kind of fault for every codec.
    #[test]
    fn an_empty_record_is_named() {
        for codec in DESCRIBED {
            assert_eq!(describe(codec, &[]), Some(Err(ConfigError::Empty)));
        }
    }

    proptest! {
        /// Garbage never panics, and what is believed is within bounds.
        #[test]
        fn garbage_gives_an_error_or_a_sane_description(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for codec in DESCRIBED {
                check(describe(codec, &bytes))?;
            }
        }

        /// Real records with some bytes changed and an end cut off get deep into the parsers.
        #[test]
        fn mutated_records_give_an_error_or_a_sane_description(
            which in 0usize..8,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let (codec, mut record) = records().swap_remove(which);
            for (at, byte) in changes {
                let at = at.index(record.len());
                record[at] = byte;
            }
            check(describe(codec, &record))?;
            record.truncate(cut.index(record.len() + 1));
            check(describe(codec, &record))?;
        }
    }

    fn check(described: Option<Result<Description, ConfigError>>) -> Result<(), TestCaseError> {
        if let Some(Ok(description)) = described {
            prop_assert!(!description.codec_string.is_empty() && description.codec_string.len() < 64);
            if let Some(size) = description.size {
                prop_assert!((1..=Size::PIXELS_MAX).contains(&size.width));
                prop_assert!((1..=Size::PIXELS_MAX).contains(&size.height));
            }
            prop_assert!(description.sample_rate != Some(0) && description.channels != Some(0));
        }
        Ok(())
    }
}
