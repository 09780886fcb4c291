//! The peer's chunk streams: what each one's next header leaves out, and its unfinished message.
//!
//! # Extended timestamps on type 3
//! The specification wants a type 3 chunk to repeat the extended timestamp field of the header that it stands
//! for (RTMP 1.0 §5.3.1.3). Part of the encoders in the field does, part does not, and some repeat the
//! absolute timestamp where the field was a delta. So the first such chunk of a chunk stream is looked at:
//! when the four bytes in that place are the field as last sent, or the absolute timestamp, the peer repeats;
//! otherwise they are payload, and the peer omits. What a peer was found to do on a chunk stream holds for
//! the rest of the session: a payload that happens to look like a timestamp cannot confuse it later.
//!
//! Where fewer than four bytes have arrived, those that have are compared, and the first that differs
//! decides. A payload of one to three bytes that *equals* the beginning of the timestamp, from a peer that
//! omits the field, ends a message only when the next byte arrives: the one case in which a whole message
//! waits.
//! # Bounds
//! A chunk stream stays in the table once it is there, since its next header may leave out anything; so the
//! distinct ids of a session are bounded. An id that begins with type 2 or 3 takes no place.

use alloc::vec::Vec;

use smallvec::SmallVec;

use super::{
    ChunkStreamId,
    assembly::Assembly,
    header::{EXTENDED_BYTES, MessageFields, TimeField},
    state::StreamState,
};
use crate::rtmp::{MessageHeader, PeerMisbehaved};

#[derive(Debug)]
pub(super) struct ChunkStream {
    pub(super) id: ChunkStreamId,
    header: MessageHeader,
    length: u32,
    /// What a type 3 that starts a message adds to the timestamp, milliseconds.
    delta: u32,
    /// The extended timestamp field of the last type 0, 1 or 2, if it had one.
    extended: Option<u32>,
    type_3_field: Type3Field,
    /// The message that has begun and is not whole.
    pub(super) assembly: Option<Assembly>,
}

/// What the peer was found to do with the extended timestamp field on type 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type3Field {
    Unknown,
    Repeated,
    Omitted,
}

/// Whether an extended timestamp follows a type 3 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extended {
    /// The last header had none, so there is none to repeat.
    None,
    /// It is there.
    Repeated,
    /// It could be there, and is not.
    Omitted,
    /// More bytes will tell.
    Undecided,
}

impl ChunkStream {
    fn new(id: ChunkStreamId) -> Self {
        Self {
            id,
            header: MessageHeader { timestamp: 0, type_id: 0, stream_id: 0 },
            length: 0,
            delta: 0,
            extended: None,
            type_3_field: Type3Field::Unknown,
            assembly: None,
        }
    }

    /// All of it but the bytes of an unfinished message.
    pub(super) fn state(&self) -> StreamState {
        StreamState {
            id: self.id,
            header: self.header,
            length: self.length,
            delta: self.delta,
            extended: self.extended,
            repeats_extended: match self.type_3_field {
                Type3Field::Unknown => None,
                found => Some(found == Type3Field::Repeated),
            },
            arrived: self
                .assembly
                .as_ref()
                .map(|assembly| self.length.saturating_sub(assembly.left() as u32)),
        }
    }

    /// The chunk stream of that state, with `assembly` as its unfinished message.
    pub(super) fn from_state(state: &StreamState, assembly: Option<Assembly>) -> Self {
        Self {
            id: state.id,
            header: state.header,
            length: state.length,
            delta: state.delta,
            extended: state.extended,
            type_3_field: match state.repeats_extended {
                None => Type3Field::Unknown,
                Some(true) => Type3Field::Repeated,
                Some(false) => Type3Field::Omitted,
            },
            assembly,
        }
    }

    /// Header of the message that was begun last.
    pub(super) fn header(&self) -> MessageHeader {
        self.header
    }

    /// Length of the message that was begun last, bytes.
    pub(super) fn length(&self) -> usize {
        self.length as usize
    }

    /// A chunk header starts a message.
    pub(super) fn on_start(&mut self, fields: &MessageFields) {
        match *fields {
            MessageFields::Type0 { timestamp, length, type_id, stream_id } => {
                self.header = MessageHeader { timestamp: timestamp.ms, type_id, stream_id };
                self.length = length;
                // §5.3.1.2.4: after a type 0, the delta of a type 3 is the timestamp itself.
                self.delta = timestamp.ms;
            }
            MessageFields::Type1 { delta, length, type_id } => {
                self.header.type_id = type_id;
                self.length = length;
                self.add_delta(delta.ms);
            }
            MessageFields::Type2 { delta } => self.add_delta(delta.ms),
            MessageFields::Type3 => self.add_delta(self.delta),
        }
        self.keep_extended(fields);
    }

