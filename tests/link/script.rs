//! What the clients of a run do once they are ready.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use inrush::rtmp::command::{PublishKind, write};
use inrush::rtmp::message::type_id;
use inrush::rtmp::{Control, Message, MessageHeader, UserControl};

use crate::simulation::rng::Rng;

pub const NAME: &str = "key";
pub const OTHER_NAME: &str = "other";

/// One thing that a client does.
#[derive(Clone, Debug)]
pub enum Op {
    Media {
        type_id: u8,
        len: usize,
        /// Added to the stream's timestamp.
        step_ms: u32,
        /// On another message stream than the one that publishes.
        elsewhere: bool,
    },
    /// Two video messages in one.
    Aggregate,
    /// Media of so many bytes in all, in large messages.
    Flood {
        bytes: usize,
    },
    ChunkSize(u32),
    Raw(&'static [u8]),
    /// A message, made for the stream that publishes or plays.
    Say(fn(u32) -> Message),
    SayOften(fn(u32) -> Message, u32),
    Wait(Duration),
    Stop,
}

/// The script of a client, and whether all media in it reaches the server when the link holds.
pub struct Script {
    pub ops: Vec<Op>,
    pub exact: bool,
}

fn message(type_id: u8, stream_id: u32, body: &'static [u8]) -> Message {
    Message::new(MessageHeader { timestamp: 0, type_id, stream_id }, Bytes::from_static(body))
}

fn video(len: usize) -> Op {
    Op::Media { type_id: type_id::VIDEO, len, step_ms: 40, elsewhere: false }
}

/// What an encoder may do beside its media without any loss.
const HARMLESS: &[Op] = &[
    Op::Raw(&[0xde]), // type 3 on the fresh chunk stream 30
    Op::Say(|stream| write::publish(stream, 5.0, NAME, PublishKind::Live)),
    Op::Say(|_| write::call(0, "frobnicate", 9.0, &[])),
    Op::Say(|_| write::call(0, "_result", 9.0, &[])),
    Op::Say(|_| write::check_bandwidth(9.0)),
    Op::Say(|_| Control::User(UserControl::Unknown(31)).to_message()),
    Op::Say(|_| Control::User(UserControl::PingRequest(5)).to_message()),
    Op::Say(|_| Control::WindowAckSize(100).to_message()),
    Op::Say(|_| Control::WindowAckSize(5_000).to_message()),
    Op::Say(|_| message(99, 0, &[1, 2, 3])),
    Op::Say(|_| message(type_id::SHARED_OBJECT_AMF0, 0, &[1, 2, 3])),
    Op::Say(|stream| write::pause(stream, 9.0, true, 0.0)),
    Op::Media { type_id: type_id::VIDEO, len: 300, step_ms: 40, elsewhere: true },
    Op::Media { type_id: type_id::VIDEO, len: 0, step_ms: 0, elsewhere: false },
    Op::Media { type_id: type_id::DATA_AMF3, len: 30, step_ms: 0, elsewhere: false },
    Op::Aggregate,
    Op::ChunkSize(1),
    Op::ChunkSize(128),
    Op::ChunkSize(65_536),
    Op::Wait(Duration::from_secs(12)), // long enough for a ping
];

/// What ends or changes the publish.
const CHANGES: &[Op] = &[
    Op::Say(|stream| write::unpublish(stream, 6.0)),
    Op::Say(write::close_stream),
    Op::Say(|_| write::fc_unpublish(6.0, NAME)),
    Op::Say(|stream| write::delete_stream(6.0, stream)),
    Op::Say(|stream| write::publish(stream, 7.0, NAME, PublishKind::Live)),
    Op::Say(|stream| write::publish(stream, 7.0, OTHER_NAME, PublishKind::Record)),
    Op::Say(|stream| write::publish(stream + 20, 7.0, NAME, PublishKind::Live)),
];

/// What gets a session closed, or may.
const OFFENCES: &[Op] = &[
    Op::Say(|_| write::connect(inrush::rtmp::amf::Value::object([("app", "live".into())]))),
    Op::SayOften(|_| write::create_stream(8.0), 9),
    Op::SayOften(|_| write::call(0, "frobnicate", 0.0, &[]), 600),
    Op::Wait(Duration::from_secs(40)),
];

pub fn publisher(rng: &mut Rng) -> Script {
    let mut ops = Vec::new();
    let mut exact = true;
    if rng.percent(3) {
        ops.push(Op::Wait(Duration::from_secs(25))); // longer than the first media may take
        exact = false;
    }
    for _ in 0..rng.below(40) {
        ops.push(match rng.below(10) {
            0..=4 => video(rng.pick(&[1, 20, 127, 128, 129, 500, 3_000])),
            5..=7 => Op::Media { type_id: type_id::AUDIO, len: 90, step_ms: 0, elsewhere: false },
            8 => Op::Wait(Duration::from_millis(rng.below(500))),
            _ => rng.pick_clone(HARMLESS),
        });
    }
    if rng.percent(25) {
        exact = false;
        for _ in 0..1 + rng.below(4) {
            ops.push(rng.pick_clone(CHANGES));
            ops.push(video(200));
            ops.push(Op::Wait(Duration::from_millis(rng.below(3_000))));
        }
    }
    if rng.percent(5) {
        exact = false;
        ops.extend([Op::ChunkSize(65_536), rng.pick_clone(&CHANGES[..4]), Op::Flood { bytes: 3 << 19 }]);
    }
    if rng.percent(10) {
        exact = false;
        ops.push(rng.pick_clone(OFFENCES));
    }
    if rng.percent(85) {
        ops.push(Op::Stop);
    }
    Script { ops, exact }
}

pub fn player(rng: &mut Rng) -> Script {
    const PLAYS: &[Op] = &[
        Op::Say(|stream| write::pause(stream, 6.0, true, 0.0)),
        Op::Say(|stream| write::pause(stream, 6.0, false, 0.0)),
        Op::Say(|stream| write::seek(stream, 6.0, 100.0)),
        Op::Say(|stream| write::receive_audio(stream, false)),
        Op::Say(|stream| write::receive_audio(stream, true)),
        Op::Say(|stream| write::receive_video(stream, false)),
        Op::Say(|stream| write::receive_video(stream, true)),
        Op::Say(|stream| write::play(stream, 7.0, NAME, -2.0, -1.0, false)),
        Op::Say(write::close_stream),
    ];
    let mut ops = Vec::new();
    for _ in 0..rng.below(4) {
        ops.push(Op::Wait(Duration::from_millis(rng.below(4_000))));
        ops.push(rng.pick_clone(PLAYS));
    }
    if rng.percent(30) {
        ops.push(Op::Wait(Duration::from_millis(rng.below(10_000))));
        ops.push(Op::Stop);
    }
    Script { ops, exact: true }
}

/// The body of a media message: its first bytes tell it from every other of the run.
pub fn body(number: u32, len: usize) -> Bytes {
    let mut body = BytesMut::with_capacity(len.max(4));
    body.put_u32(number);
    body.resize(len.max(4), number as u8);
    body.truncate(len);
    body.freeze()
}

/// An aggregate of two video messages, 40 ms apart.
pub fn aggregate(parts: [&[u8]; 2]) -> Bytes {
    let mut body = BytesMut::new();
    for (part, timestamp) in parts.into_iter().zip([1_000, 1_040]) {
        body.put_u8(type_id::VIDEO);
        body.put_uint(part.len() as u64, 3);
        body.put_uint(timestamp, 3);
        body.put_u32(0);
        body.extend_from_slice(part);
        body.put_u32(part.len() as u32 + 11);
    }
    body.freeze()
}
