//! The keys of `[tls]` and `[[certificate]]`: RTMPS.

use std::net::SocketAddr;

use super::Table;
use super::kinds::{ADDRESS, congestion, dscp, file, number, switch};
use super::listeners::addresses;
use crate::config::key::{Key, Kind};
use crate::runtime::tls::certificates::CertificateFiles;

/// The table that may come several times, once a certificate.
pub(in crate::config) const CERTIFICATE: &str = "certificate";

const CHAIN: &str = "a readable PEM file with the certificate first and its chain behind it";
const KEY: &str = "a readable PEM file with the private key of the certificate";

/// `[tls]`.
pub(super) const TABLE: Table = Table {
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
        switch!(
            "detect",
            "Tell RTMP and RTMPS apart by the first byte, on every listener of either",
            runtime.tls.detect
        ),
        switch!(
            "self_signed",
            "Without a [[certificate]]: make one that nobody has signed, for a try-out",
            runtime.tls.self_signed
        ),
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
        congestion!(runtime.tls.traffic),
        dscp!(runtime.tls.traffic),
    ],
};

/// The keys of a `[[certificate]]` table; each must have both.
pub(in crate::config) static CERTIFICATE_KEYS: [Key<CertificateFiles>; 2] = [
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
