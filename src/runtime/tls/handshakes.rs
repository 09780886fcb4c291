//! Handshakes by turns: what they cost is rationed, so that a flood of them does not stall media.
//!
//! A step of a handshake is one record of the peer's; the first one costs a key exchange and a signature, a hundred microseconds with
//! an ECDSA key and ten times that with RSA. So readers that have a step to do wait in line, and one task a core lets them in, one a turn of
//! the core and no more than the share of its time that handshakes may have ([`Ration`]). Those that have begun go first: what they cost
//! is wasted when they run out of time.
//! # Bounds
//! `handshakes_max` handshakes in progress a core; [`BEGINNINGS_WAITING_MAX`] that wait for their first step, so that nobody waits for
//! seconds. Who comes over either is closed and counted. A handshake ends with the session's own deadline, however it waits.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use tracing::debug;

use super::{Failure, Shaken, TINY_RECORDS_PER_SECOND_MAX, Tls};
use crate::runtime::connection::{ConnectionKey, Front, Phase};
use crate::runtime::core::{Core, CoreRef};
use crate::runtime::op;
use crate::runtime::signal::Signal;
use crate::session::{CloseReason, Instant};

/// Handshakes that wait for their first step, a core: with a fourth of a core and an RSA key (1 ms), a second's worth.
const BEGINNINGS_WAITING_MAX: usize = 256;

/// Time that handshakes may take at once when none has come for a while.
const RATION_MAX: Duration = Duration::from_millis(2);

/// The share of a core's time that handshakes may have: a bucket that fills as time passes, and may be overdrawn by one step.
#[derive(Debug)]
struct Ration {
    percent: u32,
    /// Time that may be used now; below 0 when the last step took more than there was. Nanoseconds.
    left_ns: i64,
    filled_at: Instant,
}

impl Ration {
    fn new(percent: u32) -> Self {
        Self { percent: percent.clamp(1, 100), left_ns: nanos(RATION_MAX), filled_at: Instant::default() }
    }

    /// How long the next step has to wait.
    fn wait(&mut self, now: Instant) -> Duration {
        let gained = nanos(now - self.filled_at).saturating_mul(i64::from(self.percent)) / 100;
        self.filled_at = now;
        self.left_ns = self.left_ns.saturating_add(gained).min(nanos(RATION_MAX));
        let lacking = self.left_ns.min(0).unsigned_abs();
        Duration::from_nanos(lacking.saturating_mul(100) / u64::from(self.percent))
    }

    fn charge(&mut self, took: Duration) {
        self.left_ns = self.left_ns.saturating_sub(nanos(took));
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A core's handshakes.
#[derive(Debug)]
pub(crate) struct Handshakes {
    in_progress: usize,
    in_progress_max: usize,
    /// Who has taken no step yet.
    beginning: VecDeque<ConnectionKey>,
    /// Who has.
    begun: VecDeque<ConnectionKey>,
    /// Who may take a step now.
    let_in: Option<ConnectionKey>,
    ration: Ration,
    /// Raised when somebody waits.
    waiting: Signal,
}

impl Handshakes {
    pub(crate) fn new(in_progress_max: usize, percent: u32) -> Self {
        Self {
            in_progress: 0,
            in_progress_max,
            beginning: VecDeque::new(),
            begun: VecDeque::new(),
            let_in: None,
            ration: Ration::new(percent),
            waiting: Signal::default(),
        }
    }

    /// Other bounds, from now on.
    pub(crate) fn set_bounds(&mut self, in_progress_max: usize, percent: u32) {
        self.in_progress_max = in_progress_max;
        self.ration.percent = percent.clamp(1, 100);
    }

    /// A place for one more, unless there are too many.
    #[must_use]
    pub(crate) fn begin(&mut self) -> bool {
        let has_room = self.in_progress < self.in_progress_max;
        self.in_progress += usize::from(has_room);
        has_room
    }

    /// One is done, or over.
    fn end(&mut self) {
        self.in_progress = self.in_progress.saturating_sub(1);
    }

    /// Handshakes that have begun and are not done.
    pub(crate) fn in_progress(&self) -> usize {
        self.in_progress
    }

    /// Those that wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.beginning.len() + self.begun.len()
    }

    /// Joins the line; false when it is too long.
    fn join(&mut self, key: ConnectionKey, has_begun: bool) -> bool {
        if has_begun {
            self.begun.push_back(key);
        } else if self.beginning.len() < BEGINNINGS_WAITING_MAX {
            self.beginning.push_back(key);
        } else {
            return false;
        }
        self.waiting.raise();
        true
    }

    /// One that is over waits no longer.
    fn leave(&mut self, key: ConnectionKey) {
        self.beginning.retain(|waiting| *waiting != key);
        self.begun.retain(|waiting| *waiting != key);
    }

    fn next(&mut self) -> Option<ConnectionKey> {
        self.begun.pop_front().or_else(|| self.beginning.pop_front())
    }
}

/// Lets in who waits, one a turn.
pub(crate) async fn by_turns(core: CoreRef) {
    let waiting = core.borrow().handshakes.waiting.clone();
    loop {
        waiting.raised().await;
        loop {
            let pause = {
                let mut core = core.borrow_mut();
                let now = core.now();
                core.handshakes.ration.wait(now)
            };
            if !pause.is_zero() {
                op::sleep(pause).await;
                continue;
            }
            match Core::caught(&core, None, Core::let_next_in).flatten() {
                // It takes its step before this thread parks, and with that the others get their turn.
                Some(()) => drop(tokio_uring::no_op().await),
                None => break,
            }
        }
    }
}

/// What a reader with bytes of a handshake does.
enum Turn {
    /// It reads on: nothing whole has come, or the handshake is done.
    Read,
    /// It waits until it is let in.
    Wait(Signal),
    /// It is over.
    End,
}

/// Takes the handshake of a connection as far as the bytes in `buffer` lead. False when nothing more can come.
pub(crate) async fn advance(core: &CoreRef, key: ConnectionKey, buffer: &mut BytesMut) -> bool {
    loop {
        let turn = Core::guarded(core, key, |core| core.join_handshakes(key, buffer));
        let signal = match turn.unwrap_or(Turn::End) {
            Turn::Read => return true,
            Turn::End => return false,
            Turn::Wait(signal) => signal,
        };
        loop {
            signal.raised().await;
            let stepped = Core::guarded(core, key, |core| core.take_step(key, buffer));
            match stepped {
                Some(Stepped::NotYet) => {}
                Some(Stepped::Taken) => break,
                Some(Stepped::Over) | None => return false,
            }
        }
    }
}

/// What came of a wake-up.
enum Stepped {
    /// It was woken for something else.
    NotYet,
    Taken,
    Over,
}

impl Core {
    /// TLS for a connection that asks for it; `None` where none is spoken.
    pub(crate) fn begin_tls(&mut self, now: Instant) -> Option<Box<Front>> {
        let shared = self.shared.clone();
        let endpoint = shared.tls.get()?;
        let tls = Tls::new(now, endpoint.config(), TINY_RECORDS_PER_SECOND_MAX);
        Some(Box::new(Front::Tls(tls)))
    }

