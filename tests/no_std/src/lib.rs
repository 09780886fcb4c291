//! Links floors 0-2 where there is no standard library, and runs them.
//!
//! A `no_std` crate can still pull std in through a dependency, and then builds wherever std exists. Here it cannot: the panic
//! handler below would be there twice. Each entry of [`PROOFS`] calls real code, since the linker drops what nobody calls.
#![no_std]

extern crate alloc;

use alloc::boxed::Box;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use inrush::rtmp::Payload;
use inrush::rtmp::handshake::{ClientHandshake, Entropy, HandshakeKind, ServerHandshake};
use inrush::session::StreamKey;

/// What is run, by name: one a part of the floors.
const PROOFS: &[fn() -> Option<()>] = &[handshake, payload, stream_key];

/// Runs all proofs; 0, or the number of the first that fails, counted from 1.
#[unsafe(no_mangle)]
pub extern "C" fn inrush_no_std() -> u32 {
    PROOFS.iter().zip(1..).find(|(proof, _)| proof().is_none()).map_or(0, |(_, number)| number)
}

/// A proof goes on while what it asks for is true.
fn ensure(is: bool) -> Option<()> {
    is.then_some(())
}

/// Floor 0: a client and a server shake hands, in both kinds.
fn handshake() -> Option<()> {
    for kind in [HandshakeKind::Simple, HandshakeKind::Digest] {
        let entropy = || Box::new(Entropy { time_ms: 0, random: [7; 1528] });
        let mut server = ServerHandshake::new(entropy());
        let mut client = ClientHandshake::new(entropy(), kind);
        let answer = server.handle_bytes(client.start()).ok()?.send?;
        let c2 = client.handle_bytes(answer).ok()?.send?;
        ensure(server.handle_bytes(c2).ok()?.done? == Bytes::new())?;
        ensure(client.is_verified()? && server.kind()? == kind)?;
    }
    Some(())
}

/// Floor 0: a message's slices.
fn payload() -> Option<()> {
    let payload: Payload = [Bytes::from_static(b"in"), Bytes::from_static(b"rush")].into_iter().collect();
    ensure(payload.skip(1).to_bytes() == "nrush")
}

/// Floor 1: a stream's key.
fn stream_key() -> Option<()> {
    ensure(StreamKey::new("live", "a").name() == "a")
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Bytes that all proofs may allocate together.
const ARENA_BYTES: usize = 16 * 1024 * 1024;

/// Gives out each byte once.
struct Arena {
    bytes: UnsafeCell<[u8; ARENA_BYTES]>,
    used: AtomicUsize,
}

// SAFETY: `used` only grows and is atomic, so no two allocations share a byte.
unsafe impl Sync for Arena {}

// SAFETY: what is given out lies inside `bytes`, aligned as asked, and is never given out again.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.bytes.get().cast::<u8>();
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let end = used + (base as usize + used).wrapping_neg() % layout.align() + layout.size();
            (end <= ARENA_BYTES).then_some(end)
        });
        let Ok(used) = taken else { return core::ptr::null_mut() };
        let start = used + (base as usize + used).wrapping_neg() % layout.align();
        base.wrapping_add(start)
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ARENA: Arena = Arena { bytes: UnsafeCell::new([0; ARENA_BYTES]), used: AtomicUsize::new(0) };
