//! The kinds of key that several tables have, and what their values are made of.
//!
//! A macro is a key that fills a field of its table's settings: its name, what is allowed, one line about it, and the field. Keys that
//! take more than a kind allows share the functions below the macros.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use crate::edge::auth::{access, said_limits};
use crate::edge::http;
use crate::media::codec::Codec;
use crate::runtime::traffic;

pub(super) const ADDRESS: &str = "ADDRESS:PORT, such as 0.0.0.0:1935, 127.0.0.1:8935 or [::]:1935";
pub(in crate::config) const APP_OR_ANY: &str = "an app's name without slashes around it, or *";
pub(in crate::config) const NETWORK: &str = "ADDRESS/BITS, such as 127.0.0.0/8 or ::1/128";
pub(in crate::config) const CONGESTION: &str =
    "a name in net.ipv4.tcp_available_congestion_control, or nothing";
pub(in crate::config) const DSCP: &str = "0 to 63, cs0 to cs7, af11 to af43, ef, va, le";
pub(in crate::config) const CODECS: &str =
    "codecs as the API names them, such as avc1, hvc1, av01, mp4a, Opus, .mp3";
pub(in crate::config) const HTTP_URL: &str = "http://HOST/… or https://HOST/…";
pub(in crate::config) const DAY_SECONDS: u64 = 86_400;
pub(in crate::config) const KIB: u64 = 1 << 10;
pub(in crate::config) const MIB: u64 = 1 << 20;
pub(in crate::config) const GIB: u64 = 1 << 30;

/// A field that holds a whole number. The range must fit the field's type; a test writes both its ends.
macro_rules! number {
    ($name:literal, $allowed:expr, $about:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            name: $name,
            about: $about,
            kind: $crate::config::key::Kind::Integer {
                allowed: $allowed,
                read: |target| target.$($field).+ as u64,
                write: |target, value| target.$($field).+ = value as _,
            },
        }
    };
}

/// A `Duration` field given in whole seconds.
macro_rules! seconds {
    ($name:literal, $allowed:expr, $about:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            name: $name,
            about: $about,
            kind: $crate::config::key::Kind::Integer {
                allowed: $allowed,
                read: |target| target.$($field).+.as_secs(),
                write: |target, value| target.$($field).+ = std::time::Duration::from_secs(value),
            },
        }
    };
}

/// A `Duration` field given in whole milliseconds.
macro_rules! milliseconds {
    ($name:literal, $allowed:expr, $about:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            name: $name,
            about: $about,
            kind: $crate::config::key::Kind::Integer {
                allowed: $allowed,
                read: |target| target.$($field).+.as_millis() as u64,
                write: |target, value| target.$($field).+ = std::time::Duration::from_millis(value),
            },
        }
    };
}

/// A field that is on or off.
macro_rules! switch {
    ($name:literal, $about:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            name: $name,
            about: $about,
            kind: $crate::config::key::Kind::Boolean {
                read: |target| target.$($field).+,
                write: |target, value| target.$($field).+ = value,
            },
        }
    };
}

/// A field that holds a text: any, or one that a function takes and may refuse.
macro_rules! text {
    ($name:expr, $allowed:expr, $about:literal, $($field:ident).+) => {
        $crate::config::schema::kinds::text!($name, $allowed, $about, $($field).+, Ok::<_, String>)
    };
    ($name:expr, $allowed:expr, $about:literal, $($field:ident).+, $take:expr) => {
        $crate::config::key::Key {
            name: $name,
            about: $about,
            kind: $crate::config::key::Kind::Text {
                allowed: $allowed,
                read: |target| target.$($field).+.clone(),
                write: |target, text| {
                    target.$($field).+ = $take(text)?.into();
                    Ok(())
                },
            },
        }
    };
}

/// A field that holds a path or nothing.
macro_rules! optional_path {
    ($name:literal, $allowed:expr, $about:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            name: $name,
            about: $about,
            kind: $crate::config::key::Kind::Text {
                allowed: $allowed,
                read: |target| {
                    target.$($field).+.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
                },
                write: |target, text| {
                    target.$($field).+ = (!text.is_empty()).then(|| text.into());
                    Ok(())
                },
            },
        }
    };
}

/// A limit that may be none, which is written as 0.
macro_rules! limit {
    ($name:literal, $allowed:expr, $about:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            name: $name,
            about: $about,
            kind: $crate::config::key::Kind::Integer {
                allowed: $allowed,
                read: |target| target.$($field).+.map_or(0, |max| max.get() as u64),
                write: |target, value| target.$($field).+ = std::num::NonZero::new(value as _),
            },
        }
    };
}

