//! One run: publishers and players, each with its server session, over virtual links in virtual time.
//!
//! Every event has an instant; the run takes them in order, so it depends on nothing but the seed. The server's driver is
//! played by hand: it answers requests after a while, passes media on to the players of the same key, and wakes
//! sessions when they ask for it.
//! # What is checked, on every step of every run
//! - Media reaches the server in order and unchanged; all of it, unless the script or the link takes some away.
//! - A player gets what was passed on to it, in order and unchanged; all of it, if the server ended it.
//! - Events come in an order that makes sense: no media before `accept_publish`, nothing after `Closed`.
//! - A session never needs to be woken before the instant that it asked for.
//! - No more is held than may be.
//! - At the end everything is closed and nothing is held.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use inrush::rtmp::chunk::WireHeaders;
use inrush::rtmp::message::type_id;
use inrush::rtmp::{Error, MessageHeader, PeerMisbehaved};
use inrush::session::{
    ClientCloseReason, ClientEvent, ClientOutput, CloseReason, Event, Instant, MediaMessage, Notice, Output,
    Rejection, RequestId, Role, ServerSettings, StreamKey,
};

use super::connection::{Connection, Item, Plan, Question, Side};
use super::kinds::Kinds;
use super::pipe::Segment;
use super::rng::Rng;

/// When the operator closes what is still open.
const HORIZON: Duration = Duration::from_secs(240);

/// More steps than any run needs.
const STEPS_MAX: u64 = 2_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// A segment arrived at this side.
    Deliver(usize, Side),
    /// A side asked to be woken.
    Wake(usize, Side),
    /// A side has output left that its driver's budget did not cover.
    Drain(usize, Side),
    /// The auth's answer.
    Answer(usize),
    /// The client's next operation.
    Operate(usize),
    Fault(usize),
    Horizon,
}

pub struct World {
    rng: Rng,
    now: Instant,
    kinds: Kinds,
    settings: Arc<ServerSettings>,
    /// How many requests the auth refuses.
    refused_percent: u64,
    agenda: BinaryHeap<Reverse<(Instant, u64, Action)>>,
    scheduled: u64,
    connections: Vec<Connection>,
    /// Who publishes what: connection and message stream.
    publishers: BTreeMap<StreamKey, usize>,
    players: Vec<Player>,
}

/// An accepted play.
struct Player {
    connection: usize,
    stream_id: u32,
    key: StreamKey,
    paused: bool,
}

/// Runs one seed and gives what occurred.
pub fn run(seed: u64) -> Kinds {
    let mut rng = Rng::new(seed);
    let mut settings = ServerSettings { chunk_size_out: rng.pick(&[128, 60_000]), ..Default::default() };
    settings.limits.held_bytes_max = rng.pick(&[100, 1 << 20]);
    let mut world = World::new(rng, settings);
    world.refused_percent = 4;
    for _ in 0..if world.rng.percent(20) { 2 } else { 1 } {
        world.add_random(Role::Publish);
    }
    for _ in 0..world.rng.below(3) {
        world.add_random(Role::Play);
    }
    world.run()
}

/// A publisher and a player, who is there before it; nothing else happens. Gives what occurred.
pub fn run_pair(seed: u64, publisher: Plan, player: Plan) -> Kinds {
    let mut world = World::new(Rng::new(seed), ServerSettings::default());
    world.add(Instant::default(), player);
    world.add(Instant::from_micros(10_000_000), publisher);
    world.run()
}

impl World {
    fn new(rng: Rng, settings: ServerSettings) -> Self {
        Self {
            rng,
            now: Instant::default(),
            kinds: Kinds::default(),
            settings: Arc::new(settings),
            refused_percent: 0,
            agenda: BinaryHeap::new(),
            scheduled: 0,
            connections: Vec::new(),
            publishers: BTreeMap::new(),
            players: Vec::new(),
        }
    }

    fn add(&mut self, start: Instant, plan: Plan) -> usize {
        let index = self.connections.len();
        self.connections.push(Connection::new(&mut self.rng, start, plan, &self.settings));
        self.schedule(start, Action::Drain(index, Side::Client));
        self.schedule(start, Action::Drain(index, Side::Server));
        self.schedule(start, Action::Operate(index));
        index
    }

