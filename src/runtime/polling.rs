//! Polling when busy: past a rate of wake-ups a core visits its publishers on a tick instead of waiting for each.
//!
//! The kernel's work for a wake-up (poll arming, task work, scheduling) costs more than the receive itself, as network cards' drivers
//! know. On a busy core each publisher's reader hands its buffer to the core and rests; one task a core then submits receives that
//! do not wait, takes the results in order, and repeats those that filled their buffer. A reader that is to do something itself gets its
//! buffer back after the next visit.
//! # Ticks
//! Each publisher is visited once in a latency budget, and what came of it is written to players before the next tick. When that is
//! more work than [`TICK_WORK`], the budget is divided into ticks and the publishers among them: so the last of a tick waits for the
//! work of few others, and the far ends see no burst. When it is less, they are together again, since a tick costs some system calls.
//! # Whom a tick visits
//! Everybody who is polled, once a latency budget: to come earlier costs visits, and to come later, when the stream's own rate says that
//! nothing is due, would break the budget for what comes all the same. So the rate decides whether a publisher is polled at all: one that
//! has something at one visit in [`SLOW`] is cheaper to wait for than to visit, and gets an armed receive until it is faster than one in
//! [`FAST`].
//! # Changing over
//! Each publisher follows when its armed receive next comes back, and goes back to an armed receive when the core is quiet again,
//! when it is slow or has fallen silent. No receive is ever cancelled for it, and never are two in
//! flight on one socket.
//! # Bounds
//! A message waits for at most the latency budget and the work of one tick (twice that once, when the number of ticks changes). A tick
//! repeats full receives [`ROUNDS_MAX`] times at most; a session with more to say than one turn's budget is left to its reader.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tracing::{debug, info};

use super::buffer::Spares;
use super::connection::{Activity, ConnectionKey, Phase};
use super::core::{Core, CoreRef, Driven};
use super::op::{Received, Receiving, Socket};
use super::reading::More;
use super::signal::Signal;
use super::{fan_out, op, socket};
use crate::session::Instant;

/// Wake-ups and writes a second from which on a core polls. Below, waking costs a few percent of a core at most, and its latency is
/// that of the network.
const BUSY_PER_SECOND: u64 = 2_000;
/// And below which it stops: half, so that a rate at the border does not swing the core.
const QUIET_PER_SECOND: u64 = BUSY_PER_SECOND / 2;
/// A mode stays for so long at least.
const DWELL_MIN: Duration = Duration::from_secs(1);
/// A core is quiet when so many sweeps in a row, a tenth of a second apart, have found little done: in one of them the encoders, or the core
/// itself on a loaded machine, may just not have had their turn.
const QUIET_SWEEPS: u32 = 10;
/// Ticks that a latency budget is divided into, of a millisecond at least.
const PHASES_MAX: u32 = 5;
/// Work of one tick above which there should be more of them.
const TICK_WORK: Duration = Duration::from_millis(2);
/// There are fewer again when each would be this share of [`TICK_WORK`] then: less than all, so that the number does not swing.
const TICK_WORK_SPARE: f64 = 0.7;
/// Weight of the newest latency budget in the work that is expected of the next.
const NEWEST_SHARE: f64 = 0.1;
/// An armed receive costs about as much as five visits that find nothing: with pauses of more latency budgets than this between
/// what comes, a publisher is waited for...
const SLOW: u32 = 5;
/// ... until its pauses are shorter than this many.
const FAST: u32 = 4;
/// One that has been silent for so many latency budgets is waited for, whatever its pauses were.
const SILENT: u32 = 16;
/// Times that one tick repeats the receives that filled their buffers: a peer that sends faster gets its next turn at the next tick.
/// A key frame of 200 kB comes whole with one tick all the same.
const ROUNDS_MAX: usize = 16;
/// Receives that leave together: their connections and buffers are still in the cache when the bytes are there.
const RECEIVES_PER_BATCH: usize = 128;

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
#[derive(Debug)]
pub(crate) struct Polling {
    pub(crate) mode: Mode,
    mode_since: Instant,
    /// Work counted at the last decision: receives and writes, and the messages in them.
    work_before: [u64; 2],
    /// Sweeps in a row that have found little done.
    quiet_sweeps: u32,
    budget: Duration,
    /// Whom each tick of a latency budget visits.
    phases: Vec<Vec<Visit>>,
    /// The tick that is under way, and how many of its list are away.
    under_way: (usize, usize),
    /// Seconds of work in one latency budget, smoothed.
    work_s: f64,
    /// Seconds of work since the current one began.
    budget_work_s: f64,
    /// Raised when polling begins.
    begun: Signal,
    spares: Spares,
}

