//! What a late joiner gets of frames made by hand, and of any others.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::media::plain::Plain;
use crate::media::{FrameInfo, TrackId};
use crate::rtmp::Payload;

const START: Instant = Instant::from_micros(0);

fn frame(
    kind: MediaKind,
    role: FrameRole,
    track: u8,
    timestamp: u32,
    body: &[u8],
    pinned: usize,
) -> Arc<Frame> {
    let track = TrackId(track);
    let starts_gop = role == FrameRole::Key && track == TrackId::DEFAULT;
    let info = FrameInfo { kind, role, track, timestamp, arrived: START, starts_gop };
    Arc::new(Frame::new(info, Payload::from(Bytes::copy_from_slice(body)), pinned))
}

fn video(role: FrameRole, timestamp: u32) -> Arc<Frame> {
    frame(MediaKind::Video, role, 0, timestamp, &timestamp.to_be_bytes(), 100)
}

fn audio(timestamp: u32) -> Arc<Frame> {
    frame(MediaKind::Audio, FrameRole::Audio, 0, timestamp, &timestamp.to_be_bytes(), 100)
}

fn header(kind: MediaKind, role: FrameRole, body: &[u8]) -> Arc<Frame> {
    frame(kind, role, 0, 0, body, 0)
}

fn cache(settings: GopSettings, frames: &[Arc<Frame>]) -> GopCache {
    let mut cache = GopCache::new(settings);
    for frame in frames {
        cache.push(frame);
    }
    cache
}

fn seen(frames: &[Arc<Frame>]) -> Vec<(FrameRole, MediaKind, u32)> {
    frames.iter().map(|frame| (frame.role(), frame.kind(), frame.timestamp())).collect()
}

use FrameRole::*;
use MediaKind::{Audio as Sound, Data as Script, Video};

/// Metadata, sequence headers by kind, then the GOP from its key frame; all headers with the key frame's time.
#[test]
fn a_late_joiner_gets_headers_then_the_gop() {
    let frames = [
        header(Sound, SequenceHeader, b"aac"),
        header(Video, TrackInfo, b"hdr"),
        header(Video, SequenceHeader, b"avc"),
        header(Script, Metadata, b"meta"),
        video(Key, 1_000),
        video(Inter, 1_040),
        video(Key, 2_000),
        audio(2_005),
        video(Inter, 2_040),
    ];
    let cache = cache(GopSettings::default(), &frames);
    let expected = [
        (Metadata, Script, 2_000),
        (SequenceHeader, Video, 2_000),
        (TrackInfo, Video, 2_000),
        (SequenceHeader, Sound, 2_000),
        (Key, Video, 2_000),
        (Audio, Sound, 2_005),
        (Inter, Video, 2_040),
    ];
    assert_eq!(seen(&cache.late_join(Form::Full)), expected);
    let headers = cache.headers(Form::Full, 77);
    assert_eq!(headers.len(), 4);
    assert!(headers.iter().all(|header| header.timestamp() == 77));
    assert_eq!(headers[1].payload().to_vec(), b"avc");
}

/// A header that changes within the GOP stands where it came; the one before stays at the front.
#[test]
fn headers_that_change_within_a_gop_keep_their_place() {
    let mut cache = cache(
        GopSettings::default(),
        &[
            header(Sound, SequenceHeader, b"mono"),
            video(Key, 0),
            audio(5),
            header(Sound, SequenceHeader, b"mono"),
        ],
    );
    assert_eq!(cache.frames(), 2, "a repeated header is not kept");
    cache.push(&header(Sound, SequenceHeader, b"stereo"));
    cache.push(&audio(30));
    let bodies: Vec<_> = cache.late_join(Form::Full).iter().map(|frame| frame.payload().to_vec()).collect();
    let (first, second) = (5u32.to_be_bytes(), 30u32.to_be_bytes());
    assert_eq!(bodies, [&b"mono"[..], &[0; 4], &first, b"stereo", &second]);
    assert_eq!(cache.headers(Form::Full, 0)[0].payload().to_vec(), b"stereo");
    cache.push(&video(Key, 40));
    assert_eq!(cache.late_join(Form::Full)[0].payload().to_vec(), b"stereo");
}

