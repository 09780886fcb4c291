//! The messages that clients and servers send: one function for each.
//!
//! All are AMF0 (types 20 and 18), which every peer reads whatever object encoding it asked for, with timestamp 0.
//! A value that AMF0 cannot say is sent as `unsupported`, as AMF0 §2.15 has it; only values that the caller passes in can
//! be such.

use bytes::BytesMut;

use super::{PublishKind, level};
use crate::rtmp::amf::{Value, amf0};
use crate::rtmp::message::type_id;
use crate::rtmp::{Message, MessageHeader};

/// The version that we claim in answer to `connect`. Some clients read its numbers, so it looks like Flash Media Server's.
const FMS_VERSION: &str = "FMS/3,0,1,123";

/// Capability bits that Flash Media Server 3 sends; no client in use reads them.
const CAPABILITIES: f64 = 31.0;

/// The message stream of everything that concerns the connection.
const CONNECTION: u32 = 0;

/// Any command: name, transaction, then the arguments, of which the first is the command object.
pub fn call(stream_id: u32, name: &str, transaction: f64, arguments: &[Value]) -> Message {
    let mut out = BytesMut::new();
    append(&name.into(), &mut out);
    append(&transaction.into(), &mut out);
    arguments.iter().for_each(|argument| append(argument, &mut out));
    message(type_id::COMMAND_AMF0, stream_id, 0, out)
}

/// Any data message, its name first.
pub fn data(stream_id: u32, timestamp: u32, values: &[Value]) -> Message {
    let mut out = BytesMut::new();
    values.iter().for_each(|value| append(value, &mut out));
    message(type_id::DATA_AMF0, stream_id, timestamp, out)
}

// What a client sends.

/// `connect`, with its command object: app, flashVer, tcUrl and so on.
pub fn connect(properties: Value) -> Message {
    call(CONNECTION, "connect", 1.0, &[properties])
}

/// `releaseStream`.
pub fn release_stream(transaction: f64, name: &str) -> Message {
    call(CONNECTION, "releaseStream", transaction, &[Value::Null, name.into()])
}

/// `FCPublish`.
pub fn fc_publish(transaction: f64, name: &str) -> Message {
    call(CONNECTION, "FCPublish", transaction, &[Value::Null, name.into()])
}

/// `FCUnpublish`.
pub fn fc_unpublish(transaction: f64, name: &str) -> Message {
    call(CONNECTION, "FCUnpublish", transaction, &[Value::Null, name.into()])
}

/// `FCSubscribe`.
pub fn fc_subscribe(transaction: f64, name: &str) -> Message {
    call(CONNECTION, "FCSubscribe", transaction, &[Value::Null, name.into()])
}

/// `createStream`.
pub fn create_stream(transaction: f64) -> Message {
    call(CONNECTION, "createStream", transaction, &[Value::Null])
}

/// `getStreamLength`.
pub fn get_stream_length(transaction: f64, name: &str) -> Message {
    call(CONNECTION, "getStreamLength", transaction, &[Value::Null, name.into()])
}

/// `_checkbw`.
pub fn check_bandwidth(transaction: f64) -> Message {
    call(CONNECTION, "_checkbw", transaction, &[Value::Null])
}

/// `publish` on a message stream.
pub fn publish(stream_id: u32, transaction: f64, name: &str, kind: PublishKind) -> Message {
    call(stream_id, "publish", transaction, &[Value::Null, name.into(), kind.as_str().into()])
}

/// `publish(false)`: the end of publishing.
pub fn unpublish(stream_id: u32, transaction: f64) -> Message {
    call(stream_id, "publish", transaction, &[Value::Null, false.into()])
}

/// `play` on a message stream; `start` and `duration` in seconds, -2 (live, else recorded) and -1 (to the end) as a rule.
pub fn play(stream_id: u32, transaction: f64, name: &str, start: f64, duration: f64, reset: bool) -> Message {
    let arguments = [Value::Null, name.into(), start.into(), duration.into(), reset.into()];
    call(stream_id, "play", transaction, &arguments)
}

/// `play2`: change from one rendition to another.
pub fn play2(stream_id: u32, transaction: f64, name: &str, old_name: &str, transition: &str) -> Message {
    let options = Value::object([
        ("streamName", name.into()),
        ("oldStreamName", old_name.into()),
        ("transition", transition.into()),
    ]);
    call(stream_id, "play2", transaction, &[Value::Null, options])
}

/// `pause`, with the player's stream time.
pub fn pause(stream_id: u32, transaction: f64, pause: bool, ms: f64) -> Message {
    call(stream_id, "pause", transaction, &[Value::Null, pause.into(), ms.into()])
}

