//! Connections that the engine makes: it forwards to and pulls from `inrush`, nginx-rtmp, and far ends that the test is.
#![cfg(feature = "engine")]

#[path = "outgoing/engine.rs"]
mod engine;
mod support;
#[path = "outgoing/target.rs"]
mod target;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use engine::{Dial, Engine};
use inrush::hub::{CoreId, QueueSettings};
use inrush::runtime::outside::{News, Totals};
use inrush::runtime::{App, OutgoingEnd, OutgoingEvent, OutgoingState, Report, RuntimeSettings, Start};
use inrush::session::{Instant, StreamKey};
use rustls::pki_types::ServerName;
use support::client::{Client, Event, Recording};
use support::crowd::{self, Crowd};
use support::flv::{Kind, Tag};
use support::live::Live;
use support::media::{LARGE_KEY_FRAMES, Media, THIN, TWO_TRACKS};
use support::packets::gapless_sequence;
use support::server::{Inrush, Server};
use support::synthetic::{self, Pattern};
use support::tls::Tls;
use support::wire::Message;
use support::{PATIENCE, SetOnDrop, script, unique, wait_until};
use target::{Listener, Target};

/// A stream that is published to this engine.
#[track_caller]
fn publish(engine: &mut Engine) -> (Client, StreamKey, CoreId) {
    let name = format!("stream-{}", unique());
    let publisher = Client::open(engine.rtmp()).connect("live").publish(&name);
    let stream = StreamKey::new("live", &name);
    let home = engine.wait_for_stream(&stream);
    (publisher, stream, home)
}

fn refusal(end: &OutgoingEnd) -> &str {
    match end {
        OutgoingEnd::Refused(status) => &status.code,
        other => panic!("refused? {other:?}"),
    }
}

/// Messages of a publisher that its core has taken.
fn taken(engine: &Engine, stream: &StreamKey) -> usize {
    let of_it = engine
        .connections()
        .into_iter()
        .find(|it| it.role.label() == "publisher" && it.name == stream.name());
    of_it.map_or(0, |it| it.messages_in as usize)
}

/// A forward to a server is, to its players, as if the encoder had published there; and when the stream ends, it does there.
#[test]
fn a_server_gets_all_of_a_stream() {
    std::thread::scope(|scope| {
        scope.spawn(|| forward_to(&Inrush::new().start(), &THIN.media()));
        scope.spawn(|| forward_to(&Inrush::new().start(), &LARGE_KEY_FRAMES.media()));
        scope.spawn(|| forward_to(&Server::nginx_rtmp(), &LARGE_KEY_FRAMES.media()));
    });
}

fn forward_to(target: &Server, media: &Media) {
    let mut engine = Engine::start();
    let (mut publisher, stream, home) = publish(&mut engine);
    let id = engine.dial(Dial::forward(&stream, home, &target.url("live", "copy?key=1")));
    engine.wait_for_ready(id);
    let player = Client::open(target.rtmp()).connect("live").play("copy").record_in_background();
    target.wait_for_players("live", "copy", 1);
    assert_eq!(engine.info(id).expect("it is there").state, OutgoingState::Ready);
    publisher.send_paced(&media.tags, 4.0);
    engine.wait_for_beginning(id);
    publisher.unpublish();
    let (end, totals) = engine.wait_for_close(id);
    assert_eq!(end, OutgoingEnd::StreamGone);
    assert_eq!((totals.messages, totals.dropped), (media.tags.len() as u64, 0));
    assert_received(player, media, target);
    assert_eq!(engine.unheard(id).len(), 0);
    engine.end();
}

/// All of it came, in order; nginx-rtmp keeps a sound from its players that comes before the first picture.
#[track_caller]
fn assert_received(recording: Recording, media: &Media, server: &Server) -> Client {
    if !server.is_nginx_rtmp() {
        return recording.assert_whole(&media.packets);
    }
    let (client, received) = recording.finish();
    let run = gapless_sequence(&media.packets, &received).unwrap_or_else(|defect| panic!("{defect:?}"));
    assert!(run.skipped <= 1, "{run:?}");
    client
}

/// Dry runs of a stream's name come and go on every core: its forward does not notice, and no stream begins or ends with them.
#[test]
fn a_dry_run_is_not_forwarded() {
    let target = Inrush::new().start();
    let mut engine = Engine::start();
    let (mut publisher, stream, home) = publish(&mut engine);
    let id = engine.dial(Dial::forward(&stream, home, &target.url("live", "copy")));
    engine.wait_for_ready(id);
    let player = Client::open(target.rtmp()).connect("live").play("copy").record_in_background();
    target.wait_for_players("live", "copy", 1);
    let media = THIN.media();
    for _ in 0..8 {
        let name = format!("{}?bandwidthtest=1", stream.name());
        let mut dry = Client::open(engine.rtmp()).connect("live").publish(&name);
        media.tags.iter().for_each(|tag| dry.send_tag(tag));
        dry.unpublish();
    }
    publisher.send_paced(&media.tags, 4.0);
    publisher.unpublish();
    let (end, totals) = engine.wait_for_close(id);
    assert_eq!((end, totals.messages), (OutgoingEnd::StreamGone, media.tags.len() as u64));
    player.assert_whole(&media.packets);
    engine.wait_for_stream_end(&stream);
    let is_life = |news: &News| matches!(news, News::StreamBegan { .. } | News::StreamEnded { .. });
    assert_eq!(engine.count_unheard(is_life), 0, "no other stream has been there");
    let is_dry = |news: &News| matches!(news, News::PublishBegan { grant, .. } if grant.dry_run);
    assert_eq!(engine.count_unheard(is_dry), 8);
    engine.end();
}

