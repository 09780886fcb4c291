//! The callback dialect of nginx-rtmp, so that back ends written for it work unchanged: the source `nginx`.
//!
//! ```text
//! question ──> worker, broker ──> [`Dialect::ask`]: on_connect, then on_publish or on_play      [`form`] has the bodies,
//! news ─────> [`reporter`] ──> [`lives`]: on_update now and then, on_…_done at the end          [`reply`] what answers mean
//! ```
//! Each call has a URL of its own, as each has a directive there. A question whose call has no URL is answered with yes, as there.
//!
//! # What is as there
//! Methods, fields and the order of these; 2xx allows, 4xx denies, and a redirect to what is no RTMP URL renames: the app from `on_connect`, the
//! stream from `on_publish` and `on_play`. Redirected to an RTMP URL, `on_publish` forwards the stream to it and `on_play` pulls it from there (after
//! the configuration's upstreams, while nobody publishes it here); with `notify_relay_redirect` it is then called by the MD5 of that URL in
//! hexadecimal. Updates and ends tell the name that was asked for and the app that was granted. Ends are
//! told as `publish_done` or `play_done`, and then `done`. No two questions are asked as one, and no answer is kept for the next question, so
//! that a back end can count; a yes is kept for when the back end fails ([`known`]).
//!
//! # What is not
//! - `on_connect` is asked right before each `on_publish` or `on_play`, since the host and app of a connection count where it asks for a stream.
//!   There is no `on_disconnect`.
//! - `app` and `name` are those of the stream's canonical address, decoded; the query is that of app, tcUrl and name together, but without
//!   parameters that could be taken for a field ([`form`]).
//! - What is neither 2xx, 3xx nor 4xx, and no answer at all, is a failure, for which the table says what holds (`fail`, `callback_stale_seconds`).
//! - `flashver`, `tcurl` and `name` are longer than what nginx-rtmp cuts them to (31, 255 and 255 bytes).
//! - What `on_play` has pulled is let go five seconds after the last player who was redirected has gone, also where others play it; and another
//!   redirect counts when that has happened. Placeholders of [`Template`] in such a URL are filled.
//! - A back end that does not answer an update ends nothing, and neither does 502, 503 or 504 unless updates are strict.
//! - With `GET`, a question whose fields and query are longer than [`GET_URL_BYTES_MAX`] is denied; updates and ends leave the query out then.
//! - `timestamp` of an update is the time since the session began, in milliseconds; of a connection that plays several streams, each has updates
//!   of its own.
//! - Of a stream that is played several times at once over one connection, an end is told as that of the first.
//! - Ends are told again, some times, where nobody answers or a 502, 503 or 504 says that nobody is there: such a one can come after the next beginning. `clientid` tells them apart.
//! # Bounds
//! Those of [`super::broker`] for questions, of [`lives`] for the others. An answer's body is read for [`BODY_TIME_MAX`], not beyond
//! its call's deadline, and up to [`BODY_BYTES_MAX`].

pub mod form;
pub mod known;
pub mod lives;
pub mod reply;
pub mod reporter;
pub mod revoked;
pub mod tally;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Uri;
use hyper::header::LOCATION;
use tokio::time::{Instant, timeout_at};

use self::form::Call;
use self::lives::LivesSettings;
use self::reply::Said;
use self::tally::Tally;
use super::broker::Failure;
use crate::edge::http::{self, Client};
use crate::edge::relay::template::Template;
use crate::runtime::outside::{Action, Denial, Facts, Grant, Question, Verdict};
use crate::session::{ClientUrl, StreamKey};

/// How long the body of an answer is waited for, within the time that its call has.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(1);

/// What is read of it, bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Longest URL that a `GET` asks for, bytes: what `hyper` takes is a little more.
pub const GET_URL_BYTES_MAX: usize = 60_000;

/// How a back end is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// With the fields in the body.
    #[default]
    Post,
    /// With the fields in the query.
    Get,
}

