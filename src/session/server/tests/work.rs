//! The budget of work: what each kind of message is charged, what an honest peer may do, and what ends a session.

use std::time::Duration;

use bytes::Bytes;

use super::limits::{aggregate, message};
use super::peer::*;
use crate::rtmp::amf::Value;
use crate::rtmp::chunk::ChunkStreamId;
use crate::rtmp::command::write;
use crate::rtmp::message::type_id;
use crate::rtmp::{Control, Limits, Message, UserControl};
use crate::session::work::SECONDS_AT_ONCE;
use crate::session::*;

const SECOND: Duration = Duration::from_secs(1);

/// A peer that publishes, with chunks of a size that no message here needs two of, and whose budget is full.
fn rested(work_per_second_max: u32) -> Peer {
    let mut settings = ServerSettings::default();
    settings.limits.work_per_second_max = work_per_second_max;
    let mut peer = Peer::connected_with(settings);
    peer.say(&publish("key"));
    peer.accept_publish(peer.publish_request());
    peer.say_on(ChunkStreamId::AUDIO, &media(type_id::AUDIO, 0, 20));
    peer.set_chunk_size(1 << 16);
    peer.wait(SECOND * SECONDS_AT_ONCE);
    peer.forget();
    peer
}

/// Says `message` until the session ends: how often it was taken, and what the session ended with.
fn say_until_closed(peer: &mut Peer, chunk_stream: ChunkStreamId, message: &Message) -> (u64, &'static str) {
    let mut taken = 0;
    loop {
        peer.forget();
        peer.say_on(chunk_stream, message);
        if peer.session.is_closed() {
            return (taken, peer.closed().0.label());
        }
        taken += 1;
    }
}

/// Whatever a peer can send has its price, is taken until the budget is used up, and ends the session by its name then.
#[test]
fn every_message_is_charged() {
    let command = write::call(0, "x", 0.0, &[]);
    let text = message(type_id::DATA_AMF0, 1, &[b'x'; 100]);
    let long = message(type_id::DATA_AMF3, 1, &[b'x'; 60_000]);
    let control = |control: Control| control.to_message();
    let user = |event| Control::User(event).to_message();
    // The units of the message, and one for its chunk if that is a tiny one.
    let table: &[(&str, Message, u64, &str)] = &[
        ("video", media(type_id::VIDEO, 0, 31), 10, "too_many_messages"),
        ("longer video", media(type_id::VIDEO, 0, 319), 1, "too_many_messages"),
        ("audio", media(type_id::AUDIO, 0, 15), 10 + 1, "too_many_messages"),
        ("empty video", media(type_id::VIDEO, 0, 0), 10 + 1, "too_many_messages"),
        ("data", text, 20 + 50, "too_many_messages"),
        ("long data", long, 20 + 16_384, "too_many_messages"),
        ("shared object", message(type_id::SHARED_OBJECT_AMF0, 0, &[0; 20]), 4, "too_many_messages"),
        ("unknown type", message(99, 0, &[]), 4 + 1, "too_many_messages"),
        ("chunk size", control(Control::SetChunkSize(1 << 16)), 4 + 1, "too_many_control_messages"),
        ("abort", control(Control::Abort(9)), 4 + 1, "too_many_control_messages"),
        ("acknowledgement", control(Control::Acknowledgement(9)), 4 + 1, "too_many_control_messages"),
        ("window", control(Control::WindowAckSize(1)), 4 + 1, "too_many_control_messages"),
        (
            "peer bandwidth",
            control(Control::SetPeerBandwidth { bytes: 9, limit: crate::rtmp::BandwidthLimit::Hard }),
            100 + 1,
            "too_many_control_messages",
        ),
        ("ping", user(UserControl::PingRequest(1)), 100 + 1, "too_many_control_messages"),
        ("pong", user(UserControl::PingResponse(1)), 4 + 1, "too_many_control_messages"),
        ("unknown event", user(UserControl::Unknown(31)), 4 + 1, "too_many_control_messages"),
        (
            "command",
            command.clone(),
            500 + command.payload.len() as u64 / 2 + u64::from(command.payload.len() < 16),
            "too_many_commands",
        ),
    ];
    let budget = 40_000;
    for (name, message, units, label) in table {
        let mut peer = rested(10_000);
        // Type 2 from the second on: the length of the chunk header changes nothing.
        let (taken, ended) = say_until_closed(&mut peer, ChunkStreamId::VIDEO, message);
        assert_eq!(taken, budget / units, "{name}");
        // The last straw may be the chunk rather than the message.
        let rest = budget % units;
        let expected = if rest == 0 && message.payload.len() < 16 { "too_many_tiny_chunks" } else { label };
        assert_eq!(ended, expected, "{name}");
    }
}

/// The budget comes back with time, and no more of it than may be used at once.
#[test]
fn a_budget_is_refilled_and_not_saved_up() {
    let mut peer = rested(10_000);
    let video = media(type_id::VIDEO, 0, 31);
    let say = |peer: &mut Peer, count: usize| {
        (0..count).for_each(|_| peer.say_on(ChunkStreamId::VIDEO, &video));
        assert!(!peer.session.is_closed(), "{count}");
    };
    say(&mut peer, 4_000);
    for _ in 0..10 {
        peer.wait(SECOND);
        say(&mut peer, 1_000);
    }
    peer.wait(Duration::from_secs(29));
    say(&mut peer, 4_000);
    peer.say_on(ChunkStreamId::VIDEO, &video);
    assert_eq!(peer.closed().0.label(), "too_many_messages");
}