/// What a target hears, to the letter: the commands that big services want, `@setDataFrame` in front of metadata and nothing else changed, on
/// the message stream that it has given; and at the end FCUnpublish, deleteStream and a clean close.
#[test]
fn a_target_is_spoken_to_like_by_an_encoder() {
    let mut engine = Engine::start();
    for stream_id in [1, 5] {
        let (mut publisher, stream, home) = publish(&mut engine);
        let listener = Listener::new();
        let id = engine.dial(Dial::forward(&stream, home, &listener.url("secret?token=1")));
        let mut target = listener.target();
        assert_eq!(target.accept_publish(stream_id), "secret?token=1");
        assert_eq!(target.commands, ["connect", "releaseStream", "FCPublish", "createStream", "publish"]);
        let said = |name: &str| target.connect.property(name).and_then(|value| value.as_str()).unwrap_or("");
        assert_eq!((said("app"), said("type")), ("there", "nonprivate"));
        assert_eq!(said("tcUrl"), format!("rtmp://{}/there", listener.address()));
        assert!(said("flashVer").starts_with("FMLE/3.0"));
        engine.wait_for_ready(id);

        let pattern = Pattern::with_bits_per_second(500_000);
        let metadata = |width| Tag { kind: Kind::Data, timestamp: 0, body: script::metadata(width, 360) };
        let text = support::amf::write(&["onTextData".into(), support::amf::Amf::Null]);
        let text = Tag { kind: Kind::Data, timestamp: 40, body: text };
        let mut tags = vec![metadata(640)];
        tags.extend(synthetic::sequence_headers(&THIN.media()));
        tags.extend((0..6).map(|number| pattern.tag(number)));
        tags.extend([text, metadata(320), pattern.tag(6)]);
        tags.iter().for_each(|tag| publisher.send_tag(tag));
        engine.wait_for_beginning(id);
        let recorded = target.record_in_background();
        publisher.unpublish();
        let (received, commands) = recorded.join().expect("it records");
        assert_eq!(commands, ["FCUnpublish", "deleteStream"]);
        assert!(received.iter().all(|(_, on)| *on == stream_id));
        let received: Vec<Tag> = received.into_iter().map(|(tag, _)| tag).collect();
        assert_eq!(received, tags);
        assert_eq!(engine.wait_for_close(id).0, OutgoingEnd::StreamGone);
    }
    engine.end();
}

/// A target that takes several tracks gets them; any other gets the default ones, in headers that are older.
#[test]
fn tracks_go_to_whom_can_take_them() {
    let mut engine = Engine::start();
    let media = TWO_TRACKS.media();
    let (mut publisher, stream, home) = publish(&mut engine);
    let listener = Listener::new();
    let id = engine.dial(Dial::forward(&stream, home, &listener.url("plain")));
    let mut target = listener.target();
    target.accept_publish(1);
    engine.wait_for_ready(id);
    let server = Inrush::new().start();
    let mut dial = Dial::forward(&stream, home, &server.url("live", "full"));
    dial.settings.capabilities =
        inrush::rtmp::command::Capabilities::forwarder(inrush::rtmp::command::CapsEx::MULTITRACK);
    let full = engine.dial(dial);
    engine.wait_for_ready(full);
    let recorded = target.record_in_background();
    publisher.send_paced(&media.tags, 4.0);
    let shown =
        || server.streams().into_iter().find(|it| it["name"] == "full").map(|it| it["tracks"].clone());
    wait_until("the other server knows of four tracks", PATIENCE, || {
        shown().filter(|tracks| tracks.as_array().is_some_and(|tracks| tracks.len() == 4))
    });
    publisher.unpublish();
    let (received, _) = recorded.join().expect("it records");
    let is_several = |tag: &Tag| match tag.kind {
        Kind::Video => tag.body[0] & 0x8f == 0x86,
        Kind::Audio => tag.body[0] == 0x95,
        Kind::Data => false,
    };
    assert!(media.tags.iter().any(is_several) && !received.iter().any(|(tag, _)| is_several(tag)));
    let sent = engine.wait_for_close(full).1.messages;
    assert_eq!(sent, media.tags.len() as u64);
    assert!(engine.wait_for_close(id).1.messages < sent);
    engine.end();
}

