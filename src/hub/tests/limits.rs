//! Publishers that are held to something: what exceeds it ends, and nothing else does.

use std::num::{NonZeroU32, NonZeroU64};

use super::*;
use crate::media::Limits;
use crate::media::codec::{Codec, FourCc, VideoCodec};
use crate::media::limits::FOUND_WITHIN;
use crate::session::Excess;
use crate::session::excess::CodecName;

fn held(connection: u64, limits: &Limits) -> Claim {
    Claim { limits: limits.clone(), ..ConnectionRef(connection).into() }
}

fn avc_only() -> Limits {
    Limits { codecs: Some([Codec::Video(VideoCodec::Avc)].into()), ..Limits::default() }
}

const HEVC: Excess = Excess::Codec(CodecName::FourCc(FourCc(*b"hvc1")));

impl Rig {
    fn comes_held(&mut self, connection: u64, limits: &Limits) -> PublisherKey {
        self.claim(held(connection, limits)).unwrap().publisher().expect("it does not wait")
    }

    /// Whose sessions are to end, for what.
    fn over_limit(&mut self) -> Vec<(u64, Excess)> {
        let events = self.events(CORE).into_iter();
        let over = events.filter_map(|event| match event {
            HubEvent::OverLimit { connection, excess } => Some((connection.0, excess)),
            _ => None,
        });
        over.collect()
    }

    /// Publishers send 25 pictures a second of this size, and are judged, until one is over its limit. Gives that and when.
    fn until_over(&mut self, publishers: &[PublisherKey], bytes: usize) -> Vec<(u64, Excess)> {
        self.encoder.padding = bytes;
        for _ in 0..FOUND_WITHIN.as_millis() / 40 {
            publishers.iter().for_each(|publisher| self.send(*publisher, "i"));
            self.wait_ms(40);
            let now = self.now;
            self.home().judge(now, |_| false);
            let over = self.over_limit();
            if !over.is_empty() {
                return over;
            }
        }
        Vec::new()
    }
}

/// Of a codec that is not allowed nobody gets anything, and the broadcast is over at once: nobody is waited for.
#[test]
fn a_publisher_over_its_limit_is_no_loss() {
    let mut rig = Rig::new();
    let (publisher, reader) = (rig.comes_held(1, &avc_only()), rig.subscribe(CORE));
    rig.send(publisher, "V1 k i");
    assert_eq!(rig.take(CORE, reader), "V1 k1 i2");
    rig.send(publisher, "H1 q i");
    assert_eq!(rig.take(CORE, reader), "-");
    let mut events = rig.events(CORE);
    events.retain(|event| !matches!(event, HubEvent::Ready { .. }));
    let [HubEvent::OverLimit { connection: ConnectionRef(1), excess: HEVC }, HubEvent::Over(over)] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((over, rig.home().counters().graces), (&key(), 0));
    // The key is free before its driver has closed it.
    let second = rig.claim(ConnectionRef(4).into()).unwrap();
    assert!(matches!(second, Entry::Begins(_)));
    let now = rig.now;
    rig.home().unpublish(now, publisher, End::Said);
    rig.send(second.publisher().unwrap(), "V2 k");
    assert_eq!(rig.take(CORE, reader), "+ V2 k5");
}

/// Each is held to its own limits, whatever its part: a newcomer, a standby, a dry run; who has none goes on.
#[test]
fn each_publisher_is_held_to_its_own_limits() {
    let mut rig = Rig::new();
    rig.settings.continuity.standby = true;
    let on_air = rig.publish();
    let standby = rig.comes_held(2, &avc_only());
    let (now, settings) = (rig.now, rig.settings.clone());
    let dry = rig.home().publish_dry(now, &key(), held(3, &avc_only()), &settings);
    rig.send(on_air, "V1 H1 k q");
    assert_eq!(rig.over_limit(), []);
    rig.send(standby, "V1 k");
    rig.send(dry, "V1 k");
    assert_eq!(rig.over_limit(), []);
    rig.send(standby, "H1");
    rig.send(dry, "q");
    assert_eq!(rig.over_limit(), [(2, HEVC), (3, HEVC)]);
    let now = rig.now;
    for publisher in [standby, dry] {
        rig.home().unpublish(now, publisher, End::Said);
    }
    assert!(rig.home().publisher(on_air).is_some());
    // The standby's place is free again.
    assert!(matches!(rig.claim(ConnectionRef(5).into()).unwrap(), Entry::StandsBy(_)));
}

/// The standby of one that is over its limit is called.
#[test]
fn a_standby_goes_on_for_one_over_its_limit() {
    let mut rig = Rig::new();
    rig.settings.continuity.standby = true;
    let (first, reader) = (rig.comes_held(1, &avc_only()), rig.subscribe(CORE));
    let standby = rig.comes_held(2, &Limits::default());
    rig.send(first, "V1 k H1");
    rig.send(standby, "V2 k");
    assert_eq!(rig.over_limit(), [(1, HEVC)]);
    rig.send(standby, "k");
    assert_eq!(rig.take(CORE, reader), "V1 k1 V2 k2 k3");
}

/// A newcomer that comes for one that is waited for, and is over its limit, does not end the wait.
#[test]
fn a_newcomer_over_its_limit_does_not_end_a_wait() {
    let mut rig = Rig::new();
    let (first, reader) = (rig.publish(), rig.subscribe(CORE));
    rig.send(first, "V1 k");
    let now = rig.now;
    rig.home().unpublish(now, first, End::Lost);
    let newcomer = rig.comes_held(4, &avc_only());
    rig.send(newcomer, "H1");
    assert_eq!(rig.over_limit(), [(4, HEVC)]);
    rig.home().unpublish(now, newcomer, End::Said);
    assert!(rig.home().streams().all(|stream| stream.is_live() && stream.is_absent()));
    let back = rig.comes_held(5, &Limits::default());
    rig.send(back, "V2 k");
    assert_eq!(rig.take(CORE, reader), "V1 k1 V2 k2");
}

/// Rates are judged with the health, of all parts; an unlimited one beside them sends as much and goes on.
#[test]
fn rates_are_judged_with_the_health() {
    let bits = Limits { bits_per_second: NonZeroU64::new(200_000), ..Limits::default() };
    let frames = Limits { frames_per_second: NonZeroU32::new(20), ..Limits::default() };
    for (limits, name) in [(bits, "limit_bits_per_second"), (frames, "limit_frames_per_second")] {
        for is_dry in [false, true] {
            let mut rig = Rig::new();
            let free = rig.publish();
            let (now, settings, other) = (rig.now, rig.settings.clone(), StreamKey::new("live", "other"));
            let publisher = match is_dry {
                true => rig.home().publish_dry(now, &other, held(7, &limits), &settings),
                false => {
                    let entry = rig.home().publish(now, &other, held(7, &limits), &settings).unwrap();
                    entry.publisher().unwrap()
                }
            };
            for publisher in [free, publisher] {
                rig.send(publisher, "V1 k");
            }
            let over = rig.until_over(&[free, publisher], 2_000);
            assert!(matches!(&over[..], [(7, excess)] if excess.label() == name), "{over:?}");
            assert_eq!(rig.until_over(&[free, publisher], 2_000), [], "it is told once");
        }
    }
}
