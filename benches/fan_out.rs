//! What a frame costs the hub: with nobody reading, and with up to 10,000 readers that take it at once.
//!
//! `push` is a frame into the queues and its `Ready` events; `push and take` is that and a writer's visit to every queue. Each
//! iteration is one frame; an element is one reader's frame (with nobody reading, the frame).

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inrush::hub::{
    AppSettings, ConnectionRef, CoreId, Hub, HubSettings, PublisherKey, Queued, Reader, SubscriberKey,
    TakeBudget,
};
use inrush::media::Form;
use inrush::rtmp::Payload;
use inrush::session::{Instant, MediaKind, MediaMessage, StreamKey};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BUDGET: TakeBudget = TakeBudget { bytes: 64 * 1024, slices: 1024 };

/// Frames between two key frames.
const GOP: u64 = 100;

struct Stream {
    hub: Hub,
    publisher: PublisherKey,
    readers: Vec<SubscriberKey>,
    body: [Bytes; 2],
    frames: u64,
    taken: Vec<Queued>,
}

impl Stream {
    fn new(readers: usize) -> Self {
        let (core, key, settings) = (CoreId(0), StreamKey::new("live", "s"), AppSettings::default());
        let mut hub = Hub::new(HubSettings { core, cores: 1 });
        let now = Instant::default();
        let entry =
            hub.publish(now, &key, ConnectionRef(0).into(), &settings).expect("nobody else publishes");
        let publisher = entry.publisher().expect("nobody is to be waited for");
        let mut subscribe = |n| {
            hub.subscribe(
                now,
                &key,
                core,
                Reader { connection: ConnectionRef(n), stream_id: 1, form: Form::Full },
                &settings,
            )
        };
        let readers = (1..=readers as u64).map(&mut subscribe).collect();
        let body = [0x17, 0x27].map(|tag| Bytes::from([&[tag, 1, 0, 0, 0][..], &[0x55; 1500]].concat()));
        Self { hub, publisher, readers, body, frames: 0, taken: Vec::new() }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.frames * 20_000)
    }

    fn push(&mut self) -> usize {
        let body = &self.body[usize::from(!self.frames.is_multiple_of(GOP))];
        let message = MediaMessage {
            kind: MediaKind::Video,
            type_id: 9,
            stream_id: 1,
            timestamp: (self.frames * 20) as u32, // wraps
            payload: Payload::from(body.clone()),
            wire_bytes: 1517,
        };
        self.frames += 1;
        self.hub.ingest(self.now(), self.publisher, message);
        std::iter::from_fn(|| self.hub.poll_event()).count()
    }

    fn take(&mut self) {
        let now = self.now();
        for reader in &self.readers {
            black_box(self.hub.take(now, *reader, BUDGET, &mut self.taken));
            self.taken.clear();
        }
    }
}

fn fan_out(criterion: &mut Criterion) {
    for (name, takes) in [("push", false), ("push and take", true)] {
        let mut group = criterion.benchmark_group(name);
        for readers in [0, 1, 100, 10_000] {
            group.throughput(Throughput::Elements(readers.max(1) as u64));
            let mut stream = Stream::new(readers);
            group.bench_function(BenchmarkId::from_parameter(readers), |bencher| {
                if takes {
                    bencher.iter(|| {
                        black_box(stream.push());
                        stream.take();
                    });
                } else {
                    bencher.iter_custom(|frames| {
                        (0..frames)
                            .map(|_| {
                                stream.take();
                                let start = std::time::Instant::now();
                                black_box(stream.push());
                                start.elapsed()
                            })
                            .sum()
                    });
                }
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = fan_out
}
criterion_main!(benches);
