//! Aggregate messages: several messages in the body of one (RTMP 1.0 §7.1.6).
//!
//! The specification shows a part's header in the form of §6.1.1; in the field a part is an FLV tag: type,
//! 24-bit length, lower 24 bits of the timestamp, its upper 8 bits, 24-bit stream id, body, 32-bit back
//! pointer (FLV 10.1 §E.4.1). Back pointers serve for seeking in files and are not looked at; the last one
//! may be missing.
//! # Bounds
//! At most [`PARTS_MAX`] parts, so that one message stays a bounded piece of work. The parts share the
//! aggregate's bytes; splitting is one pass over them.
//! # Errors
//! [`PeerMisbehaved::AggregateMalformed`] where the parts do not add up to the body, for an aggregate inside
//! an aggregate, and for too many parts. Parts before the error have been given out by then.

use super::{Message, MessageHeader, PeerMisbehaved, message::type_id, payload::Cursor};

/// Parts of one aggregate. Servers that make them stop at some 64 kB a message: with the shortest audio
/// messages that is below 2,000 parts.
pub const PARTS_MAX: usize = 4096;

/// Type, length, timestamp and stream id of a part.
const HEADER_BYTES: usize = 11;
const BACK_POINTER_BYTES: usize = 4;

/// Splits an aggregate message (type 22) into its parts.
///
/// Timestamps are rebased: the first part gets the aggregate's own, the others keep their distance to it. The
/// aggregate's message stream overrides the parts'. Each part's `wire_bytes` is its share of the aggregate's;
/// the last part has what the chunk headers took.
pub fn split(message: &Message) -> Parts {
    Parts {
        header: message.header,
        body: message.payload.clone().into_cursor(),
        offset: None,
        wire_bytes_left: message.wire_bytes,
        parts_left: PARTS_MAX,
    }
}

/// The parts of an aggregate, in order; it owns what it reads. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Parts {
    header: MessageHeader,
    body: Cursor,
    /// What rebases a timestamp; known from the first part on.
    offset: Option<u32>,
    wire_bytes_left: u32,
    parts_left: usize,
}

impl Parts {
    /// Bytes of the aggregate that have not been given out.
    pub fn left_bytes(&self) -> usize {
        self.body.left()
    }

    fn part(&mut self) -> Option<Message> {
        self.parts_left = self.parts_left.checked_sub(1)?;
        let [type_id, l0, l1, l2, t0, t1, t2, t3, _, _, _] = self.body.array::<HEADER_BYTES>()?;
        let length = u32::from_be_bytes([0, l0, l1, l2]);
        // The upper byte of the timestamp comes last.
        let timestamp = u32::from_be_bytes([t3, t0, t1, t2]);
        if type_id == type_id::AGGREGATE {
            return None;
        }
        let payload = self.body.take(length as usize)?;
        if self.body.left() > 0 {
            self.body.array::<BACK_POINTER_BYTES>()?;
        }
        let offset = *self.offset.get_or_insert(self.header.timestamp.wrapping_sub(timestamp));
        let wire_bytes = match self.body.left() {
            0 => self.wire_bytes_left,
            _ => self.wire_bytes_left.min(length + (HEADER_BYTES + BACK_POINTER_BYTES) as u32),
        };
        self.wire_bytes_left -= wire_bytes;
        let header = MessageHeader { timestamp: timestamp.wrapping_add(offset), type_id, ..self.header };
        Some(Message { header, payload, wire_bytes })
    }
}

impl Iterator for Parts {
    type Item = Result<Message, PeerMisbehaved>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.body.left() == 0 {
            return None;
        }
        let part = self.part().ok_or(PeerMisbehaved::AggregateMalformed);
        if part.is_err() {
            self.body = super::Payload::new().into_cursor();
        }
        Some(part)
    }
}

