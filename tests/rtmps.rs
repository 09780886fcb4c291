//! RTMPS with real clients: ffmpeg, openssl and rustls's own; certificates that change while streams go on; floods of handshakes.
#![cfg(feature = "engine")]

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::client::{Client, Event};
use support::ffmpeg::{self, Generation};
use support::flv::{Kind, Tag};
use support::media::{H264_AAC, H264_AAC_B_FRAMES, THIN};
use support::process::Process;
use support::server::{Inrush, Server};
use support::synthetic::{self, Pattern, sequence_headers};
use support::tls::{Certificate, Tls};
use support::wire::{self, ChunkWriter, Message};
use support::{PATIENCE, SetOnDrop, scratch_file, script, wait_until};

fn self_signed() -> Inrush {
    Inrush::new().rtmps().args(&["--rtmps-self-signed"])
}

/// ffmpeg publishes over TLS, and gets it back over TLS and plain: one gapless run with its timestamps.
#[test]
fn ffmpeg_publishes_and_plays_over_tls() {
    let server = self_signed().cores(2).start();
    let media = H264_AAC_B_FRAMES.media();
    let (over_tls, plain) = (server.tls_url("live", "a"), server.url("live", "a"));
    let players = [ffmpeg::play(Generation::Five, &over_tls), ffmpeg::play(Generation::Five, &plain)];
    server.wait_for_players("live", "a", players.len());
    let publisher = ffmpeg::Publisher::start(Generation::Five, &media, &over_tls);
    server.wait_for_publisher("live", "a");
    let late = ffmpeg::play(Generation::Five, &over_tls);
    for (role, count) in [("publisher", 1), ("player", 2)] {
        let connections = server.connections_of(role, "live", "a");
        assert!(connections.len() >= count, "{connections:?}");
        for connection in connections {
            let cipher = connection["tls"]["cipher"].as_str();
            assert!(
                role == "player" || cipher.is_some_and(|cipher| cipher.starts_with("TLS")),
                "{connection}"
            );
        }
    }
    publisher.finish();
    for player in players {
        player.finish().assert_whole(&media.packets);
    }
    late.finish().assert_gapless(&media.packets);
    assert_eq!(server.metrics().gauge("tls_handshakes_in_progress"), 0);
}

/// A stream's home is elsewhere than where its publisher was accepted: TLS moves with it, in the middle of a record. The publisher waits
/// for no answer, so its media is there when it moves, and a new connection's buffer is shorter than a record.
#[test]
fn a_publisher_moves_with_its_tls() {
    let media = H264_AAC.media();
    let server = self_signed().cores(2).placement("core:1").start();
    // The kernel spreads them over both cores by their ports.
    let streams: Vec<_> = (0..16).map(|n| format!("s{n}")).collect();
    std::thread::scope(|scope| {
        for name in &streams {
            let (server, media) = (&server, &media);
            scope.spawn(move || {
                let tls = Tls::new();
                let player = Client::open_tls(server.rtmps(), &tls).connect("live").play(name);
                let player = player.record_in_background();
                server.wait_for_players("live", name, 1);
                let mut writer = ChunkWriter::default();
                let asked = [
                    script::connect("live", &server.tls_url("live", "")),
                    script::create_stream(),
                    script::publish(script::FIRST_STREAM, name),
                ];
                let (early, late) = media.tags.split_at(media.tags.len() / 4);
                let early = early.iter().map(|tag| Message::media(script::FIRST_STREAM, tag));
                let bytes: Vec<u8> =
                    asked.into_iter().chain(early).flat_map(|it| writer.write(&it)).collect();
                let publisher = Client::open_tls(server.rtmps(), &tls).with_writer(writer);
                let mut publisher = publisher.on_stream(script::FIRST_STREAM, name);
                publisher.send_bytes(&bytes);
                late.iter().for_each(|tag| publisher.send_tag(tag));
                publisher.unpublish();
                player.assert_whole(&media.packets);
            });
        }
    });
    wait_until("some were accepted elsewhere", PATIENCE, || {
        (server.metrics().counter("moved_in") > 0).then_some(())
    });
}

/// One run of `openssl s_client`, which stays until the server has said something; its output.
#[track_caller]
fn s_client(address: SocketAddr, args: &[&str], until: impl Fn(&str) -> bool) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string()]).args(args);
    let (mut process, mut input) = Process::spawn_with_input("openssl s_client", &mut command);
    input.write_all(&wire::c0_c1()).expect("write to openssl");
    wait_until("openssl has seen what it should", PATIENCE, || until(&process.stdout()).then_some(()));
    drop(input);
    process.wait(PATIENCE);
    process.stdout()
}

