//! The end of an engine, in good order: the drain, and the stop that ends it.
//!
//! ```text
//! drain begins                listeners close, new publishes are refused; whoever understands is asked to connect again
//! its last quarter            each publisher is closed in front of its next key frame, one without video at once
//! its end                     publishers that are left are closed wherever they are
//! no publisher any more       stop: players get what is queued for them, and everybody is closed
//! ```
//!
//! Connections that we made end with their streams: a forward has what is queued for it, as a player has, and a pull is cut like a publisher,
//! but not waited for.
//!
//! So a publisher that knows `NetConnection.Connect.ReconnectRequest` (E-RTMP v2 "Reconnect Request") has three quarters of the drain to
//! leave at a key frame of its own choice, and of every other the last group of pictures is whole. Key frames of different encoders come
//! at different times, which spreads their return.
//! # Bounds
//! A drain lasts at most its deadline and [`DRAIN_OVERTIME`], the stop after it [`LAST_FRAMES_MAX`] more than the closing of connections.
//! Each pass over the connections is the sweep's, ten times a second, and costs nothing while no drain is on.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::connection::{Activity, Connection, ConnectionKey};
use super::core::Core;
use super::handle::tell_all;
use super::inbox::ToCore;
use super::observe::{DrainFigures, RoleCounts};
use crate::hub::{CoreId, PublisherKey};
use crate::media::video_tag::VideoTag;
use crate::media::{FrameRole, VIDEO_SILENT_MAX};
use crate::session::{CloseReason, Instant, MediaKind, MediaMessage, ServerSession};

/// Longest deadline that a drain can be given.
pub const DRAIN_DEADLINE_MAX: Duration = Duration::from_secs(86_400);

/// The part of a drain, its last one, in which publishers are closed at their next key frame.
pub(super) const CUTTING_PART: u32 = 4;

/// How long after a drain's deadline the first core waits for the others to have closed their publishers.
pub(super) const DRAIN_OVERTIME: Duration = Duration::from_secs(1);

/// No publisher may be left for so long before the stop: what the last one sent is then on its way to players on all cores.
const SETTLING_TIME: Duration = Duration::from_millis(100);

/// How long a player may take for what is still queued for it when everything stops.
const LAST_FRAMES_MAX: Duration = Duration::from_secs(2);

/// How far one core is with the drain and the stop.
#[derive(Debug, Default)]
pub(crate) struct Draining {
    /// Publishers are closed at their next key frame.
    pub(crate) cuts: bool,
    /// Since when no publisher is left, as the first core saw it.
    settled_since: Option<Instant>,
    /// When the stop no longer waits for players.
    players_end_at: Option<Instant>,
    /// Whether it has begun here, and with whom is counted.
    has_begun: bool,
    /// What it has come to here; who is left is counted when somebody asks.
    figures: DrainFigures,
}

impl Core {
    /// Takes no new connections, and asks those that understand to connect again.
    pub(crate) fn begin_drain(&mut self) {
        if !std::mem::replace(&mut self.draining.has_begun, true) {
            self.draining.figures.began_with = self.role_counts();
        }
        self.stop_listening();
        self.ask_to_reconnect();
    }

    /// What the time brings to a core that drains or stops.
    pub(crate) fn sweep_drain(&mut self, now: Instant) {
        if self.stopping {
            return self.close_served_players(now);
        }
        if !self.shared.is_draining() {
            return;
        }
        // Those that have connected, or come from another core, since.
        self.ask_to_reconnect();
        self.draining.cuts = self.shared.is_cutting(now);
        if self.shared.is_drain_over(now) {
            self.draining.figures.closed_at_deadline += self.close_publishers(|_, _| true);
        } else if self.draining.cuts {
            let silent = self.close_publishers(|core, publisher| !core.shows_pictures(publisher, now));
            self.draining.figures.closed_without_video += silent;
        }
        self.end_drain(now);
    }

    /// Closes a publisher in front of a key frame.
    pub(crate) fn cut(&mut self, key: ConnectionKey) {
        self.draining.figures.closed_at_key_frame += 1;
        self.close(key, CloseReason::Drained);
    }

    /// Counts who has followed the request to connect again, as its connection goes: whom we close has not.
    pub(crate) fn count_moved(&mut self, connection: &Connection, reason: CloseReason) {
        let was_told = connection.session.server().is_some_and(ServerSession::was_asked_to_reconnect);
        if was_told && matches!(reason, CloseReason::Eof | CloseReason::Reset) {
            self.draining.figures.moved += 1;
        }
    }

    /// What the drain has come to here, and who is left.
    pub(crate) fn drain_figures(&self) -> DrainFigures {
        DrainFigures { left: self.role_counts(), ..self.draining.figures }
    }