/// `seek` to a stream time.
pub fn seek(stream_id: u32, transaction: f64, ms: f64) -> Message {
    call(stream_id, "seek", transaction, &[Value::Null, ms.into()])
}

/// `receiveAudio`.
pub fn receive_audio(stream_id: u32, receive: bool) -> Message {
    call(stream_id, "receiveAudio", 0.0, &[Value::Null, receive.into()])
}

/// `receiveVideo`.
pub fn receive_video(stream_id: u32, receive: bool) -> Message {
    call(stream_id, "receiveVideo", 0.0, &[Value::Null, receive.into()])
}

/// `closeStream` on a message stream.
pub fn close_stream(stream_id: u32) -> Message {
    call(stream_id, "closeStream", 0.0, &[Value::Null])
}

/// `deleteStream`.
pub fn delete_stream(transaction: f64, stream_id: u32) -> Message {
    call(CONNECTION, "deleteStream", transaction, &[Value::Null, f64::from(stream_id).into()])
}

/// `@setDataFrame "onMetaData"` with the metadata.
pub fn set_data_frame(stream_id: u32, timestamp: u32, metadata: Value) -> Message {
    data(stream_id, timestamp, &["@setDataFrame".into(), "onMetaData".into(), metadata])
}

// What a server sends.

/// `_result` of `connect`. Further properties, such as Enhanced RTMP capabilities, follow in the information object.
pub fn connect_result(transaction: f64, object_encoding: f64, extra: &[(&str, Value)]) -> Message {
    let properties = Value::object([("fmsVer", FMS_VERSION.into()), ("capabilities", CAPABILITIES.into())]);
    let mut info = information(level::STATUS, "NetConnection.Connect.Success", "Connection succeeded.");
    info.push(("objectEncoding".into(), object_encoding.into()));
    info.extend(extra.iter().map(|(name, value)| ((*name).into(), value.clone())));
    call(CONNECTION, "_result", transaction, &[properties, Value::Object(info)])
}

/// `_result` of `createStream`.
pub fn create_stream_result(transaction: f64, stream_id: u32) -> Message {
    number_result(transaction, stream_id.into())
}

/// `_result` with a number: of `getStreamLength`, say.
pub fn number_result(transaction: f64, number: f64) -> Message {
    call(CONNECTION, "_result", transaction, &[Value::Null, number.into()])
}

/// `_result` that says nothing but that the call was heard.
pub fn empty_result(transaction: f64) -> Message {
    call(CONNECTION, "_result", transaction, &[Value::Null, Value::Undefined])
}

/// `_error` with a code such as `NetConnection.Connect.Rejected`.
pub fn error(transaction: f64, code: &str, description: &str) -> Message {
    let info = Value::Object(information(level::ERROR, code, description));
    call(CONNECTION, "_error", transaction, &[Value::Null, info])
}

/// `onStatus` on a message stream; on 0 it concerns the connection.
pub fn on_status(stream_id: u32, level: &str, code: &str, description: &str) -> Message {
    on_status_with(stream_id, level, code, description, &[])
}

/// `onStatus` with further properties in its information object.
pub fn on_status_with(
    stream_id: u32,
    level: &str,
    code: &str,
    description: &str,
    extra: &[(&str, Value)],
) -> Message {
    let mut info = information(level, code, description);
    info.extend(extra.iter().map(|(name, value)| ((*name).into(), value.clone())));
    call(stream_id, "onStatus", 0.0, &[Value::Null, Value::Object(info)])
}

/// `NetConnection.Connect.ReconnectRequest` (E-RTMP v2 "Reconnect Request"). Without a `tc_url` the client comes back to the URL that
/// it has.
pub fn reconnect_request(tc_url: Option<&str>, description: &str) -> Message {
    let code = "NetConnection.Connect.ReconnectRequest";
    let extra = tc_url.map(|tc_url| ("tcUrl", Value::from(tc_url)));
    on_status_with(CONNECTION, level::STATUS, code, description, extra.as_slice())
}

/// `onBWDone`: the way is measured, or nobody wants to measure it.
pub fn on_bw_done() -> Message {
    call(CONNECTION, "onBWDone", 0.0, &[Value::Null])
}

/// `onFCPublish`: the answer to `FCPublish`. FMLE does not publish without it.
pub fn on_fc_publish(name: &str) -> Message {
    fc_status("onFCPublish", "NetStream.Publish.Start", name)
}

/// `onFCUnpublish`: the answer to `FCUnpublish`.
pub fn on_fc_unpublish(name: &str) -> Message {
    fc_status("onFCUnpublish", "NetStream.Unpublish.Success", name)
}

