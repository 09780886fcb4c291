//! Tests of the reader, and of the writers against it.

mod bounds;
mod chunk_streams;
mod extended_timestamp;
mod golden;
mod peer;
mod resuming;
mod round_trip;
mod slices;
mod waiting;

use bytes::Bytes;

use super::*;
use crate::rtmp::{Limits, Message, MessageHeader, Payload, PeerMisbehaved};

fn reader() -> ChunkReader {
    ChunkReader::new(&Limits::default())
}

fn header(timestamp: u32, type_id: u8, stream_id: u32) -> MessageHeader {
    MessageHeader { timestamp, type_id, stream_id }
}

fn message(timestamp: u32, type_id: u8, stream_id: u32, body: &[u8]) -> Message {
    Message::new(header(timestamp, type_id, stream_id), Bytes::copy_from_slice(body))
}

/// What a message says, without what it took on the wire.
fn said(message: Message) -> (MessageHeader, Payload) {
    (message.header, message.payload)
}

/// Polls until the reader needs bytes.
fn drain(reader: &mut ChunkReader) -> Result<Vec<Message>, PeerMisbehaved> {
    let mut messages = Vec::new();
    while let Read::Message(message) = reader.poll()? {
        messages.push(message);
    }
    Ok(messages)
}

/// Pushes bytes and polls out what they make whole.
fn feed(reader: &mut ChunkReader, bytes: &[u8]) -> Result<Vec<Message>, PeerMisbehaved> {
    reader.push(Bytes::copy_from_slice(bytes));
    drain(reader)
}

/// All messages of a whole session's bytes: once in one piece, once byte by byte, which must be the same.
fn read_all(bytes: &[u8]) -> Result<Vec<Message>, PeerMisbehaved> {
    let whole = feed(&mut reader(), bytes);
    let mut reader = reader();
    let mut each = Ok(Vec::new());
    for byte in bytes {
        if let Ok(messages) = &mut each {
            match feed(&mut reader, &[*byte]) {
                Ok(more) => messages.extend(more),
                Err(error) => each = Err(error),
            }
        }
    }
    assert_eq!(whole, each, "the same bytes, split differently");
    whole
}

/// A session moves between cores, and there may be thousands: it is plain data, and small until a peer sends
/// something.
#[test]
fn a_reader_can_be_sent_and_is_small() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&reader());
    assert!(size_of::<ChunkReader>() <= 576, "{}", size_of::<ChunkReader>());
    assert!(size_of::<stream::ChunkStream>() <= 256, "{}", size_of::<stream::ChunkStream>());
}
