//! How a connection's packets are marked and paced: its congestion control (`TCP_CONGESTION`) and its DSCP (RFC 2474, in `IP_TOS` and
//! `IPV6_TCLASS`).
//!
//! Set on listeners, of which every accepted connection has both without a call of its own, and on connections that we make before their first
//! packet. What a connection really has is read back when somebody first asks for it, and stays: nobody sets it later.
//! # Bounds
//! Three system calls in the life of a connection that is shown in the API, however often; none otherwise.
//! # Errors
//! The kernel's, when it does not know a congestion control, or keeps it for the privileged (`net.ipv4.tcp_allowed_congestion_control`).

use std::cell::OnceCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{Domain, SockRef, Socket, Type};

/// Longest name of a congestion control, bytes (`TCP_CA_NAME_MAX` without its end).
pub const CONGESTION_BYTES_MAX: usize = 15;

/// The largest DSCP: it has six bits.
pub const DSCP_MAX: u8 = 63;

/// The two bits of the octet below the DSCP are ECN's, which the kernel keeps to itself.
const ECN_BITS: u32 = 2;

/// Where the kernel tells which congestion controls it has.
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";

/// Where it tells which of them a socket has that asks for none.
const DEFAULT: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// What connections are to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Congestion control by its name; empty: the system's (`net.ipv4.tcp_congestion_control`).
    pub congestion: String,
    /// DSCP, 0 to [`DSCP_MAX`]; 0, the default of every system, is not set.
    pub dscp: u8,
}

/// What a connection has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficInUse {
    /// Congestion control by its name.
    pub congestion: String,
    /// DSCP.
    pub dscp: u8,
}

/// What was read of one connection. In a cell, since who only looks at a connection may ask as well.
#[derive(Debug, Default)]
pub(crate) struct TrafficGauge(OnceCell<TrafficInUse>);

impl TrafficGauge {
    /// What the connection has; the kernel is asked until it has said it once.
    pub(crate) fn read(&self, socket: &impl AsFd) -> Option<TrafficInUse> {
        if self.0.get().is_none() {
            let _ = self.0.set(Traffic::in_use(socket)?);
        }
        self.0.get().cloned()
    }
}

impl Traffic {
    /// Sets it on a socket.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn apply(&self, socket: &impl AsFd) -> io::Result<()> {
        let socket = SockRef::from(socket);
        if !self.congestion.is_empty() {
            socket.set_tcp_congestion(self.congestion.as_bytes())?;
        }
        if self.dscp > 0 {
            let octet = u32::from(self.dscp.min(DSCP_MAX)) << ECN_BITS;
            // Of a socket for both families too: this one is for peers that come by IPv4.
            socket.set_tos_v4(octet)?;
            if socket.local_addr()?.is_ipv6() {
                socket.set_tclass_v6(octet)?;
            }
        }
        Ok(())
    }

    /// Sets it on a socket that may have had another: what is not set is the system's again.
    ///
    /// # Errors
    /// When the kernel refuses, or does not tell what the system's is.
    pub fn replace(&self, socket: &impl AsFd) -> io::Result<()> {
        if self.congestion.is_empty() {
            let default = std::fs::read_to_string(DEFAULT)?;
            SockRef::from(socket).set_tcp_congestion(default.trim().as_bytes())?;
        }
        if self.dscp == 0 {
            let socket = SockRef::from(socket);
            socket.set_tos_v4(0)?;
            if socket.local_addr()?.is_ipv6() {
                socket.set_tclass_v6(0)?;
            }
        }
        self.apply(socket)
    }

    /// Whether a socket of this address's family would take it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn check(&self, address: SocketAddr) -> io::Result<()> {
        self.replace(&Socket::new(Domain::for_address(address), Type::STREAM, None)?)
    }

    /// What a socket has; nothing when it cannot say, as one that is gone.
    pub(crate) fn in_use(socket: &impl AsFd) -> Option<TrafficInUse> {
        let socket = SockRef::from(socket);
        let name = socket.tcp_congestion().ok()?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let local = socket.local_addr().ok()?.as_socket()?;
        let octet = match local.ip().to_canonical().is_ipv4() {
            true => socket.tos_v4(),
            false => socket.tclass_v6(),
        };
        let dscp = u8::try_from(octet.ok()? >> ECN_BITS).ok()?;
        Some(TrafficInUse { congestion: String::from_utf8_lossy(name).into_owned(), dscp })
    }
}

