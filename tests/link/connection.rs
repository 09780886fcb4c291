//! One connection of a run: both sessions, the link between them, and the books on what went through.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use inrush::rtmp::command::{Capabilities, CapsEx};
use inrush::rtmp::handshake::{Entropy, HandshakeKind, PACKET_BYTES};
use inrush::rtmp::message::type_id;
use inrush::rtmp::{Control, Payload};
use inrush::session::{
    ClientCloseReason, ClientSession, ClientSettings, ClientUrl, Instant, MediaKind, MediaMessage, RequestId,
    Role, ServerSession, ServerSettings, StreamKey,
};

use super::script::{self, Op, Script};
use crate::simulation::chunker::{Chunker, Habit};
use crate::simulation::pipe::{Pipe, Weather};
use crate::simulation::rng::Rng;
use crate::simulation::servers_own::is_servers_own;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Server,
    Client,
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

/// A request that waits for the driver's answer.
pub struct Question {
    pub request: RequestId,
    pub stream_id: u32,
    pub key: StreamKey,
    pub publish: bool,
}

/// What is remembered of a media message.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    type_id: u8,
    timestamp: u32,
    body: Bytes,
}

impl Item {
    pub fn of(type_id: u8, timestamp: u32, body: &Bytes) -> Self {
        Self { type_id, timestamp, body: body.clone() }
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.body[..self.body.len().min(4)];
        write!(f, "type {} at {}, {} bytes, {start:?}", self.type_id, self.timestamp, self.body.len())
    }
}

/// How a publisher puts its media on the wire.
pub enum Media {
    /// As the session does.
    Session,
    /// As encoders do.
    Chunker(Box<Chunker>),
}

impl Media {
    pub fn chunker(habit: Habit, compress: bool, chunk_size: u32) -> Self {
        Self::Chunker(Box::new(Chunker::new(habit, compress, chunk_size as usize)))
    }
}

/// What a client is and does.
pub struct Plan {
    pub role: Role,
    pub script: Script,
    /// Timestamp of the first media message.
    pub timestamp: u32,
    pub media: Media,
    pub chunk_size: u32,
    pub handshake: HandshakeKind,
    pub fc_subscribe: bool,
    /// After so many bytes the client's side of the link falls silent.
    pub silent_after: Option<usize>,
}

impl Plan {
    pub fn random(rng: &mut Rng, role: Role) -> Self {
        let script = match role {
            Role::Publish => script::publisher(rng),
            Role::Play => script::player(rng),
        };
        let chunk_size = rng.pick(&[1, 128, 4096, 60_000, 1 << 20]);
        let habit = rng.pick(&[Habit::Repeat, Habit::Omit]);
        let media = match rng.percent(70) {
            true => Media::chunker(habit, rng.percent(70), chunk_size),
            false => Media::Session,
        };
        let timestamp = match rng.below(4) {
            0 => 0,
            1 => 0xff_ffff - 300,
            2 => u32::MAX - 300,
            _ => rng.next() as u32,
        };
        let handshake = if rng.percent(10) { HandshakeKind::Digest } else { HandshakeKind::Simple };
        // Just before `connect`, or anywhere.
        let silent_after = match rng.below(100) {
            0 | 1 => Some(1 + 2 * PACKET_BYTES),
            2 | 3 => Some(rng.below(5_000) as usize),
            _ => None,
        };
        Self {
            role,
            script,
            timestamp,
            media,
            chunk_size,
            handshake,
            fc_subscribe: rng.percent(50),
            silent_after,
        }
    }
}

pub struct Connection {
    pub server: ServerSession,
    pub client: ClientSession,
    /// By the side that sends.
    pipes: [Pipe; 2],
    pub wake_at: [Option<Instant>; 2],
    pub corrupted: [bool; 2],
    pub question: Option<Question>,
    /// An accepted publish is on.
    pub publishing: bool,
    pub server_done: bool,
    pub client_done: bool,
    pub was_ready: bool,
    pub client_reason: Option<ClientCloseReason>,
    pub held_bytes_max: usize,
    pub chunk_size_to_client: u32,
    /// Nothing takes media away: neither the script nor the link nor the server.
    pub lossless: bool,
    /// Media that the client's driver wrote past its session.
    pub media_out: BytesMut,

    role: Role,
    media: Media,
    ops: VecDeque<Op>,
    operations: u32,
    timestamp: u32,
    numbered: u32,
    /// Sent by the client and not seen at the server yet.
    sent: VecDeque<Item>,
    /// Passed on to this player and not received yet.
    pub passed_on: VecDeque<Item>,
}

impl Connection {
    pub fn new(rng: &mut Rng, start: Instant, plan: Plan, settings: &Arc<ServerSettings>) -> Self {
        let url = ClientUrl::parse("rtmp://host/live/key").unwrap();
        let client_settings = ClientSettings {
            chunk_size_out: plan.chunk_size,
            fc_subscribe: plan.fc_subscribe,
            handshake: plan.handshake,
            capabilities: Capabilities::forwarder(CapsEx::RECONNECT),
            ..ClientSettings::new(url, plan.role)
        };
        let mut up = Pipe::new(Weather::random(rng));
        if let Some(bytes) = plan.silent_after {
            up.fall_silent_after(bytes);
        }
        Self {
            server: ServerSession::new(start, settings.clone(), entropy(rng)),
            client: ClientSession::new(start, client_settings, entropy(rng)),
            pipes: [Pipe::new(Weather::random(rng)), up],
            wake_at: [None, None],
            corrupted: [false; 2],
            question: None,
            publishing: false,
            server_done: false,
            client_done: false,
            was_ready: false,
            client_reason: None,
            held_bytes_max: settings.limits.held_bytes_max,
            chunk_size_to_client: settings.chunk_size_out,
            lossless: plan.script.exact && plan.silent_after.is_none(),
            media_out: BytesMut::new(),
            role: plan.role,
            media: plan.media,
            ops: plan.script.ops.into(),
            timestamp: plan.timestamp,
            operations: 0,
            numbered: 0,
            sent: VecDeque::new(),
            passed_on: VecDeque::new(),
        }
    }

