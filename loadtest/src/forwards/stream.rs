//! What came of one stream of the load, over however many connections, one after the other or at once.
//!
//! What was sent while measured and did not come is lost, also what lies between two connections and before the first: whoever forwards a
//! stream owes all of it. Of tracks beside the default ones none is owed before one has come, since whether a server takes us for somebody
//! who takes several is its own setting.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use crate::media::stamp::{Lane, Stamp};
use crate::plan::{LaneCounts, Plan};
use crate::report::ForwardedStream;
use crate::sequence::{Arrival, Sequence};

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// As it was called here last; `None` when it never came.
    pub(super) name: Option<Rc<str>>,
    /// Publishes that turned out to be of it.
    pub(super) connections: u64,
    lanes: SmallVec<[LaneSeen; 1]>,
    received: u64,
    bytes: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    e2e_us_sum: u64,
    e2e_us_max: u64,
    /// When its last message came.
    last_us: Option<u64>,
}

#[derive(Debug)]
struct LaneSeen {
    lane: Lane,
    sequence: Sequence,
    /// Numbers from here on are counted as lost when they are missing.
    counted_from: Option<u64>,
}

impl Stream {
    /// A message of so many bytes came; how long the last one is ago, µs.
    pub(super) fn on_message(&mut self, bytes: usize, now_us: u64, plan: &Plan) -> Option<u64> {
        let last_us = self.last_us.replace(now_us);
        plan.is_measured(now_us).then_some(())?;
        self.bytes += bytes as u64;
        last_us.map(|last_us| now_us.saturating_sub(last_us))
    }

    /// The stamp of one track in it; how long it took from its publisher, µs, if that is measured. `lanes` is what was sent of the stream.
    pub(super) fn on_stamp(
        &mut self,
        stamp: &Stamp,
        lanes: &[LaneCounts],
        now_us: u64,
        plan: &Plan,
    ) -> Option<u64> {
        let at = self.lanes.iter().position(|seen| seen.lane == stamp.lane).unwrap_or_else(|| {
            self.lanes.push(LaneSeen { lane: stamp.lane, sequence: Sequence::default(), counted_from: None });
            self.lanes.len() - 1
        });
        let seen = &mut self.lanes[at];
        let is_first = !seen.sequence.has_begun();
        let arrival = seen.sequence.on_arrival(stamp.sequence);
        // Also one that is not measured itself may have been counted, by a later one that is.
        if arrival == Arrival::Reordered && seen.counted_from.is_some_and(|from| stamp.sequence >= from) {
            self.lost = self.lost.saturating_sub(1);
        }
        if !plan.is_measured(stamp.due_us) {
            return None;
        }
        self.received += 1;
        match arrival {
            Arrival::Next { missing } => {
                let owed = lanes.iter().find(|counts| counts.lane == stamp.lane);
                let owed_from = owed.map_or(u64::MAX, |counts| counts.measured_from.load(Ordering::Relaxed));
                let owed = stamp.sequence.saturating_sub(owed_from);
                let missing = if is_first { owed } else { missing.min(owed) };
                seen.counted_from.get_or_insert(stamp.sequence - missing);
                self.lost += missing;
            }
            Arrival::Reordered => self.reordered += 1,
            Arrival::Duplicate => self.duplicated += 1,
        }
        let e2e_us = now_us.saturating_sub(stamp.due_us);
        self.e2e_us_sum += e2e_us;
        self.e2e_us_max = self.e2e_us_max.max(e2e_us);
        Some(e2e_us)
    }

    /// How many messages were sent after the last one that came.
    pub(super) fn missing_at_end(&self, lanes: &[LaneCounts]) -> u64 {
        let missing = |counts: &LaneCounts| {
            let (sent, owed_from) =
                (counts.sent.load(Ordering::Relaxed), counts.measured_from.load(Ordering::Relaxed));
            match self.lanes.iter().find(|seen| seen.lane == counts.lane) {
                Some(seen) => seen.sequence.missing_at_end(sent, owed_from),
                None if counts.lane.is_default() => sent.saturating_sub(owed_from),
                None => 0,
            }
        };
        lanes.iter().map(missing).sum()
    }

