//! Whatever is written comes out of the reader, in the order in which it was completed, however the bytes are
//! split.

use bytes::BytesMut;
use proptest::prelude::*;

use super::{
    peer::{Habit, Peer},
    *,
};

const IDS: [u32; 6] = [3, 6, 63, 64, 320, 65599];

#[derive(Clone, Debug)]
pub(super) struct Plan {
    habit: Habit,
    steps: Vec<Step>,
    /// Lengths of the pushed buffers, over and over.
    pub(super) splits: Vec<usize>,
    gather_bytes_max: usize,
}

/// What the peer does next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Goes on with the message on this chunk stream, or starts one.
    Chunk {
        id: u32,
        time: u32,
        type_id: u8,
        stream_id: u32,
        len: usize,
        chunk_type: prop::sample::Index,
    },
    SetChunkSize(u32),
    Abort(u32),
}

fn time() -> impl Strategy<Value = u32> {
    prop_oneof![
        0..2000u32,
        0xfffff0..0x1000010u32,
        0x7fff_fff0..0x8000_0010u32,
        u32::MAX - 16..=u32::MAX,
        any::<u32>()
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let id = prop::sample::select(&IDS[..]);
    let len = prop_oneof![0..4usize, 100..140usize, 0..1500usize];
    let chunk = (id.clone(), time(), 8..=9u8, 0..2u32, len, any::<prop::sample::Index>()).prop_map(
        |(id, time, type_id, stream_id, len, chunk_type)| Step::Chunk {
            id,
            time,
            type_id,
            stream_id,
            len,
            chunk_type,
        },
    );
    prop_oneof![
        20 => chunk,
        1 => prop_oneof![1..5u32, 100..200u32, 400..2000u32, Just(CHUNK_SIZE_MAX)].prop_map(Step::SetChunkSize),
        1 => id.prop_map(Step::Abort),
    ]
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    (
        prop::sample::select(vec![Habit::RepeatsField, Habit::RepeatsAbsolute, Habit::Omits]),
        prop::collection::vec(step(), 1..60),
        prop::collection::vec(prop_oneof![1..4usize, 1..200usize, 1000..5000usize], 1..8),
        prop_oneof![Just(0), Just(GATHER_BYTES_MAX), 1..1000usize],
    )
        .prop_map(|(habit, steps, splits, gather_bytes_max)| Plan {
            habit,
            steps,
            splits,
            gather_bytes_max,
        })
}

/// Bytes that no timestamp in these tests consists of.
fn body(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| 0x20 + ((i * 31 + seed * 17) % 0x50) as u8).collect()
}

