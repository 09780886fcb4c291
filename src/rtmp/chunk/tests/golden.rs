//! Bytes written by hand after the specification, in both directions.

use bytes::BytesMut;

use super::*;

/// RTMP 1.0 §5.3.2.1: four audio messages of 32 bytes, 20 ms apart, as types 0, 2, 3, 3: 44 + 36 + 33 + 33
/// bytes.
#[test]
fn specification_example_1() {
    let body = [0x2f; 32];
    let mut bytes = Vec::new();
    bytes.extend(b"\x03\x00\x03\xe8\x00\x00\x20\x08\x39\x30\x00\x00");
    bytes.extend(body);
    assert_eq!(bytes.len(), 44);
    bytes.extend(b"\x83\x00\x00\x14");
    bytes.extend(body);
    bytes.push(0xc3);
    bytes.extend(body);
    bytes.push(0xc3);
    bytes.extend(body);
    assert_eq!(bytes.len(), 44 + 36 + 33 + 33);

    let messages: Vec<_> = [1000, 1020, 1040, 1060].map(|at| message(at, 8, 12345, &body)).into();
    let read = read_all(&bytes).unwrap();
    assert_eq!(read.iter().map(|message| message.wire_bytes).collect::<Vec<_>>(), [44, 36, 33, 33]);
    assert!(read.into_iter().map(said).eq(messages.iter().cloned().map(said)));

    let mut writer = ChunkWriter::new(CHUNK_SIZE_DEFAULT);
    let mut written = BytesMut::new();
    for message in &messages {
        writer.write(ChunkStreamId::COMMAND, message, &mut written);
    }
    assert_eq!(written, bytes);
}

/// RTMP 1.0 §5.3.2.2: a video message of 307 bytes in chunks of 128: 140 + 129 + 52 bytes.
#[test]
fn specification_example_2() {
    let body: Vec<u8> = (0..307).map(|i| i as u8).collect();
    let mut bytes = Vec::new();
    bytes.extend(b"\x04\x00\x03\xe8\x00\x01\x33\x09\x3a\x30\x00\x00");
    bytes.extend(&body[..128]);
    bytes.push(0xc4);
    bytes.extend(&body[128..256]);
    bytes.push(0xc4);
    bytes.extend(&body[256..]);
    assert_eq!(bytes.len(), 140 + 129 + 52);

    let expected = message(1000, 9, 12346, &body);
    let read = read_all(&bytes).unwrap();
    assert_eq!(read.iter().map(|message| message.wire_bytes).collect::<Vec<_>>(), [321]);
    assert!(read.into_iter().map(said).eq([said(expected.clone())]));

    let mut written = BytesMut::new();
    ChunkWriter::new(128).write(ChunkStreamId::AUDIO, &expected, &mut written);
    assert_eq!(written, bytes);
}

/// §5.3.1.2.4: a type 3 after a type 0 adds the type 0's timestamp.
#[test]
fn type_3_after_type_0_adds_its_timestamp() {
    let bytes = b"\x04\x00\x00\x64\x00\x00\x01\x08\x01\x00\x00\x00a\xc4b\xc4c";
    let read = read_all(bytes).unwrap();
    assert_eq!(read.iter().map(|message| message.header.timestamp).collect::<Vec<_>>(), [100, 200, 300]);
}

/// A type 3 that starts a message adds the last delta, whether a type 1 or a type 2 brought it.
#[test]
fn type_3_repeats_the_last_delta() {
    let bytes = b"\x04\x00\x00\x64\x00\x00\x01\x08\x01\x00\x00\x00a\x44\x00\x00\x05\x00\x00\x01\x08b\xc4c\x84\x00\x00\x07d\xc4e";
    let read = read_all(bytes).unwrap();
    let timestamps: Vec<_> = read.iter().map(|message| message.header.timestamp).collect();
    assert_eq!(timestamps, [100, 105, 110, 117, 124]);
}

