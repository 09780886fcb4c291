//! The server role of one connection: from the handshake to publish or play and to its end.
//!
//! The contract is in [`super`]. What happens when, in the order of a usual connection:
//!
//! ```text
//! stage            ends with                     then
//! Handshake        C2                            Connect
//! Connect          connect, answered             PublishOrPlay, Event::Connected
//! PublishOrPlay    publish or play               no stage: our answer is awaited, nothing is parsed
//!                  play accepted                 no stage: players may be silent for ever
//!                  publish accepted              FirstMedia
//!                  either refused, or stopped    PublishOrPlay, from its beginning
//! FirstMedia       audio, video or data          Idle, renewed by each read
//! ```
//! # Invariant
//! After [`Event::Closed`] there is no further output and nothing is held. While a request waits for its answer nothing is
//! parsed. A missing acknowledgement or pong changes nothing: only [`Stage`]s have deadlines.
//! # Bounds
//! Held: the chunk reader's bytes (`Limits`), `held_bytes_max` of input plus one read while a request waits, one
//! aggregate that is being taken apart, `message_streams_max` keys, what `connect` said (`name_bytes_max` each string,
//! `FOURCCS_MAX` codecs each list). Written: the answers to one message at a time; the driver bounds what it has not got rid of
//! yet and closes with `NotReading`. With `recorder_bytes`, what `recorder.rs` says.
//! Work: `work_per_second_max` ([`super::work`]).
//! # Errors
//! Every error is the peer's: it gets the `onStatus` or `_error` that the protocol has for it and the session closes with it.

mod answers;
mod commands;
mod connect_info;
mod message_streams;
mod messages;
mod settings;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use bytes::{Bytes, BytesMut};

pub use connect_info::{CLIENT_URL_BYTES_MAX, ConnectInfo, FLASH_VER_BYTES_MAX};
pub use messages::STRAY_MEDIA_BYTES_MAX;
pub use settings::ServerSettings;

use self::message_streams::{MessageStreams, Use};
use self::messages::Parsed;
use super::acknowledgement::Acknowledgements;
use super::deadlines::Announced;
use super::incoming::Incoming;
use super::recorder::Recorder;
use super::recording::Recording;
use super::status::{Activity, code, farewell};
use super::{
    Behaviour, CloseReason, Event, Instant, Notice, Oddity, Output, Rejection, RequestId, SessionCounters,
    StreamKey,
};
use crate::rtmp::chunk::{CHUNK_SIZE_DEFAULT, ChunkWriter};
use crate::rtmp::command::{level, write};
use crate::rtmp::handshake::{Entropy, ServerHandshake};
use crate::rtmp::{Control, Error, PeerMisbehaved, Stage, UserControl};

/// One connection in the server role. Plain data: it moves between cores as it is.
pub struct ServerSession {
    settings: Arc<ServerSettings>,
    now: Instant,
    phase: Phase,
    incoming: Incoming,
    writer: ChunkWriter,
    /// Bytes to send that no output has given out yet.
    out: BytesMut,
    /// Events that no output has given out yet; they come after `out`.
    events: VecDeque<Event>,
    announced: Announced,
    counters: SessionCounters,

    connect: Option<ConnectInfo>,
    streams: MessageStreams,
    pending: Option<Pending>,
    requests: u32,
    /// `FCPublish` came: the publish will be answered with `onFCPublish` as well.
    announces_publish: bool,
    /// The peer was asked to connect again, which happens once.
    reconnect_requested: bool,
    media_seen: bool,
    /// Bytes of stray media since the last publish was accepted.
    stray_media_bytes: u64,
    end_of_input: bool,

    /// Input since the last media message: what lies between two frames in a receive buffer is pinned by the frames, so the next
    /// one answers for it.
    unclaimed_bytes: u32,

    stage_since: Instant,
    received_at: Instant,
    pinged_at: Instant,
    acknowledgements: Acknowledgements,
    recorder: Option<Box<Recorder>>,
    behaviour: Behaviour,
}

enum Phase {
    Handshake(Box<ServerHandshake>),
    Open,
    Closed,
}

/// A publish or play that waits for its answer.
struct Pending {
    request: RequestId,
    stream_id: u32,
    what: Wanted,
}

enum Wanted {
    Publish(StreamKey),
    Play { reset: bool },
}

/// Why a message ends the session, and whether the handler told the peer already.
struct Failure {
    error: Error,
    answered: bool,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), answered: false }
    }
}

