//! How a server that goes down lets go of those it serves: who understands is asked to connect again, of everybody else the last group of
//! pictures is whole.
#![cfg(feature = "engine")]

mod support;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::PATIENCE;
use support::amf::Amf;
use support::client::{Client, Event, RECONNECT_REQUEST, Status};
use support::crowd::Crowd;
use support::ffmpeg::{GENERATIONS, Publisher};
use support::fleet;
use support::flv::{Kind, Tag};
use support::media::{H264_AAC, THIN};
use support::packets::{Packet, Role};
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers, stamp};
use support::wait_until;
use support::wire::{ChunkWriter, Message};

/// What is said last to whoever is closed by a drain.
const GOING_DOWN: &str = "NetConnection.Connect.AppShutdown";

/// Key frames every 200 ms: there are several in a quarter of any drain here.
const SHORT_GOPS: Pattern = Pattern { frame_ms: 40, gop_frames: 5, video_bytes: 1000, audio_bytes: 100 };

/// All statuses up to the end of the connection.
fn statuses_to_the_end(client: &mut Client) -> Vec<Status> {
    let mut statuses = Vec::new();
    loop {
        match client.next_event(PATIENCE) {
            Some(Event::Status(status)) => statuses.push(status),
            Some(Event::Closed) => return statuses,
            Some(_) => {}
            None => panic!("nothing came for {PATIENCE:?}"),
        }
    }
}

fn count(statuses: &[Status], code: &str) -> usize {
    statuses.iter().filter(|status| status.code == code).count()
}

/// Sends a synthetic stream in real time until the server says that it goes down, and waits for its close. Gives how long that took.
fn publish_to_the_end(client: &mut Client, pattern: &Pattern) -> Duration {
    let start = Instant::now();
    for number in 0.. {
        let due = Duration::from_millis(pattern.timestamp(number).into());
        // At least a look, also when late.
        let left = due.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        let deadline = Instant::now() + left;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            match client.next_event(left) {
                Some(Event::Status(status)) if status.code == GOING_DOWN => {
                    assert_eq!(status.level, "error");
                    assert!(client.wait_for_close(PATIENCE));
                    return start.elapsed();
                }
                Some(Event::Status(status)) => panic!("{status:?}"),
                Some(Event::Closed) => panic!("closed without a word"),
                Some(_) | None => {}
            }
        }
        client.send_tag(&pattern.tag(number));
    }
    unreachable!("a stream has no last number")
}

/// Waits until every core has swept a few times more: what a sweep would do again has then been done again.
fn wait_for_sweeps(server: &Server) {
    let swept = |server: &Server| server.metrics().counter("sweeps");
    let before = swept(server);
    wait_until("cores sweep", PATIENCE, || (swept(server) >= before + 12).then_some(()));
}

/// A publisher and a player that said that they understand get one request each, with the configured URL and their own app, also when the
/// publisher has moved between cores; the stream goes on meanwhile, and the drain ends when the publisher has gone.
#[test]
fn who_understands_is_asked_once_and_the_drain_ends_early() {
    for placement in ["core:0", "core:1"] {
        let config = "[engine]\ndrain_seconds = 3600\nreconnect_url = \"rtmp://other.example:1936\"\n";
        let server = Inrush::new().cores(2).placement(placement).config(config).start();
        let mut publisher = Client::open(server.rtmp()).connect_movable("live").publish("moves");
        let mut player = Client::open(server.rtmp()).connect_movable("live").play("moves");
        let mut silent =
            Client::open(server.rtmp()).connect_with("live", &[("capsEx", 14.0.into())]).0.play("moves");
        server.wait_for_players("live", "moves", 2);
        sequence_headers(&THIN.media()).iter().for_each(|header| publisher.send_tag(header));
        publisher.send_tag(&SHORT_GOPS.tag(0));

        server.process().signal(libc::SIGTERM);
        for client in [&mut publisher, &mut player] {
            let request = client.wait_for("the request", |event| match event {
                Event::Status(status) if status.code == RECONNECT_REQUEST => Some(status),
                _ => None,
            });
            assert_eq!((&*request.level, &*request.tc_url), ("status", "rtmp://other.example:1936/live"));
            assert!(!request.description.is_empty());
        }
        wait_for_sweeps(&server);
        assert_eq!(server.metrics().counter("reconnect_requests"), 2);

        // It is still served.
        publisher.send_tag(&SHORT_GOPS.tag(1));
        player.wait_for("the next frame", |event| match event {
            Event::Media(tag) => stamp(tag.kind, &tag.body).filter(|stamp| stamp.number == 1),
            _ => None,
        });
        publisher.unpublish();
        server.wait_for_end();
        for client in [&mut player, &mut silent] {
            let statuses = statuses_to_the_end(client);
            assert_eq!(count(&statuses, RECONNECT_REQUEST), 0, "once, or never");
            assert_eq!(count(&statuses, GOING_DOWN), 1);
        }
    }
}

