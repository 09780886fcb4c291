//! The common path of the chunk reader allocates nothing: read buffers that come and go, each with whole
//! messages in it.

mod counting;

use bytes::{Bytes, BytesMut};
use counting::allocations_so_far;
use inrush::rtmp::{
    Control, Limits, Message, MessageHeader,
    chunk::{CHUNK_SIZE_DEFAULT, ChunkReader, ChunkStreamId, ChunkWriter, Read},
    message::type_id,
};

const CHUNK_SIZE: u32 = 60_000;

/// Read buffers of one allocation, as the driver splits them off: each with an audio and a video message.
fn read_buffers(count: u32) -> Vec<Bytes> {
    let mut writer = ChunkWriter::new(CHUNK_SIZE);
    let mut allocation = BytesMut::new();
    let mut lengths = Vec::new();
    for n in 0..count {
        let before = allocation.len();
        for (id, type_id, len) in
            [(ChunkStreamId::AUDIO, type_id::AUDIO, 300), (ChunkStreamId::VIDEO, type_id::VIDEO, 6000)]
        {
            let header = MessageHeader { timestamp: n * 20, type_id, stream_id: 1 };
            writer.write(id, &Message::new(header, Bytes::from(vec![7; len])), &mut allocation);
        }
        lengths.push(allocation.len() - before);
    }
    lengths.into_iter().map(|len| allocation.split_to(len).freeze()).collect()
}

fn messages(reader: &mut ChunkReader, buffer: Bytes) -> usize {
    reader.push(buffer);
    let mut count = 0;
    while let Ok(Read::Message(message)) = reader.poll() {
        assert!(message.payload.len() >= 4);
        count += 1;
    }
    count
}

#[test]
fn whole_messages_in_one_chunk_allocate_nothing() {
    let mut reader = ChunkReader::new(&Limits::default());
    let mut hello = BytesMut::new();
    let announcement = Control::SetChunkSize(CHUNK_SIZE).to_message();
    ChunkWriter::new(CHUNK_SIZE_DEFAULT).write(ChunkStreamId::CONTROL, &announcement, &mut hello);
    assert_eq!(messages(&mut reader, hello.freeze()), 1);

    let mut buffers = read_buffers(200).into_iter();
    // The tables grow to what a session needs.
    assert_eq!(buffers.by_ref().take(10).map(|buffer| messages(&mut reader, buffer)).sum::<usize>(), 20);
    let before = allocations_so_far();
    let count: usize = buffers.map(|buffer| messages(&mut reader, buffer)).sum();
    let allocations = allocations_so_far() - before;
    assert_eq!((count, allocations), (380, 0));
}

/// The test above can fail: a message in two pieces needs a place in the heap for the shorter one.
#[test]
fn a_gathered_piece_allocates() {
    let mut reader = ChunkReader::new(&Limits::default());
    let mut allocation = BytesMut::new();
    let header = MessageHeader { timestamp: 0, type_id: type_id::VIDEO, stream_id: 1 };
    let message = Message::new(header, Bytes::from(vec![7; 200]));
    ChunkWriter::new(CHUNK_SIZE_DEFAULT).write(ChunkStreamId::VIDEO, &message, &mut allocation);
    let buffer = allocation.freeze();
    let before = allocations_so_far();
    assert_eq!(messages(&mut reader, buffer), 1);
    assert!(allocations_so_far() > before);
}
