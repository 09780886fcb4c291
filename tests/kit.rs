//! Proves the kit of the black-box tests: the comparison finds planted defects, and everything works against nginx-rtmp, a
//! server that is known to pass media on unchanged.
#![cfg(feature = "engine")]

mod support;

use support::client::{Client, Event};
use support::crowd::Crowd;
use support::ffmpeg::{self, GENERATIONS, Generation};
use support::flv::{Kind, Tag};
use support::media::{self, Media};
use support::namespaces::Link;
use support::packets::{Clock, Defect, Packet, Role, Run, gapless_run, gapless_sequence};
use support::ports::HeldPort;
use support::server::Server;
use support::synthetic::{Pattern, sequence_headers, stamp};
use support::wire::{ChunkReader, ChunkWriter, ExtendedTimestamp, MediaHeaders, Message};
use support::{PATIENCE, media as recipes, rtmpdump};

/// Ten seconds of 25 video frames and 40 audio frames each, with a key frame each second, and nothing real in it.
fn session() -> Vec<Packet> {
    let mut tags = vec![
        Tag { kind: Kind::Video, timestamp: 0, body: vec![0x17, 0, 0, 0, 0, 1] },
        Tag { kind: Kind::Audio, timestamp: 0, body: vec![0xaf, 0, 2] },
    ];
    for ms in 0..10_000_u32 {
        if ms % 40 == 0 {
            let first = if ms % 1000 == 0 { 0x17 } else { 0x27 };
            tags.push(Tag {
                kind: Kind::Video,
                timestamp: ms,
                body: [vec![first, 1, 0, 0, 80], ms.to_be_bytes().into()].concat(),
            });
        }
        if ms % 25 == 0 {
            tags.push(Tag {
                kind: Kind::Audio,
                timestamp: ms,
                body: [vec![0xaf, 1], (!ms).to_be_bytes().into()].concat(),
            });
        }
    }
    Packet::from_tags(&tags)
}

/// The session without its first three seconds: what a player sees that joins late.
fn joined_late(source: &[Packet]) -> Vec<Packet> {
    source.iter().filter(|packet| packet.role == Role::Config || packet.timestamp >= 3000).cloned().collect()
}

/// Index of the video frame with this timestamp.
fn video_at(packets: &[Packet], timestamp: u32) -> usize {
    let is_it = |packet: &Packet| {
        packet.track == Kind::Video && packet.role != Role::Config && packet.timestamp == timestamp
    };
    packets.iter().position(is_it).expect("there is such a frame")
}

/// The comparison accepts the whole session and a run from a key frame, and says how much was skipped.
#[test]
fn a_gapless_run_is_accepted() {
    let source = session();
    assert_eq!(gapless_run(&source, &source, Clock::Whole), Ok(Run { skipped: 0, frames: 650 }));
    assert_eq!(gapless_sequence(&source, &source), Ok(Run { skipped: 0, frames: 650 }));
    let late = joined_late(&source);
    assert_eq!(gapless_run(&source, &late, Clock::Whole), Ok(Run { skipped: 195, frames: 455 }));
    assert_eq!(gapless_sequence(&source, &late), Ok(Run { skipped: 195, frames: 455 }));
}

