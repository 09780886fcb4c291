//! Whether a publisher sends what its stream needs: stable codes, each with a beginning and an end.
//!
//! | code | what it says | begins after | ends after |
//! |---|---|---|---|
//! | `starving` | no whole message of the publisher comes | 3 s | 3 s |
//! | `no_video` | messages come, and no picture is among them, though video was announced or seen | 4 s | 4 s |
//! | `no_audio` | messages come, and no sound is among them, though audio was announced or seen | 4 s | 4 s |
//!
//! A code begins when its cause has lasted for so long, and ends when the cause has been away for so long ([`Terms`]); to that comes up to
//! [`JUDGED_EVERY`], since that is how often a publisher is judged. A message counts when it is whole: a link so slow that a key frame takes longer
//! starves its players as one does that brings nothing.
//!
//! A cause has one name. While nothing comes at all, that no picture is among it says nothing: such time does not count for `no_video` and
//! `no_audio`, and both end when `starving` begins. Announced is what a sequence header, a frame or `onMetaData` said; what the publisher
//! says has ended (an empty audio message, the end of a sequence) is not missed until it comes again.
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
#[cfg(test)]
mod tests;
mod vitals;

use core::time::Duration;

use smallvec::SmallVec;

pub use code::{CODES, Code, PerCode, Terms};
use course::Course;
pub use vitals::{KindVitals, Vitals};

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
    courses: PerCode<Course>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lacking {
    video: Duration,
    audio: Duration,
}

impl Health {
    /// A publisher that has just been let in: nothing is wrong with it.
    pub fn new(now: Instant) -> Self {
        Self {
            judged_at: now,
            watched_from: now,
            lacking: Lacking::default(),
            courses: PerCode::from_fn(|_| Course::new(now)),
        }
    }

    /// Judges what was measured up to now.
    pub fn judge(&mut self, now: Instant, vitals: &Vitals, announced: Announced) -> Changes {
        let mut changes = Changes::new();
        let judged_at = core::mem::replace(&mut self.judged_at, now);
        if now - judged_at > UNWATCHED_MAX {
            self.watched_from = now;
            self.lacking = Lacking::default();
            self.courses.iter_mut().for_each(|(_, course)| course.forget());
            return changes;
        }
        let silence = now - vitals.message_at().map_or(self.watched_from, |at| at.max(self.watched_from));
        self.step(Code::Starving, now, silence, &mut changes);
        if self.courses[Code::Starving].holds() {
            self.lacking = Lacking::default();
            self.cut_short(Code::NoVideo, now, &mut changes);
            self.cut_short(Code::NoAudio, now, &mut changes);
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

    fn step(&mut self, code: Code, now: Instant, cause_lasted: Duration, changes: &mut Changes) {
        let change = self.courses[code].step(now, cause_lasted, code.terms());
        changes.extend(change.map(|(began, lasted)| Change { code, began, lasted }));
    }

    fn cut_short(&mut self, code: Code, now: Instant, changes: &mut Changes) {
        let lasted = self.courses[code].cut_short(now);
        changes.extend(lasted.map(|lasted| Change { code, began: false, lasted }));
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
