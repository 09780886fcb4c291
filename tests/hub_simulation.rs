//! Several hubs as the cores of one engine, driven at random: publishers come, stream, change their configuration, leave and move; readers
//! join on any core, stall, pause, change their wishes, leave; inboxes are slow and congested; time passes. No sockets, no clock: a seed
//! says everything.
//!
//! Held at every step, for every reader (`simulation/witness.rs`): no frame twice or out of order; every gap in the pictures ends at a key frame and
//! every gap is accounted for; every frame follows the header it needs; nothing after the publisher's end. For every queue: its bounds, and
//! no reader sleeps while something is queued for it. In the end everybody is served again, and when all have left, every slab is empty.
//!
//! `INRUSH_SEEDS` says how many seeds to run (default 10,000), `INRUSH_SEED` runs one. A failure prints its seed.
#![cfg(feature = "engine")]

mod hub_world;
mod simulation;

use hub_world::tally::Tally;
use hub_world::world::World;

const SEEDS: u64 = 10_000;
const STEPS: usize = 250;

/// Below this many seeds a kind of event may fail to occur by chance.
const SEEDS_THAT_SHOW_ALL: u64 = 1_000;

#[test]
fn cores_serve_their_readers_whatever_happens() {
    let (seeds, tally) = simulation::seeds::run("hub_simulation", SEEDS, run);
    println!("{tally}");
    if seeds >= SEEDS_THAT_SHOW_ALL {
        tally.assert_all_occurred();
    }
}

fn run(seed: u64) -> Tally {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.end()
}
