//! What becomes of messages, told with the bytes that ffmpeg 9.0 publishes.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::media::codec::FourCc;
use crate::media::config::{Size, hex};
use crate::media::track::TRACKS_MAX;
use crate::media::{Form, Timeline, TimestampPolicy};
use crate::rtmp::amf::{Value, amf0};
use crate::rtmp::message::type_id;
use crate::session::excess::CodecName;

const AVC_HEADER: &str =
    "1700000000 0142c028ffe100196742c028da01e0089f97011000000300100000030140f1832a01000468ce0fc8";
const AVC_HEADER_360P: &str =
    "1700000000 014d4016ffe10018674d4016eca05017fcb80880000003008000000a078b16cb01000568ebe3cb20";
const AVC_KEY: &str = "1701000000 000002430605ffff3fdc45e9bde6d9";
const AVC_INTER: &str = "2701000000 00001aa3419a2022837cd171f51f5f";
const AAC_HEADER: &str = "af00 119056e500";
const AAC_FRAME: &str = "af01 21111111";
const OPUS_HEADER_EMPTY: &str = "904f707573";
const OPUS_CHANNELS: &str = "944f707573 01 06 0000003f";

fn message(kind: MediaKind, timestamp: u32, body: impl Into<Bytes>) -> MediaMessage {
    let type_id = match kind {
        MediaKind::Audio => type_id::AUDIO,
        MediaKind::Video => type_id::VIDEO,
        MediaKind::Data => type_id::DATA_AMF0,
    };
    let payload = Payload::from(body.into());
    MediaMessage { kind, type_id, stream_id: 1, timestamp, wire_bytes: payload.len() as u32 + 12, payload }
}

fn metadata(values: &[Value]) -> Vec<u8> {
    let mut out = BytesMut::new();
    values.iter().for_each(|value| amf0::write(value, &mut out).unwrap());
    out.to_vec()
}

/// An ingest, and what is needed to feed it.
struct Fixture {
    ingest: Ingest,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self::with(TimestampPolicy::Pass)
    }

    fn with(timestamps: TimestampPolicy) -> Self {
        let settings = IngestSettings { timestamps, ..IngestSettings::default() };
        Self { ingest: Ingest::new(settings), now: Instant::from_micros(0) }
    }

    fn send(&mut self, message: MediaMessage) -> Option<Frame> {
        self.ingest.frame(self.now, message)
    }

    fn video(&mut self, timestamp: u32, text: &str) -> Frame {
        self.send(message(MediaKind::Video, timestamp, hex(text))).unwrap()
    }

    fn audio(&mut self, timestamp: u32, text: &str) -> Frame {
        self.send(message(MediaKind::Audio, timestamp, hex(text))).unwrap()
    }

    fn counters(&self) -> IngestCounters {
        *self.ingest.counters()
    }

    fn codecs(&self) -> Vec<&str> {
        self.ingest.tracks().iter().map(|track| track.codec_string.as_str()).collect()
    }
}

/// Metadata, headers, pictures and sound get their roles; the tracks are known from the headers.
#[test]
fn an_ordinary_stream() {
    let mut stream = Fixture::new();
    let values = ["@setDataFrame".into(), "onMetaData".into(), Value::object([("width", 640.0.into())])];
    let frame = stream.send(message(MediaKind::Data, 0, metadata(&values))).unwrap();
    assert_eq!((frame.role(), frame.payload().to_vec()), (FrameRole::Metadata, metadata(&values[1..])));
    assert_eq!(stream.video(0, AVC_HEADER).role(), FrameRole::SequenceHeader);
    assert_eq!(stream.audio(0, AAC_HEADER).role(), FrameRole::SequenceHeader);
    let key = stream.video(10, AVC_KEY);
    assert_eq!((key.role(), key.starts_gop(), key.timestamp()), (FrameRole::Key, true, 10));
    assert_eq!((key.kind(), key.payload().to_vec()), (MediaKind::Video, hex(AVC_KEY)));
    let inter = stream.video(50, AVC_INTER);
    assert_eq!((inter.role(), inter.starts_gop()), (FrameRole::Inter, false));
    assert_eq!(stream.audio(30, AAC_FRAME).role(), FrameRole::Audio);

    assert_eq!(stream.codecs(), ["avc1.42c028", "mp4a.40.2"]);
    let video = stream.ingest.tracks().default_video().unwrap();
    assert_eq!(video.size, Some(Size { width: 1920, height: 1080 }));
    let audio = stream.ingest.tracks().default_audio().unwrap();
    assert_eq!((audio.sample_rate, audio.channels), (Some(48_000), Some(2)));
    assert_eq!(stream.ingest.metadata().unwrap().width, Some(640), "hints say what they like");
    assert_eq!(stream.counters(), IngestCounters { frames: 6, sequence_headers: 2, ..Default::default() });
}