/// Lets a peer follow the steps; gives its bytes, and its messages in the order in which they end.
pub(super) fn carry_out(plan: &Plan) -> (Vec<u8>, Vec<Message>) {
    let mut peer = Peer::new(plan.habit);
    let mut begun: std::collections::BTreeMap<u32, Message> = Default::default();
    let mut ended = Vec::new();
    for (seed, step) in plan.steps.iter().enumerate() {
        match *step {
            Step::Chunk { id, .. } if peer.is_busy(id) => {
                peer.go_on(id);
                if !peer.is_busy(id) {
                    ended.extend(begun.remove(&id));
                }
            }
            Step::Chunk { id, time, type_id, stream_id, len, chunk_type } => {
                let header = header(time, type_id, stream_id);
                let body = body(seed, len);
                let types = peer.legal_types(id, &header, len);
                peer.begin(id, header, &body, *chunk_type.get(&types));
                let message = Message::new(header, Bytes::from(body));
                if peer.is_busy(id) {
                    begun.insert(id, message);
                } else {
                    ended.push(message);
                }
            }
            Step::SetChunkSize(bytes) => {
                peer.send(2, header(0, 1, 0), &bytes.to_be_bytes());
                peer.chunk_size = bytes as usize;
                ended.push(message(0, 1, 0, &bytes.to_be_bytes()));
            }
            Step::Abort(id) => {
                peer.send(2, header(0, 2, 0), &id.to_be_bytes());
                peer.abort(id);
                begun.remove(&id);
                ended.push(message(0, 2, 0, &id.to_be_bytes()));
            }
        }
    }
    while let Some(id) = begun.keys().next().copied() {
        peer.go_on(id);
        if !peer.is_busy(id) {
            ended.extend(begun.remove(&id));
        }
    }
    (peer.out, ended)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any legal peer: interleaved chunk streams, all chunk types, chunk sizes, aborts, both extended habits,
    /// any split.
    #[test]
    fn any_legal_peer_is_understood(plan in plan()) {
        let (bytes, expected) = carry_out(&plan);
        let mut reader = reader().with_gather_bytes_max(plan.gather_bytes_max);
        let mut read = Vec::new();
        let mut rest = Bytes::from(bytes.clone());
        for &split in plan.splits.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            reader.push(rest.split_to(split.min(rest.len())));
            read.extend(drain(&mut reader).unwrap());
            prop_assert!(reader.missing_bytes() > 0);
        }
        prop_assert_eq!(read.iter().map(|message| message.wire_bytes as usize).sum::<usize>(), bytes.len());
        prop_assert!(read.iter().all(|message| message.payload.len() <= message.wire_bytes as usize));
        prop_assert_eq!(read.len(), expected.len());
        for (read, expected) in read.into_iter().zip(expected) {
            prop_assert_eq!(said(read), said(expected));
        }
        prop_assert_eq!((reader.retained_bytes(), reader.unparsed_bytes(), reader.missing_bytes()), (0, 0, 1));
    }

    /// Our writer, with the chunk size changed on the way.
    #[test]
    fn what_the_writer_writes_is_read(
        messages in prop::collection::vec((0..IDS.len(), time(), 8..=20u8, 0..3u32, 0..800usize), 1..40),
        chunk_sizes in prop::collection::vec(1..1000u32, 1..5),
        split in 1..3000usize,
    ) {
        let mut writer = ChunkWriter::new(CHUNK_SIZE_DEFAULT);
        let mut out = BytesMut::new();
        let mut expected = Vec::new();
        for (n, (id, time, type_id, stream_id, len)) in messages.into_iter().enumerate() {
            if n % 8 == 7 {
                let bytes = chunk_sizes[n / 8 % chunk_sizes.len()];
                let announcement = crate::rtmp::Control::SetChunkSize(bytes).to_message();
                writer.write(ChunkStreamId::CONTROL, &announcement, &mut out);
                writer.set_chunk_size(bytes);
                expected.push(announcement);
            }
            let message = message(time, type_id, stream_id, &body(n, len));
            writer.write(ChunkStreamId::new(IDS[id]).unwrap(), &message, &mut out);
            expected.push(message);
        }
        let mut reader = reader();
        let mut read = Vec::new();
        for part in out.chunks(split) {
            read.extend(feed(&mut reader, part).unwrap());
        }
        prop_assert_eq!(read.len(), expected.len());
        for (read, expected) in read.into_iter().zip(expected) {
            prop_assert_eq!(said(read), said(expected));
        }
        prop_assert_eq!(reader.counters().extended_omitted, 0);
    }

    /// The shared wire form: any message after any other, with commands of the writer in between.
    #[test]
    fn wire_headers_are_read(
        messages in prop::collection::vec(
            (prop::sample::select(vec![8u8, 9, 18]), time(), 1..4u32, 0..3000usize, 1..700usize), 1..20,
        ),
        chunk_size in prop_oneof![1..1000u32, Just(60_000)],
    ) {
        let mut reader = reader();
        let announcement = crate::rtmp::Control::SetChunkSize(chunk_size).to_message();
        let mut writer = ChunkWriter::new(CHUNK_SIZE_DEFAULT);
        let mut out = BytesMut::new();
        writer.write(ChunkStreamId::CONTROL, &announcement, &mut out);
        writer.set_chunk_size(chunk_size);
        let mut expected = vec![announcement];
        for (n, (type_id, time, stream_id, len, slice)) in messages.into_iter().enumerate() {
            let payload: Payload = body(n, len).chunks(slice).map(Bytes::copy_from_slice).collect();
            let wire = WireHeaders::new(&header(time, type_id, 1), len, chunk_size).with_stream_id(stream_id);
            wire.write_to(&payload, &mut out);
            expected.push(Message::new(header(time, type_id, stream_id), payload));
            let ping = crate::rtmp::Control::User(crate::rtmp::UserControl::PingRequest(time)).to_message();
            writer.write(ChunkStreamId::CONTROL, &ping, &mut out);
            expected.push(ping);
        }
        let read = feed(&mut reader, &out).unwrap();
        prop_assert_eq!(read.len(), expected.len());
        for (read, expected) in read.into_iter().zip(expected) {
            prop_assert_eq!(said(read), said(expected));
        }
    }
}
