//! What holds for all values and all bytes, in both AMF versions.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Value, amf0, amf3};
use crate::rtmp::limits::AmfLimits;
use crate::rtmp::{Error, PeerMisbehaved};

/// Either version, so that each property is written once.
#[derive(Clone, Copy, Debug)]
enum Version {
    Amf0,
    Amf3,
}

impl Version {
    fn encode(self, values: &[Value]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for value in values {
            match self {
                Self::Amf0 => amf0::write(value, &mut out),
                Self::Amf3 => amf3::write(value, &mut out),
            }
            .unwrap();
        }
        out.to_vec()
    }

    /// All values of the message, and the position after each.
    fn decode(self, bytes: &[u8], limits: &AmfLimits) -> Result<Vec<Value>, Error> {
        let mut values = Vec::new();
        match self {
            Self::Amf0 => {
                let mut decoder = amf0::Decoder::new(bytes, limits);
                while !decoder.is_empty() {
                    values.push(decoder.value()?);
                }
            }
            Self::Amf3 => {
                let mut decoder = amf3::Decoder::new(bytes, limits);
                while !decoder.is_empty() {
                    values.push(decoder.value()?);
                }
            }
        }
        Ok(values)
    }
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::Amf0), Just(Version::Amf3)]
}

/// Few enough names that they repeat, so that AMF3 uses its tables.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-d]", 1 => "[a-zé€😀]{1,12}"]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just(String::new()), 3 => "[a-d]", 3 => ".{0,40}", 1 => "[x]{200}"]
}

fn leaf() -> impl Strategy<Value = Value> {
    let number =
        prop_oneof![any::<f64>().prop_filter("NaN is not equal to itself", |n| !n.is_nan()), Just(0.0)];
    prop_oneof![
        number.clone().prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        text().prop_map(Value::String),
        Just(Value::Null),
        Just(Value::Undefined),
        number.clone().prop_map(|ms| Value::Date { ms, time_zone: 0 }),
        text().prop_map(Value::XmlDocument),
        (-(1 << 28)..1 << 28_i32).prop_map(Value::Integer),
        text().prop_map(Value::Xml),
        vec(any::<u8>(), 0..40).prop_map(Value::ByteArray),
        (any::<bool>(), vec(any::<i32>(), 0..5)).prop_map(|(fixed, items)| Value::VectorInt { fixed, items }),
        (any::<bool>(), vec(any::<u32>(), 0..5))
            .prop_map(|(fixed, items)| Value::VectorUint { fixed, items }),
        (any::<bool>(), vec(number, 0..5)).prop_map(|(fixed, items)| Value::VectorDouble { fixed, items }),
    ]
}

/// Values that both versions give back as they were; what they do not is in the tests of each.
fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(6, 48, 6, |inner| {
        let members = || vec((name(), inner.clone()), 1..6);
        prop_oneof![
            members().prop_map(Value::Object),
            members().prop_map(Value::EcmaArray),
            vec(inner.clone(), 0..6).prop_map(Value::StrictArray),
            (name(), members()).prop_map(|(class, properties)| Value::TypedObject { class, properties }),
            (any::<bool>(), name(), vec(inner.clone(), 0..6))
                .prop_map(|(fixed, class, items)| Value::VectorObject { fixed, class, items }),
            (any::<bool>(), vec((inner.clone(), inner.clone()), 0..4))
                .prop_map(|(weak_keys, entries)| Value::Dictionary { weak_keys, entries }),
        ]
    })
}

/// Like [`value`], without ECMA arrays, which may lack their end (`amf0`).
fn value_with_an_end() -> impl Strategy<Value = Value> {
    value()
        .prop_filter("ECMA arrays may lack their end", |value| !alloc::format!("{value:?}").contains("Ecma"))
}

/// How much a decoded value holds: values, and bytes of text and numbers.
fn size(value: &Value) -> (usize, usize) {
    fn sum<'v>(parts: impl Iterator<Item = &'v Value>, bytes: usize) -> (usize, usize) {
        parts.map(size).fold((1, bytes), |(entries, bytes), (e, b)| (entries + e, bytes + b))
    }
    let names = |members: &[(String, Value)]| members.iter().map(|(name, _)| name.len()).sum::<usize>();
    match value {
        Value::String(text) | Value::Xml(text) | Value::XmlDocument(text) => (1, text.len()),
        Value::ByteArray(bytes) => (1, bytes.len()),
        Value::VectorInt { items, .. } => (1, 4 * items.len()),
        Value::VectorUint { items, .. } => (1, 4 * items.len()),
        Value::VectorDouble { items, .. } => (1, 8 * items.len()),
        Value::Object(members) | Value::EcmaArray(members) => {
            sum(members.iter().map(|(_, v)| v), names(members))
        }
        Value::TypedObject { class, properties } => {
            sum(properties.iter().map(|(_, v)| v), class.len() + names(properties))
        }
        Value::StrictArray(items) => sum(items.iter(), 0),
        Value::VectorObject { class, items, .. } => sum(items.iter(), class.len()),
        Value::Dictionary { entries, .. } => sum(entries.iter().flat_map(|(key, value)| [key, value]), 0),
        _ => (1, 0),
    }
}

/// Bytes that mean something often enough to get deep: markers, small counts, references.
fn plausible_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![6 => 0..0x14_u8, 2 => Just(0_u8), 1 => any::<u8>()], 0..200)
}

/// A decoder given `bytes` must not panic, and what it returns must be within its budget.
fn is_bounded(version: Version, bytes: &[u8]) -> Result<(), TestCaseError> {
    let limits = AmfLimits { depth_max: 8, entries_max: 64, bytes_max: 256 };
    if let Ok(values) = version.decode(bytes, &limits) {
        let (entries, held) = values.iter().map(size).fold((0, 0), |(e, b), (de, db)| (e + de, b + db));
        prop_assert!(entries <= limits.entries_max, "{entries} values of {values:?}");
        prop_assert!(held <= limits.bytes_max, "{held} bytes of {values:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(version in version(), value in value()) {
        let bytes = version.encode(core::slice::from_ref(&value));
        prop_assert_eq!(version.decode(&bytes, &AmfLimits::default()), Ok(alloc::vec![value]));
    }

    /// Across the values of a message: what AMF0 switches to AMF3 must leave the tables usable.
    #[test]
    fn several_values_are_read_back(values in vec(value(), 1..5)) {
        let bytes = Version::Amf0.encode(&values);
        prop_assert_eq!(Version::Amf0.decode(&bytes, &AmfLimits::default()), Ok(values));
    }

    #[test]
    fn every_cut_is_truncated(version in version(), value in value_with_an_end(), cut in any::<prop::sample::Index>()) {
        let bytes = version.encode(&[value]);
        let cut = 1 + cut.index(bytes.len());
        if cut < bytes.len() {
            prop_assert_eq!(
                version.decode(&bytes[..cut], &AmfLimits::default()),
                Err(PeerMisbehaved::AmfTruncated.into())
            );
        }
    }

    #[test]
    fn random_bytes_never_panic_nor_outgrow_the_budget(version in version(), bytes in vec(any::<u8>(), 0..300)) {
        is_bounded(version, &bytes)?;
    }

    #[test]
    fn plausible_bytes_never_panic_nor_outgrow_the_budget(version in version(), bytes in plausible_bytes()) {
        is_bounded(version, &bytes)?;
    }

    #[test]
    fn changed_bytes_never_panic_nor_outgrow_the_budget(
        version in version(),
        value in value(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = version.encode(&[value]);
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        is_bounded(version, &bytes)?;
    }
}