/// Hung up on, a target still gets what was queued for it, and then hears that this is all.
#[test]
fn what_is_queued_goes_out_before_the_end() {
    let mut engine = Engine::start();
    let (mut publisher, stream, home) = publish(&mut engine);
    let listener = Listener::narrow();
    let id = engine.dial(Dial::forward(&stream, home, &listener.url("slow")));
    let mut target = listener.target();
    target.accept_publish(1);
    engine.wait_for_ready(id);
    let pattern = Pattern { frame_ms: 40, gop_frames: 25, video_bytes: 60_000, audio_bytes: 40_000 };
    let count = 80;
    publisher.set_chunk_size(65_536);
    (0..count).for_each(|number| publisher.send_tag(&pattern.tag(number)));
    wait_until("all is taken", PATIENCE, || (taken(&engine, &stream) as u64 == count).then_some(()));
    assert!(engine.info(id).expect("it is there").queued_bytes > 0);
    engine.handle().hang_up(home, id);
    (count..count + 10).for_each(|number| publisher.send_tag(&pattern.tag(number)));
    wait_until("it leaves", PATIENCE, || match engine.info(id).map(|info| info.state) {
        Some(OutgoingState::Leaving) | None => Some(()),
        Some(_) => None,
    });
    let (received, commands) = target.record();
    let stamps = received.iter().filter_map(|(tag, _)| synthetic::stamp(tag.kind, &tag.body));
    assert!(stamps.map(|stamp| stamp.number).eq(0..count));
    assert_eq!(commands, ["FCUnpublish", "deleteStream"]);
    let (end, totals) = engine.wait_for_close(id);
    assert_eq!((end, totals.messages), (OutgoingEnd::HungUp, count));
    engine.handle().hang_up(home, id);
    publisher.unpublish();
    engine.wait_for_stream_end(&stream);
    engine.end();
}

/// Neither a hang-up nor the end of everything waits for a target that reads nothing.
#[test]
fn a_target_that_does_not_read_is_left_behind() {
    for stops in [false, true] {
        let mut engine = Engine::start();
        let (mut publisher, stream, home) = publish(&mut engine);
        let listener = Listener::narrow();
        let id = engine.dial(Dial::forward(&stream, home, &listener.url("deaf")));
        let mut target = listener.target();
        target.accept_publish(1);
        engine.wait_for_ready(id);
        let pattern = Pattern { frame_ms: 40, gop_frames: 25, video_bytes: 60_000, audio_bytes: 40_000 };
        publisher.set_chunk_size(65_536);
        (0..80).for_each(|number| publisher.send_tag(&pattern.tag(number)));
        wait_until("frames wait", PATIENCE, || engine.info(id).filter(|info| info.queued_bytes > 0));
        if stops {
            engine.handle().drain();
            publisher.unpublish();
            assert_eq!(engine.drain(), Report::default());
        } else {
            engine.handle().hang_up(home, id);
        }
        let (end, _) = engine.wait_for_close(id);
        assert!(
            matches!((stops, &end), (false, OutgoingEnd::HungUp) | (true, OutgoingEnd::StreamGone)),
            "{end:?}"
        );
    }
}

/// A reconnected target gets headers and then the next key frame, nothing before.
#[test]
fn a_forward_may_begin_at_the_next_key_frame() {
    let mut engine = Engine::start();
    let (mut publisher, stream, home) = publish(&mut engine);
    let listener = Listener::new();
    let pattern = Pattern::with_bits_per_second(500_000);
    let headers = synthetic::sequence_headers(&THIN.media());
    headers.iter().for_each(|tag| publisher.send_tag(tag));
    (0..20).for_each(|number| publisher.send_tag(&pattern.tag(number)));
    let mut recordings = Vec::new();
    for start in [Start::Gop, Start::NextKeyFrame] {
        let id = engine.dial(Dial::forward(&stream, home, &listener.url("again")).from(start));
        let mut target = listener.target();
        target.accept_publish(1);
        engine.wait_for_ready(id);
        recordings.push((id, target.record_in_background()));
    }
    (20..70).for_each(|number| publisher.send_tag(&pattern.tag(number)));
    for (id, _) in &recordings {
        engine.wait_for_beginning(*id);
    }
    publisher.unpublish();
    for ((id, recording), first) in recordings.into_iter().zip([0, 50]) {
        assert_eq!(engine.wait_for_close(id).0, OutgoingEnd::StreamGone);
        let (received, _) = recording.join().expect("it records");
        let begins: Vec<_> = received.iter().take(2).map(|(tag, _)| (tag.kind, tag.body[1])).collect();
        assert_eq!(begins, [(Kind::Video, 0), (Kind::Audio, 0)], "headers first");
        assert!(received[..3].iter().all(|(tag, _)| tag.timestamp == pattern.timestamp(first)));
        let stamps = received.iter().filter_map(|(tag, _)| synthetic::stamp(tag.kind, &tag.body));
        assert!(stamps.map(|stamp| stamp.number).eq(first..70));
    }
    engine.end();
}

