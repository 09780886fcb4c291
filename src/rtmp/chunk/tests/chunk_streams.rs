//! Chunk streams beside each other, odd beginnings, and the two control messages that the reader itself
//! obeys.

use super::{
    peer::{Habit, Peer},
    *,
};

#[test]
fn ids_of_all_three_forms_are_kept_apart() {
    let mut peer = Peer::new(Habit::RepeatsField);
    let ids = [2, 3, 63, 64, 65, 319, 320, 576, 65598, 65599];
    for (n, id) in ids.into_iter().enumerate() {
        peer.begin(id, header(n as u32, 9, id), &[n as u8; 300], 0);
    }
    for _ in 0..2 {
        ids.into_iter().for_each(|id| peer.go_on(id));
    }
    let read = read_all(&peer.out).unwrap();
    let expected = ids.into_iter().enumerate().map(|(n, id)| message(n as u32, 9, id, &[n as u8; 300]));
    assert!(read.into_iter().map(said).eq(expected.map(said)));
}

/// librtmp pings like this: the zero base is as good as any.
#[test]
fn a_fresh_chunk_stream_may_start_with_type_1() {
    let read = read_all(b"\x42\x00\x00\x07\x00\x00\x06\x04\x00\x06abcd").unwrap();
    assert!(read.into_iter().map(said).eq([message(7, 4, 0, b"\x00\x06abcd")].map(said)));
}

/// DJI cameras start chunk stream 33 with a type 2. What has no length is no message; the chunk stream stays
/// fresh.
#[test]
fn a_fresh_chunk_stream_that_starts_with_type_2_or_3_is_dropped_and_counted() {
    let mut reader = reader();
    let bytes = b"\xa1\x00\x00\x05\xe1\xa1\xff\xff\xff\x01\x02\x03\x04\x61\x00\x00\x09\x00\x00\x01\x08a";
    let read = feed(&mut reader, bytes).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].header, read[0].payload.to_vec()), (header(9, 8, 0), b"a".to_vec()));
    assert_eq!(read[0].wire_bytes as usize, bytes.len(), "dropped input is counted by the next message");
    assert_eq!((reader.counters().headerless_starts, reader.counters().messages), (3, 1));
}

/// Set Chunk Size holds from the next chunk on, also for messages that are under way.
#[test]
fn chunk_size_changes_in_the_middle_of_a_message() {
    let mut peer = Peer::new(Habit::RepeatsField);
    let body: Vec<u8> = (0..1000).map(|i| i as u8).collect();
    peer.begin(6, header(0, 9, 1), &body, 0);
    for chunk_size in [1, 2, 500_u32, CHUNK_SIZE_MAX] {
        peer.send(2, header(0, 1, 0), &chunk_size.to_be_bytes());
        peer.chunk_size = chunk_size as usize;
        peer.go_on(6);
    }
    let read = read_all(&peer.out).unwrap();
    assert_eq!(read.len(), 5);
    assert_eq!(said(read[4].clone()), said(message(0, 9, 1, &body)));
}

/// Taken as it is: a reader that clamped it would take payload for headers.
#[test]
fn chunk_size_is_never_clamped() {
    let mut reader = reader();
    for chunk_size in [1, 127, 128, 10 << 20, 128 << 20, CHUNK_SIZE_MAX] {
        let mut peer = Peer::new(Habit::RepeatsField);
        peer.chunk_size = reader.chunk_size() as usize;
        peer.send(2, header(0, 1, 0), &chunk_size.to_be_bytes());
        assert_eq!(feed(&mut reader, &peer.out).unwrap().len(), 1);
        assert_eq!(reader.chunk_size(), chunk_size);
    }
}

/// Wherever a control message stands, it is obeyed and given out.
#[test]
fn control_messages_count_on_any_chunk_stream_and_message_stream() {
    let mut reader = reader();
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.send(77, header(5, 1, 9), &200_u32.to_be_bytes());
    assert_eq!(feed(&mut reader, &peer.out).unwrap()[0].header.type_id, 1);
    assert_eq!(reader.chunk_size(), 200);
}

#[test]
fn abort_drops_the_unfinished_message_and_nothing_else() {
    let mut reader = reader();
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.begin(6, header(10, 9, 1), &[1; 200], 0);
    peer.begin(4, header(10, 8, 1), &[2; 200], 0);
    peer.send(3, header(0, 2, 0), &6_u32.to_be_bytes());
    peer.go_on(4);
    // The next type 1 on the aborted chunk stream starts a message.
    peer.begin(6, header(15, 9, 1), &[3; 130], 1);
    peer.go_on(6);
    let read = feed(&mut reader, &peer.out).unwrap();
    assert_eq!(read.iter().map(|message| message.wire_bytes as usize).sum::<usize>(), peer.out.len());
    let abort = message(0, 2, 0, &6_u32.to_be_bytes());
    let expected = [abort, message(10, 8, 1, &[2; 200]), message(15, 9, 1, &[3; 130])];
    assert!(read.into_iter().map(said).eq(expected.map(said)));
    assert_eq!((reader.counters().aborted, reader.retained_bytes()), (1, 0));
}

#[test]
fn abort_of_nothing_is_harmless() {
    for id in [0, 1, 2, 6, 65599, 65600, u32::MAX] {
        let mut reader = reader();
        let mut peer = Peer::new(Habit::RepeatsField);
        peer.send(2, header(0, 2, 0), &id.to_be_bytes());
        peer.send(4, header(1, 8, 1), b"a");
        assert_eq!(feed(&mut reader, &peer.out).unwrap().len(), 2);
        assert_eq!(reader.counters().aborted, 0);
    }
}

/// Some peers repeat a whole header for each chunk. With the same length it is the same message.
#[test]
fn a_header_that_declares_the_same_length_continues_the_message() {
    let mut bytes = b"\x06\x00\x00\x0a\x00\x00\x84\x09\x01\x00\x00\x00".to_vec();
    bytes.extend([b'a'; 128]);
    for (again, payload) in [
        (&b"\x06\x00\x00\x0a\x00\x00\x84\x09\x01\x00\x00\x00"[..], b"bcde"),
        (b"\x46\x00\x00\x00\x00\x00\x84\x09", b"bcde"),
        (b"\x86\x00\x00\x00", b"bcde"),
    ] {
        let read = read_all(&[&bytes, again, payload].concat()).unwrap();
        let body = [&[b'a'; 128][..], payload].concat();
        assert!(read.into_iter().map(said).eq([said(message(10, 9, 1, &body))]));
    }
}

#[test]
fn counters_count() {
    let mut reader = reader();
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.send(4, header(0, 8, 1), &[0; 15]);
    peer.send(4, header(0, 8, 1), &[0; 16]);
    peer.send(4, header(0, 8, 1), &[]);
    peer.send(6, header(0, 9, 1), &[0; 128 + 7]);
    feed(&mut reader, &peer.out).unwrap();
    let expected = ReaderCounters {
        bytes: peer.out.len() as u64,
        chunks: 5,
        tiny_chunks: 3,
        messages: 4,
        gathered_bytes: 128 + 7,
        ..ReaderCounters::default()
    };
    assert_eq!(*reader.counters(), expected);
}
