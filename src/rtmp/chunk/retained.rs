//! What the reader keeps from being freed, in bytes of the buffers that it was given, not of the bytes that
//! it needs.
//!
//! A slice of 600 bytes keeps its whole read buffer alive, and a peer can see to it that each buffer holds
//! 600 bytes of a message that never ends. So a buffer counts whole for as long as any part of it is unparsed
//! or belongs to an unfinished message, and once however many messages share it.
//!
//! A driver that splits what it read off a larger allocation pushes parts that lie end to end in memory. Such
//! parts are one *run* and count together, since each of them keeps the allocation alive. What lies between two of
//! them and is nobody's (TLS's own bytes, of which records are made) counts with the run as well.
//! # Invariant
//! A run is in the table exactly while `unparsed + messages > 0`. `retained_bytes` is the sum over all runs,
//! `unfinished_bytes` the sum over those that only unfinished messages keep (`unparsed == 0`).

use smallvec::SmallVec;

/// Slots that are in the table itself: a reader that is polled as it is fed has one or two runs.
const IDLE_SLOTS: usize = 4;

/// Names a run for as long as somebody holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunKey(u32);

#[derive(Debug, Default)]
pub(super) struct Retained {
    runs: SmallVec<[Run; IDLE_SLOTS]>,
    free: SmallVec<[RunKey; IDLE_SLOTS]>,
    /// The run that was pushed last, and the address where it ends.
    last: Option<(RunKey, usize)>,
    retained_bytes: usize,
    unfinished_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Run {
    bytes: usize,
    /// Pushed buffers of this run that the input still has.
    unparsed: u32,
    /// Slices of this run that unfinished messages have.
    messages: u32,
}

impl Retained {
    /// Bytes of all runs that are held for any reason.
    pub(super) fn retained_bytes(&self) -> usize {
        self.retained_bytes
    }

    /// Bytes of those runs that nothing but unfinished messages holds.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.unfinished_bytes
    }

    /// The input takes a buffer over.
    pub(super) fn on_pushed(&mut self, buffer: &[u8]) -> RunKey {
        let start = buffer.as_ptr().addr();
        let key = match self.last {
            Some((key, end)) if end == start => key,
            _ => self.insert(),
        };
        self.last = Some((key, start + buffer.len()));
        let run = &mut self.runs[key.0 as usize];
        if run.unparsed == 0 && run.messages > 0 {
            self.unfinished_bytes -= run.bytes;
        }
        run.unparsed += 1;
        run.bytes += buffer.len();
        self.retained_bytes += buffer.len();
        key
    }

    /// Bytes behind what was pushed last are not for us, and are kept alive by it all the same.
    pub(super) fn on_gap(&mut self, bytes: usize) {
        let Some((key, end)) = self.last else { return };
        self.last = Some((key, end + bytes));
        let run = &mut self.runs[key.0 as usize];
        run.bytes += bytes;
        self.retained_bytes += bytes;
        if run.unparsed == 0 {
            self.unfinished_bytes += bytes;
        }
    }

    /// The input is through with a buffer.
    pub(super) fn on_parsed(&mut self, key: RunKey) {
        let run = &mut self.runs[key.0 as usize];
        run.unparsed -= 1;
        if run.unparsed == 0 {
            if run.messages > 0 {
                self.unfinished_bytes += run.bytes;
            } else {
                self.remove(key);
            }
        }
    }

    /// An unfinished message takes a slice, out of a buffer that the input still has.
    pub(super) fn hold(&mut self, key: RunKey) {
        self.runs[key.0 as usize].messages += 1;
    }

    /// A message that had a slice is finished or dropped.
    pub(super) fn release(&mut self, key: RunKey) {
        let run = &mut self.runs[key.0 as usize];
        run.messages -= 1;
        if run.messages == 0 && run.unparsed == 0 {
            self.unfinished_bytes -= run.bytes;
            self.remove(key);
        }
    }

    fn insert(&mut self) -> RunKey {
        self.free.pop().unwrap_or_else(|| {
            self.runs.push(Run::default());
            RunKey(self.runs.len() as u32 - 1)
        })
    }

