//! Whether a publisher sends what its stream needs: stable codes, each with a beginning and an end.
//!
//! | code | what it says | begins after | ends after |
//! |---|---|---|---|
//! | `starving` | no whole message of the publisher comes | 3 s | 3 s |
//! | `no_video` | messages come, and no picture is among them, though video was announced or seen | 4 s | 4 s |
//! | `no_audio` | messages come, and no sound is among them, though audio was announced or seen | 4 s | 4 s |
//! | `gop_too_long` | the last group of pictures, or the one that goes on, is longer than `warn_gop_ms` | 1 s | 5 s |
//! | `av_drift` | sound and pictures that arrive together are further apart by their timestamps than `warn_skew_ms` | 5 s | 5 s |
//! | `clock_drift` | the encoder's clock is faster or slower than ours by more than `warn_drift_ppm` | 5 s | 10 s |
//! | `bitrate_over_limit` | more comes than a tenth above `warn_bits_per_second`, over some seconds | 5 s | 5 s |
//! | `variable_frame_rate` | the steps between pictures vary by more than 3/10 of their mean (standard deviation) | 5 s | 5 s |
//!
//! A code begins when its cause has lasted for so long, and ends when the cause has been away for so long ([`Terms`]); to that comes up to
//! [`JUDGED_EVERY`], since that is how often a publisher is judged. A message counts when it is whole: a link so slow that a key frame takes longer
//! starves its players as one does that brings nothing.
//!
//! A cause has one name. While nothing comes at all, that no picture is among it says nothing: such time does not count for `no_video` and
//! `no_audio`, and both end when `starving` begins. Announced is what a sequence header, a frame or `onMetaData` said; what the publisher
//! says has ended (an empty audio message, the end of a sequence) is not missed until it comes again.
//!
//! The other codes are of [`Figures`], with thresholds of the app's ([`HealthSettings`]). A clock is known after [`line::POINTS_MIN`](super::figures::line::POINTS_MIN)
//! seconds at the earliest, and a small drift after minutes; it is judged only when it has come to a quarter of a second for certain. Pictures
//! further apart than [`GAP_MS`](super::figures::GAP_MS) are of no frame rate and no GOP.
//!
//! [`Vitals`] is what is measured, with every message; [`Health`] is what is judged of it, once a second. A new code is a variant of
//! [`Code`] with its terms, what it needs of the vitals, and how long its cause has lasted, in [`Health::judge`].
//! # Invariant
//! A code's changes alternate, a beginning first. From an end to the next beginning of a code passes at least the time that it begins after;
//! from a beginning to its end the time that it ends after, but where `starving` or the publisher's end cuts it short.
//!
//! Time in which nobody looked counts for nothing: who was not judged for [`UNWATCHED_MAX`] may have sent all the while to a core that stood
//! still, and begins afresh. For shorter times, whoever judges leaves out those whose bytes are there and not read yet.
//! # Bounds
//! A few words a publisher; no allocation. At most one change a code and judgement.
//! # Errors
//! None.

mod code;
mod course;
mod settings;
#[cfg(test)]
mod tests;
mod vitals;

use core::time::Duration;

use smallvec::SmallVec;

pub use code::{CODES, Code, PerCode, Terms};
use course::Course;
pub use settings::HealthSettings;
pub use vitals::{KindVitals, Vitals};

use super::Figures;
use crate::session::{Instant, MediaKind};

/// How often a publisher is judged.
pub const JUDGED_EVERY: Duration = Duration::from_secs(1);

/// Not judged for longer than this, a publisher is taken for one that nobody watched.
pub const UNWATCHED_MAX: Duration = Duration::from_secs(3);

/// What one judgement changes.
pub type Changes = SmallVec<[Change; CODES]>;

/// A code begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub code: Code,
    /// Whether it begins.
    pub began: bool,
    /// Of a beginning, how long its cause has lasted; of an end, how long the code has held.
    pub lasted: Duration,
}

/// What a publisher's stream is to have, as far as was announced or seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Pictures.
    pub video: bool,
    /// Sound.
    pub audio: bool,
}

/// The codes of one publisher.
#[derive(Clone, Debug)]
pub struct Health {
    judged_at: Instant,
    /// Before this nobody knows what came.
    watched_from: Instant,
    /// How long messages have come without one picture, and without sound.
    lacking: Lacking,
    settings: HealthSettings,
    /// Since when the causes are there that figures show.
    since: PerCode<Option<Instant>>,
    courses: PerCode<Course>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lacking {
    video: Duration,
    audio: Duration,
}

impl Health {
    /// A publisher that has just been let in: nothing is wrong with it.
    pub fn new(now: Instant, settings: HealthSettings) -> Self {
        Self {
            judged_at: now,
            watched_from: now,
            lacking: Lacking::default(),
            settings,
            since: PerCode::default(),
            courses: PerCode::from_fn(|_| Course::new(now)),
        }
    }