/// Over a bound the GOP is emptied and nothing is kept until the next key frame.
#[test]
fn an_overflow_waits_for_the_next_key_frame() {
    let one = video(Key, 0).retained_bytes();
    for settings in [
        GopSettings { bytes_max: 3 * one, ..GopSettings::default() },
        GopSettings { frames_max: 3, ..GopSettings::default() },
        GopSettings { ms_max: 119, ..GopSettings::default() },
    ] {
        let mut cache = cache(settings, &[video(Key, 0), video(Inter, 40), video(Inter, 80)]);
        assert_eq!((cache.frames(), cache.overflows()), (3, 0));
        cache.push(&video(Inter, 120));
        assert_eq!((cache.frames(), cache.overflows(), cache.retained_bytes()), (0, 1, 0));
        cache.push(&video(Inter, 160));
        assert_eq!((cache.frames(), cache.overflows()), (0, 1));
        assert!(cache.late_join(Form::Full).is_empty() && cache.has_video(START));
        cache.push(&video(Key, 200));
        assert_eq!(seen(&cache.late_join(Form::Full)), [(Key, Video, 200)]);
    }
    let tiny = cache(GopSettings { bytes_max: one - 1, ..GopSettings::default() }, &[video(Key, 0)]);
    assert_eq!((tiny.frames(), tiny.overflows()), (0, 1), "a key frame too large for the cache");
}

/// Data stamped 0 is no reason to empty a GOP; a clock that jumps either way is; the wrap is not.
#[test]
fn the_span_is_that_of_pictures_and_sound() {
    let data = frame(Script, Data, 0, 0, b"text", 0);
    let late = cache(GopSettings::default(), &[video(Key, 3_000_000), data.clone(), video(Inter, 3_000_040)]);
    assert_eq!(late.frames(), 3);
    let back = cache(GopSettings::default(), &[video(Key, 3_000_000), audio(0)]);
    assert_eq!((back.frames(), back.overflows()), (0, 1));
    let wrap = cache(GopSettings::default(), &[video(Key, u32::MAX), audio(30)]);
    assert_eq!(wrap.frames(), 2);
}

/// Without video only headers are kept; switched off, the same; after the publisher nothing.
#[test]
fn what_is_kept_without_a_gop() {
    let audio_only =
        cache(GopSettings::default(), &[header(Sound, SequenceHeader, b"aac"), audio(0), audio(21)]);
    assert!(audio_only.late_join(Form::Full).is_empty() && !audio_only.has_video(START));
    assert_eq!(seen(&audio_only.headers(Form::Full, 42)), [(SequenceHeader, Sound, 42)]);

    let off = GopSettings { enabled: false, ..GopSettings::default() };
    let mut off = cache(off, &[header(Video, SequenceHeader, b"avc"), video(Key, 0), video(Inter, 40)]);
    assert!(off.late_join(Form::Full).is_empty() && off.has_video(START));
    assert_eq!(off.headers(Form::Full, 0).len(), 1);
    off.clear();
    assert!(off.headers(Form::Full, 0).is_empty() && !off.has_video(START));
    assert_eq!(off.retained_bytes(), 0);
}