/// Getters.
impl ServerSession {
    /// A session whose peer has sent nothing yet.
    pub fn new(now: Instant, settings: Arc<ServerSettings>, entropy: Box<Entropy>) -> Self {
        let limits = &settings.limits;
        Self {
            now,
            phase: Phase::Handshake(Box::new(ServerHandshake::new(entropy))),
            incoming: Incoming::new(now, limits),
            writer: ChunkWriter::new(CHUNK_SIZE_DEFAULT),
            out: BytesMut::new(),
            events: VecDeque::new(),
            announced: Announced::default(),
            counters: SessionCounters::default(),
            connect: None,
            streams: MessageStreams::new(limits.message_streams_max),
            pending: None,
            requests: 0,
            announces_publish: false,
            reconnect_requested: false,
            media_seen: false,
            stray_media_bytes: 0,
            end_of_input: false,
            unclaimed_bytes: 0,
            stage_since: now,
            received_at: now,
            pinged_at: now,
            acknowledgements: Acknowledgements::default(),
            recorder: (settings.recorder_bytes > 0).then(|| Box::new(Recorder::new(settings.recorder_bytes))),
            behaviour: Behaviour::default(),
            settings,
        }
    }

    /// When `handle_timeout` has something to do, unless input comes first.
    pub fn next_timeout(&self) -> Instant {
        let deadline = self.stage().map_or(Instant::FAR_FUTURE, |stage| self.deadline(stage));
        deadline.min(self.ping_due())
    }

    /// The stage whose deadline runs. `None` while a request waits for its answer, while playing only, and after the end.
    pub fn stage(&self) -> Option<Stage> {
        match self.phase {
            Phase::Closed => None,
            Phase::Handshake(_) => Some(Stage::Handshake),
            Phase::Open if self.pending.is_some() => None,
            Phase::Open if self.connect.is_none() => Some(Stage::Connect),
            Phase::Open if self.is_publishing() => {
                Some(if self.media_seen { Stage::Idle } else { Stage::FirstMedia })
            }
            Phase::Open if self.is_playing() => None,
            Phase::Open => Some(Stage::PublishOrPlay),
        }
    }

    /// At least so many bytes must arrive before something can happen; never 0.
    pub fn missing_bytes(&self) -> usize {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.missing_bytes().max(1),
            Phase::Open => self.incoming.missing_bytes(),
            Phase::Closed => 1,
        }
    }

    /// Bytes that the session keeps alive: unparsed input, unfinished messages, what is left of an aggregate, the handshake.
    pub fn retained_bytes(&self) -> usize {
        let handshake = match &self.phase {
            Phase::Handshake(handshake) => size_of::<ServerHandshake>() + handshake.retained_bytes(),
            Phase::Open | Phase::Closed => 0,
        };
        handshake + self.incoming.retained_bytes()
    }

    /// Bytes that the flight recorder keeps.
    pub fn recorded_bytes(&self) -> usize {
        self.recorder.as_ref().map_or(0, |recorder| recorder.held_bytes())
    }

    /// Bytes that lie unparsed because a request waits for its answer.
    pub fn held_bytes(&self) -> usize {
        if self.pending.is_some() { self.incoming.unparsed_bytes() } else { 0 }
    }

    /// Whether the driver should go on reading: false while held bytes are at their bound, and after the end.
    pub fn wants_bytes(&self) -> bool {
        !self.is_closed() && self.held_bytes() < self.settings.limits.held_bytes_max
    }

    /// Whether [`ServerSession::request_reconnect`] would say something.
    pub fn can_request_reconnect(&self) -> bool {
        !self.is_closed()
            && !self.reconnect_requested
            && self.connect.as_ref().is_some_and(|info| info.capabilities.reconnect())
    }

    /// Whether the peer was asked to connect again ([`ServerSession::request_reconnect`]).
    pub fn was_asked_to_reconnect(&self) -> bool {
        self.reconnect_requested
    }

    /// What the session has counted.
    pub fn counters(&self) -> &SessionCounters {
        &self.counters
    }

    /// What the peer does that may tell which encoder it is.
    pub fn behaviour(&self) -> Behaviour {
        self.behaviour
    }

    /// What `connect` said, once it was accepted.
    pub fn connect_info(&self) -> Option<&ConnectInfo> {
        self.connect.as_ref()
    }

    /// Whether an accepted publish is on.
    pub fn is_publishing(&self) -> bool {
        self.streams.publishing().is_some()
    }

    /// Whether an accepted play is on.
    pub fn is_playing(&self) -> bool {
        self.streams.playing().is_some()
    }

    /// Whether `Closed` was given out or is about to be.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }
}

