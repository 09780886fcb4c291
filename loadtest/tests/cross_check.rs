//! ffmpeg at the other end: what the harness says it sent and received is what a client finds that shares no code with it, so
//! that a mistake on both sides of the library's codec cannot hide.

mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use inrush::rtmp::Payload;
use inrush_loadtest::media::stamp::{Carrier, Stamp};
use inrush_loadtest::media::synthetic::{self, Pattern};
use inrush_loadtest::media::type_id;
use inrush_loadtest::pace::Pace;
use inrush_loadtest::report::Run;
use inrush_loadtest::schedule::{Schedule, Timetable};
use support::ffmpeg::{self, Ffmpeg};
use support::server::Server;
use support::{Scratch, harness, measure};

/// What the harness publishes in the first test.
const PATTERN: Pattern = Pattern { bitrate_bps: 600_000, fps: 25, gop_frames: 25, seed: 7 };
const TIMESTAMP_START_MS: u64 = 5_000;

/// ffmpeg records what the harness publishes: each packet of the schedule from the first on that came, with its timestamp and size,
/// in streams that the decoder takes.
#[test]
fn a_recording_is_the_schedule() {
    for server in [Server::inrush(), Server::nginx_rtmp()] {
        let (url, file) = (server.url("recorded"), Scratch::new("recorded.flv"));
        let recording = Ffmpeg::record(&url, file.path());
        let start = TIMESTAMP_START_MS.to_string();
        let load = ["publish", "--url", &url, "--duration", "3", "--warmup", "0", "--bitrate", "600k"];
        let media = ["--gop", "25", "--seed", "7", "--timestamp-start", &start, "--chunk-size", "500"];
        let (output, run) = measure(&[&load[..], &media[..]].concat());
        assert!(output.status.success(), "{output:?}");
        recording.finish();

        let tags = tags(file.path());
        let stamps: Vec<_> = tags.iter().filter_map(|tag| tag.stamp()).collect();
        let first = stamps.iter().map(|stamp| stamp.sequence).min().expect("something was recorded");
        let last = stamps.iter().map(|stamp| stamp.sequence).max().expect("something was recorded");
        // All was sent in the measurement, which began with the run.
        assert_eq!(run.counts.sent, last + 1);

        let schedule = Schedule::new(Arc::new(Timetable::new(synthetic::media(&PATTERN), Pace::Frame)), 0);
        let probed = ffmpeg::probe(file.path());
        for (kind, type_id, head_bytes) in [("video", type_id::VIDEO, 5), ("audio", type_id::AUDIO, 2)] {
            let expected: Vec<_> = (first..=last)
                .filter(|index| schedule.message(*index).type_id == type_id)
                .map(|index| {
                    let ms = (TIMESTAMP_START_MS + schedule.media_ms(index)) as i64;
                    (ms, (schedule.message(index).bytes() - head_bytes) as u64)
                })
                .collect();
            let recorded = ffmpeg::packets(&probed, kind);
            assert!(recorded.len() >= 25, "{} packets of {kind}", recorded.len());
            assert_eq!(recorded, expected, "{kind}: time in ms and bytes of each packet");
        }
        let stream = |kind: &str| {
            let streams = probed["streams"].as_array().expect("a list of streams");
            streams.iter().find(|stream| stream["codec_type"] == kind).expect("a stream of each kind").clone()
        };
        let (video, audio) = (stream("video"), stream("audio"));
        assert_eq!(
            (&video["codec_name"], &video["width"], &video["height"]),
            (&"h264".into(), &64.into(), &64.into())
        );
        assert_eq!((&audio["codec_name"], &audio["channels"]), (&"aac".into(), &2.into()));
        assert_eq!(audio["sample_rate"], "48000");
        let decoded = ffmpeg::decode(file.path());
        assert_eq!(
            decoded.iter().filter(|(stream, _)| *stream == 0).count(),
            ffmpeg::packets(&probed, "video").len()
        );
    }
}

