//! Who is judged, and when; what is judged has its tests on the media floor.

use super::*;
use crate::media::health::Code;

impl Rig {
    /// Time passes in tenths of a second, each with a sweep's judging. What changed, as words: `+` begins, `-` ends, of connection 1 without.
    fn is_judged(&mut self, tenths: u32, unread: &[ConnectionRef]) -> String {
        let mut words = Vec::new();
        for _ in 0..tenths {
            self.wait_ms(100);
            let now = self.now;
            self.home().judge(now, |connection| unread.contains(&connection));
            for event in self.events(CORE) {
                let HubEvent::HealthChanged { connection, change, .. } = event else { continue };
                words.push(format!(
                    "{}{}:{}",
                    if change.began { '+' } else { '-' },
                    connection.0,
                    change.code.label()
                ));
            }
        }
        words.sort_unstable();
        words.join(" ")
    }

    fn holding(&mut self, code: Code) -> u64 {
        self.home().health_counts().holding[code]
    }
}

/// Whoever publishes is judged: on the air, as a standby, in a dry run. What holds is counted until it ends, or its publisher does.
#[test]
fn every_publisher_is_judged() {
    let mut rig = Rig::new();
    rig.settings.continuity.standby = true;
    let on_air = rig.publish();
    let standby = rig.claim(ConnectionRef(2).into()).unwrap().publisher().unwrap();
    let dry = rig.publish_dry();
    for publisher in [on_air, standby, dry] {
        rig.send(publisher, "V1 A1 k a");
    }
    assert_eq!(rig.is_judged(40, &[]), "+1:starving +2:starving +3:starving");
    assert_eq!(rig.holding(Code::Starving), 3);
    let view = rig.home().publisher(standby).unwrap();
    assert_eq!(view.health().holding().map(|(code, _)| code).collect::<Vec<_>>(), [Code::Starving]);
    let mut told = String::new();
    for _ in 0..40 {
        rig.send(standby, "i a");
        told += &rig.is_judged(1, &[]);
    }
    assert_eq!(told, "-2:starving");
    assert_eq!(rig.holding(Code::Starving), 2);
    let now = rig.now;
    for publisher in [on_air, standby, dry] {
        rig.home().unpublish(now, publisher, End::Said);
    }
    let counts = *rig.home().health_counts();
    assert_eq!((counts.holding, counts.began[Code::Starving]), (Default::default(), 3));
}

/// With many publishers each one is judged once a second, a tenth of them at a time.
#[test]
fn publishers_take_turns() {
    let mut rig = Rig::new();
    let (now, settings) = (rig.now, rig.settings.clone());
    for connection in 0..95 {
        rig.home().publish_dry(now, &key(), ConnectionRef(connection), &settings);
    }
    rig.is_judged(29, &[]);
    let mut began = Vec::new();
    for _ in 0..12 {
        began.push(rig.is_judged(1, &[]).split_whitespace().count());
    }
    assert_eq!(began.iter().sum::<usize>(), 95, "{began:?}");
    assert!(began.iter().all(|count| *count <= 10), "{began:?}");
    // A sweep that comes late judges everybody who is due, and nobody twice.
    let now = rig.now + Duration::from_secs(60);
    rig.home().judge(now, |_| false);
    assert_eq!(rig.events(CORE), []);
    assert_eq!(rig.holding(Code::Starving), 95);
}

/// A publisher whose bytes lie in its socket does not starve: the core is behind. Once they are read it is judged by what they were.
#[test]
fn what_is_not_read_yet_is_not_missed() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    rig.send(publisher, "V1 A1 k a");
    assert_eq!(rig.is_judged(100, &[ConnectionRef(1)]), "");
    rig.send(publisher, "i a");
    assert_eq!(rig.is_judged(20, &[]), "");
    assert_eq!(rig.is_judged(30, &[]), "+1:starving");
}

/// Who was taken over from is not judged any more.
#[test]
fn who_was_replaced_is_not_judged() {
    let mut rig = Rig::new();
    rig.settings.continuity.takeover = TakeoverPolicy::Newest;
    rig.settings.continuity.tenure_ms = 0;
    rig.publish();
    let second = rig.claim(ConnectionRef(2).into()).unwrap().publisher().unwrap();
    rig.send(second, "V1 A1 k a");
    assert!(rig.events(CORE).contains(&HubEvent::Replaced { connection: ConnectionRef(1) }));
    assert_eq!(rig.is_judged(60, &[]), "+2:starving");
}
