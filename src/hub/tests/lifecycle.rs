//! Coming and going: publishers, readers, streams, keys that have gone.

use super::*;

/// The second publisher of a key is refused, the first is not disturbed, and the refused one leaves nothing behind.
#[test]
fn a_second_publisher_is_refused() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    let other = Claim { identity: Some(Identity("other".into())), ..ConnectionRef(3).into() };
    assert_eq!(rig.claim(other.clone()), Err(PublishRefused::AlreadyPublishing));
    let reader = rig.subscribe(CORE);
    rig.send(publisher, "k");
    assert_eq!(rig.take(CORE, reader), "k1");
    let counts = rig.home().counts();
    assert_eq!((counts.streams, counts.streams_home, counts.publishers, counts.subscribers), (1, 1, 1, 1));
    assert_eq!(rig.home().counters().publishes_refused, 1);
    rig.home().unpublish(Instant::default(), publisher, End::Said);
    assert!(matches!(rig.claim(other), Ok(Entry::Begins(_))), "free again");
}

/// A dry run is counted as any publish and reaches nobody; it neither meets nor hinders the publisher of its name, and leaves nothing behind.
#[test]
fn a_dry_run_reaches_nobody_and_is_in_nobodys_way() {
    let mut rig = Rig::new();
    let (now, alone) = (rig.now, rig.publish_dry());
    rig.send(alone, "V1 k i");
    assert_eq!(rig.home().entries(), 2, "a publisher, and a stream that nobody finds");
    rig.home().unpublish(now, alone, End::Lost);
    assert!(rig.home().is_empty());
    assert_eq!(rig.events(CORE), [], "no key has gone, since there was none");

    let mut rig = Rig::new();
    let reader = rig.subscribe(CORE);
    let (first, second) = (rig.publish_dry(), rig.publish_dry());
    rig.send(first, "V1 k i");
    assert_eq!(rig.take(CORE, reader), "", "the name still waits for its publisher");
    let real = rig.publish();
    rig.send(second, "V1 k i");
    rig.send(real, "k");
    assert_eq!(rig.take(CORE, reader), "+ k5");
    let view = rig.home().publisher(first).unwrap();
    assert_eq!((view.messages(), view.ingest().counters().frames), (3, 3));
    let shown: Vec<_> = rig.home().streams().map(|stream| stream.is_dry_run()).collect();
    assert_eq!(shown.iter().filter(|dry| **dry).count(), 2, "{shown:?}");
    assert!(rig.home().streams().all(|stream| !stream.is_dry_run() || stream.gop_frames() == 0));
    rig.home().unpublish(now, second, End::Said);
    rig.home().unpublish(now, first, End::Said);
    rig.send(real, "k");
    assert_eq!(rig.take(CORE, reader), "k6");
    rig.home().unpublish(now, real, End::Said);
    rig.home().unsubscribe(reader);
    assert!(rig.home().is_empty());
}

/// Readers outlive publishers: told of the end and the next start in order with the frames, and started anew.
#[test]
fn readers_stay_for_the_next_publisher() {
    let mut rig = Rig::new();
    let reader = rig.subscribe(CORE);
    let (now, first) = (rig.now, rig.publish());
    rig.send(first, "M1 V1 A1 k a i");
    rig.home().unpublish(now, first, End::Said);
    assert_eq!(rig.home().retained_bytes(), 0, "the cache is the publisher's");
    assert_eq!(rig.take(CORE, reader), "+ M1 V1 A1 k1 a2 i3 -");

    let second = rig.publish();
    rig.send(second, "i a V2 k i");
    assert_eq!(rig.take(CORE, reader), "+ a5 V2 k6 i7", "no picture before its key frame");
    rig.home().unpublish(now, second, End::Said);
    assert_eq!(rig.take(CORE, reader), "-");
}

/// Whoever joins between two publishers is told of neither's past.
#[test]
fn a_reader_of_a_waiting_stream_gets_nothing_old() {
    let mut rig = Rig::new();
    let _stays = rig.subscribe(CORE);
    let (now, publisher) = (rig.now, rig.publish());
    rig.send(publisher, "V1 k i");
    rig.home().unpublish(now, publisher, End::Said);
    let late = rig.subscribe(CORE);
    assert!(!rig.home().has_queued(late));
    let publisher = rig.publish();
    rig.send(publisher, "V2 k");
    assert_eq!(rig.take(CORE, late), "+ V2 k3");
}

/// A stream is there while anybody publishes or reads it, in whatever order they leave; the last one is an event.
#[test]
fn a_stream_goes_with_the_last_who_needs_it() {
    for reader_first in [true, false] {
        let mut rig = Rig::new();
        let (now, publisher, reader) = (rig.now, rig.publish(), rig.subscribe(CORE));
        rig.send(publisher, "k a");
        let totals = if reader_first {
            let totals = rig.home().unsubscribe(reader);
            rig.home().unpublish(now, publisher, End::Said);
            totals
        } else {
            rig.home().unpublish(now, publisher, End::Said);
            assert!(!rig.home().is_empty());
            rig.home().unsubscribe(reader)
        };
        assert_eq!(totals, Some(SubscriberTotals::default()));
        assert!(rig.home().is_empty());
        assert_eq!(rig.home().entries(), 0);
        let events = [HubEvent::Over(key()), HubEvent::StreamGone(key())];
        assert_eq!(rig.events(CORE), events, "and no Ready of a reader that has gone");
    }
}

