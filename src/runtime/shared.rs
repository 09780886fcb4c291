//! What all cores share: nothing here is touched on a frame.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::clock::Clock;
use super::directory::Directory;
use super::draining::{CUTTING_PART, DRAIN_OVERTIME};
use super::health::PublishedHealth;
use super::histogram::Histograms;
use super::inbox::Inboxes;
use super::names::NameHasher;
use super::observe::{ConnectionId, DrainStage, DrainState, PublishedCounts};
use super::outside::Outside;
use super::prefixes::Prefixes;
use super::quotas::Quotas;
use super::recordings::Recordings;
use super::reloading::Listening;
use super::settings::RuntimeSettings;
use super::tls::certificates::Endpoint;
use crate::session::{Instant, ServerSettings};

/// Counters that carry a label: (family, label) and how often. Families and labels are compiled in, so they are few.
pub(crate) type Labelled = BTreeMap<(&'static str, &'static str), u64>;

/// The settings in force. Each core has its own pair of references, so that looking takes no lock.
#[derive(Clone)]
pub(crate) struct InForce {
    pub(crate) settings: Arc<RuntimeSettings>,
    pub(crate) session: Arc<ServerSettings>,
}

impl InForce {
    fn new(settings: RuntimeSettings, has_recordings: bool) -> Self {
        let recorder_bytes = if has_recordings { settings.recorder.bytes } else { 0 };
        let session = Arc::new(ServerSettings { recorder_bytes, ..settings.session.clone() });
        Self { settings: Arc::new(settings), session }
    }
}

/// State that belongs to the engine rather than to a core.
pub(crate) struct Shared {
    in_force: RwLock<InForce>,
    listening: Mutex<Vec<Listening>>,
    pub(crate) clock: Clock,
    pub(crate) inboxes: Inboxes,
    pub(crate) directory: Directory,
    pub(crate) names: NameHasher,
    pub(crate) prefixes: Arc<Prefixes>,
    /// How many streams and connections apps and identities have.
    pub(crate) quotas: Arc<Quotas>,
    /// Where sessions that ended by a fault are recorded, if they are.
    pub(crate) recordings: Option<Recordings>,
    /// Who decides and who hears.
    pub(crate) outside: Outside,
    /// Once RTMPS is served.
    pub(crate) tls: OnceLock<Endpoint>,
    pub(crate) published: Vec<Published>,
    /// Sessions that publish, on all cores.
    pub(crate) publishers: AtomicUsize,
    next_connection_id: AtomicU64,
    draining: AtomicBool,
    /// When the drain began, and how long it may take.
    drain: OnceLock<(Instant, Duration)>,
    /// Raised when the drain begins.
    pub(crate) drain_began: Notify,
    drain_cuts_at: AtomicU64,
    drain_ends_at: AtomicU64,
    stopping: AtomicBool,
    /// Cores that may still send something to others.
    open_cores: AtomicUsize,
}

/// One core's part in [`Shared::open_cores`]; given back when dropped, also by a core that is lost to a panic.
pub(crate) struct OpenCore(Arc<Shared>);

impl OpenCore {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.open_cores.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for OpenCore {
    fn drop(&mut self) {
        // Whoever sees the count at zero also sees what this core has sent before.
        self.0.open_cores.fetch_sub(1, Ordering::Release);
    }
}

/// What one core's sweep publishes.
#[derive(Default)]
pub(crate) struct Published {
    pub(crate) counts: PublishedCounts,
    pub(crate) labelled: Mutex<Labelled>,
    pub(crate) histograms: Mutex<Histograms>,
    pub(crate) health: PublishedHealth,
    /// When the core last swept, microseconds of the engine's clock: a stalled core shows here.
    pub(crate) swept_at: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        settings: RuntimeSettings,
        tls: Option<Endpoint>,
        cores: usize,
        names: NameHasher,
        outside: Outside,
        recordings: Option<Recordings>,
    ) -> Self {
        Self {
            clock: Clock::start(),
            inboxes: Inboxes::new(cores, settings.inbox_bytes_max),
            directory: Directory::new(cores, settings.placement),
            names,
            outside,
            prefixes: Prefixes::new(settings.address, settings.network, settings.trusted.clone()),
            listening: Mutex::default(),
            in_force: RwLock::new(InForce::new(settings, recordings.is_some())),
            quotas: Arc::default(),
            recordings,
            tls: tls.map(OnceLock::from).unwrap_or_default(),
            published: (0..cores).map(|_| Published::default()).collect(),
            publishers: AtomicUsize::new(0),
            next_connection_id: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            drain: OnceLock::new(),
            drain_began: Notify::new(),
            drain_cuts_at: AtomicU64::new(u64::MAX),
            drain_ends_at: AtomicU64::new(u64::MAX),
            stopping: AtomicBool::new(false),
            open_cores: AtomicUsize::new(0),
        }
    }

