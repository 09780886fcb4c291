//! Read buffers: how large they are, when one begins anew, and those that the publishers of a tick share.
//!
//! Each receive appends to a buffer that the operation owns meanwhile; what arrived is split off and frozen, so that payloads are
//! slices of it. A buffer begins anew when nobody keeps any of it, and is used until less than [`SPARE_BYTES_MIN`] is left of it
//! otherwise: what frames pin is then nearly all frames.
//!
//! A publisher that is polled and of whose buffer nobody keeps anything has none: its next visit takes one from [`Spares`], the one that
//! was used last. So a core without players or cache has as many buffers as receives leave together, however many publishers.
//!
//! Sizes are block sizes of the allocator (four a doubling), which would add the rest of the block to what a kept stream costs.
//! The beginning of a TLS record stays in its buffer until the rest has come, since it is decrypted in its place.
//! # Bounds
//! A buffer holds [`LARGEST_BYTES`] at most, and the beginning of one TLS record. A core has as many spares as receives leave together, at most, and none while it wakes.

use bytes::BytesMut;

/// Buffer of an idle or new connection, bytes.
const IDLE_BYTES: usize = 2 * 1024;
/// Buffer of a publisher to begin with, bytes: one to two video frames of a usual stream.
const PUBLISHER_BYTES: usize = 20 * 1024;
/// Largest buffer, bytes.
const LARGEST_BYTES: usize = 80 * 1024;
/// With less room than this a new buffer is taken, bytes.
const SPARE_BYTES_MIN: usize = 512;
/// A buffer with so many times the room that is wanted is given back.
const OVERSIZED: usize = 4;
/// What a receive that filled a whole buffer weighs against one that did not, and the sum at which the buffer grows: a stream of which
/// nothing but now and then a key frame, three buffers long at most, is larger than its buffer keeps it.
const FILLED_WEIGHT: u8 = 8;
const FILLED_MAX: u8 = 4 * FILLED_WEIGHT;

/// How large a buffer a connection wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferSize {
    bytes: usize,
    /// How much of late whole buffers were filled.
    filled: u8,
}

impl BufferSize {
    /// Of a connection that says little.
    pub(crate) const IDLE: Self = Self { bytes: IDLE_BYTES, filled: 0 };
    /// Of a publisher, until its stream wants more.
    pub(crate) const PUBLISHER: Self = Self { bytes: PUBLISHER_BYTES, filled: 0 };

    /// Follows the stream: so much came with one receive.
    pub(crate) fn on_bytes(&mut self, received: usize) {
        // The rest of a used buffer is filled by any stream; a whole one only by a stream that wants more.
        if received < self.bytes {
            self.filled = self.filled.saturating_sub(1);
        } else if (PUBLISHER_BYTES..LARGEST_BYTES).contains(&self.bytes) {
            self.filled += FILLED_WEIGHT;
            if self.filled >= FILLED_MAX {
                self.filled = 0;
                self.bytes *= 2;
            }
        }
    }

    /// Makes sure that the next receive has room.
    ///
    /// A buffer that is not empty holds the beginning of a TLS record that still lacks `lacking_bytes`: it goes with the room.
    pub(crate) fn make_room(self, buffer: &mut BytesMut, lacking_bytes: usize) {
        let spare = buffer.capacity() - buffer.len();
        if !buffer.is_empty() {
            // A promise of the peer's is given as much room as it has filled, at most.
            let wanted = lacking_bytes.min(buffer.len()).max(SPARE_BYTES_MIN);
            let room = self.bytes.max(wanted);
            if spare < wanted && !buffer.try_reclaim(room) {
                let mut moved = BytesMut::with_capacity(buffer.len() + room);
                moved.extend_from_slice(buffer);
                *buffer = moved;
            }
            return;
        }
        if spare > self.bytes * OVERSIZED {
            // Of a publisher that has become something else.
            *buffer = BytesMut::with_capacity(self.bytes);
        }
        // When nobody keeps what was read, the buffer begins anew: it is warm, and the next message will not be cut at its end.
        if spare < self.bytes && !buffer.try_reclaim(self.bytes) && spare < SPARE_BYTES_MIN {
            *buffer = BytesMut::with_capacity(self.bytes);
        }
    }
}

