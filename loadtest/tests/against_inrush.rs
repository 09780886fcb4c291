//! The harness against `inrush`, at small scale: what it says it did is what it did.

mod support;

use std::time::{Duration, Instant};

use inrush_loadtest::media::synthetic::{self, Pattern};
use inrush_loadtest::media::{Message, type_id};
use support::server::Server;
use support::{Scratch, measure, passed, wait_until};

#[test]
fn all_that_is_sent_is_received_at_every_pace() {
    let server = Server::inrush();
    let pid = server.pid();
    for (number, pacing) in ["frame", "wan", "burst:100"].into_iter().enumerate() {
        let url = server.url(&format!("pace{number}-{{i}}"));
        let (output, run) = measure(&[
            "mixed",
            "--url",
            &url,
            "--publishers",
            "3",
            "--players",
            "6",
            "--duration",
            "1",
            "--warmup",
            "1.2",
            "--gop",
            "25",
            "--bitrate",
            "600k",
            "--pacing",
            pacing,
            "--server-pid",
            &pid,
            "--chunk-size",
            "300",
            "--timestamp-start",
            "16777000",
            "--fail-if",
            "lost>0",
            "--source",
            "127.0.0.2-127.0.0.4",
            "--fail-if",
            "errors>0",
        ]);
        assert!(passed(&output, &run), "{pacing}: {output:?}");
        // 25 frames of video and 46 of audio a second, but for what one round has more or less at its ends.
        assert!((3 * 66..=3 * 76).contains(&run.counts.due), "{pacing}: {}", run.counts.due);
        assert_eq!(run.counts.sent, run.counts.due, "{pacing}");
        assert_eq!(run.counts.received, 2 * run.counts.sent, "{pacing}");
        assert_eq!(
            (run.counts.duplicated, run.counts.reordered, run.counts.unstamped),
            (0, 0, 0),
            "{pacing}"
        );
        assert_eq!((run.counts.publishes_accepted, run.counts.plays_accepted), (3, 6), "{pacing}");
        assert_eq!(run.latencies.e2e.count, run.counts.received, "{pacing}");
        assert_eq!(run.latencies.tcp_connect.count, 9, "{pacing}");
        assert!(run.server.is_some_and(|server| server.rss_bytes > 1_000_000), "{pacing}");
        let mbit = run.throughput.mbit_per_second_in;
        assert!((1.4..2.4).contains(&mbit), "{pacing}: {mbit}");
    }
}

/// Sounds of a codec that carries no stamp between pictures that do, and an end of sequence, as files of ffmpeg's have it: a player
/// misses none of them, round after round.
#[test]
fn messages_that_carry_no_stamp_are_not_missed() {
    let pattern = Pattern { bitrate_bps: 300_000, fps: 25, gop_frames: 10, seed: 1 };
    let media = synthetic::media(&pattern);
    let mut bytes = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
    let mut tag = |type_id: u8, time_ms: u32, parts: [&[u8]; 2]| {
        let body = parts.concat();
        let time = time_ms.to_be_bytes();
        bytes.push(type_id);
        bytes.extend(&(body.len() as u32).to_be_bytes()[1..]);
        bytes.extend([time[1], time[2], time[3], time[0], 0, 0, 0]);
        bytes.extend(&body);
        bytes.extend((11 + body.len() as u32).to_be_bytes());
    };
    let is_video = |message: &&Message| message.type_id == type_id::VIDEO;
    for header in media.headers.iter().filter(is_video) {
        tag(header.type_id, 0, [&header.parts[0].head, &header.parts[0].body]);
    }
    for picture in media.round.iter().filter(is_video) {
        tag(picture.type_id, picture.time_ms, [&picture.parts[0].head, &picture.parts[0].body]);
        // MP3 (Video File Format 10.1, annex E.4.2).
        tag(type_id::AUDIO, picture.time_ms + 20, [&[0x2f], &[0xff, 0xfb, 0x90, 0x64]]);
    }
    tag(type_id::VIDEO, 400, [&[0x17, 2, 0, 0, 0], &[]]);
    let file = Scratch::new("unstamped.flv");
    std::fs::write(file.path(), &bytes).expect("write a file");

    let server = Server::inrush();
    let flv = file.path().to_str().expect("a path of ours is text");
    let url = server.url("unstamped");
    let load = ["mixed", "--url", &url, "--flv", flv, "--players", "2", "--warmup", "0.5", "--duration", "2"];
    let (output, run) = measure(&load);
    assert!(output.status.success(), "{output:?}");
    let counts = &run.counts;
    assert_eq!((counts.lost, counts.duplicated, counts.reordered, counts.unstamped), (0, 0, 0, 0));
    // Every other message has a stamp, and the measurement begins and ends with either.
    assert!(counts.sent > 20 && counts.received.abs_diff(counts.sent) <= 2, "{counts:?}");
}

