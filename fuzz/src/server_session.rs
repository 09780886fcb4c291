//! Target `server_session`: whole sessions in the server role, from the handshake to media and to the end.
//!
//! # What is promised
//! - The same events, media and answers however the peer's bytes are cut, as long as they come at the same time and no bound on memory is
//!   near.
//! - Media comes of an accepted publish only; what ends had begun; nothing comes after `Closed`, and nothing is held then.
//! - A session asks to be woken in time; its output ends; all that it says can be read.
//! - Media brings no more than came; what is held stays within the bounds.
//! - Media is fit for the ingest, as in `media`.
//! - A recording ends with the last byte, can be read from where it begins, and after redaction still can, with no secret in it.
//! # Input
//! As in `script`. Acts: 0 wait, 1 accept, 2 reject, 3 answer what is not asked (any more), 4 a notice, 5 close, 6 the peer's end,
//! 7 a needless wake-up, 8 write past the session, 9 stop taking outputs for a while, 10 ask to connect again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use inrush::rtmp::chunk::{ChunkReader, Read};
use inrush::rtmp::command::redact::MASK;
use inrush::rtmp::handshake::{Entropy, PACKET_BYTES};
use inrush::rtmp::limits::AmfLimits;
use inrush::rtmp::{Limits, Message, MessageHeader};
use inrush::session::recording::Start;
use inrush::session::{
    CloseReason, Encoder, Event, Instant, MediaMessage, Notice, Oddity, Output, Recording, Rejection,
    RequestId, ServerSession, ServerSettings,
};

use super::media::Witness;
use super::script::{ALLOCATION_BYTES, Script, Step, Wire, wait};
use super::sent::Sent;

/// Setting: little may be held.
const IS_TIGHT: u8 = 1;
/// Setting: the peer's bytes begin with C0; otherwise a handshake has gone before.
const HAS_HANDSHAKE: u8 = 2;
/// Setting: requests wait for the script's answer; otherwise they are accepted at once.
const IS_ASKED: u8 = 4;
/// Setting: reads share memory.
const IS_SHARED: u8 = 8;
/// Setting: the server closes at the end; otherwise the peer does.
const IS_CLOSED: u8 = 16;
/// Setting: the ingest's timestamps are monotonic, and its cache is small.
const IS_MONOTONIC: u8 = 32;

/// Setting: little may be done.
const IS_SLOW: u8 = 64;

/// Setting: what the peer sends is recorded.
const IS_RECORDED: u8 = 128;

/// About so many bytes are recorded.
const RECORDER_BYTES: usize = 1_000;

/// Commands that a recording has at most.
const COMMANDS_MAX: usize = 32;

/// S0, S1 and S2.
const HANDSHAKE_BYTES: usize = 1 + 2 * PACKET_BYTES;

/// One session; and again with the bytes one by one.
pub fn server_session(data: &[u8]) {
    let script = Script::new(data);
    let cut = Run::new(&script).carry_out(false);
    // When a bound on memory is met depends on the buffers.
    if !script.is(IS_TIGHT) {
        let bytewise = Run::new(&script).carry_out(true);
        assert_eq!(cut.len(), bytewise.len(), "{:?}\nor\n{:?}", cut.last(), bytewise.last());
        for (cut, bytewise) in cut.iter().zip(&bytewise) {
            assert_eq!(cut, bytewise);
        }
    }
}

/// What a session gave.
#[derive(Debug, PartialEq)]
enum Seen {
    Handshake(Vec<u8>),
    Sent(Message),
    Media(MediaMessage),
    Event(String),
}

fn settings(script: &Script<'_>) -> ServerSettings {
    let mut limits = Limits::default();
    if script.is(IS_TIGHT) {
        limits.message_bytes_max = 5_000;
        limits.reassembly_bytes_max = 600;
        limits.held_bytes_max = 300;
    }
    if script.is(IS_SLOW) {
        limits.chunk_streams_max = 6;
        limits.work_per_second_max = 1_500;
        limits.message_streams_max = 3;
        limits.name_bytes_max = 100;
        limits.amf = AmfLimits { depth_max: 6, entries_max: 100, bytes_max: 1_000 };
    }
    let recorder_bytes = if script.is(IS_RECORDED) { RECORDER_BYTES } else { 0 };
    ServerSettings { limits, recorder_bytes, ..ServerSettings::default() }
}

