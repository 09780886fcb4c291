//! Streams are forwarded to other servers: what arrives there is what was published here, and a bad target is nobody else's.
#![cfg(feature = "engine")]

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use support::client::Client;
use support::crowd::{Crowd, percentile};
use support::ffmpeg::{self, Generation};
use support::flv::{Kind, Tag};
use support::live::Live;
use support::media::{H264_AAC, H264_AAC_B_FRAMES};
use support::namespaces::Link;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers, stamp};
use support::tls::{Certificate, Tls};
use support::{PATIENCE, SetOnDrop, ports, rtmpdump, wait_until};

/// The end of every target's URL here: a key that must show nowhere.
const SECRET: &str = "token=hush";

/// One target's table.
fn target(url: &str, more: &str) -> String {
    format!(
        "[[target]]\nurl = \"{url}\"\nparams = \"{SECRET}\"\nbackoff_ms_min = 200\nbackoff_ms_max = 500\n{more}\n"
    )
}

/// A target that has each stream under the name that it has here.
fn same_name(scheme: &str, address: impl std::fmt::Display, more: &str) -> String {
    target(&format!("{scheme}://{address}/{{app}}/{{name}}?{{params}}"), more)
}

/// The forward of a stream to a target on this port.
fn forward(server: &Server, name: &str, port: u16) -> Option<Value> {
    let port = format!(":{port}/");
    let is_it =
        |it: &Value| it["name"] == name && it["target"].as_str().is_some_and(|target| target.contains(&port));
    server.forwards().into_iter().find(is_it)
}

#[track_caller]
fn wait_for_state(server: &Server, name: &str, port: u16, state: &str) -> Value {
    wait_until(&format!("the forward to {port} is {state}"), PATIENCE, || {
        forward(server, name, port).filter(|forward| forward["state"] == state)
    })
}

/// Nothing that a server shows of itself to everybody holds a target's key; its API has that masked.
#[track_caller]
fn assert_discreet(server: &Server, name: &str) {
    for (what, text) in [("log", server.log()), ("metrics", server.node_metrics())] {
        assert!(!text.contains("hush"), "the {what} shows a target's key: {text}");
        assert!(!text.contains(name), "the {what} shows the stream's name: {text}");
    }
    assert!(!server.get("/metrics").body.contains("hush"));
    assert!(!server.get("/api/v1/forwards").body.contains("hush"));
}

/// ffmpeg publishes to A, which forwards to B and over TLS to C and D; ffmpeg plays there, and gets every packet as it was.
#[test]
fn packets_arrive_as_they_were_published_over_rtmp_and_rtmps() {
    let plain = Inrush::new().cores(2).start();
    // C's certificate is verified against a file, and D's not at all.
    let certificate = Certificate::new(&["localhost"]);
    let verified = Inrush::new().rtmps().config(&certificate.table()).start();
    let unverified = Inrush::new().rtmps().args(&["--rtmps-self-signed"]).start();
    let tables = [
        // A name with two addresses, of which the other one refuses.
        same_name("rtmp", format!("localhost:{}", plain.rtmp().port()), ""),
        same_name(
            "rtmps",
            format!("localhost:{}", verified.rtmps().port()),
            &format!("tls_ca_file = \"{}\"", certificate.chain_file.display()),
        ),
        same_name("rtmps", unverified.rtmps(), "tls_verify = false"),
    ];
    let origin = Inrush::new().cores(2).config(&tables.concat()).start();
    let players: Vec<_> = [&plain, &verified, &unverified]
        .map(|server| (server, ffmpeg::play(Generation::Nine, &server.url("live", "movie-of-mine"))))
        .into_iter()
        .collect();
    for (server, _) in &players {
        server.wait_for_players("live", "movie-of-mine", 1);
    }
    let media = H264_AAC_B_FRAMES.media();
    let url = origin.url("live", "movie-of-mine?viewer=1");
    let publisher = ffmpeg::Publisher::start(Generation::Five, &media, &url);
    for port in [plain.rtmp().port(), verified.rtmps().port(), unverified.rtmps().port()] {
        let forward = wait_for_state(&origin, "movie-of-mine", port, "live");
        assert_eq!((&forward["active"], &forward["named_by"]), (&Value::Bool(true), &Value::from("file")));
    }
    wait_until("the forwards send", PATIENCE, || {
        origin.forwards().iter().all(|it| it["bytes_out"].as_u64() > Some(100_000)).then_some(())
    });
    assert_discreet(&origin, "movie-of-mine");
    publisher.finish();
    for (_, player) in players {
        player.finish().assert_whole(&media.packets);
    }
    wait_until("nothing is forwarded any more", PATIENCE, || origin.forwards().is_empty().then_some(()));
    assert_eq!(origin.metrics().counter("frames_dropped"), 0);
}

