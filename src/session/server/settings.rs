//! Settings of the server role.

use core::time::Duration;

use crate::rtmp::Limits;
use crate::rtmp::command::{Capabilities, CapsEx};
use crate::session::Deadlines;
use crate::session::acknowledgement::WINDOW_BYTES_DEFAULT;

/// What every session of a server is told. Shared by all of them.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Chunk size of what we send, bytes, announced with the answer to `connect`.
    ///
    /// 60,000 puts nearly every message into one chunk. ffmpeg adopts it for its own publishing, and stays at 128 if nobody
    /// tells it.
    pub chunk_size_out: u32,
    /// Window that we announce and set for the peer, bytes: it acknowledges once for each.
    pub window_ack_size: u32,
    /// Bounds of what a peer can make one session hold or do.
    pub limits: Limits,
    /// How long each stage may last.
    pub deadlines: Deadlines,
    /// After so long without a byte from the peer it is sent a ping. A missing pong has no consequence.
    ///
    /// Well below the idle deadline: an encoder that is there but sends no media answers, and stays.
    pub ping_interval: Duration,
    /// What we say of our Enhanced RTMP to peers that speak it: that of a forwarder, who passes on every codec and does all of capsEx.
    pub capabilities: Capabilities,
    /// About how many of the bytes that a peer sent last are kept for [`ServerSession::take_recording`](super::ServerSession::take_recording);
    /// 0 keeps none, and costs nothing.
    pub recorder_bytes: usize,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            chunk_size_out: 60_000,
            window_ack_size: WINDOW_BYTES_DEFAULT,
            limits: Limits::default(),
            deadlines: Deadlines::default(),
            ping_interval: Duration::from_secs(10),
            capabilities: Capabilities::forwarder(CapsEx::ALL),
            recorder_bytes: 0,
        }
    }
}
