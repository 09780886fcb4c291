//! The keys of `[deadlines]`: how long a peer may take for each of its steps.

use super::Table;
use super::kinds::{DAY_SECONDS, seconds};

/// `[deadlines]`.
pub(super) const TABLE: Table = Table {
    name: "deadlines",
    keys: &[
        seconds!(
            "handshake_seconds",
            1..=DAY_SECONDS,
            "Until the handshake is done",
            runtime.session.deadlines.handshake
        ),
        seconds!(
            "connect_seconds",
            1..=DAY_SECONDS,
            "From there to connect",
            runtime.session.deadlines.connect
        ),
        seconds!(
            "publish_or_play_seconds",
            1..=DAY_SECONDS,
            "From there to publish or play",
            runtime.session.deadlines.publish_or_play
        ),
        seconds!(
            "first_media_seconds",
            1..=DAY_SECONDS,
            "From the accepted publish to the first media",
            runtime.session.deadlines.first_media
        ),
        seconds!(
            "idle_seconds",
            1..=DAY_SECONDS,
            "Longest silence of a publisher",
            runtime.session.deadlines.idle
        ),
        seconds!(
            "write_seconds",
            1..=DAY_SECONDS,
            "How long an answer may wait for a peer that does not read; players have stall_ms_max",
            runtime.write_deadline
        ),
    ],
};
