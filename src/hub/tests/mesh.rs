//! Readers on another core than the publisher's.

use super::*;

/// Joining a live stream from elsewhere is like joining at home: headers and GOP, no notice, then the live frames.
#[test]
fn a_replica_starts_with_the_gop() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    rig.send(publisher, "M1 V1 A1 k a i");
    let reader = rig.subscribe(ELSEWHERE);
    rig.carry();
    rig.send(publisher, "a k");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, reader), "M1 V1 A1 k1 a2 i3 a4 k5");
    let second = rig.subscribe(ELSEWHERE);
    assert_eq!(rig.take(ELSEWHERE, second), "M1 V1 A1 k5", "from the replica's own cache");
    assert_eq!(rig.hub(ELSEWHERE).counters().mesh_messages_stale, 0);
}

/// Players first, on another core: the home waits, and they hear of the publisher's start, frames, end and return.
#[test]
fn a_replica_follows_the_publishers() {
    let mut rig = Rig::new();
    let reader = rig.subscribe(ELSEWHERE);
    rig.carry();
    assert_eq!(rig.home().counts().streams_home, 1, "a home that waits for its publisher");
    let (now, publisher) = (rig.now, rig.publish());
    rig.send(publisher, "V1 k i");
    rig.home().unpublish(now, publisher, End::Said);
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, reader), "+ V1 k1 i2 -");
    assert_eq!(rig.hub(ELSEWHERE).retained_bytes(), 0);
    let publisher = rig.publish();
    rig.send(publisher, "V2 k");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, reader), "+ V2 k3");
}

/// One reference a frame and core: a replica's readers share the frame with the home's.
#[test]
fn cores_share_frames() {
    let mut rig = Rig::new();
    let (publisher, here, there) = (rig.publish(), rig.subscribe(CORE), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(publisher, "k");
    rig.carry();
    let mut out = Vec::new();
    let now = rig.now;
    rig.hub(CORE).take(now, here, EVERYTHING, &mut out);
    rig.hub(ELSEWHERE).take(now, there, EVERYTHING, &mut out);
    let [Queued::Frame(a), Queued::Frame(b)] = &out[..] else { panic!("{out:?}") };
    assert!(Arc::ptr_eq(a, b) && !Rc::ptr_eq(a, b));
}

/// The last reader's end takes the replica away, and with it the home's waiting stream; what is still on its way is for nobody.
#[test]
fn the_last_reader_ends_the_feed() {
    let mut rig = Rig::new();
    let (now, publisher, reader) = (rig.now, rig.publish(), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(publisher, "k i");
    rig.hub(ELSEWHERE).unsubscribe(reader);
    assert!(rig.hub(ELSEWHERE).is_empty());
    assert_eq!(rig.events(ELSEWHERE), [HubEvent::StreamGone(key())]);
    let again = rig.subscribe(ELSEWHERE);
    rig.carry();
    assert_eq!(
        rig.hub(ELSEWHERE).counters().mesh_messages_stale,
        2,
        "two frames for the replica that had gone"
    );
    assert_eq!(rig.take(ELSEWHERE, again), "k1 i2", "once, not twice");
    rig.home().unpublish(now, publisher, End::Said);
    assert_eq!(rig.events(CORE), [HubEvent::Over(key())], "the other core's reader may stay");
    rig.carry();
    rig.hub(ELSEWHERE).unsubscribe(again);
    rig.carry();
    assert!(rig.hubs.iter().all(Hub::is_empty));
    assert_eq!(rig.events(CORE), [HubEvent::StreamGone(key())]);
}

/// A congested core gets nothing more until the first key frame after it has caught up; its readers see one gap, which ends there.
#[test]
fn a_congested_core_resumes_at_a_key_frame() {
    let mut rig = Rig::new();
    let (publisher, here, there) = (rig.publish(), rig.subscribe(CORE), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(publisher, "M1 V1 A1 k a i");
    rig.home().set_congested(ELSEWHERE, true);
    rig.home().set_congested(ELSEWHERE, true);
    rig.send(publisher, "a i k a V2");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "M1 V1 A1 k1 a2 i3");
    rig.home().set_congested(ELSEWHERE, false);
    rig.send(publisher, "a i");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "");
    rig.send(publisher, "k a");
    rig.carry();
    let timestamps = rig.take_timestamps(ELSEWHERE, there);
    assert_eq!(
        timestamps,
        [[5_000 + 10 * 20; 4].as_slice(), &[5_000 + 11 * 20]].concat(),
        "M1 V2 A1 k10, a11"
    );
    assert_eq!(
        rig.take(CORE, here),
        "M1 V1 A1 k1 a2 i3 a4 i5 k6 a7 V2 a8 i9 k10 a11",
        "home readers see it all"
    );
    let home = *rig.home().counters();
    assert_eq!((home.feed_pauses, home.feed_frames_withheld), (1, 7));
    assert_eq!(rig.hub(ELSEWHERE).counters().resyncs, 1);
    let late = rig.subscribe(ELSEWHERE);
    assert_eq!(rig.take(ELSEWHERE, late), "M1 V2 A1 k10 a11", "the replica's cache has no gap in it");
}

/// Metadata that the publisher has taken back is for no joiner any more, at home or elsewhere, and stays away when a feed that was
/// paused meanwhile goes on.
#[test]
fn metadata_that_was_taken_back_is_forgotten_everywhere() {
    let mut rig = Rig::new();
    let (publisher, first) = (rig.publish(), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(publisher, "M1 V1 k M2 C i");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, first), "M1 V1 k1 M2 i2", "what went out stays out");
    for core in [CORE, ELSEWHERE] {
        let late = rig.subscribe(core);
        assert_eq!(rig.take(core, late), "V1 k1 i2");
    }
    rig.send(publisher, "M3 k");
    rig.carry();
    rig.home().set_congested(ELSEWHERE, true);
    rig.send(publisher, "C M4 C");
    assert!(rig.home().take_outgoing(ELSEWHERE).is_empty(), "nothing for a congested core");
    rig.home().set_congested(ELSEWHERE, false);
    rig.send(publisher, "k");
    rig.carry();
    for core in [CORE, ELSEWHERE] {
        let late = rig.subscribe(core);
        assert_eq!(rig.take(core, late), "V1 k4");
    }
}

