//! Random numbers that a seed repeats (SplitMix64).

use std::time::{SystemTime, UNIX_EPOCH};

/// A generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// With the seed in `INRUSH_SEED`, or a new one; prints it, so that a failure can be repeated.
    pub fn from_environment() -> Self {
        let seed = std::env::var("INRUSH_SEED").map_or_else(
            |_| SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64,
            |seed| seed.parse().expect("INRUSH_SEED is a number"),
        );
        println!("INRUSH_SEED={seed}");
        Self(seed)
    }

    /// With this seed.
    pub fn with_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is small.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// One of some.
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
