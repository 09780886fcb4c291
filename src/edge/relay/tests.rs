//! Forwarding over real sockets, with a made-up engine behind it.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Mutex;
use std::time::{Duration, Instant as StdInstant};

use tokio::sync::oneshot;

use super::life::{LifeState, Step};
use super::observe::{ForwardInfo, NamedBy};
use super::*;
use crate::runtime::observe::ConnectionId;
use crate::runtime::outside::{Facts, Grant, Totals};
use crate::runtime::{OutgoingEnd, OutgoingEvent, Start, Task};
use crate::session::StreamKey;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps what it is given.
#[derive(Default)]
struct Cores {
    taken: Mutex<Vec<Dialed>>,
    hung_up: Mutex<Vec<OutgoingId>>,
}

impl Engine for Arc<Cores> {
    fn take_over(&self, dialed: Dialed) {
        self.taken.lock().unwrap().push(dialed);
    }

    fn hang_up(&self, _: CoreId, id: OutgoingId) {
        self.hung_up.lock().unwrap().push(id);
    }
}

struct Stage {
    relay: Arc<Relay>,
    cores: Arc<Cores>,
    /// Its end ends the thread that does the work.
    _stop: oneshot::Sender<()>,
}

impl Stage {
    fn new(targets: Vec<Target>) -> Self {
        Self::with(Settings { targets, ..Settings::default() })
    }

    fn with(settings: Settings) -> Self {
        let (relay, work) = Relay::new(settings, NameHasher::random()).unwrap();
        let cores = Arc::new(Cores::default());
        let run = relay.run(Arc::clone(&cores), work);
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.spawn(run);
            // Ends with the sender.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        });
        Self { relay: Arc::new(relay), cores, _stop: stop }
    }

    fn begin(&self, name: &str, grant: Grant) {
        self.relay.notify(News::StreamBegan {
            stream: StreamKey::new("live", name),
            home: CoreId(1),
            grant: Arc::new(grant),
            facts: facts("token=secret"),
        });
    }

    fn play(&self, name: &str, params: &str) {
        self.play_granted(name, params, Grant::default());
    }

    fn play_granted(&self, name: &str, params: &str, grant: Grant) {
        let stream = StreamKey::new("live", name);
        let grant = Arc::new(grant);
        self.relay.notify(News::PlayBegan { facts: facts(params), stream, home: CoreId(1), grant });
    }

    fn play_no_more(&self, name: &str) {
        let (connection, totals) = (ConnectionId(1), Totals::default());
        let stream = StreamKey::new("live", name);
        self.relay.notify(News::PlayEnded { connection, stream, totals });
    }

    #[track_caller]
    fn pull(&self, what: &str, mut is_it: impl FnMut(&ForwardInfo) -> bool) -> ForwardInfo {
        self.wait(what, |stage| stage.relay.pulls().forwards().into_iter().find(&mut is_it))
    }

    #[track_caller]
    fn hung_up(&self, id: OutgoingId) {
        self.wait("it is hung up", |stage| stage.cores.hung_up.lock().unwrap().contains(&id).then_some(()));
        self.event(id, OutgoingEvent::Closed { end: OutgoingEnd::HungUp, totals: Totals::default() });
    }

    fn end(&self, name: &str) {
        self.end_on(1, name);
    }

    fn end_on(&self, core: u16, name: &str) {
        self.relay.notify(News::StreamEnded { stream: StreamKey::new("live", name), home: CoreId(core) });
    }

