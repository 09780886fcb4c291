//! The commands of real encoders and players, laid out by hand in the order in which they send their fields.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{Command, CommandKind, Connect, PlayTerms, PublishKind, data_name, parse};
use crate::rtmp::amf::Value;
use crate::rtmp::limits::AmfLimits;
use crate::rtmp::message::type_id;
use crate::rtmp::{Message, MessageHeader, Payload};

/// Bytes as an AMF0 writer puts them, without the writer under test.
#[derive(Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn call(name: &str, transaction: f64) -> Self {
        Self::default().string(name).number(transaction)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn key(self, name: &str) -> Self {
        let len = u16::try_from(name.len()).unwrap();
        self.raw(&len.to_be_bytes()).raw(name.as_bytes())
    }

    fn string(self, text: &str) -> Self {
        self.raw(b"\x02").key(text)
    }

    fn number(self, number: f64) -> Self {
        self.raw(b"\x00").raw(&number.to_be_bytes())
    }

    fn boolean(self, truth: bool) -> Self {
        self.raw(&[0x01, truth.into()])
    }

    fn null(self) -> Self {
        self.raw(b"\x05")
    }

    fn object(self) -> Self {
        self.raw(b"\x03")
    }

    fn end(self) -> Self {
        self.raw(b"\0\0\x09")
    }

    /// As it comes from a chunk reader with chunks of 128 bytes.
    fn payload(&self) -> Payload {
        self.0.chunks(128).map(Bytes::copy_from_slice).collect()
    }

    fn parse_as(&self, type_id: u8) -> Command {
        let header = MessageHeader { timestamp: 0, type_id, stream_id: 1 };
        let message = Message { header, payload: self.payload(), wire_bytes: 0 };
        parse(&message, &AmfLimits::default()).unwrap()
    }

    fn kind(&self) -> CommandKind {
        self.parse_as(type_id::COMMAND_AMF0).kind
    }

    fn connect(&self) -> Connect {
        let command = self.parse_as(type_id::COMMAND_AMF0);
        assert_eq!(command.transaction, 1.0);
        let CommandKind::Connect(connect) = command.kind else { panic!("{command:?}") };
        *connect
    }
}

#[test]
fn ffmpeg_publishes() {
    let connect = Wire::call("connect", 1.0)
        .object()
        .key("app")
        .string("live")
        .key("type")
        .string("nonprivate")
        .key("flashVer")
        .string("FMLE/3.0 (compatible; Lavf59.27.100)")
        .key("tcUrl")
        .string("rtmp://localhost:1935/live")
        .end()
        .connect();
    assert_eq!(connect.app, "live");
    assert_eq!(connect.tc_url, "rtmp://localhost:1935/live");
    assert_eq!(connect.flash_ver, "FMLE/3.0 (compatible; Lavf59.27.100)");
    assert_eq!((connect.swf_url.as_str(), connect.object_encoding), ("", 0.0));
    assert_eq!(connect.properties.property("type"), Some(&"nonprivate".into()));

    let name = || "stream".into();
    assert_eq!(
        Wire::call("releaseStream", 2.0).null().string("stream").kind(),
        CommandKind::ReleaseStream { name: name() }
    );
    assert_eq!(
        Wire::call("FCPublish", 3.0).null().string("stream").kind(),
        CommandKind::FcPublish { name: name() }
    );
    assert_eq!(Wire::call("createStream", 4.0).null().kind(), CommandKind::CreateStream);
    assert_eq!(
        Wire::call("publish", 5.0).null().string("stream").string("live").kind(),
        CommandKind::Publish { name: name(), kind: PublishKind::Live }
    );
    assert_eq!(
        Wire::call("FCUnpublish", 6.0).null().string("stream").kind(),
        CommandKind::FcUnpublish { name: name() }
    );
    assert_eq!(
        Wire::call("deleteStream", 7.0).null().number(1.0).kind(),
        CommandKind::DeleteStream { stream_id: 1.0 }
    );
}

/// With `-rtmp_enhanced_codecs`: a strict array of FourCC strings in the command object.
#[test]
fn ffmpeg_announces_enhanced_codecs() {
    let connect = Wire::call("connect", 1.0)
        .object()
        .key("app")
        .string("live")
        .key("type")
        .string("nonprivate")
        .key("flashVer")
        .string("FMLE/3.0 (compatible; Lavf62.0.100)")
        .key("tcUrl")
        .string("rtmp://localhost:1935/live")
        .key("fourCcList")
        .raw(b"\x0A\0\0\0\x02")
        .string("hvc1")
        .string("av01")
        .end()
        .connect();
    assert_eq!(
        connect.properties.property("fourCcList"),
        Some(&Value::StrictArray(["hvc1".into(), "av01".into()].into()))
    );
}