/// Metadata that was taken back is gone from before the GOP and from within it; set again, it stands where it came.
#[test]
fn metadata_can_be_taken_back() {
    let meta = |body: &[u8]| header(Script, Metadata, body);
    let frames = [meta(b"old"), header(Sound, SequenceHeader, b"aac"), video(Key, 0), meta(b"new"), audio(5)];
    let mut cache = cache(GopSettings::default(), &frames);
    let without = [(SequenceHeader, Sound, 0), (Key, Video, 0), (Audio, Sound, 5)];
    assert!(cache.clear_metadata());
    assert_eq!(seen(&cache.late_join(Form::Full)), without);
    assert_eq!(seen(&cache.headers(Form::Full, 9)), [(SequenceHeader, Sound, 9)]);
    let kept = frames[1].retained_bytes() + frames[2].retained_bytes() + frames[4].retained_bytes();
    assert_eq!(cache.retained_bytes(), kept);
    assert!(!cache.clear_metadata(), "there is none any more");
    cache.push(&meta(b"new"));
    assert_eq!(seen(&cache.late_join(Form::Full)), [&without[..], &[(Metadata, Script, 0)]].concat());
}

/// Video is there as long as pictures come; a header that is repeated without any does not keep it alive.
#[test]
fn video_without_pictures_is_gone() {
    let avc = header(Video, SequenceHeader, b"avc");
    let mut cache = cache(GopSettings::default(), std::slice::from_ref(&avc));
    assert!(cache.has_video(START + VIDEO_SILENT_MAX));
    let later = START + VIDEO_SILENT_MAX + Duration::from_micros(1);
    let arriving_later = |role| {
        let info = FrameInfo {
            kind: Video,
            role,
            track: TrackId::DEFAULT,
            timestamp: 0,
            arrived: later,
            starts_gop: false,
        };
        Arc::new(Frame::new(info, avc.payload().clone(), 0))
    };
    cache.push(&arriving_later(SequenceHeader));
    assert!(!cache.has_video(later));
    cache.push(&arriving_later(Inter));
    assert!(cache.has_video(later + VIDEO_SILENT_MAX));
}

/// A header of these tracks.
fn header_of(tracks: &[u8], body: &[u8]) -> Arc<Frame> {
    let first = TrackId(tracks[0]);
    let info = FrameInfo {
        kind: Video,
        role: SequenceHeader,
        track: first,
        timestamp: 0,
        arrived: START,
        starts_gop: false,
    };
    let several = (tracks.len() > 1).then(|| tracks.iter().copied().map(TrackId).collect());
    let frame = Frame::new(info, Payload::from(Bytes::copy_from_slice(body)), 0);
    Arc::new(frame.with_plain(several, first, Plain::Same))
}

/// A header of several tracks stays as long as it is the newest of one of them, and comes before what is newer.
#[test]
fn headers_of_several_tracks() {
    let bodies = |cache: &GopCache| -> Vec<_> {
        cache.headers(Form::Full, 0).iter().map(|header| header.payload().to_vec()).collect()
    };
    let mut cache = cache(GopSettings::default(), &[header_of(&[1], b"1a"), header_of(&[2, 1], b"12a")]);
    assert_eq!(bodies(&cache), [b"12a"], "the first says nothing any more");
    cache.push(&header_of(&[1], b"1b"));
    assert_eq!(bodies(&cache), [&b"12a"[..], b"1b"], "the older one is of track 2 still");
    cache.push(&header_of(&[0], b"0a"));
    cache.push(&video(Key, 40));
    cache.push(&header_of(&[1], b"1b"));
    assert_eq!(cache.frames(), 1, "repeated");
    cache.push(&header_of(&[2, 1], b"12a"));
    assert_eq!(bodies(&cache), [&b"0a"[..], b"12a"], "the same again is new after another one");
    assert_eq!(cache.frames(), 2);
    cache.push(&header_of(&[2, 1], b"12a"));
    assert_eq!(cache.frames(), 2);
    cache.push(&header_of(&[0, 1], b"01a"));
    cache.push(&header_of(&[2, 3], b"23a"));
    assert_eq!(bodies(&cache), [&b"01a"[..], b"23a"]);
    cache.push(&header_of(&[0, 1, 2, 3], b"all"));
    assert_eq!(bodies(&cache), [b"all"]);
}

