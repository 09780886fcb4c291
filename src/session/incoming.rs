//! A session's input as one row of messages: from chunks, and from aggregates taken apart.
//!
//! # Bounds
//! What [`ChunkReader`] holds, and one aggregate whose parts are handed out one by one, so that a message of 8 MiB made of
//! empty parts costs one part a call and not a queue of them all. A part with next to nothing in it is counted like a chunk
//! with as little: else an aggregate would be the way around that bound.

use bytes::Bytes;

use super::Instant;
use super::rate::TokenBucket;
use crate::rtmp::chunk::{ChunkReader, Read, TINY_CHUNK_BYTES};
use crate::rtmp::message::type_id;
use crate::rtmp::{Limits, Message, PeerMisbehaved, aggregate};

pub(super) struct Incoming {
    reader: ChunkReader,
    aggregate: Option<aggregate::Parts>,
    tiny_chunk_rate: TokenBucket,
    tiny_chunks: u64,
    headerless_starts: u64,
}

impl Incoming {
    pub(super) fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            reader: ChunkReader::new(limits),
            aggregate: None,
            tiny_chunk_rate: TokenBucket::new(now, limits.tiny_chunks_per_second_max),
            tiny_chunks: 0,
            headerless_starts: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.reader.push(bytes);
    }

    /// The next message, never an aggregate; `None` when more bytes are needed.
    ///
    /// # Errors
    /// Those of the chunk reader and of aggregates, and `TooManyTinyChunks`.
    pub(super) fn next(&mut self, now: Instant) -> Result<Option<Message>, PeerMisbehaved> {
        loop {
            if let Some(parts) = &mut self.aggregate {
                match parts.next().transpose()? {
                    Some(part) => {
                        self.charge_tiny(now, u64::from(part.payload.len() < TINY_CHUNK_BYTES))?;
                        return Ok(Some(part));
                    }
                    None => self.aggregate = None,
                }
            }
            let read = self.reader.poll();
            let tiny_chunks = self.reader.counters().tiny_chunks;
            let added = tiny_chunks - core::mem::replace(&mut self.tiny_chunks, tiny_chunks);
            self.charge_tiny(now, added)?;
            match read? {
                Read::Message(message) if message.header.type_id == type_id::AGGREGATE => {
                    self.aggregate = Some(aggregate::split(&message));
                }
                Read::Message(message) => return Ok(Some(message)),
                Read::NeedBytes => return Ok(None),
            }
        }
    }

    /// Whether a chunk stream began without the header it needs since this was last asked.
    pub(super) fn take_headerless_start(&mut self) -> bool {
        let headerless_starts = self.reader.counters().headerless_starts;
        headerless_starts > core::mem::replace(&mut self.headerless_starts, headerless_starts)
    }

    pub(super) fn missing_bytes(&self) -> usize {
        self.reader.missing_bytes().max(1)
    }

    pub(super) fn retained_bytes(&self) -> usize {
        self.reader.retained_bytes() + self.aggregate.as_ref().map_or(0, aggregate::Parts::left_bytes)
    }

    pub(super) fn unparsed_bytes(&self) -> usize {
        self.reader.unparsed_bytes()
    }

    fn charge_tiny(&mut self, now: Instant, count: u64) -> Result<(), PeerMisbehaved> {
        match count == 0 || self.tiny_chunk_rate.take(now, count) {
            true => Ok(()),
            false => Err(PeerMisbehaved::TooManyTinyChunks),
        }
    }
}
