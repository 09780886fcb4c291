//! A connection that has played and then publishes: its socket is a publisher's from then on, also when it moves to another core.
//!
//! A player's socket has a longer user timeout than a publisher's, since a paused player is no dead one. Whether the publisher's is
//! back shows when the link is cut; whether the receive mark follows its messages, in how often it wakes the core.
#![cfg(feature = "engine")]

mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::amf::Amf;
use support::client::{Client, Event};
use support::media::H264_AAC;
use support::namespaces::Link;
use support::script;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::wire::{ChunkWriter, Message};
use support::{PATIENCE, wait_until};

/// Longest time from the cut until a dead publisher is gone, as in `link_cut.rs`.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// So long a player of these servers may read nothing; its user timeout is longer.
const PLAYERS_STALL: &str = "[ingest]\nlatency_budget_ms = 0\n[[app]]\nname = \"*\"\nstall_ms_max = 60000\n";
/// Connections that are tried before chance cannot be the reason any more: 2^-40.
const TRIES: usize = 40;

/// Where a connection is when it asks to publish on core 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepted {
    /// There: it stays.
    Home,
    /// On the other core: it moves.
    Elsewhere,
}

/// The core that serves a client.
fn core_of(server: &Server, client: &Client) -> u64 {
    let address = client.socket().local_addr().expect("a connected socket has an address").to_string();
    wait_until("the connection is known", PATIENCE, || {
        let connections = server.connections();
        connections.iter().find(|connection| connection["peer"] == address)?["core"].as_u64()
    })
}

/// A connection that plays a stream which nobody publishes, and stops.
fn play_and_stop(client: Client) -> Client {
    let mut player = client.play("nobody");
    let status = player.wait_for("the play is accepted", |event| match event {
        Event::Status(status) if status.code == "NetStream.Play.Start" => Some(status),
        _ => None,
    });
    assert_eq!(status.level, "status");
    let stream_id = f64::from(script::FIRST_STREAM);
    player.send(&Message::command(0, &["deleteStream".into(), 6.0.into(), Amf::Null, stream_id.into()]));
    player
}

/// A publisher on core 0 that has played before, on the core that accepted it.
fn turned(server: &Server, accepted: Accepted, connect: impl Fn() -> Client) -> Client {
    let mut others = Vec::new();
    let client = loop {
        let client = connect();
        if (core_of(server, &client) == 0) == (accepted == Accepted::Home) {
            break client;
        }
        others.push(client);
        assert!(others.len() < TRIES, "the kernel gives no connection to this core");
    };
    let mut publisher = play_and_stop(client).publish("turned");
    sequence_headers(&H264_AAC.media()).iter().for_each(|header| publisher.send_tag(header));
    assert_eq!(core_of(server, &publisher), 0);
    publisher
}

#[track_caller]
fn is_gone_within_10_seconds_of_a_cut(accepted: Accepted) {
    let link = Link::new();
    let server = Inrush::new().cores(2).placement("core:0").config(PLAYERS_STALL);
    let server = server.namespace(&link.server).rtmp(format!("{}:0", Link::SERVER)).start();
    let connect = || {
        let socket = link.client.enter(|| TcpStream::connect(server.rtmp())).expect("connect over the link");
        Client::over(socket).connect("live")
    };
    let mut publisher = turned(&server, accepted, connect);
    publisher.send_synthetic(&Pattern::with_bits_per_second(500_000), 0..20);
    let is_there = || !server.connections_of("publisher", "live", "turned").is_empty();
    assert!(is_there());
    link.cut();
    let cut = Instant::now();
    wait_until("the publisher is gone", 2 * GONE_WITHIN, || (!is_there()).then_some(()));
    assert!(cut.elapsed() < GONE_WITHIN, "it took {:?}", cut.elapsed());
}

/// A publisher that has played is known to be dead as soon as any other.
#[test]
fn a_cut_publisher_that_has_played_is_gone_within_10_seconds() {
    is_gone_within_10_seconds_of_a_cut(Accepted::Home);
}

/// The same after a move to the core of its stream.
#[test]
fn a_cut_publisher_that_has_played_elsewhere_is_gone_within_10_seconds() {
    is_gone_within_10_seconds_of_a_cut(Accepted::Elsewhere);
}

#[track_caller]
fn is_not_woken_for_parts_of_messages(accepted: Accepted) {
    /// Small segments, as a wide-area path delivers them.
    const PIECE_BYTES: usize = 1_000;
    const PIECE_PAUSE: Duration = Duration::from_millis(1);
    const MESSAGE_PIECES: usize = 60;
    let server = Inrush::new().cores(2).placement("core:0").config(PLAYERS_STALL).start();
    let mut publisher = turned(&server, accepted, || Client::open(server.rtmp()).connect("live"));
    let mut writer = ChunkWriter::default();
    publisher.send_bytes(&writer.set_chunk_size(65_536));
    let pattern =
        Pattern { video_bytes: PIECE_BYTES * MESSAGE_PIECES, ..Pattern::with_bits_per_second(500_000) };
    let mut number = 0;
    // Video only, in pieces that are due one after the other: a late thread sends several at once and keeps the rate. Gives how many.
    let began = Instant::now();
    let mut pieces_sent = 0;
    let mut send = |messages: u64| {
        let before = pieces_sent;
        for _ in 0..messages {
            let message = writer.write(&Message::media(script::FIRST_STREAM, &pattern.tag(number)));
            number += 2;
            for piece in message.chunks(PIECE_BYTES) {
                let due = began + PIECE_PAUSE * pieces_sent;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                publisher.send_bytes(piece);
                pieces_sent += 1;
            }
        }
        u64::from(pieces_sent - before)
    };
    let received = || server.metrics().counter("messages_in");
    // The mark follows the rate, which is measured once a second.
    let mut sent = 0;
    while began.elapsed() < Duration::from_millis(3_500) {
        send(1);
        sent += 1;
    }
    let before = wait_until("the first messages are counted", PATIENCE, || {
        let metrics = server.metrics();
        (received() >= sent + 2).then_some(metrics)
    });
    let pieces = send(15);
    let after = wait_until("the others are counted", PATIENCE, || {
        let metrics = server.metrics();
        (metrics.counter("messages_in") - before.counter("messages_in") >= 15).then_some(metrics)
    });
    let wakeups = after.counter("wakeups") - before.counter("wakeups");
    assert!(wakeups >= 15 && wakeups < pieces / 3, "{wakeups} wake-ups for {pieces} pieces of 15 messages");
}

/// The core is woken when a message, or 20 ms of the stream, is there, not for each segment.
#[test]
fn a_publisher_that_has_played_does_not_wake_the_core_for_parts_of_messages() {
    is_not_woken_for_parts_of_messages(Accepted::Home);
}

/// The same after a move to the core of its stream.
#[test]
fn a_publisher_that_has_played_elsewhere_does_not_wake_the_core_for_parts_of_messages() {
    is_not_woken_for_parts_of_messages(Accepted::Elsewhere);
}
