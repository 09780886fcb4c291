//! Chunk reader: turns the peer's bytes into messages (RTMP 1.0 §5.3).
//!
//! Sans-I/O: the caller pushes filled buffers by value, because io_uring owns a buffer while it reads into
//! it, and polls messages out.
//! # Invariant
//! A payload is the list of slices that it arrived in: nothing is copied, except that pieces of a message up
//! to [`GATHER_BYTES_MAX`] are gathered (`scratch.rs` says where). A chunk header is taken off the input only
//! when it is whole, so wherever the bytes are split, nothing of it need be remembered.
//! # Bounds
//! A message by `message_bytes_max`, refused at its header; distinct chunk streams by `chunk_streams_max`;
//! unfinished messages together by `reassembly_bytes_max`, in bytes that they keep from being freed
//! (`retained.rs`), and two blocks beside (`scratch.rs`). Input that is not parsed yet is the caller's to
//! bound, by [`ChunkReader::unparsed_bytes`]. The work for each byte is bounded by counting tiny chunks
//! ([`ReaderCounters::tiny_chunks`]), of which the session allows so many at a time ([`ChunkReader::allow_tiny_chunks`]).
//! # Errors
//! Every error is the peer's fault, and final: everything held is dropped and each later poll gives the same
//! error.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{
    CHUNK_SIZE_DEFAULT, ChunkStreamId,
    assembly::{Assembly, GATHER_BYTES_MAX},
    header::{ChunkHeader, EXTENDED_BYTES, HEADER_BYTES_MAX, MessageFields},
    input::Input,
    scratch::Scratch,
    state::ReaderState,
    stream::{ChunkStream, ChunkStreams, Extended},
};
use crate::rtmp::{Control, Limits, Message, MessageHeader, Payload, PeerMisbehaved, message::type_id};

/// A chunk with fewer bytes of payload than this is a tiny one.
///
/// Its header and the work for it outweigh what it brings. Encoders send some: acknowledgements and pings,
/// silent audio, the last chunk of a message. Nobody sends hundreds of thousands a second, except to keep a
/// core busy with little traffic.
pub const TINY_CHUNK_BYTES: usize = 16;

/// Reads chunks, gives messages.
#[derive(Debug)]
pub struct ChunkReader {
    message_bytes_max: u32,
    reassembly_bytes_max: usize,
    gather_bytes_max: usize,
    input: Input,
    streams: ChunkStreams,
    scratch: Scratch,
    /// The chunk whose header is read and whose payload is not.
    open: Option<OpenChunk>,
    chunk_size: u32,
    /// What the copies of unfinished messages count.
    copied_bytes: usize,
    /// Input that belonged to no message: the next one's `wire_bytes` counts it. An aborted message's counts
    /// with the Abort that ended it.
    unclaimed_bytes: u32,
    /// What the peer aborted, if somebody wants to know.
    aborted: Option<Vec<(MessageHeader, Payload)>>,
    failed: Option<PeerMisbehaved>,
    /// What [`ReaderCounters::tiny_chunks`] may come to.
    tiny_chunks_max: u64,
    counters: ReaderCounters,
}

/// What a poll gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A whole message.
    Message(Message),
    /// All input is parsed and no message is whole: push more.
    NeedBytes,
}

/// What the reader has seen since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderCounters {
    /// Bytes pushed.
    pub bytes: u64,
    /// Chunk headers read.
    pub chunks: u64,
    /// Chunks with less than [`TINY_CHUNK_BYTES`] of payload, those with none included.
    pub tiny_chunks: u64,
    /// Messages given out.
    pub messages: u64,
    /// Messages without length that began a chunk stream with type 2 or 3, and were dropped.
    pub headerless_starts: u64,
    /// Unfinished messages that the peer aborted.
    pub aborted: u64,
    /// Type 3 chunks that repeated an extended timestamp.
    pub extended_repeated: u64,
    /// Type 3 chunks that should have repeated an extended timestamp and did not.
    pub extended_omitted: u64,
    /// Payload bytes that were copied because their pieces were short.
    pub gathered_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct OpenChunk {
    id: ChunkStreamId,
    left: usize,
}

/// What one step of parsing led to.
enum Step {
    Continue,
    Message(Message),
    NeedBytes,
}

impl ChunkReader {
    /// A reader at the first byte after the handshake.
    pub fn new(limits: &Limits) -> Self {
        Self {
            message_bytes_max: limits.message_bytes_max,
            reassembly_bytes_max: limits.reassembly_bytes_max,
            gather_bytes_max: GATHER_BYTES_MAX,
            input: Input::default(),
            streams: ChunkStreams::new(limits.chunk_streams_max),
            scratch: Scratch::default(),
            open: None,
            chunk_size: CHUNK_SIZE_DEFAULT,
            copied_bytes: 0,
            unclaimed_bytes: 0,
            aborted: None,
            failed: None,
            tiny_chunks_max: u64::MAX,
            counters: ReaderCounters::default(),
        }
    }

