//! The task with a real back end.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::edge::auth::nginx::{GET_URL_BYTES_MAX, Method, NginxSettings};
use crate::edge::auth::rules::Rules;
use crate::edge::auth::tests::question;
use crate::edge::auth::{Auth, AuthSettings, AuthTable, Source};
use crate::hub::CoreId;
use crate::runtime::outside::{News, Notify as _};

const PATIENCE: Duration = Duration::from_secs(20);

/// A back end that answers each path with the status in it, and remembers them. It ends with its runtime.
struct BackEnd {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl BackEnd {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let hears = Arc::clone(&hears);
                tokio::spawn(async move {
                    let mut bytes = vec![0; 256 * 1024];
                    let (mut len, mut text) = (0, String::new());
                    while !is_whole(&text) {
                        match socket.read(&mut bytes[len..]).await {
                            Ok(0) | Err(_) => return,
                            Ok(more) => len += more,
                        }
                        text = String::from_utf8_lossy(&bytes[..len]).into_owned();
                    }
                    let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
                    let status = target.split(['/', '?']).nth(1).unwrap_or_default().to_owned();
                    let call = text.split("&call=").nth(1).unwrap_or_default();
                    let call = call.split(['&', ' ']).next().unwrap_or_default();
                    let path = target.split('?').next().unwrap_or_default();
                    hears.lock().unwrap().push(format!("{path} {call}"));
                    let answer =
                        format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    let _ = socket.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { url, heard }
    }

    fn count(&self, what: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|one| *one == what).count()
    }

    /// Waits until it has heard this so often from now on.
    async fn hear(&self, what: &str, more: usize) {
        let before = self.count(what);
        until(&format!("{more} more {what}"), || self.count(what) >= before + more).await;
    }
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    body.len() >= length.unwrap_or(0)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
}

fn rules(set: impl Fn(&mut NginxSettings)) -> Rules {
    let mut nginx = NginxSettings::default();
    set(&mut nginx);
    let sources = if nginx == NginxSettings::default() { Source::Open } else { Source::Nginx };
    let table = AuthTable { app: "live".into(), publish: vec![sources], nginx, ..AuthTable::default() };
    Rules::new(&AuthSettings { tables: vec![table], keys: Vec::new() }).unwrap()
}

fn facts(connection: u64, params: &str) -> Arc<Facts> {
    let facts = Arc::unwrap_or_clone(question("live", "test", params).facts);
    Arc::new(Facts { connection: ConnectionId(connection), ..facts })
}

impl Auth {
    fn begin(&self, connection: u64) {
        let (facts, stream) = (facts(connection, ""), StreamKey::new("live", "test"));
        self.notify(News::PublishBegan { facts, stream, home: CoreId(0), grant: Arc::default() });
    }

    fn end(&self, connection: u64) {
        let (connection, stream) = (ConnectionId(connection), StreamKey::new("live", "test"));
        self.notify(News::PublishEnded { connection, stream, totals: Default::default() });
    }

