//! What unfinished messages borrow from the reader, so that each need not allocate its own.
//!
//! The *list* collects the slices of a message until it is whole, when its payload gets a list of the length
//! that it has. The *block* takes copies of short pieces, one message behind the other, as a read buffer takes
//! what arrives: the payloads are slices of it, and several share one allocation.
//! # Invariant
//! One message at a time has the block, from its first copy until it is finished or dropped; what the others
//! copy meanwhile goes to buffers of their own. So a message's copies lie end to end.
//! # Bounds
//! A new block is no larger than [`BLOCK_BYTES`], and than twice what was copied in this session so far or what a
//! piece needs: a declared
//! length reserves nothing, and a session that sends little but commands keeps next to nothing. An unfinished
//! message counts what it copied, not the rest of the block, nor what others have of it: beside what is
//! counted, that keeps two blocks at most, the one that it began in and the one that it is in. The list keeps
//! [`LIST_KEPT`] places.

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

/// A block of a session that has copied as much, bytes: 80 ms of a stream of 3 Mbit/s, and a dozen of its
/// messages.
pub(super) const BLOCK_BYTES: usize = 32 * 1024;

/// Places that the list keeps when no message has it: 4 KiB, once a key frame of 180 kB has come in segments of 1,448
/// bytes.
const LIST_KEPT: usize = 128;

/// A rest of a block that has no room for this many bytes is not worth keeping the block for.
const REST_BYTES_MIN: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Scratch {
    list: Vec<Bytes>,
    rest: BytesMut,
    is_lent: bool,
    /// Bytes copied so far, counted up to [`BLOCK_BYTES`].
    copied_bytes: usize,
}

impl Scratch {
    /// An empty list.
    pub(super) fn take_list(&mut self) -> Vec<Bytes> {
        core::mem::take(&mut self.list)
    }

    /// Takes the list back.
    pub(super) fn return_list(&mut self, mut list: Vec<Bytes>) {
        list.clear();
        list.shrink_to(LIST_KEPT);
        if list.capacity() > self.list.capacity() {
            self.list = list;
        }
    }

    /// The block's rest, unless another message has it.
    pub(super) fn lend_block(&mut self) -> Option<BytesMut> {
        if self.is_lent {
            return None;
        }
        self.is_lent = true;
        Some(core::mem::take(&mut self.rest))
    }

    /// Takes the block's rest back.
    pub(super) fn return_block(&mut self, rest: BytesMut) {
        self.is_lent = false;
        if rest.capacity() >= REST_BYTES_MIN {
            self.rest = rest;
        }
    }

    /// Capacity that a new block may have without regard to what it is for.
    pub(super) fn block_bytes(&self) -> usize {
        self.copied_bytes
    }

    pub(super) fn on_copied(&mut self, len: usize) {
        self.copied_bytes = (self.copied_bytes + len).min(BLOCK_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_at_a_time_has_the_block() {
        let mut scratch = Scratch::default();
        let block = scratch.lend_block().unwrap();
        assert_eq!((block.capacity(), scratch.lend_block()), (0, None));
        scratch.return_block(BytesMut::with_capacity(1000));
        assert_eq!(scratch.lend_block().map(|block| block.capacity()), Some(1000));
        scratch.return_block(BytesMut::with_capacity(REST_BYTES_MIN - 1));
        assert_eq!(scratch.lend_block().map(|block| block.capacity()), Some(0), "too little to keep");
    }

    #[test]
    fn a_new_block_follows_what_was_copied() {
        let mut scratch = Scratch::default();
        for (len, block_bytes) in [(0, 0), (300, 300), (1000, 1300), (BLOCK_BYTES, BLOCK_BYTES)] {
            scratch.on_copied(len);
            assert_eq!(scratch.block_bytes(), block_bytes);
        }
    }

    #[test]
    fn a_long_list_is_not_kept() {
        let mut scratch = Scratch::default();
        let mut list = scratch.take_list();
        list.resize(1000, Bytes::from_static(b"a"));
        scratch.return_list(list);
        let list = scratch.take_list();
        assert!(list.is_empty() && list.capacity() == LIST_KEPT);
    }
}