    fn add_random(&mut self, role: Role) {
        let start = Instant::from_micros(self.rng.below(3_000_000));
        let plan = Plan::random(&mut self.rng, role);
        let index = self.add(start, plan);
        if self.rng.percent(35) {
            let at = start + Duration::from_millis(self.rng.pick(&[1, 10, 100]) * self.rng.below(100));
            self.schedule(at, Action::Fault(index));
        }
    }

    fn run(mut self) -> Kinds {
        self.schedule(Instant::default() + HORIZON, Action::Horizon);
        while let Some(Reverse((at, _, action))) = self.agenda.pop() {
            assert!(self.scheduled < STEPS_MAX, "the run does not settle");
            self.now = at;
            self.step(action);
        }
        self.check_end();
        self.kinds
    }

    fn schedule(&mut self, at: Instant, action: Action) {
        self.scheduled += 1;
        self.agenda.push(Reverse((at.max(self.now), self.scheduled, action)));
    }

    fn step(&mut self, action: Action) {
        match action {
            Action::Deliver(index, side) => self.deliver(index, side),
            Action::Wake(index, side) => self.wake(index, side),
            Action::Drain(index, Side::Server) => self.drain_server(index),
            Action::Drain(index, Side::Client) => self.drain_client(index),
            Action::Answer(index) => self.answer(index),
            Action::Operate(index) => self.operate(index),
            Action::Fault(index) => self.fault(index),
            Action::Horizon => {
                for index in 0..self.connections.len() {
                    self.connections[index].server.close(self.now, CloseReason::Drained);
                    self.drain_server(index);
                    self.connections[index].client.stop(self.now);
                    self.drain_client(index);
                }
            }
        }
    }

    /// Puts bytes on the link away from `side`.
    fn transmit(&mut self, index: usize, side: Side, bytes: Bytes) {
        let arrivals = self.connections[index].pipe_from(side).send(&mut self.rng, self.now, bytes);
        for at in arrivals {
            self.schedule(at, Action::Deliver(index, side.other()));
        }
    }

    fn finish(&mut self, index: usize, side: Side) {
        let arrival = self.connections[index].pipe_from(side).finish(&mut self.rng, self.now);
        arrival.into_iter().for_each(|at| self.schedule(at, Action::Deliver(index, side.other())));
    }

    fn deliver(&mut self, index: usize, side: Side) {
        let now = self.now;
        let connection = &mut self.connections[index];
        if side == Side::Server && !connection.server.is_closed() {
            if !connection.server.wants_bytes() {
                self.kinds.count("server held all it may");
                return; // read on when the answer came
            }
            assert!(connection.server.held_bytes() < connection.held_bytes_max, "more is held than may be");
        }
        let segment = connection.pipe_from(side.other()).receive(now);
        match (segment, side) {
            (None, _) => return,
            (Some(Segment::Bytes(bytes)), Side::Server) => connection.server.handle_bytes(now, bytes),
            (Some(Segment::Bytes(bytes)), Side::Client) => connection.client.handle_bytes(now, bytes),
            (Some(Segment::End), Side::Server) => connection.server.handle_eof(now),
            (Some(Segment::End), Side::Client) => connection.client.handle_eof(now),
        }
        self.step(Action::Drain(index, side));
    }

    fn wake(&mut self, index: usize, side: Side) {
        let now = self.now;
        let connection = &mut self.connections[index];
        if connection.wake_at[side as usize] != Some(now) {
            return; // replaced by another one
        }
        connection.wake_at[side as usize] = None;
        match side {
            Side::Server => connection.server.handle_timeout(now),
            Side::Client => connection.client.handle_timeout(now),
        }
        self.step(Action::Drain(index, side));
    }

