//! What the hub has to tell its driver.

use super::{ConnectionRef, PublisherKey, SubscriberKey};
use crate::media::health::Change;
use crate::session::{Excess, StreamKey};

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
    /// Another publisher has taken this one's stream over: it should be closed.
    Replaced {
        /// Whose publisher it is.
        connection: ConnectionRef,
    },
    /// A publisher's media is not what its stream has had, and the settings ask for that: it should be closed.
    Mismatched {
        /// Whose publisher it is.
        connection: ConnectionRef,
    },
    /// A publisher has exceeded one of its limits and has no part in its stream any more: it should be closed.
    OverLimit {
        /// Whose publisher it is.
        connection: ConnectionRef,
        /// Which limit, and what was found.
        excess: Excess,
    },
    /// A claim that waits can be decided: publish again with it.
    AskAgain {
        /// Who waits.
        connection: ConnectionRef,
    },
    /// A claim that waits is refused, since a newer one waits in its stead.
    TurnedAway {
        /// Who has waited.
        connection: ConnectionRef,
    },
    /// A code of a publisher's health begins or ends. What holds when the publisher ends, ends with it, without an event.
    HealthChanged {
        /// Whose health it is.
        publisher: PublisherKey,
        /// Whose publisher it is.
        connection: ConnectionRef,
        /// What changes.
        change: Change,
    },
    /// A stream that lives here is over: nobody publishes it, and nobody is waited for.
    Over(StreamKey),
    /// This core has no stream of the key any more, neither home nor replica, so it can be released in the directory.
    StreamGone(StreamKey),
}
