//! `onMetaData` as hints: what the encoder says of itself, shown beside what the stream says, never trusted.
//!
//! Encoders leave it out, send strings where numbers belong, zeros, or the numbers of another stream. Nothing
//! here decides what becomes of a frame.
//! # Bounds
//! [`AmfLimits`] of the decoder; [`TEXT_BYTES_MAX`] of what is kept of a text, and [`TRACKS_MAX`] tracks a kind.
//! # Errors
//! Those of AMF, the publisher's fault; the message is forwarded all the same.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use super::codec::{AudioCodec, Codec, FourCc, VideoCodec};
use super::frame::{MediaKind, TrackId};
use super::track::TRACKS_MAX;
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
    /// The tracks beside the default ones, video first, each kind by number.
    pub tracks: Vec<TrackHints>,
}

/// What `onMetaData` says of one track beside the default one (E-RTMP v2 "Enhancing onMetaData": `videoTrackIdInfoMap`,
/// `audioTrackIdInfoMap`). What is not said of it is what was said of the default track, as the specification allows to shorten it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackHints {
    /// Its number among those of its kind.
    pub id: TrackId,
    /// Codec, which tells the kind as well; `None` when it was said neither of this track nor of the default one.
    pub codec: Option<Codec>,
    /// Audio or video.
    pub kind: MediaKind,
    /// Bit rate, kbit/s.
    pub kbps: Option<u32>,
    /// Width and height, pixels; video only.
    pub size: Option<(u32, u32)>,
    /// Pictures a second; video only.
    pub frame_rate: Option<f64>,
    /// Samples a second, Hz; audio only.
    pub sample_rate: Option<u32>,
    /// Channels; audio only.
    pub channels: Option<u8>,
}

impl MetadataHints {
    /// Reads a message that begins with the name `onMetaData`.
    pub fn parse(message: &Payload, limits: &AmfLimits) -> Result<Self, Error> {
        let bytes = message.to_bytes();
        let mut decoder = amf0::Decoder::new(&bytes, limits);
        decoder.value()?; // the name
        let values = decoder.value()?;
        let mut hints = Self {
            width: whole(&values, "width"),
            height: whole(&values, "height"),
            frame_rate: frame_rate(&values),
            video_kbps: whole(&values, "videodatarate"),
            video_codec: values.property("videocodecid").and_then(video_codec),
            audio_kbps: whole(&values, "audiodatarate"),
            audio_codec: values.property("audiocodecid").and_then(audio_codec),
            sample_rate: whole(&values, "audiosamplerate"),
            channels: channels(&values),
            encoder: values.property("encoder").and_then(Value::as_str).map(text),
            tracks: Vec::new(),
        };
        for (kind, name) in
            [(MediaKind::Video, "videoTrackIdInfoMap"), (MediaKind::Audio, "audioTrackIdInfoMap")]
        {
            let map = values.property(name).and_then(Value::properties).unwrap_or_default();
            hints.read_tracks(kind, map);
        }
        Ok(hints)
    }

    /// Whether it says that there will be frames of this kind. Some encoders write every field whether they have that kind or not, so that a
    /// codec of 0, which is their word for none, counts more than a size or rate.
    pub fn announces(&self, kind: MediaKind) -> bool {
        match kind {
            MediaKind::Video => match self.video_codec {
                Some(codec) => codec != VideoCodec::UnknownId(0),
                None => self.width.is_some() && self.height.is_some(),
            },
            MediaKind::Audio => match self.audio_codec {
                Some(codec) => codec != AudioCodec::PcmPlatformEndian,
                None => self.sample_rate.is_some(),
            },
            MediaKind::Data => false,
        }
    }

    /// What was said of that track; `None` for the default ones, which the other fields are about.
    pub fn track(&self, kind: MediaKind, id: TrackId) -> Option<&TrackHints> {
        self.tracks.iter().find(|track| (track.kind, track.id) == (kind, id))
    }

