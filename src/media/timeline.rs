//! A stream's time across its publishers: where the next one has to go on, and what that makes of its timestamps.
//!
//! # The rule
//! The first frame of a publisher that follows another gets the time that the stream would have had by then: the newest time handed on,
//! plus what has passed since that frame arrived, and at least a millisecond. So players stay as far behind the live edge as they were,
//! and a gap in the stream is as long as it was. All further frames of the publisher move by as much, so its sound and its pictures stay
//! as far apart as the encoder has them.
//!
//! Encoders interleave, so what belongs before that first frame may come after it, and may lie before what was handed on already. It is
//! held at the time of the switch, as jitter is under [`TimestampPolicy::Monotonic`](super::timestamps::TimestampPolicy::Monotonic); a
//! step back by more than [`HELD_MS`] is the encoder's own doing, and stays.
//!
//! All arithmetic is serial, modulo 2^32 (RTMP 1.0 §4).

use super::frame::{Frame, MediaKind};
use super::timestamps::{HELD_MS, JUMP_MS, later, serial};
use crate::session::Instant;

/// How far a stream has come: the newest time handed on, and when it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timeline {
    /// Of pictures, and of sound: some encoders send one seconds behind the other, and that is no clock that is set back. Nothing before the
    /// first of its kind.
    newest: [Option<(u32, Instant)>; 2],
}

/// What moves a publisher's timestamps behind those of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebase {
    /// Added to each timestamp, modulo 2^32, ms.
    offset: u32,
    /// The newest time of the publisher before, while frames may still lie before it.
    floor: Option<u32>,
}

impl Timeline {
    /// Takes note of a frame that is handed on. A clock that is set back is followed: what it has left behind is no time to go on from.
    pub fn note(&mut self, frame: &Frame) {
        if !frame.role().is_coded() {
            return;
        }
        let of_kind = usize::from(frame.kind() == MediaKind::Audio);
        if let Some((newest, _)) = self.newest[of_kind] {
            let step = serial(frame.timestamp(), newest);
            if (-HELD_MS..=0).contains(&step) {
                return;
            }
            if step < 0 {
                self.newest = [None; 2];
            }
        }
        self.newest[of_kind] = Some((frame.timestamp(), frame.arrived()));
    }

    /// The newest time handed on, ms; 0 before the first picture or sound.
    pub fn newest(&self) -> u32 {
        self.newest_of_all().map_or(0, |(newest, _)| newest)
    }

    fn newest_of_all(&self) -> Option<(u32, Instant)> {
        let newest = self.newest.into_iter().flatten();
        newest.reduce(|one, other| if serial(other.0, one.0) > 0 { other } else { one })
    }

    /// What makes a publisher go on here whose next frame, arriving now, has this timestamp; nothing where there is nothing to go on from.
    pub fn rebase(&self, now: Instant, timestamp: u32) -> Option<Rebase> {
        let (newest, at) = self.newest_of_all()?;
        let passed_ms = ((now - at).as_millis() as u32).max(1); // wraps, as timestamps do
        Some(Rebase { offset: newest.wrapping_add(passed_ms).wrapping_sub(timestamp), floor: Some(newest) })
    }
}

