//! Who may publish and play.
//!
//! ```text
//! question ──> table (app, host) ──> networks ──> sources, in order ──> at the end: no
//!                                                  static   [`static_keys`]  at once, on the core that asks
//!                                                  signed   [`signed`]       at once
//!                                                  jwt      [`jwt`]          the worker, with a key set ([`key_set`])
//!                                                  callback [`callback`]     the worker, through a broker ([`broker`])
//!                                                  nginx    [`nginx`]        likewise; it is told of sessions, too
//!                                                  open                      at once: yes
//! ```
//! What each source takes for a credential of its kind, and so for its own to decide, stands in its module; [`rules`] says which table a question is
//! for. [`worker`] drives what takes time, on the edge's thread.
//! # Invariant
//! Every question gets one answer. What nobody can be asked about is answered as its table says ([`broker::Fail`]).
//! # Bounds
//! Those of [`worker`], [`broker`], [`cache`] and [`crate::edge::http`]. Nothing here is held for a stream that is live but for sessions
//! that a back end of the source `nginx` is told of ([`nginx::lives`]).
//! # Secrets
//! Keys, tokens and parameters show in no log and no metric. Secrets stand in files and variables that the configuration names ([`super::secret`]).

pub mod access;
pub mod breaker;
pub mod broker;
pub mod cache;
pub mod callback;
pub mod counters;
pub mod jwt;
pub mod key_set;
pub mod nginx;
pub mod rules;
pub mod ruling;
pub mod said_limits;
pub mod settings;
pub mod signed;
pub mod static_keys;
mod subject;
pub mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use tokio::sync::mpsc;

use self::nginx::Dialect;
use self::nginx::reporter::{Item, Reporter};
use self::nginx::tally::Tally;
use self::rules::{Rules, Said};
pub use self::settings::{AuthSettings, AuthTable, Place, Problem, Source};
use self::worker::{Job, QUESTIONS_MAX};
use crate::control::metrics::Family;
use crate::runtime::Handle;
use crate::runtime::outside::{Action, Admission, Facts, News, Notify, Question, Verdict};

/// Who may, as the engine asks it.
pub struct Auth {
    current: RwLock<Arc<Current>>,
    runtime: tokio::runtime::Handle,
    engine: Arc<OnceLock<Handle>>,
    sessions: mpsc::UnboundedSender<Item>,
    /// Whether anybody has been told of sessions, ever: the ends of those that an earlier configuration told of are told too.
    has_dialect: AtomicBool,
    /// What the back ends of the dialect did, by table: of tables in force, and of former ones whose sessions go on.
    tallies: Mutex<BTreeMap<String, Arc<Tally>>>,
}

/// One reading of the configuration. Its worker ends with the last who holds it.
struct Current {
    rules: Arc<Rules>,
    jobs: mpsc::Sender<Job>,
}

impl Auth {
    /// Starts the worker of these rules on `runtime`, and the one that tells of sessions. Answers go to `engine`, once it is there.
    pub(super) fn start(
        rules: Rules,
        runtime: tokio::runtime::Handle,
        engine: Arc<OnceLock<Handle>>,
    ) -> (Self, Reporter) {
        let has_dialect = AtomicBool::new(rules.has_dialect());
        let tallies = dialects(&rules).map(|dialect| (dialect.label.clone(), Arc::clone(&dialect.tally)));
        let tallies = Mutex::new(tallies.collect());
        let current = RwLock::new(Arc::new(Current::start(rules, &runtime, &engine)));
        let (sessions, receiver) = mpsc::unbounded_channel();
        let reporter = Reporter::start(receiver, &runtime, Arc::clone(&engine));
        (Self { current, runtime, engine, sessions, has_dialect, tallies }, reporter)
    }

    /// Puts other rules in force: for questions from now on. Their counters and their knowledge of back ends begin anew, but what back ends of
    /// nginx-rtmp's dialect are told of and have done goes on ([`nginx::reporter`]).
    pub fn replace(&self, mut rules: Rules) {
        self.has_dialect.fetch_or(rules.has_dialect(), Ordering::Relaxed);
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        for dialect in rules.tables.iter_mut().filter_map(|table| Arc::get_mut(table.dialect.as_mut()?)) {
            let tally = tallies.entry(dialect.label.clone()).or_insert_with(|| Arc::clone(&dialect.tally));
            dialect.tally = Arc::clone(tally);
        }
        tallies.retain(|label, tally| {
            tally.is_busy() || dialects(&rules).any(|dialect| dialect.label == *label)
        });
        drop(tallies);
        let new = Arc::new(Current::start(rules, &self.runtime, &self.engine));
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, Arc::clone(&new));
        drop(current);
        for dialect in dialects(&old.rules) {
            dialect.replaced_by(dialects(&new.rules).find(|one| one.goes_on_from(dialect)));
        }
    }

    /// What it has decided, and what its back ends did.
    pub fn families(&self) -> Vec<Family> {
        let current = self.current();
        let mut families = counters::families(current.rules.tables.iter().map(|table| &*table.counters));
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        families.extend(nginx::tally::families(tallies.iter().map(|(label, tally)| (&**label, &**tally))));
        families
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The back ends of nginx-rtmp's dialect.
fn dialects(rules: &Rules) -> impl Iterator<Item = &Arc<Dialect>> {
    rules.tables.iter().filter_map(|table| table.dialect.as_ref())
}

impl Current {
    fn start(rules: Rules, runtime: &tokio::runtime::Handle, engine: &Arc<OnceLock<Handle>>) -> Self {
        let (jobs, receiver) = mpsc::channel(QUESTIONS_MAX);
        let rules = Arc::new(rules);
        runtime.spawn(worker::run(Arc::clone(&rules), receiver, Arc::clone(engine)));
        Self { rules, jobs }
    }
}

impl Admission for Auth {
    fn ask(&self, question: Question) -> Option<Verdict> {
        let current = self.current();
        let (table, source) = match current.rules.ask(&question) {
            Said::Verdict(verdict) => return Some(verdict),
            Said::Later { table, source } => (table, source),
        };
        let action = question.action;
        if current.jobs.try_send(Job { table, source, question }).is_ok() {
            return None;
        }
        // More wait than the worker can have missed: it stands still.
        let table = current.rules.tables.get(table)?;
        let verdict = table.broker.fail.verdict();
        table.counters.on_decision(action, source.name(), &verdict);
        Some(verdict)
    }
}

/// It hears of sessions where a back end is told of them.
impl Notify for Auth {
    fn notify(&self, news: News) {
        if !self.has_dialect.load(Ordering::Relaxed) {
            return;
        }
        let began = |action, stream, facts: Arc<Facts>| {
            let dialect = Arc::clone(self.current().rules.dialect_of(&facts)?);
            Some(Item::Began { dialect, action, stream, facts })
        };
        let item = match news {
            News::PublishBegan { facts, stream, .. } => began(Action::Publish, stream, facts),
            News::PlayBegan { facts, stream, .. } => began(Action::Play, stream, facts),
            News::PublishEnded { connection, stream, .. } => {
                Some(Item::Ended { connection, action: Action::Publish, stream })
            }
            News::PlayEnded { connection, stream, .. } => {
                Some(Item::Ended { connection, action: Action::Play, stream })
            }
            News::Connected { .. }
            | News::StreamBegan { .. }
            | News::StreamEnded { .. }
            | News::HealthChanged { .. }
            | News::Outgoing { .. } => None,
        };
        if let Some(item) = item {
            // Whoever would hear of it has ended with the edge's thread.
            let _ = self.sessions.send(item);
        }
    }
}

#[cfg(test)]
mod tests;
