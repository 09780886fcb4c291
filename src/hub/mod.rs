//! Floor 3: who publishes, who reads. One core's state: no locks, no I/O, no clock.
//!
//! A stream lives on its *home* core, where its publisher is; on every other core with readers it is a *replica* of the same shared
//! frames, fed by the home. To the hub a subscriber is a bounded queue and a drop policy: RTMP player, recorder, packager are what
//! drains it.
//!
//! ```text
//! publish, ingest ──> Ingest ──> Arc<Frame> ──┬──> GopCache
//!                                             ├──> feeds ──> take_outgoing ─ ─ ─> handle_mesh of another core's hub
//!                                             └──> Rc ──> subscriber queues ──> Ready ──> take
//! ```
//! After commands and messages drain [`Hub::poll_event`] and, for each other core, [`Hub::take_outgoing`]; at the end of a turn will do.
//! # Invariant
//! A reader sees frames in the order of the publisher's messages, none twice; every gap in a video track ends at a key frame. Publishers
//! follow one another within a broadcast (`cast.rs`, `claim.rs`, `succession.rs`): then headers come first, and time does not step back. A
//! key is known here exactly while something of it is: a publisher, one that waits or is waited for, a reader, a fed core; a dry run's never
//! is. Commands with a key that has gone do nothing.
//! # Bounds
//! Per stream the GOP cache ([`GopSettings`]), one publisher on the air, one about to be, one that stands by and one that waits; those not on
//! the air cost their headers. Per subscriber its queue ([`QueueSettings`]). Streams,
//! subscribers and events are bounded by the connections that make them.
//! # Errors
//! [`PublishRefused`] is for the publisher to hear. Nothing else can fail.
#![forbid(unsafe_code)]

mod cast;
mod claim;
mod event;
mod fan_out;
mod gate;
mod health;
mod keys;
mod kinds;
mod mesh;
mod observe;
mod publishing;
mod queue;
mod settings;
mod stream;
mod subscriber;
mod succession;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::media::{Form, Frame, GopSettings, MediaKind};
use crate::session::{Instant, StreamKey};
use cast::Publisher;
pub use claim::{Claim, Entry, PublishRefused};
pub use event::HubEvent;
pub use health::HealthCounts;
use health::Rota;
use keys::Arena;
pub use keys::{ConnectionRef, CoreId, Identity, PublisherKey, StreamId, SubscriberKey};
pub use mesh::MeshMessage;
use mesh::Outgoing;
pub use observe::{HubCounters, HubCounts, PublisherView, StreamView, SubscriberView};
pub use publishing::End;
pub use queue::{Queued, TakeBudget};
pub use settings::{
    AppSettings, ContinuitySettings, HubSettings, MismatchPolicy, QueueSettings, TakeoverPolicy,
};
use stream::{Role, Stream};
pub use subscriber::{DropCounts, SubscriberTotals};
use subscriber::{Subscriber, Tally};

/// A frame on one core: its readers count the `Rc`, so that the count that all cores share is touched once a core.
pub type LocalFrame = Rc<Arc<Frame>>;

/// Who reads, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Whose subscription it is.
    pub connection: ConnectionRef,
    /// The message stream that it plays on, kept for whoever writes to it.
    pub stream_id: u32,
    /// The form in which it understands frames: fixed for its life, as what it negotiated is.
    pub form: Form,
}

/// Where in a stream a reader begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the cached GOP, where there is one.
    #[default]
    Gop,
    /// With the headers at the next key frame, nothing before it: for a reader that has seen what is cached. In a stream without video at the
    /// next frame.
    NextKeyFrame,
}

/// One core's streams, publishers and subscribers. See the module.
#[derive(Debug)]
pub struct Hub {
    settings: HubSettings,
    streams: Arena<StreamId, Stream>,
    publishers: Arena<PublisherKey, Publisher>,
    subscribers: Arena<SubscriberKey, Subscriber>,
    /// Each key's streams here. More than one only while a stream whose home has changed is on its way out.
    names: HashMap<StreamKey, SmallVec<[StreamId; 1]>>,
    /// Streams that time alone may change: newcomers that wait, standbys, publishers that are waited for.
    watched: Vec<StreamId>,
    events: VecDeque<HubEvent>,
    outgoing: Outgoing,
    counters: HubCounters,
    rota: Rota,
    health: HealthCounts,
}

