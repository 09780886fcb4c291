//! Enhanced RTMP media, published and played by real clients and by one of ours: each codec that ffmpeg 9 can make, each form of multitrack,
//! and what players get that know nothing of all that.
#![cfg(feature = "engine")]

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::client::{Client, Event};
use support::ffmpeg::{self, Generation};
use support::flv::{self, Kind, Tag};
use support::media::{
    AV1_FLAC, H264_AAC_B_FRAMES, HEVC_OPUS, Media, TRACKS_OF_SEVERAL_CODECS, TWO_TRACKS, VP9_AC3, VVC_EAC3,
};
use support::packets::Packet;
use support::recorder::Recorder;
use support::server::{Inrush, Server};
use support::{PATIENCE, rtmpdump, scratch_file, wait_until};

/// What ffmpeg 9 offers in `fourCcList`.
const OFFER: [&str; 2] = ["-rtmp_enhanced_codecs", "hvc1,av01,vp09"];

/// A player of ours that negotiates multitrack and keeps every message.
#[track_caller]
fn multitrack_player(server: &Server, name: &str) -> Client {
    let (client, _) = Client::open(server.rtmp()).connect_with("live", &[("capsEx", 2.0.into())]);
    client.play(name)
}

/// Audio and video as they come, track by track: interleaving is not what is compared here.
fn by_track(tags: &[Tag]) -> Vec<Vec<Tag>> {
    let mut tracks: Vec<((Kind, u8), Vec<Tag>)> = Vec::new();
    for tag in tags.iter().filter(|tag| tag.kind != Kind::Data) {
        let multitrack =
            if tag.kind == Kind::Video { tag.body[0] & 0x8f == 0x86 } else { tag.body[0] == 0x95 };
        let key = (tag.kind, if multitrack { tag.body[6] } else { 0 });
        match tracks.iter_mut().find(|(other, _)| *other == key) {
            Some((_, track)) => track.push(tag.clone()),
            None => tracks.push((key, vec![tag.clone()])),
        }
    }
    tracks.sort_by_key(|(key, _)| *key);
    tracks.into_iter().map(|(_, track)| track).collect()
}

/// What ffmpeg 9 makes of a file when it copies it: what it publishes of it, and what it keeps when it plays.
#[track_caller]
fn copied_by_ffmpeg(source: &Path, options: &str) -> (PathBuf, Vec<Tag>) {
    let copy = scratch_file("copy.flv");
    let (source, name) = (source.display().to_string(), copy.display().to_string());
    let args = format!("-copyts -i {source} {options} -c copy -flvflags no_duration_filesize -f flv {name}");
    ffmpeg::convert(Generation::Nine, &args.split_whitespace().collect::<Vec<_>>());
    let tags = flv::read(&copy);
    (copy, tags)
}

/// ffmpeg publishes in real time. A player that negotiated multitrack must get every message as ffmpeg sends it; `players`, started before
/// the publisher, all packets of the default tracks, and started later a run of them from a key frame to the end.
///
/// What ffmpeg makes of a codec's configuration, or of the last frame, is held against what it makes of the same from a file.
#[track_caller]
fn publish_and_play(server: &Server, media: &Media, name: &str, players: &[Player]) {
    let (copy, sent) = copied_by_ffmpeg(media.path(), "-map 0");
    let (played, kept) =
        copied_by_ffmpeg(&copy, "-map 0:v:0 -map 0:a:0 -copyinkf -copypriorss 1 -avoid_negative_ts disabled");
    let (sent_packets, kept) = (Packet::from_tags(&sent), Packet::from_tags(&kept));
    for file in [copy, played] {
        std::fs::remove_file(&file).expect("remove a copy");
    }
    let url = server.url("live", name);
    let start = || players.iter().map(|player| player.start(&url)).collect::<Vec<_>>();
    let full = multitrack_player(server, name);
    let early = start();
    server.wait_for_players("live", name, early.len() + 1);
    let full = full.record_in_background();
    let publisher = ffmpeg::Publisher::start_with(Generation::Nine, media, &url, &OFFER);
    wait_until("the stream has run for some seconds", PATIENCE, || {
        let streams = server.streams();
        let stream = streams.iter().find(|stream| stream["name"] == name)?;
        (stream["publisher"].is_string() && stream["uptime_seconds"].as_f64()? > 2.2).then_some(())
    });
    let late = start();
    publisher.finish();
    let expected = |player: &Player| if player.copies() { &kept } else { &sent_packets };
    for (player, recorder) in players.iter().zip(early) {
        recorder.finish().assert_whole(expected(player));
    }
    for (player, recorder) in players.iter().zip(late) {
        let run = recorder.finish().assert_gapless(expected(player));
        assert!(run.skipped > 0, "{player:?} joined {name} late and got more than the last GOP");
    }
    let (_, tags) = full.finish_tags();
    let (got, sent) = (by_track(&tags), by_track(&sent));
    assert_eq!(got.len(), sent.len(), "tracks of {name}");
    for (got, sent) in got.iter().zip(&sent) {
        let differs = (0..got.len().max(sent.len())).find(|at| got.get(*at) != sent.get(*at));
        let shown = differs.map(|at| (at, got.get(at).map(head), sent.get(at).map(head)));
        assert_eq!(shown, None, "{name}: {} messages, {} sent", got.len(), sent.len());
    }
}

