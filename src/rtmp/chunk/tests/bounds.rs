//! What a peer cannot make us hold, and the name of each refusal.

use proptest::prelude::*;

use super::{
    super::header::HEADER_BYTES_MAX,
    peer::{Habit, Peer},
    round_trip::{carry_out, plan},
    *,
};

fn limited(limit: impl FnOnce(&mut Limits)) -> ChunkReader {
    let mut limits = Limits::default();
    limit(&mut limits);
    ChunkReader::new(&limits)
}

#[test]
fn a_message_over_the_bound_is_refused_at_its_header() {
    let mut reader = limited(|limits| limits.message_bytes_max = 1000);
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.send(4, header(0, 8, 1), &[0; 1000]);
    assert_eq!(feed(&mut reader, &peer.out).unwrap().len(), 1);
    let too_long = b"\x44\x00\x00\x00\x00\x03\xe9\x08";
    assert_eq!(feed(&mut reader, too_long), Err(PeerMisbehaved::MessageTooLong(1001)));
}

#[test]
fn a_length_that_changes_in_the_middle_is_refused() {
    for change in
        [&b"\x06\x00\x00\x0a\x00\x00\x83\x09\x01\x00\x00\x00"[..], b"\x46\x00\x00\x00\x00\x00\x83\x09"]
    {
        let mut bytes = b"\x06\x00\x00\x0a\x00\x00\x84\x09\x01\x00\x00\x00".to_vec();
        bytes.extend([0; 128]);
        bytes.extend(change);
        assert_eq!(read_all(&bytes), Err(PeerMisbehaved::MessageLengthChanged { was: 132, now: 131 }));
    }
}

/// So many tiny chunks as are allowed, those without payload and those that begin no message included; larger ones are free.
#[test]
fn tiny_chunks_are_read_as_far_as_they_are_allowed() {
    let mut reader = limited(|_| ());
    let mut peer = Peer::new(Habit::RepeatsField);
    (0..100).for_each(|_| peer.send(6, header(0, 9, 1), &[0; 16]));
    (0..4).for_each(|_| peer.send(4, header(0, 8, 1), &[0; 15]));
    peer.send(4, header(0, 8, 1), &[]);
    peer.out.extend(b"\xc4\xc4\xc7\xc8");
    reader.allow_tiny_chunks(9);
    assert_eq!(feed(&mut reader, &peer.out).unwrap().len(), 107);
    assert_eq!(reader.counters().tiny_chunks, 9);
    reader.allow_tiny_chunks(1);
    assert_eq!(feed(&mut reader, b"\xc4").unwrap().len(), 1);
    assert_eq!(feed(&mut reader, b"\xc4"), Err(PeerMisbehaved::TooManyTinyChunks));
    assert_eq!(reader.counters().tiny_chunks, 10);
}

#[test]
fn distinct_chunk_streams_are_bounded() {
    let mut reader = limited(|limits| limits.chunk_streams_max = 3);
    let mut peer = Peer::new(Habit::RepeatsField);
    for id in [3, 400, 5, 3, 400, 5] {
        peer.send(id, header(0, 8, 1), b"a");
    }
    assert_eq!(feed(&mut reader, &peer.out).unwrap().len(), 6);
    // Types 2 and 3 on a fresh id take no place, so they are no way around the bound either.
    assert_eq!(feed(&mut reader, b"\xc7\xc8\x89\x00\x00\x00").unwrap(), []);
    assert_eq!(
        feed(&mut reader, b"\x4a\x00\x00\x00\x00\x00\x01\x08"),
        Err(PeerMisbehaved::TooManyChunkStreams)
    );
}

/// Many unfinished messages, each below its own bound.
#[test]
fn unfinished_messages_are_bounded_together() {
    let mut reader = limited(|limits| limits.reassembly_bytes_max = 100_000);
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.chunk_size = 10_000;
    peer.send(2, header(0, 1, 0), &10_000_u32.to_be_bytes());
    for id in 3..20 {
        peer.begin(id, header(0, 9, 1), &[0; 20_000], 0);
    }
    let mut refused = None;
    for (n, part) in peer.out.chunks(5000).enumerate() {
        if let Err(error) = feed(&mut reader, part) {
            refused = Some((n * 5000, error));
            break;
        }
        assert!(reader.retained_bytes() <= 100_000 + 5000);
    }
    let (at, error) = refused.unwrap();
    assert!(matches!(error, PeerMisbehaved::ReassemblyBytes(bytes) if bytes > 100_000), "{error:?}");
    assert!((95_000..=110_000).contains(&at), "{at}");
}

