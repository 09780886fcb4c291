//! How far an address reaches: what is near is this machine, its link, or a private net.
//!
//! A target on the Internet that asks to be connected to elsewhere could have us speak to servers that it cannot reach itself, and learn from
//! what comes of it which there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is nothing that the whole Internet could be reached at: loopback, link-local, private or shared (RFC 1918, 6598, 4193),
/// unspecified, or no single host. IPv4 within IPv6 counts as what it is (RFC 4291 §2.5.5, RFC 6052 §2.1).
pub(super) fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_near_v4(address),
        IpAddr::V6(address) => embedded(address).map_or_else(|| is_near_v6(address), is_near_v4),
    }
}

fn is_near_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || first == 0
        || (first == 100 && second & 0xc0 == 64)
}

fn is_near_v6(address: Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address.is_unique_local()
}

/// The IPv4 address within a translated one (`64:ff9b::/96`).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = address.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_what_not_everybody_can_reach() {
        for near in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "fc00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in [
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }
}
