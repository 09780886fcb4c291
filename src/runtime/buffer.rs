//! Read buffers: how large they are, and when one begins anew.
//!
//! Each receive appends to a buffer that the operation owns meanwhile; what arrived is split off and frozen, so that payloads are
//! slices of it. A buffer begins anew when nobody keeps any of it, and is used until less than [`SPARE_BYTES_MIN`] is left of it
//! otherwise: what frames pin is then nearly all frames.
//!
//! Sizes are block sizes of the allocator (four a doubling), which would add the rest of the block to what a kept stream costs.
//! # Bounds
//! A buffer holds [`LARGEST_BYTES`] at most.

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
    pub(crate) fn make_room(self, buffer: &mut BytesMut) {
        let spare = buffer.capacity() - buffer.len();
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
