//! Target `client_session`: whole sessions in the client role, publisher or player, against any server.
//!
//! # What is promised
//! - The same events, media and requests however the server's bytes are cut.
//! - Events come in an order that makes sense, and nothing after `Closed`.
//! - The session asks to be woken in time; its output ends; all that it says can be read; a server that never says yes ends it.
//! # Input
//! As in `script`. Acts: 0 wait, 1 send media, 2 send a message, 3 stop, 4 the server's end, 5 a needless wake-up, 6 stop taking outputs for
//! a while.

use bytes::Bytes;
use inrush::rtmp::command::write;
use inrush::rtmp::handshake::{Entropy, HandshakeKind, PACKET_BYTES};
use inrush::rtmp::limits::AmfLimits;
use inrush::rtmp::{Control, Limits, Message, Payload, UserControl};
use inrush::session::{
    ClientEvent, ClientOutput, ClientSession, ClientSettings, ClientUrl, Instant, MediaKind, MediaMessage,
    Role,
};

use super::script::{ALLOCATION_BYTES, Script, Step, wait};
use super::sent::Sent;

/// Setting: little may be held.
const IS_TIGHT: u8 = 1;
/// Setting: the server's bytes begin with S0; otherwise a handshake has gone before.
const HAS_HANDSHAKE: u8 = 2;
/// Setting: a player; otherwise a publisher.
const IS_PLAYER: u8 = 4;
/// Setting: reads share memory.
const IS_SHARED: u8 = 8;
/// Setting: the client stops at the end; otherwise the server goes away.
const IS_STOPPED: u8 = 16;
/// Setting: the handshake is begun with a digest.
const HAS_DIGEST: u8 = 32;

/// Setting: little may be done.
const IS_SLOW: u8 = 64;

/// C0, C1 and C2.
const HANDSHAKE_BYTES: usize = 1 + 2 * PACKET_BYTES;

/// One session; and again with the bytes one by one.
pub fn client_session(data: &[u8]) {
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

fn settings(script: &Script<'_>) -> ClientSettings {
    let url = ClientUrl::parse("rtmp://host/live/key?token=1").expect("a URL");
    let role = if script.is(IS_PLAYER) { Role::Play } else { Role::Publish };
    let mut limits = Limits::default();
    if script.is(IS_TIGHT) {
        limits.message_bytes_max = 5_000;
        limits.reassembly_bytes_max = 600;
    }
    if script.is(IS_SLOW) {
        limits.chunk_streams_max = 6;
        limits.work_per_second_max = 1_500;
        limits.amf = AmfLimits { depth_max: 6, entries_max: 100, bytes_max: 1_000 };
    }
    ClientSettings {
        handshake: if script.is(HAS_DIGEST) { HandshakeKind::Digest } else { HandshakeKind::Simple },
        chunk_size_out: 200,
        fc_subscribe: true,
        limits,
        ..ClientSettings::new(url, role)
    }
}

/// A session and its driver.
struct Run<'a> {
    script: Script<'a>,
    limits: Limits,
    session: ClientSession,
    now: Instant,
    wake_at: Option<Instant>,
    is_connected: bool,
    is_ready: bool,
    is_done: bool,
    sent: Sent,
    seen: Vec<Seen>,
    /// Outputs that are taken at most before the next step.
    budget: usize,
    bytes_in: usize,
    media_bytes: usize,
    outputs: usize,
    /// Acts and wake-ups so far: each may have outputs of its own.
    acts: usize,
}

impl<'a> Run<'a> {
    fn new(script: &Script<'a>) -> Self {
        let now = Instant::from_micros(1_000_000);
        let settings = settings(script);
        let limits = settings.limits.clone();
        let entropy = Box::new(Entropy { time_ms: 0, random: [7; PACKET_BYTES - 8] });
        Self {
            script: *script,
            limits,
            session: ClientSession::new(now, settings, entropy),
            now,
            wake_at: None,
            is_connected: false,
            is_ready: false,
            is_done: false,
            sent: Sent::new(HANDSHAKE_BYTES),
            seen: Vec::new(),
            budget: usize::MAX,
            bytes_in: 0,
            media_bytes: 0,
            outputs: 0,
            acts: 0,
        }
    }

    fn carry_out(mut self, is_bytewise: bool) -> Vec<Seen> {
        self.drain();
        if !self.script.is(HAS_HANDSHAKE) {
            let mut hello = vec![0; HANDSHAKE_BYTES];
            hello[0] = 3;
            self.feed(hello.into());
        }
        let mut wire = self.script.wire(self.script.is(IS_SHARED) && !is_bytewise);
        let mut read = |run: &mut Self, count: usize| {
            let mut left = count;
            while left > 0
                && !run.session.is_closed()
                && let Some(bytes) = wire.read(if is_bytewise { 1 } else { left })
            {
                left -= bytes.len();
                run.feed(bytes);
            }
        };
        for step in self.script.steps() {
            match step {
                Step::Read(count) => read(&mut self, count),
                Step::Act { what, how } => self.act(what, how),
            }
        }
        self.budget = usize::MAX;
        self.drain();
        read(&mut self, usize::MAX);
        self.finish();
        self.seen.push(Seen::Handshake(self.sent.handshake));
        self.seen
    }

