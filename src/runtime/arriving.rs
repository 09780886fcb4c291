//! What a connection's first bytes tell: whether it speaks TLS or RTMP.
//!
//! Every connection begins here, before its session has seen anything. The session's handshake deadline runs already: a peer that says
//! nothing is closed by it.
//! # Bounds
//! One byte is looked at.

use bytes::BytesMut;

use super::connection::{ConnectionKey, Front};
use super::core::Core;
use super::listener::Serves;
use super::reading::More;
use super::tls;
use crate::session::{CloseReason, Instant};

/// A connection that has not shown yet what it speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// What its listener serves.
    pub(crate) serves: Serves,
}

impl Core {
    /// Looks at the first bytes, and puts in front of the session what they ask for.
    pub(crate) fn on_arriving(&mut self, key: ConnectionKey, now: Instant, buffer: &mut BytesMut) -> More {
        let Some(connection) = self.connection(key) else { return More::Ends };
        let Some(Front::Arriving(arrival)) = connection.front.as_deref() else { return More::Comes };
        let Some(first) = buffer.first() else { return More::Comes };
        let speaks_tls = match arrival.serves {
            Serves::Rtmp => false,
            Serves::Rtmps => true,
            Serves::Either => *first == tls::FIRST_BYTE,
        };
        if !speaks_tls {
            connection.front = None;
            connection.session.handle_bytes(now, buffer.split().freeze());
            return More::Comes;
        }
        let Some(tls) = self.begin_tls(now) else {
            self.shut(key, CloseReason::Overload);
            return More::Ends;
        };
        let Some(connection) = self.connection(key) else { return More::Ends };
        connection.front = Some(tls);
        connection.shakes_hands = true;
        More::Handshake
    }
}
