//! Floor 4: tokio-uring, one thread a core.

pub mod observe;
pub mod settings;
