//! The client role against our own server, and against servers that do things differently.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::rtmp::Limits;
use crate::rtmp::amf::Value;
use crate::rtmp::chunk::{ChunkReader, Read};
use crate::rtmp::command::CapsEx;
use crate::rtmp::handshake::{HandshakeKind, PACKET_BYTES};
use crate::session::*;

fn entropy(seed: u8) -> Box<Entropy> {
    Box::new(Entropy { time_ms: 0, random: [seed; PACKET_BYTES - 8] })
}

fn settings(role: Role) -> ClientSettings {
    ClientSettings::new(ClientUrl::parse("rtmp://host/live/key?token=1").unwrap(), role)
}

/// A client and what it told its driver; the far end is the test's.
struct Client {
    session: ClientSession,
    now: Instant,
    sent: BytesMut,
    events: Vec<ClientEvent>,
}

impl Client {
    fn new(settings: ClientSettings) -> Self {
        let now = Instant::from_micros(5);
        let mut client = Self {
            session: ClientSession::new(now, settings, entropy(1)),
            now,
            sent: BytesMut::new(),
            events: Vec::new(),
        };
        client.drain();
        client
    }

    fn receive(&mut self, bytes: Bytes) {
        self.session.handle_bytes(self.now, bytes);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Send(bytes) => self.sent.extend_from_slice(&bytes),
                ClientOutput::Event(event) => self.events.push(event),
                ClientOutput::Timeout(_) | ClientOutput::Progress => {}
            }
        }
    }

    fn closed(&self) -> &ClientCloseReason {
        match self.events.last() {
            Some(ClientEvent::Closed { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn names(&self) -> Vec<&'static str> {
        let name = |event: &ClientEvent| match event {
            ClientEvent::Connected { .. } => "connected",
            ClientEvent::Ready => "ready",
            ClientEvent::Media(_) => "media",
            ClientEvent::Status(_) => "status",
            ClientEvent::Ended => "ended",
            ClientEvent::Reconnect { .. } => "reconnect",
            ClientEvent::Closed { .. } => "closed",
        };
        self.events.iter().map(name).collect()
    }
}

/// A server made of bare codecs: says what the test makes it say.
struct Script {
    client: Client,
    reader: ChunkReader,
    writer: ChunkWriter,
}

impl Script {
    /// After the handshake.
    fn new(settings: ClientSettings) -> Self {
        let mut client = Client::new(settings);
        client.sent.clear();
        let mut hello = vec![0; 1 + 2 * PACKET_BYTES];
        hello[0] = 3;
        client.receive(Bytes::from(hello));
        let _ = client.sent.split_to(PACKET_BYTES);
        Self {
            client,
            reader: ChunkReader::new(&Limits::default()),
            writer: ChunkWriter::new(CHUNK_SIZE_DEFAULT),
        }
    }

    fn say(&mut self, message: &Message) {
        let mut bytes = BytesMut::new();
        self.writer.write(ChunkStreamId::COMMAND, message, &mut bytes);
        self.client.receive(bytes.freeze());
    }

    fn control(&mut self, control: Control) {
        self.say(&control.to_message());
    }

    fn status(&mut self, level: &str, code: &str) {
        self.say(&write::on_status(1, level, code, "in words"));
    }

    fn media(&mut self, timestamp: u32) {
        let header = MessageHeader { timestamp, type_id: type_id::VIDEO, stream_id: 1 };
        self.say(&Message::new(header, Bytes::from_static(&[0x17, 1, 2])));
    }

    /// Names of the commands and control messages that the client said.
    fn heard(&mut self) -> Vec<String> {
        self.reader.push(self.client.sent.split().freeze());
        let mut names = Vec::new();
        while let Read::Message(message) = self.reader.poll().unwrap() {
            names.push(match Control::parse(&message).unwrap() {
                Some(control) => format!("{control:?}"),
                None => command::parse(&message, &Limits::default().amf).unwrap().name,
            });
        }
        names
    }

    fn ready(role: Role) -> Self {
        let mut script = Self::new(settings(role));
        script.say(&write::connect_result(CONNECT, 0.0, &[]));
        script.say(&write::create_stream_result(CREATE_STREAM, 1));
        script.status("status", if role == Role::Publish { code::PUBLISH_START } else { code::PLAY_START });
        assert_eq!(script.client.names(), ["connected", "status", "ready"]);
        script.client.events.clear();
        script.heard();
        script
    }
}

#[test]
fn a_publisher_says_what_servers_wait_for() {
    let mut script = Script::new(settings(Role::Publish));
    assert_eq!(script.heard(), ["connect"]);
    script.say(&write::connect_result(CONNECT, 0.0, &[]));
    assert_eq!(script.heard(), ["SetChunkSize(60000)", "releaseStream", "FCPublish", "createStream"]);
    script.say(&write::create_stream_result(CREATE_STREAM, 1));
    assert_eq!(script.heard(), ["publish"]);
    assert!(!script.client.session.is_ready());
    script.status("status", code::PUBLISH_START);
    assert!(script.client.session.is_ready());
    script.client.session.stop(script.client.now);
    script.client.drain();
    assert_eq!(script.heard(), ["FCUnpublish", "deleteStream"]);
    assert_eq!(*script.client.closed(), ClientCloseReason::Stopped);
}

/// The bytes of a message body that a publisher sends, in the AMF0 of the specification, put together by hand.
mod by_hand {
    pub(super) fn number(value: f64) -> Vec<u8> {
        [&[0][..], &value.to_be_bytes()].concat()
    }

    pub(super) fn string(text: &str) -> Vec<u8> {
        [&[2][..], &key(text)].concat()
    }

    fn key(text: &str) -> Vec<u8> {
        [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
    }

    pub(super) fn object(properties: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let properties: Vec<u8> =
            properties.iter().flat_map(|(name, value)| [key(name), value.clone()].concat()).collect();
        [&[3][..], &properties, &[0, 0, 9]].concat()
    }

    pub(super) const NULL: [u8; 1] = [5];
}

/// What big services look at, to the byte: the properties of `connect` in the order of Flash encoders, without Enhanced RTMP unless it is
/// asked for, and the name with its query in releaseStream, FCPublish and publish alike.
#[test]
fn a_publisher_is_to_the_byte_what_services_expect() {
    use by_hand::{NULL, number, object, string};
    let url = ClientUrl::parse("rtmps://live-api-s.service.example:443/rtmp/KEY?s_bl=1&a=b").unwrap();
    let mut script = Script::new(ClientSettings::new(url, Role::Publish));
    let bodies = |script: &mut Script| -> Vec<Vec<u8>> {
        script.reader.push(script.client.sent.split().freeze());
        let mut bodies = Vec::new();
        while let Read::Message(message) = script.reader.poll().unwrap() {
            if message.header.type_id == type_id::COMMAND_AMF0 {
                bodies.push(message.payload.to_vec());
            }
        }
        bodies
    };
    let tc_url = string("rtmps://live-api-s.service.example:443/rtmp");
    let connect = object(&[
        ("app", string("rtmp")),
        ("type", string("nonprivate")),
        ("flashVer", string("FMLE/3.0 (compatible; inrush)")),
        ("swfUrl", tc_url.clone()),
        ("tcUrl", tc_url),
        ("objectEncoding", number(0.0)),
    ]);
    assert_eq!(bodies(&mut script), [[string("connect"), number(1.0), connect].concat()]);
    script.say(&write::connect_result(CONNECT, 0.0, &[]));
    let name = string("KEY?s_bl=1&a=b");
    assert_eq!(
        bodies(&mut script),
        [
            [string("releaseStream"), number(2.0), NULL.to_vec(), name.clone()].concat(),
            [string("FCPublish"), number(3.0), NULL.to_vec(), name.clone()].concat(),
            [string("createStream"), number(4.0), NULL.to_vec()].concat(),
        ]
    );
    script.say(&write::create_stream_result(CREATE_STREAM, 1));
    assert_eq!(
        bodies(&mut script),
        [[string("publish"), number(5.0), NULL.to_vec(), name, string("live")].concat()]
    );
}

#[test]
fn a_player_says_what_servers_wait_for() {
    let mut script = Script::new(ClientSettings { fc_subscribe: true, ..settings(Role::Play) });
    script.say(&write::connect_result(CONNECT, 0.0, &[]));
    assert_eq!(script.heard(), ["connect", "WindowAckSize(2500000)", "FCSubscribe", "createStream"]);
    script.say(&write::create_stream_result(CREATE_STREAM, 7));
    assert_eq!(script.heard(), ["play", "User(SetBufferLength { stream_id: 7, ms: 3000 })"]);
    script.status("status", code::PLAY_RESET);
    assert!(!script.client.session.is_ready());
    script.status("status", code::PLAY_START);
    assert!(script.client.session.is_ready());
}

#[test]
fn what_servers_add_or_leave_out_does_not_matter() {
    let mut script = Script::new(settings(Role::Publish));
    script.say(&write::on_bw_done());
    script.control(Control::User(UserControl::StreamBegin(0)));
    script.say(&write::connect_result(CONNECT, 0.0, &[]));
    // A server that knows no releaseStream, and answers FCPublish late or never.
    script.say(&write::error(RELEASE_STREAM, code::CALL_FAILED, "unknown call"));
    script.say(&write::call(0, "_result", CREATE_STREAM, &[Value::Null]));
    script.say(&write::on_fc_publish("key"));
    script.say(&write::call(0, "frobnicate", 9.0, &[]));
    script.status("status", code::PUBLISH_START);
    script.status("status", code::PUBLISH_START);
    assert_eq!(script.client.names(), ["connected", "status", "status", "ready", "status"]);
    assert!(script.client.session.wire_headers(type_id::VIDEO, 0, 10).is_ok());
}

#[test]
fn a_refusal_ends_the_session_with_the_servers_words() {
    let mut script = Script::new(settings(Role::Publish));
    script.say(&write::error(CONNECT, code::CONNECT_REJECTED, "no"));
    let ClientCloseReason::Refused(status) = script.client.closed() else { panic!() };
    assert_eq!((&*status.code, &*status.description), (code::CONNECT_REJECTED, "no"));

    let mut script = Script::ready(Role::Publish);
    script.status("error", code::PUBLISH_BAD_NAME);
    assert_eq!(script.client.names(), ["closed"]);
    assert_eq!(script.client.closed().label(), "refused");
    assert_eq!(script.client.session.wire_headers(type_id::VIDEO, 0, 10).unwrap_err(), ApiMisuse::WrongState);

    let mut script = Script::ready(Role::Play);
    script.say(&write::call(0, "close", 0.0, &[]));
    assert_eq!(script.client.closed().label(), "refused");
}

#[test]
fn a_played_stream_ends_and_comes_back() {
    let mut script = Script::ready(Role::Play);
    script.media(1);
    script.status("status", code::PLAY_UNPUBLISH_NOTIFY);
    script.control(Control::User(UserControl::StreamEof(1)));
    script.status("status", code::PLAY_PUBLISH_NOTIFY);
    script.media(2);
    script.status("status", code::PLAY_STOP);
    let names = script.client.names();
    let told: Vec<_> = names.into_iter().filter(|name| *name != "status").collect();
    assert_eq!(told, ["media", "ended", "ready", "media", "ended"]);
}

/// A server that calls the end of a stream an error says both: that the stream has ended, and no. One that says no of anything else has said
/// nothing of the stream.
#[test]
fn a_played_stream_that_ends_by_an_error_has_ended() {
    for (code, expected) in [
        (code::PLAY_UNPUBLISH_NOTIFY, &["media", "ended", "closed"][..]),
        (code::PLAY_STREAM_NOT_FOUND, &["media", "ended", "closed"]),
        (code::PLAY_STOP, &["media", "ended", "closed"]),
        (code::PLAY_FAILED, &["media", "closed"]),
        (code::CONNECT_APP_SHUTDOWN, &["media", "closed"]),
    ] {
        let mut script = Script::ready(Role::Play);
        script.media(1);
        script.status("error", code);
        assert_eq!(script.client.names(), expected, "{code}");
        assert_eq!(script.client.closed().label(), "refused");
    }
    // What was never there has not ended.
    let mut script = Script::ready(Role::Publish);
    script.status("error", code::PLAY_STREAM_NOT_FOUND);
    assert_eq!(script.client.names(), ["closed"]);
}

/// Whatever a server says of the end of a stream that we publish, and however often it says that it begins.
#[test]
fn a_publisher_ends_its_stream_itself() {
    let mut script = Script::ready(Role::Publish);
    let before = script.client.names();
    script.control(Control::User(UserControl::StreamEof(1)));
    script.status("status", "NetStream.Play.Stop");
    script.status("status", "NetStream.Play.UnpublishNotify");
    script.status("status", "NetStream.Publish.Start");
    assert_eq!(script.client.names().split_off(before.len()), ["status"; 3]);
    assert!(script.client.session.is_ready());
}

#[test]
fn servers_are_answered_where_they_must_be() {
    let mut script = Script::ready(Role::Play);
    script.control(Control::User(UserControl::PingRequest(9)));
    script.control(Control::SetPeerBandwidth { bytes: 1000, limit: crate::rtmp::BandwidthLimit::Dynamic });
    script.control(Control::SetPeerBandwidth { bytes: 1000, limit: crate::rtmp::BandwidthLimit::Dynamic });
    assert_eq!(script.heard(), ["User(PingResponse(9))", "WindowAckSize(1000)"]);
    script.control(Control::WindowAckSize(4096));
    for timestamp in 0..1000 {
        script.media(timestamp);
    }
    let received = 1000 * 11; // fmt 2 or 1 headers and three bytes at least
    let acknowledged = script.heard();
    assert!(acknowledged.iter().all(|heard| heard.starts_with("Acknowledgement")), "{acknowledged:?}");
    assert!((2..=received / 2048 + 1).contains(&acknowledged.len()), "{}", acknowledged.len());
}

/// A hostile server has the same budget as a hostile client, from the first message on.
#[test]
fn a_server_that_floods_is_left() {
    let floods = [
        (Control::User(UserControl::PingRequest(1)).to_message(), "too_many_control_messages"),
        (Control::Acknowledgement(1).to_message(), "too_many_control_messages"),
        (write::on_bw_done(), "too_many_commands"),
        (write::on_status(1, "status", "NetStream.Play.Reset", "again"), "too_many_commands"),
        (
            Message::new(MessageHeader { timestamp: 0, type_id: type_id::AUDIO, stream_id: 1 }, Bytes::new()),
            "too_many_messages",
        ),
    ];
    for (flood, label) in floods {
        for mut script in [Script::new(settings(Role::Play)), Script::ready(Role::Play)] {
            let mut said = 0;
            while !script.client.session.is_closed() {
                script.client.events.clear();
                script.say(&flood);
                said += 1;
                assert!(said <= 60_000, "{label}");
            }
            // The last straw may be the chunk that the message is in.
            let ended = script.client.closed().label();
            assert!([label, "too_many_tiny_chunks"].contains(&ended), "{label}: {ended}");
            assert!(said > 100, "{label}: {said}");
        }
    }
    // 3,000 messages a second for a minute are no flood.
    let mut script = Script::ready(Role::Play);
    for second in 0..60 {
        (0..3_000).for_each(|nth| script.media(second * 1_000 + nth / 3));
        script.client.now = script.client.now + Duration::from_secs(1);
    }
    assert!(!script.client.session.is_closed());
}

#[test]
fn a_server_that_does_not_say_yes_in_time_is_left() {
    for (steps, stage) in [(0, Stage::Handshake), (1, Stage::Connect), (2, Stage::PublishOrPlay)] {
        let mut client = match steps {
            0 => Client::new(settings(Role::Publish)),
            _ => {
                let mut script = Script::new(settings(Role::Publish));
                if steps == 2 {
                    script.say(&write::connect_result(CONNECT, 0.0, &[]));
                }
                script.client
            }
        };
        client.now = client.now + Duration::from_secs(19);
        client.session.handle_timeout(client.now);
        assert!(!client.session.is_closed());
        client.now = client.now + Duration::from_secs(1);
        client.session.handle_timeout(client.now);
        client.drain();
        assert_eq!(*client.closed(), ClientCloseReason::Error(PeerMisbehaved::Deadline(stage).into()));
    }
    let mut script = Script::ready(Role::Play);
    assert_eq!(script.client.session.next_timeout(), Instant::FAR_FUTURE);
    script.client.session.handle_timeout(Instant::from_micros(u64::MAX - 1));
    assert!(!script.client.session.is_closed());
}

#[test]
fn media_can_be_sent_only_while_publishing() {
    let payload = Payload::from(Bytes::from_static(&[1, 2, 3]));
    let mut script = Script::new(settings(Role::Publish));
    let now = script.client.now;
    let send = |script: &mut Script| script.client.session.send_media(now, MediaKind::Video, 1, &payload);
    assert_eq!(send(&mut script), Err(ApiMisuse::WrongState));
    assert_eq!(send(&mut Script::ready(Role::Play)), Err(ApiMisuse::WrongState));
    let mut script = Script::ready(Role::Publish);
    assert_eq!(send(&mut script), Ok(()));
    script.client.drain();
    script.reader.push(script.client.sent.split().freeze());
    let Read::Message(message) = script.reader.poll().unwrap() else { panic!() };
    assert_eq!((message.header.timestamp, message.payload.to_vec()), (1, vec![1, 2, 3]));
}

/// What it says last can be had at once, and comes before nothing but its end.
#[test]
fn the_last_words_can_be_written_behind_what_its_driver_writes() {
    let mut script = Script::ready(Role::Publish);
    let now = script.client.now;
    assert_eq!(script.client.session.poll_send(), None);
    script.client.session.stop(now);
    let last = script.client.session.poll_send().expect("last words");
    assert_eq!(script.client.session.poll_send(), None);
    script.client.drain();
    assert_eq!((script.client.names().as_slice(), script.client.sent.len()), (&["closed"][..], 0));
    assert_eq!(*script.client.closed(), ClientCloseReason::Stopped);
    script.reader.push(last);
    for name in [&b"FCUnpublish"[..], b"deleteStream"] {
        let Read::Message(message) = script.reader.poll().unwrap() else { panic!() };
        assert!(message.payload.to_vec()[3..].starts_with(name));
    }
}

/// What a server makes it hold is counted: half a handshake, half a message, and nothing once it is over.
#[test]
fn what_it_holds_is_counted() {
    let mut session = ClientSession::new(Instant::default(), settings(Role::Play), entropy(1));
    let shaking_hands = session.retained_bytes();
    assert!(shaking_hands >= 1536, "our C1");
    session.handle_bytes(Instant::default(), Bytes::from(vec![3; 1000]));
    assert!(session.retained_bytes() >= shaking_hands + 1000);

    let mut script = Script::ready(Role::Play);
    let now = script.client.now;
    let before = script.client.session.retained_bytes();
    let half = [&[6, 0, 0, 0, 0, 0x40, 0, 9, 1, 0, 0, 0][..], &[0; 4000]].concat();
    script.client.session.handle_bytes(now, half.into());
    script.client.drain();
    assert!(script.client.session.retained_bytes() >= before + 4000);
    script.client.session.handle_gap(100);
    script.client.session.stop(now);
    assert_eq!(script.client.session.retained_bytes(), 0);
}

#[test]
fn what_came_before_the_end_is_still_parsed() {
    let mut script = Script::ready(Role::Play);
    let mut bytes = BytesMut::new();
    let header = MessageHeader { timestamp: 1, type_id: type_id::AUDIO, stream_id: 1 };
    script.writer.write(
        ChunkStreamId::AUDIO,
        &Message::new(header, Bytes::from_static(&[0xaf, 1])),
        &mut bytes,
    );
    script.client.session.handle_bytes(script.client.now, bytes.freeze());
    script.client.session.handle_eof(script.client.now);
    script.client.drain();
    assert_eq!(script.client.names(), ["media", "closed"]);
    assert_eq!(*script.client.closed(), ClientCloseReason::Eof);
}

/// E-RTMP v2 "Enhancing NetConnection connect Command", from the client's side.
#[test]
fn what_each_end_says_of_enhanced_rtmp_reaches_the_other() {
    let said = Capabilities::forwarder(CapsEx::RECONNECT | CapsEx::MOD_EX);
    let mut script = Script::new(ClientSettings { capabilities: said.clone(), ..settings(Role::Publish) });
    script.reader.push(script.client.sent.split().freeze());
    let Read::Message(message) = script.reader.poll().unwrap() else { panic!() };
    let CommandKind::Connect(connect) = command::parse(&message, &Limits::default().amf).unwrap().kind else {
        panic!()
    };
    assert_eq!(Capabilities::of(&connect.properties), said);

    // In the information object, in the properties, and not at all.
    let answer = Capabilities::forwarder(CapsEx::ALL);
    let in_properties = {
        let object = answer.properties().into_iter().map(|(name, value)| (name.into(), value)).collect();
        let info = Value::object([("code", code::CONNECT_SUCCESS.into())]);
        write::call(0, "_result", CONNECT, &[Value::Object(object), info])
    };
    for (result, expected) in [
        (write::connect_result(CONNECT, 0.0, &answer.properties()), answer.clone()),
        (in_properties, answer),
        (write::connect_result(CONNECT, 0.0, &[]), Capabilities::default()),
    ] {
        let mut script = Script::new(settings(Role::Publish));
        script.say(&result);
        let Some(ClientEvent::Connected { capabilities }) = script.client.events.first() else { panic!() };
        assert_eq!(*capabilities, expected);
    }
}

/// A request to connect again comes with the URL to connect to; the session goes on. What leads nowhere is told as it came.
#[test]
fn a_server_asks_to_connect_elsewhere() {
    for role in [Role::Publish, Role::Play] {
        let mut script = Script::ready(role);
        for (tc_url, expected) in [
            (None, "rtmp://host:1935/live"),
            (Some("rtmps://other:444/app"), "rtmps://other:444/app"),
            (Some("//other"), "rtmp://other:1935/live"),
            (Some("/app"), "rtmp://host:1935/app"),
        ] {
            script.say(&write::reconnect_request(tc_url, "updates"));
            let Some(ClientEvent::Reconnect { url, description }) = script.client.events.pop() else {
                panic!()
            };
            assert_eq!((&*url.tc_url, &*url.name, &*description), (expected, "key?token=1", "updates"));
        }
        for nowhere in ["http://other/app".to_string(), format!("rtmp://other/{}", "a".repeat(1024))] {
            script.say(&write::reconnect_request(Some(&nowhere), "updates"));
            let Some(ClientEvent::Status(status)) = script.client.events.pop() else { panic!() };
            assert_eq!(status.code, code::CONNECT_RECONNECT_REQUEST);
        }
        assert!(script.client.session.is_ready() && script.client.events.is_empty());
    }
}

/// Both kinds of handshake, both roles, against our own server.
#[test]
fn both_roles_of_ours_understand_each_other() {
    for (role, handshake) in [(Role::Publish, HandshakeKind::Simple), (Role::Play, HandshakeKind::Digest)] {
        let mut client = Client::new(ClientSettings { handshake, ..settings(role) });
        let mut server = ServerSession::new(client.now, Arc::new(ServerSettings::default()), entropy(2));
        let mut asked = 0;
        while !client.session.is_ready() {
            let sent = client.sent.split().freeze();
            assert!(!sent.is_empty(), "{:?}", client.events);
            server.handle_bytes(client.now, sent);
            while let Some(output) = server.poll_output() {
                match output {
                    Output::Send(bytes) => client.receive(bytes),
                    Output::Event(Event::PublishRequested(PublishRequest { request, address, .. })) => {
                        asked += 1;
                        assert_eq!((address.key.name(), &*address.params), ("key", "token=1"));
                        server.accept_publish(client.now, request);
                    }
                    Output::Event(Event::PlayRequested(PlayRequest { request, address, .. })) => {
                        asked += 1;
                        assert_eq!(address.host.as_deref(), Some("host"));
                        server.accept_play(client.now, request);
                    }
                    Output::Event(Event::Tolerated(oddity)) => panic!("{oddity:?}"),
                    _ => {}
                }
            }
        }
        assert_eq!(asked, 1);
    }
}