/// Over TLS of either version, with what came behind the handshake handed over as well.
#[test]
fn a_server_gets_all_of_a_stream_over_tls() {
    let server = Inrush::new().rtmps().args(&["--rtmps-self-signed"]).start();
    let media = LARGE_KEY_FRAMES.media();
    for version in rustls::ALL_VERSIONS {
        let tls = Tls::with_versions(&[version]);
        let mut engine = Engine::start();
        let (mut publisher, stream, home) = publish(&mut engine);
        let name = format!("copy-{:?}", version.version);
        let mut dial = Dial::forward(&stream, home, &server.tls_url("live", &name));
        let mut socket = TcpStream::connect(server.rtmps()).expect("connect");
        let (ours, received) = shake_hands(&tls, &mut socket);
        dial.tls = Some(ours);
        dial.received = received;
        let id = engine.hand_over(dial, socket);
        engine.wait_for_ready(id);
        let shown = engine.connections().into_iter().find(|it| it.role.label() == "forward");
        let shown = shown.expect("it is shown").tls.expect("with its TLS");
        assert_eq!(
            shown.version.replace(['v', '.'], ""),
            format!("{:?}", version.version).replace(['v', '_'], "")
        );
        let player = Client::open(server.rtmp()).connect("live").play(&name).record_in_background();
        server.wait_for_players("live", &name, 1);
        publisher.send_paced(&media.tags, 6.0);
        publisher.unpublish();
        assert_eq!(engine.wait_for_close(id).0, OutgoingEnd::StreamGone);
        player.assert_whole(&media.packets);
        engine.end();
    }
}

/// As floor 5 does it, on a blocking socket.
fn shake_hands(tls: &Tls, socket: &mut TcpStream) -> (inrush::runtime::tls::Tls, BytesMut) {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls =
        inrush::runtime::tls::Tls::client(tls.config(), name, Instant::default()).expect("TLS begins");
    let mut received = BytesMut::new();
    while tls.is_shaking_hands() {
        socket.write_all(&tls.take_ready()).expect("send");
        let mut buffer = [0; 4096];
        let read = socket.read(&mut buffer).expect("receive");
        assert!(read > 0, "the server has closed");
        received.extend_from_slice(&buffer[..read]);
        while tls.has_step(&received) == Ok(true) {
            tls.shake(&mut received).expect("the handshake goes on");
        }
    }
    (tls, received)
}

/// How each ends is told by its name: refused at the start or later, closed, asked to go elsewhere, closed by the operator.
#[test]
fn every_end_has_its_name() {
    let mut engine = Engine::start();
    let (mut publisher, stream, home) = publish(&mut engine);
    let listener = Listener::new();
    let start = |engine: &mut Engine| {
        let id = engine.dial(Dial::forward(&stream, home, &listener.url("key")));
        (id, listener.target())
    };

    let (id, mut target) = start(&mut engine);
    target.up_to_request(1);
    target.status(1, "error", "NetStream.Publish.BadName");
    target.expect_close();
    let (end, totals) = engine.wait_for_close(id);
    assert_eq!((refusal(&end), totals), ("NetStream.Publish.BadName", Totals::default()));

    let (id, mut target) = start(&mut engine);
    target.accept_publish(1);
    engine.wait_for_ready(id);
    target.status(1, "error", "NetStream.Publish.Denied");
    target.expect_close();
    assert_eq!(refusal(&engine.wait_for_close(id).0), "NetStream.Publish.Denied");

    let (id, mut target) = start(&mut engine);
    target.accept_publish(1);
    engine.wait_for_ready(id);
    let info = [
        ("level", "status"),
        ("code", "NetConnection.Connect.ReconnectRequest"),
        ("tcUrl", "rtmp://elsewhere.example/there"),
    ];
    let info = support::amf::Amf::Object(info.map(|(name, value)| (name.to_owned(), value.into())).to_vec());
    for _ in 0..20 {
        let request = ["onStatus".into(), 0.0.into(), support::amf::Amf::Null, info.clone()];
        target.send(&Message::command(0, &request));
    }
    let url = engine.wait_for_reconnect(id);
    assert_eq!((url.host.as_str(), url.name.as_str()), ("elsewhere.example", "key"));
    drop(target);
    assert_eq!(engine.wait_for_close(id).0, OutgoingEnd::Eof);
    let told = engine.unheard(id);
    assert_eq!(told.len(), 7, "told a few times, not 20: {told:?}");
    assert!(told.iter().all(|event| matches!(event, OutgoingEvent::Reconnect { .. })));

    let (id, mut target) = start(&mut engine);
    target.accept_publish(1);
    engine.wait_for_ready(id);
    let connection = engine.info(id).expect("it is there").connection;
    assert!(engine.kick(connection));
    target.expect_close();
    assert_eq!(engine.wait_for_close(id).0, OutgoingEnd::Kicked);

    // Hung up on before it has said anything; and one that comes when its stream has gone, or goes before it says yes.
    let (id, target) = start(&mut engine);
    engine.handle().hang_up(home, id);
    target.expect_close();
    assert_eq!(engine.wait_for_close(id).0, OutgoingEnd::HungUp);
    let (waits, target) = start(&mut engine);
    wait_until("the core has it", PATIENCE, || engine.info(waits));
    publisher.send_tag(&Pattern::with_bits_per_second(500_000).tag(0));
    publisher.unpublish();
    target.expect_close();
    assert_eq!(engine.wait_for_close(waits).0, OutgoingEnd::StreamGone);
    let late = engine.dial(Dial::forward(&stream, home, &listener.url("key")));
    assert_eq!(engine.wait_for_close(late), (OutgoingEnd::StreamGone, Totals::default()));
    engine.end();
}