/// What the dialect is told; URLs are empty where a call is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NginxSettings {
    /// Asked before the other questions.
    pub on_connect: String,
    /// Asked who may publish.
    pub on_publish: String,
    /// Asked who may play.
    pub on_play: String,
    /// Asked now and then whether a session goes on.
    pub on_update: String,
    /// Told that a session has ended, of either kind.
    pub on_done: String,
    /// Told that somebody publishes no more.
    pub on_publish_done: String,
    /// Told that somebody plays no more.
    pub on_play_done: String,
    /// How all of them are called.
    pub method: Method,
    /// How long after its beginning, and after each answer, a session's next update is.
    pub update_every: Duration,
    /// Whether only 2xx lets a session go on.
    pub update_strict: bool,
    /// Whether a stream that a redirect forwards is renamed.
    pub relay_redirect: bool,
}

impl Default for NginxSettings {
    /// Those of nginx-rtmp.
    fn default() -> Self {
        Self {
            on_connect: String::new(),
            on_publish: String::new(),
            on_play: String::new(),
            on_update: String::new(),
            on_done: String::new(),
            on_publish_done: String::new(),
            on_play_done: String::new(),
            method: Method::Post,
            update_every: Duration::from_secs(30),
            update_strict: false,
            relay_redirect: false,
        }
    }
}

impl NginxSettings {
    /// Each call's key and URL, those that are set.
    pub fn urls(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("on_connect", &self.on_connect),
            ("on_publish", &self.on_publish),
            ("on_play", &self.on_play),
            ("on_update", &self.on_update),
            ("on_done", &self.on_done),
            ("on_publish_done", &self.on_publish_done),
            ("on_play_done", &self.on_play_done),
        ]
        .into_iter()
        .filter(|(_, url)| !url.is_empty())
        .map(|(key, url)| (key, url.as_str()))
    }
}

/// One table's back end.
#[derive(Debug)]
pub struct Dialect {
    pub(super) label: String,
    client: Client,
    settings: NginxSettings,
    /// By the order of [`Call::ALL`].
    urls: [Option<Uri>; Call::ALL.len()],
    timeout: Duration,
    /// Shared with the dialect of the same table that was in force before: what is counted goes on.
    pub(super) tally: Arc<Tally>,
    /// Empty while it is in force; then what goes on with its sessions, if anything does.
    successor: OnceLock<Option<Arc<Dialect>>>,
}

