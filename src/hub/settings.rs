//! What the hub needs to be told: plain data with defaults; `config.rs` fills it.

use super::CoreId;
use crate::media::{GopSettings, IngestSettings};

/// Settings of one core's hub.
#[derive(Clone, Copy, Debug)]
pub struct HubSettings {
    /// The core that this hub is the state of.
    pub core: CoreId,
    /// Cores of the engine.
    pub cores: usize,
}

/// Settings of one app, given with each publish and subscribe.
#[derive(Clone, Debug, Default)]
pub struct AppSettings {
    /// Bounds of each stream's GOP cache.
    pub gop: GopSettings,
    /// How publishers' messages become frames.
    pub ingest: IngestSettings,
    /// Bounds of each subscriber's queue.
    pub queue: QueueSettings,
}

/// Bounds of one subscriber's queue. What a late join or a resync puts in at once is bounded by [`GopSettings`] and stands beside
/// these until it is drained, in bytes and frames; in milliseconds it counts like everything else, from when it was queued.
///
/// Memory: the frames are shared, so all queues of a stream together pin at most what its publisher sent within `ms_max`, plus the
/// GOP. What is a subscriber's own is 16 bytes a queued frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Bytes as they go on the wire. Default 8 MiB: over 3 s of 20 Mbit/s.
    ///
    /// Wire bytes, not retained bytes as in the GOP cache: the queue says how far behind a reader is, and what its frames pin
    /// beyond their visible bytes is shared with every other reader of the stream.
    pub bytes_max: usize,
    /// Frames. Default 4,096: ten times what 3 s of 60 pictures a second with two audio tracks are. It bounds streams of tiny
    /// frames, whose wire bytes say little about the memory that they cost.
    pub frames_max: usize,
    /// Milliseconds from queueing to taking. Default 3,000.
    pub ms_max: u32,
    /// Milliseconds without taking anything, while something is queued, after which a reader is hopeless. Default 10,000.
    pub stall_ms_max: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { bytes_max: 8 * 1024 * 1024, frames_max: 4096, ms_max: 3_000, stall_ms_max: 10_000 }
    }
}
