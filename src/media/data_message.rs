//! What a data message is to the stream: metadata, or something to forward as it is.
//!
//! Players get what is behind `@setDataFrame`, and they get AMF0: the format byte of a message in AMF3 (type 15) goes,
//! since what follows it is AMF0 (values in AMF3 stand behind a marker of AMF0's own). Values before the name go as
//! well; a Uniview camera sends two numbers there. All of it is cut off the front, sharing the bytes.

use super::ingest::HEADER_BYTES_MAX;
use super::ingest_counters::IngestCounters;
use crate::rtmp::Payload;
use crate::rtmp::command::data_name;
use crate::rtmp::message::type_id;

/// What a data message is to the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DataMessage {
    /// `onMetaData` and what follows it.
    Metadata(Payload),
    /// Any other message, its name first if it has one.
    Other(Payload),
    /// `@clearDataFrame`.
    ClearMetadata,
    /// Nothing to hand on.
    Nothing,
}

impl DataMessage {
    /// Reads a message of type 15 or 18.
    pub(super) fn read(payload: Payload, type_id: u8, counters: &mut IngestCounters) -> Self {
        let is_amf3 = type_id == type_id::DATA_AMF3;
        counters.data_amf3 += u64::from(is_amf3);
        let Some(found) = data_name(&payload, type_id) else {
            counters.data_unnamed += 1;
            let format_bytes = usize::from(is_amf3 && payload.byte(0) == Some(0));
            return Self::other(payload.skip(format_bytes), counters);
        };
        counters.data_stray_values += found.stray_values as u64;
        match found.name.as_str() {
            "@setDataFrame" => Self::behind_set_data_frame(payload.skip(found.body_offset), counters),
            "@clearDataFrame" => {
                counters.data_cleared += 1;
                Self::ClearMetadata
            }
            name => Self::named(name, payload.skip(found.name_offset), counters),
        }
    }

    /// A name after `@setDataFrame` is any name: a second `@setDataFrame` means nothing.
    fn behind_set_data_frame(payload: Payload, counters: &mut IngestCounters) -> Self {
        let Some(found) = data_name(&payload, type_id::DATA_AMF0) else {
            counters.data_unnamed += 1;
            return Self::other(payload, counters);
        };
        counters.data_stray_values += found.stray_values as u64;
        Self::named(&found.name, payload.skip(found.name_offset), counters)
    }

    fn named(name: &str, payload: Payload, counters: &mut IngestCounters) -> Self {
        if name != "onMetaData" {
            return Self::Other(payload);
        }
        if payload.len() > HEADER_BYTES_MAX {
            counters.headers_oversized += 1;
            return Self::Other(payload);
        }
        Self::Metadata(payload)
    }

