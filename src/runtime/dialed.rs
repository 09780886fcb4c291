//! What a core does with connections that we made: taking them over, pulling, and their end. Forwarding is [`super::forwarding`]'s.
//!
//! # A pull
//! When media comes, the connection publishes its stream like an encoder: not when the source says yes, which many do for streams that they do
//! not have, and who has nothing may not keep the name from somebody who does. When the stream ends there it is unpublished here, and the
//! connection stays for the next one. It is no publisher that a drain would wait for.
//! # Bounds
//! Beside those of every connection: [`STRAY_BYTES_MAX`] of pictures and sound from a target, [`RECONNECTS_TOLD_MAX`] requests to connect
//! again that floor 5 hears of, [`STATUS_BYTES_MAX`] of each part of what a far end says. One that is to end has [`LEAVING_TIME_MAX`] for
//! what is queued.
//! # Invariant
//! Floor 5 hears [`OutgoingEvent::Closed`] once of each connection that it gave, when its entry and its descriptor are gone, or were never made.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use smallvec::SmallVec;
use tracing::{debug, info};

use super::accepting::span;
use super::buffer::BufferSize;
use super::connection::{Activity, Connection, ConnectionKey, Front, Phase};
use super::core::{Core, CoreRef};
use super::lease::Lease;
use super::observe::Role;
use super::outgoing::{Dialed, OutgoingEnd, OutgoingEvent, OutgoingId, OutgoingInfo, OutgoingState, Task};
use super::outside::{Facts, Grant, News, Totals};
use super::peer::{Outgoing, Peer};
use super::prefixes::Place;
use super::{entropy, socket};
use crate::hub::{self, ConnectionRef};
use crate::media::frame::FRAME_CHUNK_SIZE;
use crate::rtmp::PeerMisbehaved;
use crate::rtmp::command::data_name;
use crate::session::{
    self, ClientCloseReason, ClientEvent, ClientSession, CloseReason, Instant, MediaKind, MediaMessage,
    ServerStatus, StreamKey,
};

/// How long one that is to end may take for what is queued for it: its queue's bound in time, by default, and two seconds to say goodbye.
pub(crate) const LEAVING_TIME_MAX: Duration = Duration::from_secs(5);

/// Pictures and sound that a forward's target may send, bytes: none are asked for. As much as a client may send astray.
pub(crate) const STRAY_BYTES_MAX: u64 = session::server::STRAY_MEDIA_BYTES_MAX;

/// Requests to connect again that floor 5 hears of, a connection: a target that means it says it once.
const RECONNECTS_TOLD_MAX: u8 = 8;

/// Each part of a far end's status that is kept, bytes.
const STATUS_BYTES_MAX: usize = 512;

/// The connections that a core has of those that we made, by name and by the stream that they forward.
#[derive(Debug, Default)]
pub(crate) struct Made {
    by_id: HashMap<OutgoingId, ConnectionKey>,
    forwards: HashMap<StreamKey, SmallVec<[ConnectionKey; 1]>>,
    pulls: usize,
}

impl Made {
    fn insert(&mut self, outgoing: &Outgoing, key: ConnectionKey) {
        self.by_id.insert(outgoing.id, key);
        match outgoing.task {
            Task::Forward { .. } => self.forwards.entry(outgoing.stream.clone()).or_default().push(key),
            Task::Pull => self.pulls += 1,
        }
    }

    fn remove(&mut self, outgoing: &Outgoing, key: ConnectionKey) {
        if let Entry::Occupied(named) = self.by_id.entry(outgoing.id)
            && *named.get() == key
        {
            named.remove();
        }
        match outgoing.task {
            Task::Forward { .. } => {
                if let Entry::Occupied(mut keys) = self.forwards.entry(outgoing.stream.clone()) {
                    keys.get_mut().retain(|other| *other != key);
                    if keys.get().is_empty() {
                        keys.remove();
                    }
                }
            }
            // A panic may have been in between.
            Task::Pull => self.pulls = self.pulls.saturating_sub(1),
        }
    }

    /// Connections that forward.
    pub(crate) fn forwards(&self) -> usize {
        self.by_id.len().saturating_sub(self.pulls)
    }

    /// Connections that pull.
    pub(crate) fn pulls(&self) -> usize {
        self.pulls
    }
}

