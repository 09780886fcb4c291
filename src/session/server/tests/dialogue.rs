//! What is asked and what is answered.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::peer::*;
use crate::rtmp::chunk::ChunkStreamId;
use crate::rtmp::command::write;
use crate::rtmp::message::type_id;
use crate::rtmp::{Control, UserControl};
use crate::session::server::STRAY_MEDIA_BYTES_MAX;
use crate::session::status::code;
use crate::session::*;

#[test]
fn sessions_move_between_threads() {
    fn moves<T: Send + 'static>() {}
    moves::<ServerSession>();
    moves::<Output>();
}

#[test]
fn connect_is_answered_in_the_order_of_flash_media_server() {
    let mut peer = Peer::new(ServerSettings::default());
    peer.shake_hands();
    peer.say(&connect("live"));
    assert_eq!(
        peer.heard_in_short(),
        [
            "WindowAckSize(2500000)",
            "SetPeerBandwidth { bytes: 2500000, limit: Dynamic }",
            "SetChunkSize(60000)",
            "0 _result 1 NetConnection.Connect.Success",
        ]
    );
    assert!(matches!(peer.events.as_slice(), [Event::Connected]));
    let info = peer.session.connect_info().unwrap();
    assert_eq!((&*info.app, &*info.flash_ver), ("live", "FMLE/3.0"));
}

#[test]
fn an_encoder_publishes() {
    let mut peer = Peer::connected();
    peer.say(&write::release_stream(2.0, "key"));
    peer.say(&write::fc_publish(3.0, "key"));
    peer.say(&write::create_stream(4.0));
    assert_eq!(peer.heard_in_short(), ["0 _result 2", "0 _result 3", "0 _result 4 1"]);
    peer.say(&publish("key?token=1"));
    let Some(Event::PublishRequested(request)) = peer.events.pop() else { panic!() };
    assert_eq!(request.address.key, StreamKey::new("live", "key"));
    assert_eq!((request.stream_id, &*request.address.params), (1, "token=1"));
    assert_eq!(peer.heard_in_short(), [""; 0]);
    peer.accept_publish(request.request);
    assert_eq!(
        peer.heard_in_short(),
        ["0 onFCPublish NetStream.Publish.Start", "1 onStatus NetStream.Publish.Start"]
    );
    assert!(peer.session.is_publishing());

    peer.say_on(ChunkStreamId::AUDIO, &media(type_id::AUDIO, 7, 100));
    peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 8, 1000));
    peer.say_on(ChunkStreamId::DATA, &media(type_id::DATA_AMF3, 9, 10));
    let got: Vec<_> =
        peer.media().iter().map(|m| (m.kind, m.type_id, m.timestamp, m.payload.len())).collect();
    let expected = [
        (MediaKind::Audio, type_id::AUDIO, 7, 100),
        (MediaKind::Video, type_id::VIDEO, 8, 1000),
        (MediaKind::Data, type_id::DATA_AMF3, 9, 10),
    ];
    assert_eq!(got, expected);
    assert_eq!(peer.session.counters().video, MediaCount { messages: 1, bytes: 1000 });
}

#[test]
fn media_before_the_answer_is_held_and_comes_after_it() {
    let mut peer = Peer::connected();
    peer.say(&write::create_stream(4.0));
    peer.say(&publish("key"));
    let request = peer.publish_request();
    for timestamp in 0..100 {
        peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, timestamp, 1000));
    }
    assert!(peer.media().is_empty());
    assert!(peer.session.held_bytes() > 100_000);
    assert!(peer.session.wants_bytes());
    peer.accept_publish(request);
    assert_eq!(peer.media().iter().map(|m| m.timestamp).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    assert_eq!(peer.session.held_bytes(), 0);
}

#[test]
fn no_more_is_wanted_than_may_be_held() {
    let mut settings = ServerSettings::default();
    settings.limits.held_bytes_max = 10_000;
    let mut peer = Peer::connected_with(settings);
    peer.say(&publish("key"));
    let request = peer.publish_request();
    while peer.session.wants_bytes() {
        peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 1000));
    }
    assert!((10_000..12_000).contains(&peer.session.held_bytes()));
    peer.accept_publish(request);
    assert!(peer.session.wants_bytes());
}

#[test]
fn a_refused_publisher_is_told_why_and_closed() {
    let mut peer = Peer::connected();
    peer.say(&publish("key"));
    peer.reject(peer.publish_request(), Rejection::already_published());
    assert_eq!(peer.heard_in_short(), ["1 onStatus error NetStream.Publish.BadName"]);
    assert_eq!(peer.closed(), (CloseReason::Rejected { code: code::PUBLISH_BAD_NAME }, true));
    assert!(!peer.session.wants_bytes());
}

