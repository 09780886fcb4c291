//! Notices to a URL of what happens: who connects, publishes and plays, and what came of it.
//!
//! ```json
//! {"instance": "1750000000123456", "events": [
//!  {"event": "connect", "number": 1, "time": 1750000000.2, "connection": "17", "address": "192.0.2.7", "port": 50412,
//!   "flashVer": "FMLE/3.0", "tls": false, "server_name": null, "host": "live.example.org"},
//!  {"event": "publish", "number": 2, …, "app": "live", "name": "test", "dry_run": false},
//!  {"event": "publish_done", "number": 3, "time": 1750000060.0, "connection": "17", "app": "live", "name": "test", "bytes": 22500000,
//!   "messages": 4500, "dropped": 0, "seconds": 59.8},
//!  {"event": "health", "number": 4, …, "connection": "18", "app": "live", "name": "other", "code": "starving", "state": "began",
//!   "seconds": 3.4}]}
//! ```
//! Also `play` and `play_done`. `health` tells of each code of a publisher's health ([`crate::media::health`]) as it begins, with the seconds that
//! its cause has lasted by then, and as it ends (`"state": "ended"`), with those since it was told to begin. What holds when a publisher ends, ends
//! before `publish_done`. It is told of standbys, dry runs and pulled streams as well; of the latter there is no `publish`.
//!
//! They are posted in order, in batches, signed as questions are ([`super::auth::callback`]). A status of 200 to 299
//! takes a batch; 400 to 499 refuses it (but for 408 and 429); with everything else it is posted again, so that an event can come twice: `instance` and
//! `number` together name it. A batch that is refused, or fails again and again, is posted event by event, which may change their order by some places;
//! an event that fails alone while others are taken is dropped in the end ([`outbox`]).
//! # Bounds
//! Those of [`outbox`]; [`NEWS_MAX`] on their way there. What is beyond is dropped and counted: telling never waits, and never holds anybody up.
//! At the end of the process what waits is tried once more, for [`FAREWELL_MAX`].

pub mod event;
pub mod outbox;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Uri;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use self::event::Event;
use self::outbox::{Counters, Outbox, Outcome};
use super::http::{self, Client};
use super::secret::{Secret, SecretPlace};
use crate::control::metrics::{Family, Value};
use crate::runtime::outside::{News, Notify};
use crate::session::Instant;

/// News on their way to the edge's thread, which takes them faster than cores can make them.
pub const NEWS_MAX: usize = 4096;

/// How long a batch may take to be taken.
pub const POST_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the body of an answer is waited for once its status is known.
const BODY_TIME_MAX: Duration = Duration::from_secs(1);

/// How long the end of the process waits for what is still to be told.
pub const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// What is read of an answer, bytes: only its status counts.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// A back end that does not take notices is logged once in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Where notices go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeSettings {
    /// The URL; empty: nowhere.
    pub url: String,
    /// What they are signed with.
    pub secret: Option<SecretPlace>,
    /// Roots that an HTTPS back end is trusted by, beside Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// Notices that may wait; beyond it the oldest goes. Some 500 bytes each.
    pub waiting_max: usize,
    /// Whether connections that have not yet published or played are told of.
    pub connects: bool,
}

impl Default for NoticeSettings {
    fn default() -> Self {
        Self { url: String::new(), secret: None, ca_file: None, waiting_max: 10_000, connects: false }
    }
}

/// Where notices go, read and checked.
#[derive(Debug)]
pub struct Recipient {
    client: Client,
    url: Uri,
    secret: Option<Secret>,
    waiting_max: usize,
    connects: bool,
}

impl Recipient {
    /// Reads what the settings name; `None` where nobody is to be told.
    ///
    /// # Errors
    /// The key that is wrong, and what is wrong with it.
    pub fn new(settings: &NoticeSettings) -> Result<Option<Self>, (&'static str, String)> {
        if settings.url.is_empty() {
            return Ok(None);
        }
        let url = http::url(&settings.url).map_err(|problem| ("url", problem))?;
        let secret = match &settings.secret {
            Some(place) => Some(place.read().map_err(|problem| ("secret", problem))?),
            None => None,
        };
        let client = Client::new(settings.ca_file.as_deref()).map_err(|problem| ("ca_file", problem))?;
        let NoticeSettings { waiting_max, connects, .. } = *settings;
        Ok(Some(Self { client, url, secret, waiting_max, connects }))
    }
}

/// Hears what happens and tells it, if there is somebody to tell.
pub struct Notices {
    news: mpsc::Sender<News>,
    recipient: watch::Sender<Option<Arc<Recipient>>>,
    /// Whether there is, and has been, somebody.
    is_on: AtomicBool,
    was_on: AtomicBool,
    connects: AtomicBool,
    dropped: AtomicU64,
    counters: Arc<Mutex<Counters>>,
}

/// The task that tells, and the way to end it.
pub(super) struct Teller {
    finish: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Teller {
    /// Lets what waits be tried once more, and ends.
    pub(super) async fn finish(self) {
        let _ = self.finish.send(());
        let _ = tokio::time::timeout(FAREWELL_MAX, self.task).await;
    }
}

impl Notices {
    /// Starts telling, on `runtime`.
    pub(super) fn start(recipient: Option<Recipient>, runtime: &tokio::runtime::Handle) -> (Self, Teller) {
        let (news, receiver) = mpsc::channel(NEWS_MAX);
        let (finish, finished) = oneshot::channel();
        let counters = Arc::new(Mutex::new(Counters::default()));
        let (sender, recipients) = watch::channel(None);
        let task = runtime.spawn(tell(recipients, receiver, finished, Arc::clone(&counters)));
        let notices = Self {
            news,
            recipient: sender,
            is_on: AtomicBool::new(false),
            was_on: AtomicBool::new(false),
            connects: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            counters,
        };
        notices.replace(recipient);
        (notices, Teller { finish, task })
    }

