//! What it costs to feed another core: the home's batch of a turn, and what the replica's hub does with it for its one reader.
//!
//! Both hubs run on this thread, so this is the work, without the wake-up and the cache misses between two cores. An element is one
//! frame, from the home's `ingest` until the reader has taken it.

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

const HOME: CoreId = CoreId(0);
const AWAY: CoreId = CoreId(1);
const BUDGET: TakeBudget = TakeBudget { bytes: usize::MAX, slices: usize::MAX };

/// Frames between two key frames.
const GOP: u64 = 100;

/// A publisher on one core, its reader on another.
struct Pair {
    home: Hub,
    away: Hub,
    publisher: PublisherKey,
    reader: SubscriberKey,
    body: [Bytes; 2],
    frames: u64,
    taken: Vec<Queued>,
}

impl Pair {
    fn new() -> Self {
        let (key, settings, now) = (StreamKey::new("live", "s"), AppSettings::default(), Instant::default());
        let [mut home, mut away] = [HOME, AWAY].map(|core| Hub::new(HubSettings { core, cores: 2 }));
        let entry =
            home.publish(now, &key, ConnectionRef(0).into(), &settings).expect("nobody else publishes");
        let publisher = entry.publisher().expect("nobody is to be waited for");
        let reader = away.subscribe(
            now,
            &key,
            HOME,
            Reader { connection: ConnectionRef(1), stream_id: 1, form: Form::Full },
            &settings,
        );
        let body = [0x17, 0x27].map(|tag| Bytes::from([&[tag, 1, 0, 0, 0][..], &[0x55; 1500]].concat()));
        for message in away.take_outgoing(HOME) {
            home.handle_mesh(now, AWAY, message);
        }
        let mut pair = Self { home, away, publisher, reader, body, frames: 0, taken: Vec::new() };
        pair.turn(1);
        pair
    }

    /// One turn of the home core with this many frames, and the turn of the other core that follows.
    fn turn(&mut self, frames: u64) {
        let now = Instant::from_micros(self.frames * 20_000);
        for _ in 0..frames {
            let message = MediaMessage {
                kind: MediaKind::Video,
                type_id: 9,
                stream_id: 1,
                timestamp: (self.frames * 20) as u32, // wraps
                payload: Payload::from(self.body[usize::from(!self.frames.is_multiple_of(GOP))].clone()),
                wire_bytes: 1517,
            };
            self.frames += 1;
            self.home.ingest(now, self.publisher, message);
        }
        for message in self.home.take_outgoing(AWAY) {
            self.away.handle_mesh(now, HOME, message);
        }
        while let Some(event) = self.away.poll_event() {
            black_box(event);
        }
        self.away.take(now, self.reader, BUDGET, &mut self.taken);
        assert!(self.taken.len() as u64 >= frames, "every frame has come across");
        self.taken.clear();
    }
}

fn mesh_hop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hop");
    for frames in [1, 16, 256] {
        let mut pair = Pair::new();
        group.throughput(Throughput::Elements(frames));
        group.bench_function(BenchmarkId::new("frames a turn", frames), |bencher| {
            bencher.iter(|| pair.turn(frames));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = mesh_hop
}
criterion_main!(benches);
