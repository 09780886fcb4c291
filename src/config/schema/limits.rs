//! The keys of `[limits]`: what peers may make us hold and do, by session, address, network and core.

use super::Table;
use super::kinds::{GIB, KIB, MIB, networks, number};

/// `[limits]`.
pub(super) const TABLE: Table = Table {
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
        number!("amf_depth_max", 4..=128, "Nesting of one AMF message", runtime.session.limits.amf.depth_max),
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
};
