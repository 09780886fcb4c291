//! A stream that goes on with another publisher: lost ones, ghosts, takeovers, standbys.
//!
//! Publishers are told apart by their headers' versions: the second one's are `V2`, `A2`.

use super::*;

/// A rig with these settings.
fn rig(change: impl Fn(&mut ContinuitySettings)) -> Rig {
    // What readers of these stories take, they take late.
    let queue = QueueSettings { ms_max: 100_000, stall_ms_max: 100_000, ..QueueSettings::default() };
    let mut rig = Rig::with_queue(queue);
    change(&mut rig.settings.continuity);
    rig
}

fn claim_of(connection: u64) -> Claim {
    ConnectionRef(connection).into()
}

fn named(connection: u64, name: &str, priority: u32) -> Claim {
    Claim { identity: Some(Identity(name.into())), priority, ..claim_of(connection) }
}

impl Rig {
    fn comes(&mut self, claim: Claim) -> PublisherKey {
        self.claim(claim).unwrap().publisher().expect("it does not wait")
    }

    fn leaves(&mut self, publisher: PublisherKey, end: End) {
        let now = self.now;
        self.home().unpublish(now, publisher, end);
    }

    /// Time passes, with a sweep of both cores at its end, and what that sends.
    fn passes_ms(&mut self, ms: u64) {
        self.wait_ms(ms);
        let now = self.now;
        self.hubs.iter_mut().for_each(|hub| hub.handle_sweep(now));
        self.carry();
    }

    /// What the home has to say of publishers, and of streams.
    fn calls(&mut self) -> Vec<HubEvent> {
        let mut events = self.events(CORE);
        events.retain(|event| !matches!(event, HubEvent::Ready { .. }));
        events
    }

    /// Everything is gone, and nothing is left.
    fn ends_empty(mut self, publishers: &[PublisherKey], readers: &[(CoreId, SubscriberKey)]) {
        publishers.iter().for_each(|publisher| self.leaves(*publisher, End::Said));
        for (core, reader) in readers {
            self.hub(*core).unsubscribe(*reader);
        }
        self.carry();
        self.passes_ms(0);
        assert!(self.hubs.iter().all(Hub::is_empty), "{:?}", self.home().counts());
        assert!(self.hubs.iter().all(|hub| hub.watched.is_empty()));
    }
}

