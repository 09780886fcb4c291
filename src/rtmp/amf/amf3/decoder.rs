//! Reading AMF3.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::marker;
use crate::rtmp::amf::Value;
use crate::rtmp::amf::cursor::Cursor;
use crate::rtmp::limits::AmfLimits;
use crate::rtmp::{Error, PeerMisbehaved, PeerUnsupported};

/// Reads the values of one message that is AMF3 from its first byte.
///
/// RTMP messages never are: types 15 and 17 start in AMF0 and switch, so they want [`amf0::Decoder`](super::super::amf0::Decoder).
/// After an error nothing more can be read: the decoder is at its end.
pub struct Decoder<'a> {
    cursor: Cursor<'a>,
    tables: Tables,
}

impl<'a> Decoder<'a> {
    /// A decoder of one message's values; `bytes` start with the first one.
    pub fn new(bytes: &'a [u8], limits: &AmfLimits) -> Self {
        Self { cursor: Cursor::new(bytes, limits), tables: Tables::default() }
    }

    /// The next value.
    pub fn value(&mut self) -> Result<Value, Error> {
        let value = value(&mut self.cursor, &mut self.tables);
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
}

/// Reads one value at the cursor.
pub(in super::super) fn value(cursor: &mut Cursor<'_>, tables: &mut Tables) -> Result<Value, Error> {
    Reader { cursor, tables }.any()
}

/// The reference tables of one message (§2.2). They hold where things were read, not what.
#[derive(Default)]
pub(in super::super) struct Tables {
    strings: Vec<Text>,
    objects: Vec<Object>,
    traits: Vec<Traits>,
    /// The sealed members' names of all traits, one after the other; those of an object that is read again, again.
    names: Vec<Text>,
}

/// Where a string's bytes are.
#[derive(Clone, Copy, Default)]
struct Text {
    start: usize,
    len: usize,
}

struct Object {
    marker: u8,
    start: usize,
    complete: bool,
}

#[derive(Clone, Copy)]
struct Traits {
    class: Text,
    dynamic: bool,
    /// Sealed members: their names' place in [`Tables::names`].
    first_name: usize,
    sealed: usize,
}

/// What the low bit of a length tells: whether something follows or was sent before.
enum Header {
    Inline(u32),
    Reference(u32),
}

struct Reader<'r, 'a> {
    cursor: &'r mut Cursor<'a>,
    tables: &'r mut Tables,
}

impl Reader<'_, '_> {
    fn any(&mut self) -> Result<Value, Error> {
        let start = self.cursor.position();
        let marker = self.cursor.u8()?;
        self.cursor.charge_entry()?;
        Ok(match marker {
            marker::UNDEFINED => Value::Undefined,
            marker::NULL => Value::Null,
            marker::FALSE => Value::Boolean(false),
            marker::TRUE => Value::Boolean(true),
            // 29 bits, sign extended (§3.6).
            marker::INTEGER => Value::Integer(((self.u29()? << 3) as i32) >> 3),
            marker::DOUBLE => Value::Number(self.cursor.f64()?),
            marker::STRING => Value::String(self.string()?),
            marker::XML_DOCUMENT
            | marker::DATE
            | marker::ARRAY
            | marker::OBJECT
            | marker::XML
            | marker::BYTE_ARRAY
            | marker::VECTOR_INT
            | marker::VECTOR_UINT
            | marker::VECTOR_DOUBLE
            | marker::VECTOR_OBJECT
            | marker::DICTIONARY => match self.header()? {
                Header::Inline(bits) => self.object(marker, start, bits)?,
                Header::Reference(index) => self.reference(marker, index)?,
            },
            unknown => return Err(PeerMisbehaved::AmfMarker(unknown).into()),
        })
    }

