//! Target `media`: what publishers put into audio, video and data messages.
//!
//! # What is promised
//! - The same frames, tracks and counts however messages are sliced.
//! - A frame has a body, which is the message's or, of data, its end; both its wire forms are read back as what they declare.
//! - The plain form of pictures and sound is of one track, without ModEx, and the same to decoders: a key frame stays one.
//! - No track of pictures, sound or data steps back under the monotonic policy.
//! - Frames answer for the input, all of it once at most; tracks, headers and the GOP cache stay within their bounds, and a GOP begins with
//!   its headers and a key frame.
//! # Input
//! One byte of settings, then messages: a byte of kind and time, a length, the body.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use inrush::media::audio_tag::AudioTag;
use inrush::media::ex_header::TrackLayout;
use inrush::media::gop::HEADERS_MAX;
use inrush::media::ingest::HEADER_BYTES_MAX;
use inrush::media::track::TRACKS_MAX;
use inrush::media::video_tag::VideoTag;
use inrush::media::{
    FRAME_CHUNK_SIZE, FRAME_SLICES_MAX, FRAME_STREAM_ID, Form, Frame, FrameRole, GopCache, GopSettings,
    Ingest, IngestSettings, MediaKind, TimestampPolicy, TrackId,
};
use inrush::rtmp::chunk::{ChunkReader, Read};
use inrush::rtmp::limits::AmfLimits;
use inrush::rtmp::message::type_id;
use inrush::rtmp::payload::INLINE_SLICES;
use inrush::rtmp::{Control, Limits, Message, Payload};
use inrush::session::{Instant, MediaMessage};

/// Setting: timestamps never step back.
const IS_MONOTONIC: u8 = 1;
/// Setting: the GOP cache is small.
const IS_SMALL: u8 = 2;

/// What a frame keeps at most for its plain form, beside slices and header bytes.
const PLAIN_BYTES: usize = 512;

/// Messages of one publisher.
pub fn media(data: &[u8]) {
    let (settings, mut rest) = data.split_first().unwrap_or((&0, &[]));
    let slice_bytes = 1 + usize::from(settings >> 2);
    let mut whole = Witness::new(*settings);
    let mut sliced = Witness::new(*settings);
    let mut clock = (Instant::from_micros(1), 0);
    while let Some(message) = next_message(&mut rest, &mut clock) {
        let body = message.payload.to_bytes();
        // A long body in a few slices more than a frame keeps.
        let slice_bytes = slice_bytes.max(body.len() / (FRAME_SLICES_MAX + 2));
        let payload = body.chunks(slice_bytes).map(|slice| body.slice_ref(slice)).collect();
        let frame = whole.take(clock.0, message.clone());
        let other = sliced.take(clock.0, MediaMessage { payload, ..message });
        assert_eq!(frame.as_deref().map(said), other.as_deref().map(said), "sliced by {slice_bytes}");
    }
    assert_eq!(whole.ingest.counters(), sliced.ingest.counters());
    assert_eq!(format!("{:?}", whole.ingest.tracks()), format!("{:?}", sliced.ingest.tracks()));
    assert_eq!(format!("{:?}", whole.ingest.metadata()), format!("{:?}", sliced.ingest.metadata()));
}

