//! Timestamps near their limits: sessions play on across 0xFFFFFF and across 2^32, whatever habits the encoder has.
#![cfg(feature = "engine")]

mod support;

use support::client::Client;
use support::ffmpeg::{self, GENERATIONS};
use support::flv::Tag;
use support::media::LARGE_KEY_FRAMES;
use support::packets::{Packet, Role};
use support::rtmpdump;
use support::server::{Inrush, Server};
use support::wire::{ChunkWriter, ExtendedTimestamp, MediaHeaders};

/// How long before the limit a session starts, milliseconds.
const BEFORE_MS: u32 = 60_000;
/// How long it lasts, milliseconds.
const SESSION_MS: u32 = 72_000;
/// How much faster than real time it is sent.
const SPEED: f64 = 4.0;

/// Starts 60 s before `limit` and ends 12 s after it, with key frames of several chunks all the way.
fn session_across(limit: u32) -> Vec<Tag> {
    let media = LARGE_KEY_FRAMES.media();
    let start = limit.wrapping_sub(BEFORE_MS);
    let is_frame = |tag: &&Tag| Packet::from_tag(tag).is_some_and(|packet| packet.role != Role::Config);
    let (frames, headers): (Vec<&Tag>, Vec<&Tag>) = media.tags.iter().partition(is_frame);
    let mut tags: Vec<Tag> = headers.into_iter().map(|tag| Tag { timestamp: start, ..tag.clone() }).collect();
    for round in (0..SESSION_MS).step_by(8_000) {
        let whole = frames.iter().filter(|tag| tag.timestamp < 8_000);
        tags.extend(
            whole.map(|tag| Tag { timestamp: start.wrapping_add(round + tag.timestamp), ..(*tag).clone() }),
        );
    }
    tags
}

/// Publishes across a limit with some habit of writing chunks, to players of every kind.
fn publish_across(
    server: &Server,
    name: &str,
    limit: u32,
    extended: ExtendedTimestamp,
    headers: MediaHeaders,
) {
    let tags = session_across(limit);
    let packets = Packet::from_tags(&tags);
    let url = server.url("live", name);
    let player = Client::open(server.rtmp()).connect("live").play(name).record_in_background();
    let mut recorders = vec![rtmpdump::play(&url)];
    recorders.extend(GENERATIONS.map(|generation| ffmpeg::play(generation, &url)));
    server.wait_for_players("live", name, 1 + recorders.len());
    let writer = ChunkWriter::new(extended, headers);
    let mut publisher = Client::open(server.rtmp()).with_writer(writer).connect("live").publish(name);
    publisher.set_chunk_size(4096);
    publisher.send_paced(&tags, SPEED);
    publisher.unpublish();
    player.assert_whole(&packets);
    for recorder in recorders {
        recorder.finish().assert_whole(&packets);
    }
}

/// Both limits, for encoders that repeat the extended timestamp on type-3 chunks, that omit it, and that send deltas.
#[test]
fn sessions_play_on_across_the_limits() {
    let server = Inrush::new().cores(2).start();
    let habits = [
        ("repeat", ExtendedTimestamp::Repeat, MediaHeaders::Absolute),
        ("omit", ExtendedTimestamp::Omit, MediaHeaders::Absolute),
        ("delta", ExtendedTimestamp::Repeat, MediaHeaders::Delta),
    ];
    std::thread::scope(|scope| {
        for (limit_name, limit) in [("24-bits", 0xff_ffff), ("32-bits", 0)] {
            for (habit, extended, headers) in habits {
                let server = &server;
                scope.spawn(move || {
                    publish_across(server, &format!("{limit_name}-{habit}"), limit, extended, headers);
                });
            }
        }
    });
}
