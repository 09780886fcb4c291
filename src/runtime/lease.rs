//! How long a session may go on that was let in for a time: a publisher's and a player's alike.
//!
//! The time begins with the accepted publish or play, on the core where that is. The sweep looks at it with the other deadlines, and it ends
//! the connection.
//! # Bounds
//! Two words a stream that is published or played.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::media::Limits;
use crate::session::{Excess, Instant};

/// Until when something may go on; for ever by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lease(Option<(Instant, NonZeroU32)>);

impl Lease {
    /// Of what begins now.
    pub(crate) fn new(now: Instant, limits: &Limits) -> Self {
        Self(limits.seconds.map(|seconds| (now + Duration::from_secs(seconds.get().into()), seconds)))
    }

    /// What it is closed for, once it is over.
    pub(crate) fn overdue(&self, now: Instant) -> Option<Excess> {
        let (until, seconds) = self.0?;
        (now >= until).then_some(Excess::Seconds { max: seconds.get() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_to_the_microsecond_or_never() {
        let at = |micros: u64| Instant::from_micros(7_000_000 + micros);
        let limits = Limits { seconds: NonZeroU32::new(3), ..Limits::default() };
        let lease = Lease::new(at(0), &limits);
        assert_eq!(lease.overdue(at(2_999_999)), None);
        assert_eq!(lease.overdue(at(3_000_000)), Some(Excess::Seconds { max: 3 }));
        assert_eq!(Lease::new(at(0), &Limits::default()).overdue(Instant::FAR_FUTURE), None);
    }
}