/// Without a configured URL the request has none, and who connects while the drain is on is asked as well.
#[test]
fn who_connects_during_a_drain_is_asked_to_come_back() {
    let server = Inrush::new().config("[engine]\ndrain_seconds = 3600\n").start();
    let publisher = Client::open(server.rtmp()).connect("live").publish("stays");
    let late = Client::open(server.rtmp());
    server.process().signal(libc::SIGTERM);
    wait_until("the server says that it is not ready", PATIENCE, || {
        server.try_get("/readyz").is_ok_and(|answer| answer.status == 503).then_some(())
    });
    let mut late = late.connect_movable("live");
    let request = late.wait_for_status();
    assert_eq!((&*request.code, &*request.tc_url), (RECONNECT_REQUEST, ""));
    let refusal = late.request_publish("late");
    assert_eq!(refusal.level, "error", "{refusal:?}");
    publisher.unpublish();
    server.wait_for_end();
}

/// A publisher that does not understand is left alone for three quarters of the drain, and then closed in front of a key frame: players
/// on its core and on the other one get whole groups of pictures, and are told why it is over.
#[test]
fn everybody_else_is_closed_at_a_key_frame() {
    const DRAIN: Duration = Duration::from_secs(6);
    let config = format!("[engine]\ndrain_seconds = {}\n", DRAIN.as_secs());
    let server = Inrush::new().cores(2).placement("core:1").config(&config).start();
    let players: Vec<_> = (0..6)
        .map(|_| Client::open(server.rtmp()).connect("live").play("stays").record_in_background())
        .collect();
    server.wait_for_players("live", "stays", 6);
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("stays");
    sequence_headers(&THIN.media()).iter().for_each(|header| publisher.send_tag(header));

    server.process().signal(libc::SIGTERM);
    let took = publish_to_the_end(&mut publisher, &SHORT_GOPS);
    assert!(took >= DRAIN * 3 / 4, "closed after {took:?} of {DRAIN:?}");
    for player in players {
        let (mut player, tags) = player.finish_tags();
        let numbers: Vec<u64> =
            tags.iter().filter_map(|tag| stamp(tag.kind, &tag.body)).map(|stamp| stamp.number).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "{numbers:?}");
        assert!(numbers.len() as u64 > 2 * SHORT_GOPS.gop_frames, "{numbers:?}");
        assert_eq!(numbers.len() as u64 % (2 * SHORT_GOPS.gop_frames), 0, "cut inside a group of pictures");
        assert_eq!(count(&statuses_to_the_end(&mut player), GOING_DOWN), 1);
    }
    server.wait_for_end();
}

/// A player that is behind when everything stops still gets what is queued for it: it begins to read when the stop has begun.
#[test]
fn a_player_that_is_behind_gets_the_last_frames() {
    let pattern = Pattern { frame_ms: 40, gop_frames: 25, video_bytes: 20_000, audio_bytes: 200 };
    let server = Inrush::new().config("[engine]\ndrain_seconds = 3600\n").start();
    let mut player = Client::open_narrow(server.rtmp()).connect("live").play("last");
    server.wait_for_players("live", "last", 1);
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("last");
    server.process().signal(libc::SIGTERM);
    sequence_headers(&THIN.media()).iter().for_each(|header| publisher.send_tag(header));
    let numbers = 0..2 * pattern.gop_frames; // half a megabyte: more than sockets hold for a reader that does not read
    numbers.clone().for_each(|number| publisher.send_tag(&pattern.tag(number)));
    publisher.unpublish();
    wait_until("the server stops", PATIENCE, || server.log().contains("drained: stops").then_some(()));
    let tags = player.record();
    let received = tags.iter().filter_map(|tag| stamp(tag.kind, &tag.body)).map(|stamp| stamp.number);
    assert!(received.eq(numbers), "{} messages", tags.len());
    drop(player);
    server.wait_for_end();
}