    fn feed(&mut self, bytes: Bytes) {
        self.bytes_in += bytes.len();
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
            1 => self.send_media(how),
            2 => {
                let is_possible = self.is_past_handshake();
                let sent = self.session.send_message(self.now, &self.message(how));
                assert_eq!(sent.is_ok(), is_possible);
            }
            3 => self.session.stop(self.now),
            4 => self.session.handle_eof(self.now),
            5 => self.session.handle_timeout(self.now),
            6 => self.budget = usize::from(how),
            _ => {}
        }
        self.drain();
    }

    fn is_past_handshake(&self) -> bool {
        // C2 is not counted before it is sent, so the first message shows.
        !self.session.is_closed() && self.seen.iter().any(|seen| matches!(seen, Seen::Sent(_)))
    }

    fn send_media(&mut self, how: u8) {
        let kind = [MediaKind::Video, MediaKind::Audio, MediaKind::Data][usize::from(how) % 3];
        let payload: Payload =
            [Bytes::from_static(&[0x17; 150]), Bytes::from_static(&[1; 151])].into_iter().collect();
        let timestamp = 0x00ff_fff0 + u32::from(how) * 5;
        let sent = self.session.send_media(self.now, kind, timestamp, &payload);
        assert_eq!(sent.is_ok(), self.session.is_ready() && !self.script.is(IS_PLAYER));
    }

    fn message(&self, how: u8) -> Message {
        let stream_id = self.session.stream_id().unwrap_or(0);
        match how {
            0 => Control::SetChunkSize(1).to_message(),
            1 => Control::SetChunkSize(60_000).to_message(),
            2 => Control::WindowAckSize(2_000).to_message(),
            3 => Control::User(UserControl::PingRequest(7)).to_message(),
            4 => write::pause(stream_id, 0.0, true, 0.0),
            5 => write::receive_video(stream_id, false),
            6 => write::close_stream(stream_id),
            _ => Control::Acknowledgement(7).to_message(),
        }
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

    fn drain(&mut self) {
        for _ in 0..self.budget {
            let Some(output) = self.session.poll_output() else { return self.check_idle() };
            self.outputs += 1;
            assert!(self.outputs <= 64 + 8 * self.bytes_in + 64 * self.acts, "output does not end");
            assert!(!self.is_done, "{output:?} after Closed");
            match output {
                ClientOutput::Send(bytes) => {
                    assert!(!bytes.is_empty());
                    self.seen.extend(self.sent.read(bytes).into_iter().map(Seen::Sent));
                }
                ClientOutput::Timeout(at) => self.wake_at = Some(at.max(self.now)),
                ClientOutput::Progress => {}
                ClientOutput::Event(event) => self.on_event(event),
            }
        }
    }

    fn on_event(&mut self, event: ClientEvent) {
        if !matches!(event, ClientEvent::Media(_)) {
            self.seen.push(Seen::Event(format!("{event:?}")));
        }
        match event {
            ClientEvent::Connected { .. } => {
                assert!(!std::mem::replace(&mut self.is_connected, true), "connected twice");
            }
            ClientEvent::Ready => {
                assert!(self.is_connected && !std::mem::replace(&mut self.is_ready, true), "ready twice");
            }
            ClientEvent::Ended => assert!(std::mem::take(&mut self.is_ready), "ended, and was not ready"),
            ClientEvent::Media(message) => {
                self.media_bytes += message.payload.len();
                assert!(self.media_bytes <= self.bytes_in, "media brought more than came");
                let payload = message.payload.to_vec();
                self.seen.push(Seen::Media(MediaMessage { payload: Bytes::from(payload).into(), ..message }));
            }
            ClientEvent::Status(_) => {}
            ClientEvent::Reconnect { url, .. } => {
                assert_eq!(url.name, "key?token=1", "the stream's name stays");
                assert!(!url.host.is_empty() && !url.app.is_empty());
            }
            ClientEvent::Closed { .. } => self.is_done = true,
        }
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
        let may_miss = self.limits.message_bytes_max as usize * 20;
        assert!(
            session.missing_bytes() <= may_miss + ALLOCATION_BYTES,
            "{} missing",
            session.missing_bytes()
        );
    }

    /// Ends the session one way or the other, and sees that it has ended.
    fn finish(&mut self) {
        self.acts += 1;
        if !self.session.is_ready() {
            self.wait(7);
            assert!(self.is_done, "a server that does not say yes is left");
        }
        match self.script.is(IS_STOPPED) {
            true => self.session.stop(self.now),
            false => self.session.handle_eof(self.now),
        }
        self.drain();
        assert!(self.is_done, "a session ends");
        let seen = self.seen.len();
        self.session.handle_bytes(self.now, Bytes::from_static(&[3; 100]));
        self.session.handle_timeout(self.now + wait(7));
        self.session.stop(self.now);
        self.session.handle_eof(self.now);
        assert!(self.session.send_message(self.now, &self.message(0)).is_err());
        assert!(self.session.poll_output().is_none());
        assert_eq!(self.seen.len(), seen);
        assert_eq!((self.session.is_ready(), self.session.stream_id()), (false, None));
        assert_eq!(self.session.next_timeout(), Instant::FAR_FUTURE);
    }
}
