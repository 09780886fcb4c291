//! The client role of one connection: a publisher or a player on any RTMP server.
//!
//! The contract is in [`super`]; the driver gets [`ClientOutput`]s. What is said, and what is waited for:
//!
//! ```text
//! C0 C1 ... C2
//! connect                                        _result
//! releaseStream, FCPublish (publisher)           (not waited for)
//! createStream                                   _result with the message stream
//! publish, or play and Set Buffer Length         onStatus NetStream.Publish.Start or NetStream.Play.Start
//! ```
//!
//! Servers differ in the rest, so anything else may come at any time and in any order: it is answered where it must be (pings,
//! windows, acknowledgements) and ignored otherwise.
//! # Invariant
//! After [`ClientEvent::Closed`] there is no further output. Media is sent and received only between `Ready` and `Closed`;
//! what a server sends to a player before `Play.Start` is received as well. A request to connect again changes nothing here: to
//! obey it is the driver's, with a session of its own.
//! # Bounds
//! Held: the chunk reader's bytes (`Limits`). Written: what the caller sends, and an answer to one message at a time. Work:
//! `work_per_second_max`, as for a server ([`super::work`]).
//! # Errors
//! A server that breaks the protocol ends the session with the same errors as a client would; one that says no ends it with
//! [`ClientCloseReason::Refused`].

mod event;
mod settings;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::ToString;

use bytes::{Bytes, BytesMut};

pub use event::{ClientCloseReason, ClientEvent, ClientOutput, ServerStatus};
pub use settings::{ClientSettings, Role};

use super::acknowledgement::Acknowledgements;
use super::deadlines::Announced;
use super::incoming::Incoming;
use super::status::code;
use super::{Instant, MediaKind, MediaMessage};
use crate::rtmp::amf::Value;
use crate::rtmp::chunk::{CHUNK_SIZE_DEFAULT, ChunkStreamId, ChunkWriter, WireHeaders};
use crate::rtmp::command::{self, Capabilities, Command, CommandKind, PublishKind, Status, write};
use crate::rtmp::handshake::{ClientHandshake, Entropy};
use crate::rtmp::message::type_id;
use crate::rtmp::{
    ApiMisuse, Control, Error, Message, MessageHeader, Payload, PeerMisbehaved, Stage, UserControl,
};

/// Transaction of `connect` (RTMP 1.0 §7.2.1.1).
const CONNECT: f64 = 1.0;
/// Transactions of what follows it.
const RELEASE_STREAM: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const FC_SUBSCRIBE: f64 = 3.0;
const CREATE_STREAM: f64 = 4.0;
const START: f64 = 5.0;
const STOP: f64 = 6.0;
const DELETE_STREAM: f64 = 7.0;

/// One connection in the client role.
pub struct ClientSession {
    settings: ClientSettings,
    now: Instant,
    began_at: Instant,
    phase: Phase,
    incoming: Incoming,
    writer: ChunkWriter,
    out: BytesMut,
    events: VecDeque<ClientEvent>,
    announced: Announced,
    acknowledgements: Acknowledgements,
    window_sent: u32,
    ended: bool,
    end_of_input: bool,
}

enum Phase {
    Handshake(Box<ClientHandshake>),
    Connecting,
    CreatingStream,
    /// `publish` or `play` was sent on this message stream.
    Starting(u32),
    Ready(u32),
    Closed,
}

/// Getters.
impl ClientSession {
    /// A session that begins at once: the first output is C0 and C1.
    pub fn new(now: Instant, settings: ClientSettings, entropy: Box<Entropy>) -> Self {
        let mut handshake = Box::new(ClientHandshake::new(entropy, settings.handshake));
        let hello = handshake.start();
        Self {
            now,
            began_at: now,
            phase: Phase::Handshake(handshake),
            incoming: Incoming::new(now, &settings.limits),
            writer: ChunkWriter::new(CHUNK_SIZE_DEFAULT),
            out: BytesMut::from(&hello[..]),
            events: VecDeque::new(),
            announced: Announced::default(),
            acknowledgements: Acknowledgements::default(),
            window_sent: 0,
            ended: false,
            end_of_input: false,
            settings,
        }
    }

