//! What is measured of a publisher with every message: a few adds and stores.

use crate::session::{Instant, MediaKind};

/// What a publisher has sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    message_at: Option<Instant>,
    kinds: [KindVitals; KINDS],
}

/// Audio, video, data.
const KINDS: usize = 3;

/// The same, of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindVitals {
    bytes: u64,
    frames: u64,
    frame_at: Option<Instant>,
    ended_at: Option<Instant>,
}

impl Vitals {
    /// A message has come, of whatever is in it.
    pub fn on_message(&mut self, now: Instant, kind: MediaKind, wire_bytes: u32) {
        self.message_at = Some(now);
        self.of_mut(kind).bytes += u64::from(wire_bytes);
    }

    /// It was a picture or sound.
    pub fn on_frame(&mut self, now: Instant, kind: MediaKind) {
        let kind = self.of_mut(kind);
        kind.frames += 1;
        kind.frame_at = Some(now);
    }

    /// The publisher says that nothing more of this kind follows for now.
    pub fn on_end(&mut self, now: Instant, kind: MediaKind) {
        self.of_mut(kind).ended_at = Some(now);
    }

    /// When the last message was whole, if one has come.
    pub fn message_at(&self) -> Option<Instant> {
        self.message_at
    }

    /// What was measured of one kind.
    pub fn of(&self, kind: MediaKind) -> &KindVitals {
        &self.kinds[kind as usize]
    }

    fn of_mut(&mut self, kind: MediaKind) -> &mut KindVitals {
        // There are as many as kinds.
        &mut self.kinds[kind as usize]
    }
}

impl KindVitals {
    /// Bytes on the wire of its messages, headers and what lay between included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Messages with pictures or sound.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// When the last of those was whole.
    pub fn frame_at(&self) -> Option<Instant> {
        self.frame_at
    }

    /// Whether the publisher has said that nothing more follows, and nothing has.
    pub fn has_ended(&self) -> bool {
        self.ended_at.is_some() && self.ended_at >= self.frame_at
    }
}
