//! The wire form of one media message, made once and shared by all its readers.
//!
//! Always type 0, on a chunk stream fixed by the message's kind: so the bytes depend on nothing that was sent
//! before, and a reader may be given any message after any other.
//! # Invariant
//! Message stream 1 is what nearly every player has; [`WireHeaders::with_stream_id`] makes the first header
//! anew for another, the payload is shared all the same.

use bytes::BytesMut;

use super::{ChunkStreamId, MESSAGE_LENGTH_MAX, header::HeaderBytes};
use crate::rtmp::{MessageHeader, Payload, message::type_id};

/// The chunk headers of one media message. Plain inline bytes: no allocation.
#[derive(Clone, Copy, Debug)]
pub struct WireHeaders {
    header: MessageHeader,
    first: HeaderBytes,
    next: HeaderBytes,
    payload_bytes: u32,
    chunk_size: u32,
}

impl WireHeaders {
    /// The headers of a message with `payload_len` bytes of payload, in chunks of `chunk_size` bytes.
    ///
    /// A message of more than [`MESSAGE_LENGTH_MAX`] bytes has no wire form: what is over is cut off. A chunk
    /// size of 0 is taken as 1.
    pub fn new(header: &MessageHeader, payload_len: usize, chunk_size: u32) -> Self {
        let payload_bytes = wire_length(payload_len);
        let (first, next) = headers(header, payload_bytes);
        Self { header: *header, first, next, payload_bytes, chunk_size: chunk_size.max(1) }
    }

    /// The same message on another message stream.
    pub fn with_stream_id(&self, stream_id: u32) -> Self {
        Self::new(&MessageHeader { stream_id, ..self.header }, self.payload_bytes as usize, self.chunk_size)
    }

    /// Timestamp, type and message stream that the headers declare.
    pub fn header(&self) -> &MessageHeader {
        &self.header
    }

    /// Bytes on the wire, headers and payload.
    pub fn wire_len(&self) -> usize {
        let next_headers = self.payload_bytes.div_ceil(self.chunk_size).saturating_sub(1) as usize;
        self.first.len() + self.payload_bytes as usize + next_headers * self.next.len()
    }

    /// Slices that [`Self::for_each_slice`] gives for this payload.
    pub fn slice_count(&self, payload: &Payload) -> usize {
        let mut count = 0;
        self.for_each_slice(payload, |_| count += 1);
        count
    }

    /// Calls `f` with each slice in wire order: first header, payload up to the chunk size, next header, and
    /// so on. The slices borrow from `self` and from `payload`, which is the one whose length was given to
    /// [`Self::new`].
    pub fn for_each_slice<'a>(&'a self, payload: &'a Payload, f: impl FnMut(&'a [u8])) {
        for_each_slice(&self.first, &self.next, payload, self.chunk_size, f);
    }

    /// Appends all of it to `out`.
    pub fn write_to(&self, payload: &Payload, out: &mut BytesMut) {
        out.reserve(self.wire_len());
        self.for_each_slice(payload, |slice| out.extend_from_slice(slice));
    }
}

/// The length that can be declared for a payload of `len` bytes.
pub(super) fn wire_length(len: usize) -> u32 {
    debug_assert!(len <= MESSAGE_LENGTH_MAX as usize, "a message of {len} bytes has no wire form");
    len.min(MESSAGE_LENGTH_MAX as usize) as u32
}

/// Calls `f` with each slice of a chunked message in wire order.
pub(super) fn for_each_slice<'a>(
    first: &'a HeaderBytes,
    next: &'a HeaderBytes,
    payload: &'a Payload,
    chunk_size: u32,
    mut f: impl FnMut(&'a [u8]),
) {
    f(first.as_slice());
    let mut left = MESSAGE_LENGTH_MAX as usize;
    let mut left_in_chunk = chunk_size as usize;
    for slice in payload.slices() {
        let mut rest = &slice[..slice.len().min(left)];
        left -= rest.len();
        while !rest.is_empty() {
            if left_in_chunk == 0 {
                f(next.as_slice());
                left_in_chunk = chunk_size as usize;
            }
            let (now, later) = rest.split_at(rest.len().min(left_in_chunk));
            f(now);
            left_in_chunk -= now.len();
            rest = later;
        }
    }
}