/// Pictures and sound keep the slices they came in; what is kept for long does not.
#[test]
fn headers_are_copied_and_frames_are_not() {
    let mut stream = Fixture::new();
    let values = metadata(&["onMetaData".into(), Value::Null]);
    let parts = [hex(AVC_HEADER), hex(AVC_KEY), hex(AAC_FRAME), hex(OPUS_CHANNELS), values];
    let kinds = [MediaKind::Video, MediaKind::Video, MediaKind::Audio, MediaKind::Audio, MediaKind::Data];
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    parts.iter().for_each(|part| buffer.extend_from_slice(part));
    let mut buffer = buffer.freeze();
    let range = buffer.as_ptr_range();
    let mut inside = Vec::new();
    for (part, kind) in parts.iter().zip(kinds) {
        let mut message = message(kind, 0, buffer.split_to(part.len()));
        message.wire_bytes = 1_000;
        let frame = stream.send(message).unwrap();
        assert_eq!(&frame.payload().to_vec(), part);
        let slice = &frame.payload().slices()[0];
        let is_inside = range.contains(&slice.as_ptr());
        assert_eq!(frame.retained_bytes() > 1_000, is_inside, "what is not pinned is not accounted for");
        inside.push(is_inside);
    }
    assert_eq!(inside, [false, true, true, false, false]);
}

/// What is copied or dropped lies in the same receive buffers as the frames beside it: the next of them counts it, once.
#[test]
fn a_frame_answers_for_the_input_before_it() {
    let mut stream = Fixture::new();
    let mut retained = |kind, body: Vec<u8>| {
        let frame = stream.send(MediaMessage { wire_bytes: 1_000, ..message(kind, 0, body) });
        frame.map(|frame| frame.retained_bytes() / 1_000)
    };
    let clear = metadata(&["@clearDataFrame".into()]);
    let values = metadata(&["onMetaData".into(), Value::Null]);
    let cue_point = metadata(&["onCuePoint".into()]);
    assert_eq!(retained(MediaKind::Video, hex(AVC_INTER)), Some(1));
    assert_eq!(retained(MediaKind::Data, clear.clone()), None);
    assert_eq!(retained(MediaKind::Data, values), Some(0));
    assert_eq!(retained(MediaKind::Video, hex(AVC_HEADER)), Some(0));
    assert_eq!(retained(MediaKind::Video, hex("17")), None);
    assert_eq!(retained(MediaKind::Audio, Vec::new()), None);
    assert_eq!(retained(MediaKind::Audio, hex(AAC_FRAME)), Some(6));
    assert_eq!(retained(MediaKind::Video, hex(AVC_INTER)), Some(1));
    assert_eq!(retained(MediaKind::Data, clear), None);
    assert_eq!(retained(MediaKind::Data, cue_point), Some(2));
}

/// A repeated sequence header is forwarded and changes nothing; a new one describes the track anew.
#[test]
fn repeated_and_changed_headers() {
    let mut stream = Fixture::new();
    let first = stream.video(0, AVC_HEADER);
    let sliced: Payload = hex(AVC_HEADER).chunks(7).map(Bytes::copy_from_slice).collect();
    let repeated =
        stream.send(MediaMessage { payload: sliced, ..message(MediaKind::Video, 40, "") }).unwrap();
    assert_eq!((repeated.role(), repeated.timestamp()), (FrameRole::SequenceHeader, 40));
    assert_eq!(repeated.payload(), first.payload());
    let address = |frame: &Frame| frame.payload().slices()[0].as_ptr();
    assert_eq!(address(&repeated), address(&first), "kept once");
    assert_eq!((stream.counters().sequence_headers, stream.counters().sequence_headers_repeated), (2, 1));

    stream.video(80, AVC_HEADER_360P);
    assert_eq!(stream.codecs(), ["avc1.4d4016"]);
    stream.video(120, AVC_HEADER);
    assert_eq!(stream.codecs(), ["avc1.42c028"]);
    assert_eq!(stream.counters().sequence_headers_repeated, 1);
}

/// A record that cannot be read is forwarded and counted, and the track is known by its codec alone.
#[test]
fn malformed_records_are_forwarded() {
    let mut stream = Fixture::new();
    stream.video(0, AVC_HEADER);
    for (body, malformed) in [("1700000000 00ff", 1), ("1700000000 0142c028ffe1ffff", 2)] {
        let frame = stream.video(0, body);
        assert_eq!((frame.role(), frame.payload().to_vec()), (FrameRole::SequenceHeader, hex(body)));
        assert_eq!(stream.counters().configs_malformed, malformed);
    }
    assert_eq!(stream.codecs(), ["avc1.42c028"], "of the second, profile and level are readable");
    stream.video(0, "1700000000 00ff");
    assert_eq!(stream.codecs(), ["avc1"]);
    assert_eq!(stream.video(0, AVC_KEY).role(), FrameRole::Key);
}

