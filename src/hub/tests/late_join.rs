//! What a reader gets that comes when the stream is live.

use super::*;

/// Metadata, headers and the GOP, all with the timestamp of the first frame sent; then the live frames.
#[test]
fn a_late_joiner_gets_headers_and_the_gop() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    rig.send(publisher, "M1 V1 A1 k a i k a i");
    let first = rig.subscribe(CORE);
    rig.send(publisher, "a i");
    let again = rig.subscribe(CORE);
    assert_eq!(rig.take(CORE, first), "M1 V1 A1 k4 a5 i6 a7 i8");
    let timestamps = rig.take_timestamps(CORE, again);
    assert_eq!(timestamps[..3], [timestamps[3]; 3], "headers carry the key frame's time");
    assert_eq!(timestamps[3], 5_000 + 4 * 20);
    let ready = rig.events(CORE);
    assert_eq!(ready.len(), 2, "each was told: {ready:?}");
}

/// Without a GOP yet, sound flows at once, and pictures from the next key frame on; the headers come with the first frame,
/// not alone, and have its time.
#[test]
fn without_a_gop_pictures_wait_for_the_key_frame() {
    let mut rig = Rig::new();
    rig.settings.gop.enabled = false;
    let publisher = rig.publish();
    rig.send(publisher, "M1 V1 A1 k a i");
    let reader = rig.subscribe(CORE);
    assert!(!rig.home().has_queued(reader), "headers wait for a frame to go with");
    rig.send(publisher, "i a i k i");
    assert_eq!(rig.take(CORE, reader), "M1 V1 A1 a5 k7 i8");
    let again = rig.subscribe(CORE);
    rig.send(publisher, "k");
    let timestamps = rig.take_timestamps(CORE, again);
    assert_eq!(timestamps, [5_000 + 9 * 20; 4]);
    let totals = rig.home().subscriber(reader).unwrap().totals();
    assert_eq!(totals.dropped, DropCounts::default(), "what came before its first key frame is no loss");
}

/// A stream of sound alone is joined at once, with its header.
#[test]
fn sound_alone_flows_at_once() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    rig.send(publisher, "M1 A1 a a");
    let reader = rig.subscribe(CORE);
    rig.send(publisher, "a A2 a");
    assert_eq!(rig.take(CORE, reader), "M1 A1 a3 A2 a4");
}

/// The burst of a join may be larger than the queue's bounds: it and the live frames behind it arrive whole.
#[test]
fn a_burst_over_the_bounds_does_not_set_off_the_drop_policy() {
    let queue = QueueSettings { bytes_max: 1_000, frames_max: 8, ..QueueSettings::default() };
    let mut rig = Rig::with_queue(queue);
    let publisher = rig.publish();
    rig.send(publisher, "M1 V1 A1 k");
    for _ in 0..40 {
        rig.wait_ms(100);
        rig.send(publisher, "i");
    }
    let reader = rig.subscribe(CORE);
    let now = rig.now;
    let view = rig.home().subscriber(reader).unwrap();
    assert!(view.queued() > 40 && view.queued_bytes() > 4 * queue.bytes_max);
    assert_eq!(view.queued_ms(now), 0, "age counts from the join");
    rig.wait_ms(100);
    rig.send(publisher, "i a i");
    let words = rig.take(CORE, reader);
    assert!(words.starts_with("M1 V1 A1 k1 i2 ") && words.ends_with(" i41 i42 a43 i44"), "{words}");
    assert_eq!(rig.home().counters().overflows, 0);
}

/// Behind the burst the bounds hold as ever, and the burst itself has the queue's time to be read in.
#[test]
fn a_burst_that_is_not_read_in_time_is_dropped() {
    let queue = QueueSettings { ms_max: 1_000, ..QueueSettings::default() };
    let mut rig = Rig::with_queue(queue);
    let publisher = rig.publish();
    rig.send(publisher, "V1 A1 k i a i");
    let reader = rig.subscribe(CORE);
    rig.wait_ms(1_001);
    rig.send(publisher, "i a k");
    assert_eq!(
        rig.take(CORE, reader),
        "V1 A1 a6 k7",
        "what was too old has gone; its headers are sent again"
    );
    assert_eq!(
        rig.home().subscriber(reader).unwrap().totals().dropped,
        DropCounts { audio: 1, video: 4, data: 0 }
    );
}
