//! Reading AMF0.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::marker;
use crate::rtmp::amf::cursor::Cursor;
use crate::rtmp::amf::{Value, amf3};
use crate::rtmp::limits::AmfLimits;
use crate::rtmp::{Error, PeerMisbehaved, PeerUnsupported};

/// Reads the values of one message, one after the other.
///
/// After an error nothing more can be read: the decoder is at its end.
pub struct Decoder<'a> {
    cursor: Cursor<'a>,
    objects: Vec<Object>,
    amf3: amf3::Tables,
}

/// An entry of the reference table (§2.9): not the object, but where it was read.
struct Object {
    start: usize,
    complete: bool,
}

/// What ends a list of properties.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The object end marker.
    Marker,
    /// The marker, or the end of the message.
    MarkerOrMessage,
}

impl<'a> Decoder<'a> {
    /// A decoder of one message's values; `bytes` start with the first one.
    pub fn new(bytes: &'a [u8], limits: &AmfLimits) -> Self {
        Self { cursor: Cursor::new(bytes, limits), objects: Vec::new(), amf3: amf3::Tables::default() }
    }

    /// Remembers where text and byte arrays are, for [`Decoder::texts`].
    pub fn remembering_texts(mut self) -> Self {
        self.cursor.remember_texts();
        self
    }

    /// Where text and byte arrays were read so far, those in AMF3 and the names of properties included; a text that a reference
    /// points to comes again. Empty unless they are remembered.
    pub fn texts(&self) -> &[Range<usize>] {
        self.cursor.texts()
    }

    /// The next value.
    pub fn value(&mut self) -> Result<Value, Error> {
        let value = self.any();
        if value.is_err() {
            self.cursor.finish();
        }
        value
    }

    /// Whether all bytes are read.
    pub fn is_empty(&self) -> bool {
        self.cursor.is_at_end()
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.cursor.position()
    }

    fn any(&mut self) -> Result<Value, Error> {
        let start = self.cursor.position();
        let marker = self.cursor.u8()?;
        self.cursor.charge_entry()?;
        Ok(match marker {
            marker::NUMBER => Value::Number(self.cursor.f64()?),
            marker::BOOLEAN => Value::Boolean(self.cursor.u8()? != 0),
            marker::STRING => Value::String(self.short_text()?),
            marker::OBJECT => self.complex(start, |d| Ok(Value::Object(d.properties(End::Marker)?)))?,
            marker::NULL => Value::Null,
            marker::UNDEFINED => Value::Undefined,
            marker::REFERENCE => self.reference()?,
            marker::ECMA_ARRAY => self.complex(start, |d| {
                d.cursor.u32()?; // the count, a hint
                Ok(Value::EcmaArray(d.properties(End::MarkerOrMessage)?))
            })?,
            marker::STRICT_ARRAY => self.complex(start, Self::strict_array)?,
            marker::DATE => Value::Date { ms: self.cursor.f64()?, time_zone: self.cursor.i16()? },
            marker::LONG_STRING => Value::String(self.long_text()?),
            marker::UNSUPPORTED => Value::Unsupported,
            marker::XML_DOCUMENT => Value::XmlDocument(self.long_text()?),
            marker::TYPED_OBJECT => self.complex(start, |d| {
                Ok(Value::TypedObject { class: d.short_text()?, properties: d.properties(End::Marker)? })
            })?,
            marker::AVMPLUS_OBJECT => amf3::value(&mut self.cursor, &mut self.amf3)?,
            marker::MOVIECLIP | marker::RECORDSET => {
                return Err(PeerUnsupported::AmfReserved(marker).into());
            }
            unknown => return Err(PeerMisbehaved::AmfMarker(unknown).into()),
        })
    }

    /// Reads a type that references can point to.
    fn complex(
        &mut self,
        start: usize,
        read: impl FnOnce(&mut Self) -> Result<Value, Error>,
    ) -> Result<Value, Error> {
        self.cursor.enter()?;
        let index = self.objects.len();
        let listed = !self.cursor.is_replaying();
        if listed {
            self.objects.push(Object { start, complete: false });
        }
        let value = read(self)?;
        if listed && let Some(object) = self.objects.get_mut(index) {
            object.complete = true;
        }
        self.cursor.leave();
        Ok(value)
    }