/// ffmpeg announces AV1 with an empty record before the real one; AAC without a record is in the field as well.
#[test]
fn empty_records_are_tolerated() {
    let mut stream = Fixture::new();
    assert_eq!(stream.video(0, "9061763031").role(), FrameRole::SequenceHeader);
    assert_eq!(stream.codecs(), ["av01"]);
    stream.video(0, "9061763031 81050c000a0b0000002d4cffb3cdaf9004");
    assert_eq!(stream.codecs(), ["av01.0.05M.08"]);
    stream.video(0, "9061763031");
    assert_eq!(stream.codecs(), ["av01.0.05M.08"], "announced again");
    assert_eq!(stream.audio(0, "af00").role(), FrameRole::SequenceHeader);
    assert_eq!(stream.audio(0, AAC_FRAME).role(), FrameRole::Audio);
    let counters = stream.counters();
    assert_eq!((counters.configs_empty, counters.configs_malformed), (3, 0));
}

/// What is too long to be kept for late joiners is forwarded, but not as a header.
#[test]
fn oversized_headers_are_forwarded_uncopied() {
    let mut stream = Fixture::new();
    let mut body = hex(AVC_HEADER);
    body.resize(HEADER_BYTES_MAX + 1, 0);
    let body = Bytes::from(body);
    let frame = stream.send(message(MediaKind::Video, 0, body.clone())).unwrap();
    assert_eq!(frame.role(), FrameRole::Other);
    assert_eq!(frame.payload().slices()[0].as_ptr(), body.as_ptr());
    assert_eq!(stream.counters().headers_oversized, 1);
    assert_eq!(stream.codecs(), ["avc1"]);
}

/// Nothing comes of nothing, nor of a header cut off.
#[test]
fn empty_and_cut_off_messages_are_dropped() {
    let mut stream = Fixture::new();
    for kind in [MediaKind::Audio, MediaKind::Video, MediaKind::Data] {
        assert!(stream.send(message(kind, 0, "")).is_none());
    }
    for (kind, body) in [(MediaKind::Video, "170100"), (MediaKind::Video, "9176"), (MediaKind::Audio, "af")] {
        assert!(stream.send(message(kind, 0, hex(body))).is_none());
    }
    let expected = IngestCounters { messages_empty: 3, tags_malformed: 3, ..Default::default() };
    assert_eq!(stream.counters(), expected);
}

/// Codecs and packet types from the future go through.
#[test]
fn the_unknown_is_forwarded_and_counted() {
    let mut stream = Fixture::new();
    assert_eq!(stream.video(0, "907a7a3939 0102").role(), FrameRole::SequenceHeader);
    let key = stream.video(0, "917a7a3939 0102");
    assert_eq!((key.role(), key.starts_gop()), (FrameRole::Key, true));
    assert_eq!(stream.video(0, "9f61763031 0102").role(), FrameRole::Other);
    assert_eq!(stream.audio(0, "9e4f707573 0102").role(), FrameRole::Other);
    assert_eq!(stream.ingest.tracks().default_video().unwrap().codec, Codec::Video(VideoCodec::Av1));
    let counters = stream.counters();
    assert_eq!((counters.codecs_unknown, counters.packets_unknown, counters.frames), (2, 2, 4));
    let zz99 = VideoCodec::UnknownFourCc(FourCc(*b"zz99"));
    assert_eq!(Codec::Video(zz99).name(), "zz99");
}

/// Where the configuration does not tell the channels, the multichannel configuration does.
#[test]
fn channels_come_from_wherever_they_are_told() {
    let mut stream = Fixture::new();
    stream.audio(0, OPUS_HEADER_EMPTY);
    assert_eq!(stream.ingest.tracks().default_audio().unwrap().channels, None);
    let frame = stream.audio(0, OPUS_CHANNELS);
    assert_eq!(frame.role(), FrameRole::TrackInfo);
    assert_eq!(stream.ingest.tracks().default_audio().unwrap().channels, Some(6));
    stream.audio(0, "904f707573 4f707573486561640102380180bb0000000000");
    stream.audio(0, OPUS_CHANNELS);
    assert_eq!(stream.ingest.tracks().default_audio().unwrap().channels, Some(2), "the record counts");

    let mut stream = Fixture::new();
    stream.audio(0, "2f fffb90");
    let mp3 = stream.ingest.tracks().default_audio().unwrap();
    assert_eq!((mp3.codec_string.as_str(), mp3.sample_rate, mp3.channels), ("mp3", Some(44_100), Some(2)));
}

