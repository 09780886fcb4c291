//! What one session counts: plain integers, kept where they are counted.

use core::time::Duration;

/// Messages and bytes of one kind of media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaCount {
    /// Messages.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// Counters of one session since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionCounters {
    /// Bytes received, handshake included.
    pub bytes_in: u64,
    /// Bytes sent: the session's own and those reported with `on_bytes_sent`.
    pub bytes_out: u64,
    /// Messages received, of all types.
    pub messages_in: u64,
    /// Commands received.
    pub commands_in: u64,
    /// Audio received and handed on.
    pub audio: MediaCount,
    /// Video received and handed on.
    pub video: MediaCount,
    /// Data received and handed on.
    pub data: MediaCount,
    /// Bytes of media that came while nothing was published, and were dropped.
    pub stray_media_bytes: u64,
    /// Oddities tolerated.
    pub oddities: u64,
    /// Acknowledgements sent.
    pub acknowledgements_sent: u64,
    /// The peer's last acknowledgement: bytes it has received, wrapping at 2^32. Informs only; nothing waits for it.
    pub acknowledged_by_peer: u32,
    /// Ping requests sent.
    pub pings_sent: u64,
    /// From our last answered ping request to its response.
    pub round_trip: Option<Duration>,
}
