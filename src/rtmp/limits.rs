//! Every bound of one session, with its default and the sum behind it.

/// All bounds of one session.
///
/// # What one session can make us hold
/// With the defaults: 16 MiB of unfinished messages, 8 MiB of an aggregate that is taken apart, 1 MiB of
/// input that waits and one read buffer that is parsed, two blocks of 32 KiB for short pieces, 16 KiB for the
/// state of 64 chunk streams, and what AMF makes of one message at a time (4,096 values and 256 KiB).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest message that is reassembled, bytes. Refused at its header. The protocol's own bound is
    /// 16,777,215; a key frame of 100 Mbit/s video is some 2 MB. 8 MiB by default.
    pub message_bytes_max: u32,
    /// Distinct chunk streams a session: none is forgotten, since its next header may leave out what the last
    /// one said. Encoders use four to ten. 64 by default.
    pub chunk_streams_max: usize,
    /// What unfinished messages keep in memory, bytes, all chunk streams together: whole read buffers,
    /// however little of them is wanted. Two of the longest messages by default, 16 MiB.
    pub reassembly_bytes_max: usize,
    /// Work a second, in units of one tiny chunk (one with less than 16 bytes of payload), some 30 ns: `session/work.rs` says what each
    /// kind of message is charged. 60,000 by default, 2 ms of each second, and four times that at once. An encoder's chunks of one byte
    /// at 100 kbit/s are 12,500 units a second, which is odd and harmless; ten times that is neither. 3,000 of the shortest
    /// media messages are 30,000 units, a ping 100, a command 500 and more: an encoder sends ten in its first second and then none. Media
    /// of more than 320 bytes is free.
    pub work_per_second_max: u32,
    /// Message streams (createStream) a session. 8 by default.
    pub message_streams_max: usize,
    /// Bytes that wait unparsed while a publish or play waits for its answer. 1 MiB by default: two seconds
    /// of 4 Mbit/s.
    pub held_bytes_max: usize,
    /// Longest app, name or query, bytes. 1,024 by default.
    pub name_bytes_max: usize,
    /// Bounds of one AMF message.
    pub amf: AmfLimits,
}

/// Bounds of one AMF message.
#[derive(Clone, Copy, Debug)]
pub struct AmfLimits {
    /// Nesting depth. 32 by default: a stack of that many frames, where real messages have three.
    pub depth_max: usize,
    /// Values and properties, references counted each time they are resolved. 4,096 by default; and never more than the message has
    /// bytes.
    pub entries_max: usize,
    /// Bytes of strings and byte arrays, references counted each time they are resolved. 256 KiB by
    /// default.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 8 * 1024 * 1024,
            chunk_streams_max: 64,
            reassembly_bytes_max: 16 * 1024 * 1024,
            work_per_second_max: 60_000,
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
