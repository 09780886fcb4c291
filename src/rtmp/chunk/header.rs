//! One chunk's header on the wire: basic header, message header, extended timestamp (RTMP 1.0 §5.3.1).
//!
//! Only the bytes: what a header leaves out is filled in by `stream.rs`, which knows what came before.

use super::ChunkStreamId;
use crate::rtmp::MessageHeader;

/// Longest chunk header: 3 basic, 11 message, 4 extended timestamp.
pub(super) const HEADER_BYTES_MAX: usize = 3 + 11 + 4;

/// Bytes of an extended timestamp field (RTMP 1.0 §5.3.1.3).
pub(super) const EXTENDED_BYTES: usize = 4;

/// The value of the 24-bit field that says that an extended timestamp follows (RTMP 1.0 §5.3.1.3).
pub(super) const EXTENDED_MARK: u32 = 0xff_ffff;

/// A chunk header as far as its own bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkHeader {
    pub(super) id: ChunkStreamId,
    pub(super) fields: MessageFields,
    /// Bytes on the wire. A type 3 may be followed by an extended timestamp that is not counted here.
    pub(super) len: usize,
}

/// The message header, by chunk type (RTMP 1.0 §5.3.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageFields {
    /// Everything, with an absolute timestamp.
    Type0 { timestamp: TimeField, length: u32, type_id: u8, stream_id: u32 },
    /// Same message stream as before.
    Type1 { delta: TimeField, length: u32, type_id: u8 },
    /// Same message stream, length and type as before.
    Type2 { delta: TimeField },
    /// Everything as before.
    Type3,
}

/// A timestamp or a delta, milliseconds, and whether it stood in an extended timestamp field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeField {
    pub(super) ms: u32,
    pub(super) extended: bool,
}

impl MessageFields {
    /// The declared message length, where there is one.
    pub(super) fn length(&self) -> Option<u32> {
        match *self {
            Self::Type0 { length, .. } | Self::Type1 { length, .. } => Some(length),
            Self::Type2 { .. } | Self::Type3 => None,
        }
    }
}

impl ChunkHeader {
    /// Parses the header at the front of `bytes`; `None` when it is not all there yet.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&first, rest) = bytes.split_first()?;
        let (id, rest) = match first & 0x3f {
            0 => {
                let (&low, rest) = rest.split_first()?;
                (64 + u32::from(low), rest)
            }
            1 => {
                let (&id, rest) = rest.split_first_chunk()?;
                (64 + u32::from(u16::from_le_bytes(id)), rest)
            }
            id => (id.into(), rest),
        };
        let (fields, rest) = match first >> 6 {
            0 => {
                let (&[t0, t1, t2, l0, l1, l2, type_id, s0, s1, s2, s3], rest) = rest.split_first_chunk()?;
                let (timestamp, rest) = time_field([t0, t1, t2], rest)?;
                let length = u32::from_be_bytes([0, l0, l1, l2]);
                // The one little-endian field of RTMP (§5.3.1.2.5).
                let stream_id = u32::from_le_bytes([s0, s1, s2, s3]);
                (MessageFields::Type0 { timestamp, length, type_id, stream_id }, rest)
            }
            1 => {
                let (&[t0, t1, t2, l0, l1, l2, type_id], rest) = rest.split_first_chunk()?;
                let (delta, rest) = time_field([t0, t1, t2], rest)?;
                (MessageFields::Type1 { delta, length: u32::from_be_bytes([0, l0, l1, l2]), type_id }, rest)
            }
            2 => {
                let (&delta, rest) = rest.split_first_chunk()?;
                let (delta, rest) = time_field(delta, rest)?;
                (MessageFields::Type2 { delta }, rest)
            }
            _ => (MessageFields::Type3, rest),
        };
        Some(Self { id: ChunkStreamId(id), fields, len: bytes.len() - rest.len() })
    }
}

fn time_field([t0, t1, t2]: [u8; 3], rest: &[u8]) -> Option<(TimeField, &[u8])> {
    match u32::from_be_bytes([0, t0, t1, t2]) {
        EXTENDED_MARK => {
            let (&ms, rest) = rest.split_first_chunk()?;
            Some((TimeField { ms: u32::from_be_bytes(ms), extended: true }, rest))
        }
        ms => Some((TimeField { ms, extended: false }, rest)),
    }
}