/// One message may configure several tracks; key frames of one track alone start GOPs.
#[test]
fn several_tracks() {
    let mut stream = Fixture::new();
    let record = |text: &str| {
        let record = hex(&text[10..]);
        format!("{:06x} {}", record.len(), record.iter().map(|b| format!("{b:02x}")).collect::<String>())
    };
    let header = format!("9610 61766331 00 {} 03 {}", record(AVC_HEADER), record(AVC_HEADER_360P));
    assert_eq!(stream.video(0, &header).role(), FrameRole::SequenceHeader);
    assert_eq!(stream.codecs(), ["avc1.42c028", "avc1.4d4016"]);
    let key = |track: u8| format!("9601 61766331 {track:02x} 000000 aa");
    let third = stream.video(0, &key(3));
    assert_eq!(
        (third.role(), third.track(), third.starts_gop()),
        (FrameRole::Key, TrackId(3), true),
        "alone so far"
    );
    assert!(stream.video(0, &key(0)).starts_gop(), "the lowest track leads");
    assert!(!stream.video(0, &key(3)).starts_gop());
    assert!(!stream.video(0, &key(1)).starts_gop());
    // The leading track ends; after a while another one leads, until it is back.
    stream.now = Instant::from_micros(30_000_001);
    assert!(stream.video(0, &key(1)).starts_gop());
    assert!(!stream.video(0, &key(3)).starts_gop());
    assert!(stream.video(0, &key(0)).starts_gop());
}