/// Takes the next message off the input, and moves time on.
fn next_message(rest: &mut &[u8], (now, timestamp): &mut (Instant, u32)) -> Option<MediaMessage> {
    const WAITS_MS: [u64; 4] = [0, 40, 6_000, 31_000];
    let head = take(rest, 1)?[0];
    let (kind, type_id) = match head & 3 {
        0 => (MediaKind::Video, type_id::VIDEO),
        1 => (MediaKind::Audio, type_id::AUDIO),
        2 => (MediaKind::Data, type_id::DATA_AMF0),
        _ => (MediaKind::Data, type_id::DATA_AMF3),
    };
    *timestamp = match head >> 2 & 3 {
        0 => *timestamp,
        1 => timestamp.wrapping_add(40),
        2 => timestamp.wrapping_sub(100),
        _ => u32::from_be_bytes(take(rest, 4)?.try_into().ok()?),
    };
    *now = *now + Duration::from_millis(WAITS_MS[usize::from(head >> 4 & 3)]);
    // A length of two bytes, and enough behind the body to make a header too long to be kept.
    let len = match head & 0x40 {
        0 => usize::from(take(rest, 1)?[0]),
        _ => usize::from(u16::from_be_bytes(take(rest, 2)?.try_into().ok()?)),
    };
    let mut body = take(rest, len.min(rest.len()))?.to_vec();
    if head & 0x80 != 0 {
        body.resize(body.len() + HEADER_BYTES_MAX, 0);
    }
    let payload = Payload::from(Bytes::from(body));
    let wire_bytes = payload.len() as u32 + 12;
    Some(MediaMessage { kind, type_id, stream_id: 1, timestamp: *timestamp, payload, wire_bytes })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

/// What a frame is, whatever slices its body is in.
fn said(frame: &Frame) -> impl PartialEq + std::fmt::Debug + use<> {
    let plain = frame.plain_track().map(|track| (track, frame.in_form(Form::Plain).0.to_bytes()));
    (
        (frame.kind(), frame.role(), frame.track(), frame.timestamp(), frame.starts_gop()),
        frame.several_tracks().copied(),
        frame.payload().to_bytes(),
        plain,
    )
}

/// One publisher's ingest and cache, and what is checked of them at every message.
pub struct Witness {
    ingest: Ingest,
    gop: GopCache,
    gop_settings: GopSettings,
    policy: TimestampPolicy,
    last: BTreeMap<(MediaKind, TrackId), u32>,
    input_bytes: usize,
    pinned_bytes: usize,
}

impl Witness {
    /// Nothing was published yet.
    pub fn new(settings: u8) -> Self {
        let policy = match settings & IS_MONOTONIC {
            0 => TimestampPolicy::Pass,
            _ => TimestampPolicy::Monotonic,
        };
        let gop_settings = match settings & IS_SMALL {
            0 => GopSettings::default(),
            _ => GopSettings { enabled: true, bytes_max: 20_000, frames_max: 10, ms_max: 1_000 },
        };
        Self {
            ingest: Ingest::new(IngestSettings { timestamps: policy, amf: AmfLimits::default() }),
            gop: GopCache::new(gop_settings.clone()),
            gop_settings,
            policy,
            last: BTreeMap::new(),
            input_bytes: 0,
            pinned_bytes: 0,
        }
    }

    /// Takes the next message, and gives the frame of it.
    pub fn take(&mut self, now: Instant, message: MediaMessage) -> Option<Arc<Frame>> {
        self.input_bytes += message.wire_bytes as usize;
        let body = message.payload.to_bytes();
        let (kind, timestamp) = (message.kind, message.timestamp);
        let frame = self.ingest.frame(now, message).map(Arc::new);
        if let Some(frame) = &frame {
            assert_eq!(frame.kind(), kind);
            match kind {
                MediaKind::Data => {
                    assert!(body.ends_with(&frame.payload().to_bytes()), "data loses its front only")
                }
                _ => assert_eq!(frame.payload().to_bytes(), body),
            }
            check_frame(frame);
            self.check_time(frame, timestamp);
            self.check_pinned(frame);
            let before = self.gop.defaults();
            let is_changed = self.gop.push(frame);
            assert_eq!(is_changed, self.gop.defaults() != before, "plain readers are told of another track");
        }
        if self.ingest.take_metadata_cleared() {
            assert!(frame.is_none() && self.ingest.metadata().is_none());
            self.gop.clear_metadata();
        }
        self.check_bounds(now);
        frame
    }

    fn check_time(&mut self, frame: &Frame, timestamp: u32) {
        match self.policy {
            TimestampPolicy::Pass => assert_eq!(frame.timestamp(), timestamp),
            TimestampPolicy::Monotonic if frame.role().is_coded() || frame.role() == FrameRole::Data => {
                let last = self.last.insert((frame.kind(), frame.track()), frame.timestamp());
                if let Some(last) = last {
                    let step = frame.timestamp().wrapping_sub(last) as i32;
                    assert!(step >= 0 || step == i32::MIN, "{:?} stepped by {step}", frame.track());
                }
            }
            TimestampPolicy::Monotonic => {}
        }
    }

    /// Input pinned by frames is input that came; what is copied answers for itself.
    fn check_pinned(&mut self, frame: &Frame) {
        let own = size_of::<Frame>() + frame.payload().len();
        assert!(frame.retained_bytes() >= own, "a frame keeps its body");
        if !frame.role().is_header() {
            let list = |slices: &[Bytes]| if slices.len() > INLINE_SLICES { size_of_val(slices) } else { 0 };
            let full = frame.payload().slices();
            let mut beside = size_of::<Frame>() + list(full);
            if frame.several_tracks().is_some() {
                let plain = frame.in_form(Form::Plain).0.slices();
                beside += PLAIN_BYTES + list(plain) + plain.first().map_or(0, |head| head.len());
            }
            self.pinned_bytes += frame.retained_bytes().saturating_sub(beside);
            assert!(self.pinned_bytes <= self.input_bytes, "more is pinned than came");
        }
    }

    fn check_bounds(&self, now: Instant) {
        for kind in [MediaKind::Video, MediaKind::Audio] {
            let tracks = self.ingest.tracks().iter().filter(|track| track.kind == kind);
            assert!(tracks.count() <= TRACKS_MAX);
        }
        assert!(self.gop.frames() <= self.gop_settings.frames_max);
        // The headers as they were when the GOP began, and as they are now.
        let headers_max = 2 * HEADERS_MAX * (HEADER_BYTES_MAX + size_of::<Frame>());
        assert!(self.gop.retained_bytes() <= self.gop_settings.bytes_max + headers_max);
        let _ = self.gop.has_video(now);
        for form in [Form::Full, Form::Plain] {
            let headers = self.gop.headers(form, 7);
            assert!(headers.len() <= HEADERS_MAX && headers.iter().all(|header| header.timestamp() == 7));
            assert!(headers.iter().all(|header| header.role().is_header()));
            assert!(headers.iter().all(|header| header.payload().len() <= HEADER_BYTES_MAX));
        }
        let (full, plain) = (self.gop.late_join(Form::Full), self.gop.late_join(Form::Plain));
        assert_eq!(full.is_empty(), self.gop.frames() == 0);
        let first = full.iter().position(|frame| !frame.role().is_header());
        if let Some(first) = first.and_then(|at| full.get(at)) {
            assert!(first.starts_gop() && first.role() == FrameRole::Key, "a joiner begins with a key frame");
            let (before, _) = full.split_at(full.len() - self.gop.frames());
            assert!(before.iter().all(|header| header.timestamp() == first.timestamp()));
        }
        // Every picture and sound that has a part for plain readers, in order; headers come as tracks do.
        let is_plain = |frame: &&Arc<Frame>| !frame.role().is_header() && frame.plain_track().is_some();
        let expected = full.iter().filter(is_plain);
        assert!(plain.iter().filter(is_plain).map(Arc::as_ptr).eq(expected.map(Arc::as_ptr)));
        assert!(plain.iter().all(|frame| frame.role().is_header() || frame.plain_track().is_some()));
    }
}

/// What a player is sent says what the frame says, in either form, on any message stream and at any time.
fn check_frame(frame: &Frame) {
    assert!(!frame.payload().is_empty(), "a frame has a body");
    let later = frame.at(frame.timestamp().wrapping_add(0x0100_0000));
    for (frame, stream_id) in [(frame, FRAME_STREAM_ID), (&later, 7)] {
        for form in [Form::Full, Form::Plain] {
            let (payload, wire) = frame.in_form(form);
            assert!(!payload.is_empty() && payload.slices().len() <= FRAME_SLICES_MAX);
            let wire = wire.with_stream_id(stream_id);
            let mut out = BytesMut::new();
            wire.write_to(payload, &mut out);
            assert_eq!(out.len(), wire.wire_len());
            let mut slices = 0;
            wire.for_each_slice(payload, |slice| slices += usize::from(!slice.is_empty()));
            assert_eq!(slices, wire.slice_count(payload), "no slice is empty");
            let read = read(out.freeze());
            let header = read.header;
            assert_eq!((header, read.payload.to_bytes()), (*wire.header(), payload.to_bytes()));
            assert_eq!((header.timestamp, header.stream_id), (frame.timestamp(), stream_id));
        }
    }
    if frame.role().is_coded() && frame.plain_track().is_some() {
        check_plain(frame);
    }
}

/// What a player that knows no tracks is sent of pictures and sound.
fn check_plain(frame: &Frame) {
    let (payload, _) = frame.in_form(Form::Plain);
    let (role, layout, offset_ns) = match frame.kind() {
        MediaKind::Video => {
            let tag = VideoTag::parse(payload).expect("a tag");
            (tag.role(), tag.bodies.layout, tag.timestamp_offset_ns)
        }
        _ => {
            let tag = AudioTag::parse(payload).expect("a tag");
            (tag.role(), tag.bodies.layout, tag.timestamp_offset_ns)
        }
    };
    assert_eq!((role, layout, offset_ns), (frame.role(), TrackLayout::Single, 0));
}

/// Reads one message in chunks of a frame's size, which is all that there is.
fn read(bytes: Bytes) -> Message {
    let mut announcement = BytesMut::new();
    inrush::rtmp::chunk::ChunkWriter::new(128).write(
        inrush::rtmp::chunk::ChunkStreamId::CONTROL,
        &Control::SetChunkSize(FRAME_CHUNK_SIZE).to_message(),
        &mut announcement,
    );
    let mut reader = ChunkReader::new(&Limits::default());
    reader.push(announcement.freeze());
    assert!(matches!(reader.poll(), Ok(Read::Message(_))));
    reader.push(bytes);
    let Ok(Read::Message(message)) = reader.poll() else { panic!("a frame's wire form is a message") };
    assert_eq!((reader.poll(), reader.unparsed_bytes()), (Ok(Read::NeedBytes), 0));
    message
}
