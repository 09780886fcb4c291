//! The far side of a connection: an encoder or a player with its session, and the link to the server.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use inrush::rtmp::handshake::{Entropy, PACKET_BYTES};
use inrush::rtmp::{Error, Message, PeerMisbehaved};
use inrush::session::{
    ClientCloseReason, ClientEvent, ClientOutput, ClientSession, ClientSettings, ClientUrl, Instant, Role,
    ServerSession, status::code,
};

use super::habits::Publishing;
use super::receiving::{Expected, Viewing};
use super::served::Served;
use super::world::{Action, NAMES, World};
use crate::simulation::pipe::{Pipe, Segment, Weather};
use crate::simulation::rng::Rng;

/// The most that arrives at once, bytes.
pub(super) const SEGMENT_BYTES_MAX: u64 = 16 * 1024;

pub(super) struct Link {
    pub(super) index: usize,
    pub(super) client: ClientSession,
    pub(super) role: Role,
    /// What it publishes or plays, as far as its user knows.
    pub(super) name: &'static str,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    /// A reader is on the agenda for the next segment.
    pub(super) up_armed: bool,
    pub(super) down_armed: bool,
    /// Bytes that the server's socket and the network take before the client reads.
    pub(super) window: usize,
    client_wake: Instant,
    pub(super) client_done: bool,
    /// The client does not read.
    pub(super) stalled: bool,
    /// Nothing gets through in either direction, and nobody notices.
    pub(super) frozen: bool,
    /// What the client sends gets lost from some byte on.
    pub(super) silent: bool,
    /// The server is to see a reset at the end of its input.
    pub(super) reset: bool,
    /// Something of what the server has written may be lost.
    pub(super) lossy: bool,
    /// The server's side, while it is on a core.
    pub(super) served: Option<Served>,
    pub(super) publishing: Option<Publishing>,
    /// What the client writes past its session.
    pub(super) media_out: BytesMut,
    /// What the server has written, and the client has not got yet.
    pub(super) expected: VecDeque<Expected>,
    pub(super) viewing: Viewing,
    /// One of its publishes was accepted.
    pub(super) is_admitted: bool,
}

impl World {
    /// A client connects to a core.
    pub(super) fn connect(&mut self, core: usize, role: Role, name: &'static str) -> usize {
        let index = self.links.len();
        let rng = &mut self.rng;
        let weather = |rng: &mut Rng| Weather {
            segment_bytes_max: rng.pick(&[150, 1448, 1448, 1448, SEGMENT_BYTES_MAX]),
            latency: Duration::from_millis(rng.below(50)),
            jitter_us: rng.pick(&[1, 5_000, 20_000]),
        };
        let url = ClientUrl::parse(&format!("rtmp://host/live/{name}")).expect("a URL");
        let settings = ClientSettings {
            chunk_size_out: rng.pick(&[128, 4096, 60_000]),
            ready_deadline: Duration::from_secs(5),
            ..ClientSettings::new(url, role)
        };
        let (up, mut down) = (Pipe::new(weather(rng)), Pipe::new(weather(rng)));
        let publishing = (role == Role::Publish)
            .then(|| Publishing::new(rng, &mut self.ledger, name, settings.chunk_size_out));
        let client = ClientSession::new(self.now, settings, entropy(rng));
        let served = if self.draining {
            self.tally.connections_refused += 1;
            down.cut(rng, self.now);
            None
        } else {
            self.cores[core].connections += 1;
            let session = ServerSession::new(self.now, self.session_settings.clone(), entropy(rng));
            Some(Served::new(core, session))
        };
        self.tally.connections += 1;
        self.links.push(Link {
            index,
            client,
            role,
            name,
            up,
            down,
            up_armed: false,
            down_armed: false,
            window: rng.pick(&[1_500, 8_000, 64_000]),
            client_wake: Instant::FAR_FUTURE,
            client_done: false,
            stalled: false,
            frozen: false,
            silent: false,
            reset: false,
            lossy: false,
            served,
            publishing,
            media_out: BytesMut::new(),
            expected: VecDeque::new(),
            viewing: Viewing::new(self.follows),
            is_admitted: false,
        });
        self.drain_client(index);
        self.drive(index);
        self.arm_down(index);
        self.schedule_in_ms(30, Action::Operate(index));
        index
    }

    /// Puts the client's bytes on the link: what its session says, then what it writes itself.
    pub(super) fn transmit(&mut self, index: usize) {
        self.drain_client(index);
        let link = &mut self.links[index];
        if !link.media_out.is_empty() {
            let bytes = link.media_out.split().freeze();
            link.up.send(&mut self.rng, self.now, bytes);
            self.resume_reading(index);
        }
    }