    /// Takes outputs up to a random budget.
    fn drain_server(&mut self, index: usize) {
        let budget = self.rng.pick(&[1, 4, usize::MAX, usize::MAX]);
        for _ in 0..budget {
            let Some(output) = self.connections[index].server.poll_output() else {
                return self.check_server(index);
            };
            match output {
                Output::Send(bytes) => self.transmit(index, Side::Server, bytes),
                Output::Event(event) => self.on_server_event(index, event),
                Output::Timeout(at) => self.on_wake_asked(index, Side::Server, at),
                Output::Progress => {}
            }
        }
        self.drain_later(index, Side::Server);
    }

    fn drain_client(&mut self, index: usize) {
        let budget = self.rng.pick(&[1, 4, usize::MAX, usize::MAX]);
        for _ in 0..budget {
            let Some(output) = self.connections[index].client.poll_output() else { return };
            match output {
                ClientOutput::Send(bytes) => self.transmit(index, Side::Client, bytes),
                ClientOutput::Event(event) => self.on_client_event(index, event),
                ClientOutput::Timeout(at) => self.on_wake_asked(index, Side::Client, at),
                ClientOutput::Progress => {}
            }
        }
        self.drain_later(index, Side::Client);
    }

    /// A driver that has used up its budget comes back at once or after others, while more input may arrive.
    fn drain_later(&mut self, index: usize, side: Side) {
        let delay = Duration::from_millis(self.rng.pick(&[0, 0, 20]));
        self.schedule(self.now + delay, Action::Drain(index, side));
    }

    fn on_wake_asked(&mut self, index: usize, side: Side, at: Instant) {
        let at = at.max(self.now);
        self.connections[index].wake_at[side as usize] = Some(at);
        self.schedule(at, Action::Wake(index, side));
    }

    /// What must hold whenever a session has no output left.
    fn check_server(&mut self, index: usize) {
        let connection = &self.connections[index];
        let server = &connection.server;
        match connection.wake_at[Side::Server as usize] {
            Some(at) => assert!(at <= server.next_timeout().max(self.now), "woken too late"),
            None => assert_eq!(server.next_timeout(), Instant::FAR_FUTURE, "never woken"),
        }
        assert!(server.missing_bytes() > 0);
    }

    fn on_server_event(&mut self, index: usize, event: Event) {
        assert!(!self.connections[index].server_done, "{event:?} after Closed");
        match event {
            Event::Connected => self.kinds.count("server connected"),
            Event::PublishRequested(request) => {
                self.kinds.count("server publish requested");
                self.ask(index, request.request, request.stream_id, request.address.key, true);
            }
            Event::PlayRequested(request) => {
                self.kinds.count("server play requested");
                self.ask(index, request.request, request.stream_id, request.address.key, false);
            }
            Event::Media(message) => self.on_media(index, message),
            Event::Stopped { stream_id } => {
                self.kinds.count("server stopped");
                self.stop(index, Some(stream_id));
            }
            Event::Paused { stream_id, paused } => {
                self.kinds.count("server paused");
                let of = |p: &&mut Player| p.connection == index && p.stream_id == stream_id;
                self.players.iter_mut().find(of).expect("a player paused").paused = paused;
            }
            Event::ReceiveAudio { .. } => self.kinds.count("server receive audio"),
            Event::ReceiveVideo { .. } => self.kinds.count("server receive video"),
            Event::Tolerated(oddity) => self.kinds.count(format!("server tolerated {}", oddity.label())),
            Event::Closed { reason, linger } => {
                self.kinds.count(format!("server closed {}", label(&reason)));
                self.kinds.count(format!("server closed, linger {linger}"));
                let counters = self.connections[index].server.counters().clone();
                if counters.pings_sent > 0 {
                    self.kinds.count("server pinged");
                }
                if counters.round_trip.is_some() {
                    self.kinds.count("server round trip measured");
                }
                if counters.acknowledgements_sent > 0 {
                    self.kinds.count("server acknowledged");
                }
                self.stop(index, None);
                self.connections[index].server_done = true;
                self.finish(index, Side::Server);
            }
        }
    }

    fn ask(&mut self, index: usize, request: RequestId, stream_id: u32, key: StreamKey, publish: bool) {
        let question = Question { request, stream_id, key, publish };
        assert!(self.connections[index].question.replace(question).is_none(), "one question at a time");
        let delay = Duration::from_millis(self.rng.pick(&[0, 0, 100, 3_000]));
        self.schedule(self.now + delay, Action::Answer(index));
    }

