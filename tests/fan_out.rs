//! Many players: every one of them sees every frame, a slow one is kept near the present or closed, and delays nobody.
#![cfg(feature = "engine")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::client::{Client, Event};
use support::crowd::{Crowd, Report, percentile};
use support::media::H264_AAC;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers, stamp};
use support::{PATIENCE, wait_until};

/// Players of each of the two large streams.
const PLAYERS: usize = 200;
/// Players beside the slow ones, of the same stream.
const NEIGHBOURS: usize = 10;
/// How long the streams run, in media messages: 50 a second for 30 s.
const MESSAGES: u64 = 30 * 50;
/// Rate of the stream that is watched slowly: so much that what kernels hold is a small part of a second.
const SLOW_STREAM_BITS: usize = 8_000_000;
/// How far behind a queue lets a reader fall, milliseconds (the default of `QueueSettings::ms_max`).
const QUEUE_MS: u64 = 3_000;
/// How long a reader may take nothing (the default of `QueueSettings::stall_ms_max`).
const STALL: Duration = Duration::from_secs(10);

/// Two publishers with 200 players each over two cores for 30 s, and a third stream with two slow readers among its players: who
/// reads sees every message in order and soon; who stops reading loses frames and then the connection; who reads at half the rate
/// stays near the present, and what it gets starts at key frames.
#[test]
fn every_player_sees_every_frame_and_slow_ones_hurt_only_themselves() {
    let server = Inrush::new().cores(2).start();
    let streams = [
        ("first", 1_000_000, PLAYERS),
        ("second", 500_000, PLAYERS),
        ("third", SLOW_STREAM_BITS, NEIGHBOURS),
    ];
    let crowds = streams.map(|(name, _, players)| Crowd::join(server.rtmp(), "live", name, players));
    let stopped = Client::open_narrow(server.rtmp()).connect("live").play("third");
    let half = Client::open_narrow(server.rtmp()).connect("live").play("third");
    for (name, _, players) in streams {
        let slow = if name == "third" { 2 } else { 0 };
        server.wait_for_players("live", name, players + slow);
    }
    wait_until("players are on both cores", PATIENCE, || {
        server.metrics().per_core("subscribers").iter().all(|count| *count > 0).then_some(())
    });

    std::thread::scope(|scope| {
        for (name, bits, _) in streams {
            let address = server.rtmp();
            scope.spawn(move || publish(address, name, bits));
        }
        let slow = scope.spawn(|| read_at_half_the_rate(half));
        watch_stopped_reader(&server, stopped);
        let slow = slow.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        println!("half rate: {slow:?}");
        assert!(slow.oldest_ms <= QUEUE_MS + 1_000, "{slow:?}");
        assert!(slow.gaps > 0, "it was never too slow: {slow:?}");
        assert_eq!(slow.gaps_not_at_key_frames, 0, "{slow:?}");
    });
    for ((name, _, _), crowd) in streams.into_iter().zip(crowds) {
        check_crowd(name, crowd.finish());
    }
    assert_eq!(server.metrics().counter("feed_pauses"), 0, "a core fell behind");
}

fn publish(address: SocketAddr, name: &str, bits: usize) {
    let mut publisher = Client::open(address).connect("live").publish(name);
    publisher.set_chunk_size(4096);
    sequence_headers(&H264_AAC.media()).iter().for_each(|header| publisher.send_tag(header));
    publisher.send_synthetic(&Pattern::with_bits_per_second(bits), 0..MESSAGES);
    publisher.unpublish();
}

/// Every player of the crowd saw every message, none was kept waiting.
#[track_caller]
fn check_crowd(name: &str, reports: Vec<Report>) {
    let mut latencies = Vec::new();
    for report in reports {
        let seen = (report.first, report.last, report.out_of_order, report.latencies_us.len());
        assert_eq!(seen, (Some(0), Some(MESSAGES - 1), 0, MESSAGES as usize), "a player of {name}");
        assert!(report.starts_at_key_frame && report.notified);
        latencies.extend(report.latencies_us);
    }
    let [p50, p99, max] =
        [0.5, 0.99, 1.0].map(|share| f64::from(percentile(latencies.clone(), share)) / 1000.0);
    println!(
        "{name}: {} messages, latency p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms",
        latencies.len()
    );
    assert!(p99 < 1_000.0, "players of {name} were delayed: p99 {p99} ms");
}

/// A player that stops reading loses frames first and its connection then.
fn watch_stopped_reader(server: &Server, mut player: Client) {
    player.wait_for("the first frame", |event| match event {
        Event::Media(tag) => stamp(tag.kind, &tag.body),
        _ => None,
    });
    let stopped_at = Instant::now();
    let peer = player.socket().local_addr().expect("an address").to_string();
    let find = || server.connections().into_iter().find(|connection| connection["peer"] == peer.as_str());
    let limit = Duration::from_millis(QUEUE_MS) + STALL + Duration::from_secs(5);
    wait_until("frames for the player that does not read are dropped", limit, || {
        let connection = find().expect("it is not closed before frames were dropped");
        (connection["dropped"].as_u64()? > 0).then_some(())
    });
    let left = limit.saturating_sub(stopped_at.elapsed());
    wait_until("the player that does not read is closed", left, || find().is_none().then_some(()));
    assert!(stopped_at.elapsed() > STALL, "it was closed after {:?}", stopped_at.elapsed());
    wait_until("the reason is counted", PATIENCE, || {
        (server.metrics().of_kind("close_reason", "hopeless") == 1).then_some(())
    });
    assert!(player.wait_for_close(PATIENCE));
}

/// What a slow reader got.
#[derive(Debug, Default)]
struct SlowReading {
    messages: u64,
    /// Age of the oldest message on arrival, milliseconds.
    oldest_ms: u64,
    /// Times that video frames were left out.
    gaps: u64,
    /// Times that video went on with another frame than a key frame.
    gaps_not_at_key_frames: u64,
}

fn read_at_half_the_rate(mut player: Client) -> SlowReading {
    let mut reading = SlowReading::default();
    let mut last_video = None;
    player.limit_reading(SLOW_STREAM_BITS as f64 / 8.0 / 2.0);
    loop {
        match player.next_event(PATIENCE).expect("the stream goes on") {
            Event::Media(tag) => {
                let Some(stamp) = stamp(tag.kind, &tag.body) else { continue };
                reading.messages += 1;
                reading.oldest_ms = reading.oldest_ms.max(stamp.age_us / 1000);
                if stamp.number.is_multiple_of(2) {
                    let is_gap = last_video.is_some_and(|last| stamp.number != last + 2);
                    reading.gaps += u64::from(is_gap);
                    reading.gaps_not_at_key_frames += u64::from(is_gap && !stamp.key);
                    last_video = Some(stamp.number);
                }
            }
            Event::Status(status) if status.code == "NetStream.Play.UnpublishNotify" => return reading,
            Event::Closed => panic!("a slow reader that reads on is not closed: {reading:?}"),
            _ => {}
        }
    }
}
