//! From a command message to what it means.

use alloc::boxed::Box;
use alloc::string::String;

use super::data::format_bytes;
use super::{Command, CommandKind, Connect, PlayTerms, PublishKind, StreamName};
use crate::rtmp::amf::{Value, amf0};
use crate::rtmp::limits::AmfLimits;
use crate::rtmp::{Error, Message, PeerMisbehaved};

/// More than any value takes beside its text. The most is 17: a named AMF3 date or object with its lengths written in four
/// bytes where one would do.
const VALUE_OVERHEAD_BYTES_MAX: usize = 24;

/// Reads a command message: type 20, or type 17 with or without its format byte.
///
/// # Errors
/// See the module. The message may be of any length: what the budget could not hold is not gathered.
pub fn parse(message: &Message, limits: &AmfLimits) -> Result<Command, Error> {
    let readable =
        limits.bytes_max.saturating_add(limits.entries_max.saturating_mul(VALUE_OVERHEAD_BYTES_MAX));
    let bytes = message.payload.take(readable).to_bytes();
    let format_bytes = format_bytes(message.header.type_id, bytes.first().copied());
    let mut arguments = Arguments::new(bytes.get(format_bytes..).unwrap_or_default(), limits);

    let Some(Value::String(name)) = arguments.next()? else {
        return Err(PeerMisbehaved::CommandMalformed.into());
    };
    let transaction = arguments.transaction()?;
    let kind = kind(&name, &mut arguments, message.header.stream_id)?;
    Ok(Command { name, transaction, kind })
}

fn kind(name: &str, arguments: &mut Arguments<'_>, stream_id: u32) -> Result<CommandKind, Error> {
    Ok(match name {
        "connect" => {
            let properties = arguments.next_present()?.ok_or(PeerMisbehaved::CommandMalformed)?;
            CommandKind::Connect(Box::new(Connect::from_properties(properties)?))
        }
        "createStream" => CommandKind::CreateStream,
        "releaseStream" => CommandKind::ReleaseStream { name: arguments.optional_name()? },
        "FCPublish" => CommandKind::FcPublish { name: arguments.optional_name()? },
        "FCUnpublish" => CommandKind::FcUnpublish { name: arguments.optional_name()? },
        "publish" => match arguments.after_command_object()? {
            // Wirecast, and `NetStream.publish(false)`.
            Some(Value::Boolean(false)) => CommandKind::Unpublish,
            name => CommandKind::Publish {
                name: stream_name(name)?,
                kind: PublishKind::from_word(
                    arguments.next()?.as_ref().and_then(Value::as_str).unwrap_or_default(),
                ),
            },
        },
        "play" => match arguments.after_command_object()? {
            Some(Value::Boolean(false)) => CommandKind::CloseStream,
            name => CommandKind::Play {
                name: stream_name(name)?,
                terms: PlayTerms {
                    start: arguments.number()?,
                    duration: arguments.number()?,
                    reset: arguments
                        .next()?
                        .filter(|reset| *reset != Value::Null)
                        .map(|reset| resets(&reset)),
                },
            },
        },
        "play2" => play2(&arguments.next_object()?)?,
        "pause" | "pauseRaw" => CommandKind::Pause {
            pause: arguments.after_command_object()?.as_ref().and_then(Value::as_bool).unwrap_or(true),
            ms: arguments.number()?.unwrap_or(0.0),
        },
        "seek" => CommandKind::Seek { ms: arguments.first_number()?.unwrap_or(0.0) },
        "receiveAudio" => CommandKind::ReceiveAudio(arguments.first_boolean()?.unwrap_or(true)),
        "receiveVideo" => CommandKind::ReceiveVideo(arguments.first_boolean()?.unwrap_or(true)),
        "deleteStream" => {
            CommandKind::DeleteStream { stream_id: arguments.first_number()?.unwrap_or(stream_id.into()) }
        }
        "closeStream" => CommandKind::CloseStream,
        "FCSubscribe" => CommandKind::FcSubscribe { name: arguments.optional_name()? },
        "getStreamLength" => CommandKind::GetStreamLength { name: arguments.optional_name()? },
        "_checkbw" | "checkBandwidth" => CommandKind::CheckBandwidth,
        "_result" => {
            let (properties, info) = arguments.answer()?;
            CommandKind::Result { properties, info }
        }
        "_error" => {
            let (properties, info) = arguments.answer()?;
            CommandKind::Error { properties, info }
        }
        "onStatus" => CommandKind::OnStatus { info: arguments.next_object()? },
        "onBWDone" => CommandKind::OnBwDone,
        "onFCPublish" => CommandKind::OnFcPublish { info: arguments.next_object()? },
        "onFCUnpublish" => CommandKind::OnFcUnpublish { info: arguments.next_object()? },
        "onFCSubscribe" => CommandKind::OnFcSubscribe { info: arguments.next_object()? },
        "close" => CommandKind::Close,
        _ => CommandKind::Unknown,
    })
}

