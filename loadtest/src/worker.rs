//! A thread of the generator: its connections, and the heap of what is due next.
//!
//! One task a connection reads; all that is sent on time is sent by one loop, which sleeps until the first due time of the heap.
//! What is recorded goes to the run's thread once a second, cut where the measurement begins and ends.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use bytes::BytesMut;
use inrush::session::{ClientEvent, Role};
use tokio::task::LocalSet;

use crate::clock::{Alarm, now_us};
use crate::connection::{self, Connection, Failure};
use crate::plan::{Part, Plan};
use crate::player::Watch;
use crate::publisher::Publisher;
use crate::report::{Recorder, Stage};
use crate::schedule::Schedule;

/// Longest sleep: publishers come to the heap while its loop sleeps, and are not due before that.
const SLEEP_US: u64 = 10_000;
/// How many things are done before sockets get their turn.
const BUDGET: usize = 64;
/// From the accepted publish to the first message at least.
const LEAD_US: u64 = 20_000;
/// Publishers that are accepted together start within so long, so that their key frames do not come together.
const SPREAD_US_MAX: u64 = 2_000_000;
/// How often recordings are handed over.
const TICK_US: u64 = 1_000_000;

/// What was recorded up to a moment, since the one before.
pub struct Tick {
    /// Which thread's.
    pub thread: usize,
    /// The moment.
    pub end_us: u64,
    /// The recordings.
    pub recorder: Recorder,
}

/// One thread's state, shared by its tasks.
struct Thread {
    plan: Arc<Plan>,
    recorder: RefCell<Recorder>,
    /// What is read goes through this, whichever connection's it is.
    buffer: RefCell<BytesMut>,
    /// What is due when: the number of a publisher.
    due: RefCell<BinaryHeap<Reverse<(u64, usize)>>>,
    publishers: RefCell<Vec<Rc<Slot>>>,
    players: RefCell<Vec<Rc<RefCell<Watch>>>>,
}

/// A publisher, or what is left of it.
struct Slot {
    publisher: RefCell<Publisher>,
    ended: Cell<bool>,
}

/// Runs one thread's parts of the plan to its end. `parts` are ordered by time.
pub fn run(number: usize, plan: Arc<Plan>, parts: Vec<Part>, ticks: &Sender<Tick>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = Rc::new(Thread {
        plan,
        recorder: RefCell::default(),
        buffer: RefCell::default(),
        due: RefCell::default(),
        publishers: RefCell::default(),
        players: RefCell::default(),
    });
    let tasks = LocalSet::new();
    let result = tasks.block_on(&runtime, thread.clone().serve(number, parts, ticks));
    for slot in thread.publishers.borrow().iter() {
        if !slot.ended.get() {
            slot.publisher.borrow_mut().stop();
        }
    }
    // Players hold a reference to the thread: they go first.
    drop(tasks);
    result
}

impl Thread {
    async fn serve(self: Rc<Self>, number: usize, parts: Vec<Part>, ticks: &Sender<Tick>) -> io::Result<()> {
        let alarm = Alarm::new()?;
        let mut parts = parts.into_iter().peekable();
        let hand_over = |end_us| {
            let recorder = self.recorder.borrow_mut().take();
            // The run's thread is gone only when the run is.
            let _ = ticks.send(Tick { thread: number, end_us, recorder });
        };
        // Ticks fall on the begin of the measurement, and on its end.
        let mut tick_us = self.plan.from_us % TICK_US + now_us() / TICK_US * TICK_US;
        while !self.plan.is_over() {
            let mut now = now_us();
            while tick_us <= now {
                hand_over(tick_us);
                tick_us += match self.plan.until_us {
                    until_us if (tick_us + 1..tick_us + TICK_US).contains(&until_us) => until_us - tick_us,
                    _ => TICK_US,
                };
            }
            let mut budget = BUDGET;
            while budget > 0 && parts.peek().is_some_and(|part| part.open_us <= now) {
                if let Some(part) = parts.next() {
                    tokio::task::spawn_local(self.clone().take_part(part));
                }
                budget -= 1;
            }
            while budget > 0
                && let Some(slot) = self.next_due(now)
            {
                self.visit(slot);
                budget -= 1;
                now = now_us();
            }
            let next = self.due.borrow().peek().map_or(u64::MAX, |Reverse((due_us, _))| *due_us);
            let next = next.min(parts.peek().map_or(u64::MAX, |part| part.open_us));
            alarm.wait(next.min(tick_us).min(now + SLEEP_US)).await?;
        }
        for slot in self.publishers.borrow().iter().filter(|slot| !slot.ended.get()) {
            slot.publisher.borrow().count_unsent(&self.plan, &mut self.recorder.borrow_mut());
        }
        for watch in self.players.borrow().iter() {
            watch.borrow().on_end(&self.plan, &mut self.recorder.borrow_mut());
        }
        hand_over(now_us());
        Ok(())
    }

    /// Takes the first from the heap that is due.
    fn next_due(&self, now: u64) -> Option<usize> {
        let mut due = self.due.borrow_mut();
        match due.peek() {
            Some(Reverse((due_us, _))) if *due_us <= now => due.pop().map(|Reverse((_, slot))| slot),
            _ => None,
        }
    }

