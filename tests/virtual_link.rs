//! Server and client sessions over a virtual link: random splits, delays, cuts and silences, in virtual time.
//!
//! `INRUSH_SEEDS` says how many seeds to run (10,000 by default), `INRUSH_SEED` runs a single one again.

mod link;
mod simulation;

use inrush::rtmp::handshake::HandshakeKind;
use inrush::rtmp::message::type_id;
use inrush::session::Role;
use link::connection::{Media, Plan};
use link::script::{Op, Script};
use link::world;
use simulation::chunker::Habit;

const SEEDS: u64 = 10_000;

/// Below so many seeds a rare kind may well not occur.
const SEEDS_FOR_ALL_KINDS: u64 = 5_000;

#[test]
fn sessions_hold_their_contract_on_any_link() {
    let (seeds, kinds) = simulation::seeds::run("virtual_link", SEEDS, world::run);
    kinds.print();
    if seeds >= SEEDS_FOR_ALL_KINDS {
        assert_eq!(kinds.missing(), [""; 0], "kinds that never occurred");
    }
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..20 {
        assert_eq!(world::run(seed), world::run(seed), "seed {seed}");
    }
}

/// Two minutes of video and audio that begin a minute before each boundary of the timestamp field, from encoders of each
/// habit: every message reaches the player, with its timestamp.
#[test]
fn a_session_plays_on_across_the_timestamp_boundaries() {
    const MINUTE_MS: u32 = 60_000;
    const STEP_MS: u32 = 40;

    let media = |type_id, len, step_ms| Op::Media { type_id, len, step_ms, elsewhere: false };
    let frames = 2 * MINUTE_MS / STEP_MS;
    let ops: Vec<Op> = (0..frames)
        .flat_map(|n| {
            // Three chunks of 128 bytes; lengths that repeat and lengths that do not, for headers of all four types.
            let len = if n % 3 == 0 { 320 } else { 300 };
            [media(type_id::VIDEO, len, STEP_MS), media(type_id::AUDIO, 150, 0)]
        })
        .chain([Op::Stop])
        .collect();
    let plan = |role, ops, timestamp, media, chunk_size| Plan {
        role,
        script: Script { ops, exact: true },
        timestamp,
        media,
        chunk_size,
        handshake: HandshakeKind::Simple,
        fc_subscribe: false,
        silent_after: None,
    };
    let mut seed = 0;
    for boundary in [0x00ff_ffff, 0x8000_0000, 0u32] {
        for habit in [Habit::Repeat, Habit::Omit] {
            for compress in [false, true] {
                for chunk_size in [128, 4096] {
                    let start = boundary.wrapping_sub(MINUTE_MS);
                    let chunker = Media::chunker(habit, compress, chunk_size);
                    let publisher = plan(Role::Publish, ops.clone(), start, chunker, chunk_size);
                    let player = plan(Role::Play, Vec::new(), 0, Media::Session, 128);
                    let kinds = world::run_pair(seed, publisher, player);
                    let case =
                        format!("{boundary:#x}, {habit:?}, compress {compress}, chunk size {chunk_size}");
                    assert_eq!(kinds.of("server media"), u64::from(2 * frames), "{case}");
                    assert_eq!(kinds.of("client media"), u64::from(2 * frames), "{case}");
                    seed += 1;
                }
            }
        }
    }
}
