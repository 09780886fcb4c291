//! A player: reads all that comes and checks every message.

use std::sync::atomic::Ordering;

use inrush::session::{MediaKind, MediaMessage};
use smallvec::SmallVec;

use crate::media::stamp::{Found, Lane, Stamp};
use crate::plan::{LaneCounts, Part, Plan};
use crate::report::Recorder;
use crate::sequence::{Arrival, Sequence};

/// What one player has seen.
#[derive(Debug, Default)]
pub struct Watch {
    lanes: SmallVec<[LaneWatch; 1]>,
    stream: u32,
    /// The stream that its stamps are of: its own number where this process publishes it, else what the first one says.
    stamps_of: Option<u32>,
    /// Whether it has said that it takes several tracks.
    multitrack: bool,
    /// Number of the persona that it is charged to.
    charged: usize,
    asked_us: u64,
    ready_us: u64,
    last_us: Option<u64>,
}

/// What it has seen of one lane.
#[derive(Debug)]
struct LaneWatch {
    lane: Lane,
    sequence: Sequence,
    /// Stamps that were sent before this player was let in: nobody owes it those.
    sent_before: u64,
    /// Numbers from here on are counted as lost when they are missing.
    counted_from: Option<u64>,
}

impl LaneWatch {
    fn new(lane: Lane, sent_before: u64) -> Self {
        Self { lane, sequence: Sequence::default(), sent_before, counted_from: None }
    }
}

impl Watch {
    /// Of a player that asked for its stream and is let in now; what it sees is charged to the part's persona.
    pub fn new(part: &Part, asked_us: u64, ready_us: u64, plan: &Plan) -> Self {
        let sent = |counts: &LaneCounts| LaneWatch::new(counts.lane, counts.sent.load(Ordering::Relaxed));
        Self {
            lanes: plan.sent[part.stream as usize].iter().map(sent).collect(),
            stream: part.stream,
            stamps_of: plan.publishes.then_some(part.stream),
            multitrack: part.multitrack,
            charged: part.charged,
            asked_us,
            ready_us,
            last_us: None,
        }
    }

    /// Whether it counts for the run, rather than for a persona.
    fn is_steady(&self) -> bool {
        self.charged == 0
    }

    /// A message was read.
    pub fn on_message(&mut self, message: &MediaMessage, now_us: u64, plan: &Plan, recorder: &mut Recorder) {
        if message.kind == MediaKind::Data {
            return;
        }
        let last_us = self.last_us.replace(now_us);
        // Where all are steady, nothing is told twice.
        let tells = plan.shares.len() > 1;
        match last_us {
            None if self.is_steady() => recorder.first_frame(now_us.saturating_sub(self.asked_us)),
            Some(last_us) if plan.is_measured(now_us) => {
                if self.is_steady() {
                    recorder.gap(now_us - last_us);
                }
                if tells {
                    recorder.persona(self.charged).gap(now_us - last_us);
                }
            }
            _ => {}
        }
        let type_id = message.type_id;
        Stamp::read_all(type_id, &message.payload, |found| self.on_media(found, now_us, plan, recorder));
    }

