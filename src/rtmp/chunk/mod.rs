//! Chunk streams: messages cut into chunks, and back (RTMP 1.0 §5.3).
//!
//! [`ChunkReader`] turns the peer's bytes into messages. [`ChunkWriter`] turns our own control messages and
//! commands into chunks with compressed headers. [`WireHeaders`] are the chunk headers of one media message
//! in a form that all its readers share.

mod assembly;
mod header;
mod input;
mod reader;
mod retained;
mod scratch;
mod state;
mod stream;
mod wire;
mod writer;

#[cfg(test)]
mod tests;

pub use assembly::GATHER_BYTES_MAX;
pub use reader::{ChunkReader, Read, ReaderCounters, TINY_CHUNK_BYTES};
pub use state::{ReaderState, StreamState};
pub use wire::WireHeaders;
pub use writer::ChunkWriter;

/// Chunk size that holds in each direction until Set Chunk Size changes it, bytes (RTMP 1.0 §5.4.1).
pub const CHUNK_SIZE_DEFAULT: u32 = 128;

/// Largest chunk size that Set Chunk Size can announce, bytes (RTMP 1.0 §5.4.1).
pub const CHUNK_SIZE_MAX: u32 = 0x7fff_ffff;

/// Longest message that the 24-bit length field can declare, bytes (RTMP 1.0 §5.3.1.2.1).
pub const MESSAGE_LENGTH_MAX: u32 = 0xff_ffff;

/// The name of a chunk stream: 2..=65599 (RTMP 1.0 §5.3.1.1).
///
/// The specification reserves 2 for protocol control; peers put control messages elsewhere too, and we take
/// them there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkStreamId(u32);

impl ChunkStreamId {
    /// Protocol control and user control messages.
    pub const CONTROL: Self = Self(2);
    /// Commands of the connection.
    pub const COMMAND: Self = Self(3);
    /// Audio messages.
    pub const AUDIO: Self = Self(4);
    /// Data messages.
    pub const DATA: Self = Self(5);
    /// Video messages.
    pub const VIDEO: Self = Self(6);

    /// `None` outside 2..=65599, which no basic header can express.
    pub const fn new(id: u32) -> Option<Self> {
        match id {
            2..=65599 => Some(Self(id)),
            _ => None,
        }
    }

    /// Bytes of the shortest basic header that holds this id: 1, 2 or 3 (RTMP 1.0 §5.3.1.1).
    const fn header_bytes(self) -> usize {
        match self.0 {
            ..64 => 1,
            64..320 => 2,
            320.. => 3,
        }
    }
}

impl From<ChunkStreamId> for u32 {
    fn from(id: ChunkStreamId) -> Self {
        id.0
    }
}