impl core::iter::FusedIterator for Parts {}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::rtmp::Payload;

    fn aggregate(timestamp: u32, body: Vec<u8>) -> Message {
        let wire_bytes = body.len() as u32 + 12;
        let header = MessageHeader { timestamp, type_id: type_id::AGGREGATE, stream_id: 5 };
        Message { header, payload: Payload::from(Bytes::from(body)), wire_bytes }
    }

    fn tag(type_id: u8, timestamp: u32, body: &[u8]) -> Vec<u8> {
        let [_, l @ ..] = (body.len() as u32).to_be_bytes();
        let [t3, t @ ..] = timestamp.to_be_bytes();
        let back_pointer = (11 + body.len() as u32).to_be_bytes();
        [&[type_id], &l[..], &t, &[t3], &[0, 0, 1], body, &back_pointer].concat()
    }

    fn headers(message: &Message) -> Vec<(u8, u32, u32, Vec<u8>)> {
        let part = |part: Message| {
            (part.header.type_id, part.header.timestamp, part.header.stream_id, part.payload.to_vec())
        };
        split(message).map(|each| part(each.unwrap())).collect()
    }

    /// Two parts written out by hand, with the timestamp's upper byte set.
    #[test]
    fn golden_aggregate() {
        let body = vec![
            8, 0, 0, 2, 0, 0, 1, 2, 0, 0, 0, 0xaf, 0x01, 0, 0, 0, 13, // audio at 0x02000001
            9, 0, 0, 1, 0, 0, 9, 2, 0, 0, 0, 0x17, 0, 0, 0, 12, // video 8 ms later
        ];
        let parts = headers(&aggregate(1000, body));
        assert_eq!(parts, [(8, 1000, 5, vec![0xaf, 0x01]), (9, 1008, 5, vec![0x17])]);
    }

    #[test]
    fn timestamps_are_rebased_across_the_wrap() {
        let body = [tag(8, u32::MAX, b"a"), tag(8, 9, b"b")].concat();
        let parts = headers(&aggregate(u32::MAX - 3, body));
        assert_eq!(parts.iter().map(|part| part.1).collect::<Vec<_>>(), [u32::MAX - 3, 6]);
    }

    #[test]
    fn an_empty_aggregate_has_no_parts() {
        assert_eq!(split(&aggregate(0, Vec::new())).count(), 0);
    }

    #[test]
    fn the_last_back_pointer_may_be_missing() {
        let whole = [tag(8, 0, b"abc"), tag(9, 3, b"defg")].concat();
        let cut = whole[..whole.len() - 4].to_vec();
        assert_eq!(headers(&aggregate(0, cut)), headers(&aggregate(0, whole)));
    }

    /// A body cut anywhere but between parts (or before the last back pointer) is an error, once, after the
    /// whole parts.
    #[test]
    fn a_cut_body_is_malformed() {
        let (first, second) = (tag(8, 0, b"abc"), tag(9, 3, b"defg"));
        let whole = [first.clone(), second].concat();
        let fine = [0, first.len() - 4, first.len(), whole.len() - 4, whole.len()];
        for end in (0..whole.len()).filter(|end| !fine.contains(end)) {
            let parts: Vec<_> = split(&aggregate(0, whole[..end].to_vec())).collect();
            assert_eq!(parts.last(), Some(&Err(PeerMisbehaved::AggregateMalformed)), "cut to {end}");
            assert_eq!(parts.iter().filter(|part| part.is_ok()).count(), usize::from(end > first.len()));
        }
    }

    #[test]
    fn an_aggregate_in_an_aggregate_is_malformed() {
        let inner = tag(8, 0, b"a");
        let parts: Vec<_> = split(&aggregate(0, tag(22, 0, &inner))).collect();
        assert_eq!(parts, [Err(PeerMisbehaved::AggregateMalformed)]);
    }

    #[test]
    fn parts_are_bounded() {
        let parts = |count| split(&aggregate(0, tag(8, 0, b"").repeat(count))).collect::<Result<Vec<_>, _>>();
        assert_eq!(parts(PARTS_MAX).map(|parts| parts.len()), Ok(PARTS_MAX));
        assert_eq!(parts(PARTS_MAX + 1), Err(PeerMisbehaved::AggregateMalformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// What was put in comes out, however the body is sliced, and the shares of `wire_bytes` add up.
        #[test]
        fn parts_come_out_as_they_went_in(
            parts in prop::collection::vec((8..=9u8, any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)), 1..20),
            timestamp: u32,
            slice_bytes in 1..30usize,
        ) {
            let body: Vec<u8> =
                parts.iter().flat_map(|(type_id, timestamp, body)| tag(*type_id, *timestamp, body)).collect();
            let mut message = aggregate(timestamp, body);
            message.payload = message.payload.to_vec().chunks(slice_bytes).map(Bytes::copy_from_slice).collect();
            let expected: Vec<_> = parts
                .iter()
                .map(|(type_id, at, body)| {
                    let rebased = at.wrapping_sub(parts[0].1).wrapping_add(timestamp);
                    (*type_id, rebased, 5, body.clone())
                })
                .collect();
            prop_assert_eq!(headers(&message), expected);
            let shares: u32 = split(&message).map(|part| part.unwrap().wire_bytes).sum();
            prop_assert_eq!(shares, message.wire_bytes);
        }
    }
}