    /// Coded media of one track was read.
    fn on_media(&mut self, found: Found, now_us: u64, plan: &Plan, recorder: &mut Recorder) {
        let is_of_stream = |stamp: &Stamp| self.stamps_of.is_none_or(|stream| stream == stamp.stream);
        let Some(stamp) = found.stamp.filter(is_of_stream) else {
            if (found.is_owed || plan.all_is_stamped) && plan.is_measured(now_us) {
                recorder.counts.received += 1;
                recorder.persona(self.charged).counts.received += 1;
                recorder.counts.unstamped += u64::from(self.is_steady());
            }
            return;
        };
        self.stamps_of.get_or_insert(stamp.stream);
        let at = self.lanes.iter().position(|seen| seen.lane == stamp.lane).unwrap_or_else(|| {
            self.lanes.push(LaneWatch::new(stamp.lane, 0));
            self.lanes.len() - 1
        });
        let is_steady = self.is_steady();
        let lane = &mut self.lanes[at];
        let arrival = lane.sequence.on_arrival(stamp.sequence);
        // Another machine's clock tells nothing here.
        let same_clock = stamp.machine == plan.machine;
        // Also one that is not measured itself may have been counted, by a later one that is.
        let was_counted = lane.counted_from.is_some_and(|from| stamp.sequence >= from);
        if arrival == Arrival::Reordered && was_counted {
            recorder.recovered += u64::from(is_steady);
            recorder.persona(self.charged).recovered += 1;
        }
        if !plan.is_measured(if same_clock { stamp.due_us } else { now_us }) {
            return;
        }
        recorder.counts.received += 1;
        recorder.counts.unnegotiated += u64::from(is_steady && !self.multitrack && !stamp.lane.is_default());
        if let Arrival::Next { missing } = arrival {
            lane.counted_from.get_or_insert(stamp.sequence - missing);
        }
        if is_steady {
            match arrival {
                Arrival::Next { missing } => recorder.counts.lost += missing,
                Arrival::Reordered => recorder.counts.reordered += 1,
                Arrival::Duplicate => recorder.counts.duplicated += 1,
            }
        }
        let persona = recorder.persona(self.charged);
        persona.counts.received += 1;
        match arrival {
            Arrival::Next { missing } => persona.counts.missing += missing,
            Arrival::Reordered => persona.counts.reordered += 1,
            Arrival::Duplicate => persona.counts.duplicated += 1,
        }
        // What was sent before this player came waited for it in the server's cache.
        if same_clock && stamp.due_us >= self.ready_us {
            let e2e_us = now_us.saturating_sub(stamp.due_us);
            if is_steady {
                recorder.e2e(e2e_us);
            }
            if plan.shares.len() > 1 {
                recorder.persona(self.charged).e2e(e2e_us);
            }
        }
    }

    /// How many messages were sent after the last one that came; when none did, since it was let in and while measured. Of tracks that it
    /// did not ask for, only those count that come all the same.
    fn missing_at_end(&self, plan: &Plan) -> u64 {
        // Who reads media without our stamps cannot tell what is missing from it.
        if self.last_us.is_some() && !self.lanes.iter().any(|lane| lane.sequence.has_begun()) {
            return 0;
        }
        let missing = |(counts, seen): (&LaneCounts, &LaneWatch)| {
            if !self.multitrack && !counts.lane.is_default() && !seen.sequence.has_begun() {
                return 0;
            }
            let owed_from = counts.measured_from.load(Ordering::Relaxed).max(seen.sent_before);
            seen.sequence.missing_at_end(counts.sent.load(Ordering::Relaxed), owed_from)
        };
        // The first ones are in the plan's order.
        plan.sent[self.stream as usize].iter().zip(&self.lanes).map(missing).sum()
    }

    /// Whether it counts for the run and something that was sent has not come yet.
    pub fn lacks(&self, plan: &Plan) -> bool {
        self.is_steady() && self.missing_at_end(plan) > 0
    }

