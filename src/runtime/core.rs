//! One core's state, and what happens to it: nothing here waits.
//!
//! The tasks of the core ([`super::accepting`], [`super::reading`], [`super::polling`], [`super::fan_out`], [`super::writing`],
//! [`super::turn`]) borrow it for one step at a time and never across an await. Sessions, hub and sockets meet here: what a session asks for
//! becomes a call on the hub, what the hub has for subscribers is the fan-out's, what concerns another core goes to that core's inbox.
//! # Errors
//! A session's error closes its connection alone, with its reason counted and logged once. A panic is a defect: every step of every
//! task runs under [`Core::guarded`] or [`Core::caught`], which count and log it; it costs the connection it happened in, never a task.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tracing::{debug, error, info, warn};

use super::connection::{Activity, CLOSE_TIME_MAX, Connection, ConnectionKey, Phase, Writing};
use super::dialed::{self, Made};
use super::draining::Draining;
use super::fan_out::FanOut;
use super::histogram::Histograms;
use super::inbox::ToCore;
use super::listener::Listener;
use super::observe::Counts;
use super::op::SendBatch;
use super::peer::Peer;
use super::polling::Polling;
use super::pre_publish::{self, Pending};
use super::recording_file::About;
use super::shared::{Labelled, Shared};
use super::signal::Signal;
use super::tls::handshakes::Handshakes;
use super::{reading, recordings, socket, writing};
use crate::hub::{CoreId, Hub, HubEvent, HubSettings, Queued, SubscriberKey};
use crate::rtmp::{Error, PeerMisbehaved};
use crate::session::{ClientOutput, CloseReason, Event, Instant, MediaMessage, Output};

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
    /// Subscribers that the hub has given up on, to be closed at the next sweep.
    hopeless: Vec<ConnectionKey>,
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
        let polling = Polling::new(shared.settings.latency_budget);
        let tls = &shared.settings.tls;
        let handshakes = Handshakes::new(tls.handshakes_max, tls.handshake_percent_max);
        Self {
            id,
            shared,
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

    /// Ends a connection whose session can no longer be trusted.
    fn abandon(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connection(key) else { return };
        error!(connection = connection.id.0, peer = %connection.peer, "panic in a session: its connection is closed");
        connection.phase = Phase::Shut;
        connection.close_reason.get_or_insert(CloseReason::Fault);
        if matches!(connection.writing, Writing::InFlight) {
            // The panic may have been between the begin of a send and the send, and the writer would wait for ever. A send that is in
            // flight all the same owns what it needs.
            connection.writing = Writing::Rests(SendBatch::new());
        }
        socket::shut_both(&connection.socket);
        connection.wake_writer.raise();
        connection.resume_reading.raise();
        let served = connection.tasks > 0;
        self.detach(key);
        if !served {
            self.remove(key);
        }
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

    /// One of the connection's tasks has ended; with the last one the connection goes.
    pub(crate) fn on_task_ended(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connection(key) else { return };
        connection.tasks -= 1;
        connection.resume_reading.raise();
        connection.wake_writer.raise();
        if connection.tasks == 0 && !matches!(connection.activity, Activity::Moving { .. }) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: ConnectionKey) {
        self.detach(key);
        let Some((_, mut connection)) = self.connections.try_remove(key.index as usize) else { return };
        self.uncount(&connection);
        let reason = connection.close_reason.take().unwrap_or(CloseReason::Io);
        self.log_summary(&connection, &reason);
        match connection.session {
            Peer::Accepted(_) => {
                self.counts.closed += 1;
                if connection.has_failed(&reason) {
                    connection.place.fail(self.now());
                }
                self.count("close_reason", reason.label());
                let encoder = self.encoder_of(&connection);
                self.count("encoder_session", encoder.label());
            }
            Peer::Made(outgoing) => {
                // Whoever hears of the end may rely on the socket being closed.
                drop(connection.socket);
                self.on_made_removed(key, &outgoing, reason);
            }
        }
        self.end_if_stopped();
    }

    /// The one line that tells a session's whole story.
    fn log_summary(&self, connection: &Connection, reason: &CloseReason) {
        let seconds = (self.now() - connection.accepted_at).as_secs_f64();
        let (app, stream) = match &connection.stream {
            Some(key) => (key.app(), self.shared.names.hash(key.name())),
            // The app of `connect` may hold the key; only a publish or play tells them apart.
            None => ("", String::new()),
        };
        let totals = &connection.totals;
        macro_rules! say {
            ($level:ident) => {
                $level!(
                    parent: &connection.span,
                    app,
                    stream,
                    role = connection.role.label(),
                    seconds = (seconds * 1000.0).round() / 1000.0,
                    bytes_in = totals.bytes_in,
                    bytes_out = totals.bytes_out,
                    messages_in = totals.messages_in,
                    messages_out = totals.messages_out,
                    dropped = totals.dropped,
                    codecs = connection.codecs,
                    encoder = self.encoder_of(connection).label(),
                    tls = connection.tls().and_then(|tls| tls.info()).map(|info| info.version),
                    reason = reason.label(),
                    "session ended"
                );
            };
        }
        // Those that we make end again and again while their far end is away, and whoever makes them says so.
        if connection.session.is_made() {
            say!(debug);
        } else {
            say!(info);
        }
    }

    /// Counts an event of a labelled family.
    pub(crate) fn count(&mut self, family: &'static str, label: &'static str) {
        *self.labelled.entry((family, label)).or_default() += 1;
        self.labelled_changed = true;
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
            if self.counts.reassembly_bytes > self.shared.settings.core_reassembly_bytes_max as u64
                && held > counted
            {
                // The session lets go of what it holds at once, and tells the peer.
                self.close(key, CloseReason::Overload);
            }
        }
        self.pump_hub();
    }

    /// The core's sum of what pending connections hold follows this one; when it grows over the bound, the greediest of them go.
    pub(crate) fn count_pending(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connection(key) else { return };
        let bytes = connection.pending_bytes();
        let counted = std::mem::replace(&mut connection.counted_pending_bytes, bytes);
        if bytes == counted {
            return;
        }
        self.on_pending_change(counted, bytes);
        if bytes > counted
            && self.counts.pre_publish_bytes > self.shared.settings.pre_publish_bytes_max as u64
        {
            self.shed_pending();
        }
    }

    fn on_pending_change(&mut self, from: usize, to: usize) {
        let counts = &mut self.counts;
        counts.pre_publish_bytes = (counts.pre_publish_bytes + to as u64).saturating_sub(from as u64);
        counts.pre_publish = (counts.pre_publish + u64::from(to > 0)).saturating_sub(u64::from(from > 0));
    }

    /// A connection leaves this core: what was counted of it leaves the sums.
    pub(crate) fn uncount(&mut self, connection: &Connection) {
        self.counts.reassembly_bytes =
            self.counts.reassembly_bytes.saturating_sub(connection.counted_bytes as u64);
        self.on_pending_change(connection.counted_pending_bytes, 0);
    }

    /// Ends the greediest of those that neither publish nor play, without a word: what they hold is wanted back at once.
    fn shed_pending(&mut self) {
        let (now, bytes_max) = (self.now(), self.shared.settings.pre_publish_bytes_max);
        let keys = self.keys_where(|connection| connection.pending_bytes() > 0);
        let mut pending = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(connection) = self.connection(key) else { continue };
            // Answers that were written since are still counted.
            let bytes = connection.pending_bytes();
            let counted = std::mem::replace(&mut connection.counted_pending_bytes, bytes);
            pending.push(Pending { key, bytes, age: now - connection.pending_since });
            self.on_pending_change(counted, bytes);
        }
        if self.counts.pre_publish_bytes <= bytes_max as u64 {
            return;
        }
        for key in pre_publish::to_shed(pending, pre_publish::target_bytes(bytes_max)) {
            self.counts.pre_publish_shed += 1;
            if let Some(connection) = self.connection(key) {
                connection.session.close(now, CloseReason::Overload);
            }
            self.shut(key, CloseReason::Overload);
            if let Some(connection) = self.connection(key) {
                connection.control = VecDeque::new();
                connection.control_bytes = 0;
                let counted = std::mem::take(&mut connection.counted_pending_bytes);
                self.on_pending_change(counted, 0);
            }
        }
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
                return self.close(key, CloseReason::Drained);
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

    /// Begins the end of a connection: what is queued still goes out.
    pub(crate) fn begin_close(
        &mut self,
        key: ConnectionKey,
        reason: CloseReason,
        linger: bool,
        now: Instant,
    ) {
        let Some(connection) = self.connection(key) else { return };
        if connection.phase != Phase::Open {
            return;
        }
        connection.phase = Phase::Flushing { linger };
        // One that was to end anyway gets no more time for it.
        connection.give_up_at = connection.give_up_at.min(now + CLOSE_TIME_MAX);
        connection.wake_writer.raise();
        connection.resume_reading.raise();
        self.give_reason(key, reason);
        self.detach(key);
    }

    /// The first reason of a connection's end is the one that counts; an error is logged once.
    fn give_reason(&mut self, key: ConnectionKey, reason: CloseReason) {
        let Some(connection) = self.connection(key).filter(|connection| connection.close_reason.is_none())
        else {
            return;
        };
        connection.close_reason = Some(reason);
        if let CloseReason::Error(error) = reason {
            // Whoever makes connections says what became of them, and how often in a row.
            if connection.session.is_made() {
                debug!(parent: &connection.span, error = %error, kind = error.label(), "closes the connection");
            } else {
                warn!(parent: &connection.span, error = %error, kind = error.label(), "closes the connection");
            }
            if let Some(connection) = self.connection_ref(key)
                && !connection.session.is_made()
            {
                let encoder = self.encoder_of(connection);
                self.count("session_error", error.label());
                self.count("encoder_error", encoder.label());
                self.record(key, error);
            }
        }
    }

    /// Hands over what the connection's flight recorder has, if there is one.
    fn record(&mut self, key: ConnectionKey, error: Error) {
        let shared = Arc::clone(&self.shared);
        let Some(recordings) = &shared.recordings else { return };
        let now = self.now();
        let Some(connection) = self.connection(key) else { return };
        let Some(session) = connection.session.server_mut() else { return };
        let became = recordings.offer(now, error.label(), || {
            let about = About {
                engine: env!("CARGO_PKG_VERSION").into(),
                unix_ms: recordings::unix_ms(),
                connection: connection.id.0,
                peer: connection.peer.to_string(),
                flash_ver: session.connect_info().map(|info| info.flash_ver.clone()),
                kind: error.label().into(),
                fault: error.to_string(),
            };
            session.take_recording().map(|recording| (about, recording))
        });
        self.count("recording", became);
    }

    /// Closes a connection for a reason of ours, telling the peer where the protocol can.
    pub(crate) fn close(&mut self, key: ConnectionKey, reason: CloseReason) {
        let now = self.now();
        let Some(connection) = self.connection(key).filter(|connection| connection.phase == Phase::Open)
        else {
            return;
        };
        if matches!(connection.activity, Activity::Moving { .. }) {
            // Its writer has ended, or is about to: nobody is left to say farewell.
            return self.shut(key, reason);
        }
        connection.session.close(now, reason);
        if connection.session.is_made() {
            // Its session only knows that it is stopped. Nothing that is said reaches one who does not read.
            if reason == CloseReason::Hopeless {
                return self.shut(key, reason);
            }
            self.give_reason(key, reason);
        }
        self.drive(key);
    }

    /// Ends a connection without waiting for anything but its operations.
    pub(crate) fn shut(&mut self, key: ConnectionKey, reason: CloseReason) {
        let Some(connection) = self.connection(key) else { return };
        connection.phase = Phase::Shut;
        socket::shut_both(&connection.socket);
        connection.wake_writer.raise();
        connection.resume_reading.raise();
        self.give_reason(key, reason);
        self.detach(key);
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

    /// Readers that the hub has given up on.
    pub(crate) fn close_hopeless(&mut self) {
        for key in std::mem::take(&mut self.hopeless) {
            self.close(key, CloseReason::Hopeless);
        }
    }

    /// Deals with a message of another core or of the control HTTP.
    pub(crate) fn on_message(core: &CoreRef, message: ToCore) {
        match message {
            ToCore::Arrive(moved) => super::moving::arrive(core, *moved),
            ToCore::TakeOver(dialed) => dialed::take_over(core, *dialed),
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
            ToCore::Arrive(_) | ToCore::TakeOver(_) => {
                unreachable!("they start tasks, so they have their own way in")
            }
            ToCore::HangUp(id) => self.hang_up(id),
            ToCore::Ask(ask) => self.answer(ask),
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