    /// Its listeners, in the order of the settings.
    pub(crate) fn listening(&self) -> Vec<Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_listening(&self, listening: Vec<Listening>) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = listening;
    }

    /// The settings in force.
    pub(crate) fn in_force(&self) -> InForce {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others in force as far as all cores share them, and gives them for each core.
    pub(crate) fn replace_settings(&self, settings: RuntimeSettings) -> InForce {
        self.inboxes.set_bytes_max(settings.inbox_bytes_max);
        self.prefixes.replace_limits(settings.address, settings.network, &settings.trusted);
        let new = InForce::new(settings, self.recordings.is_some());
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
        new
    }

    pub(crate) fn cores(&self) -> usize {
        self.published.len()
    }

    pub(crate) fn new_connection_id(&self) -> ConnectionId {
        ConnectionId(self.next_connection_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Begins the drain; false when it had begun before.
    pub(crate) fn begin_drain(&self, deadline: Duration) -> bool {
        let now = self.clock.now();
        let begun = !self.draining.swap(true, Ordering::Relaxed);
        if begun {
            let (cuts_at, ends_at) = (now + (deadline - deadline / CUTTING_PART), now + deadline);
            self.drain_cuts_at.store(cuts_at.as_micros(), Ordering::Relaxed);
            self.drain_ends_at.store(ends_at.as_micros(), Ordering::Relaxed);
            let _ = self.drain.set((now, deadline));
            self.drain_began.notify_one();
        }
        begun
    }

    /// How far the end of the engine is.
    pub(crate) fn drain_state(&self) -> DrainState {
        let now = self.clock.now();
        let stage = if self.stopping.load(Ordering::Relaxed) {
            DrainStage::Stopping
        } else if !self.is_draining() {
            DrainStage::Serving
        } else if self.is_cutting(now) {
            DrainStage::Cutting
        } else {
            DrainStage::Draining
        };
        DrainState { stage, times: self.drain.get().map(|(began_at, deadline)| (*deadline, now - *began_at)) }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether publishers are closed at their next key frame.
    pub(crate) fn is_cutting(&self, now: Instant) -> bool {
        now.as_micros() >= self.drain_cuts_at.load(Ordering::Relaxed)
    }

    /// Whether publishers have had all the time that a drain has.
    pub(crate) fn is_drain_over(&self, now: Instant) -> bool {
        now.as_micros() >= self.drain_ends_at.load(Ordering::Relaxed)
    }

    /// Whether a drain has nothing more to wait for: players alone never hold it.
    pub(crate) fn has_drained(&self, now: Instant) -> bool {
        let ended_at = Duration::from_micros(self.drain_ends_at.load(Ordering::Relaxed));
        self.is_draining()
            && ((self.publishers.load(Ordering::Relaxed) == 0 && self.directory.arriving() == 0)
                || Duration::from_micros(now.as_micros()) >= ended_at.saturating_add(DRAIN_OVERTIME))
    }

    /// Begins the stop; false when it had begun before.
    pub(crate) fn begin_stop(&self) -> bool {
        self.draining.store(true, Ordering::Relaxed);
        !self.stopping.swap(true, Ordering::Relaxed)
    }

    /// Whether every core has sent its last.
    pub(crate) fn all_cores_done(&self) -> bool {
        self.open_cores.load(Ordering::Acquire) == 0
    }

    pub(crate) fn labelled(&self, core: usize) -> Labelled {
        self.published[core].labelled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
