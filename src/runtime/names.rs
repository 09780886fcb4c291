//! Stream names in logs: for most users the name is the key, so logs show a short keyed hash of it.

use std::hash::{BuildHasher, RandomState};

/// Hashes names under a key that was drawn when the process started: equal names look equal within one run, and nobody can try names
/// against a log.
#[derive(Clone, Debug, Default)]
pub struct NameHasher {
    key: RandomState,
}

impl NameHasher {
    /// A hasher with a key of its own.
    pub fn random() -> Self {
        Self::default()
    }

    /// Eight hexadecimal digits that stand for this stream in logs.
    pub fn hash(&self, name: &str) -> String {
        let [a, b, c, d, ..] = self.key.hash_one(name).to_be_bytes();
        format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
    }
}
