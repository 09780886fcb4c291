//! When each message of a publisher is due: from the stream's start and nothing else, never from what the server did.
//!
//! # Invariant
//! Due times do not decrease. Message `index` is the `index % n`th of round `index / n`.

use std::sync::Arc;

use crate::media::{Media, Message, Part};
use crate::pace::{Pace, SEGMENT_BYTES};

/// What all publishers of a run have in common.
#[derive(Debug)]
pub struct Timetable {
    media: Media,
    pace: Pace,
    /// Payload bytes of the round up to the end of each message.
    ends: Vec<u64>,
}

/// The timetable from one publisher's start on.
#[derive(Clone, Debug)]
pub struct Schedule {
    table: Arc<Timetable>,
    start_us: u64,
}

impl Timetable {
    /// For this media at this pace.
    pub fn new(media: Media, pace: Pace) -> Self {
        let ends = media
            .round
            .iter()
            .scan(0, |end, message| {
                *end += message.bytes() as u64;
                Some(*end)
            })
            .collect();
        Self { media, pace, ends }
    }

    /// What is sent.
    pub fn media(&self) -> &Media {
        &self.media
    }

    fn period_us(&self) -> u64 {
        u64::from(self.media.period_ms) * 1_000
    }

    /// Microseconds from the start until so many payload bytes are due, evenly spread.
    fn even_us(&self, bytes: u64) -> u64 {
        let whole = bytes / self.media.round_bytes * self.period_us();
        let rest = u128::from(bytes % self.media.round_bytes) * u128::from(self.period_us());
        whole + (rest / u128::from(self.media.round_bytes)) as u64
    }
}

impl Schedule {
    /// Begins with a round at `start_us`.
    pub fn new(table: Arc<Timetable>, start_us: u64) -> Self {
        Self { table, start_us }
    }

    fn place(&self, index: u64) -> (u64, usize) {
        let count = self.table.media.round.len() as u64;
        (index / count, (index % count) as usize)
    }

    /// What message `index` is.
    pub fn message(&self, index: u64) -> &Message {
        &self.table.media.round[self.place(index).1]
    }

    /// The number of a part of message `index` among the stamps of its lane, and the lane's place in [`Media::lanes`]; `None` when it
    /// carries none. A player cannot miss what it cannot tell, so nothing else is numbered.
    pub fn stamp_number(&self, index: u64, part: &Part) -> Option<(usize, u64)> {
        part.carrier?;
        let (round, _) = self.place(index);
        let lanes = &self.table.media.lanes;
        let at = lanes.iter().position(|(lane, _)| *lane == part.lane)?;
        Some((at, round * lanes[at].1 + part.number))
    }

    /// Milliseconds of media time since the start.
    pub fn media_ms(&self, index: u64) -> u64 {
        let (round, place) = self.place(index);
        round * u64::from(self.table.media.period_ms) + u64::from(self.table.media.round[place].time_ms)
    }

    /// When the last byte of message `index` is due.
    pub fn due_us(&self, index: u64) -> u64 {
        let media_us = self.media_ms(index) * 1_000;
        self.start_us
            + match self.table.pace {
                Pace::Frame => media_us,
                Pace::Burst(ms) => media_us.next_multiple_of(u64::from(ms) * 1_000),
                Pace::Wan => self.table.even_us(self.segment_end(self.end_bytes(index))),
            }
    }

    fn end_bytes(&self, index: u64) -> u64 {
        let (round, place) = self.place(index);
        round * self.table.media.round_bytes + self.table.ends[place]
    }

    /// Payload bytes up to the end of the segment that the byte before `bytes` is in.
    fn segment_end(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(SEGMENT_BYTES)
    }

    /// How many bytes of message `index` are due before its last one is; `None` when the pace does not cut messages.
    pub fn part_due(&self, index: u64, now_us: u64) -> Option<usize> {
        if self.table.pace != Pace::Wan {
            return None;
        }
        let begin = self.end_bytes(index) - self.message(index).bytes() as u64;
        let (elapsed_us, period_us) = (now_us.saturating_sub(self.start_us), self.table.period_us());
        let in_round = u128::from(elapsed_us % period_us) * u128::from(self.table.media.round_bytes);
        let even =
            elapsed_us / period_us * self.table.media.round_bytes + (in_round / u128::from(period_us)) as u64;
        let mut due = even / SEGMENT_BYTES * SEGMENT_BYTES;
        // `even_us` rounds down, and so may be one microsecond before what this sees.
        if self.start_us + self.table.even_us(due + SEGMENT_BYTES) <= now_us {
            due += SEGMENT_BYTES;
        }
        Some(due.saturating_sub(begin) as usize)
    }

