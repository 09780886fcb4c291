//! Floor 0: bytes to messages and back (RTMP 1.0, AMF0, AMF3).
#![forbid(unsafe_code)]

pub mod aggregate;
pub mod amf;
pub mod chunk;
pub mod command;
pub mod control;
pub mod error;
pub mod fourcc;
pub mod handshake;
pub mod limits;
pub mod message;
pub mod payload;
pub mod user_control;

pub use control::{BandwidthLimit, Control};
pub use error::{ApiMisuse, Error, PeerMisbehaved, PeerUnsupported, Stage};
pub use fourcc::FourCc;
pub use limits::Limits;
pub use message::{Message, MessageHeader};
pub use payload::Payload;
pub use user_control::UserControl;