/// The attack on visible bytes: little of an endless message in each read buffer, so that each buffer stays.
#[test]
fn buffers_that_an_unfinished_message_keeps_count_whole() {
    let mut reader = limited(|limits| limits.reassembly_bytes_max = 1 << 20);
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.send(2, header(0, 1, 0), &600_u32.to_be_bytes());
    peer.chunk_size = 600;
    peer.begin(6, header(0, 9, 1), &vec![0; 1 << 20], 0);
    let mut kept = 0;
    let error = loop {
        while peer.out.len() < 16_000 {
            peer.send(2, header(0, 3, 0), &[0; 4]);
        }
        kept += peer.out.len();
        match feed(&mut reader, &std::mem::take(&mut peer.out)) {
            Ok(_) => assert_eq!(reader.retained_bytes(), kept),
            Err(error) => break error,
        }
        peer.go_on(6);
    };
    assert!(matches!(error, PeerMisbehaved::ReassemblyBytes(_)), "{error:?}");
    assert!(kept <= (1 << 20) + 17_000, "refused after {kept} bytes were kept");
}

/// The same traffic with short chunks keeps nothing, since those are copied.
#[test]
fn short_chunks_keep_no_buffer() {
    let mut reader = reader();
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.begin(6, header(0, 9, 1), &vec![0; 1 << 20], 0);
    for arrived in (128..=12_800).step_by(128) {
        while peer.out.len() < 16_000 {
            peer.send(2, header(0, 3, 0), &[0; 4]);
        }
        feed(&mut reader, &std::mem::take(&mut peer.out)).unwrap();
        assert!(reader.retained_bytes() <= 2 * arrived, "{} bytes for {arrived}", reader.retained_bytes());
        peer.go_on(6);
    }
}

/// A header that promises 8 MiB costs nothing until they come.
#[test]
fn a_declared_length_reserves_nothing() {
    let mut reader = reader();
    let mut bytes = Vec::new();
    for id in 3..63_u8 {
        bytes.extend([id, 0, 0, 0, 0x80, 0, 0, 9, 1, 0, 0, 0]);
        bytes.extend([0; 128]);
    }
    assert_eq!(feed(&mut reader, &bytes).unwrap(), []);
    assert_eq!(reader.retained_bytes(), 60 * 128);
}

#[test]
fn a_chunk_size_that_the_specification_forbids_is_refused() {
    for bytes in [0_u32, 0x8000_0000, u32::MAX] {
        let mut peer = Peer::new(Habit::RepeatsField);
        peer.send(2, header(0, 1, 0), &bytes.to_be_bytes());
        assert_eq!(read_all(&peer.out), Err(PeerMisbehaved::ChunkSize(bytes)));
    }
}

#[test]
fn short_set_chunk_size_and_abort_are_refused() {
    for type_id in [1, 2] {
        let mut peer = Peer::new(Habit::RepeatsField);
        peer.send(2, header(0, type_id, 0), b"abc");
        assert_eq!(read_all(&peer.out), Err(PeerMisbehaved::ControlLength { type_id, len: 3 }));
    }
}

/// After an error nothing is held, nothing more is taken, and the error stays.
#[test]
fn an_error_is_final_and_frees_everything() {
    let mut reader = reader();
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.begin(6, header(0, 9, 1), &[0; 5000], 0);
    peer.send(2, header(0, 1, 0), &[0; 4]);
    peer.go_on(6);
    assert_eq!(feed(&mut reader, &peer.out), Err(PeerMisbehaved::ChunkSize(0)));
    assert_eq!(feed(&mut reader, &peer.out), Err(PeerMisbehaved::ChunkSize(0)));
    assert_eq!((reader.retained_bytes(), reader.unparsed_bytes(), reader.missing_bytes()), (0, 0, 1));
}

