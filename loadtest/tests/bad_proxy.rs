//! A deliberately bad proxy between the harness and `inrush`: the harness must report exactly what the proxy did.

mod support;

use std::time::Duration;

use inrush_loadtest::report::Bucket;
use support::proxy::{Deeds, Fate, Manners, Passed, Proxy};
use support::server::Server;
use support::{in_one_of_a_few_runs, measure, median};

/// The player whose messages all come late.
const DELAYED: usize = 1;
const DELAY: Duration = Duration::from_millis(100);
/// Between the latencies of the two players.
const SPLIT_US: u64 = DELAY.as_micros() as u64 / 2;
/// What the harness's median may be off from the proxy's own.
const OFF_US_MAX: i64 = 1_000;
/// A harness whose own median lateness is more than this waits for the processor, at its reads as at its writes.
const LATE_US_MAX: u64 = 300;

/// The round has 71 messages and takes one second, as long as the warm-up: what is done to later ones is done within the
/// measurement, and 7 s of media leave 2 s after the last of it.
fn fate(player: usize, sequence: u64) -> Fate {
    match (player, sequence) {
        (_, ..80 | 360..) => Fate::Pass,
        // More at once than the harness remembers one by one.
        (1, 190..330) => Fate::Drop,
        (0, 200) => Fate::Hold(100),
        (0, 100) => Fate::Again(180),
        (_, 150..155) => Fate::Drop,
        (_, sequence) if sequence % 11 == 3 + player as u64 => Fate::Drop,
        (_, sequence) if sequence % 13 == 5 => Fate::Again((sequence % 3) as u32),
        (_, sequence) if sequence % 17 == 7 => Fate::Hold(1 + (sequence % 4) as u32),
        _ => Fate::Pass,
    }
}

/// Loss, duplication and order are reported to the frame, in every run.
///
/// Latency is compared over the same messages: the harness counts from a message's due time to its read, and the proxy, which
/// sees the due time in the stamp, from there to its write. All that lies between is a write on loopback and a read, whatever
/// the server and the machine did before, so the medians may differ by 1 ms; a proxy that loses the processor in the midst of a
/// write knows the moment only to lie between the write's begin and its end. One of two players gets everything 100 ms
/// late; the two do not mix in the histogram, and so each has its own median. Where the harness says of itself that it was
/// late (it waits for the processor before each read as before each write), what it adds to the messages that nobody delayed is
/// taken off first: it is the same thread at the same time.
#[test]
fn a_bad_proxy_is_reported_to_the_frame_and_within_a_millisecond() {
    in_one_of_a_few_runs(through_a_bad_proxy);
}

fn through_a_bad_proxy() -> Result<(), String> {
    let server = Server::inrush();
    let delay = |player| if player == DELAYED { DELAY } else { Duration::ZERO };
    let proxy = Proxy::start(server.address(), Manners { fate, delay });
    let url = proxy.url("bad");
    let load = ["mixed", "--url", &url, "--players", "2", "--bitrate", "600k", "--gop", "25"];
    let (output, run) = measure(&[&load[..], &["--warmup", "1", "--duration", "6"]].concat());
    let deeds = proxy.finish();

    let counts = &run.counts;
    assert!(output.status.success() && run.errors.is_empty(), "{output:?}");
    assert_eq!(counts.sent, counts.due);
    let done = (deeds.dropped, deeds.repeated, deeds.reordered);
    assert!(done.0 > 150 && done.1 > 20 && done.2 > 15, "{done:?}");
    assert_eq!(
        ((counts.lost, counts.duplicated, counts.reordered), counts.unstamped),
        (done, 0),
        "lost, duplicated, reordered"
    );
    assert_eq!(counts.received, 2 * counts.sent - deeds.dropped + deeds.repeated);

    let off_us = |is_delayed: bool| {
        let of = |us: u64| (us >= SPLIT_US) == is_delayed;
        let seen: Vec<Bucket> =
            run.latencies.e2e.buckets.iter().copied().filter(|bucket| of(bucket.up_to_us)).collect();
        let seen = median(&seen) as i64;
        let least = median_of_proxy(&deeds, Passed::latency_us, of) as i64;
        let most = median_of_proxy(&deeds, Passed::latency_us_max, of) as i64;
        seen - seen.clamp(least, most)
    };
    let late_us = run.latencies.generator_late.p50;
    let hop_us = if late_us > LATE_US_MAX { off_us(false) } else { 0 };
    let off_us = off_us(true) - hop_us;
    let told = format!("off by {off_us} µs, {hop_us} µs taken off, the generator late by {late_us} µs");
    println!("{told}");
    if off_us.abs() > OFF_US_MAX { Err(told) } else { Ok(()) }
}

/// Of the messages from the first measured round on.
fn median_of_proxy(deeds: &Deeds, latency_us: fn(&Passed) -> u64, of: impl Fn(u64) -> bool) -> u64 {
    let measured = deeds.passed.iter().filter(|passed| passed.sequence >= 71);
    let mut latencies: Vec<_> = measured.map(latency_us).filter(|us| of(*us)).collect();
    latencies.sort_unstable();
    latencies[(latencies.len() - 1) / 2]
}