#[test]
fn ffmpeg_plays() {
    let connect = Wire::call("connect", 1.0)
        .object()
        .key("app")
        .string("live")
        .key("flashVer")
        .string("LNX 9,0,124,2")
        .key("tcUrl")
        .string("rtmp://localhost:1935/live")
        .key("fpad")
        .boolean(false)
        .key("capabilities")
        .number(15.0)
        .key("audioCodecs")
        .number(4071.0)
        .key("videoCodecs")
        .number(252.0)
        .key("videoFunction")
        .number(1.0)
        .end()
        .connect();
    assert_eq!(connect.flash_ver, "LNX 9,0,124,2");
    assert_eq!(connect.properties.properties().unwrap().len(), 8);
    assert_eq!(Wire::call("_checkbw", 3.0).null().kind(), CommandKind::CheckBandwidth);
    assert_eq!(
        Wire::call("getStreamLength", 3.0).null().string("stream").kind(),
        CommandKind::GetStreamLength { name: "stream".into() }
    );
    assert_eq!(
        Wire::call("play", 4.0).null().string("stream").number(-2000.0).kind(),
        CommandKind::Play {
            name: "stream".into(),
            terms: PlayTerms { start: Some(-2000.0), ..PlayTerms::default() }
        }
    );
}

/// OBS repeats tcUrl as swfUrl, and has the key in the name with whatever query the user pasted.
#[test]
fn obs_publishes() {
    let connect = Wire::call("connect", 1.0)
        .object()
        .key("app")
        .string("live")
        .key("type")
        .string("nonprivate")
        .key("flashVer")
        .string("FMLE/3.0 (compatible; FMSc/1.0)")
        .key("swfUrl")
        .string("rtmp://ingest.example.net/live")
        .key("tcUrl")
        .string("rtmp://ingest.example.net/live")
        .end()
        .connect();
    assert_eq!(
        (connect.swf_url, connect.flash_ver),
        (connect.tc_url, "FMLE/3.0 (compatible; FMSc/1.0)".into())
    );
    assert_eq!(
        Wire::call("publish", 5.0).null().string("key?auth=1").string("live").kind(),
        CommandKind::Publish { name: "key?auth=1".into(), kind: PublishKind::Live }
    );
}

/// A Flash player asks for AMF3; its `connect` itself is AMF0, with undefined URLs.
#[test]
fn a_flash_player_connects() {
    let connect = Wire::call("connect", 1.0)
        .object()
        .key("app")
        .string("live")
        .key("flashVer")
        .string("WIN 32,0,0,465")
        .key("swfUrl")
        .raw(b"\x06")
        .key("tcUrl")
        .string("rtmp://host/live")
        .key("fpad")
        .boolean(false)
        .key("capabilities")
        .number(239.0)
        .key("audioCodecs")
        .number(3575.0)
        .key("videoCodecs")
        .number(252.0)
        .key("videoFunction")
        .number(1.0)
        .key("pageUrl")
        .raw(b"\x06")
        .key("objectEncoding")
        .number(3.0)
        .end()
        .connect();
    assert_eq!((connect.object_encoding, connect.swf_url.as_str(), connect.page_url.as_str()), (3.0, "", ""));

    let play = Wire::default()
        .raw(b"\x00")
        .string("play")
        .number(0.0)
        .null()
        .string("stream")
        .parse_as(type_id::COMMAND_AMF3);
    assert_eq!(play.kind, CommandKind::Play { name: "stream".into(), terms: PlayTerms::default() });
}

#[test]
fn wirecast_unpublishes() {
    assert_eq!(Wire::call("publish", 0.0).null().boolean(false).kind(), CommandKind::Unpublish);
}

/// A Uniview camera: two numbers that mean nothing before the name of its metadata.
#[test]
fn a_camera_sends_stray_numbers() {
    let wire = Wire::default()
        .number(0.0)
        .number(0.0)
        .string("@setDataFrame")
        .string("onMetaData")
        .raw(b"\x08\0\0\0\x01")
        .key("width")
        .number(1920.0)
        .end();
    let found = data_name(&wire.payload(), type_id::DATA_AMF0).unwrap();
    assert_eq!((found.name.as_str(), found.stray_values), ("@setDataFrame", 2));
    let body = data_name(&wire.payload().skip(found.body_offset), type_id::DATA_AMF0).unwrap();
    assert_eq!((body.name.as_str(), body.name_offset), ("onMetaData", 0));
}
