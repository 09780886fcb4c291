//! What a publisher's media comes to: rates, groups of pictures, and three clocks, the pictures', the sound's and ours.
//!
//! All of it is of the default track of each kind, but for bits a second, which are of all tracks. Timestamps are taken as they came, before
//! anything becomes of them ([`super::timestamps`]).
//!
//! - **Bits and pictures a second**, over the last few seconds.
//! - **GOP**: pictures and milliseconds from the last key frame but one to the last, by timestamps, and the time that passed here between the two.
//! - **Skew**: how much further the sound's timestamps are than those of the pictures that arrive with them, averaged over the last second.
//! - **Drift**: how much faster the encoder's clock runs than ours ([`mod@line`]), millionths. Of the pictures' timestamps, where there are pictures.
//! - **Jitter**: of what arrives (RFC 3550 §6.4.1), smoothed over 16 frames.
//! - **Unevenness**: whether the steps between pictures vary, for the code `variable_frame_rate`.
//!
//! [`Figures::on_frame`] takes note of each frame; [`Figures::measure`] makes figures of that, once a second, with the judgement
//! of [`super::health`].
//! # Invariant
//! What came while nobody looked, for longer than [`UNWATCHED_MAX`], is in no figure but the counts: it may have lain in a socket.
//! # Bounds
//! Some 400 bytes a publisher, and [`line::POINTS_MAX`] points once it has sent for a second. A frame costs some adds; nothing is allocated.
//! # Errors
//! None.

pub mod line;
mod tally;

use core::time::Duration;

use line::Line;
use tally::{Base, Gops, Lately, Steps, Tally};
pub use tally::{GAP_MS, Gop};

use super::health::{UNWATCHED_MAX, Vitals};
use crate::session::{Instant, MediaKind};

/// How slowly what is shown follows, seconds: of a second's rate more than a third is taken at once.
const FOLLOWS_S: f64 = 1.9;
/// The same of what is judged: what a network has held back for 3 s, and brings at once, does not count as a rate of that height for 5 s.
const FOLLOWS_SLOWLY_S: f64 = 4.0;

/// What one publisher's media comes to.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    base: Option<Base>,
    video: Tally,
    audio: Tally,
    steps: Steps,
    gops: Gops,
    measured_at: Option<Instant>,
    rates: Rates,
    skew_us: Option<i64>,
    is_uneven: bool,
    line: Line,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    video_bytes: Rate,
    audio_bytes: Rate,
    bytes: Rate,
    pictures: Rate,
}

/// A smoothed rate of what is only ever counted up.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    before: u64,
    per_second: Option<f64>,
}

impl Rates {
    /// What has come in all, and in what time since this was last called; without one it is where the next time begins.
    fn measure(&mut self, passed: Option<Duration>, vitals: &Vitals, pictures: u64) {
        let [video, audio, data] =
            [MediaKind::Video, MediaKind::Audio, MediaKind::Data].map(|kind| vitals.of(kind).bytes());
        let all = video.saturating_add(audio).saturating_add(data);
        self.video_bytes.measure(video, passed, FOLLOWS_S);
        self.audio_bytes.measure(audio, passed, FOLLOWS_S);
        self.pictures.measure(pictures, passed, FOLLOWS_S);
        self.bytes.measure(all, passed, FOLLOWS_SLOWLY_S);
    }
}

impl Rate {
    fn measure(&mut self, count: u64, passed: Option<Duration>, follows_s: f64) {
        let came = count.saturating_sub(core::mem::replace(&mut self.before, count));
        let Some(passed) = passed else { return };
        let passed_s = passed.as_secs_f64();
        let newest = came as f64 / passed_s;
        // By its length: after a sweep that was late the next judgement is only 100 ms away, and whether a key frame is in that says little.
        let share = passed_s / (passed_s + follows_s);
        let follow = |before: f64| before + share * (newest - before);
        self.per_second = Some(self.per_second.map_or(newest, follow));
    }

    fn per_second(&self) -> f64 {
        self.per_second.unwrap_or_default()
    }
}

