//! Receive: appends to a buffer that the operation owns meanwhile.

use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use io_uring::{cqueue, opcode, types};
use tokio_uring::{InFlightOneshot, OneshotOutputTransform, UnsubmittedOneshot};

use super::InFlight;

/// A socket as a receive takes it: its number beside its owner, so that a socket that is read again and again is not looked up in
/// memory for it.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    number: RawFd,
    /// In flight means owned.
    _owner: Rc<OwnedFd>,
}

impl From<Rc<OwnedFd>> for Socket {
    fn from(owner: Rc<OwnedFd>) -> Self {
        Self { number: owner.as_raw_fd(), _owner: owner }
    }
}

/// What came of a receive, and what it was made with. `Ok(0)` is the end of the stream; an error is the socket's.
pub(crate) struct Received {
    pub(crate) result: io::Result<usize>,
    pub(crate) buffer: BytesMut,
    pub(crate) socket: Socket,
}

struct Owned {
    socket: Socket,
    buffer: BytesMut,
    _in_flight: InFlight,
}

struct Append;

impl OneshotOutputTransform for Append {
    type Output = Received;
    type StoredData = Owned;

    fn transform_oneshot_output(self, owned: Owned, entry: cqueue::Entry) -> Self::Output {
        let Owned { mut buffer, socket, .. } = owned;
        let result = super::result(&entry);
        if let Ok(received) = result {
            // SAFETY: the kernel wrote `received` bytes at the start of the spare capacity that `recv` gave it, and no more
            // than that capacity, so the first `len + received` bytes are initialised.
            unsafe { buffer.set_len(buffer.len() + received) };
        }
        Received { result, buffer, socket }
    }
}

/// A receive that the kernel has, or will have when the thread parks.
pub(crate) struct Receiving(InFlightOneshot<Owned, Append>);

impl Receiving {
    /// What came of it, if the kernel is through with it; nobody is woken later.
    pub(crate) fn outcome(&mut self) -> Option<Received> {
        super::outcome(self)
    }
}

impl Future for Receiving {
    type Output = Received;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// Receives into the buffer's spare capacity; the bytes it holds already stay.
///
/// The buffer must have spare capacity: a read without room returns 0, which looks like the end of the stream. It comes back either way.
pub(crate) fn recv(socket: Socket, buffer: BytesMut) -> Receiving {
    submit(socket, buffer, 0)
}

/// Like [`recv`], but does not wait for bytes: without any it is `WouldBlock`.
pub(crate) fn recv_now(socket: Socket, buffer: BytesMut) -> Receiving {
    submit(socket, buffer, libc::MSG_DONTWAIT)
}

fn submit(socket: Socket, mut buffer: BytesMut, flags: libc::c_int) -> Receiving {
    let spare = buffer.spare_capacity_mut();
    debug_assert!(!spare.is_empty(), "a receive without room looks like the end of the stream");
    let len = u32::try_from(spare.len()).unwrap_or(u32::MAX);
    let entry =
        opcode::Recv::new(types::Fd(socket.number), spare.as_mut_ptr().cast(), len).flags(flags).build();
    let owned = Owned { socket, buffer, _in_flight: InFlight::new() };
    Receiving(UnsubmittedOneshot::new(owned, Append, entry).submit())
}
