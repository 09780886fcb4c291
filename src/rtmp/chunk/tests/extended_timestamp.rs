//! Type 3 chunks with and without the extended timestamp field: both habits exist, and must not be mixed up.

use super::{
    peer::{Habit, Peer},
    *,
};

const HABITS: [Habit; 3] = [Habit::RepeatsField, Habit::RepeatsAbsolute, Habit::Omits];

/// Video and audio as an encoder interleaves them, from `start` on: 60 s before to 1 s after `crossing`, with
/// headers as compressed as they can be. Gives the bytes and what they say.
fn session(habit: Habit, crossing: u32) -> (Vec<u8>, Vec<Message>) {
    let mut peer = Peer::new(habit);
    let mut expected = Vec::new();
    let start = crossing.wrapping_sub(60_000);
    let body = |at: u32, len: u32| -> Vec<u8> { (0..len).map(|i| (at ^ (i * 7)) as u8).collect() };
    for offset in (0..61_000).step_by(500) {
        let at = start.wrapping_add(offset);
        let (video, audio) = (header(at, 9, 1), header(at.wrapping_add(3), 8, 1));
        let (video_body, audio_body) = (body(at, 300), body(at, 140));
        let shortest = |peer: &Peer, id, header, len| peer.legal_types(id, header, len).pop().unwrap();
        let video_type = shortest(&peer, 6, &video, 300);
        peer.begin(6, video, &video_body, video_type);
        let audio_type = shortest(&peer, 4, &audio, 140);
        peer.begin(4, audio, &audio_body, audio_type);
        peer.go_on(6);
        peer.go_on(4);
        peer.go_on(6);
        expected.push(message(audio.timestamp, 8, 1, &audio_body));
        expected.push(message(at, 9, 1, &video_body));
        assert!(!peer.is_busy(6) && !peer.is_busy(4));
    }
    (peer.out, expected)
}

/// A session goes on across 0xFFFFFF, 2^31 and 2^32, whatever the peer's habit.
#[test]
fn sessions_cross_the_boundaries() {
    for habit in HABITS {
        for crossing in [0xffffff, 0x0100_0000, 1 << 31, 0] {
            let (bytes, expected) = session(habit, crossing);
            let read = read_all(&bytes).unwrap();
            assert!(
                read.into_iter().map(said).eq(expected.into_iter().map(said)),
                "{habit:?} across {crossing:#x}"
            );
        }
    }
}

/// The same where every message is sent as type 0, as librtmp does after a discontinuity and most servers
/// always do.
#[test]
fn type_0_only_sessions_cross_the_boundaries() {
    for habit in HABITS {
        for crossing in [0xffffff_u32, 1 << 31, 0] {
            let mut peer = Peer::new(habit);
            let mut expected = Vec::new();
            for offset in 0..200 {
                let at = crossing.wrapping_sub(100).wrapping_add(offset);
                let body = [offset as u8 ^ 0x55; 300];
                peer.send(6, header(at, 9, 1), &body);
                expected.push(message(at, 9, 1, &body));
            }
            let read = read_all(&peer.out).unwrap();
            assert!(read.into_iter().map(said).eq(expected.into_iter().map(said)), "{habit:?} {crossing:#x}");
        }
    }
}

/// Written by hand: type 0 at 0x01000000, then a type 3 with the field.
#[test]
fn repeated_field_is_skipped() {
    let mut reader = reader();
    let mut bytes = b"\x04\xff\xff\xff\x00\x00\x82\x08\x01\x00\x00\x00\x01\x00\x00\x00".to_vec();
    bytes.extend([b'a'; 128]);
    bytes.extend(b"\xc4\x01\x00\x00\x00bc");
    let read = feed(&mut reader, &bytes).unwrap();
    assert_eq!(&read[0].payload.to_vec()[128..], b"bc");
    assert_eq!((reader.counters().extended_repeated, reader.counters().extended_omitted), (1, 0));
}

/// Written by hand: the same without the field.
#[test]
fn omitted_field_is_not_missed() {
    let mut reader = reader();
    let mut bytes = b"\x04\xff\xff\xff\x00\x00\x82\x08\x01\x00\x00\x00\x01\x00\x00\x00".to_vec();
    bytes.extend([b'a'; 128]);
    bytes.extend(b"\xc4bc");
    let read = feed(&mut reader, &bytes).unwrap();
    assert_eq!(&read[0].payload.to_vec()[128..], b"bc");
    assert_eq!((reader.counters().extended_repeated, reader.counters().extended_omitted), (0, 1));
}

