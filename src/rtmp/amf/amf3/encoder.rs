//! Writing AMF3.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::{BufMut, BytesMut};

use super::marker;
use crate::rtmp::amf::{Value, WRITTEN_DEPTH_MAX};
use crate::rtmp::{ApiMisuse, Error};

/// Integers from -2^28 up to this fit in 29 bits; others are doubles (§3.6).
const INTEGER_MAX: i32 = (1 << 28) - 1;

/// Appends `value`, with repeated strings and traits inside it as references.
///
/// One value a message: references count from the message's begin, so behind another value they would point elsewhere.
///
/// # Errors
/// `ApiMisuse::AmfValue`: AMF3 cannot say [`Value::Unsupported`], nor a property without a name, nor a length of 2^28
/// and above; or the value is nested too deeply. Then `out` is as it was.
pub fn write(value: &Value, out: &mut BytesMut) -> Result<(), Error> {
    let before = out.len();
    let mut writer = Writer { out, tables: Some(Tables::default()) };
    writer.any(value, WRITTEN_DEPTH_MAX).map_err(|misuse| {
        out.truncate(before);
        misuse.into()
    })
}

/// Appends `value` without a single reference.
///
/// For values among AMF0 ones: some readers keep the tables for the message (as §4.1 has it), others for the value.
pub(in super::super) fn write_unreferenced(
    value: &Value,
    out: &mut BytesMut,
    depth_left: usize,
) -> Result<(), ApiMisuse> {
    Writer { out, tables: None }.any(value, depth_left)
}

/// What was written so far, by what a reference to it would replace.
#[derive(Default)]
struct Tables<'v> {
    strings: BTreeMap<&'v str, usize>,
    traits: BTreeMap<Traits<'v>, usize>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Traits<'v> {
    class: &'v str,
    dynamic: bool,
    sealed: Vec<&'v str>,
}

struct Writer<'v, 'o> {
    out: &'o mut BytesMut,
    tables: Option<Tables<'v>>,
}