/// A lost publisher is waited for: readers, here and elsewhere, hear nothing, and then its successor's headers and pictures from a key
/// frame on, in time with real time.
#[test]
fn readers_go_on_with_a_publisher_that_comes_back() {
    let mut rig = rig(|_| {});
    let (first, here, there) = (rig.publish(), rig.subscribe(CORE), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(first, "M1 V1 A1 k a i");
    rig.carry();
    for (core, reader) in [(CORE, here), (ELSEWHERE, there)] {
        assert_eq!(rig.take(core, reader), "M1 V1 A1 k1 a2 i3");
    }
    rig.leaves(first, End::Lost);
    rig.passes_ms(3_000);
    assert_eq!((rig.take(CORE, here), rig.take(ELSEWHERE, there)), (String::new(), String::new()));
    assert_eq!(rig.calls(), []);
    assert!(rig.home().streams().all(|stream| stream.is_live() && stream.is_absent()));

    let second = rig.comes(claim_of(4));
    rig.send(second, "M2 V2 A2 i a k a i");
    rig.carry();
    // Time was 5,060 at the first publisher's last frame.
    for (core, reader) in [(CORE, here), (ELSEWHERE, there)] {
        let timestamps = rig.take_timestamps(core, reader);
        assert_eq!(timestamps, [8_060, 8_060, 8_060, 8_060, 8_080, 8_100], "M2 V2 A2 k6 a7 i8");
    }
    rig.send(second, "i");
    rig.carry();
    assert_eq!((rig.take(CORE, here), rig.take(ELSEWHERE, there)), ("i9".into(), "i9".into()));
    let counters = *rig.home().counters();
    assert_eq!((counters.graces, counters.graces_resumed, counters.graces_expired), (1, 1, 0));
    assert_eq!(counters.discontinuities, 1);
    assert_eq!(rig.home().streams().map(|stream| stream.discontinuities()).sum::<u64>(), 1);
    for core in [CORE, ELSEWHERE] {
        let late = rig.subscribe(core);
        assert_eq!(rig.take(core, late), "M2 V2 A2 k6 a7 i8 i9", "nothing of before the switch");
    }
    assert_eq!(rig.hub(ELSEWHERE).counters().resyncs, 0, "it is no gap of ours");
}

/// What was said of the first publisher's stream is forgotten at the switch: metadata and tracks that the second one has not.
#[test]
fn nothing_of_the_first_publisher_is_told_of_the_second() {
    let mut rig = rig(|_| {});
    let (first, there) = (rig.publish(), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(first, "M1 V1 A1 k a");
    rig.leaves(first, End::Lost);
    let second = rig.comes(claim_of(4));
    rig.send(second, "V2 k i");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "M1 V1 A1 k1 a2 V2 k3 i4");
    for core in [CORE, ELSEWHERE] {
        let late = rig.subscribe(core);
        assert_eq!(rig.take(core, late), "V2 k3 i4");
    }
}

/// Who joins while nobody is there waits, wherever it joins; it hears of the end like everybody else.
#[test]
fn a_joiner_waits_for_whoever_comes_back() {
    let mut rig = rig(|_| {});
    let (first, stays) = (rig.publish(), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(first, "V1 k i");
    rig.leaves(first, End::Lost);
    rig.carry();
    let late = [CORE, ELSEWHERE].map(|core| (core, rig.subscribe(core)));
    rig.carry();
    for (core, reader) in late {
        assert!(!rig.hub(core).has_queued(reader));
    }
    let second = rig.comes(claim_of(4));
    rig.send(second, "V2 k");
    rig.carry();
    for (core, reader) in late {
        assert_eq!(rig.take(core, reader), "V2 k3");
    }
    assert_eq!(rig.take(ELSEWHERE, stays), "V1 k1 i2 V2 k3");
    rig.leaves(second, End::Lost);
    rig.passes_ms(10_000);
    for (core, reader) in [late[0], late[1], (ELSEWHERE, stays)] {
        assert_eq!(rig.take(core, reader), "-");
    }
}

/// Nobody comes: the stream ends after the grace, everywhere, and a later publisher is another broadcast.
#[test]
fn a_grace_expires() {
    let mut rig = rig(|_| {});
    let (first, here, there) = (rig.publish(), rig.subscribe(CORE), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(first, "k");
    rig.leaves(first, End::Lost);
    rig.passes_ms(9_999);
    assert_eq!(rig.calls(), []);
    rig.passes_ms(1);
    assert_eq!(rig.calls(), [HubEvent::Over(key())]);
    assert_eq!((rig.take(CORE, here), rig.take(ELSEWHERE, there)), ("k1 -".into(), "k1 -".into()));
    assert_eq!(rig.home().counters().graces_expired, 1);
    let entry = rig.claim(claim_of(4)).unwrap();
    assert!(matches!(entry, Entry::Begins(_)), "{entry:?}");
    assert_eq!(rig.take(CORE, here), "+");
    let publisher = entry.publisher().unwrap();
    rig.send(publisher, "k");
    assert_eq!(rig.take_timestamps(CORE, here), [5_040], "its own time");
    rig.ends_empty(&[publisher], &[(CORE, here), (ELSEWHERE, there)]);
}

/// Who says that it ends is not waited for, nor is anybody without a grace.
#[test]
fn an_orderly_end_is_an_end() {
    for (end, grace_ms) in [(End::Said, 10_000), (End::Lost, 0)] {
        let mut rig = rig(|settings| settings.grace_ms = grace_ms);
        let (first, here) = (rig.publish(), rig.subscribe(CORE));
        rig.send(first, "k");
        rig.leaves(first, end);
        assert_eq!(rig.take(CORE, here), "k1 -");
        assert_eq!(rig.calls(), [HubEvent::Over(key())]);
        rig.ends_empty(&[], &[(CORE, here)]);
    }
}

/// Whoever comes back and goes again without a picture does not make the grace longer.
#[test]
fn a_grace_is_from_the_last_frame_on() {
    let mut rig = rig(|_| {});
    let (first, here) = (rig.publish(), rig.subscribe(CORE));
    rig.send(first, "k");
    rig.leaves(first, End::Lost);
    rig.passes_ms(9_000);
    let second = rig.comes(claim_of(4));
    rig.passes_ms(2_000);
    assert_eq!(rig.calls(), [], "somebody is there");
    rig.leaves(second, End::Lost);
    rig.passes_ms(0);
    assert_eq!(rig.calls(), [HubEvent::Over(key()),]);
    assert_eq!(rig.take(CORE, here), "k1 -");
    rig.ends_empty(&[], &[(CORE, here)]);
}

/// An engine that stops waits for nobody.
#[test]
fn graces_end_at_once_when_they_are_told_to() {
    let mut rig = rig(|_| {});
    let first = rig.publish();
    rig.leaves(first, End::Lost);
    let now = rig.now;
    rig.home().end_graces(now);
    assert_eq!(rig.calls(), [HubEvent::Over(key()), HubEvent::StreamGone(key())]);
    rig.ends_empty(&[], &[]);
}

/// An encoder that comes back beside its own ghost waits for the rest of the two seconds, and then has its stream; the ghost is closed
/// and nothing of it counts any more.
#[test]
fn a_ghost_yields() {
    let mut rig = rig(|_| {});
    let (ghost, here) = (rig.publish(), rig.subscribe(CORE));
    rig.send(ghost, "V1 k i");
    rig.passes_ms(1_000);
    assert_eq!(rig.claim(claim_of(4)), Ok(Entry::Waits));
    rig.passes_ms(999);
    assert_eq!(rig.calls(), []);
    rig.passes_ms(1);
    assert_eq!(rig.calls(), [HubEvent::AskAgain { connection: ConnectionRef(4) }]);
    rig.passes_ms(0);
    assert_eq!(rig.calls(), [], "once");
    let second = rig.comes(claim_of(4));
    assert_eq!(rig.calls(), [HubEvent::Replaced { connection: ConnectionRef(1) }]);
    rig.send(ghost, "k i");
    rig.send(second, "V2 k i");
    assert_eq!(rig.take(CORE, here), "V1 k1 i2 V2 k5 i6");
    rig.leaves(ghost, End::Said);
    rig.send(second, "i");
    assert_eq!(rig.take(CORE, here), "i7");
    let counters = *rig.home().counters();
    assert_eq!((counters.publishes_held, counters.takeovers_silent, counters.discontinuities), (1, 1, 1));
    rig.ends_empty(&[second], &[(CORE, here)]);
}

/// A holder that is heard of is no ghost, also when only a part of a message has come; what comes at once may be old.
#[test]
fn a_holder_that_lives_stays() {
    for heard_by_driver in [false, true] {
        let mut rig = rig(|_| {});
        let holder = rig.publish();
        rig.send(holder, "k");
        rig.passes_ms(500);
        assert_eq!(rig.claim(claim_of(4)), Ok(Entry::Waits));
        rig.passes_ms(100);
        rig.send(holder, "i");
        rig.passes_ms(10);
        assert_eq!(rig.calls(), [], "it may have been under way");
        assert_eq!(rig.home().awaited().collect::<Vec<_>>(), [(holder, ConnectionRef(1))]);
        if heard_by_driver {
            let now = rig.now;
            rig.home().heard(now, holder);
        } else {
            rig.send(holder, "i");
        }
        rig.passes_ms(10);
        assert_eq!(rig.calls(), [HubEvent::AskAgain { connection: ConnectionRef(4) }]);
        assert_eq!(rig.claim(claim_of(4)), Err(PublishRefused::AlreadyPublishing));
        assert_eq!(rig.home().awaited().count(), 0);
        rig.ends_empty(&[holder], &[]);
    }
}

/// A holder whose peer has closed has shown no life, however much is read of it afterwards: the newcomer waits for its end.
#[test]
fn what_is_read_of_a_peer_that_has_closed_is_old() {
    let mut rig = rig(|_| {});
    let (ghost, here) = (rig.publish(), rig.subscribe(CORE));
    rig.send(ghost, "V1 k");
    assert_eq!(rig.claim(claim_of(4)), Ok(Entry::Waits));
    rig.passes_ms(200);
    rig.home().leaves(ghost);
    rig.send(ghost, "i");
    rig.passes_ms(100);
    assert_eq!(rig.calls(), [], "it is waited for");
    assert_eq!(rig.claim(claim_of(4)), Ok(Entry::Waits));
    rig.leaves(ghost, End::Lost);
    assert_eq!(rig.calls(), [HubEvent::AskAgain { connection: ConnectionRef(4) }]);
    let second = rig.comes(claim_of(4));
    rig.send(second, "V2 k");
    assert_eq!(rig.take(CORE, here), "V1 k1 i2 V2 k3");
    rig.ends_empty(&[second], &[(CORE, here)]);
}

/// One newcomer waits, the newest; it is answered as soon as the holder is gone, and one that goes is forgotten.
#[test]
fn one_newcomer_waits() {
    let mut rig = rig(|_| {});
    let holder = rig.publish();
    assert_eq!(rig.claim(claim_of(4)), Ok(Entry::Waits));
    assert_eq!(rig.claim(claim_of(5)), Ok(Entry::Waits));
    assert_eq!(rig.calls(), [HubEvent::TurnedAway { connection: ConnectionRef(4) }]);
    rig.leaves(holder, End::Said);
    let events = rig.calls();
    let asked = HubEvent::AskAgain { connection: ConnectionRef(5) };
    assert_eq!(events, [HubEvent::Over(key()), asked], "what it begins comes behind the end");
    assert_eq!(rig.home().counts().streams, 1, "its claim keeps the stream here");
    let second = rig.comes(claim_of(5));
    assert_eq!(rig.claim(claim_of(6)), Ok(Entry::Waits));
    rig.home().withdraw(&key(), ConnectionRef(6));
    rig.passes_ms(2_500);
    assert_eq!(rig.calls(), []);
    rig.ends_empty(&[second], &[]);
}

/// A claim that waits and goes, with the holder gone as well, leaves nothing.
#[test]
fn a_claim_that_is_withdrawn_leaves_nothing() {
    let mut rig = rig(|_| {});
    let holder = rig.publish();
    assert_eq!(rig.claim(claim_of(4)), Ok(Entry::Waits));
    rig.leaves(holder, End::Said);
    rig.home().withdraw(&key(), ConnectionRef(4));
    rig.ends_empty(&[], &[]);
}

/// The newest takes over at once: the old one's frames stop, readers go on at the newcomer's first key frame.
#[test]
fn the_newest_takes_over() {
    let mut rig = rig(|settings| settings.takeover = TakeoverPolicy::Newest);
    let (first, here, there) = (rig.comes(named(1, "one", 0)), rig.subscribe(CORE), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(first, "V1 k i");
    let second = rig.comes(named(4, "two", 0));
    assert_eq!(rig.calls(), [HubEvent::Replaced { connection: ConnectionRef(1) }]);
    rig.send(first, "i i");
    rig.send(second, "V2 i a k");
    rig.carry();
    for (core, reader) in [(CORE, here), (ELSEWHERE, there)] {
        assert_eq!(rig.take(core, reader), "V1 k1 i2 V2 k7");
    }
    assert_eq!(rig.claim(named(5, "three", 0)), Err(PublishRefused::Tenure));
    rig.passes_ms(2_000);
    let third = rig.comes(named(5, "three", 0));
    assert_eq!(rig.home().counters().takeovers_newest, 2);
    rig.ends_empty(&[first, second, third], &[(CORE, here), (ELSEWHERE, there)]);
}

/// Without a gap no timestamp stands still or steps back, though the newcomer's sound lags.
#[test]
fn a_switch_without_a_gap_is_no_step_back() {
    let mut rig = rig(|settings| settings.takeover = TakeoverPolicy::Newest);
    let (first, here) = (rig.publish(), rig.subscribe(CORE));
    rig.send(first, "V1 A1 k a i");
    let second = rig.comes(claim_of(4));
    rig.encoder.timestamp = 900_000;
    rig.send(second, "V2 A2 k");
    rig.encoder.timestamp -= 300;
    rig.send(second, "a a a");
    rig.encoder.timestamp += 300;
    rig.send(second, "a i");
    let timestamps = rig.take_timestamps(CORE, here);
    let [.., key, a, b, c, d, last] = timestamps[..] else { panic!("{timestamps:?}") };
    assert_eq!([key, a, b, c, d, last], [5_061, 5_060, 5_060, 5_060, 5_141, 5_161]);
}

/// Two that take the stream from each other again and again come to rest.
#[test]
fn flapping_encoders_settle() {
    let mut rig = rig(|settings| settings.takeover = TakeoverPolicy::Newest);
    let mut publishers = vec![rig.comes(named(0, "0", 0))];
    let mut refused = 0;
    for at in 1..20 {
        rig.passes_ms(2_000);
        let holder = *publishers.last().unwrap();
        rig.send(holder, "k");
        match rig.claim(named(at, &at.to_string(), 0)) {
            Ok(entry) => publishers.extend(entry.publisher()),
            Err(error) => {
                assert_eq!(error, PublishRefused::Flapping);
                refused += 1;
            }
        }
    }
    // Six changes, and then the seventh holder stays for the rest of the minute.
    assert_eq!((publishers.len(), refused), (7, 13));
    rig.ends_empty(&publishers, &[]);
}

/// A higher priority takes over, an equal or lower one is refused.
#[test]
fn priority_takes_over() {
    let mut rig = rig(|settings| settings.takeover = TakeoverPolicy::Priority);
    let first = rig.comes(named(1, "one", 5));
    for priority in [4, 5] {
        assert_eq!(rig.claim(named(4, "two", priority)), Err(PublishRefused::Priority));
    }
    let second = rig.comes(named(4, "two", 6));
    assert_eq!(rig.calls(), [HubEvent::Replaced { connection: ConnectionRef(1) }]);
    rig.ends_empty(&[first, second], &[]);
}

/// Media that has to match: the old one stays on the air until the newcomer's first key frame shows that it does.
#[test]
fn the_old_one_stays_until_the_new_one_matches() {
    let mut rig = rig(|settings| {
        (settings.takeover, settings.mismatch) = (TakeoverPolicy::Newest, MismatchPolicy::Refuse);
    });
    let (first, here) = (rig.publish(), rig.subscribe(CORE));
    rig.send(first, "V1 A1 k a");
    let second = rig.comes(claim_of(4));
    assert_eq!(rig.calls(), []);
    rig.send(first, "i");
    rig.send(second, "V2 A2 a");
    rig.send(first, "i");
    assert_eq!(rig.calls(), []);
    rig.send(second, "k");
    assert_eq!(rig.calls(), [HubEvent::Replaced { connection: ConnectionRef(1) }]);
    rig.send(first, "i");
    rig.send(second, "i");
    assert_eq!(rig.take(CORE, here), "V1 A1 k1 a2 i3 i5 V2 A2 k6 i8");
    rig.ends_empty(&[first, second], &[(CORE, here)]);
}

/// One that does not match is closed at its first key frame, or when it has not shown its tracks in time; nobody notices.
#[test]
fn a_newcomer_that_does_not_match_is_closed() {
    for words in ["H2 A2 q", "V2 k"] {
        let mut rig = rig(|settings| {
            (settings.takeover, settings.mismatch) = (TakeoverPolicy::Newest, MismatchPolicy::Refuse);
        });
        let (first, here) = (rig.publish(), rig.subscribe(CORE));
        rig.send(first, "V1 A1 k a");
        let second = rig.comes(claim_of(4));
        rig.send(second, words);
        if words.starts_with('V') {
            assert_eq!(rig.calls(), [], "its sound may follow");
            rig.send(first, "i");
            rig.passes_ms(10_000);
        }
        assert_eq!(rig.calls(), [HubEvent::Mismatched { connection: ConnectionRef(4) }]);
        rig.take(CORE, here);
        rig.send(first, "a");
        rig.send(second, "k");
        assert!(rig.take(CORE, here).starts_with('a'));
        assert_eq!(rig.home().counters().mismatches_refused, 1);
        rig.ends_empty(&[second, first], &[(CORE, here)]);
    }
}

/// Who is closed for its media has taken nothing over, however often it tries: one that matches is not refused for it.
#[test]
fn newcomers_that_do_not_match_are_no_flaps() {
    let mut rig = rig(|settings| {
        (settings.takeover, settings.mismatch) = (TakeoverPolicy::Newest, MismatchPolicy::Refuse);
        settings.flaps_max = 2;
    });
    let first = rig.comes(named(1, "one", 0));
    rig.send(first, "V1 k");
    let mut all = vec![first];
    for connection in 4..10 {
        let other = rig.comes(named(connection, "other", 0));
        rig.send(other, "H2 q");
        assert_eq!(rig.calls(), [HubEvent::Mismatched { connection: ConnectionRef(connection) }]);
        all.push(other);
    }
    assert_eq!(rig.home().counters().takeovers_newest, 0);
    // Those that follow each other before any of them has shown its media take it from each other all the same.
    let mut takes_over = |rig: &mut Rig, connection| {
        rig.passes_ms(2_000);
        rig.send(first, "i");
        let entry = rig.claim(named(connection, &connection.to_string(), 0))?;
        all.extend(entry.publisher());
        Ok(entry.publisher())
    };
    let [_, _, third] = [10, 11, 12].map(|connection| takes_over(&mut rig, connection));
    assert_eq!(takes_over(&mut rig, 13), Err(PublishRefused::Flapping));
    let third = third.unwrap().unwrap();
    rig.send(third, "V3 k");
    assert_eq!(rig.home().counters().takeovers_newest, 3);
    rig.ends_empty(&all, &[]);
}

/// After a loss a newcomer has to match as well; the stream is waited for as before.
#[test]
fn a_return_that_does_not_match_is_closed() {
    let mut rig = rig(|settings| settings.mismatch = MismatchPolicy::Refuse);
    let (first, here) = (rig.publish(), rig.subscribe(CORE));
    rig.send(first, "V1 k");
    rig.leaves(first, End::Lost);
    let second = rig.comes(claim_of(4));
    rig.send(second, "V1 A1 k");
    assert_eq!(rig.calls(), [HubEvent::Mismatched { connection: ConnectionRef(4) }]);
    let third = rig.comes(claim_of(5));
    rig.send(third, "V3 k");
    assert_eq!(rig.take(CORE, here), "V1 k1 V3 k3");
    rig.ends_empty(&[second, third], &[(CORE, here)]);
}

/// Sound alone goes on at once; where there were pictures it waits for them for a second.
#[test]
fn sound_waits_for_pictures_for_a_while() {
    let mut rig = rig(|_| {});
    let (first, here) = (rig.publish(), rig.subscribe(CORE));
    rig.send(first, "A1 a");
    rig.leaves(first, End::Lost);
    let second = rig.comes(claim_of(4));
    rig.send(second, "A2 a");
    assert_eq!(rig.take(CORE, here), "A1 a1 A2 a2");
    rig.send(second, "V2 k");
    rig.leaves(second, End::Lost);
    let third = rig.comes(claim_of(5));
    rig.send(third, "A3 a");
    rig.wait_ms(1_000);
    rig.send(third, "a");
    assert_eq!(rig.take(CORE, here), "V2 k3 A3 a5");
    rig.ends_empty(&[third], &[(CORE, here)]);
}

/// Announced pictures that do not come hold the sound for as long as a camera may be off.
#[test]
fn sound_goes_on_when_the_camera_is_off() {
    let mut rig = rig(|_| {});
    let (first, here) = (rig.publish(), rig.subscribe(CORE));
    rig.send(first, "V1 A1 k a");
    rig.leaves(first, End::Lost);
    let second = rig.comes(claim_of(4));
    rig.send(second, "V2 A2 a");
    rig.wait_ms(4_999);
    rig.send(second, "a");
    rig.wait_ms(1);
    rig.send(second, "a i k");
    assert_eq!(rig.take(CORE, here), "V1 A1 k1 a2 V2 A2 a5 k7", "and pictures from a key frame on");
    rig.ends_empty(&[second], &[(CORE, here)]);
}

fn with_standby() -> Rig {
    rig(|settings| settings.standby = true)
}

/// A standby is taken in and not seen, until the other one dies: then from its next key frame on, in time.
#[test]
fn a_standby_goes_on_when_the_primary_dies() {
    for end in [End::Lost, End::Said] {
        let mut rig = with_standby();
        let (first, here, there) = (rig.publish(), rig.subscribe(CORE), rig.subscribe(ELSEWHERE));
        rig.carry();
        rig.send(first, "V1 k i");
        let entry = rig.claim(claim_of(4)).unwrap();
        assert!(matches!(entry, Entry::StandsBy(_)), "{entry:?}");
        let standby = entry.publisher().unwrap();
        assert!(rig.home().publisher(standby).unwrap().is_standby());
        rig.send(standby, "V2 k i");
        rig.send(first, "i");
        rig.wait_ms(40);
        rig.leaves(first, end);
        rig.send(standby, "i k i");
        rig.carry();
        for (core, reader) in [(CORE, here), (ELSEWHERE, there)] {
            assert_eq!(rig.take(core, reader), "V1 k1 i2 i5 V2 k7 i8", "{end:?}");
        }
        let counters = *rig.home().counters();
        assert_eq!((counters.standbys, counters.failovers, counters.discontinuities), (1, 1, 1));
        rig.ends_empty(&[standby], &[(CORE, here), (ELSEWHERE, there)]);
    }
}

/// A primary that starves leaves the air to its standby, stands by in its stead, and is called back in the same way.
#[test]
fn a_starving_primary_becomes_the_standby() {
    let mut rig = with_standby();
    let (first, here) = (rig.publish(), rig.subscribe(CORE));
    rig.send(first, "V1 k");
    let second = rig.comes(claim_of(4));
    rig.send(second, "V2 k");
    rig.passes_ms(2_000);
    rig.send(second, "i");
    rig.passes_ms(0);
    rig.send(second, "k i");
    assert_eq!(rig.take(CORE, here), "V1 k1 V2 k4 i5");
    assert_eq!(rig.calls(), [], "nobody is closed");
    let view = rig.home().streams().next().unwrap();
    assert_eq!(view.publisher().unwrap().connection(), ConnectionRef(4));
    assert_eq!(view.standby().unwrap().connection(), ConnectionRef(1));
    // The old primary is back, and says nothing of its headers.
    rig.send(first, "i k i");
    assert_eq!(rig.take(CORE, here), "");
    rig.leaves(second, End::Lost);
    rig.send(first, "i k");
    assert_eq!(rig.take(CORE, here), "V1 k10");
    assert_eq!(rig.home().counters().failovers, 2);
    rig.ends_empty(&[first], &[(CORE, here)]);
}

/// A primary that sends again before its standby's key frame has come stays, and so does the standby.
#[test]
fn a_standby_stands_down_again() {
    for swept in [false, true] {
        let mut rig = with_standby();
        let (first, here) = (rig.publish(), rig.subscribe(CORE));
        rig.send(first, "V1 k");
        let second = rig.comes(claim_of(4));
        rig.wait_ms(2_000);
        rig.send(second, "V2 i");
        rig.passes_ms(0);
        assert_eq!(rig.home().counters().failovers, 1);
        rig.send(first, "i");
        if swept {
            rig.passes_ms(0);
        }
        rig.send(second, "k i");
        rig.send(first, "i");
        assert_eq!(rig.take(CORE, here), "V1 k1 i3 i6");
        let standby = rig.home().streams().next().unwrap().standby().map(|standby| standby.connection());
        assert_eq!(standby, Some(ConnectionRef(4)));
        rig.ends_empty(&[second, first], &[(CORE, here)]);
    }
}

/// There is one standby: its own ghost yields its place, anybody else is refused.
#[test]
fn there_is_one_standby() {
    let mut rig = with_standby();
    let first = rig.comes(named(1, "one", 0));
    let second = rig.comes(named(4, "two", 0));
    assert_eq!(rig.claim(named(5, "three", 0)), Err(PublishRefused::AlreadyPublishing));
    rig.wait_ms(2_000);
    rig.send(first, "k");
    assert_eq!(rig.claim(named(5, "three", 0)), Err(PublishRefused::AlreadyPublishing));
    let again = rig.comes(named(6, "two", 0));
    assert_eq!(rig.calls(), [HubEvent::Replaced { connection: ConnectionRef(4) }]);
    rig.ends_empty(&[second, again, first], &[]);
}

/// While the standby is on its way to the air its place is kept: one of the two will need it.
#[test]
fn a_standby_that_was_called_keeps_its_place() {
    let mut rig = with_standby();
    let first = rig.publish();
    rig.send(first, "k");
    let second = rig.comes(claim_of(4));
    rig.wait_ms(2_000);
    rig.send(second, "i");
    rig.passes_ms(0);
    assert_eq!(rig.home().counters().failovers, 1);
    assert_eq!(rig.claim(named(5, "three", 0)), Err(PublishRefused::AlreadyPublishing));
    rig.send(first, "i");
    rig.passes_ms(0);
    rig.ends_empty(&[first, second], &[]);
}

/// A standby whose network was cut comes back beside its own ghost: it waits like a holder that does, and then stands by again.
#[test]
fn a_standby_that_comes_back_is_not_refused() {
    let mut rig = with_standby();
    let first = rig.publish();
    let second = rig.comes(claim_of(4));
    rig.send(second, "k");
    rig.passes_ms(900);
    rig.send(first, "k");
    assert_eq!(rig.claim(claim_of(5)), Ok(Entry::Waits));
    let whom: Vec<_> = rig.home().awaited().map(|(_, connection)| connection.0).collect();
    assert_eq!(whom, [1, 4], "both may be what is left of it");
    for _ in 0..2 {
        rig.passes_ms(500);
        rig.send(first, "i");
        assert_eq!(rig.calls(), [], "the holder lives, and of the standby nobody knows");
    }
    rig.passes_ms(100);
    assert_eq!(rig.calls(), [HubEvent::AskAgain { connection: ConnectionRef(5) }]);
    let entry = rig.claim(claim_of(5)).unwrap();
    assert!(matches!(entry, Entry::StandsBy(_)), "{entry:?}");
    assert_eq!(rig.calls(), [HubEvent::Replaced { connection: ConnectionRef(4) }]);
    // One that both of them are heard to live beside is refused.
    rig.send(second, "k");
    assert_eq!(rig.claim(claim_of(6)), Ok(Entry::Waits));
    rig.wait_ms(101);
    rig.send(first, "i");
    rig.send(entry.publisher().unwrap(), "i");
    rig.passes_ms(0);
    assert_eq!(rig.calls(), [HubEvent::AskAgain { connection: ConnectionRef(6) }]);
    assert_eq!(rig.claim(claim_of(6)), Err(PublishRefused::AlreadyPublishing));
    rig.ends_empty(&[first, second, entry.publisher().unwrap()], &[]);
}

/// A primary whose network was cut is back when its standby is called, and waits for a key frame: its ghost, which is on the air still, makes
/// room, whether it came just now or has waited.
#[test]
fn a_primary_that_comes_back_while_its_standby_is_called_is_not_refused() {
    for has_waited in [false, true] {
        let mut rig = with_standby();
        let (first, here) = (rig.comes(named(1, "one", 0)), rig.subscribe(CORE));
        rig.send(first, "V1 k");
        let second = rig.comes(named(4, "two", 0));
        rig.passes_ms(1_000);
        rig.send(second, "V2 i");
        if has_waited {
            assert_eq!(rig.claim(named(5, "one", 0)), Ok(Entry::Waits));
        }
        rig.passes_ms(1_000);
        let asked = HubEvent::AskAgain { connection: ConnectionRef(5) };
        assert_eq!(rig.calls(), if has_waited { vec![asked] } else { vec![] });
        assert_eq!(rig.home().counters().failovers, 1);
        let entry = rig.claim(named(5, "one", 0)).unwrap();
        assert!(matches!(entry, Entry::StandsBy(_)), "{entry:?}");
        assert_eq!(rig.calls(), [HubEvent::Replaced { connection: ConnectionRef(1) }]);
        let third = entry.publisher().unwrap();
        rig.send(third, "V3 k");
        rig.send(first, "k");
        rig.send(second, "i k i");
        assert_eq!(rig.take(CORE, here), "V1 k1 V2 k6 i7");
        rig.leaves(second, End::Lost);
        rig.send(third, "k");
        assert_eq!(rig.take(CORE, here), "V3 k8");
        rig.ends_empty(&[first, third], &[(CORE, here)]);
    }
}

/// A standby that was called and goes silent itself yields to its own return, which is to the primary what the standby was: that one stays
/// when it sends again.
#[test]
fn the_return_of_a_called_standby_stands_down_too() {
    let mut rig = with_standby();
    let (first, here) = (rig.comes(named(1, "one", 0)), rig.subscribe(CORE));
    rig.send(first, "V1 k");
    let second = rig.comes(named(4, "two", 0));
    rig.passes_ms(2_000);
    rig.send(second, "V2 i");
    rig.passes_ms(0);
    rig.passes_ms(2_000);
    let third = rig.comes(named(5, "two", 0));
    assert_eq!(rig.calls(), [HubEvent::Replaced { connection: ConnectionRef(4) }]);
    rig.send(first, "i");
    rig.send(third, "V3 k");
    rig.send(first, "i");
    assert_eq!(rig.calls(), [], "the primary is on the air");
    assert_eq!(rig.take(CORE, here), "V1 k1 i3 i5");
    let standby = rig.home().streams().next().unwrap().standby().map(|standby| standby.connection());
    assert_eq!(standby, Some(ConnectionRef(5)));
    rig.ends_empty(&[second, third, first], &[(CORE, here)]);
}

/// With a standby, losing both is a loss that is waited for.
#[test]
fn both_may_be_lost() {
    let mut rig = with_standby();
    let (first, here) = (rig.publish(), rig.subscribe(CORE));
    rig.send(first, "k");
    let second = rig.comes(claim_of(4));
    rig.leaves(first, End::Lost);
    rig.leaves(second, End::Lost);
    rig.passes_ms(9_000);
    let third = rig.comes(claim_of(5));
    rig.send(third, "k");
    assert_eq!(rig.take(CORE, here), "k1 k2");
    rig.ends_empty(&[third], &[(CORE, here)]);
}

/// A standby that would not match is told while there is time.
#[test]
fn a_standby_that_does_not_match_is_closed_early() {
    let mut rig = rig(|settings| (settings.standby, settings.mismatch) = (true, MismatchPolicy::Refuse));
    let first = rig.publish();
    rig.send(first, "V1 k");
    let second = rig.comes(claim_of(4));
    rig.send(second, "H2 q");
    assert_eq!(rig.calls(), [HubEvent::Mismatched { connection: ConnectionRef(4) }]);
    assert!(rig.home().streams().next().unwrap().standby().is_none());
    rig.ends_empty(&[second, first], &[]);
}

/// A core that was congested at the switch hears of it with the first frames that it gets: no header of the first publisher is left.
#[test]
fn a_congested_core_resumes_with_the_second_publisher() {
    let mut rig = rig(|_| {});
    let (first, there) = (rig.publish(), rig.subscribe(ELSEWHERE));
    rig.carry();
    rig.send(first, "M1 V1 A1 k a");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "M1 V1 A1 k1 a2");
    rig.home().set_congested(ELSEWHERE, true);
    rig.leaves(first, End::Lost);
    let second = rig.comes(claim_of(4));
    rig.send(second, "V2 k i");
    rig.carry();
    rig.home().set_congested(ELSEWHERE, false);
    rig.send(second, "i k i");
    rig.carry();
    assert_eq!(rig.take(ELSEWHERE, there), "V2 k6 i7");
    let late = rig.subscribe(ELSEWHERE);
    assert_eq!(rig.take(ELSEWHERE, late), "V2 k6 i7");
}

/// A reader that was paused at the switch goes on with the second publisher's GOP, headers first.
#[test]
fn a_paused_reader_goes_on_with_the_second_publisher() {
    let mut rig = rig(|_| {});
    let (first, here) = (rig.publish(), rig.subscribe(CORE));
    rig.send(first, "V1 A1 k a");
    rig.take(CORE, here);
    let now = rig.now;
    rig.home().set_paused(now, here, true);
    rig.leaves(first, End::Lost);
    let second = rig.comes(claim_of(4));
    rig.send(second, "V2 A2 k i");
    rig.home().set_paused(now, here, false);
    rig.send(second, "a");
    assert_eq!(rig.take(CORE, here), "V2 A2 k3 i4 a5");
}
