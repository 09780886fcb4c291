//! The kit of the black-box tests: servers, real clients, media, and what compares what went in with what came out.
//!
//! A test starts a [`server::Server`], lets clients publish and play, and compares. Every process, namespace and file belongs
//! to a guard that ends it, also when the test panics. Nothing sleeps in the hope that something has happened by then: a test
//! waits for a condition ([`wait_until`]) up to a deadline that only a broken server reaches.
//!
//! The clients here ([`wire`], [`client`], [`crowd`], [`fleet`]) share no code with the engine, so that a mistake on both sides of its
//! codec cannot hide. `kit.rs` proves the kit itself, against nginx-rtmp and with planted defects.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file is a crate of its own and uses its own part of the kit"
)]

pub mod amf;
pub mod api;
pub mod back_end;
pub mod browser;
pub mod chunk_header;
pub mod client;
pub mod confinement;
pub mod credentials;
pub mod crowd;
pub mod ffmpeg;
pub mod fleet;
pub mod flv;
pub mod herd;
pub mod live;
pub mod media;
pub mod namespaces;
pub mod neighbour;
pub mod packets;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod random;
pub mod recorder;
pub mod rest;
pub mod root;
pub mod rtmpdump;
pub mod script;
pub mod seccomp;
pub mod server;
pub mod synthetic;
pub mod tls;
pub mod wire;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that a working server does at once: generous, since a loaded machine is no defect.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until `condition` gives a value, and gives it back. Panics with `what` once `deadline` has passed.
#[track_caller]
pub fn wait_until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells a thread to stop, however the test that started it ends.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The build directory (`target/`), which also holds what `.ci/test` installs.
pub fn target_dir() -> &'static Path {
    // Cargo gives the directory `target/tmp` to integration tests.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent")
}

/// A path for a file of this test alone: unique in this process and among processes.
pub fn scratch_file(name: &str) -> PathBuf {
    let dir = target_dir().join("test-scratch");
    std::fs::create_dir_all(&dir).expect("make the scratch directory");
    dir.join(format!("{}-{name}", unique()))
}

/// A short name that no other test uses at the same time.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