impl Polling {
    /// Of a core that is quiet yet.
    pub(crate) fn new(budget: Duration) -> Self {
        Self {
            mode: Mode::Wake,
            mode_since: Instant::default(),
            work_before: [0; 2],
            quiet_sweeps: 0,
            budget,
            phases: vec![Vec::new()],
            under_way: (0, 0),
            work_s: 0.0,
            budget_work_s: 0.0,
            begun: Signal::default(),
            spares: Spares::new(RECEIVES_PER_BATCH),
        }
    }

    /// Another latency budget, from the next tick on; at zero the core goes back to waking.
    pub(crate) fn set_budget(&mut self, budget: Duration) {
        self.budget = budget;
    }

    /// The mode from now on, at this rate of work since the last sweep.
    fn next_mode(&mut self, now: Instant, per_second: u64) -> Mode {
        self.quiet_sweeps =
            if per_second < QUIET_PER_SECOND { self.quiet_sweeps.saturating_add(1) } else { 0 };
        match self.mode {
            Mode::Poll if self.budget.is_zero() => Mode::Wake,
            mode if now - self.mode_since < DWELL_MIN => mode,
            Mode::Wake if !self.budget.is_zero() && per_second > BUSY_PER_SECOND => Mode::Poll,
            Mode::Poll if self.quiet_sweeps >= QUIET_SWEEPS => Mode::Wake,
            mode => mode,
        }
    }

    /// From one tick to the next.
    fn period(&self) -> Duration {
        self.budget / u32::try_from(self.phases.len()).unwrap_or(1)
    }

    /// Adds a publisher to the tick that has the fewest.
    fn join(&mut self, visit: Visit) {
        let (away, count) = self.under_way;
        let members =
            |(phase, here): &(usize, &mut Vec<Visit>)| here.len() + if *phase == away { count } else { 0 };
        if let Some((_, fewest)) = self.phases.iter_mut().enumerate().min_by_key(members) {
            fewest.push(visit);
        }
    }

    /// The list of a tick goes on its visits; `due` is empty, and its room serves the list.
    fn begin_visits(&mut self, phase: usize, due: &mut Vec<Visit>) {
        if let Some(members) = self.phases.get_mut(phase) {
            std::mem::swap(members, due);
            self.under_way = (phase, due.len());
        }
    }

    /// A tick has done so much work; after the last one of a latency budget the number of ticks follows the work.
    fn on_work(&mut self, phase: usize, work: Duration) {
        self.budget_work_s += work.as_secs_f64();
        if phase + 1 < self.phases.len() {
            return;
        }
        self.work_s += NEWEST_SHARE * (std::mem::take(&mut self.budget_work_s) - self.work_s);
        let wanted = phases_for(self.phases.len(), self.work_s, self.budget);
        if wanted != self.phases.len() {
            let all: Vec<_> = self.phases.drain(..).flatten().collect();
            self.phases.resize_with(wanted, Vec::new);
            all.into_iter().for_each(|visit| self.join(visit));
        }
    }
}

/// How many ticks a latency budget should have for `work_s` seconds of work in it, when there are so many now.
fn phases_for(now: usize, work_s: f64, budget: Duration) -> usize {
    let most = u32::try_from(budget.as_millis()).unwrap_or(u32::MAX).clamp(1, PHASES_MAX) as usize;
    let with = |each_s: f64| ((work_s / each_s).ceil() as usize).clamp(1, most);
    let each_s = TICK_WORK.as_secs_f64();
    now.clamp(with(each_s), with(each_s * TICK_WORK_SPARE))
}

/// A publisher that the core polls, with all that its receive is made with: the list of them is gone through in order, so making
/// the receives of a tick looks at nothing else.
#[derive(Debug)]
struct Visit {
    key: ConnectionKey,
    socket: Socket,
    /// With room for a receive, or with none: then one of the spares serves.
    buffer: BytesMut,
}

/// What the core has of a publisher's reader that rests.
#[derive(Debug)]
pub(crate) enum Polled {
    /// It is visited.
    Visited,
    /// It was visited for the last time, and the reader is to take its buffer back. False: nothing more can come.
    Returned(BytesMut, bool),
}

