//! What the two largest AMF0 messages of a session cost: `connect`, which each session reads once, and `onMetaData`.

use std::{hint::black_box, time::Duration};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use inrush::rtmp::amf::{Value, amf0};
use inrush::rtmp::command::{self, write};
use inrush::rtmp::limits::AmfLimits;

#[cfg(feature = "engine")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What OBS Studio says.
fn connect_object() -> Value {
    Value::object([
        ("app", "live".into()),
        ("type", "nonprivate".into()),
        ("flashVer", "FMLE/3.0 (compatible; FMSc/1.0)".into()),
        ("swfUrl", "rtmp://ingest.example.com/live".into()),
        ("tcUrl", "rtmp://ingest.example.com/live".into()),
    ])
}

/// What OBS Studio says of H.264 and AAC.
fn metadata() -> Value {
    Value::ecma_array([
        ("duration", 0.0.into()),
        ("fileSize", 0.0.into()),
        ("width", 1920.0.into()),
        ("height", 1080.0.into()),
        ("videocodecid", 7.0.into()),
        ("videodatarate", 6000.0.into()),
        ("framerate", 60.0.into()),
        ("audiocodecid", 10.0.into()),
        ("audiodatarate", 160.0.into()),
        ("audiosamplerate", 48_000.0.into()),
        ("audiosamplesize", 16.0.into()),
        ("audiochannels", 2.0.into()),
        ("stereo", true.into()),
        ("2.1", false.into()),
        ("3.1", false.into()),
        ("4.0", false.into()),
        ("4.1", false.into()),
        ("5.1", false.into()),
        ("7.1", false.into()),
        ("encoder", "obs-output module (libobs version 31.0.0)".into()),
    ])
}

/// One element is one message, value tree and all.
fn connect(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connect");
    group.throughput(Throughput::Elements(1));
    let object = connect_object();
    group.bench_function("encode", |bencher| bencher.iter(|| write::connect(object.clone())));
    let message = write::connect(object);
    let limits = AmfLimits::default();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| command::parse(black_box(&message), &limits).expect("a good connect"));
    });
    group.finish();
}

/// In bytes: `@setDataFrame`, `onMetaData` and the array.
fn on_metadata(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("onMetaData");
    let values = [Value::from("@setDataFrame"), Value::from("onMetaData"), metadata()];
    let mut out = BytesMut::with_capacity(2048);
    let mut encode = || {
        out.clear();
        values.iter().for_each(|value| amf0::write(black_box(value), &mut out).expect("names are short"));
        out.len()
    };
    group.throughput(Throughput::Bytes(encode() as u64));
    group.bench_function("encode", |bencher| bencher.iter(&mut encode));
    let body: Bytes = out.freeze();
    let limits = AmfLimits::default();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut decoder = amf0::Decoder::new(black_box(&body), &limits);
            [(); 3].map(|()| decoder.value().expect("what was encoded"))
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = connect, on_metadata
}
criterion_main!(benches);
