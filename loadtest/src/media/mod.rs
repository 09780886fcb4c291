//! What publishers send: a list of messages that repeats, shared by all publishers of the process.
//!
//! # Invariant
//! Times are non-decreasing and below `period_ms`; the first `headers` are sent once, the rest again and again.

pub mod flv;
pub mod stamp;
pub mod synthetic;

use bytes::Bytes;

use stamp::Carrier;

/// RTMP message types of media.
pub use inrush::rtmp::message::type_id;

/// One message, as it goes round.
#[derive(Clone, Debug)]
pub struct Message {
    /// RTMP message type: audio, video or data.
    pub type_id: u8,
    /// Milliseconds from the begin of a round.
    pub time_ms: u32,
    /// The tag header, behind which a stamp goes.
    pub head: Bytes,
    /// What follows.
    pub body: Bytes,
    /// How a stamp is put in; `None` where none can be.
    pub carrier: Option<Carrier>,
}

impl Message {
    /// Splits a tag's body where a stamp goes.
    pub fn new(type_id: u8, time_ms: u32, tag: Bytes) -> Self {
        let carrier = Carrier::of(type_id, &tag);
        let mut body = tag;
        let head = body.split_to(carrier.map_or(0, Carrier::offset));
        Self { type_id, time_ms, head, body, carrier }
    }

    /// Bytes of the payload, stamp included.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.carrier.map_or(0, Carrier::bytes) + self.body.len()
    }
}

/// All messages of a stream.
#[derive(Clone, Debug)]
pub struct Media {
    /// onMetaData and sequence headers: sent once, at the timestamp of the first message.
    pub headers: Vec<Message>,
    /// Sent round after round.
    pub round: Vec<Message>,
    /// Length of a round.
    pub period_ms: u32,
    /// Payload bytes of a round.
    pub round_bytes: u64,
}

impl Media {
    /// Puts a stream together. `period_ms` is raised to what the messages need; there is at least one message.
    fn new(headers: Vec<Message>, round: Vec<Message>, period_ms: u32) -> Self {
        let last_ms = round.last().map_or(0, |message| message.time_ms);
        let round_bytes = round.iter().map(|message| message.bytes() as u64).sum();
        Self { headers, round, period_ms: period_ms.max(last_ms + 1), round_bytes }
    }

    /// Payload bits a second.
    pub fn bits_per_second(&self) -> u64 {
        self.round_bytes * 8 * 1_000 / u64::from(self.period_ms)
    }

    /// Video messages of a round.
    pub fn video_messages(&self) -> usize {
        self.video().count()
    }

    /// Key frames of a round, by the frame type of their tags.
    pub fn key_frames(&self) -> usize {
        let frame_type = |message: &Message| {
            let first = message.head.first().or(message.body.first());
            first.map_or(0, |first| (first >> 4) & 7)
        };
        self.video().filter(|message| frame_type(message) == 1).count()
    }

    fn video(&self) -> impl Iterator<Item = &Message> {
        self.round.iter().filter(|message| message.type_id == type_id::VIDEO)
    }

    /// Whether any message can carry a stamp.
    pub fn is_stamped(&self) -> bool {
        self.round.iter().any(|message| message.carrier.is_some())
    }
}