    /// When `handle_timeout` has something to do, unless input comes first: only until the server has said yes.
    pub fn next_timeout(&self) -> Instant {
        match self.phase {
            Phase::Ready(_) | Phase::Closed => Instant::FAR_FUTURE,
            _ => self.began_at + self.settings.ready_deadline,
        }
    }

    /// At least so many bytes must arrive before something can happen; never 0.
    pub fn missing_bytes(&self) -> usize {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.missing_bytes().max(1),
            _ => self.incoming.missing_bytes(),
        }
    }

    /// Bytes that the session keeps alive: unparsed input, unfinished messages, what is left of an aggregate, the handshake.
    pub fn retained_bytes(&self) -> usize {
        let handshake = match &self.phase {
            Phase::Handshake(handshake) => size_of::<ClientHandshake>() + handshake.retained_bytes(),
            _ => 0,
        };
        handshake + self.incoming.retained_bytes()
    }

    /// Whether media can be sent (publisher) or comes (player).
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(_))
    }

    /// Whether `Closed` was given out or is about to be.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// The message stream that publishes or plays, from the answer to `createStream` on.
    pub fn stream_id(&self) -> Option<u32> {
        match self.phase {
            Phase::Starting(stream_id) | Phase::Ready(stream_id) => Some(stream_id),
            _ => None,
        }
    }

    /// The chunk headers of a media message that the driver writes itself, to spare the copy of
    /// [`send_media`](Self::send_media). Written after all bytes that this session has given out.
    ///
    /// # Errors
    /// `WrongState` unless publishing.
    pub fn wire_headers(
        &self,
        type_id: u8,
        timestamp: u32,
        payload_len: usize,
    ) -> Result<WireHeaders, ApiMisuse> {
        match self.phase {
            Phase::Ready(stream_id) if self.settings.role == Role::Publish => {
                let header = MessageHeader { timestamp, type_id, stream_id };
                Ok(WireHeaders::new(&header, payload_len, self.writer.chunk_size()))
            }
            _ => Err(ApiMisuse::WrongState),
        }
    }
}

/// Input.
impl ClientSession {
    /// Takes over what a read returned. Cheap: parsing happens in [`Self::poll_output`].
    pub fn handle_bytes(&mut self, now: Instant, bytes: Bytes) {
        self.now = now;
        if self.is_closed() || bytes.is_empty() {
            return;
        }
        let acknowledge = self.acknowledgements.on_received(bytes.len());
        match &mut self.phase {
            Phase::Handshake(handshake) => match handshake.handle_bytes(bytes) {
                Ok(progress) => {
                    self.out.extend_from_slice(&progress.send.unwrap_or_default());
                    if let Some(rest) = progress.done {
                        self.incoming.push(rest);
                        self.phase = Phase::Connecting;
                        let connect = write::connect(self.settings.connect_object());
                        self.send_command(&connect);
                    }
                }
                Err(error) => self.end(ClientCloseReason::Error(error)),
            },
            Phase::Closed => {}
            _ => self.incoming.push(bytes),
        }
        if let Some(sequence) = acknowledge
            && !matches!(self.phase, Phase::Handshake(_) | Phase::Closed)
        {
            self.send_control(Control::Acknowledgement(sequence));
        }
    }

    /// Says that so many bytes lie in memory between what was handed over last and what comes next, and are not the session's: a layer
    /// below (TLS) used them up in the same buffer. What is kept of their neighbours keeps them alive, so they count with it.
    pub fn handle_gap(&mut self, bytes: usize) {
        if !matches!(self.phase, Phase::Handshake(_) | Phase::Closed) {
            self.incoming.push_gap(bytes);
        }
    }

