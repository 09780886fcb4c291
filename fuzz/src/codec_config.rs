//! Target `codec_config`: configuration records, without the tag headers around them.
//!
//! # What is promised
//! A record gives an error or a description that can be shown: a short codec string of printable ASCII, a size and a rate that can be.
//! # Input
//! One byte that tells the codec, then the record.

use inrush::media::codec::{AudioCodec, Codec, VideoCodec};
use inrush::media::config::{ConfigError, Size, describe};

/// All codecs whose records we know, and one whose we do not.
const CODECS: [Codec; 6] = [
    Codec::Video(VideoCodec::Avc),
    Codec::Video(VideoCodec::Hevc),
    Codec::Video(VideoCodec::Av1),
    Codec::Audio(AudioCodec::Aac),
    Codec::Audio(AudioCodec::Opus),
    Codec::Video(VideoCodec::Vp9),
];

/// Longest codec string that there is, with room.
const CODEC_STRING_BYTES_MAX: usize = 64;

/// One record.
pub fn codec_config(data: &[u8]) {
    let (which, record) = data.split_first().unwrap_or((&0, &[]));
    let codec = CODECS[usize::from(*which) % CODECS.len()];
    let description = match describe(codec, record) {
        None => return assert_eq!(codec, CODECS[5]),
        Some(Err(error)) => return assert_eq!(error == ConfigError::Empty, record.is_empty(), "{error}"),
        Some(Ok(description)) => description,
    };
    let string = &description.codec_string;
    assert!((1..=CODEC_STRING_BYTES_MAX).contains(&string.len()), "{string}");
    assert!(string.bytes().all(|byte| byte.is_ascii_graphic()), "{string:?}");
    if let Some(Size { width, height }) = description.size {
        assert!((1..=Size::PIXELS_MAX).contains(&width) && (1..=Size::PIXELS_MAX).contains(&height));
    }
    assert!(description.sample_rate != Some(0) && description.channels != Some(0), "{description:?}");
}
