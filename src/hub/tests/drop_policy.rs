//! What happens to a reader that reads too slowly, or not at all.

use super::*;

fn dropped(rig: &mut Rig, reader: SubscriberKey) -> DropCounts {
    rig.home().subscriber(reader).unwrap().totals().dropped
}

/// Too old: all queued pictures go, sound goes on, pictures resume at a key frame; and each loss is counted once.
#[test]
fn a_slow_reader_is_dropped_to_the_next_key_frame() {
    let queue = QueueSettings { ms_max: 500, ..QueueSettings::default() };
    let mut rig = Rig::with_queue(queue);
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "V1 A1 k a i");
    assert_eq!(rig.take(CORE, reader), "V1 A1 k1 a2 i3");
    rig.send(publisher, "i i");
    rig.wait_ms(400);
    rig.send(publisher, "a d");
    rig.wait_ms(101);
    rig.send(publisher, "i a i k i a");
    assert_eq!(rig.take(CORE, reader), "a6 d7 a9 k11 i12 a13");
    assert_eq!(dropped(&mut rig, reader), DropCounts { audio: 0, video: 4, data: 0 });
    assert_eq!(rig.home().counters().dropped, DropCounts { audio: 0, video: 4, data: 0 });
    assert_eq!(rig.home().counters().overflows, 1);
}

/// Too many bytes, or too many frames: the same.
#[test]
fn bytes_and_frames_are_bounded_too() {
    for queue in [
        QueueSettings { bytes_max: 500, ..QueueSettings::default() },
        QueueSettings { frames_max: 4, ..QueueSettings::default() },
    ] {
        let mut rig = Rig::with_queue(queue);
        let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
        rig.send(publisher, "k i a i i a k i");
        assert_eq!(rig.take(CORE, reader), "a3 a6 k7 i8");
        assert_eq!(dropped(&mut rig, reader), DropCounts { audio: 0, video: 4, data: 0 });
    }
}

/// Sound alone over the bounds: the oldest goes, the rest stays in order.
#[test]
fn the_oldest_sound_goes_when_sound_alone_is_too_much() {
    let queue = QueueSettings { frames_max: 3, ..QueueSettings::default() };
    let mut rig = Rig::with_queue(queue);
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "k a a d a a");
    assert_eq!(rig.take(CORE, reader), "d4 a5 a6");
    assert_eq!(dropped(&mut rig, reader), DropCounts { audio: 2, video: 1, data: 0 });
}

/// A sequence header that is dropped with the pictures is sent again before the next key frame, in its newest version, with that
/// frame's time; one that was taken before is not.
#[test]
fn dropped_headers_are_sent_again() {
    let queue = QueueSettings { frames_max: 3, ..QueueSettings::default() };
    let mut rig = Rig::with_queue(queue);
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "M1 V1");
    assert_eq!(rig.take(CORE, reader), "M1 V1");
    rig.send(publisher, "k i i i");
    rig.send(publisher, "k");
    assert_eq!(rig.take(CORE, reader), "k5", "nothing new to say");
    rig.send(publisher, "i V2 i");
    rig.send(publisher, "V3 k");
    assert_eq!(rig.take(CORE, reader), "V3 k8");
    rig.send(publisher, "i V4 i");
    rig.send(publisher, "i k");
    let timestamps = rig.take_timestamps(CORE, reader);
    assert_eq!(timestamps, [5_000 + 12 * 20; 2], "V4 again, k12");
}

/// Sound cannot be understood without its header: when that goes, the sound queued behind it goes as well.
#[test]
fn sound_goes_with_its_dropped_header() {
    let queue = QueueSettings { frames_max: 4, ..QueueSettings::default() };
    let mut rig = Rig::with_queue(queue);
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "A1 a a a a a");
    assert_eq!(rig.take(CORE, reader), "A1 a4 a5", "the header again, then what came after the drop");
    assert_eq!(dropped(&mut rig, reader).audio, 3);
}

/// One frame larger than the whole bound still goes out, alone.
#[test]
fn a_frame_larger_than_the_queue_is_sent_alone() {
    let queue = QueueSettings { bytes_max: 1_000, ..QueueSettings::default() };
    let mut rig = Rig::with_queue(queue);
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "a");
    rig.encoder.padding = 5_000;
    rig.send(publisher, "k");
    assert_eq!(rig.take(CORE, reader), "k2");
    rig.encoder.padding = 80;
    rig.send(publisher, "i a");
    assert_eq!(rig.take(CORE, reader), "i3 a4");
}