/// A target that reads nothing is dropped to key frames and then given up on; another target and the players lose nothing.
#[test]
fn a_stalled_target_is_given_up_on() {
    let mut engine = Engine::start();
    let (mut publisher, stream, home) = publish(&mut engine);
    let (stalled, steady) = (Listener::narrow(), Listener::new());
    let queue = QueueSettings { ms_max: 500, stall_ms_max: 1_500, ..QueueSettings::default() };
    let id = engine.dial(Dial::forward(&stream, home, &stalled.url("stalled")).queue(queue));
    let mut stalled = stalled.target();
    stalled.accept_publish(1);
    let other = engine.dial(Dial::forward(&stream, home, &steady.url("steady")));
    let mut steady = steady.target();
    steady.accept_publish(1);
    engine.wait_for_ready(id);
    engine.wait_for_ready(other);
    let recorded = steady.record_in_background();
    let players = Crowd::join(engine.rtmp(), "live", stream.name(), 3);
    wait_until("players are there", PATIENCE, || {
        let players = engine.connections().into_iter().filter(|it| it.role.label() == "player").count();
        (players == 3).then_some(())
    });
    let pattern = Pattern::with_bits_per_second(10_000_000);
    let count = 200;
    let sending = std::thread::spawn(move || {
        publisher.set_chunk_size(65_536);
        publisher.send_synthetic(&pattern, 0..count);
        publisher
    });
    let (end, totals) = engine.wait_for_close(id);
    assert_eq!(end, OutgoingEnd::Hopeless);
    assert!(totals.dropped > 0);
    sending.join().expect("it sends").unpublish();
    assert_whole(players.finish(), count);
    let (received, _) = recorded.join().expect("it records");
    let stamps = received.iter().filter_map(|(tag, _)| synthetic::stamp(tag.kind, &tag.body));
    assert!(stamps.map(|stamp| stamp.number).eq(0..count));
    assert_eq!(engine.wait_for_close(other).0, OutgoingEnd::StreamGone);
    engine.end();
}

#[track_caller]
fn assert_whole(reports: Vec<crowd::Report>, count: u64) {
    for report in reports {
        assert_eq!((report.first, report.last, report.out_of_order), (Some(0), Some(count - 1), 0));
    }
}

/// Whatever a target does, it ends its own connection, by its name, and the stream's players do not notice.
#[test]
fn hostile_targets_end_by_themselves() {
    type Attack = fn(TcpStream);
    let attacks: [(&str, &str, Attack); 8] = [
        ("no handshake", "handshake_version", |mut socket| {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            wait_for_end(socket);
        }),
        ("silence", "deadline", wait_for_end),
        ("a handshake and silence", "deadline", |socket| wait_for_end_of(Target::new(socket))),
        ("garbage", "chunk_size", |socket| {
            let mut target = Target::new(socket);
            let _ = target.socket().write_all(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
            wait_for_end_of(target);
        }),
        ("a giant", "message_too_long", |socket| {
            let mut target = Target::new(socket);
            target.accept_publish(1);
            let _ = target.socket().write_all(&[3, 0, 0, 0, 0xff, 0xff, 0xff, 20, 0, 0, 0, 0]);
            wait_for_end_of(target);
        }),
        ("pings", "too_many_control_messages", |socket| {
            let ping = Message { type_id: 4, stream_id: 0, timestamp: 0, body: vec![0, 6, 0, 0, 0, 1] };
            flood(socket, &ping);
        }),
        ("pictures", "too_many_messages", |socket| {
            let picture = Message { type_id: 9, stream_id: 1, timestamp: 0, body: vec![0x27; 20_000] };
            flood(socket, &picture);
        }),
        ("statuses", "too_many_commands", |socket| {
            let text = "x".repeat(2_000);
            let info = [("level", "status"), ("code", text.as_str())];
            let info = info.map(|(name, value)| (name.to_owned(), value.into())).to_vec();
            let status =
                ["onStatus".into(), 0.0.into(), support::amf::Amf::Null, support::amf::Amf::Object(info)];
            flood(socket, &Message::command(1, &status));
        }),
    ];
    let mut engine = Engine::start();
    let (mut publisher, stream, home) = publish(&mut engine);
    let players = Crowd::join(engine.rtmp(), "live", stream.name(), 2);
    wait_until("players are there", PATIENCE, || {
        let players = engine.connections().into_iter().filter(|it| it.role.label() == "player").count();
        (players == 2).then_some(())
    });
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let sending = std::thread::spawn(move || {
        let pattern = Pattern::with_bits_per_second(2_000_000);
        let mut count = 0;
        // A second each, until all attacks are over.
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            publisher.send_synthetic(&pattern, count..count + 10);
            count += 10;
        }
        publisher.unpublish();
        count
    });
    let mut attackers = Vec::new();
    for (what, label, attack) in attacks {
        let listener = Listener::new();
        let dial = Dial::forward(&stream, home, &listener.url("key")).ready_within(Duration::from_secs(2));
        let id = engine.dial(dial);
        attackers.push((what, label, id, std::thread::spawn(move || attack(listener.accept()))));
    }
    for (what, label, id, attacker) in attackers {
        let (end, _) = engine.wait_for_close(id);
        // A ping is a tiny chunk as well, and either may use up the budget.
        let is_named = end.label() == label || what == "pings" && end.label() == "too_many_tiny_chunks";
        assert!(is_named, "{what}: {end:?}");
        attacker.join().unwrap_or_else(|_| panic!("{what}"));
    }
    drop(stop);
    let count = sending.join().expect("it sends");
    assert_whole(players.finish(), count);
    engine.end();
}