fn headers(header: &MessageHeader, payload_bytes: u32) -> (HeaderBytes, HeaderBytes) {
    let id = match header.type_id {
        type_id::AUDIO => ChunkStreamId::AUDIO,
        type_id::VIDEO => ChunkStreamId::VIDEO,
        _ => ChunkStreamId::DATA,
    };
    (HeaderBytes::type_0(id, header, payload_bytes), HeaderBytes::type_3(id, header.timestamp))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(type_id: u8, timestamp: u32) -> MessageHeader {
        MessageHeader { timestamp, type_id, stream_id: 1 }
    }

    fn written(wire: &WireHeaders, payload: &Payload) -> Vec<u8> {
        let mut out = BytesMut::new();
        wire.write_to(payload, &mut out);
        out.to_vec()
    }

    #[test]
    fn golden_bytes() {
        let payload = Payload::from(Bytes::from_static(b"abcde"));
        let wire = WireHeaders::new(&message(type_id::VIDEO, 0x0a0b0c), 5, 2);
        let expected = b"\x06\x0a\x0b\x0c\x00\x00\x05\x09\x01\x00\x00\x00ab\xc6cd\xc6e";
        assert_eq!(written(&wire, &payload), expected);
        let other = wire.with_stream_id(0x0102);
        assert_eq!(written(&other, &payload)[..12], *b"\x06\x0a\x0b\x0c\x00\x00\x05\x09\x02\x01\x00\x00");
        assert_eq!(written(&other, &payload)[12..], expected[12..]);
    }

    #[test]
    fn each_kind_has_its_chunk_stream() {
        let first = |type_id| written(&WireHeaders::new(&message(type_id, 0), 0, 128), &Payload::new())[0];
        assert_eq!((first(8), first(9), first(18), first(15)), (4, 6, 5, 5));
    }

    /// The extended timestamp is repeated on every type 3 (§5.3.1.3).
    #[test]
    fn extended_timestamp_is_repeated() {
        let payload = Payload::from(Bytes::from_static(b"abc"));
        let wire = WireHeaders::new(&message(type_id::AUDIO, 0x01020304), 3, 2);
        let expected =
            b"\x04\xff\xff\xff\x00\x00\x03\x08\x01\x00\x00\x00\x01\x02\x03\x04ab\xc4\x01\x02\x03\x04c";
        assert_eq!(written(&wire, &payload), expected);
    }

    /// Length and slice count are what is written, whatever the slicing and the chunk size.
    #[test]
    fn lengths_and_counts_agree_with_what_is_written() {
        let body: Vec<u8> = (0..=255).collect();
        for slice_bytes in [1, 7, 64, 255, 256] {
            let payload: Payload = body.chunks(slice_bytes).map(Bytes::copy_from_slice).collect();
            for chunk_size in [1, 2, 63, 64, 65, 255, 256, 257, 60_000] {
                for timestamp in [0, 0xffffff] {
                    let wire =
                        WireHeaders::new(&message(type_id::VIDEO, timestamp), payload.len(), chunk_size);
                    let mut slices = Vec::new();
                    wire.for_each_slice(&payload, |slice| slices.push(slice));
                    assert_eq!(slices.concat(), written(&wire, &payload));
                    assert_eq!(wire.wire_len(), slices.concat().len());
                    assert_eq!(wire.slice_count(&payload), slices.len());
                    assert!(slices.iter().all(|slice| !slice.is_empty()));
                }
            }
        }
    }

    #[test]
    fn payload_slices_are_shared_not_copied() {
        let bytes = Bytes::from(vec![1; 100]);
        let payload = Payload::from(bytes.clone());
        let wire = WireHeaders::new(&message(type_id::VIDEO, 0), 100, 60_000);
        let mut last = None;
        wire.for_each_slice(&payload, |slice| last = Some(slice.as_ptr()));
        assert_eq!(last, Some(bytes.as_ptr()));
    }
}