/// ffmpeg publishes a file, and the harness plays it: as many messages as the file has packets, and their bytes.
#[test]
fn what_ffmpeg_publishes_is_counted_as_ffprobe_counts_it() {
    let server = Server::inrush();
    let (url, file) = (server.url("theirs"), Scratch::new("theirs.flv"));
    ffmpeg::make(file.path(), 3);
    let report = Scratch::new("theirs.json");
    let mut playing =
        harness(&["play", "--url", &url, "--players", "2", "--warmup", "0", "--duration", "8", "--json"]);
    let playing = playing.arg(report.path()).stdout(Stdio::piped()).spawn().expect("run the harness");
    Ffmpeg::publish(file.path(), &url).finish();
    let output = playing.wait_with_output().expect("the harness runs");
    assert!(output.status.success(), "{output:?}");
    let run = Run::from_json(&report.text()).expect("a report");

    let probed = ffmpeg::probe(file.path());
    let packets = [ffmpeg::packets(&probed, "video"), ffmpeg::packets(&probed, "audio")].concat();
    let counts = &run.counts;
    assert_eq!(counts.received, 2 * packets.len() as u64);
    assert_eq!((counts.unstamped, counts.lost), (counts.received, 0));
    // Payload, and for each message its tag and chunk headers; commands, metadata and sequence headers for each player.
    let bytes: u64 = packets.iter().map(|(_, bytes)| bytes).sum();
    let seen = run.throughput.bytes_out / 2;
    let more = 40 * packets.len() as u64 + bytes / 40 + 8_000;
    assert!((bytes..bytes + more).contains(&seen), "{seen} bytes, and {bytes} of packets");
}

/// The harness publishes a file, and ffmpeg records it: without the stamps each packet is the file's, and with them the decoder finds
/// the same pictures and the same sound.
#[test]
fn a_published_file_is_recorded_as_it_is() {
    let server = Server::inrush();
    let (file, recorded) = (Scratch::new("ours.flv"), Scratch::new("ours-recorded.flv"));
    ffmpeg::make(file.path(), 2);
    let url = server.url("ours");
    let recording = Ffmpeg::record(&url, recorded.path());
    let name = file.path().to_str().expect("a path of ours is text");
    let (output, run) =
        measure(&["publish", "--url", &url, "--flv", name, "--warmup", "0", "--duration", "6"]);
    assert!(output.status.success(), "{output:?}");
    assert!(run.counts.sent > 2 * 130, "{:?}", run.counts);
    recording.finish();

    // The only key frame is the file's first, so that the recording begins with a round.
    let sent: Vec<_> = tags(file.path());
    let received: Vec<_> = tags(recorded.path());
    for type_id in [type_id::VIDEO, type_id::AUDIO] {
        let of = |tags: &[Tag]| -> Vec<Bytes> {
            tags.iter().filter(|tag| tag.type_id == type_id).filter_map(Tag::without_stamp).collect()
        };
        let (sent, received) = (of(&sent), of(&received));
        assert!(sent.len() >= 50 && received.len() >= sent.len(), "{} and {}", sent.len(), received.len());
        assert!(received.iter().zip(sent.iter().cycle()).all(|(received, sent)| received == sent));
    }
    for stream in [0, 1] {
        let of = |file| -> Vec<String> {
            let decoded = ffmpeg::decode(file).into_iter();
            decoded.filter(|(number, _)| *number == stream).map(|(_, checksum)| checksum).collect()
        };
        let (sent, received) = (of(file.path()), of(recorded.path()));
        assert!(sent.len() >= 50 && received.len() >= sent.len(), "{} and {}", sent.len(), received.len());
        let same = received.iter().zip(&sent).take_while(|(received, sent)| received == sent).count();
        // The last piece of sound overlaps with what comes after it.
        assert!(same + 1 >= sent.len(), "stream {stream}: {same} of {}", sent.len());
    }
}

/// One tag of an FLV file.
struct Tag {
    type_id: u8,
    body: Bytes,
}

impl Tag {
    fn stamp(&self) -> Option<Stamp> {
        Stamp::read(self.type_id, &Payload::from(self.body.clone()))
    }

    /// A coded picture or frame of sound as it is without a stamp; `None` of anything else.
    fn without_stamp(&self) -> Option<Bytes> {
        let carrier = Carrier::of(self.type_id, &self.body)?;
        let rest = carrier.offset() + if self.stamp().is_some() { carrier.bytes() } else { 0 };
        Some([&self.body[..carrier.offset()], &self.body[rest..]].concat().into())
    }
}

#[track_caller]
fn tags(file: &Path) -> Vec<Tag> {
    let mut rest = Bytes::from(fs::read(file).expect("read a recording"));
    let mut tags = Vec::new();
    let _header = rest.split_to(13);
    while !rest.is_empty() {
        let header = rest.split_to(11);
        let size = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        tags.push(Tag { type_id: header[0], body: rest.split_to(size) });
        let _size = rest.split_to(4);
    }
    tags
}