fn wait_for_end(socket: TcpStream) {
    wait_for_end_of_socket(&socket);
}

fn wait_for_end_of(mut target: Target) {
    wait_for_end_of_socket(target.socket());
}

fn wait_for_end_of_socket(mut socket: &TcpStream) {
    let mut buffer = [0; 65536];
    while socket.read(&mut buffer).expect("the engine closes, or resets").min(1) > 0 {}
}

/// Says yes, and sends the same again and again until the engine has closed.
fn flood(socket: TcpStream, message: &Message) {
    let mut target = Target::new(socket);
    target.accept_publish(1);
    while target.try_send(message).is_ok() {}
}

/// However far its connections are when the engine ends, nothing of them is left, and each is told of.
#[test]
fn nothing_is_left_at_the_end() {
    let source = Inrush::new().start();
    let mut encoder = Client::open(source.rtmp()).connect("live").publish("pulled");
    encoder.send_tag(&Pattern::with_bits_per_second(500_000).tag(0));
    source.wait_for_publisher("live", "pulled");
    for drains in [false, true] {
        let mut engine = Engine::start();
        let (mut publisher, stream, home) = publish(&mut engine);
        let listener = Listener::new();
        let pulled = StreamKey::new("live", "pulled");
        let mut ids: Vec<_> =
            (0..4).map(|_| engine.dial(Dial::forward(&stream, home, &listener.url("key")))).collect();
        ids.push(engine.dial(Dial::pull(&pulled, home, &source.url("live", "pulled"))));
        // One has not even begun its handshake, one waits for an answer, one is ready, one has media.
        let silent = listener.accept();
        let mut waits = listener.target();
        waits.up_to_request(1);
        let targets: Vec<_> = (0..2)
            .map(|_| {
                let mut target = listener.target();
                target.accept_publish(1);
                target.record_in_background()
            })
            .collect();
        engine.wait_for_stream(&pulled);
        publisher.send_tag(&Pattern::with_bits_per_second(500_000).tag(0));
        let report = if drains {
            engine.handle().drain();
            wait_until("it drains", PATIENCE, || (!engine.handle().is_ready()).then_some(()));
            publisher.unpublish();
            engine.drain()
        } else {
            let report = engine.stop_now();
            drop(publisher);
            report
        };
        assert_eq!(report, Report::default());
        for id in ids {
            let (end, _) = engine.wait_for_close(id);
            assert!(matches!(end, OutgoingEnd::Stopping | OutgoingEnd::StreamGone), "{end:?}");
        }
        for target in targets {
            let (_, commands) = target.join().expect("it records");
            assert_eq!(commands, ["FCUnpublish", "deleteStream"]);
        }
        drop((silent, waits));
    }
    encoder.unpublish();
}

/// What is published elsewhere is played here, over one publisher there and the next, by any number of players; and it is a stream like any
/// other.
#[test]
fn a_stream_is_pulled() {
    std::thread::scope(|scope| {
        scope.spawn(|| pull_from(&Inrush::new().start()));
        scope.spawn(|| pull_from(&Server::nginx_rtmp()));
    });
}

