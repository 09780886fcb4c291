//! Random bytes for handshakes, from the kernel.

use std::cell::RefCell;

use crate::rtmp::handshake::Entropy;
use crate::session::Instant;

/// One call of the kernel fetches so many bytes: about forty handshakes.
const POOL_BYTES: usize = 64 * 1024;

struct Pool {
    bytes: Box<[u8]>,
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool { bytes: vec![0; POOL_BYTES].into(), used: POOL_BYTES });
}

/// What one handshake needs. Each byte is given out once.
pub(crate) fn draw(now: Instant) -> Box<Entropy> {
    let mut entropy = Box::new(Entropy { time_ms: now.as_millis() as u32, random: [0; 1528] });
    POOL.with_borrow_mut(|pool| {
        let len = entropy.random.len();
        if pool.bytes.len() - pool.used < len {
            refill(&mut pool.bytes);
            pool.used = 0;
        }
        entropy.random.copy_from_slice(&pool.bytes[pool.used..pool.used + len]);
        pool.used += len;
    });
    entropy
}

fn refill(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: the pointer and the length are those of a live slice.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            // Interrupted by a signal: the only error that a present-day kernel has here.
            Err(_) => continue,
        }
    }
}