/// What a reader that was woken while it rested does.
pub(crate) enum Resumed {
    /// Its buffer is back. False: nothing more can come.
    Reader(BytesMut, bool),
    /// The next visit will give its buffer back: it rests until then.
    Rests(Signal),
}

/// How a visit ended.
enum Visited {
    /// Nothing, or nothing more, was there.
    Emptied(Visit),
    /// The buffer was filled: there may be more.
    Filled(Visit),
    /// It was the last one.
    Over,
}

impl Core {
    /// Whether this connection's next receive is the tick's.
    pub(crate) fn is_to_be_polled(&self, now: Instant, key: ConnectionKey) -> bool {
        let budget = self.polling.budget;
        self.polling.mode == Mode::Poll
            && self.connection_ref(key).is_some_and(|connection| {
                connection.phase == Phase::Open
                    && matches!(connection.activity, Activity::Publishing { .. })
                    && connection.session.wants_bytes()
                    // One that has sent nothing yet may not be about to.
                    && connection.totals.messages_in > 0
                    && connection.reading.cadence.pause() < budget * FAST
                    && connection.reading.cadence.since(now) < budget * SILENT
            })
    }

    /// Takes over the reader's buffer; the reader rests on the signal that comes back.
    pub(crate) fn poll_from_now(&mut self, key: ConnectionKey, mut buffer: BytesMut) -> Option<Signal> {
        let connection = self.connection(key)?;
        let lacking_bytes = connection.lacking_bytes(&buffer);
        connection.reading.buffer_size.make_room(&mut buffer, lacking_bytes);
        connection.reading.polled = Some(Polled::Visited);
        // The largest mark: nobody waits on this socket, and the kernel then acknowledges at once instead of at the next visit, which
        // would add the tick to the encoder's round trip.
        match socket::largest_receive_mark(&connection.socket) {
            Ok(mark) => connection.reading.mark = mark,
            Err(error) => debug!(parent: &connection.span, %error, "receive mark"),
        }
        connection.acknowledge_at_read();
        let signal = connection.resume_reading.clone();
        let socket = connection.socket.clone().into();
        self.polling.join(Visit { key, socket, buffer });
        Some(signal)
    }

    /// Gives a woken reader its buffer back.
    pub(crate) fn resume_polled(&mut self, key: ConnectionKey) -> Option<Resumed> {
        let connection = self.connection(key)?;
        match connection.reading.polled.take()? {
            Polled::Returned(buffer, more) => Some(Resumed::Reader(buffer, more)),
            Polled::Visited => {
                connection.reading.polled = Some(Polled::Visited);
                Some(Resumed::Rests(connection.resume_reading.clone()))
            }
        }
    }

    /// Sends a resting reader back to its armed receive, or to its end.
    fn give_back(&mut self, key: ConnectionKey, buffer: BytesMut, more: bool) {
        let Some(connection) = self.connection(key) else { return };
        connection.reading.polled = Some(Polled::Returned(buffer, more));
        connection.resume_reading.raise();
    }

