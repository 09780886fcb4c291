//! A link or a connection is cut under publishers: whoever is silent then is known to be dead within seconds, and the key is free again, at once
//! for who comes back.
#![cfg(feature = "engine")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::client::Client;
use support::crowd::Crowd;
use support::media::H264_AAC;
use support::namespaces::Link;
use support::server::Inrush;
use support::synthetic::{Pattern, sequence_headers};
use support::wire::{ChunkWriter, Message};
use support::{PATIENCE, SetOnDrop, script, wait_until};

/// Longest time from the cut until a dead publisher is gone: keepalive finds it after 4 s and 4 probes of 1 s.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// The link is cut under a publisher that is silent at the time and under one that keeps sending: both are gone within 10 s.
#[test]
fn cut_publishers_are_gone_within_10_seconds() {
    let link = Link::new();
    let server = Inrush::new().cores(2).namespace(&link.server).rtmp(format!("{}:0", Link::SERVER)).start();
    let connect = || {
        let socket = link.client.enter(|| TcpStream::connect(server.rtmp())).expect("connect over the link");
        Client::over(socket).connect("live")
    };
    let mut silent = connect().publish("silent");
    let mut sending = connect().publish("sending");
    let pattern = Pattern::with_bits_per_second(500_000);
    for publisher in [&mut silent, &mut sending] {
        sequence_headers(&H264_AAC.media()).iter().for_each(|header| publisher.send_tag(header));
        publisher.send_synthetic(&pattern, 0..50);
    }
    let live = || server.streams().len();
    assert_eq!(live(), 2);

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&over);
        let socket = sending.socket().try_clone().expect("clone a socket");
        scope.spawn(|| send_on(socket, &pattern, &over));
        let received = || server.metrics().counter("messages_in");
        let before = received();
        wait_until("the sending publisher is sending", PATIENCE, || (received() > before).then_some(()));
        link.cut();
        let start = Instant::now();
        wait_until("both publishers are gone", 2 * GONE_WITHIN, || {
            server.connections().is_empty().then_some(())
        });
        println!("both publishers were gone {:?} after the cut", start.elapsed());
        assert!(start.elapsed() < GONE_WITHIN, "it took {:?}", start.elapsed());
        let is_kept = |stream: &serde_json::Value| stream["absent"] == true && stream["publisher"].is_null();
        assert!(server.streams().iter().all(is_kept), "they are waited for: {:?}", server.streams());
    });
}

/// Sends on whatever happens: the kernel takes what is sent until its buffer is full, and the server has to find out.
fn send_on(mut socket: TcpStream, pattern: &Pattern, over: &AtomicBool) {
    socket.set_write_timeout(Some(Duration::from_millis(200))).expect("set a timeout");
    let mut writer = ChunkWriter::default();
    for number in 50.. {
        let message = Message::media(script::FIRST_STREAM, &pattern.tag(number));
        if over.load(Ordering::Relaxed) || socket.write_all(&writer.write(&message)).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Players that keep a core busy with 50 messages a second each, so that it polls.
const PLAYERS: usize = 60;
/// Encoders that come back at the same time, and how often each does.
const ENCODERS: usize = 8;
const RETURNS: usize = 2;

/// An encoder whose connection ends in the midst of its media, and that comes back at once, is never refused for its own ghost: not by a core
/// either that looks for what has come once a second, and has not read yet what the encoder had sent before it closed.
#[test]
fn who_comes_back_at_once_meets_no_ghost() {
    let server = Inrush::new().cores(1).config("[ingest]\nlatency_budget_ms = 1000\n").start();
    let players = Crowd::join(server.rtmp(), "live", "busy", PLAYERS);
    server.wait_for_players("live", "busy", PLAYERS);
    let (pattern, headers) = (Pattern::with_bits_per_second(200_000), sequence_headers(&H264_AAC.media()));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (server, pattern, headers, over) = (&server, &pattern, &headers, &over);
        let _end = SetOnDrop(over);
        scope.spawn(move || {
            let mut publisher = Client::open(server.rtmp()).connect("live").publish("busy");
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                publisher.send_synthetic(pattern, number..number + 10);
                number += 10;
            }
            publisher.unpublish();
        });
        wait_until("the busy core polls", PATIENCE, || {
            (server.metrics().gauge("polling") == 1).then_some(())
        });
        let come_back = |name: String| {
            for time in 0..=RETURNS {
                let mut encoder = Client::open(server.rtmp()).connect("live");
                let status = encoder.request_publish(&name);
                assert_eq!(status.code, "NetStream.Publish.Start", "{name}, after {time} returns");
                headers.iter().for_each(|header| encoder.send_tag(header));
                encoder.send_synthetic(pattern, 0..25);
            }
        };
        let encoders: Vec<_> =
            (0..ENCODERS).map(|number| scope.spawn(move || come_back(format!("encoder-{number}")))).collect();
        for encoder in encoders {
            encoder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    drop(players.finish());
    println!("{} of {} met a ghost", server.metrics().counter("publishes_held"), ENCODERS * RETURNS);
}
