//! `onMetaData` as hints: what the encoder says of itself, shown beside what the stream says, never trusted.
//!
//! Encoders leave it out, send strings where numbers belong, zeros, or the numbers of another stream. Nothing
//! here decides what becomes of a frame.
//! # Bounds
//! [`AmfLimits`] of the decoder, and [`TEXT_BYTES_MAX`] of what is kept of a text.
//! # Errors
//! Those of AMF, the publisher's fault; the message is forwarded all the same.

use alloc::borrow::ToOwned;
use alloc::string::String;

use super::codec::{AudioCodec, FourCc, VideoCodec};
use crate::rtmp::amf::{Value, amf0};
use crate::rtmp::limits::AmfLimits;
use crate::rtmp::{Error, Payload};

/// Bytes that are kept of the encoder's name for itself.
pub const TEXT_BYTES_MAX: usize = 128;

/// What `onMetaData` says (FLV 10.1 §E.5; E-RTMP v2 "Enhancing onMetaData"). Anything may be missing or wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataHints {
    /// Width of the default video track, pixels.
    pub width: Option<u32>,
    /// Height of the default video track, pixels.
    pub height: Option<u32>,
    /// Pictures a second.
    pub frame_rate: Option<f64>,
    /// Bit rate of video, kbit/s.
    pub video_kbps: Option<u32>,
    /// Codec of video.
    pub video_codec: Option<VideoCodec>,
    /// Bit rate of audio, kbit/s.
    pub audio_kbps: Option<u32>,
    /// Codec of audio.
    pub audio_codec: Option<AudioCodec>,
    /// Samples a second, Hz.
    pub sample_rate: Option<u32>,
    /// Channels.
    pub channels: Option<u8>,
    /// The encoder's name for itself.
    pub encoder: Option<String>,
}

impl MetadataHints {
    /// Reads a message that begins with the name `onMetaData`.
    pub fn parse(message: &Payload, limits: &AmfLimits) -> Result<Self, Error> {
        let bytes = message.to_bytes();
        let mut decoder = amf0::Decoder::new(&bytes, limits);
        decoder.value()?; // the name
        let values = decoder.value()?;
        let number = |name| values.property(name).and_then(Value::as_f64);
        let whole = |name| number(name).and_then(whole);
        Ok(Self {
            width: whole("width"),
            height: whole("height"),
            frame_rate: number("framerate").filter(|rate| rate.is_finite() && *rate > 0.0),
            video_kbps: whole("videodatarate"),
            video_codec: values.property("videocodecid").and_then(video_codec),
            audio_kbps: whole("audiodatarate"),
            audio_codec: values.property("audiocodecid").and_then(audio_codec),
            sample_rate: whole("audiosamplerate"),
            channels: channels(&values),
            encoder: values.property("encoder").and_then(Value::as_str).map(text),
        })
    }
}

/// A count that can be meant: 0 stands for "unknown" with many encoders.
fn whole(number: f64) -> Option<u32> {
    (1.0..=f64::from(u32::MAX)).contains(&number).then_some(number as u32)
}

fn channels(values: &Value) -> Option<u8> {
    let count = values.property("audiochannels").and_then(Value::as_f64).and_then(whole);
    let stereo = || values.property("stereo").and_then(Value::as_bool).map(|stereo| 1 + u8::from(stereo));
    count.and_then(|count| u8::try_from(count).ok()).or_else(stereo)
}

/// A legacy id, a FourCC as number (E-RTMP v2), or a FourCC as text (OBS, XSplit).
enum CodecId {
    Legacy(u8),
    FourCc(FourCc),
}

fn codec_id(value: &Value) -> Option<CodecId> {
    if let Some(text) = value.as_str() {
        return text.as_bytes().try_into().ok().map(|text| CodecId::FourCc(FourCc(text)));
    }
    let id = value.as_f64()?;
    match id {
        0.0..16.0 => Some(CodecId::Legacy(id as u8)),
        16.0.. => whole(id).map(|id| CodecId::FourCc(FourCc(id.to_be_bytes()))),
        _ => None,
    }
}

fn video_codec(value: &Value) -> Option<VideoCodec> {
    codec_id(value).map(|id| match id {
        CodecId::Legacy(id) => VideoCodec::from_id(id),
        CodecId::FourCc(fourcc) => VideoCodec::from_fourcc(fourcc),
    })
}

