//! Forwarding: each stream that is published is sent on to the targets that the configuration or a back end names.
//!
//! - [`target`] and [`template`] are what the configuration says, [`trust`] is whom TLS believes.

pub mod backoff;
pub mod failure;
pub mod group;
pub mod life;
pub mod plan;
pub mod target;
pub mod template;
pub mod trust;

pub use target::{Rank, Target};

/// What forwarding is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where streams go.
    pub targets: Vec<Target>,
}
