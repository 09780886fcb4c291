//! The life of one peer: its connections one after the other, as its persona wants them.
//!
//! # Errors
//! What fails for a steady peer is the run's; what fails for a persona is counted there ([`PersonaCounts`](crate::report::PersonaCounts)).

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use inrush::session::{ClientEvent, Role};

use crate::clock::now_us;
use crate::connection::{Connection, Failure};
use crate::hostile::attack;
use crate::hostile::kind::Kind;
use crate::hostile::line::Line;
use crate::link::{Link, sleep_until_us};
use crate::persona::Persona;
use crate::plan::Part;
use crate::player::Watch;
use crate::publisher::Publisher;
use crate::report::Stage;
use crate::schedule::Schedule;
use crate::worker::Thread;

/// From the accepted publish to the first message at least.
const LEAD_US: u64 = 20_000;
/// Publishers that are accepted together start within so long, so that their key frames do not come together.
const SPREAD_US_MAX: u64 = 2_000_000;
/// After a refusal or a failure, until a persona that comes back tries again. A server may not have seen its last connection end.
const RETRY: Duration = Duration::from_millis(20);
/// The same, after it failed again.
const RETRY_AGAIN: Duration = Duration::from_millis(500);
/// Failures in a row after which it stays away. Refusals are none: a server that says no is there.
const FAILURES_MAX: u32 = 10;

/// How long one that comes and goes may wait at the end.
const WAIT_US_MAX: u64 = 1_000_000;

/// A publisher's connection, or what is left of it.
pub struct Slot {
    /// Goes when the connection does.
    pub publisher: RefCell<Option<Publisher>>,
    /// Tells it from those that had its place before.
    pub life: u32,
    /// Whether its persona is steady.
    pub steady: bool,
}

/// A connection that the server has not let in yet.
pub struct Waiting {
    /// Since when it waits.
    since_us: u64,
    /// Number of the persona.
    persona: usize,
    /// For what.
    stage: Rc<Cell<Stage>>,
}

/// How a connection ended.
enum End {
    /// Its persona left.
    Left,
    /// The server said no.
    Refused,
    /// Otherwise.
    Failed,
}

