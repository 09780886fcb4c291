//! A peer that writes chunks in every way that the specification and the field allow, one operation at a time.
//!
//! Written apart from the engine's writers, since it says what the reader must read. It keeps to one habit with the extended
//! timestamp on type 3 chunks. A peer that leaves it out can be told from one that repeats it only where the bytes behind the header are
//! not those of the timestamp; so this one sends bodies of bytes from 0x80 on, and then times below.

use std::collections::BTreeMap;

use inrush::rtmp::MessageHeader;

/// What the peer writes where a type 3 stands for a header with an extended timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// The field, as RTMP 1.0 §5.3.1.3 has it.
    RepeatsField,
    /// The absolute timestamp, also where the field was a delta.
    RepeatsAbsolute,
    /// Nothing.
    Omits,
}

/// From here on a time needs the extended field.
const EXTENDED: u32 = 0x00ff_ffff;

/// The peer and what it has written.
pub struct Peer {
    /// All of it so far.
    pub out: Vec<u8>,
    /// Payload bytes of a full chunk.
    pub chunk_size: usize,
    habit: Habit,
    streams: BTreeMap<u32, Stream>,
}

/// What the reader must remember of a chunk stream.
struct Stream {
    header: MessageHeader,
    length: usize,
    delta: u32,
    extended: Option<u32>,
    rest: Vec<u8>,
}

impl Peer {
    /// A peer behind its handshake.
    pub fn new(habit: Habit) -> Self {
        Self { out: Vec::new(), chunk_size: 128, habit, streams: BTreeMap::new() }
    }

    /// Whether a message is under way on this chunk stream.
    pub fn is_busy(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(|stream| !stream.rest.is_empty())
    }

    /// Writes the first chunk of a message, with a header of this type or, where that cannot say it, of type 0. True if that is all of it.
    pub fn begin(&mut self, id: u32, header: MessageHeader, body: &[u8], wanted: u8) -> bool {
        let last = self.streams.get(&id);
        let delta = header.timestamp.wrapping_sub(last.map_or(0, |last| last.header.timestamp));
        let chunk_type = if self.can_begin(id, &header, body.len(), wanted) { wanted } else { 0 };
        let time = if chunk_type == 0 { header.timestamp } else { delta };
        let extended = match chunk_type {
            3 => last.and_then(|last| last.extended),
            _ => (time >= EXTENDED).then_some(time),
        };
        // After a type 0, what a type 3 adds is the timestamp itself (RTMP 1.0 §5.3.1.2.4).
        let stream = Stream { header, length: body.len(), delta: time, extended, rest: body.to_vec() };
        self.streams.insert(id, stream);
        self.header(id, chunk_type, time);
        self.payload(id)
    }

    /// Writes the next chunk of the message under way; with a header of a type other than 3, as some peers do, it says the length again or
    /// nothing, and a time that means nothing. True if that is the last.
    pub fn go_on(&mut self, id: u32, chunk_type: u8) -> bool {
        if !self.is_busy(id) {
            return false;
        }
        if chunk_type != 3
            && let Some(stream) = self.streams.get_mut(&id)
        {
            stream.extended = None;
        }
        self.header(id, chunk_type, 0);
        self.payload(id)
    }

    /// Forgets the rest of the message under way: Abort was written.
    pub fn abort(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.rest.clear();
        }
    }

    fn can_begin(&self, id: u32, header: &MessageHeader, length: usize, chunk_type: u8) -> bool {
        let Some(last) = self.streams.get(&id) else { return false };
        let delta = header.timestamp.wrapping_sub(last.header.timestamp);
        let is_same = (last.length, last.header.type_id) == (length, header.type_id);
        // Where nothing is repeated, a time must not look like a body, nor a body be so short that the next chunk stands in its place.
        let is_clear = self.habit != Habit::Omits || (delta < 0x8000_0000 && length > 0);
        last.header.stream_id == header.stream_id
            && is_clear
            && match chunk_type {
                1 => true,
                2 => is_same,
                3 => is_same && delta == last.delta,
                _ => false,
            }
    }

    fn header(&mut self, id: u32, chunk_type: u8, time: u32) {
        let Some(stream) = self.streams.get(&id) else { return };
        let u24 = |value: u32| value.to_be_bytes()[1..].to_vec();
        let format = chunk_type << 6;
        match id {
            ..64 => self.out.push(format | id as u8),
            64..320 => self.out.extend([format, (id - 64) as u8]),
            _ => self.out.extend([format | 1, ((id - 64) % 256) as u8, ((id - 64) / 256) as u8]),
        }
        if chunk_type < 3 {
            self.out.extend(u24(time.min(EXTENDED)));
        }
        if chunk_type < 2 {
            self.out.extend(u24(stream.length as u32));
            self.out.push(stream.header.type_id);
        }
        if chunk_type < 1 {
            self.out.extend(stream.header.stream_id.to_le_bytes());
        }
        let extended = match (chunk_type, self.habit) {
            (..3, _) | (_, Habit::RepeatsField) => stream.extended,
            (_, Habit::RepeatsAbsolute) => stream.extended.map(|_| stream.header.timestamp),
            (_, Habit::Omits) => None,
        };
        self.out.extend(extended.map(u32::to_be_bytes).into_iter().flatten());
    }

    fn payload(&mut self, id: u32) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let count = stream.rest.len().min(self.chunk_size);
        self.out.extend(stream.rest.drain(..count));
        stream.rest.is_empty()
    }
}
