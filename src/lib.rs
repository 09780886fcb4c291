//! `inrush`: an RTMP ingest engine for the edge of a CDN. One process, one thread a core, one io_uring a thread.
//!
//! # Floors
//! A file uses its own floor and those below, never one above (`tests/floors.rs` holds this).
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 0 | [`rtmp`] | bytes and messages: handshake, chunks, AMF0 and AMF3, commands, limits |
//! | 1 | [`session`] | one connection's state machine, in the server and the client role |
//! | 2 | [`media`] | what a message means: tag headers, tracks, configuration, key frames, GOP cache |
#![cfg_attr(
    feature = "engine",
    doc = "| 3 | [`hub`] | who publishes, who reads: streams, subscribers, fan-out, drop policy |"
)]
#![cfg_attr(
    feature = "engine",
    doc = "| 4 | [`runtime`] | tokio-uring: cores, listeners, connections, core-to-core inboxes |"
)]
#![cfg_attr(
    feature = "engine",
    doc = "| 5 | [`edge`] | what faces outward: who may publish and play, where streams go and come from |"
)]
#![cfg_attr(feature = "engine", doc = "| 5 | [`control`] | the control HTTP: health, metrics, API |")]
#![cfg_attr(
    feature = "engine",
    doc = "| 6 | [`config`], [`serve`], [`reload`], [`greeting`], [`log`], [`replay`], [`systemd`] | flags, file and environment; start, reload and stop; recordings read again; the service manager |"
)]
//!
//! Floors 0-2 are for other programs as well: `no_std` + `alloc`, no sockets, clocks or threads, with `default-features = false`.
//! They and the hub take time and randomness as arguments, hold no I/O, and are tested without a socket.
//!
//! # The life of a frame
//! 1. **Read.** A receive owns its buffer while the kernel fills it; what arrived is split off as `Bytes` (`runtime/reading.rs`). Where TLS is
//!    spoken, it is decrypted in that buffer first (`runtime/tls`).
//! 2. **Reassemble.** [`rtmp::chunk::ChunkReader`] parses chunk headers; a message's [`rtmp::Payload`] is the list of slices it came in.
//! 3. **Decide.** [`session::ServerSession`] takes bytes and gives sends, events and deadlines; publish and play are questions whose
//!    answers come back as commands.
//! 4. **Frame it once.** [`media::Ingest`] makes a [`media::Frame`] of each media message, with the chunk headers that every subscriber
//!    shares; one `Arc` holds it from here on.
//! 5. **Fan out.** The hub of the stream's home core puts it into the queues of its subscribers, and into one batch for each other core
//!    that has some.
//! 6. **Write.** One task a core takes what is queued for each player and hands it to the kernel as one message (`runtime/fan_out.rs`); what
//!    has to wait for a peer is its connection's writer's (`runtime/writing.rs`).
//!
//! # Panics
//! Whatever a peer sends is input, never a panic. A panic is a defect: the core that meets one counts it and closes that connection.
#![cfg_attr(not(any(feature = "engine", test)), no_std)]

extern crate alloc;

pub mod media;
pub mod rtmp;
pub mod session;

#[cfg(feature = "engine")]
pub mod config;
#[cfg(feature = "engine")]
pub mod control;
#[cfg(feature = "engine")]
pub mod edge;
#[cfg(feature = "engine")]
pub mod greeting;
#[cfg(feature = "engine")]
pub mod hub;
#[cfg(feature = "engine")]
pub mod log;
#[cfg(feature = "engine")]
pub mod reload;
#[cfg(feature = "engine")]
pub mod replay;
#[cfg(feature = "engine")]
pub mod runtime;
#[cfg(feature = "engine")]
pub mod serve;
#[cfg(feature = "engine")]
pub mod systemd;