/// Where the field was a delta, some peers repeat the absolute timestamp instead.
#[test]
fn repeated_absolute_timestamp_is_skipped() {
    let mut bytes = b"\x04\x00\x00\x05\x00\x00\x01\x08\x01\x00\x00\x00a".to_vec();
    bytes.extend(b"\x44\xff\xff\xff\x00\x00\x82\x08\x01\x00\x00\x00");
    bytes.extend([b'a'; 128]);
    bytes.extend(b"\xc4\x01\x00\x00\x05bc");
    let read = read_all(&bytes).unwrap();
    assert_eq!(read[1].header.timestamp, 0x0100_0005);
    assert_eq!(&read[1].payload.to_vec()[128..], b"bc");
}

/// A habit once seen is not given up for a payload that happens to begin like the timestamp.
#[test]
fn a_payload_like_the_timestamp_does_not_change_the_habit() {
    let mut peer = Peer::new(Habit::Omits);
    let mut body = vec![0x77; 300];
    peer.send(6, header(0x0100_0000, 9, 1), &body);
    body[128..132].copy_from_slice(&0x0100_0001_u32.to_be_bytes());
    peer.send(6, header(0x0100_0001, 9, 1), &body);
    let read = read_all(&peer.out).unwrap();
    assert_eq!(read[1].payload.to_vec(), body);
}

/// Each chunk stream has its own habit: behind a relay two encoders may share a session.
#[test]
fn habits_are_kept_apart_by_chunk_stream() {
    let (mut repeats, mut omits) = (Peer::new(Habit::RepeatsField), Peer::new(Habit::Omits));
    let mut bytes = Vec::new();
    for at in 0x0100_0000..0x0100_0010 {
        repeats.send(4, header(at, 8, 1), &[0x11; 200]);
        omits.send(6, header(at, 9, 1), &[0x22; 200]);
        bytes.append(&mut repeats.out);
        bytes.append(&mut omits.out);
    }
    let read = read_all(&bytes).unwrap();
    assert_eq!(read.len(), 32);
    assert!(
        read.iter()
            .all(|message| message.payload.to_vec() == [message.header.type_id.wrapping_sub(7) * 0x11; 200])
    );
}

/// A peer that omits the field and then waits for us is not kept waiting for bytes that it will not send.
#[test]
fn a_short_last_chunk_is_not_held_up() {
    let mut reader = reader();
    let mut bytes = b"\x03\xff\xff\xff\x00\x00\x81\x14\x00\x00\x00\x00\x01\x00\x00\x00".to_vec();
    bytes.extend([b'a'; 128]);
    bytes.extend(b"\xc3z");
    assert_eq!(feed(&mut reader, &bytes).unwrap().len(), 1);
}

/// The documented exception: a last byte that equals the timestamp's first waits for the byte after it, and
/// no longer.
#[test]
fn a_short_last_chunk_like_the_timestamp_waits_for_one_more_byte() {
    let mut reader = reader();
    let mut bytes = b"\x03\xff\xff\xff\x00\x00\x81\x14\x00\x00\x00\x00\x01\x00\x00\x00".to_vec();
    bytes.extend([b'a'; 128]);
    bytes.extend(b"\xc3\x01");
    assert_eq!(feed(&mut reader, &bytes).unwrap(), []);
    assert_eq!(reader.missing_bytes(), 1);
    let read = feed(&mut reader, b"\x02").unwrap();
    assert_eq!(read[0].payload.byte(128), Some(1));
}

/// A type 3 that starts a message after an extended header may carry the field too.
#[test]
fn type_3_that_starts_a_message_may_repeat_the_field() {
    for (habit, timestamp) in [(Habit::RepeatsField, 0x0200_0000), (Habit::Omits, 0x0200_0000)] {
        let mut peer = Peer::new(habit);
        peer.begin(4, header(0x0100_0000, 8, 1), b"abcdef", 0);
        peer.begin(4, header(timestamp, 8, 1), b"ghijkl", 3);
        let read = read_all(&peer.out).unwrap();
        assert!(
            read.into_iter().map(said).eq([
                message(0x0100_0000, 8, 1, b"abcdef"),
                message(timestamp, 8, 1, b"ghijkl")
            ]
            .map(said))
        );
    }
}
