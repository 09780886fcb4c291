//! Synthetic streams of any of the codecs and track layouts. H.264 and AAC are made so that a decoder takes them: a small picture and
//! silence, filled up to the bit rate. Of other codecs the configuration is real, and the rest is filler.
//!
//! A key frame is an IDR picture of raw (I_PCM) macroblocks, any other a picture that skips all macroblocks; filler goes into
//! supplemental information (H.264 Annex D.1.7) and data stream elements (ISO/IEC 14496-3 §4.4.2.7), which decoders read over. One round is
//! one GOP, so frame numbers start anew with each round, as they must. All tracks have their key frames together.

use bytes::Bytes;
use inrush::rtmp::amf::{Value, amf0};

use super::bits::Bits;
use super::codec::{Audio, Video};
use super::layout::Multitrack;
use super::record::{self, FRAME_NUM_BITS, SAMPLE_RATE, SIDE_MACROBLOCKS, SIDE_PIXELS};
use super::tag::{self, Body, CODED_FRAMES, CODED_FRAMES_X, Kind, SEQUENCE_START};
use super::{Media, Message, type_id};

const MACROBLOCK_BYTES: usize = 384;
/// A channel pair without a sound, and the end of the frame.
const SILENCE: [u8; 6] = [0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c];
/// Audio's share of the bit rate is what it leaves of 128 kbit/s, at most a fifth.
const AUDIO_BPS_MAX: u64 = 128_000;
/// Headers of a track that the bit rate takes into account.
const HEAD_BYTES: usize = 5;

/// What a synthetic stream looks like.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// Bits a second of all tracks together.
    pub bitrate_bps: u64,
    /// Video frames a second.
    pub fps: u32,
    /// Video frames from key frame to key frame.
    pub gop_frames: u32,
    /// Of the filler.
    pub seed: u64,
}

/// What tracks it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The codec of each video track.
    pub video: Vec<Video>,
    /// The codec of each audio track.
    pub audio: Vec<Audio>,
    /// How they lie in messages; without a multitrack header when `None`, and then there is at most one of a kind.
    pub multitrack: Option<Multitrack>,
}

impl Shape {
    /// H.264 and AAC as all servers know them.
    pub fn legacy() -> Self {
        Self { video: vec![Video::Avc], audio: vec![Audio::Aac], multitrack: None }
    }
}

/// One GOP of H.264 and AAC.
pub fn media(pattern: &Pattern) -> Media {
    shaped(pattern, &Shape::legacy())
}

/// One GOP of any shape.
pub fn shaped(pattern: &Pattern, shape: &Shape) -> Media {
    let fps = u64::from(pattern.fps.max(1));
    let gop_frames = u64::from(pattern.gop_frames.max(1));
    let period_ms = (gop_frames * 1_000 / fps).max(1) as u32;
    let round_bytes = pattern.bitrate_bps * u64::from(period_ms) / 8_000;
    let (videos, audios) = (shape.video.len() as u64, shape.audio.len() as u64);
    let audio_bps = match (videos, audios) {
        (_, 0) => 0,
        (0, audios) => pattern.bitrate_bps / audios,
        (_, audios) => AUDIO_BPS_MAX.min(pattern.bitrate_bps / 5 / audios),
    };
    // Where codecs differ, the first one's frames set the pace.
    let samples = shape.audio.first().map_or(1_024, |codec| codec.frame_samples());
    let audio_frames = match audios {
        0 => 0,
        _ => (u64::from(period_ms) * u64::from(SAMPLE_RATE) / samples / 1_000).max(1),
    };
    let audio_bytes = (audio_bps * u64::from(period_ms) / 8_000 / audio_frames.max(1)) as usize;
    let video_bytes = round_bytes.saturating_sub(audio_bytes as u64 * audio_frames * audios) / videos.max(1);
    // A key frame has the weight of five others.
    let unit_bytes = video_bytes / (gop_frames + 4);

    let mut filler = Filler(pattern.seed ^ 0x9e37_79b9_7f4a_7c15);
    let mut round = Vec::new();
    if videos > 0 {
        round.extend((0..gop_frames).flat_map(|frame| {
            let time_ms = (frame * 1_000 / fps) as u32;
            let bytes = if frame == 0 { unit_bytes * 5 } else { unit_bytes } as usize;
            pictures(shape, frame as u32, time_ms, bytes, &mut filler)
        }));
    }
    round.extend((0..audio_frames).flat_map(|frame| {
        let time_ms = (frame * u64::from(period_ms) / audio_frames) as u32;
        sounds(shape, time_ms, audio_bytes, &mut filler)
    }));
    // Stable: of two that are due together, video goes first.
    round.sort_by_key(|message| message.time_ms);
    let mut headers = vec![Message::new(type_id::DATA_AMF0, 0, metadata(pattern, shape, audio_bps))];
    headers.extend(sequence_headers(shape));
    Media::new(headers, round, period_ms)
}

