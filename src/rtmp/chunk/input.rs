//! Bytes that the peer sent and that are not parsed yet.
//!
//! # Invariant
//! No buffer in the queue is empty; `unparsed_bytes` is the sum of their lengths. What is behind the front is
//! gone, what is before it has not been looked at, except that a header is looked at again until it is whole.
//! # Bounds
//! How much is pushed before it is parsed is the driver's to bound. What a waiting buffer costs beyond its
//! bytes (its place in the queue) is at most [`QUEUE_ENTRY_BYTES`] for each [`MERGE_BYTES_MAX`] / 2 bytes,
//! however small the buffers are that the peer makes the driver push.

use alloc::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::{
    header::HEADER_BYTES_MAX,
    retained::{Retained, RunKey},
};

/// Buffers that wait before the next ones are merged. A reader that is polled as it is fed has one or two.
const LOOSE_BUFFERS_MAX: usize = 8;

/// Two waiting buffers that together are no longer than this become one, bytes: below the size that is worth
/// a slice of its own, so no slice is lost by it.
const MERGE_BYTES_MAX: usize = 256;

/// What a place in the queue costs, bytes.
const QUEUE_ENTRY_BYTES: usize = size_of::<(Bytes, RunKey)>();

const _: () = assert!(MERGE_BYTES_MAX <= super::GATHER_BYTES_MAX);
const _: () =
    assert!(QUEUE_ENTRY_BYTES <= MERGE_BYTES_MAX / 2, "a queue may not cost more than what waits in it");

#[derive(Debug, Default)]
pub(super) struct Input {
    /// The front of the queue has its place here: a reader that is polled as it is fed has no other, and its next bytes are one look-up
    /// away. Without it nothing is behind it.
    front: Option<(Bytes, RunKey)>,
    behind: VecDeque<(Bytes, RunKey)>,
    unparsed_bytes: usize,
    pub(super) retained: Retained,
}

impl Input {
    pub(super) fn push(&mut self, mut bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.unparsed_bytes += bytes.len();
        if self.behind.len() >= LOOSE_BUFFERS_MAX
            && let Some((last, run)) = self.behind.back()
            && last.len() + bytes.len() <= MERGE_BYTES_MAX
        {
            bytes = Bytes::from([&last[..], &bytes[..]].concat());
            self.retained.on_parsed(*run);
            self.behind.pop_back();
        }
        let run = self.retained.on_pushed(&bytes);
        match self.front {
            None => self.front = Some((bytes, run)),
            Some(_) => self.behind.push_back((bytes, run)),
        }
    }

    pub(super) fn unparsed_bytes(&self) -> usize {
        self.unparsed_bytes
    }

    /// The next bytes, as many as any chunk header has or as there are; `scratch` is used when they are not
    /// in one piece.
    pub(super) fn peek<'a>(&'a self, scratch: &'a mut [u8; HEADER_BYTES_MAX]) -> &'a [u8] {
        match &self.front {
            Some((front, _)) if front.len() >= HEADER_BYTES_MAX || self.behind.is_empty() => front,
            _ => {
                let mut filled = 0;
                for (buffer, _) in self.front.iter().chain(&self.behind) {
                    let n = buffer.len().min(HEADER_BYTES_MAX - filled);
                    scratch[filled..filled + n].copy_from_slice(&buffer[..n]);
                    filled += n;
                    if filled == HEADER_BYTES_MAX {
                        break;
                    }
                }
                &scratch[..filled]
            }
        }
    }

    /// The front buffer's rest.
    pub(super) fn front(&self) -> &[u8] {
        self.front.as_ref().map_or(&[], |(front, _)| front)
    }

    /// Leaves `count` bytes behind, or all when there are fewer.
    pub(super) fn advance(&mut self, count: usize) {
        let mut left = count;
        while let Some((front, _)) = &mut self.front {
            if front.len() > left {
                front.advance(left);
                self.unparsed_bytes -= left;
                return;
            }
            left -= front.len();
            self.pop_front();
        }
    }

    /// Takes at most `count` bytes off the front buffer, without copying.
    pub(super) fn take(&mut self, count: usize) -> Bytes {
        match &mut self.front {
            Some((front, _)) if count < front.len() => {
                self.unparsed_bytes -= count;
                front.split_to(count)
            }
            Some(_) => self.pop_front().unwrap_or_default(),
            None => Bytes::new(),
        }
    }

    /// Like [`Self::take`], for a message that is not finished by it: its run is held until it is released. No
    /// run is given when it is `held` already.
    pub(super) fn take_held(&mut self, count: usize, held: Option<RunKey>) -> (Bytes, Option<RunKey>) {
        let run = self.front.as_ref().map(|(_, run)| *run).filter(|run| Some(*run) != held);
        if let Some(run) = run {
            self.retained.hold(run);
        }
        (self.take(count), run)
    }

    fn pop_front(&mut self) -> Option<Bytes> {
        let (front, run) = core::mem::replace(&mut self.front, self.behind.pop_front())?;
        self.unparsed_bytes -= front.len();
        self.retained.on_parsed(run);
        Some(front)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(buffers: &[&'static [u8]]) -> Input {
        let mut input = Input::default();
        buffers.iter().for_each(|buffer| input.push(Bytes::from_static(buffer)));
        input
    }

    #[test]
    fn peeking_sees_across_buffers_and_takes_nothing() {
        let input = input(&[b"ab", b"", b"c", b"defghijklmnopqrstuvwxyz"]);
        assert_eq!(input.peek(&mut [0; HEADER_BYTES_MAX]), b"abcdefghijklmnopqr");
        assert_eq!((input.unparsed_bytes(), input.front()), (26, &b"ab"[..]));
    }

    #[test]
    fn advancing_and_taking_keep_count() {
        let mut input = input(&[b"abc", b"defg", b"hi"]);
        input.advance(4);
        assert_eq!((input.take(2), input.unparsed_bytes()), (Bytes::from_static(b"ef"), 3));
        assert_eq!(input.take(5), &b"g"[..], "one buffer at a time");
        assert_eq!(
            (input.take(2), input.take(1), input.unparsed_bytes()),
            (Bytes::from_static(b"hi"), Bytes::new(), 0)
        );
        input.advance(1);
        assert_eq!(input.retained.retained_bytes(), 0);
    }

    /// A peer that sends byte by byte while nothing is parsed cannot make the queue cost more than the bytes.
    #[test]
    fn waiting_buffers_are_merged_when_they_are_many_and_short() {
        let mut input = Input::default();
        for n in 0..10_000 {
            input.push(Bytes::copy_from_slice(&[n as u8]));
            let entries = input.behind.len() - input.behind.len().min(LOOSE_BUFFERS_MAX);
            assert!(entries * MERGE_BYTES_MAX / 2 <= input.unparsed_bytes());
        }
        assert_eq!((input.unparsed_bytes(), input.retained.retained_bytes()), (10_000, 10_000));
        for n in 0..10_000 {
            assert_eq!(input.take(1), [n as u8][..]);
        }
    }
}
