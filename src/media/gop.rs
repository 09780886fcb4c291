//! What a late joiner needs: the newest headers, and everything since the last key frame.
//!
//! The cache holds references to frames, no copies. A joiner gets what somebody who watched all along got from
//! the key frame on, in the same order, headers that changed in the middle included, and before that the headers as
//! they were when the key frame came.
//!
//! A joiner in the plain form ([`super::plain`]) gets what there is in that of the same frames.
//!
//! Without video there is no GOP: sound can be joined at any frame, so a joiner of an audio-only stream needs the
//! headers and nothing more.
//! # Invariant
//! The GOP is empty, or its first frame starts a GOP ([`Frame::starts_gop`]).
//! # Bounds
//! The GOP by [`GopSettings`]; one frame over any of its bounds empties it until the next key frame, so a stream whose
//! key frames never come costs no more than one whose do; and [`GOP_HEADERS_MAX`]. Headers by [`HEADERS_MAX`] and, each, by what
//! [`super::Ingest`] lets pass as one.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::frame::{Form, Frame, FrameRole, MediaKind, at};
use super::plain::{self, DefaultTracks};
use super::track::TRACKS_MAX;
use super::track_set::TrackSet;
use crate::session::Instant;

/// Headers that are kept: `onMetaData`, and for each track of either kind its sequence header and its track info.
pub const HEADERS_MAX: usize = 1 + 2 * TRACKS_MAX * 2;

/// Headers that change within one GOP. Encoders change one now and then; each is looked at for every player that joins in the plain form.
pub const GOP_HEADERS_MAX: usize = 4 * HEADERS_MAX;

/// How long a stream may go without a picture before its video counts as gone: the camera is off, and nobody should wait for a key
/// frame. Longer than any live picture rate leaves between two pictures; to be wrong costs a joiner no more than sound before pictures.
pub const VIDEO_SILENT_MAX: Duration = Duration::from_secs(5);

/// Settings of one app's GOP caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GopSettings {
    /// Whether late joiners get the GOP; they always get the headers.
    pub enabled: bool,
    /// Memory that one GOP may keep alive, bytes ([`Frame::retained_bytes`]): what one publisher may cost.
    pub bytes_max: usize,
    /// Frames of one GOP.
    pub frames_max: usize,
    /// Longest GOP by its timestamps, ms. Whoever joins has that much to catch up with.
    pub ms_max: u32,
}

impl Default for GopSettings {
    /// 16 MiB is 10 s at 13 Mbit/s; 4096 frames are 30 s of 60 pictures and 47 to 75 sound frames a second.
    fn default() -> Self {
        Self { enabled: true, bytes_max: 16 * 1024 * 1024, frames_max: 4096, ms_max: 30_000 }
    }
}

/// The headers and the GOP of one stream.
#[derive(Clone, Debug)]
pub struct GopCache {
    settings: GopSettings,
    /// The newest of each header, in the order in which a joiner gets them: by [`place`], those of one place as they came. Each says
    /// something of a track that no later one of its place says.
    headers: Vec<Arc<Frame>>,
    /// `headers` as they were when the GOP started.
    headers_at_start: Vec<Arc<Frame>>,
    frames: Vec<Arc<Frame>>,
    /// Headers among `frames`.
    frame_headers: usize,
    /// Sum of `frames`' retained bytes.
    bytes: usize,
    /// When the newest picture came; before the first one, the first of what announced it.
    video_at: Option<Instant>,
    defaults: DefaultTracks,
    overflows: u64,
}

impl GopCache {
    /// An empty cache.
    pub fn new(settings: GopSettings) -> Self {
        Self {
            settings,
            headers: Vec::new(),
            headers_at_start: Vec::new(),
            frames: Vec::new(),
            frame_headers: 0,
            bytes: 0,
            video_at: None,
            defaults: DefaultTracks::default(),
            overflows: 0,
        }
    }

