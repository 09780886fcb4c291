//! What both ends say of their Enhanced RTMP and of AMF3, and what a peer is asked that understands.

use super::peer::*;
use crate::rtmp::amf::Value;
use crate::rtmp::command::{self, CommandKind, Status, write};
use crate::rtmp::message::type_id;
use crate::rtmp::{Error, FourCc, Limits, Message, PeerUnsupported};
use crate::session::status::code;
use crate::session::*;

/// `connect` to `live` with further properties.
fn connect_with<const N: usize>(extra: [(&str, Value); N]) -> Message {
    let mut properties = vec![("app".into(), "live".into()), ("tcUrl".into(), "rtmp://host/live".into())];
    properties.extend(extra.map(|(name, value)| (name.into(), value)));
    write::connect(Value::Object(properties))
}

/// A peer that has said this in `connect`, and the information object of the answer.
fn answered(connect: &Message) -> (Peer, Value) {
    let mut peer = Peer::new(ServerSettings::default());
    peer.shake_hands();
    peer.say(connect);
    let last = peer.heard.last().expect("an answer");
    let answer = command::parse(last, &Limits::default().amf).unwrap();
    peer.forget();
    match answer.kind {
        CommandKind::Result { info, .. } | CommandKind::Error { info, .. } => (peer, info),
        other => panic!("{other:?}"),
    }
}

/// What was asked of the peer: tcUrl of each request to connect again.
fn reconnect_requests(peer: &mut Peer) -> Vec<Option<String>> {
    let told = std::mem::take(&mut peer.heard);
    let request = |message: &Message| {
        let command = command::parse(message, &Limits::default().amf).unwrap();
        let CommandKind::OnStatus { info } = command.kind else { panic!("{command:?}") };
        assert_eq!(Status::of(&info).code, code::CONNECT_RECONNECT_REQUEST);
        assert_eq!((message.header.stream_id, command.transaction), (0, 0.0));
        info.property("tcUrl").and_then(Value::as_str).map(String::from)
    };
    told.iter().map(request).collect()
}

/// Each property alone makes a peer one that is answered, with all that a forwarder says.
#[test]
fn a_peer_that_speaks_enhanced_rtmp_is_told_what_we_can_do() {
    let list = || Value::StrictArray(vec!["hvc1".into()]);
    let map = || Value::object([("hvc1", 1.0.into())]);
    for (name, value) in [
        ("fourCcList", list()),
        ("videoFourCcInfoMap", map()),
        ("audioFourCcInfoMap", map()),
        ("capsEx", 1.0.into()),
    ] {
        let (peer, info) = answered(&connect_with([(name, value)]));
        assert_eq!(info.property("fourCcList"), Some(&Value::StrictArray(vec!["*".into()])), "{name}");
        let any = Value::object([("*", 4.0.into())]);
        assert_eq!(info.property("videoFourCcInfoMap"), Some(&any));
        assert_eq!(info.property("audioFourCcInfoMap"), Some(&any));
        assert_eq!(info.property("capsEx"), Some(&15.0.into()));
        let said = &peer.session.connect_info().unwrap().capabilities;
        assert!(said.speaks_enhanced());
        assert_eq!(
            (said.decodes_video(FourCc(*b"hvc1")), said.reconnect()),
            (name != "capsEx" && name != "audioFourCcInfoMap", name == "capsEx")
        );
    }
}

#[test]
fn a_peer_that_knows_nothing_of_it_is_answered_as_ever() {
    let (peer, info) = answered(&connect_with([("capabilities", 239.0.into())]));
    let names: Vec<_> = info.properties().unwrap().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["level", "code", "description", "objectEncoding"]);
    assert!(!peer.session.connect_info().unwrap().capabilities.speaks_enhanced());
}

