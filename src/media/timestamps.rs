//! What becomes of a publisher's timestamps.
//!
//! RTMP timestamps are milliseconds modulo 2^32 (RTMP 1.0 §4); all arithmetic here is serial: of two timestamps the
//! later one is less than 2^31 ms ahead. So the wrap after 49.7 days is no step.
//!
//! Steps back, and jumps ahead by more than [`JUMP_MS`], are counted under every policy, per kind; each track has its
//! own past, so tracks that lie apart count nothing.
//!
//! # The monotonic rule
//! Under [`TimestampPolicy::Monotonic`] what is handed on is `timestamp + offset`, and no track ever steps back.
//! The **offset is the publisher's, not a track's**: when the encoder's clock changes, sound and picture stay as far
//! apart as the encoder has them.
//! - The time *expected* of a frame is the newest time handed on plus what has passed since, as arrivals tell.
//! - A clock change shows in the first frame that lies more than [`HELD_MS`] before the one before it on its track,
//!   or more than [`JUMP_MS`] after what is expected, or, as the first of its track, before that. It is handed on as expected, and the offset that makes it so
//!   becomes the current one. A gap in the stream is no clock change: time has passed as well.
//! - The offset before is remembered until it has not been used for [`JUMP_MS`], since frames of the old clock may
//!   still be under way, or the change was one frame's glitch. Of the two, a frame takes the one that puts it
//!   nearest to what is expected.
//! - A frame that still lies before the one before it on its track (jitter) is held at that one's time.
//!
//! Data messages follow the clock but never change it. Headers and `onMetaData` take the place of the frame before
//! them: encoders stamp them with anything, often 0.
//! # Bounds
//! One entry a track; tracks over [`TRACKS_MAX`] of a kind share one.

use smallvec::SmallVec;

use super::frame::{MediaKind, TrackId};
use super::track::TRACKS_MAX;
use crate::session::Instant;

/// A step ahead that is longer is a jump, ms.
pub const JUMP_MS: i32 = 10_000;

/// A step back that is not longer is jitter, ms. What encoders do by interleaving and rounding stays far below it;
/// a clock that is set back rarely moves by so little.
pub const HELD_MS: i32 = 1_000;

/// What becomes of timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampPolicy {
    /// Handed on as they are.
    #[default]
    Pass,
    /// Never a step back within a track; the module's page has the rule.
    Monotonic,
}

/// A number for each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindCounts {
    /// Of audio.
    pub audio: u64,
    /// Of video.
    pub video: u64,
    /// Of data messages other than `onMetaData`.
    pub data: u64,
}

impl KindCounts {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.audio + self.video + self.data
    }

    fn count(&mut self, kind: MediaKind) {
        *match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
            MediaKind::Data => &mut self.data,
        } += 1;
    }
}

/// What was seen of a publisher's timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimestampCounters {
    /// Timestamps before the one before them on their track.
    pub steps_back: KindCounts,
    /// Timestamps more than [`JUMP_MS`] after the one before them on their track.
    pub jumps: KindCounts,
    /// Frames that were held at the time of the one before them (monotonic only).
    pub held: u64,
    /// Clock changes of the encoder that were evened out (monotonic only).
    pub clock_changes: u64,
}

/// One publisher's timestamps.
#[derive(Clone, Debug, Default)]
pub struct Timestamps {
    policy: TimestampPolicy,
    /// Usually one video track, one audio track, and data.
    tracks: SmallVec<[TrackTime; 3]>,
    clock: Option<Clock>,
    counters: TimestampCounters,
}

/// The past of one track.
#[derive(Clone, Copy, Debug)]
struct TrackTime {
    kind: MediaKind,
    track: TrackId,
    /// Last timestamp as it came.
    last_in: u32,
    /// Last timestamp as it was handed on.
    last_out: u32,
}

/// How the encoder's clock relates to what is handed on. There is one from the first frame on.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// What is added to the encoder's timestamps, as the last frame used it.
    current: Offset,
    /// The one that was used before that, until its time is over.
    other: Option<Offset>,
    /// The newest time handed on, of pictures and sound.
    newest_out: u32,
    /// When that was.
    newest_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Offset {
    value: u32,
    /// Time of the last frame that used it, as handed on.
    used: u32,
}

