//! What sessions ask for: publish, play, and the end of either.
//!
//! Both wait for the outside's word ([`super::asking`]). Then a publish goes to its stream's home core first; a play stays where it was
//! accepted. Both are answered through the session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{debug, info};

use super::answers::codec_list;
use super::asking::{Admitted, Request};
use super::buffer::BufferSize;
use super::connection::{Activity, Connection, ConnectionKey, MOVE_TIME_MAX, Phase, Playing};
use super::core::Core;
use super::lease::Lease;
use super::observe::Role;
use super::outside::{Facts, Grant, News, Totals};
use super::quotas::Seat;
use super::settings::App;
use super::socket;
use crate::hub::{AppSettings, Claim, ConnectionRef, End, Entry, PublisherKey, QueueSettings, Reader};
use crate::media::Form;
use crate::session::status::code;
use crate::session::{
    CloseReason, Encoder, Instant, PlayRequest, PublishRequest, Rejection, RequestId, StreamKey,
};

/// A subscriber's user timeout exceeds the hub's stall limit by this much, so that the hub decides.
const USER_TIMEOUT_MARGIN: Duration = Duration::from_secs(20);

/// How long what is sent to a reader may stay unacknowledged before the kernel ends its connection.
pub(crate) fn user_timeout(queue: &QueueSettings) -> Duration {
    Duration::from_millis(u64::from(queue.stall_ms_max)) + USER_TIMEOUT_MARGIN
}

impl Core {
    pub(crate) fn on_publish_requested(&mut self, key: ConnectionKey, request: PublishRequest, now: Instant) {
        let Some(connection) = self.connection(key) else { return };
        let Some(session) = connection.session.server_mut() else { return };
        if !matches!(connection.activity, Activity::None) {
            let rejection = Rejection {
                code: code::STREAM_FAILED,
                description: "this connection plays or publishes already; use another one".into(),
                close: false,
            };
            return session.reject(now, request.request, rejection);
        }
        self.ask(key, Request::Publish(request), now);
    }

    /// Publishes here or takes the publisher to its stream's home core, whichever that is.
    pub(crate) fn bring_home(&mut self, key: ConnectionKey, admitted: Box<Admitted>, now: Instant) {
        let here = self.id;
        let shared = Arc::clone(&self.shared);
        let Some(connection) = self.connection(key) else { return };
        let Some(session) = connection.session.server_mut() else { return };
        if shared.is_draining() {
            let rejection = Rejection {
                code: code::STREAM_FAILED,
                description: "this server is going down: connect again to reach another one".into(),
                close: true,
            };
            return session.reject(now, admitted.request.request, rejection);
        }
        if admitted.grant.dry_run {
            // It takes no key, so that it has no home either.
            return self.publish_dry(key, *admitted, now);
        }
        let home = shared.directory.send_home(&admitted.request.address.key, here);
        if home == here {
            return self.publish(key, admitted, now);
        }
        debug!(parent: &connection.span, to = home.0, "moves to its home core");
        connection.activity = Activity::Moving { home, admitted };
        connection.give_up_at = now + MOVE_TIME_MAX;
        connection.wake_writer.raise();
    }

    /// Publishes on this core, the stream's home.
    pub(crate) fn publish(&mut self, key: ConnectionKey, admitted: Box<Admitted>, now: Instant) {
        let stream = admitted.request.address.key.clone();
        let settings = self.app_settings(stream.app());
        let Grant { identity, priority, limits, .. } = admitted.grant.as_ref();
        let (identity, limits) = (identity.clone(), limits.clone());
        self.listen_before_claim(&stream, now);
        let claim = Claim { connection: key.into(), identity, priority: *priority, limits };
        match self.hub.publish(now, &stream, claim, &settings) {
            Ok(Entry::Waits) => self.hold_back(key, admitted, now),
            Ok(Entry::Begins(publisher)) => self.begin_publishing(key, publisher, *admitted, true, now),
            Ok(Entry::Follows(publisher) | Entry::StandsBy(publisher)) => {
                self.begin_publishing(key, publisher, *admitted, false, now);
            }
            Err(refused) => {
                self.count("publish_refused", refused.label());
                self.reject(key, admitted.request.request, Rejection::name_in_use(&refused.to_string()), now);
            }
        }
        self.pump_hub();
    }

