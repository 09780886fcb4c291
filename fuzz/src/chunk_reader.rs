//! Target `chunk_reader`: any bytes as chunks.
//!
//! # What is promised
//! - The same messages, the same error and the same counts however the bytes are cut.
//! - Messages take no more bytes than there were, and are no longer than allowed.
//! - What is held stays within the bounds; nothing is held after an error, and the error stays.
//! - What was read can be written and is read again.
//! - A reader that goes on where another one stood reads what that would have read, but for what had come of messages.
//! # Input
//! As in `script`: the steps that are reads say how the bytes are cut.

use bytes::{Bytes, BytesMut};
use inrush::rtmp::chunk::{ChunkReader, ChunkStreamId, ChunkWriter, Read, ReaderCounters};
use inrush::rtmp::message::type_id;
use inrush::rtmp::{Control, Limits, Message, PeerMisbehaved};

use super::script::{ALLOCATION_BYTES, Script, Step};

/// Setting: little may be held.
const IS_TIGHT: u8 = 1;
/// Setting: reads share memory.
const IS_SHARED: u8 = 2;
/// Setting: all is pushed before anything is polled.
const IS_LATE: u8 = 4;
/// Setting: pieces of messages are kept as they came, however short.
const IS_SLICED: u8 = 8;

/// Setting: some reads later another reader goes on.
const IS_RESUMED: u8 = 16;

/// Longest chunk header (RTMP 1.0 §5.3.1): 3 basic, 11 message, 4 extended timestamp.
const HEADER_BYTES_MAX: usize = 18;

/// Chunks of a peer's session, behind the handshake.
pub fn chunk_reader(data: &[u8]) {
    let script = Script::new(data);
    let cut = run(&script, false);
    // A bound on what is held depends on the buffers in which it lies; so its limit is not the same for other cuts.
    if !script.is(IS_TIGHT) {
        let bytewise = run(&script, true);
        assert_eq!(cut, bytewise);
    }
    if script.is(IS_RESUMED) && !script.is(IS_TIGHT) {
        check_resumed(&script, &cut);
    }
    check_round_trip(&cut.messages);
}

/// At each place between two reads, another reader takes over.
fn check_resumed(script: &Script<'_>, expected: &Outcome) {
    let limits = limits(false);
    let mut reader = ChunkReader::new(&limits);
    let mut wire = script.wire(false);
    let mut cuts = script.steps().filter_map(|step| match step {
        Step::Read(count) => Some(count),
        Step::Act { .. } => None,
    });
    let mut messages = expected.messages.iter();
    while let Some(bytes) = wire.read(cuts.next().unwrap_or(usize::MAX)) {
        reader.push(bytes);
        loop {
            match reader.poll() {
                Ok(Read::Message(read)) => {
                    let message = messages.next().expect("no more messages than without resuming");
                    assert_eq!(read.header, message.header);
                    let (read, whole) = (read.payload.to_bytes(), message.payload.to_bytes());
                    let zeros = read.iter().take_while(|byte| **byte == 0).count();
                    assert!(read.len() == whole.len() && read[zeros..] == whole[zeros..]);
                }
                Ok(Read::NeedBytes) => break,
                Err(error) => return assert_eq!((Some(error), messages.len()), (expected.error, 0)),
            }
        }
        if let Some(state) = reader.state() {
            reader = ChunkReader::resume(&limits, &state).expect("a state that a reader had");
            assert_eq!(reader.poll(), Ok(Read::NeedBytes));
            assert_eq!(reader.state(), Some(state), "nothing is lost by resuming");
        }
    }
    assert_eq!((expected.error, messages.len()), (None, 0));
}

/// All that a reader gave.
#[derive(Debug, PartialEq)]
struct Outcome {
    messages: Vec<Message>,
    error: Option<PeerMisbehaved>,
    counters: ReaderCounters,
    chunk_size: u32,
}

