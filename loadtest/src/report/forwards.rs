//! What came of what the server forwards, at the far end.

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;

/// What arrived where `--listen` says. Loss and latency are of streams with steady publishers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForwardsResult {
    /// Streams of the load that came.
    pub streams: u64,
    /// Connections that came.
    pub opened: u64,
    /// `publish` requests, all of which were accepted.
    pub published: u64,
    /// Connections that ended before the run did.
    pub ended: u64,
    /// Connections open when the run was over.
    pub open: u64,
    /// Media messages read that were due while measured.
    pub received: u64,
    /// Bytes read while measured.
    pub bytes: u64,
    /// Messages that were sent while measured and did not come.
    pub lost: u64,
    /// Messages read again.
    pub duplicated: u64,
    /// Messages read after a later one.
    pub reordered: u64,
    /// Messages read without an intact stamp, or with that of another stream than the connection's.
    pub unstamped: u64,
    /// A message's due time to its last byte here, microseconds.
    pub e2e: Histogram,
    /// From one message of a stream to the next, microseconds, from one connection to the next as well.
    pub gap: Histogram,
    /// How connections ended.
    pub ends: Vec<ForwardEnd>,
    /// Each stream of the load by its number, those that never came as well.
    pub each: Vec<ForwardedStream>,
}

/// Connections that ended in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardEnd {
    /// How.
    pub how: String,
    /// How often.
    pub count: u64,
}

/// One stream of the load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForwardedStream {
    /// Its number.
    pub stream: u32,
    /// As the server called it here last, `app/name`; absent when it never came.
    pub name: Option<String>,
    /// Connections that it came over.
    pub connections: u64,
    /// Media messages read that were due while measured.
    pub received: u64,
    /// Bytes of all its messages read while measured.
    pub bytes: u64,
    /// Messages that were sent while measured and did not come.
    pub lost: u64,
    /// Messages read again.
    pub duplicated: u64,
    /// Messages read after a later one.
    pub reordered: u64,
    /// Mean of a message's due time to its last byte here, microseconds; absent when none came.
    pub e2e_mean_us: Option<f64>,
    /// The longest of these.
    pub e2e_max_us: Option<u64>,
}

impl ForwardsResult {
    /// Each count with its name.
    pub fn named(&self) -> [(&'static str, u64); 11] {
        [
            ("streams", self.streams),
            ("opened", self.opened),
            ("published", self.published),
            ("ended", self.ended),
            ("open", self.open),
            ("received", self.received),
            ("bytes", self.bytes),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("unstamped", self.unstamped),
        ]
    }
}
