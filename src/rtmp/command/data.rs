//! What a data message is about, told from its first bytes (RTMP 1.0 §7.1.2).

use alloc::string::String;

use crate::rtmp::Payload;
use crate::rtmp::amf::{Value, amf0};
use crate::rtmp::limits::AmfLimits;
use crate::rtmp::message::type_id;

/// Values other than a string that may stand before the name. A Uniview camera sends two numbers.
pub const STRAY_VALUES_MAX: usize = 4;

/// Bytes of a data message that are looked at: the format byte, four stray numbers of 9 bytes, and a name of up to 150.
/// The longest name in use is `|RtmpSampleAccess`.
pub const DATA_PREFIX_BYTES: usize = 192;

/// Far more than the prefix can hold.
const PREFIX_LIMITS: AmfLimits =
    AmfLimits { depth_max: 8, entries_max: 64, bytes_max: 2 * DATA_PREFIX_BYTES };

/// The name of a data message, and where things are in its payload.
///
/// For a server that forwards `@setDataFrame "onMetaData" {…}`, `payload.skip(body_offset)` is the message for its
/// players, shared, not copied. For any other name it is `payload.skip(name_offset)`, which also drops the format byte of
/// type 15, so that the rest can go out as type 18.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataName {
    /// `@setDataFrame`, `@clearDataFrame`, `onMetaData`, …
    pub name: String,
    /// Where the name begins, its marker included; bytes from the payload's start.
    pub name_offset: usize,
    /// Where the next value begins; bytes from the payload's start.
    pub body_offset: usize,
    /// Values that stood before the name and have no meaning.
    pub stray_values: usize,
}

/// Finds the first string of a data message within its first [`DATA_PREFIX_BYTES`].
///
/// `None` if there is none: more than [`STRAY_VALUES_MAX`] other values, a value that is malformed or does not end within
/// the prefix, or no value at all. That is no error: what nobody here understands is forwarded as it is.
pub fn data_name(payload: &Payload, type_id: u8) -> Option<DataName> {
    let (prefix, filled) = payload.prefix::<DATA_PREFIX_BYTES>();
    let prefix = prefix.get(..filled)?;
    let format_bytes = format_bytes(type_id, prefix.first().copied());
    let mut decoder = amf0::Decoder::new(prefix.get(format_bytes..)?, &PREFIX_LIMITS);
    for stray_values in 0..=STRAY_VALUES_MAX {
        let name_offset = format_bytes + decoder.position();
        if let Value::String(name) = decoder.value().ok()? {
            let body_offset = format_bytes + decoder.position();
            return Some(DataName { name, name_offset, body_offset, stray_values });
        }
    }
    None
}

/// Bytes before the first value: types 15, 16 and 17 begin with a format byte, of which only 0 is defined (E-RTMP v2,
/// "Enabling AMF3 in RTMP"). Some encoders leave it out.
pub(super) fn format_bytes(type_id: u8, first: Option<u8>) -> usize {
    let has_format =
        matches!(type_id, type_id::DATA_AMF3 | type_id::SHARED_OBJECT_AMF3 | type_id::COMMAND_AMF3);
    usize::from(has_format && first == Some(0))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use bytes::{Bytes, BytesMut};

    use super::*;

    fn encode(values: &[Value]) -> Vec<u8> {
        let mut out = BytesMut::new();
        values.iter().for_each(|value| amf0::write(value, &mut out).unwrap());
        out.to_vec()
    }

    fn metadata() -> [Value; 2] {
        let array: Vec<_> = (0..100).map(|n| (alloc::format!("key{n}"), Value::from(f64::from(n)))).collect();
        ["onMetaData".into(), Value::EcmaArray(array)]
    }

    fn find(bytes: &[u8], type_id: u8) -> Option<DataName> {
        data_name(&Bytes::copy_from_slice(bytes).into(), type_id)
    }

    #[test]
    fn behind_set_data_frame_begins_what_players_get() {
        let forwarded = encode(&metadata());
        let bytes = [encode(&["@setDataFrame".into()]), forwarded.clone()].concat();
        let payload = Payload::from(Bytes::from(bytes));
        let found = data_name(&payload, type_id::DATA_AMF0).unwrap();
        assert_eq!((found.name.as_str(), found.name_offset, found.stray_values), ("@setDataFrame", 0, 0));
        assert_eq!(payload.skip(found.body_offset).to_vec(), forwarded);
    }

    #[test]
    fn type_15_loses_its_format_byte() {
        let forwarded = encode(&metadata());
        let payload = Payload::from(Bytes::from([&[0], &forwarded[..]].concat()));
        let found = data_name(&payload, type_id::DATA_AMF3).unwrap();
        assert_eq!((found.name.as_str(), found.name_offset), ("onMetaData", 1));
        assert_eq!(payload.skip(found.name_offset).to_vec(), forwarded);
        // And may come without it.
        assert_eq!(find(&forwarded, type_id::DATA_AMF3).map(|found| found.name_offset), Some(0));
        // The name itself may be AMF3.
        assert_eq!(
            find(b"\x00\x11\x06\x07onX\x05", type_id::DATA_AMF3).map(|found| found.body_offset),
            Some(7)
        );
    }

    #[test]
    fn stray_values_before_the_name_are_skipped_and_counted() {
        let name = Value::from("@setDataFrame");
        let stray = |count| [alloc::vec![Value::Number(0.0); count], [name.clone()].into()].concat();
        let found = find(&encode(&stray(2)), type_id::DATA_AMF0).unwrap();
        assert_eq!((found.name.as_str(), found.name_offset, found.stray_values), ("@setDataFrame", 18, 2));
        assert!(find(&encode(&stray(STRAY_VALUES_MAX)), type_id::DATA_AMF0).is_some());
        assert_eq!(find(&encode(&stray(STRAY_VALUES_MAX + 1)), type_id::DATA_AMF0), None);
    }

    #[test]
    fn how_the_payload_is_sliced_does_not_matter() {
        let bytes = encode(&[1.0.into(), "@setDataFrame".into(), Value::Null]);
        let whole = find(&bytes, type_id::DATA_AMF0);
        assert!(whole.is_some());
        for len in 1..bytes.len() {
            let payload: Payload = bytes.chunks(len).map(Bytes::copy_from_slice).collect();
            assert_eq!(data_name(&payload, type_id::DATA_AMF0), whole, "slices of {len}");
        }
    }

    #[test]
    fn what_has_no_name_has_none() {
        assert_eq!(find(b"", type_id::DATA_AMF0), None);
        assert_eq!(find(b"\x00", type_id::DATA_AMF3), None);
        assert_eq!(find(b"\x02\x00\x05ab", type_id::DATA_AMF0), None);
        assert_eq!(find(b"\x05\x13", type_id::DATA_AMF0), None);
        // An array that is cut by the prefix is not taken for one that ends with the message.
        assert_eq!(find(&encode(&metadata()[1..]), type_id::DATA_AMF0), None);
        assert_eq!(find(&encode(&["x".repeat(DATA_PREFIX_BYTES).into()]), type_id::DATA_AMF0), None);
    }
}
