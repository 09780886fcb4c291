//! An encoder in virtual time, for tests: pictures and sound at their times, over a network that delays them.

use crate::media::health::{JUDGED_EVERY, Vitals};
use crate::media::{Figures, MediaKind};
use crate::session::Instant;

/// One encoder, and what its frames were noted in.
pub(crate) struct Encoder {
    pub(crate) now: Instant,
    pub(crate) vitals: Vitals,
    pub(crate) figures: Figures,
    /// Pictures in so many seconds.
    pub(crate) rate: (u64, u64),
    pub(crate) gop_frames: u64,
    /// Longest delay of the network, µs; each frame is delayed by anything up to it.
    pub(crate) delay_us_max: u64,
    /// How much too fast the timestamps of pictures and of sound go, millionths.
    pub(crate) ppm: (i64, i64),
    pub(crate) picture_bytes: u32,
    /// Every third picture waits two steps more.
    pub(crate) uneven: bool,
    first_timestamp: u32,
    began: Instant,
    pictures: Track,
    sounds: Track,
    random: u64,
    measured_at: Instant,
}

/// A kind's next frame.
#[derive(Clone, Copy, Debug, Default)]
struct Track {
    number: u64,
    /// When it is due, µs.
    due_us: u64,
    /// How far its timestamps have gone beyond that, µs.
    ahead_us: i64,
}

impl Track {
    fn step(&mut self, step_us: u64, ppm: i64) {
        self.number += 1;
        self.due_us += step_us;
        self.ahead_us += step_us as i64 * ppm / 1_000_000;
    }

    fn timestamp(&self, first: u32) -> u32 {
        first.wrapping_add(((self.due_us as i64 + self.ahead_us) / 1_000) as u32)
    }
}

/// 48,000 Hz, 1,024 samples a frame.
const SOUND_US: u64 = 21_333;

impl Encoder {
    /// 25 pictures a second, a key frame each second, timestamps that are about to wrap, a network without delay.
    pub(crate) fn new(seed: u64) -> Self {
        let now = Instant::from_micros(77_000_000);
        Self {
            now,
            vitals: Vitals::default(),
            figures: Figures::default(),
            rate: (25, 1),
            gop_frames: 25,
            delay_us_max: 0,
            ppm: (0, 0),
            picture_bytes: 10_000,
            uneven: false,
            first_timestamp: u32::MAX - 5_000,
            began: now,
            pictures: Track::default(),
            sounds: Track::default(),
            random: seed | 1,
            measured_at: now,
        }
    }

    /// Sends for so long; each second is measured and then looked at.
    pub(crate) fn send(&mut self, seconds: u64, mut look: impl FnMut(&mut Self)) {
        let until = self.measured_at + JUDGED_EVERY * seconds as u32;
        while self.measured_at < until {
            let is_picture = self.pictures.due_us <= self.sounds.due_us;
            let track = if is_picture { &self.pictures } else { &self.sounds };
            let due = self.began + core::time::Duration::from_micros(track.due_us + self.delay());
            let arrives = due.max(self.now);
            while self.measured_at + JUDGED_EVERY <= arrives {
                self.measured_at = self.measured_at + JUDGED_EVERY;
                self.now = self.measured_at;
                self.figures.measure(self.now, &self.vitals);
                look(self);
            }
            self.now = arrives;
            self.frame(is_picture);
        }
    }

    fn frame(&mut self, is_picture: bool) {
        let track = if is_picture { &mut self.pictures } else { &mut self.sounds };
        let (timestamp, number) = (track.timestamp(self.first_timestamp), track.number);
        let (kind, bytes) = match is_picture {
            true => (MediaKind::Video, self.picture_bytes),
            false => (MediaKind::Audio, 300),
        };
        self.vitals.on_message(self.now, kind, bytes);
        self.vitals.on_frame(self.now, kind);
        let is_key = is_picture && number.is_multiple_of(self.gop_frames);
        self.figures.on_frame(self.now, kind, timestamp, is_key);
        match is_picture {
            true => {
                let due_us = |number| number * 1_000_000 * self.rate.1 / self.rate.0;
                let steps = if self.uneven && number.is_multiple_of(3) { 3 } else { 1 };
                track.step((due_us(number + 1) - due_us(number)) * steps, self.ppm.0);
            }
            false => track.step(SOUND_US, self.ppm.1),
        }
    }

    fn delay(&mut self) -> u64 {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % (self.delay_us_max + 1)
    }
}