fn metadata(pattern: &Pattern, shape: &Shape, audio_bps: u64) -> Bytes {
    let number = |name: &str, value: f64| (name.to_owned(), Value::Number(value));
    let fourcc = |fourcc: [u8; 4]| f64::from(u32::from_be_bytes(fourcc));
    // Within a multitrack header there are no legacy ids.
    let id = |legacy: Option<u8>, of: [u8; 4]| match legacy.filter(|_| shape.multitrack.is_none()) {
        Some(id) => f64::from(id),
        None => fourcc(of),
    };
    let audio_total_bps = audio_bps * shape.audio.len() as u64;
    let video_bps = pattern.bitrate_bps.saturating_sub(audio_total_bps) / (shape.video.len() as u64).max(1);
    let side = f64::from(SIDE_PIXELS);
    let of_video = |codec: &Video| {
        vec![
            number("width", side),
            number("height", side),
            number("framerate", f64::from(pattern.fps)),
            number("videocodecid", id(codec.legacy_id(), codec.fourcc())),
            number("videodatarate", video_bps as f64 / 1e3),
        ]
    };
    let of_audio = |codec: &Audio| {
        vec![
            number("audiocodecid", id(codec.legacy_id(), codec.fourcc())),
            number("audiodatarate", audio_bps as f64 / 1e3),
            number("audiosamplerate", f64::from(SAMPLE_RATE)),
        ]
    };
    // E-RTMP v2 "Enhancing onMetaData": track 0 is described at the top, the others by their numbers.
    let mut properties = shape.video.first().map(of_video).unwrap_or_default();
    properties.extend(shape.audio.first().map(of_audio).unwrap_or_default());
    let others = |tracks: Vec<Vec<(String, Value)>>| {
        let numbered = (1..).zip(tracks).map(|(track, of)| (track.to_string(), Value::Object(of)));
        Value::Object(numbered.collect())
    };
    if shape.video.len() > 1 {
        let tracks = others(shape.video[1..].iter().map(of_video).collect());
        properties.push(("videoTrackIdInfoMap".to_owned(), tracks));
    }
    if shape.audio.len() > 1 {
        let tracks = others(shape.audio[1..].iter().map(of_audio).collect());
        properties.push(("audioTrackIdInfoMap".to_owned(), tracks));
    }
    let mut out = bytes::BytesMut::new();
    for value in ["@setDataFrame".into(), "onMetaData".into(), Value::EcmaArray(properties)] {
        amf0::write(&value, &mut out).expect("short names and numbers have an AMF0 form");
    }
    out.freeze()
}