#[test]
fn a_rejection_may_leave_the_connection_open() {
    let mut peer = Peer::connected();
    peer.say(&publish("key"));
    peer.reject(peer.publish_request(), Rejection { close: false, ..Rejection::publish_denied("not now") });
    assert_eq!(peer.heard_in_short(), ["1 onStatus error NetStream.Publish.Denied"]);
    peer.say(&publish("other"));
    peer.accept_publish(peer.publish_request());
    assert!(peer.session.is_publishing());
}

#[test]
fn answers_to_requests_that_are_gone_do_nothing() {
    let mut peer = Peer::connected();
    peer.say(&publish("key"));
    let old = peer.publish_request();
    peer.reject(old, Rejection { close: false, ..Rejection::already_published() });
    peer.say(&publish("key"));
    let new = peer.publish_request();
    assert_ne!(old, new);
    peer.forget();
    peer.accept_publish(old);
    peer.accept_play(new);
    peer.reject(old, Rejection::already_published());
    assert!(peer.heard.is_empty() && peer.events.is_empty() && !peer.session.is_publishing());
    peer.accept_publish(new);
    assert!(peer.session.is_publishing());
    peer.forget();
    peer.accept_publish(new);
    assert!(peer.heard.is_empty());
}

#[test]
fn every_way_to_stop_publishing_stops_it_once() {
    let ways: &[(&str, &[crate::rtmp::Message], &[&str])] = &[
        (
            "FCUnpublish, deleteStream",
            &[write::fc_unpublish(6.0, "key"), write::delete_stream(7.0, 1)],
            &[
                "0 _result 6",
                "0 onFCUnpublish NetStream.Unpublish.Success",
                "1 onStatus NetStream.Unpublish.Success",
            ],
        ),
        ("deleteStream", &[write::delete_stream(7.0, 1)], &[]),
        ("closeStream", &[write::close_stream(1)], &["1 onStatus NetStream.Unpublish.Success"]),
        ("publish(false)", &[write::unpublish(1, 6.0)], &["1 onStatus NetStream.Unpublish.Success"]),
        (
            "publish(false) on another stream",
            &[write::unpublish(0, 0.0)],
            &["1 onStatus NetStream.Unpublish.Success"],
        ),
    ];
    for (name, messages, answers) in ways {
        let mut peer = Peer::publishing();
        messages.iter().for_each(|message| peer.say(message));
        assert_eq!(peer.stopped(), 1, "{name}");
        assert_eq!(peer.heard_in_short(), *answers, "{name}");
        assert!(!peer.session.is_publishing());
        messages.iter().for_each(|message| peer.say(message));
        assert_eq!(peer.stopped(), 1, "{name}, twice");
        // And again from the beginning, on a stream that may have to be made anew.
        peer.say(&publish("key"));
        peer.accept_publish(peer.publish_request());
        assert!(peer.session.is_publishing(), "{name}");
    }
}

#[test]
fn publishing_the_same_again_changes_nothing() {
    let mut peer = Peer::publishing();
    peer.say(&publish("key"));
    assert_eq!(peer.heard_in_short(), ["1 onStatus NetStream.Publish.Start"]);
    assert_eq!(peer.oddities(), [Oddity::RepeatedPublish]);
    assert_eq!(peer.events.len(), 1);
    peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 1, 10));
    assert_eq!(peer.media().len(), 1);
}

#[test]
fn a_newer_publish_takes_the_place_of_the_one_before() {
    for message in [publish("other"), on_stream(publish("key"), 2)] {
        let mut peer = Peer::publishing();
        peer.say(&write::create_stream(8.0));
        peer.say(&message);
        assert_eq!(peer.stopped(), 1);
        assert!(!peer.session.is_publishing());
        peer.accept_publish(peer.publish_request());
        peer.say_on(ChunkStreamId::VIDEO, &on_stream(media(type_id::VIDEO, 1, 10), message.header.stream_id));
        assert_eq!(peer.media()[0].stream_id, message.header.stream_id);
        assert_eq!(peer.oddities(), [Oddity::PublishReplaced]);
    }
}

