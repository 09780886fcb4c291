//! One message while its chunks come in.
//!
//! A *piece* is what one read buffer holds of one chunk. A long piece stays where it is and becomes a slice
//! of the payload; short ones that follow each other are copied together.
//! # Bounds
//! The declared length reserves nothing. Copies go to the reader's block while no other message has it
//! (`scratch.rs`), else to a buffer that at most doubles and never grows over what the message can still need.
//! A slice costs its place in the list and its run beside its bytes (36 bytes, twice that while the list grows):
//! less than a quarter of what it keeps even when a short piece stands before each long one.

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::{
    retained::{Retained, RunKey},
    scratch::{BLOCK_BYTES, Scratch},
};
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
    slices: Vec<Bytes>,
    /// The copies that no slice is made of yet, and room for more.
    gathered: BytesMut,
    /// Whether `gathered` is the reader's block.
    has_block: bool,
    /// What was copied: its bytes where it went to the block, else its memory.
    copied_bytes: usize,
    /// The runs that the slices keep, each once for those that follow each other.
    runs: SmallVec<[RunKey; 8]>,
    left: usize,
    wire_bytes: u32,
}

impl Assembly {
    pub(super) fn new(length: usize, scratch: &mut Scratch) -> Self {
        Self {
            slices: scratch.take_list(),
            gathered: BytesMut::new(),
            has_block: false,
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

    /// What has come of it and was not gathered, or has its place in the list already.
    pub(super) fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// Whether a piece of `len` bytes is to be copied: it is short, and not the last after a slice or nothing.
    pub(super) fn gathers(&self, len: usize, gather_bytes_max: usize) -> bool {
        len <= gather_bytes_max && !(len == self.left && self.gathered.is_empty())
    }

    /// Counts input that belongs to this message.
    pub(super) fn add_wire_bytes(&mut self, count: usize) {
        self.wire_bytes = self.wire_bytes.saturating_add(count as u32);
    }

    /// Copies a piece; gives the bytes by which the copies grew.
    pub(super) fn gather(&mut self, piece: &[u8], scratch: &mut Scratch) -> usize {
        if self.gathered.capacity() == 0
            && let Some(block) = scratch.lend_block()
        {
            self.has_block = true;
            self.gathered = block;
        }
        let before = self.gathered.capacity();
        if before - self.gathered.len() < piece.len() {
            self.make_room(piece.len(), scratch);
        }
        self.gathered.extend_from_slice(piece);
        self.left -= piece.len();
        scratch.on_copied(piece.len());
        let grown = if self.has_block { piece.len() } else { self.gathered.capacity() - before };
        self.copied_bytes += grown;
        grown
    }

    /// Appends a piece as a slice; `run` is what keeps its buffer, and is released with this message.
    pub(super) fn slice(&mut self, piece: Bytes, run: Option<RunKey>) {
        self.seal_gathered();
        self.left -= piece.len();
        self.slices.push(piece);
        self.runs.extend(run);
    }

    /// The run that the last slice keeps.
    pub(super) fn last_run(&self) -> Option<RunKey> {
        self.runs.last().copied()
    }

    /// Lets go of what was held, and gives back what was borrowed; gives the payload so far, the input that it
    /// took, and what its copies count.
    pub(super) fn finish(mut self, retained: &mut Retained, scratch: &mut Scratch) -> (Payload, u32, usize) {
        self.seal_gathered();
        if self.has_block {
            scratch.return_block(self.gathered);
        }
        self.runs.drain(..).for_each(|run| retained.release(run));
        let payload = self.slices.drain(..).collect();
        scratch.return_list(self.slices);
        (payload, self.wire_bytes, self.copied_bytes)
    }

    fn make_room(&mut self, piece_bytes: usize, scratch: &Scratch) {
        let len = self.gathered.len();
        let needed = len + piece_bytes;
        let useful = len + self.left.max(piece_bytes);
        let doubled = (2 * self.gathered.capacity()).min(useful);
        let capacity = match self.has_block {
            true if scratch.block_bytes() == BLOCK_BYTES && len >= GATHER_BYTES_MAX => {
                // Worth a slice: the message goes on in the next block.
                self.seal_gathered();
                BLOCK_BYTES
            }
            true => scratch.block_bytes().max(doubled.min(BLOCK_BYTES)).max(needed),
            false => doubled.max(needed),
        };
        let mut roomier = BytesMut::with_capacity(capacity);
        roomier.extend_from_slice(&self.gathered);
        self.gathered = roomier;
    }

    fn seal_gathered(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        // Parting a block makes it count those who share it, which allocates; one without a rest need not.
        let has_rest = self.gathered.len() < self.gathered.capacity();
        let sealed = match self.has_block && has_rest {
            true => self.gathered.split(),
            false => core::mem::take(&mut self.gathered),
        };
        self.slices.push(sealed.freeze());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The copies' buffer follows what arrived, ends at the declared length exactly, and counts what it
    /// takes.
    #[test]
    fn gathering_reserves_by_what_has_arrived() {
        let scratch = &mut Scratch::default();
        let _block = scratch.lend_block();
        let mut assembly = Assembly::new(1000, scratch);
        let mut counted = 0;
        for arrived in 1..=1000 {
            counted += assembly.gather(&[7], scratch);
            assert_eq!(counted, assembly.gathered.capacity());
            assert!(counted < 2 * arrived + 8, "{counted} bytes reserved for {arrived}");
        }
        assert_eq!(counted, 1000);
        let (payload, _, copied_bytes) = assembly.finish(&mut Retained::default(), scratch);
        assert_eq!((payload.slices().len(), payload.len(), copied_bytes), (1, 1000, 1000));
    }

    /// The first messages of a session take what they need, later ones share a block; none is copied twice
    /// then, and a long one is parted where a block ends.
    #[test]
    fn a_block_grows_with_what_was_copied_and_is_shared() {
        let scratch = &mut Scratch::default();
        let mut copied = 0;
        let mut last_end = None;
        let mut shared = 0;
        for _ in 0..100 {
            let mut assembly = Assembly::new(3000, scratch);
            while assembly.left() > 0 {
                copied += assembly.gather(&[7; 100], scratch);
                assert!(assembly.gathered.capacity() <= (2 * copied + 200).min(BLOCK_BYTES));
            }
            let (payload, _, copied_bytes) = assembly.finish(&mut Retained::default(), scratch);
            assert_eq!((payload.len(), copied_bytes), (3000, 3000));
            assert!(payload.slices().len() <= 2);
            let start = payload.slices()[0].as_ptr();
            shared += usize::from(last_end == Some(start));
            last_end = payload.slices().last().map(|slice| slice.as_ptr_range().end);
        }
        assert!(shared >= 80, "{shared} of 100 messages follow the one before");
    }

    #[test]
    fn short_pieces_between_slices_keep_their_place() {
        let scratch = &mut Scratch::default();
        let mut assembly = Assembly::new(9, scratch);
        assembly.gather(b"ab", scratch);
        assembly.gather(b"c", scratch);
        assembly.slice(Bytes::from_static(b"def"), None);
        assembly.gather(b"ghi", scratch);
        let (payload, ..) = assembly.finish(&mut Retained::default(), scratch);
        assert_eq!(payload.slices(), [&b"abc"[..], b"def", b"ghi"]);
    }
}