/// Input.
impl ServerSession {
    /// Takes over what a read returned. Cheap: parsing happens in [`Self::poll_output`].
    pub fn handle_bytes(&mut self, now: Instant, bytes: Bytes) {
        self.now = now;
        if self.is_closed() || bytes.is_empty() {
            return;
        }
        self.received_at = now;
        self.counters.bytes_in += bytes.len() as u64;
        if let Some(recorder) = &mut self.recorder {
            recorder.on_bytes(now, &bytes, || match (&self.phase, &self.pending) {
                (Phase::Open, None) => self.incoming.state(),
                _ => None,
            });
        }
        let acknowledge = self.acknowledgements.on_received(bytes.len());
        match &mut self.phase {
            Phase::Handshake(handshake) => match handshake.handle_bytes(bytes) {
                Ok(progress) => {
                    self.out.extend_from_slice(&progress.send.unwrap_or_default());
                    if let Some(rest) = progress.done {
                        self.phase = Phase::Open;
                        self.stage_since = now;
                        self.incoming.push(rest);
                    }
                }
                Err(error) => self.end(CloseReason::Error(error), false),
            },
            Phase::Open => self.incoming.push(bytes),
            Phase::Closed => {}
        }
        if let Some(sequence) = acknowledge
            && matches!(self.phase, Phase::Open)
        {
            self.counters.acknowledgements_sent += 1;
            self.send_control(Control::Acknowledgement(sequence));
        }
    }

    /// Says that so many bytes lie in memory between what was handed over last and what comes next, and are not the session's: a layer
    /// below (TLS) used them up in the same buffer. What is kept of their neighbours keeps them alive, so they count with it.
    pub fn handle_gap(&mut self, bytes: usize) {
        if matches!(self.phase, Phase::Open) {
            self.incoming.push_gap(bytes);
        }
    }

    /// Time has come to `now`: looks at deadlines and pings.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.announced.on_timeout(now);
        if let Some(stage) = self.stage().filter(|stage| self.deadline(*stage) <= now) {
            self.end(CloseReason::Error(PeerMisbehaved::Deadline(stage).into()), false);
        } else if self.ping_due() <= now {
            self.pinged_at = now;
            self.counters.pings_sent += 1;
            self.send_control(Control::User(UserControl::PingRequest(ping_stamp(now))));
        }
    }

    /// The peer closed its side: what was received is still parsed, unless a request waits.
    pub fn handle_eof(&mut self, now: Instant) {
        self.now = now;
        self.end_of_input = true;
        if self.pending.is_some() || !matches!(self.phase, Phase::Open) {
            self.end(CloseReason::Eof, false);
        }
    }
}

/// Output.
impl ServerSession {
    /// What comes next, after at most one message was parsed; `None` when there is nothing more until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.take_queued() {
            return Some(output);
        }
        if matches!(self.phase, Phase::Open) && self.pending.is_none() {
            match self.parse() {
                Ok(Parsed::Media(message)) => return Some(Output::Event(Event::Media(message))),
                Ok(Parsed::Other) => return Some(self.take_queued().unwrap_or(Output::Progress)),
                Ok(Parsed::NeedBytes) if self.end_of_input => self.end(CloseReason::Eof, false),
                Ok(Parsed::NeedBytes) => {}
                Err(Failure { error, answered }) => self.end(CloseReason::Error(error), answered),
            }
            if let Some(output) = self.take_queued() {
                return Some(output);
            }
        }
        self.announced.update(self.next_timeout()).map(Output::Timeout)
    }

    /// The next bytes to send, if there are any now; parses nothing and touches no event. For a driver that writes frames and must
    /// put an answer ([`ServerSession::notify`]) between two of them.
    pub fn poll_send(&mut self) -> Option<Bytes> {
        if self.out.is_empty() {
            return None;
        }
        let bytes = core::mem::take(&mut self.out).freeze();
        self.counters.bytes_out += bytes.len() as u64;
        Some(bytes)
    }

    fn take_queued(&mut self) -> Option<Output> {
        self.poll_send().map(Output::Send).or_else(|| self.events.pop_front().map(Output::Event))
    }
}

/// Commands.
impl ServerSession {
    /// The request may publish: the peer is told, and its media follows. An answer to a request that is gone does nothing.
    pub fn accept_publish(&mut self, now: Instant, request: RequestId) {
        self.now = now;
        let Some(Pending { stream_id, what, .. }) = self.pending.take_if(|p| p.request == request) else {
            return;
        };
        match what {
            Wanted::Publish(key) => {
                self.streams.set(stream_id, Use::Publishing(key));
                self.media_seen = false;
                self.stray_media_bytes = 0;
                self.stage_since = now;
                self.answer_publish(stream_id);
            }
            what => self.pending = Some(Pending { request, stream_id, what }),
        }
    }

