//! What it costs to read a message: in the usual chunk sizes with audio between the chunks of video, in headers alone, sliced,
//! gathered, and in the common case.
//!
//! `crossover` finds `GATHER_BYTES_MAX`: the same message in chunks of 32 to 4096 bytes, once with each chunk
//! kept as a slice, once with all of them copied into one. Reassembly and dropping are measured together; with
//! `+walk` so is one subscriber's pass over the slices, since a slice is paid for again at every write.

use std::{hint::black_box, time::Duration};

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inrush::rtmp::{
    Control, Limits, Message, MessageHeader, Payload,
    chunk::{CHUNK_SIZE_DEFAULT, ChunkReader, ChunkStreamId, ChunkWriter, Read, WireHeaders},
    message::type_id,
};

#[cfg(feature = "engine")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const OUT_CHUNK_SIZE: u32 = 60_000;

/// What one receive brings at most, as in the engine, bytes.
const READ_BYTES: usize = 16 * 1024;

/// A video message in chunks, as one read buffer split off a larger one.
fn wire(message_bytes: usize, chunk_size: u32) -> Bytes {
    let header = MessageHeader { timestamp: 0, type_id: type_id::VIDEO, stream_id: 1 };
    let message = Message::new(header, Bytes::from(vec![0x5a; message_bytes]));
    let mut out = BytesMut::new();
    ChunkWriter::new(chunk_size).write(ChunkStreamId::VIDEO, &message, &mut out);
    let read = out.split().freeze();
    black_box(out);
    read
}

fn reader(chunk_size: u32) -> ChunkReader {
    let mut reader = ChunkReader::new(&Limits::default());
    let mut out = BytesMut::new();
    ChunkWriter::new(CHUNK_SIZE_DEFAULT).write(
        ChunkStreamId::CONTROL,
        &Control::SetChunkSize(chunk_size).to_message(),
        &mut out,
    );
    reader.push(out.freeze());
    while let Ok(Read::Message(_)) = reader.poll() {}
    reader
}

fn read_message(reader: &mut ChunkReader, wire: &Bytes) -> Message {
    reader.push(wire.clone());
    match reader.poll() {
        Ok(Read::Message(message)) => message,
        other => panic!("one whole message was pushed: {other:?}"),
    }
}

/// One subscriber: the pointers and lengths that go into its slice array.
fn walk(payload: &Payload) -> usize {
    let header = MessageHeader { timestamp: 0, type_id: type_id::VIDEO, stream_id: 1 };
    let headers = WireHeaders::new(&header, payload.len(), OUT_CHUNK_SIZE);
    let mut sum = 0;
    headers.for_each_slice(payload, |slice| sum += slice.as_ptr() as usize ^ slice.len());
    sum
}

/// A message's chunks, each with its header.
fn chunks(type_id: u8, message_bytes: usize, chunk_size: u32) -> Vec<Vec<u8>> {
    let header = MessageHeader { timestamp: 40, type_id, stream_id: 1 };
    let payload = Payload::from(Bytes::from(vec![0x5a; message_bytes]));
    let mut slices = Vec::new();
    WireHeaders::new(&header, message_bytes, chunk_size)
        .for_each_slice(&payload, |slice| slices.push(slice.to_vec()));
    slices.chunks(2).map(<[Vec<u8>]>::concat).collect()
}

/// One second of 3 Mbit/s, 25 pictures and 50 audio messages: two of these between the chunks of each picture, evenly, or behind it
/// when it is one chunk. Gives the reads that it arrives in and its messages.
fn interleaved(chunk_size: u32) -> (Vec<Bytes>, usize) {
    const PICTURES: usize = 25;
    const PICTURE_BYTES: usize = 14_000;
    const AUDIO_BYTES: usize = 370;
    let mut second = BytesMut::new();
    for _ in 0..PICTURES {
        let video = chunks(type_id::VIDEO, PICTURE_BYTES, chunk_size);
        let mut audio: Vec<_> =
            (0..2).flat_map(|_| chunks(type_id::AUDIO, AUDIO_BYTES, chunk_size)).rev().collect();
        let distance = (video.len() / audio.len()).max(1);
        for (nth, chunk) in video.iter().enumerate() {
            second.extend_from_slice(chunk);
            if (nth + 1) % distance == 0 {
                second.extend_from_slice(&audio.pop().unwrap_or_default());
            }
        }
        audio.iter().rev().for_each(|chunk| second.extend_from_slice(chunk));
    }
    let mut second = second.freeze();
    let mut reads = Vec::new();
    while !second.is_empty() {
        reads.push(second.split_to(second.len().min(READ_BYTES)));
    }
    (reads, PICTURES * 3)
}

