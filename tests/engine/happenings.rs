//! Who comes, and what breaks.

use std::time::Duration;

use inrush::rtmp::handshake::PACKET_BYTES;
use inrush::session::{CloseReason, Role};

use super::world::{Action, NAMES, World};

/// How long somebody comes or something breaks, milliseconds.
const BUSY_MS: u64 = 5_000;

/// The same in a long run: long enough for a camera to have been off for so long that nobody waits for its pictures.
const BUSY_LONG_MS: u64 = 15_000;

/// What a client sends of the handshake: C0, C1 and C2.
const HANDSHAKE_BYTES: usize = 1 + 2 * PACKET_BYTES;

impl World {
    /// Who is there from the start, and when the run goes from one part to the next.
    pub(super) fn begin(&mut self) {
        for core in 0..self.cores.len() {
            let ms = self.rng.below(100);
            self.schedule_in_ms(ms, Action::Sweep(core));
        }
        for _ in 0..1 + self.rng.below(2) {
            self.come(Role::Publish);
        }
        for _ in 0..1 + self.rng.below(4) {
            self.come(Role::Play);
        }
        self.schedule_in_ms(100, Action::Happen);
        let busy_ms = if self.is_long { BUSY_LONG_MS } else { BUSY_MS };
        if self.rng.percent(20) {
            // The server goes down in the middle of everything.
            let ms = 1_000 + self.rng.below(busy_ms);
            self.schedule_in_ms(ms, Action::Drain);
        }
        self.schedule_in_ms(busy_ms, Action::Calm);
        self.schedule_in_ms(busy_ms + 2_000, Action::Serve);
        self.schedule_in_ms(busy_ms + 4_000, Action::CheckServed);
        self.schedule_in_ms(busy_ms + 4_000, Action::Leave);
        self.schedule_in_ms(busy_ms + 12_000, Action::CutAll);
    }

    pub(super) fn stall_a_core(&mut self) {
        let core = self.rng.index(self.cores.len());
        self.cores[core].stalled_until = self.now + Duration::from_millis(20 + self.rng.below(600));
        self.tally.cores_stalled += 1;
    }

    fn come(&mut self, role: Role) -> usize {
        let (core, name) = (self.rng.index(self.cores.len()), NAMES[self.rng.index(self.names)]);
        self.connect(core, role, name)
    }

    pub(super) fn happen(&mut self) {
        if self.is_calm {
            return;
        }
        match self.rng.below(16) {
            0..3 => {
                self.come(Role::Publish);
            }
            3..6 => {
                self.come(Role::Play);
            }
            6 | 7 => self.with_link(Self::cut),
            8 => self.with_link(Self::freeze),
            9..12 => self.with_link(Self::stall_or_go_on),
            12 => self.come_and_fall_silent(),
            13 | 14 => self.stall_a_core(),
            _ => self.with_link(|world, link| {
                world.tally.kicked += 1;
                world.close(link, CloseReason::Kicked);
            }),
        }
        let ms = 50 + self.rng.below(500);
        self.schedule_in_ms(ms, Action::Happen);
    }

    fn with_link(&mut self, f: fn(&mut Self, usize)) {
        let open: Vec<_> = (0..self.links.len()).filter(|link| !self.links[*link].client_done).collect();
        if let Some(link) = self.rng.choose(&open).copied() {
            f(self, link);
        }
    }

    /// The link breaks, and both sides notice; what was on its way is lost, at any byte.
    pub(super) fn cut(&mut self, index: usize) {
        let link = &mut self.links[index];
        (link.frozen, link.stalled) = (false, false);
        if !link.up.has_ended() || !link.down.has_ended() {
            self.tally.links_cut += 1;
            link.lossy = true;
            link.reset |= self.rng.percent(50);
            link.up.cut(&mut self.rng, self.now);
            link.down.cut(&mut self.rng, self.now);
            self.push_down(index);
        }
        self.resume_reading(index);
        self.arm_down(index);
    }

    /// Nothing gets through any more, and nobody notices. The encoder does, after a while, and connects again beside its ghost.
    fn freeze(&mut self, index: usize) {
        let link = &mut self.links[index];
        if std::mem::replace(&mut link.frozen, true) {
            return;
        }
        link.lossy = true;
        self.tally.links_frozen += 1;
        if link.role == Role::Publish {
            let name = NAMES.iter().position(|name| *name == link.name).expect("a known name");
            let (core, ms) = (self.rng.index(self.cores.len()), 100 + self.rng.below(1_500));
            self.schedule_in_ms(ms, Action::Reconnect(name, core));
        }
    }

    fn stall_or_go_on(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.stalled = !link.stalled;
        self.tally.readers_stalled += u64::from(link.stalled);
        self.arm_down(index);
    }

    /// Somebody who gets as far as the handshake, or `connect`, or a little further.
    fn come_and_fall_silent(&mut self) {
        self.tally.links_silent += 1;
        let (core, role) = (self.rng.index(self.cores.len()), self.rng.pick(&[Role::Publish, Role::Play]));
        // Connected when nothing has been sent yet, so the bytes are those of the whole connection.
        let index = self.connect(core, role, NAMES[0]);
        let bytes = match self.rng.below(3) {
            0 => self.rng.index(PACKET_BYTES),
            1 => HANDSHAKE_BYTES,
            _ => HANDSHAKE_BYTES + self.rng.index(800),
        };
        let link = &mut self.links[index];
        link.lossy = true;
        link.silent = true;
        link.up.fall_silent_after(bytes);
    }
}