/// A session and its driver.
struct Run<'a> {
    script: Script<'a>,
    limits: Limits,
    session: ServerSession,
    now: Instant,
    wake_at: Option<Instant>,
    /// The request that waits: its id, its message stream, and whether it is a publish.
    question: Option<(RequestId, u32, bool)>,
    answered: Option<RequestId>,
    /// What was accepted and has not stopped: message streams, and whether they publish.
    active: BTreeMap<u32, bool>,
    is_connected: bool,
    is_done: bool,
    sent: Sent,
    has_sent: bool,
    seen: Vec<Seen>,
    witness: Witness,
    /// Outputs that are taken at most before the next step.
    budget: usize,
    bytes_in: usize,
    /// All of it, when it is recorded.
    recorded: Vec<u8>,
    media_bytes: usize,
    wire_bytes: usize,
    outputs: usize,
    /// Acts and wake-ups so far: each may have outputs of its own.
    acts: usize,
}

impl<'a> Run<'a> {
    fn new(script: &Script<'a>) -> Self {
        // Close to where the milliseconds of a ping wrap.
        let now = Instant::from_micros(((1 << 32) - 5_000) * 1_000);
        let settings = settings(script);
        let limits = settings.limits.clone();
        let entropy = Box::new(Entropy { time_ms: 0, random: [7; PACKET_BYTES - 8] });
        Self {
            script: *script,
            limits,
            session: ServerSession::new(now, Arc::new(settings), entropy),
            now,
            wake_at: None,
            question: None,
            answered: None,
            active: BTreeMap::new(),
            is_connected: false,
            is_done: false,
            sent: Sent::new(HANDSHAKE_BYTES),
            has_sent: false,
            seen: Vec::new(),
            witness: Witness::new(if script.is(IS_MONOTONIC) { 3 } else { 0 }),
            budget: usize::MAX,
            bytes_in: 0,
            recorded: Vec::new(),
            media_bytes: 0,
            wire_bytes: 0,
            outputs: 0,
            acts: 0,
        }
    }

    fn carry_out(mut self, is_bytewise: bool) -> Vec<Seen> {
        if !self.script.is(HAS_HANDSHAKE) {
            let mut hello = vec![0; HANDSHAKE_BYTES];
            hello[0] = 3;
            self.feed(hello.into());
        }
        let mut wire = self.script.wire(self.script.is(IS_SHARED) && !is_bytewise);
        for step in self.script.steps() {
            match step {
                Step::Read(count) => self.read(&mut wire, count, is_bytewise),
                Step::Act { what, how } => self.act(what, how),
            }
        }
        self.budget = usize::MAX;
        self.drain();
        while !self.session.is_closed() && !wire.is_empty() {
            // Each request takes some bytes to make, and what waits behind it does until it is answered.
            self.answer(true);
            self.read(&mut wire, usize::MAX, is_bytewise);
        }
        self.finish();
        self.seen.push(Seen::Handshake(self.sent.handshake));
        self.seen
    }

    /// Reads so many bytes, as long as the session wants some.
    fn read(&mut self, wire: &mut Wire, count: usize, is_bytewise: bool) {
        let mut left = count;
        while left > 0
            && self.session.wants_bytes()
            && let Some(bytes) = wire.read(if is_bytewise { 1 } else { left })
        {
            left -= bytes.len();
            self.feed(bytes);
        }
    }

    fn feed(&mut self, bytes: Bytes) {
        self.bytes_in += bytes.len();
        if self.script.is(IS_RECORDED) && !self.session.is_closed() {
            self.recorded.extend_from_slice(&bytes);
        }
        self.session.handle_bytes(self.now, bytes);
        self.drain();
    }

