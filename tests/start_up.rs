//! Starting and stopping: what is printed, what is refused, what happens when files run out, how the engine drains.
#![cfg(feature = "engine")]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::client::{Client, Event};
use support::media::{H264_AAC, THIN};
use support::namespaces::Namespace;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::{PATIENCE, wait_until};

/// Without a flag or a file it listens where the documentation says, within three seconds, and prints lines to copy.
#[test]
fn defaults_listen_within_three_seconds_and_print_lines_to_copy() {
    let host = Namespace::new(); // a host of its own, where nobody else has the default ports
    let server = Inrush::new().namespace(&host).default_addresses().start();
    assert!(server.start_up() < Duration::from_secs(3), "it took {:?}", server.start_up());
    assert_eq!((server.rtmp().port(), server.http().port()), (1935, 8935));
    let lines = server.process().stdout();
    for part in [
        "listening rtmp 0.0.0.0:1935\n",
        "listening http 127.0.0.1:8935\n",
        "publish",
        "play",
        "rtmp://",
        "open",
    ] {
        assert!(lines.contains(part), "{part:?} is not in: {lines}");
    }
    let socket = host.enter(|| TcpStream::connect(server.rtmp())).expect("connect to the default port");
    Client::over(socket).connect("live").publish("test").unpublish();
}

/// A second copy on the same port ends with code 3 and says why; the first serves every connection, also while the second tries.
#[test]
fn second_copy_exits_3_and_takes_no_connection() {
    let first = Inrush::new().cores(2).start();
    let mut second = Inrush::new().cores(2).rtmp(first.rtmp()).spawn();
    let mut clients = 0;
    let status = wait_until("the second copy gives up", PATIENCE, || {
        Client::open(first.rtmp());
        clients += 1;
        second.try_exit()
    });
    for _ in 0..50 {
        Client::open(first.rtmp());
    }
    let status = status.code().map_or_else(|| second.wait(PATIENCE).code(), Some);
    let output = second.stdout() + &second.stderr();
    assert_eq!(status, Some(3), "{output}");
    let port = first.rtmp().port().to_string();
    assert!(output.contains(&port) && output.contains("in use"), "it does not say why: {output}");
    wait_until("the first has accepted every connection", PATIENCE, || {
        (first.metrics().counter("accepted") == clients + 50).then_some(())
    });
}

/// A listener on `[::]` serves IPv6 and IPv4.
#[test]
fn unspecified_ipv6_address_serves_both_families() {
    let server = Inrush::new().rtmp("[::]:0").start();
    let port = server.rtmp().port();
    for address in
        [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))]
    {
        Client::open(address).connect("live").publish("both").unpublish();
    }
}

/// Several addresses are served at once.
#[test]
fn each_address_is_served() {
    let server = Inrush::new().rtmp("127.0.0.1:0").rtmp("127.0.0.2:0").rtmp("[::1]:0").cores(2).start();
    assert_eq!(server.all_rtmp().len(), 3);
    for address in server.all_rtmp() {
        Client::open(*address).connect("live").publish("one").unpublish();
    }
}

/// Mistakes in flags and files end with code 2 and name the mistake, its line included.
#[test]
fn mistakes_in_the_configuration_exit_2() {
    let cases = [
        (Inrush::new().config("[rtmp]\nlissten = [\"127.0.0.1:0\"]\n"), vec!["lissten", ":2"]),
        (Inrush::new().config("[control]\n\nlisten = 8935\n"), vec!["control.listen", ":3"]),
        (Inrush::new().args(&["--placement", "anywhere"]), vec!["--placement", "anywhere"]),
        (Inrush::new().args(&["--colour"]), vec!["--colour"]),
        (Inrush::new().rtmp("localhost"), vec!["--rtmp", "localhost"]),
    ];
    for (server, parts) in cases {
        let mut process = server.spawn();
        let status = process.wait(PATIENCE);
        assert_eq!(status.code(), Some(2), "{parts:?}: {}", process.stderr());
        for part in parts {
            assert!(process.stderr().contains(part), "{part:?} is not in: {}", process.stderr());
        }
    }
}

/// When file descriptors run out, accepting pauses, the control HTTP still answers, who is served stays served, and once some are
/// free again newcomers are served too.
#[test]
fn accept_pauses_when_files_run_out() {
    let server = Inrush::new().cores(2).open_files(200).start();
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("early");
    let crowd: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(server.rtmp()).expect("the backlog takes it")).collect();
    wait_until("accepting pauses", PATIENCE, || {
        (server.metrics().counter("accept_pauses") > 0).then_some(())
    });
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.streams().len(), 1);
    let accepted = server.metrics().counter("accepted");
    assert!(accepted < 200, "{accepted} connections under a limit of 200 files");
    publisher.send_synthetic(&Pattern::with_bits_per_second(100_000), 0..10);
    let pauses = |server: &Server| server.log().matches("accept pauses").count();
    assert!(pauses(&server) <= 2, "an exhaustion is told once, not each time:\n{}", server.log());
    drop(crowd);
    Client::open(server.rtmp()).connect("live").publish("late").unpublish();
    publisher.unpublish();
}

/// SIGTERM without publishers ends at once, whoever plays.
#[test]
fn players_do_not_hold_a_drain() {
    let server = Inrush::new().cores(2).start();
    let mut player = Client::open(server.rtmp()).connect("live").play("nobody");
    server.wait_for_players("live", "nobody", 1);
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    assert!(player.wait_for_close(PATIENCE));
}

/// SIGTERM with a publisher: not ready, no newcomers, the stream goes on to its end, then a clean exit.
#[test]
fn drain_waits_for_publishers() {
    let server = Inrush::new().cores(2).start();
    let media = H264_AAC.media();
    let player = Client::open(server.rtmp()).connect("live").play("last").record_in_background();
    server.wait_for_players("live", "last", 1);
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("last");
    let middle = media.tags.len() / 2;
    publisher.send_paced(&media.tags[..middle], 4.0);

    server.process().signal(libc::SIGTERM);
    wait_until("the server says that it is not ready", PATIENCE, || {
        server.try_get("/readyz").is_ok_and(|answer| answer.status == 503).then_some(())
    });
    wait_until("newcomers are refused", PATIENCE, || TcpStream::connect(server.rtmp()).err());
    publisher.send_paced(&media.tags[middle..], 4.0);
    let start = Instant::now();
    publisher.unpublish();
    player.assert_whole(&media.packets);
    server.wait_for_end();
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
}

/// A second SIGTERM ends a drain, publisher or not.
#[test]
fn second_signal_stops_at_once() {
    let server = Inrush::new().start();
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("stubborn");
    for header in sequence_headers(&THIN.media()) {
        publisher.send_tag(&header);
    }
    server.process().signal(libc::SIGTERM);
    wait_until("the server says that it is not ready", PATIENCE, || {
        server.try_get("/readyz").is_ok_and(|answer| answer.status == 503).then_some(())
    });
    assert_eq!(
        publisher.next_event(Duration::from_millis(500)).filter(|event| *event == Event::Closed),
        None
    );
    let start = Instant::now();
    server.process().signal(libc::SIGTERM);
    server.wait_for_end();
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    assert!(publisher.wait_for_close(PATIENCE));
}
