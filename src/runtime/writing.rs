//! The writer of a connection: takes what is queued, writes it as one batch, and takes what came meanwhile.
//!
//! It writes answers, a joiner's burst and the rest of what a slow peer leaves waiting; frames as they come are [`super::fan_out`]'s.
//! What a TLS connection is to be sent is sealed as it is gathered ([`SendBatch::seal`]), a write's bytes at a time: what is left of a long
//! frame waits in the batch, shared with others, and is sealed for the next writes before anything else is gathered.
//! # Bounds
//! One write holds at most [`WRITE_BYTES_MAX`] (one frame may exceed it, but not in TLS records) and [`op::send::SLICES_MAX`] slices. What
//! is in a write can no longer be dropped, so the budget is small: a slow reader's backlog belongs in the hub's queue.

use std::io;

use tracing::debug;

use super::connection::{Activity, Connection, ConnectionKey, Phase, Writing};
use super::core::{Core, CoreRef};
use super::op::send::SLICES_MAX;
use super::op::{self, SendBatch, Sending};
use super::signal::Signal;
use super::socket;
use super::tls::Tls;
use crate::hub::{Queued, Reader, SubscriberKey, TakeBudget};
use crate::session::{Instant, Notice};

/// Bytes of one write.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// What a writer does next.
enum NextWrite {
    Send(Sending),
    Wait(Signal),
    End,
}

/// Writes until the connection ends or leaves this core.
pub(crate) async fn write(core: CoreRef, key: ConnectionKey) {
    loop {
        let next = Core::guarded(&core, key, |core| core.next_write(key));
        match next.unwrap_or(NextWrite::End) {
            NextWrite::Send(sending) => {
                let (result, batch) = sending.await;
                Core::guarded(&core, key, |core| {
                    let now = core.now();
                    core.on_sent(key, now, result, batch);
                });
            }
            NextWrite::Wait(signal) => signal.raised().await,
            NextWrite::End => break,
        }
    }
    Core::guarded(&core, key, |core| core.on_task_ended(key));
}

impl Core {
    fn next_write(&mut self, key: ConnectionKey) -> NextWrite {
        let Some(connection) = self.connection(key) else { return NextWrite::End };
        let mut batch = match std::mem::replace(&mut connection.writing, Writing::InFlight) {
            Writing::Rests(batch) => batch,
            // The fan-out made it, and comes back for it within its turn.
            Writing::InFlight => return NextWrite::Wait(connection.wake_writer.clone()),
            Writing::Waits(sending) => return NextWrite::Send(sending),
        };
        let moves = matches!(connection.activity, Activity::Moving { .. });
        // The rest of a frame that has begun to leave is not left behind.
        if connection.phase == Phase::Shut || (moves && batch.is_empty()) {
            connection.writing = Writing::Rests(batch);
            return NextWrite::End;
        }
        let now = self.now();
        self.gather(key, now, &mut batch);
        let Some(connection) = self.connection(key) else { return NextWrite::End };
        if batch.is_empty()
            && let (Phase::Flushing { .. }, Some(tls)) = (connection.phase, connection.tls_mut())
            && tls.can_seal()
        {
            // The last word of TLS, so that the peer can tell our end from a cut (RFC 8446 §6.1).
            tls.close();
            batch.push_records(tls.take_ready());
        }
        if !batch.is_empty() {
            connection.sending_since = Some(now);
            return NextWrite::Send(op::send(connection.socket.clone(), batch));
        }
        connection.writing = Writing::Rests(batch);
        match connection.phase {
            Phase::Open => NextWrite::Wait(connection.wake_writer.clone()),
            Phase::Flushing { linger: true } => {
                socket::shut_write(&connection.socket);
                connection.phase = Phase::Lingering;
                NextWrite::End
            }
            Phase::Flushing { linger: false } => {
                socket::shut_both(&connection.socket);
                connection.phase = Phase::Shut;
                NextWrite::End
            }
            Phase::Lingering | Phase::Shut => NextWrite::End,
        }
    }

    /// Takes what waits for the peer, as much as fits one write: answers, then frames.
    pub(crate) fn gather(&mut self, key: ConnectionKey, now: Instant, batch: &mut SendBatch) {
        let Some(connection) = self.connection(key) else { return };
        let is_plain = connection.front.is_none();
        if let Some(tls) = connection.tls_mut() {
            let can_seal = tls.can_seal();
            if !can_seal {
                // The handshake is not done, and nothing waits; or TLS has ended, and nothing but its own last word can be said any more.
                batch.clear();
            }
            if tls.is_ready() {
                batch.push_records(tls.take_ready());
            }
            if !can_seal {
                connection.control.clear();
                connection.control_bytes = 0;
                return;
            }
            if batch.has_plain() {
                return self.seal(key, now, batch);
            }
        }
        let mut slices = 0;
        while batch.bytes() < WRITE_BYTES_MAX && slices < SLICES_MAX {
            let Some(bytes) = connection.control.pop_front() else { break };
            connection.control_bytes -= bytes.len();
            batch.push_bytes(bytes);
            slices += 1;
        }
        if connection.phase == Phase::Open && matches!(connection.activity, Activity::Playing(_)) {
            self.gather_frames(key, now, batch, slices);
        }
        if !is_plain {
            self.seal(key, now, batch);
        }
    }

