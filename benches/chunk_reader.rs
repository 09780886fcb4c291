//! What it costs to read a message: sliced, gathered, and in the common case.
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
    targets = crossover, common_path, straddling
}
criterion_main!(benches);