    /// Reads a type that references can point to; `bits` are its first number without the low bit.
    fn object(&mut self, marker: u8, start: usize, bits: u32) -> Result<Value, Error> {
        self.cursor.enter()?;
        let index = self.tables.objects.len();
        let listed = !self.cursor.is_replaying();
        if listed {
            self.tables.objects.push(Object { marker, start, complete: false });
        }
        let count = bits as usize; // 28 bits
        let value = match marker {
            marker::XML_DOCUMENT => Value::XmlDocument(self.cursor.text(count)?),
            marker::XML => Value::Xml(self.cursor.text(count)?),
            marker::DATE => Value::Date { ms: self.cursor.f64()?, time_zone: 0 },
            marker::ARRAY => self.array(count)?,
            marker::OBJECT => self.members(bits)?,
            marker::BYTE_ARRAY => Value::ByteArray(self.cursor.blob(count)?.into()),
            marker::VECTOR_INT => {
                let fixed = self.cursor.u8()? != 0;
                Value::VectorInt { fixed, items: self.numbers(count, i32::from_be_bytes)? }
            }
            marker::VECTOR_UINT => {
                let fixed = self.cursor.u8()? != 0;
                Value::VectorUint { fixed, items: self.numbers(count, u32::from_be_bytes)? }
            }
            marker::VECTOR_DOUBLE => {
                let fixed = self.cursor.u8()? != 0;
                Value::VectorDouble { fixed, items: self.numbers(count, f64::from_be_bytes)? }
            }
            marker::VECTOR_OBJECT => {
                let fixed = self.cursor.u8()? != 0;
                let class = self.string()?;
                Value::VectorObject { fixed, class, items: self.items(count)? }
            }
            _ => self.dictionary(count)?,
        };
        if listed && let Some(object) = self.tables.objects.get_mut(index) {
            object.complete = true;
        }
        self.cursor.leave();
        Ok(value)
    }

    /// Reads the target again. An object that is still being read would contain itself, which a tree cannot.
    fn reference(&mut self, marker: u8, index: u32) -> Result<Value, Error> {
        let start = match self.tables.objects.get(index as usize) {
            Some(object) if object.complete && object.marker == marker => object.start,
            _ => return Err(PeerMisbehaved::AmfReference(index).into()),
        };
        let resume = self.cursor.go_back(start);
        let value = self.any()?;
        self.cursor.resume(resume);
        Ok(value)
    }

    /// Array (§3.11): the named part first, then the dense one.
    fn array(&mut self, dense: usize) -> Result<Value, Error> {
        let mut named = self.named_members()?;
        let items = self.items(dense)?;
        if named.is_empty() {
            return Ok(Value::StrictArray(items));
        }
        for (index, item) in items.into_iter().enumerate() {
            let name = index.to_string();
            self.cursor.charge_bytes(name.len())?;
            named.push((name, item));
        }
        Ok(Value::EcmaArray(named))
    }

    /// Object (§3.12): traits, sealed members, dynamic members.
    fn members(&mut self, bits: u32) -> Result<Value, Error> {
        let traits = self.traits(bits)?;
        let class = self.cursor.text_at(traits.class.start, traits.class.len)?;
        let mut properties = Vec::new();
        for index in 0..traits.sealed {
            let name = self.tables.names.get(traits.first_name + index).copied().unwrap_or_default();
            let name = self.cursor.text_at(name.start, name.len)?;
            properties.push((name, self.any()?));
        }
        if traits.dynamic {
            properties.append(&mut self.named_members()?);
        }
        Ok(if class.is_empty() {
            Value::Object(properties)
        } else {
            Value::TypedObject { class, properties }
        })
    }

    fn traits(&mut self, bits: u32) -> Result<Traits, Error> {
        if bits & 1 == 0 {
            let index = bits >> 1;
            let traits = self.tables.traits.get(index as usize).copied();
            return Ok(traits.ok_or(PeerMisbehaved::AmfReference(index))?);
        }
        if bits & 2 != 0 {
            return Err(PeerUnsupported::AmfExternalizable.into());
        }
        let class = self.text()?;
        let first_name = self.tables.names.len();
        let sealed = (bits >> 3) as usize;
        for _ in 0..sealed {
            let name = self.text()?;
            self.cursor.charge_entry()?;
            self.tables.names.push(name);
        }
        let traits = Traits { class, dynamic: bits & 4 != 0, first_name, sealed };
        if !self.cursor.is_replaying() {
            self.tables.traits.push(traits);
        }
        Ok(traits)
    }

