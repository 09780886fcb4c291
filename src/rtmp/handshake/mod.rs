//! Handshake: what both sides exchange before the first chunk (RTMP 1.0 §5.2).
//!
//! ```text
//! client                                   server
//!   C0 (1 byte) C1 (1536)  ------------->
//!                          <-------------  S0 (1) S1 (1536) S2 (1536)
//!   C2 (1536)              ------------->
//!   chunks                 <------------>  chunks
//! ```
//!
//! Two kinds are in use. In the *simple* one, which the specification describes, S2 echoes C1 and C2 echoes S1. In the
//! *digest* one ("complex"), which Flash Player 9 brought, C1 and S1 carry a digest of themselves, and S2 and C2 are signed
//! with a key made of the digest that they answer (`digest.rs`). A server goes by what the client sends; a client by
//! whether S1 carries a digest.
//!
//! Sans-I/O: [`ServerHandshake`] and [`ClientHandshake`] take bytes by value, in any split, and give what is to be written.
//! # Invariant
//! What follows the last byte of the handshake is handed back untouched, as a slice of the bytes that it came in: many
//! clients send C2 and `connect` in one segment.
//! # Bounds
//! While it runs, a handshake holds [`Entropy`] and less than one packet of input, about 3 kB; afterwards nothing. Bytes
//! that wait for the rest of their packet are copied out, so that one byte does not keep a whole read buffer alive.
//! # Errors
//! Only C0 or S0 can be wrong (`HandshakeVersion`, `EncryptedHandshake`). The answer to our own packet is never a reason to
//! refuse: encoders that send anything there are in the field, and it proves nothing.
//! [`ApiMisuse::WrongState`] for bytes that are pushed after the end.

mod client;
mod digest;
mod gather;
mod server;

use bytes::Bytes;

pub use client::ClientHandshake;
pub use server::ServerHandshake;

use super::{ApiMisuse, Error, PeerMisbehaved, PeerUnsupported};

/// Bytes of each of C1, C2, S1 and S2 (RTMP 1.0 §5.2.3, §5.2.4).
pub const PACKET_BYTES: usize = 1536;

/// Bytes of C0 and C1 together, and of S0 and S1.
const HELLO_BYTES: usize = 1 + PACKET_BYTES;

/// The version that C0 and S0 name (RTMP 1.0 §5.2.2).
const VERSION: u8 = 3;

/// C1, C2, S1 or S2.
type Packet = [u8; PACKET_BYTES];

/// The time and the random bytes that a handshake needs, given by the caller.
///
/// They tell apart what answers us from what does not; nothing secret depends on them (RTMP 1.0 §5.2.3: "no need for
/// cryptographically-secure randomness").
#[derive(Clone)]
pub struct Entropy {
    /// Epoch of the timestamps that we send on this connection, milliseconds; 0 is usual.
    pub time_ms: u32,
    /// The random part of C1 or S1.
    pub random: [u8; PACKET_BYTES - 8],
}

/// How C1, S1 and the answers to them are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeKind {
    /// Echoes only (RTMP 1.0 §5.2).
    Simple,
    /// Digests in C1 and S1, signatures in C2 and S2.
    Digest,
}

impl HandshakeKind {
    /// Metric label: stable, snake case.
    pub fn label(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Digest => "digest",
        }
    }
}

/// What came of the bytes that were pushed.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Progress {
    /// To be written out, before anything else.
    pub send: Option<Bytes>,
    /// The handshake is complete; here is what followed it in the same bytes, often nothing.
    pub done: Option<Bytes>,
}

/// Refuses a C0 or S0 that is not RTMP in the clear.
///
/// RTMP 1.0 §5.2.2: 32-255 are what text protocols start with; 6, 8 and 9 ask for RTMPE. Any other version is answered with
/// 3, as the same section asks of servers, and then either side goes on with version 3 or goes away. In the client role the
/// same leniency holds for S0, which neither librtmp nor ffmpeg look at.
fn check_version(version: u8) -> Result<(), Error> {
    match version {
        6 | 8 | 9 => Err(PeerUnsupported::EncryptedHandshake(version).into()),
        32.. => Err(PeerMisbehaved::HandshakeVersion(version).into()),
        _ => Ok(()),
    }
}

/// C1 or S1 before any digest: time, version, random bytes (RTMP 1.0 §5.2.3).
fn packet(entropy: &Entropy, version: [u8; 4]) -> Packet {
    let mut packet = [0; PACKET_BYTES];
    packet[..4].copy_from_slice(&entropy.time_ms.to_be_bytes());
    packet[4..8].copy_from_slice(&version);
    packet[8..].copy_from_slice(&entropy.random);
    packet
}

#[cfg(test)]
mod tests;