/// Without video a feed goes on with the next sound.
#[test]
fn a_congested_core_resumes_sound_at_once() {
    let mut rig = Rig::new();
    let (publisher, there) = (rig.publish(), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(publisher, "A1 a");
    rig.home().set_congested(ELSEWHERE, true);
    rig.send(publisher, "a A2");
    rig.home().set_congested(ELSEWHERE, false);
    rig.send(publisher, "a a");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "A1 a1 A2 a3 a4");
}

/// When the camera has been switched off, a feed does not wait for its key frame for ever: sound goes on, and pictures, when they come
/// back, from a key frame on. Late joiners of the replica get no GOP with a hole in it.
#[test]
fn a_congested_core_resumes_sound_when_video_has_gone() {
    let mut rig = Rig::new();
    let (publisher, there) = (rig.publish(), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(publisher, "V1 A1 k a i");
    rig.home().set_congested(ELSEWHERE, true);
    rig.send(publisher, "i a");
    rig.home().set_congested(ELSEWHERE, false);
    rig.wait_ms(5_000);
    rig.send(publisher, "a V1");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "V1 A1 k1 a2 i3", "a picture may still come");
    rig.wait_ms(1);
    rig.send(publisher, "a a");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "V1 A1 a7 a8");
    let late = rig.subscribe(ELSEWHERE);
    rig.send(publisher, "a i a k i");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "a9 a11 k12 i13");
    assert_eq!(rig.take(ELSEWHERE, late), "V1 A1 a9 a11 k12 i13");
}

/// A replica that asks while its core is congested gets its start later; the publisher's end and the next start are told all the same.
#[test]
fn a_feed_that_starts_congested_starts_at_a_key_frame() {
    let mut rig = Rig::new();
    let (now, publisher) = (rig.now, rig.publish());
    rig.send(publisher, "V1 k i");
    rig.home().set_congested(ELSEWHERE, true);
    let there = rig.subscribe(ELSEWHERE);
    rig.carry();
    rig.send(publisher, "i");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "");
    rig.home().unpublish(now, publisher, End::Said);
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "", "the end of what it never saw");
    let publisher = rig.publish();
    rig.send(publisher, "V2 k i");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "+");
    rig.home().set_congested(ELSEWHERE, false);
    rig.send(publisher, "a k i");
    rig.home().unpublish(now, publisher, End::Said);
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "V2 k7 i8 -");
}

