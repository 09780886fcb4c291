//! Rows 1, 2, 6-9, 18-21 and 23-25: what operators of other servers complain of. Where the whole answer is a
//! feature that is still to come, the test holds what the wire does today; `field.rs` says what is left.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use inrush::session::{ClientSettings, ClientUrl, Event as SessionEvent, Role, ServerSettings};
use serde_json::Value;

use crate::session::{Encoder, converse};
use crate::stage::{
    assert_seen, frames, in_api, inter, key, publisher, second, send_all, server, talk, watch,
};
use crate::support::amf;
use crate::support::client::{Client, Event};
use crate::support::ffmpeg::{self, GENERATIONS};
use crate::support::flv::{Kind, Tag};
use crate::support::media::{H264_AAC, THIN};
use crate::support::namespaces::{Link, Namespace};
use crate::support::server::Inrush;
use crate::support::synthetic::{self, Pattern, stamp};
use crate::support::wire::{self, Message};
use crate::support::{PATIENCE, script, wait_until};

/// Row 1, nginx-rtmp #1152, #367, #192, #523, NMS #331, HaishinKit #860, RootEncoder #629, yasea #402, an encoder that cannot come back after
/// its line was cut: its first attempt is taken, though the server does not know of the cut yet.
#[test]
fn row_01_after_a_cut_the_encoder_is_back_within_the_bound() {
    let link = Link::new();
    let server = Inrush::new().cores(2).namespace(&link.server).rtmp(format!("{}:0", Link::SERVER)).start();
    let socket = link.client.enter(|| TcpStream::connect(server.rtmp())).expect("connect over the link");
    let mut cut_off = Client::over(socket).connect("live").publish("key");
    send_all(&mut cut_off, &second(0));
    in_api(&server, "key", "what was sent", |stream| (stream["gop_frames"].as_u64()? == 50).then_some(()));
    link.cut();
    let cut_at = Instant::now();
    // The encoder has another way to the server.
    let socket = link.server.enter(|| TcpStream::connect(server.rtmp())).expect("connect");
    let mut back = Client::over(socket).connect("live").publish("key");
    println!("back {:?} after the cut", cut_at.elapsed());
    assert_eq!(server.metrics().of_kind("publish_refused", "already_publishing"), 0);
    send_all(&mut back, &second(0));
    back.unpublish();
}

/// Row 2, OME and MediaMTX, two encoders of one key that kick each other for ever: the first one stays, however often the second one comes,
/// and its players notice nothing.
#[test]
fn row_02_two_encoders_of_one_key_do_not_kick_each_other() {
    let server = server();
    let player = watch(&server, "contested");
    let mut first = publisher(&server, "contested");
    let mut sent = Vec::new();
    for round in 0..10 {
        let talking = talk(first);
        let mut other = Client::open(server.rtmp()).connect("live");
        assert_eq!(other.request_publish("contested").code, "NetStream.Publish.BadName");
        assert!(other.wait_for_close(PATIENCE));
        first = talking.stop();
        let tags = if round == 0 { second(0) } else { frames(round * 1000) };
        send_all(&mut first, &tags);
        sent.extend(tags);
    }
    first.unpublish();
    assert_seen(player, &sent);
    assert_eq!(server.metrics().of_kind("close_reason", "replaced"), 0);
}

/// Row 6, SRS #4445, "how do we use the cores?": one process, and publishers on every core of it.
#[test]
fn row_06_publishers_are_on_every_core() {
    let server = server();
    let publishers: Vec<Client> =
        (0..16).map(|number| publisher(&server, &format!("core-{number}"))).collect();
    wait_until("each core has some of the publishers", PATIENCE, || {
        let counts = server.metrics().per_core("publishers");
        (counts.len() == 2 && counts.iter().sum::<u64>() == 16 && counts.iter().all(|count| *count > 0))
            .then_some(())
    });
    drop(publishers);
}

/// Row 7, nginx-rtmp #258, #692, #1086, #1393, #1603, #849, workers that know only their own streams: the API lists all of them once, whichever
/// core they are on, each can be played from anywhere, and its publisher can be closed.
#[test]
fn row_07_the_api_speaks_for_all_cores() {
    const STREAMS: usize = 8;
    let server = server();
    let names: Vec<String> = (0..STREAMS).map(|number| format!("stream-{number}")).collect();
    let mut publishers: Vec<Client> = names.iter().map(|name| publisher(&server, name)).collect();
    publishers.iter_mut().for_each(|publisher| send_all(publisher, &second(0)));
    let streams = wait_until("every stream is listed with its frames", PATIENCE, || {
        Some(server.streams())
            .filter(|list| list.len() == STREAMS && list.iter().all(|stream| stream["gop_frames"] == 50))
    });
    let cores: Vec<&Value> = streams.iter().map(|stream| &stream["core"]).collect();
    assert!([0, 1].iter().all(|core| cores.contains(&&Value::from(*core))), "{cores:?}");
    let players: Vec<_> = names.iter().map(|name| watch(&server, name)).collect();
    for stream in &streams {
        let id = stream["publisher"].as_str().expect("a publisher");
        let answer = server.request("DELETE", &format!("/api/v1/connections/{id}")).expect("an answer");
        assert_eq!(answer.status, 204);
    }
    for (publisher, player) in publishers.iter_mut().zip(players) {
        assert!(publisher.wait_for_close(PATIENCE));
        assert_seen(player, &second(0));
    }
}