    fn visit(&self, number: usize) {
        let slot = self.publishers.borrow()[number].clone();
        if slot.ended.get() {
            return;
        }
        let written = slot.publisher.borrow_mut().write(&self.plan, &mut self.recorder.borrow_mut());
        match written {
            Ok(Some(at_us)) => self.due.borrow_mut().push(Reverse((at_us, number))),
            Ok(None) => {
                self.plan.publishing.fetch_sub(1, Ordering::Relaxed);
            }
            Err(failure) => self.end_publisher(&slot, &failure),
        }
    }

    fn end_publisher(&self, slot: &Slot, failure: &Failure) {
        if !slot.ended.replace(true) {
            self.plan.publishing.fetch_sub(1, Ordering::Relaxed);
            slot.publisher.borrow().count_unsent(&self.plan, &mut self.recorder.borrow_mut());
            self.record(failure);
        }
    }

    fn record(&self, failure: &Failure) {
        let mut recorder = self.recorder.borrow_mut();
        recorder.error(failure.stage, &failure.kind);
        let counts = &mut recorder.counts;
        match (failure.stage, failure.refused) {
            (Stage::Media, _) => counts.connections_lost += 1,
            (Stage::Publish, true) => counts.publishes_refused += 1,
            (Stage::Play, true) => counts.plays_refused += 1,
            _ => {}
        }
        if failure.stage != Stage::Media {
            counts.connections_failed += 1;
        }
    }

    async fn take_part(self: Rc<Self>, part: Part) {
        let target = self.plan.target(&part);
        if let Some(persona) = part.persona {
            if let Ok(socket) = connection::connect(target.address, target.source).await {
                // An error is one way in which a server ends it.
                let _ = persona.play(&socket).await;
                self.recorder.borrow_mut().counts.hostile_ended += 1;
            }
            return;
        }
        let opened = Connection::open(target, &self.recorder, &self.buffer).await;
        match opened {
            Err(failure) => self.record(&failure),
            Ok(connection) => {
                self.plan.open.fetch_add(1, Ordering::Relaxed);
                match part.role {
                    Role::Publish => self.publish(connection, &part).await,
                    Role::Play => {
                        if let Err(failure) = self.play(connection, &part).await {
                            self.record(&failure);
                        }
                    }
                }
                self.plan.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.plan.ended.fetch_add(1, Ordering::Relaxed);
    }

    async fn publish(&self, connection: Connection, part: &Part) {
        let waited_us = connection.ready_us() - connection.asked_us();
        {
            let mut recorder = self.recorder.borrow_mut();
            recorder.publish_accepted(waited_us);
            recorder.counts.publishes_accepted += 1;
        }
        let spread_us = SPREAD_US_MAX.min(u64::from(self.plan.table.media().period_ms) * 1_000);
        // Multiples of the golden ratio, as fractions of 2^32: evenly spread however many there are.
        let share = u64::from(part.number.wrapping_mul(0x9e37_79b9));
        let start_us = connection.ready_us() + LEAD_US + ((share * spread_us) >> 32);
        let schedule = Schedule::new(self.plan.table.clone(), start_us);
        let socket = connection.socket();
        let publisher = match Publisher::new(connection, schedule, part.stream, &self.plan) {
            Ok(publisher) => publisher,
            Err(failure) => return self.record(&failure),
        };
        self.plan.publishing.fetch_add(1, Ordering::Relaxed);
        let first_us = publisher.first_due_us();
        let slot = Rc::new(Slot { publisher: RefCell::new(publisher), ended: Cell::new(false) });
        let number = self.publishers.borrow().len();
        self.publishers.borrow_mut().push(slot.clone());
        self.due.borrow_mut().push(Reverse((first_us, number)));
        while !slot.ended.get() {
            // An error shows at the read.
            let _ = socket.readable().await;
            let read = slot
                .publisher
                .borrow_mut()
                .read(&mut self.buffer.borrow_mut(), &mut self.recorder.borrow_mut());
            if let Err(failure) = read {
                self.end_publisher(&slot, &failure);
            }
        }
    }

    async fn play(&self, mut connection: Connection, part: &Part) -> Result<(), Failure> {
        {
            let mut recorder = self.recorder.borrow_mut();
            recorder.play_accepted(connection.ready_us() - connection.asked_us());
            recorder.counts.plays_accepted += 1;
        }
        let watch =
            Rc::new(RefCell::new(Watch::new(part.stream, connection.asked_us(), connection.ready_us())));
        self.players.borrow_mut().push(watch.clone());
        let socket = connection.socket();
        loop {
            let now = now_us();
            while let Some(event) = connection.next_event()? {
                if let ClientEvent::Media(message) = event {
                    watch.borrow_mut().on_message(&message, now, &self.plan, &mut self.recorder.borrow_mut());
                }
            }
            connection.flush()?;
            let _ = socket.readable().await;
            let read = connection.read(&mut self.buffer.borrow_mut())?;
            self.recorder.borrow_mut().bytes_out += read as u64;
        }
    }
}
