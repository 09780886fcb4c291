//! Bad input: each kind has its name in the metrics, ends that connection alone, and is told to the peer where the protocol can;
//! what encoders merely get wrong is tolerated.
#![cfg(feature = "engine")]

mod support;

use std::io::Write;
use std::net::TcpStream;

use support::amf::{self, Amf};
use support::client::{Client, Event};
use support::flv::{Kind, Tag};
use support::media::{H264_AAC, THIN};
use support::server::{Inrush, Server};
use support::wire::{self, ChunkWriter, Message};
use support::{PATIENCE, script, wait_until};

/// What goes wrong, at which point, and the name that the server must give it.
struct Fault {
    label: &'static str,
    after: Point,
    bytes: Vec<u8>,
}

/// How far a connection gets before it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Tcp,
    Handshake,
    Connect,
    Publish,
}

/// A chunk header of type 0 on chunk stream 3, for a message of this length and type.
fn header(length: u32, type_id: u8) -> Vec<u8> {
    let length = length.to_be_bytes();
    vec![3, 0, 0, 0, length[1], length[2], length[3], type_id, 0, 0, 0, 0]
}

fn message(type_id: u8, body: &[u8]) -> Vec<u8> {
    ChunkWriter::default().write(&Message { type_id, stream_id: 0, timestamp: 0, body: body.to_vec() })
}

fn faults() -> Vec<Fault> {
    let fault = |label, after, bytes| Fault { label, after, bytes };
    let command = |values: &[Amf]| message(20, &amf::write(values));
    let deep = [vec![2, 0, 7], b"connect".to_vec(), vec![0; 9], [3, 0, 1, b'x'].repeat(100)].concat();
    let wrong_length = [header(300, 20), vec![0; 128], header(301, 20), vec![0; 128]].concat();
    // A message of 200 bytes is begun on one chunk stream after the other (two-byte form of the id).
    let begin = |id: u8| [vec![0, id, 0, 0, 0, 0, 0, 200, 9, 0, 0, 0, 0], vec![0; 128]].concat();
    let long_name = "n".repeat(5000);
    vec![
        fault("handshake_version", Point::Tcp, [vec![0x47], vec![0; 1536]].concat()),
        fault("encrypted_handshake", Point::Tcp, [vec![6], vec![0; 1536]].concat()),
        fault(
            "command_before_connect",
            Point::Handshake,
            command(&["createStream".into(), 4.0.into(), Amf::Null]),
        ),
        fault("message_too_long", Point::Handshake, header(0xff_ffff, 20)),
        fault("amf_depth", Point::Handshake, message(20, &deep)),
        fault("connect_twice", Point::Connect, {
            let connect = script::connect("live", "rtmp://localhost/live");
            ChunkWriter::default().write(&connect)
        }),
        fault("chunk_size", Point::Connect, message(1, &[0, 0, 0, 0])),
        fault("chunk_size", Point::Connect, message(1, &[0x80, 0, 0, 0])),
        fault("control_length", Point::Connect, message(1, &[0, 0])),
        fault("message_length_changed", Point::Connect, wrong_length),
        fault("too_many_chunk_streams", Point::Connect, (0..100).flat_map(begin).collect()),
        fault("name_empty", Point::Handshake, {
            let mut writer = ChunkWriter::default();
            [script::connect("", "rtmp://localhost"), script::publish(1, "")]
                .map(|it| writer.write(&it))
                .concat()
        }),
        fault("name_too_long", Point::Connect, ChunkWriter::default().write(&script::publish(1, &long_name))),
        fault("chunk_size", Point::Publish, message(1, &[0, 0, 0, 0])),
        fault(
            "aggregate_malformed",
            Point::Publish,
            message(22, &[9, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2]),
        ),
        fault("reassembly_bytes", Point::Publish, {
            // Many messages of 8 MB in chunks of 1 MB, none of which is ever finished.
            let begin =
                |id: u8| [vec![0, id, 0, 0, 0, 0x7f, 0xff, 0xff, 9, 0, 0, 0, 0], vec![0; 1 << 20]].concat();
            [message(1, &(1_u32 << 20).to_be_bytes()), (0..20).flat_map(begin).collect()].concat()
        }),
    ]
}

/// Every fault is counted under its name, logged once with the peer's address, closes the connection, and disturbs nobody else.
#[test]
fn faults_are_named_and_end_one_connection_alone() {
    let server = Inrush::new().cores(2).start();
    let media = THIN.media();
    let neighbour = Client::open(server.rtmp()).connect("live").play("neighbour").record_in_background();
    server.wait_for_players("live", "neighbour", 1);
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("neighbour");
    std::thread::scope(|scope| {
        scope.spawn(|| publisher.send_paced(&media.tags, 2.0));
        for (number, fault) in faults().into_iter().enumerate() {
            commit(&server, number, &fault);
        }
    });
    publisher.unpublish();
    neighbour.assert_whole(&media.packets);
}

