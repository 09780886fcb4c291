//! The addresses that hostile peers come from: those of prefixes, spread evenly, so that limits by prefix can be tried.
//!
//! A prefix as long as the limit's is one peer to it, a shorter one is many.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Prefixes that addresses are taken from, in turn; the kernel chooses when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(Vec<IpNet>);

impl Sources {
    /// Of these prefixes.
    pub fn new(prefixes: &[IpNet]) -> Self {
        Self(prefixes.to_vec())
    }

    /// The address of connection `number`. Addresses come again when all have been.
    pub fn address(&self, number: u64) -> Option<IpAddr> {
        let count = self.0.len() as u64;
        let prefix = self.0.get(number.checked_rem(count)? as usize)?;
        let place = u128::from(number / count);
        Some(match prefix {
            IpNet::V4(prefix) => {
                let host_bits = u32::from(32 - prefix.prefix_len());
                let first = u32::from(prefix.network());
                IpAddr::V4(Ipv4Addr::from(first | offset(place, host_bits) as u32))
            }
            IpNet::V6(prefix) => {
                let host_bits = u32::from(128 - prefix.prefix_len());
                let first = u128::from(prefix.network());
                IpAddr::V6(Ipv6Addr::from(first | offset(place, host_bits)))
            }
        })
    }

    /// How many addresses there are; 1 when the kernel chooses.
    pub fn count(&self) -> u64 {
        let of = |prefix: &IpNet| 1_u64 << (prefix.max_prefix_len() - prefix.prefix_len()).min(40);
        self.0.iter().map(of).sum::<u64>().max(1)
    }
}

/// The host part of address number `place`: its bits turned round, so that what comes one after the other is far apart. The first and the
/// last of a prefix, which have meanings of their own, come last.
fn offset(place: u128, host_bits: u32) -> u128 {
    if host_bits == 0 {
        return 0;
    }
    let mask = u128::MAX >> (128 - host_bits);
    // 0 and all ones are their own reverse.
    let turned = |place: u128| (place & mask).reverse_bits() >> (128 - host_bits);
    match mask {
        1 => turned(place),
        _ => turned(1 + place % (mask - 1)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn sources(prefixes: &[&str]) -> Sources {
        Sources::new(&prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect::<Vec<_>>())
    }

    fn first(sources: &Sources, count: u64) -> Vec<String> {
        (0..count).map(|number| sources.address(number).unwrap().to_string()).collect()
    }

    #[test]
    fn addresses_are_spread_over_their_prefix_and_none_is_left_out() {
        let all: BTreeSet<_> = first(&sources(&["127.1.2.0/24"]), 254).into_iter().collect();
        assert_eq!(all.len(), 254);
        assert!(!all.contains("127.1.2.0") && !all.contains("127.1.2.255"));
        let wide = sources(&["127.1.0.0/16"]);
        let networks: BTreeSet<_> = first(&wide, 200)
            .into_iter()
            .map(|address| address.rsplit_once('.').unwrap().0.to_owned())
            .collect();
        assert!(networks.len() > 50, "{networks:?}");
        assert_eq!(first(&wide, 2), ["127.1.128.0", "127.1.64.0"]);
        assert_eq!(wide.count(), 65_536);
    }

    #[test]
    fn prefixes_take_turns_and_short_ones_repeat() {
        assert_eq!(
            first(&sources(&["127.0.0.9/32", "127.3.0.0/31"]), 4),
            ["127.0.0.9", "127.3.0.0", "127.0.0.9", "127.3.0.1"]
        );
        assert_eq!(first(&sources(&["127.3.0.0/30"]), 3), ["127.3.0.2", "127.3.0.1", "127.3.0.2"]);
        assert_eq!(first(&sources(&["2001:db8::/64"]), 1), ["2001:db8:0:0:8000::"]);
        assert_eq!(first(&sources(&["::1/128"]), 1), ["::1"]);
        assert_eq!((sources(&[]).address(7), sources(&[]).count()), (None, 1));
    }
}
