//! The cores, what is on its way between them, and everybody who takes part.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use inrush::hub::{
    AppSettings, ConnectionRef, CoreId, Hub, HubEvent, HubSettings, MeshMessage, QueueSettings, Queued,
    SubscriberKey, TakeBudget,
};
use inrush::media::health::Change;
use inrush::media::{Form, GopSettings, MediaKind, VIDEO_SILENT_MAX};
use inrush::session::{Instant, StreamKey};

use super::publishers::{self, Claimant, Publisher};
use super::tally::Tally;
use crate::simulation::directory::Directory;
use crate::simulation::rng::Rng;
use crate::simulation::witness::{Sights, Witness};

/// Small, so that a few frames exceed them; but a key frame and what follows it at once fit.
const QUEUE: QueueSettings =
    QueueSettings { bytes_max: 16_000, frames_max: 24, ms_max: 800, stall_ms_max: 2_000 };
const GOP_BYTES_MAX: usize = 60_000;
const GOP_FRAMES_MAX: usize = 60;

/// The largest message is a key frame of three times 3,000 bytes, a header far smaller; with chunk headers.
const FRAME_BYTES_MAX: usize = 9_200;
const HEADERS_BYTES_MAX: usize = 3 * 200;

const EVERYTHING: TakeBudget = TakeBudget { bytes: usize::MAX, slices: usize::MAX };

pub(crate) struct World {
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) cores: Vec<Core>,
    pub(super) directory: Directory,
    pub(super) keys: Vec<StreamKey>,
    pub(super) settings: AppSettings,
    /// No encoder's clock jumps.
    pub(super) steady: bool,
    pub(super) publishers: Vec<Publisher>,
    pub(super) claimants: Vec<Claimant>,
    /// Streams that have begun and not ended, as their drivers have heard.
    pub(super) broadcasts: BTreeSet<StreamKey>,
    pub(super) readers: Vec<Reader>,
    pub(super) connections: u64,
    pub(super) lives: u32,
    pub(super) tally: Tally,
    sights: Sights,
}

pub(super) struct Core {
    pub(super) hub: Hub,
    /// What is on its way here, by the core it comes from.
    pub(super) inbox: Vec<VecDeque<Letter>>,
    /// Which cores' inboxes are said to be congested.
    congested: Vec<bool>,
}

pub(super) enum Letter {
    Mesh(Vec<MeshMessage>),
    /// A publisher that another core has accepted.
    Arrive(StreamKey),
}