/// Buffers of [`BufferSize::PUBLISHER`] of which nobody keeps anything.
#[derive(Debug)]
pub(crate) struct Spares {
    buffers: Vec<BytesMut>,
    most: usize,
}

impl Spares {
    /// None yet, and so many at most.
    pub(crate) fn new(most: usize) -> Self {
        Self { buffers: Vec::new(), most }
    }

    /// Lets go of all.
    pub(crate) fn clear(&mut self) {
        self.buffers = Vec::new();
    }

    /// Gives a buffer without room some. One that was kept until its frames were written begins anew, so that the next message is not cut
    /// at its end.
    pub(crate) fn lend(&mut self, buffer: &mut BytesMut) {
        if buffer.capacity() == 0 {
            *buffer = self.buffers.pop().unwrap_or_else(|| BytesMut::with_capacity(PUBLISHER_BYTES));
        } else if buffer.is_empty() && buffer.capacity() < PUBLISHER_BYTES {
            // What is kept still leaves the rest of it.
            let _ = buffer.try_reclaim(PUBLISHER_BYTES);
        }
    }

    /// After a receive: takes the buffer when nobody keeps any of it, or makes sure that the next receive has room.
    /// (`lacking_bytes` as in [`BufferSize::make_room`].)
    pub(crate) fn take_back(&mut self, size: BufferSize, buffer: &mut BytesMut, lacking_bytes: usize) {
        // All of it is free again only if all of its room is there. (The second half of a larger one looks the same while its first is
        // kept; as a spare it keeps that from being freed, and nothing else.)
        let is_free = size.bytes == PUBLISHER_BYTES
            && buffer.is_empty()
            && buffer.try_reclaim(PUBLISHER_BYTES)
            && buffer.capacity() == PUBLISHER_BYTES;
        if !is_free {
            size.make_room(buffer, lacking_bytes);
            return;
        }
        let buffer = std::mem::take(buffer);
        if self.buffers.len() < self.most {
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(buffer: &mut BytesMut, bytes: usize) -> bytes::Bytes {
        buffer.resize(bytes, 7);
        buffer.split().freeze()
    }

    /// What was read and let go makes room for the next visit, whosever it is; what a frame keeps stays with its publisher.
    #[test]
    fn a_buffer_is_shared_only_while_nobody_keeps_any_of_it() {
        let mut spares = Spares::new(1);
        let [mut one, mut other] = [BytesMut::new(), BytesMut::new()];
        spares.lend(&mut one);
        let place = one.as_ptr();
        drop(receive(&mut one, 1_000));
        spares.take_back(BufferSize::PUBLISHER, &mut one, 0);
        assert_eq!(one.capacity(), 0);

        spares.lend(&mut other);
        assert_eq!(other.as_ptr(), place);
        let kept = receive(&mut other, 1_000);
        spares.take_back(BufferSize::PUBLISHER, &mut other, 0);
        assert_eq!(other.capacity(), PUBLISHER_BYTES - 1_000);
        drop(kept);
        drop(receive(&mut other, 10));
        spares.take_back(BufferSize::PUBLISHER, &mut other, 0);
        assert_eq!(other.capacity(), 0);
    }

    #[test]
    fn no_more_are_kept_than_are_used_at_once() {
        let mut spares = Spares::new(2);
        let mut buffers = vec![BytesMut::new(); 3];
        buffers.iter_mut().for_each(|buffer| spares.lend(buffer));
        buffers.iter_mut().for_each(|buffer| spares.take_back(BufferSize::PUBLISHER, buffer, 0));
        assert_eq!(spares.buffers.len(), 2);
        spares.clear();
        assert_eq!(spares.buffers.capacity(), 0);
    }

    /// A stream that fills its buffers gets its own, twice as large; one that is kept is used to its end.
    #[test]
    fn a_buffer_follows_its_stream() {
        let mut size = BufferSize::PUBLISHER;
        for _ in 0..4 {
            size.on_bytes(PUBLISHER_BYTES);
        }
        assert_eq!(size.bytes, 2 * PUBLISHER_BYTES);
        let (mut spares, mut buffer) = (Spares::new(1), BytesMut::new());
        spares.take_back(size, &mut buffer, 0);
        assert_eq!(buffer.capacity(), 2 * PUBLISHER_BYTES);
        let kept = receive(&mut buffer, 2 * PUBLISHER_BYTES - SPARE_BYTES_MIN);
        spares.take_back(size, &mut buffer, 0);
        assert_eq!(buffer.capacity(), SPARE_BYTES_MIN);
        let more = receive(&mut buffer, 1);
        spares.take_back(size, &mut buffer, 0);
        assert_eq!(buffer.capacity(), 2 * PUBLISHER_BYTES);
        drop((kept, more));
    }

    /// The beginning of a TLS record goes along when its buffer ends, and a promise is given no more room than it has filled.
    #[test]
    fn the_beginning_of_a_record_is_kept() {
        let mut buffer = BytesMut::with_capacity(IDLE_BYTES);
        let kept = receive(&mut buffer, IDLE_BYTES - 600);
        buffer.extend_from_slice(&[1; 550]);
        BufferSize::IDLE.make_room(&mut buffer, 16_000);
        assert_eq!((&buffer[..], buffer.capacity()), (&[1; 550][..], 550 + IDLE_BYTES), "moved, with room");
        let place = buffer.as_ptr();
        BufferSize::IDLE.make_room(&mut buffer, 16_000);
        assert_eq!((buffer.len(), buffer.as_ptr()), (550, place), "there is room enough");
        buffer.resize(buffer.capacity(), 1);
        let held = buffer.len();
        BufferSize::IDLE.make_room(&mut buffer, 16_000);
        assert!((held + held..3 * held).contains(&buffer.capacity()), "{}", buffer.capacity());
        assert!(buffer.iter().all(|byte| *byte == 1));
        drop(kept);

        // It is nobody else's meanwhile.
        let (mut spares, mut buffer) = (Spares::new(1), BytesMut::with_capacity(PUBLISHER_BYTES));
        buffer.extend_from_slice(&[2; 100]);
        spares.take_back(BufferSize::PUBLISHER, &mut buffer, 900);
        assert_eq!((buffer.len(), spares.buffers.len()), (100, 0));
    }

    #[test]
    fn the_sizes_follow_each_other_up_to_the_largest() {
        let mut size = BufferSize::PUBLISHER;
        (0..100).for_each(|_| size.on_bytes(LARGEST_BYTES));
        assert_eq!(size.bytes, LARGEST_BYTES);
        let mut idle = BufferSize::IDLE;
        (0..100).for_each(|_| idle.on_bytes(LARGEST_BYTES));
        assert_eq!(idle, BufferSize::IDLE, "who does not publish keeps a small one");
    }

    /// What was kept until it was written is room again at the next visit; what is kept longer is not touched.
    #[test]
    fn a_buffer_begins_anew_when_its_frames_are_written() {
        let mut spares = Spares::new(2);
        let mut buffer = BytesMut::with_capacity(PUBLISHER_BYTES);
        let frame = receive(&mut buffer, 15_000);
        spares.take_back(BufferSize::PUBLISHER, &mut buffer, 0);
        spares.lend(&mut buffer);
        assert!(buffer.capacity() < PUBLISHER_BYTES, "the frame is kept");
        drop(frame);
        spares.lend(&mut buffer);
        assert_eq!(buffer.capacity(), PUBLISHER_BYTES);
    }
}
