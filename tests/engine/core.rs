//! One core: its hub, its inbox, its sweep. The model of `runtime/core.rs` and `runtime/turn.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use inrush::hub::{CoreId, Hub, HubEvent, HubSettings, MeshMessage};
use inrush::media::{Frame, FrameRole, MediaKind};
use inrush::rtmp::PeerMisbehaved;
use inrush::session::{CloseReason, Instant};

use super::served::{Activity, Phase, Served};
use super::world::{Action, QUEUE, World};

const SWEEP: Duration = Duration::from_millis(100);

pub(super) struct Core {
    pub(super) hub: Hub,
    /// What the others have put in, in order.
    pub(super) inbox: VecDeque<Letter>,
    /// Media bytes on their way here, by the core that they come from.
    pub(super) on_the_way: Vec<usize>,
    /// Which cores the hub was told are congested.
    pub(super) congested: Vec<bool>,
    pub(super) stalled_until: Instant,
    flush_due: bool,
    /// Links whose players the hub has given up on, to be closed at the next sweep.
    hopeless: Vec<usize>,
    /// Connections that are here.
    pub(super) connections: usize,
}

pub(super) enum Letter {
    Mesh {
        from: usize,
        messages: Vec<MeshMessage>,
        bytes: usize,
    },
    /// A publisher whose home this core is.
    Arrive(usize, Box<Served>),
    Stop,
}

pub(super) fn id(core: usize) -> CoreId {
    CoreId(u16::try_from(core).expect("few cores"))
}

impl Core {
    pub(super) fn new(core: usize, cores: usize) -> Self {
        Self {
            hub: Hub::new(HubSettings { core: id(core), cores }),
            inbox: VecDeque::new(),
            on_the_way: vec![0; cores],
            congested: vec![false; cores],
            stalled_until: Instant::default(),
            flush_due: false,
            hopeless: Vec::new(),
            connections: 0,
        }
    }
}

/// Whether a core goes on with sound after a gap although the stream has pictures, which have not come for long.
fn resumes_at_sound(frames: &[Arc<Frame>]) -> bool {
    let (headers, rest): (Vec<_>, Vec<_>) = frames.iter().partition(|frame| frame.role().is_header());
    let is_sound = matches!(rest.as_slice(), [one] if one.role() == FrameRole::Audio);
    is_sound && headers.iter().any(|header| header.kind() == MediaKind::Video)
}

impl World {
    /// Deals with what the hub has to say.
    pub(super) fn pump_hub(&mut self, core: usize) {
        while let Some(event) = self.cores[core].hub.poll_event() {
            match event {
                HubEvent::Ready { connection, .. } => self.on_ready(connection.0 as usize),
                HubEvent::Hopeless { subscriber, connection } => {
                    let link = connection.0 as usize;
                    let served =
                        self.links[link].served.as_ref().expect("events name readers that are there");
                    let mut playing = served.playing().iter();
                    let one = playing.find(|one| one.subscriber == subscriber).expect("it plays");
                    // The hub counts whole milliseconds.
                    let rested = self.now - one.alive_at + Duration::from_millis(1);
                    let stalled = rested >= Duration::from_millis(u64::from(QUEUE.stall_ms_max));
                    assert!(!one.paused && stalled, "hopeless after {rested:?}");
                    self.cores[core].hopeless.push(link);
                }
                HubEvent::Over(key) => assert!(self.broadcasts.remove(&key), "an end without a beginning"),
                HubEvent::Replaced { connection } => {
                    self.tally.replaced += 1;
                    self.close(connection.0 as usize, CloseReason::Replaced);
                }
                HubEvent::AskAgain { connection } => self.claim_again(connection.0 as usize),
                HubEvent::TurnedAway { connection } => self.turn_away(connection.0 as usize),
                HubEvent::OverLimit { .. } => unreachable!("nobody is held to anything"),
                HubEvent::Mismatched { .. } => unreachable!("all media may follow"),
                HubEvent::HealthChanged { .. } => unreachable!("nobody judges"),
                HubEvent::StreamGone(key) => {
                    self.tally.streams_gone += 1;
                    assert!(!self.cores[core].hub.streams().any(|stream| *stream.key() == key));
                    if let Some(entry) = self.directory.get_mut(&key) {
                        entry.holders &= !(1 << core);
                    }
                    self.directory.forget_unheld(&key);
                }
            }
        }
        if self.cores[core].hub.has_outgoing() {
            self.outgoing(core);
        }
    }

    /// Puts the batch for other cores behind what else happens in this turn, or in the next few.
    fn outgoing(&mut self, core: usize) {
        if !std::mem::replace(&mut self.cores[core].flush_due, true) {
            let ms = self.rng.pick(&[0, 0, 0, 2, 10]);
            self.schedule_in_ms(ms, Action::Flush(core));
        }
    }