/// Row 8, OME and SRS #3575, an answer to `publish` that does not come for an hour: the session waits without a deadline of the encoder's
/// running out, holds no more of its media than it may, loses none of it, and takes the answer when it comes.
#[test]
fn row_08_a_late_answer_to_a_publish_harms_nobody() {
    let settings = ServerSettings::default();
    let held_bytes_max = settings.limits.held_bytes_max;
    let mut encoder = Encoder::connected(settings);
    let request = encoder.request_publish("slow");
    let mut sent = 0;
    while encoder.session.wants_bytes() {
        encoder.say(&Message::media(script::FIRST_STREAM, &inter(sent * 40)));
        sent += 1;
    }
    let held = encoder.session.held_bytes();
    assert!((held_bytes_max..held_bytes_max + 1024).contains(&held), "{held} bytes are held");
    encoder.wait(Duration::from_secs(3600));
    assert!(!encoder.session.is_closed() && encoder.events.is_empty(), "{:?}", encoder.events);
    encoder.session.accept_publish(encoder.now, request.request);
    encoder.drain();
    let times: Vec<u32> = encoder.take_media().iter().map(|message| message.timestamp).collect();
    assert!(times.into_iter().eq((0..sent).map(|n| n * 40)));
}

/// Row 9, SRS #4038, MediaMTX #6072, a `Publish.Start` before anybody has asked whether it may: a second publisher hears its refusal and nothing
/// else, as an error, and is closed; both generations of ffmpeg end with it instead of trying on.
#[test]
fn row_09_a_refused_publisher_is_never_told_to_start() {
    let server = server();
    let player = watch(&server, "taken");
    let mut first = publisher(&server, "taken");
    send_all(&mut first, &second(0));
    let first = talk(first);
    let mut second_one = Client::open(server.rtmp()).connect("live");
    for message in script::before_publish("taken") {
        second_one.send(&message);
    }
    second_one.send(&script::publish(script::FIRST_STREAM, "taken"));
    let mut heard = Vec::new();
    loop {
        match second_one.next_event(PATIENCE).expect("it is closed in the end") {
            Event::Status(status) => heard.push((status.level, status.code)),
            Event::Other(message) if message.type_id == 20 => {
                let name = amf::read(&message.body)[0].as_str().expect("a name").to_owned();
                assert_ne!(name, "onFCPublish", "it was told that the publish is on");
            }
            Event::Closed => break,
            _ => {}
        }
    }
    assert_eq!(heard, [("error".to_owned(), "NetStream.Publish.BadName".to_owned())]);
    for generation in GENERATIONS {
        let encoder = ffmpeg::Publisher::start(generation, &THIN.media(), &server.url("live", "taken"));
        let (code, messages) = encoder.wait();
        assert_ne!(code, Some(0), "{messages}");
        assert!(messages.contains("another encoder"), "its log does not say why: {messages}");
    }
    first.stop().unpublish();
    assert_seen(player, &second(0));
}

/// Row 18, MediaMTX #796 and #4827, SRS #4559, Ant #3922, figures of a stream: bit rate, codecs, size, sound and the GOP are in the API while
/// the stream runs.
#[test]
fn row_18_the_figures_of_a_stream_are_in_the_api() {
    let server = server();
    let media = H264_AAC.media();
    let player = watch(&server, "figures");
    let mut publisher = publisher(&server, "figures");
    publisher.send_paced(&media.tags, 2.0);
    in_api(&server, "figures", "every figure", |stream| {
        assert_eq!(
            (&stream["resolution"]["width"], &stream["resolution"]["height"]),
            (&640.into(), &360.into())
        );
        assert_eq!(
            (&stream["audio"]["sample_rate_hz"], &stream["audio"]["channels"]),
            (&44_100.into(), &1.into())
        );
        assert!(
            stream["codecs"].to_string().contains("avc1.")
                && stream["codecs"].to_string().contains("mp4a.40.2")
        );
        assert!(stream["uptime_seconds"].as_f64()? > 0.0 && stream["subscribers"] == 1);
        // The file has 700 kbit/s and goes out twice as fast.
        let rate = stream["bits_in_per_second"].as_u64()?;
        (rate > 300_000 && rate < 4_000_000 && stream["gop_frames"].as_u64()? > 0).then_some(())
    });
    publisher.unpublish();
    player.assert_whole(&media.packets);
}