    /// Counts what was sent after the last message that came.
    pub fn on_end(&self, plan: &Plan, recorder: &mut Recorder) {
        let missing = self.missing_at_end(plan);
        if self.is_steady() {
            recorder.counts.lost += missing;
        }
        recorder.persona(self.charged).counts.missing += missing;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use inrush::session::Role;

    use super::*;
    use crate::media::stamp::Carrier;
    use crate::media::type_id;
    use crate::persona::cast::Casting;
    use crate::plan::tests::plan_of;

    fn plan() -> Plan {
        plan_of(&[Lane::WHOLE])
    }

    fn set_sent(plan: &Plan, sent: u64) {
        plan.sent[0].iter().for_each(|lane| lane.sent.store(sent, Ordering::Relaxed));
    }

    fn watch(plan: &Plan, multitrack: bool) -> Watch {
        let part = Part {
            open_us: 0,
            role: Role::Play,
            casting: Casting::default(),
            charged: 0,
            stream: 0,
            number: 0,
            multitrack,
        };
        Watch::new(&part, 0, 0, plan)
    }

    fn picture(stamp: Option<Stamp>) -> MediaMessage {
        let tag = [0x27, 1, 0, 0, 0];
        let head = stamp.map_or(Bytes::copy_from_slice(&tag), |stamp| stamp.behind(&tag, Carrier::Avc));
        message([head, Bytes::from_static(&[9; 100])].into_iter().collect())
    }

    fn message(payload: inrush::rtmp::Payload) -> MediaMessage {
        MediaMessage {
            kind: MediaKind::Video,
            type_id: type_id::VIDEO,
            stream_id: 1,
            timestamp: 0,
            payload,
            wire_bytes: 0,
        }
    }

    fn stamp(stream: u32, sequence: u64) -> Option<Stamp> {
        Some(Stamp { machine: 1, stream, lane: Lane::WHOLE, sequence, due_us: 2_000 })
    }

    #[track_caller]
    fn lost(watch: &Watch, plan: &Plan, mut recorder: Recorder) -> u64 {
        let before = recorder.counts.lost;
        watch.on_end(plan, &mut recorder);
        assert_eq!(watch.lacks(plan), recorder.counts.lost > before);
        recorder.counts.lost
    }

    /// Two tracks, of which the second one stops short: who asked for both has lost its end, and who asked for none is owed no more of it
    /// than a server gave unasked.
    #[test]
    fn each_track_is_missed_by_who_asked_for_it() {
        let plan = plan_of(&[Lane::video(0), Lane::video(1)]);
        let picture = |track: u8, sequence| {
            let stamp = Stamp { lane: Lane::video(track), ..stamp(0, sequence).unwrap() };
            message(stamp.behind(&[0xa6, 0x01, b'a', b'v', b'0', b'1', track], Carrier::Av1).into())
        };
        for (multitrack, second, wanted, unasked) in
            [(true, 0, 30, 0), (true, 27, 3, 0), (false, 0, 0, 0), (false, 27, 3, 27)]
        {
            let (mut watch, mut recorder) = (watch(&plan, multitrack), Recorder::new());
            // Let in when nothing was sent yet.
            watch.lanes.iter_mut().for_each(|lane| lane.sent_before = 0);
            for sequence in 20..50 {
                watch.on_message(&picture(0, sequence), 2_000, &plan, &mut recorder);
                if sequence < 20 + second {
                    watch.on_message(&picture(1, sequence), 2_000, &plan, &mut recorder);
                }
            }
            assert_eq!(recorder.counts.received, 30 + second, "{multitrack} {second}");
            assert_eq!(recorder.counts.unnegotiated, unasked, "{multitrack} {second}");
            assert_eq!(lost(&watch, &plan, recorder), wanted, "{multitrack} {second}");
        }
    }

    #[test]
    fn who_reads_nothing_lacks_what_was_sent_since_it_was_let_in() {
        let plan = plan();
        set_sent(&plan, 10);
        let early = watch(&plan, false);
        set_sent(&plan, 45);
        let late = watch(&plan, false);
        set_sent(&plan, 50);
        assert_eq!([early, late].map(|watch| lost(&watch, &plan, Recorder::new())), [30, 5]);
    }

    #[test]
    fn who_reads_all_without_stamps_cannot_tell_what_it_lacks() {
        let (plan, mut recorder) = (plan(), Recorder::new());
        let mut watch = watch(&plan, false);
        watch.on_message(&picture(None), 2_000, &plan, &mut recorder);
        assert_eq!((recorder.counts.received, recorder.counts.unstamped), (1, 1));
        assert_eq!(lost(&watch, &plan, recorder), 0);
    }

    /// Of a stream that another process publishes, the number is not known beforehand.
    #[test]
    fn a_message_of_another_stream_is_none_of_its_own() {
        for publishes in [true, false] {
            let (plan, mut recorder) = (Plan { publishes, ..plan() }, Recorder::new());
            let mut watch = watch(&plan, false);
            let own = if publishes { 0 } else { 7 };
            for (stream, sequence) in [(own, 40), (1, 41), (own, 41)] {
                watch.on_message(&picture(stamp(stream, sequence)), 2_000, &plan, &mut recorder);
            }
            let counts = &recorder.counts;
            assert_eq!((counts.received, counts.unstamped, counts.duplicated), (3, 1, 0), "{publishes}");
            assert_eq!(lost(&watch, &plan, recorder), 8);
        }
    }
}