/// Without video there is no key frame to wait for: such a publisher is closed when the last quarter begins. One that sends pictures and never
/// a key frame is closed when the drain ends.
#[test]
fn without_key_frames_the_drain_has_an_end_all_the_same() {
    const DRAIN: Duration = Duration::from_secs(8);
    let config = format!("[engine]\ndrain_seconds = {}\n", DRAIN.as_secs());
    let server = Inrush::new().cores(2).config(&config).start();
    let mut voice = Client::open(server.rtmp()).connect("live").publish("voice");
    let mut picture = Client::open(server.rtmp()).connect("live").publish("picture");
    let headers = sequence_headers(&THIN.media());
    headers.iter().filter(|header| header.kind == Kind::Audio).for_each(|header| voice.send_tag(header));
    headers.iter().for_each(|header| picture.send_tag(header));
    picture.send_tag(&SHORT_GOPS.tag(0));
    let inter =
        Message { type_id: 9, stream_id: 1, timestamp: 1, body: vec![0x27, 1, 0, 0, 0, 0, 0, 0, 1, 0x41] };
    let inter = ChunkWriter::default().write(&inter);
    let mut socket = picture.socket().try_clone().expect("clone a socket");

    let start = Instant::now();
    server.process().signal(libc::SIGTERM);
    let ended = std::thread::scope(|scope| {
        // Until the server closes.
        scope.spawn(move || {
            while socket.write_all(&inter).is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        [&mut voice, &mut picture]
            .map(|client| {
                scope.spawn(move || {
                    assert_eq!(count(&statuses_to_the_end(client), GOING_DOWN), 1);
                    start.elapsed()
                })
            })
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    assert!(ended[0] >= DRAIN * 3 / 4 && ended[1] >= DRAIN, "{ended:?}");
    assert!(ended[1] - ended[0] >= DRAIN / 8, "they are a quarter apart: {ended:?}");
    server.wait_for_end();
}

/// Both generations of ffmpeg: neither understands, each is closed in front of a key frame and says why it ends.
#[test]
fn ffmpeg_is_closed_at_a_key_frame_and_ends() {
    let server = Inrush::new().cores(2).config("[engine]\ndrain_seconds = 8\n").start();
    let media = H264_AAC.media();
    let names = GENERATIONS.map(|generation| format!("{generation:?}"));
    let players = names
        .each_ref()
        .map(|name| Client::open(server.rtmp()).connect("live").play(name).record_in_background());
    names.iter().for_each(|name| server.wait_for_players("live", name, 1));
    let publishers = GENERATIONS.map(|generation| {
        Publisher::start_endless(generation, &media, &server.url("live", &format!("{generation:?}")))
    });
    names.iter().for_each(|name| server.wait_for_publisher("live", name));
    for publisher in server.connections().iter().filter(|connection| connection["role"] == "publisher") {
        assert!(!publisher["enhanced"]["caps"].to_string().contains("reconnect"), "{publisher}");
    }

    server.process().signal(libc::SIGTERM);
    for publisher in publishers {
        let (code, messages) = publisher.wait();
        assert_ne!(code, Some(0), "{messages}");
    }
    let frames_a_gop = 25;
    for (player, name) in players.into_iter().zip(names) {
        let (_, packets) = player.finish();
        let is_frame = |packet: &&Packet| packet.track == Kind::Video && packet.role != Role::Config;
        let frames = packets.iter().filter(is_frame).count();
        assert!(frames >= 3 * frames_a_gop, "{name}: {frames} frames");
        assert_eq!(frames % frames_a_gop, 0, "{name} was cut inside a group of pictures");
    }
    server.wait_for_end();
}

/// How a publisher takes a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Understands the request, and leaves at a key frame of its own choice.
    Leaves,
    /// Understands it, and stays.
    Stays,
    /// Does not understand it, and so is not asked.
    Silent,
}

const MANNERS: [Manner; 3] = [Manner::Leaves, Manner::Stays, Manner::Silent];

/// Publishes until it leaves, or is closed; gives what it was told and when it was over.
async fn publish_in_a_manner(address: SocketAddr, name: String, manner: Manner, headers: Arc<[Tag]>) -> Told {
    let understands: &[(&str, Amf)] =
        if manner == Manner::Silent { &[] } else { &[("capsEx", Amf::Number(1.0))] };
    let open = fleet::Publisher::open_with(address, "live", &name, &MANY_GOPS, &headers, understands);
    let mut publisher = match open.await.expect("a connection") {
        fleet::Asked::Accepted(publisher) => *publisher,
        fleet::Asked::Refused(code) => panic!("{name} is refused: {code}"),
    };
    loop {
        let is_asked = publisher.codes().iter().any(|code| code == RECONNECT_REQUEST);
        let is_between = publisher.sent() % (2 * MANY_GOPS.gop_frames) == 0;
        if is_asked && is_between && manner == Manner::Leaves {
            let codes = publisher.codes().to_vec();
            publisher.leave().await.expect("a close");
            return Told { manner, codes, ended: Instant::now() };
        }
        if publisher.send_next().await.is_err() {
            publisher.hear_to_the_end().await;
            return Told { manner, codes: publisher.codes().to_vec(), ended: Instant::now() };
        }
    }
}

/// What became of a publisher.
struct Told {
    manner: Manner,
    codes: Vec<String>,
    ended: Instant,
}

/// 10 messages a second, key frames every 600 ms.
const MANY_GOPS: Pattern = Pattern { frame_ms: 200, gop_frames: 3, video_bytes: 400, audio_bytes: 100 };

/// A drain that the API is asked for goes as one by a signal, and the API shows how far it is: with whom it began, who is left, who was told and
/// has moved. Each publisher leaves at a key frame or is closed at one, in the last quarter of the time, and the process ends with code 0.
/// `.ci/deep drain`: 500 publishers and 20 seconds.
#[test]
fn a_drain_through_the_api_shows_how_far_it_is() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
    };
    let count = number("INRUSH_DRAIN_PUBLISHERS", 99);
    let deadline = Duration::from_secs(number("INRUSH_DRAIN_SECONDS", 6));
    let server = Inrush::new().cores(2).start();
    let address = server.rtmp();
    let names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
    let players = Crowd::join_each(address, "live", names.clone());
    wait_until("all play", 2 * PATIENCE, || (server.metrics().gauge("subscribers") == count).then_some(()));
    let headers: Arc<[Tag]> = sequence_headers(&THIN.media()).into();
    let publishing = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let publish = |(name, manner)| {
                tokio::spawn(publish_in_a_manner(address, name, manner, Arc::clone(&headers)))
            };
            let manners = MANNERS.into_iter().cycle();
            let tasks: Vec<_> = names.into_iter().zip(manners).map(publish).collect();
            let mut told = Vec::new();
            for task in tasks {
                told.push(task.await.expect("a publisher does not panic"));
            }
            told
        })
    });
    wait_until("all publish", 2 * PATIENCE, || (server.metrics().gauge("publishers") == count).then_some(()));

    let shown = server.get("/api/v1/drain").json();
    assert_eq!((&shown["state"], &shown["began_with"]), (&"serving".into(), &serde_json::Value::Null));
    assert_eq!((&shown["left"]["publishers"], &shown["left"]["players"]), (&count.into(), &count.into()));
    let refused = server.post("/api/v1/drain", "{\"deadline_seconds\": \"soon\"}");
    assert_eq!((refused.status, &refused.json()["error"]["field"]), (400, &"deadline_seconds".into()));

    let start = Instant::now();
    let begun = server.post("/api/v1/drain", &format!("{{\"deadline_seconds\": {}}}", deadline.as_secs()));
    assert_eq!((begun.status, &begun.json()["state"]), (202, &"draining".into()), "{}", begun.body);
    assert_eq!(server.post("/api/v1/drain", "").status, 409);
    // As Kubernetes does when `preStop` has asked for the drain: it is no second signal.
    server.process().signal(libc::SIGTERM);

    let mut seen = vec![begun.json()];
    while let Ok(answer) = server.try_get("/api/v1/drain") {
        assert_eq!(answer.status, 200, "{}", answer.body);
        seen.push(answer.json());
        std::thread::sleep(Duration::from_millis(50));
    }
    let whole = |shown: &serde_json::Value, name: &str| shown[name].as_u64().expect("a whole number");
    // A core that has ended is not counted any more.
    seen.retain(|shown| shown["stalled_cores"] == serde_json::json!([]));
    let states: Vec<_> = seen.iter().map(|shown| shown["state"].as_str().expect("a state")).collect();
    let order = ["draining", "cutting", "stopping"];
    let places = states.iter().map(|state| order.iter().position(|one| one == state).expect("a known state"));
    assert!(places.is_sorted() && states.contains(&"cutting"), "{states:?}");
    for pair in seen.windows(2) {
        for name in ["told", "moved", "closed_at_key_frame"] {
            assert!(whole(&pair[0], name) <= whole(&pair[1], name), "{name}: {pair:?}");
        }
        assert!(whole(&pair[0]["left"], "publishers") >= whole(&pair[1]["left"], "publishers"), "{pair:?}");
    }
    let draining = seen.iter().rfind(|shown| shown["state"] == "draining").expect("it took a while");
    let (leave, understand) = (count.div_ceil(3), count.div_ceil(3) + (count + 1) / 3);
    let began_with = serde_json::json!({
        "pending": 0, "publishers": count, "standbys": 0, "players": count, "forwards": 0, "pulls": 0
    });
    assert_eq!(draining["began_with"], began_with);
    assert_eq!((whole(draining, "told"), whole(draining, "moved")), (understand, leave), "{draining}");
    assert_eq!(
        (whole(&draining["left"], "publishers"), whole(draining, "closed_at_key_frame")),
        (count - leave, 0)
    );
    assert_eq!(draining["deadline_seconds"], deadline.as_secs_f64());
    let last = seen.last().expect("there are some");
    assert_eq!((whole(last, "closed_without_video"), whole(last, "closed_at_deadline")), (0, 0), "{last}");

    let stopped = server.wait_for_end();
    assert!(stopped.stderr.contains("drains already"), "{}", stopped.stderr);
    println!("{count} publishers: over after {:?} of {deadline:?}; {last}", start.elapsed());
    for told in publishing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
        let heard = |code: &str| told.codes.iter().filter(|one| *one == code).count();
        let expected = match told.manner {
            Manner::Leaves => (1, 0),
            Manner::Stays => (1, 1),
            Manner::Silent => (0, 1),
        };
        assert_eq!((heard(RECONNECT_REQUEST), heard(GOING_DOWN)), expected, "{:?}", told.codes);
        let took = told.ended - start;
        assert!(told.manner == Manner::Leaves || took >= deadline * 3 / 4, "closed after {took:?}");
    }
    for (number, report) in players.finish().iter().enumerate() {
        let last = report.last.unwrap_or_else(|| panic!("the player of stream {number} got nothing"));
        assert_eq!((report.first, report.out_of_order), (Some(0), 0), "stream {number}");
        assert_eq!(
            (last + 1) % (2 * MANY_GOPS.gop_frames),
            0,
            "stream {number} was cut inside a group of pictures"
        );
    }
}