fn audio_between_video(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("audio between video");
    for chunk_size in [128, 4096, 65_536] {
        let (reads, messages) = interleaved(chunk_size);
        let mut reader = reader(chunk_size);
        group.throughput(Throughput::Bytes(reads.iter().map(|read| read.len() as u64).sum()));
        group.bench_function(BenchmarkId::from_parameter(chunk_size), |bencher| {
            bencher.iter(|| {
                let mut count = 0;
                for read in &reads {
                    reader.push(read.clone());
                    while let Ok(Read::Message(message)) = reader.poll() {
                        black_box(message);
                        count += 1;
                    }
                }
                assert_eq!(count, messages);
            });
        });
    }
    group.finish();
}

/// Messages without a body, so that what is left is the cost of their headers: type 0 says everything (12 bytes), type 3 nothing (1).
fn headers_alone(criterion: &mut Criterion) {
    const MESSAGES: usize = 1000;
    let mut group = criterion.benchmark_group("headers alone");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let first = chunks(type_id::VIDEO, 0, OUT_CHUNK_SIZE).concat();
    let next = vec![0xc0 | (first[0] & 0x3f)];
    for (name, header) in [("type 0", &first), ("type 3", &next)] {
        let wire = Bytes::from(header.repeat(MESSAGES));
        let mut reader = reader(OUT_CHUNK_SIZE);
        read_message(&mut reader, &Bytes::from(first.clone()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                reader.push(wire.clone());
                let mut count = 0;
                while let Ok(Read::Message(message)) = reader.poll() {
                    black_box(message);
                    count += 1;
                }
                assert_eq!(count, MESSAGES);
            });
        });
    }
    group.finish();
}

fn crossover(criterion: &mut Criterion) {
    for message_bytes in [4096, 16_384] {
        let mut group = criterion.benchmark_group(format!("crossover/{message_bytes}"));
        group.throughput(Throughput::Bytes(message_bytes as u64));
        for chunk_size in [32, 64, 128, 256, 384, 512, 768, 1024, 2048, 4096_u32] {
            let wire = wire(message_bytes, chunk_size);
            for (name, gather_bytes_max) in [("slice", 0), ("gather", usize::MAX)] {
                let mut reader = reader(chunk_size).with_gather_bytes_max(gather_bytes_max);
                group.bench_function(BenchmarkId::new(name, chunk_size), |bencher| {
                    bencher.iter(|| drop(black_box(read_message(&mut reader, &wire))));
                });
                group.bench_function(BenchmarkId::new(format!("{name}+walk"), chunk_size), |bencher| {
                    bencher.iter(|| black_box(walk(&read_message(&mut reader, &wire).payload)));
                });
            }
        }
        group.finish();
    }
}

fn common_path(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("whole message in one chunk");
    for message_bytes in [90, 1500, 16_000] {
        let wire = wire(message_bytes, OUT_CHUNK_SIZE);
        let mut reader = reader(OUT_CHUNK_SIZE);
        group.throughput(Throughput::Bytes(message_bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(message_bytes), |bencher| {
            bencher.iter(|| drop(black_box(read_message(&mut reader, &wire))));
        });
    }
    group.finish();
}

fn straddling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message across segments of 1448");
    for message_bytes in [1500, 16_000] {
        let wire = wire(message_bytes, OUT_CHUNK_SIZE);
        let mut reader = reader(OUT_CHUNK_SIZE);
        group.throughput(Throughput::Bytes(message_bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(message_bytes), |bencher| {
            bencher.iter(|| {
                let mut rest = wire.clone();
                while !rest.is_empty() {
                    reader.push(rest.split_to(rest.len().min(1448)));
                    black_box(reader.poll()).ok();
                }
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = audio_between_video, headers_alone, crossover, common_path, straddling
}
criterion_main!(benches);
