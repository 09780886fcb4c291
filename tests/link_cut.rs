//! A link is cut under publishers: whoever is silent then is known to be dead within seconds, and the key is free again.
#![cfg(feature = "engine")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::client::Client;
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