fn audio_codec(value: &Value) -> Option<AudioCodec> {
    codec_id(value).map(|id| match id {
        CodecId::Legacy(id) => AudioCodec::from_id(id),
        CodecId::FourCc(fourcc) => AudioCodec::from_fourcc(fourcc),
    })
}

/// The start of a text, without control characters, since it ends up in logs.
fn text(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let start = &text[..end];
    if start.chars().any(char::is_control) {
        start.chars().filter(|c| !c.is_control()).collect()
    } else {
        start.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::media::config::hex;

    fn parse(bytes: &[u8]) -> Result<MetadataHints, Error> {
        MetadataHints::parse(&Payload::from(Bytes::copy_from_slice(bytes)), &AmfLimits::default())
    }

    fn hints(values: &[(&str, Value)]) -> MetadataHints {
        let mut out = BytesMut::new();
        amf0::write(&"onMetaData".into(), &mut out).unwrap();
        let object =
            Value::Object(values.iter().map(|(name, value)| ((*name).into(), value.clone())).collect());
        amf0::write(&object, &mut out).unwrap();
        parse(&out).unwrap()
    }

    /// Made by ffmpeg 9.0 for HEVC: an ECMA array, the codec a FourCC as number.
    #[test]
    fn metadata_of_ffmpeg_is_read() {
        let hints = parse(&hex(
            "02000a6f6e4d65746144617461080000000800086475726174696f6e003fe66666666666660005776964746800409e0000000000000006686569676874004090e00000000000000d766964656f646174617261746500000000000000000000096672616d6572617465004024000000000000000c766964656f636f64656369640041da1d98cc4000000007656e636f64657202000c4c61766636332e312e313032000866696c6573697a650040ced60000000000000009",
        ));
        let expected = MetadataHints {
            width: Some(1920),
            height: Some(1080),
            frame_rate: Some(10.0),
            video_codec: Some(VideoCodec::Hevc),
            encoder: Some("Lavf63.1.102".into()),
            ..MetadataHints::default()
        };
        assert_eq!(hints, Ok(expected));
    }

    /// Text where numbers belong, numbers that are none, too much text: taken as absent, or cut.
    #[test]
    fn nonsense_is_taken_as_absent() {
        let hints = hints(&[
            ("width", Value::from("1920")),
            ("height", Value::from(f64::NAN)),
            ("framerate", Value::from(f64::INFINITY)),
            ("videodatarate", Value::from(-1.0)),
            ("audiosamplerate", Value::from(1e300)),
            ("audiochannels", Value::from(300.0)),
            ("stereo", Value::from(true)),
            ("videocodecid", Value::from("H264")),
            ("audiocodecid", Value::from("mp4a.40.2")),
            ("encoder", Value::from(&*format!("evil\x1b[2J{}", "é".repeat(200)))),
        ]);
        assert_eq!((hints.width, hints.height, hints.frame_rate), (None, None, None));
        assert_eq!((hints.video_kbps, hints.sample_rate, hints.channels), (None, None, Some(2)));
        assert_eq!(hints.video_codec, Some(VideoCodec::UnknownFourCc(FourCc(*b"H264"))));
        assert_eq!(hints.audio_codec, None);
        let encoder = hints.encoder.unwrap();
        assert!(encoder.starts_with("evil[2Jé") && encoder.len() <= TEXT_BYTES_MAX);
    }

    /// Codec ids in each of their three forms.
    #[test]
    fn codec_ids_have_three_forms() {
        let ids = |video: Value, audio: Value| {
            let hints = hints(&[("videocodecid", video), ("audiocodecid", audio)]);
            (hints.video_codec.unwrap(), hints.audio_codec.unwrap())
        };
        assert_eq!(ids(7.0.into(), 10.0.into()), (VideoCodec::Avc, AudioCodec::Aac));
        assert_eq!(ids("avc1".into(), "mp4a".into()), (VideoCodec::Avc, AudioCodec::Aac));
        let number = |fourcc: &[u8; 4]| Value::from(f64::from(u32::from_be_bytes(*fourcc)));
        assert_eq!(ids(number(b"av01"), number(b"Opus")), (VideoCodec::Av1, AudioCodec::Opus));
    }

    proptest! {
        /// Garbage behind the name never panics.
        #[test]
        fn garbage_is_an_error_or_hints(bytes: Vec<u8>) {
            let _ = parse(&[&b"\x02\x00\x0aonMetaData"[..], &bytes].concat());
            let _ = parse(&[&b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01\x00\x05width\x00"[..], &bytes].concat());
        }
    }
}
