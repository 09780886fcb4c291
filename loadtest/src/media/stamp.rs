//! What a message says of itself: which stream's, which one, and when it was due.
//!
//! It travels inside the media, where every server leaves it alone and every decoder skips it: in H.264 a NAL unit of
//! supplemental information (H.264 Annex D.1.7, user data unregistered) before the picture, in AAC a data stream element
//! (ISO/IEC 14496-3 §4.4.2.7) before the sound. Both name it by the same UUID.
//!
//! The values go seven bits a byte with the upper bit set, so that no start code can come up in them.
//!
//! # Errors
//! Whatever is no stamp reads as `None`; nothing a server sends panics.

use bytes::{BufMut, Bytes, BytesMut};
use inrush::rtmp::Payload;

use super::type_id;

/// Names the stamp.
const UUID: [u8; 16] = *b"\x9b\x1finrush-stamp\xa1\x42";
/// 32 + 32 + 64 + 64 bits as one number, seven a byte.
const VALUE_BYTES: usize = 28;
const USER_DATA_BYTES: usize = UUID.len() + VALUE_BYTES;

/// NAL unit header (type 6), payload type 5, size.
const SEI_HEADER: [u8; 3] = [0x06, 0x05, USER_DATA_BYTES as u8];
/// Length of the NAL unit, itself, and its last bit.
const AVC_BYTES: usize = 4 + SEI_HEADER.len() + USER_DATA_BYTES + 1;
/// id_syn_ele 4, element_instance_tag 0, data_byte_align_flag 1; count.
const DSE_HEADER: [u8; 2] = [0x81, USER_DATA_BYTES as u8];
const AAC_BYTES: usize = DSE_HEADER.len() + USER_DATA_BYTES;

/// What carries a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A NAL unit after an AVC tag header.
    Avc,
    /// A data stream element after an AAC tag header.
    Aac,
}

impl Carrier {
    /// What fits this tag: coded pictures of AVC with NAL unit lengths of four bytes, and AAC frames.
    pub fn of(type_id: u8, tag: &[u8]) -> Option<Self> {
        match (type_id, tag) {
            (type_id::VIDEO, [first, 1, _, _, _, ..]) if first & 0x8f == 0x07 => Some(Self::Avc),
            (type_id::AUDIO, [first, 1, ..]) if first >> 4 == 10 => Some(Self::Aac),
            _ => None,
        }
    }

    /// Bytes of the tag header, behind which the stamp goes.
    pub fn offset(self) -> usize {
        match self {
            Self::Avc => 5,
            Self::Aac => 2,
        }
    }

    /// Bytes that the stamp adds.
    pub fn bytes(self) -> usize {
        match self {
            Self::Avc => AVC_BYTES,
            Self::Aac => AAC_BYTES,
        }
    }
}

/// One message's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Whose clock it is ([`crate::clock::machine`]).
    pub machine: u32,
    /// Number of the stream.
    pub stream: u32,
    /// Number among the stamps of its stream, from 0.
    pub sequence: u64,
    /// When its last byte was due to be sent, on [`crate::clock::now_us`].
    pub due_us: u64,
}

impl Stamp {
    /// The tag header followed by the stamp.
    pub fn behind(&self, head: &[u8], carrier: Carrier) -> Bytes {
        let mut out = BytesMut::with_capacity(head.len() + carrier.bytes());
        out.put_slice(head);
        match carrier {
            Carrier::Avc => {
                out.put_u32((AVC_BYTES - 4) as u32);
                out.put_slice(&SEI_HEADER);
            }
            Carrier::Aac => out.put_slice(&DSE_HEADER),
        }
        out.put_slice(&UUID);
        let ids = u64::from(self.machine) << 32 | u64::from(self.stream);
        let times = u128::from(self.sequence) << 64 | u128::from(self.due_us);
        put_sevens(ids, times, &mut out);
        if carrier == Carrier::Avc {
            out.put_u8(0x80); // rbsp_trailing_bits
        }
        out.freeze()
    }

