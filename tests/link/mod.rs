//! Two peers over a virtual link in virtual time: the parts of `tests/virtual_link.rs`.
#![allow(unreachable_pub, reason = "a test has nobody to export to")]

pub mod connection;
mod driver;
pub mod kinds;
pub mod script;
pub mod world;
