//! Who publishes and plays, when each is asked about next, and what is to be told of those who do no more. No clock, no calls: time is an argument,
//! and a driver makes the calls ([`super::reporter`]).
//!
//! ```text
//!          begins                       due                       answered, or not
//! nobody ─────────> lives, rests ─────────────> is asked about ────────────────────> lives, rests
//!                        │                           │ "no": its connection is closed
//!                        │ ends                      v
//!                        └──────────────────> its end is told ──> told, or tried again after a pause ──> dropped
//! ```
//! # Invariant
//! A session is asked about once at a time. Its end is told after its beginning is known, once all in all unless a call fails; the calls of one end
//! go one after the other, each whatever came of those before it.
//! # Bounds
//! [`SESSIONS_MAX`], [`UPDATES_MAX`], [`REPORTS_MAX`], [`REPORT_CALLS_MAX`] and [`TRIES_MAX`], of each table. Sessions that are due and find no room
//! wait for it, the longest due first: a slow back end is asked less often, not more at a time.
//!
//! [`crate::edge::notices::outbox`] is not used here: it tells one batch at a time and in one order for all, so that a back end with one call an event
//! would hear of ten thousand ends one after the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::form::Call;
use super::reply::Word;
use crate::runtime::observe::ConnectionId;
use crate::runtime::outside::{Action, Facts};
use crate::session::{Instant, StreamKey};

/// Sessions that are known at a time, some 200 bytes each and what is known of their connection. Further ones are counted, and nothing is told of them.
pub const SESSIONS_MAX: usize = 100_000;

/// Updates under way at a time.
pub const UPDATES_MAX: usize = 32;

/// Ends that wait to be told; beyond it the oldest of a player goes, and where none is left, the oldest of a publisher: players are many, and who
/// plays no more is seldom what a back end has to know.
pub const REPORTS_MAX: usize = 10_000;

/// Ends that are being told at a time.
pub const REPORT_CALLS_MAX: usize = 32;

/// How often the calls of an end are tried.
pub const TRIES_MAX: u32 = 4;

/// Pause after a first failure; each further one is twice as long.
pub const PAUSE: Duration = Duration::from_millis(500);

/// What is told of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LivesSettings {
    /// How long a session rests before it is asked about; `None`: for ever.
    pub update_every: Option<Duration>,
    /// The calls when somebody publishes no more, in their order.
    pub publish_ends: Vec<Call>,
    /// The calls when somebody plays no more.
    pub play_ends: Vec<Call>,
}

/// A publish or play that goes on, or did.
#[derive(Debug)]
pub struct Session {
    /// Which of both.
    pub action: Action,
    /// The stream that it was granted.
    pub stream: StreamKey,
    /// Who, and what was asked for.
    pub facts: Arc<Facts>,
    /// When it began.
    pub began: Instant,
}

/// An end that is to be told.
#[derive(Debug)]
pub struct Report {
    /// Of which session.
    pub session: Arc<Session>,
    /// The calls that are still to be made.
    pub calls: Vec<Call>,
    tries: u32,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Ask whether it goes on, and give the answer to [`Lives::handle_word`].
    Update {
        /// Names it.
        number: u64,
        /// Which call.
        call: Call,
        /// Of which session.
        session: Arc<Session>,
    },
    /// Make these calls, and give what could not be told to [`Lives::handle_report`].
    Tell(Report),
}

/// What was done, and what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions that a back end has ended.
    pub ended: u64,
    /// Sessions that are not known since there were too many.
    pub untold: u64,
    /// Ends that were given up.
    pub dropped: u64,
    /// Sessions.
    pub sessions_now: u64,
    /// Ends that wait or are being told.
    pub waiting_now: u64,
}

#[derive(Debug)]
struct Life {
    session: Arc<Session>,
    rest: Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Until it is asked about.
    Until(Instant),
    /// It is being asked about.
    Asked,
    /// Nobody asks about it (any more).
    ForEver,
}

type Reports = BTreeMap<(Instant, u64), Report>;