/// What plain readers get of a frame, as hex; `None` for nothing.
fn plain(frame: &Frame) -> Option<String> {
    frame.plain_track()?;
    let (payload, wire) = frame.in_form(Form::Plain);
    assert_eq!(wire.header().timestamp, frame.timestamp());
    assert_eq!(wire.wire_len(), payload.len() + 12);
    Some(payload.to_vec().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Plain readers get track 0 of OBS, which comes in legacy headers, and nothing of the others; the frames that they get are made once.
#[test]
fn the_default_track_comes_as_it_is() {
    let mut stream = Fixture::new();
    stream.video(0, AVC_HEADER);
    let key = stream.video(0, AVC_KEY);
    assert_eq!((key.plain_track(), key.several_tracks()), (Some(TrackId::DEFAULT), None));
    assert_eq!(key.in_form(Form::Plain).0.slices()[0].as_ptr(), key.payload().slices()[0].as_ptr());
    let other = stream.video(0, "9603 61766331 01 aa");
    assert_eq!((other.role(), plain(&other), other.starts_gop()), (FrameRole::Key, None, false));
    let sound = stream.audio(0, AAC_FRAME);
    assert_eq!(plain(&sound), Some("af0121111111".into()));
    assert_eq!(plain(&stream.audio(0, "9501 4f707573 01 fc")), None);
    assert_eq!(plain(&stream.video(0, "d0 00")), Some("5700".into()), "a command, for a player of AVC");
    assert_eq!(plain(&stream.video(0, "9602 61766331 01")), None, "the end of another track");
}

/// Without track 0 the lowest is the default; a lower one takes over at its key frame, not at its header or a picture.
#[test]
fn a_lower_track_takes_over_at_its_key_frame() {
    let mut stream = Fixture::new();
    let key = |track| format!("9603 68766331 {track:02x} aa");
    let inter = |track| format!("a603 68766331 {track:02x} bb");
    assert_eq!(plain(&stream.video(0, &key(2))), Some("9368766331aa".into()));
    assert_eq!(plain(&stream.video(0, &key(3))), None);
    stream.video(0, "9600 68766331 01 0101");
    assert_eq!(plain(&stream.video(0, &inter(1))), None);
    assert_eq!(plain(&stream.video(0, &inter(2))), Some("a368766331bb".into()));
    let taken_over = stream.video(0, &key(1));
    assert_eq!(
        (plain(&taken_over), taken_over.plain_track()),
        (Some("9368766331aa".into()), Some(TrackId(1)))
    );
    assert!(taken_over.starts_gop());
    assert_eq!(plain(&stream.video(0, &inter(2))), None);
    assert_eq!(plain(&stream.video(0, &key(2))), None);

    // Sound has no key frames: a lower track takes over at once, and a higher one when that has been silent for long.
    assert_eq!(plain(&stream.audio(0, "9501 4f707573 04 fc")), Some("914f707573fc".into()));
    assert_eq!(plain(&stream.audio(0, "914f707573 fd")), Some("914f707573fd".into()));
    assert_eq!(plain(&stream.audio(0, "9501 4f707573 04 fc")), None);
    stream.now = Instant::from_micros(30_000_001);
    assert_eq!(plain(&stream.audio(0, "9501 4f707573 04 fc")), Some("914f707573fc".into()));
}

/// Messages of several tracks: every track is known, the lowest leads wherever it stands, and plain readers get its part.
#[test]
fn messages_of_several_tracks() {
    let mut stream = Fixture::new();
    let many = |first: &str| format!("{first}3 61766331 05 000001 aa 01 000002 bbcc 03 000000");
    let frame = stream.video(0, &many("961"));
    assert_eq!((frame.track(), frame.role(), frame.starts_gop()), (TrackId(5), FrameRole::Key, true));
    let several: Vec<u8> = frame.several_tracks().unwrap().iter().map(|track| track.0).collect();
    assert_eq!(several, [1, 3, 5]);
    assert!(frame.has_track(TrackId(3)) && !frame.has_track(TrackId(0)));
    assert_eq!(plain(&frame), Some("1701000000bbcc".into()));
    assert_eq!(plain(&stream.video(0, &many("a61"))), Some("2701000000bbcc".into()));
    assert!(
        frame.retained_bytes() >= size_of::<Frame>() + frame.payload().len() + 100,
        "what is made counts"
    );
    let alone = stream.video(0, "9603 61766331 03 aa");
    assert!(!alone.starts_gop() && plain(&alone).is_none());
    assert_eq!(stream.codecs(), ["avc1"; 3]);

    stream.audio(0, "9524 4f707573 02 000006 01060000003f 664c6143 04 000002 0008");
    let audio = |id| stream.ingest.tracks().find(MediaKind::Audio, TrackId(id)).unwrap();
    assert_eq!((audio(2).codec_string.as_str(), audio(2).channels), ("opus", Some(6)));
    assert_eq!((audio(4).codec_string.as_str(), audio(4).channels), ("flac", Some(8)));
}

/// A header of several tracks is a repeated one only while it is the newest of each of them.
#[test]
fn headers_of_several_tracks_are_told_apart_by_track() {
    let mut stream = Fixture::new();
    let both = "9520 4f707573 00 000013 4f707573486561640102380180bb0000000000 6d703461 01 000002 1190";
    let rates = |stream: &Fixture| -> Vec<_> {
        stream.ingest.tracks().iter().map(|track| (track.id.0, track.sample_rate)).collect()
    };
    stream.audio(0, both);
    assert_eq!(rates(&stream), [(0, Some(48_000)), (1, Some(48_000))]);
    stream.audio(0, "9500 6d703461 01 1210");
    assert_eq!(rates(&stream), [(0, Some(48_000)), (1, Some(44_100))]);
    stream.audio(0, both);
    assert_eq!(rates(&stream), [(0, Some(48_000)), (1, Some(48_000))]);
    assert_eq!(stream.counters().sequence_headers_repeated, 0);
    stream.audio(0, both);
    assert_eq!(stream.counters().sequence_headers_repeated, 1);
}

/// ffmpeg 9 sends the colours of a second track as if it were the first, in that track's FourCC: the first one keeps its codec, and the
/// colours belong to the second.
#[test]
fn colours_belong_to_the_track_of_their_codec() {
    let mut stream = Fixture::new();
    stream.video(0, AVC_HEADER);
    stream.video(0, "9600 68766331 01 01");
    let colours = stream.video(0, "d4 68766331 020009636f6c6f72496e666f 03000009");
    assert_eq!((colours.role(), colours.track()), (FrameRole::TrackInfo, TrackId(1)));
    assert_eq!(stream.codecs(), ["avc1.42c028", "hvc1"]);
    let of_nobody = stream.video(0, "d4 76703039 020009636f6c6f72496e666f 03000009");
    assert_eq!((of_nobody.role(), of_nobody.track()), (FrameRole::TrackInfo, TrackId(0)));
    assert_eq!(stream.codecs(), ["avc1.42c028", "hvc1"]);
}

/// What is too long to be a header is reduced like any other message.
#[test]
fn an_oversized_header_has_a_plain_form() {
    let mut stream = Fixture::new();
    let long = "00".repeat(HEADER_BYTES_MAX);
    stream.video(0, "9368766331 aa");
    let frame = stream.video(0, &format!("9600 68766331 00 {long}"));
    assert_eq!(frame.role(), FrameRole::Other);
    assert!(plain(&frame) == Some(format!("9068766331{long}")));
    assert!(plain(&stream.video(0, &format!("9600 68766331 01 {long}"))).is_none());
}

/// Tracks beyond the bound are forwarded and counted.
#[test]
fn tracks_beyond_the_bound() {
    let mut stream = Fixture::new();
    for track in 0..=255 {
        let frame = stream.video(0, &format!("9600 61766331 {track:02x} {}", &AVC_HEADER[10..]));
        assert_eq!((frame.role(), frame.track()), (FrameRole::SequenceHeader, TrackId(track)));
    }
    assert_eq!(stream.ingest.tracks().iter().count(), TRACKS_MAX);
    assert_eq!(stream.counters().tracks_too_many, 256 - TRACKS_MAX as u64);
}

/// Metadata is read once, and gone after `@clearDataFrame`; broken metadata is forwarded.
#[test]
fn metadata_is_kept_as_a_hint() {
    let mut stream = Fixture::new();
    let values = metadata(&["onMetaData".into(), Value::object([("encoder", "obs".into())])]);
    let first = stream.send(message(MediaKind::Data, 0, values.clone())).unwrap();
    let again = stream.send(message(MediaKind::Data, 9, values)).unwrap();
    assert_eq!(first.payload().slices()[0].as_ptr(), again.payload().slices()[0].as_ptr(), "kept once");
    assert_eq!(stream.ingest.metadata().unwrap().encoder.as_deref(), Some("obs"));
    assert!(stream.send(message(MediaKind::Data, 0, metadata(&["@clearDataFrame".into()]))).is_none());
    assert_eq!(stream.ingest.metadata(), None);
    assert!(stream.ingest.take_metadata_cleared() && !stream.ingest.take_metadata_cleared(), "told once");
    let broken = [metadata(&["onMetaData".into()]), vec![0x08, 0, 0]].concat();
    let frame = stream.send(message(MediaKind::Data, 0, broken.clone())).unwrap();
    assert_eq!((frame.role(), frame.payload().to_vec()), (FrameRole::Metadata, broken));
    assert_eq!((stream.ingest.metadata(), stream.counters().metadata_malformed), (None, 1));
}

/// Headers are often stamped 0: that counts as no step back, and under the monotonic policy they take the place of
/// the frame before them.
#[test]
fn headers_do_not_disturb_timestamps() {
    for (policy, stamp) in [(TimestampPolicy::Pass, 0), (TimestampPolicy::Monotonic, 5_040)] {
        let mut stream = Fixture::with(policy);
        stream.video(0, AVC_HEADER);
        stream.video(5_000, AVC_KEY);
        stream.video(5_040, AVC_INTER);
        assert_eq!(stream.video(0, AVC_HEADER).timestamp(), stamp);
        let values = metadata(&["onMetaData".into(), Value::Null]);
        assert_eq!(stream.send(message(MediaKind::Data, 0, values)).unwrap().timestamp(), stamp);
        assert_eq!(stream.video(5_080, AVC_INTER).timestamp(), 5_080);
        assert_eq!(stream.ingest.timestamp_counters().steps_back.total(), 0);
        stream.video(5_060, AVC_INTER);
        assert_eq!(stream.ingest.timestamp_counters().steps_back.video, 1);
    }
}

/// Every counter has a label of its own.
#[test]
fn counters_are_labelled() {
    let counters = IngestCounters { data_cleared: 7, ..Default::default() };
    let mut labels = Vec::new();
    counters.for_each(|label, value| {
        assert_eq!(value != 0, label == "data_cleared");
        labels.push(label);
    });
    let count = labels.len();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), count);
}