    fn other(payload: Payload, counters: &mut IngestCounters) -> Self {
        if payload.is_empty() {
            counters.messages_empty += 1;
            return Self::Nothing;
        }
        Self::Other(payload)
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::rtmp::amf::{Value, amf0};

    fn amf(values: &[Value]) -> Vec<u8> {
        let mut out = BytesMut::new();
        values.iter().for_each(|value| amf0::write(value, &mut out).unwrap());
        out.to_vec()
    }

    fn read(bytes: Vec<u8>, type_id: u8) -> (DataMessage, IngestCounters) {
        let mut counters = IngestCounters::default();
        (DataMessage::read(Bytes::from(bytes).into(), type_id, &mut counters), counters)
    }

    fn payload(bytes: &[u8]) -> Payload {
        Bytes::copy_from_slice(bytes).into()
    }

    fn values() -> Vec<u8> {
        amf(&["onMetaData".into(), Value::object([("width", 1920.0.into())])])
    }

    /// With and without `@setDataFrame`, in either type, players get the same bytes.
    #[test]
    fn players_get_on_meta_data() {
        let prefixed = [amf(&["@setDataFrame".into()]), values()].concat();
        for bytes in [values(), prefixed] {
            let expected = DataMessage::Metadata(payload(&values()));
            assert_eq!(
                read(bytes.clone(), type_id::DATA_AMF0),
                (expected.clone(), IngestCounters::default())
            );
            let counters = IngestCounters { data_amf3: 1, ..IngestCounters::default() };
            assert_eq!(
                read([vec![0], bytes.clone()].concat(), type_id::DATA_AMF3),
                (expected.clone(), counters)
            );
            assert_eq!(read(bytes, type_id::DATA_AMF3), (expected, counters), "the format byte left out");
        }
    }

    /// Numbers before and after `@setDataFrame` are taken off and counted.
    #[test]
    fn stray_values_are_taken_off() {
        let stray = amf(&[0.0.into(), 1.0.into()]);
        let bytes = [stray.clone(), amf(&["@setDataFrame".into()]), amf(&[Value::Null]), values()].concat();
        let (message, counters) = read(bytes, type_id::DATA_AMF0);
        assert_eq!(message, DataMessage::Metadata(payload(&values())));
        assert_eq!(counters.data_stray_values, 3);
        let text = amf(&["onTextData".into(), "hello".into()]);
        let (message, counters) = read([stray, text.clone()].concat(), type_id::DATA_AMF0);
        assert_eq!((message, counters.data_stray_values), (DataMessage::Other(payload(&text)), 2));
    }

    /// Whatever else comes is forwarded byte for byte; of type 15 without its format byte.
    #[test]
    fn other_messages_are_forwarded_unparsed() {
        for name in ["onCuePoint", "onTextData", "onFI", "|RtmpSampleAccess", "onCaptionInfo"] {
            let bytes = [amf(&[name.into()]), vec![0xff, 0xfe]].concat();
            let expected = (DataMessage::Other(payload(&bytes)), IngestCounters::default());
            assert_eq!(read(bytes, type_id::DATA_AMF0), expected);
        }
        let garbage = vec![0x7f, 0, 1, 2];
        let (message, counters) = read(garbage.clone(), type_id::DATA_AMF0);
        assert_eq!((message, counters.data_unnamed), (DataMessage::Other(payload(&garbage)), 1));
        let (message, _) = read([vec![0], garbage.clone()].concat(), type_id::DATA_AMF3);
        assert_eq!(message, DataMessage::Other(payload(&garbage)));
        let inner = [amf(&["@setDataFrame".into()]), garbage.clone()].concat();
        assert_eq!(read(inner, type_id::DATA_AMF0).0, DataMessage::Other(payload(&garbage)));
    }

    /// Nothing to set, nothing to clear with, nothing at all.
    #[test]
    fn what_is_not_handed_on() {
        let (message, counters) = read(amf(&["@setDataFrame".into()]), type_id::DATA_AMF0);
        assert_eq!((message, counters.messages_empty), (DataMessage::Nothing, 1));
        let clear = amf(&["@clearDataFrame".into(), "onMetaData".into()]);
        assert_eq!(read(clear, type_id::DATA_AMF0).0, DataMessage::ClearMetadata);
        assert_eq!(read(vec![0], type_id::DATA_AMF3).0, DataMessage::Nothing);
    }

    /// Metadata too long to be kept goes through like any other message.
    #[test]
    fn oversized_metadata_is_not_kept() {
        let long = [values(), vec![5; HEADER_BYTES_MAX]].concat();
        let (message, counters) = read(long.clone(), type_id::DATA_AMF0);
        assert_eq!((message, counters.headers_oversized), (DataMessage::Other(payload(&long)), 1));
    }

    proptest! {
        /// Any bytes: what is handed on is the end of what came, and never empty.
        #[test]
        fn what_is_handed_on_is_a_suffix(bytes: Vec<u8>, set: bool, amf3: bool) {
            let prefix = if set { amf(&["@setDataFrame".into()]) } else { Vec::new() };
            let bytes = [prefix, bytes].concat();
            let type_id = if amf3 { type_id::DATA_AMF3 } else { type_id::DATA_AMF0 };
            if let (DataMessage::Metadata(payload) | DataMessage::Other(payload), _) = read(bytes.clone(), type_id) {
                prop_assert!(!payload.is_empty() && bytes.ends_with(&payload.to_vec()));
            }
        }
    }
}