pub(super) struct Reader {
    core: usize,
    key: SubscriberKey,
    pub(super) stream: StreamKey,
    connection: ConnectionRef,
    pub(super) witness: Witness,
    /// Its driver waits for `Ready`.
    idle: bool,
    stalled: bool,
    paused: bool,
    audio: bool,
    video: bool,
    at_home: bool,
    /// Its core's resyncs when it joined.
    resyncs_before: u64,
    /// When it last took something, or had nothing to take.
    alive_at: Instant,
    told_hopeless: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let count = 2 + rng.index(3);
        let core = |n: usize| Core {
            hub: Hub::new(HubSettings { core: id(n), cores: count }),
            inbox: (0..count).map(|_| VecDeque::new()).collect(),
            congested: vec![false; count],
        };
        let gop = GopSettings {
            enabled: rng.percent(80),
            bytes_max: GOP_BYTES_MAX,
            frames_max: GOP_FRAMES_MAX,
            ..GopSettings::default()
        };
        Self {
            now: Instant::from_micros(rng.next() % 5_000_000_000_000),
            cores: (0..count).map(core).collect(),
            directory: Directory::default(),
            keys: (0..1 + rng.index(3)).map(|n| StreamKey::new("live", &format!("s{n}"))).collect(),
            settings: AppSettings {
                gop,
                queue: QUEUE,
                continuity: publishers::continuity(&mut rng),
                ..AppSettings::default()
            },
            steady: rng.percent(50),
            publishers: Vec::new(),
            claimants: Vec::new(),
            broadcasts: BTreeSet::new(),
            readers: Vec::new(),
            connections: 0,
            lives: 0,
            tally: Tally::default(),
            sights: Sights::default(),
            rng,
        }
    }

    pub(crate) fn step(&mut self) {
        self.tally.steps += 1;
        match self.rng.index(100) {
            0..2 => self.ask_to_publish(),
            2..3 => self.unpublish_or_fall_silent(),
            3..6 => self.subscribe(),
            6..7 => self.unsubscribe_one(),
            7..10 => self.stall_or_wake(),
            10..13 => self.wish(),
            13..16 => self.change_congestion(),
            16..28 => self.pass_time(),
            28..52 => self.deliver_some(),
            52..74 => self.read_some(),
            _ => self.send_some(),
        }
        self.turn();
        self.check();
    }

    /// Everybody is served once more, then all leave.
    pub(crate) fn end(mut self) -> Tally {
        self.calm();
        self.switch_cameras_off();
        self.serve_everybody();
        while let Some(index) = self.random_index(self.readers.len() + self.publishers.len()) {
            match index.checked_sub(self.readers.len()) {
                None => self.unsubscribe(index),
                Some(index) => self.unpublish(index),
            }
            self.turn();
            if self.rng.percent(50) {
                self.deliver_some();
            }
            self.turn();
            self.withdraw_all();
        }
        for core in &mut self.cores {
            core.hub.end_graces(self.now);
        }
        self.deliver_all();
        let switches = self.readers.iter().map(|reader| reader.witness.switches()).max().unwrap_or(0);
        let discontinuities: u64 = self.cores.iter().map(|core| core.hub.counters().discontinuities).sum();
        assert!(switches <= discontinuities, "{switches} switches seen of {discontinuities}");
        for core in &self.cores {
            assert!(core.hub.is_empty(), "left behind: {:?}", core.hub.counts());
            assert_eq!(core.hub.retained_bytes(), 0);
            assert_eq!(core.hub.health_counts().holding, Default::default());
            self.tally.add_hub(core.hub.counters());
        }
        self.directory.assert_empty();
        self.tally.add_sights(&self.sights);
        self.tally
    }

    pub(super) fn random_index(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.rng.index(len))
    }

    pub(super) fn random_core(&mut self) -> usize {
        self.rng.index(self.cores.len())
    }

    // Readers.

    fn subscribe(&mut self) {
        let (core, Some(stream)) = (self.random_core(), self.rng.choose(&self.keys).cloned()) else {
            return;
        };
        let entry = self.directory.entry(&stream, core);
        entry.holders |= 1 << core;
        let home = entry.home;
        self.connections += 1;
        let connection = ConnectionRef(self.connections);
        let hub = &mut self.cores[core].hub;
        let key = hub.subscribe(
            self.now,
            &stream,
            id(home),
            inrush::hub::Reader { connection, stream_id: 1, form: Form::Full },
            &self.settings,
        );
        let is_live =
            hub.streams().any(|view| view.key() == &stream && view.home() == id(home) && view.is_live());
        self.tally.joins_at_home += u64::from(home == core);
        self.tally.joins_of_replicas += u64::from(home != core);
        self.tally.joins_of_waiting_streams += u64::from(!is_live);
        self.tally.bursts += u64::from(hub.has_queued(key));
        self.readers.push(Reader {
            core,
            key,
            stream,
            connection,
            witness: Witness::of_followers(self.steady),
            idle: !hub.has_queued(key),
            stalled: false,
            paused: false,
            audio: true,
            video: true,
            at_home: home == core,
            resyncs_before: hub.counters().resyncs,
            alive_at: self.now,
            told_hopeless: false,
        });
    }

    fn unsubscribe_one(&mut self) {
        if let Some(index) = self.random_index(self.readers.len()) {
            self.unsubscribe(index);
        }
    }

    fn unsubscribe(&mut self, index: usize) {
        let reader = self.readers.swap_remove(index);
        let hub = &mut self.cores[reader.core].hub;
        assert!(hub.unsubscribe(reader.key).is_some());
        assert!(hub.unsubscribe(reader.key).is_none(), "a key that has gone does nothing");
        self.tally.leaves += 1;
    }

    fn stall_or_wake(&mut self) {
        let Some(index) = self.random_index(self.readers.len()) else { return };
        let reader = &mut self.readers[index];
        reader.stalled = !reader.stalled;
        self.tally.readers_stalled += u64::from(reader.stalled);
    }

    fn wish(&mut self) {
        let Some(index) = self.random_index(self.readers.len()) else { return };
        let reader = &mut self.readers[index];
        let hub = &mut self.cores[reader.core].hub;
        match self.rng.index(3) {
            0 => {
                reader.paused = !reader.paused;
                hub.set_paused(self.now, reader.key, reader.paused);
                reader.witness.asks_for_gap(&[MediaKind::Audio, MediaKind::Video, MediaKind::Data]);
                reader.alive_at = self.now;
                self.tally.pauses += u64::from(reader.paused);
                self.tally.unpauses += u64::from(!reader.paused);
            }
            1 => {
                reader.audio = !reader.audio;
                hub.set_receive_audio(reader.key, reader.audio);
                reader.witness.asks_for_gap(&[MediaKind::Audio]);
                self.tally.receive_audio += 1;
            }
            _ => {
                reader.video = !reader.video;
                hub.set_receive_video(reader.key, reader.video);
                reader.witness.asks_for_gap(&[MediaKind::Video]);
                self.tally.receive_video += 1;
            }
        }
    }

    fn read_some(&mut self) {
        for index in 0..self.readers.len() {
            if self.readers[index].stalled || self.rng.percent(40) {
                continue;
            }
            let budget = match self.rng.index(6) {
                0 => TakeBudget { bytes: 500, slices: 1024 },
                1 => TakeBudget { bytes: 64 * 1024, slices: 1 + self.rng.index(6) },
                _ => EVERYTHING,
            };
            self.read(index, budget);
        }
    }

    /// What a driver does: it takes only once it was told, and waits again only when nothing is left.
    fn read(&mut self, index: usize, budget: TakeBudget) {
        let reader = &mut self.readers[index];
        if reader.idle {
            return;
        }
        let hub = &mut self.cores[reader.core].hub;
        let mut taken = Vec::new();
        let slices = hub.take(self.now, reader.key, budget, &mut taken);
        assert_eq!(slices == 0, taken.is_empty());
        assert!(taken.len() <= 1 || slices <= budget.slices);
        let bytes: usize = taken.iter().map(wire_len).sum();
        assert!(taken.len() <= 1 || bytes <= budget.bytes);
        reader.idle = !hub.has_queued(reader.key);
        reader.alive_at = self.now;
        let totals = hub.subscriber(reader.key).expect("it is there").totals();
        let resyncs = if reader.at_home { 0 } else { hub.counters().resyncs - reader.resyncs_before };
        // A publisher that has stood by for a while in between, unseen by this reader, has a gap as well.
        let home_changes: u64 = self.cores.iter().map(|core| core.hub.counters().discontinuities).sum();
        let resyncs = resyncs + if self.settings.continuity.standby { home_changes } else { 0 };
        for queued in &taken {
            reader.witness.see(queued, &totals.dropped, resyncs, &mut self.sights);
        }
    }

    // Time and transport.

    fn pass_time(&mut self) {
        let ms_end = if self.rng.percent(10) { 1_000 } else { 80 };
        let ms = self.rng.index(ms_end);
        self.now = self.now + Duration::from_millis(ms as u64);
        self.sweep();
    }

    pub(super) fn sweep(&mut self) {
        for core in &mut self.cores {
            core.hub.handle_sweep(self.now);
            core.hub.judge(self.now, |_| false);
            for (_, reader) in core.hub.subscribers() {
                assert!(reader.queued_ms(self.now) <= QUEUE.ms_max, "older than the queue's bound");
            }
        }
    }

    fn change_congestion(&mut self) {
        let (from, to) = (self.random_core(), self.random_core());
        let congested = self.rng.percent(40);
        if from != to {
            self.cores[from].congested[to] = congested;
            self.cores[from].hub.set_congested(id(to), congested);
        }
    }

    fn deliver_some(&mut self) {
        for to in 0..self.cores.len() {
            for from in 0..self.cores.len() {
                while self.rng.percent(60)
                    && let Some(letter) = self.cores[to].inbox[from].pop_front()
                {
                    self.deliver(from, to, letter);
                }
            }
        }
    }

    fn deliver(&mut self, from: usize, to: usize, letter: Letter) {
        match letter {
            Letter::Mesh(messages) => {
                messages
                    .into_iter()
                    .for_each(|message| self.cores[to].hub.handle_mesh(self.now, id(from), message));
            }
            Letter::Arrive(key) => {
                let entry = self.directory.entry(&key, to);
                assert_eq!(entry.home, to, "the home does not change while a publisher is on its way");
                entry.arriving -= 1;
                entry.holders |= 1 << to;
                self.come(to, key);
            }
        }
    }

    pub(super) fn deliver_all(&mut self) {
        let count = self.cores.len();
        let mut delivered = true;
        while delivered {
            self.turn();
            delivered = false;
            for (from, to) in (0..count * count).map(|way| (way / count, way % count)) {
                while let Some(letter) = self.cores[to].inbox[from].pop_front() {
                    self.deliver(from, to, letter);
                    delivered = true;
                }
            }
        }
    }

    /// The end of a turn: events are acted on, what goes to other cores is sent.
    pub(super) fn turn(&mut self) {
        for at in 0..self.cores.len() {
            while let Some(event) = self.cores[at].hub.poll_event() {
                self.act(at, event);
            }
            for to in (0..self.cores.len()).filter(|to| *to != at) {
                let messages = self.cores[at].hub.take_outgoing(id(to));
                if !messages.is_empty() {
                    self.cores[to].inbox[at].push_back(Letter::Mesh(messages));
                }
            }
            assert!(!self.cores[at].hub.has_outgoing());
        }
    }

    fn act(&mut self, at: usize, event: HubEvent) {
        match event {
            HubEvent::Ready { subscriber, connection } => {
                let reader = self.reader(at, subscriber);
                assert_eq!(self.readers[reader].connection, connection);
                if self.readers[reader].idle {
                    self.readers[reader].idle = false;
                    self.readers[reader].alive_at = self.now;
                }
            }
            HubEvent::Hopeless { subscriber, connection } => {
                let index = self.reader(at, subscriber);
                let reader = &mut self.readers[index];
                assert_eq!(reader.connection, connection);
                assert!(!reader.told_hopeless && !reader.paused);
                let rested = self.now - reader.alive_at;
                assert!(
                    rested >= Duration::from_millis(u64::from(QUEUE.stall_ms_max)),
                    "hopeless after {rested:?}"
                );
                reader.told_hopeless = true;
                if self.rng.percent(70) {
                    self.unsubscribe(index);
                } else {
                    self.tally.hopeless_kept += 1;
                }
            }
            HubEvent::HealthChanged { change: Change { began: true, .. }, .. } => self.tally.codes_began += 1,
            // Hardly any world lasts long enough for an end.
            HubEvent::HealthChanged { .. } => {}
            HubEvent::Over(stream) => self.on_over(at, &stream),
            HubEvent::Replaced { connection } => {
                self.tally.replaced += 1;
                self.close_publisher(connection);
            }
            HubEvent::Mismatched { connection } => {
                self.tally.mismatched += 1;
                self.close_publisher(connection);
            }
            HubEvent::OverLimit { .. } => unreachable!("nobody is held to anything"),
            HubEvent::AskAgain { connection } => self.ask_again(connection),
            HubEvent::TurnedAway { connection } => self.turn_away(connection),
            HubEvent::StreamGone(key) => {
                self.tally.streams_gone += 1;
                assert!(!self.cores[at].hub.streams().any(|stream| *stream.key() == key));
                if let Some(entry) = self.directory.get_mut(&key) {
                    entry.holders &= !(1 << at);
                    self.tally.homes_changed += u64::from(entry.home != at && entry.holders == 0);
                }
                self.directory.forget_unheld(&key);
            }
        }
    }

    fn reader(&self, core: usize, key: SubscriberKey) -> usize {
        let found = self.readers.iter().position(|reader| reader.core == core && reader.key == key);
        found.expect("events name readers that are there")
    }

    /// What holds after every step.
    fn check(&self) {
        for reader in &self.readers {
            let hub = &self.cores[reader.core].hub;
            assert!(
                !(reader.idle && hub.has_queued(reader.key)),
                "a driver sleeps while something is queued"
            );
            let view = hub.subscriber(reader.key).expect("it is there");
            assert_eq!((view.key(), view.connection()), (&reader.stream, reader.connection));
            assert!(
                view.queued_bytes() <= QUEUE.bytes_max + FRAME_BYTES_MAX + HEADERS_BYTES_MAX + GOP_BYTES_MAX,
                "{} bytes queued",
                view.queued_bytes()
            );
            // A burst, a queue, and what may go over it: headers that were due, notices.
            assert!(view.queued() <= QUEUE.frames_max + GOP_FRAMES_MAX + 8, "{} queued", view.queued());
            assert!(!reader.paused || view.queued() <= QUEUE.frames_max);
        }
        let of_hubs: usize = self.cores.iter().map(|core| core.hub.counts().publishers).sum();
        assert_eq!(of_hubs, self.publishers.len(), "publishers that nobody is");
        for core in &self.cores {
            let counts = core.hub.counts();
            assert_eq!(core.hub.entries(), counts.streams + counts.publishers + counts.subscribers);
            for stream in core.hub.streams() {
                assert!(stream.gop_frames() <= GOP_FRAMES_MAX);
                let is_somebody = stream.publisher().is_some() || stream.is_absent();
                assert!(!stream.is_home() || is_somebody == stream.is_live());
            }
            assert!(core.hub.awaited().count() <= 2 * self.claimants.len(), "one holder, one standby");
        }
    }

    // The end.

    /// Nothing is congested, on its way, paused or stalled any more, and everything has been read.
    fn calm(&mut self) {
        for from in 0..self.cores.len() {
            for to in 0..self.cores.len() {
                self.cores[from].hub.set_congested(id(to), false);
            }
        }
        self.deliver_all();
        for reader in &mut self.readers {
            let hub = &mut self.cores[reader.core].hub;
            hub.set_paused(self.now, reader.key, false);
            hub.set_receive_audio(reader.key, true);
            hub.set_receive_video(reader.key, true);
            reader.witness.asks_for_gap(&[MediaKind::Audio, MediaKind::Video, MediaKind::Data]);
            reader.paused = false;
            reader.alive_at = self.now;
        }
        self.turn();
        self.withdraw_all();
        self.settle_publishers();
        self.read_all();
    }

    pub(super) fn read_all(&mut self) {
        for index in 0..self.readers.len() {
            self.read(index, EVERYTHING);
        }
    }

    /// No more pictures for so long that nobody waits for them: sound reaches all readers on whatever core.
    fn switch_cameras_off(&mut self) {
        self.now = self.now + VIDEO_SILENT_MAX + Duration::from_millis(1);
        for index in 0..self.publishers.len() {
            if self.publishers[index].encoder.has_audio && self.is_on_air(index) {
                let message = self.publishers[index].encoder.audio(&mut self.rng);
                self.ingest(index, message);
            }
        }
        self.deliver_all();
        self.read_all();
        for reader in &self.readers {
            if let Some(Publisher { encoder, .. }) =
                self.on_air(&reader.stream).filter(|publisher| publisher.encoder.has_audio)
            {
                let last = reader.witness.last().expect("sound");
                assert_eq!(
                    (last.life, last.number),
                    (encoder.life, encoder.newest()),
                    "{:?}",
                    reader.witness
                );
            }
        }
    }

    /// Each publisher starts a GOP, and each of its readers on whatever core gets to the end of it; readers of streams without a
    /// publisher have heard of the end.
    fn serve_everybody(&mut self) {
        for index in 0..self.publishers.len() {
            if self.is_on_air(index) {
                self.start(index);
            }
        }
        self.deliver_all();
        self.read_all();
        for core in &mut self.cores {
            core.hub.handle_sweep(self.now);
        }
        self.deliver_all();
        for reader in &self.readers {
            match self.on_air(&reader.stream) {
                Some(publisher) => {
                    let last = reader.witness.last().expect("a frame");
                    let newest = (publisher.encoder.life, publisher.encoder.newest());
                    assert_eq!((last.life, last.number), newest, "{:?}", reader.witness);
                    let metadata = (publisher.encoder.life, publisher.encoder.metadata());
                    assert_eq!(reader.witness.metadata(), Some(metadata), "{:?}", reader.witness);
                }
                None => assert!(reader.witness.saw_end(), "{:?}", reader.witness),
            }
        }
        for publisher in &self.publishers {
            let hub = &self.cores[publisher.core].hub;
            let stream = hub.streams().find(|stream| stream.is_home() && *stream.key() == publisher.stream);
            let readers = self.readers.iter().filter(|reader| reader.stream == publisher.stream).count();
            assert_eq!(
                stream.expect("it is there").subscribers(),
                readers as u64,
                "the home knows all readers"
            );
        }
    }
}

pub(super) fn id(core: usize) -> CoreId {
    CoreId(u16::try_from(core).expect("few cores"))
}

fn wire_len(queued: &Queued) -> usize {
    match queued {
        Queued::Frame(frame) => frame.wire().wire_len(),
        Queued::Notice(_) => 0,
    }
}
