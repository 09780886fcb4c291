//! Where a [`ChunkReader`](super::ChunkReader) stands between two polls, as plain data: enough to read on from there.
//!
//! A recording that begins in the middle of a session needs it, since a chunk header may leave out whatever one before it said (RTMP 1.0
//! §5.3.1.2). The bytes of unfinished messages are not in it: whoever reads on finds zeros in their place.
//! # Bounds
//! One entry a chunk stream (`chunk_streams_max`) and less than one chunk header of input.

use alloc::vec::Vec;

use bytes::Bytes;

use super::ChunkStreamId;
use crate::rtmp::MessageHeader;

/// A reader between two polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderState {
    /// The peer's chunk size, bytes.
    pub chunk_size: u32,
    /// Its chunk streams, in the order in which they were first used.
    pub streams: Vec<StreamState>,
    /// The chunk whose header is read and whose payload is not: its chunk stream, and the bytes that it lacks.
    pub open: Option<(ChunkStreamId, usize)>,
    /// The beginning of a chunk header that is not all there.
    pub unparsed: Bytes,
}

/// One chunk stream: what its next header may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Its name.
    pub id: ChunkStreamId,
    /// Header of the message that was begun last.
    pub header: MessageHeader,
    /// Length of that message, bytes.
    pub length: u32,
    /// What a type 3 that starts a message adds to the timestamp, milliseconds.
    pub delta: u32,
    /// The extended timestamp field of the last type 0, 1 or 2, if it had one.
    pub extended: Option<u32>,
    /// Whether the peer repeats that field on type 3, once that is known.
    pub repeats_extended: Option<bool>,
    /// Bytes of the message that are here while it is unfinished.
    pub arrived: Option<u32>,
}