fn pull_from(source: &Server) {
    let media = THIN.media();
    let mut engine = Engine::start();
    let stream = StreamKey::new("live", "pulled");
    let mut encoder = Client::open(source.rtmp()).connect("live").publish("here");
    source.wait_for_publisher("live", "here");
    // A player is there first, on whichever core: that is where the stream lives.
    let player = Client::open(engine.rtmp()).connect("live").play("pulled");
    let player_core = wait_until("the player is there", PATIENCE, || {
        engine.connections().into_iter().find(|it| it.role.label() == "player").map(|it| it.core)
    });
    let player = player.record_in_background();
    let id = engine.dial(Dial::pull(&stream, CoreId(player_core), &source.url("live", "here")));
    engine.wait_for_ready(id);
    encoder.send_paced(&media.tags, 4.0);
    engine.wait_for_beginning(id);
    assert_eq!(engine.wait_for_stream(&stream), CoreId(player_core));
    encoder.unpublish();
    engine.wait_for_stream_end(&stream);
    let info = engine.info(id).expect("it stays for the next one");
    assert_eq!((info.state, info.messages as usize >= media.packets.len()), (OutgoingState::Ready, true));
    let player = assert_received(player, &media, source).record_in_background();

    let mut encoder = Client::open(source.rtmp()).connect("live").publish("here");
    // nginx-rtmp tells of a publisher when something has come of it.
    encoder.send_paced(&media.tags, 6.0);
    engine.wait_for_ready(id);
    engine.wait_for_stream(&stream);
    encoder.unpublish();
    assert_received(player, &media, source);
    engine.wait_for_stream_end(&stream);
    engine.handle().hang_up(CoreId(player_core), id);
    assert_eq!(engine.wait_for_close(id).0, OutgoingEnd::HungUp);
    engine.end();
}

