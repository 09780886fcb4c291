//! What is asked of the kernel about sockets: how they connect, what they take at once, what it knows of them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use tokio::net::{TcpSocket, TcpStream};

use crate::link::Link;

/// Connects, with nothing said yet.
pub async fn connect(address: SocketAddr, source: Option<IpAddr>, link: Link) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(bytes) = link.receive_bytes() {
        // Before connecting, since the window's scale is agreed on there.
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        // Otherwise the port would be taken for all destinations, before the one is known.
        choose_port_at_connect(&socket)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let socket = socket.connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// What a socket takes at once. The runtime does not learn that it is full.
pub(crate) fn send_now(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the descriptor is open; the kernel reads at most `bytes.len()` bytes of what lives longer than the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Says that nothing more comes from us.
pub(crate) fn shut_down(socket: &TcpStream) -> io::Result<()> {
    // SAFETY: the descriptor is open; no pointers.
    let result = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's smoothed round-trip time of a connection, µs; `None` where it does not tell.
pub fn rtt_us(socket: &TcpStream) -> Option<u64> {
    tcp_info(socket).map(|info| u64::from(info.tcpi_rtt)).filter(|rtt_us| *rtt_us > 0)
}

fn tcp_info(socket: &TcpStream) -> Option<libc::tcp_info> {
    // SAFETY: `tcp_info` is plain numbers, for which all zero is valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the descriptor is open; the kernel writes at most `length` bytes to `info`, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(info)
}

fn choose_port_at_connect(socket: &TcpSocket) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the option's value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether neither side has ended the connection, as far as the kernel knows: what was not read does not hide it.
pub(crate) fn is_established(socket: &TcpStream) -> bool {
    /// `TCP_ESTABLISHED` of the kernel's `tcp_states.h`.
    const ESTABLISHED: u8 = 1;
    tcp_info(socket).is_some_and(|info| info.tcpi_state == ESTABLISHED)
}

/// Lets the connection end with a reset when the socket is dropped.
pub(crate) fn reset_on_close(socket: &TcpStream) -> io::Result<()> {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the descriptor is open, and the option's value outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const at_once).cast(),
            size_of_val(&at_once) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