/// nginx-rtmp as a target: rtmpdump plays from there what ffmpeg has published here.
#[test]
fn nginx_rtmp_is_a_target_like_any_other() {
    let nginx = Server::nginx_rtmp();
    let origin = Inrush::new().config(&same_name("rtmp", nginx.rtmp(), "")).start();
    let player = rtmpdump::play(&nginx.url("live", "test"));
    nginx.wait_for_players("live", "test", 1);
    let media = H264_AAC.media();
    let publisher = ffmpeg::Publisher::start(Generation::Nine, &media, &origin.url("live", "test"));
    wait_for_state(&origin, "test", nginx.rtmp().port(), "live");
    publisher.finish();
    let run = player.finish().assert_gapless(&media.packets);
    // nginx-rtmp keeps from its players the sound that comes before the first picture.
    assert!(run.skipped <= 2, "{run:?}");
}

/// Publishes synthetic messages in real time while `work` is done, and tells how many there were.
#[track_caller]
fn while_publishing(publisher: Client, work: impl FnOnce()) -> u64 {
    let headers = sequence_headers(&H264_AAC.media());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut publisher = publisher;
            headers.iter().for_each(|header| publisher.send_tag(header));
            let pattern = Pattern::with_bits_per_second(500_000);
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                publisher.send_synthetic(&pattern, number..number + 10);
                number += 10;
            }
            publisher.unpublish();
            number
        });
        {
            let _end = SetOnDrop(&over);
            work();
        }
        publishing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Checks what a player got of a stream that it saw begin anew: headers first, then a key frame, and all from there to the end.
#[track_caller]
fn assert_resumed(tags: &[Tag], sent: u64) -> u64 {
    let media: Vec<&Tag> = tags.iter().filter(|tag| tag.kind != Kind::Data).collect();
    let (headers, frames) = media.split_at(2);
    let mut kinds = [headers[0].kind, headers[1].kind];
    kinds.sort_by_key(|kind| *kind == Kind::Audio);
    assert_eq!(kinds, [Kind::Video, Kind::Audio]);
    assert!(headers.iter().all(|tag| tag.body[1] == 0), "headers come first");
    let stamps: Vec<_> =
        frames.iter().map(|tag| stamp(tag.kind, &tag.body).expect("a frame of ours")).collect();
    assert!(stamps[0].key, "then a key frame");
    let numbers: Vec<u64> = stamps.iter().map(|stamp| stamp.number).collect();
    let first = numbers[0];
    assert_eq!(numbers, (first..sent).collect::<Vec<_>>(), "and everything from there on");
    first
}

