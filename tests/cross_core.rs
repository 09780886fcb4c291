//! Streams over cores: publishers move to their stream's home, players sit anywhere, and neither changes what is received.
#![cfg(feature = "engine")]

mod support;

use std::net::SocketAddr;

use support::client::Client;
use support::ffmpeg::{self, GENERATIONS, Generation};
use support::flv::Tag;
use support::media::{H264_AAC_B_FRAMES, LARGE_KEY_FRAMES, Recipe, THIN};
use support::recorder::Recorder;
use support::server::Inrush;
use support::wire::{ChunkWriter, ExtendedTimestamp, MediaHeaders, Message};
use support::{PATIENCE, rtmpdump, script, wait_until};

/// Connections that are tried before chance cannot be the reason any more: 2^-40.
const TRIES: usize = 40;

/// A real player of each kind on the other core than its stream's home gets all of it, whichever core that is, from each generation
/// of publisher.
#[test]
fn player_on_another_core_gets_everything() {
    std::thread::scope(|scope| {
        for home in [0, 1] {
            scope.spawn(move || play_across(home));
        }
    });
}

fn play_across(home: u64) {
    let server = Inrush::new().cores(2).placement(&format!("core:{home}")).start();
    let media = H264_AAC_B_FRAMES.media();
    let url = server.url("live", "across");
    let on_other_cores = || {
        let players = server.connections_of("player", "live", "across");
        players.iter().filter(|player| player["core"] != home).count()
    };
    let kinds: [&dyn Fn() -> Recorder; 3] =
        [&|| ffmpeg::play(Generation::Five, &url), &|| ffmpeg::play(Generation::Nine, &url), &|| {
            rtmpdump::play(&url)
        }];
    let mut players = Vec::new();
    for (kind, start) in kinds.into_iter().enumerate() {
        // Players of this kind come until the kernel has given one to the other core.
        while on_other_cores() <= kind {
            assert!(players.len() < TRIES, "{:?}", server.connections());
            players.push(start());
            server.wait_for_players("live", "across", players.len());
        }
    }
    let publisher = ffmpeg::Publisher::start(GENERATIONS[home as usize], &media, &url);
    server.wait_for_publisher("live", "across");
    assert_eq!(server.connections_of("publisher", "live", "across")[0]["core"], home);
    publisher.finish();
    for player in players {
        player.finish().assert_whole(&media.packets);
    }
}

/// Publishers accepted on another core move to the stream's home and lose nothing on the way, although they do not stop sending.
#[test]
fn publisher_moves_home_without_loss() {
    let server = Inrush::new().cores(2).placement("core:1").start();
    let media = THIN.media();
    let mut sessions = Vec::new();
    while server.metrics().counter("moved_in") < 3 {
        assert!(sessions.len() < TRIES, "no publisher has moved: {:?}", server.connections());
        let name = format!("moving-{}", sessions.len());
        let player = Client::open(server.rtmp()).connect("live").play(&name).record_in_background();
        server.wait_for_players("live", &name, 1);
        let (address, tags, key) = (server.rtmp(), media.tags.clone(), name.clone());
        let publisher = std::thread::spawn(move || publish_at_once(address, &key, &tags));
        wait_until("the publisher is at home", PATIENCE, || {
            let publishers = server.connections_of("publisher", "live", &name);
            publishers.iter().any(|publisher| publisher["core"] == 1).then_some(())
        });
        sessions.push((publisher, player));
    }
    for (publisher, player) in sessions {
        publisher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        player.assert_whole(&media.packets);
    }
}

/// Publishes without waiting for any answer to it, so that media is under way while the connection moves.
fn publish_at_once(address: SocketAddr, name: &str, tags: &[Tag]) {
    let publisher = Client::open(address).connect("live");
    let (first, rest) = tags.split_at(tags.len() / 4);
    let commands =
        script::before_publish(name).into_iter().chain([script::publish(script::FIRST_STREAM, name)]);
    let media = first.iter().map(|tag| Message::media(script::FIRST_STREAM, tag));
    let mut writer = ChunkWriter::default();
    let bytes: Vec<u8> = commands.chain(media).flat_map(|message| writer.write(&message)).collect();
    let mut publisher = publisher.with_writer(writer).on_stream(script::FIRST_STREAM, name);
    publisher.send_bytes(&bytes);
    publisher.send_paced(rest, 2.0);
    publisher.unpublish();
}

/// Whatever chunk size an encoder chooses, the same comes out: 1 byte (at 100 kbit/s), the protocol's default, common ones, and one
/// that puts every message into one chunk.
#[test]
fn every_chunk_size_comes_in() {
    let server = Inrush::new().cores(2).start();
    let cases: [(u32, Recipe); 5] = [
        (1, THIN),
        (128, LARGE_KEY_FRAMES),
        (4096, LARGE_KEY_FRAMES),
        (65_536, LARGE_KEY_FRAMES),
        (1 << 20, LARGE_KEY_FRAMES),
    ];
    std::thread::scope(|scope| {
        for (chunk_size, recipe) in cases {
            let server = &server;
            scope.spawn(move || {
                let media = recipe.media();
                let name = format!("chunks-of-{chunk_size}");
                let player = Client::open(server.rtmp()).connect("live").play(&name).record_in_background();
                let url = server.url("live", &name);
                let mut recorders = vec![rtmpdump::play(&url)];
                recorders.extend(GENERATIONS.map(|generation| ffmpeg::play(generation, &url)));
                server.wait_for_players("live", &name, 1 + recorders.len());
                let writer = ChunkWriter::new(ExtendedTimestamp::Repeat, MediaHeaders::Delta);
                let mut publisher =
                    Client::open(server.rtmp()).with_writer(writer).connect("live").publish(&name);
                publisher.set_chunk_size(chunk_size);
                publisher.send_paced(&media.tags, 1.0);
                publisher.unpublish();
                player.assert_whole(&media.packets);
                for recorder in recorders {
                    recorder.finish().assert_whole(&media.packets);
                }
            });
        }
    });
}

/// Sixty-four publishers spread over two cores, however the kernel spread their connections.
#[test]
fn publishers_spread_over_cores() {
    let server = Inrush::new().cores(2).start();
    let headers = support::synthetic::sequence_headers(&THIN.media());
    let publishers: Vec<Client> = (0..64)
        .map(|number| {
            let mut publisher =
                Client::open(server.rtmp()).connect("live").publish(&format!("spread-{number}"));
            headers.iter().for_each(|header| publisher.send_tag(header));
            publisher
        })
        .collect();
    let per_core = wait_until("all publish", PATIENCE, || {
        let per_core = server.metrics().per_core("publishers");
        (per_core.iter().sum::<u64>() == 64).then_some(per_core)
    });
    assert!(per_core.iter().all(|count| (28..=36).contains(count)), "{per_core:?}");
    drop(publishers);
}