    /// The request may play: the peer is told, and the driver sends media. An answer to a request that is gone does nothing.
    pub fn accept_play(&mut self, now: Instant, request: RequestId) {
        self.now = now;
        let Some(Pending { stream_id, what, .. }) = self.pending.take_if(|p| p.request == request) else {
            return;
        };
        match what {
            Wanted::Play { reset } => {
                self.streams.set(stream_id, Use::Playing);
                self.answer_play(stream_id, reset);
            }
            what => self.pending = Some(Pending { request, stream_id, what }),
        }
    }

    /// The request is refused: the peer is told why, and the session closes if the rejection says so.
    pub fn reject(&mut self, now: Instant, request: RequestId, rejection: Rejection) {
        self.now = now;
        let Some(pending) = self.pending.take_if(|pending| pending.request == request) else { return };
        self.stage_since = now;
        self.send_status(pending.stream_id, level::ERROR, rejection.code, &rejection.description);
        if rejection.close {
            self.end(CloseReason::Rejected { code: rejection.code }, true);
        }
    }

    /// Tells a player news of its stream. Nothing, if `stream_id` does not play (any more).
    pub fn notify(&mut self, now: Instant, stream_id: u32, notice: Notice) {
        self.now = now;
        if *self.streams.usage(stream_id) == Use::Playing {
            self.answer_notice(stream_id, notice);
        }
    }

    /// Asks the peer to connect again, at `tc_url` or, without it, where it is connected now; true when that was said.
    ///
    /// It is said once in a session's life, and only to a peer that said in `connect` that it understands (E-RTMP v2 "Reconnect Request").
    /// The session goes on until the peer leaves or is closed.
    pub fn request_reconnect(&mut self, now: Instant, tc_url: Option<&str>) -> bool {
        self.now = now;
        if !self.can_request_reconnect() {
            return false;
        }
        self.reconnect_requested = true;
        self.send_command(&write::reconnect_request(tc_url, "this server is going down: connect again"));
        true
    }

    /// What the peer sent last, when that is kept ([`ServerSettings::recorder_bytes`]). Nothing is kept from here on.
    pub fn take_recording(&mut self) -> Option<Recording> {
        self.recorder.take().map(|recorder| recorder.finish())
    }

    /// Closes from outside: the operator, the hub or the driver says why, and the peer is told where it can be.
    pub fn close(&mut self, now: Instant, reason: CloseReason) {
        self.now = now;
        self.end(reason, false);
    }

    /// The driver wrote so many bytes of media past the session.
    pub fn on_bytes_sent(&mut self, now: Instant, bytes: u64) {
        self.now = now;
        self.counters.bytes_out += bytes;
    }
}

impl ServerSession {
    fn tolerate(&mut self, oddity: Oddity) {
        self.counters.oddities += 1;
        self.events.push_back(Event::Tolerated(oddity));
    }

    fn deadline(&self, stage: Stage) -> Instant {
        let since = match stage {
            // Nothing was read while our answer to `publish` was awaited with as much held as may be.
            Stage::Idle => self.received_at.max(self.stage_since),
            _ => self.stage_since,
        };
        since + self.settings.deadlines.of(stage)
    }

    /// A peer that has been silent is asked whether it is there, from `connect` on. A publisher is not: the kernel finds a dead one
    /// sooner by keepalive, and bytes of ours that wait to be acknowledged would stop its probes and begin the wait anew.
    fn ping_due(&self) -> Instant {
        if self.is_closed() || self.connect.is_none() || self.is_publishing() {
            return Instant::FAR_FUTURE;
        }
        self.received_at.max(self.pinged_at) + self.settings.ping_interval
    }

    /// Closes, once: says farewell unless the peer was `answered` already, lets go of everything, and queues `Closed`.
    fn end(&mut self, reason: CloseReason, answered: bool) {
        let mut linger = answered;
        match self.phase {
            Phase::Closed => return,
            Phase::Open if !answered => {
                let (stream_id, activity) = match (self.streams.publishing(), self.streams.playing()) {
                    (Some((id, _)), _) => (id, Activity::Publishing),
                    (None, Some(id)) => (id, Activity::Playing),
                    (None, None) => (0, Activity::Neither),
                };
                if let Some((code, description)) = farewell(&reason, activity) {
                    self.send_status(stream_id, level::ERROR, code, &description);
                    linger = true;
                }
            }
            _ => {}
        }
        self.phase = Phase::Closed;
        self.incoming = Incoming::new(self.now, &self.settings.limits);
        self.pending = None;
        self.streams = MessageStreams::new(0);
        self.events.push_back(Event::Closed { reason, linger });
    }
}

/// What a ping carries and its response repeats: milliseconds, wrapping at 2^32 by intent.
fn ping_stamp(now: Instant) -> u32 {
    now.as_millis() as u32
}

#[cfg(test)]
mod tests;