/// Takes over a connection that was made elsewhere, and starts its tasks.
pub(crate) fn take_over(core: &CoreRef, mut dialed: Dialed) {
    let mut received = std::mem::take(&mut dialed.received);
    let id = dialed.id;
    let Some(prepared) = Core::caught(core, None, |core| core.prepare(dialed)) else {
        // Its socket went with the step; whoever gave it waits to hear so.
        return core.borrow_mut().tell_closed(id, OutgoingEnd::Fault, Totals::default());
    };
    let Some(connection) = prepared else { return };
    let key = Core::insert(core, connection);
    // The reader begins with what is left of it.
    Core::guarded(core, key, |core| core.begin_made(key, &mut received));
}

impl Core {
    /// A connection's entry; `None` when it cannot be had, which floor 5 is told.
    fn prepare(&mut self, dialed: Dialed) -> Option<Connection> {
        let Dialed { id, socket, peer, tls, stream, mut client, task, .. } = dialed;
        let shared = Arc::clone(&self.shared);
        self.counts.outgoing += 1;
        let (is_published, is_held) = (self.hub.is_published(&stream), self.hub.holder(&stream).is_some());
        let refusal = match task {
            _ if self.stopping => Some(OutgoingEnd::Stopping),
            Task::Pull if shared.is_draining() => Some(OutgoingEnd::Stopping),
            _ if self.connections.len() >= self.settings.core_connections_max => Some(OutgoingEnd::Overload),
            Task::Pull if is_held => Some(OutgoingEnd::Taken),
            Task::Forward { .. } if !is_published => Some(OutgoingEnd::StreamGone),
            _ => socket::tune_connected(&socket).err().map(|_| OutgoingEnd::Io),
        };
        if let Some(end) = refusal {
            // Whoever hears of the end may rely on the socket being closed.
            drop(socket);
            self.tell_closed(id, end, Totals::default());
            return None;
        }
        let now = self.now();
        client.role = match task {
            Task::Forward { .. } => session::Role::Publish,
            Task::Pull => session::Role::Play,
        };
        client.chunk_size_out = FRAME_CHUNK_SIZE;
        client.limits = self.session_settings.limits.clone();
        let outgoing = Box::new(Outgoing {
            id,
            task,
            stream: stream.clone(),
            host: client.url.host.clone(),
            tc_url: client.url.tc_url.clone(),
            session: ClientSession::new(now, client, entropy::draw(now)),
            takes_tracks: false,
            is_ready: false,
            has_begun: false,
            end: None,
            carried: Totals::default(),
            stray_bytes: 0,
            reconnects_told: 0,
        });
        let connection_id = shared.new_connection_id();
        let span = span(connection_id, peer);
        let peer_session = Peer::Made(outgoing);
        let mut connection =
            Connection::new(connection_id, socket, peer, Place::NONE, now, peer_session, span);
        connection.front = tls.map(|tls| Box::new(Front::Tls(tls)));
        connection.role = match task {
            Task::Forward { .. } => Role::Forward,
            Task::Pull => Role::Pull,
        };
        connection.stream = Some(stream);
        Some(connection)
    }

    /// A connection that we made has its place here.
    fn begin_made(&mut self, key: ConnectionKey, received: &mut BytesMut) {
        let now = self.now();
        let Self { connections, made, .. } = self;
        let entry = connections.get(key.index as usize);
        if let Some(outgoing) = entry.and_then(|(_, connection)| connection.session.made()) {
            made.insert(outgoing, key);
        }
        let Some(connection) = self.connection(key) else { return };
        debug!(parent: &connection.span, role = connection.role.label(), "takes over a connection that we made");
        if !received.is_empty() {
            match connection.front {
                Some(_) => self.read_tls(key, now, received),
                None => connection.session.handle_bytes(now, received.split().freeze()),
            }
        }
        if let Some(connection) = self.connection(key) {
            connection.reading.waiting_bytes = received.len();
            connection.reading.received = std::mem::take(received);
        }
    }

