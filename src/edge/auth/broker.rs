//! The broker between questions and one back end: who is asked, how often, and what holds while nobody answers.
//!
//! Sans-I/O, like a session: `handle_*` takes what happened with the time it happened at, [`Broker::poll_output`] gives what is to be done; drain
//! it after each. A driver makes the calls and gives each one's outcome back, whatever becomes of it.
//!
//! A question goes the first of these ways that is open:
//! 1. An answer that was given to the same question a moment ago ([`super::cache`]).
//! 2. The same question is being asked: one call answers all who wait for it.
//! 3. A call. At most `calls_max` are under way; the others wait in line, `waiting_max` at most.
//! 4. The back end has failed too often ([`super::breaker`]), the line is full, the time is over, or the call fails: an older answer to the same
//!    question, if it is known, and else what the table says ([`Fail`]).
//! # Invariant
//! Every waiter gets exactly one answer, at the latest when the time in line of the question it joined has passed and its call, if there is one, has
//! come back. A call has the whole timeout for itself, however long its question was in line: what the back end is blamed for is its own time, so
//! that a burst on a healthy one cannot open the breaker.
//! # Bounds
//! Waiters: [`BrokerSettings::waiting_max`]. Calls: [`BrokerSettings::calls_max`]. Answers: [`super::cache`].

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::breaker::{Asker, Breaker, BreakerSettings, Permit, State};
use super::cache::{Cache, CacheSettings, Subject};
use crate::edge::http;
use crate::runtime::outside::{Denial, Grant, Verdict};
use crate::session::Instant;

/// What holds when a back end cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// Nobody new gets in.
    Closed,
    /// Everybody gets in.
    Open,
}

impl Fail {
    /// What is answered then.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Open => Verdict::Allow(Grant::default()),
            Self::Closed => Verdict::Deny(Denial {
                label: "back_end_failed",
                description: "the server could not find out whether this is allowed: try again".into(),
            }),
        }
    }
}

/// Why a back end's answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failure {
    /// It was not there, or went away: no connection, no TLS, no whole answer.
    Unreachable,
    /// It took too long.
    Timeout,
    /// Its status is neither a yes nor a no.
    Status,
    /// It said what means nothing.
    Nonsense,
    /// It said too much.
    TooLong,
}

impl std::convert::From<http::Failure> for Failure {
    fn from(failure: http::Failure) -> Self {
        match failure {
            http::Failure::Unreachable => Self::Unreachable,
            http::Failure::TooLong => Self::TooLong,
        }
    }
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Unreachable, Self::Timeout, Self::Status, Self::Nonsense, Self::TooLong];

    /// Metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Nonsense => "nonsense",
            Self::TooLong => "too_long",
        }
    }
}

/// How a back end is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerSettings {
    /// How long a question may be in line, and how long a call may take: an answer comes after twice this at the latest.
    pub timeout: Duration,
    /// Calls under way at a time.
    pub calls_max: usize,
    /// Questions that wait at a time, for a call to begin or to end.
    pub waiting_max: usize,
    /// What holds without an answer.
    pub fail: Fail,
    /// When the back end is left alone.
    pub breaker: BreakerSettings,
    /// How long answers are kept.
    pub cache: CacheSettings,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum From {
    /// A call of its own, or one that it joined.
    Call,
    /// An answer of a moment ago.
    Cache,
    /// An older answer.
    Stale,
    /// What the table says.
    Policy,
}

impl From {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Call, Self::Cache, Self::Stale, Self::Policy];

    /// Metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Cache => "cache",
            Self::Stale => "stale",
            Self::Policy => "policy",
        }
    }
}

/// What a question is taken for when a call has failed: a hash of what is asked for and from where, without what a peer can change each time it
/// asks. Questions with one suspect may have many subjects; those of one subject have one suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect(pub [u8; 32]);

