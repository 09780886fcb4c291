//! RTMP on the wire as a test client needs it: handshake, chunks, messages. Written from the specification (RTMP 1.0 §5), without
//! the engine's code, and with the freedoms that real encoders take: any chunk size, both habits of the extended timestamp.

use std::collections::BTreeMap;

use super::flv::{Kind, Tag};

/// Bytes of C1, S1, C2 and S2 (§5.2.3).
pub const HANDSHAKE_PACKET_BYTES: usize = 1536;

/// Chunk stream of protocol control messages (§5.4).
pub const CONTROL: u8 = 2;
/// Chunk stream of our commands.
pub const COMMAND: u8 = 3;

/// One message (§4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Message type.
    pub type_id: u8,
    /// Message stream.
    pub stream_id: u32,
    /// Milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// The payload.
    pub body: Vec<u8>,
}

impl Message {
    /// A command in AMF0 (§7.1.1).
    pub fn command(stream_id: u32, values: &[super::amf::Amf]) -> Self {
        Self { type_id: 20, stream_id, timestamp: 0, body: super::amf::write(values) }
    }

    /// Audio, video or data.
    pub fn media(stream_id: u32, tag: &Tag) -> Self {
        Self { type_id: tag.kind.type_id(), stream_id, timestamp: tag.timestamp, body: tag.body.clone() }
    }

    /// Set Chunk Size (§5.4.1).
    pub fn set_chunk_size(bytes: u32) -> Self {
        Self { type_id: 1, stream_id: 0, timestamp: 0, body: bytes.to_be_bytes().to_vec() }
    }

    /// The message as a tag, if it is media.
    pub fn into_tag(self) -> Option<Tag> {
        Some(Tag { kind: Kind::from_type(self.type_id)?, timestamp: self.timestamp, body: self.body })
    }
}

/// C0 and C1 of the simple handshake (§5.2.2, §5.2.3).
pub fn c0_c1() -> Vec<u8> {
    let mut bytes = vec![3, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend((8..HANDSHAKE_PACKET_BYTES).map(|at| (at * 31 % 251) as u8));
    bytes
}

/// Some C2. Servers do not look at it, since too many encoders get it wrong; ours is wrong too.
pub fn c2() -> Vec<u8> {
    vec![0; HANDSHAKE_PACKET_BYTES]
}

/// What a type-3 chunk of a message with an extended timestamp carries (§5.3.1.3): both habits exist in the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendedTimestamp {
    /// The field again, as the specification says.
    Repeat,
    /// Nothing, as several encoders do.
    Omit,
}

/// How media messages are headed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaHeaders {
    /// Type 0 each: absolute timestamps.
    Absolute,
    /// Type 1 after the first: timestamp deltas.
    Delta,
}

/// Makes chunks of messages.
#[derive(Clone, Debug)]
pub struct ChunkWriter {
    chunk_size: usize,
    extended: ExtendedTimestamp,
    headers: MediaHeaders,
    last_timestamp: BTreeMap<u8, u32>,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self::new(ExtendedTimestamp::Repeat, MediaHeaders::Absolute)
    }
}

impl ChunkWriter {
    /// A writer with these habits and chunk size 128 (§5.4.1).
    pub fn new(extended: ExtendedTimestamp, headers: MediaHeaders) -> Self {
        Self { chunk_size: 128, extended, headers, last_timestamp: BTreeMap::new() }
    }

    /// Announces another chunk size, and uses it from then on.
    pub fn set_chunk_size(&mut self, bytes: u32) -> Vec<u8> {
        let announcement = self.write(&Message::set_chunk_size(bytes));
        self.chunk_size = bytes as usize;
        announcement
    }

    /// The chunks of a message, on the chunk stream of its kind.
    pub fn write(&mut self, message: &Message) -> Vec<u8> {
        let chunk_stream = match message.type_id {
            8 => 4,
            18 => 5,
            9 => 6,
            20 => COMMAND,
            _ => CONTROL,
        };
        let mut out = Vec::with_capacity(message.body.len() + message.body.len() / self.chunk_size * 5 + 16);
        let previous = self.last_timestamp.insert(chunk_stream, message.timestamp);
        let delta = previous
            .filter(|_| self.headers == MediaHeaders::Delta && Kind::from_type(message.type_id).is_some());
        let (format, time) = match delta {
            Some(previous) => (1, message.timestamp.wrapping_sub(previous)),
            None => (0, message.timestamp),
        };
        let extended = (time >= 0xff_ffff).then(|| time.to_be_bytes());
        out.push(format << 6 | chunk_stream);
        out.extend(&time.min(0xff_ffff).to_be_bytes()[1..]);
        out.extend(&u32::try_from(message.body.len()).expect("a short message").to_be_bytes()[1..]);
        out.push(message.type_id);
        if format == 0 {
            out.extend(message.stream_id.to_le_bytes());
        }
        out.extend(extended.iter().flatten());
        let mut pieces = message.body.chunks(self.chunk_size);
        out.extend(pieces.next().unwrap_or_default());
        for piece in pieces {
            out.push(3 << 6 | chunk_stream);
            if self.extended == ExtendedTimestamp::Repeat {
                out.extend(extended.iter().flatten());
            }
            out.extend(piece);
        }
        out
    }
}