/// What each side says of its Enhanced RTMP: the answer on the wire to who asks and to who does not, and what the API shows of it.
#[test]
fn capabilities_are_exchanged_and_shown() {
    let server = Inrush::new().start();
    let list = |names: &[&str]| Amf::Array(names.iter().map(|name| (*name).into()).collect());
    let map = |entries: &[(&str, f64)]| {
        Amf::Object(entries.iter().map(|(name, mask)| ((*name).to_owned(), (*mask).into())).collect())
    };
    let said = [
        ("fourCcList", list(&["av01", "hvc1"])),
        ("videoFourCcInfoMap", map(&[("hvc1", 1.0), ("vvc1", 3.0)])),
        ("audioFourCcInfoMap", map(&[("*", 4.0)])),
        ("capsEx", 9.0.into()),
    ];
    let (enhanced, answer) = Client::open(server.rtmp()).connect_with("live", &said);
    for (name, expected) in [
        ("fourCcList", list(&["*"])),
        ("videoFourCcInfoMap", map(&[("*", 4.0)])),
        ("audioFourCcInfoMap", map(&[("*", 4.0)])),
        ("capsEx", 15.0.into()),
    ] {
        assert_eq!(answer.property(name), Some(&expected), "{name}");
    }
    let (legacy, answer) =
        Client::open(server.rtmp()).connect_with("live", &[("objectEncoding", 3.0.into())]);
    assert_eq!(answer.property("capsEx"), None);
    assert_eq!(answer.property("objectEncoding"), Some(&3.0.into()));

    let shown: Vec<_> =
        server.connections().iter().map(|connection| connection["enhanced"].clone()).collect();
    let expected = serde_json::json!({
        "fourcc": ["*", "av01", "hvc1", "vvc1"], "caps": ["reconnect", "timestamp_nano_offset"]
    });
    assert_eq!(shown, [expected, serde_json::Value::Null]);
    drop((enhanced, legacy));
}
