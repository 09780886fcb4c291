//! Rows 3, 4, 5 and 22: streams that run for hours and days, headers that come again, clocks that change.

use std::time::Duration;

use bytes::Bytes;
use inrush::media::{Ingest, IngestSettings, TimestampPolicy};
use inrush::rtmp::Payload;
use inrush::session::ServerSettings;

use crate::session::Encoder;
use crate::stage::{
    assert_seen, frames, headers, in_api, inter, join, key, publisher, second, send_all, server, sound, watch,
};
use crate::support::chunk_header::{type_0, type_1, type_2, type_3};
use crate::support::client::Client;
use crate::support::flv::{Kind, Tag};
use crate::support::wire::{ChunkWriter, ExtendedTimestamp, MediaHeaders, Message};
use crate::support::{PATIENCE, script, wait_until};

/// Where timestamps need the extended field, where a signed one turns over, and where all 32 bits do.
const LIMITS: [(&str, u32); 3] = [("24-bits", 0xff_ffff), ("31-bits", 1 << 31), ("32-bits", 0)];

/// Row 3, MediaMTX #2393 and PR #2808, OBS #10097, NMS #25 and many more, streams that die after 4 h 39 min: across 0xFFFFFF, 2^31 and
/// 2^32, whether type 3 chunks repeat the extended timestamp, leave it out, or follow a delta, each message comes through with its time.
#[test]
fn row_03_streams_live_on_across_every_limit() {
    let server = server();
    let habits = [
        ("repeat", ExtendedTimestamp::Repeat, MediaHeaders::Absolute),
        ("omit", ExtendedTimestamp::Omit, MediaHeaders::Absolute),
        ("delta", ExtendedTimestamp::Repeat, MediaHeaders::Delta),
        ("delta-omit", ExtendedTimestamp::Omit, MediaHeaders::Delta),
    ];
    for (limit_name, limit) in LIMITS {
        for (habit, extended, media_headers) in habits {
            let name = format!("{limit_name}-{habit}");
            let start = limit.wrapping_sub(1_490); // so that a frame lies on each side, and one on the limit or beside it
            let tags =
                [second(start), frames(start.wrapping_add(1000)), frames(start.wrapping_add(2000))].concat();
            let player = watch(&server, &name);
            let writer = ChunkWriter::new(extended, media_headers);
            let mut publisher =
                Client::open(server.rtmp()).with_writer(writer).connect("live").publish(&name);
            send_all(&mut publisher, &tags);
            publisher.unpublish();
            assert_seen(player, &tags);
        }
    }
}

/// Row 3, the same threads, a stream that is joined behind each of these limits: it starts with the right time.
#[test]
fn row_03_late_joiners_are_told_the_time() {
    let server = server();
    for (limit_name, limit) in LIMITS {
        let start = limit.wrapping_add(7);
        let mut publisher = publisher(&server, limit_name);
        send_all(&mut publisher, &second(start));
        send_all(&mut publisher, &[sound(start.wrapping_add(2_000))]);
        wait_until("the stream is there", PATIENCE, || {
            let streams = server.streams();
            streams.iter().any(|it| it["name"] == limit_name && it["gop_frames"] == 51).then_some(())
        });
        let late = join(&server, limit_name, 0);
        publisher.unpublish();
        assert_seen(late, &[second(start), vec![sound(start.wrapping_add(2_000))]].concat());
    }
}

/// Row 4, SRS #4356 and enhanced-rtmp #42, the extended timestamp of chunks of type 1 and 2: it is a delta, also for the type 3 that begins
/// the next message, and is repeated inside a message as the delta that it is. Byte by byte.
#[test]
fn row_04_an_extended_timestamp_of_type_1_or_2_is_a_delta() {
    let server = server();
    let player = watch(&server, "deltas");
    let mut publisher = publisher(&server, "deltas");
    send_all(&mut publisher, &headers());
    let body = |tag: &Tag, extended| {
        let pieces: Vec<&[u8]> = tag.body.chunks(128).collect();
        pieces.join(&type_3(6, extended)[..])
    };
    let sent = [key(0x10), inter(0x0100_000f), inter(0x0200_0010), inter(0x0300_0011), inter(0x0300_0012)];
    let bytes = 320 + 9;
    let session = [
        type_0(6, 0x10, bytes, 9, script::FIRST_STREAM),
        body(&sent[0], None),
        type_1(6, 0xff_ffff, bytes, 9),
        body(&sent[1], Some(0xff_ffff)),
        type_2(6, 0x0100_0001),
        body(&sent[2], Some(0x0100_0001)),
        type_3(6, Some(0x0100_0001)),
        body(&sent[3], Some(0x0100_0001)),
        type_2(6, 1),
        body(&sent[4], None),
    ];
    publisher.send_bytes(&session.concat());
    publisher.unpublish();
    assert_seen(player, &[headers(), sent.to_vec()].concat());
}

