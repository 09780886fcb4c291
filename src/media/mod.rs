//! Floor 2: what a message means: tag headers, tracks, codec configuration, key frames, GOP cache.
#![forbid(unsafe_code)]

pub mod codec;
pub mod config;
