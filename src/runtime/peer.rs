//! The session of a connection in either role: one that was accepted, or one that we made.
//!
//! What every connection's driver asks of it is here, for both; what only one of them knows is asked of that one, by its type. A connection
//! that we made is in a box: there are few, and an accepted one is no larger for them.

use bytes::Bytes;

use super::outgoing::{OutgoingEnd, OutgoingId, OutgoingState, Task};
use super::outside::Totals;
use crate::session::{ClientSession, CloseReason, ConnectInfo, Instant, ServerSession, StreamKey};

/// Who speaks, and in which role.
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large kind")]
pub(crate) enum Peer {
    /// A client that has connected to us.
    Accepted(ServerSession),
    /// A server that we have connected to.
    Made(Box<Outgoing>),
}

/// A connection that we made.
pub(crate) struct Outgoing {
    pub(crate) id: OutgoingId,
    pub(crate) session: ClientSession,
    pub(crate) task: Task,
    /// What is forwarded, or what is pulled becomes.
    pub(crate) stream: StreamKey,
    /// The far end's host, as the URL names it.
    pub(crate) host: String,
    pub(crate) tc_url: String,
    /// The far end has said that it takes several tracks.
    pub(crate) takes_tracks: bool,
    /// The far end has said yes.
    pub(crate) is_ready: bool,
    /// A forward's first key frame has left; something has come of a pull.
    pub(crate) has_begun: bool,
    /// Why it is over, or is to be.
    pub(crate) end: Option<OutgoingEnd>,
    /// Media that it has carried until it last stopped.
    pub(crate) carried: Totals,
    /// Bytes of pictures and sound that a forward's target has sent.
    pub(crate) stray_bytes: u64,
    /// Requests to connect again that floor 5 was told of.
    pub(crate) reconnects_told: u8,
}

impl Outgoing {
    /// How far it is.
    pub(crate) fn state(&self) -> OutgoingState {
        match (&self.end, self.is_ready, self.has_begun) {
            (Some(_), ..) => OutgoingState::Leaving,
            (None, false, _) => OutgoingState::Starting,
            (None, true, false) => OutgoingState::Ready,
            (None, true, true) => OutgoingState::Live,
        }
    }
}

impl Peer {
    /// The server's side of one that was accepted.
    pub(crate) fn server(&self) -> Option<&ServerSession> {
        match self {
            Self::Accepted(session) => Some(session),
            Self::Made(_) => None,
        }
    }

    /// The same, to command it.
    pub(crate) fn server_mut(&mut self) -> Option<&mut ServerSession> {
        match self {
            Self::Accepted(session) => Some(session),
            Self::Made(_) => None,
        }
    }

    /// One that we made.
    pub(crate) fn made(&self) -> Option<&Outgoing> {
        match self {
            Self::Accepted(_) => None,
            Self::Made(outgoing) => Some(outgoing),
        }
    }

    /// The same, to command it.
    pub(crate) fn made_mut(&mut self) -> Option<&mut Outgoing> {
        match self {
            Self::Accepted(_) => None,
            Self::Made(outgoing) => Some(outgoing),
        }
    }

    /// Whether we made it.
    pub(crate) fn is_made(&self) -> bool {
        matches!(self, Self::Made(_))
    }

    /// What `connect` said, of one that was accepted.
    pub(crate) fn connect_info(&self) -> Option<&ConnectInfo> {
        self.server()?.connect_info()
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        match self {
            Self::Accepted(session) => session.next_timeout(),
            Self::Made(outgoing) => outgoing.session.next_timeout(),
        }
    }

    pub(crate) fn handle_bytes(&mut self, now: Instant, bytes: Bytes) {
        match self {
            Self::Accepted(session) => session.handle_bytes(now, bytes),
            Self::Made(outgoing) => outgoing.session.handle_bytes(now, bytes),
        }
    }

    pub(crate) fn handle_gap(&mut self, bytes: usize) {
        match self {
            Self::Accepted(session) => session.handle_gap(bytes),
            Self::Made(outgoing) => outgoing.session.handle_gap(bytes),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Accepted(session) => session.handle_timeout(now),
            Self::Made(outgoing) => outgoing.session.handle_timeout(now),
        }
    }

    pub(crate) fn handle_eof(&mut self, now: Instant) {
        match self {
            Self::Accepted(session) => session.handle_eof(now),
            Self::Made(outgoing) => outgoing.session.handle_eof(now),
        }
    }

    /// At least so many bytes must arrive before something can happen.
    pub(crate) fn missing_bytes(&self) -> usize {
        match self {
            Self::Accepted(session) => session.missing_bytes(),
            Self::Made(outgoing) => outgoing.session.missing_bytes(),
        }
    }

    /// Whether the driver should go on reading.
    pub(crate) fn wants_bytes(&self) -> bool {
        match self {
            Self::Accepted(session) => session.wants_bytes(),
            Self::Made(outgoing) => !outgoing.session.is_closed(),
        }
    }

    /// Bytes that the session keeps alive.
    pub(crate) fn retained_bytes(&self) -> usize {
        match self {
            Self::Accepted(session) => session.retained_bytes(),
            Self::Made(outgoing) => outgoing.session.retained_bytes(),
        }
    }

    /// Bytes that the flight recorder keeps; it keeps nothing of connections that we made.
    pub(crate) fn recorded_bytes(&self) -> usize {
        self.server().map_or(0, ServerSession::recorded_bytes)
    }

    /// The driver wrote so many bytes past the session.
    pub(crate) fn on_bytes_sent(&mut self, now: Instant, bytes: u64) {
        if let Self::Accepted(session) = self {
            session.on_bytes_sent(now, bytes);
        }
    }

    /// Closes from outside: a client is told why, a server that we stop.
    pub(crate) fn close(&mut self, now: Instant, reason: CloseReason) {
        match self {
            Self::Accepted(session) => session.close(now, reason),
            Self::Made(outgoing) => outgoing.session.stop(now),
        }
    }

    /// Whether a session of ours has been stopped, and its driver has yet to hear so.
    pub(crate) fn has_stopped(&self) -> bool {
        matches!(self, Self::Made(outgoing) if outgoing.session.is_closed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An accepted connection is no larger for those that we make.
    #[test]
    fn a_peer_is_as_large_as_a_server_session() {
        assert_eq!(size_of::<Peer>(), size_of::<ServerSession>());
    }
}