/// E-RTMP v2 "Action Message Format (AMF): AMF0 and AMF3": 0 when it was not said, and what was said if we know it.
#[test]
fn object_encoding_is_answered_as_asked() {
    assert_eq!(answered(&connect_with([])).1.property("objectEncoding"), Some(&0.0.into()));
    for encoding in [0.0, 3.0] {
        let (peer, info) = answered(&connect_with([("objectEncoding", encoding.into())]));
        assert_eq!(info.property("objectEncoding"), Some(&encoding.into()));
        assert_eq!(f64::from(peer.session.connect_info().unwrap().object_encoding), encoding);
    }
    let (peer, info) = answered(&connect_with([("objectEncoding", 1.0.into())]));
    assert_eq!(Status::of(&info).code, code::CONNECT_REJECTED);
    assert!(peer.session.is_closed());
    assert_eq!(Error::from(PeerUnsupported::ObjectEncoding(1)).label(), "object_encoding");
}

/// Type 17: a format byte, then AMF0 with values that switch to AMF3 one by one (E-RTMP v2 "Important AMF3-encoded Historical
/// Specification Clarification").
#[test]
fn commands_of_type_17_are_understood_from_connect_to_publish() {
    let as_17 = |message: Message| {
        let payload: Vec<u8> = [0].into_iter().chain(message.payload.to_vec()).collect();
        let mut message = Message::new(message.header, bytes::Bytes::from(payload));
        message.header.type_id = type_id::COMMAND_AMF3;
        message
    };
    // {"fourCcList": ["hvc1"], "capsEx": 1, "app": "live", "objectEncoding": 3} in AMF3: a dynamic object without a class.
    let object: &[u8] =
        b"\x11\x0a\x0b\x01\x15fourCcList\x09\x03\x01\x06\x09hvc1\x0dcapsEx\x04\x01\x07app\x06\x09live\
                          \x1dobjectEncoding\x04\x03\x01";
    let connect = [b"\x02\x00\x07connect\x00\x3f\xf0\0\0\0\0\0\0", object].concat();
    let header = crate::rtmp::MessageHeader { timestamp: 0, type_id: type_id::COMMAND_AMF0, stream_id: 0 };
    let (mut peer, info) = answered(&as_17(Message::new(header, bytes::Bytes::from(connect))));
    assert_eq!(info.property("objectEncoding"), Some(&3.0.into()));
    assert_eq!(info.property("capsEx"), Some(&15.0.into()));
    let said = &peer.session.connect_info().unwrap().capabilities;
    assert!(said.reconnect() && said.decodes_video(FourCc(*b"hvc1")));
    peer.say(&as_17(write::create_stream(4.0)));
    peer.say(&as_17(publish("key")));
    let request = peer.publish_request();
    peer.accept_publish(request);
    assert!(peer.session.is_publishing());
}

#[test]
fn a_peer_that_understands_is_asked_to_connect_again_once() {
    for tc_url in [None, Some("rtmp://other/live")] {
        let (mut peer, _) = answered(&connect_with([("capsEx", 1.0.into())]));
        assert!(peer.session.request_reconnect(peer.now, tc_url));
        peer.drain();
        assert_eq!(reconnect_requests(&mut peer), [tc_url.map(String::from)]);
        assert!(!peer.session.request_reconnect(peer.now, tc_url), "once");
        peer.drain();
        assert_eq!(reconnect_requests(&mut peer), [None; 0]);
        // And everything goes on.
        peer.say(&write::create_stream(4.0));
        peer.say(&publish("key"));
        let request = peer.publish_request();
        peer.accept_publish(request);
        assert!(peer.session.is_publishing() && !peer.session.is_closed());
    }
}

#[test]
fn who_does_not_understand_is_not_asked() {
    let mut early = Peer::new(ServerSettings::default());
    assert!(!early.session.request_reconnect(early.now, None), "nothing is known of it yet");
    early.shake_hands();
    assert!(!early.session.request_reconnect(early.now, None));
    early.drain();
    assert!(early.heard.is_empty());

    for caps in [0.0, 14.0] {
        let (mut peer, _) = answered(&connect_with([("capsEx", caps.into())]));
        assert!(!peer.session.request_reconnect(peer.now, None), "{caps}");
        peer.drain();
        assert!(peer.heard.is_empty());
    }

    let (mut gone, _) = answered(&connect_with([("capsEx", 1.0.into())]));
    gone.eof();
    gone.forget();
    assert!(!gone.session.request_reconnect(gone.now, None));
    gone.drain();
    assert!(gone.heard.is_empty() && gone.events.is_empty());
}