    fn join_handshakes(&mut self, key: ConnectionKey, buffer: &BytesMut) -> Turn {
        let now = self.now();
        let Some(connection) = self.connection(key) else { return Turn::End };
        if connection.phase != Phase::Open {
            return Turn::Read;
        }
        let Some(tls) = connection.tls().filter(|tls| tls.is_shaking_hands()) else {
            return Turn::Read;
        };
        let has_begun = !tls.is_at_its_beginning();
        let has_step = tls.has_step(buffer);
        let has_place = connection.shakes_hands;
        let signal = connection.resume_reading.clone();
        // A place is for a handshake that can begin: who sends less than a record holds nobody up.
        if has_step == Ok(true) && !has_place {
            if !self.handshakes.begin() {
                self.count("refused", "tls_handshakes_max");
                self.shut(key, CloseReason::Overload);
                return Turn::End;
            }
            let Some(connection) = self.connection(key) else { return Turn::End };
            connection.shakes_hands = true;
        }
        match has_step {
            Ok(false) => Turn::Read,
            Ok(true) if self.handshakes.join(key, has_begun) => Turn::Wait(signal),
            Ok(true) => {
                self.count("refused", "tls_handshakes_waiting");
                self.shut(key, CloseReason::Overload);
                Turn::End
            }
            Err(failure) => {
                self.on_tls_failure(key, now, failure);
                Turn::Read
            }
        }
    }

    /// Wakes the next one in line that is still there.
    fn let_next_in(&mut self) -> Option<()> {
        if let Some(key) = self.handshakes.let_in
            && self.connection(key).is_some_and(|connection| connection.phase == Phase::Open)
        {
            // So much was ready in this turn that it has not got there yet.
            return Some(());
        }
        loop {
            let key = self.handshakes.next()?;
            if let Some(connection) =
                self.connection(key).filter(|connection| connection.phase == Phase::Open)
            {
                connection.resume_reading.raise();
                self.handshakes.let_in = Some(key);
                return Some(());
            }
        }
    }

    fn take_step(&mut self, key: ConnectionKey, buffer: &mut BytesMut) -> Stepped {
        let began = self.now();
        let is_let_in = self.handshakes.let_in.take_if(|let_in| *let_in == key).is_some();
        let Some(connection) = self.connection(key) else { return Stepped::Over };
        if connection.phase != Phase::Open {
            return Stepped::Taken;
        }
        if !is_let_in {
            return Stepped::NotYet;
        }
        let Some(tls) = connection.tls_mut() else { return Stepped::Over };
        let shaken = tls.shake(buffer);
        let is_ready = tls.is_ready();
        if is_ready {
            connection.wake_writer.raise();
        }
        let now = self.now();
        self.handshakes.ration.charge(now - began);
        self.counts.tls_handshake_us += u64::try_from((now - began).as_micros()).unwrap_or(u64::MAX);
        match shaken {
            Ok(Shaken::Goes) => {}
            Ok(Shaken::Done) => {
                self.on_shaken(key);
                self.read_tls(key, now, buffer);
            }
            Err(failure) => self.on_tls_failure(key, now, failure),
        }
        if let Some(connection) = self.connection(key) {
            connection.reading.waiting_bytes = buffer.len();
        }
        self.count_pending(key);
        Stepped::Taken
    }

