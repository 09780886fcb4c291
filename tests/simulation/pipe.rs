//! One direction of a virtual link: cuts what is sent into random segments and delays them, in order.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use inrush::session::Instant;

use super::rng::Rng;

/// How a direction treats what is sent.
#[derive(Clone, Copy)]
pub struct Weather {
    /// Longest segment, bytes.
    pub segment_bytes_max: u64,
    pub latency: Duration,
    /// Most that is added to the latency of a segment.
    pub jitter_us: u64,
}

impl Weather {
    pub fn random(rng: &mut Rng) -> Self {
        Self {
            segment_bytes_max: rng.pick(&[3, 50, 1448, 1448, 1 << 20]),
            latency: Duration::from_millis(rng.below(150)),
            jitter_us: rng.pick(&[1, 5_000, 100_000]),
        }
    }
}

pub enum Segment {
    Bytes(Bytes),
    /// The sender closed, or the link was cut.
    End,
}

pub struct Pipe {
    weather: Weather,
    segments: VecDeque<(Instant, Segment)>,
    last_at: Instant,
    /// After so many bytes nothing gets through any more, and nobody notices.
    silent_after: usize,
    ended: bool,
    /// One byte of what is sent next is changed.
    corrupt: bool,
}

impl Pipe {
    pub fn new(weather: Weather) -> Self {
        Self {
            weather,
            segments: VecDeque::new(),
            last_at: Instant::default(),
            silent_after: usize::MAX,
            ended: false,
            corrupt: false,
        }
    }

    /// Takes over what the sender wrote; gives the instants at which segments arrive.
    pub fn send(&mut self, rng: &mut Rng, now: Instant, mut bytes: Bytes) -> Vec<Instant> {
        if self.ended {
            return Vec::new();
        }
        bytes.truncate(self.silent_after);
        self.silent_after -= bytes.len();
        if self.corrupt && !bytes.is_empty() {
            self.corrupt = false;
            let mut changed = bytes.to_vec();
            changed[rng.below(bytes.len() as u64) as usize] ^= 1 << rng.below(8);
            bytes = changed.into();
        }
        let mut arrivals = Vec::new();
        // However small the segments, not thousands of them at a time: that only takes time.
        let segment_bytes_max = self.weather.segment_bytes_max.max(bytes.len() as u64 / 256);
        if rng.percent(50) {
            bytes = self.join(bytes, segment_bytes_max);
        }
        while !bytes.is_empty() {
            let len = (1 + rng.below(segment_bytes_max)).min(bytes.len() as u64);
            let segment = bytes.split_to(len as usize);
            arrivals.push(self.push(rng, now, Segment::Bytes(segment)));
        }
        arrivals
    }

    /// Fills up the segment that was sent last, as TCP does with what waits.
    fn join(&mut self, mut bytes: Bytes, segment_bytes_max: u64) -> Bytes {
        if let Some((_, Segment::Bytes(last))) = self.segments.back_mut() {
            let room = (segment_bytes_max as usize).saturating_sub(last.len()).min(bytes.len());
            *last = [&last[..], &bytes.split_to(room)].concat().into();
        }
        bytes
    }

    /// The sender closes: what was sent before still arrives.
    pub fn finish(&mut self, rng: &mut Rng, now: Instant) -> Option<Instant> {
        if self.silent_after == 0 || self.ended {
            return None;
        }
        self.ended = true;
        Some(self.push(rng, now, Segment::End))
    }

    /// The link is cut: what is on its way is lost, and the receiver notices.
    pub fn cut(&mut self, rng: &mut Rng, now: Instant) -> Instant {
        self.segments.clear();
        self.ended = true;
        self.push(rng, now, Segment::End)
    }

    pub fn fall_silent_after(&mut self, bytes: usize) {
        self.silent_after = bytes;
    }

    pub fn corrupt_next(&mut self) {
        self.corrupt = true;
    }

    fn push(&mut self, rng: &mut Rng, now: Instant, segment: Segment) -> Instant {
        let jitter = Duration::from_micros(rng.below(self.weather.jitter_us));
        self.last_at = self.last_at.max(now + self.weather.latency + jitter);
        self.segments.push_back((self.last_at, segment));
        self.last_at
    }

    /// The next segment, if it has arrived.
    pub fn receive(&mut self, now: Instant) -> Option<Segment> {
        match self.segments.front() {
            Some((at, _)) if *at <= now => self.segments.pop_front().map(|(_, segment)| segment),
            _ => None,
        }
    }

    /// When the next segment arrives, or did.
    pub fn next_at(&self) -> Option<Instant> {
        self.segments.front().map(|(at, _)| *at)
    }

    /// Bytes on their way, arrived ones that were not taken included.
    pub fn bytes(&self) -> usize {
        let len = |(_, segment): &(Instant, Segment)| match segment {
            Segment::Bytes(bytes) => bytes.len(),
            Segment::End => 0,
        };
        self.segments.iter().map(len).sum()
    }

    /// Whether the sender has closed, or the link was cut.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Segments that have arrived and were not taken.
    pub fn waiting(&self, now: Instant) -> usize {
        self.segments.iter().take_while(|(at, _)| *at <= now).count()
    }
}
