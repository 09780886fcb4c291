//! The keys of `[rtmp]` and `[proxy]`: where RTMP is served, and who may stand in front of it.

use std::net::SocketAddr;

use super::Table;
use super::kinds::{ADDRESS, DAY_SECONDS, GIB, KIB, address, congestion, dscp, networks, number, seconds};
use crate::config::key::{Key, Kind};
pub(in crate::config) use crate::runtime::listener::overlap;

/// `[rtmp]`.
pub(super) const RTMP: Table = Table {
    name: "rtmp",
    keys: &[
        Key {
            name: "listen",
            about: "Addresses that RTMP is served on; [::] serves IPv4 and IPv6",
            kind: Kind::List {
                allowed: ADDRESS,
                read: |config| config.runtime.listen.iter().map(SocketAddr::to_string).collect(),
                write: |config, texts| {
                    config.runtime.listen = addresses(texts)?;
                    if config.runtime.listen.is_empty() {
                        return Err("no address is given".into());
                    }
                    Ok(())
                },
            },
        },
        number!(
            "window_ack_bytes",
            64 * KIB..=GIB,
            "Peers acknowledge once for each so many bytes received",
            runtime.session.window_ack_size
        ),
        seconds!(
            "ping_seconds",
            1..=DAY_SECONDS,
            "A peer that is silent for so long is sent a ping",
            runtime.session.ping_interval
        ),
        congestion!(runtime.traffic),
        dscp!(runtime.traffic),
    ],
};

/// `[proxy]`.
pub(super) const PROXY: Table = Table {
    name: "proxy",
    keys: &[networks!(
        "trusted",
        "Balancers: their connections must begin with a PROXY header (version 1 or 2), which others may not send",
        runtime.proxies
    )],
};

pub(super) fn addresses(texts: &[String]) -> Result<Vec<SocketAddr>, String> {
    let mut addresses: Vec<SocketAddr> = Vec::with_capacity(texts.len());
    for text in texts {
        let new = address(text)?;
        if let Some(old) = addresses.iter().find(|old| overlap(**old, new)) {
            return Err(format!("{new} is served by {old} already"));
        }
        addresses.push(new);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    #[test]
    fn listeners_overlap_when_one_address_stands_for_the_other() {
        let overlap = |a: &str, b: &str| {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(super::overlap(a, b), super::overlap(b, a));
            super::overlap(a, b)
        };
        assert!(overlap("127.0.0.1:1935", "127.0.0.1:1935"));
        assert!(overlap("0.0.0.0:1935", "127.0.0.1:1935"));
        assert!(overlap("[::]:1935", "0.0.0.0:1935"));
        assert!(overlap("[::]:1935", "[::1]:1935"));
        assert!(!overlap("0.0.0.0:1935", "[::1]:1935"));
        assert!(!overlap("0.0.0.0:1935", "0.0.0.0:1936"));
        assert!(!overlap("127.0.0.1:0", "127.0.0.1:0"), "port 0 is whichever is free");
    }
}