impl<'v> Writer<'v, '_> {
    fn any(&mut self, value: &'v Value, depth_left: usize) -> Result<(), ApiMisuse> {
        let deeper = depth_left.checked_sub(1).ok_or(ApiMisuse::AmfValue)?;
        match value {
            Value::Undefined => self.out.put_u8(marker::UNDEFINED),
            Value::Null => self.out.put_u8(marker::NULL),
            Value::Boolean(false) => self.out.put_u8(marker::FALSE),
            Value::Boolean(true) => self.out.put_u8(marker::TRUE),
            Value::Integer(number) if (-INTEGER_MAX - 1..=INTEGER_MAX).contains(number) => {
                self.out.put_u8(marker::INTEGER);
                self.u29(*number as u32 & 0x1FFF_FFFF);
            }
            Value::Integer(number) => self.double((*number).into()),
            Value::Number(number) => self.double(*number),
            Value::String(text) => {
                self.out.put_u8(marker::STRING);
                self.string(text)?;
            }
            Value::XmlDocument(text) => self.blob(marker::XML_DOCUMENT, text.as_bytes())?,
            Value::Xml(text) => self.blob(marker::XML, text.as_bytes())?,
            Value::ByteArray(bytes) => self.blob(marker::BYTE_ARRAY, bytes)?,
            Value::Date { ms, .. } => {
                self.begin(marker::DATE, 0)?;
                self.out.put_f64(*ms);
            }
            Value::StrictArray(items) => {
                self.begin(marker::ARRAY, items.len())?;
                self.string("")?;
                items.iter().try_for_each(|item| self.any(item, deeper))?;
            }
            Value::EcmaArray(members) => {
                self.begin(marker::ARRAY, 0)?;
                self.named_members(members, deeper)?;
            }
            Value::Object(members) => {
                self.out.put_u8(marker::OBJECT);
                self.traits(Traits { class: "", dynamic: true, sealed: Vec::new() })?;
                self.named_members(members, deeper)?;
            }
            Value::TypedObject { class, properties } => {
                self.out.put_u8(marker::OBJECT);
                let sealed = properties.iter().map(|(name, _)| name.as_str()).collect();
                self.traits(Traits { class, dynamic: false, sealed })?;
                properties.iter().try_for_each(|(_, member)| self.any(member, deeper))?;
            }
            Value::VectorInt { fixed, items } => {
                self.vector(marker::VECTOR_INT, items.len(), *fixed)?;
                items.iter().for_each(|item| self.out.put_i32(*item));
            }
            Value::VectorUint { fixed, items } => {
                self.vector(marker::VECTOR_UINT, items.len(), *fixed)?;
                items.iter().for_each(|item| self.out.put_u32(*item));
            }
            Value::VectorDouble { fixed, items } => {
                self.vector(marker::VECTOR_DOUBLE, items.len(), *fixed)?;
                items.iter().for_each(|item| self.out.put_f64(*item));
            }
            Value::VectorObject { fixed, class, items } => {
                self.vector(marker::VECTOR_OBJECT, items.len(), *fixed)?;
                self.string(class)?;
                items.iter().try_for_each(|item| self.any(item, deeper))?;
            }
            Value::Dictionary { weak_keys, entries } => {
                self.vector(marker::DICTIONARY, entries.len(), *weak_keys)?;
                for (key, value) in entries {
                    self.any(key, deeper)?;
                    self.any(value, deeper)?;
                }
            }
            Value::Unsupported => return Err(ApiMisuse::AmfValue),
        }
        Ok(())
    }

    fn double(&mut self, number: f64) {
        self.out.put_u8(marker::DOUBLE);
        self.out.put_f64(number);
    }

    /// A marker and a count or length, with the low bit that says "not a reference".
    fn begin(&mut self, marker: u8, count: usize) -> Result<(), ApiMisuse> {
        self.out.put_u8(marker);
        self.header(count, 1)
    }

    /// Vectors and dictionaries: a marker, a count and a flag.
    fn vector(&mut self, marker: u8, count: usize, flag: bool) -> Result<(), ApiMisuse> {
        self.begin(marker, count)?;
        self.out.put_u8(flag.into());
        Ok(())
    }

    fn blob(&mut self, marker: u8, bytes: &[u8]) -> Result<(), ApiMisuse> {
        self.begin(marker, bytes.len())?;
        self.out.put_slice(bytes);
        Ok(())
    }

    fn named_members(&mut self, members: &'v [(String, Value)], depth_left: usize) -> Result<(), ApiMisuse> {
        for (name, value) in members {
            if name.is_empty() {
                return Err(ApiMisuse::AmfValue); // it would end the list
            }
            self.string(name)?;
            self.any(value, depth_left)?;
        }
        self.string("")
    }

    fn string(&mut self, text: &'v str) -> Result<(), ApiMisuse> {
        if let Some(tables) = &mut self.tables
            && !text.is_empty()
        {
            let next = tables.strings.len();
            if let Some(index) = tables.strings.get(text) {
                let index = *index;
                return self.header(index, 0);
            }
            tables.strings.insert(text, next);
        }
        self.header(text.len(), 1)?;
        self.out.put_slice(text.as_bytes());
        Ok(())
    }

    /// The first number of an object (§3.12), then class and names, unless these traits were written before.
    fn traits(&mut self, traits: Traits<'v>) -> Result<(), ApiMisuse> {
        let count = traits.sealed.len();
        if count >= 1 << 25 {
            return Err(ApiMisuse::AmfValue);
        }
        if let Some(index) = self.tables.as_ref().and_then(|tables| tables.traits.get(&traits)) {
            return self.header(*index << 1, 1);
        }
        self.header(count << 3 | usize::from(traits.dynamic) << 2 | 1, 1)?;
        self.string(traits.class)?;
        traits.sealed.iter().try_for_each(|name| self.string(name))?;
        if let Some(tables) = &mut self.tables {
            let next = tables.traits.len();
            tables.traits.insert(traits, next);
        }
        Ok(())
    }

    /// 28 bits above a flag.
    fn header(&mut self, bits: usize, flag: u32) -> Result<(), ApiMisuse> {
        match u32::try_from(bits) {
            Ok(bits) if bits < 1 << 28 => self.u29(bits << 1 | flag),
            _ => return Err(ApiMisuse::AmfValue),
        }
        Ok(())
    }

    /// `value` has at most 29 bits.
    fn u29(&mut self, value: u32) {
        let low = (value & 0x7F) as u8;
        let seven = |shift: u32| (value >> shift) as u8 & 0x7F | 0x80;
        match value {
            0..0x80 => self.out.put_u8(low),
            0x80..0x4000 => self.out.put_slice(&[seven(7), low]),
            0x4000..0x20_0000 => self.out.put_slice(&[seven(14), seven(7), low]),
            _ => self.out.put_slice(&[seven(22), seven(15), seven(8), value as u8]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(value: &Value) -> Result<Vec<u8>, Error> {
        let mut out = BytesMut::new();
        write(value, &mut out).map(|()| out.to_vec())
    }

    /// §3 by hand; the reading side checks the same bytes.
    #[test]
    fn types_are_laid_out_as_specified() {
        let cases: [(Value, &[u8]); 9] = [
            (Value::Integer(0x20_0000), b"\x04\x80\xC0\x80\x00"),
            (Value::Integer(-1), b"\x04\xFF\xFF\xFF\xFF"),
            (1.5.into(), b"\x05\x3F\xF8\0\0\0\0\0\0"),
            ("abc".into(), b"\x06\x07abc"),
            (Value::object([("a", true.into())]), b"\x0A\x0B\x01\x03a\x03\x01"),
            (Value::ecma_array([("a", Value::Null)]), b"\x09\x01\x03a\x01\x01"),
            (Value::StrictArray([Value::Null].into()), b"\x09\x03\x01\x01"),
            (Value::ByteArray([7].into()), b"\x0C\x03\x07"),
            (Value::VectorInt { fixed: true, items: [-1].into() }, b"\x0D\x03\x01\xFF\xFF\xFF\xFF"),
        ];
        for (value, bytes) in cases {
            assert_eq!(encode(&value).as_deref(), Ok(bytes), "{value:?}");
        }
    }

    #[test]
    fn an_integer_of_more_than_29_bits_is_a_double() {
        for number in [1 << 28, -(1 << 28) - 1, i32::MAX, i32::MIN] {
            assert_eq!(encode(&Value::Integer(number)), encode(&Value::Number(number.into())));
        }
        assert_eq!(encode(&Value::Integer(INTEGER_MAX)).unwrap()[0], marker::INTEGER);
    }

    #[test]
    fn repeated_strings_and_traits_are_references() {
        let point =
            |x: f64| Value::TypedObject { class: "P".into(), properties: [("x".into(), x.into())].into() };
        let points = Value::StrictArray([point(0.0), point(0.0), "x".into()].into());
        assert_eq!(
            encode(&points).as_deref(),
            Ok(
                &b"\x09\x07\x01\x0A\x13\x03P\x03x\x05\0\0\0\0\0\0\0\0\x0A\x01\x05\0\0\0\0\0\0\0\0\x06\x02"[..]
            )
        );
    }

    #[test]
    fn what_cannot_be_written_leaves_the_output_as_it_was() {
        let mut out = BytesMut::from(&b"before"[..]);
        let deep = (0..WRITTEN_DEPTH_MAX).fold(Value::Null, |inner, _| Value::StrictArray([inner].into()));
        for value in [
            Value::StrictArray([1.0.into(), Value::Unsupported].into()),
            Value::object([("", Value::Null)]),
            deep,
        ] {
            assert_eq!(write(&value, &mut out), Err(ApiMisuse::AmfValue.into()));
            assert_eq!(&out[..], b"before");
        }
    }
}