    /// Takes in what goes nowhere.
    fn publish_dry(&mut self, key: ConnectionKey, admitted: Admitted, now: Instant) {
        let stream = &admitted.request.address.key;
        let settings = self.app_settings(stream.app());
        let claim = Claim { limits: admitted.grant.limits.clone(), ..ConnectionRef::from(key).into() };
        let publisher = self.hub.publish_dry(now, stream, claim, &settings);
        self.begin_publishing(key, publisher, admitted, false, now);
        self.pump_hub();
    }

    /// Says no to a publish.
    pub(crate) fn reject(
        &mut self,
        key: ConnectionKey,
        request: RequestId,
        rejection: Rejection,
        now: Instant,
    ) {
        let connection = self.connection(key);
        if let Some(session) = connection.and_then(|connection| connection.session.server_mut()) {
            session.reject(now, request, rejection);
        }
    }

    fn begin_publishing(
        &mut self,
        key: ConnectionKey,
        publisher: PublisherKey,
        admitted: Admitted,
        is_first: bool,
        now: Instant,
    ) {
        let Admitted { request, facts, grant, seat } = admitted;
        let shared = self.shared.clone();
        let home = self.id;
        let stream = request.address.key;
        self.counts.publishes += 1;
        shared.publishers.fetch_add(1, Ordering::Relaxed);
        let Some(connection) = self.connection(key) else { return };
        if connection.role == Role::Player
            && let Err(error) = socket::restore_user_timeout(&connection.socket)
        {
            debug!(parent: &connection.span, %error, "publisher's socket options");
        }
        connection.role = Role::Publisher;
        connection.place.set_pending(false);
        connection.stream = Some(stream.clone());
        connection.reading.buffer_size = BufferSize::PUBLISHER;
        info!(
            parent: &connection.span,
            app = stream.app(),
            stream = shared.names.hash(stream.name()),
            first = is_first,
            dry_run = grant.dry_run,
            "publishes"
        );
        let lease = Lease::new(now, &grant.limits);
        connection.activity =
            Activity::Publishing { publisher, key: stream.clone(), lease, seat: Some(seat) };
        if let Some(session) = connection.session.server_mut() {
            session.accept_publish(now, request.request);
        }
        if is_first {
            self.on_stream_began(stream.clone(), Arc::clone(&facts), Arc::clone(&grant));
        }
        self.tell(News::PublishBegan { facts, stream, home, grant });
    }

    pub(crate) fn on_play_requested(&mut self, key: ConnectionKey, request: PlayRequest, now: Instant) {
        let Some(connection) = self.connection(key) else { return };
        let Some(session) = connection.session.server_mut() else { return };
        if matches!(connection.activity, Activity::Publishing { .. }) {
            let rejection = Rejection {
                code: code::PLAY_FAILED,
                description: "this connection publishes already; use another one".into(),
                close: false,
            };
            return session.reject(now, request.request, rejection);
        }
        self.ask(key, Request::Play(request), now);
    }

