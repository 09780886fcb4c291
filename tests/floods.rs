//! Floods: whatever a peer sends too much of costs it the connection, under a name in the metrics, and its neighbours on the same core
//! nothing.
#![cfg(feature = "engine")]

mod support;

use std::io::Write;
use std::time::Instant;

use support::amf::{self, Amf};
use support::client::Client;
use support::neighbour::undisturbed;
use support::server::{Inrush, Server};
use support::wire::{ChunkWriter, Message};
use support::{PATIENCE, wait_until};

/// How far a flooder gets before it floods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Handshake,
    Publish,
    Play,
}

/// What is sent once, and what is sent again and again after it.
struct Flood {
    name: &'static str,
    at: Point,
    first: Vec<u8>,
    again: Vec<u8>,
    /// What the session may end with: the budget runs out at a message or at the chunk that it is in.
    labels: &'static [&'static str],
}

const MESSAGES: &[&str] = &["too_many_messages", "too_many_tiny_chunks"];
const CONTROL: &[&str] = &["too_many_control_messages", "too_many_tiny_chunks"];

/// Bytes that a flooder writes at once.
const WRITE_BYTES: usize = 32 * 1024;

fn message(type_id: u8, body: &[u8]) -> Vec<u8> {
    ChunkWriter::default().write(&Message { type_id, stream_id: 1, timestamp: 0, body: body.to_vec() })
}

fn floods() -> Vec<Flood> {
    let flood = |name, at, again, labels| Flood { name, at, first: Vec::new(), again, labels };
    let command = |values: &[Amf]| message(20, &amf::write(values));
    let ping = message(4, &[0, 6, 0, 0, 0, 1]);
    // Type 0 for 8 MiB of video on chunk stream 6, and then one byte in each chunk.
    let one_byte = Flood {
        first: [message(1, &[0, 0, 0, 1]), vec![6, 0, 0, 0, 0x7f, 0xff, 0xff, 9, 1, 0, 0, 0, 0x17]].concat(),
        ..flood("chunks of one byte", Point::Publish, vec![0xc6, 7], &["too_many_tiny_chunks"])
    };
    let headers =
        Flood { first: message(9, &[]), ..flood("headers alone", Point::Publish, vec![0xc6], MESSAGES) };
    let part = [&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0, 0, 0, 11]].concat();
    vec![
        one_byte,
        headers,
        flood("empty audio", Point::Publish, message(8, &[]), MESSAGES),
        flood("parts of aggregates", Point::Publish, message(22, &part.repeat(100)), MESSAGES),
        flood(
            "data",
            Point::Publish,
            message(18, &amf::write(&["onTextData".into(), "x".into()])),
            &["too_many_messages"],
        ),
        flood("windows", Point::Publish, message(5, &[0, 0, 0, 1]), CONTROL),
        flood("acknowledgements", Point::Play, message(3, &[0, 0, 0, 1]), CONTROL),
        flood("chunk sizes", Point::Publish, message(1, &[0, 0, 0, 128]), CONTROL),
        flood("aborts", Point::Publish, message(2, &[0, 0, 0, 6]), CONTROL),
        flood("pings of a publisher", Point::Publish, ping.clone(), CONTROL),
        flood("pings of a player", Point::Play, ping.clone(), CONTROL),
        flood("pings before connect", Point::Handshake, ping, CONTROL),
        flood("buffer lengths", Point::Play, message(4, &[0, 3, 0, 0, 0, 1, 0, 0, 0, 1]), CONTROL),
        flood("unknown types", Point::Handshake, message(99, &[0; 20]), &["too_many_messages"]),
        flood("shared objects", Point::Publish, message(19, &[0; 20]), &["too_many_messages"]),
        flood(
            "commands",
            Point::Publish,
            command(&["x".into(), 0.0.into(), Amf::Null]),
            &["too_many_commands", "too_many_tiny_chunks"],
        ),
        flood(
            "commands before connect",
            Point::Handshake,
            command(&["x".into(), 1.0.into(), Amf::Null]),
            &["too_many_commands", "too_many_tiny_chunks"],
        ),
    ]
}

fn errors(server: &Server, labels: &[&str]) -> u64 {
    let metrics = server.metrics();
    labels.iter().map(|label| metrics.of_kind("session_error", label)).sum()
}

/// Floods until the server has closed; it has counted one error by one of the flood's names then.
fn carry_out(server: &Server, flood: &Flood) {
    let before = errors(server, flood.labels);
    let mut client = Client::open(server.rtmp());
    if flood.at != Point::Handshake {
        client = client.connect("live");
    }
    client = match flood.at {
        Point::Handshake => client,
        Point::Publish => client.publish("flooded"),
        Point::Play => client.play("flooded"),
    };
    let mut socket = client.socket().try_clone().expect("clone a socket");
    let burst = flood.again.repeat((WRITE_BYTES / flood.again.len()).max(1));
    let began = Instant::now();
    let mut result = socket.write_all(&flood.first);
    while result.is_ok() && began.elapsed() < PATIENCE {
        result = socket.write_all(&burst);
    }
    assert!(result.is_err(), "{}: still taken after {PATIENCE:?}", flood.name);
    let what = format!("{} are counted", flood.name);
    wait_until(&what, PATIENCE, || (errors(server, flood.labels) == before + 1).then_some(()));
}

/// Each kind of flood ends the connection that it comes on, by its name, while a stream on the same core reaches its player whole.
#[test]
fn every_flood_costs_its_sender_the_connection_and_its_neighbours_nothing() {
    let server = Inrush::new().cores(1).start();
    undisturbed(&server, || floods().iter().for_each(|flood| carry_out(&server, flood)));
    assert_eq!(server.metrics().counter("pre_publish_shed"), 0);
}

/// All of them at once, several times over, and the stream still reaches its player whole.
#[test]
fn all_floods_at_once_cost_their_neighbours_nothing() {
    let server = Inrush::new().cores(1).start();
    undisturbed(&server, || {
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for flood in floods().into_iter().filter(|flood| flood.at != Point::Publish) {
                    let server = &server;
                    scope.spawn(move || {
                        let mut client = Client::open(server.rtmp());
                        if flood.at == Point::Play {
                            client = client.connect("live").play("flooded");
                        }
                        let mut socket = client.socket().try_clone().expect("clone a socket");
                        let burst = flood.again.repeat((WRITE_BYTES / flood.again.len()).max(1));
                        let began = Instant::now();
                        while socket.write_all(&burst).is_ok() {
                            assert!(began.elapsed() < PATIENCE, "{}: still taken", flood.name);
                        }
                    });
                }
            });
        }
    });
}
