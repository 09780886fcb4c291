//! Floor 1: one connection's state machine, in the server and the client role.
#![forbid(unsafe_code)]

pub mod acknowledgement;
pub mod deadlines;
pub mod instant;
pub mod media_message;
pub mod oddity;
pub mod rate;
mod rtmp_url;
pub mod server;
pub mod stream_key;

pub use deadlines::Deadlines;
pub use instant::Instant;
pub use media_message::{MediaKind, MediaMessage};
pub use oddity::Oddity;
pub use server::ServerSettings;
pub use stream_key::{StreamAddress, StreamKey};