/// What begins each track: video before audio.
fn sequence_headers(shape: &Shape) -> Vec<Message> {
    let body = |fourcc, record: Vec<u8>| Body { fourcc, before: &[], carrier: None, rest: record.into() };
    let videos: Vec<_> =
        shape.video.iter().map(|codec| body(codec.fourcc(), record::of_video(*codec))).collect();
    let audios: Vec<_> =
        shape.audio.iter().map(|codec| body(codec.fourcc(), record::of_audio(*codec))).collect();
    let (video, audio) = (Kind::Video { is_key: true }, Kind::Audio);
    if let Some(layout) = shape.multitrack {
        let mut all = tag::tracks(video, 0, SEQUENCE_START, layout, videos);
        all.extend(tag::tracks(audio, 0, SEQUENCE_START, layout, audios));
        return all;
    }
    let mut all = Vec::new();
    for (codec, body) in shape.video.iter().zip(videos) {
        all.push(match codec.legacy_id() {
            Some(id) => tag::legacy(video, 0, &[0x10 | id, 0, 0, 0, 0], body),
            None => tag::single(video, 0, SEQUENCE_START, body),
        });
    }
    for (codec, body) in shape.audio.iter().zip(audios) {
        match codec {
            Audio::Aac => all.push(tag::legacy(audio, 0, &[0xaf, 0], body)),
            // Its legacy form has none.
            Audio::Mp3 => {}
            _ => all.push(tag::single(audio, 0, SEQUENCE_START, body)),
        }
    }
    all
}

/// A picture of each video track, of about `bytes` bytes each.
fn pictures(shape: &Shape, frame: u32, time_ms: u32, bytes: usize, filler: &mut Filler) -> Vec<Message> {
    let kind = Kind::Video { is_key: frame == 0 };
    // CodedFramesX is for codecs that have a composition time to leave out; a message has one packet type for all its tracks.
    let all_have_times = shape.video.iter().all(|codec| codec.has_composition_time());
    let packet = if frame > 0 && all_have_times { CODED_FRAMES_X } else { CODED_FRAMES };
    let bodies: Vec<_> = shape
        .video
        .iter()
        .map(|codec| {
            let carrier = codec.carrier();
            let has_time = packet == CODED_FRAMES && codec.has_composition_time();
            let is_legacy = shape.multitrack.is_none() && codec.legacy_id().is_some();
            Body {
                fourcc: codec.fourcc(),
                before: if has_time && !is_legacy { &[0, 0, 0] } else { &[] },
                carrier: Some(carrier),
                rest: picture(*codec, frame, bytes.saturating_sub(HEAD_BYTES + carrier.bytes()), filler),
            }
        })
        .collect();
    if let Some(layout) = shape.multitrack {
        return tag::tracks(kind, time_ms, packet, layout, bodies);
    }
    let upper = if frame == 0 { 0x10 } else { 0x20 };
    let message = |(codec, body): (&Video, Body)| match codec.legacy_id() {
        Some(id) => tag::legacy(kind, time_ms, &[upper | id, 1, 0, 0, 0], body),
        None => tag::single(kind, time_ms, packet, body),
    };
    shape.video.iter().zip(bodies).map(message).collect()
}

/// A frame of each audio track, of about `bytes` bytes each.
fn sounds(shape: &Shape, time_ms: u32, bytes: usize, filler: &mut Filler) -> Vec<Message> {
    let bodies: Vec<_> = shape
        .audio
        .iter()
        .map(|codec| {
            let carrier = codec.carrier();
            let rest = sound(*codec, bytes.saturating_sub(2 + carrier.bytes()), filler);
            Body { fourcc: codec.fourcc(), before: &[], carrier: Some(carrier), rest }
        })
        .collect();
    if let Some(layout) = shape.multitrack {
        return tag::tracks(Kind::Audio, time_ms, CODED_FRAMES, layout, bodies);
    }
    let message = |(codec, body): (&Audio, Body)| match codec {
        Audio::Aac => tag::legacy(Kind::Audio, time_ms, &[0xaf, 1], body),
        Audio::Mp3 => tag::legacy(Kind::Audio, time_ms, &[0x2f], body),
        _ => tag::single(Kind::Audio, time_ms, CODED_FRAMES, body),
    };
    shape.audio.iter().zip(bodies).map(message).collect()
}

