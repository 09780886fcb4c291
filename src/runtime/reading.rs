//! The reader of a connection: one armed receive at a time, and the steps that follow from what it brings.
//!
//! # Receive mark
//! `SO_RCVLOWAT` follows what the current message lacks, but never more than about [`MARK_TIME`] of the stream, so that interleaved
//! audio does not wait; nothing incomplete wakes the core. The sweep lowers a mark that was armed too long ago.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tracing::debug;

use super::connection::{Activity, Connection, ConnectionKey, Front, LINGER_BYTES_MAX, Phase, Reading};
use super::core::{Core, CoreRef, Driven};
use super::observe::Role;
use super::op;
use super::polling::Resumed;
use super::signal::Signal;
use super::socket;
use super::tls::handshakes;
use crate::session::{CloseReason, Instant};

/// A receive waits for at most so much of a stream's time before it comes back.
const MARK_TIME: Duration = Duration::from_millis(20);
/// Below this many bytes, about one segment, a mark saves no wake-up.
const MARK_BYTES_MIN: u32 = 1400;

/// What a reader does next.
enum NextRead {
    Receive(Rc<OwnedFd>),
    /// Waits until it may go on.
    Pause(Signal),
    /// The core's tick reads; the reader rests.
    Polled,
    /// Leaves for the home core of its stream.
    Depart,
    End,
}

/// What a receive led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    /// More may come.
    Comes,
    /// What came is for a TLS handshake, which has its turns.
    Handshake,
    /// Nothing more can come.
    Ends,
}

/// Reads until the connection ends or leaves this core.
pub(crate) async fn read(core: CoreRef, key: ConnectionKey) {
    let arrived =
        core.borrow_mut().connection(key).map(|connection| std::mem::take(&mut connection.reading.received));
    let mut buffer = arrived.unwrap_or_default();
    // A connection that has just moved here may hold bytes that were read before.
    let mut may_go_on = drive(&core, key).await;
    while may_go_on {
        let next = Core::guarded(&core, key, |core| core.next_read(key, &mut buffer));
        match next.unwrap_or(NextRead::End) {
            NextRead::Receive(socket) => {
                let received = op::recv(socket.into(), std::mem::take(&mut buffer)).await;
                let result = received.result;
                buffer = received.buffer;
                let more = Core::guarded(&core, key, |core| {
                    core.counts.wakeups += 1;
                    let now = core.now();
                    core.on_received(now, key, result, &mut buffer)
                });
                may_go_on = match more {
                    Some(More::Comes) => true,
                    Some(More::Handshake) => handshakes::advance(&core, key, &mut buffer).await,
                    Some(More::Ends) | None => false,
                } && drive(&core, key).await;
                let mut core = core.borrow_mut();
                let now = core.now();
                core.on_framed(now, key);
            }
            NextRead::Pause(signal) => {
                signal.raised().await;
                may_go_on = drive(&core, key).await;
            }
            NextRead::Polled => may_go_on = rest(&core, key, &mut buffer).await && drive(&core, key).await,
            NextRead::Depart => {
                Core::guarded(&core, key, |core| core.depart(key, buffer));
                return;
            }
            NextRead::End => break,
        }
    }
    Core::guarded(&core, key, |core| core.on_task_ended(key));
}

/// Leaves reading to the core's tick until something calls the reader back. False when nothing more can come.
async fn rest(core: &CoreRef, key: ConnectionKey, buffer: &mut BytesMut) -> bool {
    let lent = std::mem::take(buffer);
    let Some(Some(mut signal)) = Core::guarded(core, key, |core| core.poll_from_now(key, lent)) else {
        return false;
    };
    loop {
        signal.raised().await;
        match Core::guarded(core, key, |core| core.resume_polled(key)) {
            Some(Some(Resumed::Reader(returned, more))) => {
                *buffer = returned;
                return more;
            }
            Some(Some(Resumed::Rests(again))) => signal = again,
            Some(None) | None => return false,
        }
    }
}

/// Drives the session to its end of input, a budget at a time. False after a panic in it.
pub(crate) async fn drive(core: &CoreRef, key: ConnectionKey) -> bool {
    loop {
        match Core::guarded(core, key, |core| core.drive(key)) {
            None => return false,
            Some(Driven::Done) => return true,
            // Others get their turn, and their submissions leave: only a parked thread submits, and yielding alone never parks.
            Some(Driven::Yield) => {
                let _ = tokio_uring::no_op().await;
            }
        }
    }
}

impl Reading {
    /// Follows the stream: how often something comes, and how large a buffer it wants.
    fn on_bytes(&mut self, now: Instant, received: usize) {
        self.received_at = Some(now);
        self.cadence.on_come(now);
        self.buffer_size.on_bytes(received);
    }
}