    /// A chunk header continues the unfinished message.
    ///
    /// That should be a type 3 (§5.3.1.2.4). Another type that declares the same length, or none, continues it
    /// too, as in ffmpeg: the message keeps the timestamp, type and message stream that it began with. Another
    /// length is refused: to believe both was ffmpeg's heap overflow CVE-2016-10191.
    pub(super) fn on_continuation(&mut self, fields: &MessageFields) -> Result<(), PeerMisbehaved> {
        if let Some(now) = fields.length()
            && now != self.length
        {
            return Err(PeerMisbehaved::MessageLengthChanged { was: self.length, now });
        }
        self.keep_extended(fields);
        Ok(())
    }

    /// Whether the bytes after a type 3 header of this chunk stream begin with an extended timestamp.
    pub(super) fn extended_on_type_3(&self, after: &[u8]) -> Extended {
        let Some(field) = self.extended else { return Extended::None };
        let seen = &after[..after.len().min(EXTENDED_BYTES)];
        match self.type_3_field {
            Type3Field::Omitted => Extended::Omitted,
            Type3Field::Repeated if seen.len() == EXTENDED_BYTES => Extended::Repeated,
            Type3Field::Repeated => Extended::Undecided,
            Type3Field::Unknown => {
                let absolute = match self.assembly {
                    Some(_) => self.header.timestamp,
                    None => self.header.timestamp.wrapping_add(self.delta),
                };
                let alike = [field, absolute].iter().any(|time| time.to_be_bytes().starts_with(seen));
                match alike {
                    true if seen.len() == EXTENDED_BYTES => Extended::Repeated,
                    true => Extended::Undecided,
                    false => Extended::Omitted,
                }
            }
        }
    }

    /// What was found holds from now on.
    pub(super) fn on_extended(&mut self, found: Extended) {
        match found {
            Extended::Repeated => self.type_3_field = Type3Field::Repeated,
            Extended::Omitted => self.type_3_field = Type3Field::Omitted,
            Extended::None | Extended::Undecided => {}
        }
    }

    /// Bytes that a type 3 header takes at least, as this peer writes it.
    pub(super) fn type_3_bytes_min(&self) -> usize {
        let repeated = self.extended.is_some() && self.type_3_field == Type3Field::Repeated;
        self.id.header_bytes() + if repeated { EXTENDED_BYTES } else { 0 }
    }

    fn add_delta(&mut self, delta: u32) {
        self.header.timestamp = self.header.timestamp.wrapping_add(delta);
        self.delta = delta;
    }

    fn keep_extended(&mut self, fields: &MessageFields) {
        let time: TimeField = match *fields {
            MessageFields::Type0 { timestamp, .. } => timestamp,
            MessageFields::Type1 { delta, .. } | MessageFields::Type2 { delta } => delta,
            MessageFields::Type3 => return,
        };
        self.extended = time.extended.then_some(time.ms);
    }
}

/// Chunk streams whose ids are in the list itself: more than nearly any session has.
const USUAL_STREAMS: usize = 6;

/// All chunk streams of one direction of a session.
#[derive(Debug)]
pub(super) struct ChunkStreams {
    /// In the order in which they were first used. A session has about five, so they are looked for one by
    /// one.
    ids: SmallVec<[ChunkStreamId; USUAL_STREAMS]>,
    /// Each in the place of its id.
    streams: Vec<ChunkStream>,
    /// Where the last one was found: most chunks follow one of the same chunk stream.
    last: usize,
    streams_max: usize,
}

impl ChunkStreams {
    pub(super) fn new(streams_max: usize) -> Self {
        Self { ids: SmallVec::new(), streams: Vec::new(), last: 0, streams_max }
    }

    pub(super) fn find(&mut self, id: ChunkStreamId) -> Option<&mut ChunkStream> {
        if self.ids.get(self.last) != Some(&id) {
            self.last = self.ids.iter().position(|each| *each == id)?;
        }
        self.streams.get_mut(self.last)
    }

    /// A fresh one, for an id that is not there.
    pub(super) fn insert(&mut self, id: ChunkStreamId) -> Result<&mut ChunkStream, PeerMisbehaved> {
        if self.streams.len() >= self.streams_max {
            return Err(PeerMisbehaved::TooManyChunkStreams);
        }
        self.last = self.streams.len();
        self.ids.push(id);
        self.streams.push(ChunkStream::new(id));
        Ok(&mut self.streams[self.last])
    }

    /// All of them, in the order in which they were first used.
    pub(super) fn iter(&self) -> impl Iterator<Item = &ChunkStream> {
        self.streams.iter()
    }

    /// The chunk stream that was found or inserted last.
    pub(super) fn last(&self) -> Option<&ChunkStream> {
        self.streams.get(self.last)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.streams_max);
    }
}