    /// Deals with one event of a session of ours.
    pub(crate) fn on_client_event(&mut self, key: ConnectionKey, event: ClientEvent, now: Instant) {
        let Some(connection) = self.connection(key) else { return };
        let Some(outgoing) = connection.session.made_mut() else { return };
        let id = outgoing.id;
        match event {
            ClientEvent::Connected { capabilities } => outgoing.takes_tracks = capabilities.multitrack(),
            ClientEvent::Ready => {
                outgoing.is_ready = true;
                let task = outgoing.task;
                self.tell(News::Outgoing { id, event: OutgoingEvent::Ready });
                if let Task::Forward { .. } = task {
                    self.begin_forward(key, now);
                }
            }
            ClientEvent::Media(message) => self.on_client_media(key, message, now),
            ClientEvent::Status(status) => {
                let bytes = status.code.len() + status.description.len();
                debug!(parent: &connection.span, bytes, "the far end has told its status");
            }
            ClientEvent::Ended if matches!(outgoing.task, Task::Forward { .. }) => {
                // Sessions that publish say no such thing. One that did would forward nothing more: floor 5 is to connect again.
                self.end_made(key, OutgoingEnd::Eof, CloseReason::Eof);
            }
            ClientEvent::Ended => {
                let had_begun = std::mem::take(&mut outgoing.has_begun);
                self.stop(key, None, now);
                if had_begun {
                    self.tell(News::Outgoing { id, event: OutgoingEvent::Ended });
                }
            }
            ClientEvent::Reconnect { url, .. } => {
                if outgoing.reconnects_told < RECONNECTS_TOLD_MAX {
                    outgoing.reconnects_told += 1;
                    self.tell(News::Outgoing { id, event: OutgoingEvent::Reconnect { url } });
                }
            }
            ClientEvent::Closed { reason } => {
                let (reason, end) = match reason {
                    ClientCloseReason::Eof => (CloseReason::Eof, Some(OutgoingEnd::Eof)),
                    ClientCloseReason::Error(error) => {
                        (CloseReason::Error(error), Some(OutgoingEnd::Error(error)))
                    }
                    ClientCloseReason::Refused(status) => {
                        (CloseReason::Refused, Some(OutgoingEnd::Refused(clipped(status))))
                    }
                    // Whoever stopped it has said why.
                    ClientCloseReason::Stopped => (CloseReason::Stopped, None),
                };
                outgoing.end = outgoing.end.take().or(end);
                self.begin_close(key, reason, reason != CloseReason::Eof, now);
            }
        }
    }

    fn on_client_media(&mut self, key: ConnectionKey, message: MediaMessage, now: Instant) {
        let Some(outgoing) = self.connection(key).and_then(|connection| connection.session.made_mut()) else {
            return;
        };
        match outgoing.task {
            Task::Pull => {
                if outgoing.is_ready
                    && !outgoing.has_begun
                    && outgoing.end.is_none()
                    && is_of_stream(&message)
                {
                    self.begin_pull(key, now);
                }
                self.on_media(key, message, now);
            }
            Task::Forward { .. } if message.kind == MediaKind::Data => {}
            Task::Forward { .. } => {
                outgoing.stray_bytes += u64::from(message.wire_bytes);
                if outgoing.stray_bytes > STRAY_BYTES_MAX {
                    self.close(key, CloseReason::Error(PeerMisbehaved::TooManyMessages.into()));
                }
            }
        }
    }

    /// The first media has come: the connection publishes what it pulls.
    fn begin_pull(&mut self, key: ConnectionKey, now: Instant) {
        let shared = Arc::clone(&self.shared);
        let here = self.id;
        let Some(connection) = self.connection(key) else { return };
        let Some(outgoing) = connection.session.made() else { return };
        let stream = outgoing.stream.clone();
        let facts = Facts {
            connection: connection.id,
            peer: connection.peer,
            tls: connection.tls().is_some(),
            server_name: connection.tls().and_then(|tls| tls.info()?.server_name.clone()),
            host: Some(outgoing.host.clone()),
            tc_url: outgoing.tc_url.clone(),
            flash_ver: String::new(),
            swf_url: String::new(),
            page_url: String::new(),
            params: String::new(),
            wish: None,
        };
        if shared.is_draining() {
            return self.end_made(key, OutgoingEnd::Stopping, CloseReason::Drained);
        }
        if shared.directory.send_home(&stream, here) != here {
            shared.directory.lost(&stream);
            return self.end_made(key, OutgoingEnd::Taken, CloseReason::Replaced);
        }
        let settings = self.app_settings(stream.app());
        // An encoder has come meanwhile. One that was lost, or another pull, may be followed.
        if self.hub.holder(&stream).is_some() {
            return self.end_made(key, OutgoingEnd::Taken, CloseReason::Replaced);
        }
        let claim = ConnectionRef::from(key).into();
        let (publisher, is_first) = match self.hub.publish(now, &stream, claim, &settings) {
            Ok(hub::Entry::Begins(publisher)) => (publisher, true),
            Ok(hub::Entry::Follows(publisher) | hub::Entry::StandsBy(publisher)) => (publisher, false),
            Ok(hub::Entry::Waits) | Err(_) => {
                return self.end_made(key, OutgoingEnd::Taken, CloseReason::Replaced);
            }
        };
        let Some(connection) = self.connection(key) else { return };
        connection.reading.buffer_size = BufferSize::PUBLISHER;
        // What we pull is held to nothing: nobody was let in.
        let lease = Lease::default();
        connection.activity = Activity::Publishing { publisher, key: stream.clone(), lease, seat: None };
        info!(
            parent: &connection.span,
            app = stream.app(),
            stream = shared.names.hash(stream.name()),
            "pulls"
        );
        if let Some(outgoing) = connection.session.made_mut() {
            outgoing.has_begun = true;
            let id = outgoing.id;
            self.tell(News::Outgoing { id, event: OutgoingEvent::Began });
        }
        if is_first {
            self.on_stream_began(stream, Arc::new(facts), Arc::new(Grant::default()));
        }
        self.pump_hub();
    }