/// A stream that has come back by the time its end would be told is not told of: the directory must not forget it.
#[test]
fn a_stream_that_comes_back_is_not_gone() {
    let mut rig = Rig::new();
    let (now, publisher) = (rig.now, rig.publish());
    rig.home().unpublish(now, publisher, End::Said);
    let publisher = rig.publish();
    assert_eq!(rig.events(CORE), [HubEvent::Over(key())]);
    rig.home().unpublish(now, publisher, End::Said);
    assert_eq!(rig.events(CORE), [HubEvent::Over(key()), HubEvent::StreamGone(key())]);
}

/// Commands that name what has gone do nothing to what has taken its place.
#[test]
fn stale_keys_do_nothing() {
    let mut rig = Rig::new();
    let (now, stale) = (rig.now, rig.publish());
    let stale_reader = rig.subscribe(CORE);
    rig.home().unpublish(now, stale, End::Said);
    assert!(rig.home().unsubscribe(stale_reader).is_some());
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));

    rig.send(stale, "k");
    rig.home().unpublish(now, stale, End::Said);
    assert_eq!(rig.home().unsubscribe(stale_reader), None);
    rig.home().set_paused(now, stale_reader, true);
    rig.home().set_receive_audio(stale_reader, false);
    rig.home().set_receive_video(stale_reader, false);
    assert!(!rig.home().has_queued(stale_reader) && rig.home().subscriber(stale_reader).is_none());
    assert!(rig.home().publisher(stale).is_none());
    assert_eq!(rig.take(CORE, stale_reader), "");

    rig.send(publisher, "k a");
    assert_eq!(rig.take(CORE, reader), "k2 a3");
}

/// Ready comes once, when there is something where nothing was; not again before the reader has taken everything.
#[test]
fn ready_tells_of_the_first_entry_only() {
    let mut rig = Rig::new();
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    let ready = [HubEvent::Ready { subscriber: reader, connection: ConnectionRef(2) }];
    assert_eq!(rig.events(CORE), []);
    rig.send(publisher, "k a i");
    assert_eq!(rig.events(CORE), ready);
    let one = TakeBudget { bytes: 1, slices: 1 };
    assert_eq!(rig.take_some(CORE, reader, one), "k1", "at least one entry, whatever the budget");
    rig.send(publisher, "a");
    assert_eq!(rig.events(CORE), []);
    assert_eq!(rig.take(CORE, reader), "a2 i3 a4");
    rig.send(publisher, "i");
    assert_eq!(rig.events(CORE), ready);
    assert_eq!(rig.take(CORE, reader), "i5");
    let now = rig.now;
    rig.home().unpublish(now, publisher, End::Said);
    let [ready] = ready;
    assert_eq!(rig.events(CORE), [ready, HubEvent::Over(key())], "a notice is something to take");
}

/// Taking stays within the budget, in bytes and in slices.
#[test]
fn a_budget_is_kept() {
    let mut rig = Rig::new();
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "k i i i");
    let mut out = Vec::new();
    let now = rig.now;
    let wire = rig.home().subscriber(reader).unwrap().queued_bytes() / 4;
    rig.home().take(now, reader, TakeBudget { bytes: 2 * wire, slices: 100 }, &mut out);
    assert_eq!(out.len(), 2);
    let slices = rig.home().take(now, reader, TakeBudget { bytes: 100 * wire, slices: 3 }, &mut out);
    assert!((1..=3).contains(&slices) && out.len() == 3, "{slices} slices, {} frames", out.len());
    let totals = rig.home().subscriber(reader).unwrap().totals();
    assert_eq!((totals.frames, totals.bytes), (3, 3 * wire as u64));
}

/// What the API shows of a stream and its ends.
#[test]
fn views_tell_of_streams_publishers_and_subscribers() {
    let mut rig = Rig::new();
    let (publisher, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(publisher, "V1 A1 k a i");
    rig.wait_ms(70);
    let now = rig.now;
    let hub = rig.home();
    let stream = hub.streams().next().unwrap();
    assert_eq!((stream.key(), stream.home(), stream.is_home(), stream.is_live()), (&key(), CORE, true, true));
    assert_eq!((stream.subscribers(), stream.gop_frames()), (1, 3));
    assert!(stream.gop_bytes() > 0 && stream.gop_bytes() == hub.retained_bytes());
    let publisher = stream.publisher().unwrap();
    assert_eq!((publisher.connection(), publisher.messages()), (ConnectionRef(1), 5));
    assert!(publisher.bytes() > 5 * 12);
    let (subscriber, view) = hub.subscribers().next().unwrap();
    assert_eq!((subscriber, view.connection(), view.stream_id()), (reader, ConnectionRef(2), 1));
    assert_eq!((view.queued(), view.queued_ms(now), view.is_paused()), (5, 70, false));
    assert_eq!(hub.counts().queued_bytes, view.queued_bytes());
    assert_eq!((hub.counters().messages_ingested, hub.counters().frames_queued), (5, 5));
}
