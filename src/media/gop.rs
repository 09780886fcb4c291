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
mod tests;
