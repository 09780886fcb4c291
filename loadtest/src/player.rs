//! A player: reads all that comes and checks every message.

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
    asked_us: u64,
    ready_us: u64,
    last_us: Option<u64>,
    /// Numbers from here on are counted as lost when they are missing.
    counted_from: Option<u64>,
}

impl Watch {
    /// Of a player that asked for this stream and was let in.
    pub fn new(stream: u32, asked_us: u64, ready_us: u64) -> Self {
        Self { stream, asked_us, ready_us, ..Self::default() }
    }

    /// A message was read.
    pub fn on_message(&mut self, message: &MediaMessage, now_us: u64, plan: &Plan, recorder: &mut Recorder) {
        if message.kind == MediaKind::Data {
            return;
        }
        let last_us = self.last_us.replace(now_us);
        match last_us {
            None => recorder.first_frame(now_us.saturating_sub(self.asked_us)),
            Some(last_us) if plan.is_measured(now_us) => recorder.gap(now_us - last_us),
            Some(_) => {}
        }
        let (tag, filled) = message.payload.prefix::<6>();
        if Carrier::of(message.type_id, &tag[..filled]).is_none() {
            return;
        }
        let Some(stamp) = Stamp::read(message.type_id, &message.payload) else {
            if plan.is_measured(now_us) {
                recorder.counts.received += 1;
                recorder.counts.unstamped += 1;
            }
            return;
        };
        let arrival = self.sequence.on_arrival(stamp.sequence);
        // Another machine's clock tells nothing here.
        let same_clock = stamp.machine == plan.machine;
        // Also one that is not measured itself may have been counted, by a later one that is.
        let was_counted = self.counted_from.is_some_and(|from| stamp.sequence >= from);
        if arrival == Arrival::Reordered && was_counted {
            recorder.recovered += 1;
        }
        if !plan.is_measured(if same_clock { stamp.due_us } else { now_us }) {
            return;
        }
        recorder.counts.received += 1;
        match arrival {
            Arrival::Next { missing } => {
                recorder.counts.lost += missing;
                self.counted_from.get_or_insert(stamp.sequence - missing);
            }
            Arrival::Reordered => recorder.counts.reordered += 1,
            Arrival::Duplicate => recorder.counts.duplicated += 1,
        }
        // What was sent before this player came waited for it in the server's cache.
        if same_clock && stamp.due_us >= self.ready_us {
            recorder.e2e(now_us.saturating_sub(stamp.due_us));
        }
    }

    /// Counts what was sent after the last message that came.
    pub fn on_end(&self, plan: &Plan, recorder: &mut Recorder) {
        let sent = plan.sent[self.stream as usize].load(std::sync::atomic::Ordering::Relaxed);
        recorder.counts.lost += self.sequence.missing_at_end(sent);
    }
}
