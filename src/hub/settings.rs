//! What the hub needs to be told: plain data with defaults; `config.rs` fills it.

use std::time::Duration;

use super::CoreId;
use crate::media::health::HealthSettings;
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
    /// From where on what a publisher sends is told as too much.
    pub health: HealthSettings,
    /// What happens when a publisher is lost, and when another one comes.
    pub continuity: ContinuitySettings,
}

/// What becomes of a newcomer while somebody publishes its key; `hub/claim.rs` has the whole ruling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TakeoverPolicy {
    /// It is refused.
    #[default]
    Reject,
    /// It takes over.
    Newest,
    /// It takes over if its priority is higher.
    Priority,
}

/// What becomes of a newcomer whose tracks or codecs are not those that the stream has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MismatchPolicy {
    /// It is closed, and whom it would have followed stays on the air until a newcomer's media is known to match.
    Refuse,
    /// Players get its headers, like those of any other that follows.
    #[default]
    Discontinuity,
}

/// How a stream goes on from one publisher to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContinuitySettings {
    /// What becomes of a newcomer.
    pub takeover: TakeoverPolicy,
    /// Who has taken a stream over is not taken over from for so long, ms. Default 2,000.
    pub tenure_ms: u32,
    /// Takeovers of one stream in a minute; beyond it newcomers are refused. Default 6.
    pub flaps_max: u32,
    /// A publisher from which nothing has come for so long yields to a newcomer of the same credentials, or to its standby, ms.
    /// Default 2,000: an encoder that lives sends 20 times a second, and a phone that changes cells is away for a second.
    pub yield_silent_ms: u32,
    /// What becomes of a newcomer whose media does not match.
    pub mismatch: MismatchPolicy,
    /// How long a stream is kept whose publisher was lost, ms; 0 ends it at once. Default 10,000.
    pub grace_ms: u32,
    /// Whether a second publisher is taken in as a standby. Default false.
    pub standby: bool,
}

impl ContinuitySettings {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        takeover: TakeoverPolicy::Reject,
        tenure_ms: 2_000,
        flaps_max: 6,
        yield_silent_ms: 2_000,
        mismatch: MismatchPolicy::Discontinuity,
        grace_ms: 10_000,
        standby: false,
    };

    /// How long a lost publisher is waited for, if it is.
    pub(super) fn grace(&self) -> Option<Duration> {
        (self.grace_ms > 0).then(|| Duration::from_millis(self.grace_ms.into()))
    }

    /// How long a publisher may be silent before it yields.
    pub(super) fn yield_silent(&self) -> Duration {
        Duration::from_millis(self.yield_silent_ms.into())
    }
}

impl Default for ContinuitySettings {
    fn default() -> Self {
        Self::DEFAULT
    }
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