/// Each kind of defect, planted into a good recording, is found and named.
#[test]
fn planted_defects_are_found() {
    let source = session();
    let good = joined_late(&source);
    let at = video_at(&good, 5120);
    let plant = |defect: &dyn Fn(&mut Vec<Packet>)| {
        let mut recording = good.clone();
        defect(&mut recording);
        let by_track = gapless_run(&source, &recording, Clock::Whole).expect_err("a defect was planted");
        let in_order = gapless_sequence(&source, &recording).expect_err("a defect was planted");
        (by_track, in_order)
    };

    let lost = Defect::Lost { first: good[at].clone(), count: 1 };
    assert_eq!(plant(&|it| _ = it.remove(at)), (lost.clone(), lost));

    let duplicate = Defect::Duplicate(good[at].clone());
    assert_eq!(plant(&|it| it.insert(at, good[at].clone())), (duplicate.clone(), duplicate));

    let next = video_at(&good, 5160);
    let reordered = Defect::Reordered(good[next].clone());
    assert_eq!(plant(&|it| it.swap(at, next)), (reordered.clone(), reordered));

    let shifted = |it: &mut Vec<Packet>| it[at].timestamp += 1;
    let (by_track, in_order) = plant(&shifted);
    assert!(matches!(&by_track, Defect::Shifted { sent, .. } if *sent == good[at]), "{by_track:?}");
    assert_eq!(by_track, in_order);

    let (by_track, _) = plant(&|it| it[at].composition_ms += 40);
    assert!(matches!(by_track, Defect::Foreign(_)), "{by_track:?}");
    let (by_track, _) = plant(&|it| it[at].checksum[0] ^= 1);
    assert!(matches!(by_track, Defect::Foreign(_)), "{by_track:?}");

    let (by_track, in_order) = plant(&|it| it.truncate(it.len() - 10));
    assert!(matches!(by_track, Defect::CutShort { count: 3..=7 }), "{by_track:?}");
    assert_eq!(in_order, Defect::CutShort { count: 10 });

    let (by_track, in_order) = plant(&|it| _ = it.remove(video_at(it, 3000)));
    assert!(matches!(by_track, Defect::NotAtKeyFrame(_)), "{by_track:?}");
    assert_eq!(by_track, in_order);

    let (by_track, _) =
        plant(&|it| it.retain(|packet| packet.track != Kind::Audio || packet.role == Role::Config));
    assert_eq!(by_track, Defect::Missing(Kind::Audio));

    let late_audio = |it: &mut Vec<Packet>| {
        it.retain(|packet| {
            packet.track != Kind::Audio || packet.role == Role::Config || packet.timestamp >= 3500
        })
    };
    assert_eq!(plant(&late_audio).0, Defect::UnevenStart { ms: 500 });

    let no_config = Defect::Config(Kind::Video);
    assert_eq!(plant(&|it| _ = it.remove(0)), (no_config.clone(), no_config.clone()));
    assert_eq!(plant(&|it| it[0].checksum[0] ^= 1), (no_config.clone(), no_config));
}

/// A frame of one track that overtakes one of the other is no defect of either track, but one of the sequence.
#[test]
fn order_between_tracks_counts_on_the_wire_only() {
    let source = session();
    let mut recording = source.clone();
    let at = video_at(&source, 5080);
    assert_ne!(recording[at].track, recording[at + 1].track);
    recording.swap(at, at + 1);
    assert!(gapless_run(&source, &recording, Clock::Whole).is_ok());
    assert!(matches!(gapless_sequence(&source, &recording), Err(Defect::Reordered(_))));
}

/// Every habit of our chunk writer is understood by our chunk reader where the specification covers it, in any split.
#[test]
fn chunks_make_the_round_trip() {
    let tag = |timestamp, len: usize| Tag { kind: Kind::Video, timestamp, body: vec![timestamp as u8; len] };
    let tags = [tag(0xff_fff0, 10), tag(0xff_ffff, 100_000), tag(0xffff_fff0, 300), tag(5, 0), tag(30, 300)];
    for headers in [MediaHeaders::Absolute, MediaHeaders::Delta] {
        for chunk_size in [1, 128, 4096, 1 << 20] {
            for split in [1, 7, 100_000] {
                let mut writer = ChunkWriter::new(ExtendedTimestamp::Repeat, headers);
                let mut bytes = writer.set_chunk_size(chunk_size);
                bytes.extend(tags.iter().flat_map(|tag| writer.write(&Message::media(1, tag))));
                let mut reader = ChunkReader::default();
                let mut read = Vec::new();
                for piece in bytes.chunks(split) {
                    reader.push(piece);
                    read.extend(std::iter::from_fn(|| reader.next_message()).filter_map(Message::into_tag));
                }
                assert!(read == tags, "{headers:?}, chunk size {chunk_size}, split {split}");
            }
        }
    }
}