impl Figures {
    /// A frame of the default track of a kind has come, with the timestamp that it came with.
    pub fn on_frame(&mut self, now: Instant, kind: MediaKind, timestamp: u32, is_key: bool) {
        let base = self.base.get_or_insert(Base::new(now, timestamp));
        let early_us = base.early_us(now, timestamp);
        match kind {
            MediaKind::Video => {
                if let Some(step_ms) = self.video.note(timestamp, early_us) {
                    self.steps.note(step_ms);
                }
                self.gops.note(now, timestamp, is_key);
            }
            MediaKind::Audio => {
                self.audio.note(timestamp, early_us);
            }
            MediaKind::Data => {}
        }
    }

    /// Makes the figures of what has come since this was last called; for about once a second.
    pub fn measure(&mut self, now: Instant, vitals: &Vitals) {
        let (video, audio) = (self.video.take_lately(), self.audio.take_lately());
        let before = self.measured_at.replace(now);
        let watched_from = before.or(self.base.as_ref().map(Base::at)).unwrap_or(now);
        if let Some(base) = &mut self.base {
            base.advance(now);
        }
        // What had come before the first time is no rate: encoders begin with what they have kept while they connected.
        let passed = before.map(|before| now - before).filter(|passed| !passed.is_zero());
        let is_unwatched = now - watched_from > UNWATCHED_MAX;
        self.rates.measure(passed.filter(|_| !is_unwatched), vitals, self.video.frames);
        if is_unwatched {
            (self.skew_us, self.is_uneven) = (None, false);
            (self.steps, self.gops) = (Steps::default(), Gops::default());
            self.line.restart();
            return;
        }
        let both = video.early_us().zip(audio.early_us());
        self.skew_us = both.map(|(video, audio)| audio.saturating_sub(video));
        self.is_uneven = match self.steps.take_whether_uneven() {
            Some(is_uneven) => is_uneven,
            None => self.is_uneven && video.early_us().is_some(),
        };
        let leading: &Lately = if self.video.frames > 0 { &video } else { &audio };
        if let Some(early_us) = leading.earliest_us() {
            self.line.note(now, early_us);
        }
    }

    /// Bits a second of a kind, all tracks, headers and what lay between included.
    pub fn bits_per_second(&self, kind: MediaKind) -> u64 {
        let rate = match kind {
            MediaKind::Video => &self.rates.video_bytes,
            MediaKind::Audio => &self.rates.audio_bytes,
            MediaKind::Data => return 0,
        };
        (8.0 * rate.per_second()) as u64
    }

    /// Pictures a second.
    pub fn frames_per_second(&self) -> f64 {
        self.rates.pictures.per_second()
    }

    /// The last whole group of pictures.
    pub fn gop(&self) -> Option<Gop> {
        self.gops.whole()
    }

    /// How much further the sound's timestamps are than the pictures', ms; `None` while not both come.
    pub fn skew_ms(&self) -> Option<i64> {
        self.skew_us.map(|skew_us| skew_us / 1_000)
    }

    /// How much faster than ours the encoder's clock runs, millionths; `None` until that can be said.
    pub fn drift_ppm(&self) -> Option<i64> {
        self.line.ppm()
    }

    /// Interarrival jitter, µs: of the pictures, where there are any.
    pub fn jitter_us(&self) -> u64 {
        let leading = if self.video.frames > 0 { &self.video } else { &self.audio };
        leading.jitter_us()
    }

    /// Whether a GOP is longer than this, ms.
    pub fn gop_exceeds(&self, now: Instant, ms_max: u32) -> bool {
        self.gops.exceed(now, ms_max)
    }

    /// Whether sound and pictures are further apart than this, ms.
    pub fn skew_exceeds(&self, ms_max: u32) -> bool {
        self.skew_ms().is_some_and(|skew_ms| skew_ms.unsigned_abs() > u64::from(ms_max))
    }

    /// Whether the encoder's clock is off by more than this for certain, millionths.
    pub fn drift_exceeds(&self, ppm_max: u32) -> bool {
        self.line.drifts(ppm_max)
    }

    /// Whether it sends more than a tenth above this, bits a second, all kinds together.
    pub fn rate_exceeds(&self, bits_per_second_max: u64) -> bool {
        8.0 * self.rates.bytes.per_second() > 1.1 * bits_per_second_max as f64
    }

    /// Whether the steps between its pictures vary.
    pub fn is_uneven(&self) -> bool {
        self.is_uneven
    }
}

#[cfg(test)]
pub(crate) mod encoder;
#[cfg(test)]
mod tests;
