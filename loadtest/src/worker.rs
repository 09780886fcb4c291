//! A thread of the generator: its connections, and the heap of what is due next.
//!
//! One task a connection reads; all that is sent on time is sent by one loop, which sleeps until the first due time of the heap.
//! What is recorded goes to the run's thread once a second, cut where the measurement begins and ends.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use bytes::BytesMut;
use tokio::task::LocalSet;

use crate::clock::{Alarm, now_us};
use crate::connection::Failure;
use crate::peer::{Slot, Waiting};
use crate::plan::{Part, Plan};
use crate::player::Watch;
use crate::report::Recorder;
use crate::socket;

/// Longest sleep: publishers come to the heap while its loop sleeps, and are not due before that.
const SLEEP_US: u64 = 10_000;
/// How many things are done before sockets get their turn.
const BUDGET: usize = 64;
/// What is due so soon is waited for awake: a sleep takes longer, and at a hundred thousand messages a second costs more than they do.
const SPIN_US: u64 = 20;
/// How long that may keep sockets from their turn.
const TURN_US: u64 = 200;
/// How often recordings are handed over.
const TICK_US: u64 = 1_000_000;
/// How often it is told, after the end, who lacks something.
const LACK_US: u64 = 50_000;

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
pub struct Thread {
    /// What is to happen.
    pub plan: Arc<Plan>,
    /// What did.
    pub recorder: RefCell<Recorder>,
    /// What is read goes through this, whichever connection's it is.
    pub buffer: RefCell<BytesMut>,
    /// What a publisher writes goes through this.
    pub outgoing: RefCell<BytesMut>,
    /// What is due when: a publisher by its place, and which of its connections.
    pub due: RefCell<BinaryHeap<Reverse<(u64, usize, u32)>>>,
    /// By place, those that publish.
    pub publishers: RefCell<Vec<Option<Rc<Slot>>>>,
    /// By place, those that play.
    pub players: RefCell<Vec<Option<Rc<RefCell<Watch>>>>>,
    /// By place, why a write ended a publisher.
    pub failures: RefCell<BTreeMap<usize, Failure>>,
    /// By place, those that the server has not let in yet.
    pub waiting: RefCell<BTreeMap<usize, Waiting>>,
}

/// Runs one thread's parts of the plan to its end. `parts` are ordered by time.
pub fn run(number: usize, plan: Arc<Plan>, parts: Vec<Part>, ticks: &Sender<Tick>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = Rc::new(Thread {
        plan,
        recorder: RefCell::default(),
        buffer: RefCell::default(),
        outgoing: RefCell::default(),
        due: RefCell::default(),
        publishers: RefCell::new(vec![None; parts.len()]),
        players: RefCell::new(vec![None; parts.len()]),
        failures: RefCell::default(),
        waiting: RefCell::default(),
    });
    let tasks = LocalSet::new();
    let result = tasks.block_on(&runtime, thread.clone().serve(number, parts, ticks));
    for slot in thread.publishers.borrow().iter().flatten() {
        if let Some(publisher) = &mut *slot.publisher.borrow_mut() {
            publisher.stop();
        }
    }
    // Players hold a reference to the thread: they go first.
    drop(tasks);
    result
}

impl Thread {
    async fn serve(self: Rc<Self>, number: usize, parts: Vec<Part>, ticks: &Sender<Tick>) -> io::Result<()> {
        let alarm = Alarm::new()?;
        let mut parts = parts.into_iter().enumerate().peekable();
        let hand_over = |end_us| {
            let recorder = self.recorder.borrow_mut().take();
            // The run's thread is gone only when the run is.
            let _ = ticks.send(Tick { thread: number, end_us, recorder });
        };
        // Ticks fall on the begin of the measurement, and on its end.
        let mut tick_us = self.plan.from_us % TICK_US + now_us() / TICK_US * TICK_US;
        let (mut rtt_next, mut lack_us, mut told) = (0, self.plan.until_us, 0);
        while !self.plan.is_over() {
            let mut now = now_us();
            while tick_us <= now {
                hand_over(tick_us);
                tick_us += match self.plan.until_us {
                    until_us if (tick_us + 1..tick_us + TICK_US).contains(&until_us) => until_us - tick_us,
                    _ => TICK_US,
                };
            }
            if self.plan.is_measured(now) {
                self.sample_rtt(&mut rtt_next, now);
            }
            if now >= lack_us {
                self.tell_lacking(&mut told);
                lack_us = now + LACK_US;
            }
            let mut budget = BUDGET;
            while budget > 0 && parts.peek().is_some_and(|(_, part)| part.open_us <= now) {
                if let Some((place, part)) = parts.next() {
                    tokio::task::spawn_local(self.clone().take_part(part, place));
                }
                budget -= 1;
            }
            let turn_until_us = now + TURN_US;
            while budget > 0 {
                if let Some((place, life)) = self.first_due(now) {
                    let again_us = self.visit(place, life, now);
                    self.set_first_due(again_us);
                    budget -= 1;
                } else if self.next_due_us() <= turn_until_us.min(now + SPIN_US) {
                    std::hint::spin_loop();
                } else {
                    break;
                }
                now = now_us();
            }
            let next = self.next_due_us().min(parts.peek().map_or(u64::MAX, |(_, part)| part.open_us));
            let before = now_us();
            let at_us = next.min(tick_us).min(now + SLEEP_US).max(before);
            alarm.wait(at_us).await?;
            if self.plan.is_measured(at_us) {
                self.recorder.borrow_mut().woken_late(now_us() - at_us);
            }
        }
        for slot in self.publishers.borrow().iter().flatten() {
            if let Some(publisher) = &*slot.publisher.borrow() {
                publisher.count_unsent(&self.plan, &mut self.recorder.borrow_mut());
            }
        }
        for watch in self.players.borrow().iter().flatten() {
            watch.borrow().on_end(&self.plan, &mut self.recorder.borrow_mut());
        }
        self.count_waiting();
        hand_over(now_us());
        Ok(())
    }

