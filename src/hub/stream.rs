//! One live key on one core: its home, where the publisher is, or a replica that the home feeds.

use std::sync::Arc;

use super::cast::Cast;
use super::{CoreId, StreamId, SubscriberKey};
use crate::media::{Form, Frame, FrameRole, GopCache, GopSettings, Timeline};
use crate::session::{Instant, StreamKey};

/// A stream as one core holds it. It lives while somebody publishes it, reads it or, at home, is fed with it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) key: StreamKey,
    pub(super) home: CoreId,
    pub(super) role: Role,
    /// Nobody finds it by its key: see [`Hub::publish_dry`](super::Hub::publish_dry).
    pub(super) is_dry_run: bool,
    pub(super) gop: GopCache,
    /// This core's readers, in no order.
    pub(super) subscribers: Vec<SubscriberKey>,
    /// Timestamp of the newest frame, milliseconds.
    pub(super) timestamp: u32,
    /// Where another publisher would go on.
    pub(super) timeline: Timeline,
    /// Frames so far, over all its publishers.
    pub(super) frames: u64,
    /// Number of the frame that began the newest GOP; frames count from 1.
    pub(super) gop_started: u64,
}

/// What a stream is on this core.
#[derive(Debug)]
pub(super) enum Role {
    /// Where publishers of the key meet, and what feeds the other cores.
    Home { cast: Box<Cast>, feeds: Vec<Feed> },
    /// What the home sends is handed on to this core's readers.
    Replica {
        /// Whether the home has a publisher, as far as we know.
        live: bool,
        /// Readers that the home has been told of.
        audience_told: u32,
    },
}

/// A core that the home sends the stream to.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) core: CoreId,
    pub(super) replica: StreamId,
    /// False from the core's congestion, or from a start during it, until the next frame to resume at.
    pub(super) flowing: bool,
    /// Another publisher has gone on the air, and the core has not heard of it.
    pub(super) restarts: bool,
    /// Readers that the replica has told of.
    pub(super) audience: u32,
}

impl Stream {
    pub(super) fn new(key: StreamKey, home: CoreId, role: Role, gop: GopSettings) -> Self {
        Self {
            key,
            home,
            role,
            is_dry_run: false,
            gop: GopCache::new(gop),
            subscribers: Vec::new(),
            timestamp: 0,
            timeline: Timeline::default(),
            frames: 0,
            gop_started: 0,
        }
    }

    /// Whether there is a broadcast: a publisher, or one that is waited for.
    pub(super) fn is_live(&self) -> bool {
        match &self.role {
            Role::Home { cast, .. } => cast.is_live(),
            Role::Replica { live, .. } => *live,
        }
    }

    /// Whether somebody publishes it, and sends no video now ([`GopCache::has_video`]): no key frame is to be waited for.
    pub(super) fn has_no_pictures(&self, now: Instant) -> bool {
        self.is_live() && !self.gop.has_video(now)
    }

    /// Whether nobody needs it any more.
    pub(super) fn is_unused(&self) -> bool {
        self.subscribers.is_empty()
            && match &self.role {
                Role::Home { cast, feeds } => cast.is_unused() && feeds.is_empty(),
                Role::Replica { .. } => true,
            }
    }

    /// Readers on all cores that this core knows of.
    pub(super) fn audience(&self) -> u64 {
        let elsewhere = match &self.role {
            Role::Home { feeds, .. } => feeds.iter().map(|feed| u64::from(feed.audience)).sum(),
            Role::Replica { .. } => 0,
        };
        self.subscribers.len() as u64 + elsewhere
    }

    /// Puts a frame into the cache. Gives whether its kind has another default track from here on ([`GopCache::push`]).
    pub(super) fn record(&mut self, frame: &Arc<Frame>) -> bool {
        let has_new_default = self.gop.push(frame);
        self.frames += 1;
        self.timestamp = frame.timestamp();
        self.timeline.note(frame);
        if frame.starts_gop() {
            self.gop_started = self.frames;
        }
        has_new_default
    }

    /// What somebody needs who has seen nothing yet: metadata, current sequence headers and the GOP, or the headers alone without one.
    pub(super) fn late_join(&self, form: Form) -> Vec<Arc<Frame>> {
        match self.gop.frames() {
            0 => self.gop.headers(form, self.timestamp),
            _ => self.gop.late_join(form),
        }
    }

    /// Whether a core that has missed frames can go on from this one: at a key frame; anywhere without video, or when it has gone
    /// silent ([`GopCache::has_video`]). Readers' gates see to it that pictures then start at a key frame.
    pub(super) fn resumes_at(&self, now: Instant, frame: &Frame) -> bool {
        match frame.role() {
            FrameRole::Key => true,
            role if role.is_header() => false,
            _ => !self.gop.has_video(now),
        }
    }
}
