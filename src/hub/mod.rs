//! Floor 3: who publishes, who reads. One core's state: no locks, no I/O.
#![forbid(unsafe_code)]

/// Settings of one app.
#[derive(Clone, Debug, Default)]
pub struct AppSettings {}
