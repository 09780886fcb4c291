//! What a core does besides its connections: messages of other cores, batches for them, and the sweep.
//!
//! A core is woken for its inbox whenever that was empty, also while it polls: with ticks of 2 ms and more that is at most some hundred times
//! a second, and the frames of another core need not wait for a tick.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::connection::{Activity, Connection, Phase};
use super::core::{Core, CoreRef};
use super::inbox::ToCore;
use super::op;
use crate::hub::{CoreId, MeshMessage};
use crate::rtmp::PeerMisbehaved;
use crate::session::{CloseReason, Instant};

/// Messages of other cores that are dealt with before connections get their turn.
const MESSAGES_PER_TURN: usize = 256;

/// Sweep while receives may wait under a raised mark: they must not wait much longer than 20 ms.
const SWEEP_BUSY: Duration = Duration::from_millis(10);
/// Sweep otherwise.
const SWEEP_QUIET: Duration = Duration::from_millis(100);
/// Deadlines, the hub's ages and the published counters follow at this pace.
const DEADLINES_EVERY: Duration = Duration::from_millis(100);
/// Rates are measured at this pace.
const RATES_EVERY: Duration = Duration::from_secs(1);

/// Deals with what others put into this core's inbox.
pub(crate) async fn inbox(core: CoreRef) {
    let (id, shared) = {
        let core = core.borrow();
        (core.id, core.shared.clone())
    };
    let mut budget = MESSAGES_PER_TURN;
    loop {
        shared.inboxes.filled(id).await;
        loop {
            let Some(message) = core.borrow_mut().next_message() else { break };
            budget = budget.saturating_sub(message.weight());
            Core::on_message(&core, message);
            // A core that sends as fast as this one takes would keep it here: others get their turn, and submissions leave. The
            // budget is not made new by an empty inbox, since the next wake-up may have come already.
            if budget == 0 {
                budget = MESSAGES_PER_TURN;
                let _ = tokio_uring::no_op().await;
            }
        }
    }
}

/// Sends what the hub has for other cores: one batch and at most one wake-up a core and turn, since this task stands behind all that
/// were ready before it was woken.
pub(crate) async fn outgoing(core: CoreRef) {
    let ready = core.borrow().outgoing.clone();
    loop {
        ready.raised().await;
        Core::caught(&core, None, Core::flush_outgoing);
    }
}

impl Core {
    pub(crate) fn flush_outgoing(&mut self) {
        let shared = self.shared.clone();
        for index in 0..shared.cores() {
            let to = CoreId(u16::try_from(index).unwrap_or(u16::MAX));
            if to == self.id {
                continue;
            }
            let messages = self.hub.take_outgoing(to);
            if !messages.is_empty() {
                let bytes = messages.iter().map(MeshMessage::bytes).sum();
                let batch = ToCore::Mesh { from: self.id, messages, bytes };
                self.counts.wakeups_sent += u64::from(shared.inboxes.push(to, batch));
            }
            let was_congested = self.congested[index];
            let now_congested = shared.inboxes.is_congested(self.id, to, was_congested);
            if now_congested != was_congested {
                self.congested[index] = now_congested;
                self.counts.feed_pauses += u64::from(now_congested);
                self.hub.set_congested(to, now_congested);
            }
        }
    }
}

/// Sweeps: marks, deadlines, ages, published counters, and the end of a drain.
pub(crate) async fn sweep(core: CoreRef) {
    let mut deadlines_at = core.borrow().now();
    let mut rates_at = deadlines_at;
    loop {
        let pause = if core.borrow().counts.publishers > 0 { SWEEP_BUSY } else { SWEEP_QUIET };
        tokio::time::sleep(pause).await;
        let now = core.borrow().now();
        Core::caught(&core, None, Core::lower_stale_marks);
        if now - deadlines_at >= DEADLINES_EVERY {
            let elapsed = now - deadlines_at;
            deadlines_at = now;
            Core::caught(&core, None, |core| core.choose_mode(now, elapsed));
            enforce_deadlines(&core, now);
            Core::caught(&core, None, |core| core.sweep_hub(now));
            Core::caught(&core, None, Core::close_hopeless);
            Core::caught(&core, None, |core| core.sweep_drain(now));
            Core::caught(&core, None, |core| core.look_at_paths(now));
            core.borrow_mut().publish_counts(now);
        }
        if now - rates_at >= RATES_EVERY {
            let elapsed = now - rates_at;
            rates_at = now;
            for (_, (_, connection)) in &mut core.borrow_mut().connections {
                connection.rate_in.measure(connection.totals.bytes_in, elapsed);
                connection.rate_out.measure(connection.totals.bytes_out, elapsed);
            }
        }
    }
}