fn limits(is_tight: bool) -> Limits {
    match is_tight {
        true => Limits {
            message_bytes_max: 5_000,
            chunk_streams_max: 4,
            reassembly_bytes_max: 600,
            ..Limits::default()
        },
        false => Limits::default(),
    }
}

fn run(script: &Script<'_>, is_bytewise: bool) -> Outcome {
    let limits = limits(script.is(IS_TIGHT));
    let mut reader = ChunkReader::new(&limits);
    if script.is(IS_SLICED) {
        reader = reader.with_gather_bytes_max(16);
    }
    let mut outcome =
        Outcome { messages: Vec::new(), error: None, counters: ReaderCounters::default(), chunk_size: 0 };
    let mut wire = script.wire(script.is(IS_SHARED) && !is_bytewise);
    let mut cuts = script.steps().filter_map(|step| match step {
        Step::Read(count) => Some(count),
        Step::Act { .. } => None,
    });
    while let Some(bytes) = wire.read(if is_bytewise { 1 } else { cuts.next().unwrap_or(usize::MAX) }) {
        reader.push(bytes);
        if !script.is(IS_LATE) {
            drain(&mut reader, &limits, &mut outcome);
        }
    }
    drain(&mut reader, &limits, &mut outcome);
    outcome.counters = ReaderCounters { gathered_bytes: 0, ..*reader.counters() };
    if outcome.error.is_some() {
        // What was pushed behind the error is not counted.
        outcome.counters.bytes = 0;
    }
    outcome.chunk_size = reader.chunk_size();
    outcome
}

fn drain(reader: &mut ChunkReader, limits: &Limits, outcome: &mut Outcome) {
    loop {
        match reader.poll() {
            Ok(Read::Message(message)) => {
                assert!(message.payload.len() <= limits.message_bytes_max as usize);
                assert!(message.payload.slices().iter().all(|slice| !slice.is_empty()));
                assert!(message.payload.len() < message.wire_bytes as usize, "a message has a header");
                outcome.messages.push(message);
            }
            Ok(Read::NeedBytes) => break,
            Err(error) => {
                assert!(outcome.error.is_none_or(|before| before == error), "an error stays");
                outcome.error = Some(error);
                assert_eq!(
                    (reader.retained_bytes(), reader.unparsed_bytes(), reader.missing_bytes()),
                    (0, 0, 1)
                );
                return;
            }
        }
    }
    let taken: u64 = outcome.messages.iter().map(|message| u64::from(message.wire_bytes)).sum();
    assert!(taken <= reader.counters().bytes, "messages took more than there was");
    assert!(reader.unparsed_bytes() < HEADER_BYTES_MAX, "only a header waits");
    assert!(reader.missing_bytes() > 0);
    // Beside what is unfinished: the allocation in which the header that waits began, and what came of it since.
    let beside = ALLOCATION_BYTES + HEADER_BYTES_MAX;
    assert!(
        reader.retained_bytes() <= limits.reassembly_bytes_max + beside,
        "{} held",
        reader.retained_bytes()
    );
}

/// All messages over one connection of ours, on a few chunk streams, with compressed headers.
fn check_round_trip(messages: &[Message]) {
    let mut writer = ChunkWriter::new(128);
    let mut out = BytesMut::new();
    for message in messages {
        let id = 2 + u32::from(message.header.type_id) % 5;
        writer.write(ChunkStreamId::new(id).expect("a chunk stream"), message, &mut out);
        if let (type_id::SET_CHUNK_SIZE, Ok(Some(Control::SetChunkSize(bytes)))) =
            (message.header.type_id, Control::parse(message))
        {
            writer.set_chunk_size(bytes);
        }
    }
    let mut reader = ChunkReader::new(&Limits::default());
    reader.push(Bytes::from(out));
    for message in messages {
        match reader.poll() {
            Ok(Read::Message(read)) => {
                assert_eq!((read.header, &read.payload), (message.header, &message.payload));
            }
            other => panic!("{message:?} was not read again: {other:?}"),
        }
    }
    assert_eq!((reader.poll(), reader.retained_bytes()), (Ok(Read::NeedBytes), 0));
}