/// Timestamp and first bytes of a message.
fn head(tag: &Tag) -> (u32, String) {
    (tag.timestamp, tag.body.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// A real player.
#[derive(Clone, Copy, Debug)]
enum Player {
    Ffmpeg(Generation),
    Rtmpdump,
}

impl Player {
    #[track_caller]
    fn start(self, url: &str) -> Recorder {
        match self {
            Self::Ffmpeg(generation) => ffmpeg::play(generation, url),
            Self::Rtmpdump => rtmpdump::play(url),
        }
    }

    /// Whether its recording is made anew from packets, and is no image of the messages.
    fn copies(self) -> bool {
        matches!(self, Self::Ffmpeg(_))
    }
}

const FIVE: Player = Player::Ffmpeg(Generation::Five);
const NINE: Player = Player::Ffmpeg(Generation::Nine);

/// Every codec that ffmpeg 9 can put into RTMP beside H.264, AAC and MP3: HEVC, AV1, VP9, VVC, Opus, FLAC, AC-3, E-AC-3.
#[test]
fn codecs_of_enhanced_rtmp() {
    let server = Inrush::new().cores(2).start();
    std::thread::scope(|scope| {
        for (name, recipe) in
            [("hevc-opus", HEVC_OPUS), ("av1-flac", AV1_FLAC), ("vp9-ac3", VP9_AC3), ("vvc-eac3", VVC_EAC3)]
        {
            let server = &server;
            scope.spawn(move || publish_and_play(server, &recipe.media(), name, &[NINE, Player::Rtmpdump]));
        }
    });
}

/// Both forms of multitrack that ffmpeg 9 sends, several tracks of one codec and of several: old and new players get the default tracks
/// whole, a player that negotiated multitrack gets all of them.
#[test]
fn tracks_of_ffmpeg() {
    let server = Inrush::new().cores(2).start();
    std::thread::scope(|scope| {
        for (name, recipe) in [("one-codec", TWO_TRACKS), ("several-codecs", TRACKS_OF_SEVERAL_CODECS)] {
            let server = &server;
            scope.spawn(move || {
                publish_and_play(server, &recipe.media(), name, &[FIVE, NINE, Player::Rtmpdump]);
            });
        }
    });
}

/// The same media as an encoder might send it that puts everything into one message: H.264 behind a multitrack header of several codecs
/// with another track before it, AAC behind one of one codec, and now and then a ModEx prefix.
fn in_messages_of_several_tracks(tags: &[Tag]) -> Vec<Tag> {
    let several = |tag: &Tag| {
        let part = |before: &[u8], track: u8, body: &[u8]| {
            [before, &[track], &(body.len() as u32).to_be_bytes()[1..], body].concat()
        };
        // Every other picture says by how many nanoseconds it is late: 3 bytes, kind 0.
        let mod_ex = |first: u8, multitrack: u8| match tag.timestamp % 80 {
            0..40 => vec![first | 7, 2, 0, 1, 44, multitrack],
            _ => vec![first | multitrack],
        };
        let body = match tag.kind {
            Kind::Data => return tag.clone(),
            Kind::Video => {
                let (packet, data) = (tag.body[1], &tag.body[if tag.body[1] == 1 { 2 } else { 5 }..]);
                let other = part(b"vp09", 3, &[0x49, 0x83]);
                let head = [mod_ex(0x80 | tag.body[0] & 0x70, 6), vec![0x20 | packet]].concat();
                [head, other, part(b"avc1", 0, data)].concat()
            }
            Kind::Audio => {
                let head = [mod_ex(0x90, 5), [&[0x10 | tag.body[1]], &b"mp4a"[..]].concat()].concat();
                [head, part(b"", 9, &[0x21]), part(b"", 0, &tag.body[2..])].concat()
            }
        };
        Tag { body, ..tag.clone() }
    };
    tags.iter().map(several).collect()
}

/// Messages of several tracks, of one codec and of several, with ModEx: players that know legacy RTMP alone get H.264 and AAC whole, in
/// legacy messages; a player that negotiated multitrack gets what was sent; the API tells of all tracks.
#[test]
fn several_tracks_in_one_message() {
    let server = Inrush::new().cores(2).start();
    let media = H264_AAC_B_FRAMES.media();
    let sent = in_messages_of_several_tracks(&media.tags);
    let url = server.url("live", "several");
    let players = [FIVE, NINE, Player::Rtmpdump].map(|player| player.start(&url));
    let [full, plain] = [multitrack_player(&server, "several"), player(&server, "several")];
    server.wait_for_players("live", "several", 5);
    let [full, plain] = [full, plain].map(Client::record_in_background);
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("several");
    publisher.send_paced(&sent, 3.0);

    let stream = shown(&server, "several");
    let track = |kind: &str, id: u8| {
        let tracks = stream["tracks"].as_array().unwrap();
        tracks.iter().find(|track| track["kind"] == kind && track["id"] == id).unwrap().clone()
    };
    assert_eq!(stream["tracks"].as_array().unwrap().len(), 4);
    assert_eq!(track("video", 0)["codec"], "avc1");
    assert_eq!(track("video", 0)["resolution"], json!({"width": 640, "height": 360}));
    assert_eq!((&track("video", 3)["codec"], &track("audio", 9)["codec"]), (&json!("vp09"), &json!("mp4a")));
    assert_eq!(track("audio", 0)["sample_rate_hz"], 44_100);
    publisher.unpublish();

    for player in players {
        player.finish().assert_whole(&media.packets);
    }
    let is_media = |tag: &Tag| tag.kind != Kind::Data;
    let (_, got) = full.finish_tags();
    assert!(got.iter().filter(|tag| is_media(tag)).eq(sent.iter().filter(|tag| is_media(tag))));
    // ffmpeg ends its files with an end of sequence of video; of audio there is none.
    let (_, got) = plain.finish_tags();
    assert!(got.iter().filter(|tag| is_media(tag)).eq(media.tags.iter().filter(|tag| is_media(tag))));
}

/// One stream, as the API shows it.
#[track_caller]
fn shown(server: &Server, name: &str) -> Value {
    server.get(&format!("/api/v1/streams/live/{name}")).json()["stream"].clone()
}

/// A player of ours that has negotiated nothing.
#[track_caller]
fn player(server: &Server, name: &str) -> Client {
    Client::open(server.rtmp()).connect("live").play(name)
}

/// Whoever joins late gets the newest sequence header and colours (HDR) of its tracks, then the GOP: of all tracks, or of the default one
/// without its multitrack header. On the core of the stream and on another.
#[test]
fn late_joiners_get_the_colours_of_their_tracks() {
    let server = Inrush::new().cores(2).start();
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("hdr");
    let video = |timestamp: u32, head: &[u8], body: &[u8]| Tag {
        kind: Kind::Video,
        timestamp,
        body: [head, body].concat(),
    };
    let sent = [
        video(0, b"\x96\x00hvc1\x00", b"first record"),
        video(0, b"\x96\x00hvc1\x00", b"record 0"),
        video(0, b"\x96\x00hvc1\x01", b"record 1"),
        video(0, b"\x96\x04hvc1\x00", b"colours 0"),
        video(0, b"\x96\x14hvc1", b"\x02\x00\x00\x03two\x01\x00\x00\x03one"),
        video(40, b"\x96\x03hvc1\x00", b"key 0"),
        video(40, b"\x96\x03hvc1\x01", b"key 1"),
        video(80, b"\xa6\x13hvc1", b"\x01\x00\x00\x03one\x00\x00\x00\x04zero"),
    ];
    sent.iter().for_each(|tag| publisher.send_tag(tag));
    wait_until("all is in the GOP cache", PATIENCE, || {
        (shown(&server, "hdr")["gop_frames"] == 3).then_some(())
    });
    // Headers carry the timestamp of the key frame behind them.
    let all = sent[1..].iter().map(|tag| Tag { timestamp: tag.timestamp.max(40), ..tag.clone() });
    let all: Vec<Tag> = all.collect();
    let plain = [
        video(40, b"\x90hvc1", b"record 0"),
        video(40, b"\x94hvc1", b"colours 0"),
        video(40, b"\x93hvc1", b"key 0"),
        video(80, b"\xa3hvc1", b"zero"),
    ];
    // More players than cores, so that some are on the other one.
    for _ in 0..4 {
        let mut players =
            [(multitrack_player(&server, "hdr"), &all[..]), (player(&server, "hdr"), &plain[..])];
        for (player, expected) in &mut players {
            for wanted in *expected {
                let got = player.wait_for("the next message", |event| match event {
                    Event::Media(tag) if tag.kind == Kind::Video => Some(tag),
                    _ => None,
                });
                assert_eq!(head(&got), head(wanted));
                assert_eq!(&got, wanted);
            }
        }
    }
}
