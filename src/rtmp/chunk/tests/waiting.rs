//! What the reader says that it still lacks.

use super::{
    peer::{Habit, Peer},
    *,
};

/// For a message alone on the wire the figure is exact from its first payload byte on: one byte less is not
/// enough.
#[test]
fn missing_bytes_is_exact_for_a_message_alone() {
    for (id, timestamp) in [(6, 0), (64, 0), (320, 0), (6, 0x0100_0000), (320, u32::MAX)] {
        for chunk_size in [1, 2, 100, 128, 1000, 60_000_u32] {
            let mut peer = Peer::new(Habit::RepeatsField);
            peer.send(2, header(0, 1, 0), &chunk_size.to_be_bytes());
            peer.chunk_size = chunk_size as usize;
            // The first message shows the habit.
            peer.send(id, header(timestamp, 9, 1), &[1; 1100]);
            let start = peer.out.len();
            peer.send(id, header(timestamp, 9, 1), &[1; 1100]);
            let header_bytes = peer.out.len() - start - 1100;
            let mut reader = reader();
            feed(&mut reader, &peer.out[..start]).unwrap();
            assert_eq!(reader.missing_bytes(), 1, "between messages");
            for cut in [18, header_bytes + 500, peer.out.len() - start - 1] {
                let mut reader = self::reader();
                feed(&mut reader, &peer.out[..start + cut]).unwrap();
                let missing = reader.missing_bytes();
                assert_eq!(
                    start + cut + missing,
                    peer.out.len(),
                    "id {id} at {timestamp:#x}, chunks of {chunk_size}, cut {cut}"
                );
            }
        }
    }
}

/// It counts what was pushed and not polled.
#[test]
fn missing_bytes_counts_unparsed_input() {
    let mut reader = reader();
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.send(6, header(0, 9, 1), &[1; 100]);
    feed(&mut reader, &peer.out[..50]).unwrap();
    assert_eq!(reader.missing_bytes(), peer.out.len() - 50);
    reader.push(Bytes::copy_from_slice(&peer.out[50..80]));
    assert_eq!(reader.missing_bytes(), peer.out.len() - 80);
    reader.push(Bytes::copy_from_slice(&peer.out[80..]));
    assert_eq!(reader.missing_bytes(), 1);
}

/// A chunk of another chunk stream in between does not make it forget; it speaks of the one read last.
#[test]
fn missing_bytes_speaks_of_the_chunk_read_last() {
    let mut reader = reader();
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.begin(6, header(0, 9, 1), &[1; 300], 0);
    feed(&mut reader, &peer.out).unwrap();
    assert_eq!(reader.missing_bytes(), 172 + 2);
    peer.out.clear();
    peer.begin(4, header(0, 8, 1), &[1; 130], 0);
    feed(&mut reader, &peer.out).unwrap();
    assert_eq!(reader.missing_bytes(), 2 + 1);
    peer.out.clear();
    peer.go_on(4);
    peer.go_on(6);
    feed(&mut reader, &peer.out).unwrap();
    assert_eq!(reader.missing_bytes(), 44 + 1);
}
