//! Fan-out costs one allocation a frame and core, however many read; a reader costs none.
#![cfg(feature = "engine")]

mod counting;

use bytes::Bytes;
use counting::allocations_so_far;
use inrush::hub::{AppSettings, ConnectionRef, CoreId, Hub, HubSettings, Queued, SubscriberKey, TakeBudget};
use inrush::rtmp::Payload;
use inrush::session::{Instant, MediaKind, MediaMessage, StreamKey};

fn message(at: u32) -> MediaMessage {
    let head: [u8; 5] = if at.is_multiple_of(50) { [0x17, 1, 0, 0, 0] } else { [0x27, 1, 0, 0, 0] };
    let payload = Payload::from(Bytes::from([&head[..], &[0x55; 1000]].concat()));
    MediaMessage {
        kind: MediaKind::Video,
        type_id: 9,
        stream_id: 1,
        timestamp: at * 40,
        wire_bytes: 1017,
        payload,
    }
}

/// Allocations of 50 frames, once a whole GOP has been through: by the publisher and `readers` readers that take every frame.
fn allocations(readers: usize) -> u64 {
    let (core, key, settings) = (CoreId(0), StreamKey::new("live", "s"), AppSettings::default());
    let mut hub = Hub::new(HubSettings { core, cores: 1 });
    let publisher = hub.publish(Instant::default(), &key, ConnectionRef(0), &settings).unwrap();
    let mut subscribe = |n| hub.subscribe(Instant::default(), &key, core, ConnectionRef(n), 1, &settings);
    let keys: Vec<SubscriberKey> = (1..=readers as u64).map(&mut subscribe).collect();
    let messages: Vec<MediaMessage> = (0..150).map(message).collect();
    let budget = TakeBudget { bytes: 64 * 1024, slices: 1024 };
    let mut out: Vec<Queued> = Vec::with_capacity(16);
    let mut before = 0;
    for (at, message) in (0u64..).zip(messages) {
        if at == 100 {
            before = allocations_so_far();
        }
        let now = Instant::from_micros(at * 40_000);
        hub.ingest(now, publisher, message);
        while hub.poll_event().is_some() {}
        for key in &keys {
            assert!(hub.take(now, *key, budget, &mut out) > 0);
            out.clear();
        }
    }
    allocations_so_far() - before
}

#[test]
fn a_reader_costs_no_allocation() {
    let unread = allocations(0);
    assert_eq!(unread, 50, "the frame that all cores share");
    let read = allocations(1);
    assert_eq!(read, unread + 50, "and this core's count of it");
    assert_eq!(allocations(300), read);
}
