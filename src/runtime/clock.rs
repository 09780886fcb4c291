//! The engine's clock: the only place from which floors 0-3 learn the time.

use crate::session::Instant;

/// Microseconds since the engine started, the same on every core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    /// A clock whose epoch is now.
    pub(crate) fn start() -> Self {
        Self { epoch: std::time::Instant::now() }
    }

    /// The instant that is handed to everything below.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