/// B is killed and started again: A comes back to it by itself, at a key frame with the headers first.
#[test]
fn a_target_that_was_killed_gets_the_stream_again_from_a_key_frame_on() {
    let port = ports::free_port();
    let start = || Inrush::new().rtmp(format!("127.0.0.1:{port}")).start();
    let origin = Inrush::new().config(&same_name("rtmp", format!("127.0.0.1:{port}"), "")).start();
    let first = start();
    let publisher = Client::open(origin.rtmp()).connect("live").publish("key-of-mine");
    let (mut second, mut recording) = (None, None);
    let sent = while_publishing(publisher, || {
        wait_for_state(&origin, "key-of-mine", port, "live");
        first.wait_for_publisher("live", "key-of-mine");
        first.kill();
        wait_for_state(&origin, "key-of-mine", port, "waiting");
        let again = start();
        recording =
            Some(Client::open(again.rtmp()).connect("live").play("key-of-mine").record_in_background());
        let forward = wait_for_state(&origin, "key-of-mine", port, "live");
        assert!(forward["reconnects"].as_u64() >= Some(1), "{forward}");
        wait_until("a GOP is through", PATIENCE, || {
            (again.streams().first()?["messages_in"].as_u64()? > 60).then_some(())
        });
        second = Some(again);
    });
    let tags = recording.expect("it plays").tags();
    assert!(assert_resumed(&tags, sent) > 0);
    assert_discreet(&origin, "key-of-mine");
}

/// A target in a black hole, one that refuses, one that says nothing and one that stalls, beside a good one: that one and a player here get
/// every frame, no later than without the others.
#[test]
fn bad_targets_are_nobody_elses() {
    let link = Link::new();
    let inside = |inrush: Inrush| inrush.namespace(&link.server).rtmp(format!("{}:0", Link::SERVER)).start();
    let (good, stalling) = (inside(Inrush::new()), inside(Inrush::new()));
    let (silent, refusing) = link.server.enter(|| {
        let listener = |port: u16| TcpListener::bind((Link::SERVER, port)).expect("listen");
        let refusing = listener(0).local_addr().expect("an address");
        (listener(0), refusing)
    });
    let black_hole: SocketAddr = format!("{}:1935", Link::BLACK_HOLE).parse().expect("an address");
    let silent_address = silent.local_addr().expect("an address");
    let quick = "step_ms_max = 1000\nstall_ms_max = 1000\nqueue_ms_max = 500\nqueue_bytes_max = 65536";
    let bad = [black_hole, refusing, silent_address, stalling.rtmp()];
    let mut tables: Vec<String> = bad.iter().map(|address| same_name("rtmp", address, quick)).collect();
    tables.insert(2, same_name("rtmp", good.rtmp(), ""));
    let origin = inside(Inrush::new().cores(2).config(&tables.concat()));
    let connect = |server: &Server| {
        let socket = link.client.enter(|| TcpStream::connect(server.rtmp())).expect("connect over the link");
        Client::over(socket).connect("live")
    };

    // What players at these servers get of a stream, and how late, while `work` is done.
    let watch = |publisher: Client, name: &str, at: &[(&str, &Server)], work: &dyn Fn()| {
        let join = |server: &Server| link.client.enter(|| Crowd::join(server.rtmp(), "live", name, 2));
        let crowds: Vec<Crowd> = at.iter().map(|(_, server)| join(server)).collect();
        at.iter().for_each(|(_, server)| server.wait_for_players("live", name, 2));
        let sent = while_publishing(publisher, work);
        for ((place, _), crowd) in at.iter().zip(crowds) {
            for report in crowd.finish() {
                let seen = (report.first, report.last, report.out_of_order, report.notified);
                assert_eq!(seen, (Some(0), Some(sent - 1), 0, true), "at the {place}, of {sent} messages");
                let got = report.latencies_us.len();
                let p99_ms = f64::from(percentile(report.latencies_us, 0.99)) / 1000.0;
                println!("{name}: a player at the {place} got {got} of {sent} messages, p99 {p99_ms:.1} ms");
            }
        }
    };
    // Without any forward, to have something to compare with.
    watch(connect(&good).publish("alone"), "alone", &[("good target", &good)], &|| {
        wait_until("some seconds are through", PATIENCE, || {
            (good.streams().first()?["messages_in"].as_u64()? > 150).then_some(())
        });
    });
    let name = "beside";
    watch(connect(&origin).publish(name), name, &[("origin", &origin), ("good target", &good)], &|| {
        wait_for_state(&origin, name, good.rtmp().port(), "live");
        wait_for_state(&origin, name, stalling.rtmp().port(), "live");
        stalling.process().signal(libc::SIGSTOP);
        let lost = |kind: &str| origin.metrics().of_kind("forward_lost", kind) > 0;
        for kind in ["connect", "connect_timeout", "deadline", "hopeless"] {
            wait_until(&format!("a bad target shows as {kind}"), PATIENCE, || lost(kind).then_some(()));
        }
        stalling.process().signal(libc::SIGCONT);
        wait_for_state(&origin, name, stalling.rtmp().port(), "live");
    });
    drop(silent);
}