impl Core {
    fn next_read(&mut self, key: ConnectionKey, buffer: &mut BytesMut) -> NextRead {
        let now = self.now();
        if self.is_to_be_polled(now, key) {
            return NextRead::Polled;
        }
        let Some(connection) = self.connection(key) else { return NextRead::End };
        match connection.phase {
            Phase::Shut => return NextRead::End,
            Phase::Open if matches!(connection.activity, Activity::Moving { .. }) => {
                return match connection.tasks {
                    1 => NextRead::Depart,
                    _ => NextRead::Pause(connection.resume_reading.clone()),
                };
            }
            Phase::Open if connection.asked.is_some() || !connection.session.wants_bytes() => {
                return NextRead::Pause(connection.resume_reading.clone());
            }
            Phase::Open | Phase::Flushing { .. } | Phase::Lingering => {}
        }
        let lacking_bytes = connection.lacking_bytes(buffer);
        connection.reading.buffer_size.make_room(buffer, lacking_bytes);
        set_mark(connection, buffer.len(), lacking_bytes);
        connection.reading.armed_at = Some(now);
        NextRead::Receive(connection.socket.clone())
    }

    /// Takes what a receive brought.
    pub(crate) fn on_received(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        result: io::Result<usize>,
        buffer: &mut BytesMut,
    ) -> More {
        self.counts.receives += 1;
        let Some(connection) = self.connection(key) else { return More::Ends };
        connection.reading.armed_at = None;
        let received = match result {
            Ok(0) => {
                match connection.phase {
                    Phase::Open if connection.is_open() => {
                        connection.session.handle_eof(now);
                        self.drive_at(key, now);
                    }
                    // The peer sends no more, but may still read why: the writer ends it.
                    Phase::Flushing { .. } => {}
                    Phase::Open | Phase::Lingering | Phase::Shut => self.shut(key, CloseReason::Eof),
                }
                return More::Ends;
            }
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => return More::Comes,
            Err(error) => {
                debug!(parent: &connection.span, %error, "receive");
                self.shut(key, socket::close_reason(&error));
                return More::Ends;
            }
            Ok(received) => received,
        };
        let mut more = More::Comes;
        let is_publisher = connection.role == Role::Publisher;
        connection.totals.bytes_in += received as u64;
        if connection.phase == Phase::Open {
            connection.reading.on_bytes(now, received);
            connection.reading.waiting_bytes = 0;
            match connection.front.as_deref() {
                None => connection.session.handle_bytes(now, buffer.split().freeze()),
                Some(Front::Arriving(_)) => more = self.on_arriving(key, now, buffer),
                Some(Front::Tls(tls)) if tls.is_shaking_hands() => more = More::Handshake,
                Some(Front::Tls(_)) => self.read_tls(key, now, buffer),
            }
            if !buffer.is_empty()
                && let Some(connection) = self.connection(key)
            {
                connection.reading.waiting_bytes = buffer.len();
            }
        } else {
            buffer.clear();
            connection.lingered_bytes += received as u64;
            if connection.lingered_bytes > LINGER_BYTES_MAX {
                self.shut(key, CloseReason::Io);
            }
        }
        self.counts.bytes_in += received as u64;
        if is_publisher {
            self.histograms.receive.record_bytes(received);
        }
        more
    }

    /// What the last receive brought is framed and queued.
    pub(crate) fn on_framed(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.connection(key) else { return };
        if let Some(received_at) = connection.reading.received_at.take()
            && matches!(connection.activity, Activity::Publishing { .. })
        {
            self.histograms.read_to_framed.record(now - received_at);
        }
    }

    /// Lowers the marks of receives that were armed too long ago: what they waited for did not come.
    pub(crate) fn lower_stale_marks(&mut self) {
        let now = self.now();
        for (_, (_, connection)) in &mut self.connections {
            let reading = &mut connection.reading;
            if reading.mark > 1 && reading.armed_at.is_some_and(|armed_at| now - armed_at > MARK_TIME) {
                reading.mark = 1;
                if let Err(error) = socket::set_receive_mark(&connection.socket, 1) {
                    debug!(parent: &connection.span, %error, "receive mark");
                }
            }
        }
    }
}

/// Sets the receive mark for the read that is about to be armed.
///
/// A TLS record that has begun says what it lacks (`lacking_bytes`, behind `held_bytes` of it), and nothing of it is of use before. Else
/// plain text that a message lacks is so much cipher text at least.
fn set_mark(connection: &mut Connection, held_bytes: usize, lacking_bytes: usize) {
    let wanted = match connection.activity {
        Activity::Publishing { .. } if connection.phase == Phase::Open => {
            let lacking = match held_bytes {
                0 => connection.session.missing_bytes(),
                _ => lacking_bytes,
            };
            let lacking = u32::try_from(lacking).unwrap_or(u32::MAX);
            let per_mark_time = connection.rate_in.per_second() * MARK_TIME.as_millis() as u64 / 1000;
            lacking.min(u32::try_from(per_mark_time).unwrap_or(u32::MAX))
        }
        _ => 1,
    };
    let wanted = if wanted < MARK_BYTES_MIN { 1 } else { wanted };
    if wanted != connection.reading.mark {
        connection.reading.mark = wanted;
        if let Err(error) = socket::set_receive_mark(&connection.socket, wanted) {
            debug!(parent: &connection.span, %error, "receive mark");
        }
    }
}