    fn read_tracks(&mut self, kind: MediaKind, map: &[(String, Value)]) {
        let from = self.tracks.len();
        for (key, said) in map {
            // Keys begin at 1: 0 is the default track.
            let Some(id) = key.parse().ok().filter(|id| *id > 0).map(TrackId) else { continue };
            if said.properties().is_none() {
                continue;
            }
            let hints = match kind {
                MediaKind::Video => self.video_track(id, said),
                MediaKind::Audio | MediaKind::Data => self.audio_track(id, said),
            };
            // As an assignment would have it, the last one counts; what is new beyond the bound is not looked at.
            if let Some(known) = self.tracks.iter_mut().skip(from).find(|track| track.id == id) {
                *known = hints;
            } else if self.tracks.len() - from < TRACKS_MAX {
                self.tracks.push(hints);
            }
        }
        if let Some(tracks) = self.tracks.get_mut(from..) {
            tracks.sort_unstable_by_key(|track| track.id);
        }
    }

    fn video_track(&self, id: TrackId, said: &Value) -> TrackHints {
        let codec = said.property("videocodecid").and_then(video_codec).or(self.video_codec);
        let width = whole(said, "width").or(self.width);
        let height = whole(said, "height").or(self.height);
        TrackHints {
            id,
            codec: codec.map(Codec::Video),
            kind: MediaKind::Video,
            kbps: whole(said, "videodatarate").or(self.video_kbps),
            size: width.zip(height),
            frame_rate: frame_rate(said).or(self.frame_rate),
            sample_rate: None,
            channels: None,
        }
    }

    /// The specification's example has `samplerate` and `channels` here, where the default track has `audiosamplerate` and, with most
    /// encoders, `audiochannels`.
    fn audio_track(&self, id: TrackId, said: &Value) -> TrackHints {
        let codec = said.property("audiocodecid").and_then(audio_codec).or(self.audio_codec);
        let rate = whole(said, "samplerate").or_else(|| whole(said, "audiosamplerate"));
        let count = whole(said, "channels").and_then(|count| u8::try_from(count).ok());
        TrackHints {
            id,
            codec: codec.map(Codec::Audio),
            kind: MediaKind::Audio,
            kbps: whole(said, "audiodatarate").or(self.audio_kbps),
            size: None,
            frame_rate: None,
            sample_rate: rate.or(self.sample_rate),
            channels: count.or_else(|| channels(said)).or(self.channels),
        }
    }
}

fn number(values: &Value, name: &str) -> Option<f64> {
    values.property(name).and_then(Value::as_f64)
}

fn frame_rate(values: &Value) -> Option<f64> {
    number(values, "framerate").filter(|rate| rate.is_finite() && *rate > 0.0)
}

fn whole(values: &Value, name: &str) -> Option<u32> {
    number(values, name).and_then(count)
}

/// A count that can be meant: 0 stands for "unknown" with many encoders.
fn count(number: f64) -> Option<u32> {
    (1.0..=f64::from(u32::MAX)).contains(&number).then_some(number as u32)
}

