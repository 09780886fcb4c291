//! Hubs driven at random: the parts of `tests/hub_simulation.rs`.

mod publishers;
pub(crate) mod tally;
pub(crate) mod world;