    fn answer(&mut self, index: usize) {
        let now = self.now;
        let refused = self.rng.percent(self.refused_percent);
        let connection = &mut self.connections[index];
        let Some(question) = connection.question.take() else { return };
        let taken = question.publish && self.publishers.contains_key(&question.key);
        if taken || refused {
            let rejection = match question.publish {
                _ if taken => Rejection::already_published(),
                true => Rejection::publish_denied("not today"),
                false => Rejection { close: self.rng.percent(50), ..Rejection::play_denied("not today") },
            };
            connection.lossless = false;
            connection.server.reject(now, question.request, rejection);
        } else if question.publish {
            connection.server.accept_publish(now, question.request);
            if connection.server.is_publishing() {
                connection.publishing = true;
                self.publishers.insert(question.key.clone(), index);
                self.notify(&question.key, Notice::PublishNotify);
            }
        } else {
            connection.server.accept_play(now, question.request);
            if connection.server.is_playing() {
                let (connection, stream_id, key) = (index, question.stream_id, question.key);
                self.players.push(Player { connection, stream_id, key, paused: false });
            }
        }
        self.drain_server(index);
        // What was left unread while the answer was awaited.
        for _ in 0..self.connections[index].pipe_from(Side::Client).waiting(now) {
            self.schedule(now, Action::Deliver(index, Side::Server));
        }
    }

    fn notify(&mut self, key: &StreamKey, notice: Notice) {
        let told: Vec<_> =
            self.players.iter().filter(|p| p.key == *key).map(|p| (p.connection, p.stream_id)).collect();
        for (connection, stream_id) in told {
            self.connections[connection].server.notify(self.now, stream_id, notice);
            self.drain_server(connection);
        }
    }

    /// An accepted publish or play ended; all of the connection's, without a stream.
    fn stop(&mut self, index: usize, stream_id: Option<u32>) {
        let before = self.players.len();
        self.players.retain(|p| p.connection != index || stream_id.is_some_and(|id| id != p.stream_id));
        let plays = self.players.len() < before;
        assert!(plays || stream_id.is_none() || self.connections[index].publishing, "nothing to stop");
        if !plays && self.connections[index].publishing {
            self.connections[index].publishing = false;
            let key = self
                .publishers
                .iter()
                .find(|(_, publisher)| **publisher == index)
                .map(|(key, _)| key.clone());
            let key = key.expect("a publisher has a key");
            self.publishers.remove(&key);
            self.notify(&key, Notice::UnpublishNotify);
        }
        self.connections[index].question = None;
    }

    fn on_media(&mut self, index: usize, message: MediaMessage) {
        self.kinds.count("server media");
        assert!(self.connections[index].publishing, "media of a stream that was not accepted");
        self.connections[index].on_media_arrived(&message);
        let key =
            self.publishers.iter().find(|(_, publisher)| **publisher == index).map(|(key, _)| key.clone());
        let to: Vec<_> = self
            .players
            .iter()
            .filter(|player| !player.paused && Some(&player.key) == key.as_ref())
            .map(|player| (player.connection, player.stream_id))
            .collect();
        for (player, stream_id) in to {
            // What the session has said so far goes first.
            self.flush(player);
            let connection = &mut self.connections[player];
            let header = MessageHeader { timestamp: message.timestamp, type_id: message.type_id, stream_id };
            let wire = WireHeaders::new(&header, message.payload.len(), connection.chunk_size_to_client);
            let mut bytes = bytes::BytesMut::new();
            wire.write_to(&message.payload, &mut bytes);
            connection.server.on_bytes_sent(self.now, bytes.len() as u64);
            connection.passed_on.push_back(Item::of(
                message.type_id,
                message.timestamp,
                &message.payload.to_bytes(),
            ));
            self.transmit(player, Side::Server, bytes.freeze());
        }
    }

