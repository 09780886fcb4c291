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
pub mod greeting;
#[cfg(feature = "engine")]
pub mod hub;
#[cfg(feature = "engine")]
pub mod log;
#[cfg(feature = "engine")]
pub mod runtime;
