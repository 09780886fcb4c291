//! Who may ask at all: lists of networks, looked at before any credential.

use std::net::IpAddr;

use ipnet::IpNet;

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
