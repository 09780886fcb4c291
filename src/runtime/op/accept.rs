//! Accept: one connection from a listener.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use io_uring::{cqueue, opcode, types};
use socket2::SockAddr;
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use super::InFlight;

/// Where the kernel writes the peer's address: boxed, since it must not move.
struct Peer {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

struct Owned {
    _listener: Rc<OwnedFd>,
    peer: Box<Peer>,
    _in_flight: InFlight,
}

struct Accepted;

impl OneshotOutputTransform for Accepted {
    type Output = io::Result<(OwnedFd, SocketAddr)>;
    type StoredData = Owned;

    fn transform_oneshot_output(self, owned: Owned, entry: cqueue::Entry) -> Self::Output {
        let number = RawFd::try_from(super::result(&entry)?).map_err(io::Error::other)?;
        // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        // SAFETY: `Peer` is written by the kernel as a socket address of `len` bytes; `SockAddr` reads only what the family says.
        let ((), address) = unsafe {
            SockAddr::try_init(|storage, len| {
                storage.cast::<libc::sockaddr_storage>().write(owned.peer.storage);
                *len = owned.peer.len;
                Ok(())
            })
        }?;
        let address =
            address.as_socket().ok_or_else(|| io::Error::other("peer is not an internet address"))?;
        Ok((socket, address))
    }
}

/// Accepts one connection; the new descriptor is close-on-exec.
pub(crate) fn accept(listener: Rc<OwnedFd>) -> impl Future<Output = io::Result<(OwnedFd, SocketAddr)>> {
    // SAFETY: all zeroes is a valid `sockaddr_storage`.
    let storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let mut peer = Box::new(Peer { storage, len });
    let entry = opcode::Accept::new(
        types::Fd(listener.as_raw_fd()),
        (&raw mut peer.storage).cast::<libc::sockaddr>(),
        &raw mut peer.len,
    )
    .flags(libc::SOCK_CLOEXEC)
    .build();
    let owned = Owned { _listener: listener, peer, _in_flight: InFlight::new() };
    UnsubmittedOneshot::new(owned, Accepted, entry).submit()
}
