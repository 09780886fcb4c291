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

    /// The `N` bytes at `offset`, when all of them are there.
    pub fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut out = [0; N];
        (self.copy_to(offset, &mut out) == N).then_some(out)
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

    /// Reads the body from front to back, in one pass however many slices there are.
    pub fn into_cursor(self) -> Cursor {
        Cursor { slices: self.slices.into_iter(), front: Bytes::new(), left: self.len }
    }

    /// A copy of the body, for tests and for messages known to be small.
    pub fn to_vec(&self) -> Vec<u8> {
        self.slices.iter().flat_map(|slice| slice.iter().copied()).collect()
    }
}

/// A body that is read from front to back; what is read is let go.
/// # Invariant
/// `left` is the length of `front` and all of `slices`.
#[derive(Clone, Debug)]
pub struct Cursor {
    slices: smallvec::IntoIter<[Bytes; INLINE_SLICES]>,
    front: Bytes,
    left: usize,
}

impl Cursor {
    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Reads the next `N` bytes; `None`, and nothing is read, when there are fewer.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut out = [0; N];
        let mut filled = 0;
        if self.left < N {
            return None;
        }
        while filled < N {
            let piece = self.piece(N - filled)?;
            out[filled..filled + piece.len()].copy_from_slice(&piece);
            filled += piece.len();
        }
        Some(out)
    }

    /// Reads the next `len` bytes, sharing them; `None`, and nothing is read, when there are fewer.
    pub fn take(&mut self, len: usize) -> Option<Payload> {
        if self.left < len {
            return None;
        }
        let mut head = Payload::new();
        while head.len < len {
            head.push(self.piece(len - head.len)?);
        }
        Some(head)
    }

    /// The next bytes that are in one slice, `len` at most; `None` at the end.
    fn piece(&mut self, len: usize) -> Option<Bytes> {
        if self.front.is_empty() {
            self.front = self.slices.next()?;
        }
        let piece = self.front.split_to(len.min(self.front.len()));
        self.left -= piece.len();
        Some(piece)
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
        let slices = slices.into_iter();
        let mut payload = Self { slices: SmallVec::with_capacity(slices.size_hint().0), len: 0 };
        slices.for_each(|slice| payload.push(slice));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// "abcdefgh" in the given slices.
    fn sliced(lengths: &[usize]) -> Payload {
        let mut rest = Bytes::from_static(b"abcdefgh");
        lengths.iter().map(|&len| rest.split_to(len)).collect()
    }

    const SLICINGS: [&[usize]; 5] = [&[8], &[1, 7], &[0, 3, 0, 5], &[2, 2, 2, 2], &[1, 1, 1, 1, 1, 1, 1, 1]];

    /// Every way to look inside sees the same bytes however they are sliced.
    #[test]
    fn slicing_does_not_show() {
        for lengths in SLICINGS {
            let payload = sliced(lengths);
            assert_eq!(payload, Payload::from(Bytes::from_static(b"abcdefgh")));
            assert_eq!((payload.len(), payload.to_vec().as_slice()), (8, &b"abcdefgh"[..]));
            assert_eq!(payload.prefix::<3>(), (*b"abc", 3));
            assert_eq!(payload.prefix::<9>(), (*b"abcdefgh\0", 8));
            assert_eq!(payload.array(4), Some(*b"efgh"));
            assert_eq!(payload.array::<4>(5), None);
            assert_eq!((payload.byte(7), payload.byte(8)), (Some(b'h'), None));
            assert_eq!(payload.skip(3).to_bytes(), &b"defgh"[..]);
            assert_eq!(payload.take(3).to_bytes(), &b"abc"[..]);
            assert!(payload.skip(8).is_empty() && payload.skip(99).is_empty() && payload.take(0).is_empty());
            assert!(payload.slices().iter().all(|slice| !slice.is_empty()));
        }
    }

    #[test]
    fn a_cursor_reads_all_or_nothing() {
        for lengths in SLICINGS {
            let mut cursor = sliced(lengths).into_cursor();
            assert_eq!(cursor.array(), Some(*b"abc"));
            assert_eq!(cursor.take(6), None);
            assert_eq!(cursor.array::<6>(), None);
            assert_eq!(cursor.take(4).map(|taken| taken.to_vec()), Some(b"defg".to_vec()));
            assert_eq!(cursor.take(0), Some(Payload::new()));
            assert_eq!(cursor.left(), 1);
            assert_eq!(cursor.array(), Some(*b"h"));
            assert_eq!((cursor.left(), cursor.array::<1>(), cursor.take(1)), (0, None, None));
        }
    }

    #[test]
    fn one_slice_is_shared_not_copied() {
        let bytes = Bytes::from(vec![7; 100]);
        assert_eq!(Payload::from(bytes.clone()).to_bytes().as_ptr(), bytes.as_ptr());
        assert_eq!(Payload::from(bytes.clone()).skip(9).slices()[0].as_ptr(), bytes[9..].as_ptr());
    }
}