#[test]
fn a_player_plays() {
    let mut peer = Peer::connected();
    peer.say(&write::fc_subscribe(2.0, "key"));
    peer.say(&write::create_stream(3.0));
    peer.say(&write::get_stream_length(4.0, "key"));
    assert_eq!(
        peer.heard_in_short(),
        ["0 _result 2", "0 onFCSubscribe NetStream.Play.Start", "0 _result 3 1", "0 _result 4 0"]
    );
    peer.say(&write::play(1, 5.0, "key?token=1", -2.0, -1.0, true));
    let Some(Event::PlayRequested(request)) = peer.events.pop() else { panic!() };
    assert_eq!(request.address.key, StreamKey::new("live", "key"));
    peer.control(Control::User(UserControl::SetBufferLength { stream_id: 1, ms: 3000 }));
    peer.accept_play(request.request);
    assert_eq!(
        peer.heard_in_short(),
        [
            "User(StreamBegin(1))",
            "1 onStatus NetStream.Play.Reset",
            "1 onStatus NetStream.Play.Start",
            "1 data |RtmpSampleAccess",
            "1 data onStatus",
        ]
    );
    assert!(peer.session.is_playing() && !peer.session.is_publishing());

    peer.session.notify(peer.now, 1, Notice::UnpublishNotify);
    peer.session.notify(peer.now, 1, Notice::PublishNotify);
    peer.session.notify(peer.now, 2, Notice::PublishNotify);
    peer.drain();
    assert_eq!(
        peer.heard_in_short(),
        [
            "1 onStatus NetStream.Play.UnpublishNotify",
            "User(StreamEof(1))",
            "User(StreamBegin(1))",
            "1 onStatus NetStream.Play.PublishNotify",
        ]
    );
}

#[test]
fn a_play_that_resets_nothing_says_so() {
    let mut peer = Peer::connected();
    peer.say(&write::play(1, 5.0, "key", -2.0, -1.0, false));
    peer.accept_play(peer.play_request());
    assert!(!peer.heard_in_short().contains(&"1 onStatus NetStream.Play.Reset".to_string()));
}

#[test]
fn a_player_pauses_seeks_and_chooses() {
    let mut peer = Peer::playing();
    peer.say(&write::pause(1, 6.0, true, 0.0));
    peer.say(&write::pause(1, 7.0, false, 0.0));
    peer.say(&write::seek(1, 8.0, 1000.0));
    peer.say(&write::receive_audio(1, false));
    peer.say(&write::receive_audio(1, true));
    peer.say(&write::receive_video(1, false));
    assert_eq!(
        peer.heard_in_short(),
        [
            "1 onStatus NetStream.Pause.Notify",
            "1 onStatus NetStream.Unpause.Notify",
            "1 onStatus NetStream.Seek.Notify",
            "1 onStatus NetStream.Seek.Notify",
            "1 onStatus NetStream.Play.Start",
        ]
    );
    assert!(matches!(
        peer.events.as_slice(),
        [
            Event::Paused { stream_id: 1, paused: true },
            Event::Paused { stream_id: 1, paused: false },
            Event::ReceiveAudio { stream_id: 1, receive: false },
            Event::ReceiveAudio { stream_id: 1, receive: true },
            Event::ReceiveVideo { stream_id: 1, receive: false },
        ]
    ));
    peer.say(&write::close_stream(1));
    assert_eq!(peer.heard_in_short(), ["1 onStatus NetStream.Play.Stop"]);
    assert_eq!(peer.stopped(), 1);
    peer.forget();
    peer.say(&write::pause(1, 9.0, true, 0.0));
    assert_eq!(peer.heard_in_short(), ["0 _result 9"]);
    assert_eq!(peer.oddities(), [Oddity::CommandOnIdleStream]);
}

#[test]
fn playing_something_else_stops_what_was_played() {
    let mut peer = Peer::playing();
    peer.say(&write::play2(1, 6.0, "other", "key", "switch"));
    assert_eq!(peer.stopped(), 1);
    peer.accept_play(peer.play_request());
    assert!(peer.session.is_playing());
}

#[test]
fn unknown_things_are_answered_harmlessly_and_counted() {
    let mut peer = Peer::connected();
    peer.say(&write::call(0, "frobnicate", 9.0, &["x".into()]));
    peer.say(&write::call(0, "frobnicate", 0.0, &[]));
    peer.say(&write::check_bandwidth(10.0));
    peer.say(&write::call(0, "_result", 11.0, &[]));
    assert_eq!(peer.heard_in_short(), ["0 _result 9", "0 _result 10"]);
    peer.control(Control::User(UserControl::Unknown(31)));
    peer.say(&media(type_id::SHARED_OBJECT_AMF0, 0, 10));
    peer.say(&media(99, 0, 10));
    use Oddity::*;
    let expected =
        [UnknownCommand, UnknownCommand, UnaskedAnswer, UnknownUserControl, SharedObject, UnknownMessageType];
    assert_eq!(peer.oddities(), expected);
    assert_eq!(peer.session.counters().oddities, 6);
    assert!(peer.heard.is_empty());
}