    /// Sessions and what is counted of them, by table.
    fn told_of(&self) -> Vec<(String, Counters)> {
        self.tallies.lock().unwrap().iter().map(|(table, tally)| (table.clone(), tally.lives())).collect()
    }
}

/// What is left of a publisher's end when it has been told once.
async fn report(settings: &NginxSettings, params: &str) -> Report {
    let client = crate::edge::http::Client::new(None).unwrap();
    let dialect = Arc::new(Dialect::new("live".into(), settings, client, PATIENCE).unwrap());
    let mut lives = Lives::new(dialect.lives());
    let stream = StreamKey::new("live", "test");
    // As where the query stands in the app.
    let facts = Facts { tc_url: format!("rtmp://h/live?{params}"), ..(*facts(1, params)).clone() };
    lives.handle_began(Instant::default(), Action::Publish, stream.clone(), Arc::new(facts));
    lives.handle_ended(Instant::default(), ConnectionId(1), Action::Publish, &stream);
    let Some(Output::Tell(report)) = lives.poll_output(Instant::default()) else { panic!("nothing is told") };
    let Done::Told(left) = tell(dialect, report).await else { panic!("it is no report") };
    left
}

/// A table that says the same goes on with its sessions. One that says something else does not: who began before is asked about no more, but its
/// end is told where it began. What is counted goes on by the table's name, also when the table has gone.
#[tokio::test]
async fn a_new_configuration_updates_what_is_its_own() {
    let back_end = BackEnd::start().await;
    let on = |path: &str| {
        let url = format!("{}/200/{path}", back_end.url);
        rules(move |nginx| {
            nginx.on_update = url.clone();
            nginx.on_publish_done = url.clone();
            nginx.update_every = Duration::from_millis(20);
        })
    };
    let runtime = tokio::runtime::Handle::current();
    let (auth, reporter) = Auth::start(on("a"), runtime, Arc::new(OnceLock::new()));
    auth.begin(1);
    back_end.hear("/200/a update_publish", 2).await;

    auth.replace(on("a"));
    back_end.hear("/200/a update_publish", 3).await;

    auth.replace(on("b"));
    auth.begin(2);
    back_end.hear("/200/b update_publish", 1).await;
    // One may have been under way.
    let before = back_end.count("/200/a update_publish");
    back_end.hear("/200/b update_publish", 4).await;
    assert!(back_end.count("/200/a update_publish") <= before + 1);
    let two = Counters { sessions_now: 2, ..Counters::default() };
    assert_eq!(auth.told_of(), [("live".to_owned(), two)]);

    auth.replace(rules(|_| ()));
    auth.end(1);
    back_end.hear("/200/a publish_done", 1).await;
    until("one is left", || auth.told_of()[0].1.sessions_now == 1).await;
    auth.end(2);
    back_end.hear("/200/b publish_done", 1).await;
    until("nobody is left", || auth.told_of() == [("live".to_owned(), Counters::default())]).await;
    auth.replace(rules(|_| ()));
    assert_eq!(auth.told_of(), []);
    reporter.finish().await;
}

/// A call that nobody takes is made again, and takes none of the others with it.
#[tokio::test]
async fn a_call_that_nobody_takes_keeps_no_other_from_being_made() {
    let back_end = BackEnd::start().await;
    let settings = NginxSettings {
        on_publish_done: format!("{}/503/done", back_end.url),
        on_done: format!("{}/200/done", back_end.url),
        ..NginxSettings::default()
    };
    let report = report(&settings, "").await;
    assert_eq!(report.calls, [Call::PublishDone]);
    assert_eq!(*back_end.heard.lock().unwrap(), ["/503/done publish_done", "/200/done done"]);
}

/// An error is an answer, as for nginx-rtmp, which looks at none: who has heard of an end is not told again.
#[tokio::test]
async fn an_end_that_was_heard_is_told() {
    let back_end = BackEnd::start().await;
    for (status, is_told) in [
        (200, true),
        (302, true),
        (404, true),
        (500, true),
        (501, true),
        (505, true),
        (502, false),
        (504, false),
    ] {
        let on_done = format!("{}/{status}", back_end.url);
        let report = report(&NginxSettings { on_done, ..NginxSettings::default() }, "").await;
        assert_eq!(report.calls.is_empty(), is_told, "{status}");
    }
}

/// A no is for the session that was asked about. If that has ended before the answer is dealt with, or before the engine has heard of it, what
/// its connection does since goes on.
#[tokio::test]
async fn a_no_ends_no_session_that_came_after() {
    let back_end = BackEnd::start().await;
    let on_update = format!("{}/403", back_end.url);
    let settings =
        NginxSettings { on_update, update_every: Duration::from_millis(1), ..NginxSettings::default() };
    let client = crate::edge::http::Client::new(None).unwrap();
    let dialect = Arc::new(Dialect::new("live".into(), &settings, client, PATIENCE).unwrap());
    let (sender, mut items) = mpsc::unbounded_channel();
    let (action, stream) = (Action::Publish, StreamKey::new("live", "test"));
    let begin =
        || Item::Began { dialect: Arc::clone(&dialect), action, stream: stream.clone(), facts: facts(1, "") };
    let end = || Item::Ended { connection: ConnectionId(1), action, stream: stream.clone() };
    let mut desk = Desk::new(Arc::new(OnceLock::new()));
    desk.handle(begin());
    let turns = [(true, false, 0), (false, true, 0), (true, false, 0), (false, false, 1)];
    for (turn, (ends_before_the_answer, ends_after, closed)) in (1..).zip(turns) {
        until("the session is asked about", || {
            desk.work();
            !desk.tasks.is_empty()
        })
        .await;
        let done = desk.tasks.join_next_with_id().await.unwrap();
        if ends_before_the_answer {
            sender.send(end()).unwrap();
            sender.send(begin()).unwrap();
        }
        desk.answered(&mut items, done);
        if ends_after {
            sender.send(end()).unwrap();
            sender.send(begin()).unwrap();
        }
        desk.hear(&mut items);
        let later = desk.now() + PATIENCE * turn;
        let connections = desk.poll_closing(later);
        assert_eq!(connections.len(), closed, "{ends_before_the_answer} {ends_after}");
    }
    desk.work();
    assert_eq!(dialect.tally.lives().ended, 2, "each no to a session that was still there");
}

/// Another source may let somebody in whose query is too long for the URL of a GET.
#[tokio::test]
async fn a_query_that_is_too_long_for_a_url_is_left_out() {
    let back_end = BackEnd::start().await;
    for method in [Method::Get, Method::Post] {
        let on_done = format!("{}/200", back_end.url);
        let settings = NginxSettings { on_done, method, ..NginxSettings::default() };
        let params = format!("key={}", "x".repeat(GET_URL_BYTES_MAX));
        assert_eq!(report(&settings, &params).await.calls, [], "{method:?}");
    }
    assert_eq!(back_end.count("/200 done"), 2);
}