    fn event(&self, id: OutgoingId, event: OutgoingEvent) {
        self.relay.notify(News::Outgoing { id, event });
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, mut condition: impl FnMut(&Self) -> Option<T>) -> T {
        let start = StdInstant::now();
        loop {
            if let Some(value) = condition(self) {
                return value;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: {:?}", self.relay.board().forwards());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn taken(&self) -> Dialed {
        self.wait("a connection is handed over", |stage| stage.cores.taken.lock().unwrap().pop())
    }

    #[track_caller]
    fn forward(&self, what: &str, mut is_it: impl FnMut(&ForwardInfo) -> bool) -> ForwardInfo {
        self.wait(what, |stage| stage.relay.board().forwards().into_iter().find(&mut is_it))
    }
}

/// Of a publisher or player with this query.
pub(super) fn facts(params: &str) -> Arc<Facts> {
    Arc::new(Facts {
        connection: ConnectionId(1),
        peer: "10.0.0.1:1".parse().unwrap(),
        tls: false,
        server_name: None,
        host: Some("here.example".into()),
        tc_url: String::new(),
        flash_ver: String::new(),
        swf_url: String::new(),
        page_url: String::new(),
        params: params.into(),
        wish: None,
    })
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn target(url: &str) -> Target {
    Target { backoff_min: Duration::from_millis(100), ..Target::named(url).unwrap() }
}

/// Of other targets, those that are as before are not touched, those that are gone or changed are hung up, and those that are new or changed begin.
#[test]
fn targets_are_replaced_one_by_one() {
    let [(_one, one), (_two, two)] = [listener(), listener()];
    let at = |address: SocketAddr| target(&format!("rtmp://127.0.0.1:{}/in/{{name}}", address.port()));
    let stage = Stage::new(vec![at(one)]);
    stage.begin("a", Grant::default());
    let first = stage.taken();
    let replace = |targets| {
        drop(stage.relay.replace(Ways::read(&Settings { targets, ..Settings::default() }).unwrap()));
    };
    replace(vec![at(two), at(one)]);
    let second = stage.taken();
    assert_eq!((first.peer, second.peer), (one, two));
    replace(vec![at(one), at(two)]);
    replace(vec![at(one), Target { params: "k=1".into(), ..at(two) }]);
    stage.hung_up(second.id);
    let third = stage.taken();
    assert_eq!((third.peer, &*third.client.url.name), (two, "a?k=1"));
    replace(Vec::new());
    stage.hung_up(first.id);
    stage.hung_up(third.id);
    assert_eq!(stage.cores.hung_up.lock().unwrap().len(), 3, "nobody was hung up who was as before");
    // A stream that ends has nothing left, and one that begins goes nowhere.
    stage.end("a");
    stage.begin("b", Grant::default());
    stage.wait("nothing is forwarded", |stage| stage.relay.board().forwards().is_empty().then_some(()));
}

#[test]
fn a_stream_that_begins_is_connected_and_one_that_ends_is_hung_up() {
    let (listener, address) = listener();
    let url = format!("rtmp://localhost:{}/in/{{name}}?{{params}}&of={{host}}", address.port());
    let elsewhere = Target { app: "radio".into(), ..target("rtmp://127.0.0.1:9/a/b") };
    let stage = Stage::new(vec![elsewhere, Target { params: "k=1".into(), ..target(&url) }]);
    stage.begin("a b", Grant::default());
    let dialed = stage.taken();
    let mut far_end = listener.accept().unwrap().0;
    assert_eq!((dialed.home, dialed.peer.ip().is_loopback(), dialed.tls.is_none()), (CoreId(1), true, true));
    assert_eq!(dialed.task, Task::Forward { from: Start::Gop, queue: Target::default().queue });
    let there = &dialed.client.url;
    assert_eq!((&*there.app, &*there.name), ("in", "a%20b?token=secret&of=here.example&k=1"));
    let socket = socket2::SockRef::from(&dialed.socket);
    assert!(!socket.nonblocking().unwrap() && socket.tcp_nodelay().unwrap());

    let info = stage.forward("it starts", |info| info.state == LifeState::On(Step::Starting));
    assert_eq!((info.connection, info.named_by, info.is_active), (Some(dialed.id), NamedBy::File, false));
    assert_eq!(info.target, format!("rtmp://localhost:{}/in/…", address.port()));
    assert!(!format!("{:?}", (&dialed.client, &info.target, &info.last_error)).contains("secret"));
    stage.event(dialed.id, OutgoingEvent::Ready);
    stage.event(dialed.id, OutgoingEvent::Began);
    stage.forward("it is live", |info| info.state == LifeState::On(Step::Live) && info.is_active);
    assert_eq!(stage.relay.board().states()[&LifeState::On(Step::Live)], 1);

    // A connection that is lost is replaced.
    let totals = Totals { bytes: 1000, dropped: 3, ..Totals::default() };
    stage.event(dialed.id, OutgoingEvent::Closed { end: OutgoingEnd::Eof, totals });
    drop(dialed);
    assert_eq!(far_end.read(&mut [0; 1]).unwrap(), 0);
    let again = stage.taken();
    let Task::Forward { from, .. } = again.task else { panic!("a forward") };
    assert_eq!(from, Start::NextKeyFrame);
    let info = stage.forward("it shows what was", |info| info.bytes_before == 1000);
    assert_eq!((info.dropped_before, info.reconnects, &*info.last_error), (3, 1, "eof"));

    stage.end("a b");
    stage
        .wait("it is hung up", |stage| stage.cores.hung_up.lock().unwrap().contains(&again.id).then_some(()));
    stage.event(again.id, OutgoingEvent::Closed { end: OutgoingEnd::HungUp, totals: Totals::default() });
    stage.wait("it is gone", |stage| stage.relay.board().forwards().is_empty().then_some(()));
    let counts = stage.relay.board().counts();
    assert_eq!((counts.tries, counts.began, counts.bytes, counts.dropped), (2, 1, 1000, 3));
    assert_eq!(counts.lost.into_iter().collect::<Vec<_>>(), [("eof", 1)]);
}

/// News of two cores may come in either order: the end on a core where the stream does not live any more ends nothing.
#[test]
fn an_end_where_the_stream_is_no_more_is_not_its_end() {
    let (_listener, address) = listener();
    let stage = Stage::new(vec![target(&format!("rtmp://{address}/a/b"))]);
    stage.begin("a", Grant::default());
    let dialed = stage.taken();
    stage.end_on(0, "a");
    // All that is told is heard in its order.
    stage.begin("b", Grant::default());
    stage.taken();
    assert!(stage.cores.hung_up.lock().unwrap().is_empty());
    stage.event(dialed.id, OutgoingEvent::Ready);
    stage.forward("it goes on", |info| info.name == "a" && info.state == LifeState::On(Step::Ready));
    stage.end("a");
    stage.hung_up(dialed.id);
}

/// A publisher that comes and goes makes no more dials than the target's pauses allow.
#[test]
fn a_stream_that_begins_again_and_again_is_no_storm_of_dials() {
    let (_listener, address) = listener();
    let backoff_min = Duration::from_millis(1500);
    let stage = Stage::new(vec![Target { backoff_min, ..target(&format!("rtmp://{address}/a/{{name}}")) }]);
    stage.begin("a", Grant::default());
    let first = stage.taken();
    let start = StdInstant::now();
    for _ in 0..50 {
        stage.end("a");
        stage.begin("a", Grant::default());
    }
    stage.event(first.id, OutgoingEvent::Closed { end: OutgoingEnd::StreamGone, totals: Totals::default() });
    stage.wait("it is dialed again", |stage| (stage.relay.board().counts().tries == 2).then_some(()));
    // A pause after the beginning before the last one, which was no earlier than this.
    assert!(start.elapsed() >= backoff_min);
    assert_eq!(stage.taken().client.url.name, "a");
    // Another one does not wait.
    stage.begin("b", Grant::default());
    assert_eq!(stage.taken().client.url.name, "b");
    assert_eq!(stage.relay.board().counts().tries, 3);
}

fn upstream(address: SocketAddr, linger: Duration) -> Upstream {
    let mut upstream = Upstream::at(&format!("rtmp://{address}/{{app}}/{{name}}?{{params}}")).unwrap();
    upstream.source.backoff_min = Duration::from_millis(100);
    upstream.source.failover = Duration::from_millis(200);
    Upstream { linger, ..upstream }
}

/// One connection for all players, which goes when they have gone, and comes back with them; a publisher here has precedence.
#[test]
fn a_stream_is_pulled_while_somebody_plays_it_and_nobody_publishes_it() {
    let (_listener, address) = listener();
    let linger = Duration::from_millis(300);
    let stage = Stage::with(Settings { targets: Vec::new(), upstreams: vec![upstream(address, linger)] });
    stage.play("a", "token=secret");
    stage.play("a", "token=other");
    let first = stage.taken();
    assert_eq!((first.home, first.task, &*first.client.url.name), (CoreId(1), Task::Pull, "a?token=secret"));
    assert!(first.client.capabilities.multitrack() && !first.client.capabilities.reconnect());
    assert!(!format!("{:?}", stage.relay.pulls().forwards()).contains("secret"));
    stage.event(first.id, OutgoingEvent::Ready);
    stage.pull("it has no media yet", |info| info.state == LifeState::On(Step::Ready));
    stage.event(first.id, OutgoingEvent::Began);
    stage.begin("a", Grant::default());
    stage.pull("it has", |info| info.state == LifeState::On(Step::Live) && info.is_active);
    // It ends there, and is waited for.
    stage.end("a");
    stage.event(first.id, OutgoingEvent::Ended);
    stage.pull("it waits", |info| info.state == LifeState::On(Step::Ready) && !info.is_active);
    stage.play_no_more("a");
    stage.play("a", "");
    stage.play_no_more("a");
    stage.play_no_more("a");
    stage.hung_up(first.id);
    stage.wait("it is gone", |stage| stage.relay.pulls().forwards().is_empty().then_some(()));
    assert!(stage.cores.taken.lock().unwrap().is_empty(), "one was enough");

    stage.play("a", "k=2");
    let second = stage.taken();
    assert_eq!(second.client.url.name, "a?k=2");
    stage.begin("a", Grant::default());
    stage.hung_up(second.id);
    stage.wait("it stands back", |stage| stage.relay.pulls().forwards().is_empty().then_some(()));
    stage.end("a");
    stage.taken();
    let counts = stage.relay.pulls().counts();
    assert_eq!((counts.tries, counts.began, counts.targets_refused), (3, 1, 0));
    assert_eq!(stage.relay.board().counts().tries, 0);
}

/// A back end names where a stream comes from for those that it lets play it. They alone are counted; a publisher here has precedence.
#[test]
fn a_stream_is_pulled_from_where_a_back_end_says() {
    let (_listener, address) = listener();
    let named = || Grant { sources: vec![format!("rtmp://{address}/live/there")], ..Grant::default() };
    let stage = Stage::new(Vec::new());
    stage.play("a", "");
    stage.play_granted("a", "", named());
    let first = stage.taken();
    assert_eq!((first.home, first.task, &*first.client.url.name), (CoreId(1), Task::Pull, "there"));
    stage.event(first.id, OutgoingEvent::Ready);
    stage.event(first.id, OutgoingEvent::Began);
    stage.begin("a", Grant::default());
    let info = stage.pull("it is live", |info| info.state == LifeState::On(Step::Live));
    assert_eq!(info.named_by, NamedBy::BackEnd);
    // Another's end is not the end of whom it was pulled for.
    stage.relay.notify(News::PlayEnded {
        connection: ConnectionId(2),
        stream: StreamKey::new("live", "a"),
        totals: Totals::default(),
    });
    stage.play_granted("a", "", named());
    stage.play_no_more("a");
    // What is published here is not pulled for another, until it ends.
    stage.begin("b", Grant::default());
    stage.play_granted("b", "", named());
    stage.end("b");
    assert_eq!(stage.taken().client.url.name, "there");
    let pulls = stage.relay.pulls();
    assert_eq!((pulls.counts().tries, pulls.forwards().len()), (2, 2), "one for each stream");
    assert!(!stage.cores.hung_up.lock().unwrap().contains(&first.id));
    stage.play_no_more("a");
    stage.hung_up(first.id);
    // More than may be named, and what is no address, are counted and not pulled from.
    let mut sources = vec!["rtmp://127.0.0.1:9/a/b".into(); conductor::NAMED_MAX];
    sources.extend(["http://h/a/b".into(), "rtmp://h/a/b".into()]);
    sources[0] = "rtmp:///".into();
    stage.play_granted("c", "", Grant { sources, ..Grant::default() });
    stage.wait("they are refused", |stage| (stage.relay.pulls().counts().targets_refused == 3).then_some(()));
}

/// The first upstream says yes and has nothing: the next one is tried beside it, and has the stream alone when media comes from there.
#[test]
fn upstreams_are_tried_in_their_order_until_one_has_the_stream() {
    let (_one, one) = listener();
    let (_two, two) = listener();
    let upstreams = vec![upstream(one, Duration::ZERO), upstream(two, Duration::ZERO)];
    let stage = Stage::with(Settings { targets: Vec::new(), upstreams });
    stage.play("a", "");
    let empty = stage.taken();
    assert_eq!(empty.peer, one);
    stage.event(empty.id, OutgoingEvent::Ready);
    let full = stage.taken();
    assert_eq!(full.peer, two);
    stage.event(full.id, OutgoingEvent::Ready);
    stage.event(full.id, OutgoingEvent::Began);
    stage.begin("a", Grant::default());
    stage.hung_up(empty.id);
    stage.pull("the other has it", |info| info.is_active && info.target.contains(&two.port().to_string()));
    // When that one has no more, the first is asked again.
    stage.end("a");
    stage.event(full.id, OutgoingEvent::Ended);
    assert_eq!(stage.taken().peer, one);
}

/// What was pulled is forwarded, but never to where it can have come from.
#[test]
fn a_pulled_stream_is_not_forwarded_to_its_source() {
    let (_source, source) = listener();
    let (_other, other) = listener();
    let targets = vec![
        target(&format!("rtmp://{source}/back/{{name}}")),
        target(&format!("rtmp://{other}/on/{{name}}")),
    ];
    let stage = Stage::with(Settings { targets, upstreams: vec![upstream(source, Duration::ZERO)] });
    stage.play("a", "");
    let pull = stage.taken();
    stage.event(pull.id, OutgoingEvent::Began);
    stage.begin("a", Grant::default());
    let forward = stage.taken();
    assert_eq!((forward.peer, &*forward.client.url.app), (other, "on"));
    let forwards = stage.relay.board().forwards();
    assert_eq!(forwards.len(), 1, "{forwards:?}");
    // What others publish is.
    stage.begin("b", Grant::default());
    stage.forward("it goes to both", |info| info.name == "b" && info.target.contains("/back/"));
}

#[test]
fn targets_of_a_back_end_are_used_and_bad_ones_are_counted() {
    let (_listener, address) = listener();
    let good = format!("rtmp://{address}/a/secret");
    let stage = Stage::new(Vec::new());
    let mut forwards = vec!["http://h/a/b".to_owned(), "rtmp://{host}/a/b".into(), good];
    stage.begin("one", Grant { forwards: forwards.clone(), ..Grant::default() });
    assert_eq!(stage.taken().client.url.name, "secret");
    assert_eq!(stage.forward("it shows", |_| true).named_by, NamedBy::BackEnd);
    assert_eq!(stage.relay.board().counts().targets_refused, 2);
    // A dry run goes nowhere; of too many the first are taken.
    stage.begin("dry", Grant { forwards: forwards.clone(), dry_run: true, ..Grant::default() });
    forwards.resize(conductor::NAMED_MAX + 5, "rtmp://127.0.0.1:9/a/b".into());
    stage.begin("many", Grant { forwards, ..Grant::default() });
    stage.taken();
    stage.wait("all are counted", |stage| {
        (stage.relay.board().counts().targets_refused == 2 + 2 + 5).then_some(())
    });
    let forwards = stage.relay.board().forwards();
    assert!(forwards.iter().all(|info| info.name != "dry"));
    assert_eq!(forwards.len(), 1 + conductor::NAMED_MAX - 2);
}

/// One that refuses, one that does not speak TLS, one that says nothing: each fails by its own name, and the one beside them is served.
#[test]
fn what_a_target_does_is_its_own_affair() {
    let (good, good_address) = listener();
    let (silent, silent_address) = listener();
    let (plain, plain_address) = listener();
    let talks = std::thread::spawn(move || {
        let (mut socket, _) = plain.accept().unwrap();
        std::io::Write::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = socket.read(&mut [0; 4096]);
    });
    let refuses = listener().1;
    let quick = |url: String| Target { step_max: Duration::from_millis(500), ..target(&url) };
    let stage = Stage::new(vec![
        quick(format!("rtmp://{refuses}/a/b")),
        quick(format!("rtmps://{silent_address}/a/b")),
        quick(format!("rtmps://{plain_address}/a/b")),
        quick("rtmp://no.such.name.invalid/a/b".into()),
        quick(format!("rtmp://{good_address}/a/b")),
    ]);
    stage.begin("one", Grant::default());
    assert_eq!(stage.taken().peer, good_address);
    drop(good);
    for label in ["connect", "tls_timeout", "tls_handshake", "name"] {
        stage.wait(label, |stage| stage.relay.board().counts().lost.contains_key(label).then_some(()));
    }
    let info = stage.forward("it waits", |info| {
        info.target.contains(&refuses.port().to_string()) && info.next_try.is_some()
    });
    assert_eq!(info.last_error, "cannot connect: connection refused");
    talks.join().unwrap();
    drop(silent);
}

/// A listener whose queue is full, so that the kernel answers no further connection; and what fills it.
fn black_hole() -> (socket2::Socket, Vec<TcpStream>, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok();
    let fill: Vec<_> = std::iter::from_fn(connect).take(10).collect();
    assert!(fill.len() < 10, "it goes on taking connections");
    (socket, fill, address)
}

/// Sockets of this host that wait for an answer from an address (`SYN_SENT`), by their own: the file is read in pieces, and says of some twice
/// what comes and goes meanwhile.
fn half_open(to: SocketAddr) -> usize {
    let to = format!(":{:04X} 02 ", to.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let waiting = table.lines().filter(|line| line.contains(&to));
    waiting.filter_map(|line| line.split_whitespace().nth(1)).collect::<std::collections::HashSet<_>>().len()
}

/// Every stream has a target that swallows what is sent to it, and a good one. All of them get to the good one while no more sockets than may be
/// wait for the other; and the dials to that one fail as often as they were made, also those that have waited longer than they may take.
#[test]
fn a_black_hole_has_a_bounded_number_of_sockets_and_the_target_beside_it_is_served() {
    const STREAMS: usize = places::PER_HOST_MAX + 36;
    let (_hole, _fill, hole) = black_hole();
    let (good, good_address) = listener();
    std::thread::spawn(move || good.incoming().collect::<Vec<_>>());
    let swallows = Target {
        step_max: Duration::from_secs(1),
        backoff_min: Duration::from_secs(60),
        ..target(&format!("rtmp://{hole}/a/b"))
    };
    let stage = Stage::new(vec![swallows, target(&format!("rtmp://{good_address}/a/b"))]);
    (0..STREAMS).for_each(|stream| stage.begin(&stream.to_string(), Grant::default()));
    let mut most = 0;
    stage.wait("all are tried everywhere", |stage| {
        most = most.max(half_open(hole));
        assert!(most <= places::PER_HOST_MAX, "{most} sockets");
        let counts = stage.relay.board().counts();
        let failed = counts.lost.get("connect_timeout").copied().unwrap_or_default();
        let taken = stage.cores.taken.lock().unwrap().len();
        (failed == STREAMS as u64 && taken == STREAMS).then_some(())
    });
    assert!(most > places::PER_HOST_MAX / 2, "{most} sockets: it is no black hole");
    let counts = stage.relay.board().counts();
    assert_eq!((counts.tries, counts.lost.len()), (2 * STREAMS as u64, 1));
    assert!(stage.cores.taken.lock().unwrap().iter().all(|dialed| dialed.peer == good_address));
    let counts = stage.relay.dials().of(places::Kind::Plain).counts();
    assert!(counts.waited >= (STREAMS - places::PER_HOST_MAX) as u64, "{counts:?}");
    assert_eq!((counts.in_flight, counts.waiting), (0, 0));
}

/// A server of ours: TLS by its own code, whose certificate is trusted or not as the target says.
#[test]
fn tls_is_spoken_with_whom_the_target_trusts() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = std::env::temp_dir().join(format!("inrush-relay-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let ca_file = directory.join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
    let config = Arc::new(config);
    let (listener, address) = listener();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket: TcpStream = socket.unwrap();
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            std::thread::spawn(move || {
                while connection.is_handshaking() && connection.complete_io(&mut socket).is_ok() {}
                let _ = connection.complete_io(&mut socket);
            });
        }
    });
    let url = |host: &str| format!("rtmps://{host}:{}/a/b", address.port());
    let trusting = |target: Target| Target { tls_ca_file: Some(ca_file.clone()), ..target };
    let cases = [
        ("its own", trusting(target(&url("localhost"))), None),
        ("anybody", Target { tls_verify: false, ..target(&url("127.0.0.1")) }, None),
        ("another's name", trusting(target(&url("127.0.0.1"))), Some("tls_certificate")),
        ("nobody we know", target(&url("localhost")), Some("tls_certificate")),
    ];
    for (what, target, failure) in cases {
        let stage = Stage::new(vec![target]);
        stage.begin(what, Grant::default());
        match failure {
            None => {
                let dialed = stage.taken();
                let tls = dialed.tls.expect("over TLS");
                assert!(tls.can_seal(), "{what}");
                assert_eq!(tls.info().unwrap().version, "TLSv1.3");
                assert!(dialed.socket.as_fd().try_clone_to_owned().is_ok());
            }
            Some(label) => {
                let lost =
                    |stage: &Stage| stage.relay.board().counts().lost.contains_key(label).then_some(());
                stage.wait(what, lost);
                assert!(stage.cores.taken.lock().unwrap().is_empty(), "{what}");
            }
        }
    }
    // A file that is replaced in place is another, though its name is the same: who could not be trusted is dialed anew.
    let replaced_file = directory.join("replaced.pem");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&replaced_file, other.cert.pem()).unwrap();
    let settings = Settings {
        targets: vec![Target { tls_ca_file: Some(replaced_file.clone()), ..target(&url("localhost")) }],
        ..Settings::default()
    };
    let stage = Stage::with(settings.clone());
    stage.begin("replaced", Grant::default());
    stage.wait("it is not trusted", |stage| {
        stage.relay.board().counts().lost.contains_key("tls_certificate").then_some(())
    });
    std::fs::write(&replaced_file, made.cert.pem()).unwrap();
    stage.relay.replace(Ways::read(&settings).unwrap()).blocking_recv().unwrap();
    assert!(stage.taken().tls.is_some());
    // A redirect leads from a target without TLS to it: the web's roots do not know this one, and the stream stays where it is.
    let (_plain, plain) = self::listener();
    let stage = Stage::new(vec![target(&format!("rtmp://{plain}/a/b"))]);
    stage.begin("sent on", Grant::default());
    let dialed = stage.taken();
    stage.event(dialed.id, OutgoingEvent::Ready);
    stage.event(dialed.id, OutgoingEvent::Began);
    let there = crate::session::ClientUrl::parse(&url("localhost")).unwrap();
    stage.event(dialed.id, OutgoingEvent::Reconnect { url: there });
    stage.wait("certificates are asked for", |stage| {
        let lost = stage.relay.board().counts().lost;
        assert!(!lost.contains_key("tls"), "{lost:?}");
        lost.contains_key("tls_certificate").then_some(())
    });
    stage.forward("it is live", |info| info.state == LifeState::On(Step::Live));
    std::fs::remove_dir_all(&directory).unwrap();
}