/// openssl agrees on either version, and goes on with a session of before in either.
#[test]
fn openssl_speaks_both_versions_and_resumes() {
    let server = self_signed().cores(2).start();
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let file = scratch_file("session.pem");
        let path = file.display().to_string();
        let written = |_: &str| std::fs::metadata(&file).is_ok_and(|file| file.len() > 0);
        let first = s_client(server.rtmps(), &[flag, "-sess_out", &path], written);
        assert!(first.contains(&format!("New, {version}, Cipher is ")), "{first}");
        let shaken = |output: &str| output.contains("Cipher is ");
        let second = s_client(server.rtmps(), &[flag, "-sess_in", &path], shaken);
        assert!(second.contains(&format!("Reused, {version}, Cipher is ")), "{second}");
        let _ = std::fs::remove_file(&file);
    }
    wait_until("both resumptions are counted", PATIENCE, || {
        (server.metrics().counter("tls_resumptions") == 2).then_some(())
    });
    // What is older is refused, and that is counted as what it is.
    let mut command = Command::new("openssl");
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    command.args(["s_client", "-connect", &server.rtmps().to_string()]).args(old);
    Process::spawn("openssl s_client", &mut command).wait(PATIENCE);
    wait_until("an old version is counted", PATIENCE, || {
        (server.metrics().of_kind("tls_handshake_failed", "tls_parameters") == 1).then_some(())
    });
}

/// A ticket of one core is good on every other.
#[test]
fn sessions_are_resumed_on_every_core() {
    let server = self_signed().cores(2).start();
    let tls = Tls::new();
    let mut kept = Vec::new();
    let mut cores = BTreeSet::new();
    // The kernel picks the core by the port: a hundred on one core do not happen.
    for nth in 0..100_u32 {
        // The ticket comes with the first answer.
        kept.push(Client::open_tls(server.rtmps(), &tls).connect("live"));
        let connections = server.connections();
        assert_eq!(connections.len(), kept.len());
        let newest =
            connections.iter().max_by_key(|it| it["id"].as_str().and_then(|id| id.parse::<u64>().ok()));
        let newest = newest.expect("one at least");
        assert_eq!(newest["tls"]["resumed"], nth > 0, "{newest}");
        if nth > 0 {
            cores.insert(newest["core"].as_u64());
        }
        if cores.len() == 2 {
            return;
        }
    }
    panic!("all were accepted by one core");
}

/// The certificate is the one for the name that the client asks for; the first one for all others.
#[test]
fn certificates_are_picked_by_name() {
    let [first, second] =
        [&["first.example"][..], &["second.example", "*.second.example"]].map(Certificate::new);
    let server = Inrush::new().rtmps().config(&(first.table() + &second.table())).start();
    let shown = |name: &str| Tls::new().named(name).connect(server.rtmps()).certificate();
    let (of_first, of_second) = (shown("first.example"), shown("second.example"));
    assert_ne!(of_first, of_second);
    for (name, expected) in [
        ("a.second.example", &of_second),
        ("SECOND.example", &of_second),
        ("a.b.second.example", &of_first),
        ("example", &of_first),
        ("127.0.0.1", &of_first),
    ] {
        assert_eq!(shown(name), *expected, "{name}");
    }
    let client = Client::open_tls(server.rtmps(), &Tls::new().named("a.second.example")).connect("live");
    // Those before it may still be there.
    let named =
        |it: &serde_json::Value| it["tls"]["server_name"] == "a.second.example" && it["app"] == "live";
    assert!(server.connections().iter().any(named));
    drop(client);
}

/// Sends synthetic messages on all streams, in step, until it is told to stop; gives the number of messages of each.
fn publish_all(publishers: &mut [Client], pattern: &Pattern, stop: &AtomicBool) -> u64 {
    let start = Instant::now();
    for number in 0.. {
        let due = Duration::from_millis(pattern.timestamp(number).into());
        if let Some(early) = due.checked_sub(start.elapsed()) {
            std::thread::sleep(early);
        }
        if stop.load(Ordering::Relaxed) && number > 0 {
            return number;
        }
        publishers.iter_mut().for_each(|publisher| publisher.send_tag(&pattern.tag(number)));
    }
    unreachable!("numbers do not end")
}

/// Fails the test unless the player got every message from the first on.
#[track_caller]
fn assert_all(tags: &[Tag], sent: u64) {
    let stamps = tags.iter().filter_map(|tag| synthetic::stamp(tag.kind, &tag.body));
    let numbers: Vec<u64> = stamps.map(|stamp| stamp.number).collect();
    assert!(numbers.iter().copied().eq(0..sent), "{} of {sent} messages: {numbers:?}", numbers.len());
}