/// Its players are the other process's: what it wrote may be lost to the last message.
#[test]
fn a_run_that_only_publishes_cannot_say_that_nothing_was_lost() {
    let server = Server::inrush();
    let url = server.url("unseen");
    let load = ["publish", "--url", &url, "--warmup", "0", "--duration", "0.5", "--gop", "5"];
    let (output, _) = measure(&[&load[..], &["--fail-if", "lost>0"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("failed: lost was not measured, so lost>0 cannot be ruled out"), "{told}");
}

/// A page that says so, and JSON with what was measured up to then.
#[test]
fn a_server_that_dies_ends_the_run_with_what_was_measured() {
    let server = Server::inrush();
    let (url, pid) = (server.url("dies"), server.pid());
    let page = Scratch::new("dies.html");
    let (began, html) = (Instant::now(), page.path().to_str().expect("a path of ours is text").to_owned());
    let running = std::thread::spawn(move || {
        let load = ["mixed", "--url", &url, "--duration", "60", "--warmup", "0.5", "--server-pid", &pid];
        let rest = ["--gop", "25", "--html", &html, "--fail-if", "errors.handshake>0"];
        measure(&[&load[..], &rest[..]].concat())
    });
    wait_until("something is measured", || (began.elapsed() > Duration::from_millis(1_800)).then_some(()));
    server.signal(libc::SIGKILL);
    let (output, run) = running.join().expect("the harness ran");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(began.elapsed() < Duration::from_secs(15));
    assert!(!run.valid.ok && run.valid.reasons.iter().any(|reason| reason.contains("went away")));
    assert!(run.counts.received > 0, "{:?}", run.counts);
    assert!(run.duration_s < 15.0 && run.latencies.e2e.count > 0, "{} s", run.duration_s);
    let cost = run.server.expect("it was looked at while it lived");
    assert!(cost.rss_bytes > 1_000_000 && cost.cpu_s_per_gb_in.is_some(), "{cost:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("went away"), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("failed: the run is not valid: ") && told.contains("ok: errors.handshake is 0"),
        "{told}"
    );
    assert!(page.text().contains("Not valid") && page.text().ends_with("</html>\n"));
}

#[test]
fn hostile_peers_are_ended_and_the_others_do_not_notice() {
    let server = Server::inrush();
    let url = server.url("hostile{i}");
    let shares = ["--persona", "garbage=1", "--persona", "half-open=0.5", "--fail-if", "lost>0"];
    let load =
        ["mixed", "--url", &url, "--publishers", "2", "--players", "2", "--duration", "1", "--gop", "25"];
    let (output, run) = measure(&[&load[..], &shares[..]].concat());
    assert!(passed(&output, &run), "{output:?}");
    // Garbage does not begin as a handshake does, and is ended at once; half a handshake may take 10 s.
    assert_eq!(run.counts.hostile_ended, 4);
    assert_eq!(run.counts.received, run.counts.sent);
    assert!(run.counts.sent > 100 && run.errors.is_empty(), "{:?}", run.errors);
}