    /// The stamp of a received message.
    pub fn read(type_id: u8, payload: &Payload) -> Option<Self> {
        let (prefix, filled) = payload.prefix::<{ 5 + AVC_BYTES }>();
        let tag = prefix.get(..filled)?;
        let carrier = Carrier::of(type_id, tag)?;
        let header: &[u8] = match carrier {
            Carrier::Avc => &SEI_HEADER,
            Carrier::Aac => &DSE_HEADER,
        };
        let length_bytes = if carrier == Carrier::Avc { 4 } else { 0 };
        let element = tag.get(carrier.offset() + length_bytes..)?;
        let values = element.strip_prefix(header)?.strip_prefix(&UUID)?.get(..VALUE_BYTES)?;
        let (ids, times) = sevens(values);
        Some(Self {
            machine: (ids >> 32) as u32,
            stream: ids as u32,
            sequence: (times >> 64) as u64,
            due_us: times as u64,
        })
    }
}

/// 192 bits, the upper 64 and the lower 128, in groups of seven, the uppermost first.
fn put_sevens(upper: u64, lower: u128, out: &mut BytesMut) {
    for group in (0..VALUE_BYTES).rev() {
        let shift = group * 7;
        let bits = match shift {
            0..128 => (lower >> shift) as u64 | if shift > 64 { upper << (128 - shift).min(63) } else { 0 },
            _ => upper >> (shift - 128),
        };
        out.put_u8(0x80 | (bits & 0x7f) as u8);
    }
}

fn sevens(values: &[u8]) -> (u64, u128) {
    values.iter().fold((0, 0), |(upper, lower): (u64, u128), byte| {
        (upper << 7 | (lower >> 121) as u64, lower << 7 | u128::from(byte & 0x7f))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVC_TAG: [u8; 5] = [0x17, 1, 0, 0, 0];
    const AAC_TAG: [u8; 2] = [0xaf, 1];

    fn stamps() -> impl Iterator<Item = Stamp> {
        let edge = [0, 1, 0x7f, 0x80, 0x0102_0304_0506_0708, u64::MAX];
        edge.into_iter().flat_map(move |a| {
            edge.into_iter().map(move |b| Stamp {
                machine: b as u32,
                stream: a as u32,
                sequence: a,
                due_us: b,
            })
        })
    }

    #[test]
    fn what_is_put_in_is_read_back_however_it_is_sliced() {
        for stamp in stamps() {
            for (type_id, head, carrier) in
                [(type_id::VIDEO, &AVC_TAG[..], Carrier::Avc), (type_id::AUDIO, &AAC_TAG[..], Carrier::Aac)]
            {
                let bytes = stamp.behind(head, carrier);
                assert_eq!(bytes.len(), head.len() + carrier.bytes());
                for slice in [1, 7, bytes.len()] {
                    let payload: Payload = bytes.chunks(slice).map(Bytes::copy_from_slice).collect();
                    assert_eq!(Stamp::read(type_id, &payload), Some(stamp));
                }
            }
        }
    }

    #[test]
    fn no_start_code_comes_up() {
        for stamp in stamps() {
            let bytes = stamp.behind(&AVC_TAG, Carrier::Avc);
            assert!(!bytes[9..].windows(2).any(|pair| pair == [0, 0]));
        }
    }

    #[test]
    fn what_is_no_stamp_reads_as_none() {
        let stamp = Stamp { machine: 1, stream: 2, sequence: 3, due_us: 4 };
        let bytes = stamp.behind(&AVC_TAG, Carrier::Avc);
        for len in 0..bytes.len() - 1 {
            assert_eq!(Stamp::read(type_id::VIDEO, &bytes.slice(..len).into()), None, "{len} bytes");
        }
        assert_eq!(Stamp::read(type_id::AUDIO, &bytes.clone().into()), None);
        let mut other = bytes.to_vec();
        other[15] ^= 1;
        assert_eq!(Stamp::read(type_id::VIDEO, &Bytes::from(other).into()), None);
        // Sequence headers and Enhanced RTMP carry none.
        assert_eq!(Carrier::of(type_id::VIDEO, &[0x17, 0, 0, 0, 0, 1]), None);
        assert_eq!(Carrier::of(type_id::VIDEO, &[0x97, 1, 0, 0, 0, 1]), None);
        assert_eq!(Carrier::of(type_id::AUDIO, &[0x2f, 1, 0]), None);
    }
}