    /// Floor 5 wants this one no more.
    pub(crate) fn hang_up(&mut self, id: OutgoingId) {
        let Some(key) = self.made.by_id.get(&id).copied() else { return };
        self.leave(key, OutgoingEnd::HungUp);
    }

    /// The stream has ended: its forwards follow when they have what is queued.
    pub(crate) fn end_forwards(&mut self, stream: &StreamKey) {
        for key in self.made.forwards.get(stream).cloned().unwrap_or_default() {
            self.leave(key, OutgoingEnd::StreamGone);
        }
    }

    /// Ends a connection in good order: what is queued for a target goes out before.
    fn leave(&mut self, key: ConnectionKey, end: OutgoingEnd) {
        let now = self.now();
        let Some(connection) = self.connection(key).filter(|connection| connection.phase == Phase::Open)
        else {
            return;
        };
        let Activity::Playing(playing) = &connection.activity else {
            return self.end_made(key, end, CloseReason::Stopped);
        };
        let subscriber = playing.first().map(|one| one.subscriber);
        connection.give_up_at = connection.give_up_at.min(now + LEAVING_TIME_MAX);
        if let Some(outgoing) = connection.session.made_mut() {
            outgoing.end.get_or_insert(end);
        }
        if let Some(subscriber) = subscriber {
            self.hub.finish(now, subscriber);
        }
        self.pump_hub();
    }

    /// Ends a connection with what has been said.
    pub(crate) fn end_made(&mut self, key: ConnectionKey, end: OutgoingEnd, reason: CloseReason) {
        if let Some(outgoing) = self.connection(key).and_then(|connection| connection.session.made_mut()) {
            outgoing.end.get_or_insert(end);
        }
        self.close(key, reason);
    }

    /// Adds what a publish or play of a connection that we made came to; false when it was accepted.
    pub(crate) fn add_carried(&mut self, key: ConnectionKey, totals: Totals) -> bool {
        let Some(outgoing) = self.connection(key).and_then(|connection| connection.session.made_mut()) else {
            return false;
        };
        let carried = &mut outgoing.carried;
        carried.bytes += totals.bytes;
        carried.messages += totals.messages;
        carried.dropped += totals.dropped;
        carried.lasted += totals.lasted;
        true
    }

    /// The entry of a connection that we made is gone, and with it its socket.
    pub(crate) fn on_made_removed(&mut self, key: ConnectionKey, outgoing: &Outgoing, reason: CloseReason) {
        self.made.remove(outgoing, key);
        self.counts.outgoing_closed += 1;
        let end = outgoing.end.clone().unwrap_or_else(|| end_of(reason));
        self.tell_closed(outgoing.id, end, outgoing.carried);
    }

    fn tell_closed(&mut self, id: OutgoingId, end: OutgoingEnd, totals: Totals) {
        self.count("outgoing_end", end.label());
        self.tell(News::Outgoing { id, event: OutgoingEvent::Closed { end, totals } });
    }

    /// All that this core has.
    pub(crate) fn outgoing_infos(&self) -> Vec<OutgoingInfo> {
        let now = self.now();
        let made = self.connections.iter().filter_map(|(_, (_, connection))| {
            let outgoing = connection.session.made()?;
            Some(self.outgoing_info(connection, outgoing, now))
        });
        made.collect()
    }