impl Timestamps {
    /// Nothing seen yet.
    pub fn new(policy: TimestampPolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// What was seen so far.
    pub fn counters(&self) -> &TimestampCounters {
        &self.counters
    }

    /// The timestamp to hand on for a frame that has a time of its own: picture, sound, data. `now` is when the
    /// frame arrived.
    pub fn of_frame(&mut self, now: Instant, kind: MediaKind, track: TrackId, timestamp: u32) -> u32 {
        let position = self.position(kind, track);
        let past = position.map(|at| self.tracks[at]); // found there
        if let Some(past) = past {
            let step = serial(timestamp, past.last_in);
            if step < 0 {
                self.counters.steps_back.count(kind);
            } else if step > JUMP_MS {
                self.counters.jumps.count(kind);
            }
        }
        let out = match self.policy {
            TimestampPolicy::Pass => timestamp,
            TimestampPolicy::Monotonic => {
                self.monotonic(now, kind, past.map(|past| past.last_out), timestamp)
            }
        };
        let time = TrackTime { kind, track, last_in: timestamp, last_out: out };
        match position {
            Some(at) => self.tracks[at] = time, // found there
            None => self.tracks.push(time),
        }
        out
    }

    /// The timestamp to hand on for what describes a track: a sequence header, metadata.
    pub fn of_header(&mut self, kind: MediaKind, track: TrackId, timestamp: u32) -> u32 {
        if self.policy == TimestampPolicy::Pass {
            return timestamp;
        }
        match (self.position(kind, track), self.clock) {
            (Some(at), _) => self.tracks[at].last_out, // found there
            (None, Some(clock)) => clock.newest_out,
            (None, None) => timestamp,
        }
    }

    fn monotonic(&mut self, now: Instant, kind: MediaKind, last_out: Option<u32>, timestamp: u32) -> u32 {
        let clock = self.clock.get_or_insert(Clock {
            current: Offset { value: 0, used: timestamp },
            other: None,
            newest_out: timestamp,
            newest_at: now,
        });
        let expected = clock.expected(now);
        let offset = clock.nearest(timestamp, expected);
        let mut mapped = timestamp.wrapping_add(offset);
        let ahead = serial(mapped, expected);
        // The first frame of a track has no past that could hold it.
        let set_back = last_out.map_or(ahead < -JUMP_MS, |last| serial(last, mapped) > HELD_MS);
        let set_ahead = ahead > JUMP_MS;
        let changed = set_back || set_ahead;
        if changed {
            mapped = expected;
        }
        let out = last_out.map_or(mapped, |last| later(mapped, last));
        self.counters.held += u64::from(out != mapped);
        if kind != MediaKind::Data {
            self.counters.clock_changes += u64::from(changed);
            clock.advance(now, mapped.wrapping_sub(timestamp), out);
        }
        out
    }

    /// Where the track's entry is. When a kind has as many as are kept, the last one serves for all others.
    fn position(&self, kind: MediaKind, track: TrackId) -> Option<usize> {
        let (mut of_kind, mut last) = (0, None);
        for (at, time) in self.tracks.iter().enumerate().filter(|(_, time)| time.kind == kind) {
            if time.track == track {
                return Some(at);
            }
            of_kind += 1;
            last = Some(at);
        }
        last.filter(|_| of_kind >= TRACKS_MAX)
    }
}

impl Clock {
    /// The time that a frame arriving now should have.
    fn expected(&self, now: Instant) -> u32 {
        let passed_ms = (now - self.newest_at).as_millis() as u32; // wraps, as timestamps do
        self.newest_out.wrapping_add(passed_ms)
    }

    /// The offset that puts the timestamp nearest to what is expected.
    fn nearest(&self, timestamp: u32, expected: u32) -> u32 {
        let distance = |offset: Offset| serial(timestamp.wrapping_add(offset.value), expected).unsigned_abs();
        match self.other {
            Some(other) if distance(other) < distance(self.current) => other.value,
            _ => self.current.value,
        }
    }

