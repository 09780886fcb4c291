//! Core to core: how a stream's home feeds its replicas.
//!
//! ```text
//! replica                                  home
//!    | -- Feed (first reader) ------------> |   makes the stream if need be
//!    | <-- Snapshot (is live: headers+GOP)- |
//!    | <-- Frame, Frame, … ---------------- |
//!    | <-- ClearMetadata (taken back) ----- |
//!    | <-- Lapse (nobody for a while) ----- |   forgets headers and GOP
//!    | <-- Resume (another publisher) ----- |   its headers and its first frame
//!    | <-- Frame, Frame, … ---------------- |
//!    | <-- End (nobody any more) ---------- |
//!    | <-- Begin (publisher came) --------- |
//!    | <-- Frame, Frame, … ---------------- |
//!    |            (inbox over its bound: nothing until the next key frame, or any frame without video)
//!    | <-- Snapshot (headers + the frame) - |
//!    | -- Audience (readers, by the sweep)> |
//!    | -- Unfeed (last reader left) ------> |   forgets the stream if nobody else needs it
//! ```
//! The transport keeps the order of messages for each pair of cores. A replica's name has a generation, so what is still on its way
//! to a replica that has gone is for nobody.
//! # Invariant
//! A replica hands on a gapless run of frames between two snapshots. `Begin` means that a publisher started just now, so readers are
//! told; a snapshot to a replica that was not live means that there has been one, so they are not. A snapshot to a live replica means
//! that frames were left out before it. `Resume` stands for a snapshot, too, when the frames that follow are another publisher's than the
//! last ones were.
//! # Bounds
//! What waits for a core is bounded by the transport, which says when it is over its bound ([`Hub::set_congested`]); here it waits only
//! until the end of the turn.

use std::mem;
use std::sync::Arc;

use super::stream::{Feed, Role, Stream};
use super::{CoreId, Hub, StreamId};
use crate::media::{Form, Frame, FrameRole, GopSettings};
use crate::session::{Instant, Notice, StreamKey};

/// What one core's hub says to another's.
#[derive(Clone, Debug)]
pub enum MeshMessage {
    /// To the home: the sender has readers of this stream.
    Feed {
        /// The stream.
        key: StreamKey,
        /// The sender's name for it.
        replica: StreamId,
    },
    /// To the home: it has none any more.
    Unfeed {
        /// The stream.
        key: StreamKey,
        /// The name that `Feed` gave.
        replica: StreamId,
    },
    /// To the home: how many readers the replica has.
    Audience {
        /// The stream.
        key: StreamKey,
        /// The name that `Feed` gave.
        replica: StreamId,
        /// Readers.
        subscribers: u32,
    },
    /// To a replica: a publisher has started.
    Begin {
        /// The name that `Feed` gave.
        replica: StreamId,
    },
    /// To a replica: where it starts, or starts again after a gap.
    Snapshot {
        /// The name that `Feed` gave.
        replica: StreamId,
        /// Metadata and sequence headers, then what the replica has not seen of the stream: its GOP, or the frame after the gap.
        frames: Vec<Arc<Frame>>,
    },
    /// To a replica: the next frame.
    Frame {
        /// The name that `Feed` gave.
        replica: StreamId,
        /// The frame.
        frame: Arc<Frame>,
    },
    /// To a replica: the publisher has taken its metadata back.
    ClearMetadata {
        /// The name that `Feed` gave.
        replica: StreamId,
    },
    /// To a replica: nobody is on the air, but somebody may be again.
    Lapse {
        /// The name that `Feed` gave.
        replica: StreamId,
    },
    /// To a replica: another publisher goes on with the stream.
    Resume {
        /// The name that `Feed` gave.
        replica: StreamId,
        /// Its headers, and the frame that it goes on with.
        frames: Vec<Arc<Frame>>,
    },
    /// To a replica: nobody publishes any more, nor is waited for.
    End {
        /// The name that `Feed` gave.
        replica: StreamId,
    },
}

impl MeshMessage {
    /// Wire bytes of the frames in it, for the transport's bound.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Frame { frame, .. } => frame.wire().wire_len(),
            Self::Snapshot { frames, .. } | Self::Resume { frames, .. } => {
                frames.iter().map(|frame| frame.wire().wire_len()).sum()
            }
            _ => 0,
        }
    }
}

/// What this turn has produced for each other core, and which of them cannot take more media.
#[derive(Debug)]
pub(super) struct Outgoing {
    cores: Vec<Outbox>,
    /// Messages for all cores.
    waiting: usize,
}

#[derive(Debug, Default)]
struct Outbox {
    messages: Vec<MeshMessage>,
    congested: bool,
}

impl Outgoing {
    pub(super) fn new(cores: usize) -> Self {
        Self { cores: (0..cores).map(|_| Outbox::default()).collect(), waiting: 0 }
    }