/// What is to be done.
#[derive(Debug)]
pub enum Output<Q, W> {
    /// Ask the back end, and give the outcome to [`Broker::handle_reply`]: at the deadline at the latest, and also if the call is lost.
    Call {
        /// Names the call.
        subject: Subject,
        /// The question of whoever came first.
        question: Q,
        /// When to give up.
        deadline: Instant,
    },
    /// Tell a waiter.
    Answer {
        /// Whom.
        waiter: W,
        /// What.
        verdict: Verdict,
        /// How it came about.
        from: From,
    },
}

/// What a broker has done so far: plain integers that only grow, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answers, by where they came from, in the order of [`From::ALL`].
    pub answers: [u64; From::ALL.len()],
    /// Calls begun.
    pub calls: u64,
    /// Questions that joined another's call.
    pub joined: u64,
    /// Calls that failed, by kind, in the order of [`Failure::ALL`].
    pub failures: [u64; Failure::ALL.len()],
    /// Questions that were not asked since the back end was left alone.
    pub refused: u64,
    /// Questions that were not asked since too many waited.
    pub overflowed: u64,
    /// Questions whose time was over before their call began.
    pub expired: u64,
    /// Times that the breaker opened.
    pub opened: u64,
    /// 0 closed, 1 half open, 2 open.
    pub state: u64,
    /// Calls under way.
    pub calls_now: u64,
    /// Questions that wait.
    pub waiting_now: u64,
    /// Answers kept.
    pub kept_now: u64,
}

#[derive(Debug)]
struct Flight<W> {
    waiters: Vec<W>,
    suspect: Suspect,
    /// When its time in line is over.
    line_deadline: Instant,
    /// `None` while it waits in line.
    permit: Option<Permit>,
}

/// See the module. `Q` is what a call needs of a question, `W` whom to tell.
#[derive(Debug)]
pub struct Broker<Q, W> {
    settings: BrokerSettings,
    cache: Cache,
    breaker: Breaker,
    /// Who asked for the last call that counted with the breaker, if it failed.
    suspect: Option<Suspect>,
    flights: HashMap<Subject, Flight<W>>,
    /// In the order in which they came, which is that of their deadlines.
    line: VecDeque<(Subject, Q)>,
    outputs: VecDeque<Output<Q, W>>,
    counters: Counters,
    calls: usize,
    waiting: usize,
}

impl<Q, W> Broker<Q, W> {
    /// One that knows nothing.
    pub fn new(settings: BrokerSettings) -> Self {
        Self {
            settings,
            cache: Cache::new(settings.cache),
            breaker: Breaker::new(settings.breaker),
            suspect: None,
            flights: HashMap::new(),
            line: VecDeque::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            calls: 0,
            waiting: 0,
        }
    }

    /// Somebody asks. `subject` tells the question from all others, `suspect` says what it is like for the breaker.
    pub fn handle_question(
        &mut self,
        now: Instant,
        subject: Subject,
        suspect: Suspect,
        question: Q,
        waiter: W,
    ) {
        if let Some(verdict) = self.cache.fresh(now, &subject) {
            return self.answer(waiter, verdict, From::Cache);
        }
        if self.waiting >= self.settings.waiting_max {
            self.counters.overflowed += 1;
            return self.do_without(now, &subject, waiter);
        }
        if let Some(flight) = self.flights.get_mut(&subject) {
            flight.waiters.push(waiter);
            self.waiting += 1;
            self.counters.joined += 1;
            return;
        }
        let line_deadline = now + self.settings.timeout;
        let mut flight = Flight { waiters: Vec::new(), suspect, line_deadline, permit: None };
        if self.calls < self.settings.calls_max {
            match self.breaker.permit(now, self.asker(suspect)) {
                Some(permit) => {
                    flight.permit = Some(permit);
                    self.call(now, subject, question);
                }
                None => {
                    self.counters.refused += 1;
                    return self.do_without(now, &subject, waiter);
                }
            }
        } else {
            self.line.push_back((subject, question));
        }
        flight.waiters.push(waiter);
        self.waiting += 1;
        self.flights.insert(subject, flight);
    }

