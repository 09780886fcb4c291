//! What it costs to write a message: copied into chunks, as commands and a client's media are, and in the form that all readers of a
//! frame share, whose headers are made once and whose body is walked by each.

use std::{hint::black_box, time::Duration};

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inrush::rtmp::{
    Message, MessageHeader, Payload,
    chunk::{ChunkStreamId, ChunkWriter, WireHeaders},
    message::type_id,
};

#[cfg(feature = "engine")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of an audio message, and of a picture of 3 Mbit/s.
const MESSAGE_BYTES: [usize; 2] = [370, 14_000];

const HEADER: MessageHeader = MessageHeader { timestamp: 40, type_id: type_id::VIDEO, stream_id: 1 };

fn copied(criterion: &mut Criterion) {
    for message_bytes in MESSAGE_BYTES {
        let mut group = criterion.benchmark_group(format!("copied into chunks/{message_bytes}"));
        group.throughput(Throughput::Bytes(message_bytes as u64));
        let mut message = Message::new(HEADER, Bytes::from(vec![0x5a; message_bytes]));
        for chunk_size in [128, 4096, 65_536] {
            let mut writer = ChunkWriter::new(chunk_size);
            let mut out = BytesMut::with_capacity(2 * message_bytes);
            group.bench_function(BenchmarkId::from_parameter(chunk_size), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    message.header.timestamp = message.header.timestamp.wrapping_add(40);
                    writer.write(ChunkStreamId::VIDEO, &message, &mut out);
                    black_box(&out);
                });
            });
        }
        group.finish();
    }
}

fn shared(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shared form");
    group.throughput(Throughput::Elements(1));
    group.bench_function("headers", |bencher| {
        bencher.iter(|| WireHeaders::new(black_box(&HEADER), black_box(14_000), 60_000));
    });
    // A picture as it came in segments of a wide-area path, and as one read.
    for pieces in [1, 10] {
        let body = Bytes::from(vec![0x5a; 14_000]);
        let payload: Payload =
            (0..pieces).map(|nth| body.slice(nth * 14_000 / pieces..(nth + 1) * 14_000 / pieces)).collect();
        let headers = WireHeaders::new(&HEADER, payload.len(), 60_000);
        group.bench_function(BenchmarkId::new("walk", pieces), |bencher| {
            bencher.iter(|| {
                let mut sum = 0;
                black_box(&headers)
                    .for_each_slice(&payload, |slice| sum += slice.as_ptr() as usize ^ slice.len());
                sum
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = copied, shared
}
criterion_main!(benches);
