//! What a hub tells about itself: views of its streams and subscribers, and counters.

use super::cast::{Cast, Part, Publisher};
use super::stream::{Role, Stream};
use super::subscriber::{DropCounts, Subscriber, SubscriberTotals, Tally};
use super::{ConnectionRef, CoreId, Hub, PublisherKey, SubscriberKey};
use crate::media::health::Health;
use crate::media::{Form, Ingest};
use crate::session::{Instant, StreamKey};

/// What a hub has done since it began. Plain integers that only grow.
#[derive(Clone, Copy, Debug, Default)]
pub struct HubCounters {
    /// Publishes accepted.
    pub publishes: u64,
    /// Publishes refused because the stream had a publisher.
    pub publishes_refused: u64,
    /// Publishes whose answer was held back until it was clear whether the stream's publisher lives.
    pub publishes_held: u64,
    /// Publishers that took over as the newest.
    pub takeovers_newest: u64,
    /// Publishers that took over with a higher priority.
    pub takeovers_priority: u64,
    /// Publishers that took over from a silent one of the same credentials.
    pub takeovers_silent: u64,
    /// Publishers taken in as a standby.
    pub standbys: u64,
    /// Standbys called because the publisher was gone or starved.
    pub failovers: u64,
    /// Lost publishers that were waited for.
    pub graces: u64,
    /// Publishers that came while one was waited for.
    pub graces_resumed: u64,
    /// Streams that ended because nobody came in time.
    pub graces_expired: u64,
    /// Times that a stream went on with another publisher.
    pub discontinuities: u64,
    /// Publishers closed because their media was not what their stream has had.
    pub mismatches_refused: u64,
    /// Subscribers that came.
    pub subscribes: u64,
    /// Messages taken from publishers.
    pub messages_ingested: u64,
    /// Live frames put into subscribers' queues; what they get as they join is not in it.
    pub frames_queued: u64,
    /// Times that a queue was over its bounds.
    pub overflows: u64,
    /// Frames that the drop policy kept from subscribers, and frames kept back until the next key frame after a gap.
    pub dropped: DropCounts,
    /// Subscribers that took nothing for too long.
    pub hopeless: u64,
    /// Feeds that paused because a core's inbox was over its bound.
    pub feed_pauses: u64,
    /// Frames not sent to a core while its feed was paused.
    pub feed_frames_withheld: u64,
    /// Gaps in what the home sent to a replica here.
    pub resyncs: u64,
    /// Messages for a replica that had gone.
    pub mesh_messages_stale: u64,
}

impl HubCounters {
    pub(super) fn add(&mut self, tally: &Tally) {
        self.frames_queued += tally.queued;
        self.overflows += tally.overflows;
        self.dropped.audio += tally.dropped.audio;
        self.dropped.video += tally.dropped.video;
        self.dropped.data += tally.dropped.data;
    }
}

/// What a hub holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubCounts {
    /// Streams, homes and replicas.
    pub streams: usize,
    /// Streams whose home this core is.
    pub streams_home: usize,
    /// Publishers.
    pub publishers: usize,
    /// Subscribers.
    pub subscribers: usize,
    /// Bytes that GOP caches keep alive.
    pub gop_bytes: usize,
    /// Wire bytes in subscribers' queues; a frame counts in each.
    pub queued_bytes: usize,
}

/// A stream, as one core sees it.
#[derive(Clone, Copy, Debug)]
pub struct StreamView<'a> {
    stream: &'a Stream,
    cast: Option<&'a Cast>,
    publisher: Option<&'a Publisher>,
    standby: Option<&'a Publisher>,
}

impl<'a> StreamView<'a> {
    /// App and name.
    pub fn key(&self) -> &'a StreamKey {
        &self.stream.key
    }

    /// The core that it lives on.
    pub fn home(&self) -> CoreId {
        self.stream.home
    }

    /// Whether that is this core.
    pub fn is_home(&self) -> bool {
        matches!(self.stream.role, Role::Home { .. })
    }

    /// Whether it is a publisher's dry run, which nobody can play.
    pub fn is_dry_run(&self) -> bool {
        self.stream.is_dry_run
    }

    /// Whether somebody publishes it, or is waited for.
    pub fn is_live(&self) -> bool {
        self.stream.is_live()
    }

    /// Who publishes it, or is about to; at home only.
    pub fn publisher(&self) -> Option<PublisherView<'a>> {
        self.publisher.map(|publisher| PublisherView { publisher })
    }

    /// Who stands by; at home only.
    pub fn standby(&self) -> Option<PublisherView<'a>> {
        self.standby.map(|publisher| PublisherView { publisher })
    }

    /// Whether its publisher was lost and is waited for.
    pub fn is_absent(&self) -> bool {
        self.publisher.is_none() && self.cast.is_some_and(Cast::is_live)
    }

    /// Times that it has gone on with another publisher since it began; at home only.
    pub fn discontinuities(&self) -> u64 {
        self.cast.map_or(0, |cast| cast.discontinuities)
    }

    /// Subscribers here and, at home, on the cores that it feeds, as their last sweep told.
    pub fn subscribers(&self) -> u64 {
        self.stream.audience()
    }

    /// Bytes that the GOP cache keeps alive.
    pub fn gop_bytes(&self) -> usize {
        self.stream.gop.retained_bytes()
    }

    /// Frames in the GOP cache.
    pub fn gop_frames(&self) -> usize {
        self.stream.gop.frames()
    }
}