    /// A core that does not exist gets nothing.
    pub(super) fn push(&mut self, core: CoreId, message: MeshMessage) {
        if let Some(outbox) = self.cores.get_mut(core.index()) {
            outbox.messages.push(message);
            self.waiting += 1;
        }
    }

    pub(super) fn is_congested(&self, core: CoreId) -> bool {
        self.cores.get(core.index()).is_some_and(|outbox| outbox.congested)
    }
}

impl Hub {
    /// Whether something waits for any other core.
    pub fn has_outgoing(&self) -> bool {
        self.outgoing.waiting > 0
    }

    /// Takes what waits for this core, in order, as one batch.
    pub fn take_outgoing(&mut self, core: CoreId) -> Vec<MeshMessage> {
        let Some(outbox) = self.outgoing.cores.get_mut(core.index()) else { return Vec::new() };
        let messages = mem::take(&mut outbox.messages);
        self.outgoing.waiting -= messages.len();
        messages
    }

    /// Says whether a core's inbox is over its bound. If so, its feeds stop now; each goes on, with a snapshot, at the first key frame
    /// after the core has caught up, or at any frame while the stream has no video.
    pub fn set_congested(&mut self, core: CoreId, congested: bool) {
        let Some(outbox) = self.outgoing.cores.get_mut(core.index()) else { return };
        if mem::replace(&mut outbox.congested, congested) || !congested {
            return;
        }
        for (_, stream) in self.streams.iter_mut() {
            let Role::Home { feeds, .. } = &mut stream.role else { continue };
            for feed in feeds.iter_mut().filter(|feed| feed.core == core && feed.flowing) {
                feed.flowing = false;
                self.counters.feed_pauses += 1;
            }
        }
    }

    /// Takes what another core's hub has sent. Whatever names a stream that has gone is dropped and counted.
    pub fn handle_mesh(&mut self, now: Instant, from: CoreId, message: MeshMessage) {
        match message {
            MeshMessage::Feed { key, replica } => self.on_feed(&key, from, replica),
            MeshMessage::Unfeed { key, replica } => self.on_unfeed(&key, from, replica),
            MeshMessage::Audience { key, replica, subscribers } => {
                self.on_audience(&key, from, replica, subscribers);
            }
            MeshMessage::Begin { replica } => self.on_begin(now, from, replica),
            MeshMessage::Snapshot { replica, frames } => self.on_snapshot(now, from, replica, frames),
            MeshMessage::Frame { replica, frame } => {
                if self.replica(from, replica).is_some_and(|stream| stream.is_live()) {
                    self.fan_out(now, replica, frame);
                }
            }
            MeshMessage::ClearMetadata { replica } => {
                if let Some(stream) = self.replica(from, replica) {
                    stream.gop.clear_metadata();
                }
            }
            MeshMessage::Lapse { replica } => {
                if let Some(stream) = self.replica(from, replica) {
                    stream.gop.clear();
                }
            }
            MeshMessage::Resume { replica, frames } => self.on_resume(now, from, replica, frames),
            MeshMessage::End { replica } => self.on_end(now, from, replica),
        }
    }

    fn on_feed(&mut self, key: &StreamKey, from: CoreId, replica: StreamId) {
        let home = self.find_or_insert(key, self.settings.core, &GopSettings::default());
        let Some(stream) = self.streams.get_mut(home) else { return };
        let live = stream.is_live();
        let Role::Home { feeds, .. } = &mut stream.role else { return };
        if feeds.iter().any(|feed| feed.core == from && feed.replica == replica) {
            return;
        }
        let flowing = !self.outgoing.is_congested(from);
        feeds.push(Feed { core: from, replica, flowing, restarts: false, audience: 0 });
        if live && flowing {
            self.outgoing.push(from, MeshMessage::Snapshot { replica, frames: stream.late_join(Form::Full) });
        }
    }

    fn on_unfeed(&mut self, key: &StreamKey, from: CoreId, replica: StreamId) {
        let Some(home) = self.find(key, self.settings.core) else { return };
        if let Some(Role::Home { feeds, .. }) = self.streams.get_mut(home).map(|stream| &mut stream.role) {
            feeds.retain(|feed| (feed.core, feed.replica) != (from, replica));
        }
        self.remove_unused(home);
    }

    fn on_audience(&mut self, key: &StreamKey, from: CoreId, replica: StreamId, subscribers: u32) {
        let feeds = self.find(key, self.settings.core).and_then(|home| {
            let Role::Home { feeds, .. } = &mut self.streams.get_mut(home)?.role else { return None };
            Some(feeds)
        });
        for feed in feeds.into_iter().flatten() {
            if (feed.core, feed.replica) == (from, replica) {
                feed.audience = subscribers;
            }
        }
    }

