//! The agenda of one run, in virtual time, and everybody who takes part.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use inrush::hub::{AppSettings, ContinuitySettings, QueueSettings, TakeoverPolicy};
use inrush::media::health::HealthSettings;
use inrush::media::{GopSettings, IngestSettings, TimestampPolicy};
use inrush::session::{Deadlines, Instant, ServerSettings, StreamKey};

use super::client::Link;
use super::core::Core;
use super::ledger::Ledger;
use super::tally::Tally;
use crate::simulation::directory::Directory;
use crate::simulation::rng::Rng;
use crate::simulation::witness::Sights;

/// Small, so that a few frames exceed them; but a key frame and what follows it at once fit.
pub(super) const QUEUE: QueueSettings =
    QueueSettings { bytes_max: 16_000, frames_max: 24, ms_max: 800, stall_ms_max: 2_000 };
pub(super) const GOP_BYTES_MAX: usize = 60_000;
pub(super) const GOP_FRAMES_MAX: usize = 60;

/// More steps than any run needs.
const STEPS_MAX: u64 = 2_000_000;

/// What is published and played.
pub(super) const NAMES: &[&str] = &["one", "two", "three"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    /// Something arrived at the server's side of a link, or its reader may go on.
    ToServer(usize),
    ToClient(usize),
    WakeClient(usize),
    /// The client's next operation.
    Operate(usize),
    /// A session goes on whose budget was used up.
    Drive(usize),
    Write(usize),
    Inbox(usize),
    Flush(usize),
    Sweep(usize),
    /// Somebody comes, or something breaks.
    Happen,
    /// The encoder of a ghost, or of a refused publish, tries again: name and core.
    Reconnect(usize, usize),
    /// Nothing breaks any more, and nobody comes.
    Calm,
    /// Each publisher sends a new beginning.
    Serve,
    /// Each player has got it.
    CheckServed,
    Leave,
    /// One of those who leave.
    LeaveOne(usize),
    Drain,
    /// The kernel gives up on all links that are still there.
    CutAll,
}

/// Where streams are put.
#[derive(Clone, Copy, Debug)]
pub(super) enum Placement {
    Accept,
    Core(usize),
    Any,
}

pub(crate) struct World {
    pub(super) rng: Rng,
    pub(super) now: Instant,
    agenda: BinaryHeap<Reverse<(Instant, u64, Action)>>,
    scheduled: u64,
    pub(super) cores: Vec<Core>,
    pub(super) links: Vec<Link>,
    pub(super) directory: Directory,
    pub(super) placement: Placement,
    pub(super) ledger: Ledger,
    /// Publishers may follow one another: none has credentials, so each may be another's ghost.
    pub(super) follows: bool,
    /// Streams that have begun and not ended, as whoever drives the hub has heard.
    pub(super) broadcasts: BTreeSet<StreamKey>,
    pub(super) names: usize,
    pub(super) settings: AppSettings,
    pub(super) session_settings: Arc<ServerSettings>,
    /// Bytes that one core's inbox holds for one other core.
    pub(super) inbox_bytes_max: usize,
    pub(super) write_bytes_max: usize,
    /// A run that goes on for longer than most, in which cameras go off.
    pub(super) is_long: bool,
    pub(super) is_calm: bool,
    pub(super) draining: bool,
    pub(super) drain_ends_at: Instant,
    pub(super) stopping: bool,
    pub(super) leaving: bool,
    /// When a player last came or left.
    pub(super) audience_changed_at: Instant,
    pub(super) publisher_left_at: Instant,
    pub(super) tally: Tally,
    pub(super) sights: Sights,
}

/// Settings with short times, so that all of them pass within a run. There is no standby, and any media may follow: those have a simulation of
/// their own (`hub_simulation.rs`).
fn continuity(rng: &mut Rng) -> ContinuitySettings {
    ContinuitySettings {
        takeover: rng.pick(&[TakeoverPolicy::Reject, TakeoverPolicy::Newest, TakeoverPolicy::Priority]),
        tenure_ms: rng.pick(&[0, 100, 400]),
        flaps_max: rng.pick(&[1, 3, 100]),
        yield_silent_ms: 500,
        grace_ms: rng.pick(&[0, 300, 1_500]),
        ..ContinuitySettings::default()
    }
}