    pub(super) fn flush_outgoing(&mut self, from: usize) {
        self.cores[from].flush_due = false;
        for to in (0..self.cores.len()).filter(|to| *to != from) {
            let messages = self.cores[from].hub.take_outgoing(id(to));
            if !messages.is_empty() {
                let bytes = messages.iter().map(MeshMessage::bytes).sum();
                // So what waits is the bound and one batch, at most.
                let is_over =
                    self.cores[from].congested[to] || self.cores[to].on_the_way[from] > self.inbox_bytes_max;
                assert!(!is_over || bytes == 0, "media for a core that is congested");
                self.cores[to].on_the_way[from] += bytes;
                self.push(to, Letter::Mesh { from, messages, bytes });
            }
            let bytes = self.cores[to].on_the_way[from];
            let was = self.cores[from].congested[to];
            let congested = bytes > if was { self.inbox_bytes_max / 2 } else { self.inbox_bytes_max };
            if congested != was {
                self.cores[from].congested[to] = congested;
                self.cores[from].hub.set_congested(id(to), congested);
            }
        }
        assert!(!self.cores[from].hub.has_outgoing());
    }

    /// Puts a message into a core's inbox; the core is woken when that was empty.
    pub(super) fn push(&mut self, to: usize, letter: Letter) {
        self.cores[to].inbox.push_back(letter);
        if self.cores[to].inbox.len() == 1 {
            let ms = if self.is_calm { 0 } else { self.rng.pick(&[0, 0, 1, 5, 60]) };
            self.schedule_in_ms(ms, Action::Inbox(to));
        }
    }

    pub(super) fn take_inbox(&mut self, core: usize) {
        let budget = self.rng.pick(&[1, 4, usize::MAX]);
        for _ in 0..budget {
            let Some(letter) = self.cores[core].inbox.pop_front() else { return };
            match letter {
                Letter::Mesh { from, messages, bytes } => {
                    self.cores[core].on_the_way[from] -= bytes;
                    for message in messages {
                        if let MeshMessage::Snapshot { frames, .. } = &message {
                            self.tally.resumed_at_sound += u64::from(resumes_at_sound(frames));
                        }
                        self.cores[core].hub.handle_mesh(self.now, id(from), message);
                        self.pump_hub(core);
                    }
                }
                Letter::Arrive(link, served) => self.arrive(core, link, *served),
                Letter::Stop => {
                    self.cores[core].hub.end_graces(self.now);
                    self.pump_hub(core);
                    for link in self.links_of(core) {
                        self.close(link, CloseReason::Drained);
                    }
                }
            }
        }
        if !self.cores[core].inbox.is_empty() {
            let ms = if self.is_calm { 0 } else { self.rng.pick(&[0, 1, 20]) };
            self.schedule_in_ms(ms, Action::Inbox(core));
        }
    }

    pub(super) fn links_of(&self, core: usize) -> Vec<usize> {
        let is_here =
            |link: &usize| self.links[*link].served.as_ref().is_some_and(|served| served.core == core);
        (0..self.links.len()).filter(is_here).collect()
    }

    /// Deadlines, ages, readers that the hub has given up on, the end of a drain.
    pub(super) fn sweep(&mut self, core: usize) {
        for link in self.links_of(core) {
            self.enforce_deadlines(link);
        }
        self.listen_for_awaited(core);
        self.cores[core].hub.handle_sweep(self.now);
        self.pump_hub(core);
        for (_, reader) in self.cores[core].hub.subscribers() {
            assert!(reader.queued_ms(self.now) <= QUEUE.ms_max, "older than the queue's bound");
        }
        self.outgoing(core);
        for link in std::mem::take(&mut self.cores[core].hopeless) {
            self.close(link, CloseReason::Hopeless);
        }
        self.check_nobody_hopeless(core);
        if core == 0 {
            self.end_drain();
        }
        // The last publisher may be waited for.
        let is_empty = self.cores.iter().all(|core| core.hub.is_empty());
        if !self.leaving || self.is_anybody_there() || !is_empty {
            self.schedule(self.now + SWEEP, Action::Sweep(core));
        }
    }

    fn enforce_deadlines(&mut self, link: usize) {
        let now = self.now;
        let Some(served) = &mut self.links[link].served else { return };
        if now >= served.give_up_at {
            self.tally.gave_up += 1;
            let reason = match (served.phase, &served.activity) {
                (Phase::Open, Activity::Moving { .. }) => {
                    CloseReason::Error(PeerMisbehaved::NotReading.into())
                }
                _ => CloseReason::Io,
            };
            self.shut(link, reason);
        } else if served.is_open() && now >= served.session_timeout {
            served.session.handle_timeout(now);
            self.drive(link);
        }
    }
}
