//! Flight recorder: the last bytes that a peer sent and its last commands, kept while the session lives and handed out at its end.
//!
//! The bytes can be read only from a place where it is known how (a chunk header leaves out what one before it said), so they are kept in two
//! segments, each with the reader's state at its beginning: when the newer one is full, the older one goes.
//! # Invariant
//! The segments lie end to end, and the newer one ends with the last byte received.
//! # Bounds
//! A segment takes `bytes_max / 2` and what comes until it can be closed: one read, the input that waits while a request is decided
//! (`held_bytes_max`), or what comes beside a message that says how to read on and is never finished. Over [`SEGMENT_BYTES_MAX`] everything
//! goes, until there is a place again to begin at. Reads are kept as the slices that they came in, which frames in a
//! GOP cache share; those up to [`COPY_BYTES_MAX`] are copied together, so that a byte does not keep a whole buffer.
//! [`COMMANDS_MAX`] commands and [`SECRETS_MAX`] texts, each of at most [`TEXT_BYTES_MAX`].
//! # Errors
//! None.

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::Instant;
use super::recording::{RecordedCommand, RecordedRead, Recording, Start};
use crate::rtmp::chunk::ReaderState;

/// Reads up to this length are copied, and together with the one before when both fit, bytes.
pub const COPY_BYTES_MAX: usize = 512;

/// A segment that cannot be closed and has grown longer is given up, bytes: twice what a session holds by default while a request is decided.
pub const SEGMENT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Commands that are remembered, the newest: a usual session has ten.
pub const COMMANDS_MAX: usize = 32;

/// Texts to be kept out of a recording: a usual session has three.
const SECRETS_MAX: usize = 16;

/// A shorter text is hidden in commands only: elsewhere it would be found in whatever bytes are there.
const SECRET_BYTES_MIN: usize = 6;

/// Longest command name that is remembered, and longest secret, bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Recorder {
    bytes_max: usize,
    older: Option<Segment>,
    newer: Segment,
    /// `newer` was given up, and what comes cannot be read until a new one begins.
    is_lost: bool,
    commands: VecDeque<RecordedCommand>,
    secrets: Vec<String>,
}

#[derive(Debug)]
struct Segment {
    start: Start,
    reads: Vec<RecordedRead>,
    bytes: usize,
}

impl Segment {
    fn new(start: Start) -> Self {
        Self { start, reads: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, now: Instant, bytes: &Bytes) {
        self.bytes += bytes.len();
        if bytes.len() > COPY_BYTES_MAX {
            self.reads.push(RecordedRead { at: now, bytes: bytes.clone() });
            return;
        }
        match self.reads.last_mut() {
            Some(last) if last.bytes.len() + bytes.len() <= COPY_BYTES_MAX => {
                let mut both = BytesMut::with_capacity(last.bytes.len() + bytes.len());
                both.extend_from_slice(&last.bytes);
                both.extend_from_slice(bytes);
                last.bytes = both.freeze();
            }
            _ => self.reads.push(RecordedRead { at: now, bytes: Bytes::copy_from_slice(bytes) }),
        }
    }
}

impl Recorder {
    /// Keeps about `bytes_max` of what the peer sent last.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            older: None,
            newer: Segment::new(Start::Connection),
            is_lost: false,
            commands: VecDeque::new(),
            secrets: Vec::new(),
        }
    }

    /// The next read, before it is parsed. `state` is how the reader stands, all earlier input being parsed; `None` while it is not.
    pub(super) fn on_bytes(
        &mut self,
        now: Instant,
        bytes: &Bytes,
        state: impl FnOnce() -> Option<ReaderState>,
    ) {
        if (self.is_lost || self.newer.bytes >= self.bytes_max / 2)
            && let Some(state) = state()
        {
            let full = core::mem::replace(&mut self.newer, Segment::new(Start::Middle(state)));
            self.older = (!self.is_lost).then_some(full);
            self.is_lost = false;
        }
        if self.is_lost {
            return;
        }
        self.newer.push(now, bytes);
        if self.newer.bytes > self.bytes_max.max(SEGMENT_BYTES_MAX) {
            self.is_lost = true;
            self.older = None;
            self.newer = Segment::new(Start::Connection);
        }
    }

    /// Bytes that it keeps of what was received.
    pub(super) fn held_bytes(&self) -> usize {
        self.newer.bytes + self.older.as_ref().map_or(0, |older| older.bytes)
    }

    /// A command was read.
    pub(super) fn on_command(&mut self, now: Instant, name: &str, transaction: f64, stream_id: u32) {
        if self.commands.len() == COMMANDS_MAX {
            self.commands.pop_front();
        }
        self.commands.push_back(RecordedCommand { at: now, name: cut(name), transaction, stream_id });
    }

    /// A text that must not be in a recording: a stream's name, a URL.
    pub(super) fn on_secret(&mut self, text: &str) {
        if text.len() >= SECRET_BYTES_MIN
            && self.secrets.len() < SECRETS_MAX
            && !self.secrets.iter().any(|each| each == text)
        {
            self.secrets.push(cut(text));
        }
    }

    /// What was recorded.
    pub(super) fn finish(self) -> Recording {
        let (start, mut reads) = match self.older {
            Some(older) => (older.start, older.reads),
            None => (self.newer.start, Vec::new()),
        };
        reads.extend(self.newer.reads);
        Recording { start, reads, commands: self.commands.into(), secrets: self.secrets }
    }
}

