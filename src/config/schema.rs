//! Every key of the configuration: table, name, what is allowed, and the setting behind it.
//!
//! Adding a key is adding a line here. The file, the flags, `inrush check`, the sample file and the error lines all read this
//! table; each floor documents its settings and their defaults where it defines them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::Config;
use super::key::{Key, Kind};
use crate::hub::{MismatchPolicy, TakeoverPolicy};
use crate::log::{Format, filter_problem};
use crate::media::TimestampPolicy;
use crate::runtime::settings::{App, Placement};
use crate::runtime::tls::certificates::CertificateFiles;
use crate::session::ReconnectUrl;

/// One table of the file.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) keys: &'static [Key<Config>],
}

/// The table that may come several times, once an app.
pub(super) const APP: &str = "app";

/// The key that names an app; read before all others of its table.
pub(super) const APP_NAME: &str = "name";

/// The app whose settings serve every app without a table of its own.
pub(super) const ANY_APP: &str = "*";

/// The table that may come several times, once a certificate.
pub(super) const CERTIFICATE: &str = "certificate";

/// Which key each flag and each variable sets.
pub(super) const OVERRIDES: [Override; 9] = [
    Override { flag: "--rtmp", variable: "INRUSH_RTMP", table: "rtmp", key: "listen" },
    Override { flag: "--rtmps", variable: "INRUSH_RTMPS", table: "tls", key: "listen" },
    Override { flag: "--rtmps-detect", variable: "INRUSH_RTMPS_DETECT", table: "tls", key: "detect" },
    Override {
        flag: "--rtmps-self-signed",
        variable: "INRUSH_RTMPS_SELF_SIGNED",
        table: "tls",
        key: "self_signed",
    },
    Override { flag: "--http", variable: "INRUSH_HTTP", table: "control", key: "listen" },
    Override { flag: "--cores", variable: "INRUSH_CORES", table: "engine", key: "cores" },
    Override { flag: "--placement", variable: "INRUSH_PLACEMENT", table: "engine", key: "placement" },
    Override { flag: "--log", variable: "INRUSH_LOG", table: "log", key: "filter" },
    Override { flag: "--log-format", variable: "INRUSH_LOG_FORMAT", table: "log", key: "format" },
];

/// A key that can also be set by a flag and by an environment variable.
pub(super) struct Override {
    pub(super) flag: &'static str,
    pub(super) variable: &'static str,
    pub(super) table: &'static str,
    pub(super) key: &'static str,
}

/// Most cores that can be named: the engine keeps sets of cores in 128 bits.
pub(super) const CORES_MAX: u64 = 128;

const ADDRESS: &str = "ADDRESS:PORT, such as 0.0.0.0:1935, 127.0.0.1:8935 or [::]:1935";
const NETWORK: &str = "ADDRESS/BITS, such as 127.0.0.0/8 or ::1/128";
const CHAIN: &str = "a readable PEM file with the certificate first and its chain behind it";
const KEY: &str = "a readable PEM file with the private key of the certificate";
const DAY_SECONDS: u64 = 86_400;
pub(super) const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

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

pub(super) use number;

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

pub(super) mod auth;