/// A picture of about `bytes` bytes.
fn picture(codec: Video, frame: u32, bytes: usize, filler: &mut Filler) -> Bytes {
    let is_key = frame == 0;
    let mut out = Vec::new();
    let mut fill = |out: &mut Vec<u8>, head: &[u8]| {
        out.extend(head);
        let size = bytes.saturating_sub(out.len()).max(1);
        out.extend(std::iter::repeat_with(|| filler.byte()).take(size));
    };
    match codec {
        Video::Avc | Video::EnhancedAvc => return avc_picture(frame, bytes, filler),
        // One NAL unit: IDR_W_RADL or TRAIL_R (H.265 table 7-1).
        Video::Hevc | Video::LegacyHevc => {
            let length = (bytes.max(8) - 4) as u32;
            out.extend(length.to_be_bytes());
            fill(&mut out, if is_key { &[19 << 1, 1] } else { &[1 << 1, 1] });
        }
        // IDR_W_RADL or TRAIL_NUT (H.266 table 5).
        Video::Vvc => {
            let length = (bytes.max(8) - 4) as u32;
            out.extend(length.to_be_bytes());
            fill(&mut out, if is_key { &[0, 7 << 3 | 1] } else { &[0, 1] });
        }
        // OBU_FRAME without a size: it is the rest of the temporal unit.
        Video::Av1 => fill(&mut out, &[6 << 3]),
        Video::Vp8 | Video::Vp9 => fill(&mut out, &[]),
    }
    Bytes::from(out)
}

fn avc_picture(frame: u32, bytes: usize, filler: &mut Filler) -> Bytes {
    let slice = slice(frame, filler);
    let mut out = Vec::new();
    let left = bytes.saturating_sub(4 + slice.len());
    if left > 64 {
        // Payload type 5 and its size, a UUID, filler.
        let size = left - 4 - 3 - left / 255;
        let mut unit = vec![0x06, 0x05];
        unit.extend(std::iter::repeat_n(0xff, size / 255));
        unit.push((size % 255) as u8);
        unit.extend(std::iter::repeat_with(|| filler.byte()).take(size));
        unit.push(0x80);
        append_unit(&mut out, &unit);
    }
    append_unit(&mut out, &slice);
    Bytes::from(out)
}

fn append_unit(out: &mut Vec<u8>, unit: &[u8]) {
    out.extend((unit.len() as u32).to_be_bytes());
    out.extend(unit);
}

/// H.264 §7.3.3 and §7.3.4.
fn slice(frame: u32, filler: &mut Filler) -> Vec<u8> {
    let key = frame == 0;
    let mut bits = Bits::new(&[if key { 0x65 } else { 0x41 }]);
    bits.ue(0); // first_mb_in_slice
    bits.ue(if key { 7 } else { 5 }); // slice_type: all I, all P
    bits.ue(0); // pic_parameter_set_id
    bits.put(frame % (1 << FRAME_NUM_BITS), FRAME_NUM_BITS);
    if key {
        bits.ue(0); // idr_pic_id
        bits.put(0, 2); // no_output_of_prior_pics_flag, long_term_reference_flag
    } else {
        bits.put(0, 3); // no override, no modification of the reference list, no adaptive marking
    }
    bits.ue(0); // slice_qp_delta, se(0)
    bits.ue(1); // disable_deblocking_filter_idc
    if key {
        for _ in 0..SIDE_MACROBLOCKS * SIDE_MACROBLOCKS {
            bits.ue(25); // I_PCM
            bits.align();
            for _ in 0..MACROBLOCK_BYTES {
                bits.put(u32::from(filler.byte()), 8);
            }
        }
    } else {
        bits.ue(SIDE_MACROBLOCKS * SIDE_MACROBLOCKS); // mb_skip_run
    }
    bits.nal_unit()
}

/// A frame of about `bytes` bytes.
fn sound(codec: Audio, bytes: usize, filler: &mut Filler) -> Bytes {
    if codec.carrier() == super::stamp::Carrier::Aac {
        return aac_frame(bytes, filler);
    }
    std::iter::repeat_with(|| filler.byte()).take(bytes.max(1)).collect()
}

fn aac_frame(bytes: usize, filler: &mut Filler) -> Bytes {
    let mut out = Vec::new();
    let mut left = bytes.saturating_sub(SILENCE.len());
    while left > 2 {
        let count = (left - 2).min(254);
        out.extend([0x81, count as u8]);
        out.extend(std::iter::repeat_with(|| filler.byte()).take(count));
        left -= 2 + count;
    }
    out.extend(SILENCE);
    Bytes::from(out)
}

