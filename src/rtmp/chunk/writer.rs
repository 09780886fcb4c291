//! Chunk writer: our control messages and commands as chunks, with compressed headers (RTMP 1.0 §5.3.1.2).
//!
//! Takes the shortest header that every reader in the field understands alike. Two short ones are therefore
//! not used: a delta that needs the extended field, which some servers read as an absolute timestamp, goes as
//! type 0; and a type 3 that starts a message follows a type 0 only at timestamp 0, where all agree on what
//! it adds.

use alloc::vec::Vec;

use bytes::BytesMut;

use super::{
    CHUNK_SIZE_MAX, ChunkStreamId,
    header::{EXTENDED_MARK, HeaderBytes},
    wire::{for_each_slice, wire_length},
};
use crate::rtmp::{Message, MessageHeader};

/// Writes messages as chunks. One for each direction of a session that sends.
#[derive(Clone, Debug)]
pub struct ChunkWriter {
    chunk_size: u32,
    /// What was sent last on each chunk stream. As many as the program names: a session uses three.
    sent: Vec<Sent>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    id: ChunkStreamId,
    header: MessageHeader,
    length: u32,
    /// What a type 3 would add, where readers agree on it.
    delta: Option<u32>,
}

impl ChunkWriter {
    /// A writer that has sent nothing; `chunk_size` in bytes, 1..=0x7FFFFFFF (what is outside is brought
    /// inside).
    pub fn new(chunk_size: u32) -> Self {
        Self { chunk_size: chunk_size.clamp(1, CHUNK_SIZE_MAX), sent: Vec::new() }
    }

    /// Appends the chunks of a message to `out`. `wire_bytes` of the message is ignored. What is over
    /// [`super::MESSAGE_LENGTH_MAX`] bytes is cut off, since it has no wire form.
    pub fn write(&mut self, id: ChunkStreamId, message: &Message, out: &mut BytesMut) {
        let length = wire_length(message.payload.len());
        let (first, next) = self.headers(id, &message.header, length);
        for_each_slice(&first, &next, &message.payload, self.chunk_size, |slice| {
            out.extend_from_slice(slice)
        });
    }

    /// Chunks are this long from now on: to be called after the message that announces it was written.
    pub fn set_chunk_size(&mut self, bytes: u32) {
        self.chunk_size = bytes.clamp(1, CHUNK_SIZE_MAX);
    }

    /// Payload bytes of a full chunk.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// The headers of the message's first chunk and of the others, and what is remembered of them.
    fn headers(
        &mut self,
        id: ChunkStreamId,
        header: &MessageHeader,
        length: u32,
    ) -> (HeaderBytes, HeaderBytes) {
        let before = self.sent.iter().position(|sent| sent.id == id);
        let delta = before
            .and_then(|at| self.sent.get(at))
            .filter(|sent| sent.header.stream_id == header.stream_id)
            .map(|sent| (header.timestamp.wrapping_sub(sent.header.timestamp), *sent))
            // Also sends a timestamp that goes back as type 0 (§5.3.1.2.1): as a delta it would be a huge
            // one.
            .filter(|(delta, _)| *delta < EXTENDED_MARK);
        let (first, next, delta) = match delta {
            None => {
                let first = HeaderBytes::type_0(id, header, length);
                (first, HeaderBytes::type_3(id, header.timestamp), (header.timestamp == 0).then_some(0))
            }
            Some((delta, sent)) => {
                let next = HeaderBytes::type_3(id, delta);
                let first = if sent.length != length || sent.header.type_id != header.type_id {
                    HeaderBytes::type_1(id, delta, length, header.type_id)
                } else if sent.delta != Some(delta) {
                    HeaderBytes::type_2(id, delta)
                } else {
                    next
                };
                (first, next, Some(delta))
            }
        };
        let sent = Sent { id, header: *header, length, delta };
        match before.and_then(|at| self.sent.get_mut(at)) {
            Some(place) => *place = sent,
            None => self.sent.push(sent),
        }
        (first, next)
    }
}