    fn on_shaken(&mut self, key: ConnectionKey) {
        self.end_handshake(key);
        self.counts.tls_handshakes += 1;
        let Some(connection) = self.connection(key) else { return };
        let Some(info) = connection.tls().and_then(|tls| tls.info()) else { return };
        debug!(
            parent: &connection.span,
            version = info.version,
            cipher = info.cipher,
            server_name = info.server_name,
            resumed = info.resumed,
            "speaks TLS"
        );
        self.counts.tls_resumptions += u64::from(info.resumed);
    }

    /// Gives the place of a handshake that is done, or over, to others.
    pub(crate) fn end_handshake(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection(key)
            && std::mem::take(&mut connection.shakes_hands)
        {
            self.handshakes.end();
            self.handshakes.leave(key);
        }
    }

    /// Hands on what is whole of what was received under TLS.
    pub(crate) fn read_tls(&mut self, key: ConnectionKey, now: Instant, buffer: &mut BytesMut) {
        let Some(connection) = self.connection(key) else { return };
        let Some(Front::Tls(tls)) = connection.front.as_deref_mut() else { return };
        let session = &mut connection.session;
        let read = tls.read(now, buffer, |part| match part {
            super::Part::Plain(bytes) => session.handle_bytes(now, bytes),
            super::Part::Gap(bytes) => session.handle_gap(bytes),
        });
        if tls.is_ready() {
            connection.wake_writer.raise();
        }
        match read {
            Ok(super::Read::Open) => {}
            // As the end of the stream: what came before is still parsed.
            Ok(super::Read::Closed) => connection.session.handle_eof(now),
            Err(failure) => self.on_tls_failure(key, now, failure),
        }
    }

    /// TLS has ended the connection: the peer is sent its alert, and given time to read it.
    pub(crate) fn on_tls_failure(&mut self, key: ConnectionKey, now: Instant, failure: Failure) {
        let Failure { reason } = failure;
        let Some(connection) = self.connection(key) else { return };
        if connection.tls().is_some_and(|tls| tls.info().is_none()) && connection.phase == Phase::Open {
            self.count("tls_handshake_failed", reason.label());
        }
        self.begin_close(key, reason, true, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn key(index: u32) -> ConnectionKey {
        ConnectionKey { index, generation: 0 }
    }

    /// Steps of 1 ms with a quarter of the core: a few at once, and then one each 4 ms, however long it was quiet before.
    #[test]
    fn handshakes_get_their_share_and_no_more() {
        for quiet_ms in [0, 1_000_000] {
            let mut ration = Ration::new(25);
            let mut now = at(quiet_ms);
            let mut steps_at = Vec::new();
            while steps_at.len() < 20 {
                let pause = ration.wait(now);
                now = now + pause;
                if pause.is_zero() {
                    steps_at.push((now - at(quiet_ms)).as_millis());
                    ration.charge(Duration::from_millis(1));
                    now = now + Duration::from_millis(1);
                }
            }
            let late = steps_at.iter().rev().take(10).rev().copied().collect::<Vec<_>>();
            assert!(late.windows(2).all(|pair| pair[1] - pair[0] == 4), "{steps_at:?}");
            assert!(steps_at[3] <= 5, "some may go at once: {steps_at:?}");
        }
    }

    /// One step may be longer than the share: those behind it wait for as long as it takes to pay.
    #[test]
    fn a_long_step_is_paid_for() {
        let mut ration = Ration::new(50);
        assert_eq!(ration.wait(at(1)), Duration::ZERO);
        ration.charge(Duration::from_millis(12));
        assert_eq!(ration.wait(at(1)), Duration::from_millis(20), "10 ms too much at half of the time");
        assert_eq!(ration.wait(at(11)), Duration::from_millis(10));
        assert_eq!(ration.wait(at(21)), Duration::ZERO);
    }

    /// Places are bounded, and so is the line in front of the first step; who has begun goes first.
    #[test]
    fn the_line_is_bounded_and_finishes_what_has_begun() {
        let mut handshakes = Handshakes::new(2, 25);
        assert!(handshakes.begin() && handshakes.begin() && !handshakes.begin());
        handshakes.end();
        assert_eq!(handshakes.in_progress(), 1);
        assert!(handshakes.begin());

        let max = u32::try_from(BEGINNINGS_WAITING_MAX).unwrap();
        assert!((0..max).all(|index| handshakes.join(key(index), false)));
        assert!(!handshakes.join(key(max), false));
        assert!(handshakes.join(key(max + 1), true), "what has begun is not turned away");
        assert_eq!(handshakes.waiting(), BEGINNINGS_WAITING_MAX + 1);
        assert_eq!(handshakes.next(), Some(key(max + 1)));
        assert!((0..max).all(|index| handshakes.next() == Some(key(index))));
        assert_eq!(handshakes.next(), None);
    }
}