    /// A call has ended.
    pub fn handle_reply(&mut self, now: Instant, subject: Subject, reply: Result<Verdict, Failure>) {
        let Some(flight) = self.flights.remove(&subject) else { return };
        let Some(permit) = flight.permit else {
            // A reply to a call that was not made.
            self.flights.insert(subject, flight);
            return;
        };
        self.calls -= 1;
        match &reply {
            Ok(verdict) => {
                if self.breaker.on_answer(permit) {
                    self.suspect = None;
                }
                self.cache.keep(now, subject, verdict);
            }
            Err(failure) => {
                if self.breaker.on_failure(now, permit) {
                    self.suspect = Some(flight.suspect);
                }
                if let Some(at) = Failure::ALL.iter().position(|kind| kind == failure) {
                    self.counters.failures[at] += 1;
                }
            }
        }
        self.waiting -= flight.waiters.len();
        for waiter in flight.waiters {
            match &reply {
                Ok(verdict) => self.answer(waiter, verdict.clone(), From::Call),
                Err(_) => self.do_without(now, &subject, waiter),
            }
        }
        self.advance_line(now);
    }

    /// When to call [`Broker::handle_timeout`]: the deadline of the first in line.
    pub fn next_timeout(&self) -> Option<Instant> {
        let (subject, _) = self.line.front()?;
        Some(self.flights.get(subject)?.line_deadline)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.next_timeout().is_some_and(|deadline| now >= deadline) {
            let Some((subject, _)) = self.line.pop_front() else { return };
            self.counters.expired += 1;
            self.give_up(now, &subject);
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<Q, W>> {
        self.outputs.pop_front()
    }

    /// What it has done and holds.
    pub fn counters(&self) -> Counters {
        Counters {
            opened: self.breaker.opened(),
            state: self.breaker.state().number(),
            calls_now: self.calls as u64,
            waiting_now: self.waiting as u64,
            kept_now: self.cache.kept() as u64,
            ..self.counters
        }
    }

    /// Where the breaker stands.
    pub fn state(&self) -> State {
        self.breaker.state()
    }

    /// Whether nobody waits and no call is under way.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    fn asker(&self, suspect: Suspect) -> Asker {
        if self.suspect == Some(suspect) { Asker::Suspect } else { Asker::Any }
    }

    fn call(&mut self, now: Instant, subject: Subject, question: Q) {
        let deadline = now + self.settings.timeout;
        self.calls += 1;
        self.counters.calls += 1;
        self.outputs.push_back(Output::Call { subject, question, deadline });
    }

    /// Calls for those in line, or answers them when the back end is left alone.
    fn advance_line(&mut self, now: Instant) {
        self.handle_timeout(now);
        while self.calls < self.settings.calls_max {
            let Some((subject, question)) = self.line.pop_front() else { return };
            let Some(suspect) = self.flights.get(&subject).map(|flight| flight.suspect) else { continue };
            match self.breaker.permit(now, self.asker(suspect)) {
                Some(permit) => {
                    let Some(flight) = self.flights.get_mut(&subject) else { continue };
                    flight.permit = Some(permit);
                    self.call(now, subject, question);
                }
                None => {
                    self.counters.refused += 1;
                    self.give_up(now, &subject);
                }
            }
        }
    }

    fn give_up(&mut self, now: Instant, subject: &Subject) {
        let Some(flight) = self.flights.remove(subject) else { return };
        self.waiting -= flight.waiters.len();
        for waiter in flight.waiters {
            self.do_without(now, subject, waiter);
        }
    }

    /// An older answer, or what the table says.
    fn do_without(&mut self, now: Instant, subject: &Subject, waiter: W) {
        match self.cache.stale(now, subject) {
            Some(verdict) => self.answer(waiter, verdict, From::Stale),
            None => self.answer(waiter, self.settings.fail.verdict(), From::Policy),
        }
    }

    fn answer(&mut self, waiter: W, verdict: Verdict, from: From) {
        if let Some(at) = From::ALL.iter().position(|kind| *kind == from) {
            self.counters.answers[at] += 1;
        }
        self.outputs.push_back(Output::Answer { waiter, verdict, from });
    }
}

#[cfg(test)]
mod tests;
