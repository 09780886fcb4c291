//! Publishers come, send and leave.

use std::sync::Arc;

use super::cast::{Cast, Cause, MediaSet, Part, Publisher, Succession, Waiting};
use super::claim::{Claim, Entry, PublishRefused, Ruling, Scene, Takeover, rule};
use super::stream::{Role, Stream};
use super::{AppSettings, ConnectionRef, Hub, HubEvent, MeshMessage, MismatchPolicy, PublisherKey, StreamId};
use crate::media::health::Health;
use crate::media::{GopCache, GopSettings, Ingest};
use crate::session::{Excess, Instant, MediaMessage, Notice, StreamKey};

/// How a publisher has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It said so, or we did: its part is over.
    Said,
    /// It was lost, and may come back.
    Lost,
}

impl Hub {
    /// Somebody wants to publish; this core is the stream's home. The module `claim` says what comes of it.
    ///
    /// # Errors
    /// When somebody publishes it already and is not to be taken over from.
    pub fn publish(
        &mut self,
        now: Instant,
        key: &StreamKey,
        claim: Claim,
        settings: &AppSettings,
    ) -> Result<Entry, PublishRefused> {
        let id = self.find_or_insert(key, self.settings.core, &settings.gop);
        // Safe whatever a peer sends: the id was looked up or made in the line before, and a stream has a cast exactly when its home is this
        // core, which neither changes while it lives.
        let Some(cast) = self.cast(id) else { unreachable!("found or inserted, and its home is this core") };
        cast.settings = settings.continuity;
        let waits_since = cast
            .waiting
            .filter(|waiting| waiting.connection == claim.connection)
            .map(|waiting| waiting.since);
        let Some(holder) = cast.holder() else {
            self.withdraw_from(id, claim.connection);
            return Ok(self.admit(now, id, claim, settings));
        };
        let ruling = self.ruling(now, id, holder, &claim, waits_since);
        if ruling != Ruling::Waits {
            self.withdraw_from(id, claim.connection);
        }
        match ruling {
            Ruling::TakesOver(takeover) => Ok(self.take_over(now, id, claim, settings, takeover)),
            Ruling::StandsBy => Ok(self.stand_by(now, id, claim, settings)),
            Ruling::Waits => {
                self.wait(now, id, claim.connection, waits_since);
                Ok(Entry::Waits)
            }
            Ruling::Refused(refused) => {
                self.counters.publishes_refused += 1;
                Err(refused)
            }
        }
    }

    /// Starts a publisher whose stream has no readers and cannot be found: what it sends is judged and counted as any other's, and goes
    /// nowhere. It takes no key, so it is in no other publisher's way. [`Hub::unpublish`] ends it.
    pub fn publish_dry(
        &mut self,
        now: Instant,
        key: &StreamKey,
        claim: impl Into<Claim>,
        settings: &AppSettings,
    ) -> PublisherKey {
        // Nobody will ever join.
        let gop = GopSettings { enabled: false, ..settings.gop.clone() };
        let role = Role::Home { cast: Box::default(), feeds: Vec::new() };
        let stream = Stream { is_dry_run: true, ..Stream::new(key.clone(), self.settings.core, role, gop) };
        let id = self.streams.insert(stream);
        let publisher = self.new_publisher(now, id, claim.into(), settings, Part::OnAir);
        if let Some(cast) = self.cast(id) {
            // Nobody waits for it either.
            cast.settings.grace_ms = 0;
            cast.begin(publisher);
        }
        publisher
    }

    /// Ends a publisher. Readers are told when nobody else goes on with the stream, in order with the frames, and may stay for the
    /// next one.
    pub fn unpublish(&mut self, now: Instant, publisher: PublisherKey, end: End) {
        let Some(Publisher { stream: id, part, ingest, health, .. }) = self.publishers.remove(publisher)
        else {
            return;
        };
        self.health.forget(&health);
        self.leave(now, id, part, MediaSet::of(ingest.tracks()), end);
        self.remove_unused(id);
    }

