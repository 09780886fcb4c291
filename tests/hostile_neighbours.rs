//! Honest streams beside the hostile cast: whatever it does, they lose nothing, and the server's memory stays within its sum.
#![cfg(feature = "engine")]

#[path = "hostile_neighbours/cast.rs"]
mod cast;
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cast::Cast;
use support::client::Client;
use support::crowd::{Crowd, percentile};
use support::media::THIN;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::{PATIENCE, wait_until};

/// Honest publishers, each with a player.
const STREAMS: usize = 50;
/// Cores of the server.
const CORES: u16 = 2;
/// Messages of each stream: 50 a second for 24 s.
const MESSAGES: u64 = 24 * 50;
/// How long the streams run before the cast comes: GOP caches and buffers have found their size by then.
const ALONE: Duration = Duration::from_secs(5);
/// How long the cast is there: longer than its slowest members may stay.
const TOGETHER: Duration = Duration::from_secs(15);
/// What the server's memory may grow by: the budget of each core for those that have not published, and something for the rest.
const GROWTH_BYTES_MAX: u64 = CORES as u64 * (64 << 20) + (32 << 20);

/// Nobody is trusted, so that admission counts everybody; deadlines are short, so that the slow ones see theirs; and the kernel holds little
/// for players, so that those who never read are soon found out.
const CONFIG: &str = "[deadlines]
handshake_seconds = 3
connect_seconds = 3
publish_or_play_seconds = 4
first_media_seconds = 4
[limits]
trusted = []
subscriber_unsent_bytes_max = 16_384
[[app]]
name = \"*\"
stall_ms_max = 4000
";

/// 50 publishers with a player each run for 24 s; for 15 s of them every part of the cast does its worst. No player misses a message or sees
/// one twice, late or damaged; every part is ended by the server; memory grows by less than 64 MB a core and 32 MB.
#[test]
fn honest_streams_lose_nothing_and_memory_stays_bounded() {
    let server = Inrush::new().cores(CORES).config(CONFIG).start();
    let address = server.rtmp();
    let names: Vec<String> = (0..STREAMS).map(|number| format!("stream-{number}")).collect();
    let crowds: Vec<Crowd> = names.iter().map(|name| Crowd::join(address, "live", name, 1)).collect();
    wait_until("every player is there", PATIENCE, || {
        (server.metrics().gauge("subscribers") == STREAMS as u64).then_some(())
    });
    let (ended, growth) = std::thread::scope(|scope| {
        let publishers: Vec<_> =
            names.iter().map(|name| scope.spawn(move || publish(address, name))).collect();
        let _ = watch_memory(&server, ALONE);
        let before = server.rss_bytes();
        let cast = Cast::start(address, STREAMS);
        let most = watch_memory(&server, TOGETHER);
        let ended = cast.finish();
        for publisher in publishers {
            publisher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        (ended, most.saturating_sub(before))
    });
    println!("memory grew by {} kB of {} kB", growth / 1024, GROWTH_BYTES_MAX / 1024);
    let metrics = server.metrics();
    println!("connections accepted {}, ended by the server: {ended:?}", metrics.counter("accepted"));

    let mut latencies = Vec::new();
    for (name, crowd) in names.iter().zip(crowds) {
        for report in crowd.finish() {
            let seen = (report.first, report.last, report.out_of_order, report.latencies_us.len() as u64);
            assert_eq!(seen, (Some(0), Some(MESSAGES - 1), 0, MESSAGES), "the player of {name}");
            assert!(report.starts_at_key_frame && report.notified, "the player of {name}");
            latencies.extend(report.latencies_us);
        }
    }
    let [p50, p99, max] =
        [0.5, 0.99, 1.0].map(|share| f64::from(percentile(latencies.clone(), share)) / 1000.0);
    println!("{} messages, latency p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms", latencies.len());
    for (part, count) in ended {
        assert!(count > 0, "the server has not ended a single {part:?}");
    }
    for (family, kind) in [("session_error", "deadline"), ("close_reason", "hopeless")] {
        assert!(metrics.of_kind(family, kind) > 0, "nobody was closed for {kind}");
    }
    assert!(growth < GROWTH_BYTES_MAX, "memory grew by {growth} bytes");
    wait_until("nobody is left", PATIENCE, || server.connections().is_empty().then_some(()));
}

fn publish(address: SocketAddr, name: &str) {
    let mut publisher = Client::open(address).connect("live").publish(name);
    publisher.set_chunk_size(4096);
    sequence_headers(&THIN.media()).iter().for_each(|header| publisher.send_tag(header));
    publisher.send_synthetic(&Pattern::with_bits_per_second(300_000), 0..MESSAGES);
    publisher.unpublish();
}

/// The most memory that the server has within this time.
fn watch_memory(server: &Server, time: Duration) -> u64 {
    let (start, mut most) = (Instant::now(), 0);
    while start.elapsed() < time {
        most = most.max(server.rss_bytes());
        std::thread::sleep(Duration::from_millis(50));
    }
    most
}