    pub fn pipe_from(&mut self, side: Side) -> &mut Pipe {
        &mut self.pipes[side as usize]
    }

    /// Does the client's next operation; gives when to come back.
    pub fn operate(&mut self, now: Instant) -> Option<Duration> {
        if self.client.is_closed() {
            return None;
        }
        let Some(stream_id) = self.client.stream_id().filter(|_| self.client.is_ready()) else {
            return Some(Duration::from_millis(50));
        };
        match self.ops.pop_front()? {
            Op::Media { type_id, len, step_ms, elsewhere } => {
                self.timestamp = self.timestamp.wrapping_add(step_ms);
                let body = self.body(len);
                self.sent.push_back(Item::of(type_id, self.timestamp, &body));
                self.send(now, type_id, if elsewhere { stream_id + 7 } else { stream_id }, body);
            }
            Op::Aggregate => {
                let parts = [self.body(200), self.body(70)];
                self.sent.push_back(Item::of(type_id::VIDEO, self.timestamp, &parts[0]));
                self.sent.push_back(Item::of(type_id::VIDEO, self.timestamp.wrapping_add(40), &parts[1]));
                self.send(now, type_id::AGGREGATE, stream_id, script::aggregate([&parts[0], &parts[1]]));
                self.timestamp = self.timestamp.wrapping_add(40);
            }
            Op::Flood { bytes } => {
                for _ in 0..bytes / (1 << 19) {
                    self.send(now, type_id::VIDEO, stream_id, Bytes::from(vec![0; 1 << 19]));
                }
            }
            Op::ChunkSize(size) => {
                let message = Control::SetChunkSize(size).to_message();
                self.client.send_message(now, &message).expect("ready");
                if let Media::Chunker(chunker) = &mut self.media {
                    chunker.chunk_size = size as usize;
                }
            }
            Op::Raw(bytes) => self.media_out.extend_from_slice(bytes),
            Op::Say(message) => self.client.send_message(now, &message(stream_id)).expect("ready"),
            Op::SayOften(message, times) => {
                for _ in 0..times {
                    self.client.send_message(now, &message(stream_id)).expect("ready");
                }
            }
            Op::Wait(duration) => return Some(duration),
            Op::Stop => self.client.stop(now),
        }
        // Now and then several operations at once.
        self.operations += 1;
        Some(Duration::from_millis(if self.operations % 16 < 8 { 10 } else { 0 }))
    }

    fn body(&mut self, len: usize) -> Bytes {
        self.numbered += 1;
        script::body(self.numbered, len)
    }

    fn send(&mut self, now: Instant, type_id: u8, stream_id: u32, body: Bytes) {
        let own_stream = self.client.stream_id() == Some(stream_id);
        match &mut self.media {
            Media::Chunker(chunker) => {
                chunker.write(type_id, stream_id, self.timestamp, &body, &mut self.media_out);
            }
            Media::Session => {
                let payload = Payload::from(body);
                let sent = match type_id {
                    type_id::VIDEO if own_stream => {
                        self.client.send_media(now, MediaKind::Video, self.timestamp, &payload)
                    }
                    _ => self.client.send_media_type(now, type_id, self.timestamp, &payload),
                };
                sent.expect("ready");
            }
        }
    }

    /// The server saw media: it must be the next that was sent, or a later one where some was dropped.
    pub fn on_media_arrived(&mut self, message: &MediaMessage) {
        if self.corrupted[Side::Client as usize] {
            return;
        }
        let arrived = Item::of(message.type_id, message.timestamp, &message.payload.to_bytes());
        while let Some(sent) = self.sent.pop_front() {
            if sent == arrived {
                return;
            }
            assert!(!self.lossless, "lost {sent:?}");
        }
        // A flood is not in the books.
        assert!(arrived.body.len() == 1 << 19, "never sent: {arrived:?}");
    }

    /// A player got media: it must be the next that was passed on to it. False for what the server says by itself.
    pub fn on_media_received(&mut self, message: &MediaMessage) -> bool {
        if self.corrupted[Side::Server as usize] {
            return true;
        }
        if is_servers_own(message) {
            return false;
        }
        let received = Item::of(message.type_id, message.timestamp, &message.payload.to_bytes());
        assert_eq!(self.passed_on.pop_front(), Some(received));
        true
    }

    pub fn check_end(&self) {
        assert!(self.server_done && self.client_done, "{:?}", self.client_reason);
        assert_eq!(self.server.retained_bytes(), 0);
        let ended_by_script = self.client_reason == Some(ClientCloseReason::Stopped);
        if self.lossless && self.role == Role::Publish && ended_by_script {
            assert!(self.sent.is_empty(), "{} lost", self.sent.len());
        }
        let ended_by_server =
            matches!(self.client_reason, Some(ClientCloseReason::Eof | ClientCloseReason::Refused(_)));
        if self.lossless && self.role == Role::Play && ended_by_server {
            assert!(self.passed_on.is_empty(), "{} never received", self.passed_on.len());
        }
    }
}

fn entropy(rng: &mut Rng) -> Box<Entropy> {
    let mut entropy = Box::new(Entropy { time_ms: 0, random: [0; PACKET_BYTES - 8] });
    entropy
        .random
        .chunks_mut(8)
        .for_each(|chunk| chunk.copy_from_slice(&rng.next().to_be_bytes()[..chunk.len()]));
    entropy
}
