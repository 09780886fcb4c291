//! Targets `amf0` and `amf3`: values, and the commands that are made of them.
//!
//! # What is promised
//! - What is decoded stays within the budget, and the decoder is at its end after an error.
//! - What was decoded can be written, unless it holds what the format cannot say; what was written is read back as it was, and written
//!   again it is the same bytes.
//! - What may be secret in a command lies in it, and written over it leaves as many values as before.
//! - A command, and the name of a data message, are read the same however the message is sliced.
//! # Input
//! One byte of settings, then the values.

use bytes::{Bytes, BytesMut};
use inrush::rtmp::amf::{Value, amf0, amf3};
use inrush::rtmp::command::redact::{MASK, secret_parts};
use inrush::rtmp::command::{self, data_name};
use inrush::rtmp::limits::AmfLimits;
use inrush::rtmp::message::type_id;
use inrush::rtmp::{Error, Message, MessageHeader, Payload};

/// Little enough that a short input can reach it.
const TIGHT: AmfLimits = AmfLimits { depth_max: 5, entries_max: 40, bytes_max: 300 };

/// What reads back any value that the default limits allow: members that were dynamic are written as sealed ones, whose names count as
/// entries of their own.
const ROOMY: AmfLimits = AmfLimits { depth_max: 64, entries_max: 16 * 1024, bytes_max: 1024 * 1024 };

/// Setting: little may be spent.
const IS_TIGHT: u8 = 1;

/// Values of AMF0, and what a session makes of them.
pub fn amf0(data: &[u8]) {
    let (settings, bytes) = data.split_first().unwrap_or((&0, &[]));
    values(bytes, *settings, decode_amf0, amf0::write);
    for type_id in [type_id::COMMAND_AMF0, type_id::COMMAND_AMF3] {
        let header = MessageHeader { timestamp: 0, type_id, stream_id: 1 };
        let parse = |payload: Payload| {
            format!("{:?}", command::parse(&Message::new(header, payload), &AmfLimits::default()))
        };
        assert_eq!(parse(whole(bytes)), parse(sliced(bytes)));
        check_redacted(bytes, type_id);
    }
    for type_id in [type_id::DATA_AMF0, type_id::DATA_AMF3] {
        let found = data_name(&whole(bytes), type_id);
        assert_eq!(found, data_name(&sliced(bytes), type_id));
        if let Some(found) = found {
            assert!(found.name_offset < found.body_offset && found.body_offset <= bytes.len(), "{found:?}");
        }
    }
}

/// Values of AMF3.
pub fn amf3(data: &[u8]) {
    let (settings, bytes) = data.split_first().unwrap_or((&0, &[]));
    values(bytes, *settings, decode_amf3, amf3::write);
}

/// Behind a format byte, the values of a command that is made fit for others to read.
fn check_redacted(bytes: &[u8], type_id: u8) {
    let limits = AmfLimits::default();
    let start = usize::from(type_id == type_id::COMMAND_AMF3 && bytes.first() == Some(&0));
    let mut masked = bytes.to_vec();
    for part in secret_parts(bytes, type_id, &limits) {
        masked[part].fill(MASK);
    }
    let (before, error) = decode_amf0(&bytes[start.min(bytes.len())..], &limits);
    let (after, _) = decode_amf0(&masked[start.min(bytes.len())..], &limits);
    assert!(before.len() == after.len() || error.is_some() && before.len() < after.len());
}

fn whole(bytes: &[u8]) -> Payload {
    Bytes::copy_from_slice(bytes).into()
}

fn sliced(bytes: &[u8]) -> Payload {
    bytes.chunks(7).map(Bytes::copy_from_slice).collect()
}

/// All values up to the end or the first error.
type Decode = fn(&[u8], &AmfLimits) -> (Vec<Value>, Option<Error>);
type Write = fn(&Value, &mut BytesMut) -> Result<(), Error>;