/// Makes messages of chunks. Panics where the bytes break the specification: they come from the server under test.
#[derive(Debug)]
pub struct ChunkReader {
    bytes: Vec<u8>,
    parsed: usize,
    chunk_size: usize,
    chunk_streams: BTreeMap<u32, ChunkStream>,
}

#[derive(Debug, Default)]
struct ChunkStream {
    timestamp: u32,
    delta: u32,
    extended: bool,
    length: usize,
    type_id: u8,
    stream_id: u32,
    body: Vec<u8>,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self { bytes: Vec::new(), parsed: 0, chunk_size: 128, chunk_streams: BTreeMap::new() }
    }
}

impl ChunkReader {
    /// Takes over bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.parsed > 0 {
            self.bytes.drain(..self.parsed);
            self.parsed = 0;
        }
        self.bytes.extend(bytes);
    }

    /// The next whole message. Set Chunk Size has already taken effect when it is returned.
    pub fn next_message(&mut self) -> Option<Message> {
        loop {
            let (length, complete) = self.parse_chunk()?;
            self.parsed += length;
            if let Some(message) = complete {
                if let (1, Ok(size)) = (message.type_id, <[u8; 4]>::try_from(&message.body[..])) {
                    self.chunk_size = u32::from_be_bytes(size) as usize;
                    assert!((1..=0x7fff_ffff).contains(&self.chunk_size), "chunk size {}", self.chunk_size);
                }
                return Some(message);
            }
        }
    }

    /// Length of the next chunk and the message that it completes, or `None` when not all of it is there yet.
    fn parse_chunk(&mut self) -> Option<(usize, Option<Message>)> {
        let bytes = &self.bytes[self.parsed..];
        let first = *bytes.first()?;
        let (id, mut at) = match first & 0x3f {
            0 => (u32::from(*bytes.get(1)?) + 64, 2),
            1 => (u32::from(*bytes.get(1)?) + u32::from(*bytes.get(2)?) * 256 + 64, 3),
            id => (u32::from(id), 1),
        };
        let format = first >> 6;
        let header_len = [11, 7, 3, 0][usize::from(format)];
        let header = bytes.get(at..at + header_len)?;
        at += header_len;
        let stream = self.chunk_streams.entry(id).or_default();
        let starts = stream.body.is_empty();
        let field = if format < 3 { u24(header) } else { 0 };
        let extended = if format < 3 { field == 0xff_ffff } else { stream.extended };
        let time = if extended {
            let bytes = bytes.get(at..at + 4)?;
            at += 4;
            u32::from_be_bytes(bytes.try_into().expect("four bytes"))
        } else {
            field
        };
        let length = if format < 2 { u24(&header[3..]) as usize } else { stream.length };
        let piece = bytes.get(at..at + (length - stream.body.len()).min(self.chunk_size))?;

        // The whole chunk is there: only now may the state change, since an incomplete one is parsed again.
        assert!(starts || format == 3, "chunk stream {id}: a new header inside a message");
        stream.extended = extended;
        match format {
            0 => {
                (stream.timestamp, stream.delta) = (time, time);
                stream.stream_id = u32::from_le_bytes(header[7..11].try_into().expect("four bytes"));
            }
            1 | 2 => (stream.timestamp, stream.delta) = (stream.timestamp.wrapping_add(time), time),
            _ if starts => stream.timestamp = stream.timestamp.wrapping_add(stream.delta),
            _ => {}
        }
        if format < 2 {
            (stream.length, stream.type_id) = (length, header[6]);
        }
        stream.body.extend(piece);
        let complete = (stream.body.len() == stream.length).then(|| Message {
            type_id: stream.type_id,
            stream_id: stream.stream_id,
            timestamp: stream.timestamp,
            body: std::mem::take(&mut stream.body),
        });
        Some((at + piece.len(), complete))
    }
}

fn u24(bytes: &[u8]) -> u32 {
    u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2])
}