    /// Says a message, if the session is so far.
    pub(super) fn say(&mut self, index: usize, message: &Message) {
        if self.links[index].client.send_message(self.now, message).is_ok() {
            self.drain_client(index);
        }
    }

    /// Takes all that the client's session has to say.
    pub(super) fn drain_client(&mut self, index: usize) {
        loop {
            let link = &mut self.links[index];
            match link.client.poll_output() {
                None => break,
                Some(ClientOutput::Send(bytes)) => {
                    link.up.send(&mut self.rng, self.now, bytes);
                }
                Some(ClientOutput::Event(event)) => self.on_client_event(index, event),
                Some(ClientOutput::Timeout(at)) => {
                    link.client_wake = at;
                    self.schedule(at, Action::WakeClient(index));
                }
                Some(ClientOutput::Progress) => {}
            }
        }
        self.resume_reading(index);
    }

    pub(super) fn wake_client(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.client_wake > self.now || link.client_done {
            return;
        }
        link.client_wake = Instant::FAR_FUTURE;
        link.client.handle_timeout(self.now);
        self.drain_client(index);
    }

    /// Something has arrived at the client.
    pub(super) fn receive(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.down_armed = false;
        if link.stalled || link.frozen {
            return;
        }
        match link.down.receive(self.now) {
            // What it was to wait for is gone, and the end of the link comes later.
            None => return self.arm_down(index),
            Some(Segment::Bytes(_)) if link.client_done => {
                // Nobody takes it any more, and the kernel says so.
                if !link.reset && self.rng.percent(50) {
                    link.reset = true;
                    link.up.cut(&mut self.rng, self.now);
                    self.resume_reading(index);
                }
            }
            Some(Segment::End) if link.client_done => {}
            Some(Segment::Bytes(bytes)) => {
                link.client.handle_bytes(self.now, bytes);
                self.drain_client(index);
            }
            Some(Segment::End) => {
                if !link.lossy {
                    self.check_all_received(index);
                }
                self.links[index].client.handle_eof(self.now);
                self.drain_client(index);
            }
        }
        self.push_down(index);
        self.arm_down(index);
    }

    fn on_client_event(&mut self, index: usize, event: ClientEvent) {
        let link = &mut self.links[index];
        assert!(!link.client_done, "{event:?} after Closed");
        match event {
            ClientEvent::Connected { .. }
            | ClientEvent::Reconnect { .. }
            | ClientEvent::Ready
            | ClientEvent::Ended => {}
            ClientEvent::Status(status) => self.on_status(index, &status.code),
            ClientEvent::Media(message) => self.on_media(index, &message),
            ClientEvent::Closed { reason } => {
                let label = match &reason {
                    ClientCloseReason::Error(Error::PeerMisbehaved(PeerMisbehaved::Deadline(_))) => {
                        "deadline"
                    }
                    reason => reason.label(),
                };
                *self.tally.client_ends.entry(label.into()).or_default() += 1;
                link.client_done = true;
                link.lossy = true;
                link.up.finish(&mut self.rng, self.now);
                if let ClientCloseReason::Refused(status) = reason
                    && let Some(publishing) = &link.publishing
                    && status.code == code::PUBLISH_BAD_NAME
                {
                    // Else it was taken over from, and what it sent before was shown.
                    if !link.is_admitted {
                        self.ledger.refuse(publishing.life());
                    }
                    self.retry(index);
                }
                self.links[index].stalled = false;
                self.arm_down(index);
            }
        }
    }

    /// An encoder whose name is taken tries again after a while, as encoders do.
    fn retry(&mut self, index: usize) {
        if !self.is_calm && self.rng.percent(30) {
            let name = NAMES.iter().position(|name| *name == self.links[index].name).expect("a known name");
            let (core, ms) = (self.rng.index(self.cores.len()), 200 + self.rng.below(2_000));
            self.schedule_in_ms(ms, Action::Reconnect(name, core));
        }
    }

    pub(super) fn reconnect(&mut self, name: usize, core: usize) {
        if !self.is_calm {
            self.connect(core, Role::Publish, NAMES[name]);
        }
    }
}

fn entropy(rng: &mut Rng) -> Box<Entropy> {
    let mut entropy = Box::new(Entropy { time_ms: 0, random: [0; PACKET_BYTES - 8] });
    // What the bytes are matters to nobody here; that they differ does.
    let fill = rng.next().to_be_bytes();
    entropy.random[..8].copy_from_slice(&fill);
    entropy
}