/// The tables of the file, in the order in which they are shown.
pub(super) static TABLES: [Table; 11] = [
    Table {
        name: "engine",
        keys: &[
            number!(
                "cores",
                0..=CORES_MAX,
                "Cores to run on; 0 is all that the process may use",
                runtime.cores
            ),
            Key {
                name: "placement",
                about: "Where streams live: accept, home (balanced) or core:N",
                kind: Kind::Text {
                    allowed: "accept, home, core:N",
                    read: |config| placement_name(config.runtime.placement),
                    write: |config, text| {
                        config.runtime.placement =
                            placement(text).ok_or_else(|| format!("{text:?} is no placement"))?;
                        Ok(())
                    },
                },
            },
            seconds!(
                "drain_seconds",
                0..=DAY_SECONDS,
                "How long SIGTERM waits for publishers to leave",
                runtime.drain_deadline
            ),
            Key {
                name: "reconnect_url",
                about: "Where it sends encoders that can be sent: rtmp://HOST[:PORT][/APP]; empty: back here",
                kind: Kind::Text {
                    allowed: "rtmp://HOST[:PORT][/APP], the same with rtmps, or nothing",
                    read: |config| {
                        config
                            .runtime
                            .reconnect_url
                            .as_ref()
                            .map(|url| url.as_str().into())
                            .unwrap_or_default()
                    },
                    write: |config, text| {
                        config.runtime.reconnect_url = match text {
                            "" => None,
                            url => {
                                Some(ReconnectUrl::parse(url).map_err(|error| format!("{url:?}: {error}"))?)
                            }
                        };
                        Ok(())
                    },
                },
            },
        ],
    },
    Table {
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
        ],
    },
    Table {
        name: "tls",
        keys: &[
            Key {
                name: "listen",
                about: "Addresses that RTMPS is served on; needs a [[certificate]]",
                kind: Kind::List {
                    allowed: ADDRESS,
                    read: |config| config.runtime.tls.listen.iter().map(SocketAddr::to_string).collect(),
                    write: |config, texts| {
                        config.runtime.tls.listen = addresses(texts)?;
                        Ok(())
                    },
                },
            },
            Key {
                name: "detect",
                about: "Tell RTMP and RTMPS apart by the first byte, on every listener of either",
                kind: Kind::Boolean {
                    read: |config| config.runtime.tls.detect,
                    write: |config, value| config.runtime.tls.detect = value,
                },
            },
            Key {
                name: "self_signed",
                about: "Without a [[certificate]]: make one that nobody has signed, for a try-out",
                kind: Kind::Boolean {
                    read: |config| config.runtime.tls.self_signed,
                    write: |config, value| config.runtime.tls.self_signed = value,
                },
            },
            number!(
                "handshakes_max",
                1..=1_000_000,
                "TLS handshakes in progress on one core",
                runtime.tls.handshakes_max
            ),
            number!(
                "handshake_percent_max",
                1..=100,
                "Share of a core's time that TLS handshakes may take",
                runtime.tls.handshake_percent_max
            ),
        ],
    },
    Table {
        name: "proxy",
        keys: &[networks!(
            "trusted",
            "Balancers: their connections must begin with a PROXY header (version 1 or 2), which others may not send",
            runtime.proxies
        )],
    },
    Table {
        name: "ingest",
        keys: &[Key {
            name: "latency_budget_ms",
            about: "How long a message may wait while a busy core polls its publishers; 0 never polls",
            kind: Kind::Integer {
                allowed: 0..=1000,
                read: |config| config.runtime.latency_budget.as_millis() as u64,
                write: |config, value| config.runtime.latency_budget = Duration::from_millis(value),
            },
        }],
    },
    Table { name: auth::NOTIFY, keys: &auth::NOTIFY_KEYS },
    Table {
        name: "control",
        keys: &[Key {
            name: "listen",
            about: "Address of the control HTTP: health, metrics, API",
            kind: Kind::Text {
                allowed: ADDRESS,
                read: |config| config.control.listen.to_string(),
                write: |config, text| {
                    config.control.listen = address(text)?;
                    Ok(())
                },
            },
        }],
    },
    Table {
        name: "deadlines",
        keys: &[
            seconds!(
                "handshake_seconds",
                1..=DAY_SECONDS,
                "Until the handshake is done",
                runtime.session.deadlines.handshake
            ),
            seconds!(
                "connect_seconds",
                1..=DAY_SECONDS,
                "From there to connect",
                runtime.session.deadlines.connect
            ),
            seconds!(
                "publish_or_play_seconds",
                1..=DAY_SECONDS,
                "From there to publish or play",
                runtime.session.deadlines.publish_or_play
            ),
            seconds!(
                "first_media_seconds",
                1..=DAY_SECONDS,
                "From the accepted publish to the first media",
                runtime.session.deadlines.first_media
            ),
            seconds!(
                "idle_seconds",
                1..=DAY_SECONDS,
                "Longest silence of a publisher",
                runtime.session.deadlines.idle
            ),
            seconds!(
                "write_seconds",
                1..=DAY_SECONDS,
                "How long an answer may wait for a peer that does not read; players have stall_ms_max",
                runtime.write_deadline
            ),
        ],
    },
    Table {
        name: "limits",
        keys: &[
            number!(
                "message_bytes_max",
                64 * KIB..=0xFF_FFFF,
                "Longest message of a peer",
                runtime.session.limits.message_bytes_max
            ),
            number!(
                "reassembly_bytes_max",
                64 * KIB..=GIB,
                "Unfinished messages of one session",
                runtime.session.limits.reassembly_bytes_max
            ),
            number!(
                "chunk_streams_max",
                8..=65_598,
                "Chunk streams of one session",
                runtime.session.limits.chunk_streams_max
            ),
            number!(
                "message_streams_max",
                1..=1024,
                "Message streams of one session",
                runtime.session.limits.message_streams_max
            ),
            number!(
                "held_bytes_max",
                64 * KIB..=64 * MIB,
                "Bytes of one session that wait while its publish or play is decided",
                runtime.session.limits.held_bytes_max
            ),
            number!(
                "name_bytes_max",
                64..=16 * KIB,
                "Longest app, stream name or query",
                runtime.session.limits.name_bytes_max
            ),
            number!(
                "work_per_second_max",
                10_000..=1_000_000_000,
                "Work that one session may make, in tiny chunks of some 30 ns; a short media message is 10, a ping 100, a command 500",
                runtime.session.limits.work_per_second_max
            ),
            number!(
                "amf_depth_max",
                4..=128,
                "Nesting of one AMF message",
                runtime.session.limits.amf.depth_max
            ),
            number!(
                "amf_entries_max",
                64..=1_000_000,
                "Values of one AMF message",
                runtime.session.limits.amf.entries_max
            ),
            number!(
                "amf_bytes_max",
                4 * KIB..=16 * MIB,
                "Strings of one AMF message",
                runtime.session.limits.amf.bytes_max
            ),
            number!(
                "core_connections_max",
                1..=1_000_000,
                "Connections of one core",
                runtime.core_connections_max
            ),
            number!(
                "pre_publish_bytes_max",
                MIB..=64 * GIB,
                "Memory of a core's connections that neither publish nor play; beyond it the greediest of them go",
                runtime.pre_publish_bytes_max
            ),
            number!(
                "address_connections_max",
                1..=1_000_000,
                "Connections of one address: an IPv4 /32 or an IPv6 /64",
                runtime.address.connections_max
            ),
            number!(
                "prefix_connections_max",
                1..=1_000_000,
                "Connections of one network: an IPv4 /24 or an IPv6 /48",
                runtime.network.connections_max
            ),
            number!(
                "address_pending_max",
                1..=1_000_000,
                "Connections of one address that neither publish nor play",
                runtime.address.pending_max
            ),
            number!(
                "prefix_pending_max",
                1..=1_000_000,
                "Connections of one network that neither publish nor play",
                runtime.network.pending_max
            ),
            number!(
                "address_accepts_per_second_max",
                1..=100_000_000,
                "New connections of one address; ten times as many at once",
                runtime.address.accepts_per_second_max
            ),
            number!(
                "prefix_accepts_per_second_max",
                1..=100_000_000,
                "New connections of one network; ten times as many at once",
                runtime.network.accepts_per_second_max
            ),
            number!(
                "address_failures_per_second_max",
                1..=100_000_000,
                "Connections of one address that end unpublished and unplayed, or for an offence; beyond it no new ones are taken",
                runtime.address.failures_per_second_max
            ),
            number!(
                "prefix_failures_per_second_max",
                1..=100_000_000,
                "The same of one network",
                runtime.network.failures_per_second_max
            ),
            networks!(
                "trusted",
                "Networks that the bounds of addresses and networks do not hold for",
                runtime.trusted
            ),
            number!(
                "core_reassembly_bytes_max",
                MIB..=64 * GIB,
                "Unfinished messages and held bytes, all sessions of a core together",
                runtime.core_reassembly_bytes_max
            ),
            number!(
                "inbox_bytes_max",
                MIB..=4 * GIB,
                "Media that one core holds for another before it skips to the next key frame",
                runtime.inbox_bytes_max
            ),
            number!(
                "subscriber_unsent_bytes_max",
                4 * KIB..=GIB,
                "Backlog that the kernel may hold for one player",
                runtime.subscriber_unsent_bytes_max
            ),
        ],
    },
    Table {
        name: "recorder",
        keys: &[
            Key {
                name: "directory",
                about: "Where the last bytes of sessions that ended by a fault are written; empty records nothing",
                kind: Kind::Text {
                    allowed: "a directory's path, or an empty string",
                    read: |config| {
                        let directory = config.runtime.recorder.directory.as_ref();
                        directory.map_or(String::new(), |path| path.to_string_lossy().into_owned())
                    },
                    write: |config, text| {
                        config.runtime.recorder.directory = (!text.is_empty()).then(|| text.into());
                        Ok(())
                    },
                },
            },
            number!(
                "bytes",
                KIB..=MIB,
                "Bytes that are kept of what each peer sent last",
                runtime.recorder.bytes
            ),
            number!(
                "files_max",
                1..=10_000,
                "Files that are kept; the oldest goes",
                runtime.recorder.files_max
            ),
        ],
    },
    Table {
        name: "log",
        keys: &[
            Key {
                name: "filter",
                about: "Level, or target=level pairs: error, warn, info, debug, trace",
                kind: Kind::Text {
                    allowed: "error, warn, info, debug, trace, off, or target=level, comma separated",
                    read: |config| config.log.filter.clone(),
                    write: |config, text| match filter_problem(text) {
                        Some(problem) => Err(problem),
                        None => {
                            config.log.filter = text.into();
                            Ok(())
                        }
                    },
                },
            },
            Key {
                name: "format",
                about: "How log lines look: text or json",
                kind: Kind::Text {
                    allowed: "text, json",
                    read: |config| config.log.format.name().into(),
                    write: |config, text| {
                        config.log.format =
                            Format::from_name(text).ok_or_else(|| format!("{text:?} is no log format"))?;
                        Ok(())
                    },
                },
            },
        ],
    },
];

