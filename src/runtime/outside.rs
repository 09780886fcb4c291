//! What the engine asks of the outside, and what it tells it. The questions are declared here; who answers stands a floor above.
//!
//! Questions and news are plain data, handed over on a media core: neither call may wait. An answer that is not known at once comes later
//! as a command ([`Handle::answer`](super::Handle::answer)).
//! # Bounds
//! A connection asks one question at a time, and one that is not answered within [`ANSWER_TIME_MAX`] is refused. News come no faster than
//! connections publish and play, and of each publisher's health no faster than its codes' terms allow ([`crate::media::health`]).

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::connection::ConnectionKey;
use super::observe::ConnectionId;
use super::outgoing::{OutgoingEvent, OutgoingId};
use crate::hub::CoreId;
pub use crate::hub::Identity;
use crate::media::Limits;
use crate::media::health::Code;
use crate::session::{PlayTerms, PublishKind, RequestId, StreamKey};

/// Longest wait for an answer. Whoever answers has deadlines of its own below it; this one is for an answer that never comes.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Decides who may publish and play.
pub trait Admission: Send + Sync {
    /// Answers at once, if it can; else `None`, and the answer follows by the question's ticket. Must not wait.
    fn ask(&self, question: Question) -> Option<Verdict>;
}

/// Hears what happens to streams and connections.
pub trait Notify: Send + Sync {
    /// Must not wait.
    fn notify(&self, news: News);

    /// Whether it hears who connects ([`News::Connected`]): most never ask for anything, and to tell of each has its price.
    fn hears_who_connects(&self) -> bool {
        false
    }
}

/// Both, as the engine is given them.
#[derive(Clone)]
pub struct Outside {
    /// Who decides.
    pub admission: Arc<dyn Admission>,
    /// Who hears.
    pub notify: Arc<dyn Notify>,
}

impl Default for Outside {
    /// Everybody may do everything, and nobody hears of it.
    fn default() -> Self {
        Self { admission: Arc::new(Open), notify: Arc::new(Silence) }
    }
}

struct Open;

impl Admission for Open {
    fn ask(&self, _: Question) -> Option<Verdict> {
        Some(Verdict::default())
    }
}

struct Silence;

impl Notify for Silence {
    fn notify(&self, _: News) {}
}

/// What somebody asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// To publish a stream.
    Publish,
    /// To play one.
    Play,
}

/// Whether somebody may do something.
#[derive(Clone, Debug)]
pub struct Question {
    /// To answer with.
    pub ticket: Ticket,
    /// What is asked for.
    pub action: Action,
    /// Which stream, as the peer named it.
    pub stream: StreamKey,
    /// Who asks.
    pub facts: Arc<Facts>,
}

/// Names a question, so that a late answer meets whom it is for: one whose connection has gone is for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) core: CoreId,
    pub(crate) connection: ConnectionKey,
    pub(crate) request: RequestId,
}

#[cfg(test)]
impl Ticket {
    /// One of nobody, for questions in tests of those who answer.
    pub(crate) fn for_test() -> Self {
        let connection = ConnectionKey::new(0, 0);
        Self { core: CoreId(0), connection, request: RequestId::for_test() }
    }
}

/// What somebody asks for, in its own words. They are told on; what they mean here is that everything is live.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// The stream as it named it: not the one that it was granted, where that is another.
    pub stream: StreamKey,
    /// How.
    pub manner: Manner,
}

/// How a stream is to be published or played, as a peer says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// Published.
    Publish(PublishKind),
    /// Played.
    Play(PlayTerms),
}

/// Who asks, as far as it is known. `params` and the URLs may hold secrets.
#[derive(Clone)]
pub struct Facts {
    /// Its name in the API.
    pub connection: ConnectionId,
    /// The far end, as a trusted PROXY header says if there is one.
    pub peer: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The name that it asked for in TLS (SNI).
    pub server_name: Option<String>,
    /// Host of its tcUrl, lower case.
    pub host: Option<String>,
    /// The tcUrl as it came.
    pub tc_url: String,
    /// The encoder's or player's name for itself.
    pub flash_ver: String,
    /// URL of the program that connected, as it says; at most 256 bytes.
    pub swf_url: String,
    /// URL of the page that it was loaded from, likewise.
    pub page_url: String,
    /// The query, without its question mark.
    pub params: String,
    /// What it asks for; `None` of those who have only connected, and of connections that we make.
    pub wish: Option<Wish>,
}

/// The answer to a question.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It may.
    Allow(Grant),
    /// It may not.
    Deny(Denial),
}

impl Default for Verdict {
    fn default() -> Self {
        Self::Allow(Grant::default())
    }
}