    /// Decides how this core waits, from what it has done since the last time. The sweep calls it.
    pub(crate) fn choose_mode(&mut self, now: Instant, elapsed: Duration) {
        let counts = &self.counts;
        let found = counts.receives - counts.polls_empty;
        // Receives and sends are fewer while the core polls; messages are not, and keep the mode from swinging.
        let [work, messages] = [found + counts.sends, counts.messages_in + counts.messages_out];
        let [work_before, messages_before] =
            std::mem::replace(&mut self.polling.work_before, [work, messages]);
        let per_second = per_second((work - work_before).max(messages - messages_before), elapsed);
        let mode = self.polling.next_mode(now, per_second);
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

    /// Sends every resting reader back to its armed receive. Those whose visit is under way follow when it is over.
    fn wake_polled(&mut self) {
        self.counts.tick_phases = 1;
        self.polling.spares.clear();
        for phase in std::mem::replace(&mut self.polling.phases, vec![Vec::new()]) {
            for Visit { key, buffer, .. } in phase {
                self.give_back(key, buffer, true);
            }
        }
    }

    /// Takes what a visit brought, and deals with it.
    fn end_visit(&mut self, now: Instant, key: ConnectionKey, received: Received) -> Visited {
        let Received { result, mut buffer, socket } = received;
        self.counts.polls += 1;
        let is_empty = matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        let is_full = result.is_ok() && buffer.len() == buffer.capacity();
        let mut more = true;
        let mut driven = Driven::Done;
        if is_empty {
            self.counts.receives += 1;
            self.counts.polls_empty += 1;
        } else {
            more = self.on_received(now, key, result, &mut buffer) == More::Comes;
            driven = self.drive_at(key, now);
        }
        let is_polling = self.polling.mode == Mode::Poll;
        let budget = self.polling.budget;
        let Some(connection) = self.connection(key) else { return Visited::Over };
        let cadence = &connection.reading.cadence;
        let is_slow = is_empty && (cadence.pause() > budget * SLOW || cadence.since(now) > budget * SILENT);
        let stays = more
            && is_polling
            && !is_slow
            // A session with more to say than fits one turn is its reader's, who takes turns: here everybody else would wait for it.
            && driven == Driven::Done
            && connection.is_open()
            && matches!(connection.activity, Activity::Publishing { .. })
            && connection.session.wants_bytes();
        if !stays {
            self.give_back(key, buffer, more);
            return Visited::Over;
        }
        // Now, while all of it is near.
        let buffer_size = connection.reading.buffer_size;
        let lacking_bytes = connection.lacking_bytes(&buffer);
        self.polling.spares.take_back(buffer_size, &mut buffer, lacking_bytes);
        let visit = Visit { key, socket, buffer };
        if is_full { Visited::Filled(visit) } else { Visited::Emptied(visit) }
    }

    /// Those that were visited go back to their tick; who has joined it meanwhile is there.
    fn end_visits(&mut self, phase: usize, visited: &mut Vec<Visit>) {
        self.polling.under_way = (phase, 0);
        if self.polling.mode == Mode::Poll
            && let Some(members) = self.polling.phases.get_mut(phase)
        {
            members.append(visited);
        } else {
            // The mode has changed meanwhile.
            visited.drain(..).for_each(|Visit { key, buffer, .. }| self.give_back(key, buffer, true));
        }
    }

    fn on_ticked(&mut self, phase: usize, due: Instant, began: Instant) {
        let took = self.now() - began;
        self.histograms.tick.record(took);
        self.histograms.tick_late.record(began - due);
        self.counts.ticks += 1;
        self.polling.on_work(phase, took);
        self.counts.tick_phases = self.polling.phases.len() as u64;
    }
}

/// The core's ticks: none while the core wakes.
pub(crate) async fn tick(core: CoreRef) {
    let begun = core.borrow().polling.begun.clone();
    let mut lists = Lists::default();
    loop {
        begun.raised().await;
        let mut due = core.borrow().now();
        let mut phase = 0;
        while core.borrow().polling.mode == Mode::Poll {
            let (now, period, phases) = {
                let core = core.borrow();
                (core.now(), core.polling.period(), core.polling.phases.len())
            };
            due = due + period;
            let was_due = due;
            if now < due {
                op::sleep(due - now).await;
            } else {
                // The work before took longer than a tick: this one begins at once, and none is made up for.
                core.borrow_mut().counts.tick_overruns += 1;
                due = now;
                // With nobody to visit nothing else would wait, and submissions leave only when something does.
                let _ = tokio_uring::no_op().await;
            }
            phase = (phase + 1) % phases;
            let began = core.borrow().now();
            core.borrow_mut().polling.begin_visits(phase, &mut lists.due);
            visit_all(&core, &mut lists).await;
            core.borrow_mut().end_visits(phase, &mut lists.visited);
            fan_out::write_ready(&core, &mut lists.writes).await;
            core.borrow_mut().on_ticked(phase, was_due, began);
        }
    }
}

/// Lists that the ticks use again and again.
#[derive(Default)]
struct Lists {
    due: Vec<Visit>,
    visited: Vec<Visit>,
    filled: Vec<Visit>,
    receives: Vec<(ConnectionKey, Receiving)>,
    writes: fan_out::Scratch,
}

/// Visits, and visits again those that had more than their buffers hold.
async fn visit_all(core: &CoreRef, lists: &mut Lists) {
    let Lists { due, visited, filled, receives, .. } = lists;
    for round in 1..=ROUNDS_MAX {
        while !due.is_empty() {
            let from = due.len().saturating_sub(RECEIVES_PER_BATCH);
            {
                let spares = &mut core.borrow_mut().polling.spares;
                receives.extend(due.drain(from..).map(|Visit { key, socket, mut buffer }| {
                    spares.lend(&mut buffer);
                    (key, op::recv_now(socket, buffer))
                }));
            }
            visit(core, receives, visited, filled).await;
        }
        if round == ROUNDS_MAX {
            visited.append(filled);
        }
        if filled.is_empty() {
            break;
        }
        due.append(filled);
    }
}

async fn visit(
    core: &CoreRef,
    receives: &mut Vec<(ConnectionKey, Receiving)>,
    visited: &mut Vec<Visit>,
    filled: &mut Vec<Visit>,
) {
    // When the receives came back, for all of them: what the last one waits for the others is time inside the server.
    let mut arrived = core.borrow().now();
    let mut began = arrived;
    // All of them leave with the first wait, and none of them waits for bytes.
    for (key, mut receive) in receives.drain(..) {
        let received = match receive.outcome() {
            Some(received) => received,
            None => {
                let received = receive.await;
                arrived = core.borrow().now();
                began = arrived;
                received
            }
        };
        let (result, ended) =
            Core::guarded_from(core, key, began, |core| core.end_visit(arrived, key, received));
        match result {
            Some(Visited::Emptied(visit)) => visited.push(visit),
            Some(Visited::Filled(visit)) => filled.push(visit),
            // After a panic the connection is closed, and its reader is to end.
            None => core.borrow_mut().give_back(key, BytesMut::new(), false),
            Some(Visited::Over) => {}
        }
        core.borrow_mut().on_framed(ended, key);
        began = ended;
    }
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000_000) / micros
}

