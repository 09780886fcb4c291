//! What a late reader costs: it joins a live stream, gets headers and the GOP into its queue, and leaves.
//!
//! `join` is the hub's part, done in one go; with `and take` its writer takes everything as well. An element is one
//! frame that the reader gets.

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inrush::hub::{AppSettings, ConnectionRef, CoreId, Hub, HubSettings, Queued, Reader, TakeBudget};
use inrush::media::Form;
use inrush::rtmp::Payload;
use inrush::session::{Instant, MediaKind, MediaMessage, StreamKey};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BUDGET: TakeBudget = TakeBudget { bytes: 64 * 1024, slices: 1024 };

/// A hub with one publisher that has sent a sequence header, a key frame and the rest of `pictures`.
fn live(key: &StreamKey, settings: &AppSettings, pictures: u32) -> Hub {
    let mut hub = Hub::new(HubSettings { core: CoreId(0), cores: 1 });
    let now = Instant::default();
    let entry = hub.publish(now, key, ConnectionRef(0).into(), settings).expect("nobody else publishes");
    let publisher = entry.publisher().expect("nobody is to be waited for");
    for nth in 0..=pictures {
        let head: &[u8] = match nth {
            0 => &[0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x28],
            1 => &[0x17, 1, 0, 0, 0],
            _ => &[0x27, 1, 0, 0, 0],
        };
        let message = MediaMessage {
            kind: MediaKind::Video,
            type_id: 9,
            stream_id: 1,
            timestamp: nth.saturating_sub(1) * 20,
            payload: Payload::from(Bytes::from([head, &[0x55; 1500]].concat())),
            wire_bytes: 1517,
        };
        hub.ingest(now, publisher, message);
    }
    hub
}

fn gop_join(criterion: &mut Criterion) {
    let (key, settings, now) = (StreamKey::new("live", "s"), AppSettings::default(), Instant::default());
    for (name, takes) in [("join", false), ("join and take", true)] {
        let mut group = criterion.benchmark_group(name);
        for pictures in [1, 100, 500] {
            let mut hub = live(&key, &settings, pictures);
            let mut taken: Vec<Queued> = Vec::new();
            let mut join = |takes: bool| {
                let reader = hub.subscribe(
                    now,
                    &key,
                    CoreId(0),
                    Reader { connection: ConnectionRef(1), stream_id: 1, form: Form::Full },
                    &settings,
                );
                black_box(hub.poll_event());
                let mut frames = 0;
                while takes && hub.take(now, reader, BUDGET, &mut taken) > 0 {
                    frames += taken.len();
                    taken.clear();
                }
                hub.unsubscribe(reader);
                frames
            };
            assert_eq!(join(true), pictures as usize + 1, "the sequence header and the whole GOP");
            group.throughput(Throughput::Elements(u64::from(pictures) + 1));
            group.bench_function(BenchmarkId::from_parameter(pictures), |bencher| {
                bencher.iter(|| join(takes))
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = gop_join
}
criterion_main!(benches);