    /// Time has come to `now`: looks at the deadline for becoming ready.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.announced.on_timeout(now);
        if self.next_timeout() <= now {
            let stage = match self.phase {
                Phase::Handshake(_) => Stage::Handshake,
                Phase::Connecting => Stage::Connect,
                _ => Stage::PublishOrPlay,
            };
            self.end(ClientCloseReason::Error(PeerMisbehaved::Deadline(stage).into()));
        }
    }

    /// The server closed its side: what was received is still parsed.
    pub fn handle_eof(&mut self, now: Instant) {
        self.now = now;
        self.end_of_input = true;
        if matches!(self.phase, Phase::Handshake(_)) {
            self.end(ClientCloseReason::Eof);
        }
    }
}

/// Output.
impl ClientSession {
    /// What comes next, after at most one message was parsed; `None` when there is nothing more until the next input.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        if let Some(output) = self.take_queued() {
            return Some(output);
        }
        if !matches!(self.phase, Phase::Handshake(_) | Phase::Closed) {
            match self.incoming.next(self.now).map_err(Error::from).and_then(|message| self.on_next(message))
            {
                Ok(Some(output)) => return Some(output),
                Ok(None) if self.end_of_input => self.end(ClientCloseReason::Eof),
                Ok(None) => {}
                Err(error) => self.end(ClientCloseReason::Error(error)),
            }
            if let Some(output) = self.take_queued() {
                return Some(output);
            }
        }
        self.announced.update(self.next_timeout()).map(ClientOutput::Timeout)
    }

    /// The next bytes to send, if there are any now; parses nothing and touches no event. For a driver that writes frames and must put
    /// what [`ClientSession::stop`] says behind them.
    pub fn poll_send(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| core::mem::take(&mut self.out).freeze())
    }

    fn take_queued(&mut self) -> Option<ClientOutput> {
        self.poll_send().map(ClientOutput::Send).or_else(|| self.events.pop_front().map(ClientOutput::Event))
    }
}

/// Commands.
impl ClientSession {
    /// Publishes one audio, video or data (AMF0) message; the body is copied into what is sent.
    ///
    /// # Errors
    /// `WrongState` unless publishing.
    pub fn send_media(
        &mut self,
        now: Instant,
        kind: MediaKind,
        timestamp: u32,
        payload: &Payload,
    ) -> Result<(), ApiMisuse> {
        let type_id = match kind {
            MediaKind::Audio => type_id::AUDIO,
            MediaKind::Video => type_id::VIDEO,
            MediaKind::Data => type_id::DATA_AMF0,
        };
        self.send_media_type(now, type_id, timestamp, payload)
    }

    /// Publishes one message of any type on the publishing stream: type 15, say.
    ///
    /// # Errors
    /// `WrongState` unless publishing.
    pub fn send_media_type(
        &mut self,
        now: Instant,
        type_id: u8,
        timestamp: u32,
        payload: &Payload,
    ) -> Result<(), ApiMisuse> {
        self.now = now;
        self.wire_headers(type_id, timestamp, payload.len())?.write_to(payload, &mut self.out);
        Ok(())
    }

    /// Says any control message or command: `pause`, or what a test or a persona needs. A Set Chunk Size takes effect.
    ///
    /// # Errors
    /// `WrongState` before the handshake is done and after the end.
    pub fn send_message(&mut self, now: Instant, message: &Message) -> Result<(), ApiMisuse> {
        self.now = now;
        if matches!(self.phase, Phase::Handshake(_) | Phase::Closed) {
            return Err(ApiMisuse::WrongState);
        }
        self.send_command(message);
        if let Ok(Some(Control::SetChunkSize(bytes))) = Control::parse(message) {
            self.writer.set_chunk_size(bytes);
        }
        Ok(())
    }

    /// Ends the publish or play in good order and closes; nothing if the session is closed already.
    pub fn stop(&mut self, now: Instant) {
        self.now = now;
        if let Phase::Starting(stream_id) | Phase::Ready(stream_id) = self.phase {
            if self.settings.role == Role::Publish {
                let message = write::fc_unpublish(STOP, &self.settings.url.name);
                self.send_command(&message);
            }
            self.send_command(&write::delete_stream(DELETE_STREAM, stream_id));
        }
        self.end(ClientCloseReason::Stopped);
    }
}

