//! How a stream goes on with another publisher, and how it ends.
//!
//! Who is not on the air is taken in all the same, and its headers are kept: so it can go on the air with any of its key frames, which its
//! readers get behind its headers, at the time that the stream would have had then ([`Timeline`](crate::media::Timeline)). What the one
//! before has sent stays in their queues; the GOP cache begins anew, so nobody joins across the switch.
//!
//! While nobody is on the air the cache is empty: who joins then waits for the next publisher, at home as on other cores.

use std::sync::Arc;
use std::time::Duration;

use super::cast::{Cast, Cause, Likeness, MediaSet, Part, Publisher, Succession};
use super::claim::Takeover;
use super::publishing::End;
use super::stream::Role;
use super::{ConnectionRef, Hub, HubEvent, MeshMessage, MismatchPolicy, PublisherKey, StreamId};
use crate::media::{Frame, GopCache};
use crate::session::{Instant, MediaMessage, Notice};

/// How long a newcomer whose media has to match may take to show it, while another publisher is on the air.
const MATCH_MAX: Duration = Duration::from_secs(10);

impl Cast {
    /// The first publisher of a broadcast: nothing stays of the last one but how often the key has changed hands.
    pub(super) fn begin(&mut self, publisher: PublisherKey) {
        self.on_air = Some(publisher);
        self.media = MediaSet::default();
        self.discontinuities = 0;
    }
}

impl Hub {
    /// The cast of a stream whose home this core is.
    pub(super) fn cast(&mut self, id: StreamId) -> Option<&mut Cast> {
        match &mut self.streams.get_mut(id)?.role {
            Role::Home { cast, .. } => Some(cast),
            Role::Replica { .. } => None,
        }
    }

    /// The same, to look at.
    pub(super) fn cast_ref(&self, id: StreamId) -> Option<&Cast> {
        match &self.streams.get(id)?.role {
            Role::Home { cast, .. } => Some(cast),
            Role::Replica { .. } => None,
        }
    }

    /// Takes a message of a publisher that is not on the air; its first key frame may change that.
    #[cold]
    pub(super) fn rehearse(&mut self, now: Instant, key: PublisherKey, message: MediaMessage) {
        let Some(publisher) = self.publishers.get_mut(key) else { return };
        let id = publisher.stream;
        if publisher.part == Part::Retired {
            return;
        }
        let Some(frame) = publisher.ingest.frame(now, message) else {
            if let Some(excess) = publisher.ingest.excess() {
                return self.expel(now, key, excess);
            }
            if publisher.ingest.take_metadata_cleared()
                && let Some(rehearsal) = &mut publisher.rehearsal
            {
                rehearsal.clear_metadata();
            }
            return;
        };
        if publisher.part == Part::Successor && self.is_to_enter(now, id, key, &frame) {
            return self.enter(now, id, key, frame);
        }
        let is_key = frame.starts_gop();
        let publisher = self.publishers.get_mut(key);
        if let Some(Publisher { rehearsal: Some(rehearsal), part, .. }) = publisher {
            rehearsal.push(&Arc::new(frame));
            if is_key && *part == Part::Standby {
                self.judge_standby(now, id, key);
            }
        }
    }

    /// Whether a successor goes on the air with this frame. One that does not match is closed; one that is not needed any more stands by.
    fn is_to_enter(&mut self, now: Instant, id: StreamId, key: PublisherKey, frame: &Frame) -> bool {
        let (Some(cast), Some(publisher)) = (self.cast_ref(id), self.publishers.get(key)) else {
            return false;
        };
        let Some(Succession { cause, since, .. }) = cast.successor else { return false };
        let media = self.media_of(cast);
        if !publisher.enters_with(now, frame, since, media.has_video()) {
            return false;
        }
        if cause == Cause::Failover && self.has_recovered(now, id) {
            self.stand_down(id);
            return false;
        }
        if cast.settings.mismatch == MismatchPolicy::Discontinuity {
            return true;
        }
        match media.likeness(&MediaSet::of(publisher.ingest.tracks())) {
            Likeness::Same => true,
            Likeness::Lacking if now - publisher.since < MATCH_MAX => false,
            Likeness::Lacking | Likeness::Different => {
                self.dismiss(now, id, key);
                false
            }
        }
    }

    /// What the stream's tracks are, or were last.
    fn media_of(&self, cast: &Cast) -> MediaSet {
        let on_air = cast.on_air.and_then(|on_air| self.publishers.get(on_air));
        on_air.map_or_else(|| cast.media.clone(), |on_air| MediaSet::of(on_air.ingest.tracks()))
    }

