//! The bodies of the fuzz targets: one function a target, from any bytes to nothing, which panics where a promise is broken.
//!
//! They are here and not in `fuzz_targets/`, so that `tests/fuzz_corpus.rs` can run them as well: what was once found stays found
//! wherever `cargo test` runs. A new target is a function here and a line in [`TARGETS`], its file in `fuzz_targets/`, and its
//! `[[bin]]` in `Cargo.toml`.
//!
//! # What is promised
//! Not to panic is the least of it. Each body names what it holds its part of the engine to: bounds of what is held, what was written
//! read back, sessions that give the same however their input is cut, nothing after the end.
//! # Input
//! Formats are made for mutation: a byte more or less leaves the rest meaning what it meant. Any bytes are an input.

pub mod amf;
pub mod chunk_ops;
pub mod chunk_reader;
pub mod client_session;
pub mod codec_config;
pub mod media;
pub mod peer;
pub mod proxy;
pub mod script;
pub mod sent;
pub mod server_session;
pub mod urls;

/// A target: its name, which is that of its file and of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("amf0", amf::amf0),
    ("amf3", amf::amf3),
    ("chunk_ops", chunk_ops::chunk_ops),
    ("chunk_reader", chunk_reader::chunk_reader),
    ("client_session", client_session::client_session),
    ("codec_config", codec_config::codec_config),
    ("media", media::media),
    ("proxy", proxy::proxy),
    ("server_session", server_session::server_session),
    ("urls", urls::urls),
];