/// Row 5, MediaMTX ("28h28m", an overflow in the conversion to 90 kHz), a publisher of 60 days, on a clock that the test turns: the session
/// stays open, under either policy every frame keeps its place to the millisecond, and nothing counts as a jump or a step back.
#[test]
fn row_05_a_stream_may_last_for_60_days() {
    const STEP: Duration = Duration::from_secs(5);
    const DAYS: u32 = 60;
    let mut encoder = Encoder::connected(ServerSettings::default());
    let request = encoder.request_publish("days");
    encoder.session.accept_publish(encoder.now, request.request);
    encoder.drain();
    let policies = [TimestampPolicy::Pass, TimestampPolicy::Monotonic];
    let mut streams =
        policies.map(|timestamps| Ingest::new(IngestSettings { timestamps, ..IngestSettings::default() }));
    for number in 0..DAYS * 86_400 / 5 {
        let timestamp = number.wrapping_mul(5_000); // wraps after 49.7 days
        let frame = Tag {
            kind: Kind::Video,
            timestamp,
            body: vec![if number % 2 == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0, 9],
        };
        encoder.say(&Message::media(script::FIRST_STREAM, &frame));
        let [message] = <[_; 1]>::try_from(encoder.take_media()).expect("one message");
        for stream in &mut streams {
            let out = stream.frame(encoder.now, message.clone()).expect("a frame");
            assert_eq!(out.timestamp(), timestamp, "after {number} messages");
        }
        encoder.wait(STEP);
        assert!(!encoder.session.is_closed(), "after {number} messages");
    }
    for stream in streams {
        let counters = stream.timestamp_counters();
        assert_eq!((counters.steps_back.total(), counters.jumps.total()), (0, 0));
        assert_eq!((counters.held, counters.clock_changes), (0, 0));
    }
    assert_eq!(encoder.session.counters().video.messages, u64::from(DAYS * 86_400 / 5));
}

/// Row 22, SRS #4695, repeated sequence headers that are the same: nothing new, so they are not kept for whoever joins later. One that differs
/// is: he gets it in place of the old one, before the first frame that needs it, and who is there gets it in its place.
#[test]
fn row_22_a_repeated_sequence_header_is_nothing_new_and_a_changed_one_comes_first() {
    let server = server();
    let [video, audio] = <[Tag; 2]>::try_from(headers()).expect("two headers");
    let mut changed = video.clone();
    *changed.body.last_mut().expect("a configuration") ^= 1;
    let at = |timestamp, tag: &Tag| Tag { timestamp, ..tag.clone() };
    let player = watch(&server, "changes");
    let mut publisher = publisher(&server, "changes");

    // The same ones again and again, before frames of every kind.
    let repeated: Vec<Tag> = frames(0)
        .into_iter()
        .flat_map(|frame| [at(frame.timestamp, &video), at(frame.timestamp, &audio), frame])
        .collect();
    send_all(&mut publisher, &repeated);
    in_api(&server, "changes", "its frames, and no header among them", |stream| {
        (stream["gop_frames"].as_u64()? == frames(0).len() as u64).then_some(())
    });
    let joined = join(&server, "changes", 1);

    // Another one for the picture, and its key frame.
    let mut after = frames(1000);
    after.insert(0, at(1000, &changed));
    send_all(&mut publisher, &after);
    in_api(&server, "changes", "the next GOP", |stream| (stream["gop_frames"].as_u64()? == 50).then_some(()));
    let joined_later = join(&server, "changes", 2);
    publisher.unpublish();

    assert_seen(player, &[repeated, after.clone()].concat());
    let start = [at(0, &video), at(0, &audio)];
    assert_seen(joined, &[start.to_vec(), frames(0), after].concat());
    let start = [at(1000, &changed), at(1000, &audio)];
    assert_seen(joined_later, &[start.to_vec(), frames(1000)].concat());
}

/// Row 22, Red5 #50 and nginx-rtmp #890, sound and picture drift apart when the encoder comes back with a new clock: under `monotonic` what
/// follows goes on where the old left off, by the same offset for both.
#[test]
fn row_22_sound_and_picture_stay_together_when_the_clock_changes() {
    let mut stream =
        Ingest::new(IngestSettings { timestamps: TimestampPolicy::Monotonic, ..IngestSettings::default() });
    let mut out = Vec::new();
    let mut now = inrush::session::Instant::default();
    for round in [50_000_000, 0, 3_000_000] {
        for tag in frames(round) {
            let kind = if tag.kind == Kind::Video {
                inrush::session::MediaKind::Video
            } else {
                inrush::session::MediaKind::Audio
            };
            let message = inrush::session::MediaMessage {
                kind,
                type_id: tag.kind.type_id(),
                stream_id: 1,
                timestamp: tag.timestamp,
                payload: Payload::from(Bytes::from(tag.body)),
                wire_bytes: 0,
            };
            out.push(stream.frame(now, message).expect("a frame").timestamp());
            now = now + Duration::from_millis(20);
        }
    }
    let expected: Vec<u32> = (0..150).map(|n| 50_000_000 + n * 20).collect();
    assert_eq!(out, expected);
    assert_eq!(stream.timestamp_counters().clock_changes, 2);
}
