//! Accepting: several accepts in flight a listener, and a pause when the machine runs out.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tracing::{Span, debug, error, info_span, warn};

use super::arriving::Arrival;
use super::connection::{Connection, Front};
use super::core::{Core, CoreRef};
use super::listener::{Listener, Serves};
use super::observe::ConnectionId;
use super::peer::Peer;
use super::prefixes::{Place, Refused};
use super::{entropy, listener, op};
use crate::session::ServerSession;

/// Accepts in flight a listener: a burst of connections costs one wake-up for several.
const ACCEPTS_IN_FLIGHT: usize = 8;

/// How long a listener rests when descriptors or memory have run out. The backlog keeps who comes meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// When no accept has failed for so long, the next failure is news again.
const EXHAUSTION_OVER: Duration = Duration::from_secs(10);

/// The span under which all of a connection's log lines stand.
pub(crate) fn span(id: ConnectionId, peer: SocketAddr) -> Span {
    info_span!("connection", id = id.0, %peer)
}

/// Starts the accepts of a listener of the core.
pub(crate) fn start(core: &CoreRef, listener: Listener) {
    for _ in 0..ACCEPTS_IN_FLIGHT {
        core.borrow_mut().accepting += 1;
        tokio_uring::spawn(accept(core.clone(), listener.clone()));
    }
    core.borrow_mut().listeners.push(listener);
}

async fn accept(core: CoreRef, listener: Listener) {
    loop {
        match op::accept(listener.socket.clone()).await {
            Ok((socket, peer)) => admit(&core, socket, canonical(peer), listener.serves()),
            Err(_) if listener.is_over() => break,
            Err(error) if listener::is_exhaustion(&error) => {
                core.borrow_mut().on_exhaustion(&error);
                tokio::time::sleep(PAUSE).await;
            }
            // A connection that was cut before it was accepted, or a signal.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO)) => {}
            Err(error) => {
                error!(core = core.borrow().id.0, %error, "accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let mut core = core.borrow_mut();
    core.accepting -= 1;
    core.end_if_stopped();
}

impl Core {
    /// An accept failed for want of something that other connections will give back: counted each time, told once, since all accepts
    /// of a core meet the same wall.
    fn on_exhaustion(&mut self, error: &std::io::Error) {
        self.counts.accept_pauses += 1;
        let now = self.now();
        let before = self.exhausted_at.replace(now);
        // At the limit accepts succeed and fail by turns: that is one episode, until none has failed for a while.
        if before.is_none_or(|before| now - before > EXHAUSTION_OVER) {
            let core = self.id.0;
            warn!(core, %error, "accept pauses: raise the limit of open files (ulimit -n) or shed load");
        }
    }
}

impl Core {
    /// Counted each time, told once a minute for each prefix: a flood must not fill the log.
    fn on_refused(&mut self, peer: SocketAddr, refused: &Refused) {
        let (core, bound, prefix) = (self.id.0, refused.label(), refused.prefix);
        self.count("refused", bound);
        if refused.is_news {
            warn!(core, bound, %prefix, "refuses connections of a prefix: raise limits.{bound} or trust it, if it means no harm");
        }
        debug!(core, bound, %peer, "refused");
    }
}

/// An IPv4 peer of a listener for both families comes as `::ffff:a.b.c.d`: limits, trust and logs must see its own address.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Gives a new connection its session and its tasks.
fn admit(core: &CoreRef, socket: OwnedFd, peer: SocketAddr, serves: Serves) {
    if let Some(connection) = Core::caught(core, None, |core| core.admit(socket, peer, serves)).flatten() {
        Core::insert(core, connection);
    }
}

impl Core {
    fn admit(&mut self, socket: OwnedFd, peer: SocketAddr, serves: Serves) -> Option<Connection> {
        self.counts.accepted += 1;
        if self.stopping || self.connections.len() >= self.settings.core_connections_max {
            self.count("refused", "connections_max");
            debug!(core = self.id.0, %peer, "refused: too many connections");
            return None;
        }
        let serves = if self.settings.tls.detect { Serves::Either } else { serves };
        let is_proxied = self.settings.proxies.iter().any(|proxy| proxy.contains(&peer.ip()));
        // A balancer takes no place for itself: whom it connects for is judged when it has said so.
        let place = if is_proxied { Place::NONE } else { self.place(peer)? };
        let now = self.now();
        let id = self.shared.new_connection_id();
        let settings = self.session_settings.clone();
        let session = Peer::Accepted(ServerSession::new(now, settings, entropy::draw(now)));
        let mut connection = Connection::new(id, socket, peer, place, now, session, span(id, peer));
        connection.front = Some(Box::new(Front::Arriving(Arrival { serves, is_proxied })));
        Some(connection)
    }

    /// A place for a connection of this peer; `None` when there is none, which is counted.
    pub(crate) fn place(&mut self, peer: SocketAddr) -> Option<Place> {
        let now = self.now();
        let place = self.shared.prefixes.admit(now, peer.ip());
        place.map_err(|refused| self.on_refused(peer, &refused)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 peer is the same whichever listener took it; an IPv6 one stays as it is.
    #[test]
    fn mapped_addresses_become_ipv4() {
        for (seen, meant) in [
            ("[::ffff:127.0.0.1]:5000", "127.0.0.1:5000"),
            ("192.0.2.1:5000", "192.0.2.1:5000"),
            ("[2001:db8::1]:5000", "[2001:db8::1]:5000"),
        ] {
            assert_eq!(canonical(seen.parse().unwrap()), meant.parse().unwrap());
        }
    }
}
