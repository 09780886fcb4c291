//! A player: reads all that comes and checks every message.

use std::sync::atomic::{AtomicU64, Ordering};

use inrush::session::{MediaKind, MediaMessage};

use crate::media::stamp::{Carrier, Stamp};
use crate::plan::Plan;
use crate::report::Recorder;
use crate::sequence::{Arrival, Sequence};

/// What one player has seen.
#[derive(Debug, Default)]
pub struct Watch {
    sequence: Sequence,
    stream: u32,
    /// The stream that its stamps are of: its own number where this process publishes it, else what the first one says.
    stamps_of: Option<u32>,
    /// Number of the persona that it is charged to.
    charged: usize,
    asked_us: u64,
    ready_us: u64,
    /// Stamps of its stream that were sent before it was let in: nobody owes it those.
    sent_before: u64,
    last_us: Option<u64>,
    /// Numbers from here on are counted as lost when they are missing.
    counted_from: Option<u64>,
}

impl Watch {
    /// Of a player that asked for this stream and is let in now; what it sees is charged to that persona.
    pub fn new(stream: u32, charged: usize, asked_us: u64, ready_us: u64, plan: &Plan) -> Self {
        let sent_before = plan.sent[stream as usize].load(Ordering::Relaxed);
        let stamps_of = plan.publishes.then_some(stream);
        Self { stream, stamps_of, charged, asked_us, ready_us, sent_before, ..Self::default() }
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
        let (tag, filled) = message.payload.prefix::<6>();
        if Carrier::of(message.type_id, &tag[..filled]).is_none() {
            return;
        }
        let is_of_stream = |stamp: &Stamp| self.stamps_of.is_none_or(|stream| stream == stamp.stream);
        let Some(stamp) = Stamp::read(message.type_id, &message.payload).filter(is_of_stream) else {
            if plan.is_measured(now_us) {
                recorder.counts.received += 1;
                recorder.persona(self.charged).counts.received += 1;
                recorder.counts.unstamped += u64::from(self.is_steady());
            }
            return;
        };
        self.stamps_of.get_or_insert(stamp.stream);
        let arrival = self.sequence.on_arrival(stamp.sequence);
        // Another machine's clock tells nothing here.
        let same_clock = stamp.machine == plan.machine;
        // Also one that is not measured itself may have been counted, by a later one that is.
        let was_counted = self.counted_from.is_some_and(|from| stamp.sequence >= from);
        if arrival == Arrival::Reordered && was_counted {
            recorder.recovered += u64::from(self.is_steady());
            recorder.persona(self.charged).recovered += 1;
        }
        if !plan.is_measured(if same_clock { stamp.due_us } else { now_us }) {
            return;
        }
        recorder.counts.received += 1;
        if let Arrival::Next { missing } = arrival {
            self.counted_from.get_or_insert(stamp.sequence - missing);
        }
        if self.is_steady() {
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
            if self.is_steady() {
                recorder.e2e(e2e_us);
            }
            if tells {
                recorder.persona(self.charged).e2e(e2e_us);
            }
        }
    }

    /// How many messages were sent after the last one that came; when none did, since it was let in and while measured.
    fn missing_at_end(&self, plan: &Plan) -> u64 {
        // Who reads media without our stamps cannot tell what is missing from it.
        if self.last_us.is_some() && !self.sequence.has_begun() {
            return 0;
        }
        let of_stream = |counts: &[AtomicU64]| counts[self.stream as usize].load(Ordering::Relaxed);
        let owed_from = of_stream(&plan.measured_from).max(self.sent_before);
        self.sequence.missing_at_end(of_stream(&plan.sent), owed_from)
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
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use bytes::Bytes;

    use super::*;
    use crate::media::synthetic::{self, Pattern};
    use crate::media::type_id;
    use crate::pace::Pace;
    use crate::plan::Census;
    use crate::schedule::Timetable;

    /// Two streams, measured from message 20 on.
    fn plan() -> Plan {
        let pattern = Pattern { bitrate_bps: 300_000, fps: 25, gop_frames: 25, seed: 1 };
        let numbers = |number| vec![AtomicU64::new(number), AtomicU64::new(number)];
        Plan {
            address: ([127, 0, 0, 1], 1935).into(),
            url: "rtmp://127.0.0.1/live/s{i}".to_owned(),
            sources: Vec::new(),
            table: Arc::new(Timetable::new(synthetic::media(&pattern), Pace::Frame)),
            chunk_size: 4_096,
            timestamp_start_ms: 0,
            machine: 1,
            from_us: 1_000,
            until_us: 10_000,
            publishes: true,
            sent: numbers(50),
            measured_from: numbers(20),
            shares: Vec::new(),
            census: Census::default(),
            stop: AtomicBool::new(false),
        }
    }

    fn picture(stamp: Option<Stamp>) -> MediaMessage {
        let tag = [0x27, 1, 0, 0, 0];
        let head = stamp.map_or(Bytes::copy_from_slice(&tag), |stamp| stamp.behind(&tag, Carrier::Avc));
        MediaMessage {
            kind: MediaKind::Video,
            type_id: type_id::VIDEO,
            stream_id: 1,
            timestamp: 0,
            payload: [head, Bytes::from_static(&[9; 100])].into_iter().collect(),
            wire_bytes: 0,
        }
    }

    fn stamp(stream: u32, sequence: u64) -> Option<Stamp> {
        Some(Stamp { machine: 1, stream, sequence, due_us: 2_000 })
    }

    #[track_caller]
    fn lost(watch: &Watch, plan: &Plan, mut recorder: Recorder) -> u64 {
        let before = recorder.counts.lost;
        watch.on_end(plan, &mut recorder);
        assert_eq!(watch.lacks(plan), recorder.counts.lost > before);
        recorder.counts.lost
    }

    #[test]
    fn who_reads_nothing_lacks_what_was_sent_since_it_was_let_in() {
        let plan = plan();
        plan.sent[0].store(10, Ordering::Relaxed);
        let early = Watch::new(0, 0, 0, 0, &plan);
        plan.sent[0].store(45, Ordering::Relaxed);
        let late = Watch::new(0, 0, 0, 0, &plan);
        plan.sent[0].store(50, Ordering::Relaxed);
        assert_eq!([early, late].map(|watch| lost(&watch, &plan, Recorder::new())), [30, 5]);
    }

    #[test]
    fn who_reads_all_without_stamps_cannot_tell_what_it_lacks() {
        let (plan, mut recorder) = (plan(), Recorder::new());
        let mut watch = Watch::new(0, 0, 0, 0, &plan);
        watch.on_message(&picture(None), 2_000, &plan, &mut recorder);
        assert_eq!((recorder.counts.received, recorder.counts.unstamped), (1, 1));
        assert_eq!(lost(&watch, &plan, recorder), 0);
    }

    /// Of a stream that another process publishes, the number is not known beforehand.
    #[test]
    fn a_message_of_another_stream_is_none_of_its_own() {
        for publishes in [true, false] {
            let (plan, mut recorder) = (Plan { publishes, ..plan() }, Recorder::new());
            let mut watch = Watch::new(0, 0, 0, 0, &plan);
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
