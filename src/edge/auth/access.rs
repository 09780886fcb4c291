//! Who may ask at all: lists of networks, looked at before any credential.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Bits of an IPv6 address before the IPv4 address that it may have in it (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A network of IPv4 addresses that is written as IPv6 (`::ffff:192.0.2.0/120`) as the IPv4 network that it means; others as they are. Addresses are
/// compared as IPv4 wherever they can be, so that it would have nobody in it.
pub fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && let Some(bits) = v6.prefix_len().checked_sub(MAPPED_BITS)
        && let Some(address) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(address, bits)
    {
        return IpNet::V4(v4);
    }
    network
}

/// The networks of one action.
///
/// An address in `deny` may not. With an empty `allow` every other one may; else only those in `allow`. So `deny` wins where both name an
/// address. An IPv4 address that came as IPv6 (`::ffff:192.0.2.1`) counts as the IPv4 address that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Those who may; empty: everybody.
    pub allow: Vec<IpNet>,
    /// Those who may not.
    pub deny: Vec<IpNet>,
}

impl Access {
    /// Whether an address may ask.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv4_is_one_however_it_is_written() {
        for (written, meant) in [
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.1/128", "192.0.2.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("::1/128", "::1/128"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(canonical(written.parse().unwrap()).to_string(), meant, "{written}");
        }
    }

    #[test]
    fn deny_wins_over_allow_and_no_list_is_everybody() {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let access = |allow: &[&str], deny: &[&str]| Access { allow: nets(allow), deny: nets(deny) };
        for (access, address, may) in [
            (access(&[], &[]), "192.0.2.1", true),
            (access(&["192.0.2.0/24"], &[]), "192.0.2.1", true),
            (access(&["192.0.2.0/24"], &[]), "192.0.3.1", false),
            (access(&["192.0.2.0/24"], &["192.0.2.1/32"]), "192.0.2.1", false),
            (access(&["192.0.2.0/24"], &["192.0.2.1/32"]), "192.0.2.2", true),
            (access(&[], &["192.0.2.0/24"]), "192.0.3.1", true),
            (access(&[], &["192.0.2.0/24"]), "::ffff:192.0.2.9", false),
            (access(&["2001:db8::/32"], &[]), "2001:db8::1", true),
            (access(&["2001:db8::/32"], &[]), "192.0.2.1", false),
            (access(&["0.0.0.0/0"], &[]), "2001:db8::1", false),
        ] {
            assert_eq!(access.permits(address.parse().unwrap()), may, "{access:?} {address}");
        }
    }
}