/// A target that drains asks to be connected to elsewhere: the stream goes on there from a key frame, before it ends here, and nobody waits.
#[test]
fn a_target_that_drains_hands_the_stream_on_without_a_gap() {
    let next = Inrush::new().start();
    let elsewhere = format!("[engine]\nreconnect_url = \"rtmp://{}\"\n", next.rtmp());
    let draining = Inrush::new().config(&elsewhere).start();
    let origin = Inrush::new().config(&same_name("rtmp", draining.rtmp(), "")).start();
    let name = "handed-on";
    let publisher = Client::open(origin.rtmp()).connect("live").publish(name);
    let play = |server: &Server| {
        let player = Client::open(server.rtmp()).connect("live").play(name).record_in_background();
        server.wait_for_players("live", name, 1);
        player
    };
    let (before, behind) = (play(&draining), play(&next));
    let port = draining.rtmp().port();
    let sent = while_publishing(publisher, || {
        wait_for_state(&origin, name, port, "live");
        draining.process().signal(libc::SIGTERM);
        // It has nobody to wait for as soon as the stream is gone.
        draining.wait_for_end();
        let forward = wait_for_state(&origin, name, port, "live");
        assert_eq!(forward["reconnects"], 0, "it was never lost: {forward}");
    });
    let tags = before.tags();
    let last = tags.iter().rev().find_map(|tag| stamp(tag.kind, &tag.body)).expect("frames of ours").number;
    let first = assert_resumed(&behind.tags(), sent);
    assert!(first > 0 && first <= last + 1, "{first} comes there, and {last} was the last here");
    let metrics = origin.get("/metrics").body;
    assert!(metrics.contains("\ninrush_forward_redirects_total 1\n"), "{metrics}");
}

/// Two targets in a group: one has the stream; when it dies the other gets it from a key frame on, and when it is back, and has proven itself,
/// it has the stream again.
#[test]
fn a_group_fails_over_and_back() {
    let port = ports::free_port();
    let start = || Inrush::new().rtmp(format!("127.0.0.1:{port}")).start();
    let (primary, backup) = (start(), Inrush::new().start());
    let of_group = |address: SocketAddr, rank| {
        same_name("rtmp", address, &format!("group = \"pair\"\nrank = {rank}\nfailback_ms = 1000"))
    };
    let tables = of_group(backup.rtmp(), "\"backup\"") + &of_group(primary.rtmp(), "0");
    let origin = Inrush::new().config(&tables).start();
    let name = "paired";
    let publisher = Client::open(origin.rtmp()).connect("live").publish(name);
    let (mut recording, mut returned) = (None, None);
    let sent = while_publishing(publisher, || {
        wait_for_state(&origin, name, port, "live");
        let standby = wait_for_state(&origin, name, backup.rtmp().port(), "standby");
        assert_eq!((&standby["active"], &standby["group"]), (&Value::Bool(false), &Value::from("pair")));
        assert!(backup.connections().is_empty(), "nobody has connected to it");
        // A player of the backup waits for what comes.
        let player = Client::open(backup.rtmp()).connect("live").play(name).record_in_background();
        primary.kill();
        wait_for_state(&origin, name, backup.rtmp().port(), "live");
        assert_eq!(forward(&origin, name, backup.rtmp().port()).expect("it is there")["active"], true);
        let primary = start();
        recording = Some(Client::open(primary.rtmp()).connect("live").play(name).record_in_background());
        wait_for_state(&origin, name, port, "live");
        wait_for_state(&origin, name, backup.rtmp().port(), "standby");
        assert_eq!(forward(&origin, name, port).expect("it is there")["active"], true);
        // It was told in good order, and its player has had one run.
        let tags = player.tags();
        let last =
            tags.iter().rev().find_map(|tag| stamp(tag.kind, &tag.body)).expect("frames of ours").number;
        assert!(assert_resumed(&tags, last + 1) > 0);
        wait_until("the backup has no publisher", PATIENCE, || {
            backup.connections_of("publisher", "live", name).is_empty().then_some(())
        });
        let metrics = origin.get("/metrics").body;
        for line in ["inrush_forward_failovers_total 1", "inrush_forward_failbacks_total 1"] {
            assert!(metrics.lines().any(|one| one == line), "{line} in {metrics}");
        }
        // It lives until the stream has ended.
        returned = Some(primary);
    });
    assert!(assert_resumed(&recording.expect("it plays").tags(), sent) > 0);
    drop(returned);
}