/// Nothing new comes, and yet what is queued grows old: the sweep drops it.
#[test]
fn the_sweep_drops_what_has_become_too_old() {
    let mut rig = Rig::new();
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "k a i");
    let ms_max = rig.settings.queue.ms_max;
    rig.wait_ms(u64::from(ms_max));
    let now = rig.now;
    rig.home().handle_sweep(now);
    assert_eq!(dropped(&mut rig, reader).total(), 0);
    rig.wait_ms(1);
    let now = rig.now;
    rig.home().handle_sweep(now);
    assert_eq!(dropped(&mut rig, reader), DropCounts { audio: 1, video: 2, data: 0 });
    assert!(!rig.home().has_queued(reader));
}

/// Notices survive everything; of those with nothing left before them, the newest counts.
#[test]
fn notices_are_never_lost() {
    let queue = QueueSettings { frames_max: 3, ..QueueSettings::default() };
    let mut rig = Rig::with_queue(queue);
    let reader = rig.subscribe(CORE);
    let now = rig.now;
    for _ in 0..50 {
        let publisher = rig.publish();
        rig.send(publisher, "k a");
        rig.home().unpublish(now, publisher, End::Said);
    }
    let words = rig.take(CORE, reader);
    assert!(words.ends_with('-') && words.len() < 20, "{words}");
    let publisher = rig.publish();
    rig.send(publisher, "a a a a a");
    assert_eq!(
        rig.take(CORE, reader),
        "+ a103 a104 a105",
        "what it stood before has gone, the notice has not"
    );
    rig.home().unpublish(now, publisher, End::Said);
    let publisher = rig.publish();
    rig.send(publisher, "a a a a a");
    assert_eq!(rig.take(CORE, reader), "+ a108 a109 a110", "the end has been overtaken by the start");
}

/// A reader that takes nothing while something is queued is hopeless after the stall limit, once; its queue stays bounded meanwhile,
/// and what the drop policy takes does not count as taken, not even when it takes everything.
#[test]
fn a_reader_that_takes_nothing_is_hopeless() {
    for words in ["k i a", "k i i", "a a a"] {
        let mut rig = Rig::new();
        let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
        let queue = rig.settings.queue;
        rig.send(publisher, words);
        rig.take(CORE, reader);
        let started = rig.now;
        let mut hopeless = Vec::new();
        for _ in 0..1_000 {
            rig.send(publisher, words);
            rig.wait_ms(20);
            let now = rig.now;
            rig.home().handle_sweep(now);
            let view = rig.home().subscriber(reader).unwrap();
            assert!(view.queued_ms(now) <= queue.ms_max && view.queued() <= queue.frames_max);
            let is_hopeless = |event: &HubEvent| matches!(event, HubEvent::Hopeless { .. });
            hopeless
                .extend(rig.events(CORE).into_iter().filter(is_hopeless).map(|event| (event, now - started)));
        }
        let [(HubEvent::Hopeless { subscriber, connection }, after)] = hopeless[..] else {
            panic!("{words}: {hopeless:?}")
        };
        assert_eq!((subscriber, connection), (reader, ConnectionRef(2)));
        let after_ms = u32::try_from(after.as_millis()).unwrap();
        assert!(
            (queue.stall_ms_max..queue.stall_ms_max + 3_000).contains(&after_ms),
            "{words}: {after_ms} ms"
        );
        assert_eq!(rig.home().counters().hopeless, 1);
    }
}

/// One that takes a little now and then is slow, not hopeless; nor is one that is paused, or for which there was nothing.
#[test]
fn a_slow_or_resting_reader_is_not_hopeless() {
    let mut rig = Rig::new();
    let (start, publisher) = (rig.now, rig.publish());
    let (slow, paused) = (rig.subscribe(CORE), rig.subscribe(CORE));
    rig.home().set_paused(start, paused, true);
    for round in 0..100 {
        rig.send(publisher, "k a i");
        if round % 40 == 39 {
            rig.take_some(CORE, slow, TakeBudget { bytes: 1, slices: 1 });
        }
        rig.wait_ms(200);
        let now = rig.now;
        rig.home().handle_sweep(now);
    }
    rig.take(CORE, slow);
    rig.wait_ms(60_000);
    rig.send(publisher, "k");
    let now = rig.now;
    rig.home().handle_sweep(now);
    rig.home().set_paused(now, paused, false);
    rig.send(publisher, "k");
    rig.home().handle_sweep(now);
    assert_eq!(rig.home().counters().hopeless, 0);
}

/// After the drop policy has emptied a queue whose reader then rests for lack of frames, the next frame does not make it hopeless
/// before it had the chance to take it.
#[test]
fn a_reader_with_an_emptied_queue_gets_a_chance() {
    let mut rig = Rig::new();
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "k i");
    rig.wait_ms(4_000);
    rig.send(publisher, "i");
    assert!(!rig.home().has_queued(reader));
    rig.wait_ms(20_000);
    rig.send(publisher, "k");
    let now = rig.now;
    rig.home().handle_sweep(now);
    assert_eq!(rig.home().counters().hopeless, 0);
    assert_eq!(rig.take(CORE, reader), "k4");
}
