//! The hub's judge: what each publisher's [`Health`] is, whether it is on the air, stands by, or makes a dry run; and whether it keeps to the
//! rates that it is held to ([`crate::media::limits`]).
//!
//! Publishers take turns: of each ten places one is judged every 100 ms, so that each publisher is judged once a second and a sweep's work is
//! a tenth of them. Who was taken over from is not judged: its driver is told to close it.
//!
//! Of a publisher that has sent nothing lately the driver is asked whether something lies there unread. Then the core is behind and not the
//! publisher, which is judged next time.
//! # Bounds
//! At most [`CODES`](crate::media::health::CODES) events a publisher and second; one question about unread bytes a publisher and second.

use std::time::Duration;

use smallvec::SmallVec;

use super::cast::{Part, Publisher};
use super::{ConnectionRef, Hub, HubEvent, PublisherKey};
use crate::media::health::{Health, JUDGED_EVERY, PerCode};
use crate::session::{Excess, Instant};

/// Parts that the publishers are judged in.
const PARTS: u32 = 10;

/// From one part to the next. Worked out when this is compiled: no peer can make it fail.
const PART_EVERY: Duration = JUDGED_EVERY.checked_div(PARTS).expect("there are parts");

/// Without a message for so long, a publisher's driver is asked whether something of it is there.
const QUIET: Duration = Duration::from_secs(1);

/// Health of all publishers that this core has and has had, by code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthCounts {
    /// Publishers that a code holds for now, standbys and dry runs included.
    pub holding: PerCode<u64>,
    /// Times that a code has begun.
    pub began: PerCode<u64>,
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Rota {
    part: u32,
    /// When the last part was due.
    at: Instant,
}

impl Rota {
    /// How many parts are due, and which is the first.
    fn due(&mut self, now: Instant) -> (u32, u32) {
        let due = (now - self.at).as_micros() / PART_EVERY.as_micros();
        let (first, count) = (self.part, u32::try_from(due).unwrap_or(PARTS).min(PARTS));
        self.part = (first + count) % PARTS;
        // Who comes late begins anew: once each is enough.
        self.at = if count < PARTS { self.at + PART_EVERY * count } else { now };
        (first, count)
    }
}

impl HealthCounts {
    /// A publisher has gone, and with it what it was counted for.
    pub(super) fn forget(&mut self, health: &Health) {
        health.holding().for_each(|(code, _)| self.holding[code] -= 1);
    }
}

impl Hub {
    /// Judges the publishers whose turn it is; ten times a second will do. `has_unread` says whether something has come of a publisher that
    /// its driver has not handed on yet. What changes comes as [`HubEvent::HealthChanged`], and who sends
    /// more than it may as [`HubEvent::OverLimit`].
    pub fn judge(&mut self, now: Instant, has_unread: impl Fn(ConnectionRef) -> bool) {
        let mut exceeding = SmallVec::<[(PublisherKey, Excess); 4]>::new();
        let Self { publishers, rota, health, events, .. } = self;
        let (first, count) = rota.due(now);
        for part in first..first + count {
            let part = (part % PARTS) as usize;
            publishers.for_each_of_part(part, PARTS as usize, |key, publisher| {
                let Publisher { connection, part, spoke_at, ingest, pace, .. } = publisher;
                if *part == Part::Retired || now - *spoke_at >= QUIET && has_unread(*connection) {
                    return;
                }
                ingest.measure(now);
                for change in
                    publisher.health.judge(now, ingest.vitals(), ingest.figures(), ingest.announced())
                {
                    match change.began {
                        true => {
                            health.began[change.code] += 1;
                            health.holding[change.code] += 1;
                        }
                        false => health.holding[change.code] -= 1,
                    }
                    let (publisher, connection) = (key, *connection);
                    events.push_back(HubEvent::HealthChanged { publisher, connection, change });
                }
                if let (Some(pace), Some(limits)) = (pace, ingest.limits()) {
                    let excess = pace.judge(now, ingest.vitals(), limits);
                    exceeding.extend(excess.map(|excess| (key, excess)));
                }
            });
        }
        for (publisher, excess) in exceeding {
            self.expel(now, publisher, excess);
        }
    }

    /// What it has judged.
    pub fn health_counts(&self) -> &HealthCounts {
        &self.health
    }
}