    fn act(&mut self, what: u8, how: u8) {
        self.acts += 1;
        // What is done and when must not depend on how much was taken.
        self.budget = usize::MAX;
        self.drain();
        match what {
            0 => self.wait(how),
            1 => self.answer(true),
            2 => self.answer(false),
            3 => self.answer_amiss(how),
            4 => {
                let notice = if how & 1 == 0 { Notice::PublishNotify } else { Notice::UnpublishNotify };
                self.session.notify(self.now, u32::from(how >> 1), notice);
            }
            5 => self.session.close(self.now, CLOSES[usize::from(how) % CLOSES.len()]),
            6 => self.session.handle_eof(self.now),
            7 => self.session.handle_timeout(self.now),
            8 => self.session.on_bytes_sent(self.now, 1_000),
            9 => self.budget = usize::from(how),
            10 => {
                let can = self.session.can_request_reconnect();
                let tc_url = (how & 1 == 1).then_some("rtmp://other/live");
                assert_eq!(self.session.request_reconnect(self.now, tc_url), can);
                assert!(!self.session.can_request_reconnect(), "it is said once");
            }
            _ => {}
        }
        self.drain();
    }

    /// Lets time pass as a driver does, who wakes the session when it asked to be.
    fn wait(&mut self, how: u8) {
        let until = self.now + wait(how);
        while let Some(at) = self.wake_at.filter(|at| *at <= until) {
            self.acts += 1;
            assert!(self.acts < 10_000, "woken for ever");
            self.now = self.now.max(at);
            self.wake_at = None;
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn answer(&mut self, is_accepted: bool) {
        let Some((request, stream_id, is_publish)) = self.question.take() else { return };
        self.answered = Some(request);
        match (is_accepted, is_publish) {
            (true, true) => self.session.accept_publish(self.now, request),
            (true, false) => self.session.accept_play(self.now, request),
            (false, true) => self.session.reject(self.now, request, Rejection::already_published()),
            (false, false) => {
                let rejection = Rejection { close: false, ..Rejection::play_denied("no") };
                self.session.reject(self.now, request, rejection);
            }
        }
        if is_accepted && !self.session.is_closed() {
            assert!(if is_publish { self.session.is_publishing() } else { self.session.is_playing() });
            self.active.insert(stream_id, is_publish);
        }
        self.drain();
    }

    /// Answers that are for nobody: to what was answered, or as if a play were a publish.
    fn answer_amiss(&mut self, how: u8) {
        let is_playing = self.session.is_playing();
        if let Some(request) = self.answered.filter(|_| how & 1 == 0) {
            self.session.accept_publish(self.now, request);
            self.session.accept_play(self.now, request);
            self.session.reject(self.now, request, Rejection::publish_denied("late"));
        } else if let Some((request, _, is_publish)) = self.question {
            match is_publish {
                true => self.session.accept_play(self.now, request),
                false => self.session.accept_publish(self.now, request),
            }
            assert!(self.session.is_closed() || self.session.stage().is_none(), "the request still waits");
        }
        assert_eq!(self.session.is_playing(), is_playing);
    }

    fn drain(&mut self) {
        for _ in 0..self.budget {
            let Some(output) = self.session.poll_output() else { return self.check_idle() };
            self.outputs += 1;
            assert!(self.outputs <= 64 + 8 * self.bytes_in + 64 * self.acts, "output does not end");
            assert!(!self.is_done, "{output:?} after Closed");
            match output {
                Output::Send(bytes) => {
                    self.has_sent = true;
                    assert!(!bytes.is_empty());
                    self.seen.extend(self.sent.read(bytes).into_iter().map(Seen::Sent));
                }
                Output::Timeout(at) => self.wake_at = Some(at.max(self.now)),
                Output::Progress => {}
                Output::Event(event) => self.on_event(event),
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        // How many of these are seen at once depends on how the input is cut.
        if !matches!(event, Event::Media(_) | Event::Tolerated(Oddity::HeaderlessStart)) {
            self.seen.push(Seen::Event(format!("{event:?}")));
        }
        match event {
            Event::Connected => {
                assert!(!std::mem::replace(&mut self.is_connected, true), "connected twice");
                assert!(self.session.connect_info().is_some());
            }
            Event::PublishRequested(request) => self.ask(request.request, request.stream_id, true),
            Event::PlayRequested(request) => self.ask(request.request, request.stream_id, false),
            Event::Media(message) => self.on_media(message),
            Event::Stopped { stream_id } => {
                assert!(self.active.remove(&stream_id).is_some(), "{stream_id} stopped and was not on");
            }
            Event::Paused { stream_id, .. }
            | Event::ReceiveAudio { stream_id, .. }
            | Event::ReceiveVideo { stream_id, .. } => {
                assert_eq!(self.active.get(&stream_id), Some(&false), "{stream_id} does not play");
            }
            Event::Tolerated(_) => {}
            Event::Closed { linger, .. } => {
                assert!(!linger || self.has_sent, "nobody was told anything");
                self.is_done = true;
                self.question = None;
                self.active.clear();
            }
        }
    }

    fn ask(&mut self, request: RequestId, stream_id: u32, is_publish: bool) {
        assert!(self.is_connected);
        let before = self.question.replace((request, stream_id, is_publish));
        assert!(before.is_none(), "one question at a time");
        assert!(!self.active.contains_key(&stream_id), "what was on has stopped");
        if !self.script.is(IS_ASKED) {
            self.answer(true);
        }
    }

    fn on_media(&mut self, message: MediaMessage) {
        assert_eq!(self.active.get(&message.stream_id), Some(&true), "media of what is not published");
        self.media_bytes += message.payload.len();
        self.wire_bytes += message.wire_bytes as usize;
        assert!(self.media_bytes <= self.wire_bytes && self.wire_bytes <= self.bytes_in);
        let _ = self.witness.take(self.now, message.clone());
        // In pieces of memory of its own, so that a list of them does not pin what the session has let go.
        let payload = message.payload.to_vec();
        self.seen.push(Seen::Media(MediaMessage { payload: Bytes::from(payload).into(), ..message }));
    }

    /// What must hold when there is no output left.
    fn check_idle(&self) {
        let session = &self.session;
        match self.wake_at {
            Some(at) => assert!(self.is_done || at <= session.next_timeout().max(self.now), "woken too late"),
            None => assert_eq!(session.next_timeout(), Instant::FAR_FUTURE, "never woken"),
        }
        assert!(session.missing_bytes() > 0);
        assert_eq!(session.is_closed(), self.is_done);
        assert_eq!(session.is_publishing(), self.active.values().any(|is_publish| *is_publish));
        assert_eq!(session.is_playing(), self.active.values().any(|is_publish| !*is_publish));
        let is_open = !self.is_done && self.question.is_some();
        assert!(is_open || session.held_bytes() == 0, "held without a question");
        assert!(session.held_bytes() < self.limits.held_bytes_max + ALLOCATION_BYTES);
        // What is unfinished, or was until the last read and is now an aggregate that is taken apart; and what waits.
        let unfinished = self.limits.reassembly_bytes_max + ALLOCATION_BYTES;
        let handshake = if self.is_connected { 0 } else { 2 * HANDSHAKE_BYTES };
        let waiting = self.limits.held_bytes_max + ALLOCATION_BYTES + handshake;
        assert!(session.retained_bytes() <= 2 * unfinished + waiting, "{} held", session.retained_bytes());
        if !self.is_done {
            assert_eq!(session.counters().bytes_in as usize, self.bytes_in);
        }
    }

    /// Ends the session one way or the other, and sees that it has ended.
    fn finish(&mut self) {
        self.acts += 1;
        match self.script.is(IS_CLOSED) {
            true => self.session.close(self.now, CloseReason::Drained),
            false => {
                self.session.handle_eof(self.now);
                self.drain();
                // An end that comes while a request waits is seen at once; one that comes before, when the request is answered.
                self.answer(true);
                if !self.session.is_closed() {
                    self.session.handle_eof(self.now);
                }
            }
        }
        self.drain();
        assert!(self.is_done, "a session ends");
        let seen = self.seen.len();
        self.session.handle_bytes(self.now, Bytes::from_static(&[3; 100]));
        self.session.handle_timeout(self.now + wait(7));
        self.session.close(self.now, CloseReason::Kicked);
        self.session.notify(self.now, 1, Notice::PublishNotify);
        self.answer_amiss(0);
        self.session.handle_eof(self.now);
        assert!(self.session.poll_output().is_none() && self.session.poll_send().is_none());
        assert_eq!(self.seen.len(), seen);
        assert_eq!((self.session.retained_bytes(), self.session.held_bytes()), (0, 0));
        assert_eq!((self.session.stage(), self.session.wants_bytes()), (None, false));
        assert_eq!(self.session.next_timeout(), Instant::FAR_FUTURE);
        assert!(!self.session.can_request_reconnect() && !self.session.request_reconnect(self.now, None));
        if let Some(info) = self.session.connect_info() {
            let _ = Encoder::of(&info.flash_ver, Some(&info.app), self.session.behaviour());
        }
        let recording = self.session.take_recording();
        assert_eq!(recording.is_some(), self.script.is(IS_RECORDED));
        if let Some(recording) = recording {
            self.check_recording(recording);
        }
    }

    fn check_recording(&self, mut recording: Recording) {
        let kept = joined(&recording);
        assert!(self.recorded.ends_with(&kept), "the recording is of the last bytes");
        let longest = ALLOCATION_BYTES.max(HANDSHAKE_BYTES) + self.limits.message_bytes_max as usize;
        assert!(
            kept.len() <= 2 * (RECORDER_BYTES + self.limits.held_bytes_max + longest),
            "{} kept",
            kept.len()
        );
        assert!(kept.len() >= self.recorded.len().min(RECORDER_BYTES / 2));
        assert!(recording.commands.len() <= COMMANDS_MAX);
        let before = self.replay(&recording);
        let secrets = recording.secrets.clone();
        // A name or URL is hidden wherever it stands, in a header as well; what is hidden by its place leaves all headers.
        let mut by_place = Recording { secrets: Vec::new(), ..recording.clone() };
        by_place.redact(&self.limits);
        let after = self.replay(&by_place);
        assert!(after.starts_with(&before), "{before:?} became {after:?}");
        recording.redact(&self.limits);
        let redacted = joined(&recording);
        assert_eq!(redacted.len(), kept.len());
        assert!(recording.secrets.is_empty());
        for secret in secrets.iter().filter(|secret| !secret.contains(char::from(MASK))) {
            let secret = secret.as_bytes();
            assert!(!redacted.windows(secret.len()).any(|window| window == secret), "a secret is left");
        }
    }

    /// Headers and lengths of the messages in a recording.
    fn replay(&self, recording: &Recording) -> Vec<(MessageHeader, usize)> {
        let bytes = joined(recording);
        let (mut reader, from) = match &recording.start {
            Start::Connection => (ChunkReader::new(&self.limits), HANDSHAKE_BYTES),
            Start::Middle(state) => {
                (ChunkReader::resume(&self.limits, state).expect("a state that the session had"), 0)
            }
        };
        reader.push(Bytes::copy_from_slice(bytes.get(from..).unwrap_or_default()));
        let mut messages = Vec::new();
        while let Ok(Read::Message(message)) = reader.poll() {
            messages.push((message.header, message.payload.len()));
        }
        messages
    }
}

fn joined(recording: &Recording) -> Vec<u8> {
    recording.reads.iter().flat_map(|read| read.bytes.iter().copied()).collect()
}

const CLOSES: [CloseReason; 8] = [
    CloseReason::Kicked,
    CloseReason::Drained,
    CloseReason::Replaced,
    CloseReason::Overload,
    CloseReason::Hopeless,
    CloseReason::Reset,
    CloseReason::Io,
    CloseReason::Eof,
];
