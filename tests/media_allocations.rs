//! A steady stream costs the media floor no allocation a frame.

mod counting;

use bytes::Bytes;
use counting::allocations_so_far;
use inrush::media::{FrameRole, Ingest, IngestSettings, TimestampPolicy};
use inrush::rtmp::Payload;
use inrush::session::{Instant, MediaKind, MediaMessage};

fn allocations(work: impl FnOnce()) -> u64 {
    let before = allocations_so_far();
    work();
    allocations_so_far() - before
}

/// A message in two slices, as one that straddled two reads.
fn message(kind: MediaKind, timestamp: u32, head: &[u8]) -> MediaMessage {
    let body = Bytes::from([head, &[0x55; 1000]].concat());
    let payload: Payload = [body.slice(..3), body.slice(3..)].into_iter().collect();
    let type_id = if kind == MediaKind::Video { 9 } else { 8 };
    MediaMessage { kind, type_id, stream_id: 1, timestamp, wire_bytes: 1012, payload }
}

#[test]
fn a_steady_stream_allocates_nothing() {
    for timestamps in [TimestampPolicy::Pass, TimestampPolicy::Monotonic] {
        let mut ingest = Ingest::new(IngestSettings { timestamps, ..IngestSettings::default() });
        let mut feed = |at: u32| {
            let video = if at.is_multiple_of(50) { [0x17, 1, 0, 0, 0] } else { [0x27, 1, 0, 0, 40] };
            let messages = [
                message(MediaKind::Video, at * 40, &video),
                message(MediaKind::Video, at * 40, &[0x96, 0x01, b'h', b'v', b'c', b'1', 1, 0, 0, 0]),
                message(MediaKind::Audio, at * 40, &[0xaf, 1]),
                message(MediaKind::Audio, at * 40, &[0x95, 0x01, b'f', b'L', b'a', b'C', 1]),
            ];
            let mut frames = Vec::with_capacity(messages.len());
            let count = allocations(|| {
                for message in messages {
                    frames.extend(ingest.frame(Instant::from_micros(u64::from(at) * 40_000), message));
                }
            });
            assert_eq!(frames.len(), 4);
            assert!(frames.iter().all(|frame| frame.role() != FrameRole::Other));
            count
        };
        assert!(feed(0) > 0, "new tracks do allocate, so the counter counts");
        let steady: u64 = (1..1000).map(feed).sum();
        assert_eq!(steady, 0);
    }
}
