//! What is refused, how it is answered, and what a hostile peer can make a session do.

use bytes::{BufMut, Bytes, BytesMut};

use super::peer::*;
use crate::rtmp::aggregate::PARTS_MAX;
use crate::rtmp::amf::Value;
use crate::rtmp::chunk::ChunkStreamId;
use crate::rtmp::command::write;
use crate::rtmp::message::type_id;
use crate::rtmp::{Control, Message, MessageHeader, Payload, UserControl};
use crate::session::*;

fn message(type_id: u8, stream_id: u32, body: &[u8]) -> Message {
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

#[test]
fn commands_and_pings_share_one_rate() {
    let mut peer = Peer::connected();
    let mut said = 0;
    while !peer.session.is_closed() {
        match said % 2 {
            0 => peer.say(&write::call(0, "x", 0.0, &[])),
            _ => peer.control(Control::User(UserControl::PingRequest(1))),
        }
        said += 1;
        assert!(said <= 101);
    }
    assert_eq!(peer.closed().0.label(), "too_many_commands");
    assert_eq!(said, 100, "connect was the first of 100");
}

#[test]
fn tiny_chunks_are_bounded_by_rate() {
    let mut settings = ServerSettings::default();
    settings.limits.tiny_chunks_per_second_max = 10_000;
    let mut peer = Peer::connected_with(settings);
    peer.say(&publish("key"));
    peer.accept_publish(peer.publish_request());
    peer.set_chunk_size(1);
    // 100 kbit/s of media in one-byte chunks: 12,500 bytes and as many chunks a second would be over, 8,000 are not.
    for second in 0..10 {
        for _ in 0..8 {
            peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, second, 1000));
        }
        peer.wait(std::time::Duration::from_secs(1));
    }
    assert_eq!(peer.media().len(), 80);
    for _ in 0..12 {
        peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 1000));
    }
    assert_eq!(peer.closed().0.label(), "too_many_tiny_chunks");
}

/// With the defaults, media in chunks of one byte goes through at 100 kbit/s, and at 1 Mbit/s ends the session within a second.
#[test]
fn a_chunk_size_of_one_is_taken_at_100_kbit_and_not_at_ten_times_that() {
    let publishing = || {
        let mut peer = Peer::connected_with(ServerSettings::default());
        peer.say(&publish("key"));
        peer.accept_publish(peer.publish_request());
        peer.set_chunk_size(1);
        peer
    };
    let mut odd = publishing();
    for tenth in 0..300 {
        odd.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, tenth * 100, 1250));
        odd.wait(std::time::Duration::from_millis(100));
    }
    assert_eq!(odd.media().len(), 300);
    let mut mean = publishing();
    let mut tenths = 0;
    while !mean.session.is_closed() {
        mean.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, tenths * 100, 12_500));
        mean.wait(std::time::Duration::from_millis(100));
        tenths += 1;
        assert!(tenths <= 10);
    }
    assert_eq!(mean.closed().0.label(), "too_many_tiny_chunks");
}

/// An aggregate of video messages without a body, and of one with `last_bytes`.
fn aggregate(parts: usize, last_bytes: u8) -> Message {
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
fn aggregates_are_no_way_around_the_bound_on_tiny_chunks() {
    let mut settings = ServerSettings::default();
    settings.limits.tiny_chunks_per_second_max = 1000;
    let mut peer = Peer::connected_with(settings);
    peer.say(&publish("key"));
    peer.accept_publish(peer.publish_request());
    peer.set_chunk_size(1 << 20);
    for _ in 0..10 {
        peer.say_on(ChunkStreamId::VIDEO, &aggregate(900, 16));
        peer.wait(std::time::Duration::from_secs(1));
    }
    assert_eq!(peer.media().len(), 9000);
    peer.say_on(ChunkStreamId::VIDEO, &aggregate(900, 16));
    peer.say_on(ChunkStreamId::VIDEO, &aggregate(200, 16));
    assert_eq!(peer.closed().0.label(), "too_many_tiny_chunks");
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