    /// Gathers pieces up to `bytes` long instead of [`GATHER_BYTES_MAX`]: to measure where the crossover lies
    /// on another machine. With less, a slice's own cost (36 bytes) is no longer small beside what the bounds
    /// count.
    pub fn with_gather_bytes_max(mut self, bytes: usize) -> Self {
        self.gather_bytes_max = bytes;
        self
    }

    /// Where the reader stands: to be asked after a poll that gave [`Read::NeedBytes`]. `None` while more input waits than the beginning
    /// of a header, while a message is unfinished that says how to read on, and after an error.
    pub fn state(&self) -> Option<ReaderState> {
        let is_control = |stream: &ChunkStream| {
            stream.assembly.is_some()
                && matches!(stream.header().type_id, type_id::SET_CHUNK_SIZE | type_id::ABORT)
        };
        if self.failed.is_some()
            || self.unparsed_bytes() >= HEADER_BYTES_MAX
            || self.streams.iter().any(is_control)
        {
            return None;
        }
        Some(ReaderState {
            chunk_size: self.chunk_size,
            streams: self.streams.iter().map(ChunkStream::state).collect(),
            open: self.open.map(|open| (open.id, open.left)),
            unparsed: Bytes::copy_from_slice(self.input.peek(&mut [0; HEADER_BYTES_MAX])),
        })
    }

    /// Messages that are unfinished, as the slices that they came in; what is being gathered is not among them.
    pub fn unfinished(&self) -> impl Iterator<Item = (MessageHeader, &[Bytes])> {
        self.streams.iter().filter_map(|stream| Some((stream.header(), stream.assembly.as_ref()?.slices())))
    }

    /// A reader that goes on where another one stood. What had arrived of unfinished messages is zeros.
    ///
    /// # Errors
    /// Those of a peer that had led a reader with these limits there: too many chunk streams, a message too long, too much unfinished.
    pub fn resume(limits: &Limits, state: &ReaderState) -> Result<Self, PeerMisbehaved> {
        let mut reader = Self::new(limits);
        reader.chunk_size = state.chunk_size.max(1);
        for stream in &state.streams {
            if stream.length > reader.message_bytes_max {
                return Err(PeerMisbehaved::MessageTooLong(stream.length));
            }
            let assembly = stream.arrived.map(|arrived| {
                let mut assembly = Assembly::new(stream.length as usize, &mut reader.scratch);
                // A message of which nothing is missing would not be unfinished.
                let arrived = arrived.min(stream.length.saturating_sub(1)) as usize;
                reader.copied_bytes += assembly.gather(&alloc::vec![0; arrived], &mut reader.scratch);
                assembly
            });
            reader.check_reassembly()?;
            *reader.streams.insert(stream.id)? = ChunkStream::from_state(stream, assembly);
        }
        // An open chunk is that of an unfinished message, and no longer than what that lacks.
        reader.open = state.open.and_then(|(id, left)| {
            let lacking = reader.streams.find(id)?.assembly.as_ref()?.left();
            Some(OpenChunk { id, left: left.min(lacking) })
        });
        reader.push(state.unparsed.clone());
        Ok(reader)
    }

    /// Keeps what the peer aborts, for [`Self::take_aborted`]: for whoever reads a recording, whose length bounds it.
    pub fn keeping_aborted(mut self) -> Self {
        self.aborted = Some(Vec::new());
        self
    }

    /// The beginnings of messages that were aborted since this was last asked, if they are kept.
    pub fn take_aborted(&mut self) -> Vec<(MessageHeader, Payload)> {
        self.aborted.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// Takes over what a read returned. Cheap; nothing is parsed yet.
    pub fn push(&mut self, bytes: Bytes) {
        if self.failed.is_none() {
            self.counters.bytes += bytes.len() as u64;
            self.input.push(bytes);
        }
    }

    /// Says that so many bytes lie in memory behind what was pushed last and before what comes next, and are not for this reader: a layer
    /// below used them up in the same buffer. They are kept alive by what is around them, so they count as held with it, and as
    /// `wire_bytes` of the next message.
    pub fn push_gap(&mut self, bytes: usize) {
        if self.failed.is_none() {
            self.unclaimed_bytes =
                self.unclaimed_bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
            self.input.retained.on_gap(bytes);
        }
    }

    /// Parses on until a message is whole, or all input is parsed.
    ///
    /// Set Chunk Size and Abort have taken effect when they are returned, whatever chunk stream they came on,
    /// so that the next chunk is read right.
    pub fn poll(&mut self) -> Result<Read, PeerMisbehaved> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.read_on().and_then(|read| self.check_reassembly().map(|()| read));
        if let Err(error) = outcome {
            self.fail(error);
        }
        outcome
    }