/// The keys of an `[[app]]` table.
pub(super) static APP_KEYS: [Key<App>; 17] = [
    Key {
        name: APP_NAME,
        about: "The app these settings are for; * is every app without a table of its own",
        kind: Kind::Text {
            allowed: "an app's name without slashes around it, or *",
            read: |app| app.name.clone(),
            write: |app, text| {
                if text.starts_with('/') || text.ends_with('/') {
                    return Err(format!("{text:?} has slashes around it"));
                }
                app.name = text.into();
                Ok(())
            },
        },
    },
    Key {
        name: "gop_cache",
        about: "Whether late joiners start at the last key frame: true or false",
        kind: Kind::Boolean {
            read: |app| app.settings.gop.enabled,
            write: |app, value| app.settings.gop.enabled = value,
        },
    },
    number!("gop_bytes_max", 64 * KIB..=4 * GIB, "Memory of one stream's GOP cache", settings.gop.bytes_max),
    number!("gop_frames_max", 16..=1_000_000, "Frames of one GOP cache", settings.gop.frames_max),
    number!("gop_ms_max", 100..=600_000, "Longest GOP that is kept, by its timestamps", settings.gop.ms_max),
    Key {
        name: "timestamps",
        about: "pass hands them on unchanged, monotonic never lets one step back",
        kind: Kind::Text {
            allowed: "pass, monotonic",
            read: |app| {
                match app.settings.ingest.timestamps {
                    TimestampPolicy::Pass => "pass",
                    TimestampPolicy::Monotonic => "monotonic",
                }
                .into()
            },
            write: |app, text| {
                app.settings.ingest.timestamps = match text {
                    "pass" => TimestampPolicy::Pass,
                    "monotonic" => TimestampPolicy::Monotonic,
                    _ => return Err(format!("{text:?} is no timestamp policy")),
                };
                Ok(())
            },
        },
    },
    number!("queue_bytes_max", 64 * KIB..=GIB, "Bytes that wait for one player", settings.queue.bytes_max),
    number!("queue_frames_max", 16..=1_000_000, "Frames that wait for one player", settings.queue.frames_max),
    number!(
        "queue_ms_max",
        100..=600_000,
        "How far a player may fall behind before it skips to the next key frame",
        settings.queue.ms_max
    ),
    number!(
        "stall_ms_max",
        1000..=600_000,
        "How long a player may read nothing before it is closed",
        settings.queue.stall_ms_max
    ),
    Key {
        name: "takeover",
        about: "What becomes of a publisher whose stream has one: reject refuses it, newest lets it take over, priority the higher one",
        kind: Kind::Text {
            allowed: "reject, newest, priority",
            read: |app| {
                match app.settings.continuity.takeover {
                    TakeoverPolicy::Reject => "reject",
                    TakeoverPolicy::Newest => "newest",
                    TakeoverPolicy::Priority => "priority",
                }
                .into()
            },
            write: |app, text| {
                app.settings.continuity.takeover = match text {
                    "reject" => TakeoverPolicy::Reject,
                    "newest" => TakeoverPolicy::Newest,
                    "priority" => TakeoverPolicy::Priority,
                    _ => return Err(format!("{text:?} is no takeover policy")),
                };
                Ok(())
            },
        },
    },
    number!(
        "takeover_tenure_ms",
        0..=600_000,
        "How long a publisher that has taken over cannot be taken over from",
        settings.continuity.tenure_ms
    ),
    number!(
        "takeover_flaps_max",
        1..=1_000,
        "Takeovers of one stream in a minute; beyond it the publisher stays and others are refused",
        settings.continuity.flaps_max
    ),
    number!(
        "yield_silent_ms",
        500..=20_000,
        "A publisher that has sent nothing for so long yields to one with the same credentials, and to its standby",
        settings.continuity.yield_silent_ms
    ),
    Key {
        name: "mismatch",
        about: "A publisher that follows another with other codecs or tracks: discontinuity goes on with it, refuse closes it",
        kind: Kind::Text {
            allowed: "discontinuity, refuse",
            read: |app| {
                match app.settings.continuity.mismatch {
                    MismatchPolicy::Discontinuity => "discontinuity",
                    MismatchPolicy::Refuse => "refuse",
                }
                .into()
            },
            write: |app, text| {
                app.settings.continuity.mismatch = match text {
                    "discontinuity" => MismatchPolicy::Discontinuity,
                    "refuse" => MismatchPolicy::Refuse,
                    _ => return Err(format!("{text:?} says not what becomes of other codecs or tracks")),
                };
                Ok(())
            },
        },
    },
    number!(
        "grace_ms",
        0..=600_000,
        "How long players stay with a stream whose publisher was lost; 0 ends it at once",
        settings.continuity.grace_ms
    ),
    Key {
        name: "standby",
        about: "Whether a second publisher of a stream is taken in, to go on when the first one dies or starves: true or false",
        kind: Kind::Boolean {
            read: |app| app.settings.continuity.standby,
            write: |app, value| app.settings.continuity.standby = value,
        },
    },
];