    /// When something of message `index` is due next, of which `sent` bytes have gone.
    pub fn next_due_us(&self, index: u64, sent: usize) -> u64 {
        if self.table.pace != Pace::Wan {
            return self.due_us(index);
        }
        let begin = self.end_bytes(index) - self.message(index).bytes() as u64;
        let next = self.segment_end(begin + sent as u64 + 1);
        self.start_us + self.table.even_us(next.min(self.segment_end(self.end_bytes(index))))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::codec::{Audio, Video};
    use crate::media::layout::Multitrack;
    use crate::media::synthetic::{self, Pattern, Shape};
    use crate::media::type_id;

    const START_US: u64 = 5_000_000;

    fn schedule(pace: Pace) -> Schedule {
        let pattern = Pattern { bitrate_bps: 3_000_000, fps: 25, gop_frames: 50, seed: 1 };
        Schedule::new(Arc::new(Timetable::new(synthetic::media(&pattern), pace)), START_US)
    }

    #[test]
    fn frames_are_due_at_their_time_and_rounds_follow_each_other() {
        let schedule = schedule(Pace::Frame);
        let count = schedule.table.media.round.len() as u64;
        assert_eq!(schedule.due_us(0), START_US);
        assert_eq!(schedule.due_us(count), START_US + 2_000_000);
        assert_eq!(schedule.due_us(10 * count + 3), START_US + 20_000_000 + (schedule.due_us(3) - START_US));
    }

    /// Two pictures with a sound between them in which no stamp can be put.
    #[test]
    fn what_carries_no_stamp_takes_no_number() {
        let picture = Bytes::from_static(&[0x27, 1, 0, 0, 0, 9]);
        let round = vec![
            Message::new(type_id::VIDEO, 0, picture.clone()),
            Message::new(type_id::AUDIO, 10, Bytes::from_static(&[0x2f, 0xff, 0xfb])),
            Message::new(type_id::VIDEO, 20, picture),
        ];
        let media = Media::new(Vec::new(), round, 30);
        let schedule = Schedule::new(Arc::new(Timetable::new(media, Pace::Frame)), START_US);
        let numbers: Vec<_> =
            (0..6).map(|index| schedule.stamp_number(index, &schedule.message(index).parts[0])).collect();
        assert_eq!(numbers, [Some((0, 0)), None, Some((0, 1)), Some((0, 2)), None, Some((0, 3))]);
    }

    /// Each track goes on counting by itself from round to round.
    #[test]
    fn each_lane_is_numbered_by_itself() {
        let pattern = Pattern { bitrate_bps: 300_000, fps: 10, gop_frames: 10, seed: 1 };
        let (video, audio) = (vec![Video::Avc; 2], vec![Audio::Opus; 3]);
        for layout in [Multitrack::One, Multitrack::Many] {
            let shape = Shape { video: video.clone(), audio: audio.clone(), multitrack: Some(layout) };
            let media = synthetic::shaped(&pattern, &shape);
            let count = media.round.len() as u64;
            let schedule = Schedule::new(Arc::new(Timetable::new(media, Pace::Frame)), START_US);
            let mut next = [0; 5];
            for index in 0..3 * count {
                for part in &schedule.message(index).parts {
                    let (lane, number) = schedule.stamp_number(index, part).unwrap();
                    assert_eq!(number, next[lane], "{layout:?}");
                    next[lane] += 1;
                }
            }
            assert_eq!(next, [30, 30, 150, 150, 150], "{layout:?}");
        }
    }

    #[test]
    fn due_times_do_not_decrease_at_any_pace() {
        for pace in [Pace::Frame, Pace::Wan, Pace::Burst(500), Pace::Burst(7)] {
            let schedule = schedule(pace);
            let due: Vec<_> = (0..1_000).map(|index| schedule.due_us(index)).collect();
            assert!(due.is_sorted(), "{pace}");
            assert!((0..1_000).all(|index| schedule.next_due_us(index, 0) <= schedule.due_us(index)));
        }
    }

    #[test]
    fn a_burst_holds_back_what_comes_up() {
        let schedule = schedule(Pace::Burst(500));
        let due: std::collections::BTreeSet<_> =
            (0..143).map(|index| (schedule.due_us(index) - START_US) / 1_000).collect();
        assert_eq!(due.into_iter().collect::<Vec<_>>(), [0, 500, 1_000, 1_500, 2_000]);
    }

    /// Walking from due time to due time, each step has exactly one segment, and the rate comes out right.
    #[test]
    fn a_wide_area_path_delivers_segments_evenly() {
        let schedule = schedule(Pace::Wan);
        let (mut index, mut sent, mut steps) = (0, 0, 0);
        let mut last_us = START_US;
        while index < 286 {
            let now_us = schedule.next_due_us(index, sent);
            assert!(now_us >= last_us, "message {index}, byte {sent}");
            let due = schedule.part_due(index, now_us).unwrap();
            assert!(due > sent, "message {index}, byte {sent}: only {due} due");
            steps += u32::from(now_us > last_us);
            last_us = now_us;
            sent = due.min(schedule.message(index).bytes());
            if sent == schedule.message(index).bytes() {
                assert!(schedule.due_us(index) <= now_us);
                (index, sent) = (index + 1, 0);
            }
        }
        let segments = 2 * schedule.table.media.round_bytes / SEGMENT_BYTES;
        assert!(u64::from(steps).abs_diff(segments) <= 2, "{steps} steps, {segments} segments");
        assert!((last_us - START_US).abs_diff(4_000_000) < 10_000);
    }
}
