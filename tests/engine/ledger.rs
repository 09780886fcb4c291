//! What publishers have sent, against which everything that a player gets is held, byte for byte.

use bytes::Bytes;
use inrush::media::{MediaKind, TimestampPolicy};
use inrush::session::MediaMessage;

use crate::simulation::encoder::{Encoder, Label, Seen, index};
use crate::simulation::rng::Rng;

/// Everything that was sent, by publisher's life: one from each `publish` to the next.
pub(super) struct Ledger {
    lives: Vec<Life>,
    policy: TimestampPolicy,
    /// Publishers may follow one another: what does has its times moved.
    follows: bool,
}

struct Life {
    name: &'static str,
    /// By number, from 1: all that is no header.
    frames: Vec<(MediaKind, u32, Bytes)>,
    /// By kind and version, from 1: timestamps that it was sent with, and its body.
    headers: [Vec<(Vec<u32>, Bytes)>; 3],
    refused: bool,
    seen: bool,
}

impl Ledger {
    pub(super) fn new(policy: TimestampPolicy, follows: bool) -> Self {
        Self { lives: Vec::new(), policy, follows }
    }

    /// An encoder for this life. Where publishers follow one another its clock never jumps, so that no time may step back.
    pub(super) fn encoder(&self, life: u32, rng: &mut Rng) -> Encoder {
        let mut encoder = Encoder::new(life, rng);
        encoder.steady = self.follows;
        encoder
    }

    fn keeps_times(&self) -> bool {
        self.policy == TimestampPolicy::Pass && !self.follows
    }

    /// A publisher's life of this name begins; gives its number, from 1.
    pub(super) fn begin(&mut self, name: &'static str) -> u32 {
        let headers = [Vec::new(), Vec::new(), Vec::new()];
        self.lives.push(Life { name, frames: Vec::new(), headers, refused: false, seen: false });
        u32::try_from(self.lives.len()).expect("few")
    }

    /// The publisher was told that somebody else has the name.
    pub(super) fn refuse(&mut self, life: u32) {
        self.lives[life as usize - 1].refused = true;
    }

    /// Notes what the encoder hands to its session, in the form that players are to get.
    pub(super) fn note(&mut self, message: &MediaMessage) {
        let body = message.payload.to_bytes();
        let Seen { is_header, label, .. } = Seen::of(message.kind, &body);
        let life = &mut self.lives[label.life as usize - 1];
        if !is_header {
            life.frames.push((message.kind, message.timestamp, body));
            assert_eq!(life.frames.len(), label.number as usize);
            return;
        }
        let versions = &mut life.headers[index(message.kind)];
        match versions.get_mut(label.number as usize - 1) {
            Some((timestamps, sent)) => {
                assert_eq!(*sent, body);
                timestamps.push(message.timestamp);
            }
            None => versions.push((vec![message.timestamp], body)),
        }
    }

    /// A player of `name` has got this: it is what a publisher of that name has sent, whole, with its time.
    pub(super) fn check(&mut self, name: &str, seen: &Seen, timestamp: u32, body: &Bytes) {
        let Label { life, number, .. } = seen.label;
        let keeps_times = self.keeps_times();
        let life = &mut self.lives[life as usize - 1];
        assert_eq!(life.name, name, "a frame of another stream: {seen:?}");
        assert!(!life.refused, "a frame of a publisher that was refused: {seen:?}");
        life.seen = true;
        if seen.is_header {
            let (timestamps, sent) = &life.headers[index(seen.kind)][number as usize - 1];
            assert_eq!(sent, body, "torn: {seen:?}");
            // Its own time, or that of a frame which it was sent before.
            let is_known = timestamps.contains(&timestamp)
                || life.frames.iter().any(|(_, of_frame, _)| *of_frame == timestamp);
            assert!(is_known || !keeps_times, "{seen:?} at {timestamp}");
            return;
        }
        let (kind, sent_at, sent) = &life.frames[number as usize - 1];
        assert_eq!((*kind, sent), (seen.kind, body), "torn: {seen:?}");
        assert!(*sent_at == timestamp || !keeps_times, "{seen:?} at {timestamp}");
    }

    /// Whether times of a track must not step back.
    pub(super) fn is_monotonic(&self) -> bool {
        self.policy == TimestampPolicy::Monotonic
    }

    pub(super) fn check_end(&self) {
        for life in &self.lives {
            assert!(!(life.refused && life.seen), "a publisher that was refused was shown");
        }
    }
}