/// `play2` has its arguments in an object, the public properties of ActionScript's `NetStreamPlayOptions`.
fn play2(options: &Value) -> Result<CommandKind, Error> {
    let text = |name| options.property(name).and_then(Value::as_str).unwrap_or_default();
    Ok(CommandKind::Play2 {
        name: stream_name(options.property("streamName").cloned())?,
        old_name: text("oldStreamName").into(),
        transition: text("transition").into(),
    })
}

/// A boolean, or the numbers 0 to 3 of ActionScript, where 0 and 2 keep the playlist.
fn resets(reset: &Value) -> bool {
    match reset {
        Value::Boolean(reset) => *reset,
        other => !matches!(other.as_f64(), Some(0.0 | 2.0)),
    }
}

/// What a publish or play is about: a string, though it may be an empty one.
fn stream_name(value: Option<Value>) -> Result<StreamName, Error> {
    let Some(Value::String(name)) = value else {
        return Err(PeerMisbehaved::CommandMalformed.into());
    };
    names_a_stream(&name)?;
    Ok(name.into())
}

/// Names that differ in other encodings only would become one where AMF repairs them, so such a name is refused.
pub(super) fn names_a_stream(text: &str) -> Result<(), Error> {
    match text.contains(char::REPLACEMENT_CHARACTER) {
        true => Err(PeerMisbehaved::AmfUtf8.into()),
        false => Ok(()),
    }
}

/// The values of a command, read as they are asked for.
struct Arguments<'a> {
    decoder: amf0::Decoder<'a>,
    put_back: Option<Value>,
}

impl<'a> Arguments<'a> {
    fn new(bytes: &'a [u8], limits: &AmfLimits) -> Self {
        Self { decoder: amf0::Decoder::new(bytes, limits), put_back: None }
    }

    fn next(&mut self) -> Result<Option<Value>, Error> {
        match self.put_back.take() {
            Some(value) => Ok(Some(value)),
            None if self.decoder.is_empty() => Ok(None),
            None => self.decoder.value().map(Some),
        }
    }

    /// The second value of the message. What is no number there belongs to the arguments.
    fn transaction(&mut self) -> Result<f64, Error> {
        let value = self.next()?;
        let number = value.as_ref().and_then(Value::as_f64);
        if number.is_none() {
            self.put_back = value;
        }
        Ok(number.unwrap_or(0.0))
    }

    /// The next value that is not null.
    fn next_present(&mut self) -> Result<Option<Value>, Error> {
        loop {
            match self.next()? {
                Some(value) if value.is_null() => {}
                value => return Ok(value),
            }
        }
    }

    /// The first argument proper: behind the command object, which is null, missing, twice there, or an object.
    fn after_command_object(&mut self) -> Result<Option<Value>, Error> {
        loop {
            match self.next()? {
                Some(value) if value.is_null() || value.properties().is_some() => {}
                value => return Ok(value),
            }
        }
    }

