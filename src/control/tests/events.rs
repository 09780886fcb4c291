//! What listeners to `/api/v1/events` hear.

use std::io::BufRead as _;
use std::io::BufReader;

use super::*;
use crate::control::dashboard::events::LISTENERS_MAX;
use crate::control::dashboard::snapshot::ENTRIES_MAX;

/// One who listens. HTTP/1.0, so that the events come without the frames of chunked encoding.
struct Listener(BufReader<TcpStream>);

impl Listener {
    /// The status of the answer, and whoever listens from then on.
    fn new(address: SocketAddr, headers: &str) -> (u16, Self) {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(socket, "GET /api/v1/events HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n").unwrap();
        let mut listener = Self(BufReader::new(socket));
        let status = listener.line().split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        let head: Vec<String> =
            std::iter::from_fn(|| Some(listener.line()).filter(|line| !line.is_empty())).collect();
        let is_stream = head.iter().any(|line| line.eq_ignore_ascii_case("content-type: text/event-stream"));
        assert_eq!(is_stream, status == 200, "{head:?}");
        (status, listener)
    }

    fn next(&mut self) -> Value {
        let line = self.line();
        let json = line.strip_prefix("data: ").unwrap_or_else(|| panic!("{line:?}"));
        assert_eq!(self.line(), "");
        let snapshot = serde_json::from_str(json).unwrap();
        document::assert_is_one("Snapshot", &snapshot);
        snapshot
    }

    /// Without its line feed.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line in time");
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// Whether the connection has ended, rather than gone on for as long as we have patience.
    fn has_ended(&mut self) -> bool {
        loop {
            match self.0.fill_buf().map(<[u8]>::len) {
                Ok(0) => return true,
                Ok(count) => self.0.consume(count),
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

#[test]
fn a_listener_hears_a_snapshot_a_second_with_what_the_api_says() {
    let (server, engine) = serve();
    *engine.streams.lock().unwrap() = vec![stream(1, "live", "b"), stream(0, "live", "a\n\u{2028}<b>")];
    engine.counts[1].publish(&Counts { publishers: 2, polling: 1, wakeups: 7, ..Counts::default() });
    server.attach_forwards(Arc::new(Targets(vec![forward("a", "rtmp://a/live/…", LifeState::Waiting)])));
    let (status, mut listener) = Listener::new(server.address(), "");
    assert_eq!(status, 200);
    let first = listener.next();
    assert_eq!((&first["node"]["state"], &first["streams_count"]), (&json!("ready"), &json!(2)));
    assert_eq!(first["node"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&first["bits_in_per_second"], &first["streams_unhealthy"]), (&json!(6_000_000), &json!(2)));
    assert_eq!(first["streams"], get(server.address(), "/api/v1/streams").1["streams"]);
    assert_eq!(first["forwards"][0]["state"], "waiting");
    assert_eq!((&first["forwards_count"], &first["pulls_count"]), (&json!(1), &json!(0)));
    let core = &first["cores"][1];
    assert_eq!((&core["publishers"], &core["wakeups"]), (&json!(2), &json!(7)));
    assert_eq!((&core["polling"], &core["stalled"]), (&json!(true), &json!(false)));
    let latency = first["histograms"].as_array().unwrap().iter().find(|it| it["name"] == "read_to_written");
    assert_eq!(latency.expect("the time inside")["buckets"].as_array().map(Vec::len), Some(17));
    assert!(!first["histograms"].to_string().contains("\"receive\""), "sizes are no durations");

    engine.draining.store(true, Ordering::Relaxed);
    engine.stalled[1].store(true, Ordering::Relaxed);
    let start = Instant::now();
    let second = (0..3).map(|_| listener.next()).last().unwrap();
    assert!(start.elapsed() > Duration::from_millis(1_500), "no more than one a second");
    assert_eq!((&second["node"]["state"], &second["stalled_cores"]), (&json!("draining"), &json!([1])));
    assert_eq!((&second["streams_count"], &second["cores"][1]["stalled"]), (&json!(1), &json!(true)));
    drop(server);
    assert!(listener.has_ended(), "with the server");
}

#[test]
fn what_is_wrong_comes_first_and_then_the_highest_bitrate() {
    let (server, engine) = serve();
    let with = |name: &str, bits_in_per_second, health| StreamInfo {
        bits_in_per_second,
        health,
        ..stream(0, "live", name)
    };
    let mut streams: Vec<_> =
        (0..500).map(|number| with(&format!("s{number}"), number, Vec::new())).collect();
    streams.insert(250, with("ill", 0, stream(0, "", "").health));
    *engine.streams.lock().unwrap() = streams;
    let snapshot = Listener::new(server.address(), "").1.next();
    let names: Vec<_> = snapshot["streams"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names.len(), ENTRIES_MAX);
    assert_eq!((names[0], names[1], names[2]), (&json!("ill"), &json!("s499"), &json!("s498")));
    assert_eq!((&snapshot["streams_count"], &snapshot["streams_unhealthy"]), (&json!(501), &json!(1)));
}

#[test]
fn before_the_engine_runs_there_is_little_to_tell() {
    let server = start_on("127.0.0.1:0");
    let snapshot = Listener::new(server.address(), "").1.next();
    assert_eq!(snapshot["node"]["state"], "starting");
    assert_eq!((&snapshot["streams"], &snapshot["cores"]), (&json!([]), &json!([])));
}

#[test]
fn places_are_bounded_counted_and_become_free() {
    let (server, _engine) = serve();
    let mut all: Vec<_> = (0..LISTENERS_MAX).map(|_| Listener::new(server.address(), "")).collect();
    assert!(all.iter().all(|(status, _)| *status == 200));
    let (status, mut refused) = Listener::new(server.address(), "");
    assert_eq!((status, refused.line().contains("too many listeners")), (503, true));
    let (_, _, metrics) = request(server.address(), "GET /metrics", "");
    assert!(metrics.contains(&format!("\ninrush_control_listeners {LISTENERS_MAX}\n")), "{metrics}");
    all.pop();
    let deadline = Instant::now() + Duration::from_secs(20);
    while Listener::new(server.address(), "").0 != 200 {
        assert!(Instant::now() < deadline, "one has gone, and its place is not free");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn listeners_say_the_token_and_go_when_it_changes() {
    let (token, path) = token_file("listeners");
    let settings = Settings { token: Some(token), ..Settings::default() };
    let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), ..settings };
    let server: Server<Arc<Engine>> = start(&settings).unwrap();
    assert_eq!(Listener::new(server.address(), "").0, 401);
    let say = |token: &str| Listener::new(server.address(), &format!("Authorization: Bearer {token}\r\n"));
    let (status, mut listener) = say(TOKEN);
    assert_eq!((status, &listener.next()["node"]["state"]), (200, &json!("starting")));
    assert!(!server.change_door(server.door(&settings).expect("a door")));
    listener.next();
    std::fs::write(&path, "another-token-of-30-characters").unwrap();
    assert!(server.change_door(server.door(&settings).expect("a door")));
    assert!(listener.has_ended());
    assert_eq!((say(TOKEN).0, say("another-token-of-30-characters").0), (401, 200));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn other_sites_pages_hear_nothing() {
    let (server, _engine) = serve();
    assert_eq!(Listener::new(server.address(), "Origin: http://evil.example\r\n").0, 403);
}