    /// Ends the part that a publisher of this media has in its stream.
    fn leave(&mut self, now: Instant, id: StreamId, part: Part, media: MediaSet, end: End) {
        let Some(cast) = self.cast(id) else { return };
        match part {
            Part::Retired => {}
            Part::Standby => cast.standby = None,
            Part::Successor => {
                cast.successor = None;
                if cast.on_air.is_none() {
                    self.vacate(now, id, end);
                }
            }
            Part::OnAir => {
                cast.on_air = None;
                cast.media = media;
                self.vacate(now, id, end);
            }
        }
    }

    /// Ends a publisher's part for what it has exceeded; its driver is told to close it. It is not waited for. Where it was to follow one that
    /// is waited for, that wait goes on as before.
    pub(super) fn expel(&mut self, now: Instant, key: PublisherKey, excess: Excess) {
        let Some(publisher) = self.publishers.get(key) else { return };
        let (id, part, media) = (publisher.stream, publisher.part, MediaSet::of(publisher.ingest.tracks()));
        let is_awaited = self.cast_ref(id).is_some_and(|cast| cast.absent_until.is_some());
        let end = if part == Part::Successor && is_awaited { End::Lost } else { End::Said };
        // First: the publisher's own end is told before that of its stream.
        self.retire(key, |connection| HubEvent::OverLimit { connection, excess });
        self.leave(now, id, part, media, end);
    }

    /// Takes a publisher's next message and hands the frame on to everybody who reads it, if it is on the air.
    pub fn ingest(&mut self, now: Instant, key: PublisherKey, message: MediaMessage) {
        let Some(publisher) = self.publishers.get_mut(key) else { return };
        self.counters.messages_ingested += 1;
        publisher.messages += 1;
        publisher.bytes += u64::from(message.wire_bytes);
        publisher.spoke_at = now;
        if publisher.part != Part::OnAir {
            return self.rehearse(now, key, message);
        }
        let stream = publisher.stream;
        if let Some(frame) = publisher.ingest.frame(now, message) {
            self.fan_out(now, stream, Arc::new(frame));
        } else if let Some(excess) = publisher.ingest.excess() {
            self.expel(now, key, excess);
        } else if publisher.ingest.take_metadata_cleared() {
            self.clear_metadata(stream);
        }
    }

    /// Who holds a stream that lives here: whom a newcomer would meet.
    pub fn holder(&self, key: &StreamKey) -> Option<(PublisherKey, ConnectionRef)> {
        let id = self.find(key, self.settings.core)?;
        let holder = self.cast_ref(id)?.holder()?;
        self.with_connection(holder)
    }

    /// Whose signs of life decide a claim to a stream that lives here: before it their drivers say when they were heard of.
    pub fn incumbents(&self, key: &StreamKey) -> impl Iterator<Item = (PublisherKey, ConnectionRef)> {
        let cast = self.find(key, self.settings.core).and_then(|id| self.cast_ref(id));
        cast.into_iter().flat_map(Cast::incumbents).filter_map(|key| self.with_connection(key))
    }

    /// The same of all streams that newcomers wait for: before each sweep their drivers say when they were heard of.
    pub fn awaited(&self) -> impl Iterator<Item = (PublisherKey, ConnectionRef)> {
        let casts = self.watched.iter().filter_map(|id| self.cast_ref(*id));
        let casts = casts.filter(|cast| cast.waiting.is_some());
        casts.flat_map(Cast::incumbents).filter_map(|key| self.with_connection(key))
    }

    fn with_connection(&self, key: PublisherKey) -> Option<(PublisherKey, ConnectionRef)> {
        Some((key, self.publishers.get(key)?.connection))
    }

    /// Something of a publisher came at that time, though it may not be a whole message yet.
    pub fn heard(&mut self, at: Instant, publisher: PublisherKey) {
        if let Some(publisher) = self.publishers.get_mut(publisher) {
            publisher.heard_at = publisher.heard_at.max(at);
        }
    }