    /// Connections that are open, by what they are there for.
    fn role_counts(&self) -> RoleCounts {
        let mut counts = RoleCounts::default();
        for (_, (_, connection)) in &self.connections {
            if connection.is_open() {
                counts.add(self.role_of(connection));
            }
        }
        counts
    }

    /// Whether the message is where a publisher's stream is cut: a key frame of the video track that leads it.
    pub(crate) fn is_cut(&self, publisher: PublisherKey, message: &MediaMessage) -> bool {
        if message.kind != MediaKind::Video {
            return false;
        }
        let Ok(tag) = VideoTag::parse(&message.payload) else { return false };
        if tag.role() != FrameRole::Key {
            return false;
        }
        // A lower track than the one that leads takes over with its key frame.
        let lead = self.hub.publisher(publisher).and_then(|view| view.ingest().lead(MediaKind::Video));
        lead.is_none_or(|lead| tag.bodies.spans(&message.payload).any(|span| span.track <= lead))
    }

    /// Asks each connection that understands, once in its life, to connect again: where the settings say, or here.
    fn ask_to_reconnect(&mut self) {
        let now = self.now();
        let settings = Arc::clone(&self.settings);
        let url = settings.reconnect_url.as_ref();
        let understands = |connection: &Connection| {
            connection.is_open()
                && connection.session.server().is_some_and(ServerSession::can_request_reconnect)
        };
        for key in self.keys_where(understands) {
            let Some(connection) = self.connection(key) else { continue };
            let Some(session) = connection.session.server_mut() else { continue };
            let app = session.connect_info().map_or("", |info| &info.app);
            let tc_url = url.map(|url| url.tc_url(app));
            if session.request_reconnect(now, tc_url.as_deref()) {
                self.counts.reconnect_requests += 1;
                self.draining.figures.told += 1;
                self.drive(key);
            }
        }
    }

    /// Closes those that are due, and says how many they are.
    fn close_publishers(&mut self, is_due: impl Fn(&Self, PublisherKey) -> bool) -> u64 {
        let publishes = |connection: &Connection| match connection.activity {
            Activity::Publishing { publisher, .. } => is_due(self, publisher),
            _ => false,
        };
        let due = self.keys_where(publishes);
        for key in &due {
            self.close(*key, CloseReason::Drained);
        }
        due.len() as u64
    }

    /// Whether a key frame can be waited for: a camera that has gone off sends none.
    fn shows_pictures(&self, publisher: PublisherKey, now: Instant) -> bool {
        let picture_at = self.hub.publisher(publisher).and_then(|view| view.ingest().picture_at());
        picture_at.is_some_and(|at| now - at <= VIDEO_SILENT_MAX)
    }

    /// The first core watches for the end of a drain and tells all others.
    fn end_drain(&mut self, now: Instant) {
        if self.id != CoreId(0) {
            return;
        }
        if !self.shared.has_drained(now) {
            self.draining.settled_since = None;
            return;
        }
        let since = *self.draining.settled_since.get_or_insert(now);
        if now - since >= SETTLING_TIME && self.shared.begin_stop() {
            info!("drained: stops");
            tell_all(&self.shared, || ToCore::Stop { at_once: false });
        }
    }

    /// Takes no new connections.
    fn stop_listening(&mut self) {
        for listener in self.listeners.drain(..) {
            listener.end();
        }
    }

    /// Closes everything; the core ends when nothing is left. Unless it is to be at once, players first get what is queued for them.
    pub(crate) fn begin_stop(&mut self, at_once: bool) {
        self.stopping = true;
        self.begin_drain();
        let now = self.now();
        self.hub.end_graces(now);
        self.pump_hub();
        self.draining.players_end_at = Some(if at_once { self.now() } else { self.now() + LAST_FRAMES_MAX });
        for key in self.keys_where(|_| true) {
            if at_once || !self.is_owed_frames(key) {
                self.close(key, CloseReason::Drained);
            }
        }
        self.end_if_stopped();
    }

    fn close_served_players(&mut self, now: Instant) {
        let is_over = self.draining.players_end_at.is_none_or(|end| now >= end);
        for key in self.keys_where(Connection::is_open) {
            if is_over || !self.is_owed_frames(key) {
                self.close(key, CloseReason::Drained);
            }
        }
    }

    fn is_owed_frames(&self, key: ConnectionKey) -> bool {
        self.connection_ref(key).is_some_and(|connection| match &connection.activity {
            Activity::Playing(playing) => playing.iter().any(|one| self.hub.has_queued(one.subscriber)),
            _ => false,
        })
    }

    /// Raises [`Core::ended`] when the core was told to stop and has nothing left.
    pub(crate) fn end_if_stopped(&mut self) {
        if self.stopping && self.connections.is_empty() && self.accepting == 0 {
            self.ended.raise();
        }
    }
}
