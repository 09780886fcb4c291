//! One core's state, and what happens to it: nothing here waits.
//!
//! The tasks of the core ([`super::accepting`], [`super::reading`], [`super::polling`], [`super::fan_out`], [`super::writing`],
//! [`super::turn`]) borrow it for one step at a time and never across an await. Sessions, hub and sockets meet here: what a session asks for
//! becomes a call on the hub, what the hub has for subscribers is the fan-out's, what concerns another core goes to that core's inbox.
//! # Errors
//! A session's error closes its connection alone, with its reason counted and logged once ([`super::closing`]). A panic is a defect: every
//! step of every task runs under [`Core::guarded`] or [`Core::caught`], which count and log it; it costs the connection it happened in,
//! never a task.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tracing::{debug, error, warn};

use super::connection::{Activity, Connection, ConnectionKey};
use super::dialed::{self, Made};
use super::draining::Draining;
use super::fan_out::FanOut;
use super::histogram::Histograms;
use super::inbox::ToCore;
use super::listener::Listener;
use super::observe::Counts;
use super::peer::Peer;
use super::polling::Polling;
use super::settings::RuntimeSettings;
use super::shared::{InForce, Labelled, Shared};
use super::signal::Signal;
use super::tcp_info::TcpRound;
use super::tls::handshakes::Handshakes;
use super::{reading, reloading, writing};
use crate::hub::{CoreId, Hub, HubEvent, HubSettings, Queued, SubscriberKey};
use crate::rtmp::PeerMisbehaved;
use crate::session::{ClientOutput, CloseReason, Event, Instant, MediaMessage, Output, ServerSettings};

/// Outputs of one session that are dealt with before others get their turn.
pub(crate) const OUTPUTS_PER_TURN: usize = 256;

/// Frames queued for subscribers that cost as much as one output: a message with 300 players is dear.
const FRAMES_PER_OUTPUT: u64 = 16;

/// Outputs that an accepted request may still produce, so that its answer is queued before its first frame.
const OUTPUTS_PER_ANSWER: usize = 16;

/// A single step that takes longer is a stall: everybody else on the core waited for it.
const STALL: Duration = Duration::from_millis(20);

/// The tasks of one core share its state; none holds a borrow while it waits.
pub(crate) type CoreRef = Rc<RefCell<Core>>;

/// One core.
pub(crate) struct Core {
    pub(crate) id: CoreId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Arc<RuntimeSettings>,
    pub(crate) session_settings: Arc<ServerSettings>,
    pub(crate) connections: Slab<(u32, Connection)>,
    pub(crate) hub: Hub,
    pub(crate) counts: Counts,
    pub(crate) histograms: Histograms,
    pub(crate) labelled: Labelled,
    pub(crate) labelled_changed: bool,
    /// Raised when the hub has something for other cores.
    pub(crate) outgoing: Signal,
    /// Which cores the hub was told are congested.
    pub(crate) congested: Vec<bool>,
    /// What was taken out of the inbox and not yet dealt with.
    pub(crate) taken: VecDeque<ToCore>,
    pub(crate) polling: Polling,
    pub(crate) fan_out: FanOut,
    /// Which of the connections we made.
    pub(crate) made: Made,
    pub(crate) handshakes: Handshakes,
    /// Raised when the core was told to stop and has nothing left.
    pub(crate) ended: Signal,
    /// Listeners; empty once the core takes no new connections.
    pub(crate) listeners: Vec<Listener>,
    /// Accept tasks that still run.
    pub(crate) accepting: usize,
    /// When an accept last failed for want of descriptors or memory.
    pub(crate) exhausted_at: Option<Instant>,
    pub(crate) stopping: bool,
    pub(crate) draining: Draining,
    pub(crate) tcp_round: TcpRound,
    /// Subscribers that the hub has given up on, to be closed at the next sweep.
    pub(super) hopeless: Vec<ConnectionKey>,
    next_generation: u32,
    /// Scratch space of the writers' gathering.
    pub(crate) queued: Vec<Queued>,
}

/// How a call of [`Core::drive`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driven {
    /// The session wants more bytes, or has none of our time any more.
    Done,
    /// The budget is used up; there is more.
    Yield,
}