impl Dialect {
    /// Reads the URLs. `timeout` is that of one call that tells something; questions come with a deadline.
    ///
    /// # Errors
    /// The key that is wrong, and what is wrong with it.
    pub fn new(
        label: String,
        settings: &NginxSettings,
        client: Client,
        timeout: Duration,
    ) -> Result<Self, (&'static str, String)> {
        let read = |key: &'static str, text: &String| match text.as_str() {
            "" => Ok(None),
            text => http::url(text).map(Some).map_err(|problem| (key, problem)),
        };
        let update = read("on_update", &settings.on_update)?;
        let urls = [
            read("on_connect", &settings.on_connect)?,
            read("on_publish", &settings.on_publish)?,
            read("on_play", &settings.on_play)?,
            update.clone(),
            update,
            read("on_publish_done", &settings.on_publish_done)?,
            read("on_play_done", &settings.on_play_done)?,
            read("on_done", &settings.on_done)?,
        ];
        let (tally, successor) = (Arc::default(), OnceLock::new());
        Ok(Self { label, client, settings: settings.clone(), urls, timeout, tally, successor })
    }

    /// Whether the sessions of another are its own when it takes that one's place: where a back end is told the same, in the same way.
    pub(super) fn goes_on_from(&self, other: &Self) -> bool {
        self.label == other.label && self.settings == other.settings
    }

    /// It is in force no more, but what takes its place, if anything does.
    pub(super) fn replaced_by(&self, successor: Option<&Arc<Self>>) {
        // Nobody replaces it twice.
        let _ = self.successor.set(successor.cloned());
    }

    /// What has taken its place by now; itself, if nothing has.
    fn latest(self: &Arc<Self>) -> Arc<Self> {
        let mut latest = self;
        while let Some(Some(successor)) = latest.successor.get() {
            latest = successor;
        }
        Arc::clone(latest)
    }

    /// Whether it is in force no more, and nothing has taken its place.
    fn is_over(&self) -> bool {
        matches!(self.successor.get(), Some(None))
    }

    /// Whether it is asked who may do this; where it is not, everybody may.
    pub(super) fn is_asked(&self, action: Action) -> bool {
        let call = match action {
            Action::Publish => Call::Publish,
            Action::Play => Call::Play,
        };
        self.has(Call::Connect) || self.has(call)
    }

    fn has(&self, call: Call) -> bool {
        self.url(call).is_some()
    }

    fn url(&self, call: Call) -> Option<&Uri> {
        let at = Call::ALL.iter().position(|one| *one == call)?;
        self.urls.get(at)?.as_ref()
    }

    /// What is told of sessions of this kind.
    pub(super) fn lives(&self) -> LivesSettings {
        LivesSettings {
            update_every: self.has(Call::UpdatePublish).then_some(self.settings.update_every),
            publish_ends: [Call::PublishDone, Call::Done]
                .into_iter()
                .filter(|call| self.has(*call))
                .collect(),
            play_ends: [Call::PlayDone, Call::Done].into_iter().filter(|call| self.has(*call)).collect(),
        }
    }

    /// Asks whether somebody may.
    pub(super) async fn ask(&self, question: &Question, deadline: Instant) -> Result<Verdict, Failure> {
        let facts = &question.facts;
        let mut app = question.stream.app().to_owned();
        if self.has(Call::Connect) {
            let body = form::connect(facts, epoch_ms());
            match self.put(Call::Connect, body, deadline).await? {
                Said::Yes => {}
                Said::No => return Ok(denied()),
                Said::Name(location) => app = reply::app(location)?,
                Said::Url(_) => return Err(Failure::Nonsense),
            }
        }
        let call = match question.action {
            Action::Publish => Call::Publish,
            Action::Play => Call::Play,
        };
        let said = match self.has(call) {
            true => self.put(call, form::question(facts, &app), deadline).await?,
            false => Said::Yes,
        };
        let mut grant = Grant::default();
        let mut stream = StreamKey::new(&app, question.stream.name());
        match said {
            Said::Yes => {}
            Said::No => return Ok(denied()),
            Said::Name(location) => stream = reply::stream(&app, &location)?,
            Said::Url(url) => {
                if self.settings.relay_redirect {
                    stream = reply::stream(&app, &reply::name_of_url(&url))?;
                }
                let url = whole_url(url, stream.name())?;
                // What the relay could not use is no answer.
                Template::parse(&url).map_err(|_| Failure::Nonsense)?;
                let there = match call {
                    Call::Play => &mut grant.sources,
                    _ => &mut grant.forwards,
                };
                there.push(url);
            }
        }
        if stream != question.stream {
            grant.stream = Some(stream);
        }
        Ok(Verdict::Allow(grant))
    }

    /// Puts a question.
    async fn put(&self, call: Call, body: String, deadline: Instant) -> Result<Said, Failure> {
        if !self.takes(&body) {
            // It cannot be asked, and that is the peer's doing, not the back end's.
            return Ok(Said::No);
        }
        let (status, location) = self.call(call, body, deadline).await?;
        reply::said(status, location.as_deref())
    }

    /// Tells something, or asks whether a session goes on; gives the status. `body` is of these facts, without the peer's query where that is too
    /// long for a URL: who was let in by another source is told of all the same.
    pub(super) async fn tell(
        &self,
        call: Call,
        facts: &Facts,
        body: impl Fn(&Facts) -> String,
    ) -> Result<u16, Failure> {
        let mut text = body(facts);
        if !self.takes(&text) {
            let tc_url = facts.tc_url.split('?').next().unwrap_or_default().to_owned();
            text = body(&Facts { params: String::new(), tc_url, ..facts.clone() });
        }
        let (status, _) = self.call(call, text, Instant::now() + self.timeout).await?;
        Ok(status)
    }

    /// Whether a body can be sent.
    fn takes(&self, body: &str) -> bool {
        self.settings.method == Method::Post || body.len() <= GET_URL_BYTES_MAX
    }

    /// Makes one call; gives status and `Location`.
    async fn call(
        &self,
        call: Call,
        body: String,
        deadline: Instant,
    ) -> Result<(u16, Option<Vec<u8>>), Failure> {
        let answer = self.send(call, body, deadline).await;
        self.tally.on_call(call, answer.as_ref().ok().map(|(status, _)| *status));
        answer
    }

    async fn send(
        &self,
        call: Call,
        body: String,
        deadline: Instant,
    ) -> Result<(u16, Option<Vec<u8>>), Failure> {
        const FORM: &str = "application/x-www-form-urlencoded";
        let url = self.url(call).ok_or(Failure::Unreachable)?;
        let answer = match self.settings.method {
            Method::Post => {
                timeout_at(deadline, self.client.post(url, FORM, Vec::new(), body.into_bytes())).await
            }
            Method::Get => {
                let url = with_query(url, &body).ok_or(Failure::TooLong)?;
                timeout_at(deadline, self.client.get(&url)).await
            }
        };
        let answer = answer.map_err(|_| Failure::Timeout)??;
        let status = answer.status;
        let location = answer.header(&LOCATION).map(<[u8]>::to_vec);
        // Only the head counts. The body is read so that the connection can be used again, as far as it comes soon.
        let body_deadline = deadline.min(Instant::now() + BODY_TIME_MAX);
        let _ = timeout_at(body_deadline, answer.body(BODY_BYTES_MAX)).await;
        Ok((status, location))
    }

    pub(super) fn word(&self, status: u16) -> reply::Word {
        reply::word(status, self.settings.update_strict)
    }
}