/// What comes with a yes. `Debug` leaves out where it is forwarded to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// The stream that is really meant, where that is another.
    pub stream: Option<StreamKey>,
    /// Whose credentials these are; `None` where nobody asked for any.
    pub identity: Option<Identity>,
    /// The publisher's rank among those of one key; the higher wins.
    pub priority: u32,
    /// URLs that the stream is to be forwarded to beside those of the configuration. They hold secrets.
    pub forwards: Vec<String>,
    /// URLs that a stream which is played is pulled from while nobody publishes it here, after those of the configuration. They hold secrets. Says
    /// nothing to a publisher.
    pub sources: Vec<String>,
    /// Everything is taken in and judged, and nobody gets it, neither players nor forwards; it is in no other publisher's way. So it is
    /// also where the publisher asks for it (`?bandwidthtest=1`). Says nothing to a player.
    pub dry_run: bool,
    /// What the session may come to. Nothing of it but how long it may last says anything to a player.
    pub limits: Limits,
    /// Streams that its identity may publish at a time, on all cores together; `None` is as many as it will.
    pub streams_max: Option<NonZeroU32>,
}

/// What comes with a no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Metric label: stable, snake case, from a bounded set.
    pub label: &'static str,
    /// A sentence for whoever reads the encoder's log.
    pub description: String,
}

/// Something that happened. Each beginning is followed by its end, also when the engine stops.
#[derive(Clone, Debug)]
pub enum News {
    /// Somebody has connected, and may publish or play next. Told only to who hears it ([`Notify::hears_who_connects`]), and without an end.
    Connected {
        /// Who. There are no parameters yet: those stand where the stream's address is whole.
        facts: Arc<Facts>,
    },
    /// A publisher was let in, and its stream is there from now on: for everybody, unless it was granted a dry run, which is nobody's stream.
    PublishBegan {
        /// Who publishes.
        facts: Arc<Facts>,
        /// What.
        stream: StreamKey,
        /// The core that the stream lives on.
        home: CoreId,
        /// What it was granted.
        grant: Arc<Grant>,
    },
    /// It publishes no more.
    PublishEnded {
        /// Who published.
        connection: ConnectionId,
        /// What.
        stream: StreamKey,
        /// What came of it.
        totals: Totals,
    },
    /// Something is wrong with what a publisher sends, or no longer. A publisher on the air, a standby, a dry run, or a pull. What holds when
    /// it ends, ends before that is told.
    HealthChanged {
        /// Who publishes.
        connection: ConnectionId,
        /// What.
        stream: StreamKey,
        /// What is wrong.
        code: Code,
        /// Whether it begins.
        began: bool,
        /// Of a beginning, how long its cause has lasted; of an end, how long it was told.
        lasted: Duration,
    },
    /// A stream is there from now on, however its publishers come and go.
    StreamBegan {
        /// What.
        stream: StreamKey,
        /// The core that it lives on.
        home: CoreId,
        /// What its first publisher was granted. Those who follow change nothing of where it goes.
        grant: Arc<Grant>,
        /// Who publishes it first.
        facts: Arc<Facts>,
    },
    /// It is there no more. Forwards of it end by themselves.
    StreamEnded {
        /// What.
        stream: StreamKey,
        /// The core that it lived on. It may begin on another one before this is heard of.
        home: CoreId,
    },
    /// Something happened to a connection that we make.
    Outgoing {
        /// Which.
        id: OutgoingId,
        /// What.
        event: OutgoingEvent,
    },
    /// A player was let in, and waits if the stream is not there.
    PlayBegan {
        /// Who plays.
        facts: Arc<Facts>,
        /// What.
        stream: StreamKey,
        /// The core that the stream lives on, or will if it comes while somebody waits for it.
        home: CoreId,
        /// What it was granted.
        grant: Arc<Grant>,
    },
    /// It plays no more.
    PlayEnded {
        /// Who played.
        connection: ConnectionId,
        /// What.
        stream: StreamKey,
        /// What came of it.
        totals: Totals,
    },
}

/// What a publish or play came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes on the wire: a publisher's received, a player's sent.
    pub bytes: u64,
    /// Media messages.
    pub messages: u64,
    /// Frames that the drop policy kept from a player.
    pub dropped: u64,
    /// How long it went on.
    pub lasted: Duration,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("stream", &self.stream)
            .field("identity", &self.identity)
            .field("priority", &self.priority)
            .field("forwards", &self.forwards.len())
            .field("sources", &self.sources.len())
            .field("dry_run", &self.dry_run)
            .field("limits", &self.limits)
            .field("streams_max", &self.streams_max)
            .finish()
    }
}

impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts")
            .field("connection", &self.connection)
            .field("peer", &self.peer)
            .field("tls", &self.tls)
            .field("server_name", &self.server_name)
            .field("host", &self.host)
            .field("flash_ver", &self.flash_ver)
            .finish_non_exhaustive()
    }
}