/// The congestion controls that this machine has; none when it does not tell.
pub fn congestion_available() -> Vec<String> {
    let text = std::fs::read_to_string(AVAILABLE).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// The code points that have names (RFC 2474, 2597, 3246, 5865, 8622).
const NAMED: [(&str, u8); 23] = [
    ("cs0", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

/// A DSCP by its number or its name.
pub fn dscp_named(text: &str) -> Option<u8> {
    let by_name = NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, dscp)| *dscp);
    by_name.or_else(|| text.parse().ok().filter(|dscp| *dscp <= DSCP_MAX))
}

/// The name of a DSCP, or its number: 0, which is not set, is always that.
pub fn dscp_name(dscp: u8) -> String {
    let named = NAMED.iter().find(|(_, named)| *named == dscp && dscp > 0);
    named.map_or_else(|| dscp.to_string(), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::runtime::listener;

    /// Over both families, on every core's socket: what is accepted has what its listener was given.
    #[test]
    fn accepted_connections_have_what_their_listener_has() {
        let traffic = Traffic { congestion: "reno".into(), dscp: 34 };
        for (address, hosts) in [("127.0.0.1:0", &["127.0.0.1"][..]), ("[::]:0", &["127.0.0.1", "::1"][..])] {
            let (sockets, bound) =
                listener::bind(address.parse().unwrap(), 2, &traffic, Duration::ZERO, false).unwrap();
            sockets.iter().for_each(|socket| listener::listen(socket).unwrap());
            let listeners: Vec<_> = sockets.into_iter().map(TcpListener::from).collect();
            for listener in &listeners {
                assert_eq!(SockRef::from(listener).tos_v4().unwrap(), 34 << 2);
                listener.set_nonblocking(true).unwrap();
            }
            for host in hosts {
                let _peer = TcpStream::connect((*host, bound.port())).unwrap();
                let accepted = loop {
                    if let Some((accepted, _)) = listeners.iter().find_map(|listener| listener.accept().ok())
                    {
                        break accepted;
                    }
                    std::thread::yield_now();
                };
                let expected = TrafficInUse { congestion: "reno".into(), dscp: 34 };
                assert_eq!(Traffic::in_use(&accepted), Some(expected), "{host} at {address}");
            }
        }
    }

    #[test]
    fn what_the_kernel_does_not_have_is_refused() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = Traffic::in_use(&socket).unwrap();
        Traffic { congestion: "no_such_one".into(), dscp: 0 }.apply(&socket).unwrap_err();
        Traffic::default().apply(&socket).unwrap();
        assert_eq!(Traffic::in_use(&socket), Some(before.clone()));
        assert_eq!(before.dscp, 0);
        assert!(congestion_available().contains(&before.congestion), "{before:?}");
        // And what was set is taken back.
        Traffic { congestion: "reno".into(), dscp: 34 }.replace(&socket).unwrap();
        Traffic::default().replace(&socket).unwrap();
        assert_eq!(Traffic::in_use(&socket), Some(before));
    }

    /// Whoever asks how often, the kernel is asked once; what cannot say it is no answer for good.
    #[test]
    fn the_kernel_is_asked_once_for_each_connection() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let gauge = TrafficGauge::default();
        assert_eq!(gauge.read(&std::fs::File::open("/dev/null").unwrap()), None);
        let before = gauge.read(&socket);
        assert_eq!(before.as_ref().map(|it| it.dscp), Some(0));
        Traffic { congestion: String::new(), dscp: 34 }.apply(&socket).unwrap();
        assert_eq!(Traffic::in_use(&socket).map(|it| it.dscp), Some(34));
        assert_eq!(gauge.read(&socket), before);
    }

    #[test]
    fn code_points_go_by_number_and_name() {
        for dscp in 0..=DSCP_MAX {
            assert_eq!(dscp_named(&dscp_name(dscp)), Some(dscp));
            assert_eq!(dscp_named(&dscp.to_string()), Some(dscp));
        }
        for (name, dscp) in [
            ("EF", Some(46)),
            ("af41", Some(34)),
            ("cs0", Some(0)),
            ("64", None),
            ("-1", None),
            ("af44", None),
            ("", None),
        ] {
            assert_eq!(dscp_named(name), dscp, "{name}");
        }
        assert_eq!((dscp_name(0), dscp_name(46), dscp_name(47)), ("0".into(), "ef".into(), "47".into()));
    }
}