    /// Makes records of what is in the batch, where TLS is spoken.
    fn seal(&mut self, key: ConnectionKey, now: Instant, batch: &mut SendBatch) {
        let Some(tls) = self.connection(key).and_then(Connection::tls_mut) else { return };
        if let Err(failure) = batch.seal(tls, WRITE_BYTES_MAX) {
            batch.clear();
            self.on_tls_failure(key, now, failure);
        }
    }

    /// Whether more waits for the peer than the last write took.
    pub(crate) fn has_more_to_write(&self, key: ConnectionKey) -> bool {
        self.connection_ref(key).is_some_and(|connection| {
            !connection.control.is_empty()
                || connection.tls().is_some_and(Tls::is_ready)
                || matches!(&connection.writing, Writing::Rests(batch) if !batch.is_empty())
                || match &connection.activity {
                    Activity::Playing(playing) => {
                        playing.iter().any(|one| self.hub.has_queued(one.subscriber))
                    }
                    _ => false,
                }
        })
    }

    /// Takes what the hub has queued for each message stream that plays.
    fn gather_frames(&mut self, key: ConnectionKey, now: Instant, batch: &mut SendBatch, mut slices: usize) {
        let is_plain = self.connection_ref(key).is_some_and(|connection| connection.tls().is_none());
        let mut queued = std::mem::take(&mut self.queued);
        let mut nth = 0;
        while let Some((subscriber, reader, since)) = self.nth_playing(key, nth) {
            nth += 1;
            let budget = TakeBudget {
                bytes: WRITE_BYTES_MAX.saturating_sub(batch.bytes()),
                slices: SLICES_MAX.saturating_sub(slices),
            };
            if budget.bytes == 0 || budget.slices == 0 {
                // The rest is taken after this write; the writer comes back without being woken.
                break;
            }
            let taken = self.hub.take(now, subscriber, budget, &mut queued);
            // At least one entry comes, even one that is over the budget alone: the kernel would refuse it as it is. Records hold any.
            let is_over = taken > budget.slices && is_plain;
            slices += if is_over { 1 } else { taken };
            let forwarding = self.forwarding(key);
            let mut messages = 0;
            for entry in queued.drain(..) {
                match entry {
                    Queued::Frame(frame) => {
                        messages += 1;
                        if frame.arrived() >= since {
                            batch.note_live(frame.arrived());
                        }
                        let named = match forwarding.concerns(&frame) {
                            true => self.forwarded(key, now, subscriber, &frame, reader),
                            false => None,
                        };
                        if let Some(named) = named {
                            batch.push_bytes(named);
                        } else if is_over {
                            batch.push_gathered(&frame, reader.form, reader.stream_id);
                        } else {
                            batch.push_frame(frame, reader.form, reader.stream_id);
                        }
                    }
                    Queued::Notice(notice) => {
                        let session =
                            self.connection(key).and_then(|connection| connection.session.server_mut());
                        if let Some(session) = session {
                            session.notify(now, reader.stream_id, notice);
                            session.poll_send().into_iter().for_each(|bytes| batch.push_bytes(bytes));
                        } else if notice == Notice::UnpublishNotify {
                            self.last_words(key, now).into_iter().for_each(|bytes| batch.push_bytes(bytes));
                            // What a next publisher sends is not for this connection any more.
                            break;
                        }
                    }
                }
            }
            self.counts.messages_out += messages;
            if let Some(connection) = self.connection(key) {
                connection.totals.messages_out += messages;
            }
        }
        self.queued = queued;
    }

    fn nth_playing(&self, key: ConnectionKey, nth: usize) -> Option<(SubscriberKey, Reader, Instant)> {
        let Activity::Playing(playing) = &self.connection_ref(key)?.activity else { return None };
        playing.get(nth).map(|one| (one.subscriber, one.reader, one.since))
    }

    /// A send has come back, from the writer or from the fan-out.
    pub(crate) fn on_sent(
        &mut self,
        key: ConnectionKey,
        now: Instant,
        result: io::Result<usize>,
        mut batch: Box<SendBatch>,
    ) {
        self.counts.sends += 1;
        if let Some(framed) = batch.framed() {
            self.histograms.framed_to_written.record(now - framed);
        }
        let (expected, written) = (batch.bytes(), *result.as_ref().unwrap_or(&0));
        let oldest_live = batch.oldest_live();
        batch.on_written();
        if let Some(arrived) = oldest_live.filter(|_| batch.is_empty()) {
            self.histograms.read_to_written.record(now - arrived);
        }
        self.counts.bytes_out += written as u64;
        let Some(connection) = self.connection(key) else { return };
        connection.writing = Writing::Rests(batch);
        connection.sending_since = None;
        connection.totals.bytes_out += written as u64;
        connection.session.on_bytes_sent(now, written as u64);
        let has_stopped = connection.is_open() && connection.session.has_stopped();
        if connection.reading.polled.is_some() {
            connection.acknowledge_at_read();
        }
        if written < expected {
            // The kernel finishes a batch unless the socket has ended.
            let error = result.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
            debug!(parent: &connection.span, %error, "send");
            self.shut(key, socket::close_reason(&error));
        }
        if has_stopped {
            // A forward's last words are written.
            self.drive_at(key, now);
        }
        // Answers that are written are held no longer.
        self.count_pending(key);
    }
}