fn commit(server: &Server, number: usize, fault: &Fault) {
    let count = || server.metrics().of_kind("session_error", fault.label);
    let before = count();
    let mut socket = TcpStream::connect(server.rtmp()).expect("connect");
    let peer = socket.local_addr().expect("an address").to_string();
    let is_closed = if fault.after == Point::Tcp {
        socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        socket.write_all(&fault.bytes).expect("send");
        std::io::Read::read_to_end(&mut socket, &mut Vec::new())
            .map_or_else(|error| error.raw_os_error().is_some(), |_| true)
    } else {
        let mut client = Client::over(socket);
        if fault.after != Point::Handshake {
            client = client.connect("live");
        }
        if fault.after == Point::Publish {
            client = client.publish(&format!("faulty-{number}"));
        }
        let mut socket = client.socket().try_clone().expect("clone a socket");
        // The server may close before it has read all of it.
        let _ = socket.write_all(&fault.bytes);
        client.wait_for_close(PATIENCE)
    };
    assert!(is_closed, "{} at {:?} does not end the connection", fault.label, fault.after);
    let what = format!("{} at {:?} is counted", fault.label, fault.after);
    wait_until(&what, PATIENCE, || (count() == before + 1).then_some(()));
    let kind = format!("kind=\"{}\"", fault.label);
    let lines = |log: String| log.lines().filter(|line| line.contains(&peer) && line.contains(&kind)).count();
    wait_until("it is logged with the peer's address", PATIENCE, || (lines(server.log()) > 0).then_some(()));
    assert_eq!(lines(server.log()), 1, "it is logged more than once:\n{}", server.log());
}

/// What encoders get wrong in the field does not end a connection, and their media passes unharmed.
#[test]
fn oddities_are_tolerated() {
    let server = Inrush::new().cores(2).start();
    let media = H264_AAC.media();
    let player = Client::open(server.rtmp()).connect("live").play("odd").record_in_background();
    server.wait_for_players("live", "odd", 1);
    let mut odd = Client::open(server.rtmp()).connect("live");
    odd.send(&Message::command(0, &["makeCoffee".into(), 99.0.into(), Amf::Null]));
    odd.wait_for("an answer to an unknown command", |event| match event {
        Event::Answer(_, transaction, _) => (transaction == 99.0).then_some(()),
        _ => None,
    });
    let mut odd = odd.publish("odd");
    let control = |type_id, body: &[u8]| Message { type_id, stream_id: 0, timestamp: 0, body: body.to_vec() };
    odd.send(&control(4, &[0, 31, 1, 2, 3, 4])); // a user control event that nobody knows
    odd.send(&control(19, b"shared object"));
    odd.send(&control(99, b"no such message type"));
    odd.send(&control(3, &[0xff, 0xff, 0xff, 0xff])); // an acknowledgement of bytes that we never sent
    let data = |body: Vec<u8>| Tag { kind: Kind::Data, timestamp: 0, body };
    odd.send_tag(&data(vec![0xee, 1, 2, 3])); // no AMF at all
    let stray = [amf::write(&[1.0.into(), 2.0.into()]), script::metadata(640, 360)].concat();
    odd.send_tag(&data(stray)); // two numbers before @setDataFrame, as a camera sends them
    odd.send_tag(&data(script::metadata(99_999, 1))); // a lie
    let headers = support::synthetic::sequence_headers(&media);
    for _ in 0..3 {
        headers.iter().for_each(|header| odd.send_tag(header)); // repeated sequence headers
    }
    odd.send_tag(&Tag { kind: Kind::Video, timestamp: 0, body: Vec::new() }); // an empty message
    odd.send_paced(&media.tags, 4.0);
    odd.unpublish();
    player.assert_whole(&media.packets);
    for label in ["unknown_command", "unknown_user_control", "shared_object", "unknown_message_type"] {
        wait_until(&format!("{label} is counted once"), PATIENCE, || {
            (server.metrics().of_kind("oddity", label) == 1).then_some(())
        });
    }
}

/// Whoever says nothing is closed when the deadline of his stage has passed; here the handshake's 10 s.
#[test]
fn silence_is_closed() {
    let server = Inrush::new().cores(2).start();
    let silent = TcpStream::connect(server.rtmp()).expect("connect");
    let mut partly = TcpStream::connect(server.rtmp()).expect("connect");
    partly.write_all(&wire::c0_c1()[..700]).expect("send");
    wait_until("both are accepted", PATIENCE, || (server.connections().len() == 2).then_some(()));
    wait_until("both are closed", PATIENCE, || server.connections().is_empty().then_some(()));
    wait_until("both are counted", PATIENCE, || {
        (server.metrics().of_kind("session_error", "deadline") == 2).then_some(())
    });
    drop((silent, partly));
}
