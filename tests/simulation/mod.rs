//! What the simulations share: chance that a seed determines, a direction of a link, publishers, readers, and the run over many seeds.
//!
//! `virtual_link.rs` runs sessions without a hub, `hub_simulation.rs` hubs without sessions, `engine_simulation.rs` both together.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file is a crate of its own and uses its own part of the simulation"
)]

pub mod chunker;
pub mod directory;
pub mod encoder;
pub mod pipe;
pub mod rng;
pub mod seeds;
pub mod servers_own;
pub mod witness;