    /// When the first of the heap is due; never, when it is empty.
    fn next_due_us(&self) -> u64 {
        self.due.borrow().peek().map_or(u64::MAX, |Reverse((due_us, ..))| *due_us)
    }

    /// The first of the heap, if it is due. It stays there.
    fn first_due(&self, now: u64) -> Option<(usize, u32)> {
        let due = self.due.borrow();
        due.peek()
            .filter(|Reverse((due_us, ..))| *due_us <= now)
            .map(|Reverse((_, place, life))| (*place, *life))
    }

    /// Moves the first of the heap to where it is due again, or takes it out.
    fn set_first_due(&self, again_us: Option<u64>) {
        let mut due = self.due.borrow_mut();
        let Some(mut first) = due.peek_mut() else { return };
        match again_us {
            Some(again_us) => first.0.0 = again_us,
            None => {
                PeekMut::pop(first);
            }
        }
    }

    /// Lets a publisher write what is due; when to come again. Nothing comes to the heap meanwhile.
    fn visit(&self, place: usize, life: u32, now: u64) -> Option<u64> {
        let publishers = self.publishers.borrow();
        // It may be gone, and another one in its place.
        let slot = publishers[place].as_ref().filter(|slot| slot.life == life)?;
        let written = {
            let (mut recorder, mut outgoing) = (self.recorder.borrow_mut(), self.outgoing.borrow_mut());
            slot.publisher.borrow_mut().as_mut()?.write(now, &self.plan, &mut recorder, &mut outgoing)
        };
        match written {
            Ok(Some(again_us)) => Some(again_us),
            Ok(None) => {
                self.plan.census.publishing.fetch_sub(1, Ordering::Relaxed);
                None
            }
            Err(failure) => {
                // Its task wakes up from the same error, and tells.
                self.failures.borrow_mut().insert(place, failure);
                drop(self.end_publisher(slot));
                None
            }
        }
    }

    /// Looks at the round-trip times of as many publishers as are due, each once a second.
    fn sample_rtt(&self, next: &mut u64, now: u64) {
        let publishers = self.publishers.borrow();
        let looks = looks_due(*next, now - self.plan.from_us, publishers.len() as u64);
        *next = looks.end;
        for look in looks {
            let place = (look % publishers.len() as u64) as usize;
            let Some(slot) = publishers[place].as_ref().filter(|slot| slot.steady) else { continue };
            let socket = slot.publisher.borrow().as_ref().map(|publisher| publisher.connection().socket());
            if let Some(rtt_us) = socket.and_then(|socket| socket::rtt_us(&socket)) {
                self.recorder.borrow_mut().rtt(rtt_us);
            }
        }
    }

    /// Tells the run's thread how many players lack something, instead of what it told before.
    fn tell_lacking(&self, told: &mut u64) {
        let players = self.players.borrow();
        let lacking =
            players.iter().flatten().filter(|watch| watch.borrow().lacks(&self.plan)).count() as u64;
        self.plan.census.lacking.fetch_add(lacking.wrapping_sub(*told), Ordering::Relaxed);
        *told = lacking;
    }
}

/// Numbers of the looks from `next` on that are due so long after the first, if each of `places` is looked at once a second, in turn.
/// What was missed for more than a second is left out.
fn looks_due(next: u64, elapsed_us: u64, places: u64) -> Range<u64> {
    if places == 0 {
        return next..next;
    }
    let end = elapsed_us * places / TICK_US + 1;
    next.max(end.saturating_sub(places))..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_looked_at_once_a_second_however_few_there_are() {
        for places in [1, 2, 5, 1_000] {
            let (mut next, mut seen) = (0, vec![0; places]);
            for elapsed_us in (0..3 * TICK_US).step_by(9_900) {
                let looks = looks_due(next, elapsed_us, places as u64);
                next = looks.end;
                looks.for_each(|look| seen[look as usize % places] += 1);
            }
            assert!(seen.iter().all(|count| *count == 3), "{places}: {seen:?}");
        }
        assert!(looks_due(0, 5, 0).is_empty());
    }

    #[test]
    fn a_thread_that_stood_still_looks_at_each_place_once() {
        assert_eq!(looks_due(3, 10 * TICK_US, 4), 37..41);
        assert_eq!(looks_due(41, 10 * TICK_US, 4), 41..41);
    }
}
