//! Ports for servers that cannot choose one themselves.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// A port of 127.0.0.1 that was free a moment ago. Another process may take it before it is used: whoever asks must be ready
/// to ask again. `inrush` needs none of this: it listens on port 0 and prints what it got.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// A port of 127.0.0.1 that no other process gets, also while nobody listens on it: connections are refused then. One at a time may listen,
/// who lets the address be used again (`SO_REUSEADDR`), as `inrush` and the standard library's listener do.
pub struct HeldPort {
    /// Bound, and never listening.
    _socket: Socket,
    address: SocketAddr,
}

impl HeldPort {
    /// A free one.
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("let its address be used again");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("bind a port");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        Self { _socket: socket, address: address.expect("a bound socket has an address") }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
