//! Socket options, each with its reason.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use socket2::{SockRef, Socket, TcpKeepalive};

use crate::session::CloseReason;

/// A peer that sends nothing and answers nothing is probed after this long.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(4);
/// And again after this long.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// What is sent and not acknowledged for so long ends a connection. On a publisher's socket, which only receives, it does nothing
/// by itself; with keepalive it bounds the probing: 4 s idle and four probes, gone after 8 s. Its encoder may be back sooner: then it does
/// not wait for that ([`crate::hub::Claim`]).
const USER_TIMEOUT: Duration = Duration::from_secs(8);

/// For a listener, of which every accepted connection has it, without a call of its own: answers and frames leave at once, and a dead
/// publisher is noticed within 10 s.
pub(crate) fn tune_listener(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// For a connection that we made: what an accepted one has of its listener. And it blocks, so that an operation waits in the ring: on a
/// socket that a readiness runtime has had it would come back with nothing.
pub(crate) fn tune_connected(socket: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_nonblocking(false)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// For a publisher that has played before: [`tune_subscriber`] gave it more time.
pub(crate) fn restore_user_timeout(socket: &OwnedFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// For a subscriber: the backlog stands in our queue, where the drop policy sees it, and a dead peer is noticed.
///
/// `user_timeout` must be longer than the hub's stall limit, since it also counts the time that a paused player keeps its window shut.
pub(crate) fn tune_subscriber(
    socket: &OwnedFd,
    unsent_bytes_max: u32,
    user_timeout: Duration,
) -> io::Result<()> {
    let number = libc::c_int::try_from(unsent_bytes_max).unwrap_or(libc::c_int::MAX);
    set_int(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, number)?;
    SockRef::from(socket).set_tcp_user_timeout(Some(user_timeout))
}

/// How many bytes must be there before an armed receive comes back (`SO_RCVLOWAT`). Lowering it wakes a receive whose bytes are
/// there already; the end of the stream and a nearly full buffer wake it in any case.
pub(crate) fn set_receive_mark(socket: &OwnedFd, bytes: u32) -> io::Result<()> {
    let number = libc::c_int::try_from(bytes.max(1)).unwrap_or(libc::c_int::MAX);
    set_int(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, number)
}

/// Sets the largest receive mark there is, half the receive buffer, and gives it.
pub(crate) fn largest_receive_mark(socket: &OwnedFd) -> io::Result<u32> {
    let half = SockRef::from(socket).recv_buffer_size()? / 2;
    let mark = u32::try_from(half).unwrap_or(u32::MAX).max(1);
    set_receive_mark(socket, mark)?;
    Ok(mark)
}

/// Whether something has come that nobody has read yet. A socket that cannot say has nothing.
pub(crate) fn has_unread(socket: &OwnedFd) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes an int, which lives across the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    result == 0 && bytes > 0
}

/// Whether the peer has closed, also if what it has sent before is not read yet.
pub(crate) fn has_peer_closed(socket: &OwnedFd) -> bool {
    let mut asked = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: the descriptor is open while it is borrowed; the kernel writes into the one entry, which lives across the call, and does not wait.
    let result = unsafe { libc::poll(&raw mut asked, 1, 0) };
    result == 1 && asked.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
}

/// Has what comes acknowledged when it is read, small as it may be. The kernel stops to do so when we send something, since it then
/// hopes for an answer that carries the acknowledgement; after that it is to be told again.
pub(crate) fn acknowledge_at_read(socket: &OwnedFd) -> io::Result<()> {
    set_int(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1)
}

/// No more is sent; what is queued still goes out.
pub(crate) fn shut_write(socket: &OwnedFd) {
    // The peer may have closed first (ENOTCONN): then there is nothing left to shut.
    let _ = SockRef::from(socket).shutdown(std::net::Shutdown::Write);
}

/// Ends every operation in flight on this socket, a stalled write included.
pub(crate) fn shut_both(socket: &OwnedFd) {
    // As above.
    let _ = SockRef::from(socket).shutdown(std::net::Shutdown::Both);
}

/// What a socket's error says about the connection's end.
pub(crate) fn close_reason(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => CloseReason::Reset,
        _ => CloseReason::Io,
    }
}

fn set_int(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the descriptor is open while it is borrowed; the value is an int that lives across the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn acknowledges_at_read(socket: &OwnedFd) -> bool {
        let mut value: libc::c_int = 0;
        let mut length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the descriptor is open while it is borrowed; the kernel writes an int of the length given, and its length.
        let result = unsafe {
            let (value, length) = ((&raw mut value).cast(), &raw mut length);
            libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_QUICKACK, value, length)
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        value != 0
    }

    /// What has come and was not read is seen, and read, is seen no more.
    #[test]
    fn what_has_come_is_seen_unread() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut ours = listener.accept().unwrap().0;
        let socket = OwnedFd::from(ours.try_clone().unwrap());
        assert!(!has_unread(&socket));
        peer.write_all(b"message").unwrap();
        ours.peek(&mut [0; 1]).unwrap();
        assert!(has_unread(&socket));
        ours.read_exact(&mut [0; 7]).unwrap();
        assert!(!has_unread(&socket));
    }

    /// A peer that has closed is seen before what it has sent is read, and with the mark of a polled socket.
    #[test]
    fn a_close_is_seen_behind_what_is_unread() {
        for resets in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let ours = listener.accept().unwrap().0;
            let socket = OwnedFd::from(ours.try_clone().unwrap());
            largest_receive_mark(&socket).unwrap();
            peer.write_all(b"message").unwrap();
            ours.peek(&mut [0; 1]).unwrap();
            assert!(!has_peer_closed(&socket));
            if resets {
                SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(peer);
            // The loopback delivers in the course of the close.
            assert!(has_peer_closed(&socket), "resets: {resets}");
            assert!(has_unread(&socket) || resets);
        }
    }

    /// Something that we send soon after something came makes the kernel hold acknowledgements back; being told again ends that.
    #[test]
    fn acknowledgements_come_at_read_again_after_something_was_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut ours = listener.accept().unwrap().0;
        // The kernel takes for an answer what is sent within 40 ms: on a machine that is busy now the next time will do.
        let is_held_back = (0..1_000).any(|_| {
            peer.write_all(b"message").unwrap();
            ours.read_exact(&mut [0; 7]).unwrap();
            ours.write_all(b"acknowledgement").unwrap();
            !acknowledges_at_read(&ours.try_clone().unwrap().into())
        });
        assert!(is_held_back);
        let ours = OwnedFd::from(ours);
        acknowledge_at_read(&ours).unwrap();
        assert!(acknowledges_at_read(&ours));
    }
}
