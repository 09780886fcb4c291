//! Polling when busy: past a rate of wake-ups a core visits its publishers on a tick instead of waiting for each.
//!
//! The kernel's work for a wake-up (poll arming, task work, scheduling) costs more than the receive itself, as network cards' drivers
//! know. On a busy core each publisher's reader hands its buffer to the core and rests; one task a core then submits a receive that
//! does not wait for every publisher, takes the results in order, and repeats those that filled their buffer: one system call a tick.
//! # Changing over
//! Each publisher follows when its armed receive next comes back, and goes back to an armed receive when the core is quiet again or
//! after [`EMPTY_VISITS_MAX`] visits that found nothing. No receive is ever cancelled for it, and never are two in flight on one socket.
//! # Bounds
//! A message waits for at most the latency budget, which is the tick. A tick repeats full receives [`ROUNDS_MAX`] times at most.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tracing::{debug, info};

use super::connection::{Activity, ConnectionKey, Phase};
use super::core::{Core, CoreRef};
use super::signal::Signal;
use super::{op, reading, socket};
use crate::session::Instant;

/// Wake-ups and writes a second from which on a core polls. Below, waking costs a few percent of a core at most, and its latency is
/// that of the network.
const BUSY_PER_SECOND: u64 = 2_000;
/// And below which it stops: half, so that a rate at the border does not swing the core.
const QUIET_PER_SECOND: u64 = BUSY_PER_SECOND / 2;
/// A mode stays for so long at least.
const DWELL_MIN: Duration = Duration::from_secs(1);
/// Visits in a row that find nothing, after which a publisher waits for an armed receive again.
const EMPTY_VISITS_MAX: u8 = 16;
/// Times that one tick repeats the receives that filled their buffers: a peer that sends faster gets its next turn at the next tick.
const ROUNDS_MAX: usize = 4;

/// How a core waits for its publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each has a receive armed.
    #[default]
    Wake,
    /// Each is visited on a tick.
    Poll,
}

/// A core's polling.
#[derive(Debug, Default)]
pub(crate) struct Polling {
    pub(crate) mode: Mode,
    mode_since: Instant,
    /// Work counted at the last decision: wake-ups and writes.
    work_before: u64,
    /// Whom the next tick visits; who has left since is passed over.
    visited: Vec<ConnectionKey>,
    /// Raised when polling begins.
    begun: Signal,
}

/// A publisher's receive while the core polls it.
#[derive(Debug)]
pub(crate) struct Polled {
    /// `None` while the kernel has it.
    buffer: Option<BytesMut>,
    empty_visits: u8,
    /// Nothing more can come: the reader is to end.
    ended: bool,
}

/// What a reader that was woken while it rested does.
pub(crate) enum Resumed {
    /// Its buffer is back. False: nothing more can come.
    Reader(BytesMut, bool),
    /// A visit is under way: it rests until that is over.
    Rests(Signal),
}

impl Core {
    /// Whether this connection's next receive is the tick's.
    pub(crate) fn is_to_be_polled(&self, key: ConnectionKey) -> bool {
        self.polling.mode == Mode::Poll
            && self.connection_ref(key).is_some_and(|connection| {
                connection.phase == Phase::Open
                    && matches!(connection.activity, Activity::Publishing { .. })
                    && connection.session.wants_bytes()
                    && !connection.reading.rests_armed
            })
    }

    /// Takes over the reader's buffer; the reader rests on the signal that comes back.
    pub(crate) fn poll_from_now(&mut self, key: ConnectionKey, buffer: BytesMut) -> Option<Signal> {
        let connection = self.connection(key)?;
        connection.reading.polled = Some(Polled { buffer: Some(buffer), empty_visits: 0, ended: false });
        // The largest mark: nobody waits on this socket, and the kernel then acknowledges at once instead of at the next visit, which
        // would add the tick to the encoder's round trip.
        match socket::largest_receive_mark(&connection.socket) {
            Ok(mark) => connection.reading.mark = mark,
            Err(error) => debug!(parent: &connection.span, %error, "receive mark"),
        }
        let signal = connection.resume_reading.clone();
        if !std::mem::replace(&mut connection.reading.is_listed, true) {
            self.polling.visited.push(key);
        }
        Some(signal)
    }

    /// Gives a woken reader its buffer back.
    pub(crate) fn resume_polled(&mut self, key: ConnectionKey) -> Option<Resumed> {
        let connection = self.connection(key)?;
        let polled = connection.reading.polled.as_mut()?;
        let Some(buffer) = polled.buffer.take() else {
            return Some(Resumed::Rests(connection.resume_reading.clone()));
        };
        let more = !polled.ended;
        connection.reading.polled = None;
        Some(Resumed::Reader(buffer, more))
    }

    /// Decides how this core waits, from what it has done since the last time. The sweep calls it.
    pub(crate) fn choose_mode(&mut self, now: Instant, elapsed: Duration) {
        let counts = &self.counts;
        let found = counts.receives - counts.polls_empty;
        let work = found + counts.sends;
        let per_second = per_second(work - self.polling.work_before, elapsed);
        self.polling.work_before = work;
        if now - self.polling.mode_since < DWELL_MIN {
            return;
        }
        let has_budget = !self.shared.settings.latency_budget.is_zero();
        let mode = match self.polling.mode {
            Mode::Wake if has_budget && per_second > BUSY_PER_SECOND => Mode::Poll,
            Mode::Poll if per_second < QUIET_PER_SECOND => Mode::Wake,
            mode => mode,
        };
        if mode != self.polling.mode {
            info!(core = self.id.0, ?mode, per_second, "changes how it waits for publishers");
            self.polling.mode = mode;
            self.polling.mode_since = now;
            self.counts.mode_changes += 1;
            self.counts.polling = u64::from(mode == Mode::Poll);
            match mode {
                Mode::Poll => self.polling.begun.raise(),
                Mode::Wake => self.wake_polled(),
            }
        }
    }

