//! Deadlines, pings and acknowledgements.

use std::time::Duration;

use bytes::Bytes;

use super::peer::*;
use crate::rtmp::chunk::ChunkStreamId;
use crate::rtmp::command::write;
use crate::rtmp::message::type_id;
use crate::rtmp::{Control, Error, PeerMisbehaved, Stage, UserControl};
use crate::session::*;

fn deadline(stage: Stage) -> CloseReason {
    CloseReason::Error(Error::PeerMisbehaved(PeerMisbehaved::Deadline(stage)))
}

const SECOND: Duration = Duration::from_secs(1);

/// Lets `duration` pass, and checks that the session would have stayed open for a moment less.
fn expires_after(peer: &mut Peer, duration: Duration) {
    peer.forget();
    peer.wait(duration - Duration::from_micros(1));
    assert!(!peer.session.is_closed(), "{:?}", peer.events);
    peer.forget();
    peer.wait(Duration::from_micros(1));
}

#[test]
fn each_stage_has_its_deadline() {
    let deadlines = Deadlines::default();

    let mut peer = Peer::new(ServerSettings::default());
    peer.send(Bytes::from_static(&[3, 0, 0]));
    expires_after(&mut peer, deadlines.handshake);
    assert_eq!(peer.closed(), (deadline(Stage::Handshake), false));

    let mut peer = Peer::new(ServerSettings::default());
    peer.shake_hands();
    expires_after(&mut peer, deadlines.connect);
    assert_eq!(peer.heard_in_short(), ["0 onStatus error NetConnection.Connect.IdleTimeOut"]);
    assert_eq!(peer.closed(), (deadline(Stage::Connect), true));

    let mut peer = Peer::connected();
    expires_after(&mut peer, deadlines.publish_or_play);
    assert_eq!(peer.closed(), (deadline(Stage::PublishOrPlay), true));

    let mut peer = Peer::publishing();
    expires_after(&mut peer, deadlines.first_media);
    assert_eq!(peer.heard_in_short(), ["1 onStatus error NetStream.Publish.Idle"]);
    assert_eq!(peer.closed(), (deadline(Stage::FirstMedia), true));

    let mut peer = Peer::publishing();
    peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 10));
    expires_after(&mut peer, deadlines.idle);
    assert_eq!(peer.closed(), (deadline(Stage::Idle), true));
}

#[test]
fn bytes_that_are_no_progress_do_not_put_a_stage_off() {
    let mut peer = Peer::new(ServerSettings::default());
    for _ in 0..9 {
        peer.send(Bytes::from_static(&[3]));
        peer.wait(SECOND);
    }
    expires_after(&mut peer, SECOND);
    assert_eq!(peer.closed().0, deadline(Stage::Handshake));

    let mut peer = Peer::connected();
    for _ in 0..19 {
        peer.say(&write::create_stream(0.0));
        peer.say(&write::delete_stream(0.0, 1));
        peer.wait(SECOND);
    }
    expires_after(&mut peer, SECOND);
    assert_eq!(peer.closed().0, deadline(Stage::PublishOrPlay));
}

/// A byte now and then of something that never ends puts nothing off: in the handshake, in `connect`, and in any message before publish or
/// play, whatever its type and chunk stream.
#[test]
fn a_drip_does_not_put_a_stage_off() {
    let drip = |peer: &mut Peer, bytes: Bytes, stage: Stage| {
        let began = peer.now;
        for byte in bytes {
            peer.send(Bytes::from(vec![byte]));
            peer.wait(SECOND);
            if peer.session.is_closed() {
                assert_eq!(peer.closed().0, deadline(stage));
                assert_eq!(peer.now - began, Deadlines::default().of(stage), "{stage}");
                return;
            }
        }
        panic!("{stage}: all of it came in time");
    };
    let message = |message: &crate::rtmp::Message| {
        let mut bytes = bytes::BytesMut::new();
        crate::rtmp::chunk::ChunkWriter::new(128).write(ChunkStreamId::DATA, message, &mut bytes);
        bytes.freeze()
    };
    let mut peer = Peer::new(ServerSettings::default());
    drip(&mut peer, Bytes::from(vec![3; 1537]), Stage::Handshake);
    // C0 and C1 at once, and C2 in drips.
    let mut peer = Peer::new(ServerSettings::default());
    peer.send(Bytes::from([&[3][..], &[0; 1536]].concat()));
    drip(&mut peer, Bytes::from(vec![0; 1536]), Stage::Handshake);

    let mut peer = Peer::new(ServerSettings::default());
    peer.shake_hands();
    drip(&mut peer, message(&connect("live")), Stage::Connect);
    for type_id in [type_id::AUDIO, type_id::DATA_AMF0, type_id::COMMAND_AMF0, type_id::AGGREGATE, 99] {
        let mut peer = Peer::connected();
        drip(&mut peer, message(&media(type_id, 0, 1000)), Stage::PublishOrPlay);
    }
    // One that is in the middle of its first media message has not sent any.
    let mut peer = Peer::publishing();
    drip(&mut peer, message(&media(type_id::VIDEO, 0, 1000)), Stage::FirstMedia);
}