impl Hub {
    /// An empty hub.
    pub fn new(settings: HubSettings) -> Self {
        Self {
            settings,
            streams: Arena::new(),
            publishers: Arena::new(),
            subscribers: Arena::new(),
            names: HashMap::new(),
            watched: Vec::new(),
            events: VecDeque::new(),
            outgoing: Outgoing::new(settings.cores),
            counters: HubCounters::default(),
            rota: Rota::default(),
            health: HealthCounts::default(),
        }
    }

    /// Adds a reader of a stream that lives on `home`, as the directory says. It gets the current headers and the GOP at once, or
    /// waits: for the next key frame, for the home's snapshot, for a publisher.
    pub fn subscribe(
        &mut self,
        now: Instant,
        key: &StreamKey,
        home: CoreId,
        reader: Reader,
        settings: &AppSettings,
    ) -> SubscriberKey {
        self.subscribe_from(now, key, home, reader, settings, Start::Gop)
    }

    /// Like [`Hub::subscribe`], for a reader that may have seen what the cache has.
    pub fn subscribe_from(
        &mut self,
        now: Instant,
        key: &StreamKey,
        home: CoreId,
        reader: Reader,
        settings: &AppSettings,
        start: Start,
    ) -> SubscriberKey {
        let id = self.find_or_insert(key, home, &settings.gop);
        let mut subscriber = Subscriber::new(id, reader, settings.queue);
        // Safe whatever a peer sends: the id was looked up or made two lines before.
        let Some(stream) = self.streams.get_mut(id) else { unreachable!("found or inserted") };
        if start == Start::NextKeyFrame && !stream.has_no_pictures(now) {
            subscriber.await_key_frame();
        }
        let is_ready = stream.is_live() && subscriber.join(now.into(), &stream.late_join(reader.form));
        let key = self.subscribers.insert(subscriber);
        stream.subscribers.push(key);
        self.counters.subscribes += 1;
        if is_ready {
            self.events.push_back(HubEvent::Ready { subscriber: key, connection: reader.connection });
        }
        key
    }

    /// Removes a reader; what is queued for it is let go. Gives what its life came to; nothing when it had gone before.
    pub fn unsubscribe(&mut self, subscriber: SubscriberKey) -> Option<SubscriberTotals> {
        let Subscriber { stream: id, totals, .. } = self.subscribers.remove(subscriber)?;
        if let Some(stream) = self.streams.get_mut(id) {
            stream.subscribers.retain(|key| *key != subscriber);
        }
        self.remove_unused(id);
        Some(totals)
    }

    /// Ends a reader in good order: nothing more is queued for it, and behind what is queued stands an [`UnpublishNotify`](crate::session::Notice::UnpublishNotify).
    pub fn finish(&mut self, now: Instant, subscriber: SubscriberKey) {
        let Some(reader) = self.subscribers.get_mut(subscriber) else { return };
        let mut tally = Tally::default();
        if reader.finish(now.into(), &mut tally) {
            self.events.push_back(HubEvent::Ready { subscriber, connection: reader.reader.connection });
        }
        self.counters.add(&tally);
    }

    /// The player's `pause`. Going on, it starts at the live edge: with the GOP when it has seen nothing of that, else at the next
    /// key frame.
    pub fn set_paused(&mut self, now: Instant, subscriber: SubscriberKey, paused: bool) {
        let Some(reader) = self.subscribers.get_mut(subscriber) else { return };
        let Some(stream) = self.streams.get(reader.stream) else { return };
        if paused {
            reader.pause(stream.frames);
        } else if reader.unpause(now.into(), stream.gop_started)
            && stream.is_live()
            && reader.join(now.into(), &stream.late_join(reader.form()))
        {
            self.events.push_back(HubEvent::Ready { subscriber, connection: reader.reader.connection });
        }
    }

    /// The player's `receiveAudio`: at once.
    pub fn set_receive_audio(&mut self, subscriber: SubscriberKey, receive: bool) {
        self.set_receives(subscriber, MediaKind::Audio, receive);
    }

    /// The player's `receiveVideo`: back on, from the next key frame.
    pub fn set_receive_video(&mut self, subscriber: SubscriberKey, receive: bool) {
        self.set_receives(subscriber, MediaKind::Video, receive);
    }