    /// Sends every resting reader back to its armed receive.
    fn wake_polled(&mut self) {
        for key in std::mem::take(&mut self.polling.visited) {
            if let Some(connection) = self.connection(key) {
                connection.reading.is_listed = false;
                connection.resume_reading.raise();
            }
        }
    }

    /// Takes the buffer of the next publisher to visit out of its place.
    fn begin_visit(&mut self, key: ConnectionKey) -> Option<(Rc<OwnedFd>, BytesMut)> {
        let connection = self.connection(key)?;
        let mut buffer = connection.reading.polled.as_mut()?.buffer.take()?;
        reading::make_room(&mut buffer, connection.reading.buffer_bytes);
        Some((connection.socket.clone(), buffer))
    }

    /// Takes what a visit brought; true when its buffer was filled, so that there may be more.
    fn end_visit(&mut self, key: ConnectionKey, result: io::Result<usize>, mut buffer: BytesMut) -> bool {
        self.counts.polls += 1;
        let is_empty = matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        let is_full = result.is_ok() && buffer.len() == buffer.capacity();
        let more = if is_empty {
            self.counts.receives += 1;
            self.counts.polls_empty += 1;
            true
        } else {
            self.on_received(key, result, &mut buffer)
        };
        let is_polling = self.polling.mode == Mode::Poll;
        let Some(connection) = self.connection(key) else { return false };
        let is_open = connection.is_open() && matches!(connection.activity, Activity::Publishing { .. });
        let Some(polled) = connection.reading.polled.as_mut() else { return false };
        polled.buffer = Some(buffer);
        polled.ended = !more;
        polled.empty_visits = if is_empty { polled.empty_visits.saturating_add(1) } else { 0 };
        let rests_armed = polled.empty_visits >= EMPTY_VISITS_MAX;
        connection.reading.rests_armed = rests_armed;
        let stays = more && is_open && is_polling && !rests_armed && connection.session.wants_bytes();
        if !stays {
            connection.resume_reading.raise();
        }
        stays && is_full
    }

    /// What has to follow a visit: the publisher may have stopped or be over its bound by what it sent.
    fn after_visit(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connection(key) else { return };
        let is_publishing =
            connection.is_open() && matches!(connection.activity, Activity::Publishing { .. });
        if !is_publishing || !connection.session.wants_bytes() {
            connection.resume_reading.raise();
        }
    }

    fn on_ticked(&mut self, began: Instant) {
        let took = self.now() - began;
        self.latencies.tick.record(took);
        self.counts.ticks += 1;
    }

    /// Whom this tick visits: all that still rest. The others are forgotten.
    fn visits(&mut self) -> Vec<ConnectionKey> {
        let mut visited = std::mem::take(&mut self.polling.visited);
        visited.retain(|key| {
            self.connection(*key).is_some_and(|connection| {
                connection.reading.is_listed = connection.reading.polled.is_some();
                connection.reading.is_listed
            })
        });
        self.polling.visited.clone_from(&visited);
        visited
    }
}

/// The core's tick: rests while the core wakes, visits all polled publishers each latency budget while it polls.
pub(crate) async fn tick(core: CoreRef) {
    let (begun, period) = {
        let core = core.borrow();
        (core.polling.begun.clone(), core.shared.settings.latency_budget)
    };
    loop {
        begun.raised().await;
        let mut next = tokio::time::Instant::now() + period;
        while core.borrow().polling.mode == Mode::Poll {
            tokio::time::sleep_until(next).await;
            let began = core.borrow().now();
            visit_all(&core).await;
            core.borrow_mut().on_ticked(began);
            next += period;
            let now = tokio::time::Instant::now();
            if next < now {
                // The work of a tick took longer than a tick: the next one begins at once, and none is made up for.
                core.borrow_mut().counts.tick_overruns += 1;
                next = now;
            }
        }
    }
}

async fn visit_all(core: &CoreRef) {
    let mut keys = core.borrow_mut().visits();
    for _ in 0..ROUNDS_MAX {
        let mut receives = Vec::with_capacity(keys.len());
        for key in keys.drain(..) {
            let Some(Some((socket, buffer))) = Core::guarded(core, key, |core| core.begin_visit(key)) else {
                continue;
            };
            receives.push((key, op::recv_now(socket, buffer)));
        }
        // All of them leave with the first wait, and none of them waits for bytes.
        for (key, receive) in receives {
            let (result, buffer) = receive.await;
            if Core::guarded(core, key, |core| core.end_visit(key, result, buffer)) == Some(true) {
                keys.push(key);
            }
            reading::drive(core, key).await;
            Core::guarded(core, key, |core| {
                core.on_framed(key);
                core.after_visit(key);
            });
        }
        if keys.is_empty() {
            break;
        }
    }
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000_000) / micros
}
