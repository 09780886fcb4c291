//! Forwarding: each stream that is published is sent on to the targets that the configuration or a back end names. Pulling: each stream that
//! is played and not here is fetched from one of the upstreams that the configuration names.
//!
//! - [`target`], [`upstream`] and [`template`] are what the configuration says, [`trust`] is whom TLS believes.
//! - [`demand`] decides whether a stream is pulled: a pure state machine, one a stream; [`puller`] has all of them.
//! - [`group`] and [`life`] decide: pure state machines with [`backoff`], in terms of [`plan`] and [`failure`].
//! - [`dial`] gets from a URL to a connected socket, by way of [`resolver`] and [`race`], when it has its place ([`places`]); floor 4 speaks RTMP
//!   on it.
//! - [`course`] is a group as it runs, [`conductor`] has all of them, [`observe`] shows them.
//!
//! ```text
//! News of streams, players and connections -> conductor, puller -> course (one task a group of a stream) -> group, life
//!                                                   |  dials, takes over, hangs up  <------- actions
//! ```
//! # Invariant
//! Groups share nothing but the resolver, the places to dial in and the board: a target that fails, hangs or lies costs its own group, and the
//! stream nothing but a reader that goes.
//! # Bounds
//! Each stream has at most as many targets as the file has, and [`conductor::NAMED_MAX`]; each of these two connections and two dials,
//! of which at most [`places::DIALS_MAX`] go on at a time, the others wait.
//! [`puller::PULLS_MAX`] streams are pulled at a time.

pub mod backoff;
pub mod conductor;
pub mod course;
pub mod demand;
pub mod dial;
pub mod failure;
pub mod group;
pub mod life;
pub mod observe;
pub mod places;
pub mod plan;
pub mod puller;
pub mod race;
mod reach;
pub mod resolver;
pub mod target;
pub mod template;
#[cfg(test)]
mod tests;
pub mod trust;
pub mod upstream;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

pub use target::{Rank, Target};
pub use upstream::Upstream;

use self::conductor::{Conductor, Item, Prepared};
use self::course::Means;
use self::observe::Board;
use self::places::Dials;
use self::puller::Source;
use self::resolver::Resolver;
use crate::hub::CoreId;
use crate::runtime::outside::{News, Notify};
use crate::runtime::{Dialed, Handle, NameHasher, OutgoingId};
use crate::session::Instant;

/// What forwarding is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where streams go.
    pub targets: Vec<Target>,
    /// Where they come from.
    pub upstreams: Vec<Upstream>,
}

/// What forwarding wants of a running engine.
pub trait Engine: Send + Sync + 'static {
    /// Gives a connection to the core that its stream lives on.
    fn take_over(&self, dialed: Dialed);
    /// Ends one.
    fn hang_up(&self, core: CoreId, id: OutgoingId);
}

impl Engine for Handle {
    fn take_over(&self, dialed: Dialed) {
        Self::take_over(self, dialed);
    }

    fn hang_up(&self, core: CoreId, id: OutgoingId) {
        Self::hang_up(self, core, id);
    }
}

/// What forwarding goes by: the settings, with the certificates that they name read.
pub struct Ways {
    targets: Arc<[Prepared]>,
    sources: Arc<[Source]>,
}

impl Ways {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// When a file of certificates cannot be read.
    pub fn read(settings: &Settings) -> Result<Self, trust::TrustError> {
        let prepare = |target: &Target| {
            let is_tls = target.url.as_ref().is_some_and(template::Template::is_tls);
            let trust = match is_tls {
                true => Some(trust::Trust::new(target.tls_ca_file.as_deref(), target.tls_verify)?),
                false => None,
            };
            Ok(Prepared { target: Arc::new(target.clone()), trust })
        };
        let targets = settings.targets.iter().map(prepare).collect::<Result<_, _>>()?;
        let prepare_source = |upstream: &Upstream| {
            Ok(Source { prepared: prepare(&upstream.source)?, linger: upstream.linger })
        };
        let sources = settings.upstreams.iter().map(prepare_source).collect::<Result<_, _>>()?;
        Ok(Self { targets, sources })
    }
}

/// Forwarding, as others see it: it hears news, and shows what goes on.
pub struct Relay {
    names: NameHasher,
    forwards: Arc<Board>,
    pulls: Arc<Board>,
    dials: Arc<Dials>,
    items: mpsc::UnboundedSender<Item>,
}

/// Its other end, for the thread that does the work.
pub struct Work {
    items: mpsc::UnboundedReceiver<Item>,
    ways: Ways,
}

impl Relay {
    /// Forwarding to these targets and pulling from these upstreams; names of streams are logged as `names` has them. What is heard waits until [`Self::run`].
    ///
    /// # Errors
    /// When a target's certificates cannot be read any more.
    pub fn new(settings: Settings, names: NameHasher) -> Result<(Self, Work), trust::TrustError> {
        let ways = Ways::read(&settings)?;
        let (items, receiver) = mpsc::unbounded_channel();
        let [forwards, pulls] = <[Arc<Board>; 2]>::default();
        let dials = Arc::default();
        Ok((Self { names, forwards, pulls, dials, items }, Work { items: receiver, ways }))
    }

    /// Forwards and pulls by others from now on. Of each stream, targets (or groups of them) that are as before are not touched; those that are gone
    /// or changed are hung up, and those that are new or changed begin. A pull whose upstreams are as before goes on, another one begins anew. An
    /// app that has had no upstream is pulled for players that come from then on.
    ///
    /// What it gives comes when that is so, or is closed when the edge's thread has ended.
    pub fn replace(&self, ways: Ways) -> oneshot::Receiver<()> {
        let (done, is_done) = oneshot::channel();
        // Whoever would hear of it has ended with the edge's thread.
        let _ = self.items.send(Item::Replaced(ways, done));
        is_done
    }

    /// What is forwarded.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.forwards)
    }

    /// What is pulled.
    pub fn pulls(&self) -> Arc<Board> {
        Arc::clone(&self.pulls)
    }

    /// Its connections in the making.
    pub fn dials(&self) -> Arc<Dials> {
        Arc::clone(&self.dials)
    }

    /// Does the work, with this engine, until all of the relay is dropped.
    pub fn run<E: Engine>(&self, engine: E, work: Work) -> impl Future<Output = ()> + Send + 'static {
        let means = Means {
            engine,
            resolver: Resolver::default(),
            redirect_resolver: Resolver::for_redirects(),
            dials: self.dials(),
            clock: Clock::new(),
            forwards: Arc::clone(&self.forwards),
            pulls: Arc::clone(&self.pulls),
            web: std::sync::OnceLock::new(),
        };
        let Work { items, ways } = work;
        Conductor::new(Arc::new(means), ways.targets, ways.sources, self.names.clone()).run(items)
    }
}

impl Notify for Relay {
    fn notify(&self, news: News) {
        let item = match news {
            News::StreamBegan { stream, home, grant, facts } => Item::Began { stream, home, grant, facts },
            News::StreamEnded { stream, home } => Item::Ended { stream, home },
            News::Outgoing { id, event } => Item::Outgoing { id, event },
            News::PlayBegan { stream, home, facts, grant } => Item::Played { stream, home, facts, grant },
            News::PlayEnded { stream, connection, .. } => Item::PlayedNoMore { stream, connection },
            _ => return,
        };
        // Whoever would hear of it has ended with the edge's thread.
        let _ = self.items.send(item);
    }
}

/// Time since the relay began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    fn new() -> Self {
        Self { epoch: std::time::Instant::now() }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