    /// As the report has it; `missing` are those of its end.
    pub(super) fn into_result(self, number: u32, missing: u64) -> ForwardedStream {
        ForwardedStream {
            stream: number,
            name: self.name.map(|name| name.to_string()),
            connections: self.connections,
            received: self.received,
            bytes: self.bytes,
            lost: self.lost + missing,
            duplicated: self.duplicated,
            reordered: self.reordered,
            e2e_mean_us: (self.received > 0).then(|| self.e2e_us_sum as f64 / self.received as f64),
            e2e_max_us: (self.received > 0).then_some(self.e2e_us_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan_of;

    /// So much came of a lane; what has a number from 20 on was due while measured, and came 500 µs later.
    fn see(stream: &mut Stream, lane: Lane, numbers: impl IntoIterator<Item = u64>) {
        let plan = plan_of(&[lane]);
        for sequence in numbers {
            let due_us = if sequence < 20 { plan.from_us - 1 } else { plan.from_us };
            let stamp = Stamp { machine: 1, stream: 0, lane, sequence, due_us };
            stream.on_message(10, due_us + 500, &plan);
            stream.on_stamp(&stamp, &plan.sent[0], due_us + 500, &plan);
        }
    }

    #[track_caller]
    fn assert_result(stream: Stream, of: &[Lane], received: u64, lost: u64, duplicated: u64, reordered: u64) {
        let missing = stream.missing_at_end(&plan_of(of).sent[0]);
        let result = stream.into_result(0, missing);
        assert_eq!(
            (result.received, result.lost, result.duplicated, result.reordered),
            (received, lost, duplicated, reordered)
        );
    }

    /// From before the measurement to its end: nothing of the warm-up is owed, nothing of the rest is lost.
    #[test]
    fn a_whole_stream_lost_nothing() {
        let mut stream = Stream::default();
        see(&mut stream, Lane::WHOLE, 10..50);
        let result = stream.into_result(3, 0);
        assert_eq!((result.stream, result.received, result.lost), (3, 30, 0));
        assert_eq!((result.e2e_mean_us, result.e2e_max_us), (Some(500.0), Some(500)));
        // Those that came while measured: what was due a moment before came in it.
        assert_eq!(result.bytes, 400);
    }

    #[test]
    fn what_lies_before_the_first_between_and_behind_the_last_is_lost() {
        let whole = [Lane::WHOLE];
        // From one number up to another, and again.
        for (first, second, received, lost) in [
            (25..50, 0..0, 25, 5),
            (15..30, 40..50, 20, 10),
            (15..17, 25..50, 25, 5),
            (15..45, 0..0, 25, 5),
            (22..30, 40..45, 13, 17),
            (0..0, 0..0, 0, 30),
        ] {
            let mut stream = Stream::default();
            see(&mut stream, Lane::WHOLE, first.chain(second));
            assert_result(stream, &whole, received, lost, 0, 0);
        }
    }

    /// A connection that begins again at a key frame which was sent already gives some twice; one that overlaps gives all twice.
    #[test]
    fn what_comes_twice_or_late_is_told() {
        let mut stream = Stream::default();
        see(&mut stream, Lane::WHOLE, (15..30).chain(28..40));
        see(&mut stream, Lane::WHOLE, [41, 40]);
        see(&mut stream, Lane::WHOLE, 42..50);
        assert_result(stream, &[Lane::WHOLE], 32, 0, 2, 1);
    }

    /// A server that sends default tracks alone has lost none of the others; one that sent some of them owes the rest.
    #[test]
    fn further_tracks_are_owed_once_they_came() {
        let both = [Lane::video(0), Lane::video(1)];
        let mut stream = Stream::default();
        see(&mut stream, both[0], 15..50);
        assert_eq!(stream.missing_at_end(&plan_of(&both).sent[0]), 0);
        see(&mut stream, both[1], 15..40);
        assert_eq!(stream.missing_at_end(&plan_of(&both).sent[0]), 10);
    }
}