/// Ends what has waited too long, and tells sessions whose deadline has come.
fn enforce_deadlines(core: &CoreRef, now: Instant) {
    let write_deadline = core.borrow().settings.write_deadline;
    let is_due = |connection: &Connection| {
        now >= connection.give_up_at
            || (connection.is_open()
                && (now >= connection.session_timeout
                    || connection.is_unread(now, write_deadline)
                    || connection.activity.overdue(now).is_some()
                    || connection.asked.as_ref().is_some_and(|asked| asked.is_overdue(now))))
    };
    let due = core.borrow().keys_where(is_due);
    for key in due {
        Core::guarded(core, key, |core| {
            let Some(connection) = core.connection(key) else { return };
            if now >= connection.give_up_at {
                let reason = match (connection.phase, &connection.activity) {
                    (Phase::Open, Activity::Moving { .. }) => {
                        CloseReason::Error(PeerMisbehaved::NotReading.into())
                    }
                    _ => CloseReason::Io,
                };
                core.shut(key, reason);
            } else if connection.is_unread(now, write_deadline) {
                core.shut(key, CloseReason::Error(PeerMisbehaved::NotReading.into()));
            } else if let Some(excess) = connection.activity.overdue(now).filter(|_| connection.is_open()) {
                core.close(key, CloseReason::OverLimit(excess));
            } else {
                if now >= connection.session_timeout {
                    // It says when it wants to be called again, if it does.
                    connection.session_timeout = Instant::FAR_FUTURE;
                }
                connection.session.handle_timeout(now);
                core.give_up_asking(key, now);
                core.drive(key);
            }
        });
    }
}

impl Core {
    fn sweep_hub(&mut self, now: Instant) {
        self.listen_for_awaited(now);
        self.hub.handle_sweep(now);
        self.pump_hub();
        self.judge_publishers(now);
        // A core that was congested towards others is looked at again even if nothing new is sent there.
        self.outgoing.raise();
    }

    /// Makes this core's counters visible to others.
    pub(crate) fn publish_counts(&mut self, now: Instant) {
        let hub = self.hub.counts();
        self.counts.connections = self.connections.len() as u64;
        self.counts.publishers = hub.publishers as u64;
        self.counts.subscribers = hub.subscribers as u64;
        self.counts.streams = hub.streams as u64;
        self.counts.streams_home = hub.streams_home as u64;
        self.counts.forward_connections = self.made.forwards() as u64;
        self.counts.pull_connections = self.made.pulls() as u64;
        self.counts.gop_bytes = hub.gop_bytes as u64;
        self.counts.frames_dropped = self.hub.counters().dropped.total();
        self.publish_succession();
        self.publish_health();
        self.counts.tls_handshakes_in_progress = self.handshakes.in_progress() as u64;
        self.counts.tls_handshakes_waiting = self.handshakes.waiting() as u64;
        self.counts.operations_in_flight = op::in_flight();
        self.counts.sweeps += 1;
        let published = &self.shared.published[usize::from(self.id.0)];
        published.counts.publish(&self.counts);
        *published.histograms.lock().unwrap_or_else(PoisonError::into_inner) = self.histograms;
        published.swept_at.store(now.as_micros(), Ordering::Relaxed);
        if std::mem::take(&mut self.labelled_changed) {
            *published.labelled.lock().unwrap_or_else(PoisonError::into_inner) = self.labelled.clone();
        }
    }
}