    /// Takes all outputs, whatever the budget.
    fn flush(&mut self, index: usize) {
        while let Some(output) = self.connections[index].server.poll_output() {
            match output {
                Output::Send(bytes) => self.transmit(index, Side::Server, bytes),
                Output::Event(event) => self.on_server_event(index, event),
                Output::Timeout(at) => self.on_wake_asked(index, Side::Server, at),
                Output::Progress => {}
            }
        }
    }

    fn on_client_event(&mut self, index: usize, event: ClientEvent) {
        let connection = &mut self.connections[index];
        assert!(!connection.client_done, "{event:?} after Closed");
        match event {
            ClientEvent::Connected => self.kinds.count("client connected"),
            ClientEvent::Ready => {
                let again = std::mem::replace(&mut connection.was_ready, true);
                self.kinds.count(if again { "client ready again" } else { "client ready" });
            }
            ClientEvent::Status(_) => self.kinds.count("client status"),
            ClientEvent::Ended => self.kinds.count("client ended"),
            ClientEvent::Media(message) => {
                if connection.on_media_received(&message) {
                    self.kinds.count("client media");
                }
            }
            ClientEvent::Closed { reason } => {
                let label = match &reason {
                    ClientCloseReason::Error(Error::PeerMisbehaved(error @ PeerMisbehaved::Deadline(_))) => {
                        format!("deadline: {error}")
                    }
                    reason => reason.label().to_string(),
                };
                self.kinds.count(format!("client closed {label}"));
                connection.client_done = true;
                connection.client_reason = Some(reason);
                self.finish(index, Side::Client);
            }
        }
    }

    fn operate(&mut self, index: usize) {
        let delay = self.connections[index].operate(self.now);
        self.drain_client(index);
        let bytes = self.connections[index].media_out.split().freeze();
        self.transmit(index, Side::Client, bytes);
        if let Some(delay) = delay {
            self.schedule(self.now + delay, Action::Operate(index));
        }
    }

    fn fault(&mut self, index: usize) {
        const CLOSES: &[CloseReason] = &[
            CloseReason::Kicked,
            CloseReason::Drained,
            CloseReason::Replaced,
            CloseReason::Overload,
            CloseReason::Hopeless,
            CloseReason::Io,
        ];
        self.connections[index].lossless = false;
        match self.rng.below(5) {
            0 => {
                self.kinds.count("link cut");
                for side in [Side::Server, Side::Client] {
                    let at = self.connections[index].pipe_from(side).cut(&mut self.rng, self.now);
                    self.schedule(at, Action::Deliver(index, side.other()));
                }
            }
            1 => {
                self.kinds.count("link silent up");
                self.connections[index].pipe_from(Side::Client).fall_silent_after(0);
            }
            2 => {
                self.kinds.count("link silent down");
                self.connections[index].pipe_from(Side::Server).fall_silent_after(0);
            }
            3 => {
                self.kinds.count("link corrupted");
                let side = self.rng.pick(&[Side::Server, Side::Client]);
                self.connections[index].corrupted[side as usize] = true;
                self.connections[index].pipe_from(side).corrupt_next();
            }
            _ => {
                let reason = self.rng.pick(CLOSES);
                self.connections[index].server.close(self.now, reason);
                self.drain_server(index);
            }
        }
    }

    fn check_end(&mut self) {
        assert!(self.publishers.is_empty() && self.players.is_empty());
        for connection in &self.connections {
            connection.check_end();
        }
    }
}

fn label(reason: &CloseReason) -> String {
    match reason {
        CloseReason::Error(Error::PeerMisbehaved(error @ PeerMisbehaved::Deadline(_))) => {
            format!("deadline: {error}")
        }
        reason => reason.label().to_string(),
    }
}

/// Data that the server itself sends to players.
pub fn is_servers_own(message: &MediaMessage) -> bool {
    let (prefix, len) = message.payload.prefix::<20>();
    message.type_id == type_id::DATA_AMF0
        && [&b"\x02\x00\x11|RtmpSampleAccess"[..], b"\x02\x00\x08onStatus"]
            .iter()
            .any(|own| prefix[..len].starts_with(own))
}