    /// The next object, null if there is none.
    fn next_object(&mut self) -> Result<Value, Error> {
        loop {
            match self.next()? {
                None => return Ok(Value::Null),
                Some(value) if value.properties().is_some() => return Ok(value),
                Some(_) => {}
            }
        }
    }

    fn optional_name(&mut self) -> Result<StreamName, Error> {
        Ok(match self.after_command_object()? {
            Some(Value::String(name)) => name,
            _ => String::new(),
        }
        .into())
    }

    fn first_number(&mut self) -> Result<Option<f64>, Error> {
        Ok(self.after_command_object()?.as_ref().and_then(Value::as_f64))
    }

    fn first_boolean(&mut self) -> Result<Option<bool>, Error> {
        Ok(self.after_command_object()?.as_ref().and_then(Value::as_bool))
    }

    fn number(&mut self) -> Result<Option<f64>, Error> {
        Ok(self.next()?.as_ref().and_then(Value::as_f64))
    }

    /// The two arguments of `_result` and `_error`, null where they are missing. The first is an object or null, so that
    /// anything else is the second already.
    fn answer(&mut self) -> Result<(Value, Value), Error> {
        let properties = self.next()?.unwrap_or(Value::Null);
        if !properties.is_null() && properties.properties().is_none() {
            return Ok((Value::Null, properties));
        }
        Ok((properties, self.next()?.unwrap_or(Value::Null)))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use bytes::{Bytes, BytesMut};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::write;
    use super::*;
    use crate::rtmp::message::type_id;
    use crate::rtmp::{MessageHeader, Payload, PeerUnsupported};

    const LIMITS: AmfLimits = AmfLimits { depth_max: 32, entries_max: 4096, bytes_max: 256 * 1024 };

    fn message(type_id: u8, payload: impl Into<Payload>) -> Message {
        let header = MessageHeader { timestamp: 0, type_id, stream_id: 5 };
        Message { header, payload: payload.into(), wire_bytes: 0 }
    }

    fn encode(values: &[Value]) -> Bytes {
        let mut out = BytesMut::new();
        values.iter().for_each(|value| amf0::write(value, &mut out).unwrap());
        out.freeze()
    }

    fn parse_values(values: &[Value]) -> Result<Command, Error> {
        parse(&message(type_id::COMMAND_AMF0, encode(values)), &LIMITS)
    }

    fn kind_of(values: &[Value]) -> CommandKind {
        parse_values(values).unwrap().kind
    }

    fn malformed<T>() -> Result<T, Error> {
        Err(PeerMisbehaved::CommandMalformed.into())
    }

    fn live(name: &str) -> CommandKind {
        CommandKind::Publish { name: name.into(), kind: PublishKind::Live }
    }

    #[test]
    fn publish_in_all_the_forms_it_comes_in() {
        let null = || Value::Null;
        let publish = |arguments: &[Value]| kind_of(&[&["publish".into(), 5.0.into()], arguments].concat());
        assert_eq!(publish(&[null(), "key".into(), "live".into()]), live("key"));
        assert_eq!(publish(&[null(), "key".into()]), live("key"), "no type");
        assert_eq!(publish(&[null(), "key".into(), "LIVE".into()]), live("key"));
        assert_eq!(publish(&[null(), "key".into(), "default".into()]), live("key"), "unknown type");
        assert_eq!(publish(&[null(), "key".into(), 1.0.into()]), live("key"), "type is no string");
        assert_eq!(publish(&["key".into(), "live".into()]), live("key"), "no null");
        assert_eq!(publish(&[null(), null(), "key".into()]), live("key"), "two nulls");
        assert_eq!(publish(&[Value::Undefined, "key".into()]), live("key"), "undefined for null");
        assert_eq!(publish(&[Value::object([]), "key".into()]), live("key"), "an object for null");
        assert_eq!(publish(&[null(), "".into()]), live(""), "empty name");
        for (word, kind) in [("record", PublishKind::Record), ("Append", PublishKind::Append)] {
            let name = "key".into();
            assert_eq!(publish(&[null(), "key".into(), word.into()]), CommandKind::Publish { name, kind });
        }
        assert_eq!(publish(&[null(), false.into()]), CommandKind::Unpublish);
        assert_eq!(kind_of(&["publish".into(), null(), "key".into()]), live("key"), "no transaction");
        assert_eq!(kind_of(&["publish".into(), "key".into()]), live("key"), "neither transaction nor null");
    }

    #[test]
    fn play_with_and_without_its_optional_arguments() {
        let play =
            |arguments: &[Value]| kind_of(&[&["play".into(), 0.0.into(), Value::Null], arguments].concat());
        let expected = |name: &str, start, duration, reset| CommandKind::Play {
            name: name.into(),
            terms: PlayTerms { start, duration, reset },
        };
        assert_eq!(play(&["key".into()]), expected("key", None, None, None));
        assert_eq!(play(&["".into(), (-2000.0).into()]), expected("", Some(-2000.0), None, None));
        assert_eq!(
            play(&["key".into(), 1.0.into(), 2.0.into(), false.into()]),
            expected("key", Some(1.0), Some(2.0), Some(false))
        );
        assert_eq!(
            play(&["key".into(), Value::Null, Value::Null, 2.0.into()]),
            expected("key", None, None, Some(false))
        );
        assert_eq!(
            play(&["key".into(), "x".into(), true.into(), 3.0.into()]),
            expected("key", None, None, Some(true))
        );
        assert_eq!(
            play(&["key".into(), Value::Null, 2.0.into(), Value::Null]),
            expected("key", None, Some(2.0), None)
        );
        assert_eq!(play(&[false.into()]), CommandKind::CloseStream);
    }

    #[test]
    fn a_stream_that_is_not_named_is_refused() {
        for name in ["publish", "play"] {
            assert_eq!(parse_values(&[name.into(), 1.0.into(), Value::Null]), malformed());
            assert_eq!(parse_values(&[name.into(), 1.0.into(), Value::Null, 3.0.into()]), malformed());
            assert_eq!(parse_values(&[name.into()]), malformed());
        }
        assert_eq!(parse_values(&["publish".into(), 1.0.into(), Value::Null, true.into()]), malformed());
        assert_eq!(parse_values(&["play2".into(), 1.0.into(), Value::Null]), malformed());
        assert_eq!(parse_values(&["connect".into(), 1.0.into(), Value::Null]), malformed());
        assert_eq!(parse_values(&["connect".into(), 1.0.into(), "live".into()]), malformed());
    }

    /// Two names that differ only in bytes that are no UTF-8 must not become the same stream.
    #[test]
    fn a_stream_named_in_another_encoding_is_refused_but_a_title_is_not() {
        let named =
            |bytes: &[u8]| parse(&message(type_id::COMMAND_AMF0, Bytes::copy_from_slice(bytes)), &LIMITS);
        let latin_1 = b"\x02\x00\x07publish\x00\0\0\0\0\0\0\0\0\x05\x02\x00\x02k\xE9";
        assert_eq!(named(latin_1), Err(PeerMisbehaved::AmfUtf8.into()));
        let app = b"\x02\x00\x07connect\x00\0\0\0\0\0\0\0\0\x03\x00\x03app\x02\x00\x02k\xE9\0\0\x09";
        assert_eq!(named(app), Err(PeerMisbehaved::AmfUtf8.into()));
        let version = b"\x02\x00\x07connect\x00\0\0\0\0\0\0\0\0\x03\x00\x08flashVer\x02\x00\x02k\xE9\0\0\x09";
        assert!(named(version).is_ok());
    }

    #[test]
    fn a_missing_stream_id_is_the_one_that_the_command_came_on() {
        let delete =
            |arguments: &[Value]| kind_of(&[&["deleteStream".into(), 7.0.into()], arguments].concat());
        assert_eq!(delete(&[Value::Null, 1.0.into()]), CommandKind::DeleteStream { stream_id: 1.0 });
        assert_eq!(delete(&[1.0.into()]), CommandKind::DeleteStream { stream_id: 1.0 });
        assert_eq!(delete(&[Value::Null]), CommandKind::DeleteStream { stream_id: 5.0 });
        assert_eq!(delete(&[]), CommandKind::DeleteStream { stream_id: 5.0 });
    }

    #[test]
    fn names_that_only_announce_may_be_missing() {
        for (name, kind) in [
            ("releaseStream", CommandKind::ReleaseStream { name: "".into() }),
            ("FCPublish", CommandKind::FcPublish { name: "".into() }),
            ("FCUnpublish", CommandKind::FcUnpublish { name: "".into() }),
            ("FCSubscribe", CommandKind::FcSubscribe { name: "".into() }),
            ("getStreamLength", CommandKind::GetStreamLength { name: "".into() }),
        ] {
            assert_eq!(kind_of(&[name.into(), 2.0.into()]), kind);
            assert_eq!(kind_of(&[name.into(), 2.0.into(), Value::Null, 5.0.into()]), kind);
        }
    }

    #[test]
    fn answers_with_missing_arguments() {
        let result = |arguments: &[Value]| kind_of(&[&["_result".into(), 4.0.into()], arguments].concat());
        let expected = |properties, info| CommandKind::Result { properties, info };
        assert_eq!(result(&[Value::Null, 1.0.into()]), expected(Value::Null, 1.0.into()));
        assert_eq!(result(&[1.0.into()]), expected(Value::Null, 1.0.into()));
        assert_eq!(result(&[Value::Undefined]), expected(Value::Undefined, Value::Null));
        assert_eq!(result(&[]), expected(Value::Null, Value::Null));
        assert_eq!(kind_of(&["onStatus".into(), 0.0.into()]), CommandKind::OnStatus { info: Value::Null });
    }

    #[test]
    fn other_words_for_the_same() {
        assert_eq!(kind_of(&["checkBandwidth".into(), 1.0.into()]), CommandKind::CheckBandwidth);
        assert_eq!(
            kind_of(&["pauseRaw".into(), 0.0.into(), Value::Null, false.into(), 40.0.into()]),
            CommandKind::Pause { pause: false, ms: 40.0 }
        );
        assert_eq!(kind_of(&["close".into()]), CommandKind::Close);
    }

    #[test]
    fn an_unknown_command_keeps_its_name_and_transaction_and_is_read_no_further() {
        let mut bytes = BytesMut::from(&encode(&["doThat".into(), 9.0.into()])[..]);
        bytes.extend_from_slice(b"\xFF\xFF");
        let command = parse(&message(type_id::COMMAND_AMF0, bytes.freeze()), &LIMITS).unwrap();
        assert_eq!(command, Command { name: "doThat".into(), transaction: 9.0, kind: CommandKind::Unknown });
    }

    #[test]
    fn type_17_with_and_without_its_format_byte_and_with_amf3_inside() {
        let amf0 = encode(&["publish".into(), 5.0.into(), Value::Null, "key".into()]);
        let with_format = Bytes::from([&[0], &amf0[..]].concat());
        for payload in [amf0, with_format] {
            assert_eq!(parse(&message(type_id::COMMAND_AMF3, payload), &LIMITS).unwrap().kind, live("key"));
        }
        // connect, 1, {app: "live", objectEncoding: 3} with all but the name switched to AMF3.
        let switched = b"\x00\x02\x00\x07connect\x11\x04\x01\
            \x11\x0A\x0B\x01\x07app\x06\x09live\x1DobjectEncoding\x04\x03\x01";
        let command = parse(&message(type_id::COMMAND_AMF3, Bytes::from_static(switched)), &LIMITS).unwrap();
        assert_eq!(command.transaction, 1.0);
        let CommandKind::Connect(connect) = command.kind else { panic!("{command:?}") };
        assert_eq!((connect.app.as_str(), connect.object_encoding), ("live", 3.0));
        // Externalizable arguments are refused by name.
        let externalizable = b"\x00\x02\x00\x04play\x11\x04\x01\x11\x0A\x07\x03E";
        assert_eq!(
            parse(&message(type_id::COMMAND_AMF3, Bytes::from_static(externalizable)), &LIMITS),
            Err(PeerUnsupported::AmfExternalizable.into())
        );
    }

    #[test]
    fn what_is_no_command_is_refused_by_name() {
        assert_eq!(parse_values(&[]), malformed());
        assert_eq!(parse_values(&[1.0.into(), "publish".into()]), malformed());
        let cut = encode(&["connect".into(), 1.0.into(), Value::object([("app", "live".into())])]);
        let cut = message(type_id::COMMAND_AMF0, cut.slice(..cut.len() - 4));
        assert_eq!(parse(&cut, &LIMITS), Err(PeerMisbehaved::AmfTruncated.into()));
    }

    /// A value that uses the whole budget must not be cut short by the bound on what is gathered.
    #[test]
    fn the_largest_command_within_the_budget_is_gathered_whole() {
        let limits = AmfLimits { depth_max: 8, entries_max: 64, bytes_max: 64 };
        let typed = |_| Value::TypedObject { class: "".into(), properties: [].into() };
        let dates = |_| Value::Date { ms: 0.0, time_zone: 0 };
        for filler in [typed as fn(usize) -> Value, dates] {
            // 64 entries are the name, the transaction, the object, the array and 60 items.
            let items: Vec<Value> = (0..61).map(filler).collect();
            let object = Value::object([("items", Value::StrictArray(items))]);
            let bytes = encode(&["connect".into(), 1.0.into(), object.clone()]);
            let result = parse(&message(type_id::COMMAND_AMF0, bytes), &limits);
            assert_eq!(result, Err(PeerMisbehaved::AmfEntries.into()), "one too many");
            let Value::Object(mut properties) = object else { unreachable!() };
            if let Value::StrictArray(items) = &mut properties[0].1 {
                items.pop();
            }
            let bytes = encode(&["connect".into(), 1.0.into(), Value::Object(properties)]);
            assert!(parse(&message(type_id::COMMAND_AMF0, bytes), &limits).is_ok());
        }
    }

    fn some_command() -> impl Strategy<Value = Message> {
        let name = "[a-z]{0,8}";
        prop_oneof![
            name.prop_map(|app| write::connect(Value::object([("app", app.into())]))),
            name.prop_map(|name| write::publish(1, 5.0, &name, PublishKind::Live)),
            name.prop_map(|name| write::play(1, 5.0, &name, -2.0, -1.0, true)),
            name.prop_map(|name| write::play2(1, 5.0, &name, "old", "switch")),
            Just(write::connect_result(1.0, 0.0, &[])),
            Just(write::on_status(1, "status", "NetStream.Play.Start", "")),
        ]
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            type_17 in any::<bool>(),
            bytes in vec(prop_oneof![3 => 0..0x14_u8, 1 => any::<u8>()], 0..200),
            slice_len in 1..20_usize,
        ) {
            let type_id = if type_17 { type_id::COMMAND_AMF3 } else { type_id::COMMAND_AMF0 };
            let payload: Payload = bytes.chunks(slice_len).map(Bytes::copy_from_slice).collect();
            let _ = parse(&message(type_id, payload.clone()), &LIMITS);
            let _ = super::super::data_name(&payload, type_id);
        }

        #[test]
        fn no_changed_command_makes_it_panic(
            command in some_command(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = command.payload.to_vec();
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            bytes.truncate(1 + cut.index(bytes.len()));
            let _ = parse(&message(type_id::COMMAND_AMF0, Bytes::from(bytes)), &LIMITS);
        }
    }
}