#[test]
fn a_publisher_that_moves_bytes_is_never_idle() {
    let mut peer = Peer::publishing();
    peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 10));
    for _ in 0..100 {
        peer.wait(Duration::from_secs(29));
        peer.control(Control::User(UserControl::PingResponse(0)));
    }
    assert!(!peer.session.is_closed());
    assert_eq!(peer.session.counters().acknowledged_by_peer, 0, "and never acknowledged anything");
}

#[test]
fn the_time_that_our_answer_takes_is_not_the_peers() {
    let mut peer = Peer::connected();
    peer.say(&publish("key"));
    let request = peer.publish_request();
    peer.wait(Duration::from_secs(3600));
    assert!(!peer.session.is_closed());
    peer.accept_publish(request);
    expires_after(&mut peer, Deadlines::default().first_media);
    assert_eq!(peer.closed().0, deadline(Stage::FirstMedia));

    let mut peer = Peer::connected();
    peer.say(&publish("key"));
    let request = peer.publish_request();
    peer.wait(Duration::from_secs(3600));
    peer.reject(request, Rejection { close: false, ..Rejection::publish_denied("no") });
    expires_after(&mut peer, Deadlines::default().publish_or_play);

    let mut peer = Peer::connected();
    peer.say(&publish("key"));
    peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 10));
    let request = peer.publish_request();
    peer.wait(Duration::from_secs(3600));
    peer.accept_publish(request);
    assert_eq!(peer.media().len(), 1, "held, and the last that came");
    expires_after(&mut peer, Deadlines::default().idle);
    assert_eq!(peer.closed().0, deadline(Stage::Idle));
}

#[test]
fn a_player_may_be_silent_for_ever_and_is_pinged() {
    let mut peer = Peer::playing();
    for _ in 0..1000 {
        peer.wait(Duration::from_secs(10));
    }
    assert!(!peer.session.is_closed());
    assert_eq!(peer.session.counters().pings_sent, 1000);
    assert!(peer.heard_in_short().iter().all(|heard| heard.starts_with("User(PingRequest(")));
    peer.say(&write::close_stream(1));
    peer.forget();
    expires_after(&mut peer, Deadlines::default().publish_or_play);
}

#[test]
fn nobody_is_pinged_who_sends() {
    let mut peer = Peer::playing();
    for _ in 0..100 {
        peer.wait(Duration::from_secs(9));
        peer.control(Control::Acknowledgement(1));
    }
    assert_eq!(peer.session.counters().pings_sent, 0);
    assert_eq!(peer.session.counters().acknowledged_by_peer, 1);
}

#[test]
fn a_pong_gives_the_round_trip() {
    let mut peer = Peer::playing();
    peer.wait(Duration::from_secs(10));
    let stamp = peer.now.as_millis() as u32;
    assert_eq!(peer.heard_in_short(), [format!("User(PingRequest({stamp}))")]);
    peer.now = peer.now + Duration::from_millis(42);
    peer.control(Control::User(UserControl::PingResponse(stamp)));
    assert_eq!(peer.session.counters().round_trip, Some(Duration::from_millis(42)));
}

#[test]
fn the_driver_is_asked_for_a_wake_up_when_it_needs_a_new_one() {
    let mut peer = Peer::publishing();
    peer.timeouts.clear();
    peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 10));
    for _ in 0..100 {
        peer.now = peer.now + Duration::from_millis(40);
        peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 10));
    }
    assert_eq!(peer.timeouts, [], "100 reads move the deadline away 100 times");
    // The old wake-up comes, finds nothing due and is followed by one at the right time.
    let old = Instant::from_micros(1_000_000) + ServerSettings::default().ping_interval;
    peer.wait(old - peer.now);
    assert!(!peer.session.is_closed());
    assert_eq!(peer.timeouts, [peer.session.next_timeout()]);
    assert_eq!(peer.session.counters().pings_sent, 0);
}

#[test]
fn acknowledgements_follow_the_peers_window() {
    let mut peer = Peer::publishing();
    peer.set_chunk_size(60_000);
    peer.control(Control::WindowAckSize(100_000));
    for _ in 0..100 {
        peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 10_000));
    }
    let acknowledged = peer.heard_in_short();
    assert!((19..=20).contains(&acknowledged.len()), "{acknowledged:?}");
    assert_eq!(peer.session.counters().acknowledgements_sent, acknowledged.len() as u64);
    assert!(acknowledged.iter().all(|heard| heard.starts_with("Acknowledgement(")));
}

#[test]
fn a_tiny_window_costs_next_to_nothing() {
    let mut peer = Peer::publishing();
    peer.control(Control::WindowAckSize(1));
    assert_eq!(peer.oddities(), [Oddity::TinyWindow]);
    let before = peer.session.counters().bytes_in;
    for _ in 0..1000 {
        peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 10));
    }
    let received = peer.session.counters().bytes_in - before;
    let sent: u64 = peer.session.counters().acknowledgements_sent;
    assert!(sent <= received / 1024 + 1, "{sent} for {received} bytes");
}
