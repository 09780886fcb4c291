//! A client made of bare codecs, so that it can say what no client of ours would.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::rtmp::amf::Value;
use crate::rtmp::chunk::{CHUNK_SIZE_DEFAULT, ChunkReader, ChunkStreamId, ChunkWriter, Read};
use crate::rtmp::command::{self, CommandKind, PublishKind, Status, write};
use crate::rtmp::handshake::{Entropy, PACKET_BYTES};
use crate::rtmp::message::type_id;
use crate::rtmp::{Control, Limits, Message, MessageHeader, Payload};
use crate::session::*;

pub(super) struct Peer {
    pub(super) session: ServerSession,
    pub(super) now: Instant,
    pub(super) events: Vec<Event>,
    /// What the session said since it was last looked at.
    pub(super) heard: Vec<Message>,
    pub(super) timeouts: Vec<Instant>,
    writer: ChunkWriter,
    reader: ChunkReader,
    handshake_left: usize,
}

pub(super) fn entropy() -> Box<Entropy> {
    Box::new(Entropy { time_ms: 0, random: [7; PACKET_BYTES - 8] })
}

impl Peer {
    pub(super) fn new(settings: ServerSettings) -> Self {
        let now = Instant::from_micros(1_000_000);
        Self {
            session: ServerSession::new(now, Arc::new(settings), entropy()),
            now,
            events: Vec::new(),
            heard: Vec::new(),
            timeouts: Vec::new(),
            writer: ChunkWriter::new(CHUNK_SIZE_DEFAULT),
            reader: ChunkReader::new(&Limits::default()),
            handshake_left: 1 + 2 * PACKET_BYTES,
        }
    }

    /// A peer that has gone through `connect` with app `live`.
    pub(super) fn connected() -> Self {
        Self::connected_with(ServerSettings::default())
    }

    pub(super) fn connected_with(settings: ServerSettings) -> Self {
        let mut peer = Self::new(settings);
        peer.shake_hands();
        peer.say(&connect("live"));
        assert!(matches!(peer.events.as_slice(), [Event::Connected]));
        peer.forget();
        peer
    }

    /// A peer whose publish of `live/key` on stream 1 was accepted.
    pub(super) fn publishing() -> Self {
        let mut peer = Self::connected();
        peer.say(&write::create_stream(4.0));
        peer.say(&publish("key"));
        let request = peer.publish_request();
        peer.accept_publish(request);
        peer.forget();
        peer
    }

    /// A peer whose play of `live/key` on stream 1 was accepted.
    pub(super) fn playing() -> Self {
        let mut peer = Self::connected();
        peer.say(&write::create_stream(4.0));
        peer.say(&write::play(1, 5.0, "key", -2.0, -1.0, true));
        let request = peer.play_request();
        peer.accept_play(request);
        peer.forget();
        peer
    }

    pub(super) fn shake_hands(&mut self) {
        let mut hello = vec![0; 1 + 2 * PACKET_BYTES];
        hello[0] = 3;
        self.send(Bytes::from(hello));
    }

    pub(super) fn forget(&mut self) {
        self.events.clear();
        self.heard.clear();
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.session.handle_timeout(self.now);
        self.drain();
    }

    pub(super) fn send(&mut self, bytes: Bytes) {
        self.session.handle_bytes(self.now, bytes);
        self.drain();
    }

    pub(super) fn say(&mut self, message: &Message) {
        self.say_on(ChunkStreamId::COMMAND, message);
    }

    pub(super) fn control(&mut self, control: Control) {
        self.say_on(ChunkStreamId::CONTROL, &control.to_message());
    }

    pub(super) fn say_on(&mut self, chunk_stream: ChunkStreamId, message: &Message) {
        let mut bytes = BytesMut::new();
        self.writer.write(chunk_stream, message, &mut bytes);
        self.send(bytes.freeze());
    }

    pub(super) fn set_chunk_size(&mut self, size: u32) {
        self.control(Control::SetChunkSize(size));
        self.writer.set_chunk_size(size);
    }

    pub(super) fn eof(&mut self) {
        self.session.handle_eof(self.now);
        self.drain();
    }

    pub(super) fn accept_publish(&mut self, request: RequestId) {
        self.session.accept_publish(self.now, request);
        self.drain();
    }