macro_rules! decode {
    ($name:ident, $decoder:ty) => {
        fn $name(bytes: &[u8], limits: &AmfLimits) -> (Vec<Value>, Option<Error>) {
            let mut decoder = <$decoder>::new(bytes, limits);
            let mut values = Vec::new();
            while !decoder.is_empty() {
                let before = decoder.position();
                match decoder.value() {
                    Ok(value) => values.push(value),
                    Err(error) => {
                        assert!(decoder.is_empty() && decoder.value().is_err(), "an error is the end");
                        return (values, Some(error));
                    }
                }
                let after = decoder.position();
                assert!(
                    before < after && after <= bytes.len(),
                    "a value takes bytes, and none beyond the end"
                );
            }
            (values, None)
        }
    };
}

decode!(decode_amf0, amf0::Decoder<'_>);
decode!(decode_amf3, amf3::Decoder<'_>);

fn values(bytes: &[u8], settings: u8, decode: Decode, write: Write) {
    let limits = if settings & IS_TIGHT != 0 { TIGHT } else { AmfLimits::default() };
    let (values, _) = decode(bytes, &limits);
    let (entries, held) = sum(values.iter(), 0);
    // Not the one that `sum` adds for what has values in it.
    assert!(entries - 1 <= limits.entries_max, "{entries} values");
    assert!(held <= limits.bytes_max, "{held} bytes of text and numbers");
    for value in &values {
        check_written(value, decode, write);
    }
}

/// What can be written is read back, and written again it is the same.
fn check_written(value: &Value, decode: Decode, write: Write) {
    let mut first = BytesMut::from(&b"before"[..]);
    if write(value, &mut first).is_err() {
        assert_eq!(&first[..], b"before", "what was not written left something");
        assert!(!can_be_said(value), "{value:?} was not written");
        return;
    }
    let (read, error) = decode(&first[6..], &ROOMY);
    assert_eq!((read.len(), error), (1, None), "{value:?} was not read back");
    let mut again = BytesMut::from(&b"before"[..]);
    write(&read[0], &mut again).expect("what was written can be written");
    assert_eq!(first, again, "{value:?} became {:?}", read[0]);
    // As text, since a NaN is not equal to itself; its bits were compared above.
    assert_eq!(format!("{value:?}"), format!("{:?}", read[0]));
}

/// Whether both formats have a form for all of the value: AMF3 has none for a name that is empty, AMF0 none for one that is very long.
fn can_be_said(value: &Value) -> bool {
    let is_short = |text: &String| text.len() <= usize::from(u16::MAX);
    match value {
        Value::Unsupported => false,
        Value::Object(members) | Value::EcmaArray(members) => {
            members.iter().all(|(name, value)| !name.is_empty() && is_short(name) && can_be_said(value))
        }
        Value::TypedObject { class, properties } => {
            is_short(class) && properties.iter().all(|(name, value)| is_short(name) && can_be_said(value))
        }
        Value::StrictArray(items) | Value::VectorObject { items, .. } => items.iter().all(can_be_said),
        Value::Dictionary { entries, .. } => {
            entries.iter().all(|(key, value)| can_be_said(key) && can_be_said(value))
        }
        _ => true,
    }
}

/// What a value holds: values, and bytes of text and numbers.
fn size(value: &Value) -> (usize, usize) {
    let names = |members: &[(String, Value)]| members.iter().map(|(name, _)| name.len()).sum::<usize>();
    match value {
        Value::String(text) | Value::Xml(text) | Value::XmlDocument(text) => (1, text.len()),
        Value::ByteArray(bytes) => (1, bytes.len()),
        Value::VectorInt { items, .. } => (1, 4 * items.len()),
        Value::VectorUint { items, .. } => (1, 4 * items.len()),
        Value::VectorDouble { items, .. } => (1, 8 * items.len()),
        Value::Object(members) | Value::EcmaArray(members) => {
            sum(members.iter().map(|(_, value)| value), names(members))
        }
        Value::TypedObject { class, properties } => {
            sum(properties.iter().map(|(_, value)| value), class.len() + names(properties))
        }
        Value::StrictArray(items) => sum(items.iter(), 0),
        Value::VectorObject { class, items, .. } => sum(items.iter(), class.len()),
        Value::Dictionary { entries, .. } => sum(entries.iter().flat_map(|(key, value)| [key, value]), 0),
        _ => (1, 0),
    }
}

fn sum<'v>(parts: impl Iterator<Item = &'v Value>, bytes: usize) -> (usize, usize) {
    parts.map(size).fold((1, bytes), |(entries, bytes), (e, b)| (entries + e, bytes + b))
}
