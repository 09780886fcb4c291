//! What the hub judges of publishers, as far as it takes sockets and is told: news, the log, counters for other threads.
//!
//! A publisher that seems silent may have sent all the while to a core that is behind: what lies in its socket is looked at first
//! ([`crate::hub::Hub::judge`]).
//!
//! Each beginning is told with its end: what holds when a publisher ends, ends with it, just before that is told.
//! # Bounds
//! A look into a socket is one system call, for each silent publisher once a second; a change costs one line in the log and one piece of news.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{info, warn};

use super::connection::{Activity, Connection, ConnectionKey};
use super::core::Core;
use super::observe::HealthInfo;
use super::outside::News;
use super::socket;
use crate::hub::{ConnectionRef, HealthCounts, PublisherKey, PublisherView};
use crate::media::health::{Change, PerCode};
use crate::session::{Instant, StreamKey};

/// One core's [`HealthCounts`] as others read them.
#[derive(Debug, Default)]
pub(crate) struct PublishedHealth {
    holding: PerCode<AtomicU64>,
    began: PerCode<AtomicU64>,
}

impl PublishedHealth {
    fn publish(&self, counts: &HealthCounts) {
        let store = |published: &PerCode<AtomicU64>, counts: &PerCode<u64>| {
            counts.iter().for_each(|(code, count)| published[code].store(*count, Ordering::Relaxed));
        };
        store(&self.holding, &counts.holding);
        store(&self.began, &counts.began);
    }

    /// As the core's last sweep left them.
    pub(crate) fn counts(&self) -> HealthCounts {
        let load =
            |published: &PerCode<AtomicU64>| PerCode::from_fn(|code| published[code].load(Ordering::Relaxed));
        HealthCounts { holding: load(&self.holding), began: load(&self.began) }
    }
}

impl HealthInfo {
    /// The codes that hold for a publisher, in their order.
    pub(crate) fn all_of(publisher: PublisherView<'_>, now: Instant) -> Vec<Self> {
        publisher.health().holding().map(|(code, since)| Self { code, lasted: now - since }).collect()
    }
}

impl Core {
    /// Judges the publishers whose turn it is, and tells of what changes. The sweep calls it, with no event of the hub open, so that no
    /// publisher ends between its judgement and what is told of it.
    pub(crate) fn judge_publishers(&mut self, now: Instant) {
        let connections = &self.connections;
        let has_unread = |connection: ConnectionRef| {
            let key = ConnectionKey::from(connection);
            let found = connections.get(key.index as usize);
            found.is_some_and(|(generation, connection)| {
                *generation == key.generation && socket::has_unread(&connection.socket)
            })
        };
        self.hub.judge(now, has_unread);
        self.pump_hub();
    }

    /// A code of a publisher's health begins or ends.
    pub(crate) fn on_health_changed(&mut self, key: ConnectionKey, publisher: PublisherKey, change: Change) {
        let Some(connection) = self.connection_ref(key) else { return };
        if let Activity::Publishing { publisher: its, key: stream, .. } = &connection.activity
            && *its == publisher
        {
            self.tell_health(connection, stream, change);
        }
    }

    /// A publisher is about to end: so does what holds for it.
    pub(crate) fn end_health(
        &self,
        key: ConnectionKey,
        publisher: PublisherKey,
        stream: &StreamKey,
        now: Instant,
    ) {
        let Some(connection) = self.connection_ref(key) else { return };
        let Some(view) = self.hub.publisher(publisher) else { return };
        for change in view.health().at_the_end(now) {
            self.tell_health(connection, stream, change);
        }
    }

    fn tell_health(&self, connection: &Connection, stream: &StreamKey, change: Change) {
        let Change { code, began, lasted } = change;
        let name = self.shared.names.hash(stream.name());
        let seconds = (lasted.as_secs_f64() * 1000.0).round() / 1000.0;
        let (span, code_label) = (&connection.span, code.label());
        if began {
            warn!(parent: span, app = stream.app(), stream = name, code = code_label, seconds, "unhealthy");
        } else {
            info!(parent: span, app = stream.app(), stream = name, code = code_label, seconds, "healthy again");
        }
        let (connection, stream) = (connection.id, stream.clone());
        self.tell(News::HealthChanged { connection, stream, code, began, lasted });
    }

    /// This core's counts of health, for others to see.
    pub(crate) fn publish_health(&self) {
        self.shared.published[usize::from(self.id.0)].health.publish(self.hub.health_counts());
    }
}