    pub(super) fn accept_play(&mut self, request: RequestId) {
        self.session.accept_play(self.now, request);
        self.drain();
    }

    pub(super) fn reject(&mut self, request: RequestId, rejection: Rejection) {
        self.session.reject(self.now, request, rejection);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => self.hear(bytes),
                Output::Event(event) => self.events.push(event),
                Output::Timeout(at) => self.timeouts.push(at),
                Output::Progress => {}
            }
        }
    }

    fn hear(&mut self, mut bytes: Bytes) {
        let handshake = bytes.split_to(self.handshake_left.min(bytes.len()));
        self.handshake_left -= handshake.len();
        self.reader.push(bytes);
        while let Read::Message(message) = self.reader.poll().unwrap() {
            self.heard.push(message);
        }
    }

    /// Everything heard, in short: control messages as they are, commands by name and code.
    pub(super) fn heard_in_short(&mut self) -> Vec<String> {
        std::mem::take(&mut self.heard).iter().map(in_short).collect()
    }

    pub(super) fn publish_request(&self) -> RequestId {
        match self.events.last() {
            Some(Event::PublishRequested(request)) => request.request,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn play_request(&self) -> RequestId {
        match self.events.last() {
            Some(Event::PlayRequested(request)) => request.request,
            other => panic!("{other:?}"),
        }
    }

    /// The reason of `Closed`, which must be the last event, and whether it lingers.
    pub(super) fn closed(&self) -> (CloseReason, bool) {
        match self.events.last() {
            Some(Event::Closed { reason, linger }) => (*reason, *linger),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn oddities(&self) -> Vec<Oddity> {
        let oddity = |event: &Event| match event {
            Event::Tolerated(oddity) => Some(*oddity),
            _ => None,
        };
        self.events.iter().filter_map(oddity).collect()
    }

    pub(super) fn media(&self) -> Vec<&MediaMessage> {
        fn media(event: &Event) -> Option<&MediaMessage> {
            match event {
                Event::Media(message) => Some(message),
                _ => None,
            }
        }
        self.events.iter().filter_map(media).collect()
    }

    pub(super) fn stopped(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Stopped { .. })).count()
    }
}

fn in_short(message: &Message) -> String {
    if let Some(control) = Control::parse(message).unwrap() {
        return format!("{control:?}");
    }
    let on = message.header.stream_id;
    if message.header.type_id == type_id::DATA_AMF0 {
        let name = command::data_name(&message.payload, message.header.type_id).unwrap();
        return format!("{on} data {}", name.name);
    }
    let command = command::parse(message, &Limits::default().amf).unwrap();
    let (info, transaction) = match &command.kind {
        CommandKind::Result { info, .. } | CommandKind::Error { info, .. } => {
            (info.clone(), format!(" {}", command.transaction))
        }
        CommandKind::OnStatus { info }
        | CommandKind::OnFcPublish { info }
        | CommandKind::OnFcUnpublish { info }
        | CommandKind::OnFcSubscribe { info } => (info.clone(), String::new()),
        other => panic!("{other:?}"),
    };
    let status = Status::of(&info);
    let level = if status.is_error() { " error" } else { "" };
    let told = info.as_f64().map(|number| format!(" {number}")).unwrap_or_default();
    let code = if status.code.is_empty() { String::new() } else { format!(" {}", status.code) };
    format!("{on} {}{transaction}{level}{told}{code}", command.name)
}

pub(super) fn connect(app: &str) -> Message {
    let tc_url = format!("rtmp://host/{app}");
    write::connect(Value::object([
        ("app", app.into()),
        ("tcUrl", tc_url.as_str().into()),
        ("flashVer", "FMLE/3.0".into()),
    ]))
}

pub(super) fn publish(name: &str) -> Message {
    write::publish(1, 5.0, name, PublishKind::Live)
}

pub(super) fn media(type_id: u8, timestamp: u32, len: usize) -> Message {
    let payload = Payload::from(Bytes::from(vec![0x17; len]));
    Message::new(MessageHeader { timestamp, type_id, stream_id: 1 }, payload)
}

pub(super) fn on_stream(mut message: Message, stream_id: u32) -> Message {
    message.header.stream_id = stream_id;
    message
}