/// Row 19, HaishinKit #822, nginx-rtmp #249 and #718, MediaMTX #5162, readers that drift behind or go on in the middle of a GOP: one who does not
/// read for a while loses what is too old, and goes on near the present, at a key frame.
#[test]
fn row_19_a_reader_who_fell_behind_goes_on_at_a_key_frame() {
    const BITS: usize = 8_000_000;
    const MESSAGES: u64 = 8 * 50;
    let server = server();
    let mut reader = Client::open_narrow(server.rtmp()).connect("live").play("drift");
    server.wait_for_players("live", "drift", 1);
    let address = server.rtmp();
    let (mut last, mut gaps, mut latest) = (None, 0, None);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut publisher = Client::open(address).connect("live").publish("drift");
            publisher.set_chunk_size(65_536);
            synthetic::sequence_headers(&THIN.media()).iter().for_each(|header| publisher.send_tag(header));
            publisher.send_synthetic(&Pattern::with_bits_per_second(BITS), 0..MESSAGES);
            publisher.unpublish();
        });
        // It does not read until frames are dropped for it.
        wait_until("frames are dropped", PATIENCE, || {
            let player = server.connections_of("player", "live", "drift").pop()?;
            (player["dropped"].as_u64()? > 0).then_some(())
        });
        for tag in reader.record() {
            let Some(stamp) = stamp(tag.kind, &tag.body) else { continue };
            if tag.kind == Kind::Video {
                if last.is_some_and(|last: u64| stamp.number != last + 2) {
                    gaps += 1;
                    assert!(
                        stamp.key,
                        "it goes on in the middle of a GOP, after {last:?} with {}",
                        stamp.number
                    );
                }
                last = Some(stamp.number);
            }
            latest = Some(stamp.number);
        }
    });
    assert!(gaps > 0, "nothing is missing");
    assert_eq!(latest, Some(MESSAGES - 1), "it did not come back to the present");
}

/// Row 20, NMS #217 and #89, nginx-rtmp #968, SRS #4089, memory that rises with every reconnect: a thousand streams come and go, each under a
/// name of its own, and leave no entry, no descriptor and hardly a byte.
#[test]
fn row_20_streams_that_have_gone_leave_nothing() {
    const STREAMS: usize = 1_000;
    const RSS_BYTES_MAX: u64 = 8 << 20;
    let server = server();
    let come_and_go = |from: usize, count: usize| {
        for number in from..from + count {
            let mut publisher = publisher(&server, &format!("gone-{number}"));
            send_all(&mut publisher, &second(0)[..10]);
            publisher.unpublish();
        }
        wait_until("nothing is left", PATIENCE, || {
            let metrics = server.metrics();
            let left = ["connections", "publishers", "streams", "gop_bytes", "reassembly_bytes"];
            left.iter().all(|name| metrics.gauge(name) == 0).then_some(())
        });
    };
    come_and_go(0, 100); // what is allocated once is allocated now
    let (files, rss) = (server.open_files(), server.rss_bytes());
    come_and_go(100, STREAMS);
    wait_until("no descriptor is left", PATIENCE, || (server.open_files() <= files).then_some(()));
    let grown = server.rss_bytes().saturating_sub(rss);
    println!("{STREAMS} streams that came and went: RSS {} kB more", grown / 1024);
    assert!(grown < RSS_BYTES_MAX, "{grown} bytes more than before");
}

/// Row 21, SRS #3236, a stream whose key frames never come again: its GOP cache stays within its bytes, and whoever watches misses nothing.
#[test]
fn row_21_a_stream_without_key_frames_costs_no_memory() {
    const GOP_BYTES_MAX: u64 = 1 << 20;
    let config = format!("[[app]]\nname = \"*\"\ngop_bytes_max = {GOP_BYTES_MAX}\n");
    let server = Inrush::new().cores(2).config(&config).start();
    let large =
        |timestamp| Tag { body: [&inter(timestamp).body[..], &[0x5a; 40_000]].concat(), ..inter(timestamp) };
    let mut tags = second(0);
    tags.extend((0..200).map(|n| large(1000 + n * 40)));
    let player = watch(&server, "no-idr");
    let mut publisher = publisher(&server, "no-idr");
    publisher.set_chunk_size(65_536);
    let mut most = 0;
    for part in tags.chunks(10) {
        send_all(&mut publisher, part);
        most = most.max(server.metrics().gauge("gop_bytes"));
    }
    wait_until("all of it came in", PATIENCE, || {
        let metrics = server.metrics();
        most = most.max(metrics.gauge("gop_bytes"));
        (metrics.counter("messages_in") >= tags.len() as u64).then_some(())
    });
    publisher.unpublish();
    assert_seen(player, &tags);
    assert!(most > 0 && most <= GOP_BYTES_MAX, "the GOP cache held {most} bytes");
}