/// What `ss` says of the sockets that this filter chooses.
fn sockets(filter: &str) -> String {
    let output = Command::new("ss").args(["--tos", "-tinH", filter]).output().expect("run ss");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Congestion control and DSCP, each listener's own and a target's: the API of both ends and the kernel agree on them.
#[test]
fn connections_have_the_congestion_control_and_the_dscp_that_they_are_to_have() {
    let certificate = Certificate::new(&["localhost"]);
    let there = Inrush::new().config("[rtmp]\ndscp = \"cs3\"\n").start();
    let more = "congestion = \"reno\"\ndscp = 46";
    let config = format!(
        "[rtmp]\ncongestion = \"reno\"\ndscp = \"af41\"\n[tls]\ndscp = 8\n{}{}",
        certificate.table(),
        same_name("rtmp", there.rtmp(), more)
    );
    let here = Inrush::new().cores(2).rtmps().config(&config).start();
    let system = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").expect("read it");
    let system = system.trim();
    let traffic = |congestion: &str, dscp: u8| json!({"congestion": congestion, "dscp": dscp});
    let of = |server: &Server, role: &str| {
        wait_until(&format!("a {role} is shown"), PATIENCE, || {
            server
                .connections_of(role, "live", "test")
                .first()
                .map(|connection| connection["traffic"].clone())
        })
    };
    let headers = sequence_headers(&H264_AAC.media());
    let publisher = Client::open(here.rtmp()).connect("live").publish("test");
    let publisher = Live::start(publisher, &headers, &Pattern::with_bits_per_second(400_000), 0);
    let player = Client::open_tls(here.rtmps(), &Tls::new()).connect("live").play("test");
    let forward = wait_for_state(&here, "test", there.rtmp().port(), "live");
    assert_eq!(forward["traffic"], traffic("reno", 46));
    assert_eq!(of(&here, "forward"), traffic("reno", 46));
    assert_eq!(of(&here, "publisher"), traffic("reno", 34));
    assert_eq!(of(&here, "player"), traffic(system, 8));
    assert_eq!(of(&there, "publisher"), traffic(system, 24));
    // As the kernel has them: the octet holds the DSCP above ECN's two bits.
    for (filter, congestion, octet) in [
        (format!("sport = :{}", here.rtmp().port()), "reno", 34 << 2),
        (format!("dport = :{}", there.rtmp().port()), "reno", 46 << 2),
        (format!("sport = :{}", there.rtmp().port()), system, 24 << 2),
    ] {
        let said = sockets(&filter);
        assert!(said.contains(&format!(" {congestion} ")), "{filter}: {said}");
        assert!(said.contains(&format!("tos:{octet:#x}")), "{filter}: {said}");
    }
    assert!(publisher.is_running());
    drop((publisher, player));
}
