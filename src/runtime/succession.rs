//! Publishers that follow one another, as far as it takes sockets: newcomers that wait, and when those whom they meet were heard of last.
//!
//! The hub rules ([`crate::hub::Claim`]). A newcomer that has to wait is a connection with a question open, like one that the outside has
//! not answered yet ([`super::asking`]): its session parses nothing and its reader rests.
//!
//! When something of a holder came last is what its receives say, and what lies in its socket: a core that polls, or that has stood still,
//! has not read yet what has come. So nobody is taken for a ghost whose bytes are here; and nobody for alive whose peer has closed behind them.
//! # Bounds
//! The hub lets one newcomer wait a stream, for its app's `yield_silent_ms` and a moment at most, which is less than
//! [`super::outside::ANSWER_TIME_MAX`]; a look into a socket is two system calls, at most four for each newcomer as it comes and for each that
//! waits ten times a second: its stream's holder, and whoever has the standby's place.

use smallvec::SmallVec;
use tracing::{debug, info};

use super::asking::{Admitted, Asked, Request};
use super::connection::ConnectionKey;
use super::core::Core;
use super::socket;
use crate::hub::{ConnectionRef, HubEvent, PublisherKey};
use crate::session::{CloseReason, Instant, Rejection, StreamKey};

impl Core {
    /// Tells the hub when something came last of those whom a newcomer will meet.
    pub(crate) fn listen_before_claim(&mut self, stream: &StreamKey, now: Instant) {
        let incumbents: SmallVec<[_; 2]> = self.hub.incumbents(stream).collect();
        for (publisher, connection) in incumbents {
            self.listen_for(publisher, connection, now);
        }
    }

    /// Likewise, of all whom newcomers wait for. The sweep calls it before the hub's.
    pub(crate) fn listen_for_awaited(&mut self, now: Instant) {
        let awaited: Vec<_> = self.hub.awaited().collect();
        for (publisher, connection) in awaited {
            self.listen_for(publisher, connection, now);
        }
    }

    fn listen_for(&mut self, publisher: PublisherKey, connection: ConnectionRef, now: Instant) {
        let Some(connection) = self.connection(connection.into()) else { return };
        if socket::has_peer_closed(&connection.socket) {
            return self.hub.leaves(publisher);
        }
        let heard_at = match socket::has_unread(&connection.socket) {
            true => now,
            false => connection.reading.cadence.last().unwrap_or(connection.accepted_at),
        };
        self.hub.heard(heard_at, publisher);
    }

    /// A newcomer waits until the hub knows whether the holder of its stream lives.
    pub(crate) fn hold_back(&mut self, key: ConnectionKey, admitted: Box<Admitted>, now: Instant) {
        let Some(connection) = self.connection(key) else { return };
        debug!(parent: &connection.span, "waits: the stream has a publisher that may be gone");
        let facts = admitted.facts.clone();
        connection.asked = Some(Box::new(Asked { since: now, facts, request: Request::Claim(admitted) }));
    }

    /// Deals with what the hub says of publishers.
    pub(crate) fn on_publisher_event(&mut self, event: HubEvent) {
        match event {
            HubEvent::Replaced { connection } => self.close(connection.into(), CloseReason::Replaced),
            HubEvent::Mismatched { connection } => self.close(connection.into(), CloseReason::Mismatch),
            HubEvent::OverLimit { connection, excess } => {
                self.close(connection.into(), CloseReason::OverLimit(excess));
            }
            HubEvent::AskAgain { connection } => self.claim_again(connection.into()),
            HubEvent::TurnedAway { connection } => self.turn_away(connection.into()),
            HubEvent::HealthChanged { publisher, connection, change } => {
                self.on_health_changed(connection.into(), publisher, change);
            }
            HubEvent::Over(stream) => self.on_stream_ended(stream),
            HubEvent::Ready { .. } | HubEvent::Hopeless { .. } | HubEvent::StreamGone(_) => {}
        }
    }

    fn claim_again(&mut self, key: ConnectionKey) {
        let now = self.now();
        let Some(admitted) = self.take_claim(key) else { return };
        if self.shared.is_draining() {
            // It is refused below.
            self.hub.withdraw(&admitted.request.address.key, key.into());
        }
        self.bring_home(key, admitted, now);
        self.resume(key);
    }

    fn turn_away(&mut self, key: ConnectionKey) {
        let now = self.now();
        let Some(admitted) = self.take_claim(key) else { return };
        self.count("publish_refused", "turned_away");
        if let Some(connection) = self.connection(key) {
            info!(parent: &connection.span, "refused: a newer connection waits for the same stream");
        }
        self.reject(key, admitted.request.request, Rejection::already_published(), now);
        self.resume(key);
    }

    /// A connection ends: if it waits, it does so no longer.
    pub(crate) fn withdraw(&mut self, key: ConnectionKey) {
        if let Some(admitted) = self.take_claim(key) {
            self.hub.withdraw(&admitted.request.address.key, key.into());
        }
    }

    fn take_claim(&mut self, key: ConnectionKey) -> Option<Box<Admitted>> {
        let connection = self.connection(key)?;
        let asked = connection.asked.take_if(|asked| matches!(asked.request, Request::Claim(_)))?;
        match asked.request {
            Request::Claim(admitted) => Some(admitted),
            Request::Publish(_) | Request::Play(_) => None,
        }
    }

    /// The hub's counts of publishers that follow one another, for others to see.
    pub(crate) fn publish_succession(&mut self) {
        let (hub, counts) = (self.hub.counters(), &mut self.counts);
        counts.publishes_held = hub.publishes_held;
        counts.takeovers_newest = hub.takeovers_newest;
        counts.takeovers_priority = hub.takeovers_priority;
        counts.takeovers_silent = hub.takeovers_silent;
        counts.standbys = hub.standbys;
        counts.failovers = hub.failovers;
        counts.graces = hub.graces;
        counts.graces_resumed = hub.graces_resumed;
        counts.graces_expired = hub.graces_expired;
        counts.discontinuities = hub.discontinuities;
        counts.mismatches_refused = hub.mismatches_refused;
    }

    /// The reader drives the session on, which has its answer.
    fn resume(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection(key) {
            connection.resume_reading.raise();
        }
    }
}