fn any_message() -> impl Strategy<Value = MediaMessage> {
    let starts = prop_oneof![
        Just(hex(AVC_HEADER)),
        Just(hex(AVC_KEY)),
        Just(hex(AAC_HEADER)),
        Just(hex(OPUS_CHANNELS)),
        Just(hex("9620 68766331 02 000004 01016000 61766331 00")),
        Just(hex("9611 61766331 02 000004 00000001 00 000005 0000100000")),
        Just(hex("9701 000000 51 6d703461 2111")),
        Just(metadata(&["@setDataFrame".into(), "onMetaData".into()])),
        Just(Vec::new()),
    ];
    let parts = (
        starts,
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<u8>(), 0..40),
        0usize..3,
        any::<u32>(),
    );
    parts.prop_map(|(start, cut, end, kind, timestamp)| {
        let body = [&start[..cut.index(start.len() + 1)], &end].concat();
        let kind = [MediaKind::Audio, MediaKind::Video, MediaKind::Data][kind];
        let mut message = message(kind, timestamp, "");
        if kind == MediaKind::Data && timestamp % 2 == 0 {
            message.type_id = type_id::DATA_AMF3;
        }
        message.payload = body.chunks(9).map(Bytes::copy_from_slice).collect();
        message.wire_bytes = message.payload.len() as u32;
        message
    })
}

