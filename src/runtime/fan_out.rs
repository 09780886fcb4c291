//! Fan-out: what a turn has for players leaves as one batch of sends, made by one task a core.
//!
//! A player's own writer would be woken twice a send, once to make it and once for what came of it. Here nobody is: the task stands
//! behind all that was ready in its turn, makes a send for each player whose writer rests, and the thread parks once for all of them.
//! A tick does the same for what it has read ([`super::polling`]). What the kernel takes at once, which is nearly everything, has come back
//! by then; a send that waits for its peer is left to the player's writer, so a slow reader holds nobody up.
//! # Invariant
//! A connection has at most one send in flight, whoever made it: [`Writing`] says who.
//! # Bounds
//! [`SENDS_PER_BATCH`] sends, each within the bounds of [`super::writing`], or those with [`RECORD_BYTES_PER_BATCH`] of TLS records, before others
//! get their turn.

use super::connection::{ConnectionKey, Writing};
use super::core::{Core, CoreRef};
use super::op::{self, Sending};
use super::signal::Signal;
use crate::session::Instant;

/// Sends that leave together: half of the ring's entries, so that a batch is one system call.
const SENDS_PER_BATCH: usize = 512;

/// TLS records that are made at once, bytes: about a millisecond's work.
const RECORD_BYTES_PER_BATCH: usize = 2 * 1024 * 1024;

/// Whom the hub has something for, and whose writer rests.
#[derive(Debug, Default)]
pub(crate) struct FanOut {
    ready: Vec<ConnectionKey>,
    /// When the first of them became so.
    since: Instant,
    /// Raised when somebody is.
    begun: Signal,
}

/// Lists that a writing task uses again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    keys: Vec<ConnectionKey>,
    sends: Vec<(ConnectionKey, Sending)>,
}

/// Writes for all that become ready, turn by turn: in a tick that waits between its batches of visits, what the first have brought.
pub(crate) async fn write(core: CoreRef) {
    let begun = core.borrow().fan_out.begun.clone();
    let mut scratch = Scratch::default();
    loop {
        begun.raised().await;
        write_ready(&core, &mut scratch).await;
    }
}

/// Writes for all that are ready now.
pub(crate) async fn write_ready(core: &CoreRef, scratch: &mut Scratch) {
    let Scratch { keys, sends } = scratch;
    let since = {
        let mut core = core.borrow_mut();
        std::mem::swap(&mut core.fan_out.ready, keys);
        core.fan_out.since
    };
    while !keys.is_empty() {
        let mut began = core.borrow().now();
        let mut record_bytes = 0;
        for _ in 0..SENDS_PER_BATCH {
            if record_bytes >= RECORD_BYTES_PER_BATCH {
                break;
            }
            let Some(key) = keys.pop() else { break };
            let (sending, ended) = Core::guarded_from(core, key, began, |core| {
                core.begin_fan_out(key, began, since, &mut record_bytes)
            });
            sends.extend(sending.flatten().map(|sending| (key, sending)));
            began = ended;
        }
        if sends.is_empty() {
            continue;
        }
        // It stands behind the sends: once it is through, whatever the kernel did at once has come back.
        let _ = tokio_uring::no_op().await;
        let mut began = core.borrow().now();
        for (key, sending) in sends.drain(..) {
            began = Core::guarded_from(core, key, began, |core| core.end_fan_out(key, began, sending)).1;
        }
    }
}

impl Core {
    /// The hub has something for a subscriber of this connection.
    pub(crate) fn on_ready(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connection(key) else { return };
        // A writer that is at work looks again by itself.
        if !matches!(connection.writing, Writing::Rests(_)) {
            return;
        }
        if self.fan_out.ready.is_empty() {
            self.fan_out.since = self.now();
            self.fan_out.begun.raise();
        }
        self.fan_out.ready.push(key);
    }

    /// The send for one player, if there is something to send; `record_bytes` grows by what had to be encrypted for it.
    fn begin_fan_out(
        &mut self,
        key: ConnectionKey,
        now: Instant,
        since: Instant,
        record_bytes: &mut usize,
    ) -> Option<Sending> {
        // One that ends or moves is its writer's: a send in flight would keep the socket from moving.
        let mut batch = self.connection(key).filter(|connection| connection.is_open())?.writing.begin()?;
        self.gather(key, now, &mut batch);
        let connection = self.connection(key)?;
        if batch.is_empty() {
            connection.writing = Writing::Rests(batch);
            return None;
        }
        *record_bytes += batch.record_bytes();
        batch.note_framed(since);
        Some(op::send(connection.socket.clone(), batch))
    }

    fn end_fan_out(&mut self, key: ConnectionKey, now: Instant, mut sending: Sending) {
        match sending.outcome() {
            Some((result, batch)) => self.on_sent(key, now, result, batch),
            None => {
                if let Some(connection) = self.connection(key) {
                    connection.writing = Writing::Waits(sending);
                }
            }
        }
        // The writer waits for a send that takes longer, writes what did not fit, and sees to the connection's end.
        let has_more = self.has_more_to_write(key);
        let Some(connection) = self.connection(key) else { return };
        if has_more || !connection.is_open() || !matches!(connection.writing, Writing::Rests(_)) {
            connection.wake_writer.raise();
        }
    }
}
