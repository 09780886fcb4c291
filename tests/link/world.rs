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
use inrush::session::{CloseReason, Instant, Role, ServerSettings, StreamKey};

use super::connection::{Connection, Plan, Side};
use super::kinds::Kinds;
use crate::simulation::pipe::Segment;
use crate::simulation::rng::Rng;

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
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) kinds: Kinds,
    pub(super) settings: Arc<ServerSettings>,
    /// How many requests the auth refuses.
    pub(super) refused_percent: u64,
    agenda: BinaryHeap<Reverse<(Instant, u64, Action)>>,
    scheduled: u64,
    pub(super) connections: Vec<Connection>,
    /// The connection that publishes each key.
    pub(super) publishers: BTreeMap<StreamKey, usize>,
    pub(super) players: Vec<Player>,
}

/// An accepted play.
pub(super) struct Player {
    pub(super) connection: usize,
    pub(super) stream_id: u32,
    pub(super) key: StreamKey,
    pub(super) paused: bool,
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

    pub(super) fn schedule(&mut self, at: Instant, action: Action) {
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
    pub(super) fn transmit(&mut self, index: usize, side: Side, bytes: Bytes) {
        let arrivals = self.connections[index].pipe_from(side).send(&mut self.rng, self.now, bytes);
        for at in arrivals {
            self.schedule(at, Action::Deliver(index, side.other()));
        }
    }

    pub(super) fn finish(&mut self, index: usize, side: Side) {
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
            CloseReason::Reset,
            CloseReason::Io,
        ];
        self.connections[index].lossless = false;
        match self.rng.below(6) {
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
            4 => {
                let tc_url = self.rng.pick(&[None, Some("rtmp://other/live"), Some("/live")]);
                if self.connections[index].server.request_reconnect(self.now, tc_url) {
                    self.kinds.count("server asked to reconnect");
                }
                self.drain_server(index);
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
