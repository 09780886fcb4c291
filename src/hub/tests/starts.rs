//! Readers that have seen what the cache has, and readers that are to end in good order.

use super::*;
use crate::media::VIDEO_SILENT_MAX;

impl Rig {
    fn subscribe_from(&mut self, core: CoreId, start: Start) -> SubscriberKey {
        let (now, settings, form) = (self.now, self.settings.clone(), self.form);
        let reader = Reader { connection: ConnectionRef(2), stream_id: 1, form };
        self.hub(core).subscribe_from(now, &key(), CORE, reader, &settings, start)
    }

    fn sweep(&mut self) {
        let now = self.now;
        self.home().handle_sweep(now);
    }
}

/// Nothing of the GOP, and no sound before the key frame either; then all headers in their order, with the key frame's time, whether they
/// came before or while it waited.
#[test]
fn a_reader_may_begin_at_the_next_key_frame() {
    for form in [Form::Plain, Form::Full] {
        let mut rig = Rig::new();
        rig.form = form;
        let publisher = rig.publish();
        rig.send(publisher, "M1 V1 A1 k a i");
        let reader = rig.subscribe_from(CORE, Start::NextKeyFrame);
        rig.send(publisher, "a i d A2 i V2");
        rig.sweep();
        assert!(!rig.home().has_queued(reader));
        assert_eq!(rig.events(CORE), []);
        rig.send(publisher, "k a i d");
        assert_eq!(rig.take(CORE, reader), "M1 V2 A2 k8 a9 i10 d11");
        let totals = rig.home().subscriber(reader).unwrap().totals();
        assert_eq!(totals.dropped, DropCounts::default(), "what it did not want is no loss");
        let again = rig.subscribe_from(CORE, Start::NextKeyFrame);
        rig.send(publisher, "k");
        assert_eq!(rig.take_timestamps(CORE, again), [5_000 + 12 * 20; 4]);
    }
}

/// What begins elsewhere than at home begins at its key frame as well, though its core is first sent the GOP.
#[test]
fn a_replica_begins_its_reader_at_the_next_key_frame() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    rig.send(publisher, "M1 V1 A1 k a i");
    let reader = rig.subscribe_from(ELSEWHERE, Start::NextKeyFrame);
    rig.carry();
    rig.send(publisher, "a i");
    rig.carry();
    assert!(!rig.hub(ELSEWHERE).has_queued(reader));
    rig.send(publisher, "k a");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, reader), "M1 V1 A1 k6 a7");
}

/// Without video there is no key frame to wait for: not from the beginning, and not when the camera has gone off while one waited.
#[test]
fn without_pictures_the_next_frame_will_do() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    rig.send(publisher, "M1 A1 a a");
    let reader = rig.subscribe_from(CORE, Start::NextKeyFrame);
    rig.send(publisher, "a");
    assert_eq!(rig.take(CORE, reader), "M1 A1 a3");

    rig.send(publisher, "V1 k a");
    let reader = rig.subscribe_from(CORE, Start::NextKeyFrame);
    rig.wait_ms(u64::try_from(VIDEO_SILENT_MAX.as_millis()).unwrap());
    rig.sweep();
    rig.send(publisher, "a");
    assert!(!rig.home().has_queued(reader), "a picture may still come");
    rig.wait_ms(1);
    rig.sweep();
    rig.send(publisher, "a k");
    assert_eq!(rig.take(CORE, reader), "M1 V1 A1 a7 k8");
}

/// It goes on waiting over a change of publishers, and gets what the new one begins with.
#[test]
fn a_new_publisher_is_begun_with_at_its_key_frame() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    rig.send(publisher, "M1 V1 A1 k a i");
    let reader = rig.subscribe_from(CORE, Start::NextKeyFrame);
    let now = rig.now;
    rig.home().unpublish(now, publisher, End::Said);
    let publisher = rig.publish();
    rig.send(publisher, "M2 A2 V2 a k a");
    assert_eq!(rig.take(CORE, reader), "- + M2 V2 A2 k5 a6");
}

/// The drop policy of a reader that has begun so is that of any other.
#[test]
fn what_it_loses_later_is_a_loss() {
    let mut rig = Rig::with_queue(QueueSettings { frames_max: 4, ..QueueSettings::default() });
    let publisher = rig.publish();
    rig.send(publisher, "V1 k i");
    let reader = rig.subscribe_from(CORE, Start::NextKeyFrame);
    rig.send(publisher, "k i i i i i");
    assert!(rig.home().subscriber(reader).unwrap().totals().dropped.video > 0);
    rig.take(CORE, reader);
    rig.send(publisher, "i k i");
    assert_eq!(rig.take(CORE, reader), "V1 k10 i11", "its header went with the pictures");
}

/// What is queued still goes out, a last notice behind it, and nothing after that.
#[test]
fn a_reader_is_ended_behind_what_is_queued() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    rig.send(publisher, "V1 A1 k a");
    let [reader, other] = [(); 2].map(|()| rig.subscribe(CORE));
    rig.send(publisher, "i a");
    let now = rig.now;
    rig.home().finish(now, reader);
    rig.send(publisher, "A2 k a d");
    assert_eq!(rig.take(CORE, reader), "V1 A1 k1 a2 i3 a4 -");
    rig.send(publisher, "k");
    assert!(!rig.home().has_queued(reader));
    assert!(rig.take(CORE, other).ends_with("a4 A2 k5 a6 d7 k8"), "others do not notice");

    // With nothing queued its driver is told, so that it hears the notice.
    rig.events(CORE);
    rig.home().finish(now, other);
    assert_eq!(rig.events(CORE), [HubEvent::Ready { subscriber: other, connection: ConnectionRef(2) }]);
    assert_eq!(rig.take(CORE, other), "-");
    assert!(rig.home().unsubscribe(reader).is_some() && rig.home().unsubscribe(other).is_some());
}