    /// Reads the target again. An object that is still being read would contain itself, which a tree cannot.
    fn reference(&mut self) -> Result<Value, Error> {
        let index = self.cursor.u16()?;
        let start = match self.objects.get(usize::from(index)) {
            Some(object) if object.complete => object.start,
            _ => return Err(PeerMisbehaved::AmfReference(index.into()).into()),
        };
        let resume = self.cursor.go_back(start);
        let value = self.any()?;
        self.cursor.resume(resume);
        Ok(value)
    }

    fn properties(&mut self, end: End) -> Result<Vec<(String, Value)>, Error> {
        let mut properties = Vec::new();
        loop {
            if end == End::MarkerOrMessage && self.cursor.is_at_end() {
                return Ok(properties);
            }
            let name = self.short_text()?;
            // An empty name is a name, unless the end marker follows (§2.11).
            if name.is_empty() && self.cursor.peek() == Some(marker::OBJECT_END) {
                self.cursor.u8()?;
                return Ok(properties);
            }
            properties.push((name, self.any()?));
        }
    }

    fn strict_array(&mut self) -> Result<Value, Error> {
        let count = self.cursor.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(self.any()?);
        }
        Ok(Value::StrictArray(items))
    }

    fn short_text(&mut self) -> Result<String, Error> {
        let len = self.cursor.u16()?;
        self.cursor.text(len.into())
    }

    fn long_text(&mut self) -> Result<String, Error> {
        let len = self.cursor.u32()?;
        self.cursor.text(usize::try_from(len).map_err(|_| PeerMisbehaved::AmfTruncated)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Value, Error> {
        decode_within(bytes, &AmfLimits::default())
    }

    fn decode_within(bytes: &[u8], limits: &AmfLimits) -> Result<Value, Error> {
        let mut decoder = Decoder::new(bytes, limits);
        let value = decoder.value()?;
        assert!(decoder.is_empty(), "{} of {} bytes read", decoder.position(), bytes.len());
        Ok(value)
    }

    fn fault(error: PeerMisbehaved) -> Result<Value, Error> {
        Err(error.into())
    }

    /// Each type as §2 lays it out, by hand.
    #[test]
    fn every_type_reads_as_specified() {
        let cases: [(&[u8], Value); 15] = [
            (b"\x00\x3F\xF8\0\0\0\0\0\0", 1.5.into()),
            (b"\x01\x00", false.into()),
            (b"\x01\x02", true.into()),
            (b"\x02\x00\x03abc", "abc".into()),
            (b"\x03\x00\x01a\x05\0\0\x09", Value::object([("a", Value::Null)])),
            (b"\x05", Value::Null),
            (b"\x06", Value::Undefined),
            (b"\x08\0\0\0\x01\x00\x01a\x06\0\0\x09", Value::ecma_array([("a", Value::Undefined)])),
            (b"\x0A\0\0\0\x02\x05\x01\x01", Value::StrictArray([Value::Null, true.into()].into())),
            (b"\x0B\x42\x6E\x84\x80\0\0\0\0\0\x3C", Value::Date { ms: 1_048_576_000_000.0, time_zone: 60 }),
            (b"\x0C\0\0\0\x02hi", "hi".into()),
            (b"\x0D", Value::Unsupported),
            (b"\x0F\0\0\0\x04<a/>", Value::XmlDocument("<a/>".into())),
            (
                b"\x10\x00\x01P\x00\x01x\x05\0\0\x09",
                Value::TypedObject { class: "P".into(), properties: [("x".into(), Value::Null)].into() },
            ),
            (b"\x11\x04\x81\x00", Value::Integer(128)),
        ];
        for (bytes, value) in cases {
            assert_eq!(decode(bytes), Ok(value), "{bytes:02x?}");
        }
    }

    #[test]
    fn reserved_and_unknown_types_are_refused_by_name() {
        assert_eq!(decode(b"\x04"), Err(PeerUnsupported::AmfReserved(0x04).into()));
        assert_eq!(decode(b"\x0E"), Err(PeerUnsupported::AmfReserved(0x0E).into()));
        assert_eq!(decode(b"\x09"), fault(PeerMisbehaved::AmfMarker(0x09)));
        assert_eq!(decode(b"\x12"), fault(PeerMisbehaved::AmfMarker(0x12)));
    }

    #[test]
    fn the_count_of_an_ecma_array_means_nothing() {
        let expected = Value::ecma_array([("a", Value::Null), ("b", Value::Null)]);
        for count in [[0, 0, 0, 0], [0, 0, 0, 7], [0xFF; 4]] {
            let mut bytes = alloc::vec![0x08];
            bytes.extend(count);
            bytes.extend(b"\x00\x01a\x05\x00\x01b\x05\0\0\x09");
            assert_eq!(decode(&bytes), Ok(expected.clone()));
        }
    }

    #[test]
    fn an_ecma_array_may_end_with_the_message_but_an_object_may_not() {
        assert_eq!(decode(b"\x08\0\0\0\x01\x00\x01a\x05"), Ok(Value::ecma_array([("a", Value::Null)])));
        assert_eq!(decode(b"\x08\0\0\0\x01\x00\x01a"), fault(PeerMisbehaved::AmfTruncated));
        assert_eq!(decode(b"\x03\x00\x01a\x05"), fault(PeerMisbehaved::AmfTruncated));
    }

    #[test]
    fn an_empty_property_name_is_a_name_unless_the_end_marker_follows() {
        assert_eq!(decode(b"\x03\0\0\x05\0\0\x09"), Ok(Value::object([("", Value::Null)])));
    }

    #[test]
    fn a_reference_gives_the_object_again() {
        let inner = || Value::object([("k", "v".into())]);
        assert_eq!(
            decode(b"\x0A\0\0\0\x03\x03\x00\x01k\x02\x00\x01v\0\0\x09\x07\x00\x01\x07\x00\x01"),
            Ok(Value::StrictArray([inner(), inner(), inner()].into()))
        );
    }

    /// Objects inside a referenced one keep their own numbers; reading them again must not list them twice.
    #[test]
    fn a_resolved_reference_lists_nothing_new() {
        // 0: the array; 1: {i: 2: {}}; 3: []; then references to 1 and 3.
        let bytes = b"\x0A\0\0\0\x04\
            \x03\x00\x01i\x03\0\0\x09\0\0\x09\
            \x07\x00\x01\
            \x0A\0\0\0\x00\
            \x07\x00\x03";
        let outer = || Value::object([("i", Value::object([]))]);
        let empty = || Value::StrictArray([].into());
        assert_eq!(decode(bytes), Ok(Value::StrictArray([outer(), outer(), empty(), empty()].into())));
    }

    #[test]
    fn references_to_oneself_and_to_nothing_are_refused() {
        assert_eq!(decode(b"\x03\x00\x01a\x07\0\0\0\0\x09"), fault(PeerMisbehaved::AmfReference(0)));
        assert_eq!(decode(b"\x07\x00\x05"), fault(PeerMisbehaved::AmfReference(5)));
    }

    #[test]
    fn values_after_a_switch_to_amf3_are_amf0_again() {
        let limits = AmfLimits::default();
        let mut decoder = Decoder::new(b"\x11\x06\x05hi\x02\x00\x02ho\x11\x06\x00", &limits);
        assert_eq!(decoder.value(), Ok("hi".into()));
        assert_eq!(decoder.value(), Ok("ho".into()));
        // The tables of AMF3 last for the message (AMF3 §4.1).
        assert_eq!(decoder.value(), Ok("hi".into()));
        assert!(decoder.is_empty());
    }

    #[test]
    fn depth_is_bounded_through_nesting_and_through_the_switch() {
        let limits = AmfLimits { depth_max: 3, ..AmfLimits::default() };
        let nested = |depth: usize| {
            let mut bytes = b"\x0A\0\0\0\x01".repeat(depth);
            bytes.push(0x05);
            bytes
        };
        assert!(decode_within(&nested(3), &limits).is_ok());
        assert_eq!(decode_within(&nested(4), &limits), fault(PeerMisbehaved::AmfDepth));
        // Two AMF0 arrays, then two AMF3 ones.
        let switched = b"\x0A\0\0\0\x01\x0A\0\0\0\x01\x11\x09\x03\x01\x09\x01\x01";
        assert_eq!(decode_within(switched, &limits), fault(PeerMisbehaved::AmfDepth));
        // The default bound is far below what the stack holds.
        assert_eq!(decode(&nested(100_000)), fault(PeerMisbehaved::AmfDepth));
    }

    /// Forty bytes a level would otherwise be 2^n values.
    #[test]
    fn references_cannot_multiply() {
        let mut bytes = b"\x0A\0\0\0\x40".to_vec(); // 0
        bytes.extend(b"\x0A\0\0\0\x00"); // 1
        for previous in 1..64_u16 {
            bytes.extend(b"\x0A\0\0\0\x02");
            for _ in 0..2 {
                bytes.push(0x07);
                bytes.extend(previous.to_be_bytes());
            }
        }
        let limits = AmfLimits { depth_max: 1000, ..AmfLimits::default() };
        assert_eq!(decode_within(&bytes, &limits), fault(PeerMisbehaved::AmfEntries));

        let mut bytes = b"\x0A\0\0\x10\x00\x0A\0\0\0\x01\x0C\0\0\x40\x00".to_vec();
        bytes.extend([b'x'; 0x4000]);
        bytes.extend(b"\x07\x00\x01".repeat(0xFFF));
        assert_eq!(decode(&bytes), fault(PeerMisbehaved::AmfBytes));
    }

    /// A message of n bytes is n values at most: an object may be repeated, but not until it is most of the work.
    #[test]
    fn references_make_no_more_values_than_the_message_has_bytes() {
        let array_of = |references: usize| {
            let mut bytes = b"\x0A\0\0\x04\x00\x0A\0\0\0\x14".to_vec();
            bytes[3..5].copy_from_slice(&(1 + references as u16).to_be_bytes());
            bytes.extend([0x05; 20]);
            bytes.extend(b"\x07\x00\x01".repeat(references));
            bytes
        };
        // Each reference is 22 values (itself, the array and 20 items) of 3 bytes: 22 + 22 n against 30 + 3 n.
        assert!(decode(&array_of(0)).is_ok());
        assert_eq!(decode(&array_of(1)), fault(PeerMisbehaved::AmfEntries));
        // An object with long texts may be repeated a few times.
        let mut bytes = b"\x0A\0\0\x00\x05\x0A\0\0\0\x04".to_vec();
        bytes.extend(b"\x02\x00\x08somewhat".repeat(4));
        bytes.extend(b"\x07\x00\x01".repeat(4));
        assert!(decode(&bytes).is_ok());
    }

    #[test]
    fn a_declared_count_or_length_reserves_nothing() {
        assert_eq!(decode(b"\x0A\xFF\xFF\xFF\xFF\x05"), fault(PeerMisbehaved::AmfTruncated));
        assert_eq!(decode(b"\x0C\xFF\xFF\xFF\xFFab"), fault(PeerMisbehaved::AmfTruncated));
    }

    #[test]
    fn the_budget_is_the_messages_not_the_values() {
        let limits = AmfLimits { entries_max: 3, ..AmfLimits::default() };
        let mut decoder = Decoder::new(b"\x05\x05\x05\x05", &limits);
        for _ in 0..3 {
            assert_eq!(decoder.value(), Ok(Value::Null));
        }
        assert_eq!(decoder.value(), fault(PeerMisbehaved::AmfEntries));
        assert!(decoder.is_empty(), "after an error there is nothing more to read");
    }

    #[test]
    fn latin_1_is_repaired_within_the_budget() {
        assert_eq!(decode(b"\x02\x00\x04caf\xE9"), Ok("caf\u{FFFD}".into()));
        let limits = AmfLimits { bytes_max: 5, ..AmfLimits::default() };
        assert_eq!(decode_within(b"\x02\x00\x02\xE9\xE9", &limits), fault(PeerMisbehaved::AmfBytes));
    }
}
