//! Random bytes for handshakes.
//!
//! The far end compares them with what comes back and needs nothing more: "there is no need for cryptographically-secure randomness"
//! (RTMP 1.0 §5.2.3). So a generator a core serves, which costs a tenth of what the kernel takes for as many bytes.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};

use fastrand::Rng;

use crate::rtmp::handshake::Entropy;
use crate::session::Instant;

thread_local! {
    /// Seeded from the process's own randomness, each core differently.
    static GENERATOR: RefCell<Rng> = RefCell::new(Rng::with_seed(RandomState::new().hash_one(0)));
}

/// What one handshake needs.
pub(crate) fn draw(now: Instant) -> Box<Entropy> {
    let mut entropy = Box::new(Entropy { time_ms: now.as_millis() as u32, random: [0; 1528] });
    GENERATOR.with_borrow_mut(|generator| generator.fill(&mut entropy.random));
    entropy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_handshakes_are_alike() {
        let [first, second] = [0, 1].map(|_| draw(Instant::default()).random);
        assert_ne!(first, second);
        assert!(first.iter().any(|byte| *byte != first[0]));
    }
}
