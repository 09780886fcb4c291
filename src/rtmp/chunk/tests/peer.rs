//! A peer that writes chunks in every way that the specification and the field allow: interleaved, with any
//! legal header, any id, and either habit for extended timestamps. Written apart from the writers it is
//! compared with.

use std::collections::BTreeMap;

use crate::rtmp::MessageHeader;

/// What the peer writes where a type 3 stands for a header with an extended timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    RepeatsField,
    RepeatsAbsolute,
    Omits,
}

pub(super) struct Peer {
    pub(super) out: Vec<u8>,
    pub(super) chunk_size: usize,
    habit: Habit,
    streams: BTreeMap<u32, Stream>,
}

struct Stream {
    header: MessageHeader,
    length: usize,
    delta: u32,
    extended: Option<u32>,
    rest: Vec<u8>,
}

impl Peer {
    pub(super) fn new(habit: Habit) -> Self {
        Self { out: Vec::new(), chunk_size: 128, habit, streams: BTreeMap::new() }
    }

    /// Whether a message is under way on this chunk stream.
    pub(super) fn is_busy(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(|stream| !stream.rest.is_empty())
    }

    /// Chunk types that may start this message, the most compressed one last.
    pub(super) fn legal_types(&self, id: u32, header: &MessageHeader, length: usize) -> Vec<u8> {
        let mut types = vec![0];
        if let Some(last) = self.streams.get(&id)
            && last.header.stream_id == header.stream_id
        {
            types.push(1);
            if last.length == length && last.header.type_id == header.type_id {
                types.push(2);
                if header.timestamp.wrapping_sub(last.header.timestamp) == last.delta {
                    types.push(3);
                }
            }
        }
        types
    }

    /// Writes the first chunk of a message.
    pub(super) fn begin(&mut self, id: u32, header: MessageHeader, body: &[u8], chunk_type: u8) {
        let last = self.streams.get(&id);
        let delta = header.timestamp.wrapping_sub(last.map_or(0, |last| last.header.timestamp));
        let time = if chunk_type == 0 { header.timestamp } else { delta };
        let extended = match chunk_type {
            3 => last.and_then(|last| last.extended),
            _ => (time >= 0xffffff).then_some(time),
        };
        let stream = Stream { header, length: body.len(), delta: time, extended, rest: body.to_vec() };
        self.streams.insert(id, stream);

        self.basic_header(chunk_type, id);
        let u24 = |value: u32| value.to_be_bytes()[1..].to_vec();
        if chunk_type < 3 {
            self.out.extend(u24(time.min(0xffffff)));
        }
        if chunk_type < 2 {
            self.out.extend(u24(body.len() as u32));
            self.out.push(header.type_id);
        }
        if chunk_type < 1 {
            self.out.extend(header.stream_id.to_le_bytes());
        }
        if chunk_type < 3 {
            self.out.extend(extended.map(u32::to_be_bytes).into_iter().flatten());
        } else {
            self.type_3_extended(id);
        }
        self.payload(id);
    }

    /// Writes the next chunk of the message that is under way.
    pub(super) fn go_on(&mut self, id: u32) {
        self.basic_header(3, id);
        self.type_3_extended(id);
        self.payload(id);
    }

    /// Writes a whole message with a type 0 header.
    pub(super) fn send(&mut self, id: u32, header: MessageHeader, body: &[u8]) {
        self.begin(id, header, body, 0);
        while self.is_busy(id) {
            self.go_on(id);
        }
    }

    /// Forgets the rest of the message that is under way.
    pub(super) fn abort(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.rest.clear();
        }
    }

    fn basic_header(&mut self, chunk_type: u8, id: u32) {
        let chunk_type = chunk_type << 6;
        match id {
            2..=63 => self.out.push(chunk_type | id as u8),
            64..=319 => self.out.extend([chunk_type, (id - 64) as u8]),
            _ => self.out.extend([chunk_type | 1, ((id - 64) % 256) as u8, ((id - 64) / 256) as u8]),
        }
    }

    fn type_3_extended(&mut self, id: u32) {
        let stream = &self.streams[&id];
        let field = match self.habit {
            Habit::RepeatsField => stream.extended,
            Habit::RepeatsAbsolute => stream.extended.map(|_| stream.header.timestamp),
            Habit::Omits => None,
        };
        self.out.extend(field.map(u32::to_be_bytes).into_iter().flatten());
    }

    fn payload(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        let count = stream.rest.len().min(self.chunk_size);
        self.out.extend(stream.rest.drain(..count));
    }
}
