//! What a player asks for: `pause`, `receiveAudio`, `receiveVideo`.

use super::*;

/// A pause within a GOP: nothing while it lasts, then sound at once and pictures from the next key frame. Nothing comes twice.
#[test]
fn a_short_pause_goes_on_at_the_next_key_frame() {
    let mut rig = Rig::new();
    let (now, publisher, reader) = (rig.now, rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "V1 A1 k a i");
    assert_eq!(rig.take(CORE, reader), "V1 A1 k1 a2 i3");
    rig.send(publisher, "a");
    rig.home().set_paused(now, reader, true);
    assert!(!rig.home().has_queued(reader), "what was queued is old by the time it goes on");
    rig.send(publisher, "i a");
    assert!(!rig.home().has_queued(reader));
    rig.home().set_paused(now, reader, false);
    assert_eq!(rig.take(CORE, reader), "");
    rig.send(publisher, "i a k i");
    assert_eq!(rig.take(CORE, reader), "a8 k9 i10");
    assert_eq!(rig.home().subscriber(reader).unwrap().totals().dropped.total(), 0, "its own wish is no loss");
}

/// A pause over a key frame: it goes on like a late joiner, at the live edge, with the headers of now.
#[test]
fn a_long_pause_goes_on_with_the_gop() {
    let mut rig = Rig::new();
    let (now, publisher, reader) = (rig.now, rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "V1 A1 k a i");
    rig.home().set_paused(now, reader, true);
    rig.send(publisher, "i k i V2 k a");
    rig.events(CORE);
    rig.home().set_paused(now, reader, false);
    assert_eq!(rig.take(CORE, reader), "V2 A1 k7 a8");
    assert_eq!(rig.events(CORE).len(), 1, "and is told that there is something");
}

/// A paused player hears of the publisher's end and of the next one's start; saying `pause` twice changes nothing.
#[test]
fn a_paused_player_still_gets_notices() {
    let mut rig = Rig::new();
    let (now, publisher, reader) = (rig.now, rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "V1 k");
    rig.take(CORE, reader);
    rig.home().set_paused(now, reader, true);
    rig.home().set_paused(now, reader, true);
    rig.home().unpublish(now, publisher, End::Said);
    let publisher = rig.publish();
    rig.send(publisher, "V2 A2 i");
    assert_eq!(rig.take(CORE, reader), "- +");
    rig.home().set_paused(now, reader, false);
    rig.home().set_paused(now, reader, false);
    rig.send(publisher, "a i k");
    assert_eq!(rig.take(CORE, reader), "V2 A2 a3 k5", "headers that came during the pause are made up for");
}

/// Without video: sound and data only, at once; back on: from the next key frame, with a header that came meanwhile.
#[test]
fn receive_video_takes_pictures_out_and_in() {
    let mut rig = Rig::new();
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "V1 A1 k a i");
    rig.home().set_receive_video(reader, false);
    assert_eq!(rig.take(CORE, reader), "A1 a2", "queued pictures go at once");
    rig.send(publisher, "i V2 k a d");
    assert_eq!(rig.take(CORE, reader), "a6 d7");
    rig.home().set_receive_video(reader, true);
    rig.send(publisher, "i a k i");
    assert_eq!(rig.take(CORE, reader), "V2 a9 k10 i11");
}

/// A header that was queued when its kind was switched off has not been seen: it comes with the first frame afterwards.
#[test]
fn headers_that_went_unseen_are_made_up_for() {
    let mut rig = Rig::new();
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "V1 A1 k a i");
    for receive in [false, true] {
        rig.home().set_receive_video(reader, receive);
        rig.home().set_receive_audio(reader, receive);
    }
    rig.send(publisher, "i k a");
    assert_eq!(rig.take(CORE, reader), "V1 A1 k5 a6");
}

/// Without audio: pictures and data only; back on: from the next sound, with a header that came meanwhile.
#[test]
fn receive_audio_takes_sound_out_and_in() {
    let mut rig = Rig::new();
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "V1 A1 k a i");
    assert_eq!(rig.take(CORE, reader), "V1 A1 k1 a2 i3");
    rig.home().set_receive_audio(reader, false);
    rig.send(publisher, "a i A2 a d");
    assert_eq!(rig.take(CORE, reader), "i5 d7");
    rig.home().set_receive_audio(reader, true);
    rig.send(publisher, "a i");
    assert_eq!(rig.take(CORE, reader), "A2 a8 i9");
}

/// What was said before a pause holds after it, and a joiner's burst obeys it too.
#[test]
fn wishes_outlive_a_pause() {
    let mut rig = Rig::new();
    let (now, publisher, reader) = (rig.now, rig.publish(), rig.subscribe(CORE));
    rig.home().set_receive_audio(reader, false);
    rig.home().set_paused(now, reader, true);
    rig.send(publisher, "V1 A1 k a i");
    rig.home().set_paused(now, reader, false);
    assert_eq!(rig.take(CORE, reader), "V1 k1 i3");
    rig.home().set_receive_audio(reader, true);
    rig.send(publisher, "a");
    assert_eq!(rig.take(CORE, reader), "A1 a4");
}