    fn outgoing_info(&self, connection: &Connection, outgoing: &Outgoing, now: Instant) -> OutgoingInfo {
        let totals = &connection.totals;
        let (messages, rate) = match outgoing.task {
            Task::Forward { .. } => (totals.messages_out, &connection.rate_out),
            Task::Pull => (totals.messages_in, &connection.rate_in),
        };
        let view = match &connection.activity {
            Activity::Playing(playing) => playing.first().and_then(|one| self.hub.subscriber(one.subscriber)),
            _ => None,
        };
        OutgoingInfo {
            id: outgoing.id,
            connection: connection.id,
            state: if connection.is_open() { outgoing.state() } else { OutgoingState::Leaving },
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
            messages,
            dropped: totals.dropped + view.map_or(0, |view| view.totals().dropped.total()),
            queued_bytes: view.map_or(0, |view| view.queued_bytes() as u64),
            queued_ms: view.map_or(0, |view| view.queued_ms(now)),
            bits_per_second: rate.per_second() * 8,
            tcp: connection.tcp_info(now),
            lasted: now - connection.accepted_at,
            traffic: connection.traffic.read(&connection.socket),
        }
    }
}

/// Whether a message is of a stream that is there. Servers greet players with data of their own (`|RtmpSampleAccess`) that says nothing of it.
fn is_of_stream(message: &MediaMessage) -> bool {
    let is_metadata = || {
        let found = data_name(&message.payload, message.type_id);
        found.is_some_and(|found| matches!(found.name.as_str(), "onMetaData" | "@setDataFrame"))
    };
    message.kind != MediaKind::Data || is_metadata()
}

/// Why one is over that ended for a reason of the connection's.
fn end_of(reason: CloseReason) -> OutgoingEnd {
    match reason {
        CloseReason::Eof => OutgoingEnd::Eof,
        CloseReason::Error(error) => OutgoingEnd::Error(error),
        CloseReason::Refused | CloseReason::Rejected { .. } => {
            let [level, code, description] = [(); 3].map(|()| String::new());
            OutgoingEnd::Refused(ServerStatus { level, code, description })
        }
        CloseReason::Stopped => OutgoingEnd::HungUp,
        CloseReason::Kicked | CloseReason::Revoked | CloseReason::OverLimit(_) => OutgoingEnd::Kicked,
        CloseReason::Drained => OutgoingEnd::Stopping,
        CloseReason::Replaced | CloseReason::Mismatch => OutgoingEnd::Taken,
        CloseReason::Hopeless => OutgoingEnd::Hopeless,
        CloseReason::Overload => OutgoingEnd::Overload,
        CloseReason::Reset | CloseReason::Io => OutgoingEnd::Io,
        CloseReason::Fault => OutgoingEnd::Fault,
    }
}

/// What a far end has said, as much as is kept of it.
fn clipped(mut status: ServerStatus) -> ServerStatus {
    for part in [&mut status.level, &mut status.code, &mut status.description] {
        part.truncate(part.floor_char_boundary(STATUS_BYTES_MAX));
        part.shrink_to_fit();
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a far end says is kept to its bound, and stays text.
    #[test]
    fn a_status_is_clipped_between_characters() {
        let long = "ü".repeat(STATUS_BYTES_MAX);
        let status = ServerStatus { level: "error".into(), code: format!("x{long}"), description: long };
        let ServerStatus { level, code, description } = clipped(status);
        assert_eq!(level, "error");
        assert_eq!((code.len(), description.len()), (STATUS_BYTES_MAX - 1, STATUS_BYTES_MAX));
    }

    /// Each reason has an end of its own kind, with the same label where one is as good as the other.
    #[test]
    fn a_reason_becomes_an_end() {
        let same = [
            CloseReason::Eof,
            CloseReason::Error(PeerMisbehaved::NotReading.into()),
            CloseReason::Refused,
            CloseReason::Kicked,
            CloseReason::Hopeless,
            CloseReason::Overload,
            CloseReason::Io,
            CloseReason::Fault,
        ];
        for reason in same {
            assert_eq!(end_of(reason).label(), reason.label());
        }
        assert_eq!(end_of(CloseReason::Drained), OutgoingEnd::Stopping);
        assert_eq!(end_of(CloseReason::Reset), OutgoingEnd::Io);
    }
}