/// Input that waits unparsed, one byte a push, costs a small multiple of its bytes.
#[test]
fn waiting_input_costs_little_more_than_its_bytes() {
    let mut reader = reader();
    let mut peer = Peer::new(Habit::RepeatsField);
    for n in 0..100 {
        peer.send(4, header(n, 8, 1), &[n as u8; 100]);
    }
    for byte in &peer.out {
        reader.push(Bytes::copy_from_slice(&[*byte]));
    }
    assert_eq!(reader.unparsed_bytes(), peer.out.len());
    assert_eq!(reader.retained_bytes(), peer.out.len());
    assert_eq!(drain(&mut reader).unwrap().len(), 100);
    assert_eq!(reader.retained_bytes(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any bytes at all, and any legal session with some bytes changed: no panic, every bound holds, and what
    /// the messages took is never more than what was pushed.
    #[test]
    fn any_bytes_stay_within_the_bounds(
        noise in prop::collection::vec(any::<u8>(), 0..100),
        plan in plan(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        const REASSEMBLY_BYTES_MAX: usize = 4000;
        let mut bytes = carry_out(&plan).0;
        bytes.extend(noise);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut reader = limited(|limits| {
            limits.message_bytes_max = 100_000;
            limits.reassembly_bytes_max = REASSEMBLY_BYTES_MAX;
            limits.chunk_streams_max = 8;
        });
        // Beside what is unfinished: the buffer in which a header began, and the bytes of it that came since.
        let retained_max = REASSEMBLY_BYTES_MAX + plan.splits.iter().max().unwrap() + HEADER_BYTES_MAX;
        let mut rest = Bytes::from(bytes);
        let mut wire_bytes = 0;
        for &split in plan.splits.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let part = rest.split_to(split.min(rest.len()));
            match feed(&mut reader, &part) {
                Ok(messages) => {
                    prop_assert!(messages.iter().all(|message| message.payload.len() <= 100_000));
                    wire_bytes += messages.iter().map(|message| message.wire_bytes as usize).sum::<usize>();
                    prop_assert!(wire_bytes <= reader.counters().bytes as usize);
                    prop_assert!(reader.retained_bytes() <= retained_max);
                    prop_assert!(reader.unparsed_bytes() < HEADER_BYTES_MAX);
                    prop_assert!(reader.missing_bytes() > 0);
                }
                Err(_) => {
                    prop_assert_eq!(reader.retained_bytes(), 0);
                    break;
                }
            }
        }
    }
}

/// Bytes of a layer below are held with what lies around them, and the next message answers for them.
#[test]
fn a_gap_counts_as_held_and_as_the_next_messages() {
    let mut reader = limited(|limits| limits.reassembly_bytes_max = 10_000);
    let mut peer = Peer::new(Habit::RepeatsField);
    peer.chunk_size = 128;
    peer.send(4, header(0, 8, 1), &[7; 100]);
    let whole = peer.out.len();
    let (first, rest) = peer.out.split_at(60);
    reader.push(Bytes::copy_from_slice(first));
    reader.push_gap(9_000);
    assert_eq!(reader.poll(), Ok(Read::NeedBytes));
    reader.push(Bytes::copy_from_slice(rest));
    let Ok(Read::Message(message)) = reader.poll() else { panic!("the message is whole") };
    assert_eq!(message.wire_bytes as usize, whole + 9_000);

    // A message that never ends, in slices long enough to be kept as they came, each in a buffer of gaps.
    reader.push(Bytes::from_static(b"\x02\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00\x00\x00\x03\xe8"));
    assert!(matches!(reader.poll(), Ok(Read::Message(_))), "Set Chunk Size");
    let begin = [&b"\x04\x00\x00\x00\x01\x00\x00\x08\x01\x00\x00\x00"[..], &[7; 1000]].concat();
    reader.push(Bytes::from(begin));
    reader.push_gap(5_000);
    assert_eq!(reader.poll(), Ok(Read::NeedBytes));
    reader.push(Bytes::from([&b"\xc4"[..], &[7; 1000]].concat()));
    reader.push_gap(5_000);
    let refused = reader.poll();
    assert!(matches!(refused, Err(PeerMisbehaved::ReassemblyBytes(12_000..))), "{refused:?}");
}