    /// How many tiny chunks may be read from now on: the next one is `TooManyTinyChunks`. Any number until this is called. One poll may
    /// go through all that was pushed, so a rate that is only looked at between polls would come too late.
    pub fn allow_tiny_chunks(&mut self, count: u64) {
        self.tiny_chunks_max = self.counters.tiny_chunks.saturating_add(count);
    }

    /// Bytes that must at least arrive before the message whose chunk was read last can be whole: the rest of
    /// it, and the type 3 headers that must stand between (for `SO_RCVLOWAT`). Another chunk stream's message
    /// may be whole earlier. 1 between messages; never 0.
    pub fn missing_bytes(&self) -> usize {
        let Some((stream, assembly)) =
            self.streams.last().and_then(|stream| Some((stream, stream.assembly.as_ref()?)))
        else {
            return 1;
        };
        let left = assembly.left();
        let in_chunk = self.open.map_or(0, |open| open.left);
        let headers = (left - in_chunk).div_ceil(self.chunk_size as usize) * stream.type_3_bytes_min();
        (left + headers).saturating_sub(self.input.unparsed_bytes()).max(1)
    }

    /// Bytes of memory that the reader keeps from being freed: the buffers that hold unparsed input or slices
    /// of unfinished messages, whole, and what was copied out of others. The block for short pieces is not
    /// counted beside the bytes that unfinished messages have in it.
    pub fn retained_bytes(&self) -> usize {
        self.input.retained.retained_bytes() + self.copied_bytes
    }

    /// Bytes pushed and not parsed. After a poll that gave [`Read::NeedBytes`] it is less than one chunk
    /// header.
    pub fn unparsed_bytes(&self) -> usize {
        self.input.unparsed_bytes()
    }

    /// What was seen so far.
    pub fn counters(&self) -> &ReaderCounters {
        &self.counters
    }