/// The sessions of one table.
#[derive(Debug)]
pub struct Lives {
    settings: LivesSettings,
    lives: HashMap<u64, Life>,
    /// The numbers of each connection's.
    of_connection: HashMap<ConnectionId, Vec<u64>>,
    due: BTreeSet<(Instant, u64)>,
    updates: usize,
    /// Ends of publishers, by when they may be told, and in the order in which they came.
    publish_reports: Reports,
    /// Those of players, likewise.
    play_reports: Reports,
    report_calls: usize,
    next_number: u64,
    is_last: bool,
    counters: Counters,
}

impl Lives {
    /// Of nobody yet.
    pub fn new(settings: LivesSettings) -> Self {
        Self {
            settings,
            lives: HashMap::new(),
            of_connection: HashMap::new(),
            due: BTreeSet::new(),
            updates: 0,
            publish_reports: Reports::new(),
            play_reports: Reports::new(),
            report_calls: 0,
            next_number: 0,
            is_last: false,
            counters: Counters::default(),
        }
    }

    /// A session has begun.
    pub fn handle_began(&mut self, now: Instant, action: Action, stream: StreamKey, facts: Arc<Facts>) {
        if self.settings.update_every.is_none() && self.ends(action).is_empty() {
            return;
        }
        if self.lives.len() >= SESSIONS_MAX {
            self.counters.untold += 1;
            return;
        }
        let number = self.number();
        self.of_connection.entry(facts.connection).or_default().push(number);
        let session = Arc::new(Session { action, stream, facts, began: now });
        self.lives.insert(number, Life { session, rest: Rest::ForEver });
        self.rest(now, number);
    }

    /// A session has ended, if it was one of these: the first that is known, where a connection plays a stream several times.
    pub fn handle_ended(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        action: Action,
        stream: &StreamKey,
    ) {
        let Some(numbers) = self.of_connection.get_mut(&connection) else { return };
        let is_it = |number: &u64| {
            let life = self.lives.get(number);
            life.is_some_and(|life| life.session.action == action && life.session.stream == *stream)
        };
        let Some(at) = numbers.iter().position(is_it) else { return };
        let number = numbers.remove(at);
        if numbers.is_empty() {
            self.of_connection.remove(&connection);
        }
        let Some(life) = self.lives.remove(&number) else { return };
        if let Rest::Until(at) = life.rest {
            self.due.remove(&(at, number));
        }
        let calls = self.ends(action).to_vec();
        if !calls.is_empty() {
            self.push_report(now, Report { session: life.session, calls, tries: 0 });
        }
    }

    /// What was said of a session; gives the connection that is to be closed, if one is.
    pub fn handle_word(&mut self, now: Instant, number: u64, word: Word) -> Option<ConnectionId> {
        self.updates = self.updates.saturating_sub(1);
        // It may have ended meanwhile.
        let life = self.lives.get(&number)?;
        match word {
            Word::GoesOn | Word::Silence => {
                self.rest(now, number);
                None
            }
            Word::Ends => {
                let connection = life.session.facts.connection;
                self.set_rest(number, Rest::ForEver);
                self.counters.ended += 1;
                Some(connection)
            }
        }
    }

    /// Whether a session has not ended yet.
    pub fn knows(&self, number: u64) -> bool {
        self.lives.contains_key(&number)
    }

    /// An end was told but for these calls; one that is told whole has none left.
    pub fn handle_report(&mut self, now: Instant, mut report: Report) {
        self.report_calls = self.report_calls.saturating_sub(1);
        if report.calls.is_empty() {
            return;
        }
        report.tries += 1;
        if report.tries >= TRIES_MAX || self.is_last {
            self.counters.dropped += 1;
            return;
        }
        let pause = PAUSE * (1 << (report.tries - 1));
        self.push_report(now + pause, report);
    }

    /// A report was lost with whoever told it.
    pub fn handle_lost_report(&mut self) {
        self.report_calls = self.report_calls.saturating_sub(1);
        self.counters.dropped += 1;
    }