/// Bytes from 1 to 255: no start code and no emulation of one can come up in them. (xorshift64*)
struct Filler(u64);

impl Filler {
    fn byte(&mut self) -> u8 {
        self.0 = if self.0 == 0 { 1 } else { self.0 };
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56).max(1) as u8
    }
}

#[cfg(test)]
mod tests {
    use inrush::media::audio_tag::AudioTag;
    use inrush::media::video_tag::{VideoFrameType, VideoTag};
    use inrush::media::{Ingest, IngestSettings};
    use inrush::rtmp::Payload;
    use inrush::session::{Instant, MediaKind, MediaMessage};

    use super::super::codec::Choice;
    use super::super::stamp::{Lane, Stamp};
    use super::*;

    fn pattern(bitrate_bps: u64) -> Pattern {
        Pattern { bitrate_bps, fps: 25, gop_frames: 50, seed: 1 }
    }

    #[test]
    fn the_bit_rate_is_what_was_asked_for() {
        for bitrate_bps in [300_000, 1_000_000, 3_000_000, 20_000_000] {
            let media = media(&pattern(bitrate_bps));
            let off = media.bits_per_second() as f64 / bitrate_bps as f64 - 1.0;
            assert!(off.abs() < 0.02, "{bitrate_bps}: {}", media.bits_per_second());
        }
    }

    #[test]
    fn a_round_is_a_gop_with_its_sound() {
        let media = media(&pattern(3_000_000));
        let video: Vec<_> = media.round.iter().filter(|m| m.type_id == type_id::VIDEO).collect();
        assert_eq!((video.len(), media.period_ms), (50, 2_000));
        assert_eq!((media.video_messages(), media.key_frames()), (50, 1));
        assert_eq!(media.round.len() - video.len(), 93); // 2 s of 48,000 samples in frames of 1,024
        assert!(media.round.is_sorted_by_key(|message| message.time_ms));
        assert!(media.round.iter().all(Message::is_stamped));
        assert_eq!(media.lanes, [(Lane::WHOLE, 143)]);
    }

    #[test]
    fn the_seed_decides_and_the_parser_of_the_engine_agrees() {
        let one = media(&pattern(1_000_000));
        assert_eq!(one.round[0].parts[0].body, media(&pattern(1_000_000)).round[0].parts[0].body);
        let other = media(&Pattern { seed: 2, ..pattern(1_000_000) });
        assert_ne!(one.round[0].parts[0].body, other.round[0].parts[0].body);
        let record = &one.headers[1].parts[0].body;
        let config = inrush::media::config::avc::AvcConfig::parse(record).unwrap();
        assert_eq!(config.size.map(|size| (size.width, size.height)), Ok((64, 64)));
    }

    /// As a publisher sends it.
    fn stamped(message: &Message) -> Payload {
        let mut payload = Payload::new();
        for part in &message.parts {
            let stamp = Stamp { machine: 1, stream: 2, lane: part.lane, sequence: part.number, due_us: 3 };
            payload.push(part.carrier.map_or(part.head.clone(), |carrier| stamp.behind(&part.head, carrier)));
            payload.push(part.body.clone());
        }
        payload
    }

    fn message(message: &Message) -> MediaMessage {
        let kind = match message.type_id {
            type_id::VIDEO => MediaKind::Video,
            type_id::AUDIO => MediaKind::Audio,
            _ => MediaKind::Data,
        };
        MediaMessage {
            kind,
            type_id: message.type_id,
            stream_id: 1,
            timestamp: message.time_ms,
            payload: stamped(message),
            wire_bytes: 0,
        }
    }