/// A pull meets whoever publishes here already, and yields; one whose stream is not there waits until its time is up.
#[test]
fn a_pull_takes_no_stream_from_anybody() {
    let source = Inrush::new().start();
    let mut encoder = Client::open(source.rtmp()).connect("live").publish("there");
    source.wait_for_publisher("live", "there");
    let mut engine = Engine::start_with(RuntimeSettings::default());
    let (publisher, stream, home) = publish(&mut engine);
    let id = engine.dial(Dial::pull(&stream, home, &source.url("live", "there")));
    assert_eq!(engine.wait_for_close(id), (OutgoingEnd::Taken, Totals::default()));

    // While nothing comes, the name is anybody's.
    let pulled = StreamKey::new("live", "pulled");
    let id = engine.dial(Dial::pull(&pulled, CoreId(0), &source.url("live", "there")));
    engine.wait_for_ready(id);
    let other = Client::open(engine.rtmp()).connect("live").publish("pulled");
    engine.wait_for_stream(&pulled);
    other.unpublish();
    engine.wait_for_stream_end(&pulled);

    // The other way round: the encoder is refused.
    let pattern = Pattern::with_bits_per_second(500_000);
    encoder.send_tag(&pattern.tag(0));
    assert_eq!(engine.wait_for_stream(&pulled), CoreId(0));
    let has_answer = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // What says nothing for two seconds would be taken for a ghost.
        scope.spawn(|| {
            for number in 1.. {
                if has_answer.load(Ordering::Relaxed) {
                    break;
                }
                encoder.send_tag(&pattern.tag(number));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let _answered = SetOnDrop(&has_answer);
        let status = Client::open(engine.rtmp()).connect("live").request_publish("pulled");
        assert_eq!(status.code, "NetStream.Publish.BadName");
    });

    // Of two that pull the same, one has it first.
    let second = engine.dial(Dial::pull(&pulled, CoreId(0), &source.url("live", "there")));
    assert_eq!(engine.wait_for_close(second).0, OutgoingEnd::Taken);
    encoder.unpublish();
    engine.wait_for_stream_end(&pulled);
    engine.handle().hang_up(CoreId(0), id);
    assert_eq!(engine.wait_for_close(id).0, OutgoingEnd::HungUp);
    publisher.unpublish();
    engine.end();
}

/// What a source sends is as hostile as what an encoder does.
#[test]
fn a_hostile_source_ends_its_own_connection() {
    let mut engine = Engine::start();
    let stream = StreamKey::new("live", "pulled");
    let listener = Listener::new();
    let id = engine.dial(Dial::pull(&stream, CoreId(1), &listener.url("key")));
    let mut source = listener.target();
    assert_eq!(source.up_to_request(1), "key");
    source.status(1, "status", "NetStream.Play.Start");
    engine.wait_for_ready(id);
    let pattern = Pattern::with_bits_per_second(500_000);
    source.send(&Message::media(1, &pattern.tag(0)));
    engine.wait_for_stream(&stream);
    let mut player = Client::open(engine.rtmp()).connect("live").play("pulled");
    wait_until("it is live", PATIENCE, || {
        engine.info(id).filter(|info| info.state == OutgoingState::Live && info.messages == 1)
    });
    // Its core hears of the stream by another's: it has the picture before the stream ends.
    let is_picture = |event| matches!(event, Event::Media(tag) if tag.kind == Kind::Video).then_some(());
    player.wait_for("the picture", is_picture);
    source.socket().write_all(&[6, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0]).expect("send");
    source.expect_close();
    let (end, totals) = engine.wait_for_close(id);
    assert_eq!((end.label(), totals.messages), ("message_too_long", 1));
    engine.wait_for_stream_end(&stream);
    let pictures = player.record().into_iter().filter(|tag| tag.kind == Kind::Video).count();
    assert_eq!(pictures, 0, "after the first one");
    drop(player);
    engine.end();
}

/// A pull whose connection is lost leaves a stream that is waited for: another one goes on with it, and players have stayed.
#[test]
fn a_pull_goes_on_where_another_was_lost() {
    let source = Inrush::new().start();
    let encoder = Client::open(source.rtmp()).connect("live").publish("there");
    let headers = synthetic::sequence_headers(&THIN.media());
    let encoder = Live::start(encoder, &headers, &Pattern::with_bits_per_second(400_000), 0);
    let mut engine = Engine::start_with(RuntimeSettings::default());
    let stream = StreamKey::new("live", "pulled");
    let url = source.url("live", "there");
    let first = engine.dial(Dial::pull(&stream, CoreId(0), &url));
    assert_eq!(engine.wait_for_stream(&stream), CoreId(0));
    let player = Client::open(engine.rtmp()).connect("live").play("pulled");
    let player = player.record_in_background();
    let sends = |count| {
        let target = encoder.next() + count;
        wait_until("the encoder sends", PATIENCE, || (encoder.next() >= target).then_some(()));
    };
    sends(60);
    let pulls = source.connections_of("player", "live", "there");
    let id = pulls[0]["id"].as_str().expect("an id");
    assert_eq!(
        source.request("DELETE", &format!("/api/v1/connections/{id}")).expect("an answer").status,
        204
    );
    engine.wait_for_close(first);
    let second = engine.dial(Dial::pull(&stream, CoreId(0), &url));
    engine.wait_for_ready(second);
    sends(80);
    encoder.pause().0.unpublish();
    engine.wait_for_stream_end(&stream);
    let stamps: Vec<_> =
        player.tags().iter().filter_map(|tag| synthetic::stamp(tag.kind, &tag.body)).collect();
    let gap = stamps.windows(2).position(|pair| pair[0].number + 1 != pair[1].number);
    if let Some(at) = gap {
        assert!(stamps[at + 1].key, "it goes on at a key frame");
    }
    assert!(stamps.len() > 100, "{} messages", stamps.len());
    engine.handle().hang_up(CoreId(0), second);
    assert_eq!(engine.wait_for_close(second).0, OutgoingEnd::HungUp);
    engine.end();
}

/// A source that calls the end of a stream an error has ended it all the same, and at once. One that says no of anything else, or says that it closes,
/// has lost us: the stream is waited for, and another pull goes on with it.
#[test]
fn what_a_source_says_last_ends_a_stream_only_where_it_means_the_stream() {
    let mut app = App::default();
    app.settings.continuity.grace_ms = 3_600_000;
    let mut engine = Engine::start_with(RuntimeSettings { apps: vec![app], ..RuntimeSettings::default() });
    let stream = StreamKey::new("live", "pulled");
    let pattern = Pattern::with_bits_per_second(500_000);
    let listener = Listener::new();
    let pull = |engine: &mut Engine| {
        let id = engine.dial(Dial::pull(&stream, CoreId(0), &listener.url("key")));
        let mut source = listener.target();
        source.up_to_request(1);
        source.status(1, "status", "NetStream.Play.Start");
        source.send(&Message::media(1, &pattern.tag(0)));
        engine.wait_for_beginning(id);
        (id, source)
    };
    for code in ["NetStream.Play.UnpublishNotify", "NetStream.Play.StreamNotFound", "NetStream.Play.Stop"] {
        let (id, mut source) = pull(&mut engine);
        engine.wait_for_stream(&stream);
        source.status(1, "error", code);
        engine.wait_for_stream_end(&stream);
        assert_eq!(refusal(&engine.wait_for_close(id).0), code);
    }
    let (mut id, mut source) = pull(&mut engine);
    engine.wait_for_stream(&stream);
    for code in ["NetStream.Play.Failed", "NetConnection.Connect.AppShutdown"] {
        source.status(1, "error", code);
        assert_eq!(refusal(&engine.wait_for_close(id).0), code);
        (id, source) = pull(&mut engine);
    }
    let is_life = |news: &News| matches!(news, News::StreamBegan { .. } | News::StreamEnded { .. });
    assert_eq!(engine.count_unheard(is_life), 0, "it is the same stream all along");
    engine.handle().hang_up(CoreId(0), id);
    engine.wait_for_stream_end(&stream);
    assert_eq!(engine.wait_for_close(id).0, OutgoingEnd::HungUp);
    engine.end();
}
