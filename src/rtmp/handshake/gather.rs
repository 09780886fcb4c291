//! Gathers the next packet of the handshake out of bytes that come in any split.

use alloc::vec::Vec;

use bytes::{Buf, Bytes};

/// The first `BYTES` bytes of what is pushed.
///
/// # Bounds
/// Holds fewer than `BYTES` bytes, copied out of what they came in.
#[derive(Default)]
pub(super) struct Gather<const BYTES: usize> {
    have: Vec<u8>,
}

impl<const BYTES: usize> Gather<BYTES> {
    /// Takes bytes from the front of `input` until `BYTES` are together, and gives them then.
    pub(super) fn take(&mut self, input: &mut Bytes) -> Option<[u8; BYTES]> {
        if self.have.is_empty()
            && let Some(whole) = input.first_chunk().copied()
        {
            input.advance(BYTES);
            return Some(whole);
        }
        let piece = input.split_to(self.missing_bytes().min(input.len()));
        if !piece.is_empty() {
            self.have.reserve_exact(self.missing_bytes());
        }
        self.have.extend_from_slice(&piece);
        self.have.as_slice().try_into().ok()
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.have.is_empty()
    }

    /// Memory that is held, bytes.
    pub(super) fn retained_bytes(&self) -> usize {
        self.have.capacity()
    }

    /// Bytes that are still to come.
    pub(super) fn missing_bytes(&self) -> usize {
        BYTES - self.have.len()
    }
}