impl ClientSession {
    fn on_next(&mut self, message: Option<Message>) -> Result<Option<ClientOutput>, Error> {
        let Some(message) = message else { return Ok(None) };
        let kind = match message.header.type_id {
            type_id::AUDIO => MediaKind::Audio,
            type_id::VIDEO => MediaKind::Video,
            type_id::DATA_AMF0 | type_id::DATA_AMF3 => MediaKind::Data,
            type_id::COMMAND_AMF0 | type_id::COMMAND_AMF3 => {
                let command = command::parse(&message, &self.settings.limits.amf)?;
                self.on_command(command);
                return Ok(Some(self.take_queued().unwrap_or(ClientOutput::Progress)));
            }
            _ => {
                if let Some(control) = Control::parse(&message)? {
                    self.on_control(control);
                }
                return Ok(Some(self.take_queued().unwrap_or(ClientOutput::Progress)));
            }
        };
        Ok(Some(ClientOutput::Event(ClientEvent::Media(MediaMessage {
            kind,
            type_id: message.header.type_id,
            stream_id: message.header.stream_id,
            timestamp: message.header.timestamp,
            payload: message.payload,
            wire_bytes: message.wire_bytes,
        }))))
    }

    fn on_control(&mut self, control: Control) {
        match control {
            Control::WindowAckSize(bytes) => self.acknowledgements.on_window(bytes),
            // §5.4.5: answered with our window, if that is news to the server.
            Control::SetPeerBandwidth { bytes, .. } if bytes != self.window_sent => {
                self.window_sent = bytes;
                self.send_control(Control::WindowAckSize(bytes));
            }
            Control::User(UserControl::PingRequest(stamp)) => {
                self.send_control(Control::User(UserControl::PingResponse(stamp)));
            }
            Control::User(UserControl::StreamEof(_)) => self.on_end_of_stream(),
            _ => {}
        }
    }

    fn on_command(&mut self, command: Command) {
        match command.kind {
            CommandKind::Result { properties, info } => {
                self.on_result(command.transaction, &properties, &info);
            }
            CommandKind::Error { info, .. } => {
                let status = ServerStatus::of(&info);
                // Servers that know neither releaseStream nor FCPublish say so, and mean no harm.
                match command.transaction {
                    CONNECT | CREATE_STREAM | START => self.end(ClientCloseReason::Refused(status)),
                    _ => self.events.push_back(ClientEvent::Status(status)),
                }
            }
            CommandKind::OnStatus { info } => match self.reconnect_request(&info) {
                Some(event) => self.events.push_back(event),
                None => self.on_status(&Status::of(&info)),
            },
            CommandKind::Close => {
                let description = "the server said close".to_string();
                let status = ServerStatus { level: "error".into(), code: "close".into(), description };
                self.end(ClientCloseReason::Refused(status));
            }
            _ => {}
        }
    }

    fn on_result(&mut self, transaction: f64, properties: &Value, info: &Value) {
        match self.phase {
            Phase::Connecting if transaction == CONNECT => {
                self.phase = Phase::CreatingStream;
                // The specification says "an Object as one of the parameters": servers use either.
                let capabilities = [info, properties].map(Capabilities::of);
                let said = capabilities.into_iter().find(Capabilities::speaks_enhanced);
                self.events.push_back(ClientEvent::Connected { capabilities: said.unwrap_or_default() });
                self.create_stream();
            }
            Phase::CreatingStream if transaction == CREATE_STREAM => {
                // A float becomes the nearest u32; a server that sends none has one stream, and means it.
                let stream_id = info.as_f64().map_or(1, |number| number as u32);
                self.phase = Phase::Starting(stream_id);
                self.start(stream_id);
            }
            _ => {}
        }
    }