/// `onFCSubscribe`: the answer to `FCSubscribe`.
pub fn on_fc_subscribe(name: &str) -> Message {
    fc_status("onFCSubscribe", "NetStream.Play.Start", name)
}

/// `|RtmpSampleAccess`: a Flash player may read the samples of what it plays.
pub fn sample_access(stream_id: u32) -> Message {
    data(stream_id, 0, &["|RtmpSampleAccess".into(), true.into(), true.into()])
}

fn fc_status(call_name: &str, code: &str, stream: &str) -> Message {
    let info = Value::Object(information(level::STATUS, code, stream));
    call(CONNECTION, call_name, 0.0, &[Value::Null, info])
}

fn information(
    level: &str,
    code: &str,
    description: &str,
) -> alloc::vec::Vec<(alloc::string::String, Value)> {
    [("level", level), ("code", code), ("description", description)]
        .map(|(name, text)| (name.into(), text.into()))
        .into()
}

fn append(value: &Value, out: &mut BytesMut) {
    if amf0::write(value, out).is_err() {
        // Cannot fail: it is one byte.
        let _ = amf0::write(&Value::Unsupported, out);
    }
}

fn message(type_id: u8, stream_id: u32, timestamp: u32, out: BytesMut) -> Message {
    Message {
        header: MessageHeader { timestamp, type_id, stream_id },
        payload: out.freeze().into(),
        wire_bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CommandKind, PlayTerms, Status, data_name, parse};
    use super::*;
    use crate::rtmp::limits::AmfLimits;

    fn read(message: &Message) -> (f64, CommandKind) {
        assert_eq!((message.header.type_id, message.header.timestamp), (type_id::COMMAND_AMF0, 0));
        let command = parse(message, &AmfLimits::default()).unwrap();
        (command.transaction, command.kind)
    }

    #[test]
    fn what_a_client_sends_is_what_a_server_reads() {
        let name = || "key?token=1".into();
        let (start, duration, reset) = (-2.0, -1.0, true);
        let cases = [
            (0, create_stream(2.0), CommandKind::CreateStream),
            (0, release_stream(2.0, "key?token=1"), CommandKind::ReleaseStream { name: name() }),
            (0, fc_publish(2.0, "key?token=1"), CommandKind::FcPublish { name: name() }),
            (0, fc_unpublish(2.0, "key?token=1"), CommandKind::FcUnpublish { name: name() }),
            (0, fc_subscribe(2.0, "key?token=1"), CommandKind::FcSubscribe { name: name() }),
            (0, get_stream_length(2.0, "key?token=1"), CommandKind::GetStreamLength { name: name() }),
            (0, check_bandwidth(2.0), CommandKind::CheckBandwidth),
            (
                1,
                publish(1, 2.0, "key?token=1", PublishKind::Append),
                CommandKind::Publish { name: name(), kind: PublishKind::Append },
            ),
            (1, unpublish(1, 2.0), CommandKind::Unpublish),
            (
                1,
                play(1, 2.0, "key?token=1", start, duration, reset),
                CommandKind::Play {
                    name: name(),
                    terms: PlayTerms { start: Some(start), duration: Some(duration), reset: Some(reset) },
                },
            ),
            (
                1,
                play2(1, 2.0, "key?token=1", "old", "switch"),
                CommandKind::Play2 { name: name(), old_name: "old".into(), transition: "switch".into() },
            ),
            (1, pause(1, 2.0, false, 40.0), CommandKind::Pause { pause: false, ms: 40.0 }),
            (1, seek(1, 2.0, 40.0), CommandKind::Seek { ms: 40.0 }),
            (0, delete_stream(2.0, 7), CommandKind::DeleteStream { stream_id: 7.0 }),
        ];
        for (stream_id, message, kind) in cases {
            assert_eq!(message.header.stream_id, stream_id, "{kind:?}");
            assert_eq!(read(&message), (2.0, kind));
        }
        assert_eq!(read(&receive_audio(1, false)), (0.0, CommandKind::ReceiveAudio(false)));
        assert_eq!(read(&receive_video(1, true)), (0.0, CommandKind::ReceiveVideo(true)));
        assert_eq!(read(&close_stream(1)), (0.0, CommandKind::CloseStream));
    }

    #[test]
    fn connect_keeps_its_whole_command_object() {
        let properties = Value::object([
            ("app", "live".into()),
            ("tcUrl", "rtmp://host/live".into()),
            ("videoFourCcInfoMap", Value::object([("*", 4.0.into())])),
        ]);
        let (transaction, CommandKind::Connect(connect)) = read(&connect(properties.clone())) else {
            panic!("not connect")
        };
        assert_eq!(
            (transaction, connect.app.as_str(), connect.tc_url.as_str()),
            (1.0, "live", "rtmp://host/live")
        );
        assert_eq!(connect.properties, properties);
    }

    #[test]
    fn what_a_server_sends_is_what_a_client_reads() {
        let (_, CommandKind::Result { properties, info }) =
            read(&connect_result(1.0, 3.0, &[("capsEx", 1.0.into())]))
        else {
            panic!("not _result")
        };
        assert_eq!(properties.property("fmsVer"), Some(&FMS_VERSION.into()));
        assert_eq!(properties.property("capabilities"), Some(&CAPABILITIES.into()));
        assert_eq!(Status::of(&info).code, "NetConnection.Connect.Success");
        assert_eq!(info.property("objectEncoding"), Some(&3.0.into()));
        assert_eq!(info.property("capsEx"), Some(&1.0.into()));

        let result = |info| CommandKind::Result { properties: Value::Null, info };
        assert_eq!(read(&create_stream_result(4.0, 1)), (4.0, result(1.0.into())));
        assert_eq!(read(&number_result(4.0, 1.5)), (4.0, result(1.5.into())));
        assert_eq!(read(&empty_result(4.0)), (4.0, result(Value::Undefined)));
        assert_eq!(read(&on_bw_done()), (0.0, CommandKind::OnBwDone));

        let (transaction, CommandKind::Error { info, .. }) =
            read(&error(1.0, "NetConnection.Connect.Rejected", "no such app"))
        else {
            panic!("not _error")
        };
        let expected =
            Status { level: "error", code: "NetConnection.Connect.Rejected", description: "no such app" };
        assert_eq!((transaction, Status::of(&info)), (1.0, expected));
        assert!(expected.is_error());
    }

    #[test]
    fn a_status_is_laid_out_as_servers_do() {
        let message = on_status(1, level::STATUS, "NetStream.Publish.Start", "Publishing.");
        assert_eq!(message.header.stream_id, 1);
        assert_eq!(
            message.payload.to_vec(),
            b"\x02\x00\x08onStatus\x00\0\0\0\0\0\0\0\0\x05\x03\
              \x00\x05level\x02\x00\x06status\
              \x00\x04code\x02\x00\x17NetStream.Publish.Start\
              \x00\x0Bdescription\x02\x00\x0BPublishing.\0\0\x09"
        );
    }

    /// The four properties of E-RTMP v2 "Reconnect Request", with the level and on the message stream that they are to have.
    #[test]
    fn a_reconnect_request_has_a_tc_url_only_when_it_leads_elsewhere() {
        for tc_url in [Some("rtmp://other:1935/live"), None] {
            let message = reconnect_request(tc_url, "The streaming server is undergoing updates.");
            assert_eq!(message.header.stream_id, 0);
            let (transaction, CommandKind::OnStatus { info }) = read(&message) else {
                panic!("not onStatus")
            };
            assert_eq!(transaction, 0.0);
            let expected = Status {
                level: "status",
                code: "NetConnection.Connect.ReconnectRequest",
                description: "The streaming server is undergoing updates.",
            };
            assert_eq!(Status::of(&info), expected);
            assert_eq!(info.property("tcUrl").and_then(Value::as_str), tc_url);
        }
    }

    #[test]
    fn the_answers_to_fc_calls_name_the_stream() {
        for (message, code) in [
            (on_fc_publish("key"), "NetStream.Publish.Start"),
            (on_fc_unpublish("key"), "NetStream.Unpublish.Success"),
            (on_fc_subscribe("key"), "NetStream.Play.Start"),
        ] {
            let (CommandKind::OnFcPublish { info }
            | CommandKind::OnFcUnpublish { info }
            | CommandKind::OnFcSubscribe { info }) = read(&message).1
            else {
                panic!("no answer to an FC call")
            };
            assert_eq!(Status::of(&info), Status { level: "status", code, description: "key" });
        }
    }

    #[test]
    fn data_messages_begin_with_their_name() {
        for (message, name) in
            [(set_data_frame(1, 7, Value::Null), "@setDataFrame"), (sample_access(1), "|RtmpSampleAccess")]
        {
            assert_eq!((message.header.type_id, message.header.stream_id), (type_id::DATA_AMF0, 1));
            assert_eq!(data_name(&message.payload, type_id::DATA_AMF0).unwrap().name, name);
        }
        assert_eq!(set_data_frame(1, 7, Value::Null).header.timestamp, 7);
    }

    #[test]
    fn an_argument_that_amf0_cannot_say_is_sent_as_unsupported() {
        let endless = (0..1000).fold(Value::Null, |inner, _| Value::StrictArray([inner].into()));
        assert_eq!(call(0, "f", 0.0, &[endless]), call(0, "f", 0.0, &[Value::Unsupported]));
    }
}