#[test]
fn an_unknown_call_before_connect_is_answered_harmlessly_too() {
    let mut peer = Peer::new(ServerSettings::default());
    peer.shake_hands();
    peer.say(&write::call(0, "frobnicate", 9.0, &["x".into()]));
    peer.say(&write::check_bandwidth(10.0));
    assert_eq!(peer.heard_in_short(), ["0 _result 9", "0 _result 10"]);
    assert_eq!(peer.oddities(), [Oddity::UnknownCommand]);
    assert_eq!(peer.session.stage(), Some(crate::rtmp::Stage::Connect));
}

#[test]
fn stray_media_is_dropped_within_a_bound() {
    let mut peer = Peer::publishing();
    peer.say(&write::fc_unpublish(6.0, "key"));
    peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 1000));
    assert!(peer.media().is_empty());
    assert_eq!(peer.oddities(), [Oddity::StrayMedia]);
    peer.set_chunk_size(65536);
    let mut sent = 0;
    while !peer.session.is_closed() {
        peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 60_000));
        sent += 60_000;
        assert!(sent < 2 * STRAY_MEDIA_BYTES_MAX);
    }
    assert!(sent + 60_000 > STRAY_MEDIA_BYTES_MAX);
    assert_eq!(peer.closed().0.label(), "media_before_publish");
}

#[test]
fn the_tails_of_many_publishes_do_not_add_up() {
    let mut peer = Peer::publishing();
    peer.set_chunk_size(65536);
    for _ in 0..20 {
        peer.say(&write::unpublish(1, 0.0));
        peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 60_000));
        peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 60_000));
        peer.say(&publish("key"));
        peer.accept_publish(peer.publish_request());
    }
    assert!(peer.session.is_publishing());
    assert!(peer.session.counters().stray_media_bytes > 2 * STRAY_MEDIA_BYTES_MAX);
}

