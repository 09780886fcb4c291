//! Fan-out costs one allocation a frame and core, however many read; a reader costs none.
#![cfg(feature = "engine")]

mod counting;

use bytes::Bytes;
use counting::allocations_so_far;
use inrush::hub::{
    AppSettings, ConnectionRef, CoreId, Hub, HubSettings, Queued, Reader, SubscriberKey, TakeBudget,
};
use inrush::media::Form;
use inrush::rtmp::Payload;
use inrush::session::{Instant, MediaKind, MediaMessage, StreamKey};

/// A legacy AVC picture, or an HEVC one behind a multitrack header: key frames every 50.
fn message(at: u32, multitrack: bool) -> MediaMessage {
    let is_key = at.is_multiple_of(50);
    let head: &[u8] = match (multitrack, is_key) {
        (false, true) => &[0x17, 1, 0, 0, 0],
        (false, false) => &[0x27, 1, 0, 0, 0],
        (true, true) => b"\x96\x03hvc1\0",
        (true, false) => b"\xa6\x03hvc1\0",
    };
    let payload = Payload::from(Bytes::from([head, &[0x55; 1000]].concat()));
    MediaMessage {
        kind: MediaKind::Video,
        type_id: 9,
        stream_id: 1,
        timestamp: at * 40,
        wire_bytes: 1017,
        payload,
    }
}

/// Allocations of 50 frames, once a whole GOP has been through: by the publisher and `readers` readers that take every frame, in either
/// form by turns.
fn allocations(readers: usize, multitrack: bool) -> u64 {
    let (core, key, settings) = (CoreId(0), StreamKey::new("live", "s"), AppSettings::default());
    let mut hub = Hub::new(HubSettings { core, cores: 1 });
    let entry = hub.publish(Instant::default(), &key, ConnectionRef(0).into(), &settings).unwrap();
    let publisher = entry.publisher().unwrap();
    let mut subscribe = |n| {
        let form = if n % 2 == 0 { Form::Full } else { Form::Plain };
        let reader = Reader { connection: ConnectionRef(n), stream_id: 1, form };
        hub.subscribe(Instant::default(), &key, core, reader, &settings)
    };
    let keys: Vec<SubscriberKey> = (1..=readers as u64).map(&mut subscribe).collect();
    let messages: Vec<MediaMessage> = (0..150).map(|at| message(at, multitrack)).collect();
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
    let unread = allocations(0, false);
    assert_eq!(unread, 50, "the frame that all cores share");
    let read = allocations(1, false);
    assert_eq!(read, unread + 50, "and this core's count of it");
    assert_eq!(allocations(300, false), read);
}

/// The plain form of a frame that needs one of its own is made once: the form, its header bytes, and here the count of the body's bytes,
/// which nobody has shared before.
#[test]
fn a_plain_form_is_made_once() {
    let (unread, read) = (allocations(0, true), allocations(300, true));
    assert_eq!(read, unread + 50, "this core's count of it");
    assert_eq!(unread, 50 * (1 + 3), "the frame, and what its plain form takes");
}