    fn set_receives(&mut self, subscriber: SubscriberKey, kind: MediaKind, receive: bool) {
        if let Some(subscriber) = self.subscribers.get_mut(subscriber) {
            subscriber.set_receives(kind.into(), receive);
        }
    }

    /// Moves queued entries to `out`, oldest first, within the budget but at least one. What is moved is the caller's to write. Gives the
    /// slices that it comes to, a notice counting as one; 0 says that nothing was queued.
    pub fn take(
        &mut self,
        now: Instant,
        subscriber: SubscriberKey,
        budget: TakeBudget,
        out: &mut Vec<Queued>,
    ) -> usize {
        self.subscribers.get_mut(subscriber).map_or(0, |subscriber| subscriber.take(now.into(), budget, out))
    }

    /// Whether something waits to be taken.
    pub fn has_queued(&self, subscriber: SubscriberKey) -> bool {
        self.subscribers.get(subscriber).is_some_and(|subscriber| !subscriber.queue().is_empty())
    }

    /// Applies what time alone brings about: queues that have become too old, hopeless readers, readers that wait for a key frame of a
    /// stream without pictures, and homes to be told of their replicas' readers. A few times a second will do.
    pub fn handle_sweep(&mut self, now: Instant) {
        let mut tally = Tally::default();
        for (key, subscriber) in self.subscribers.iter_mut() {
            if subscriber.has_become_hopeless(now.into()) {
                self.counters.hopeless += 1;
                let connection = subscriber.reader.connection;
                self.events.push_back(HubEvent::Hopeless { subscriber: key, connection });
            }
            subscriber.expire(now.into(), &mut tally);
            if subscriber.awaits_key_frame()
                && self.streams.get(subscriber.stream).is_some_and(|stream| stream.has_no_pictures(now))
            {
                subscriber.begin();
            }
        }
        self.counters.add(&tally);
        self.sweep_publishers(now);
        self.tell_audiences();
    }

    /// The next thing to act on. An event never names what has gone, or has come again, since.
    pub fn poll_event(&mut self) -> Option<HubEvent> {
        while let Some(event) = self.events.pop_front() {
            let still_holds = match &event {
                HubEvent::Ready { subscriber, .. } | HubEvent::Hopeless { subscriber, .. } => {
                    self.subscribers.contains(*subscriber)
                }
                HubEvent::HealthChanged { publisher, .. } => self.publishers.contains(*publisher),
                HubEvent::StreamGone(key) => !self.names.contains_key(key),
                HubEvent::Replaced { .. }
                | HubEvent::Mismatched { .. }
                | HubEvent::OverLimit { .. }
                | HubEvent::AskAgain { .. }
                | HubEvent::TurnedAway { .. }
                | HubEvent::Over(_) => true,
            };
            if still_holds {
                return Some(event);
            }
        }
        None
    }

    fn find(&self, key: &StreamKey, home: CoreId) -> Option<StreamId> {
        let mut ids = self.names.get(key)?.iter().copied();
        ids.find(|id| self.streams.get(*id).is_some_and(|stream| stream.home == home))
    }

    fn find_or_insert(&mut self, key: &StreamKey, home: CoreId, gop: &GopSettings) -> StreamId {
        if let Some(id) = self.find(key, home) {
            return id;
        }
        let is_home = home == self.settings.core;
        let role = if is_home {
            Role::Home { cast: Box::default(), feeds: Vec::new() }
        } else {
            Role::Replica { live: false, audience_told: 0 }
        };
        let id = self.streams.insert(Stream::new(key.clone(), home, role, gop.clone()));
        self.names.entry(key.clone()).or_default().push(id);
        if !is_home {
            self.outgoing.push(home, MeshMessage::Feed { key: key.clone(), replica: id });
        }
        id
    }

    fn remove_unused(&mut self, id: StreamId) {
        if !self.streams.get(id).is_some_and(Stream::is_unused) {
            return;
        }
        let Some(Stream { key, home, role, is_dry_run, .. }) = self.streams.remove(id) else { return };
        if is_dry_run {
            return;
        }
        if let Role::Replica { .. } = role {
            self.outgoing.push(home, MeshMessage::Unfeed { key: key.clone(), replica: id });
        }
        if let Some(ids) = self.names.get_mut(&key) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.names.remove(&key);
                self.events.push_back(HubEvent::StreamGone(key));
            }
        }
    }
}

#[cfg(test)]
mod tests;