/// A joiner in the plain form gets the headers of its track alone.
#[test]
fn a_plain_joiner_gets_one_track() {
    let key = |track: u8, body: &[u8], plain: Plain| {
        let info = FrameInfo {
            kind: Video,
            role: Key,
            track: TrackId(track),
            timestamp: 500,
            arrived: START,
            starts_gop: plain != Plain::Nothing,
        };
        let frame = Frame::new(info, Payload::from(Bytes::copy_from_slice(body)), 0);
        Arc::new(frame.with_plain(None, TrackId(0), plain))
    };
    let frames = [
        header(Script, Metadata, b"meta"),
        header_of(&[0], b"\x90hvc1\x00"),
        header_of(&[1], b"\x96\x00hvc1\x01\x01"),
        header(Sound, SequenceHeader, b"\xaf\x00"),
        key(0, b"\x91hvc1", Plain::Same),
        key(1, b"\x96\x01hvc1\x01", Plain::Nothing),
        frame(Sound, Audio, 0, 505, b"\xaf\x01", 0),
    ];
    let mut cache = cache(GopSettings::default(), &frames);
    let of = |frames: Vec<Arc<Frame>>| -> Vec<_> {
        frames.iter().map(|frame| (frame.timestamp(), frame.payload().to_vec())).collect()
    };
    let run = [
        (500, &b"meta"[..]),
        (500, b"\x90hvc1\x00"),
        (500, b"\xaf\x00"),
        (500, b"\x91hvc1"),
        (505, b"\xaf\x01"),
    ];
    assert_eq!(of(cache.late_join(Form::Plain)), run.map(|(timestamp, body)| (timestamp, body.to_vec())));
    assert_eq!(cache.late_join(Form::Full).len(), 7);
    assert_eq!(of(cache.headers(Form::Plain, 9)).len(), 3);
    let second = key(1, b"\x96\x01hvc1\x01", Plain::Made(Payload::from(Bytes::from_static(b"\x91hvc1"))));
    assert!(!cache.push(&key(0, b"\x91hvc1", Plain::Same)));
    assert!(cache.push(&Arc::new(Arc::unwrap_or_clone(second).with_plain(None, TrackId(1), Plain::Same))));
    assert_eq!(of(cache.headers(Form::Plain, 9))[1].1, b"\x90hvc1\x01");
    cache.clear();
    assert_eq!(cache.defaults(), DefaultTracks::default());
}

/// What a joiner was given, pushed into another core's cache, gives that core's joiners the same.
#[test]
fn a_replica_fed_with_a_late_join_gives_the_same() {
    let home = cache(
        GopSettings::default(),
        &[
            header(Script, Metadata, b"meta"),
            header(Video, SequenceHeader, b"avc"),
            video(Key, 500),
            header(Sound, SequenceHeader, b"aac"),
            audio(505),
        ],
    );
    let replica = cache(GopSettings::default(), &home.late_join(Form::Full));
    assert_eq!(seen(&replica.late_join(Form::Full)), seen(&home.late_join(Form::Full)));
}

/// Headers of all places there are, and hostile ones beyond.
#[test]
fn headers_are_bounded() {
    let mut cache = GopCache::new(GopSettings::default());
    for track in 0..=255 {
        for (kind, role) in
            [(Video, SequenceHeader), (Video, TrackInfo), (Sound, SequenceHeader), (Sound, TrackInfo)]
        {
            cache.push(&frame(kind, role, track, 0, &[track], 0));
        }
    }
    assert_eq!(cache.headers(Form::Full, 0).len(), HEADERS_MAX);
}

fn any_frame() -> impl Strategy<Value = Arc<Frame>> {
    let coded = (0u32..400, 0u8..2, 0usize..4, 0usize..600).prop_map(|(timestamp, track, role, pinned)| {
        let (kind, role) = [(Video, Key), (Video, Inter), (Sound, Audio), (Script, Data)][role];
        frame(kind, role, track, timestamp, &[1], pinned)
    });
    let headers = (0usize..5, 0u8..2, 0u8..2).prop_map(|(place, track, body)| {
        let places = [
            (Script, Metadata),
            (Video, SequenceHeader),
            (Video, TrackInfo),
            (Sound, SequenceHeader),
            (Sound, TrackInfo),
        ];
        let (kind, role) = places[place];
        frame(kind, role, track, 7, &[body], 0)
    });
    prop_oneof![6 => coded, 1 => headers]
}

