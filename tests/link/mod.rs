//! Two peers over a virtual link in virtual time: the parts of `tests/virtual_link.rs`.
#![allow(unreachable_pub, reason = "a test has nobody to export to")]

pub mod chunker;
pub mod connection;
pub mod kinds;
mod pipe;
mod rng;
pub mod script;
pub mod world;
