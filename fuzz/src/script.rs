//! What the input of a session target says: its settings, a script, and the bytes of the peer.
//!
//! ```text
//! settings (1)   steps (1)   that many steps, one byte each   all the rest: what the peer sends
//! ```
//! A step below 0x80 is a read of so many bytes; from there on, its low four bits say what is done and three others how.

use std::time::Duration;

use bytes::Bytes;

/// Bytes of memory that reads share when they share any, and the longest read. More than the pieces of a message that are copied
/// ([`GATHER_BYTES_MAX`](inrush::rtmp::chunk::GATHER_BYTES_MAX)), so that some are kept as they came.
pub const ALLOCATION_BYTES: usize = 1024;

/// An input, taken apart.
#[derive(Clone, Copy)]
pub struct Script<'a> {
    /// What each bit means is the target's to say.
    pub settings: u8,
    steps: &'a [u8],
    wire: &'a [u8],
}

/// One step of a script.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The peer's next bytes arrive, so many.
    Read(usize),
    /// Something happens.
    Act {
        /// What, 0..=15.
        what: u8,
        /// In which way, 0..=7.
        how: u8,
    },
}

impl<'a> Script<'a> {
    /// Takes any input apart.
    pub fn new(data: &'a [u8]) -> Self {
        let (settings, rest) = data.split_first().unwrap_or((&0, &[]));
        let (count, rest) = rest.split_first().unwrap_or((&0, &[]));
        let (steps, wire) = rest.split_at(rest.len().min(usize::from(*count)));
        Self { settings: *settings, steps, wire }
    }

    /// Whether the setting is on.
    pub fn is(&self, setting: u8) -> bool {
        self.settings & setting != 0
    }

    /// The steps; all bytes that they do not read arrive behind them.
    pub fn steps(&self) -> impl Iterator<Item = Step> + use<'a> {
        self.steps.iter().map(|step| match *step {
            few @ 0..0x40 => Step::Read(usize::from(few) + 1),
            many @ 0x40..0x80 => Step::Read((usize::from(many) - 0x3f) * 128),
            act => Step::Act { what: act & 15, how: act >> 4 & 7 },
        })
    }

    /// The peer's bytes, in reads that share memory or do not.
    pub fn wire(&self, is_shared: bool) -> Wire {
        let shared = self.wire.chunks(ALLOCATION_BYTES).map(Bytes::copy_from_slice).rev().collect();
        Wire { shared, is_shared }
    }
}

/// The peer's bytes on their way.
pub struct Wire {
    /// The last one comes first.
    shared: Vec<Bytes>,
    is_shared: bool,
}

impl Wire {
    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// What the next read brings: `count` bytes at most, and less where an allocation ends. Nothing at the end.
    pub fn read(&mut self, count: usize) -> Option<Bytes> {
        let front = self.shared.last_mut()?;
        let bytes = front.split_to(front.len().min(count));
        if front.is_empty() {
            self.shared.pop();
        }
        Some(if self.is_shared { bytes } else { Bytes::copy_from_slice(&bytes) })
    }
}

/// How long an act waits: what matters to rates, to deadlines, and to clocks.
pub fn wait(how: u8) -> Duration {
    const WAITS_MS: [u64; 8] = [1, 40, 500, 1_000, 5_000, 10_000, 20_000, 31_000];
    Duration::from_millis(WAITS_MS[usize::from(how) % WAITS_MS.len()])
}
