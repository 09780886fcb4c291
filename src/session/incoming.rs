//! A session's input as one row of messages: from chunks, and from aggregates taken apart.
//!
//! # Bounds
//! What [`ChunkReader`] holds, and one aggregate whose parts are handed out one by one, so that a message of 8 MiB made of
//! empty parts costs one part a call and not a queue of them all. Work: [`WorkBudget`], in either role. Every message is charged before
//! it is handed out, whatever it is; chunks are charged when they are read, and no more are read than the budget has units for. A part of
//! an aggregate is charged like a message in a chunk of its own.

use bytes::Bytes;

use super::Instant;
use super::work::WorkBudget;
use crate::rtmp::chunk::{ChunkReader, Read, ReaderState, TINY_CHUNK_BYTES};
use crate::rtmp::message::type_id;
use crate::rtmp::{Limits, Message, PeerMisbehaved, aggregate};

pub(super) struct Incoming {
    reader: ChunkReader,
    aggregate: Option<aggregate::Parts>,
    budget: WorkBudget,
    tiny_chunks: u64,
    headerless_starts: u64,
}

impl Incoming {
    pub(super) fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            reader: ChunkReader::new(limits),
            aggregate: None,
            budget: WorkBudget::new(now, limits),
            tiny_chunks: 0,
            headerless_starts: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.reader.push(bytes);
    }

    pub(super) fn push_gap(&mut self, bytes: usize) {
        self.reader.push_gap(bytes);
    }

    /// The next message, never an aggregate; `None` when more bytes are needed.
    ///
    /// # Errors
    /// Those of the chunk reader, of aggregates, and of the budget.
    pub(super) fn next(&mut self, now: Instant) -> Result<Option<Message>, PeerMisbehaved> {
        loop {
            if let Some(parts) = &mut self.aggregate {
                match parts.next().transpose()? {
                    Some(part) => {
                        let is_tiny = part.payload.len() < TINY_CHUNK_BYTES;
                        self.budget.charge_tiny_chunks(now, u64::from(is_tiny))?;
                        self.budget.charge_message(now, &part)?;
                        return Ok(Some(part));
                    }
                    None => self.aggregate = None,
                }
            }
            self.reader.allow_tiny_chunks(self.budget.tiny_chunks_left(now));
            let read = self.reader.poll()?;
            let tiny_chunks = self.reader.counters().tiny_chunks;
            let added = tiny_chunks - core::mem::replace(&mut self.tiny_chunks, tiny_chunks);
            self.budget.charge_tiny_chunks(now, added)?;
            match read {
                Read::Message(message) if message.header.type_id == type_id::AGGREGATE => {
                    self.aggregate = Some(aggregate::split(&message));
                }
                Read::Message(message) => {
                    self.budget.charge_message(now, &message)?;
                    return Ok(Some(message));
                }
                Read::NeedBytes => return Ok(None),
            }
        }
    }

    /// Whether a chunk stream began without the header it needs since this was last asked.
    pub(super) fn take_headerless_start(&mut self) -> bool {
        let headerless_starts = self.reader.counters().headerless_starts;
        headerless_starts > core::mem::replace(&mut self.headerless_starts, headerless_starts)
    }

    /// Where reading stands, if all but the beginning of a header is read.
    pub(super) fn state(&self) -> Option<ReaderState> {
        if self.aggregate.is_some() { None } else { self.reader.state() }
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
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::rtmp::chunk::{ChunkStreamId, ChunkWriter};
    use crate::rtmp::{Control, MessageHeader};

    /// What came at once is not parsed at once: however much lies there, no more chunks are read than the budget has units for.
    #[test]
    fn a_flood_in_one_read_is_parsed_no_further_than_the_budget_goes() {
        let limits = Limits { work_per_second_max: 10_000, ..Limits::default() };
        let now = Instant::default();
        let mut incoming = Incoming::new(now, &limits);
        let mut bytes = BytesMut::new();
        let mut writer = ChunkWriter::new(128);
        writer.write(ChunkStreamId::CONTROL, &Control::SetChunkSize(1).to_message(), &mut bytes);
        writer.set_chunk_size(1);
        let header = MessageHeader { timestamp: 0, type_id: type_id::VIDEO, stream_id: 1 };
        writer.write(ChunkStreamId::VIDEO, &Message::new(header, Bytes::from(vec![7; 1 << 20])), &mut bytes);
        incoming.push(bytes.freeze());
        assert!(
            matches!(incoming.next(now), Ok(Some(message)) if message.header.type_id == type_id::SET_CHUNK_SIZE)
        );
        assert_eq!(incoming.next(now), Err(PeerMisbehaved::TooManyTinyChunks));
        // The budget of four seconds, but for the message before: 4 units.
        assert_eq!(incoming.reader.counters().tiny_chunks, 40_000 - 4);
    }
}