impl Core {
    pub(crate) fn new(id: CoreId, shared: Arc<Shared>) -> Self {
        let hub = Hub::new(HubSettings { core: id, cores: shared.cores() });
        let congested = vec![false; shared.cores()];
        let InForce { settings, session } = shared.in_force();
        let polling = Polling::new(settings.latency_budget);
        let tls = &settings.tls;
        let handshakes = Handshakes::new(tls.handshakes_max, tls.handshake_percent_max);
        Self {
            id,
            shared,
            settings,
            session_settings: session,
            connections: Slab::new(),
            hub,
            counts: Counts::default(),
            histograms: Histograms::default(),
            labelled: Labelled::new(),
            labelled_changed: false,
            outgoing: Signal::default(),
            congested,
            taken: VecDeque::new(),
            polling,
            fan_out: FanOut::default(),
            made: Made::default(),
            handshakes,
            ended: Signal::default(),
            listeners: Vec::new(),
            accepting: 0,
            exhausted_at: None,
            stopping: false,
            draining: Draining::default(),
            tcp_round: TcpRound::default(),
            hopeless: Vec::new(),
            next_generation: 0,
            queued: Vec::new(),
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// The connection, unless it has gone.
    pub(crate) fn connection(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        match self.connections.get_mut(key.index as usize) {
            Some((generation, connection)) if *generation == key.generation => Some(connection),
            _ => None,
        }
    }

    /// The connection, to look at.
    pub(crate) fn connection_ref(&self, key: ConnectionKey) -> Option<&Connection> {
        match self.connections.get(key.index as usize) {
            Some((generation, connection)) if *generation == key.generation => Some(connection),
            _ => None,
        }
    }

    /// Runs one step for one connection; a panic in it is caught here, counted, and ends that connection.
    pub(crate) fn guarded<T>(
        core: &CoreRef,
        key: ConnectionKey,
        step: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let began = core.borrow().now();
        Self::guarded_from(core, key, began, step).0
    }

    /// Like [`Core::guarded`] for one of many steps in a row: it began when the one before ended, and gives its own end for the next,
    /// so that each costs one look at the clock.
    pub(crate) fn guarded_from<T>(
        core: &CoreRef,
        key: ConnectionKey,
        began: Instant,
        step: impl FnOnce(&mut Self) -> T,
    ) -> (Option<T>, Instant) {
        let (done, ended) = Self::caught_from(core, Some(key), began, step);
        if done.is_none() {
            // What the panic left half done may make the end panic as well.
            Self::caught(core, Some(key), |core| core.abandon(key));
        }
        (done, ended)
    }

    /// Runs one step of a task, for a connection or for none; a panic in it is caught and counted, so that the task goes on.
    pub(crate) fn caught<T>(
        core: &CoreRef,
        key: Option<ConnectionKey>,
        step: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let began = core.borrow().now();
        Self::caught_from(core, key, began, step).0
    }

    fn caught_from<T>(
        core: &CoreRef,
        key: Option<ConnectionKey>,
        began: Instant,
        step: impl FnOnce(&mut Self) -> T,
    ) -> (Option<T>, Instant) {
        let result = catch_unwind(AssertUnwindSafe(|| step(&mut core.borrow_mut())));
        let mut core = core.borrow_mut();
        let ended = core.now();
        let took = ended - began;
        if took > STALL {
            core.counts.stalls += 1;
            let id = key.and_then(|key| core.connection(key)).map_or(0, |connection| connection.id.0);
            warn!(core = core.id.0, connection = id, ms = took.as_millis(), "a step stalled the core");
        }
        if result.is_err() {
            core.counts.panics += 1;
            error!(core = core.id.0, "panic in a step of the core");
        }
        (result.ok(), ended)
    }

    /// Adds a connection and starts its two tasks.
    pub(crate) fn insert(core: &CoreRef, connection: Connection) -> ConnectionKey {
        let key = {
            let mut core = core.borrow_mut();
            let generation = core.next_generation;
            core.next_generation = generation.wrapping_add(1);
            let index = core.connections.insert((generation, connection));
            let key = ConnectionKey::new(index, generation);
            if let Some(connection) = core.connection(key) {
                connection.tasks = 2;
            }
            core.count_pending(key);
            key
        };
        tokio_uring::spawn(reading::read(core.clone(), key));
        tokio_uring::spawn(writing::write(core.clone(), key));
        key
    }

    /// Deals with what the session has to say, until it wants more bytes or the budget is used up.
    pub(crate) fn drive(&mut self, key: ConnectionKey) -> Driven {
        let now = self.now();
        self.drive_at(key, now)
    }

    /// Like [`Core::drive`], for a caller that knows the time.
    pub(crate) fn drive_at(&mut self, key: ConnectionKey, now: Instant) -> Driven {
        let mut budget = OUTPUTS_PER_TURN;
        let mut queued_before = self.hub.counters().frames_queued;
        while let Some(connection) = self.connection(key).filter(|connection| connection.is_open()) {
            if budget == 0 {
                self.settle(key);
                return Driven::Yield;
            }
            budget -= 1;
            let is_answered = match &mut connection.session {
                Peer::Accepted(session) => match session.poll_output() {
                    None => break,
                    Some(Output::Timeout(at)) => {
                        connection.session_timeout = at;
                        continue;
                    }
                    Some(Output::Progress) => continue,
                    Some(Output::Send(bytes)) => {
                        self.queue_control(key, bytes, now);
                        continue;
                    }
                    Some(Output::Event(event)) => self.on_event(key, event, now),
                },
                Peer::Made(outgoing) => match outgoing.session.poll_output() {
                    None => break,
                    Some(ClientOutput::Timeout(at)) => {
                        connection.session_timeout = at;
                        continue;
                    }
                    Some(ClientOutput::Progress) => continue,
                    Some(ClientOutput::Send(bytes)) => {
                        self.queue_control(key, bytes, now);
                        continue;
                    }
                    Some(ClientOutput::Event(event)) => {
                        self.on_client_event(key, event, now);
                        false
                    }
                },
            };
            let queued_now = self.hub.counters().frames_queued;
            let queued = queued_now - std::mem::replace(&mut queued_before, queued_now);
            let fan_out = usize::try_from(queued / FRAMES_PER_OUTPUT).unwrap_or(usize::MAX);
            budget = budget.saturating_sub(fan_out);
            if is_answered {
                budget = budget.max(OUTPUTS_PER_ANSWER);
            }
        }
        self.settle(key);
        Driven::Done
    }

    fn queue_control(&mut self, key: ConnectionKey, bytes: Bytes, now: Instant) {
        if let Some(connection) = self.connection(key)
            && !connection.queue_control(bytes)
        {
            self.begin_close(key, CloseReason::Error(PeerMisbehaved::NotReading.into()), false, now);
        }
    }

    /// After a step: the core's sums follow the session, and the hub's events are dealt with.
    fn settle(&mut self, key: ConnectionKey) {
        self.count_pending(key);
        if let Some(connection) = self.connection(key) {
            let held = connection.session.retained_bytes();
            let counted = std::mem::replace(&mut connection.counted_bytes, held);
            self.counts.reassembly_bytes =
                (self.counts.reassembly_bytes + held as u64).saturating_sub(counted as u64);
            if self.counts.reassembly_bytes > self.settings.core_reassembly_bytes_max as u64 && held > counted
            {
                // The session lets go of what it holds at once, and tells the peer.
                self.close(key, CloseReason::Overload);
            }
        }
        self.pump_hub();
    }

    /// Deals with one event; true when it was answered, so that the answer should be fetched at once.
    fn on_event(&mut self, key: ConnectionKey, event: Event, now: Instant) -> bool {
        match event {
            Event::Media(message) => {
                self.on_media(key, message, now);
                false
            }
            Event::Connected => {
                if let Some(connection) = self.connection(key)
                    && let Some(info) = connection.session.connect_info()
                {
                    // Not the app: some encoders have the key in it, and what of it is the app is known from `publish` or `play` on.
                    debug!(parent: &connection.span, flash_ver = info.flash_ver, "connected");
                }
                self.tell_who_connected(key);
                false
            }
            Event::PublishRequested(request) => {
                self.on_publish_requested(key, request, now);
                true
            }
            Event::PlayRequested(request) => {
                self.on_play_requested(key, request, now);
                true
            }
            Event::Stopped { stream_id } => {
                self.stop(key, Some(stream_id), now);
                true
            }
            Event::Paused { stream_id, paused } => {
                self.with_subscriber(key, stream_id, |hub, subscriber| {
                    hub.set_paused(now, subscriber, paused)
                });
                false
            }
            Event::ReceiveAudio { stream_id, receive } => {
                self.with_subscriber(key, stream_id, |hub, subscriber| {
                    hub.set_receive_audio(subscriber, receive);
                });
                false
            }
            Event::ReceiveVideo { stream_id, receive } => {
                self.with_subscriber(key, stream_id, |hub, subscriber| {
                    hub.set_receive_video(subscriber, receive);
                });
                false
            }
            Event::Tolerated(oddity) => {
                self.count("oddity", oddity.label());
                if let Some(connection) = self.connection(key) {
                    debug!(parent: &connection.span, oddity = oddity.label(), "tolerated");
                }
                false
            }
            Event::Closed { reason, linger } => {
                self.begin_close(key, reason, linger, now);
                false
            }
        }
    }

    /// A media message of whoever publishes.
    pub(crate) fn on_media(&mut self, key: ConnectionKey, message: MediaMessage, now: Instant) {
        self.counts.messages_in += 1;
        let Some(connection) = self.connection(key) else { return };
        connection.totals.messages_in += 1;
        if let Activity::Publishing { publisher, .. } = connection.activity {
            if self.draining.cuts && self.is_cut(publisher, &message) {
                return self.cut(key);
            }
            self.hub.ingest(now, publisher, message);
            self.pump_hub();
        }
    }

    fn with_subscriber(
        &mut self,
        key: ConnectionKey,
        stream_id: u32,
        f: impl FnOnce(&mut Hub, SubscriberKey),
    ) {
        let Some(connection) = self.connection(key) else { return };
        if let Activity::Playing(playing) = &connection.activity
            && let Some(one) = playing.iter().find(|playing| playing.reader.stream_id == stream_id)
        {
            let subscriber = one.subscriber;
            f(&mut self.hub, subscriber);
            self.pump_hub();
        }
    }

    /// Deals with what the hub has to say.
    pub(crate) fn pump_hub(&mut self) {
        while let Some(event) = self.hub.poll_event() {
            match event {
                HubEvent::Ready { connection, .. } => self.on_ready(connection.into()),
                HubEvent::Hopeless { connection, .. } => self.hopeless.push(connection.into()),
                HubEvent::StreamGone(key) => self.shared.directory.release(&key, self.id),
                event => self.on_publisher_event(event),
            }
        }
        if self.hub.has_outgoing() {
            self.outgoing.raise();
        }
    }

    /// Deals with a message of another core or of the control HTTP.
    pub(crate) fn on_message(core: &CoreRef, message: ToCore) {
        match message {
            ToCore::Arrive(moved) => super::moving::arrive(core, *moved),
            ToCore::TakeOver(dialed) => dialed::take_over(core, *dialed),
            ToCore::Reload(reload) => reloading::reload(core, *reload),
            ToCore::Verdict(ticket, verdict) => {
                Self::guarded(core, ticket.connection, |core| core.on_verdict(ticket, verdict));
            }
            message => drop(Self::caught(core, None, |core| core.on_told(message))),
        }
    }

    fn on_told(&mut self, message: ToCore) {
        match message {
            ToCore::Mesh { from, messages, bytes } => {
                let now = self.now();
                self.counts.batches_in += 1;
                self.shared.inboxes.on_taken(from, self.id, bytes);
                for message in messages {
                    self.hub.handle_mesh(now, from, message);
                    self.pump_hub();
                }
            }
            ToCore::Arrive(_) | ToCore::TakeOver(_) | ToCore::Reload(_) => {
                unreachable!("they start tasks, so they have their own way in")
            }
            ToCore::HangUp(id) => self.hang_up(id),
            ToCore::Ask(ask) => self.answer(ask),
            ToCore::Revoke(ids) => self.close_all(&ids, CloseReason::Revoked),
            ToCore::Verdict(..) => unreachable!("it concerns a connection, so it is guarded as one"),
            ToCore::Drain => self.begin_drain(),
            ToCore::Stop { at_once } => self.begin_stop(at_once),
        }
    }

    /// The next message for this core, if there is one.
    pub(crate) fn next_message(&mut self) -> Option<ToCore> {
        if self.taken.is_empty() {
            self.shared.inboxes.drain(self.id, &mut self.taken);
        }
        self.taken.pop_front()
    }

    /// Whether nothing is left here and nothing can come any more: no core sends anything now, and what was sent is dealt with.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared.all_cores_done()
            && self.taken.is_empty()
            && self.shared.inboxes.is_empty(self.id)
            && self.connections.is_empty()
    }

    /// The keys of the connections that `wanted` picks, for walks that may remove some.
    pub(crate) fn keys_where(&self, wanted: impl Fn(&Connection) -> bool) -> Vec<ConnectionKey> {
        let picked = self.connections.iter().filter(|(_, (_, connection))| wanted(connection));
        picked.map(|(index, (generation, _))| ConnectionKey::new(index, *generation)).collect()
    }
}
