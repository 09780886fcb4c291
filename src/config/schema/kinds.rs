//! The kinds of key that several tables have, and what their values are made of.
//!
//! A macro is a kind of key that fills a field; where two keys of a kind differ in more than that, they share functions.

use std::net::SocketAddr;
use std::path::PathBuf;

pub(super) const ADDRESS: &str = "ADDRESS:PORT, such as 0.0.0.0:1935, 127.0.0.1:8935 or [::]:1935";
pub(super) const NETWORK: &str = "ADDRESS/BITS, such as 127.0.0.0/8 or ::1/128";
pub(in crate::config) const DAY_SECONDS: u64 = 86_400;
pub(in crate::config) const KIB: u64 = 1 << 10;
pub(in crate::config) const MIB: u64 = 1 << 20;
pub(in crate::config) const GIB: u64 = 1 << 30;

/// A field that holds a whole number. The range must fit the field's type; a test writes both its ends.
macro_rules! number {
    ($name:literal, $allowed:expr, $about:literal, $($field:ident).+) => {
        Key {
            name: $name,
            about: $about,
            kind: Kind::Integer {
                allowed: $allowed,
                read: |target| target.$($field).+ as u64,
                write: |target, value| target.$($field).+ = value as _,
            },
        }
    };
}

/// A field that holds a list of networks.
macro_rules! networks {
    ($name:literal, $about:literal, $($field:ident).+) => {
        Key {
            name: $name,
            about: $about,
            kind: Kind::List {
                allowed: NETWORK,
                read: |target| target.$($field).+.iter().map(IpNet::to_string).collect(),
                write: |target, texts| {
                    let parse = |text: &String| {
                        let network = text.parse().map_err(|_| format!("{text:?} is no network"))?;
                        Ok::<_, String>(crate::edge::auth::access::canonical(network))
                    };
                    target.$($field).+ = texts.iter().map(parse).collect::<Result<_, _>>()?;
                    Ok(())
                },
            },
        }
    };
}

/// A `Duration` field given in whole seconds.
macro_rules! seconds {
    ($name:literal, $allowed:expr, $about:literal, $($field:ident).+) => {
        Key {
            name: $name,
            about: $about,
            kind: Kind::Integer {
                allowed: $allowed,
                read: |target| target.$($field).+.as_secs(),
                write: |target, value| target.$($field).+ = Duration::from_secs(value),
            },
        }
    };
}

pub(in crate::config) use {networks, number, seconds};

pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("no file is named".into()) } else { Ok(text.into()) }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not an address"))
}