/// A publisher that follows another one: everything that it sends moves by as much, on the wire as well, under either policy.
#[test]
fn everything_of_a_publisher_that_follows_another_moves() {
    for policy in [TimestampPolicy::Pass, TimestampPolicy::Monotonic] {
        let mut stream = Fixture::with(policy);
        let mut timeline = Timeline::default();
        timeline.note(&stream.send(message(MediaKind::Video, 90_000, hex(AVC_KEY))).unwrap());
        let mut stream = Fixture::with(policy);
        stream.now = Instant::from_micros(3_000_000);
        stream.send(message(MediaKind::Video, 500, hex(AVC_HEADER)));
        let first = stream.send(message(MediaKind::Video, 500, hex(AVC_KEY))).unwrap();
        assert_eq!(first.timestamp(), 500, "nothing moves before it is told to");
        stream.ingest.set_rebase(timeline.rebase(stream.now, first.timestamp()));
        assert_eq!(stream.ingest.rebased(first.timestamp()), 93_000);
        let name = metadata(&[Value::String("onText".into())]);
        for (kind, body) in [
            (MediaKind::Video, hex(AVC_INTER)),
            (MediaKind::Audio, hex(AAC_FRAME)),
            (MediaKind::Data, name),
            (MediaKind::Audio, hex(AAC_HEADER)),
        ] {
            let frame = stream.send(message(kind, 540, body)).unwrap();
            assert_eq!((frame.timestamp(), frame.wire().header().timestamp), (93_040, 93_040), "{kind:?}");
        }
        assert_eq!(stream.ingest.timestamp_counters(), &TimestampCounters::default());
    }
}

/// What a publisher is held to: of what is beyond it no frame comes, whether headers or pictures show it.
#[test]
fn tracks_beyond_the_limits_give_no_frame() {
    use crate::media::codec::AudioCodec;
    let held = |limits| {
        let mut fixture = Fixture::new();
        fixture.ingest = Ingest::new(IngestSettings::default()).within(limits);
        fixture
    };
    let pixels = core::num::NonZeroU32::new;
    let small = Limits { width: pixels(1919), ..Limits::default() };
    let low = Limits { height: pixels(1079), ..Limits::default() };
    for (limits, excess) in
        [(small, Excess::Width { found: 1920, max: 1919 }), (low, Excess::Height { found: 1080, max: 1079 })]
    {
        let mut fixture = held(limits);
        fixture.audio(0, AAC_HEADER);
        fixture.video(0, AVC_HEADER_360P);
        assert_eq!(fixture.ingest.excess(), None);
        fixture.video(0, AVC_KEY);
        // It becomes larger while it is live.
        assert!(fixture.send(message(MediaKind::Video, 40, hex(AVC_HEADER))).is_none());
        assert_eq!(fixture.ingest.excess(), Some(excess));
    }
    // What does not tell its size, where that is limited; sound has none.
    let mut long = hex(AVC_HEADER_360P);
    long.resize(HEADER_BYTES_MAX + 1, 0);
    let malformed = hex(AVC_HEADER_360P)[..8].to_vec();
    for body in [long, malformed] {
        let mut fixture = held(Limits { width: pixels(1919), ..Limits::default() });
        assert!(fixture.send(message(MediaKind::Video, 0, body.clone())).is_none());
        assert_eq!(fixture.ingest.excess(), Some(Excess::Size));
        let mut unlimited = Fixture::new();
        assert!(unlimited.send(message(MediaKind::Video, 0, body)).is_some());
    }
    let mut fixture = held(Limits { width: pixels(1919), ..Limits::default() });
    let mut sound = hex(AAC_HEADER);
    sound.resize(HEADER_BYTES_MAX + 1, 0);
    assert!(fixture.send(message(MediaKind::Audio, 0, sound)).is_some());
    assert_eq!(fixture.ingest.excess(), None);
    let codecs = Limits {
        codecs: Some([Codec::Video(VideoCodec::Avc), Codec::Audio(AudioCodec::Aac)].into()),
        ..Limits::default()
    };
    let name = |fourcc: &[u8; 4]| CodecName::FourCc(FourCc(*fourcc));
    let several = "several";
    for (kind, body, excess) in [
        (MediaKind::Audio, OPUS_HEADER_EMPTY, name(b"Opus")),
        (MediaKind::Audio, "2f ff", CodecName::FourCc(FourCc(*b".mp3"))),
        (MediaKind::Audio, "b2 00", CodecName::Legacy("speex")),
        (MediaKind::Video, "22 00", CodecName::Legacy("flv1")),
        (MediaKind::Video, "9368766331 00", name(b"hvc1")),
        (MediaKind::Video, several, name(b"hvc1")),
    ] {
        let mut fixture = held(codecs.clone());
        fixture.video(0, AVC_HEADER_360P);
        fixture.audio(0, AAC_HEADER);
        fixture.video(0, AVC_KEY);
        let body = if body == several { keys_of_two_codecs() } else { hex(body).into() };
        assert!(fixture.send(message(kind, 40, body)).is_none(), "{excess}");
        assert_eq!(fixture.ingest.excess(), Some(Excess::Codec(excess)));
    }
    assert!(Ingest::new(IngestSettings::default()).within(Limits::default()).limits().is_none());
}