    /// Plays, wherever the stream lives.
    pub(crate) fn play(
        &mut self,
        key: ConnectionKey,
        request: &PlayRequest,
        facts: Arc<Facts>,
        grant: Arc<Grant>,
        seat: Seat,
        now: Instant,
    ) {
        let shared = self.shared.clone();
        let core = self.id;
        let stream = request.address.key.clone();
        let Some(connection) = self.connection(key) else { return };
        let takes_tracks =
            connection.session.connect_info().is_some_and(|info| info.capabilities.multitrack());
        let form = if takes_tracks { Form::Full } else { Form::Plain };
        let settings = self.app_settings(stream.app());
        let unsent_bytes_max = self.settings.subscriber_unsent_bytes_max;
        let home = shared.directory.hold(&stream, core);
        let reader = Reader { connection: key.into(), stream_id: request.stream_id, form };
        let subscriber = self.hub.subscribe(now, &stream, home, reader, &settings);
        self.counts.plays += 1;
        let Some(connection) = self.connection(key) else { return };
        if let Err(error) =
            socket::tune_subscriber(&connection.socket, unsent_bytes_max, user_timeout(&settings.queue))
        {
            debug!(parent: &connection.span, %error, "subscriber's socket options");
        }
        info!(
            parent: &connection.span,
            app = stream.app(),
            stream = shared.names.hash(stream.name()),
            "plays"
        );
        connection.role = Role::Player;
        connection.place.set_pending(false);
        connection.stream = Some(stream.clone());
        let lease = Lease::new(now, &grant.limits);
        let playing =
            Playing { since: now, reader, subscriber, key: stream.clone(), lease, seat: Some(seat) };
        match &mut connection.activity {
            Activity::Playing(all) => all.push(playing),
            activity => *activity = Activity::Playing(smallvec::smallvec![playing]),
        }
        if let Some(session) = connection.session.server_mut() {
            session.accept_play(now, request.request);
        }
        shared.outside.notify.notify(News::PlayBegan { facts, stream, home, grant });
        self.pump_hub();
    }

    /// Ends what the connection publishes or plays: on one message stream, or (`None`) on all.
    pub(crate) fn stop(&mut self, key: ConnectionKey, stream_id: Option<u32>, now: Instant) {
        let Some(connection) = self.connection(key) else { return };
        match std::mem::replace(&mut connection.activity, Activity::None) {
            Activity::None => return,
            Activity::Publishing { publisher, key: stream, seat, .. } => {
                let id = connection.id;
                self.end_health(key, publisher, &stream, now);
                let totals = self.hub.publisher(publisher).map(|view| Totals {
                    bytes: view.bytes(),
                    messages: view.messages(),
                    dropped: 0,
                    lasted: now - view.since(),
                });
                let codecs = self.hub.publisher(publisher).map(|view| codec_list(view.ingest().tracks()));
                let metadata = self.hub.publisher(publisher).and_then(|view| view.ingest().metadata());
                let named = metadata.and_then(|metadata| metadata.encoder.clone());
                // What says that it ends is an end, also the far end of a pull; a connection that has gone is a loss.
                let end = if stream_id.is_none() && self.is_lost(key) { End::Lost } else { End::Said };
                self.hub.unpublish(now, publisher, end);
                // First: who hears of this finds room.
                drop(seat);
                let totals = totals.unwrap_or_default();
                if !self.add_carried(key, totals) {
                    self.shared.publishers.fetch_sub(1, Ordering::Relaxed);
                    self.tell(News::PublishEnded { connection: id, stream, totals });
                }
                if let Some(connection) = self.connection(key) {
                    connection.codecs = codecs.unwrap_or_default();
                    if let Some(session) = connection.session.server() {
                        let flash_ver = session.connect_info().map_or("", |info| &info.flash_ver);
                        connection.encoder = Encoder::of(flash_ver, named.as_deref(), session.behaviour());
                    }
                    // A peer that goes on as a player needs no publisher's buffer.
                    connection.reading.buffer_size = BufferSize::IDLE;
                }
            }
            Activity::Playing(mut all) => {
                let id = connection.id;
                let mut stay = smallvec::SmallVec::new();
                for playing in all.drain(..) {
                    if stream_id.is_some_and(|id| id != playing.reader.stream_id) {
                        stay.push(playing);
                    } else {
                        let totals = self.hub.unsubscribe(playing.subscriber).unwrap_or_default();
                        drop(playing.seat);
                        if let Some(connection) = self.connection(key) {
                            connection.totals.dropped += totals.dropped.total();
                        }
                        let totals = Totals {
                            bytes: totals.bytes,
                            messages: totals.frames,
                            dropped: totals.dropped.total(),
                            lasted: now - playing.since,
                        };
                        if !self.add_carried(key, totals) {
                            self.tell(News::PlayEnded { connection: id, stream: playing.key, totals });
                        }
                    }
                }
                if !stay.is_empty()
                    && let Some(connection) = self.connection(key)
                {
                    connection.activity = Activity::Playing(stay);
                }
            }
            Activity::Moving { admitted, .. } => {
                self.shared.directory.lost(&admitted.request.address.key);
            }
        }
        if let Some(connection) = self.connection(key)
            && connection.phase == Phase::Open
            && matches!(connection.activity, Activity::None)
        {
            connection.place.set_pending(true);
            connection.pending_since = now;
        }
        self.pump_hub();
    }