/// The keys of a `[[certificate]]` table; each must have both.
pub(super) static CERTIFICATE_KEYS: [Key<CertificateFiles>; 2] = [
    Key {
        name: "chain_file",
        about: "The certificate and the chain that leads to a root, PEM",
        kind: Kind::Text {
            allowed: CHAIN,
            read: |files| files.chain_file.display().to_string(),
            write: |files, text| {
                files.chain_file = file(text)?;
                Ok(())
            },
        },
    },
    Key {
        name: "key_file",
        about: "Its private key, PEM",
        kind: Kind::Text {
            allowed: KEY,
            read: |files| files.key_file.display().to_string(),
            write: |files, text| {
                files.key_file = file(text)?;
                Ok(())
            },
        },
    },
];

fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("no file is named".into()) } else { Ok(text.into()) }
}

fn placement(text: &str) -> Option<Placement> {
    match text {
        "accept" => Some(Placement::Accept),
        "home" => Some(Placement::Home),
        _ => {
            let core = text.strip_prefix("core:")?.parse().ok()?;
            (u64::from(core) < CORES_MAX).then_some(Placement::Core(core))
        }
    }
}

fn placement_name(placement: Placement) -> String {
    match placement {
        Placement::Accept => "accept".into(),
        Placement::Home => "home".into(),
        Placement::Core(core) => format!("core:{core}"),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not an address"))
}

fn addresses(texts: &[String]) -> Result<Vec<SocketAddr>, String> {
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

/// Two listeners cannot have both: the same port of the same address, or of one that stands for the other as well.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |a: SocketAddr, b: SocketAddr| {
        a.ip() == b.ip() || (a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4()))
    };
    a.port() == b.port() && a.port() != 0 && (covers(a, b) || covers(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key::Raw;

    fn check_range<T: Default>(key: &Key<T>) {
        let Kind::Integer { allowed, read, .. } = &key.kind else { return };
        for end in [*allowed.start(), *allowed.end()] {
            let mut target = T::default();
            assert_eq!(key.store(&mut target, &Raw::Integer(end.into())), Ok(()), "{}", key.name);
            assert_eq!(read(&target), end, "{} does not hold {end}", key.name);
        }
        let default = read(&T::default());
        assert!(allowed.contains(&default), "{}: default {default} is out of range", key.name);
    }

    #[test]
    fn every_field_holds_both_ends_of_its_range_and_its_default_is_inside() {
        TABLES.iter().flat_map(|table| table.keys).for_each(check_range);
        APP_KEYS.iter().for_each(check_range);
        super::super::targets::TARGET_KEYS.iter().for_each(check_range);
        auth::AUTH_KEYS.iter().for_each(check_range);
        auth::KEY_KEYS.iter().for_each(check_range);
        super::super::upstreams::UPSTREAM_KEYS.iter().for_each(check_range);
    }

    #[test]
    fn every_override_names_a_key() {
        for entry in &OVERRIDES {
            let table = TABLES.iter().find(|table| table.name == entry.table).expect("table");
            assert!(table.keys.iter().any(|key| key.name == entry.key), "{}", entry.flag);
        }
    }

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