#[test]
fn media_on_another_stream_is_the_publishers() {
    let mut peer = Peer::publishing();
    for stream_id in [0, 1, 77] {
        peer.say_on(ChunkStreamId::VIDEO, &on_stream(media(type_id::VIDEO, 0, 10), stream_id));
    }
    assert_eq!(peer.media().iter().map(|m| m.stream_id).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(peer.oddities(), [Oddity::MediaOnOtherStream; 2]);
}

#[test]
fn a_stream_exists_from_its_first_use_on() {
    let mut peer = Peer::connected();
    peer.say(&on_stream(publish("key"), 5));
    assert_eq!(peer.oddities(), [Oddity::StreamNotCreated]);
    peer.accept_publish(peer.publish_request());
    assert_eq!(peer.heard_in_short(), ["5 onStatus NetStream.Publish.Start"]);
}

#[test]
fn pings_are_answered_and_pongs_measured() {
    let mut peer = Peer::connected();
    peer.control(Control::User(UserControl::PingRequest(77)));
    assert_eq!(peer.heard_in_short(), ["User(PingResponse(77))"]);
    peer.control(Control::User(UserControl::PingResponse(1)));
    assert_eq!(peer.session.counters().round_trip, None);
}

#[test]
fn an_aggregate_is_its_parts() {
    let mut peer = Peer::publishing();
    let mut body = BytesMut::new();
    for (timestamp, len) in [(1000u32, 5usize), (1040, 0), (1080, 7)] {
        let start = body.len();
        body.extend_from_slice(&[type_id::VIDEO, 0, 0, len as u8]);
        body.extend_from_slice(&timestamp.to_be_bytes()[1..]);
        body.extend_from_slice(&[0, 0, 0, 1]);
        body.extend(std::iter::repeat_n(9, len));
        body.extend_from_slice(&((body.len() - start) as u32).to_be_bytes());
    }
    let mut message = media(type_id::AGGREGATE, 5000, 0);
    message.payload = body.freeze().into();
    peer.say_on(ChunkStreamId::VIDEO, &message);
    let got: Vec<_> = peer.media().iter().map(|m| (m.timestamp, m.payload.len())).collect();
    assert_eq!(got, [(5000, 5), (5040, 0), (5080, 7)]);
}

#[test]
fn what_came_before_the_end_is_still_parsed() {
    let mut peer = Peer::publishing();
    let mut bytes = BytesMut::new();
    let mut writer = crate::rtmp::chunk::ChunkWriter::new(128);
    for timestamp in 0..3 {
        writer.write(ChunkStreamId::VIDEO, &media(type_id::VIDEO, timestamp, 10), &mut bytes);
    }
    peer.session.handle_bytes(peer.now, bytes.freeze());
    peer.eof();
    assert_eq!(peer.media().len(), 3);
    assert_eq!(peer.closed(), (CloseReason::Eof, false));
}

#[test]
fn the_end_comes_at_once_while_a_request_waits() {
    let mut peer = Peer::connected();
    peer.say(&publish("key"));
    let request = peer.publish_request();
    peer.eof();
    assert_eq!(peer.closed(), (CloseReason::Eof, false));
    peer.forget();
    peer.accept_publish(request);
    assert!(peer.heard.is_empty() && peer.events.is_empty());
}

#[test]
fn closing_from_outside_says_why() {
    let cases = [
        (CloseReason::Kicked, Some("0 onStatus error NetConnection.Connect.Closed")),
        (CloseReason::Revoked, Some("0 onStatus error NetConnection.Connect.Closed")),
        (CloseReason::Drained, Some("0 onStatus error NetConnection.Connect.AppShutdown")),
        (CloseReason::Replaced, Some("1 onStatus error NetStream.Publish.BadName")),
        (CloseReason::Mismatch, Some("1 onStatus error NetStream.Publish.Denied")),
        (
            CloseReason::OverLimit(Excess::Seconds { max: 60 }),
            Some("1 onStatus error NetStream.Publish.Denied"),
        ),
        (CloseReason::Overload, Some("0 onStatus error NetConnection.Connect.Rejected")),
        (CloseReason::Hopeless, None),
        (CloseReason::Reset, None),
        (CloseReason::Io, None),
    ];
    for (reason, answer) in cases {
        let mut peer = Peer::publishing();
        peer.session.close(peer.now, reason);
        peer.drain();
        assert_eq!(peer.heard_in_short(), answer.as_slice());
        assert_eq!(peer.closed(), (reason, answer.is_some()));
    }
}

#[test]
fn after_the_end_there_is_nothing() {
    let mut peer = Peer::publishing();
    peer.session.close(peer.now, CloseReason::Kicked);
    peer.drain();
    assert_eq!(peer.session.retained_bytes(), 0);
    peer.forget();
    peer.timeouts.clear();
    peer.say(&write::create_stream(9.0));
    peer.eof();
    peer.session.close(peer.now, CloseReason::Drained);
    peer.session.notify(peer.now, 1, Notice::PublishNotify);
    peer.wait(std::time::Duration::from_secs(1000));
    assert!(peer.events.is_empty() && peer.heard.is_empty() && peer.timeouts.is_empty());
    assert_eq!(peer.session.next_timeout(), Instant::FAR_FUTURE);
}

#[test]
fn a_session_that_waits_for_its_answer_parses_no_further() {
    let mut peer = Peer::connected();
    let mut bytes = BytesMut::new();
    let mut writer = crate::rtmp::chunk::ChunkWriter::new(128);
    for message in [publish("key"), write::fc_unpublish(6.0, "key"), write::create_stream(7.0)] {
        writer.write(ChunkStreamId::COMMAND, &message, &mut bytes);
    }
    peer.send(bytes.freeze());
    assert!(peer.heard.is_empty());
    peer.accept_publish(peer.publish_request());
    assert_eq!(peer.heard_in_short().last().unwrap(), "0 _result 7 2");
    assert_eq!(peer.stopped(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever follows `connect`, in whatever pieces: nothing panics, and an error is the last event.
    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 1usize..200) {
        let mut peer = Peer::publishing();
        for piece in bytes.chunks(cut) {
            peer.send(Bytes::copy_from_slice(piece));
        }
        peer.eof();
        prop_assert!(peer.session.is_closed());
        prop_assert_eq!(peer.events.iter().filter(|e| matches!(e, Event::Closed { .. })).count(), 1);
        let _ = peer.closed();
    }

    /// Commands with any name and argument are answered or refused, and never panic.
    #[test]
    fn no_command_panics(
        name in prop_oneof![Just("publish"), Just("play"), Just("deleteStream"), Just("pause"), Just("connect"), Just("x")],
        number in any::<f64>(),
        text in ".{0,20}",
        stream_id in any::<u32>(),
    ) {
        let mut peer = Peer::connected();
        for arguments in [vec![text.as_str().into(), number.into()], vec![crate::rtmp::amf::Value::Null, number.into()]] {
            peer.say(&write::call(stream_id, name, number, &arguments));
        }
    }
}