/// One chunk header ready to be written: plain inline bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderBytes {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl HeaderBytes {
    /// `length` is cut to 24 bits; who calls has seen to it that it fits.
    pub(super) fn type_0(id: ChunkStreamId, header: &MessageHeader, length: u32) -> Self {
        let mut out = Self::basic(0, id);
        let extended = out.push_time(header.timestamp);
        out.push_u24(length);
        out.push(&[header.type_id]);
        out.push(&header.stream_id.to_le_bytes());
        out.push_extended(extended);
        out
    }

    pub(super) fn type_1(id: ChunkStreamId, delta: u32, length: u32, type_id: u8) -> Self {
        let mut out = Self::basic(1, id);
        let extended = out.push_time(delta);
        out.push_u24(length);
        out.push(&[type_id]);
        out.push_extended(extended);
        out
    }

    pub(super) fn type_2(id: ChunkStreamId, delta: u32) -> Self {
        let mut out = Self::basic(2, id);
        let extended = out.push_time(delta);
        out.push_extended(extended);
        out
    }

    /// `time` is the timestamp or delta of the type 0, 1 or 2 before: it is repeated when it was an extended one.
    pub(super) fn type_3(id: ChunkStreamId, time: u32) -> Self {
        let mut out = Self::basic(3, id);
        out.push_extended((time >= EXTENDED_MARK).then_some(time));
        out
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    pub(super) fn len(&self) -> usize {
        self.len.into()
    }

    fn basic(chunk_type: u8, id: ChunkStreamId) -> Self {
        let mut out = Self { bytes: [0; HEADER_BYTES_MAX], len: 0 };
        let chunk_type = chunk_type << 6;
        match id.header_bytes() {
            // Each cast keeps what `header_bytes` says is there.
            1 => out.push(&[chunk_type | id.0 as u8]),
            2 => out.push(&[chunk_type, (id.0 - 64) as u8]),
            _ => {
                let [low, high] = ((id.0 - 64) as u16).to_le_bytes();
                out.push(&[chunk_type | 1, low, high]);
            }
        }
        out
    }

    /// Gives what must follow as extended timestamp.
    fn push_time(&mut self, time: u32) -> Option<u32> {
        self.push_u24(time.min(EXTENDED_MARK));
        (time >= EXTENDED_MARK).then_some(time)
    }

    fn push_extended(&mut self, extended: Option<u32>) {
        if let Some(time) = extended {
            self.push(&time.to_be_bytes());
        }
    }

    fn push_u24(&mut self, value: u32) {
        let [_, high, middle, low] = value.to_be_bytes();
        self.push(&[high, middle, low]);
    }

    /// In bounds, since the longest sequence of pushes is the longest header.
    fn push(&mut self, bytes: &[u8]) {
        let len = self.len();
        self.bytes[len..len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn basic_header_uses_the_shortest_form() {
        for (id, bytes) in [
            (2, &[0xc2][..]),
            (63, &[0xff]),
            (64, &[0xc0, 0]),
            (319, &[0xc0, 255]),
            (320, &[0xc1, 0, 1]),
            // The specification's own example is id 365, written as 301.
            (365, &[0xc1, 0x2d, 0x01]),
            (65599, &[0xc1, 0xff, 0xff]),
        ] {
            let id = ChunkStreamId::new(id).unwrap();
            assert_eq!(HeaderBytes::type_3(id, 0).as_slice(), bytes);
            assert_eq!(
                ChunkHeader::parse(bytes),
                Some(ChunkHeader { id, fields: MessageFields::Type3, len: bytes.len() })
            );
        }
    }

    #[test]
    fn three_byte_form_may_hold_an_id_of_the_two_byte_form() {
        assert_eq!(ChunkHeader::parse(&[0xc1, 5, 0]).unwrap().id, ChunkStreamId(69));
    }

    #[test]
    fn message_stream_id_is_little_endian_and_the_rest_is_not() {
        let header = MessageHeader { timestamp: 0x010203, type_id: 9, stream_id: 0x0d0c0b0a };
        let out = HeaderBytes::type_0(ChunkStreamId::VIDEO, &header, 0x040506);
        assert_eq!(out.as_slice(), [0x06, 1, 2, 3, 4, 5, 6, 9, 0x0a, 0x0b, 0x0c, 0x0d]);
    }

    #[test]
    fn extended_timestamp_begins_at_the_mark_itself() {
        let header = |timestamp| MessageHeader { timestamp, type_id: 8, stream_id: 1 };
        let len = |timestamp| HeaderBytes::type_0(ChunkStreamId::AUDIO, &header(timestamp), 1).len();
        assert_eq!((len(0xfffffe), len(0xffffff), len(u32::MAX)), (12, 16, 16));
    }

    fn any_time() -> impl Strategy<Value = u32> {
        prop_oneof![0..0x1000u32, 0xfffff0..0x1000010u32, any::<u32>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Every header reads back as written, and no proper prefix of it reads as anything.
        #[test]
        fn headers_round_trip(
            id in 2..=65599u32, time in any_time(), length in 0..=0xffffffu32, type_id: u8, stream_id: u32,
        ) {
            let id = ChunkStreamId::new(id).unwrap();
            let field = TimeField { ms: time, extended: time >= EXTENDED_MARK };
            let header = MessageHeader { timestamp: time, type_id, stream_id };
            for (out, fields) in [
                (
                    HeaderBytes::type_0(id, &header, length),
                    MessageFields::Type0 { timestamp: field, length, type_id, stream_id },
                ),
                (
                    HeaderBytes::type_1(id, time, length, type_id),
                    MessageFields::Type1 { delta: field, length, type_id },
                ),
                (HeaderBytes::type_2(id, time), MessageFields::Type2 { delta: field }),
            ] {
                let bytes = out.as_slice();
                prop_assert_eq!(ChunkHeader::parse(bytes), Some(ChunkHeader { id, fields, len: bytes.len() }));
                for end in 0..bytes.len() {
                    prop_assert_eq!(ChunkHeader::parse(&bytes[..end]), None);
                }
            }
        }
    }
}
