//! Floor 4: tokio-uring. One thread a core, one ring a thread, nothing shared on a frame's way.
//!
//! - [`engine`] starts and ends the cores, [`handle`] is how other threads see them, [`preflight`] asks whether the host is ready.
//! - A core's state is `core`; its tasks are `accepting`, `reading`, `writing`, `polling`, `fan_out` and `turn`
//!   (inbox, batches for other cores, sweep). `closing` is how a connection ends, `counting` what a core's sums follow.
//! - [`outgoing`] is connections that we make: floor 5 connects, a core takes over and forwards or pulls (`dialed`, `forwarding`, `peer`).
//! - `draining` is how they end in good order, [`reloading`] how cores are given other settings and listeners.
//! - [`outside`] is what the engine asks and tells those above it; `asking` does the asking, `requests` what was allowed, and
//!   `succession` what it takes when one publisher follows another.
//! - `health` tells of what is judged of publishers, `lease` is how long a session may last.
//! - `directory` knows each stream's home core, `inbox` carries messages between cores, `moving` takes publishers home.
//! - [`proxy`] and `arriving` find out who a connection is and what it speaks before its session begins.
//! - [`tls`] stands between a socket and its session where RTMPS is spoken.
//! - `op` holds the kernel operations, one a file: the only place that builds submission entries, and where in flight means owned.

mod accepting;
mod affinity;
mod answers;
mod arriving;
mod asking;
mod buffer;
mod cadence;
mod clock;
mod closing;
mod connection;
mod core;
mod counting;
mod dialed;
mod directory;
mod draining;
pub mod engine;
mod entropy;
mod fan_out;
mod forwarding;
pub mod handle;
mod health;
pub mod histogram;
mod inbox;
mod lease;
pub(crate) mod listener;
mod moving;
mod names;
pub mod observe;
mod op;
pub mod outgoing;
pub mod outside;
mod pages;
mod peer;
mod polling;
mod pre_publish;
mod prefixes;
pub mod preflight;
pub mod proxy;
mod quotas;
mod rate;
mod reading;
pub mod recording_file;
mod recordings;
pub mod reloading;
mod requests;
pub mod settings;
mod shared;
mod signal;
mod socket;
mod succession;
mod tcp_info;
pub mod tls;
pub mod traffic;
mod turn;
mod writing;

pub use draining::DRAIN_DEADLINE_MAX;
pub use engine::{Engine, Report, StartError, start};
pub use handle::{CoreAnswer, Handle};
pub use names::NameHasher;
pub use outgoing::{
    Dialed, OutgoingEnd, OutgoingEvent, OutgoingId, OutgoingInfo, OutgoingState, Start, Task,
};
pub use outside::Outside;
pub use pages::use_small_pages;
pub use recordings::RecorderSettings;
pub use settings::{App, Placement, PrefixLimits, RuntimeSettings};
