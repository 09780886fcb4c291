//! Several video tracks in one stream: each starts, and starts again, at its own key frame. `q` and `p` are the key and inter frames of
//! the second track. The readers negotiated multitrack.

use super::*;

/// A joiner in mid-stream is shown a track from that track's key frame on, whatever the other one does.
#[test]
fn a_joiner_waits_for_each_tracks_key_frame() {
    let mut rig = Rig { form: Form::Full, ..Rig::new() };
    let publisher = rig.publish();
    rig.send(publisher, "k q i p k i p");
    let reader = rig.subscribe(CORE);
    rig.send(publisher, "i p a q p i");
    assert_eq!(
        rig.take(CORE, reader),
        "k5 i6 i8 a10 q11 p12 i13",
        "the second track's pictures before q11 are no use"
    );
}

/// After a drop both tracks wait, and what each misses until its own key frame counts as dropped.
#[test]
fn a_drop_stops_every_track() {
    let queue = QueueSettings { frames_max: 4, ..QueueSettings::default() };
    let mut rig = Rig { form: Form::Full, ..Rig::with_queue(queue) };
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "k q i p");
    rig.send(publisher, "i p a");
    rig.send(publisher, "k p i");
    assert_eq!(rig.take(CORE, reader), "a7 k8 i10");
    rig.send(publisher, "p q p");
    assert_eq!(rig.take(CORE, reader), "q12 p13");
    let totals = rig.home().subscriber(reader).unwrap().totals();
    assert_eq!(totals.dropped, DropCounts { audio: 0, video: 8, data: 0 });
}

/// After a gap between cores the track whose key frame ended it goes on, and the other waits for its own.
#[test]
fn a_gap_between_cores_stops_every_track() {
    let mut rig = Rig { form: Form::Full, ..Rig::new() };
    let (publisher, there) = (rig.publish(), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(publisher, "k q i p");
    rig.home().set_congested(ELSEWHERE, true);
    rig.send(publisher, "i p");
    rig.home().set_congested(ELSEWHERE, false);
    rig.send(publisher, "i k p i q p");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "k1 q2 i3 p4 k8 i10 q11 p12");
}

/// A message of several tracks opens all of them, so after a gap one is enough.
#[test]
fn a_message_of_several_tracks_starts_them_all() {
    let queue = QueueSettings { frames_max: 4, ..QueueSettings::default() };
    let mut rig = Rig { form: Form::Full, ..Rig::with_queue(queue) };
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "n B1 m n p");
    assert_eq!(rig.take(CORE, reader), "B1 m2 n3 p4");
    rig.send(publisher, "n n n n n p n");
    assert_eq!(rig.take(CORE, reader), "", "a gap in both tracks");
    rig.send(publisher, "m p i n");
    assert_eq!(rig.take(CORE, reader), "m12 p13 i14 n15");
    // Key frames at different times: the first opens what comes with it.
    rig.send(publisher, "n n n n n p i k i n p q");
    assert_eq!(rig.take(CORE, reader), "k23 i24 n25 q27");
}
