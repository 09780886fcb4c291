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
    /// Number of the persona that it is charged to.
    charged: usize,
    asked_us: u64,
    ready_us: u64,
    last_us: Option<u64>,
    /// Numbers from here on are counted as lost when they are missing.
    counted_from: Option<u64>,
}

impl Watch {
    /// Of a player that asked for this stream and was let in; what it sees is charged to that persona.
    pub fn new(stream: u32, charged: usize, asked_us: u64, ready_us: u64) -> Self {
        Self { stream, charged, asked_us, ready_us, ..Self::default() }
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
        let Some(stamp) = Stamp::read(message.type_id, &message.payload) else {
            if plan.is_measured(now_us) {
                recorder.counts.received += 1;
                recorder.persona(self.charged).counts.received += 1;
                recorder.counts.unstamped += u64::from(self.is_steady());
            }
            return;
        };
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

    /// How many messages were sent after the last one that came, or while measured when none did.
    fn missing_at_end(&self, plan: &Plan) -> u64 {
        let of_stream = |counts: &[AtomicU64]| counts[self.stream as usize].load(Ordering::Relaxed);
        self.sequence.missing_at_end(of_stream(&plan.sent), of_stream(&plan.measured_from))
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
