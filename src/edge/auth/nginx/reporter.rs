//! The task that tells back ends of sessions, and asks them whether these go on: it drives [`super::lives`], one a table, and makes their calls.
//!
//! Tables are those of the configuration as it was when a session began: what has begun is told to its end where its beginning was asked. When the
//! configuration is read again, a table that tells the same in the same way goes on with its sessions. Where there is none, they are asked about no
//! more: a back end that nobody has configured any more ends nothing.
//! # Invariant
//! No media core waits for any of it, and no call that has no answer changes anything for a stream that is live.
//! # Bounds
//! News wait in a queue that nothing but this task empties, which waits for nothing else; they come no faster than connections publish, play and end.
//! Calls and sessions are bounded by [`super::lives`], of each table. At the end of the process what waits is tried once more, for [`FAREWELL_MAX`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tracing::{info, warn};

use super::form;
use super::lives::{Counters, Lives, Output, Report, Session};
use super::reply::{self, Word};
use super::revoked::{One, Revoked};
use super::{Dialect, form::Call};
use crate::runtime::Handle;
use crate::runtime::observe::ConnectionId;
use crate::runtime::outside::{Action, Facts};
use crate::session::{Instant, StreamKey};

/// How long the end of the process waits for ends that are still to be told.
pub const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// A back end that does not answer is logged once in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What the task hears.
pub(in crate::edge::auth) enum Item {
    /// Somebody publishes or plays from now on.
    Began { dialect: Arc<Dialect>, action: Action, stream: StreamKey, facts: Arc<Facts> },
    /// Somebody does no more.
    Ended { connection: ConnectionId, action: Action, stream: StreamKey },
}

/// The task, and the way to end it.
pub struct Reporter {
    finish: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Reporter {
    /// Starts it on `runtime`. Sessions are ended by way of `engine`.
    pub(in crate::edge::auth) fn start(
        items: mpsc::UnboundedReceiver<Item>,
        runtime: &tokio::runtime::Handle,
        engine: Arc<OnceLock<Handle>>,
    ) -> Self {
        let (finish, finished) = oneshot::channel();
        let task = runtime.spawn(run(items, finished, engine));
        Self { finish, task }
    }

    /// Lets what waits be told once more, and ends.
    pub(in crate::edge) async fn finish(self) {
        let _ = self.finish.send(());
        let _ = tokio::time::timeout(FAREWELL_MAX, self.task).await;
    }
}

/// One table's sessions.
struct Office {
    dialect: Arc<Dialect>,
    lives: Lives,
    /// What the tally knows of.
    counted: Counters,
    is_over: bool,
    logged: Option<Instant>,
}

/// What a task brings: a status, or which calls of an end could not be made.
enum Done {
    Word(Word),
    Told(Report),
}

/// What a task was for, known also when it is lost.
#[derive(Clone, Copy)]
enum For {
    Update { office: u64, number: u64 },
    Report { office: u64 },
}

struct Desk {
    engine: Arc<OnceLock<Handle>>,
    offices: BTreeMap<u64, Office>,
    next_office: u64,
    tasks: JoinSet<Done>,
    purposes: HashMap<Id, For>,
    revoked: Revoked,
    epoch: tokio::time::Instant,
    is_last: bool,
}

async fn run(
    mut items: mpsc::UnboundedReceiver<Item>,
    mut finished: oneshot::Receiver<()>,
    engine: Arc<OnceLock<Handle>>,
) {
    let mut desk = Desk::new(engine);
    loop {
        desk.hear(&mut items);
        desk.work();
        if desk.is_last && desk.offices.values().all(|office| office.lives.has_told_all()) {
            return;
        }
        let wake_at = desk.next_timeout();
        tokio::select! {
            item = items.recv(), if !desk.is_last => match item {
                Some(item) => desk.handle(item),
                None => desk.handle_last(),
            },
            Some(done) = desk.tasks.join_next_with_id() => desk.answered(&mut items, done),
            () = async { tokio::time::sleep_until(wake_at.unwrap_or(desk.epoch)).await }, if wake_at.is_some() => {}
            _ = &mut finished, if !desk.is_last => {
                desk.hear(&mut items);
                desk.handle_last();
            }
        }
    }
}

impl Desk {
    fn new(engine: Arc<OnceLock<Handle>>) -> Self {
        Self {
            engine,
            offices: BTreeMap::new(),
            next_office: 0,
            tasks: JoinSet::new(),
            purposes: HashMap::new(),
            revoked: Revoked::default(),
            epoch: tokio::time::Instant::now(),
            is_last: false,
        }
    }

    /// Takes the news that have come so far.
    fn hear(&mut self, items: &mut mpsc::UnboundedReceiver<Item>) {
        while let Ok(item) = items.try_recv() {
            self.handle(item);
        }
    }

    fn now(&self) -> Instant {
        Instant::default() + self.epoch.elapsed()
    }

    fn next_timeout(&self) -> Option<tokio::time::Instant> {
        let of_offices = self.offices.values().filter_map(|office| office.lives.next_timeout());
        let first = of_offices.chain(self.revoked.next_timeout()).min()?;
        Some(self.epoch + (first - Instant::default()))
    }

    fn handle(&mut self, item: Item) {
        let now = self.now();
        match item {
            Item::Began { dialect, action, stream, facts } => {
                let number = self.office(dialect);
                if let Some(office) = self.offices.get_mut(&number) {
                    office.lives.handle_began(now, action, stream, facts);
                }
            }
            Item::Ended { connection, action, stream } => {
                for office in self.offices.values_mut() {
                    office.lives.handle_ended(now, connection, action, &stream);
                }
            }
        }
    }