/// An honest stream of 3,000 small messages a second, with the acknowledgements, pings and texts of a talkative peer, uses some two
/// thirds of the default; and after a stall several seconds of it may come at once.
#[test]
fn an_honest_stream_passes_at_ease() {
    let mut peer = rested(Limits::default().work_per_second_max * 2 / 3);
    let text = message(type_id::DATA_AMF0, 1, &[b'x'; 100]);
    let second = |peer: &mut Peer| {
        for nth in 0..3_000 {
            let len = if nth % 4 == 0 { 10 } else { 30 };
            peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, nth, len));
        }
        for _ in 0..50 {
            peer.say_on(ChunkStreamId::DATA, &text);
            peer.control(Control::Acknowledgement(1));
        }
        (0..5).for_each(|nth| peer.control(Control::User(UserControl::PingRequest(nth))));
        assert!(!peer.session.is_closed());
        peer.forget();
    };
    for _ in 0..60 {
        second(&mut peer);
        peer.wait(SECOND);
    }
    let mut peer = rested(Limits::default().work_per_second_max);
    (0..6).for_each(|_| second(&mut peer));
}

/// Media that its bytes pay for is never too much: a file may come as fast as the network goes.
#[test]
fn a_file_that_comes_as_fast_as_it_can_is_no_flood() {
    let mut peer = rested(Limits::default().work_per_second_max);
    let [audio, video] = [media(type_id::AUDIO, 0, 350), media(type_id::VIDEO, 0, 5_000)];
    for _ in 0..50_000 {
        peer.say_on(ChunkStreamId::AUDIO, &audio);
        peer.say_on(ChunkStreamId::VIDEO, &video);
        peer.forget();
    }
    assert!(!peer.session.is_closed());
}

/// With the defaults, media in chunks of one byte goes through at 100 kbit/s, also twenty seconds of it at once, and at 1 Mbit/s ends
/// the session within four seconds.
#[test]
fn a_chunk_size_of_one_is_taken_at_100_kbit_and_not_at_ten_times_that() {
    let publishing = || {
        let mut peer = rested(Limits::default().work_per_second_max);
        peer.set_chunk_size(1);
        peer
    };
    let mut odd = publishing();
    for tenth in 0..300 {
        odd.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, tenth * 100, 1250));
        odd.wait(Duration::from_millis(100));
    }
    assert_eq!(odd.media().len(), 300);
    odd.wait(SECOND * SECONDS_AT_ONCE);
    (0..180).for_each(|_| odd.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 1250)));
    assert_eq!(odd.media().len(), 480);
    let mut mean = publishing();
    let mut tenths = 0;
    while !mean.session.is_closed() {
        mean.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, tenths * 100, 12_500));
        mean.wait(Duration::from_millis(100));
        tenths += 1;
        assert!(tenths <= 40);
    }
    assert_eq!(mean.closed().0.label(), "too_many_tiny_chunks");
}

/// A header is a message when no body follows it, and one byte then.
#[test]
fn a_flood_of_headers_ends_its_session() {
    let mut peer = rested(Limits::default().work_per_second_max);
    peer.say_on(ChunkStreamId::VIDEO, &media(type_id::VIDEO, 0, 0));
    // Type 3 on chunk stream 6, again and again: 100,000 of them are less than one second of 1 Mbit/s.
    peer.send(Bytes::from(vec![0xc6; 100_000]));
    assert_eq!(peer.closed().0.label(), "too_many_messages");
    assert!(peer.media().len() < 22_000, "{}", peer.media().len());
}

#[test]
fn aggregates_are_no_way_around_the_budget() {
    let mut peer = rested(11_000);
    // An empty part is 11 units, and the last one, of 16 bytes, 10.
    for _ in 0..10 {
        peer.say_on(ChunkStreamId::VIDEO, &aggregate(900, 16));
        peer.wait(SECOND);
    }
    assert_eq!(peer.media().len(), 9_000);
    peer.wait(SECOND * SECONDS_AT_ONCE);
    (0..4).for_each(|_| peer.say_on(ChunkStreamId::VIDEO, &aggregate(900, 16)));
    assert!(!peer.session.is_closed());
    peer.say_on(ChunkStreamId::VIDEO, &aggregate(900, 16));
    assert!(matches!(peer.closed().0.label(), "too_many_tiny_chunks" | "too_many_messages"));
}

/// Before `connect` as after it: a peer that is asked for nothing yet has the same budget.
#[test]
fn a_flood_before_connect_ends_its_session() {
    let floods: [(Message, &str); 3] = [
        (Control::User(UserControl::PingRequest(1)).to_message(), "too_many_control_messages"),
        (write::call(0, "x", 1.0, &[Value::Null]), "too_many_commands"),
        (message(99, 0, &[0; 20]), "too_many_messages"),
    ];
    for (flood, label) in floods {
        let mut peer = Peer::new(ServerSettings::default());
        peer.shake_hands();
        let (taken, ended) = say_until_closed(&mut peer, ChunkStreamId::COMMAND, &flood);
        assert_eq!(ended, label);
        assert!(taken > 400, "{taken}");
    }
}