fn cut(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_micros(5);

    fn state() -> ReaderState {
        ReaderState { chunk_size: 128, streams: Vec::new(), open: None, unparsed: Bytes::new() }
    }

    /// The newest bytes are there, in order and without a hole, and the sum stays within its bound.
    #[test]
    fn the_newest_bytes_are_kept() {
        let mut recorder = Recorder::new(10_000);
        let mut sent = Vec::new();
        for (n, len) in [1, 700, 3, 3000, 512, 40, 9000].into_iter().cycle().take(200).enumerate() {
            let bytes = Bytes::from(alloc::vec![n as u8; len]);
            recorder.on_bytes(NOW, &bytes, || Some(state()));
            sent.extend_from_slice(&bytes);
            let kept = recorder.newer.bytes + recorder.older.as_ref().map_or(0, |older| older.bytes);
            assert!(kept <= 10_000 + 2 * 9000, "{kept}");
            assert!(kept >= sent.len().min(5000));
        }
        let recording = recorder.finish();
        assert!(matches!(recording.start, Start::Middle(_)));
        let kept: Vec<u8> = recording.reads.iter().flat_map(|read| read.bytes.to_vec()).collect();
        assert!(sent.ends_with(&kept));
    }

    /// Short reads are copied together; a long one stays where it is.
    #[test]
    fn short_reads_cost_what_they_are() {
        let mut recorder = Recorder::new(1 << 20);
        let buffer = Bytes::from(alloc::vec![7; 64 * 1024]);
        for at in 0..10_000 {
            recorder.on_bytes(NOW, &buffer.slice(at..at + 1), || None);
        }
        assert_eq!(recorder.newer.reads.len(), 10_000_usize.div_ceil(COPY_BYTES_MAX));
        assert!(
            !recorder.newer.reads.iter().any(|read| buffer.as_ptr_range().contains(&read.bytes.as_ptr()))
        );
        recorder.on_bytes(NOW, &buffer, || None);
        assert_eq!(recorder.newer.reads.last().unwrap().bytes.as_ptr(), buffer.as_ptr());
    }

    /// Without a state there is no new segment: what could not be read later is of no use.
    #[test]
    fn a_segment_ends_where_it_is_known_how_to_read_on() {
        let mut recorder = Recorder::new(1000);
        let bytes = Bytes::from(alloc::vec![7; 600]);
        for _ in 0..3 {
            recorder.on_bytes(NOW, &bytes, || None);
        }
        assert!(recorder.older.is_none());
        recorder.on_bytes(NOW, &bytes, || Some(state()));
        assert_eq!(recorder.older.as_ref().unwrap().bytes, 1800);
        assert_eq!(recorder.newer.bytes, 600);
    }

    /// A peer cannot make a segment grow for ever by never letting it be closed; when it can be, recording begins anew.
    #[test]
    fn a_segment_that_cannot_be_closed_is_given_up() {
        let mut recorder = Recorder::new(1000);
        let bytes = Bytes::from(alloc::vec![7; 60_000]);
        let mut held_max = 0;
        for _ in 0..1000 {
            recorder.on_bytes(NOW, &bytes, || None);
            held_max = held_max.max(recorder.held_bytes());
        }
        assert!((1_000_000..=SEGMENT_BYTES_MAX).contains(&held_max), "{held_max}");
        assert_eq!(recorder.held_bytes(), 0);
        recorder.on_bytes(NOW, &bytes, || Some(state()));
        let recording = recorder.finish();
        assert!(matches!(recording.start, Start::Middle(_)));
        assert_eq!(recording.reads.len(), 1);
    }

    /// Commands and secrets are the newest and the first of so many, and cut.
    #[test]
    fn commands_and_secrets_are_bounded() {
        let mut recorder = Recorder::new(1000);
        for n in 0..100_u32 {
            recorder.on_command(NOW, &"é".repeat(TEXT_BYTES_MAX), n.into(), n);
            recorder.on_secret(&alloc::format!("secret {n}"));
            recorder.on_secret("secret 0");
        }
        recorder.on_secret("live");
        let recording = recorder.finish();
        assert_eq!(recording.commands.len(), COMMANDS_MAX);
        assert_eq!(recording.commands.last().unwrap().stream_id, 99);
        assert!(recording.commands.iter().all(|command| command.name.len() == TEXT_BYTES_MAX));
        assert_eq!(recording.secrets.len(), SECRETS_MAX);
    }
}
