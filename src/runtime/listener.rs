//! Listeners: one socket a core and address, and the loop that accepts.
//!
//! The first listener of an address binds without `SO_REUSEPORT` and sets it afterwards; the other cores' join it. So a second server
//! is told EADDRINUSE instead of silently sharing the port.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::socket::tune_listener;
use super::traffic::Traffic;

/// A listener of one core; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) socket: Rc<OwnedFd>,
    address: SocketAddr,
    serves: Rc<Cell<Serves>>,
    is_over: Rc<Cell<bool>>,
}

impl Listener {
    pub(crate) fn new((socket, place): (OwnedFd, ListenerPlace)) -> Self {
        let ListenerPlace { address, serves } = place;
        Self { socket: Rc::new(socket), address, serves: Rc::new(Cell::new(serves)), is_over: Rc::default() }
    }

    /// What its next connections speak.
    pub(crate) fn serves(&self) -> Serves {
        self.serves.get()
    }

    /// Whether it takes connections no more: then its accepts in flight come back with errors.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Goes on as one of these, or ends; says whether it goes on. Connections that it has taken live on either way.
    pub(crate) fn become_one_of(&self, wanted: &[ListenerPlace]) -> bool {
        let place = ListenerPlace { address: self.address, serves: self.serves() };
        match wanted.iter().find(|wanted| place.can_become(**wanted)) {
            Some(wanted) => {
                self.serves.set(wanted.serves);
                true
            }
            None => {
                self.end();
                false
            }
        }
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        self.is_over.set(true);
        shut(&self.socket);
    }
}

/// The accepts in flight come back with an error.
pub(crate) fn shut(listener: &OwnedFd) {
    // It is a listener and it is open; should it fail after all, the core's end waits for nothing but time.
    let _ = SockRef::from(listener).shutdown(std::net::Shutdown::Both);
}

/// Which listener it is: by the address in the settings, which may leave the port open, and what is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenerPlace {
    pub(crate) address: SocketAddr,
    pub(crate) serves: Serves,
}

impl ListenerPlace {
    /// Whether a listener that is there serves as the other: it need not be bound anew to speak something else.
    pub(crate) fn can_become(self, other: Self) -> bool {
        self == other || (self.address == other.address && self.address.port() != 0)
    }
}

/// What a listener's connections speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    Rtmp,
    Rtmps,
    /// Whichever the first byte shows.
    Either,
}

/// The kernel tears a ring down, and with it the listeners that it still used, a while after its process is gone.
pub(crate) const BIND_RETRY_MAX: Duration = Duration::from_secs(5);
const BIND_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Two listeners cannot have both: the same port of the same address, or of one that stands for the other as well.
pub(crate) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |a: SocketAddr, b: SocketAddr| {
        a.ip() == b.ip() || (a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4()))
    };
    a.port() == b.port() && a.port() != 0 && (covers(a, b) || covers(b, a))
}

/// Binds one listener a core to the address, whose connections have this of it; gives them with the address really bound. One that is in use is tried again for
/// `patience`; with `joins` the address may overlap one that this process has. Nobody can connect before [`listen`].
pub(crate) fn bind(
    address: SocketAddr,
    cores: usize,
    traffic: &Traffic,
    patience: Duration,
    joins: bool,
) -> io::Result<(Vec<OwnedFd>, SocketAddr)> {
    let first = bind_first(address, patience, joins)?;
    let bound = first
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("listener without an internet address"))?;
    let mut sockets = vec![first];
    for _ in 1..cores {
        let next = new_socket(bound)?;
        next.set_reuse_port(true)?;
        next.bind(&bound.into())?;
        sockets.push(next);
    }
    for socket in &sockets {
        tune_listener(socket)?;
        traffic.apply(socket)?;
    }
    Ok((sockets.into_iter().map(OwnedFd::from).collect(), bound))
}

/// Lets clients connect.
pub(crate) fn listen(listener: &OwnedFd) -> io::Result<()> {
    SockRef::from(listener).listen(BACKLOG)
}

fn bind_first(address: SocketAddr, patience: Duration, joins: bool) -> io::Result<Socket> {
    within(patience, || {
        let socket = new_socket(address)?;
        if joins {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&address.into())?;
        socket.set_reuse_port(true)?;
        Ok(socket)
    })
}

/// Binds again for a while when the address is in use: the one that has it may be about to end.
pub(crate) fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    within(BIND_RETRY_MAX, bind)
}

fn within<T>(patience: Duration, bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let give_up = Instant::now() + patience;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                std::thread::sleep(BIND_RETRY_INTERVAL);
            }
            bound => return bound,
        }
    }
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    // Connections of the server before us in TIME_WAIT do not keep the port.
    socket.set_reuse_address(true)?;
    if let SocketAddr::V6(v6) = address {
        // `[::]` serves both families; a specific address only its own.
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    Ok(socket)
}

/// Whether an accept failed for want of something that other connections will give back.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Several cores share one address, and a second server is refused.
    #[test]
    fn a_second_server_is_refused() {
        let (listeners, address) =
            bind("127.0.0.1:0".parse().unwrap(), 3, &Traffic::default(), Duration::ZERO, false).unwrap();
        assert_eq!(listeners.len(), 3);
        assert!(std::net::TcpStream::connect(address).is_err(), "it is bound, and nobody can see it");
        listeners.iter().for_each(|listener| listen(listener).unwrap());
        let second = new_socket(address).unwrap();
        let refusal = second.bind(&address.into()).unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::AddrInUse);
    }

    /// `[::]` takes IPv4 as well.
    #[test]
    fn the_unspecified_v6_address_serves_both_families() {
        let (listeners, address) =
            bind("[::]:0".parse().unwrap(), 1, &Traffic::default(), Duration::ZERO, false).unwrap();
        listeners.iter().for_each(|listener| listen(listener).unwrap());
        std::net::TcpStream::connect(("127.0.0.1", address.port())).unwrap();
        std::net::TcpStream::connect(("::1", address.port())).unwrap();
    }
}
