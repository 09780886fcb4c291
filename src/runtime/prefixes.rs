//! Connections by address prefix: one network must not take all the places.
//!
//! Counted on accept and close, on all cores together; never touched on a message.
//! # Bounds
//! One entry a prefix that has connections, so never more than connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What counts as one network, IPv4: the smallest block that is routed on its own.
const IPV4_BITS: u8 = 24;
/// The same for IPv6: what one site is given.
const IPV6_BITS: u8 = 48;

/// Counts connections by prefix and refuses those over the limit.
#[derive(Debug)]
pub(crate) struct Prefixes {
    counts: Mutex<HashMap<IpNet, usize>>,
    connections_max: usize,
    trusted: Vec<IpNet>,
}

/// The place of one connection; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place {
    counted: Option<(Arc<Prefixes>, IpNet)>,
}

impl Prefixes {
    /// `connections_max` for each prefix; addresses in `trusted` are not counted.
    pub(crate) fn new(connections_max: usize, trusted: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::default(), connections_max, trusted })
    }

    /// A place for a connection of this address, unless its network has too many.
    pub(crate) fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        if self.trusted.iter().any(|trusted| trusted.contains(&address)) {
            return Some(Place { counted: None });
        }
        let prefix = prefix_of(address);
        let mut counts = self.counts();
        let count = counts.entry(prefix).or_default();
        if *count >= self.connections_max {
            return None;
        }
        *count += 1;
        Some(Place { counted: Some((self.clone(), prefix)) })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpNet, usize>> {
        // A panic under the lock cannot leave a count half changed.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((prefixes, prefix)) = &self.counted else { return };
        let mut counts = prefixes.counts();
        if let Some(count) = counts.get_mut(prefix) {
            *count -= 1;
            if *count == 0 {
                counts.remove(prefix);
            }
        }
    }
}

fn prefix_of(address: IpAddr) -> IpNet {
    // The lengths are within their families' bounds, so neither can fail.
    match address {
        IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new_assert(v4, IPV4_BITS).trunc()),
        IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new_assert(v6, IPV6_BITS).trunc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A network fills up without touching its neighbours, and a place given back is free again.
    #[test]
    fn a_network_has_so_many_places() {
        let prefixes = Prefixes::new(2, Vec::new());
        let first = prefixes.place(address("203.0.113.1")).unwrap();
        let _second = prefixes.place(address("203.0.113.200")).unwrap();
        assert!(prefixes.place(address("203.0.113.7")).is_none());
        assert!(prefixes.place(address("203.0.114.7")).is_some());
        drop(first);
        assert!(prefixes.place(address("203.0.113.7")).is_some());
        let _v6 = [prefixes.place(address("2001:db8:1::1")), prefixes.place(address("2001:db8:1:ffff::1"))];
        assert!(prefixes.place(address("2001:db8:1:2::1")).is_none());
        assert!(prefixes.place(address("2001:db8:2::1")).is_some());
    }

    /// Trusted networks are not counted, and nothing is kept of those that left.
    #[test]
    fn trusted_networks_are_free() {
        let prefixes = Prefixes::new(1, vec!["127.0.0.0/8".parse().unwrap()]);
        let places: Vec<_> = (0..9).map(|_| prefixes.place(address("127.0.0.1")).unwrap()).collect();
        assert!(prefixes.counts().is_empty());
        drop(places);
        drop(prefixes.place(address("192.0.2.1")));
        assert!(prefixes.counts().is_empty());
    }
}