impl Thread {
    /// Lives the part. `place` is its number among the thread's.
    pub async fn take_part(self: Rc<Self>, part: Part, place: usize) {
        match self.plan.persona(&part) {
            Persona::Hostile(kind) => self.be_hostile(*kind, &part).await,
            Persona::WrongKey { .. } => {
                self.connect_once(&part, place, &Cell::new(0)).await;
            }
            _ => {
                self.live(&part, place).await;
                if part.role == Role::Publish {
                    self.plan.census.publishers_ended.fetch_add(1, Ordering::Relaxed);
                }
                self.plan.census.ended.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn be_hostile(&self, kind: Kind, part: &Part) {
        let target = self.plan.target(part);
        let count = |ended: bool| {
            let mut recorder = self.recorder.borrow_mut();
            recorder.counts.hostile_ended += u64::from(ended);
            let counts = &mut recorder.persona(part.casting.persona).counts;
            *(if ended { &mut counts.ended } else { &mut counts.opened }) += 1;
        };
        if let Ok(mut line) = Line::open(target.address, target.source, Link::Free).await {
            count(false);
            // However the server ends it, it does.
            attack::play(kind, &mut line, target.settings).await;
            count(true);
        }
    }

    async fn live(&self, part: &Part, place: usize) {
        let persona = self.plan.persona(part);
        let life = Cell::new(0);
        let mut failures = 0;
        loop {
            let pause = match self.connect_once(part, place, &life).await {
                End::Left => {
                    failures = 0;
                    match persona {
                        Persona::Churning { away_us, .. } => Duration::from_micros(*away_us),
                        _ => Duration::ZERO,
                    }
                }
                _ if !persona.comes_back() => return,
                End::Refused => RETRY,
                End::Failed if failures >= FAILURES_MAX => return,
                End::Failed => {
                    failures += 1;
                    if failures == 1 { RETRY } else { RETRY_AGAIN }
                }
            };
            if now_us() >= self.plan.until_us {
                // What was to be measured is; whoever comes now would find the others leaving.
                return std::future::pending().await;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            life.set(life.get() + 1);
        }
    }

    async fn connect_once(&self, part: &Part, place: usize, life: &Cell<u32>) -> End {
        let target = self.plan.target(part);
        let (stage, persona) = (Rc::new(Cell::new(Stage::TcpConnect)), part.casting.persona);
        let waiting = Waiting { since_us: now_us(), persona, stage: stage.clone() };
        self.waiting.borrow_mut().insert(place, waiting);
        let opened = Connection::open(target, life.get() > 0, &stage, &self.recorder, &self.buffer).await;
        self.waiting.borrow_mut().remove(&place);
        let connection = match opened {
            Ok(connection) => connection,
            Err(failure) => return self.record(&failure, persona),
        };
        self.count_accepted(&connection, part);
        self.plan.census.open.fetch_add(1, Ordering::Relaxed);
        let leaves_us =
            self.plan.persona(part).leaves_us(connection.ready_us(), self.plan.from_us, part.casting.phase);
        let leaves_us = leaves_us.filter(|leaves_us| *leaves_us < self.plan.until_us);
        let result = match part.role {
            Role::Publish => self.publish(connection, part, place, life.get(), leaves_us).await,
            Role::Play => self.play(connection, part, place, leaves_us).await,
        };
        self.plan.census.open.fetch_sub(1, Ordering::Relaxed);
        match result {
            Ok(()) => End::Left,
            Err(failure) => self.record(&failure, part.charged),
        }
    }

    /// Counts those as failed that wait when the run is over: steady peers, and whoever has waited for long. One that comes and goes
    /// may have come a moment ago, and so may anybody in a run that was ended early.
    pub fn count_waiting(&self) {
        let now = now_us();
        for waiting in self.waiting.borrow().values() {
            let is_owed = waiting.persona == 0 && now >= self.plan.until_us;
            if is_owed || now > waiting.since_us + WAIT_US_MAX {
                let kind = "no answer before the end".to_owned();
                self.record(&Failure { stage: waiting.stage.get(), kind, refused: false }, waiting.persona);
            }
        }
    }

    fn count_accepted(&self, connection: &Connection, part: &Part) {
        let waited_us = connection.ready_us() - connection.asked_us();
        let mut recorder = self.recorder.borrow_mut();
        recorder.sessions += u64::from(self.plan.is_measured(connection.ready_us()));
        recorder.persona(part.casting.persona).counts.accepted += 1;
        // What a narrow link adds is not the server's.
        let free = connection.link() == Link::Free;
        match part.role {
            Role::Publish => {
                recorder.counts.publishes_accepted += 1;
                recorder.steady_publishes += u64::from(part.casting.persona == 0);
                if free {
                    recorder.publish_accepted(waited_us);
                }
            }
            Role::Play => {
                recorder.counts.plays_accepted += 1;
                if free {
                    recorder.play_accepted(waited_us);
                }
            }
        }
    }

    /// Counts a failure for a persona, and if it is steady, for the run.
    fn record(&self, failure: &Failure, persona: usize) -> End {
        let mut recorder = self.recorder.borrow_mut();
        let early = failure.stage != Stage::Media;
        if persona == 0 {
            recorder.error(failure.stage, &failure.kind);
            let counts = &mut recorder.counts;
            match (failure.stage, failure.refused) {
                (Stage::Media, _) => counts.connections_lost += 1,
                (Stage::Publish, true) => counts.publishes_refused += 1,
                (Stage::Play, true) => counts.plays_refused += 1,
                _ => {}
            }
            counts.connections_failed += u64::from(early);
        }
        let of_persona = recorder.persona(persona);
        of_persona.error(failure.stage, &failure.kind);
        of_persona.counts.refused += u64::from(early && failure.refused);
        of_persona.counts.failed += u64::from(early);
        of_persona.counts.lost += u64::from(!early);
        if failure.refused { End::Refused } else { End::Failed }
    }

    /// Says goodbye if its persona does, or cuts the connection.
    async fn part_with(&self, connection: Option<Connection>, part: &Part) -> Result<(), Failure> {
        match connection {
            Some(connection) if self.plan.persona(part).says_goodbye() => connection.leave().await,
            _ => Ok(()),
        }
    }

    async fn publish(
        &self,
        connection: Connection,
        part: &Part,
        place: usize,
        life: u32,
        leaves_us: Option<u64>,
    ) -> Result<(), Failure> {
        if leaves_us.is_some_and(|leaves_us| leaves_us <= now_us()) {
            return self.part_with(Some(connection), part).await;
        }
        let spread_us = match leaves_us {
            None => SPREAD_US_MAX.min(u64::from(self.plan.table(part.stream).media().period_ms) * 1_000),
            Some(_) => 0, // it might leave before it began
        };
        // Multiples of the golden ratio, as fractions of 2^32: evenly spread however many there are.
        let share = u64::from(part.number.wrapping_mul(0x9e37_79b9));
        let start_us = connection.ready_us() + LEAD_US + ((share * spread_us) >> 32);
        let schedule = Schedule::new(self.plan.table(part.stream).clone(), start_us);
        let socket = connection.socket();
        let publisher = Publisher::new(connection, schedule, part, &self.plan)?;
        self.plan.census.publishers.fetch_add(1, Ordering::Relaxed);
        self.plan.census.publishing.fetch_add(1, Ordering::Relaxed);
        let first_us = publisher.first_due_us();
        let steady = part.casting.persona == 0;
        let slot = Rc::new(Slot { publisher: RefCell::new(Some(publisher)), life, steady });
        self.publishers.borrow_mut()[place] = Some(slot.clone());
        self.due.borrow_mut().push(Reverse((first_us, place, life)));
        let reading = async {
            loop {
                // An error shows at the read.
                let _ = socket.readable().await;
                let mut there = slot.publisher.borrow_mut();
                // A write that failed has ended it.
                let Some(publisher) = &mut *there else { return Ok(()) };
                publisher.read(&mut self.buffer.borrow_mut(), &mut self.recorder.borrow_mut())?;
            }
        };
        let result = until(leaves_us, reading).await;
        self.plan.census.publishers.fetch_sub(1, Ordering::Relaxed);
        let publisher = self.end_publisher(&slot);
        self.publishers.borrow_mut()[place] = None;
        let failure = self.failures.borrow_mut().remove(&place);
        match (result, failure) {
            (_, Some(failure)) | (Some(Err(failure)), None) => Err(failure),
            (_, None) => self.part_with(publisher.and_then(Publisher::into_connection), part).await,
        }
    }

    /// Takes the publisher out of its slot; `None` if that was done before.
    pub fn end_publisher(&self, slot: &Slot) -> Option<Publisher> {
        let publisher = slot.publisher.borrow_mut().take()?;
        if !publisher.is_done() {
            self.plan.census.publishing.fetch_sub(1, Ordering::Relaxed);
        }
        publisher.count_unsent(&self.plan, &mut self.recorder.borrow_mut());
        Some(publisher)
    }

    async fn play(
        &self,
        mut connection: Connection,
        part: &Part,
        place: usize,
        leaves_us: Option<u64>,
    ) -> Result<(), Failure> {
        if leaves_us.is_some_and(|leaves_us| leaves_us <= now_us()) {
            return self.part_with(Some(connection), part).await;
        }
        let ready_us = connection.ready_us();
        let watch = Watch::new(part, connection.asked_us(), ready_us, &self.plan);
        let watch = Rc::new(RefCell::new(watch));
        self.players.borrow_mut()[place] = Some(watch.clone());
        let socket = connection.socket();
        let persona = self.plan.persona(part);
        let reading = async {
            loop {
                let now = now_us();
                while let Some(event) = connection.next_event()? {
                    if let ClientEvent::Media(message) = event {
                        let mut recorder = self.recorder.borrow_mut();
                        watch.borrow_mut().on_message(&message, now, &self.plan, &mut recorder);
                    }
                }
                connection.flush()?;
                if let Some(at_us) = persona.stalls_until_us(now, ready_us, part.casting.phase) {
                    sleep_until_us(at_us).await;
                }
                if let Err(at_us) = connection.link().may_read(now) {
                    sleep_until_us(at_us).await;
                }
                let _ = socket.readable().await;
                let read = connection.read(&mut self.buffer.borrow_mut())?;
                self.recorder.borrow_mut().bytes_out += read as u64;
            }
        };
        let result: Option<Result<(), Failure>> = until(leaves_us, reading).await;
        self.players.borrow_mut()[place] = None;
        match result {
            Some(result) => {
                watch.borrow().on_end(&self.plan, &mut self.recorder.borrow_mut());
                result
            }
            None => self.part_with(Some(connection), part).await,
        }
    }
}

/// What comes of it before `at_us`; `None` if that comes first.
async fn until<T>(at_us: Option<u64>, what: impl Future<Output = T>) -> Option<T> {
    match at_us {
        None => Some(what.await),
        Some(at_us) => {
            let left = Duration::from_micros(at_us.saturating_sub(now_us()));
            tokio::time::timeout(left, what).await.ok()
        }
    }
}