    /// Closes a standby at a key frame that shows that it would not match.
    fn judge_standby(&mut self, now: Instant, id: StreamId, key: PublisherKey) {
        let (Some(cast), Some(publisher)) = (self.cast_ref(id), self.publishers.get(key)) else { return };
        let newcomer = MediaSet::of(publisher.ingest.tracks());
        if cast.settings.mismatch == MismatchPolicy::Refuse
            && self.media_of(cast).likeness(&newcomer) == Likeness::Different
        {
            self.dismiss(now, id, key);
        }
    }

    /// A publisher goes on the air, with this frame.
    fn enter(&mut self, now: Instant, id: StreamId, key: PublisherKey, frame: Frame) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let Some(publisher) = self.publishers.get_mut(key) else { return };
        publisher.part = Part::OnAir;
        publisher.ingest.set_rebase(stream.timeline.rebase(now, frame.timestamp()));
        let frame = frame.at(publisher.ingest.rebased(frame.timestamp()));
        // Who leaves the air may stand by from here on, with the headers that it has sent so far.
        let mut leaving = Publisher::rehearsal();
        leaving.begin_with(&stream.gop);
        match publisher.rehearsal.take() {
            Some(rehearsal) => stream.gop.begin_with(&rehearsal),
            None => stream.gop.clear(),
        }
        let Role::Home { cast, feeds } = &mut stream.role else { return };
        let cause = cast.successor.take().map(|successor| successor.cause);
        let before = cast.on_air.replace(key);
        cast.absent_until = None;
        cast.discontinuities += 1;
        for feed in feeds {
            feed.flowing = false;
            feed.restarts = true;
        }
        self.counters.discontinuities += 1;
        self.restart_subscribers(id);
        if let Some(before) = before {
            match cause {
                Some(Cause::Failover) => self.go_to_standby(id, before, leaving),
                cause => {
                    if let Some(Cause::Takeover(takeover)) = cause {
                        self.count_takeover(now, id, takeover);
                    }
                    self.retire(before, |connection| HubEvent::Replaced { connection });
                }
            }
        }
        self.fan_out(now, id, Arc::new(frame));
    }

    /// A starving publisher leaves the air to its standby, and stands by in its stead.
    fn go_to_standby(&mut self, id: StreamId, key: PublisherKey, rehearsal: Box<GopCache>) {
        let Some(publisher) = self.publishers.get_mut(key) else { return };
        publisher.part = Part::Standby;
        publisher.ingest.set_rebase(None);
        publisher.rehearsal = Some(rehearsal);
        if let Some(cast) = self.cast(id) {
            cast.standby = Some(key);
        }
    }

    /// A publisher has no part in its stream any more; its driver is told to close it.
    pub(super) fn retire(&mut self, key: PublisherKey, why: impl Fn(ConnectionRef) -> HubEvent) {
        if let Some(publisher) = self.publishers.get_mut(key) {
            publisher.part = Part::Retired;
            publisher.rehearsal = None;
            self.events.push_back(why(publisher.connection));
        }
    }

    /// Closes a successor or standby whose media does not match. Who is on the air stays there; else the stream is waited for, as before.
    fn dismiss(&mut self, now: Instant, id: StreamId, key: PublisherKey) {
        let Some(cast) = self.cast(id) else { return };
        cast.standby = cast.standby.filter(|standby| *standby != key);
        let was_next = cast.successor.take_if(|successor| successor.publisher == key).is_some();
        let leaves_nobody = was_next && cast.on_air.is_none();
        self.counters.mismatches_refused += 1;
        self.retire(key, |connection| HubEvent::Mismatched { connection });
        if leaves_nobody {
            self.vacate(now, id, End::Lost);
        }
    }

    /// Nobody is on the air, and who was about to be may be gone as well: somebody else goes on, is waited for, or the stream ends.
    pub(super) fn vacate(&mut self, now: Instant, id: StreamId, end: End) {
        let Some(cast) = self.cast(id) else { return };
        let grace = cast.settings.grace();
        if cast.successor.is_some() {
            self.fall_silent(id);
        } else if let Some(standby) = cast.standby.take() {
            cast.absent_until = cast.absent_until.or(grace.map(|grace| now + grace));
            self.fall_silent(id);
            self.call(now, id, standby);
        } else if end == End::Lost && (cast.absent_until.is_some() || grace.is_some()) {
            if cast.absent_until.is_none() {
                cast.absent_until = grace.map(|grace| now + grace);
                self.counters.graces += 1;
            }
            self.fall_silent(id);
            self.watch(id);
        } else {
            self.end_broadcast(now, id);
        }
        // Last: where the broadcast is over, what a newcomer begins is another one, and its beginning has to be told behind that end.
        self.ask_again(id);
    }

    /// The standby goes on the air with its next key frame.
    fn call(&mut self, now: Instant, id: StreamId, standby: PublisherKey) {
        if let Some(publisher) = self.publishers.get_mut(standby) {
            publisher.part = Part::Successor;
        }
        self.counters.failovers += 1;
        self.succeed(now, id, standby, Cause::Failover);
    }

    /// A standby that was called is not needed: whom it stood by for sends again.
    fn stand_down(&mut self, id: StreamId) {
        let Some(cast) = self.cast(id) else { return };
        let Some(successor) = cast.successor.take() else { return };
        cast.standby = Some(successor.publisher);
        if let Some(publisher) = self.publishers.get_mut(successor.publisher) {
            publisher.part = Part::Standby;
        }
    }

    fn has_recovered(&self, now: Instant, id: StreamId) -> bool {
        self.cast_ref(id).is_some_and(|cast| {
            let yield_silent = cast.settings.yield_silent();
            let on_air = cast.on_air.and_then(|on_air| self.publishers.get(on_air));
            on_air.is_some_and(|on_air| now - on_air.spoke_at < yield_silent)
        })
    }

    /// Nobody is on the air for a while: who joins has to wait.
    pub(super) fn fall_silent(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.gop.clear();
        }
        self.tell_feeds(id, |replica| MeshMessage::Lapse { replica });
    }

    /// Readers are told that nobody publishes any more.
    fn end_broadcast(&mut self, now: Instant, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.gop.clear();
        // Of a dry run nobody has heard.
        let over = (!stream.is_dry_run).then(|| stream.key.clone());
        if let Some(cast) = self.cast(id) {
            cast.absent_until = None;
        }
        self.tell_feeds(id, |replica| MeshMessage::End { replica });
        self.notify_subscribers(now, id, Notice::UnpublishNotify);
        self.events.extend(over.map(HubEvent::Over));
    }

    fn ask_again(&mut self, id: StreamId) {
        if let Some(waiting) = self.cast(id).and_then(|cast| cast.waiting.as_mut())
            && !waiting.told
        {
            waiting.told = true;
            let connection = waiting.connection;
            self.events.push_back(HubEvent::AskAgain { connection });
        }
    }

    /// What time brings about is looked for from here on.
    pub(super) fn watch(&mut self, id: StreamId) {
        if let Some(cast) = self.cast(id)
            && !std::mem::replace(&mut cast.is_watched, true)
        {
            self.watched.push(id);
        }
    }

    /// What time alone brings about for publishers.
    pub(super) fn sweep_publishers(&mut self, now: Instant) {
        let mut watched = std::mem::take(&mut self.watched);
        watched.retain(|id| {
            self.sweep_cast(now, *id);
            let Some(cast) = self.cast(*id) else { return false };
            cast.is_watched = cast.is_restless();
            cast.is_watched
        });
        // A stream that has come to be watched meanwhile is there once: it was not in the list before.
        watched.append(&mut self.watched);
        self.watched = watched;
    }

    fn sweep_cast(&mut self, now: Instant, id: StreamId) {
        let Some(cast) = self.cast_ref(id) else { return };
        let yield_silent = cast.settings.yield_silent();
        if let Some(waiting) = cast.waiting {
            let met = || cast.incumbents().filter_map(|key| Some(self.publishers.get(key)?.as_holder()));
            if met().any(|one| now - one.heard_at >= yield_silent)
                || met().all(|one| one.has_shown_life(waiting.since))
            {
                self.ask_again(id);
            }
        }
        let Some(cast) = self.cast_ref(id) else { return };
        let spoke = |key: PublisherKey| {
            self.publishers.get(key).is_some_and(|publisher| now - publisher.spoke_at < yield_silent)
        };
        match (cast.on_air, cast.successor) {
            (None, None) if cast.absent_until.is_some_and(|until| now >= until) => {
                self.counters.graces_expired += 1;
                self.end_broadcast(now, id);
                self.remove_unused(id);
            }
            (Some(_), Some(Succession { cause: Cause::Failover, .. })) if self.has_recovered(now, id) => {
                self.stand_down(id);
            }
            (
                Some(_),
                Some(Succession {
                    cause: Cause::Takeover(Takeover::Newest | Takeover::Priority),
                    since,
                    publisher,
                }),
            ) if now - since >= MATCH_MAX => {
                self.dismiss(now, id, publisher);
            }
            (Some(on_air), None) => {
                if let Some(standby) = cast.standby
                    && !spoke(on_air)
                    && spoke(standby)
                {
                    if let Some(cast) = self.cast(id) {
                        cast.standby = None;
                    }
                    self.call(now, id, standby);
                }
            }
            _ => {}
        }
    }

    /// Nobody is waited for any more: for an engine that stops.
    pub fn end_graces(&mut self, now: Instant) {
        for id in self.watched.clone() {
            let Some(cast) = self.cast(id) else { continue };
            if cast.on_air.is_none() && cast.successor.is_none() && cast.absent_until.is_some() {
                self.end_broadcast(now, id);
                self.remove_unused(id);
            }
        }
    }
}