impl Rebase {
    /// The time to hand on for a publisher's timestamp.
    pub fn apply(&mut self, timestamp: u32) -> u32 {
        let moved = timestamp.wrapping_add(self.offset);
        let Some(floor) = self.floor else { return moved };
        let ahead = serial(moved, floor);
        if ahead > JUMP_MS {
            // Nothing of before the switch is under way any more; and half the circle later the floor would lie ahead.
            self.floor = None;
        }
        if ahead < -HELD_MS { moved } else { later(moved, floor) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::media::{FrameInfo, FrameRole, TrackId};

    fn ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn frame(at_ms: u64, role: FrameRole, timestamp: u32) -> Frame {
        let kind = if role == FrameRole::Audio { MediaKind::Audio } else { MediaKind::Video };
        let track = TrackId::DEFAULT;
        let info = FrameInfo { kind, role, track, timestamp, arrived: ms(at_ms), starts_gop: false };
        Frame::new(info, Bytes::from_static(b"body").into(), 0)
    }

    /// The gap is as long as it was, and what follows moves by as much; headers do not count as time.
    #[test]
    fn the_next_publisher_goes_on_where_the_stream_would_be() {
        let mut timeline = Timeline::default();
        timeline.note(&frame(1_000, FrameRole::Key, 70_000));
        timeline.note(&frame(1_040, FrameRole::Inter, 70_040));
        timeline.note(&frame(1_050, FrameRole::Inter, 70_030)); // interleaved: no news
        timeline.note(&frame(1_060, FrameRole::Metadata, 99_000));
        assert_eq!(timeline.newest(), 70_040);
        let mut rebase = timeline.rebase(ms(4_040), 500).unwrap();
        assert_eq!([500, 480, 540].map(|timestamp| rebase.apply(timestamp)), [73_040, 73_020, 73_080]);
    }

    /// Without a gap the first frame comes a millisecond later, and sound that belongs before it is held, not set back.
    #[test]
    fn what_lies_before_the_switch_is_held() {
        let mut timeline = Timeline::default();
        timeline.note(&frame(1_000, FrameRole::Key, 70_000));
        let mut rebase = timeline.rebase(ms(1_000), 10_000).unwrap();
        let moved = [10_000, 9_700, 9_990, 10_020, 9_010, 8_000].map(|timestamp| rebase.apply(timestamp));
        assert_eq!(
            moved,
            [70_001, 70_000, 70_000, 70_021, 70_000, 68_001],
            "a clock set back is the encoder's"
        );
    }

    /// The floor is gone once the stream has moved on: half the circle later nothing is held at it.
    #[test]
    fn the_floor_does_not_come_round() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.rebase(ms(0), 0), None, "there is nothing to go on from");
        timeline.note(&frame(0, FrameRole::Key, 0));
        let mut rebase = timeline.rebase(ms(0), 0).unwrap();
        assert_eq!(rebase.apply(20_000), 20_001);
        for timestamp in [1 << 31, u32::MAX - 500, u32::MAX - 1] {
            assert_eq!(rebase.apply(timestamp), timestamp + 1);
        }
    }

    /// A stream whose clock was set back goes on from the new clock.
    #[test]
    fn a_clock_that_was_set_back_is_followed() {
        let mut timeline = Timeline::default();
        timeline.note(&frame(1_000, FrameRole::Key, 3_600_000));
        timeline.note(&frame(1_040, FrameRole::Key, 0));
        assert_eq!(timeline.rebase(ms(1_080), 7).unwrap().apply(7), 40);
    }

    /// Sound that comes long behind its pictures sets no clock back: the stream is as far as its pictures are, whichever came last. When the
    /// clock is set back, by either, both begin anew.
    #[test]
    fn sound_that_lags_sets_no_clock_back() {
        let mut timeline = Timeline::default();
        timeline.note(&frame(1_000, FrameRole::Key, 70_000));
        timeline.note(&frame(1_010, FrameRole::Audio, 67_000));
        assert_eq!(timeline.newest(), 70_000);
        timeline.note(&frame(1_020, FrameRole::Inter, 70_040));
        timeline.note(&frame(1_030, FrameRole::Audio, 67_040));
        assert_eq!(timeline.rebase(ms(1_040), 5).unwrap().apply(5), 70_060);
        timeline.note(&frame(1_040, FrameRole::Audio, 10));
        assert_eq!(timeline.newest(), 10);
        timeline.note(&frame(1_050, FrameRole::Key, 3_000));
        assert_eq!(timeline.newest(), 3_000);
    }

    proptest! {
        /// Wherever the two clocks stand: no frame of the newcomer lies before what was handed on, unless it steps back by itself.
        #[test]
        fn nobody_sees_a_step_back(last: u32, first: u32, gap_ms in 0u64..100_000, steps in prop::collection::vec(0u32..2_000, 1..100)) {
            let mut timeline = Timeline::default();
            timeline.note(&frame(0, FrameRole::Key, last));
            let newest = timeline.newest();
            prop_assert_eq!(newest, last);
            let mut rebase = timeline.rebase(ms(gap_ms), first).unwrap();
            let (mut raw, mut before) = (first, newest);
            for step in steps {
                let out = rebase.apply(raw);
                prop_assert!(serial(out, before) >= 0, "{before} -> {out}");
                prop_assert!(serial(out, newest) >= gap_ms as i32);
                // Sound that lags by half a second.
                prop_assert!(serial(rebase.apply(raw.wrapping_sub(500)), newest) >= 0);
                before = out;
                raw = raw.wrapping_add(step);
            }
        }
    }
}
