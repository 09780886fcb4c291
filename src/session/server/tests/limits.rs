//! What is refused, how it is answered, and what a hostile peer can make a session do.

use bytes::{BufMut, Bytes, BytesMut};

use super::peer::*;
use crate::rtmp::aggregate::PARTS_MAX;
use crate::rtmp::amf::Value;
use crate::rtmp::chunk::ChunkStreamId;
use crate::rtmp::command::write;
use crate::rtmp::message::type_id;
use crate::rtmp::{Message, MessageHeader, Payload};
use crate::session::*;

pub(super) fn message(type_id: u8, stream_id: u32, body: &[u8]) -> Message {
    let payload = Payload::from(Bytes::copy_from_slice(body));
    Message::new(MessageHeader { timestamp: 0, type_id, stream_id }, payload)
}

fn connect_with(name: &str, value: Value) -> Message {
    write::connect(Value::object([("app", "live".into()), (name, value)]))
}

#[test]
fn every_refusal_has_its_name_and_its_answer() {
    let long = "x".repeat(1025);
    let not_connected: &[(Message, &str, &str)] = &[
        (write::create_stream(1.0), "command_before_connect", "0 onStatus error NetConnection.Call.Failed"),
        (publish("key"), "command_before_connect", "0 onStatus error NetConnection.Call.Failed"),
        (connect(&long), "name_too_long", "0 _error 1 error NetConnection.Connect.Rejected"),
        (
            connect_with("tcUrl", (&*long).into()),
            "name_too_long",
            "0 _error 1 error NetConnection.Connect.Rejected",
        ),
        (
            connect_with("objectEncoding", 1.0.into()),
            "object_encoding",
            "0 _error 1 error NetConnection.Connect.Rejected",
        ),
        (
            message(type_id::COMMAND_AMF0, 0, &[5]),
            "command_malformed",
            "0 onStatus error NetConnection.Call.Failed",
        ),
        (
            message(type_id::COMMAND_AMF0, 0, &[2, 0]),
            "amf_truncated",
            "0 onStatus error NetConnection.Call.BadVersion",
        ),
        (
            message(type_id::SET_CHUNK_SIZE, 0, &[0; 4]),
            "chunk_size",
            "0 onStatus error NetConnection.Connect.Failed",
        ),
        (
            message(type_id::WINDOW_ACK_SIZE, 0, &[0]),
            "control_length",
            "0 onStatus error NetConnection.Connect.Failed",
        ),
    ];
    for (message, label, answer) in not_connected {
        let mut peer = Peer::new(ServerSettings::default());
        peer.shake_hands();
        peer.say(message);
        check(&mut peer, label, answer);
    }

    let connected: &[(Message, &str, &str)] = &[
        (connect("live"), "connect_twice", "0 onStatus error NetConnection.Call.Failed"),
        (publish(&long), "name_too_long", "1 onStatus error NetStream.Publish.BadName"),
        (
            write::play(1, 1.0, &long, -2.0, -1.0, true),
            "name_too_long",
            "1 onStatus error NetStream.Play.Failed",
        ),
    ];
    for (message, label, answer) in connected {
        let mut peer = Peer::connected();
        peer.say(message);
        check(&mut peer, label, answer);
    }

    let mut peer = Peer::new(ServerSettings::default());
    peer.shake_hands();
    peer.say(&connect(""));
    peer.forget();
    peer.say(&publish("?token=1"));
    check(&mut peer, "name_empty", "1 onStatus error NetStream.Publish.BadName");

    let mut peer = Peer::publishing();
    peer.say(&message(type_id::AGGREGATE, 1, &[9; 5]));
    check(&mut peer, "aggregate_malformed", "1 onStatus error NetStream.Failed");

    let mut peer = Peer::playing();
    peer.say(&message(type_id::ABORT, 1, &[9]));
    check(&mut peer, "control_length", "1 onStatus error NetStream.Failed");
}

fn check(peer: &mut Peer, label: &str, answer: &str) {
    assert_eq!(peer.heard_in_short(), [answer], "{label}");
    let (reason, linger) = peer.closed();
    assert_eq!(reason.label(), label);
    assert!(linger);
}