/// Whether one header takes the place of the other: all here are of one track.
fn is_same_place(one: &Frame, other: &Frame) -> bool {
    place(one) == place(other) && one.track() == other.track()
}

/// What the cache should hold, told from the whole history without keeping state: the positions in it of the
/// GOP's frames.
fn model(history: &[Arc<Frame>], settings: &GopSettings) -> Vec<usize> {
    let Some(start) = history.iter().rposition(|frame| frame.starts_gop()) else { return Vec::new() };
    let repeats = |at: usize| {
        let same_place = |other: &&Arc<Frame>| other.role().is_header() && is_same_place(other, &history[at]);
        let before = history[..at].iter().rev().find(same_place);
        before.is_some_and(|before| before.payload() == history[at].payload())
    };
    let gop: Vec<usize> =
        (start..history.len()).filter(|at| !(history[*at].role().is_header() && repeats(*at))).collect();
    let bytes: usize = gop.iter().map(|at| history[*at].retained_bytes()).sum();
    let span = |at: &usize| history[*at].timestamp().abs_diff(history[start].timestamp());
    let fits = bytes <= settings.bytes_max
        && gop.len() <= settings.frames_max
        && gop.iter().filter(|at| history[**at].role().is_coded()).all(|at| span(at) <= settings.ms_max);
    if settings.enabled && fits { gop } else { Vec::new() }
}

proptest! {
    /// After every frame: the bounds hold, the content is the model's, and a joiner gets headers, then a key frame.
    #[test]
    fn the_cache_is_what_the_history_says(
        frames in prop::collection::vec(any_frame(), 0..80),
        bytes_max in 0usize..20_000, frames_max in 0usize..20, ms_max in 0u32..500, enabled in prop::bool::weighted(0.9),
    ) {
        let settings = GopSettings { enabled, bytes_max, frames_max, ms_max };
        let mut cache = GopCache::new(settings.clone());
        for n in 0..frames.len() {
            cache.push(&frames[n]);
            let history = &frames[..=n];
            let joined = cache.late_join(Form::Full);
            let headers = joined.iter().take_while(|frame| frame.role().is_header()).count();
            let (headers, gop) = joined.split_at(headers);
            let expected = model(history, &settings);
            prop_assert_eq!(gop.len(), expected.len());
            prop_assert!(gop.iter().zip(&expected).all(|(frame, at)| Arc::ptr_eq(frame, &history[*at])));
            prop_assert_eq!(cache.frames(), gop.len());
            prop_assert!(gop.len() <= frames_max);
            prop_assert!(gop.iter().map(|frame| frame.retained_bytes()).sum::<usize>() <= bytes_max);
            if let Some(first) = gop.first() {
                prop_assert!(first.starts_gop());
                prop_assert!(headers.iter().all(|header| header.timestamp() == first.timestamp()));
                // The newest of each place before the key frame, in order, none twice.
                prop_assert!(headers.windows(2).all(|pair| place(&pair[0]) <= place(&pair[1])));
                prop_assert!((1..headers.len()).all(|n| headers[..n].iter().all(|other| !is_same_place(other, &headers[n]))));
                let before = &history[..expected[0]];
                for header in before.iter().filter(|frame| frame.role().is_header()) {
                    let newest = before.iter().rev().find(|f| f.role().is_header() && is_same_place(f, header));
                    let sent = headers.iter().find(|sent| is_same_place(sent, header));
                    prop_assert_eq!(sent.map(|f| f.payload()), newest.map(|f| f.payload()));
                }
            } else {
                prop_assert!(joined.is_empty());
            }
        }
    }
}
