//! Every bound of one session, with its default and the sum behind it.

/// All bounds of one session.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest message that is reassembled, bytes.
    pub message_bytes_max: u32,
    /// Chunk streams in use at a time.
    pub chunk_streams_max: usize,
    /// Bytes of unfinished messages, all chunk streams together.
    pub reassembly_bytes_max: usize,
    /// Chunks a second that carry next to nothing.
    pub tiny_chunks_per_second_max: u32,
    /// Commands a second.
    pub commands_per_second_max: u32,
    /// Message streams (createStream) a session.
    pub message_streams_max: usize,
    /// Bytes that wait unparsed while a publish or play waits for its answer.
    pub held_bytes_max: usize,
    /// Longest app, name or query, bytes.
    pub name_bytes_max: usize,
    /// Bounds of one AMF message.
    pub amf: AmfLimits,
}

/// Bounds of one AMF message.
#[derive(Clone, Copy, Debug)]
pub struct AmfLimits {
    /// Nesting depth.
    pub depth_max: usize,
    /// Values and properties, references counted each time they are resolved.
    pub entries_max: usize,
    /// Bytes of strings and byte arrays, references counted each time they are resolved.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 8 * 1024 * 1024,
            chunk_streams_max: 64,
            reassembly_bytes_max: 16 * 1024 * 1024,
            tiny_chunks_per_second_max: 200_000,
            commands_per_second_max: 100,
            message_streams_max: 8,
            held_bytes_max: 1024 * 1024,
            name_bytes_max: 1024,
            amf: AmfLimits::default(),
        }
    }
}

impl Default for AmfLimits {
    fn default() -> Self {
        Self { depth_max: 32, entries_max: 4096, bytes_max: 256 * 1024 }
    }
}