/// A stream's publisher.
#[derive(Clone, Copy, Debug)]
pub struct PublisherView<'a> {
    publisher: &'a Publisher,
}

impl<'a> PublisherView<'a> {
    /// Whose it is.
    pub fn connection(&self) -> ConnectionRef {
        self.publisher.connection
    }

    /// When it was accepted.
    pub fn since(&self) -> Instant {
        self.publisher.since
    }

    /// Whether it stands by.
    pub fn is_standby(&self) -> bool {
        self.publisher.part == Part::Standby
    }

    /// Tracks, metadata, timestamp counters.
    pub fn ingest(&self) -> &'a Ingest {
        &self.publisher.ingest
    }

    /// What is judged of it.
    pub fn health(&self) -> &'a Health {
        &self.publisher.health
    }

    /// Bytes received in media messages, chunk headers included.
    pub fn bytes(&self) -> u64 {
        self.publisher.bytes
    }

    /// Media messages received.
    pub fn messages(&self) -> u64 {
        self.publisher.messages
    }
}

/// A subscriber.
#[derive(Clone, Copy, Debug)]
pub struct SubscriberView<'a> {
    subscriber: &'a Subscriber,
    stream: &'a Stream,
}

impl<'a> SubscriberView<'a> {
    /// What it reads.
    pub fn key(&self) -> &'a StreamKey {
        &self.stream.key
    }

    /// Whose it is.
    pub fn connection(&self) -> ConnectionRef {
        self.subscriber.reader.connection
    }

    /// The message stream that it plays on.
    pub fn stream_id(&self) -> u32 {
        self.subscriber.reader.stream_id
    }

    /// The form in which it gets frames.
    pub fn form(&self) -> Form {
        self.subscriber.form()
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.subscriber.is_paused()
    }

    /// Whether its stream has video now, so that a key frame can be waited for.
    pub fn stream_has_video(&self, now: Instant) -> bool {
        self.stream.gop.has_video(now)
    }

    /// Entries that wait to be taken.
    pub fn queued(&self) -> usize {
        self.subscriber.queue().len()
    }

    /// Their bytes as they go on the wire.
    pub fn queued_bytes(&self) -> usize {
        self.subscriber.queue().bytes()
    }

    /// Milliseconds that the oldest of them has waited: how far the reader is behind.
    pub fn queued_ms(&self, now: Instant) -> u32 {
        self.subscriber.age_ms(now)
    }

    /// What it has taken, and what was kept from it.
    pub fn totals(&self) -> SubscriberTotals {
        self.subscriber.totals
    }
}

impl Hub {
    /// All streams of this core, homes and replicas.
    pub fn streams(&self) -> impl Iterator<Item = StreamView<'_>> {
        self.streams.iter().map(|(_, stream)| {
            let cast = match &stream.role {
                Role::Home { cast, .. } => Some(&**cast),
                Role::Replica { .. } => None,
            };
            let successor = |cast: &Cast| cast.successor.map(|successor| successor.publisher);
            let publisher = cast.and_then(|cast| cast.on_air.or(successor(cast)));
            StreamView {
                stream,
                cast,
                publisher: publisher.and_then(|key| self.publishers.get(key)),
                standby: cast.and_then(|cast| self.publishers.get(cast.standby?)),
            }
        })
    }

    /// Whether somebody publishes this stream, and this core is its home.
    pub fn is_published(&self, key: &StreamKey) -> bool {
        let home = self.find(key, self.settings.core).and_then(|id| self.streams.get(id));
        home.is_some_and(Stream::is_live)
    }

    /// All subscribers of this core.
    pub fn subscribers(&self) -> impl Iterator<Item = (SubscriberKey, SubscriberView<'_>)> {
        self.subscribers.iter().filter_map(|(key, subscriber)| Some((key, self.view(subscriber)?)))
    }

    /// One subscriber.
    pub fn subscriber(&self, key: SubscriberKey) -> Option<SubscriberView<'_>> {
        self.view(self.subscribers.get(key)?)
    }

    fn view<'a>(&'a self, subscriber: &'a Subscriber) -> Option<SubscriberView<'a>> {
        Some(SubscriberView { subscriber, stream: self.streams.get(subscriber.stream)? })
    }

    /// One publisher.
    pub fn publisher(&self, key: PublisherKey) -> Option<PublisherView<'_>> {
        self.publishers.get(key).map(|publisher| PublisherView { publisher })
    }

    /// What it has done so far.
    pub fn counters(&self) -> &HubCounters {
        &self.counters
    }

    /// What it holds now: a walk over streams and subscribers, for a sweep.
    pub fn counts(&self) -> HubCounts {
        HubCounts {
            streams: self.streams.len(),
            streams_home: self.streams().filter(StreamView::is_home).count(),
            publishers: self.publishers.len(),
            subscribers: self.subscribers.len(),
            gop_bytes: self.retained_bytes(),
            queued_bytes: self.subscribers.iter().map(|(_, subscriber)| subscriber.queue().bytes()).sum(),
        }
    }

    /// Bytes that GOP caches keep alive. What queues hold beyond that is shared between them.
    pub fn retained_bytes(&self) -> usize {
        self.streams.iter().map(|(_, stream)| stream.gop.retained_bytes()).sum()
    }

    /// Streams, publishers and subscribers, all together: 0 once everybody has gone.
    pub fn entries(&self) -> usize {
        self.streams.len() + self.publishers.len() + self.subscribers.len()
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.entries() == 0 && self.names.is_empty()
    }
}