/// All media can be generated, has the key frames it should have and is no longer than it should be.
#[test]
fn media_is_what_it_should_be() {
    for recipe in [
        recipes::H264_AAC,
        recipes::H264_AAC_B_FRAMES,
        recipes::HEVC_AAC,
        recipes::AV1_AAC,
        recipes::AUDIO_ONLY,
        recipes::VIDEO_ONLY,
        recipes::THIN,
        recipes::LARGE_KEY_FRAMES,
    ] {
        let media = recipe.media();
        let count =
            |track, role| media.packets.iter().filter(|it| it.track == track && it.role == role).count();
        let (keys, inter) = (count(Kind::Video, Role::Key), count(Kind::Video, Role::Inter));
        let audio = count(Kind::Audio, Role::Key);
        let seconds = media.packets.last().expect("packets").timestamp / 1000;
        assert!((5..=8).contains(&seconds), "{recipe:?}: {seconds} s");
        assert!(audio == 0 || audio > 100, "{recipe:?}: {audio} audio frames");
        assert!(
            keys == 0 || (5..=9).contains(&keys) && inter > keys * 5,
            "{recipe:?}: {keys} key frames, {inter} others"
        );
        assert_eq!(count(Kind::Video, Role::Config), usize::from(keys > 0), "{recipe:?}");
        assert_eq!(count(Kind::Audio, Role::Config), usize::from(audio > 0), "{recipe:?}");
    }
    let composed = |media: Media| media.packets.iter().any(|packet| packet.composition_ms > 0);
    assert!(composed(recipes::H264_AAC_B_FRAMES.media()) && !composed(recipes::H264_AAC.media()));
    let largest = recipes::LARGE_KEY_FRAMES.media().packets.iter().map(|packet| packet.len).max();
    assert!(largest > Some(100_000), "{largest:?}");
    let bits = media::THIN.media().packets.iter().map(|packet| packet.len * 8).sum::<usize>() / 8;
    assert!((60_000..120_000).contains(&bits), "{bits} bit/s");
}

/// Every real publisher and every real player, through a server that changes nothing: recordings are whole.
#[test]
fn real_clients_through_nginx_rtmp() {
    let server = Server::nginx_rtmp();
    let media = recipes::H264_AAC_B_FRAMES.media();
    std::thread::scope(|scope| {
        for generation in GENERATIONS {
            let (server, media) = (&server, &media);
            scope.spawn(move || {
                let name = format!("by-{generation:?}");
                let url = server.url("live", &name);
                let mut players = vec![rtmpdump::play(&url)];
                players.extend(GENERATIONS.map(|generation| ffmpeg::play(generation, &url)));
                server.wait_for_players("live", &name, 3);
                ffmpeg::Publisher::start(generation, media, &url).finish();
                for player in players {
                    player.finish().assert_whole(&media.packets);
                }
            });
        }
    });
}

/// Our own client publishes and plays, with each habit of writing chunks that nginx-rtmp understands.
#[test]
fn own_clients_through_nginx_rtmp() {
    let server = Server::nginx_rtmp();
    let media = recipes::H264_AAC.media();
    let tags: Vec<Tag> = media.tags.iter().take_while(|tag| tag.timestamp < 3000).cloned().collect();
    let packets = Packet::from_tags(&tags);
    for (index, headers) in [MediaHeaders::Absolute, MediaHeaders::Delta].into_iter().enumerate() {
        let name = format!("own-{index}");
        let player = Client::open(server.rtmp()).connect("live").play(&name).record_in_background();
        let ffmpeg_player = ffmpeg::play(Generation::Five, &server.url("live", &name));
        server.wait_for_players("live", &name, 2);
        let writer = ChunkWriter::new(ExtendedTimestamp::Repeat, headers);
        let mut publisher = Client::open(server.rtmp()).with_writer(writer).connect("live").publish(&name);
        publisher.set_chunk_size(4096);
        publisher.send_paced(&tags, 2.0);
        publisher.unpublish();
        let (_, received) = player.finish();
        // nginx-rtmp keeps back what comes before the first video frame: here one audio frame.
        assert_eq!(gapless_sequence(&packets, &received).map(|run| run.skipped), Ok(1));
        assert!(ffmpeg_player.finish().assert_gapless(&packets).skipped <= 1);
    }
}