    /// Names and values up to an empty name.
    fn named_members(&mut self) -> Result<Vec<(String, Value)>, Error> {
        let mut members = Vec::new();
        loop {
            let name = self.string()?;
            if name.is_empty() {
                return Ok(members);
            }
            members.push((name, self.any()?));
        }
    }

    fn items(&mut self, count: usize) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(self.any()?);
        }
        Ok(items)
    }

    fn numbers<const N: usize, T>(&mut self, count: usize, from: fn([u8; N]) -> T) -> Result<Vec<T>, Error> {
        let bytes = self.cursor.blob(count.checked_mul(N).ok_or(PeerMisbehaved::AmfTruncated)?)?;
        let (numbers, _) = bytes.as_chunks::<N>();
        Ok(numbers.iter().copied().map(from).collect())
    }

    fn dictionary(&mut self, count: usize) -> Result<Value, Error> {
        let weak_keys = self.cursor.u8()? != 0;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push((self.any()?, self.any()?));
        }
        Ok(Value::Dictionary { weak_keys, entries })
    }

    fn string(&mut self) -> Result<String, Error> {
        let text = self.text()?;
        self.cursor.text_at(text.start, text.len)
    }

    /// Passes a string or a reference to one (§1.3.2) and tells where its bytes are.
    fn text(&mut self) -> Result<Text, Error> {
        match self.header()? {
            Header::Reference(index) => {
                let text = self.tables.strings.get(index as usize).copied();
                Ok(text.ok_or(PeerMisbehaved::AmfReference(index))?)
            }
            Header::Inline(len) => {
                let text = Text { start: self.cursor.position(), len: len as usize };
                self.cursor.take(text.len)?;
                if text.len > 0 && !self.cursor.is_replaying() {
                    self.tables.strings.push(text);
                }
                Ok(text)
            }
        }
    }

    fn header(&mut self) -> Result<Header, Error> {
        let bits = self.u29()?;
        Ok(if bits & 1 == 1 { Header::Inline(bits >> 1) } else { Header::Reference(bits >> 1) })
    }

    /// Unsigned 29-bit integer (§1.3.1): seven bits in each of three bytes while their top bit says that more follows,
    /// eight in the fourth.
    fn u29(&mut self) -> Result<u32, Error> {
        let mut value = 0;
        for _ in 0..3 {
            let byte = self.cursor.u8()?;
            value = value << 7 | u32::from(byte & 0x7F);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Ok(value << 8 | u32::from(self.cursor.u8()?))
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

    fn typed(class: &str, properties: &[(&str, Value)]) -> Value {
        let properties = properties.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        Value::TypedObject { class: class.into(), properties }
    }

    /// Each type as §3 lays it out, by hand.
    #[test]
    fn every_type_reads_as_specified() {
        let cases: [(&[u8], Value); 19] = [
            (b"\x00", Value::Undefined),
            (b"\x01", Value::Null),
            (b"\x02", false.into()),
            (b"\x03", true.into()),
            (b"\x04\x05", Value::Integer(5)),
            (b"\x05\x3F\xF8\0\0\0\0\0\0", 1.5.into()),
            (b"\x06\x07abc", "abc".into()),
            (b"\x06\x01", "".into()),
            (b"\x07\x09<a/>", Value::XmlDocument("<a/>".into())),
            (b"\x08\x01\x42\x6E\x84\x80\0\0\0\0", Value::Date { ms: 1_048_576_000_000.0, time_zone: 0 }),
            (
                b"\x09\x05\x01\x04\x01\x04\x02",
                Value::StrictArray([Value::Integer(1), Value::Integer(2)].into()),
            ),
            (b"\x09\x03\x03a\x01\x01\x03", Value::ecma_array([("a", Value::Null), ("0", true.into())])),
            (b"\x0A\x0B\x01\x03a\x04\x01\x01", Value::object([("a", Value::Integer(1))])),
            (b"\x0B\x09<a/>", Value::Xml("<a/>".into())),
            (b"\x0C\x07\x01\xFF\x00", Value::ByteArray([1, 255, 0].into())),
            (
                b"\x0D\x05\x01\0\0\0\x01\xFF\xFF\xFF\xFF",
                Value::VectorInt { fixed: true, items: [1, -1].into() },
            ),
            (b"\x0E\x03\x00\xFF\xFF\xFF\xFF", Value::VectorUint { fixed: false, items: [u32::MAX].into() }),
            (b"\x0F\x03\x00\x3F\xF8\0\0\0\0\0\0", Value::VectorDouble { fixed: false, items: [1.5].into() }),
            (
                b"\x10\x03\x00\x03*\x06\x00",
                Value::VectorObject { fixed: false, class: "*".into(), items: ["*".into()].into() },
            ),
        ];
        for (bytes, value) in cases {
            assert_eq!(decode(bytes), Ok(value), "{bytes:02x?}");
        }
        assert_eq!(
            decode(b"\x11\x03\x01\x04\x07\x06\x03v"),
            Ok(Value::Dictionary { weak_keys: true, entries: [(Value::Integer(7), "v".into())].into() })
        );
        assert_eq!(decode(b"\x12"), fault(PeerMisbehaved::AmfMarker(0x12)));
    }

    /// The rows of the table in §1.3.1, and the sign of §3.6.
    #[test]
    fn u29_at_each_length_and_sign() {
        let cases: [(&[u8], i32); 9] = [
            (b"\x04\x00", 0),
            (b"\x04\x7F", 0x7F),
            (b"\x04\x81\x00", 0x80),
            (b"\x04\xFF\x7F", 0x3FFF),
            (b"\x04\x81\x80\x00", 0x4000),
            (b"\x04\xFF\xFF\x7F", 0x1F_FFFF),
            (b"\x04\x80\xC0\x80\x00", 0x20_0000),
            (b"\x04\xBF\xFF\xFF\xFF", (1 << 28) - 1),
            (b"\x04\xFF\xFF\xFF\xFF", -1),
        ];
        for (bytes, integer) in cases {
            assert_eq!(decode(bytes), Ok(Value::Integer(integer)), "{bytes:02x?}");
        }
        assert_eq!(decode(b"\x04\xC0\x80\x80\x00"), Ok(Value::Integer(-(1 << 28))));
    }

    #[test]
    fn sealed_members_come_before_dynamic_ones_and_traits_are_shared() {
        // Array of two: class P with sealed x, dynamic; the second one by traits reference, its name by string reference.
        let bytes = b"\x09\x05\x01\
            \x0A\x1B\x03P\x03x\x04\x01\x03d\x03\x01\
            \x0A\x01\x04\x02\x01";
        assert_eq!(
            decode(bytes),
            Ok(Value::StrictArray(
                [
                    typed("P", &[("x", Value::Integer(1)), ("d", true.into())]),
                    typed("P", &[("x", Value::Integer(2))])
                ]
                .into()
            ))
        );
    }

    #[test]
    fn externalizable_objects_are_refused_by_name() {
        assert_eq!(decode(b"\x0A\x07\x03Eabc"), Err(PeerUnsupported::AmfExternalizable.into()));
    }

    /// What is inline in a referenced object has its numbers already: strings, objects and traits.
    #[test]
    fn a_resolved_reference_lists_nothing_new() {
        // 0 the array; 1 = P{x: 2 = Q{y: "s"}}; reference to 1; then a new string "t", which must be string 5; then it
        // again, an object of traits 2 = R{z: null}, and one of traits 1.
        let bytes = b"\x09\x0D\x01\
            \x0A\x13\x03P\x03x\x0A\x13\x03Q\x03y\x06\x03s\
            \x0A\x02\
            \x06\x03t\
            \x06\x0A\
            \x0A\x13\x03R\x03z\x01\
            \x0A\x05\x03";
        let q = typed("Q", &[("y", "s".into())]);
        let p = || typed("P", &[("x", q.clone())]);
        let expected = [
            p(),
            p(),
            "t".into(),
            "t".into(),
            typed("R", &[("z", Value::Null)]),
            typed("Q", &[("y", true.into())]),
        ];
        assert_eq!(decode(bytes), Ok(Value::StrictArray(expected.into())));
    }

    #[test]
    fn references_to_oneself_to_nothing_and_to_another_type_are_refused() {
        assert_eq!(decode(b"\x0A\x0B\x01\x03a\x0A\x00\x01"), fault(PeerMisbehaved::AmfReference(0)));
        assert_eq!(decode(b"\x09\x06"), fault(PeerMisbehaved::AmfReference(3)));
        assert_eq!(decode(b"\x06\x02"), fault(PeerMisbehaved::AmfReference(1)));
        assert_eq!(decode(b"\x0A\x09"), fault(PeerMisbehaved::AmfReference(2)), "traits");
        // A date as object 1 that an array marker refers to.
        assert_eq!(
            decode(b"\x09\x05\x01\x08\x01\0\0\0\0\0\0\0\0\x09\x02"),
            fault(PeerMisbehaved::AmfReference(1))
        );
    }

    #[test]
    fn the_empty_string_is_not_in_the_table() {
        assert_eq!(
            decode(b"\x09\x07\x01\x06\x01\x06\x03a\x06\x00"),
            Ok(Value::StrictArray(["".into(), "a".into(), "a".into()].into()))
        );
    }

    #[test]
    fn depth_is_bounded_in_every_container() {
        let limits = AmfLimits { depth_max: 2, ..AmfLimits::default() };
        let levels: [(&[u8], &[u8]); 4] = [
            (b"\x09\x03\x01", b""),
            (b"\x0A\x0B\x01\x03a", b"\x01"),
            (b"\x10\x03\x00\x03*", b""),
            (b"\x11\x03\x00\x01", b""),
        ];
        for (open, close) in levels {
            let nested = |depth| [&open.repeat(depth), &b"\x01"[..], &close.repeat(depth)].concat();
            assert!(decode_within(&nested(2), &limits).is_ok(), "{open:02x?}");
            assert_eq!(decode_within(&nested(3), &limits), fault(PeerMisbehaved::AmfDepth), "{open:02x?}");
        }
    }

    #[test]
    fn a_declared_count_or_length_reserves_nothing() {
        for bytes in [
            &b"\x06\xFF\xFF\xFF\xFF"[..],
            b"\x09\xFF\xFF\xFF\xFF\x01",
            b"\x0A\xFF\xFF\xFF\xFB\x01",
            b"\x0C\xFF\xFF\xFF\xFF",
            b"\x0F\xFF\xFF\xFF\xFF\x00",
            b"\x10\xFF\xFF\xFF\xFF\x00\x01",
            b"\x11\xFF\xFF\xFF\xFF\x00",
        ] {
            assert_eq!(decode(bytes), fault(PeerMisbehaved::AmfTruncated), "{bytes:02x?}");
        }
    }

    #[test]
    fn referenced_strings_and_traits_are_charged_each_time() {
        // A thousand bytes, then references to them.
        let mut bytes = b"\x09\xA0\x01\x01\x06\x8F\x51".to_vec();
        bytes.extend([b'x'; 1000]);
        bytes.extend(b"\x06\x00".repeat(2047));
        assert_eq!(decode(&bytes), fault(PeerMisbehaved::AmfBytes));

        // A class whose members' names are all the same one, and no object yet.
        let mut bytes = b"\x0A\x85\xEE\x03\x01\x03m".to_vec();
        bytes.extend(b"\x00".repeat(5999));
        assert_eq!(decode(&bytes), fault(PeerMisbehaved::AmfEntries));

        // One class of 100 members, and objects of it that have all of them null.
        let mut bytes = b"\x09\x81\x01\x01\x0A\x8C\x43\x01".to_vec();
        bytes.extend(b"\x03m");
        bytes.extend(b"\x00".repeat(99));
        bytes.extend(b"\x01".repeat(100));
        for _ in 0..63 {
            bytes.extend(b"\x0A\x01");
            bytes.extend(b"\x01".repeat(100));
        }
        assert_eq!(decode(&bytes), fault(PeerMisbehaved::AmfEntries));
    }
}