/// Runs one seed and gives what occurred.
pub(crate) fn run(seed: u64) -> Tally {
    let mut world = World::new(seed);
    world.begin();
    while let Some(Reverse((at, _, action))) = world.agenda.pop() {
        world.now = at;
        world.step(action);
    }
    world.check_end()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let cores = 2 + rng.index(2);
        let now = Instant::from_micros(rng.below(5_000_000_000_000));
        let policy = match rng.percent(15) {
            true => TimestampPolicy::Monotonic,
            false => TimestampPolicy::Pass,
        };
        let follows = rng.percent(40);
        let settings = AppSettings {
            gop: GopSettings {
                enabled: rng.percent(80),
                bytes_max: GOP_BYTES_MAX,
                frames_max: GOP_FRAMES_MAX,
                ..GopSettings::default()
            },
            ingest: IngestSettings { timestamps: policy, ..IngestSettings::default() },
            queue: QUEUE,
            health: HealthSettings::default(),
            continuity: if follows { continuity(&mut rng) } else { ContinuitySettings::default() },
        };
        let seconds = Duration::from_secs;
        let mut session_settings = ServerSettings {
            deadlines: Deadlines {
                handshake: seconds(2),
                connect: seconds(2),
                publish_or_play: seconds(3),
                first_media: seconds(3),
                idle: seconds(4),
            },
            ping_interval: seconds(1),
            ..ServerSettings::default()
        };
        session_settings.limits.held_bytes_max = rng.pick(&[100, 2_000, 1 << 20]);
        session_settings.limits.reassembly_bytes_max = 64 * 1024;
        let is_long = rng.percent(10);
        Self {
            now,
            agenda: BinaryHeap::new(),
            scheduled: 0,
            cores: (0..cores).map(|id| Core::new(id, cores)).collect(),
            links: Vec::new(),
            directory: Directory::default(),
            placement: match rng.below(4) {
                0 => Placement::Accept,
                1 => Placement::Core(rng.index(cores)),
                _ => Placement::Any,
            },
            ledger: Ledger::new(policy, follows),
            follows,
            broadcasts: BTreeSet::new(),
            names: 1 + rng.index(NAMES.len()),
            settings,
            session_settings: Arc::new(session_settings),
            inbox_bytes_max: if is_long { 3_000 } else { rng.pick(&[3_000, 10_000, 100_000]) },
            write_bytes_max: rng.pick(&[1_000, 8_000, 64 * 1024]),
            is_long,
            is_calm: false,
            draining: false,
            drain_ends_at: Instant::FAR_FUTURE,
            stopping: false,
            leaving: false,
            audience_changed_at: now,
            publisher_left_at: now,
            tally: Tally::default(),
            sights: Sights::default(),
            rng,
        }
    }

    pub(super) fn schedule(&mut self, at: Instant, action: Action) {
        self.scheduled += 1;
        self.agenda.push(Reverse((at.max(self.now), self.scheduled, action)));
    }

    pub(super) fn schedule_in_ms(&mut self, ms: u64, action: Action) {
        self.schedule(self.now + Duration::from_millis(ms), action);
    }

    fn step(&mut self, action: Action) {
        self.tally.steps += 1;
        assert!(self.tally.steps < STEPS_MAX, "the run does not settle");
        if let Some(core) = self.core_of(action)
            && self.cores[core].stalled_until > self.now
        {
            // Whatever it has to do comes later, in the same order.
            let at = self.cores[core].stalled_until;
            return self.schedule(at, action);
        }
        match action {
            Action::ToServer(link) => self.read(link),
            Action::ToClient(link) => self.receive(link),
            Action::WakeClient(link) => self.wake_client(link),
            Action::Operate(link) => self.operate(link),
            Action::Drive(link) => self.drive_on(link),
            Action::Write(link) => self.write(link),
            Action::Inbox(core) => self.take_inbox(core),
            Action::Flush(core) => self.flush_outgoing(core),
            Action::Sweep(core) => self.sweep(core),
            Action::Happen => self.happen(),
            Action::Reconnect(name, core) => self.reconnect(name, core),
            Action::Calm => self.calm(),
            Action::Serve => self.serve_everybody(),
            Action::CheckServed => self.check_served(),
            Action::Leave => self.leave(),
            Action::LeaveOne(link) => self.leave_one(link),
            Action::Drain => self.drain(),
            Action::CutAll => self.cut_all(),
        }
        self.check_bounds(action);
    }

    /// The core that an action is the work of.
    pub(super) fn core_of(&self, action: Action) -> Option<usize> {
        match action {
            Action::ToServer(link) | Action::Drive(link) | Action::Write(link) => {
                self.links[link].served.as_ref().map(|served| served.core)
            }
            Action::Inbox(core) | Action::Flush(core) | Action::Sweep(core) => Some(core),
            _ => None,
        }
    }

    /// Whether any connection is left, on a core or between two.
    pub(super) fn is_anybody_there(&self) -> bool {
        self.cores.iter().any(|core| core.connections > 0 || !core.inbox.is_empty())
            || self.links.iter().any(|link| !link.client_done)
    }

    fn check_end(mut self) -> Tally {
        for core in &self.cores {
            assert!(core.hub.is_empty(), "left behind: {:?}", core.hub.counts());
            assert_eq!(core.hub.retained_bytes(), 0);
            assert!(!core.hub.has_outgoing() && core.inbox.is_empty());
            assert_eq!(core.connections, 0, "connections left behind");
            assert!(core.on_the_way.iter().all(|bytes| *bytes == 0), "bytes left on the way");
            self.tally.add_hub(core.hub.counters());
        }
        self.directory.assert_empty();
        for link in &self.links {
            assert!(link.served.is_none() && link.client_done, "a link is left");
        }
        self.ledger.check_end();
        self.tally.add_sights(&self.sights);
        self.tally
    }
}
