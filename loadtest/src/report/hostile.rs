//! What came of hostile peers, apart from everybody else.

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;

/// What the hostile peers of one kind made of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostileResult {
    /// As on the command line; `tls-flood` for what `--tls-flood` makes.
    pub kind: String,
    /// Peers, each with a connection at a time.
    pub peers: u64,
    /// Connections opened.
    pub opened: u64,
    /// Connections that could not be opened, and those refused in words.
    pub refused: u64,
    /// Connections that the server ended.
    pub ended: u64,
    /// Connections that the peer itself ended, as it meant to.
    pub left: u64,
    /// Connections open when the run was over.
    pub open: u64,
    /// TLS handshakes done.
    pub handshakes: u64,
    /// Handshakes that were due and not begun, since too many were under way or the harness had no time for them.
    pub skipped: u64,
    /// Bytes written to the server, as the network has them.
    pub bytes_in: u64,
    /// Bytes read from the server, the same.
    pub bytes_out: u64,
    /// From opened to ended by the server, microseconds; those that do not read learn it up to a second later.
    pub lasted: Histogram,
    /// ClientHello sent to the handshake done, microseconds.
    pub tls_handshake: Histogram,
    /// How connections ended, and why none was opened.
    pub ends: Vec<HostileEnd>,
}

/// Connections that ended in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostileEnd {
    /// How.
    pub how: String,
    /// How often.
    pub count: u64,
}

impl HostileResult {
    /// Each count with its name.
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("opened", self.opened),
            ("refused", self.refused),
            ("ended", self.ended),
            ("left", self.left),
            ("open", self.open),
            ("handshakes", self.handshakes),
            ("skipped", self.skipped),
            ("peers", self.peers),
            ("bytes_in", self.bytes_in),
            ("bytes_out", self.bytes_out),
        ]
    }
}