fn denied() -> Verdict {
    Verdict::Deny(Denial { label: "nginx_denied", description: "this is not allowed".into() })
}

/// A URL with more in its query.
fn with_query(url: &Uri, query: &str) -> Option<Uri> {
    let joint = if url.query().is_some() { '&' } else { '?' };
    format!("{url}{joint}{query}").parse().ok()
}

/// The URL that a stream goes to or comes from; one that names an app alone takes the stream's name.
fn whole_url(url: String, name: &str) -> Result<String, Failure> {
    match ClientUrl::parse(&url) {
        Ok(parsed) if !parsed.name.is_empty() => Ok(url),
        Ok(parsed) if parsed.app.contains('?') => Err(Failure::Nonsense),
        Ok(_) => Ok(format!("{}/{}", url.trim_end_matches('/'), form::encoded(name))),
        Err(_) => Err(Failure::Nonsense),
    }
}

/// Milliseconds since 1970, as much of them as nginx-rtmp's clock has.
fn epoch_ms() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u32
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A body that does not come holds no call beyond its deadline: a question would keep its place with the broker for nothing.
    #[test]
    fn a_body_is_not_waited_for_beyond_the_deadline() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = NginxSettings {
            on_publish: format!("http://{}/", listener.local_addr().unwrap()),
            ..NginxSettings::default()
        };
        let (end, until_end) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").unwrap();
            let _ = until_end.recv();
        });
        let dialect =
            Dialect::new("t".into(), &settings, Client::new(None).unwrap(), Duration::ZERO).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended_first = runtime.block_on(async {
            let deadline = Instant::now() + BODY_TIME_MAX * 4 / 10;
            let call = dialect.call(Call::Publish, String::new(), deadline);
            // However late this thread runs: whichever timer is due earlier is looked at first.
            tokio::select! {
                biased;
                _ = call => true,
                () = tokio::time::sleep_until(deadline + BODY_TIME_MAX / 2) => false,
            }
        });
        drop(end);
        server.join().unwrap();
        assert!(ended_first);
    }

    #[test]
    fn a_forward_is_named_whole() {
        let whole = |url: &str| whole_url(url.into(), "a b");
        assert_eq!(whole("rtmp://h/live/x?a=1"), Ok("rtmp://h/live/x?a=1".into()));
        assert_eq!(whole("rtmp://h/live"), Ok("rtmp://h/live/a%20b".into()));
        assert_eq!(whole("rtmp://h/live/"), Ok("rtmp://h/live/a%20b".into()));
        assert_eq!(whole("rtmp://h/live?a=1"), Err(Failure::Nonsense));
    }

    #[test]
    fn fields_go_behind_the_query_of_a_url() {
        let url = |text: &str| with_query(&text.parse().unwrap(), "a=1").unwrap().to_string();
        assert_eq!(url("http://h/x"), "http://h/x?a=1");
        assert_eq!(url("http://h/x?key=2"), "http://h/x?key=2&a=1");
        assert_eq!(url("http://h"), "http://h/?a=1");
    }
}