/// The codecs that tracks may have; none are named where all are allowed.
macro_rules! codecs {
    ($name:literal, $about:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            name: $name,
            about: $about,
            kind: $crate::config::key::Kind::List {
                allowed: $crate::config::schema::kinds::CODECS,
                read: |target| {
                    target.$($field).+.as_deref().map($crate::edge::auth::said_limits::names_of).unwrap_or_default()
                },
                write: |target, names| {
                    target.$($field).+ = $crate::config::schema::kinds::codecs_or_all(names)?;
                    Ok(())
                },
            },
        }
    };
}

/// The congestion control of a [`Traffic`](crate::runtime::traffic::Traffic) field.
macro_rules! congestion {
    ($($field:ident).+) => {
        $crate::config::key::Key {
            name: "congestion",
            about: "Congestion control of its connections, such as bbr or cubic; empty: the system's",
            kind: $crate::config::key::Kind::Text {
                allowed: $crate::config::schema::kinds::CONGESTION,
                read: |target| target.$($field).+.congestion.clone(),
                write: |target, text| {
                    target.$($field).+.congestion = $crate::config::schema::kinds::congestion_known(text)?.into();
                    Ok(())
                },
            },
        }
    };
}

/// The DSCP of such a field.
macro_rules! dscp {
    ($($field:ident).+) => {
        $crate::config::key::Key {
            name: "dscp",
            about: "DSCP of what they send, by number or name (af41, cs4, ef); 0: none is set",
            kind: $crate::config::key::Kind::NameOrNumber {
                allowed: $crate::config::schema::kinds::DSCP,
                read: |target| $crate::runtime::traffic::dscp_name(target.$($field).+.dscp),
                write: |target, text| {
                    target.$($field).+.dscp = $crate::runtime::traffic::dscp_named(text)
                        .ok_or_else(|| format!("{text:?} is no DSCP"))?;
                    Ok(())
                },
            },
        }
    };
}

/// A field that says where a secret or a key stands, or nothing.
macro_rules! secret {
    ($name:literal, $about:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            name: $name,
            about: $about,
            kind: $crate::config::key::Kind::Text {
                allowed: $crate::edge::secret::PLACE,
                read: |target| {
                    target.$($field).+.as_ref().map(ToString::to_string).unwrap_or_default()
                },
                write: |target, text| {
                    let place = $crate::edge::secret::SecretPlace::parse;
                    target.$($field).+ = if text.is_empty() { None } else { Some(place(text)?) };
                    Ok(())
                },
            },
        }
    };
}

/// A field that holds a list of networks.
macro_rules! networks {
    ($name:literal, $about:literal, $($field:ident).+) => {
        $crate::config::key::Key {
            name: $name,
            about: $about,
            kind: $crate::config::key::Kind::List {
                allowed: $crate::config::schema::kinds::NETWORK,
                read: |target| target.$($field).+.iter().map(ToString::to_string).collect(),
                write: |target, texts| {
                    target.$($field).+ = $crate::config::schema::kinds::canonical_networks(texts)?;
                    Ok(())
                },
            },
        }
    };
}

pub(in crate::config) use {
    codecs, congestion, dscp, limit, milliseconds, networks, number, optional_path, seconds, secret, switch,
    text,
};

/// Codecs by their names, or all.
pub(in crate::config) fn codecs_or_all(names: &[String]) -> Result<Option<Arc<[Codec]>>, String> {
    if names.is_empty() {
        return Ok(None);
    }
    said_limits::codecs_named(names).map(Some).map_err(|problem| problem.to_string())
}

/// A congestion control that this machine has, or nothing.
pub(in crate::config) fn congestion_known(text: &str) -> Result<&str, String> {
    let available = traffic::congestion_available();
    let is_known = text.is_empty() || available.is_empty() || available.iter().any(|name| name == text);
    if !is_known || text.len() > traffic::CONGESTION_BYTES_MAX {
        return Err(format!("{text:?} is not among those of this machine: {}", available.join(", ")));
    }
    Ok(text)
}

/// An app's name, or `*`.
pub(in crate::config) fn app_name(text: &str) -> Result<&str, String> {
    if text.starts_with('/') || text.ends_with('/') {
        return Err(format!("{text:?} has slashes around it"));
    }
    Ok(text)
}

/// The URL of a back end, or nothing.
pub(in crate::config) fn http_url(text: &str) -> Result<&str, String> {
    if !text.is_empty() {
        http::url(text)?;
    }
    Ok(text)
}

/// A file that must be named.
pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("no file is named".into()) } else { Ok(text.into()) }
}

/// An address to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not an address"))
}

/// Networks as rules compare them.
pub(in crate::config) fn canonical_networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let parse = |text: &String| {
        let network = text.parse().map_err(|_| format!("{text:?} is no network"))?;
        Ok(access::canonical(network))
    };
    texts.iter().map(parse).collect()
}