    fn create_stream(&mut self) {
        let name = core::mem::take(&mut self.settings.url.name);
        match self.settings.role {
            Role::Publish => {
                self.send_control(Control::SetChunkSize(self.settings.chunk_size_out));
                self.writer.set_chunk_size(self.settings.chunk_size_out);
                self.send_command(&write::release_stream(RELEASE_STREAM, &name));
                self.send_command(&write::fc_publish(FC_PUBLISH, &name));
            }
            Role::Play => {
                self.window_sent = self.settings.window_ack_size;
                self.send_control(Control::WindowAckSize(self.settings.window_ack_size));
                if self.settings.fc_subscribe {
                    self.send_command(&write::fc_subscribe(FC_SUBSCRIBE, &name));
                }
            }
        }
        self.settings.url.name = name;
        self.send_command(&write::create_stream(CREATE_STREAM));
    }

    fn start(&mut self, stream_id: u32) {
        let name = &self.settings.url.name;
        match self.settings.role {
            Role::Publish => {
                let message = write::publish(stream_id, START, name, PublishKind::Live);
                self.send_command(&message);
            }
            Role::Play => {
                let message = write::play(stream_id, START, name, -2.0, -1.0, true);
                self.send_command(&message);
                let ms = self.settings.buffer_ms;
                self.send_control(Control::User(UserControl::SetBufferLength { stream_id, ms }));
            }
        }
    }

    /// What a `NetConnection.Connect.ReconnectRequest` asks for (E-RTMP v2 "Reconnect Request"). `None` for any other status, and for one
    /// that leads nowhere, which the driver hears as it came.
    fn reconnect_request(&self, info: &Value) -> Option<ClientEvent> {
        let status = Status::of(info);
        if status.code != code::CONNECT_RECONNECT_REQUEST {
            return None;
        }
        let tc_url = info.property("tcUrl").and_then(Value::as_str).unwrap_or_default();
        if tc_url.len() > self.settings.limits.name_bytes_max {
            return None;
        }
        let url = self.settings.url.resolve(tc_url).ok()?;
        Some(ClientEvent::Reconnect { url, description: status.description.into() })
    }

    fn on_status(&mut self, status: &Status<'_>) {
        let is_end = matches!(
            status.code,
            code::PLAY_UNPUBLISH_NOTIFY | code::PLAY_STOP | code::PLAY_STREAM_NOT_FOUND
        );
        if status.is_error() {
            if is_end {
                // It is the stream that has ended, whatever becomes of the connection.
                self.on_end_of_stream();
            }
            return self.end(ClientCloseReason::Refused(status.into()));
        }
        self.events.push_back(ClientEvent::Status(status.into()));
        let starts = match self.settings.role {
            Role::Publish => status.code == code::PUBLISH_START,
            Role::Play => matches!(status.code, code::PLAY_START | code::PLAY_PUBLISH_NOTIFY),
        };
        match self.phase {
            Phase::Starting(stream_id) if starts => {
                self.phase = Phase::Ready(stream_id);
                self.events.push_back(ClientEvent::Ready);
            }
            Phase::Ready(_) if starts && self.ended => {
                self.ended = false;
                self.events.push_back(ClientEvent::Ready);
            }
            _ if is_end => self.on_end_of_stream(),
            _ => {}
        }
    }

    fn on_end_of_stream(&mut self) {
        // A publisher's stream is its own to end, whatever the far end says of it.
        if self.settings.role == Role::Play && self.is_ready() && !self.ended {
            self.ended = true;
            self.events.push_back(ClientEvent::Ended);
        }
    }

    fn send_control(&mut self, control: Control) {
        self.writer.write(ChunkStreamId::CONTROL, &control.to_message(), &mut self.out);
    }

    fn send_command(&mut self, message: &Message) {
        self.writer.write(ChunkStreamId::COMMAND, message, &mut self.out);
    }

    fn end(&mut self, reason: ClientCloseReason) {
        if !self.is_closed() {
            self.phase = Phase::Closed;
            self.incoming = Incoming::new(self.now, &self.settings.limits);
            self.events.push_back(ClientEvent::Closed { reason });
        }
    }
}

#[cfg(test)]
mod tests;
