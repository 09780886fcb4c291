//! What is left of a session that went wrong.

use bytes::{BufMut, Bytes, BytesMut};

use super::peer::*;
use crate::rtmp::chunk::{ChunkReader, ChunkStreamId, Read};
use crate::rtmp::command::write;
use crate::rtmp::message::type_id;
use crate::rtmp::{Limits, Message, MessageHeader};
use crate::session::recording::Start;
use crate::session::*;

fn recorded(bytes_max: usize) -> ServerSettings {
    ServerSettings { recorder_bytes: bytes_max, ..ServerSettings::default() }
}

/// A chunk header that declares more than any message may have.
fn too_long() -> Bytes {
    let mut header = BytesMut::from(&[3, 0, 0, 0, 0xff, 0xff, 0xff, 9][..]);
    header.put_u32_le(1);
    header.freeze()
}

fn bytes_of(recording: &Recording) -> Bytes {
    recording.reads.iter().flat_map(|read| read.bytes.to_vec()).collect::<Vec<_>>().into()
}

/// A short session is there from its first byte on, with its commands, and says why it ended when it is fed to a session again.
#[test]
fn a_short_session_is_recorded_whole() {
    let mut peer = Peer::connected_with(recorded(16 * 1024));
    peer.say(&write::create_stream(4.0));
    peer.say(&publish("secret-key"));
    let request = peer.publish_request();
    peer.accept_publish(request);
    peer.forget();
    peer.send(too_long());
    let [Event::Closed { reason, .. }] = peer.events.as_slice() else { panic!("{:?}", peer.events) };
    let reason = *reason;
    let mut recording = peer.session.take_recording().unwrap();
    assert!(peer.session.take_recording().is_none());
    assert_eq!(recording.start, Start::Connection);
    let names: Vec<_> = recording.commands.iter().map(|command| command.name.as_str()).collect();
    assert_eq!(names, ["connect", "createStream", "publish"]);

    recording.redact(&Limits::default());
    assert!(!String::from_utf8_lossy(&bytes_of(&recording)).contains("secret"));
    let mut again = Peer::new(ServerSettings::default());
    for read in recording.reads {
        again.send(read.bytes);
        if matches!(again.events.last(), Some(Event::PublishRequested(_))) {
            again.accept_publish(again.publish_request());
        }
    }
    assert!(
        again.events.iter().any(|event| matches!(event, Event::Closed { reason: r, .. } if *r == reason))
    );
}

/// Of a long one there is the end, and where the reader stood when it began: it leads to the same fault.
#[test]
fn a_long_session_is_recorded_to_its_end() {
    let mut peer = Peer::connected_with(recorded(16 * 1024));
    peer.say(&write::create_stream(4.0));
    peer.say(&publish("secret-key"));
    let request = peer.publish_request();
    peer.accept_publish(request);
    for n in 0..1000 {
        let header = MessageHeader { timestamp: n * 40, type_id: type_id::VIDEO, stream_id: 1 };
        peer.say_on(ChunkStreamId::VIDEO, &Message::new(header, Bytes::from(vec![n as u8; 700])));
    }
    peer.send(too_long());
    assert!(peer.session.is_closed());
    let mut recording = peer.session.take_recording().unwrap();
    recording.redact(&Limits::default());
    let bytes = bytes_of(&recording);
    assert!((8 * 1024..20 * 1024).contains(&bytes.len()), "{}", bytes.len());
    let Start::Middle(state) = &recording.start else { panic!("it begins in the middle") };
    let mut reader = ChunkReader::resume(&Limits::default(), state).unwrap();
    reader.push(bytes);
    let mut last = None;
    let error = loop {
        match reader.poll() {
            Ok(Read::Message(message)) => last = Some(message),
            Ok(Read::NeedBytes) => panic!("the fault is not there"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.label(), "message_too_long");
    assert_eq!(last.unwrap().header.timestamp, 999 * 40);
}

/// Nothing is kept unless it is asked for.
#[test]
fn a_session_records_nothing_by_default() {
    let mut peer = Peer::connected();
    peer.send(too_long());
    assert!(peer.session.is_closed() && peer.session.take_recording().is_none());
}
