//! The engine as virtual actors: the parts of `tests/engine_simulation.rs`.

mod bounds;
mod client;
mod core;
mod draining;
mod habits;
mod happenings;
mod ledger;
mod reading;
mod receiving;
mod requests;
mod served;
pub(crate) mod tally;
pub(crate) mod world;
mod writing;
