//! Readers that did not negotiate multitrack: the default track alone, in a form of its own where the message has more.

use super::*;

/// One track in legacy headers is shared as it is; nothing of the second is offered, and nothing of it counts as dropped.
#[test]
fn a_legacy_track_comes_as_it_is_and_others_stay_out() {
    let mut rig = Rig::new();
    let (publisher, plain) = (rig.publish(), rig.subscribe(CORE));
    rig.form = Form::Full;
    let full = rig.subscribe(CORE);
    rig.send(publisher, "M1 V1 H1 I1 A1 k q a i p");
    assert_eq!(rig.take(CORE, plain), "M1 V1 A1 k1 a3 i4");
    assert_eq!(rig.take(CORE, full), "M1 V1 H1 I1 A1 k1 q2 a3 i4 p5");
    let totals = rig.home().subscriber(plain).unwrap().totals();
    assert_eq!((totals.frames, totals.dropped.total()), (6, 0));
    let late = rig.subscribe(CORE);
    rig.form = Form::Plain;
    let plain_late = rig.subscribe(CORE);
    assert_eq!(rig.take(CORE, plain_late), "M1 V1 A1 k1 a3 i4");
    assert_eq!(rig.take(CORE, late), "M1 V1 H1 I1 A1 k1 q2 a3 i4 p5");
}

/// Without track 0 the lowest one is the default, behind a header that is made for it: its sequence header and colours too.
#[test]
fn the_only_track_is_the_default_one() {
    let mut rig = Rig::new();
    let (publisher, early) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "H1 I1 A1 q p a");
    assert_eq!(rig.take(CORE, early), "A1 H1' I1' q1' p2' a3");
    rig.send(publisher, "H2 I2 q");
    assert_eq!(rig.take(CORE, early), "H2' I2' q4'", "known by now, so at once");
    let late = rig.subscribe(CORE);
    assert_eq!(rig.take(CORE, late), "H2' I2' A1 q4'");
    let there = rig.subscribe(ELSEWHERE);
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "H2' I2' A1 q4'");
    rig.send(publisher, "p H3 I3 q");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "p5' H3' I3' q6'");
}

/// A lower track that appears takes over at its key frame, its sequence header first; until then the old one goes on.
#[test]
fn a_lower_track_takes_over() {
    let mut rig = Rig::new();
    let (publisher, here, there) = (rig.publish(), rig.subscribe(CORE), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(publisher, "H1 q p V1 p i p k i p q i");
    rig.carry();
    for (core, reader) in [(CORE, here), (ELSEWHERE, there)] {
        assert_eq!(rig.take(core, reader), "H1' q1' p2' p3' p5' V1 k6 i7 i10");
    }
    rig.send(publisher, "H2 V2 k");
    let late = rig.subscribe(CORE);
    assert_eq!(rig.take(CORE, here), "V2 k11");
    assert_eq!(rig.take(CORE, late), "V2 k11");
}

/// A message of both tracks is reduced to the first, and accounted for as what it is then.
#[test]
fn a_message_of_several_tracks_is_reduced() {
    let mut rig = Rig::new();
    let (publisher, plain) = (rig.publish(), rig.subscribe(CORE));
    rig.form = Form::Full;
    let full = rig.subscribe(CORE);
    rig.send(publisher, "B1 m n");
    let queued = |rig: &mut Rig, reader| rig.home().subscriber(reader).unwrap().queued_bytes();
    // Chunk headers of 12 bytes; a legacy header of 5, a multitrack one of 6 and 4 for each track.
    assert_eq!(queued(&mut rig, plain), (12 + 5 + 1) + 2 * (12 + 5 + 84));
    assert_eq!(queued(&mut rig, full), (12 + 6 + 2 * 5) + 2 * (12 + 6 + 2 * 4 + 84));
    assert_eq!(rig.take(CORE, plain), "B1' m1' n2'");
    assert_eq!(rig.take(CORE, full), "B1 m1 n2");
    assert_eq!((queued(&mut rig, plain), queued(&mut rig, full)), (0, 0));
    let totals = rig.home().subscriber(plain).unwrap().totals();
    assert_eq!((totals.frames, totals.bytes), (3, 18 + 202));
}

/// A plain reader waits for the default track's key frame alone, and loses nothing but its pictures.
#[test]
fn a_drop_is_of_the_default_track() {
    let queue = QueueSettings { frames_max: 4, ..QueueSettings::default() };
    let mut rig = Rig::with_queue(queue);
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "V1 H1 k q i p q p p i i p");
    assert_eq!(rig.take(CORE, reader), "", "four frames, and a fifth was too many");
    rig.send(publisher, "q p k p i");
    assert_eq!(rig.take(CORE, reader), "V1 k13 i15");
    let totals = rig.home().subscriber(reader).unwrap().totals();
    assert_eq!(totals.dropped, DropCounts { audio: 0, video: 4, data: 0 });
}

/// After a pause, and after receiveVideo, a plain reader goes on with its track and the headers that were due.
#[test]
fn a_plain_reader_that_goes_on() {
    let mut rig = Rig::new();
    let (now, publisher, reader) = (rig.now, rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "H1 q p");
    assert_eq!(rig.take(CORE, reader), "H1' q1' p2'");
    rig.home().set_receive_video(reader, false);
    rig.send(publisher, "H2 q p V1 k i");
    assert_eq!(rig.take(CORE, reader), "");
    rig.home().set_receive_video(reader, true);
    rig.send(publisher, "i q k i");
    assert_eq!(rig.take(CORE, reader), "V1 k9 i10", "another track by now");
    rig.home().set_paused(now, reader, true);
    rig.send(publisher, "H3 q V2 k");
    rig.home().set_paused(now, reader, false);
    assert_eq!(rig.take(CORE, reader), "V2 k12");
}

/// The next publisher's default track is its own.
#[test]
fn the_next_publisher_begins_anew() {
    let mut rig = Rig::new();
    let (now, publisher, reader) = (rig.now, rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "H1 q p");
    rig.home().unpublish(now, publisher, End::Said);
    let publisher = rig.publish();
    rig.send(publisher, "V1 H2 k q i");
    assert_eq!(rig.take(CORE, reader), "+ H1' q1' p2' - + V1 k3 i5".strip_prefix("+ ").unwrap());
}

/// After a gap between cores both kinds of reader go on from the frames that ended it.
#[test]
fn a_gap_between_cores() {
    let mut rig = Rig::new();
    let (publisher, plain) = (rig.publish(), rig.subscribe(ELSEWHERE));
    rig.form = Form::Full;
    let full = rig.subscribe(ELSEWHERE);
    rig.carry();
    rig.send(publisher, "H1 q p");
    rig.home().set_congested(ELSEWHERE, true);
    rig.send(publisher, "p V1 k i");
    rig.home().set_congested(ELSEWHERE, false);
    rig.send(publisher, "i p k i q");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, plain), "H1' q1' p2' V1 k8 i9");
    assert_eq!(rig.take(ELSEWHERE, full), "H1 q1 p2 H1 V1 k8 i9 q10");
}