    /// The peer's chunk size, bytes.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    fn read_on(&mut self) -> Result<Read, PeerMisbehaved> {
        loop {
            let step = match self.open {
                None => self.read_header()?,
                Some(open) => self.read_payload(open)?,
            };
            match step {
                Step::Continue => {}
                Step::Message(message) => return Ok(Read::Message(message)),
                Step::NeedBytes => return Ok(Read::NeedBytes),
            }
        }
    }

    fn read_header(&mut self) -> Result<Step, PeerMisbehaved> {
        let mut scratch = [0; HEADER_BYTES_MAX];
        let next = self.input.peek(&mut scratch);
        let Some(ChunkHeader { id, fields, len }) = ChunkHeader::parse(next) else {
            return Ok(Step::NeedBytes);
        };
        let stream = match (self.streams.find(id), fields) {
            (Some(stream), _) => stream,
            (None, MessageFields::Type0 { .. } | MessageFields::Type1 { .. }) => self.streams.insert(id)?,
            (None, MessageFields::Type2 { .. } | MessageFields::Type3) => {
                // Nothing says how long it is or what: a message of no length, of no use to anybody.
                self.input.advance(len);
                self.unclaimed_bytes = self.unclaimed_bytes.saturating_add(len as u32);
                self.counters.headerless_starts += 1;
                self.on_chunk(0)?;
                return Ok(Step::Continue);
            }
        };

        let mut header_bytes = len;
        if fields == MessageFields::Type3 {
            let found = stream.extended_on_type_3(next.get(len..).unwrap_or_default());
            match found {
                Extended::None => {}
                Extended::Undecided => return Ok(Step::NeedBytes),
                Extended::Omitted => self.counters.extended_omitted += 1,
                Extended::Repeated => {
                    self.counters.extended_repeated += 1;
                    header_bytes += EXTENDED_BYTES;
                }
            }
            stream.on_extended(found);
        }
        self.input.advance(header_bytes);

        if stream.assembly.is_some() {
            stream.on_continuation(&fields)?;
        } else {
            if let Some(length) = fields.length()
                && length > self.message_bytes_max
            {
                return Err(PeerMisbehaved::MessageTooLong(length));
            }
            stream.on_start(&fields);
            let length = stream.length();
            if length <= self.chunk_size as usize && length <= self.input.front().len() {
                // Nearly every message: one chunk, in one buffer.
                let header = stream.header();
                self.on_chunk(length)?;
                let payload = Payload::from(self.input.take(length));
                return self.on_message(header, payload, (header_bytes + length) as u32).map(Step::Message);
            }
        }
        let length = stream.length();
        let assembly = stream.assembly.get_or_insert_with(|| Assembly::new(length, &mut self.scratch));
        assembly.add_wire_bytes(header_bytes);
        let left = assembly.left().min(self.chunk_size as usize);
        self.open = Some(OpenChunk { id, left });
        self.on_chunk(left)?;
        Ok(Step::Continue)
    }

    fn read_payload(&mut self, mut open: OpenChunk) -> Result<Step, PeerMisbehaved> {
        self.open = None;
        // An open chunk has its chunk stream, and that its unfinished message: `read_header` made both.
        let Some(stream) = self.streams.find(open.id) else { return Ok(Step::Continue) };
        let Some(assembly) = &mut stream.assembly else { return Ok(Step::Continue) };
        while open.left > 0 {
            let len = self.input.front().len().min(open.left);
            if len == 0 {
                self.open = Some(open);
                return Ok(Step::NeedBytes);
            }
            if assembly.gathers(len, self.gather_bytes_max) {
                self.copied_bytes += assembly.gather(&self.input.front()[..len], &mut self.scratch);
                self.counters.gathered_bytes += len as u64;
                self.input.advance(len);
            } else if len == assembly.left() {
                assembly.slice(self.input.take(len), None);
            } else {
                let (piece, run) = self.input.take_held(len, assembly.last_run());
                assembly.slice(piece, run);
            }
            assembly.add_wire_bytes(len);
            open.left -= len;
        }
        if assembly.left() > 0 {
            return Ok(Step::Continue);
        }
        let header = stream.header();
        let Some(assembly) = stream.assembly.take() else { return Ok(Step::Continue) };
        let (payload, wire_bytes, copied_bytes) =
            assembly.finish(&mut self.input.retained, &mut self.scratch);
        self.copied_bytes -= copied_bytes;
        self.on_message(header, payload, wire_bytes).map(Step::Message)
    }

    fn on_chunk(&mut self, payload_bytes: usize) -> Result<(), PeerMisbehaved> {
        self.counters.chunks += 1;
        if payload_bytes < TINY_CHUNK_BYTES {
            if self.counters.tiny_chunks >= self.tiny_chunks_max {
                return Err(PeerMisbehaved::TooManyTinyChunks);
            }
            self.counters.tiny_chunks += 1;
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        header: MessageHeader,
        payload: Payload,
        wire_bytes: u32,
    ) -> Result<Message, PeerMisbehaved> {
        let mut message = Message { header, payload, wire_bytes };
        self.counters.messages += 1;
        if let type_id::SET_CHUNK_SIZE | type_id::ABORT = header.type_id {
            match Control::parse(&message)? {
                Some(Control::SetChunkSize(bytes)) => self.chunk_size = bytes,
                Some(Control::Abort(id)) => self.on_abort(id),
                _ => {}
            }
        }
        message.wire_bytes = wire_bytes.saturating_add(core::mem::take(&mut self.unclaimed_bytes));
        Ok(message)
    }

    /// Drops the unfinished message of a chunk stream (RTMP 1.0 §5.4.2). An id without one is nothing to
    /// complain of.
    fn on_abort(&mut self, id: u32) {
        let unfinished = ChunkStreamId::new(id)
            .and_then(|id| self.streams.find(id))
            .and_then(|stream| Some((stream.header(), stream.assembly.take()?)));
        if let Some((header, assembly)) = unfinished {
            let (payload, wire_bytes, copied_bytes) =
                assembly.finish(&mut self.input.retained, &mut self.scratch);
            self.copied_bytes -= copied_bytes;
            self.unclaimed_bytes = self.unclaimed_bytes.saturating_add(wire_bytes);
            if let Some(aborted) = &mut self.aborted {
                aborted.push((header, payload));
            }
            self.counters.aborted += 1;
        }
    }

    /// The bound on unfinished messages. It need not be looked at between two polls: what one poll adds was
    /// pushed before.
    fn check_reassembly(&self) -> Result<(), PeerMisbehaved> {
        match self.input.retained.unfinished_bytes() + self.copied_bytes {
            bytes if bytes > self.reassembly_bytes_max => Err(PeerMisbehaved::ReassemblyBytes(bytes)),
            _ => Ok(()),
        }
    }

    fn fail(&mut self, error: PeerMisbehaved) {
        self.failed = Some(error);
        self.open = None;
        self.streams.clear();
        self.input = Input::default();
        self.scratch = Scratch::default();
        self.copied_bytes = 0;
    }
}