/// Extended timestamps are absolute on type 0 and a delta on types 1 and 2.
#[test]
fn extended_timestamps_of_types_1_and_2_are_deltas() {
    let mut bytes = b"\x04\xff\xff\xff\x00\x00\x01\x08\x01\x00\x00\x00\x01\x00\x00\x00a".to_vec();
    bytes.extend(b"\x44\xff\xff\xff\x00\x00\x01\x08\x02\x00\x00\x00b");
    bytes.extend(b"\x84\xff\xff\xff\x7f\xff\xff\xffc");
    bytes.extend(b"\x84\xff\xff\xff\xff\xff\xff\xffd");
    let read = read_all(&bytes).unwrap();
    let timestamps: Vec<_> = read.iter().map(|message| message.header.timestamp).collect();
    assert_eq!(timestamps, [0x0100_0000, 0x0300_0000, 0x82ff_ffff, 0x82ff_fffe]);
}

/// Type 1 keeps the message stream, type 2 also length and type.
#[test]
fn shorter_headers_keep_what_they_leave_out() {
    let bytes = b"\x04\x00\x00\x00\x00\x00\x01\x08\x07\x00\x00\x00a\x44\x00\x00\x01\x00\x00\x02\x09bb\x84\x00\x00\x01cc";
    let read: Vec<_> = read_all(bytes).unwrap().into_iter().map(said).collect();
    let expected = [message(0, 8, 7, b"a"), message(1, 9, 7, b"bb"), message(2, 9, 7, b"cc")];
    assert!(read.into_iter().eq(expected.map(said)));
}

/// A message of no length is whole at its header.
#[test]
fn zero_length_messages_are_whole_at_their_header() {
    let bytes = b"\x04\x00\x00\x09\x00\x00\x00\x09\x01\x00\x00\x00\xc4";
    let read = read_all(bytes).unwrap();
    assert_eq!(read.iter().map(|message| message.wire_bytes).collect::<Vec<_>>(), [12, 1]);
    assert!(read.into_iter().map(said).eq([message(9, 9, 1, b""), message(18, 9, 1, b"")].map(said)));
}

/// The writer falls back to type 0 for time that goes back, for another message stream, and for a long delta.
#[test]
fn writer_chooses_the_shortest_header_that_all_readers_understand() {
    let mut writer = ChunkWriter::new(60_000);
    let mut first_bytes = Vec::new();
    for (timestamp, type_id, stream_id, len) in [
        (1000, 20, 0, 10),                    // first on its chunk stream
        (1000, 20, 0, 11),                    // another length
        (1005, 20, 0, 11),                    // another delta
        (1010, 20, 0, 11),                    // nothing new
        (1015, 18, 0, 11),                    // another type
        (1014, 18, 0, 11),                    // back in time
        (2028, 18, 0, 11), // the type 0's own timestamp as delta: readers differ on a type 3 here
        (2028, 18, 1, 11), // another message stream
        (2028 + 0xfffffe, 18, 1, 11), // the longest delta without the extended field
        (2028 + 2 * 0xfffffe + 1, 18, 1, 11), // one more
    ] {
        let mut out = BytesMut::new();
        writer.write(
            ChunkStreamId::COMMAND,
            &message(timestamp, type_id, stream_id, &vec![0; len]),
            &mut out,
        );
        first_bytes.push(out[0] >> 6);
    }
    assert_eq!(first_bytes, [0, 1, 2, 3, 1, 0, 2, 0, 2, 0]);
}

#[test]
fn writer_repeats_at_timestamp_0_with_type_3() {
    let mut writer = ChunkWriter::new(60_000);
    let mut out = BytesMut::new();
    for _ in 0..2 {
        writer.write(ChunkStreamId::CONTROL, &message(0, 4, 0, b"abcdef"), &mut out);
    }
    assert_eq!(out, &b"\x02\x00\x00\x00\x00\x00\x06\x04\x00\x00\x00\x00abcdef\xc2abcdef"[..]);
}

/// Extended timestamps are repeated on type 3, by the writer as by the shared wire form.
#[test]
fn writers_repeat_extended_timestamps() {
    let message = message(u32::MAX, 9, 1, b"abcde");
    let expected = b"\x06\xff\xff\xff\x00\x00\x05\x09\x01\x00\x00\x00\xff\xff\xff\xffab\xc6\xff\xff\xff\xffcd\xc6\xff\xff\xff\xffe";
    let (mut by_writer, mut by_wire) = (BytesMut::new(), BytesMut::new());
    ChunkWriter::new(2).write(ChunkStreamId::VIDEO, &message, &mut by_writer);
    WireHeaders::new(&message.header, 5, 2).write_to(&message.payload, &mut by_wire);
    assert_eq!(by_writer, &expected[..]);
    assert_eq!(by_wire, &expected[..]);
}