/// Certificates change three times under 100 live TLS connections: none of them notices, new ones get the new one. What cannot be used
/// changes nothing and is told once.
#[test]
fn a_certificate_is_swapped_under_live_streams() {
    let certificate = Certificate::new(&["a.example"]);
    let server = Inrush::new().rtmps().cores(2).config(&certificate.table()).start();
    let media = H264_AAC.media();
    let tls = Tls::new();
    let open = || Client::open_tls(server.rtmps(), &tls).connect("live");
    let names: Vec<_> = (0..50).map(|n| format!("s{n}")).collect();
    let players: Vec<_> = names.iter().map(|name| open().play(name)).collect();
    let mut publishers: Vec<_> = names.iter().map(|name| open().publish(name)).collect();
    for publisher in &mut publishers {
        sequence_headers(&media).iter().for_each(|tag| publisher.send_tag(tag));
    }
    let recordings: Vec<_> = players.into_iter().map(Client::record_in_background).collect();
    let pattern = Pattern { frame_ms: 200, gop_frames: 5, video_bytes: 3_000, audio_bytes: 200 };
    let stop = AtomicBool::new(false);
    let ids = || {
        let connections = server.connections();
        let live = connections.iter().filter(|it| it["role"] != "pending");
        live.map(|it| it["id"].as_str().unwrap_or_default().to_owned()).collect::<BTreeSet<_>>()
    };
    let before = wait_until("all streams are live", PATIENCE, || Some(ids()).filter(|ids| ids.len() == 100));
    let sent = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| publish_all(&mut publishers, &pattern, &stop));
        let _stop = SetOnDrop(&stop);
        let shown = || Tls::new().connect(server.rtmps()).certificate();
        let changes = |old: &_| {
            wait_until("another certificate is shown", PATIENCE, || Some(shown()).filter(|new| new != old))
        };
        let first = shown();
        certificate.renew(&["b.example"]);
        let second = changes(&first);

        // A renewal that went wrong.
        std::fs::write(&certificate.chain_file, "no certificate").expect("write");
        let complaints = || server.log().matches("certificates not replaced").count();
        wait_until("it is told", PATIENCE, || (complaints() == 1).then_some(()));
        assert_eq!(shown(), second);
        // A configuration with such a certificate is as bad.
        server.process().signal(libc::SIGHUP);
        wait_until("that is told, too", PATIENCE, || {
            server.log().contains("configuration not reloaded, the old one stays").then_some(())
        });
        assert_eq!(shown(), second);

        certificate.renew(&["c.example"]);
        server.process().signal(libc::SIGHUP);
        changes(&second);
        assert_eq!(complaints(), 1, "once for each bad file");
        assert_eq!(ids(), before, "nobody was closed");
        stop.store(true, Ordering::Relaxed);
        publishing.join().expect("publishing does not panic")
    });
    assert!(sent > 10, "{sent} messages were sent meanwhile");
    publishers.into_iter().for_each(Client::unpublish);
    for recording in recordings {
        assert_all(&recording.finish_tags().1, sent);
    }
}

/// A certificate that cannot be used ends the start with its file, its key and what would be right.
#[test]
fn a_bad_certificate_is_refused_at_the_start() {
    let certificate = Certificate::new(&["a.example"]);
    let other = Certificate::new(&["b.example"]);
    let table = certificate
        .table()
        .replace(&certificate.key_file.display().to_string(), &other.key_file.display().to_string());
    let mut process = Inrush::new().rtmps().config(&table).spawn();
    let status = process.wait(PATIENCE);
    assert_eq!(status.code(), Some(2));
    let expected = format!(
        ":3: certificate.key_file: {}: is not the key of {}; allowed: a readable PEM file with the private key of the certificate\n",
        other.key_file.display(),
        certificate.chain_file.display()
    );
    assert!(process.stderr().ends_with(&expected), "{}", process.stderr());
    // And none at all.
    let mut process = Inrush::new().rtmps().spawn();
    assert_eq!(process.wait(PATIENCE).code(), Some(2));
}

/// Both ends of a TLS connection are told by TLS that it ends, so that neither takes a cut for it.
#[test]
fn the_end_is_told() {
    let server = self_signed().start();
    let mut player = Client::open_tls(server.rtmps(), &Tls::new()).connect("live").play("a");
    server.wait_for_players("live", "a", 1);
    let id = server.connections()[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        server.request("DELETE", &format!("/api/v1/connections/{id}")).expect("an answer").status,
        204
    );
    let mut rest = Vec::new();
    player.transport().read_to_end(&mut rest).expect("a clean end: rustls calls a cut an error");

    let mut publisher = Client::open_tls(server.rtmps(), &Tls::new()).connect("live").publish("b");
    publisher.transport().shut_write();
    publisher.transport().read_to_end(&mut rest).expect("a clean end");
    wait_until("it is counted as one", PATIENCE, || {
        (server.metrics().of_kind("close_reason", "eof") == 1).then_some(())
    });
}

