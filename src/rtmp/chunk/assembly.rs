//! One message while its chunks come in.
//!
//! A *piece* is what one read buffer holds of one chunk. A long piece stays where it is and becomes a slice
//! of the payload; short ones that follow each other are copied together into one buffer of their own.
//! # Bounds
//! The declared length reserves nothing: the buffer of the short pieces at most doubles, and never grows over
//! what the message can still need. A slice costs its place in the list (36 bytes) beside its bytes: less
//! than a tenth, since shorter pieces than [`GATHER_BYTES_MAX`] get none.

use alloc::vec::Vec;

use bytes::Bytes;
use smallvec::SmallVec;

use super::retained::{Retained, RunKey};
use crate::rtmp::Payload;

/// Pieces of a message up to this length are copied together instead of sliced, bytes. A message that is
/// whole in one piece is never copied.
///
/// A slice costs the same however short it is, a copy the less the shorter. Reading and dropping a message of
/// 16,384 bytes, nanoseconds (`benches/chunk_reader.rs`, AMD EPYC, mimalloc, best of 100 samples), and what
/// should hold on other machines too, the ratio:
///
/// | chunk size | sliced | gathered | ratio |
/// |---:|---:|---:|---:|
/// | 32 | 15,211 | 8,804 | 1.73 |
/// | 128 | 3,959 | 2,540 | 1.56 |
/// | 256 | 2,136 | 1,493 | 1.43 |
/// | 384 | 1,486 | 1,314 | 1.13 |
/// | **512** | 1,103 | 976 | 1.13 |
/// | 768 | 794 | 934 | 0.85 |
/// | 1,024 | 575 | 706 | 0.81 |
/// | 4,096 | 201 | 458 | 0.44 |
///
/// With a message of 4,096 bytes the ratio is 1.02 at 512 and 0.82 at 768. Each subscriber's walk over the
/// slices adds 0.3 to 1 ns a slice, which moves the crossover little.
pub const GATHER_BYTES_MAX: usize = 512;

#[derive(Debug)]
pub(super) struct Assembly {
    payload: Payload,
    gathered: Vec<u8>,
    /// Capacity of what was copied: `gathered`, and what of it is in `payload` already.
    copied_bytes: usize,
    /// One for each slice of `payload` that was not copied.
    runs: SmallVec<[RunKey; 4]>,
    left: usize,
    wire_bytes: u32,
}

impl Assembly {
    pub(super) fn new(length: usize) -> Self {
        Self {
            payload: Payload::new(),
            gathered: Vec::new(),
            copied_bytes: 0,
            runs: SmallVec::new(),
            left: length,
            wire_bytes: 0,
        }
    }

    /// Bytes of payload that are not here yet.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Whether a piece of `len` bytes is to be copied: it is short, and not the whole message.
    pub(super) fn gathers(&self, len: usize, gather_bytes_max: usize) -> bool {
        let nothing_yet = self.payload.is_empty() && self.gathered.is_empty();
        len <= gather_bytes_max && !(nothing_yet && len == self.left)
    }

    /// Counts input that belongs to this message.
    pub(super) fn add_wire_bytes(&mut self, count: usize) {
        self.wire_bytes = self.wire_bytes.saturating_add(count as u32);
    }

    /// Copies a piece; gives the bytes by which the copies grew in memory.
    pub(super) fn gather(&mut self, piece: &[u8]) -> usize {
        let before = self.gathered.capacity();
        if before - self.gathered.len() < piece.len() {
            let needed = self.gathered.len() + piece.len();
            let useful = self.gathered.len() + self.left.max(piece.len());
            let capacity = needed.max(2 * before).min(useful);
            self.gathered.reserve_exact(capacity - self.gathered.len());
        }
        self.gathered.extend_from_slice(piece);
        self.left -= piece.len();
        let grown = self.gathered.capacity() - before;
        self.copied_bytes += grown;
        grown
    }

    /// Appends a piece as a slice; `run` is what keeps its buffer, and is released with this message.
    pub(super) fn slice(&mut self, piece: Bytes, run: Option<RunKey>) {
        self.seal_gathered();
        self.left -= piece.len();
        self.payload.push(piece);
        self.runs.extend(run);
    }

    /// Lets go of what was held; gives the payload so far, the input that it took, and what its copies count.
    pub(super) fn finish(mut self, retained: &mut Retained) -> (Payload, u32, usize) {
        self.seal_gathered();
        self.runs.drain(..).for_each(|run| retained.release(run));
        (self.payload, self.wire_bytes, self.copied_bytes)
    }

    fn seal_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.payload.push(Bytes::from(core::mem::take(&mut self.gathered)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The copies' buffer follows what arrived, ends at the declared length exactly, and counts what it
    /// takes.
    #[test]
    fn gathering_reserves_by_what_has_arrived() {
        let mut assembly = Assembly::new(1000);
        let mut counted = 0;
        for arrived in 1..=1000 {
            counted += assembly.gather(&[7]);
            assert_eq!(counted, assembly.gathered.capacity());
            assert!(counted < 2 * arrived + 8, "{counted} bytes reserved for {arrived}");
        }
        assert_eq!(counted, 1000);
        let (payload, _, copied_bytes) = assembly.finish(&mut Retained::default());
        assert_eq!((payload.slices().len(), payload.len(), copied_bytes), (1, 1000, 1000));
    }

    #[test]
    fn short_pieces_between_slices_keep_their_place() {
        let mut assembly = Assembly::new(9);
        assembly.gather(b"ab");
        assembly.gather(b"c");
        assembly.slice(Bytes::from_static(b"def"), None);
        assembly.gather(b"ghi");
        let (payload, ..) = assembly.finish(&mut Retained::default());
        assert_eq!(payload.slices(), [&b"abc"[..], b"def", b"ghi"]);
    }
}