/// A crowd sees every message of a synthetic stream, and says so; a publisher that has to be refused is told why.
#[test]
fn crowd_through_nginx_rtmp() {
    let server = Server::nginx_rtmp();
    let pattern = Pattern::with_bits_per_second(500_000);
    let crowd = Crowd::join(server.rtmp(), "live", "crowd", 20);
    server.wait_for_players("live", "crowd", 20);
    let mut publisher = Client::open(server.rtmp()).connect("live").publish("crowd");
    let refused = Client::open(server.rtmp()).connect("live").request_publish("crowd");
    assert_eq!(refused.code, "NetStream.Publish.BadName");
    for header in sequence_headers(&media::H264_AAC.media()) {
        publisher.send_tag(&header);
    }
    let tags: Vec<Tag> = (0..100).map(|number| pattern.tag(number)).collect();
    publisher.send_paced(&tags, 1.0);
    publisher.unpublish();
    for report in crowd.finish() {
        assert_eq!((report.first, report.last, report.out_of_order), (Some(0), Some(99), 0));
        assert!(report.starts_at_key_frame && report.notified);
        assert_eq!(report.latencies_us.len(), 100);
    }
}

/// A synthetic message that is damaged on its way does not pass.
#[test]
#[should_panic(expected = "is damaged")]
fn damage_is_found() {
    let mut tag = Pattern::with_bits_per_second(500_000).tag(2);
    assert_eq!(stamp(tag.kind, &tag.body).map(|stamp| stamp.number), Some(2));
    let last = tag.body.len() - 1;
    tag.body[last] ^= 1;
    stamp(tag.kind, &tag.body);
}

/// A link between two namespaces carries a connection until it is cut, and then nothing more.
#[test]
fn links_can_be_cut() {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    let link = Link::new();
    let listener = link.server.enter(|| TcpListener::bind((Link::SERVER, 0))).expect("listen in a namespace");
    let address = listener.local_addr().expect("an address");
    let mut near =
        link.client.enter(|| TcpStream::connect_timeout(&address, PATIENCE)).expect("connect over the link");
    let (mut far, _) = listener.accept().expect("accept");
    near.write_all(b"before").expect("send");
    let mut bytes = [0; 6];
    far.read_exact(&mut bytes).expect("receive");
    link.cut();
    near.write_all(b"after!").expect("the socket takes it");
    far.set_read_timeout(Some(Duration::from_millis(500))).expect("set a timeout");
    let error = far.read(&mut bytes).expect_err("nothing arrives");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
}

/// Playing what nobody publishes gives no media, and the connection stays.
#[test]
fn player_waits_at_nginx_rtmp() {
    let server = Server::nginx_rtmp();
    let mut player = Client::open(server.rtmp()).connect("live").play("nobody");
    server.wait_for_players("live", "nobody", 1);
    while let Some(event) = player.next_event(std::time::Duration::from_millis(300)) {
        let is_media = matches!(&event, Event::Media(tag) if tag.kind != Kind::Data);
        assert!(!is_media && event != Event::Closed, "{event:?}");
    }
}

/// A held port refuses, serves whoever listens on it, one at a time, and refuses again; nobody else gets it.
#[test]
fn a_held_port_is_there_for_one_listener_at_a_time() {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    let port = HeldPort::new();
    let connect = || TcpStream::connect(port.address());
    for _ in 0..2 {
        assert_eq!(connect().expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
        let listener = TcpListener::bind(port.address()).expect("it is kept for a listener");
        let client = connect().expect("connect");
        let served = listener.accept().expect("accept");
        let second = TcpListener::bind(port.address()).expect_err("it is taken");
        assert_eq!(second.kind(), ErrorKind::AddrInUse);
        // What was connected does not keep the port when the listener has gone.
        drop(listener);
        drop((client, served));
    }
    let other = HeldPort::new();
    assert_ne!(port.address(), other.address());
}
