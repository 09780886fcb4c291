//! A message's body as the list of slices it arrived in.
//!
//! Nothing downstream may assume one contiguous slice: what must look inside takes a small prefix
//! ([`Payload::prefix`]); who needs the whole body in one piece asks for
//! [`Payload::to_bytes`], which copies only when there is more than one slice.
//! # Invariant
//! `len` is the sum of the slices' lengths; no slice is empty.

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// Slices kept in the payload itself; a longer list goes to the heap.
///
/// With our out chunk size of 60,000 adopted by the peer, nearly every message is one chunk that arrived
/// in one or two reads.
pub const INLINE_SLICES: usize = 2;

/// The body of one message. Cloning shares the slices (one reference count each).
#[derive(Clone, Debug, Default)]
pub struct Payload {
    slices: SmallVec<[Bytes; INLINE_SLICES]>,
    len: usize,
}

impl Payload {
    /// An empty payload, without allocating.
    pub fn new() -> Self {
        Self::default()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the message has no body.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slices, in order; none is empty.
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// Appends a slice; an empty one is dropped.
    pub fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.len += slice.len();
            self.slices.push(slice);
        }
    }

    /// Copies the first `N` bytes, or as many as there are; gives the filled part's length.
    pub fn prefix<const N: usize>(&self) -> ([u8; N], usize) {
        let mut out = [0; N];
        let filled = self.copy_to(0, &mut out);
        (out, filled)
    }

    /// Copies from `offset` on into `out`; gives the number of bytes copied.
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut skip = offset;
        let mut filled = 0;
        for slice in &self.slices {
            if skip >= slice.len() {
                skip -= slice.len();
                continue;
            }
            let from = &slice[skip..];
            skip = 0;
            let n = from.len().min(out.len() - filled);
            out[filled..filled + n].copy_from_slice(&from[..n]);
            filled += n;
            if filled == out.len() {
                break;
            }
        }
        filled
    }

    /// The byte at `offset`.
    pub fn byte(&self, offset: usize) -> Option<u8> {
        let mut skip = offset;
        for slice in &self.slices {
            if let Some(byte) = slice.get(skip) {
                return Some(*byte);
            }
            skip -= slice.len();
        }
        None
    }

    /// The whole body in one piece: shared when it arrived in one slice, copied otherwise.
    pub fn to_bytes(&self) -> Bytes {
        match self.slices.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => {
                let mut whole = BytesMut::with_capacity(self.len);
                many.iter().for_each(|slice| whole.extend_from_slice(slice));
                whole.freeze()
            }
        }
    }

    /// The body from `offset` on, sharing the bytes.
    pub fn skip(&self, offset: usize) -> Self {
        let mut skip = offset;
        let mut rest = Self::new();
        for slice in &self.slices {
            if skip >= slice.len() {
                skip -= slice.len();
            } else {
                rest.push(slice.slice(skip..));
                skip = 0;
            }
        }
        rest
    }

    /// The first `len` bytes (or all, when there are fewer), sharing them.
    pub fn take(&self, len: usize) -> Self {
        let mut left = len;
        let mut head = Self::new();
        for slice in &self.slices {
            let n = slice.len().min(left);
            head.push(slice.slice(..n));
            left -= n;
            if left == 0 {
                break;
            }
        }
        head
    }

    /// A copy of the body, for tests and for messages known to be small.
    pub fn to_vec(&self) -> Vec<u8> {
        self.slices.iter().flat_map(|slice| slice.iter().copied()).collect()
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        let mut payload = Self::new();
        payload.push(bytes);
        payload
    }
}

impl FromIterator<Bytes> for Payload {
    fn from_iter<I: IntoIterator<Item = Bytes>>(slices: I) -> Self {
        let mut payload = Self::new();
        slices.into_iter().for_each(|slice| payload.push(slice));
        payload
    }
}

/// Two payloads are equal when their bytes are, however they are sliced.
impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && self.slices.iter().flat_map(|s| s.iter()).eq(other.slices.iter().flat_map(|s| s.iter()))
    }
}

impl Eq for Payload {}
