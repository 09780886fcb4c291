//! Several hubs as the cores of one engine, driven at random: publishers come, stream, change their configuration, leave and move; readers
//! join on any core, stall, pause, change their wishes, leave; inboxes are slow and congested; time passes. No sockets, no clock: a seed
//! says everything.
//!
//! Held at every step, for every reader (`witness.rs`): no frame twice or out of order; every gap in the pictures ends at a key frame and
//! every gap is accounted for; every frame follows the header it needs; nothing after the publisher's end. For every queue: its bounds, and
//! no reader sleeps while something is queued for it. In the end everybody is served again, and when all have left, every slab is empty.
//!
//! `INRUSH_SEEDS` says how many seeds to run (default 2,000), `INRUSH_SEED` runs one. A failure prints its seed.

mod encoder;
mod random;
mod tally;
mod witness;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tally::Tally;
use world::World;

const SEEDS: u64 = 2_000;
const STEPS: usize = 250;

/// Below this many seeds a kind of event may fail to occur by chance.
const SEEDS_THAT_SHOW_ALL: u64 = 1_000;

#[test]
fn cores_serve_their_readers_whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect(name));
    let seeds = match (number("INRUSH_SEED"), number("INRUSH_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(SEEDS),
    };
    let enough = seeds.end - seeds.start >= SEEDS_THAT_SHOW_ALL;
    let mut tally = Tally::default();
    for seed in seeds {
        let run = || {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.end()
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(counts) => tally.add(&counts),
            Err(panic) => {
                eprintln!("failed with INRUSH_SEED={seed}");
                resume_unwind(panic);
            }
        }
    }
    println!("{tally}");
    if enough {
        tally.assert_all_occurred();
    }
}
