//! What the hub has to tell its driver.

use super::{ConnectionRef, SubscriberKey};
use crate::session::StreamKey;

/// Something that the runtime has to act on; see [`Hub::poll_event`](super::Hub::poll_event).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubEvent {
    /// A subscriber's queue went from empty to not empty. Its driver takes until nothing is queued; until then no further event comes,
    /// unless the drop policy empties the queue meanwhile.
    Ready {
        /// Whose queue it is.
        subscriber: SubscriberKey,
        /// Whom it serves.
        connection: ConnectionRef,
    },
    /// A reader has taken nothing for `stall_ms_max` while something was queued. Comes once; the connection should be closed.
    Hopeless {
        /// Whose queue it is.
        subscriber: SubscriberKey,
        /// Whom it serves.
        connection: ConnectionRef,
    },
    /// This core has no stream of the key any more, neither home nor replica, so it can be released in the directory.
    StreamGone(StreamKey),
}