    /// Every codec and layout at 2:3 and alone.
    fn shapes() -> Vec<Shape> {
        let mut all = Vec::new();
        for (at, (_, video)) in Video::ALL.iter().enumerate() {
            let audio = Audio::ALL[at].1;
            all.push(Shape { video: vec![*video], audio: vec![audio], multitrack: None });
            all.push(Shape { video: vec![*video], audio: Vec::new(), multitrack: None });
            all.push(Shape { video: Vec::new(), audio: vec![audio], multitrack: None });
            for layout in [Multitrack::One, Multitrack::Many, Multitrack::ManyCodecs] {
                let next = |step| {
                    let step = if layout == Multitrack::ManyCodecs { step } else { 0 };
                    (
                        Video::ALL[(at + step) % Video::ALL.len()].1,
                        Audio::ALL[(at + step) % Audio::ALL.len()].1,
                    )
                };
                let (video, audio) = (vec![next(0).0, next(1).0], vec![next(0).1, next(1).1, next(2).1]);
                all.push(Shape { video, audio, multitrack: Some(layout) });
            }
        }
        all
    }

    /// The engine finds the tracks, names their codecs, knows key frames, and has nothing to complain of.
    #[test]
    fn the_engine_understands_every_shape() {
        for shape in shapes() {
            let media = shaped(&pattern(500_000), &shape);
            let mut ingest = Ingest::new(IngestSettings::default());
            for sent in media.headers.iter().chain(&media.round) {
                assert!(ingest.frame(Instant::from_micros(1), message(sent)).is_some(), "{shape:?}");
            }
            let counters = ingest.counters();
            let odd = (counters.tags_malformed, counters.packets_unknown, counters.codecs_unknown);
            assert_eq!(odd, (0, 0, 0), "{shape:?}");
            let count = |kind| ingest.tracks().iter().filter(|track| track.kind == kind).count();
            let tracks = (count(MediaKind::Video), count(MediaKind::Audio));
            assert_eq!(tracks, (shape.video.len(), shape.audio.len()), "{shape:?}");
            assert_eq!(media.key_frames() > 0, !shape.video.is_empty());
            let keys =
                media.round.iter().filter(|sent| sent.type_id == type_id::VIDEO).filter(|sent| {
                    VideoTag::parse(&stamped(sent)).unwrap().frame_type == VideoFrameType::Key
                });
            assert_eq!(keys.count(), media.key_frames(), "{shape:?}");
        }
    }

    /// Each track's stamps are found, numbered without a gap, and as many as its lane says.
    #[test]
    fn every_track_of_every_shape_is_stamped() {
        for shape in shapes() {
            let media = shaped(&pattern(500_000), &shape);
            let mut seen = std::collections::BTreeMap::<Lane, Vec<u64>>::new();
            for sent in &media.round {
                let mut parts = 0;
                Stamp::read_all(sent.type_id, &stamped(sent), |found| {
                    let stamp = found.stamp.unwrap_or_else(|| panic!("{shape:?}: {:?}", sent.parts));
                    seen.entry(stamp.lane).or_default().push(stamp.sequence);
                    parts += 1;
                });
                assert_eq!(parts, sent.parts.len(), "{shape:?}");
            }
            let wanted = match shape.multitrack {
                None => 1,
                Some(_) => shape.video.len() + shape.audio.len(),
            };
            assert_eq!((seen.len(), media.lanes.len()), (wanted, wanted), "{shape:?}");
            for (lane, count) in &media.lanes {
                assert_eq!(seen[lane], (0..*count).collect::<Vec<_>>(), "{shape:?}");
            }
        }
    }

    #[test]
    fn the_bit_rate_is_that_of_all_tracks_together() {
        for shape in shapes() {
            let pattern = pattern(4_000_000);
            let media = shaped(&pattern, &shape);
            let off = media.bits_per_second() as f64 / pattern.bitrate_bps as f64 - 1.0;
            // A stream of sound alone has a whole number of bytes in each frame; heads of tracks come on top.
            assert!(off.abs() < 0.03, "{shape:?}: {}", media.bits_per_second());
        }
    }

    /// Without picture there is sound, and the other way round.
    #[test]
    fn a_kind_may_be_missing() {
        let sound = Shape { video: Vec::new(), audio: vec![Audio::Opus], multitrack: None };
        let media = shaped(&pattern(100_000), &sound);
        assert_eq!((media.video_messages(), media.round.len()), (0, 100)); // 2 s of 20 ms
        assert!(media.round.iter().all(|sent| AudioTag::parse(&stamped(sent)).is_ok()));
    }
}