/// Key frames of two tracks with a codec each (E-RTMP v2 `ManyTracksManyCodecs`): AVC and HEVC.
fn keys_of_two_codecs() -> Bytes {
    let tracks =
        [&b"avc1\x00\x00\x00\x04\x00\x00\x00\x01"[..], b"hvc1\x01\x00\x00\x04\x00\x00\x00\x02"].concat();
    [&[0x96, 0x21][..], &tracks].concat().into()
}

proptest! {
    /// Whatever comes: what is handed on is the end of what came, in a wire form that declares it, and tracks
    /// stay within bounds.
    #[test]
    fn any_messages(messages in prop::collection::vec(any_message(), 0..40), monotonic: bool) {
        let policy = if monotonic { TimestampPolicy::Monotonic } else { TimestampPolicy::Pass };
        let mut stream = Fixture::with(policy);
        for message in messages {
            let (kind, timestamp, body) = (message.kind, message.timestamp, message.payload.to_vec());
            let Some(frame) = stream.send(message) else { continue };
            prop_assert_eq!(frame.kind(), kind);
            prop_assert!(body.ends_with(&frame.payload().to_vec()) && !frame.payload().is_empty());
            prop_assert!(kind == MediaKind::Data || frame.payload().len() == body.len());
            prop_assert!(monotonic || frame.timestamp() == timestamp);
            prop_assert_eq!(frame.wire().header().timestamp, frame.timestamp());
            prop_assert!(frame.retained_bytes() >= frame.payload().len());
            prop_assert!(!frame.starts_gop() || frame.role() == FrameRole::Key);
            prop_assert!(stream.ingest.tracks().iter().count() <= 2 * TRACKS_MAX);
            let (plain, wire) = frame.in_form(Form::Plain);
            prop_assert!(plain.len() <= frame.payload().len() && wire.header() == frame.wire().header());
        }
    }
}

/// What is measured of messages, what they announce, and what they say has ended.
#[test]
fn vitals_follow_the_messages() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.ingest.announced(), Announced::default());
    fixture.video(0, AVC_HEADER);
    assert_eq!(fixture.ingest.announced(), Announced { video: true, audio: false });
    assert_eq!(fixture.ingest.vitals().of(MediaKind::Video).frames(), 0, "a header is no picture");
    for number in 1..=3 {
        fixture.now = Instant::from_micros(number * 40_000);
        fixture.video(0, AVC_KEY);
    }
    let at = |micros| Some(Instant::from_micros(micros));
    let vitals = *fixture.ingest.vitals();
    let video = vitals.of(MediaKind::Video);
    assert_eq!((video.frames(), video.frame_at(), vitals.message_at()), (3, at(120_000), at(120_000)));
    assert_eq!(video.bytes() as usize, hex(AVC_HEADER).len() + 3 * hex(AVC_KEY).len() + 4 * 12);
    assert_eq!(*vitals.of(MediaKind::Audio), Default::default());
    fixture.now = Instant::from_micros(130_000);
    fixture.audio(0, AAC_FRAME);
    assert_eq!(fixture.ingest.announced(), Announced { video: true, audio: true });
    fixture.now = Instant::from_micros(140_000);
    fixture.send(message(MediaKind::Audio, 0, Bytes::new()));
    assert!(fixture.ingest.vitals().of(MediaKind::Audio).has_ended(), "an empty message means silence");
    assert_eq!(fixture.ingest.vitals().message_at(), at(140_000));
    fixture.send(message(MediaKind::Video, 0, Bytes::new()));
    assert!(!fixture.ingest.vitals().of(MediaKind::Video).has_ended(), "of pictures it means nothing");
    fixture.video(0, "17 02 000000");
    assert!(fixture.ingest.vitals().of(MediaKind::Video).has_ended(), "the end of its sequence");
    fixture.now = Instant::from_micros(150_000);
    fixture.audio(0, AAC_FRAME);
    fixture.video(0, AVC_KEY);
    let has_ended = |kind| fixture.ingest.vitals().of(kind).has_ended();
    assert!(!has_ended(MediaKind::Audio) && !has_ended(MediaKind::Video));
}

/// `onMetaData` announces a kind before anything of it has come, and no longer when it is cleared.
#[test]
fn metadata_announces_kinds() {
    let mut fixture = Fixture::new();
    let values =
        Value::Object(vec![("videocodecid".into(), 7.0.into()), ("audiocodecid".into(), 0.0.into())]);
    fixture.send(message(MediaKind::Data, 0, metadata(&["onMetaData".into(), values]))).unwrap();
    assert_eq!(fixture.ingest.announced(), Announced { video: true, audio: false });
    fixture.send(message(MediaKind::Data, 0, metadata(&["@clearDataFrame".into()])));
    assert_eq!(fixture.ingest.announced(), Announced::default());
}