    /// A frame was handed on with the time `out`, under this offset.
    fn advance(&mut self, now: Instant, offset: u32, out: u32) {
        if serial(out, self.newest_out) > 0 {
            (self.newest_out, self.newest_at) = (out, now);
        }
        if offset != self.current.value {
            self.other = Some(self.current);
        }
        self.current = Offset { value: offset, used: out };
        self.other = self.other.filter(|other| serial(self.newest_out, other.used) <= JUMP_MS);
    }
}

/// Serial difference `a - b`, ms.
pub(super) fn serial(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

/// The later of two timestamps; `b` when they are half the circle apart.
pub(super) fn later(a: u32, b: u32) -> u32 {
    if serial(a, b) > 0 { a } else { b }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use MediaKind::{Audio, Data, Video};

    const TRACK: TrackId = TrackId::DEFAULT;

    fn ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    /// Feeds (arrival, kind, timestamp) and gives what was handed on.
    fn run(times: &mut Timestamps, frames: &[(u64, MediaKind, u32)]) -> Vec<u32> {
        frames.iter().map(|&(at, kind, timestamp)| times.of_frame(ms(at), kind, TRACK, timestamp)).collect()
    }

    /// Pass changes nothing and counts steps and jumps by kind; the wrap is neither.
    #[test]
    fn pass_counts_and_changes_nothing() {
        let mut times = Timestamps::new(TimestampPolicy::Pass);
        let frames = [
            (0, Video, u32::MAX - 10),
            (0, Audio, 5),
            (40, Video, 30),
            (80, Video, 10_030),
            (120, Video, 20_031),
            (160, Audio, 4),
            (200, Data, 7),
            (240, Data, 0),
        ];
        let expected: Vec<u32> = frames.iter().map(|frame| frame.2).collect();
        assert_eq!(run(&mut times, &frames), expected);
        assert_eq!(times.of_header(Video, TRACK, 1), 1);
        let counters = times.counters();
        assert_eq!(counters.steps_back, KindCounts { audio: 1, video: 0, data: 1 });
        assert_eq!(counters.jumps, KindCounts { audio: 0, video: 1, data: 0 });
        assert_eq!(counters.jumps.total(), 1);
    }

    /// Tracks of one kind may lie apart; past the bound they share a past, and nothing grows.
    #[test]
    fn each_track_has_its_own_past() {
        let mut times = Timestamps::new(TimestampPolicy::Pass);
        for timestamp in [0, 40, 80] {
            times.of_frame(ms(0), Video, TrackId(0), timestamp);
            times.of_frame(ms(0), Video, TrackId(1), timestamp + 100_000);
        }
        assert_eq!(times.counters().jumps.total() + times.counters().steps_back.total(), 0);
        for track in 0..=255 {
            times.of_frame(ms(0), Video, TrackId(track), 500_000);
        }
        assert_eq!(times.tracks.len(), TRACKS_MAX);
    }

    /// A small step back holds the track and leaves the clock alone.
    #[test]
    fn jitter_is_held() {
        let mut times = Timestamps::new(TimestampPolicy::Monotonic);
        let frames = [(0, Video, 100), (1, Audio, 90), (40, Video, 60), (80, Video, 140), (81, Audio, 130)];
        assert_eq!(run(&mut times, &frames), [100, 90, 100, 140, 130]);
        assert_eq!((times.counters().held, times.counters().clock_changes), (1, 0));
    }

    /// The encoder's clock starts anew: both tracks go on where they were, and as far apart; an old frame that is
    /// still under way keeps its place.
    #[test]
    fn a_clock_set_back_keeps_both_tracks_together() {
        let mut times = Timestamps::new(TimestampPolicy::Monotonic);
        let frames = [
            (0, Video, 3_600_000),
            (0, Audio, 3_599_990),
            (40, Video, 0),         // 40 ms later
            (41, Audio, 3_600_030), // still of the old clock
            (80, Video, 40),
            (81, Audio, 30),
            (100, Audio, 50),
        ];
        let out = [3_600_000, 3_599_990, 3_600_040, 3_600_030, 3_600_080, 3_600_070, 3_600_090];
        assert_eq!(run(&mut times, &frames), out);
        assert_eq!(times.counters().clock_changes, 1);
        assert_eq!(times.of_header(Video, TRACK, 0), 3_600_080);
        assert_eq!(times.of_header(Video, TrackId(1), 0), 3_600_090);
    }

    /// A clock set ahead is evened out like one set back; a gap in which time has passed stays a gap.
    #[test]
    fn a_clock_set_ahead_is_no_gap() {
        let mut times = Timestamps::new(TimestampPolicy::Monotonic);
        let frames =
            [(0, Video, 0), (40, Video, 40), (80, Video, 1_700_000_000), (120, Video, 1_700_000_040)];
        assert_eq!(run(&mut times, &frames), [0, 40, 80, 120]);
        let mut times = Timestamps::new(TimestampPolicy::Monotonic);
        let frames = [(0, Video, 0), (40, Video, 40), (60_040, Video, 60_040), (60_041, Audio, 60_030)];
        assert_eq!(run(&mut times, &frames), [0, 40, 60_040, 60_030]);
        assert_eq!(times.counters().clock_changes, 0);
    }

    /// One frame with a wrong timestamp, ahead or back, leaves no trace in those after it.
    #[test]
    fn a_glitch_of_one_frame_leaves_no_trace() {
        for wrong in [8_000, 5_000_000] {
            let mut times = Timestamps::new(TimestampPolicy::Monotonic);
            let frames = [
                (0, Video, 10_000),
                (1, Audio, 10_000),
                (20, Audio, wrong),
                (40, Video, 10_040),
                (41, Audio, 10_041),
            ];
            assert_eq!(run(&mut times, &frames), [10_000, 10_000, 10_020, 10_040, 10_041]);
            let frames = [(30_000, Video, 40_000), (30_001, Audio, 40_001)];
            assert_eq!(run(&mut times, &frames), [40_000, 40_001]);
        }
    }

    /// An offset that nobody has used for a while is forgotten: a later jump is no return to it.
    #[test]
    fn an_old_clock_is_forgotten() {
        let mut times = Timestamps::new(TimestampPolicy::Monotonic);
        let clock_set_back = [(0, Video, 50_000), (40, Video, 45_000)];
        assert_eq!(run(&mut times, &clock_set_back), [50_000, 50_040]);
        let soon_back = [(5_040, Video, 50_000), (5_080, Video, 55_040)];
        assert_eq!(run(&mut times.clone(), &soon_back), [55_040, 55_040]);
        let much_later = [(11_040, Video, 56_000), (11_080, Video, 61_040)];
        assert_eq!(run(&mut times, &much_later), [61_040, 66_080]);
    }

    /// Data messages stamped at random do not disturb sound and picture.
    #[test]
    fn data_never_changes_the_clock() {
        let mut times = Timestamps::new(TimestampPolicy::Monotonic);
        let mut last_data = 0;
        for n in 0..1000u32 {
            let (at, stamp) = (u64::from(n) * 40, 1_000_000 + n * 40);
            assert_eq!(times.of_frame(ms(at), Video, TRACK, stamp), stamp);
            assert_eq!(times.of_frame(ms(at), Audio, TRACK, stamp), stamp);
            let data = times.of_frame(ms(at), Data, TRACK, n.wrapping_mul(2_654_435_761));
            assert!(n == 0 || serial(data, last_data) >= 0);
            last_data = data;
        }
        assert_eq!(times.counters().clock_changes, 0);
    }

    /// A track's first frame has no past of its own, and yet is not handed on from another time: half the circle away it would be in the
    /// past and in the future at once.
    #[test]
    fn a_track_begins_near_what_is_expected() {
        let mut times = Timestamps::new(TimestampPolicy::Monotonic);
        let half = 1 << 31;
        let frames = [(0, Video, 5_000), (40, Data, 5_040 + half), (80, Video, 5_080), (500, Data, 5_500)];
        assert_eq!(run(&mut times, &frames), [5_000, 5_040, 5_080, 5_500]);
        let mut times = Timestamps::new(TimestampPolicy::Monotonic);
        // Sound that begins at 0 beside picture that is hours on.
        let frames = [(0, Video, 9_000_000), (20, Audio, 0), (40, Video, 9_000_040), (43, Audio, 23)];
        assert_eq!(run(&mut times, &frames), [9_000_000, 9_000_020, 9_000_040, 9_000_043]);
    }

    proptest! {
        /// Whatever comes on whichever tracks: no track steps back.
        #[test]
        fn no_track_ever_steps_back(
            frames in prop::collection::vec(
                (0u64..30_000, 0usize..3, 0u8..3, prop_oneof![any::<u32>(), 0u32..5_000, (u32::MAX - 5_000)..]),
                1..200,
            )
        ) {
            let mut times = Timestamps::new(TimestampPolicy::Monotonic);
            let mut last = std::collections::BTreeMap::new();
            let mut now = 0;
            for (passed, kind, track, timestamp) in frames {
                now += passed;
                let kind = [Audio, Video, Data][kind];
                let out = times.of_frame(ms(now), kind, TrackId(track), timestamp);
                if let Some(before) = last.insert((kind, track), out) {
                    prop_assert!(serial(out, before) >= 0, "{before} -> {out}");
                }
                let header = times.of_header(kind, TrackId(track), timestamp);
                prop_assert_eq!(header, out);
            }
        }

        /// A sane encoder's timestamps pass unchanged, from any start, across the wrap.
        #[test]
        fn sane_timestamps_pass_unchanged(start in prop_oneof![any::<u32>(), (u32::MAX - 20_000)..], steps in prop::collection::vec((0u32..500, any::<bool>()), 1..200)) {
            let mut times = Timestamps::new(TimestampPolicy::Monotonic);
            let mut timestamp = start;
            for (n, (step, video)) in steps.into_iter().enumerate() {
                timestamp = timestamp.wrapping_add(step);
                let kind = if video { Video } else { Audio };
                // Arrivals say nothing sane: all at once, or far too slow.
                let now = ms(n as u64 * u64::from(start % 2));
                prop_assert_eq!(times.of_frame(now, kind, TRACK, timestamp), timestamp);
            }
            prop_assert_eq!(times.counters(), &TimestampCounters::default());
        }

        /// The encoder's clock changes again and again, the tracks see it at different moments: soon after each
        /// change both have the same offset again, and what is handed on keeps pace with real time.
        #[test]
        fn sound_and_picture_stay_together_across_clock_changes(
            start in prop_oneof![any::<u32>(), (u32::MAX - 60_000)..],
            changes in prop::collection::vec((prop_oneof![any::<i32>(), -20_000i32..20_000], 0u64..400), 1..8),
        ) {
            let mut times = Timestamps::new(TimestampPolicy::Monotonic);
            let mut clock = start; // what the encoder adds to real time
            let mut now = 0;
            for (change, audio_late) in std::iter::once((0, 0)).chain(changes) {
                if change != 0 && (-2 * HELD_MS..=2 * JUMP_MS).contains(&change) {
                    continue; // jitter, or a jump that is handed on: other tests
                }
                let new_clock = clock.wrapping_add(change as u32);
                let begun = now;
                while now < begun + 15_000 {
                    now += 20;
                    let audio_clock = if now < begun + audio_late { clock } else { new_clock };
                    let stamp = new_clock.wrapping_add(now as u32);
                    let video = (stamp, times.of_frame(ms(now), Video, TRACK, stamp));
                    let stamp = audio_clock.wrapping_add(now as u32).wrapping_sub(300); // sound lags
                    let sound = (stamp, times.of_frame(ms(now), Audio, TRACK, stamp));
                    if now > begun + 1_000 {
                        prop_assert_eq!(video.1.wrapping_sub(video.0), sound.1.wrapping_sub(sound.0));
                        let pace = serial(video.1, start.wrapping_add(now as u32));
                        prop_assert!(pace.abs() < 3_000, "{} ms off", pace);
                    }
                }
                clock = new_clock;
            }
        }
    }
}