/// Tests of what is decided; the ticks themselves are shown by `tests/polling.rs`.
#[cfg(test)]
mod tests {
    use super::*;

    /// A core polls from the first sweep on that finds it busy, and goes back after a second in which no sweep has.
    #[test]
    fn a_core_that_has_stood_still_for_a_moment_is_not_quiet() {
        let mut polling = Polling::new(Duration::from_millis(10));
        let mut now = Instant::default();
        let mut sweeps = |polling: &mut Polling, count: u32, per_second: u64| {
            for _ in 0..count {
                now = now + Duration::from_millis(100);
                let mode = polling.next_mode(now, per_second);
                if mode != polling.mode {
                    (polling.mode, polling.mode_since) = (mode, now);
                }
            }
            polling.mode
        };
        assert_eq!(sweeps(&mut polling, 9, BUSY_PER_SECOND + 1), Mode::Wake, "it has just begun to wake");
        assert_eq!(sweeps(&mut polling, 1, BUSY_PER_SECOND), Mode::Wake);
        assert_eq!(sweeps(&mut polling, 1, BUSY_PER_SECOND + 1), Mode::Poll);
        assert_eq!(sweeps(&mut polling, 20, QUIET_PER_SECOND), Mode::Poll);
        for _ in 0..5 {
            assert_eq!(sweeps(&mut polling, QUIET_SWEEPS - 1, 0), Mode::Poll);
            assert_eq!(sweeps(&mut polling, 1, QUIET_PER_SECOND), Mode::Poll);
        }
        assert_eq!(sweeps(&mut polling, QUIET_SWEEPS, QUIET_PER_SECOND - 1), Mode::Wake);
        let mut never = Polling::new(Duration::ZERO);
        assert_eq!(sweeps(&mut never, 30, 1_000_000), Mode::Wake);
    }

    /// The number of ticks follows the work and does not swing at a border.
    #[test]
    fn ticks_follow_the_work() {
        let budget = Duration::from_millis(10);
        let mut phases = 1;
        for (work_ms, expected) in [
            (1.9, 1),
            (2.1, 2),
            (1.9, 2),
            (1.5, 2),
            (1.3, 1),
            (9.0, 5),
            (50.0, 5),
            (7.9, 5),
            (5.5, 4),
            (0.1, 1),
        ] {
            phases = phases_for(phases, work_ms / 1e3, budget);
            assert_eq!(phases, expected, "{work_ms} ms");
        }
        assert_eq!(phases_for(1, 0.01, Duration::from_millis(3)), 3, "a tick is a millisecond at least");
        assert_eq!(phases_for(1, 0.01, Duration::from_millis(1)), 1);
    }
}