#[test]
fn a_handshake_that_is_none_is_closed_without_an_answer() {
    for (first, label) in [(b'G', "handshake_version"), (6, "encrypted_handshake")] {
        let mut peer = Peer::new(ServerSettings::default());
        peer.send(Bytes::from(vec![first; 1600]));
        let (reason, linger) = peer.closed();
        assert_eq!((reason.label(), linger), (label, false));
        assert_eq!(peer.session.counters().bytes_out, 0);
    }
}

#[test]
fn message_streams_are_bounded_however_they_are_made() {
    let mut peer = Peer::connected();
    for _ in 0..8 {
        peer.say(&write::create_stream(1.0));
    }
    assert_eq!(peer.heard_in_short().last().unwrap(), "0 _result 1 8");
    peer.say(&write::create_stream(9.0));
    check(&mut peer, "too_many_message_streams", "0 _error 9 error NetConnection.Call.Failed");

    let mut peer = Peer::connected();
    for stream_id in 0..8 {
        peer.say(&on_stream(publish("key"), stream_id));
        peer.accept_publish(peer.publish_request());
    }
    peer.forget();
    peer.say(&on_stream(publish("key"), 9));
    check(&mut peer, "too_many_message_streams", "9 onStatus error NetStream.Publish.Denied");
}

/// An aggregate of video messages without a body, and of one with `last_bytes`.
pub(super) fn aggregate(parts: usize, last_bytes: u8) -> Message {
    let mut body = BytesMut::new();
    for n in 1..=parts {
        let len = if n == parts { last_bytes } else { 0 };
        body.put_slice(&[type_id::VIDEO, 0, 0, len, 0, 0, 0, 0, 0, 0, 1]);
        body.put_bytes(0x17, len.into());
        body.put_u32(11 + u32::from(len));
    }
    message(type_id::AGGREGATE, 1, &body)
}

#[test]
fn what_is_left_of_an_aggregate_is_retained() {
    let mut peer = Peer::publishing();
    peer.set_chunk_size(1 << 20);
    let mut bytes = BytesMut::new();
    let mut writer = crate::rtmp::chunk::ChunkWriter::new(1 << 20);
    writer.write(ChunkStreamId::VIDEO, &aggregate(10, 200), &mut bytes);
    peer.session.handle_bytes(peer.now, bytes.freeze());
    assert!(matches!(peer.session.poll_output(), Some(Output::Event(Event::Media(_)))));
    assert_eq!(peer.session.retained_bytes(), 9 * 15 + 200);
    peer.drain();
    assert_eq!((peer.media().len(), peer.session.retained_bytes()), (9, 0));
}

#[test]
fn one_message_is_parsed_a_call_even_inside_an_aggregate() {
    let mut peer = Peer::publishing();
    peer.set_chunk_size(1 << 20);
    let mut bytes = BytesMut::new();
    let mut writer = crate::rtmp::chunk::ChunkWriter::new(1 << 20);
    writer.write(ChunkStreamId::VIDEO, &aggregate(PARTS_MAX, 0), &mut bytes);
    peer.session.handle_bytes(peer.now, bytes.freeze());
    let mut parts = 0;
    while let Some(output) = peer.session.poll_output() {
        match output {
            Output::Event(Event::Media(_)) => parts += 1,
            other => assert!(matches!(other, Output::Timeout(_)), "{other:?}"),
        }
    }
    assert_eq!(parts, PARTS_MAX);
}

#[test]
fn an_aggregate_in_an_aggregate_is_malformed() {
    let mut peer = Peer::publishing();
    let mut body = vec![type_id::AGGREGATE, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0];
    body.extend([0, 0, 0, 12]);
    peer.say(&message(type_id::AGGREGATE, 1, &body));
    check(&mut peer, "aggregate_malformed", "1 onStatus error NetStream.Failed");
}

#[test]
fn a_message_too_long_is_refused_at_its_header() {
    let mut peer = Peer::publishing();
    peer.send(Bytes::from_static(&[0x06, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0, 0]));
    assert_eq!(peer.closed().0.label(), "message_too_long");
}

#[test]
fn no_secret_shows_in_what_events_print() {
    let mut peer = Peer::connected();
    peer.say(&publish("hunter2?token=hunter3"));
    let shown = format!("{:?} {:?}", peer.events, peer.session.connect_info());
    assert!(!shown.contains("hunter"), "{shown}");
}