/// Row 21, the same thread the other way round, pictures that are all key frames: each begins a GOP, so the cache holds one of them.
#[test]
fn row_21_a_stream_of_key_frames_keeps_one() {
    let server = server();
    let tags: Vec<Tag> = [second(0), (1..50).map(|n| key(1000 + n * 40)).collect()].concat();
    let mut publisher = publisher(&server, "all-idr");
    send_all(&mut publisher, &tags);
    in_api(&server, "all-idr", "one frame", |stream| (stream["gop_frames"] == 1).then_some(()));
    let late = watch(&server, "all-idr");
    publisher.unpublish();
    let seen = late.tags();
    assert_eq!(seen.iter().filter(|tag| tag.kind == Kind::Video && tag.body[1] == 1).count(), 1);
}

/// Row 23, nginx-rtmp #766, #1356, #1361, names that are looked up when the server starts, and IPv6 that works by chance: a host without any
/// network starts, and the client role takes a URL with an IPv6 address to the stream that it means.
#[test]
fn row_23_nothing_is_looked_up_at_the_start_and_ipv6_urls_are_understood() {
    let alone = Namespace::new();
    let server = Inrush::new().cores(2).namespace(&alone).start();
    server.stop();

    let url = ClientUrl::parse("rtmp://[2001:db8::7]:1936/live/key?token=1").expect("a URL");
    assert_eq!((&*url.host, url.port), ("2001:db8::7", 1936));
    let heard = converse(ClientSettings::new(url, Role::Publish)).server_events;
    let SessionEvent::PublishRequested(request) = heard.into_iter().last().expect("it publishes") else {
        panic!("it does not publish")
    };
    assert_eq!(request.address.host.as_deref(), Some("2001:db8::7"));
    assert_eq!((request.address.key.app(), request.address.key.name()), ("live", "key"));
    assert_eq!(request.address.params, "token=1");
}

/// Row 24, SRS #1579 and #1595, Ant #1365, upgrades that cut live streams: told to stop, the server takes no newcomers and lets the streams go on
/// to their end; their players get all of it, and the exit is clean as soon as the last one has left.
#[test]
fn row_24_a_drain_lets_streams_end() {
    let server = server();
    let player = watch(&server, "last");
    let mut publisher = publisher(&server, "last");
    send_all(&mut publisher, &second(0));
    server.process().signal(libc::SIGTERM);
    wait_until("newcomers are refused", PATIENCE, || TcpStream::connect(server.rtmp()).err());
    send_all(&mut publisher, &frames(1000));
    publisher.unpublish();
    assert_seen(player, &[second(0), frames(1000)].concat());
    assert_eq!(server.wait_for_end().status.code(), Some(0));
}

/// Row 25, MediaMTX #5754, the address of a peer behind a load balancer: what a peer itself says in a PROXY header is not believed. Either
/// version ends the connection by its name unless its network is trusted, and API and log have the socket's address.
#[test]
fn row_25_a_proxy_header_is_not_believed_from_anybody() {
    let server = server();
    let v1 = b"PROXY TCP4 203.0.113.9 203.0.113.1 4711 1935\r\n".to_vec();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xcb\0\x71\x01\x12\x67\x07\x8f".to_vec();
    for (nth, header) in (1..).zip([v1, v2]) {
        let mut socket = TcpStream::connect(server.rtmp()).expect("connect");
        socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        socket.write_all(&[header, wire::c0_c1()].concat()).expect("send");
        // A reset where bytes were left unread is a close as well; a timeout is none.
        let ended = socket.read(&mut [0]).map_err(|error| error.kind());
        assert!(matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)), "{ended:?}");
        wait_until("it is counted", PATIENCE, || {
            (server.metrics().of_kind("session_error", "proxy_untrusted") == nth).then_some(())
        });
        let address = socket.local_addr().expect("an address").to_string();
        wait_until("it is logged with the address of its socket", PATIENCE, || {
            server.log().contains(&address).then_some(())
        });
    }
    assert!(!server.log().contains("203.0.113.9"), "{}", server.log());
}