/// The answer to what is wrong, by its name, and the other listeners' clients that come to the wrong door.
#[test]
fn what_is_not_tls_is_refused_by_name() {
    let server = self_signed().config("[deadlines]\nhandshake_seconds = 1\n").start();
    let say = |address: SocketAddr, bytes: &[u8]| {
        let mut socket = TcpStream::connect(address).expect("connect");
        socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        socket.write_all(bytes).expect("send");
        // An alert, or nothing; the end in any case.
        let _ = socket.read_to_end(&mut Vec::new());
    };
    let hello = client_hello();
    let changed = [&hello[..60], &[0xff; 200]].concat();
    say(server.rtmps(), &wire::c0_c1());
    say(server.rtmp(), &hello);
    say(server.rtmps(), &changed);
    say(server.rtmps(), &hello[..hello.len() / 2]);
    say(server.rtmps(), &hello);
    say(server.rtmps(), b"");
    for (kind, count) in [("not_tls", 1), ("tls_here", 1), ("tls_handshake", 1), ("deadline", 3)] {
        wait_until(kind, PATIENCE, || {
            (server.metrics().of_kind("session_error", kind) == count).then_some(())
        });
    }
    assert_eq!(server.metrics().gauge("tls_handshakes_in_progress"), 0);
}

/// A real ClientHello.
fn client_hello() -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    let client = std::thread::spawn(move || {
        let socket = TcpStream::connect(address).expect("connect");
        // Its handshake never ends.
        Tls::new().begin(socket);
    });
    let mut socket = listener.accept().expect("accept").0;
    let mut hello = vec![0; 5];
    socket.read_exact(&mut hello).expect("a header");
    hello.resize(5 + usize::from(u16::from_be_bytes([hello[3], hello[4]])), 0);
    socket.read_exact(&mut hello[5..]).expect("a hello");
    drop(socket);
    client.join().expect("a client that only begins");
    hello
}

/// A flood of handshakes, whole and half: its bounds hold, and streams that are there lose nothing.
///
/// The small form of 2000 a second for 20 s, of which the load harness takes the figures.
#[test]
fn a_flood_of_handshakes_stalls_nobody() {
    let config = "[tls]\nhandshakes_max = 20\nhandshake_percent_max = 5\n";
    let server = self_signed().cores(2).config(config).start();
    let media = H264_AAC.media();
    let names = ["a", "b", "c", "d"];
    let open = || Client::open(server.rtmp()).connect("live");
    let players: Vec<_> = names.iter().map(|name| open().play(name)).collect();
    let mut publishers: Vec<_> = names.iter().map(|name| open().publish(name)).collect();
    for publisher in &mut publishers {
        sequence_headers(&media).iter().for_each(|tag| publisher.send_tag(tag));
    }
    let recordings: Vec<_> = players.into_iter().map(Client::record_in_background).collect();
    let pattern = Pattern { frame_ms: 40, gop_frames: 25, video_bytes: 3_000, audio_bytes: 200 };
    let stop = AtomicBool::new(false);
    let hello = client_hello();
    let sent = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| publish_all(&mut publishers, &pattern, &stop));
        let _stop = SetOnDrop(&stop);
        let mut held = std::collections::VecDeque::new();
        for nth in 0..2_000 {
            let bytes = if nth % 4 == 0 { &hello[..hello.len() / 2] } else { &hello[..] };
            let mut socket = TcpStream::connect(server.rtmps()).expect("connect");
            // Who is refused may be closed already.
            let _ = socket.write_all(bytes);
            held.push_back(socket);
            if held.len() > 300 {
                held.pop_front();
            }
            if nth % 500 == 499 {
                let metrics = server.metrics();
                for count in metrics.per_core("tls_handshakes_in_progress") {
                    assert!(count <= 20, "{count} handshakes in progress");
                }
                assert!(metrics.gauge("tls_handshakes_waiting") <= 2 * 20);
            }
        }
        let metrics = server.metrics();
        assert!(metrics.of_kind("refused", "tls_handshakes_max") > 0, "nobody was refused");
        drop(held);
        // The door is open again for who comes after it.
        wait_until("all of them are gone", PATIENCE, || {
            (server.metrics().gauge("tls_handshakes_in_progress") == 0).then_some(())
        });
        drop(Client::open_tls(server.rtmps(), &Tls::new()).connect("live"));
        stop.store(true, Ordering::Relaxed);
        publishing.join().expect("publishing does not panic")
    });
    publishers.into_iter().for_each(Client::unpublish);
    for recording in recordings {
        assert_all(&recording.finish_tags().1, sent);
    }
}

