//! Floor 0: bytes to messages and back (RTMP 1.0, AMF0, AMF3).
#![forbid(unsafe_code)]

pub mod amf;
pub mod chunk;
pub mod command;
pub mod error;
pub mod handshake;
pub mod limits;
pub mod message;
pub mod payload;

pub use error::{ApiMisuse, Error, PeerMisbehaved, PeerUnsupported, Stage};
pub use limits::Limits;
pub use message::{Message, MessageHeader};
pub use payload::Payload;
