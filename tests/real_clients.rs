//! Real clients publish and play: each recording is one gapless run of what was published, with its timestamps.
#![cfg(feature = "engine")]

mod support;

use support::client::Client;
use support::ffmpeg::{self, GENERATIONS, Generation};
use support::flv::Kind;
use support::media::{AUDIO_ONLY, AV1_AAC, H264_AAC, H264_AAC_B_FRAMES, HEVC_AAC, Media, VIDEO_ONLY};
use support::recorder::Recorder;
use support::server::{Inrush, Server};
use support::{PATIENCE, rtmpdump, wait_until};

/// Offers the codecs of Enhanced RTMP that we use.
const ENHANCED: [&str; 2] = ["-rtmp_enhanced_codecs", "hvc1,av01"];

/// One of each real player that understands the codec.
#[derive(Clone, Copy)]
enum Players {
    /// Both ffmpegs and rtmpdump.
    All,
    /// ffmpeg 9 and rtmpdump: ffmpeg 5 knows no Enhanced RTMP.
    Enhanced,
}

impl Players {
    fn start(self, url: &str) -> Vec<Recorder> {
        let mut players = vec![rtmpdump::play(url), ffmpeg::play(Generation::Nine, url)];
        if matches!(self, Self::All) {
            players.push(ffmpeg::play(Generation::Five, url));
        }
        players
    }
}

/// Publishes in real time; players that came before the publisher must get all of it, players that join later one run from a key
/// frame to the end.
#[track_caller]
fn publish_and_play(
    server: &Server,
    generation: Generation,
    media: &Media,
    name: &str,
    players: Players,
    options: &[&str],
) {
    let url = server.url("live", name);
    let early = players.start(&url);
    server.wait_for_players("live", name, early.len());
    let publisher = ffmpeg::Publisher::start_with(generation, media, &url, options);
    wait_until("the stream has run for some seconds", PATIENCE, || {
        let streams = server.streams();
        let stream = streams.iter().find(|stream| stream["name"] == name)?;
        (stream["publisher"].is_string() && stream["uptime_seconds"].as_f64()? > 2.5).then_some(())
    });
    let late = players.start(&url);
    publisher.finish();
    for player in early {
        player.finish().assert_whole(&media.packets);
    }
    for player in late {
        let run = player.finish().assert_gapless(&media.packets);
        let has_video = media.packets.iter().any(|packet| packet.track == Kind::Video);
        assert!(run.skipped > 0 || !has_video, "a player joined {name} late and got more than the last GOP");
    }
}

/// H.264 with B-frames and AAC, published by both generations of ffmpeg at once, each with early and late players of all kinds.
#[test]
fn h264_and_aac() {
    let server = Inrush::new().cores(2).start();
    let media = H264_AAC_B_FRAMES.media();
    std::thread::scope(|scope| {
        for generation in GENERATIONS {
            let (server, media) = (&server, &media);
            let name = format!("by-{generation:?}");
            scope.spawn(move || publish_and_play(server, generation, media, &name, Players::All, &[]));
        }
    });
}

/// HEVC and AV1 through Enhanced RTMP.
#[test]
fn hevc_and_av1() {
    let server = Inrush::new().cores(2).start();
    std::thread::scope(|scope| {
        for (name, recipe) in [("hevc", HEVC_AAC), ("av1", AV1_AAC)] {
            let server = &server;
            scope.spawn(move || {
                let media = recipe.media();
                publish_and_play(server, Generation::Nine, &media, name, Players::Enhanced, &ENHANCED);
            });
        }
    });
}

/// Audio without video and video without audio.
#[test]
fn one_track_alone() {
    let server = Inrush::new().cores(2).start();
    std::thread::scope(|scope| {
        for (name, recipe) in [("audio", AUDIO_ONLY), ("video", VIDEO_ONLY)] {
            let server = &server;
            scope.spawn(move || {
                publish_and_play(server, Generation::Five, &recipe.media(), name, Players::All, &[]);
            });
        }
    });
}

/// A publisher leaves and returns: a player that stays gets both runs whole, others end with the first and come anew.
#[test]
fn publisher_leaves_and_returns() {
    let server = Inrush::new().cores(2).start();
    let media = VIDEO_ONLY.media();
    let url = server.url("live", "again");
    let mut patient = Client::open(server.rtmp()).connect("live").play("again");
    for generation in GENERATIONS {
        let recording = patient.record_in_background();
        let recorder = ffmpeg::play(generation, &url);
        server.wait_for_players("live", "again", 2);
        ffmpeg::Publisher::start(generation, &media, &url).finish();
        recorder.finish().assert_whole(&media.packets);
        patient = recording.assert_whole(&media.packets);
        server.wait_for_players("live", "again", 1);
    }
}

/// Over IPv6.
#[test]
fn over_ipv6() {
    let server = Inrush::new().cores(2).rtmp("[::1]:0").start();
    let media = H264_AAC.media();
    std::thread::scope(|scope| {
        for generation in GENERATIONS {
            let (server, media) = (&server, &media);
            scope.spawn(move || {
                let name = format!("six-{generation:?}");
                let url = server.url("live", &name);
                assert!(url.starts_with("rtmp://[::1]:"), "{url}");
                let player = ffmpeg::play(generation, &url);
                server.wait_for_players("live", &name, 1);
                ffmpeg::Publisher::start(generation, media, &url).finish();
                player.finish().assert_whole(&media.packets);
            });
        }
    });
}

/// An encoder that is refused, because the stream has a publisher already, fails; the stream does not suffer.
#[test]
fn second_publisher_is_refused() {
    let server = Inrush::new().cores(2).start();
    let media = H264_AAC.media();
    let url = server.url("live", "taken");
    let player = ffmpeg::play(Generation::Nine, &url);
    server.wait_for_players("live", "taken", 1);
    let publisher = ffmpeg::Publisher::start(Generation::Five, &media, &url);
    server.wait_for_publisher("live", "taken");
    std::thread::scope(|scope| {
        for generation in GENERATIONS {
            let (media, url) = (&media, &url);
            scope.spawn(move || {
                let (code, messages) = ffmpeg::Publisher::start(generation, media, url).wait();
                assert_ne!(code, Some(0), "{messages}");
            });
        }
    });
    publisher.finish();
    player.finish().assert_whole(&media.packets);
}