    fn remove(&mut self, key: RunKey) {
        let run = core::mem::take(&mut self.runs[key.0 as usize]);
        self.retained_bytes -= run.bytes;
        self.free.push(key);
        // Its memory may now be freed and given out again, at the same address.
        self.last = self.last.filter(|(last, _)| *last != key);
        if self.free.len() == self.runs.len() {
            // A peer that made the table long does not keep it long.
            self.runs.clear();
            self.free.clear();
            self.runs.shrink_to_fit();
            self.free.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    /// A buffer counts once, whole, until both the input and the last message have let go of it.
    #[test]
    fn a_shared_buffer_counts_once_until_its_last_holder_goes() {
        let buffer = [0; 1000];
        let mut retained = Retained::default();
        let key = retained.on_pushed(&buffer);
        retained.hold(key);
        retained.hold(key);
        assert_eq!((retained.retained_bytes(), retained.unfinished_bytes()), (1000, 0));
        retained.on_parsed(key);
        assert_eq!((retained.retained_bytes(), retained.unfinished_bytes()), (1000, 1000));
        retained.release(key);
        assert_eq!((retained.retained_bytes(), retained.unfinished_bytes()), (1000, 1000));
        retained.release(key);
        assert_eq!((retained.retained_bytes(), retained.unfinished_bytes()), (0, 0));
    }

    /// Parts split off one allocation count together while one of them is held, even those pushed and parsed
    /// since.
    #[test]
    fn parts_of_one_allocation_count_together() {
        let mut allocation = BytesMut::zeroed(300);
        let mut retained = Retained::default();
        let mut keys = Vec::new();
        for _ in 0..3 {
            let part = allocation.split_to(100).freeze();
            let key = retained.on_pushed(&part);
            if keys.is_empty() {
                retained.hold(key);
            }
            retained.on_parsed(key);
            keys.push((key, part));
        }
        assert_eq!((retained.retained_bytes(), retained.unfinished_bytes()), (300, 300));
        retained.release(keys[0].0);
        assert_eq!((retained.retained_bytes(), retained.unfinished_bytes()), (0, 0));
    }

    /// Plain text that lies in a buffer with gaps keeps the gaps alive too; without anything held there is nothing to count.
    #[test]
    fn gaps_count_with_the_parts_around_them() {
        let mut allocation = BytesMut::zeroed(300);
        let mut retained = Retained::default();
        retained.on_gap(5);
        let _head = allocation.split_to(5);
        let first = allocation.split_to(100).freeze();
        let key = retained.on_pushed(&first);
        retained.hold(key);
        retained.on_gap(20);
        assert_eq!((retained.retained_bytes(), retained.unfinished_bytes()), (120, 0));
        retained.on_parsed(key);
        retained.on_gap(10);
        assert_eq!((retained.retained_bytes(), retained.unfinished_bytes()), (130, 130));
        let _gap = allocation.split_to(30);
        let second = allocation.split_to(50).freeze();
        assert_eq!(retained.on_pushed(&second), key, "the gap does not end the run");
        retained.on_parsed(key);
        assert_eq!((retained.retained_bytes(), retained.unfinished_bytes()), (180, 180));
        retained.release(key);
        assert_eq!((retained.retained_bytes(), retained.unfinished_bytes()), (0, 0));
        retained.on_gap(7);
        assert_eq!(retained.retained_bytes(), 0);
    }

    #[test]
    fn a_freed_run_is_not_continued() {
        let mut allocation = BytesMut::zeroed(200);
        let mut retained = Retained::default();
        let first = allocation.split_to(100).freeze();
        let key = retained.on_pushed(&first);
        retained.on_parsed(key);
        retained.on_pushed(&allocation);
        assert_eq!(retained.retained_bytes(), 100);
    }

    #[test]
    fn the_table_shrinks_when_it_is_empty() {
        let mut retained = Retained::default();
        // Half of each is pushed, so that no two lie end to end.
        let buffers: Vec<_> = (0..1000).map(|_| vec![0u8; 8]).collect();
        let keys: Vec<_> = buffers.iter().map(|buffer| retained.on_pushed(&buffer[..4])).collect();
        assert!(retained.runs.len() > IDLE_SLOTS);
        keys.into_iter().for_each(|key| retained.on_parsed(key));
        assert!(retained.runs.capacity() <= IDLE_SLOTS && retained.free.capacity() <= IDLE_SLOTS);
    }
}