/// One port for both, whichever it is of: the first byte tells. Who says nothing is closed by the deadline.
#[test]
fn one_port_serves_both() {
    let server =
        self_signed().args(&["--rtmps-detect"]).config("[deadlines]\nhandshake_seconds = 1\n").start();
    let media = THIN.media();
    for (nth, address) in [server.rtmp(), server.rtmps()].into_iter().enumerate() {
        let name = format!("s{nth}");
        let players = [Client::open(address), Client::open_tls(address, &Tls::new())];
        let players = players.map(|player| player.connect("live").play(&name).record_in_background());
        server.wait_for_players("live", &name, 2);
        let publisher = if nth == 0 { Client::open_tls(address, &Tls::new()) } else { Client::open(address) };
        let mut publisher = publisher.connect("live").publish(&name);
        media.tags.iter().for_each(|tag| publisher.send_tag(tag));
        publisher.unpublish();
        for player in players {
            player.assert_whole(&media.packets);
        }
        let mut silent = TcpStream::connect(address).expect("connect");
        silent.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        assert_eq!(silent.read(&mut [0; 8]).expect("a close"), 0);
    }
    wait_until("both are counted", PATIENCE, || {
        (server.metrics().of_kind("session_error", "deadline") == 2).then_some(())
    });
}

/// Players that read slowly, leave in the middle, or stay: TLS loses nothing of what the drop policy lets through.
#[test]
fn a_slow_player_over_tls_gets_whole_messages() {
    let server: Server = self_signed().cores(2).start();
    let media = H264_AAC.media();
    let mut slow = Client::open_tls(server.rtmps(), &Tls::new()).connect("live").play("a");
    slow.limit_reading(60_000.0);
    server.wait_for_players("live", "a", 1);
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("a");
    sequence_headers(&media).iter().for_each(|tag| publisher.send_tag(tag));
    let slow = slow.record_in_background();
    publisher.send_synthetic(&Pattern::with_bits_per_second(2_000_000), 0..200);
    publisher.unpublish();
    let (_, tags) = slow.finish_tags();
    // `stamp` fails the test when a message is damaged.
    let numbers: Vec<u64> = tags
        .iter()
        .filter_map(|tag| synthetic::stamp(tag.kind, &tag.body))
        .map(|stamp| stamp.number)
        .collect();
    assert!(numbers.len() > 20 && numbers.is_sorted(), "{numbers:?}");
}

/// A message of several megabytes that TLS players leave waiting is held once, not once a player, and comes whole to whoever reads on.
#[test]
fn a_long_message_waits_once_for_all_tls_players() {
    const PLAYERS: u64 = 30;
    const MESSAGE_BYTES: usize = 6_000_000;
    const HEADER_BYTES_MAX: usize = 10_000;
    let server: Server = self_signed().cores(1).start();
    let media = H264_AAC.media();
    let tls = Tls::new();
    let join = |_| Client::open_tls(server.rtmps(), &tls).connect("live").play("a");
    let mut players: Vec<Client> = (0..PLAYERS).map(join).collect();
    server.wait_for_players("live", "a", PLAYERS as usize);
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("a");
    publisher.set_chunk_size(60_000);
    sequence_headers(&media).iter().for_each(|tag| publisher.send_tag(tag));
    let before = server.metrics().resident_bytes();
    let picture = (0..MESSAGE_BYTES).map(|at| (at / 251) as u8);
    let body: Vec<u8> = [0x17, 1, 0, 0, 0].into_iter().chain(picture).collect();
    publisher.send_tag(&Tag { kind: Kind::Video, timestamp: 0, body: body.clone() });
    wait_until("it is on its way to all", PATIENCE, || {
        (server.metrics().counter("bytes_out") > PLAYERS * 100_000).then_some(())
    });
    let grew = server.metrics().resident_bytes().saturating_sub(before);
    assert!(grew < PLAYERS * MESSAGE_BYTES as u64 / 4, "{grew} bytes more for {PLAYERS} players");
    for player in &mut players {
        let got = player.wait_for("the long message", |event| match event {
            Event::Media(tag) if tag.body.len() > HEADER_BYTES_MAX => Some(tag.body),
            _ => None,
        });
        assert!(got == body, "{} bytes of {}", got.len(), body.len());
    }
}
