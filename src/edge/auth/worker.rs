//! The part of authorisation that takes time: one task on the edge's thread that drives brokers and key sets, and makes their calls.
//!
//! It waits for questions, for calls and for time, and hands each on to the state machines; nothing is decided here.
//! # Bounds
//! Questions on their way here: [`QUESTIONS_MAX`]; that wait for a back end: the broker's; for a key set: [`PARKED_MAX`] a table. What is beyond
//! is answered as the table says for when nobody can be asked.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout_at;
use tracing::warn;

use super::broker::{Broker, Failure, Output};
use super::cache::Subject;
use super::callback;
use super::counters::KeySetCounters;
use super::jwt::{TOKEN_PARAM, VerifyingKey, key_set};
use super::key_set::{FETCH_TIME_MAX, Judged, KeySet, Presented, SET_BYTES_MAX};
use super::nginx::known::{Known, asked_each_time};
use super::rules::{BackEnd, Rules, Table, now_unix};
use super::ruling::Ruling;
use super::settings::Source;
use super::subject::{subject, suspect};
use crate::edge::http;
use crate::runtime::Handle;
use crate::runtime::outside::{Question, Verdict};
use crate::session::Instant;
use crate::session::params::param;

/// Questions on their way to the worker, which takes them faster than any core can ask.
pub const QUESTIONS_MAX: usize = 4096;

/// Questions of one table that wait for its key set.
pub const PARKED_MAX: usize = 1024;

/// A failing back end is logged once in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// How often it is looked whether the engine is there, at the very start.
const ENGINE_EVERY: Duration = Duration::from_millis(5);

/// A question for the worker.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) table: usize,
    pub(super) source: Source,
    pub(super) question: Question,
}

/// What a task of the worker brings.
enum Done {
    Reply(Result<Verdict, Failure>),
    Keys(Result<Vec<VerifyingKey>, String>),
}

/// What a task was for, known also when it is lost.
#[derive(Clone, Copy)]
enum For {
    Call { table: usize, subject: Subject, began: Instant },
    Keys { table: usize },
}

