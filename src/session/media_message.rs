//! What a publisher's session hands to the media floor, and a player's client session to its program.

use crate::rtmp::Payload;

/// The three kinds of media message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// Message type 8.
    Audio,
    /// Message type 9.
    Video,
    /// Message types 15 and 18.
    Data,
}

/// One audio, video or data message of a message stream that publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaMessage {
    /// Audio, video or data.
    pub kind: MediaKind,
    /// Message type: tells data in AMF3 (15) from data in AMF0 (18).
    pub type_id: u8,
    /// Message stream it came on.
    pub stream_id: u32,
    /// Milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// The body, as the slices it arrived in.
    pub payload: Payload,
    /// Bytes of input since the previous media message, headers and whatever lay between included: the most that this one pins.
    pub wire_bytes: u32,
}