    fn on_begin(&mut self, now: Instant, from: CoreId, replica: StreamId) {
        let Some(stream) = self.replica(from, replica) else { return };
        stream.set_live(true);
        self.notify_subscribers(now, replica, Notice::PublishNotify);
    }

    fn on_end(&mut self, now: Instant, from: CoreId, replica: StreamId) {
        let Some(stream) = self.replica(from, replica) else { return };
        // A feed that was paused all the while has never told of the publisher.
        if stream.set_live(false) {
            self.notify_subscribers(now, replica, Notice::UnpublishNotify);
        }
    }

    fn on_snapshot(&mut self, now: Instant, from: CoreId, replica: StreamId, frames: Vec<Arc<Frame>>) {
        let Some(stream) = self.replica(from, replica) else { return };
        if stream.set_live(true) {
            self.skip_to(now, replica, frames);
        } else {
            for frame in &frames {
                stream.record(frame);
            }
            self.start_subscribers(now, replica, &frames);
        }
    }

    fn on_resume(&mut self, now: Instant, from: CoreId, replica: StreamId, frames: Vec<Arc<Frame>>) {
        let Some(stream) = self.replica(from, replica) else { return };
        if stream.set_live(true) {
            self.restart_subscribers(replica);
            frames.into_iter().for_each(|frame| self.fan_out(now, replica, frame));
        } else {
            for frame in &frames {
                stream.record(frame);
            }
            self.start_subscribers(now, replica, &frames);
        }
    }

    /// A gap: readers go on from these frames, as far as they can be decoded.
    fn skip_to(&mut self, now: Instant, replica: StreamId, frames: Vec<Arc<Frame>>) {
        self.counters.resyncs += 1;
        if let Some(stream) = self.streams.get_mut(replica) {
            stream.gop.skip();
            if !frames.iter().any(|frame| frame.role() == FrameRole::Metadata) {
                // It was taken back in the gap.
                stream.gop.clear_metadata();
            }
        }
        for key in self.streams.get(replica).into_iter().flat_map(|stream| &stream.subscribers) {
            if let Some(subscriber) = self.subscribers.get_mut(*key) {
                subscriber.lose();
            }
        }
        frames.into_iter().for_each(|frame| self.fan_out(now, replica, frame));
    }

    /// The replica of this name that `from` feeds; a message for one that has gone is counted.
    fn replica(&mut self, from: CoreId, replica: StreamId) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(replica).filter(|stream| stream.is_fed_by(from));
        if stream.is_none() {
            self.counters.mesh_messages_stale += 1;
        }
        stream
    }

    /// The publisher has taken its metadata back: nobody who joins from now on gets it. A paused feed needs no message, so a publisher
    /// cannot fill a congested core's inbox with them: the snapshot that ends the pause has no metadata.
    pub(super) fn clear_metadata(&mut self, home: StreamId) {
        let Some(stream) = self.streams.get_mut(home) else { return };
        if !stream.gop.clear_metadata() {
            return;
        }
        let Role::Home { feeds, .. } = &stream.role else { return };
        for feed in feeds.iter().filter(|feed| feed.flowing) {
            self.outgoing.push(feed.core, MeshMessage::ClearMetadata { replica: feed.replica });
        }
    }

    /// Tells all fed cores that a broadcast has begun or is over, or that nobody is on the air.
    pub(super) fn tell_feeds(&mut self, home: StreamId, message: impl Fn(StreamId) -> MeshMessage) {
        let Some(Role::Home { feeds, .. }) = self.streams.get_mut(home).map(|stream| &mut stream.role) else {
            return;
        };
        for feed in feeds {
            feed.flowing = !self.outgoing.is_congested(feed.core);
            feed.restarts = false;
            self.outgoing.push(feed.core, message(feed.replica));
        }
    }

    /// Tells each home how many readers its replica has here, if that has changed.
    pub(super) fn tell_audiences(&mut self) {
        for (replica, stream) in self.streams.iter_mut() {
            let subscribers = u32::try_from(stream.subscribers.len()).unwrap_or(u32::MAX);
            if let Role::Replica { audience_told, .. } = &mut stream.role
                && mem::replace(audience_told, subscribers) != subscribers
            {
                let key = stream.key.clone();
                self.outgoing.push(stream.home, MeshMessage::Audience { key, replica, subscribers });
            }
        }
    }
}

impl Stream {
    fn is_fed_by(&self, core: CoreId) -> bool {
        matches!(self.role, Role::Replica { .. }) && self.home == core
    }

    /// A replica's publisher starts, or ends: what the last one sent is forgotten. Gives whether it was live.
    fn set_live(&mut self, now_live: bool) -> bool {
        self.gop.clear();
        match &mut self.role {
            Role::Replica { live, .. } => mem::replace(live, now_live),
            Role::Home { .. } => false,
        }
    }
}