    /// Judges what was measured up to now.
    pub fn judge(
        &mut self,
        now: Instant,
        vitals: &Vitals,
        figures: &Figures,
        announced: Announced,
    ) -> Changes {
        let mut changes = Changes::new();
        let judged_at = core::mem::replace(&mut self.judged_at, now);
        if now - judged_at > UNWATCHED_MAX {
            self.watched_from = now;
            self.lacking = Lacking::default();
            self.since = PerCode::default();
            self.courses.iter_mut().for_each(|(_, course)| course.forget());
            return changes;
        }
        let silence = now - vitals.message_at().map_or(self.watched_from, |at| at.max(self.watched_from));
        self.step(Code::Starving, now, silence, &mut changes);
        if self.courses[Code::Starving].holds() {
            self.lacking = Lacking::default();
            self.since = PerCode::default();
            for code in Code::ALL.into_iter().filter(|code| *code != Code::Starving) {
                self.cut_short(code, now, &mut changes);
            }
            return changes;
        }
        let interval = Interval { judged_at, now, had_messages: vitals.message_at() > Some(judged_at) };
        let Lacking { video, audio } = self.lacking;
        self.lacking = Lacking {
            video: interval.lacking(video, vitals.of(MediaKind::Video), announced.video),
            audio: interval.lacking(audio, vitals.of(MediaKind::Audio), announced.audio),
        };
        let Lacking { video, audio } = self.lacking;
        self.step(Code::NoVideo, now, video, &mut changes);
        self.step(Code::NoAudio, now, audio, &mut changes);
        for (code, is_caused) in self.settings.causes(now, figures) {
            self.step_caused(code, now, is_caused, &mut changes);
        }
        changes
    }

    /// The codes that hold, and since when.
    pub fn holding(&self) -> impl Iterator<Item = (Code, Instant)> {
        self.courses.iter().filter_map(|(code, course)| Some((code, course.held_since()?)))
    }

    /// What the publisher's end changes: every code that holds ends with it.
    pub fn at_the_end(&self, now: Instant) -> Changes {
        let ended = |(code, since)| Change { code, began: false, lasted: now - since };
        self.holding().map(ended).collect()
    }

    /// A cause that is there or not, and comes back before its code has ended without having been away.
    fn step_caused(&mut self, code: Code, now: Instant, is_caused: bool, changes: &mut Changes) {
        let since = is_caused.then(|| self.since[code].unwrap_or(now));
        self.since[code] = since;
        let lasted = since.map_or(Duration::ZERO, |since| now - since);
        let holds_on = is_caused && self.courses[code].holds();
        self.step(code, now, if holds_on { lasted.max(code.terms().begins_after) } else { lasted }, changes);
    }

    fn step(&mut self, code: Code, now: Instant, cause_lasted: Duration, changes: &mut Changes) {
        let change = self.courses[code].step(now, cause_lasted, code.terms());
        changes.extend(change.map(|(began, lasted)| Change { code, began, lasted }));
    }

    fn cut_short(&mut self, code: Code, now: Instant, changes: &mut Changes) {
        let lasted = self.courses[code].cut_short(now);
        changes.extend(lasted.map(|lasted| Change { code, began: false, lasted }));
    }
}

impl HealthSettings {
    /// Whether the cause of each code that figures show is there.
    fn causes(&self, now: Instant, figures: &Figures) -> [(Code, bool); 5] {
        let Self { gop_ms_max, skew_ms_max, drift_ppm_max, bits_per_second_max, .. } = *self;
        [
            (Code::GopTooLong, gop_ms_max > 0 && figures.gop_exceeds(now, gop_ms_max)),
            (Code::AvDrift, skew_ms_max > 0 && figures.skew_exceeds(skew_ms_max)),
            (Code::ClockDrift, drift_ppm_max > 0 && figures.drift_exceeds(drift_ppm_max)),
            (Code::BitrateOverLimit, bits_per_second_max > 0 && figures.rate_exceeds(bits_per_second_max)),
            (Code::VariableFrameRate, self.tells_variable_frame_rate && figures.is_uneven()),
        ]
    }
}

/// The time from one judgement to the next.
#[derive(Clone, Copy, Debug)]
struct Interval {
    judged_at: Instant,
    now: Instant,
    /// Whether any message came within it.
    had_messages: bool,
}

impl Interval {
    /// How long messages have come without a frame of this kind, when it was `before` at the interval's beginning.
    fn lacking(&self, before: Duration, kind: &KindVitals, is_announced: bool) -> Duration {
        if !is_announced || kind.has_ended() {
            return Duration::ZERO;
        }
        match kind.frame_at() {
            Some(at) if at > self.judged_at => self.now - at,
            _ if self.had_messages => before + (self.now - self.judged_at),
            _ => before,
        }
    }
}
