//! Peers that are slow on purpose, or never read: each is closed when the deadline of what it keeps waiting has passed.
#![cfg(feature = "engine")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::client::Client;
use support::media::H264_AAC;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::wire::{ChunkWriter, Message, c0_c1};
use support::{PATIENCE, script, wait_until};

/// A drip: far more often than the deadlines of a second or two, and far too slow to come to an end.
const DRIP: Duration = Duration::from_millis(50);

/// A server whose deadlines are a second each, and which lets a peer ask as much as it likes.
fn impatient() -> Server {
    let config = "
        [deadlines]
        handshake_seconds = 1
        connect_seconds = 1
        publish_or_play_seconds = 1
        first_media_seconds = 1
        write_seconds = 1
        [limits]
        work_per_second_max = 1_000_000_000
        [[app]]
        name = \"*\"
        stall_ms_max = 1000
        queue_ms_max = 500
    ";
    Inrush::new().cores(1).config(config).start()
}

fn errors(server: &Server, label: &str) -> u64 {
    server.metrics().of_kind("session_error", label)
}

/// Sends a byte now and then until the server closes, which it must do long before the bytes are at their end.
fn drip(server: &Server, mut socket: TcpStream, bytes: &[u8]) {
    let before = errors(server, "deadline");
    socket.set_nodelay(true).expect("set TCP_NODELAY");
    socket.set_read_timeout(Some(DRIP)).expect("set a timeout");
    assert!(DRIP * bytes.len() as u32 > PATIENCE, "{} bytes are too few", bytes.len());
    let began = Instant::now();
    for byte in bytes {
        let answer = match socket.write_all(&[*byte]) {
            Ok(()) => socket.read(&mut [0; 4096]),
            Err(_) => break,
        };
        match answer {
            Ok(0) => break,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
            // What it has to say so far, or nothing within the pause.
            _ => assert!(began.elapsed() < PATIENCE, "still open"),
        }
    }
    wait_until("the deadline is counted", PATIENCE, || {
        (errors(server, "deadline") == before + 1).then_some(())
    });
}

/// Slow handshakes, slow commands and slow messages before publish: bytes that come do not put the deadline off.
#[test]
fn a_drip_is_closed_at_its_deadline() {
    let server = impatient();
    let connect = || TcpStream::connect(server.rtmp()).expect("connect");
    let over = |client: Client| client.socket().try_clone().expect("clone a socket");
    let begun = |type_id, len| {
        let mut writer = ChunkWriter::default();
        let mut bytes = writer.set_chunk_size(1 << 16);
        bytes.extend(writer.write(&Message { type_id, stream_id: 1, timestamp: 0, body: vec![7; len] }));
        bytes
    };
    drip(&server, connect(), &c0_c1());
    let mut c1_sent = connect();
    c1_sent.write_all(&c0_c1()).expect("send");
    drip(&server, c1_sent, &[0; 1536]);
    let long_url = format!("rtmp://localhost/live?{}", "x".repeat(900));
    drip(
        &server,
        over(Client::open(server.rtmp())),
        &ChunkWriter::default().write(&script::connect("live", &long_url)),
    );
    drip(&server, over(Client::open(server.rtmp()).connect("live")), &begun(20, 2_000));
    drip(&server, over(Client::open(server.rtmp()).connect("live")), &begun(9, 2_000));
    drip(&server, over(Client::open(server.rtmp()).connect("live").publish("slow")), &begun(9, 2_000));
}

/// Pings for as long as the answers leave, and waits while one waits to be read, until the server has closed. So no more answers pile up
/// than one round brings.
fn ping_and_never_read(server: &Server, client: &Client) {
    let ping = Message { type_id: 4, stream_id: 0, timestamp: 0, body: vec![0, 6, 0, 0, 0, 1] };
    // Seven bytes each: all of them are half of what may wait.
    let pings = ChunkWriter::default().write(&ping).repeat(5_000);
    let mut socket = client.socket().try_clone().expect("clone a socket");
    let peer = client.socket().local_addr().expect("an address").to_string();
    wait_until("who never reads is closed", PATIENCE, || {
        let connection = server.connections().into_iter().find(|it| it["peer"] == peer.as_str());
        let Some(connection) = connection else { return Some(()) };
        (connection["held_bytes"] == 0 && socket.write_all(&pings).is_err()).then_some(())
    });
}

/// Whoever asks and never reads the answers is closed when one of them has waited for the deadline.
#[test]
fn who_asks_and_never_reads_is_closed() {
    let server = impatient();
    let mut client = Client::open_narrow(server.rtmp()).connect("live").publish("unread");
    sequence_headers(&H264_AAC.media()).iter().for_each(|header| client.send_tag(header));
    ping_and_never_read(&server, &client);
    wait_until("it is closed for not reading", PATIENCE, || {
        (errors(&server, "not_reading") == 1).then_some(())
    });
    wait_until("nobody is left", PATIENCE, || server.connections().is_empty().then_some(()));
}

/// Whoever asks on and on and never reads is closed when more answers wait than ever would.
#[test]
fn who_floods_and_never_reads_is_closed() {
    let server = impatient();
    let client = Client::open_narrow(server.rtmp()).connect("live").play("anything");
    let ping = Message { type_id: 4, stream_id: 0, timestamp: 0, body: vec![0, 6, 0, 0, 0, 1] };
    let pings = ChunkWriter::default().write(&ping).repeat(1_000);
    let mut socket = client.socket().try_clone().expect("clone a socket");
    wait_until("it is closed", PATIENCE, || (0..10).any(|_| socket.write_all(&pings).is_err()).then_some(()));
    wait_until("it is closed for not reading", PATIENCE, || {
        (errors(&server, "not_reading") == 1).then_some(())
    });
}

/// A player that never reads is given up after its app's stall limit.
#[test]
fn a_player_that_never_reads_is_closed() {
    let server = impatient();
    let player = Client::open_narrow(server.rtmp()).connect("live").play("unread");
    server.wait_for_players("live", "unread", 1);
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("unread");
    sequence_headers(&H264_AAC.media()).iter().for_each(|header| publisher.send_tag(header));
    // More than the buffers of both sockets hold within a second.
    let pattern = Pattern { frame_ms: 10, video_bytes: 60_000, ..Pattern::with_bits_per_second(500_000) };
    let began = Instant::now();
    let mut number = 0;
    while server.metrics().of_kind("close_reason", "hopeless") == 0 {
        assert!(began.elapsed() < PATIENCE, "the player is never given up");
        publisher.send_synthetic(&pattern, number..number + 20);
        number += 20;
    }
    drop(player);
    publisher.unpublish();
}
