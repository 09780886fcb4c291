//! Enhanced RTMP against the engine: every codec and every way in which tracks lie in messages, with each stamp accounted for.

mod support;

use inrush_loadtest::report::Run;
use support::server::Server;
use support::{harness, measure, passed, wait_until};

#[track_caller]
fn loaded(url: &str, args: &[&str]) -> Run {
    let load =
        ["mixed", "--url", url, "--bitrate", "600k", "--gop", "25", "--warmup", "1.2", "--duration", "1"];
    let fails = ["--fail-if", "errors>0", "--fail-if", "lost>0"];
    let (output, run) = measure(&[&load[..], &fails[..], args].concat());
    assert!(passed(&output, &run), "{args:?}: {output:?}");
    let counts = &run.counts;
    assert_eq!(
        (counts.duplicated, counts.reordered, counts.unstamped, counts.lost),
        (0, 0, 0, 0),
        "{args:?}"
    );
    assert_eq!((counts.sent, run.latencies.e2e.count), (counts.due, counts.received), "{args:?}");
    run
}

/// Sixteen publishers, two of each codec.
#[test]
fn every_codec_arrives_whole() {
    let server = Server::inrush();
    let url = server.url("codec{i}");
    let video = "avc,enhanced-avc,hevc,legacy-hevc,av1,vp8,vp9,vvc";
    let audio = "aac,enhanced-aac,opus,flac,ac3,eac3,mp3,enhanced-mp3";
    let load = ["--publishers", "16", "--players", "16", "--codec", video, "--audio", audio];
    let run = loaded(&url, &load);
    assert_eq!(run.counts.received, run.counts.sent);
    assert!(run.counts.sent > 16 * 30, "{}", run.counts.sent);
    let media = &run.setting.media;
    assert_eq!((media.tracks.as_str(), &media.multitrack), ("1:1", &None));
    assert!(media.video.starts_with("avc=1,enhanced-avc=1,"), "{}", media.video);
}

/// In each layout, 2:3: all that any track sent is read by every player that takes tracks.
#[test]
fn every_stamp_of_every_track_arrives_in_every_layout() {
    let server = Server::inrush();
    for (layout, video, audio) in [
        ("one", "avc", "aac"),
        ("many", "hevc", "opus"),
        ("many-codecs", "avc,hevc,av1,vp9", "aac,opus,flac,eac3"),
        ("one", "av1", "flac"),
    ] {
        let url = server.url(&format!("{layout}-{}-{{i}}", video.len()));
        let load = ["--publishers", "2", "--players", "2", "--per-stream", "--tracks", "2:3"];
        let rest = ["--multitrack", layout, "--codec", video, "--audio", audio];
        let run = loaded(&url, &[&load[..], &rest[..]].concat());
        let counts = &run.counts;
        assert_eq!((counts.received, counts.unnegotiated), (2 * counts.sent, 0), "{layout}");
        // At 25 pictures and at least 11 sounds a second, two and three tracks of them.
        assert!(counts.sent > 2 * (2 * 23 + 3 * 10), "{layout}: {}", counts.sent);
        assert_eq!(run.setting.media.multitrack.as_deref(), Some(layout));
    }
}

/// Of two video tracks, players that take tracks get both, and the others the first: of a codec that the legacy header has, behind that
/// one. They get no more, and miss nothing.
#[test]
fn players_that_take_no_tracks_get_the_default_one() {
    let server = Server::inrush();
    for (codec, layout) in [("avc", "one"), ("avc", "many"), ("hevc", "many"), ("av1,vp9", "many-codecs")] {
        let url = server.url(&format!("plain-{layout}-{codec}"));
        let load = ["--players", "4", "--tracks", "2:0", "--multitrack", layout, "--codec", codec];
        let run = loaded(&url, &[&load[..], &["--player-multitrack", "0.5"]].concat());
        let counts = &run.counts;
        assert!(counts.sent > 40 && counts.sent.is_multiple_of(2), "{codec} {layout}: {}", counts.sent);
        assert_eq!(counts.received, 2 * counts.sent + 2 * (counts.sent / 2), "{codec} {layout}");
        assert_eq!(counts.unnegotiated, 0, "{codec} {layout}");
    }
}

/// The server names the tracks of a running load, by number and codec.
#[test]
fn the_server_knows_the_tracks() {
    let server = Server::inrush();
    let url = server.url("shown");
    let load = ["publish", "--url", &url, "--duration", "600", "--bitrate", "600k", "--tracks", "2:3"];
    let rest = ["--multitrack", "many-codecs", "--codec", "hevc,av1", "--audio", "opus,aac"];
    let mut command = harness(&[&load[..], &rest[..]].concat());
    command.stdout(std::process::Stdio::null());
    let running = Running(command.spawn().expect("run the harness"));
    wait_until("the stream is there", || {
        let connections = server.connections();
        connections.iter().any(|connection| connection["role"] == "publisher").then_some(())
    });
    let wanted = ["hvc1.1.6.L60.90", "av01.0.00M.08", "opus", "mp4a.40.2", "opus"];
    wait_until("all tracks are told", || {
        let stream = server.stream("shown").to_string();
        wanted.iter().all(|codec| stream.contains(codec)).then_some(())
    });
    drop(running);
}

/// A harness that runs until it is dropped.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
