//! What the dashboard lives on: the node at a glance, once a second, for whoever watches.

pub mod events;
pub mod snapshot;
