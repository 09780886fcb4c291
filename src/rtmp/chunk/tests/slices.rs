//! Where payload bytes lie: in the buffers that were pushed, except short pieces.

use bytes::BytesMut;

use super::{
    peer::{Habit, Peer},
    *,
};

/// Whether `slice` lies inside `buffer`, by address.
fn lies_inside(slice: &[u8], buffer: &[u8]) -> bool {
    let buffer = buffer.as_ptr_range();
    let slice = slice.as_ptr_range();
    buffer.start <= slice.start && slice.end <= buffer.end
}

/// A session that begins with Set Chunk Size, then one video message.
fn one_message(chunk_size: u32, body: &[u8]) -> Bytes {
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.send(2, header(0, 1, 0), &chunk_size.to_be_bytes());
    peer.chunk_size = chunk_size as usize;
    peer.send(6, header(0, 9, 1), body);
    Bytes::from(peer.out)
}

fn last_payload(reader: &mut ChunkReader, buffers: &[Bytes]) -> Payload {
    let mut messages = Vec::new();
    for buffer in buffers {
        reader.push(buffer.clone());
        messages.extend(drain(reader).unwrap());
    }
    messages.pop().unwrap().payload
}

/// Every slice above the crossover lies in the read buffer; one for each chunk.
#[test]
fn long_chunks_are_slices_of_the_read_buffer() {
    let body = vec![7; 10 * 1000];
    for chunk_size in [GATHER_BYTES_MAX as u32 + 1, 1000, 2500, 9999, 10_000, 60_000] {
        let buffer = one_message(chunk_size, &body);
        let mut reader = reader();
        let payload = last_payload(&mut reader, std::slice::from_ref(&buffer));
        let long: Vec<_> = payload.slices().iter().filter(|slice| slice.len() > GATHER_BYTES_MAX).collect();
        assert_eq!(long.len(), body.len() / (chunk_size as usize).min(body.len()));
        assert!(long.into_iter().all(|slice| lies_inside(slice, &buffer)), "chunk size {chunk_size}");
        assert_eq!(payload.to_vec(), body);
        assert!(reader.counters().gathered_bytes <= GATHER_BYTES_MAX as u64);
    }
}

/// Chunks up to the crossover are copied into one slice, which keeps no read buffer.
#[test]
fn short_chunks_are_gathered_into_one_slice() {
    let body = vec![7; 10_000];
    for chunk_size in [1, 32, 128, GATHER_BYTES_MAX as u32] {
        let buffer = one_message(chunk_size, &body);
        let payload = last_payload(&mut reader(), std::slice::from_ref(&buffer));
        assert_eq!(payload.slices().len(), 1);
        assert!(!lies_inside(&payload.slices()[0], &buffer));
        assert_eq!(payload.to_vec(), body);
    }
}

/// A message that is whole in one piece is a slice however short it is.
#[test]
fn a_whole_message_in_one_piece_is_never_copied() {
    for len in [1, 90, GATHER_BYTES_MAX, 5000] {
        let buffer = one_message(60_000, &vec![7; len]);
        let in_one = last_payload(&mut reader(), std::slice::from_ref(&buffer));
        assert!(lies_inside(&in_one.slices()[0], &buffer));
        // Its header in the buffer before.
        let split = [buffer.slice(..buffer.len() - len), buffer.slice(buffer.len() - len..)];
        let behind = last_payload(&mut reader(), &split);
        assert!(lies_inside(&behind.slices()[0], &buffer));
    }
}

/// A chunk that straddles two read buffers gives two slices.
#[test]
fn a_chunk_across_two_buffers_is_two_slices() {
    let body: Vec<u8> = (0..8000).map(|i| i as u8).collect();
    let whole = one_message(60_000, &body);
    let buffers = [Bytes::copy_from_slice(&whole[..4000]), Bytes::copy_from_slice(&whole[4000..])];
    let payload = last_payload(&mut reader(), &buffers);
    let [first, second] = payload.slices() else { panic!("{} slices", payload.slices().len()) };
    assert!(lies_inside(first, &buffers[0]) && lies_inside(second, &buffers[1]));
    assert_eq!(payload.to_vec(), body);
}

/// A short piece at the edge of a buffer is copied, so that it does not keep the buffer.
#[test]
fn a_short_piece_at_a_buffers_edge_keeps_nothing() {
    let body = vec![7; 8000];
    let whole = one_message(60_000, &body);
    let mut reader = reader();
    reader.push(Bytes::copy_from_slice(&whole[..whole.len() - 7990]));
    assert_eq!(drain(&mut reader).unwrap().len(), 1);
    assert_eq!(reader.retained_bytes(), 10);
    reader.push(Bytes::copy_from_slice(&whole[whole.len() - 7990..]));
    let payload = drain(&mut reader).unwrap().pop().unwrap().payload;
    assert_eq!(payload.slices().iter().map(Bytes::len).collect::<Vec<_>>(), [10, 7990]);
}

/// The driver's way: buffers split off one allocation count together, and are let go together.
#[test]
fn buffers_of_one_allocation_are_kept_and_let_go_together() {
    let body = vec![7; 8000];
    let mut allocation = BytesMut::from(&one_message(60_000, &body)[..]);
    let total = allocation.len();
    let mut reader = reader();
    let mut pushed = 0;
    while allocation.len() > 1000 {
        reader.push(allocation.split_to(1000).freeze());
        pushed += 1000;
        drain(&mut reader).unwrap();
        assert_eq!(reader.retained_bytes(), pushed);
    }
    reader.push(allocation.freeze());
    assert_eq!(reader.retained_bytes(), total);
    assert_eq!(drain(&mut reader).unwrap().len(), 1);
    assert_eq!(reader.retained_bytes(), 0);
}