fn channels(values: &Value) -> Option<u8> {
    let count = whole(values, "audiochannels");
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
        16.0.. => count(id).map(|id| CodecId::FourCc(FourCc(id.to_be_bytes()))),
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
        assert_eq!(ids(number(b"av01"), number(b"Opus")), (VideoCodec::Av1, AudioCodec::Opus));
    }

    fn number(fourcc: &[u8; 4]) -> Value {
        f64::from(u32::from_be_bytes(*fourcc)).into()
    }

    /// The example of the specification, and the default tracks' properties where a track leaves its own away.
    #[test]
    fn tracks_are_described_in_full_or_by_what_differs() {
        let hints = hints(&[
            ("width", 1920.0.into()),
            ("height", 1080.0.into()),
            ("framerate", 30.0.into()),
            ("videodatarate", 6000.0.into()),
            ("videocodecid", number(b"avc1")),
            ("audiodatarate", 128.0.into()),
            ("audiosamplerate", 48_000.0.into()),
            ("audiocodecid", number(b"mp4a")),
            ("stereo", true.into()),
            (
                "videoTrackIdInfoMap",
                Value::object([
                    (
                        "2",
                        Value::object([
                            ("width", 3840.0.into()),
                            ("height", 2160.0.into()),
                            ("videodatarate", 30_000.0.into()),
                            ("videocodecid", number(b"avc1")),
                        ]),
                    ),
                    (
                        "1",
                        Value::ecma_array([
                            ("width", 1024.0.into()),
                            ("height", 768.0.into()),
                            ("videodatarate", 2000.0.into()),
                            ("videocodecid", number(b"av01")),
                        ]),
                    ),
                    ("7", Value::object([("videodatarate", 900.0.into())])),
                ]),
            ),
            (
                "audioTrackIdInfoMap",
                Value::object([
                    (
                        "1",
                        Value::object([
                            ("audiodatarate", 256.0.into()),
                            ("channels", 6.0.into()),
                            ("samplerate", 44_100.0.into()),
                            ("audiocodecid", number(b"Opus")),
                        ]),
                    ),
                    ("2", Value::object([])),
                ]),
            ),
        ]);
        let video = |id, codec, kbps, size| TrackHints {
            id: TrackId(id),
            codec: Some(Codec::Video(codec)),
            kind: MediaKind::Video,
            kbps: Some(kbps),
            size: Some(size),
            frame_rate: Some(30.0),
            sample_rate: None,
            channels: None,
        };
        let audio = |id, codec, kbps, sample_rate, channels| TrackHints {
            id: TrackId(id),
            codec: Some(Codec::Audio(codec)),
            kind: MediaKind::Audio,
            kbps: Some(kbps),
            size: None,
            frame_rate: None,
            sample_rate: Some(sample_rate),
            channels: Some(channels),
        };
        let expected = [
            video(1, VideoCodec::Av1, 2000, (1024, 768)),
            video(2, VideoCodec::Avc, 30_000, (3840, 2160)),
            video(7, VideoCodec::Avc, 900, (1920, 1080)),
            audio(1, AudioCodec::Opus, 256, 44_100, 6),
            audio(2, AudioCodec::Aac, 128, 48_000, 2),
        ];
        assert_eq!(hints.tracks, expected);
        assert_eq!(hints.track(MediaKind::Audio, TrackId(1)), Some(&expected[3]));
        assert_eq!(hints.track(MediaKind::Audio, TrackId(7)), None);
    }

    /// Keys that are no track, values that are no object, a map that is none, a track said twice, and more tracks than are told apart.
    #[test]
    fn a_map_of_tracks_is_taken_for_no_more_than_it_is() {
        let object = || Value::object([("width", 640.0.into()), ("height", 360.0.into())]);
        let keys = ["0", "-1", "256", "1.5", "one", "", " 2"];
        let map = Value::Object(keys.iter().map(|key| ((*key).into(), object())).collect());
        let none = hints(&[("videoTrackIdInfoMap", map), ("audioTrackIdInfoMap", 7.0.into())]);
        assert_eq!(none.tracks, []);

        let several = Value::object([("3", object()), ("4", 7.0.into()), ("3", Value::object([]))]);
        let twice = hints(&[("videoTrackIdInfoMap", several)]);
        assert_eq!(
            twice.tracks.iter().map(|track| (track.id.0, track.size)).collect::<Vec<_>>(),
            [(3, None)]
        );

        let many = Value::Object((1..=255).rev().map(|id| (std::format!("{id}"), object())).collect());
        let many = hints(&[("videoTrackIdInfoMap", many.clone()), ("audioTrackIdInfoMap", many)]);
        assert_eq!(many.tracks.len(), 2 * TRACKS_MAX);
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
