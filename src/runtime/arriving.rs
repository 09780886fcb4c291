//! What a connection's first bytes tell: where it really comes from, and whether it speaks TLS or RTMP.
//!
//! Every connection begins here, before its session has seen anything. The session's handshake deadline runs already: a peer that says
//! nothing, or half a PROXY header, is closed by it.
//! # Who is believed
//! A peer in `proxy.trusted` must say with a PROXY header for whom it connects; it takes no place itself until it has, and limits, logs and
//! the API go by what it says. Anybody else is who the socket says, and must not send a PROXY header.
//! # Bounds
//! [`proxy::V2_BYTES_MAX`] of a trusted peer's bytes; one receive of others', of which the first byte is looked at.

use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use tracing::debug;

use super::connection::{ConnectionKey, Front};
use super::core::Core;
use super::listener::Serves;
use super::proxy::{self, HeaderError, Parsed};
use super::reading::More;
use super::{accepting, tls};
use crate::rtmp::{Error, PeerMisbehaved, PeerUnsupported};
use crate::session::{CloseReason, Instant};

/// A connection that has not shown yet what it speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// What its listener serves.
    pub(crate) serves: Serves,
    /// A PROXY header comes first.
    pub(crate) is_proxied: bool,
}

impl Core {
    /// Looks at the first bytes.
    pub(crate) fn on_arriving(&mut self, key: ConnectionKey, now: Instant, buffer: &mut BytesMut) -> More {
        let Some(connection) = self.connection(key) else { return More::Ends };
        let Some(Front::Arriving(arrival)) = connection.front.as_deref_mut() else { return More::Comes };
        if arrival.is_proxied {
            match proxy::parse(buffer) {
                Ok(Parsed::Incomplete) => return More::Comes,
                Ok(Parsed::Header(header)) => {
                    arrival.is_proxied = false;
                    buffer.advance(header.bytes);
                    if !self.on_proxied(key, header.source) {
                        return More::Ends;
                    }
                }
                Err(error) => {
                    let error = match error {
                        HeaderError::Missing => PeerMisbehaved::ProxyMissing,
                        HeaderError::Malformed | HeaderError::TooLong => PeerMisbehaved::ProxyMalformed,
                    };
                    return self.refuse_arrival(key, now, error);
                }
            }
        } else if buffer.first().copied().is_some_and(proxy::is_first_byte) {
            return self.refuse_arrival(key, now, PeerMisbehaved::ProxyUntrusted);
        }
        self.on_first_byte(key, now, buffer)
    }

    /// A trusted peer has said for whom it connects: from here on that is who the connection is. False when there is no place for it.
    fn on_proxied(&mut self, key: ConnectionKey, source: Option<SocketAddr>) -> bool {
        let Some(connection) = self.connection(key) else { return false };
        let (id, through) = (connection.id, connection.peer);
        // One that speaks for itself, as for a health check, is who it is, and takes no place either.
        let Some(peer) = source else { return true };
        let Some(place) = self.place(peer) else {
            self.shut(key, CloseReason::Overload);
            return false;
        };
        let Some(connection) = self.connection(key) else { return false };
        connection.place = place;
        connection.peer = peer;
        connection.span = accepting::span(id, peer);
        debug!(parent: &connection.span, %through, "proxied");
        true
    }

    fn refuse_arrival(&mut self, key: ConnectionKey, now: Instant, error: impl Into<Error>) -> More {
        self.begin_close(key, CloseReason::Error(error.into()), false, now);
        More::Comes
    }

    /// Puts in front of the session what the first byte asks for.
    fn on_first_byte(&mut self, key: ConnectionKey, now: Instant, buffer: &mut BytesMut) -> More {
        let Some(connection) = self.connection(key) else { return More::Ends };
        let Some(Front::Arriving(arrival)) = connection.front.as_deref() else { return More::Comes };
        let Some(first) = buffer.first() else { return More::Comes };
        let is_tls = *first == tls::FIRST_BYTE;
        if is_tls && arrival.serves == Serves::Rtmp {
            return self.refuse_arrival(key, now, PeerUnsupported::TlsHere);
        }
        // What is no TLS on a listener for it is refused by TLS, by that name.
        if !is_tls && arrival.serves != Serves::Rtmps {
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
        More::Handshake
    }
}