    /// Another recipient, or none, from the next batch on. What waits goes to it; if there is none, it is dropped and counted.
    pub fn replace(&self, recipient: Option<Recipient>) {
        let (is_on, connects) = (recipient.is_some(), recipient.as_ref().is_some_and(|one| one.connects));
        self.was_on.fetch_or(is_on, Ordering::Relaxed);
        // First, so that the first news finds it there.
        self.recipient.send_replace(recipient.map(Arc::new));
        self.connects.store(connects, Ordering::Relaxed);
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// What has been told, and what waits.
    pub fn families(&self) -> Vec<Family> {
        if !self.was_on.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let Counters { taken, refused, dropped, failed, waiting_now } =
            *self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = dropped + self.dropped.load(Ordering::Relaxed);
        let whole = |labels: Vec<(&'static str, String)>, value| (labels, Value::Whole(value));
        let of_kind = |kind: &str, value| whole(vec![("result", kind.to_owned())], value);
        vec![
            Family::new(
                "inrush_notices",
                "Notices of what happened, by whether the back end took them",
                true,
                vec![of_kind("taken", taken), of_kind("refused", refused), of_kind("dropped", dropped)],
            ),
            Family::new(
                "inrush_notice_failures",
                "Tries to tell notices that failed and are repeated",
                true,
                vec![whole(Vec::new(), failed)],
            ),
            Family::new(
                "inrush_notices_waiting",
                "Notices that wait to be told",
                false,
                vec![whole(Vec::new(), waiting_now)],
            ),
        ]
    }
}

impl Notify for Notices {
    fn notify(&self, news: News) {
        if self.is_on.load(Ordering::Relaxed) && self.news.try_send(news).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn hears_who_connects(&self) -> bool {
        self.connects.load(Ordering::Relaxed)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    instance: &'a str,
    events: &'a [Event],
}

/// Tells until it is told to finish.
async fn tell(
    mut recipients: watch::Receiver<Option<Arc<Recipient>>>,
    mut news: mpsc::Receiver<News>,
    mut finished: oneshot::Receiver<()>,
    counters: Arc<Mutex<Counters>>,
) {
    let began = tokio::time::Instant::now();
    let instance = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros().to_string();
    let mut recipient = recipients.borrow_and_update().clone();
    let mut outbox = Outbox::new(waiting_max(&recipient));
    let mut number = 0;
    let mut post = None;
    let mut logged: Option<tokio::time::Instant> = None;
    let mut take = |outbox: &mut Outbox<Event>, news| {
        if let Some(event) = Event::of(news) {
            number += 1;
            outbox.push(event.numbered(number));
        }
    };
    let mut is_last = false;
    loop {
        let now = Instant::default() + began.elapsed();
        if post.is_none()
            && let Some(recipient) = &recipient
            && let Some(batch) = outbox.begin(now)
        {
            let body = serde_json::to_vec(&Body { instance: &instance, events: batch }).unwrap_or_default();
            post = Some(Box::pin(self::post(Arc::clone(recipient), body)));
        }
        *counters.lock().unwrap_or_else(PoisonError::into_inner) = outbox.counters();
        // Without a recipient nothing waits.
        if is_last && post.is_none() {
            return;
        }
        let next = outbox.next_begin().filter(|_| recipient.is_some());
        let wake_at = next.map(|at| began + (at - Instant::default()));
        tokio::select! {
            // A recipient that is replaced is so for all news that come after.
            biased;
            Ok(()) = recipients.changed() => {
                recipient = recipients.borrow_and_update().clone();
                outbox.set_waiting_max(waiting_max(&recipient));
                if recipient.is_none() {
                    outbox.clear();
                }
            }
            outcome = async { post.as_mut().expect("there is one").await }, if post.is_some() => {
                post = None;
                let now = Instant::default() + began.elapsed();
                outbox.handle_outcome(now, outcome);
                if recipient.is_none() {
                    outbox.clear();
                }
                if outcome != Outcome::Taken && logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
                    logged = Some(tokio::time::Instant::now());
                    warn!(?outcome, "notices are not taken; said once a minute at most");
                }
            }
            () = async { tokio::time::sleep_until(wake_at.unwrap_or(began)).await }, if wake_at.is_some() => {}
            _ = &mut finished, if !is_last => {
                is_last = true;
                while let Ok(one) = news.try_recv() {
                    take(&mut outbox, one);
                }
            }
            Some(one) = news.recv() => take(&mut outbox, one),
        }
    }
}

/// Without a recipient nothing may wait.
fn waiting_max(recipient: &Option<Arc<Recipient>>) -> usize {
    recipient.as_ref().map_or(0, |recipient| recipient.waiting_max)
}

async fn post(recipient: Arc<Recipient>, body: Vec<u8>) -> Outcome {
    let headers = super::auth::callback::headers(recipient.secret.as_ref(), &body);
    let post = recipient.client.post(&recipient.url, "application/json", headers, body);
    let Ok(Ok(answer)) = tokio::time::timeout(POST_TIME_MAX, post).await else { return Outcome::Failed };
    let status = answer.status;
    // Only the status counts. The body is read so that the connection can be used again, as far as it comes soon.
    let _ = tokio::time::timeout(BODY_TIME_MAX, answer.body(REPLY_BYTES_MAX)).await;
    match status {
        200..=299 => Outcome::Taken,
        // It is busy, and says so.
        408 | 429 => Outcome::Failed,
        400..=499 => Outcome::Refused,
        _ => Outcome::Failed,
    }
}