/// The same key at home here while its replica of another home is still on its way out: each is found by its own home.
#[test]
fn a_changed_home_does_not_mix_streams() {
    let mut rig = Rig::new();
    let (now, settings) = (rig.now, rig.settings.clone());
    let there = rig.subscribe(ELSEWHERE);
    let publisher = rig.hub(ELSEWHERE).publish(now, &key(), ConnectionRef(1).into(), &settings).unwrap();
    let publisher = publisher.publisher().unwrap();
    let local = rig.hub(ELSEWHERE).subscribe(
        now,
        &key(),
        ELSEWHERE,
        Reader { connection: ConnectionRef(3), stream_id: 1, form: Form::Full },
        &settings,
    );
    let message = rig.encoder.next("k");
    rig.hub(ELSEWHERE).ingest(now, publisher, message);
    assert_eq!((rig.take(ELSEWHERE, local), rig.take(ELSEWHERE, there)), ("k1".into(), String::new()));
    rig.hub(ELSEWHERE).unsubscribe(there);
    assert_eq!(rig.hub(ELSEWHERE).counts().streams, 1);
    let gone = |event: &HubEvent| matches!(event, HubEvent::StreamGone(_));
    assert!(!rig.events(ELSEWHERE).iter().any(gone), "the core still has a stream of the key");
}

/// The home learns how many readers its replicas have, by their sweep, and only when the number changes.
#[test]
fn the_home_counts_readers_elsewhere() {
    let mut rig = Rig::new();
    let (now, _publisher) = (rig.now, rig.publish());
    rig.subscribe(CORE);
    let first = rig.subscribe(ELSEWHERE);
    rig.subscribe(ELSEWHERE);
    rig.carry();
    rig.hub(ELSEWHERE).handle_sweep(now);
    rig.carry();
    let audience = |rig: &mut Rig| rig.home().streams().next().map(|stream| stream.subscribers());
    assert_eq!(audience(&mut rig), Some(3));
    rig.hub(ELSEWHERE).handle_sweep(now);
    assert!(!rig.hub(ELSEWHERE).has_outgoing());
    rig.hub(ELSEWHERE).unsubscribe(first);
    rig.hub(ELSEWHERE).handle_sweep(now);
    rig.carry();
    assert_eq!(audience(&mut rig), Some(2));
}

/// Messages from a core that is not the replica's home, for cores that do not exist, or said twice, do nothing.
#[test]
fn messages_that_make_no_sense_are_ignored() {
    let mut rig = Rig::new();
    let (now, publisher, there) = (rig.now, rig.publish(), rig.subscribe(ELSEWHERE));
    let feed = rig.hub(ELSEWHERE).take_outgoing(CORE);
    let [MeshMessage::Feed { key, replica }] = &feed[..] else { panic!("{feed:?}") };
    for message in [&feed[0], &feed[0]] {
        rig.home().handle_mesh(now, ELSEWHERE, message.clone());
    }
    rig.send(publisher, "k");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "k1", "fed once");
    for message in [MeshMessage::Begin { replica: *replica }, MeshMessage::End { replica: *replica }] {
        rig.hub(ELSEWHERE).handle_mesh(now, CoreId(7), message);
    }
    assert_eq!(rig.take(ELSEWHERE, there), "");
    assert_eq!(rig.hub(ELSEWHERE).counters().mesh_messages_stale, 2);
    let unknown = StreamKey::new("live", "unknown");
    rig.home().handle_mesh(now, ELSEWHERE, MeshMessage::Unfeed { key: unknown, replica: *replica });
    rig.home().handle_mesh(now, CoreId(7), MeshMessage::Unfeed { key: key.clone(), replica: *replica });
    rig.home().set_congested(CoreId(7), true);
    assert!(rig.home().take_outgoing(CoreId(7)).is_empty());
    rig.send(publisher, "k");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "k2");
}