    /// A publisher's peer has closed. [`Hub::unpublish`] comes when all that was sent before has been read; until then nothing of it is a
    /// sign of life.
    pub fn leaves(&mut self, publisher: PublisherKey) {
        if let Some(publisher) = self.publishers.get_mut(publisher) {
            publisher.is_leaving = true;
        }
    }

    /// A newcomer that waits has gone.
    pub fn withdraw(&mut self, key: &StreamKey, connection: ConnectionRef) {
        if let Some(id) = self.find(key, self.settings.core) {
            self.withdraw_from(id, connection);
            self.remove_unused(id);
        }
    }

    fn withdraw_from(&mut self, id: StreamId, connection: ConnectionRef) {
        if let Some(cast) = self.cast(id) {
            cast.waiting = cast.waiting.filter(|waiting| waiting.connection != connection);
        }
    }

    fn ruling(
        &self,
        now: Instant,
        id: StreamId,
        holder: PublisherKey,
        claim: &Claim,
        waits_since: Option<Instant>,
    ) -> Ruling {
        // Safe whatever a peer sends: `holder` was taken from this stream's cast by the only caller, and a publisher has left its cast when
        // it leaves the arena (`unpublish`).
        let (Some(cast), Some(holder)) = (self.cast_ref(id), self.publishers.get(holder)) else {
            unreachable!("the cast is of publishers that are there")
        };
        let standby = cast.in_standby_place().and_then(|standby| self.publishers.get(standby));
        let scene = Scene {
            holder: holder.as_holder(),
            standby: standby.map(Publisher::as_holder),
            flaps: &cast.flaps,
            waits_since,
        };
        rule(now, claim, &scene, &cast.settings)
    }

    fn new_publisher(
        &mut self,
        now: Instant,
        id: StreamId,
        claim: Claim,
        app: &AppSettings,
        part: Part,
    ) -> PublisherKey {
        self.counters.publishes += 1;
        let pace = claim.limits.has_rates().then(Box::default);
        self.publishers.insert(Publisher {
            stream: id,
            connection: claim.connection,
            identity: claim.identity,
            priority: claim.priority,
            since: now,
            part,
            spoke_at: now,
            heard_at: now,
            is_leaving: false,
            took_over_at: None,
            ingest: Ingest::new(app.ingest.clone()).within(claim.limits),
            rehearsal: (part != Part::OnAir).then(Publisher::rehearsal),
            bytes: 0,
            messages: 0,
            health: Health::new(now, app.health),
            pace,
        })
    }