    /// Whether a connection has ended in a way after which its peer may come back: not for a reason of ours, nor when everything ends.
    fn is_lost(&self, key: ConnectionKey) -> bool {
        let reason = self.connection_ref(key).and_then(|connection| connection.close_reason);
        let is_lost = |reason| match reason {
            CloseReason::Kicked
            | CloseReason::Revoked
            | CloseReason::Drained
            | CloseReason::Stopped
            | CloseReason::OverLimit(_)
            | CloseReason::Rejected { .. } => false,
            CloseReason::Eof
            | CloseReason::Error(_)
            // The far end of a pull closes it; that its stream ends it says otherwise.
            | CloseReason::Refused
            | CloseReason::Replaced
            | CloseReason::Mismatch
            | CloseReason::Hopeless
            | CloseReason::Overload
            | CloseReason::Reset
            | CloseReason::Io
            | CloseReason::Fault => true,
        };
        !self.shared.is_draining() && reason.is_some_and(is_lost)
    }

    /// A stream is there from now on.
    pub(crate) fn on_stream_began(&mut self, stream: StreamKey, facts: Arc<Facts>, grant: Arc<Grant>) {
        self.tell(News::StreamBegan { stream, home: self.id, grant, facts });
    }

    /// A stream is there no more: nobody publishes it, and nobody is waited for.
    pub(crate) fn on_stream_ended(&mut self, stream: StreamKey) {
        // First: who hears of forwards that end is not to make them anew, nor to hear of this after the stream's next beginning elsewhere.
        self.tell(News::StreamEnded { stream: stream.clone(), home: self.id });
        self.end_forwards(&stream);
    }

    pub(crate) fn tell(&self, news: News) {
        self.shared.outside.notify.notify(news);
    }

    /// Ends all that the connection takes part in.
    pub(crate) fn detach(&mut self, key: ConnectionKey) {
        let now = self.now();
        self.end_handshake(key);
        self.withdraw(key);
        self.stop(key, None, now);
    }

    /// The settings of an app: its own block's, or those of `*`.
    pub(crate) fn app_settings(&self, app: &str) -> AppSettings {
        self.app(app).map(|one| one.settings.clone()).unwrap_or_default()
    }

    /// The block that is for an app: its own, or that of `*`.
    pub(crate) fn app(&self, app: &str) -> Option<&App> {
        let apps = &self.settings.apps;
        apps.iter().find(|one| one.name == app).or_else(|| apps.iter().find(|one| one.name == "*"))
    }

    /// The stream that a connection publishes or plays first, if any.
    pub(crate) fn stream_of(connection: &Connection) -> Option<&StreamKey> {
        match &connection.activity {
            Activity::Publishing { key, .. } => Some(key),
            Activity::Playing(playing) => playing.first().map(|one| &one.key),
            Activity::Moving { admitted, .. } => Some(&admitted.request.address.key),
            Activity::None => None,
        }
    }
}
