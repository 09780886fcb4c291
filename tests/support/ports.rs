//! Ports for servers that cannot choose one themselves.

use std::net::TcpListener;

/// A port of 127.0.0.1 that was free a moment ago. Another process may take it before it is used: whoever asks must be ready
/// to ask again. `inrush` needs none of this: it listens on port 0 and prints what it got.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    listener.local_addr().expect("a bound socket has an address").port()
}
