//! What publishers send: a list of messages that repeats, shared by all publishers of the process.
//!
//! # Invariant
//! Times are non-decreasing and below `period_ms`; the first `headers` are sent once, the rest again and again.

mod bits;
pub mod codec;
pub mod flv;
pub mod layout;
mod record;
pub mod stamp;
pub mod synthetic;
mod tag;

use bytes::Bytes;
use smallvec::SmallVec;

use stamp::{Carrier, Lane};

/// RTMP message types of media.
pub use inrush::rtmp::message::type_id;

/// One message, as it goes round.
#[derive(Clone, Debug)]
pub struct Message {
    /// RTMP message type: audio, video or data.
    pub type_id: u8,
    /// Milliseconds from the begin of a round.
    pub time_ms: u32,
    /// What it is of, one after the other: one part, or one for each of several tracks.
    pub parts: SmallVec<[Part; 1]>,
}

/// One track's part of a message, or all of it.
#[derive(Clone, Debug)]
pub struct Part {
    /// The headers, behind which a stamp goes.
    pub head: Bytes,
    /// What follows.
    pub body: Bytes,
    /// How a stamp is put in; `None` where none can be.
    pub carrier: Option<Carrier>,
    /// What its stamps are numbered in.
    pub lane: Lane,
    /// Its number among those of its lane in a round, if it carries a stamp.
    pub number: u64,
}

impl Message {
    /// Splits the body of a legacy tag where a stamp goes.
    pub fn new(type_id: u8, time_ms: u32, tag: Bytes) -> Self {
        let carrier = Carrier::of(type_id, &tag);
        let mut body = tag;
        let head = body.split_to(carrier.map_or(0, Carrier::offset));
        let part = Part { head, body, carrier, lane: Lane::WHOLE, number: 0 };
        Self { type_id, time_ms, parts: SmallVec::from_buf([part]) }
    }

    /// Bytes of the payload, stamps included.
    pub fn bytes(&self) -> usize {
        let of = |part: &Part| part.head.len() + part.carrier.map_or(0, Carrier::bytes) + part.body.len();
        self.parts.iter().map(of).sum()
    }

    /// Whether any part can carry a stamp.
    pub fn is_stamped(&self) -> bool {
        self.parts.iter().any(|part| part.carrier.is_some())
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
    /// What stamps are numbered in, each with how many a round has.
    pub lanes: Vec<(Lane, u64)>,
}

impl Media {
    /// Puts a stream together. `period_ms` is raised to what the messages need; there is at least one message.
    pub fn new(headers: Vec<Message>, mut round: Vec<Message>, period_ms: u32) -> Self {
        let last_ms = round.last().map_or(0, |message| message.time_ms);
        let round_bytes = round.iter().map(|message| message.bytes() as u64).sum();
        let mut lanes: Vec<(Lane, u64)> = Vec::new();
        for part in round.iter_mut().flat_map(|message| &mut message.parts) {
            let at = lanes.iter().position(|(lane, _)| *lane == part.lane).unwrap_or_else(|| {
                lanes.push((part.lane, 0));
                lanes.len() - 1
            });
            part.number = lanes[at].1;
            lanes[at].1 += u64::from(part.carrier.is_some());
        }
        Self { headers, round, period_ms: period_ms.max(last_ms + 1), round_bytes, lanes }
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
            let first = message.parts.iter().flat_map(|part| part.head.iter().chain(&part.body)).next();
            first.map_or(0, |first| (first >> 4) & 7)
        };
        self.video().filter(|message| frame_type(message) == 1).count()
    }

    fn video(&self) -> impl Iterator<Item = &Message> {
        self.round.iter().filter(|message| message.type_id == type_id::VIDEO)
    }

    /// Whether any message can carry a stamp.
    pub fn is_stamped(&self) -> bool {
        self.round.iter().any(Message::is_stamped)
    }
}
