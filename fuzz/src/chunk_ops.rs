//! Target `chunk_ops`: legal sessions of chunks, made of operations.
//!
//! # What is promised
//! - The reader gives exactly what was written: each message that was finished, when its last chunk was, whatever was interleaved, aborted
//!   or announced meanwhile, and however the bytes are cut.
//! - Messages take all bytes but those of unfinished ones; when none is, nothing is held.
//! - The parts of an aggregate are those that were put in, and share its bytes.
//! # Input
//! The operations and the cuts, as `arbitrary` makes them of bytes.

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use inrush::rtmp::chunk::{ChunkReader, Read};
use inrush::rtmp::message::type_id;
use inrush::rtmp::{Limits, Message, MessageHeader, Payload, aggregate};

use super::peer::{Habit, Peer};

/// A session: how the peer writes, what it does, and how the network cuts it.
#[derive(Arbitrary, Debug)]
struct Session {
    habit: u8,
    shares_memory: bool,
    ops: Vec<Op>,
    cuts: Vec<u8>,
}

/// One thing that the peer does.
#[derive(Arbitrary, Debug)]
enum Op {
    /// Writes the first chunk of a message, if none is under way on this chunk stream.
    Begin { stream: u8, time: Time, type_id: u8, stream_id: u8, len: Len, header: u8 },
    /// Writes the next chunk of the message under way.
    GoOn { stream: u8, header: u8 },
    /// Writes all of what is under way.
    Finish { stream: u8 },
    /// Says that the message under way will not be finished.
    Abort { stream: u8 },
    /// Announces another chunk size.
    ChunkSize(ChunkSize),
    /// Writes several messages in one.
    Aggregate { stream: u8, time: Time, parts: Vec<(Time, u8)> },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Time {
    /// After the last one of the chunk stream.
    Later(u8),
    /// Any, also before.
    At(u32),
    /// Around a boundary of the field: 2^24, 2^31, 2^32.
    Near { boundary: u8, offset: i8 },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Len {
    Few(u8),
    Many(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum ChunkSize {
    Few(u8),
    Many(u32),
}

/// Ids of all three lengths of basic header, and those that are next to a border.
const STREAMS: [u32; 8] = [2, 3, 6, 63, 64, 319, 320, 65_599];

/// Control messages go here; nothing is ever under way.
const CONTROL: u32 = 5;

/// More than this makes no input that the fuzzer would keep.
const BYTES_MAX: usize = 256 * 1024;

/// One legal session.
pub fn chunk_ops(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(session) = Session::arbitrary(&mut input) else { return };
    let mut writing = Writing::new(&session);
    for op in &session.ops {
        writing.carry_out(op);
        if writing.peer.out.len() > BYTES_MAX {
            break;
        }
    }
    let is_idle = STREAMS.iter().all(|id| !writing.peer.is_busy(*id));
    check(&session, &writing.peer.out, &writing.expected, is_idle);
}

/// The peer at work, and the messages that it has finished.
struct Writing {
    peer: Peer,
    habit: Habit,
    expected: Vec<Message>,
    /// By place in [`STREAMS`]: the message under way, and the last timestamp.
    under_way: [Option<Message>; STREAMS.len()],
    last: [u32; STREAMS.len()],
    /// Messages begun: what tells their bodies apart.
    begun: u8,
}

impl Writing {
    fn new(session: &Session) -> Self {
        let habit =
            [Habit::RepeatsField, Habit::RepeatsAbsolute, Habit::Omits][usize::from(session.habit % 3)];
        Self {
            peer: Peer::new(habit),
            habit,
            expected: Vec::new(),
            under_way: [const { None }; STREAMS.len()],
            last: [0; STREAMS.len()],
            begun: 0,
        }
    }

    fn carry_out(&mut self, op: &Op) {
        match op {
            Op::Begin { stream, time, type_id, stream_id, len, header } => {
                let len = match *len {
                    Len::Few(len) => len.into(),
                    Len::Many(len) => usize::from(len),
                };
                let body = self.body(len);
                self.begin(*stream, *time, *type_id, *stream_id, body, *header);
            }
            Op::GoOn { stream, header } => self.go_on(*stream, *header),
            Op::Finish { stream } => {
                while self.peer.is_busy(id(*stream)) && self.peer.out.len() <= BYTES_MAX {
                    self.go_on(*stream, 3);
                }
            }
            Op::Abort { stream } => {
                self.control(type_id::ABORT, id(*stream));
                self.peer.abort(id(*stream));
                self.under_way[place(*stream)] = None;
            }
            Op::ChunkSize(size) => {
                let size = match *size {
                    ChunkSize::Few(size) => u32::from(size),
                    ChunkSize::Many(size) => size,
                };
                let size = (size & 0x7fff_ffff).max(1);
                self.control(type_id::SET_CHUNK_SIZE, size);
                self.peer.chunk_size = size as usize;
            }
            Op::Aggregate { stream, time, parts } => {
                let body = self.aggregate(parts);
                self.begin(*stream, *time, type_id::AGGREGATE, 1, body, 0);
            }
        }
    }

    fn begin(&mut self, stream: u8, time: Time, kind: u8, stream_id: u8, body: Vec<u8>, header: u8) {
        if self.peer.is_busy(id(stream)) {
            return;
        }
        // These two would be obeyed.
        let type_id =
            if matches!(kind, type_id::SET_CHUNK_SIZE | type_id::ABORT) { type_id::VIDEO } else { kind };
        let mut timestamp = self.time(time, self.last[place(stream)]);
        if type_id == type_id::AGGREGATE && self.habit == Habit::Omits {
            // What stands at the begin of its second chunk may be anything, and so a time.
            timestamp &= 0x007f_ffff;
        }
        self.last[place(stream)] = timestamp;
        let header_sent = MessageHeader { timestamp, type_id, stream_id: u32::from(stream_id % 3) };
        let is_done = self.peer.begin(id(stream), header_sent, &body, header % 4);
        self.under_way[place(stream)] = Some(Message::new(header_sent, Bytes::from(body)));
        self.finish(stream, is_done);
    }

    fn go_on(&mut self, stream: u8, header: u8) {
        // A type 0 would name a message stream and a type again; types 1 and 2 are what is seen.
        let chunk_type = [3, 3, 1, 2][usize::from(header % 4)];
        let is_done = self.peer.go_on(id(stream), chunk_type);
        self.finish(stream, is_done);
    }

    fn finish(&mut self, stream: u8, is_done: bool) {
        if is_done {
            self.expected.extend(self.under_way[place(stream)].take());
        }
    }

    fn control(&mut self, type_id: u8, number: u32) {
        let header = MessageHeader { timestamp: 0, type_id, stream_id: 0 };
        let body = number.to_be_bytes();
        let mut is_done = self.peer.begin(CONTROL, header, &body, 0);
        while !is_done {
            is_done = self.peer.go_on(CONTROL, 3);
        }
        self.expected.push(Message::new(header, Bytes::copy_from_slice(&body)));
    }

    fn body(&mut self, len: usize) -> Vec<u8> {
        self.begun = self.begun.wrapping_add(1);
        (0..len).map(|at| 0x80 | (at as u8).wrapping_mul(3).wrapping_add(self.begun)).collect()
    }

    fn time(&self, time: Time, last: u32) -> u32 {
        let time = match time {
            Time::Later(ms) => last.wrapping_add(ms.into()),
            Time::At(ms) => ms,
            Time::Near { boundary, offset } => {
                let boundary = [0x00ff_ffff, 0x0100_0000, 0x8000_0000, 0][usize::from(boundary % 4)];
                u32::wrapping_add_signed(boundary, offset.into())
            }
        };
        // A body of this peer begins with 0x80 or more.
        if self.habit == Habit::Omits { time & 0x7fff_ffff } else { time }
    }

    /// The body of an aggregate. The types of its parts are none that anybody knows.
    fn aggregate(&mut self, parts: &[(Time, u8)]) -> Vec<u8> {
        let mut body = Vec::new();
        let mut last = 0;
        for (time, len) in parts {
            let part = self.body((*len).into());
            last = self.time(*time, last);
            let [high, time @ ..] = last.to_be_bytes();
            body.push(0x80 | type_id::VIDEO);
            body.extend(&(part.len() as u32).to_be_bytes()[1..]);
            body.extend(time);
            body.extend([high, 0, 0, 0]);
            body.extend(&part);
            body.extend((11 + part.len() as u32).to_be_bytes());
        }
        body
    }
}

fn place(stream: u8) -> usize {
    usize::from(stream) % STREAMS.len()
}

fn id(stream: u8) -> u32 {
    STREAMS[place(stream)]
}

fn check(session: &Session, bytes: &[u8], expected: &[Message], is_idle: bool) {
    let limits = Limits { reassembly_bytes_max: 2 * BYTES_MAX, ..Limits::default() };
    let mut reader = ChunkReader::new(&limits);
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut expected = expected.iter();
    let mut cuts = session.cuts.iter().map(|cut| match cut {
        few @ 0..0xc0 => usize::from(*few) + 1,
        many => (usize::from(*many) - 0xbf) * 256,
    });
    let (mut pushed, mut taken) = (0, 0);
    while !rest.is_empty() {
        let cut = rest.split_to(cuts.next().unwrap_or(usize::MAX).min(rest.len()));
        pushed += cut.len();
        reader.push(if session.shares_memory { cut } else { Bytes::copy_from_slice(&cut) });
        while let Read::Message(read) = reader.poll().expect("a legal session is read") {
            let Message { header, payload, .. } =
                expected.next().expect("nothing is read that was not written");
            assert_eq!(read.header, *header);
            assert!(read.payload == *payload, "{header:?}: {} bytes became others", payload.len());
            taken += read.wire_bytes as usize;
            check_aggregate(&read);
        }
        assert!(taken <= pushed && reader.retained_bytes() <= 3 * pushed);
    }
    assert_eq!(expected.next(), None, "written and not read");
    if is_idle {
        assert_eq!(
            (taken, reader.retained_bytes()),
            (bytes.len(), 0),
            "nothing is under way, and something is held"
        );
    }
}

/// Reads the parts of an aggregate by hand, and compares.
fn check_aggregate(message: &Message) {
    if message.header.type_id != type_id::AGGREGATE {
        return;
    }
    let parts: Result<Vec<Message>, _> = aggregate::split(message).collect();
    // A body of type 22 that is none was written by `Op::Begin`.
    let Ok(parts) = parts else { return };
    let body = message.payload.to_vec();
    let (mut at, mut wire_bytes, mut first) = (0, 0, None);
    for Message { header, payload, wire_bytes: share } in &parts {
        let field =
            |from: usize| u32::from_be_bytes([0, body[at + from], body[at + from + 1], body[at + from + 2]]);
        let (len, time) = (field(1) as usize, field(4) | u32::from(body[at + 7]) << 24);
        let first = *first.get_or_insert(time);
        assert_eq!((header.type_id, header.stream_id), (body[at], message.header.stream_id));
        assert_eq!(header.timestamp, message.header.timestamp.wrapping_add(time.wrapping_sub(first)));
        assert!(*payload == Payload::from(Bytes::copy_from_slice(&body[at + 11..at + 11 + len])));
        at += 11 + len + 4;
        wire_bytes += share;
    }
    assert!(at == body.len() || at == body.len() + 4, "the last back pointer may be missing");
    assert!(parts.is_empty() || wire_bytes == message.wire_bytes, "parts share what the aggregate took");
}
