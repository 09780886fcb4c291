//! Moving a publisher to the home core of its stream: the socket and the plain data of its session.
//!
//! It leaves when its request is known and nothing of it is in flight: the reader stands between two reads, the writer has ended, and
//! answers not yet written travel along, as does what was received of a TLS record. So all publishers of a key meet on one core, and nothing is read or written twice.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::BytesMut;
use tracing::{debug, error};

use super::connection::{Activity, Connection, ConnectionKey, Moved};
use super::core::{Core, CoreRef};
use super::inbox::ToCore;
use super::peer::Peer;

impl Core {
    /// Takes the connection out of this core and sends it home. The reader calls it as the last task of the connection.
    ///
    /// `received` is what it holds of a record that is not whole.
    pub(crate) fn depart(&mut self, key: ConnectionKey, received: BytesMut) {
        let Some((_, connection)) = self.connections.try_remove(key.index as usize) else { return };
        self.uncount(&connection);
        // Those that we made are taken over at home, and never move.
        let (Activity::Moving { home, admitted }, Peer::Accepted(session)) =
            (connection.activity, connection.session)
        else {
            return;
        };
        let stream = admitted.request.address.key.clone();
        match Rc::<OwnedFd>::try_unwrap(connection.socket) {
            Ok(socket) => {
                self.counts.moved_out += 1;
                let moved = Moved {
                    id: connection.id,
                    socket,
                    peer: connection.peer,
                    place: connection.place,
                    accepted_at: connection.accepted_at,
                    pending_since: connection.pending_since,
                    session,
                    front: connection.front,
                    received,
                    role: connection.role,
                    session_timeout: connection.session_timeout,
                    admitted,
                    control: connection.control,
                    buffer_size: connection.reading.buffer_size,
                    mark: connection.reading.mark,
                    totals: connection.totals,
                };
                let woken = self.shared.inboxes.push(home, ToCore::Arrive(Box::new(moved)));
                self.counts.wakeups_sent += u64::from(woken);
            }
            Err(_still_shared) => {
                // Both tasks have ended, so nobody else holds the socket; should that ever fail, the peer sees a close.
                error!(connection = connection.id.0, "a moving connection's socket is still in use");
                self.counts.closed += 1;
                self.shared.directory.lost(&stream);
            }
        }
        self.end_if_stopped();
    }
}

/// Takes over a connection that another core sent home, and publishes what it asked for.
pub(crate) fn arrive(core: &CoreRef, moved: Moved) {
    let span = super::accepting::span(moved.id, moved.peer);
    let stream = moved.admitted.request.address.key.clone();
    let (connection, admitted) = Connection::from_moved(moved, span);
    debug!(parent: &connection.span, "arrived on its home core");
    let key = Core::insert(core, connection);
    let (id, shared) = {
        let mut core = core.borrow_mut();
        core.counts.moved_in += 1;
        (core.id, core.shared.clone())
    };
    let published = Core::guarded(core, key, |core| {
        let now = core.now();
        core.publish(key, admitted, now);
        // What the session still holds is driven by the reader's first step.
    });
    if published.is_none() {
        return shared.directory.lost(&stream);
    }
    shared.directory.arrived(&stream, id);
    Core::guarded(core, key, |core| {
        if core.stopping {
            core.close(key, crate::session::CloseReason::Drained);
        }
    });
}
