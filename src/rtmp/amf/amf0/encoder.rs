//! Writing AMF0.

use bytes::{BufMut, BytesMut};

use super::marker;
use crate::rtmp::amf::{Value, WRITTEN_DEPTH_MAX, amf3};
use crate::rtmp::{ApiMisuse, Error};

/// Appends `value`. What only AMF3 can say is switched to AMF3, by itself and without references.
///
/// # Errors
/// `ApiMisuse::AmfValue`: a property or class name is longer than 65,535 bytes, a text longer than the format can count,
/// or the value is nested too deeply. Then `out` is as it was.
pub fn write(value: &Value, out: &mut BytesMut) -> Result<(), Error> {
    let before = out.len();
    any(value, out, WRITTEN_DEPTH_MAX).map_err(|misuse| {
        out.truncate(before);
        misuse.into()
    })
}

fn any(value: &Value, out: &mut BytesMut, depth_left: usize) -> Result<(), ApiMisuse> {
    let deeper = depth_left.checked_sub(1).ok_or(ApiMisuse::AmfValue)?;
    match value {
        Value::Number(number) => {
            out.put_u8(marker::NUMBER);
            out.put_f64(*number);
        }
        Value::Boolean(truth) => {
            out.put_u8(marker::BOOLEAN);
            out.put_u8((*truth).into());
        }
        Value::String(text) if text.len() <= usize::from(u16::MAX) => {
            out.put_u8(marker::STRING);
            short_text(text, out)?;
        }
        Value::String(text) => {
            out.put_u8(marker::LONG_STRING);
            long_text(text, out)?;
        }
        Value::Object(members) => {
            out.put_u8(marker::OBJECT);
            properties(members, out, deeper)?;
        }
        Value::Null => out.put_u8(marker::NULL),
        Value::Undefined => out.put_u8(marker::UNDEFINED),
        Value::EcmaArray(members) => {
            out.put_u8(marker::ECMA_ARRAY);
            out.put_u32(count(members.len())?);
            properties(members, out, deeper)?;
        }
        Value::StrictArray(items) => {
            out.put_u8(marker::STRICT_ARRAY);
            out.put_u32(count(items.len())?);
            items.iter().try_for_each(|item| any(item, out, deeper))?;
        }
        Value::Date { ms, time_zone } => {
            out.put_u8(marker::DATE);
            out.put_f64(*ms);
            out.put_i16(*time_zone);
        }
        Value::XmlDocument(text) => {
            out.put_u8(marker::XML_DOCUMENT);
            long_text(text, out)?;
        }
        Value::TypedObject { class, properties: members } => {
            out.put_u8(marker::TYPED_OBJECT);
            short_text(class, out)?;
            properties(members, out, deeper)?;
        }
        Value::Unsupported => out.put_u8(marker::UNSUPPORTED),
        Value::Integer(_)
        | Value::Xml(_)
        | Value::ByteArray(_)
        | Value::VectorInt { .. }
        | Value::VectorUint { .. }
        | Value::VectorDouble { .. }
        | Value::VectorObject { .. }
        | Value::Dictionary { .. } => {
            out.put_u8(marker::AVMPLUS_OBJECT);
            amf3::write_unreferenced(value, out, depth_left)?;
        }
    }
    Ok(())
}

fn properties(
    members: &[(alloc::string::String, Value)],
    out: &mut BytesMut,
    depth_left: usize,
) -> Result<(), ApiMisuse> {
    for (name, value) in members {
        short_text(name, out)?;
        any(value, out, depth_left)?;
    }
    out.put_u16(0);
    out.put_u8(marker::OBJECT_END);
    Ok(())
}

fn short_text(text: &str, out: &mut BytesMut) -> Result<(), ApiMisuse> {
    out.put_u16(u16::try_from(text.len()).map_err(|_| ApiMisuse::AmfValue)?);
    out.put_slice(text.as_bytes());
    Ok(())
}

fn long_text(text: &str, out: &mut BytesMut) -> Result<(), ApiMisuse> {
    out.put_u32(count(text.len())?);
    out.put_slice(text.as_bytes());
    Ok(())
}

fn count(len: usize) -> Result<u32, ApiMisuse> {
    u32::try_from(len).map_err(|_| ApiMisuse::AmfValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(value: &Value) -> Result<alloc::vec::Vec<u8>, Error> {
        let mut out = BytesMut::new();
        write(value, &mut out).map(|()| out.to_vec())
    }

    /// §2 by hand; the reading side checks the same bytes.
    #[test]
    fn types_are_laid_out_as_specified() {
        let cases: [(Value, &[u8]); 8] = [
            (1.5.into(), b"\x00\x3F\xF8\0\0\0\0\0\0"),
            (true.into(), b"\x01\x01"),
            ("abc".into(), b"\x02\x00\x03abc"),
            (Value::object([("a", Value::Null)]), b"\x03\x00\x01a\x05\0\0\x09"),
            (Value::ecma_array([("a", Value::Undefined)]), b"\x08\0\0\0\x01\x00\x01a\x06\0\0\x09"),
            (Value::StrictArray([Value::Null].into()), b"\x0A\0\0\0\x01\x05"),
            (Value::Date { ms: 0.0, time_zone: -60 }, b"\x0B\0\0\0\0\0\0\0\0\xFF\xC4"),
            (Value::Integer(128), b"\x11\x04\x81\x00"),
        ];
        for (value, bytes) in cases {
            assert_eq!(encode(&value).as_deref(), Ok(bytes), "{value:?}");
        }
    }

    #[test]
    fn a_string_over_65535_bytes_is_a_long_string() {
        let short = encode(&"x".repeat(65_535).into()).unwrap();
        let long = encode(&"x".repeat(65_536).into()).unwrap();
        assert_eq!((short[0], short.len()), (0x02, 3 + 65_535));
        assert_eq!((long[0], &long[1..5], long.len()), (0x0C, &[0, 1, 0, 0][..], 5 + 65_536));
    }

    #[test]
    fn what_cannot_be_written_leaves_the_output_as_it_was() {
        let mut out = BytesMut::from(&b"before"[..]);
        let long_name = Value::Object([("x".repeat(65_536), Value::Null)].into());
        let deep = (0..WRITTEN_DEPTH_MAX).fold(Value::Null, |inner, _| Value::StrictArray([inner].into()));
        for value in [Value::StrictArray([1.0.into(), long_name].into()), deep] {
            assert_eq!(write(&value, &mut out), Err(ApiMisuse::AmfValue.into()));
            assert_eq!(&out[..], b"before");
        }
    }

    /// A reader that forgets the AMF3 tables after each value must read the second one right.
    #[test]
    fn values_switched_to_amf3_share_nothing() {
        let blob = Value::Dictionary { weak_keys: false, entries: [("key".into(), "key".into())].into() };
        let both = encode(&Value::StrictArray([blob.clone(), blob].into())).unwrap();
        let (first, second) = both[5..].split_at((both.len() - 5) / 2);
        assert_eq!(first, second);
        assert_eq!(first, b"\x11\x11\x03\x00\x06\x07key\x06\x07key");
    }
}
