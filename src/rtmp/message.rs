//! Messages: what RTMP carries (RTMP 1.0 §5.4, §6, §7).

use super::Payload;

/// What the chunk headers say of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// Milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// Message type, see [`type_id`].
    pub type_id: u8,
    /// Message stream.
    pub stream_id: u32,
}

/// One whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Timestamp, type and message stream.
    pub header: MessageHeader,
    /// The body, as the slices it arrived in.
    pub payload: Payload,
    /// Bytes of input that this message took: its chunks with their headers, and what was dropped before it
    /// (for an Abort, the message that it ended). Over all messages they add up to the input. 0 for a message
    /// made here.
    pub wire_bytes: u32,
}

impl Message {
    /// A message made here, not received.
    pub fn new(header: MessageHeader, payload: impl Into<Payload>) -> Self {
        Self { header, payload: payload.into(), wire_bytes: 0 }
    }
}

/// Message types.
pub mod type_id {
    /// Set Chunk Size (RTMP 1.0 §5.4.1).
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message (RTMP 1.0 §5.4.2).
    pub const ABORT: u8 = 2;
    /// Acknowledgement (RTMP 1.0 §5.4.3).
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User Control (RTMP 1.0 §6.2).
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size (RTMP 1.0 §5.4.4).
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth (RTMP 1.0 §5.4.5).
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio (RTMP 1.0 §7.1.4).
    pub const AUDIO: u8 = 8;
    /// Video (RTMP 1.0 §7.1.5).
    pub const VIDEO: u8 = 9;
    /// Data in AMF3 (RTMP 1.0 §7.1.2).
    pub const DATA_AMF3: u8 = 15;
    /// Shared object in AMF3 (RTMP 1.0 §7.1.3).
    pub const SHARED_OBJECT_AMF3: u8 = 16;
    /// Command in AMF3 (RTMP 1.0 §7.1.1).
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0 (RTMP 1.0 §7.1.2).
    pub const DATA_AMF0: u8 = 18;
    /// Shared object in AMF0 (RTMP 1.0 §7.1.3).
    pub const SHARED_OBJECT_AMF0: u8 = 19;
    /// Command in AMF0 (RTMP 1.0 §7.1.1).
    pub const COMMAND_AMF0: u8 = 20;
    /// Aggregate (RTMP 1.0 §7.1.6).
    pub const AGGREGATE: u8 = 22;
}
