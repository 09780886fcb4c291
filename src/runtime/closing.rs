//! How a connection ends: who ends it, with which reason, and what is said and counted of it then.
//!
//! ```text
//! Core::close         for a reason of ours; the session tells the peer where the protocol can
//! Core::begin_close   the session, or somebody for it, has said the last word: it still goes out
//! Core::shut          nothing more goes out; operations in flight come back
//! Core::abandon       after a panic: like shut, and the session is not touched any more
//! ```
//!
//! All end in [`Core::on_task_ended`]: the last of a connection's tasks takes it out of the slab. How far an end has come is its
//! [`Phase`]; what the hub and the outside are told of it is [`Core::detach`]'s.
//! # Invariant
//! The first reason counts. An error is logged, counted and offered to the flight recorder when it becomes the reason, and a connection has
//! one line and one count when it has gone; of those that we make, whoever makes them counts.
//! # Bounds
//! The time for an end: [`CLOSE_TIME_MAX`].

use std::sync::Arc;

use tracing::{debug, error, info, warn};

use super::connection::{Activity, CLOSE_TIME_MAX, Connection, ConnectionKey, Phase, Writing};
use super::core::Core;
use super::op::SendBatch;
use super::peer::Peer;
use super::recording_file::About;
use super::{recordings, socket};
use crate::rtmp::Error;
use crate::session::{CloseReason, Instant};

impl Core {
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

    /// Ends a connection whose session can no longer be trusted.
    pub(crate) fn abandon(&mut self, key: ConnectionKey) {
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

    /// Readers that the hub has given up on.
    pub(crate) fn close_hopeless(&mut self) {
        for key in std::mem::take(&mut self.hopeless) {
            self.close(key, CloseReason::Hopeless);
        }
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
                self.count_moved(&connection, reason);
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

    /// The first reason of a connection's end is the one that counts; an error is logged once.
    fn give_reason(&mut self, key: ConnectionKey, reason: CloseReason) {
        let Some(connection) = self.connection(key).filter(|connection| connection.close_reason.is_none())
        else {
            return;
        };
        connection.close_reason = Some(reason);
        if let CloseReason::OverLimit(excess) = reason {
            info!(parent: &connection.span, limit = excess.label(), %excess, "ends a session over its limit");
        }
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
}