    /// Nobody is to be asked about any more; ends are still told.
    pub fn handle_no_updates(&mut self) {
        self.settings.update_every = None;
        self.due.clear();
    }

    /// Everything ends: what waits is tried once more, at once, and nobody is asked about any more.
    pub fn handle_last(&mut self, now: Instant) {
        self.is_last = true;
        self.due.clear();
        for reports in [&mut self.publish_reports, &mut self.play_reports] {
            let waiting = std::mem::take(reports);
            reports.extend(waiting.into_iter().map(|((at, number), report)| ((at.min(now), number), report)));
        }
    }

    /// The next thing to do, if its time has come and there is room for it.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        if self.report_calls < REPORT_CALLS_MAX
            && let Some(key) = self.first_report()
            && key.0 <= now
            && let Some(report) = self.publish_reports.remove(&key).or_else(|| self.play_reports.remove(&key))
        {
            self.report_calls += 1;
            return Some(Output::Tell(report));
        }
        if self.updates < UPDATES_MAX
            && let Some((at, number)) = self.due.first().copied()
            && at <= now
        {
            self.due.remove(&(at, number));
            let life = self.lives.get_mut(&number)?;
            life.rest = Rest::Asked;
            self.updates += 1;
            let call = match life.session.action {
                Action::Publish => Call::UpdatePublish,
                Action::Play => Call::UpdatePlay,
            };
            return Some(Output::Update { number, call, session: Arc::clone(&life.session) });
        }
        None
    }

    /// When [`Lives::poll_output`] has something, if nothing else happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        let report = self.first_report().filter(|_| self.report_calls < REPORT_CALLS_MAX);
        let update = self.due.first().filter(|_| self.updates < UPDATES_MAX);
        report.map(|(at, _)| at).into_iter().chain(update.map(|(at, _)| *at)).min()
    }

    /// Whether nothing is to be told and nobody lives.
    pub fn is_idle(&self) -> bool {
        self.lives.is_empty() && self.updates == 0 && self.has_told_all()
    }

    /// Whether no end waits to be told, or is being told.
    pub fn has_told_all(&self) -> bool {
        self.reports_waiting() == 0 && self.report_calls == 0
    }

    /// What was done, and what there is.
    pub fn counters(&self) -> Counters {
        Counters {
            sessions_now: self.lives.len() as u64,
            waiting_now: (self.reports_waiting() + self.report_calls) as u64,
            ..self.counters
        }
    }

    fn ends(&self, action: Action) -> &[Call] {
        match action {
            Action::Publish => &self.settings.publish_ends,
            Action::Play => &self.settings.play_ends,
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn rest(&mut self, now: Instant, number: u64) {
        let rest = match self.settings.update_every {
            Some(every) if !self.is_last => Rest::Until(now + every),
            _ => Rest::ForEver,
        };
        self.set_rest(number, rest);
    }

    fn set_rest(&mut self, number: u64, rest: Rest) {
        let Some(life) = self.lives.get_mut(&number) else { return };
        life.rest = rest;
        if let Rest::Until(at) = rest {
            self.due.insert((at, number));
        }
    }

    fn push_report(&mut self, not_before: Instant, report: Report) {
        let number = self.number();
        let reports = match report.session.action {
            Action::Publish => &mut self.publish_reports,
            Action::Play => &mut self.play_reports,
        };
        reports.insert((not_before, number), report);
        if self.reports_waiting() > REPORTS_MAX {
            // The new one itself, where it is the only end of a player.
            let _ = self.play_reports.pop_first().or_else(|| self.publish_reports.pop_first());
            self.counters.dropped += 1;
        }
    }

    fn reports_waiting(&self) -> usize {
        self.publish_reports.len() + self.play_reports.len()
    }

    /// The end that is to be told first: numbers are those of no two.
    fn first_report(&self) -> Option<(Instant, u64)> {
        let first = |reports: &Reports| reports.first_key_value().map(|(key, _)| *key);
        first(&self.publish_reports).into_iter().chain(first(&self.play_reports)).min()
    }
}

#[cfg(test)]
mod tests;