/// Serves until nobody can ask any more and nothing is under way.
pub(super) async fn run(rules: Arc<Rules>, mut jobs: mpsc::Receiver<Job>, engine: Arc<OnceLock<Handle>>) {
    while engine.get().is_none() {
        tokio::time::sleep(ENGINE_EVERY).await;
    }
    let mut worker = Worker::new(&rules, engine);
    let mut is_open = true;
    while is_open || !worker.is_idle() {
        worker.handle_time();
        let wake_at = worker.next_timeout();
        tokio::select! {
            job = jobs.recv(), if is_open => match job {
                Some(job) => worker.handle_job(job),
                None => is_open = false,
            },
            Some(done) = worker.tasks.join_next_with_id() => worker.handle_done(done),
            () = sleep_until(wake_at), if is_open || wake_at.is_some() => {}
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

struct Worker<'r> {
    rules: &'r Rules,
    engine: Arc<OnceLock<Handle>>,
    desks: Vec<Desk>,
    tasks: JoinSet<Done>,
    purposes: HashMap<Id, For>,
    began: tokio::time::Instant,
    questions: u64,
}

/// What the worker has of each table. A table has one back end at most, of the source `callback` or `nginx`.
struct Desk {
    broker: Option<Broker<Arc<Question>, Question>>,
    known: Option<Known>,
    key_set: Option<KeySet>,
    parked: Vec<Question>,
    fetches: KeySetCounters,
    logged: Option<Instant>,
}

impl<'r> Worker<'r> {
    fn new(rules: &'r Rules, engine: Arc<OnceLock<Handle>>) -> Self {
        let desk = |table: &Table| Desk {
            broker: table
                .back_end
                .as_ref()
                .map(|_| Broker::new(table.broker))
                .or_else(|| table.dialect.as_ref().map(|_| Broker::new(asked_each_time(table.broker)))),
            known: table.dialect.as_ref().map(|_| Known::new(table.broker.cache, table.network_bits)),
            key_set: table.tokens.as_ref().map(super::rules::Tokens::key_set),
            parked: Vec::new(),
            fetches: KeySetCounters::default(),
            logged: None,
        };
        let desks = rules.tables.iter().map(desk).collect();
        let (tasks, purposes) = (JoinSet::new(), HashMap::new());
        Self { rules, engine, desks, tasks, purposes, began: tokio::time::Instant::now(), questions: 0 }
    }

    fn now(&self) -> Instant {
        Instant::default() + self.began.elapsed()
    }

    fn is_idle(&self) -> bool {
        let is_idle =
            |desk: &Desk| desk.parked.is_empty() && desk.broker.as_ref().is_none_or(Broker::is_idle);
        self.desks.iter().all(is_idle)
    }

    fn next_timeout(&self) -> Option<tokio::time::Instant> {
        let of_desk = |desk: &Desk| {
            let line = desk.broker.as_ref().and_then(Broker::next_timeout);
            let fetch = desk.key_set.as_ref().and_then(KeySet::next_fetch);
            line.into_iter().chain(fetch).min()
        };
        let first = self.desks.iter().filter_map(of_desk).min()?;
        Some(self.began + (first - Instant::default()))
    }

    fn handle_time(&mut self) {
        let now = self.now();
        for table in 0..self.desks.len() {
            let desk = &mut self.desks[table];
            if let Some(broker) = &mut desk.broker {
                broker.handle_timeout(now);
            }
            if desk.key_set.as_mut().is_some_and(|keys| keys.begin_fetch(now)) {
                self.fetch_keys(table);
            }
            self.drain(table);
        }
    }

    fn handle_job(&mut self, job: Job) {
        let Job { table, source, question } = job;
        match source {
            Source::Jwt => self.judge_token(table, question, false),
            Source::Callback => {
                let now = self.now();
                let (Some(desk), Some(rules)) = (self.desks.get_mut(table), self.rules.tables.get(table))
                else {
                    return;
                };
                let Some(broker) = &mut desk.broker else { return };
                let subject = subject(&question, rules.network_bits, &[]);
                let suspect = suspect(&question, rules.network_bits);
                broker.handle_question(now, subject, suspect, Arc::new(question.clone()), question);
                self.drain(table);
            }
            Source::Nginx => {
                let now = self.now();
                let (Some(desk), Some(rules)) = (self.desks.get_mut(table), self.rules.tables.get(table))
                else {
                    return;
                };
                let Some(broker) = &mut desk.broker else { return };
                self.questions += 1;
                // A name that no other question has: each is asked by a call of its own.
                let mut subject = Subject::default();
                subject[..8].copy_from_slice(&self.questions.to_be_bytes());
                let suspect = suspect(&question, rules.network_bits);
                broker.handle_question(now, subject, suspect, Arc::new(question.clone()), question);
                self.drain(table);
            }
            // These are never left to the worker.
            Source::Static | Source::Signed | Source::Open => {}
        }
    }

    /// Checks a token, or lets it wait for keys.
    fn judge_token(&mut self, table: usize, question: Question, waited: bool) {
        let now = self.now();
        let (Some(desk), Some(rules)) = (self.desks.get_mut(table), self.rules.tables.get(table)) else {
            return;
        };
        let (Some(keys), Some(tokens)) = (&mut desk.key_set, &rules.tokens) else { return };
        let token = param(&question.facts.params, TOKEN_PARAM).unwrap_or_default();
        let (action, stream) = (question.action, &question.stream);
        let presented = Presented { token: &token, action, stream, now_unix: now_unix() };
        let has_room = desk.parked.len() < PARKED_MAX;
        let judged = match keys.judge(now, &presented, &tokens.expected, waited) {
            // Who finds no room to wait in is judged by the keys that are known: it must not be a way around them.
            Judged::AfterFetch if !has_room => keys.judge(now, &presented, &tokens.expected, true),
            judged => judged,
        };
        let verdict = match judged {
            Judged::Now(Ruling::Allow(grant)) => Verdict::Allow(grant),
            Judged::Now(Ruling::Deny(denial)) => Verdict::Deny(denial),
            Judged::AfterFetch if has_room => {
                drop(token);
                return desk.parked.push(question);
            }
            Judged::Now(Ruling::Pass) | Judged::AfterFetch | Judged::NoKeys => rules.broker.fail.verdict(),
        };
        drop(token);
        self.answer(table, &question, "jwt", verdict);
    }

    /// Does what the table's broker wants done.
    fn drain(&mut self, table: usize) {
        let rules = self.rules;
        let now = self.now();
        let source = if rules.tables[table].dialect.is_some() { "nginx" } else { "callback" };
        let desk = &mut self.desks[table];
        let outputs: Vec<_> = std::iter::from_fn(|| desk.broker.as_mut().and_then(Broker::poll_output))
            .map(|output| match &mut desk.known {
                Some(known) => known.seen(now, output),
                None => output,
            })
            .collect();
        if let Some(broker) = &desk.broker {
            // Before anybody is told, so that who is told and looks sees it.
            let counters = broker.counters();
            let counters = desk.known.as_ref().map_or(counters, |known| known.counted(counters));
            rules.tables[table].counters.on_broker(counters);
        }
        for output in outputs {
            match output {
                Output::Answer { waiter, verdict, from: _ } => self.answer(table, &waiter, source, verdict),
                Output::Call { subject, question, deadline } => {
                    let deadline = self.began + (deadline - Instant::default());
                    if let Some(dialect) = &rules.tables[table].dialect {
                        let dialect = Arc::clone(dialect);
                        let task = self
                            .tasks
                            .spawn(async move { Done::Reply(dialect.ask(&question, deadline).await) });
                        self.purposes.insert(task.id(), For::Call { table, subject, began: now });
                        continue;
                    }
                    let Some(back_end) = &rules.tables[table].back_end else { continue };
                    let call = call(back_end, &question, deadline);
                    let task = self.tasks.spawn(async move {
                        Done::Reply(call.await.and_then(|(status, body)| {
                            callback::verdict(question.stream.app(), status, &body)
                        }))
                    });
                    self.purposes.insert(task.id(), For::Call { table, subject, began: now });
                }
            }
        }
    }

    fn fetch_keys(&mut self, table: usize) {
        let Some((client, url, _)) =
            self.rules.tables[table].tokens.as_ref().and_then(|tokens| tokens.fetch.clone())
        else {
            return;
        };
        let task = self.tasks.spawn(async move {
            let fetch = async {
                let answer = client.get(&url).await?;
                Ok::<_, http::Failure>((answer.status, answer.body(SET_BYTES_MAX).await?))
            };
            Done::Keys(match tokio::time::timeout(FETCH_TIME_MAX, fetch).await {
                Ok(Ok((200, json))) => key_set(&json),
                Ok(Ok((status, _))) => Err(format!("status {status}")),
                Ok(Err(failure)) => Err(Failure::from(failure).label().into()),
                Err(_) => Err(Failure::Timeout.label().into()),
            })
        });
        self.purposes.insert(task.id(), For::Keys { table });
    }

    fn handle_done(&mut self, done: Result<(Id, Done), JoinError>) {
        let now = self.now();
        let (id, done) = match done {
            Ok((id, done)) => (id, Some(done)),
            // A panic; it has been logged, and the call is as good as failed.
            Err(error) => (error.id(), None),
        };
        match self.purposes.remove(&id) {
            Some(For::Call { table, subject, began }) => {
                let reply = match done {
                    Some(Done::Reply(reply)) => reply,
                    Some(Done::Keys(_)) | None => Err(Failure::Unreachable),
                };
                if let Err(failure) = &reply {
                    self.log_failure(table, failure.label());
                }
                self.rules.tables[table].counters.on_call(now - began);
                if let Some(broker) = &mut self.desks[table].broker {
                    broker.handle_reply(now, subject, reply);
                }
                self.drain(table);
            }
            Some(For::Keys { table }) => {
                let keys = match done {
                    Some(Done::Keys(keys)) => keys,
                    Some(Done::Reply(_)) | None => Err("lost".into()),
                };
                self.handle_keys(table, keys);
            }
            None => {}
        }
    }

    fn handle_keys(&mut self, table: usize, keys: Result<Vec<VerifyingKey>, String>) {
        let now = self.now();
        if let Err(problem) = &keys {
            self.log_failure(table, &format!("key set: {problem}"));
        }
        let desk = &mut self.desks[table];
        match &keys {
            Ok(_) => desk.fetches.fetched += 1,
            Err(_) => desk.fetches.failed += 1,
        }
        if let Some(set) = &mut desk.key_set {
            set.handle_fetched(now, keys.ok());
            desk.fetches.keys = set.known() as u64;
        }
        self.rules.tables[table].counters.on_key_set(desk.fetches);
        for question in std::mem::take(&mut self.desks[table].parked) {
            self.judge_token(table, question, true);
        }
    }

    fn answer(&self, table: usize, question: &Question, source: &'static str, verdict: Verdict) {
        self.rules.tables[table].counters.on_decision(question.action, source, &verdict);
        if let Some(engine) = self.engine.get() {
            engine.answer(question.ticket, verdict);
        }
    }

    fn log_failure(&mut self, table: usize, why: &str) {
        let now = self.now();
        let desk = &mut self.desks[table];
        if desk.logged.is_none_or(|logged| now - logged >= LOG_EVERY) {
            desk.logged = Some(now);
            let state = desk.broker.as_ref().map(Broker::state);
            warn!(
                table = self.rules.tables[table].label,
                why,
                ?state,
                "a back end has failed; said once a minute at most"
            );
        }
    }
}

/// Asks a back end. A no is one by its status, also when its body is too long or does not come.
fn call(
    back_end: &BackEnd,
    question: &Question,
    deadline: tokio::time::Instant,
) -> impl Future<Output = Result<(u16, bytes::Bytes), Failure>> + Send + use<> {
    let body = callback::body(question);
    let headers = callback::headers(back_end.secret.as_ref(), &body);
    let (client, url) = (back_end.client.clone(), back_end.url.clone());
    async move {
        let post = client.post(&url, "application/json", headers, body);
        let answer = timeout_at(deadline, post).await.map_err(|_| Failure::Timeout)??;
        let status = answer.status;
        let body = match timeout_at(deadline, answer.body(callback::REPLY_BYTES_MAX)).await {
            Ok(body) => body.map_err(Failure::from),
            Err(_) => Err(Failure::Timeout),
        };
        match body {
            Err(_) if (400..=499).contains(&status) => Ok((status, bytes::Bytes::new())),
            body => Ok((status, body?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::edge::auth::breaker::BreakerSettings;
    use crate::edge::auth::settings::{AuthSettings, AuthTable};
    use crate::edge::auth::tests::question;
    use crate::edge::http::{Client, url};

    /// A question that the back end fails at is not tried again before others by being asked with other parameters, nor by the dialect's having a
    /// call for each: it is known by what is asked for and from where.
    #[test]
    fn a_poisoned_question_in_another_guise_does_not_keep_the_breaker_open() {
        for source in [Source::Callback, Source::Nginx] {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // Nobody listens there, and nobody else can.
            let held = tokio::net::TcpSocket::new_v4().unwrap();
            held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let url = format!("http://{}/", held.local_addr().unwrap());
            let mut table = AuthTable { app: "live".into(), publish: vec![source], ..AuthTable::default() };
            match source {
                Source::Nginx => table.nginx.on_publish = url,
                _ => table.callback_url = url,
            }
            let open_time = Duration::from_secs(1_000);
            table.broker.breaker = BreakerSettings { failures_max: 1, open_time };
            let rules = Rules::new(&AuthSettings { tables: vec![table], keys: Vec::new() }).unwrap();
            let mut worker = Worker::new(&rules, Arc::default());
            let mut ask = |question: Question, later: Duration| {
                worker.began -= later;
                runtime.block_on(async {
                    worker.handle_job(Job { table: 0, source, question });
                    while let Some(done) = worker.tasks.join_next_with_id().await {
                        worker.handle_done(done);
                    }
                });
                let counters = worker.desks[0].broker.as_ref().unwrap().counters();
                (counters.calls, counters.refused)
            };
            assert_eq!(ask(question("live", "test", "x=1"), Duration::ZERO), (1, 0), "{source:?}");
            let mut again = question("live", "test", "x=2");
            let mut facts = (*again.facts).clone();
            facts.flash_ver = "another".into();
            facts.tc_url.push_str("?a=1");
            again.facts = Arc::new(facts);
            assert_eq!(ask(again, open_time * 5 / 4), (1, 1), "{source:?}");
            assert_eq!(ask(question("live", "other", "x=3"), Duration::ZERO), (2, 1), "{source:?}");
        }
    }

    /// What `call` makes of a back end that answers with this head and then goes on for this many bytes.
    fn called(head: &str, body_bytes: usize) -> Result<(u16, usize), Failure> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let back_end = BackEnd {
            client: Client::new(None).unwrap(),
            url: url(&format!("http://{}/", listener.local_addr().unwrap())).unwrap(),
            secret: None,
        };
        let said = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{}", "x".repeat(body_bytes));
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"}") {
                let mut bytes = [0; 4096];
                let count = peer.read(&mut bytes).unwrap();
                asked.extend_from_slice(&bytes[..count]);
            }
            // The other side may hang up before it has heard everything.
            let _ = peer.write_all(said.as_bytes());
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reply = runtime.block_on(async {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
            call(&back_end, &question("live", "test", ""), deadline).await
        });
        drop((runtime, back_end));
        server.join().unwrap();
        reply.map(|(status, body)| (status, body.len()))
    }

    #[test]
    fn a_no_with_a_body_beyond_the_bound_is_a_no() {
        let beyond = callback::REPLY_BYTES_MAX + 1;
        assert_eq!(called("403 Forbidden", beyond), Ok((403, 0)));
        assert_eq!(called("403 Forbidden", 10), Ok((403, 10)));
        assert_eq!(called("200 OK", beyond), Err(Failure::TooLong));
    }
}