    /// A publisher that meets nobody: the first one of a broadcast, or one that was waited for.
    fn admit(&mut self, now: Instant, id: StreamId, claim: Claim, app: &AppSettings) -> Entry {
        if self.cast_ref(id).is_some_and(Cast::is_live) {
            let publisher = self.new_publisher(now, id, claim, app, Part::Successor);
            self.counters.graces_resumed += 1;
            self.succeed(now, id, publisher, Cause::Return);
            return Entry::Follows(publisher);
        }
        let publisher = self.new_publisher(now, id, claim, app, Part::OnAir);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.gop = GopCache::new(app.gop.clone());
            stream.timeline = Default::default();
            if let Role::Home { cast, .. } = &mut stream.role {
                cast.begin(publisher);
            }
        }
        self.tell_feeds(id, |replica| MeshMessage::Begin { replica });
        self.notify_subscribers(now, id, Notice::PublishNotify);
        Entry::Begins(publisher)
    }

    /// A newcomer takes over. Where its media has to match, whom it follows stays until that is known; a ghost has nothing to stay for.
    fn take_over(
        &mut self,
        now: Instant,
        id: StreamId,
        claim: Claim,
        app: &AppSettings,
        takeover: Takeover,
    ) -> Entry {
        let makes_before_break =
            app.continuity.mismatch == MismatchPolicy::Refuse && takeover != Takeover::Silent;
        let publisher = self.new_publisher(now, id, claim, app, Part::Successor);
        if let Some(newcomer) = self.publishers.get_mut(publisher) {
            newcomer.took_over_at = Some(now);
        }
        let Some(cast) = self.cast(id) else { return Entry::Follows(publisher) };
        let about_to = cast.successor.take();
        let of_ghost = about_to.filter(|_| takeover == Takeover::Silent);
        let stays = cast.on_air.is_some() && (makes_before_break || of_ghost.is_some());
        // Whom a ghost was about to follow has done nothing: the newcomer is to it what the ghost was.
        let cause = match of_ghost {
            Some(ghost) if stays => ghost.cause,
            _ => Cause::Takeover(takeover),
        };
        if about_to.is_some() || !stays {
            self.count_takeover(now, id, takeover);
        }
        if let Some(Succession { publisher: replaced, .. }) = about_to {
            self.retire(replaced, |connection| HubEvent::Replaced { connection });
        }
        if !stays {
            self.take_off_the_air(now, id);
        }
        self.succeed(now, id, publisher, cause);
        Entry::Follows(publisher)
    }

    /// A stream has changed hands.
    pub(super) fn count_takeover(&mut self, now: Instant, id: StreamId, takeover: Takeover) {
        match takeover {
            Takeover::Newest => self.counters.takeovers_newest += 1,
            Takeover::Priority => self.counters.takeovers_priority += 1,
            Takeover::Silent => self.counters.takeovers_silent += 1,
        }
        if takeover != Takeover::Silent
            && let Some(cast) = self.cast(id)
        {
            cast.flaps.on_takeover(now);
        }
    }

    /// Closes who is on the air, if anybody is, before somebody else is there to follow.
    fn take_off_the_air(&mut self, now: Instant, id: StreamId) {
        let Some(cast) = self.cast(id) else { return };
        let Some(on_air) = cast.on_air.take() else { return };
        cast.absent_until = cast.settings.grace().map(|grace| now + grace);
        let media = self.publishers.get(on_air).map(|on_air| MediaSet::of(on_air.ingest.tracks()));
        if let Some(cast) = self.cast(id) {
            cast.media = media.unwrap_or_default();
        }
        self.retire(on_air, |connection| HubEvent::Replaced { connection });
        self.fall_silent(id);
    }

    fn stand_by(&mut self, now: Instant, id: StreamId, claim: Claim, app: &AppSettings) -> Entry {
        let publisher = self.new_publisher(now, id, claim, app, Part::Standby);
        self.counters.standbys += 1;
        let Some(cast) = self.cast(id) else { return Entry::StandsBy(publisher) };
        let has_called = cast.has_called();
        if let Some(ghost) = cast.standby.replace(publisher) {
            self.retire(ghost, |connection| HubEvent::Replaced { connection });
        }
        if has_called {
            // The newcomer's ghost starves there, and would have stood by when the one that was called is on the air.
            self.take_off_the_air(now, id);
        }
        self.watch(id);
        Entry::StandsBy(publisher)
    }

    /// The newest newcomer waits; one that waited before is turned away.
    fn wait(&mut self, now: Instant, id: StreamId, connection: ConnectionRef, since: Option<Instant>) {
        self.counters.publishes_held += u64::from(since.is_none());
        let waiting = Waiting { connection, since: since.unwrap_or(now), told: false };
        let before = self.cast(id).and_then(|cast| cast.waiting.replace(waiting));
        if let Some(Waiting { connection: other, .. }) =
            before.filter(|before| before.connection != connection)
        {
            self.counters.publishes_refused += 1;
            self.events.push_back(HubEvent::TurnedAway { connection: other });
        }
        self.watch(id);
    }

    /// A publisher goes on the air next.
    pub(super) fn succeed(&mut self, now: Instant, id: StreamId, publisher: PublisherKey, cause: Cause) {
        if let Some(cast) = self.cast(id) {
            cast.successor = Some(Succession { publisher, cause, since: now });
        }
        self.watch(id);
    }
}