    /// Takes note of the next frame of the stream. Gives whether plain readers get another track from this frame on than before, of the
    /// frame's kind: they need that track's headers first.
    pub fn push(&mut self, frame: &Arc<Frame>) -> bool {
        if frame.kind() == MediaKind::Video && (frame.role().is_coded() || self.video_at.is_none()) {
            self.video_at = Some(frame.arrived());
        }
        if frame.role().is_header() {
            // One that is repeated tells nobody anything new.
            if self.keep_header(frame) && !self.frames.is_empty() {
                self.append(frame);
            }
        } else if frame.starts_gop() {
            self.empty();
            if self.settings.enabled {
                self.headers_at_start.clone_from(&self.headers);
                self.append(frame);
            }
        } else if !self.frames.is_empty() {
            self.append(frame);
        }
        self.defaults.note(frame)
    }

    /// What a late joiner gets before the live frames: metadata, sequence headers, then the GOP from its key frame
    /// on. The headers carry the key frame's timestamp. Empty while there is no GOP: then the joiner gets
    /// [`headers`](Self::headers) with the timestamp of the first live frame it is sent.
    pub fn late_join(&self, form: Form) -> Vec<Arc<Frame>> {
        let Some(first) = self.frames.first() else { return Vec::new() };
        let mut frames = Vec::with_capacity(self.headers_at_start.len() + self.frames.len());
        frames.extend(self.headers_at_start.iter().map(|header| at(header, first.timestamp())));
        frames.extend(self.frames.iter().cloned());
        match form {
            Form::Full => frames,
            Form::Plain => plain::run(&frames, self.defaults),
        }
    }

    /// The newest headers: metadata first, then video before audio. All carry `timestamp`, which should be that of the frame that
    /// follows them. In the plain form those of the default tracks.
    pub fn headers(&self, form: Form, timestamp: u32) -> Vec<Arc<Frame>> {
        let all = || self.headers.iter();
        let found = match form {
            Form::Full => all().cloned().collect(),
            Form::Plain => {
                let metadata = all().filter(|header| header.kind() == MediaKind::Data).cloned();
                let of_kind = |kind| plain::newest(all(), kind, self.defaults.of(kind));
                metadata.chain(of_kind(MediaKind::Video)).chain(of_kind(MediaKind::Audio)).collect::<Vec<_>>()
            }
        };
        found.iter().map(|header| at(header, timestamp)).collect()
    }

    /// Which track of each kind plain readers get.
    pub fn defaults(&self) -> DefaultTracks {
        self.defaults
    }

    /// Forgets the metadata, wherever it stands: the publisher has taken it back. Gives whether there was any.
    pub fn clear_metadata(&mut self) -> bool {
        let is_other = |frame: &Arc<Frame>| frame.role() != FrameRole::Metadata;
        // What is in the GOP is among the headers too: the newest of them stays there.
        if self.headers.iter().chain(&self.headers_at_start).all(is_other) {
            return false;
        }
        let count = self.headers.len();
        self.headers.retain(is_other);
        self.headers_at_start.retain(is_other);
        self.frames.retain(is_other);
        self.bytes = self.frames.iter().map(|frame| frame.retained_bytes()).sum();
        self.frame_headers = self.frames.iter().filter(|frame| frame.role().is_header()).count();
        self.headers.len() < count
    }

    /// Begins with the headers of another publisher, and with what is known of its tracks: nothing stays of what was here.
    pub fn begin_with(&mut self, other: &Self) {
        self.clear();
        self.headers.clone_from(&other.headers);
        self.video_at = other.video_at;
        self.defaults = other.defaults;
    }

    /// Frames are missing before the next one: the GOP ends here. Headers stay.
    pub fn skip(&mut self) {
        self.empty();
    }

    /// Forgets everything: the publisher is gone.
    pub fn clear(&mut self) {
        self.empty();
        self.headers = Vec::new();
        self.frames = Vec::new();
        self.video_at = None;
        self.defaults = DefaultTracks::default();
    }

    /// Memory that the cache keeps alive, bytes.
    pub fn retained_bytes(&self) -> usize {
        let replaced =
            self.headers_at_start.iter().filter(|old| !self.headers.iter().any(|new| Arc::ptr_eq(old, new)));
        self.bytes + self.headers.iter().chain(replaced).map(|header| header.retained_bytes()).sum::<usize>()
    }

