//! Media as encoders chunk it: compressed headers or not, and both habits with the extended timestamp.

use bytes::{BufMut, BytesMut};

/// What a peer does with the extended timestamp field on the type 3 chunks of a message that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// As RTMP 1.0 §5.3.1.3 says.
    Repeat,
    /// As many encoders do.
    Omit,
}

pub struct Chunker {
    pub habit: Habit,
    /// Use types 1 to 3 where they fit.
    pub compress: bool,
    pub chunk_size: usize,
    /// By chunk stream id.
    last: [Option<Last>; 8],
}

#[derive(Clone, Copy)]
struct Last {
    timestamp: u32,
    delta: u32,
    type_id: u8,
    stream_id: u32,
    len: usize,
}

const FIELD_MAX: u32 = 0xff_ffff;

impl Chunker {
    pub fn new(habit: Habit, compress: bool, chunk_size: usize) -> Self {
        Self { habit, compress, chunk_size, last: [None; 8] }
    }

    pub fn write(&mut self, type_id: u8, stream_id: u32, timestamp: u32, body: &[u8], out: &mut BytesMut) {
        let chunk_stream = match type_id {
            8 => 4,
            9 | 22 => 6,
            _ => 5,
        };
        let last =
            self.last[usize::from(chunk_stream)].filter(|last| self.compress && last.stream_id == stream_id);
        // Deltas are unsigned: a step back needs a type 0.
        let delta = last.map(|last| timestamp.wrapping_sub(last.timestamp)).filter(|delta| *delta < 1 << 31);
        let (format, field) = match (last, delta) {
            (Some(last), Some(delta)) if (last.type_id, last.len) == (type_id, body.len()) => {
                (if delta == last.delta { 3 } else { 2 }, delta)
            }
            (Some(_), Some(delta)) => (1, delta),
            _ => (0, timestamp),
        };
        // After a type 0, the delta that a type 3 repeats is the timestamp itself (§5.3.1.2.4).
        let last = Last { timestamp, delta: field, type_id, stream_id, len: body.len() };
        self.last[usize::from(chunk_stream)] = Some(last);

        let extended = field >= FIELD_MAX;
        out.put_u8(format << 6 | chunk_stream);
        if format < 3 {
            out.put_uint(u64::from(field.min(FIELD_MAX)), 3);
        }
        if format < 2 {
            out.put_uint(body.len() as u64, 3);
            out.put_u8(type_id);
        }
        if format == 0 {
            out.put_u32_le(stream_id);
        }
        if extended && (format < 3 || self.habit == Habit::Repeat) {
            out.put_u32(field);
        }
        let mut chunks = body.chunks(self.chunk_size);
        out.extend_from_slice(chunks.next().unwrap_or_default());
        for chunk in chunks {
            out.put_u8(3 << 6 | chunk_stream);
            if extended && self.habit == Habit::Repeat {
                out.put_u32(field);
            }
            out.extend_from_slice(chunk);
        }
    }
}