    /// The office of a table. Those of tables that are in force no more go when they have nothing to do.
    fn office(&mut self, dialect: Arc<Dialect>) -> u64 {
        let dialect = dialect.latest();
        self.offices.values_mut().for_each(Office::follow);
        if let Some((number, _)) =
            self.offices.iter().find(|(_, office)| Arc::ptr_eq(&office.dialect, &dialect))
        {
            return *number;
        }
        self.offices.retain(|_, office| {
            office.count();
            !office.lives.is_idle() || Arc::strong_count(&office.dialect) > 1
        });
        let lives = Lives::new(dialect.lives());
        let mut office =
            Office { dialect, lives, counted: Counters::default(), is_over: false, logged: None };
        office.follow();
        self.next_office += 1;
        self.offices.insert(self.next_office, office);
        self.next_office
    }

    fn handle_last(&mut self) {
        self.is_last = true;
        let now = self.now();
        self.offices.values_mut().for_each(|office| office.lives.handle_last(now));
    }

    /// Does what there is to do.
    fn work(&mut self) {
        let now = self.now();
        let connections = self.poll_closing(now);
        if !connections.is_empty()
            && let Some(engine) = self.engine.get()
        {
            engine.revoke(connections);
        }
        for (number, office) in &mut self.offices {
            office.follow();
            while let Some(output) = office.lives.poll_output(now) {
                let dialect = Arc::clone(&office.dialect);
                let (task, purpose) = match output {
                    Output::Update { number: session_number, call, session } => {
                        let lasted = now - session.began;
                        let purpose = For::Update { office: *number, number: session_number };
                        (self.tasks.spawn(update(dialect, call, session, lasted)), purpose)
                    }
                    Output::Tell(report) => {
                        (self.tasks.spawn(tell(dialect, report)), For::Report { office: *number })
                    }
                };
                self.purposes.insert(task.id(), purpose);
            }
            office.count();
        }
    }

    /// Connections of sessions that a back end has ended, and that have not ended since by themselves.
    fn poll_closing(&mut self, now: Instant) -> Vec<ConnectionId> {
        let mut ended = self.revoked.poll(now).unwrap_or_default();
        ended
            .retain(|one| self.offices.get(&one.office).is_some_and(|office| office.lives.knows(one.number)));
        ended.into_iter().map(|one| one.connection).collect()
    }

    /// A call has come to its end. What has ended before is heard of first: a no to it would close what came after it on its connection.
    fn answered(&mut self, items: &mut mpsc::UnboundedReceiver<Item>, done: Result<(Id, Done), JoinError>) {
        self.hear(items);
        self.handle_done(done);
    }

    fn handle_done(&mut self, done: Result<(Id, Done), JoinError>) {
        let now = self.now();
        let (id, done) = match done {
            Ok((id, done)) => (id, Some(done)),
            // A panic; it has been logged, and nobody has answered.
            Err(error) => (error.id(), None),
        };
        let Some(purpose) = self.purposes.remove(&id) else { return };
        let (For::Update { office, .. } | For::Report { office }) = purpose;
        let Some(office) = self.offices.get_mut(&office) else { return };
        match (purpose, done) {
            (For::Update { office: of, number }, done) => {
                let word = if let Some(Done::Word(word)) = done { word } else { Word::Silence };
                if word == Word::Silence {
                    office.log(now, "an update has no answer: the session goes on");
                }
                if let Some(connection) = office.lives.handle_word(now, number, word) {
                    info!(table = office.dialect.label, id = connection.0, "ended by the back end");
                    self.revoked.push(One { office: of, number, connection });
                }
            }
            (For::Report { .. }, Some(Done::Told(report))) => {
                if !report.calls.is_empty() {
                    office.log(now, "an end is not taken");
                }
                office.lives.handle_report(now, report);
            }
            (For::Report { .. }, _) => office.lives.handle_lost_report(),
        }
    }
}

impl Office {
    /// Goes on as what has taken its table's place, or asks about nobody any more if nothing has.
    fn follow(&mut self) {
        self.dialect = self.dialect.latest();
        if self.dialect.is_over() && !self.is_over {
            self.is_over = true;
            self.lives.handle_no_updates();
        }
    }

    fn count(&mut self) {
        let counters = self.lives.counters();
        self.dialect.tally.on_lives(std::mem::replace(&mut self.counted, counters), counters);
    }

    fn log(&mut self, now: Instant, why: &str) {
        if self.logged.is_none_or(|logged| now - logged >= LOG_EVERY) {
            self.logged = Some(now);
            warn!(table = self.dialect.label, why, "a back end does not answer; said once a minute at most");
        }
    }
}

async fn update(dialect: Arc<Dialect>, call: Call, session: Arc<Session>, lasted: Duration) -> Done {
    let body = |facts: &Facts| form::update(call, facts, session.stream.app(), lasted);
    Done::Word(match dialect.tell(call, &session.facts, body).await {
        Ok(status) => dialect.word(status),
        Err(_) => Word::Silence,
    })
}

/// Makes the calls of an end, each whatever came of those before it: they may have URLs of different back ends. Those that nobody takes are left.
async fn tell(dialect: Arc<Dialect>, mut report: Report) -> Done {
    let mut left = Vec::new();
    for call in std::mem::take(&mut report.calls) {
        let body = |facts: &Facts| form::done(call, facts, report.session.stream.app());
        match dialect.tell(call, &report.session.facts, body).await {
            Ok(status) if reply::is_heard(status) => {}
            Ok(_) | Err(_) => left.push(call),
        }
    }
    report.calls = left;
    Done::Told(report)
}

#[cfg(test)]
mod tests;