    /// Frames in the GOP.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Whether the stream has video now, so that it is worth waiting for a key frame: some has come, and its last picture not longer
    /// ago than [`VIDEO_SILENT_MAX`].
    pub fn has_video(&self, now: Instant) -> bool {
        self.video_at.is_some_and(|at| now - at <= VIDEO_SILENT_MAX)
    }

    /// Times that a GOP went over its bounds.
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Keeps a header, and lets those go that say nothing any more that it does not say anew; gives whether its bytes are new.
    fn keep_header(&mut self, frame: &Arc<Frame>) -> bool {
        let place_of_frame = place(frame);
        let from = self.headers.partition_point(|header| place(header) < place_of_frame);
        let to = self.headers.partition_point(|header| place(header) <= place_of_frame);
        let tracks = tracks(frame);
        let is_repeated = |header: &&Arc<Frame>| self::tracks(header).meets(&tracks);
        if let Some(newest) = self.headers[from..to].iter().rfind(is_repeated)
            && self::tracks(newest) == tracks
            && newest.payload() == frame.payload()
        {
            return false;
        }
        let (mut said, mut end) = (tracks, to);
        for at in (from..to).rev() {
            let of_older = self::tracks(&self.headers[at]); // within the list
            if said.covers(&of_older) {
                self.headers.remove(at);
                end -= 1;
            } else {
                said = said.with(&of_older);
            }
        }
        if self.headers.len() >= HEADERS_MAX {
            return false;
        }
        self.headers.insert(end, frame.clone());
        true
    }

    /// Appends to the GOP, or empties it when that would exceed its bounds.
    fn append(&mut self, frame: &Arc<Frame>) {
        let bytes = self.bytes + frame.retained_bytes();
        if bytes > self.settings.bytes_max
            || self.frames.len() >= self.settings.frames_max
            || self.span_ms(frame) > self.settings.ms_max
            || frame.role().is_header() && self.frame_headers >= GOP_HEADERS_MAX
        {
            self.empty();
            self.overflows += 1;
            return;
        }
        self.bytes = bytes;
        self.frame_headers += usize::from(frame.role().is_header());
        self.frames.push(frame.clone());
    }

    /// How far from the GOP's start a picture or sound is, in either direction: a clock that jumps makes what was
    /// kept useless as well. Data and headers may be stamped with anything.
    fn span_ms(&self, frame: &Frame) -> u32 {
        match self.frames.first() {
            Some(first) if frame.role().is_coded() => {
                (frame.timestamp().wrapping_sub(first.timestamp()) as i32).unsigned_abs()
            }
            _ => 0,
        }
    }

    fn empty(&mut self) {
        self.frames.clear();
        self.frame_headers = 0;
        self.headers_at_start.clear();
        self.bytes = 0;
    }
}

/// A header's place: joiners get them in this order.
fn place(header: &Frame) -> (u8, bool) {
    match (header.role(), header.kind()) {
        (FrameRole::Metadata, _) | (_, MediaKind::Data) => (0, false),
        (role, MediaKind::Video) => (1, role != FrameRole::SequenceHeader),
        (role, MediaKind::Audio) => (2, role != FrameRole::SequenceHeader),
    }
}

/// The tracks that a header says something of. Metadata has one place, so all of it replaces all of it.
fn tracks(header: &Frame) -> TrackSet {
    header.several_tracks().copied().unwrap_or_else(|| header.track().into())
}

#[cfg(test)]
mod tests {
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
        let bodies: Vec<_> =
            cache.late_join(Form::Full).iter().map(|frame| frame.payload().to_vec()).collect();
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
        let late =
            cache(GopSettings::default(), &[video(Key, 3_000_000), data.clone(), video(Inter, 3_000_040)]);
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
        let frames =
            [meta(b"old"), header(Sound, SequenceHeader, b"aac"), video(Key, 0), meta(b"new"), audio(5)];
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
        assert!(cache.push(&Arc::new(Arc::unwrap_or_clone(second).with_plain(
            None,
            TrackId(1),
            Plain::Same
        ))));
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
        let coded =
            (0u32..400, 0u8..2, 0usize..4, 0usize..600).prop_map(|(timestamp, track, role, pinned)| {
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
            let same_place =
                |other: &&Arc<Frame>| other.role().is_header() && is_same_place(other, &history[at]);
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
}
