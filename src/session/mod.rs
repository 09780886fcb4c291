//! Floor 1: one connection's state machine, in the server and the client role.
//!
//! # The contract
//! A session does no I/O and reads no clock. The driver owns socket and time, and drives it like this:
//!
//! ```text
//! session.handle_bytes(now, bytes);                // or handle_timeout, handle_eof, or a command such as accept_publish
//! while let Some(output) = session.poll_output() {
//!     match output {
//!         Output::Send(bytes) => write them, in this order,
//!         Output::Event(event) => act on it,
//!         Output::Timeout(at) => call handle_timeout at that instant,
//!         Output::Progress => a message that needs nothing from the driver,
//!     }
//! }
//! ```
//!
//! - **Input is cheap, work is in `poll_output`**: `handle_bytes` only takes the bytes over, and each call of `poll_output`
//!   parses at most one message. A driver with a budget may stop anywhere and go on later, after more input too: what
//!   waits stays in order. It must come back until `None`, since nothing else reminds it.
//! - **`now`** never decreases. `poll_output` uses the `now` of the last input.
//! - **Questions are events, answers are commands**: a publish or play waits for `accept_publish`, `accept_play` or
//!   `reject`, and the session parses nothing until then. What arrives lies unparsed; `wants_bytes` turns false when
//!   that reaches its bound.
//! - **The end is an event**: after `Closed` there is no output, and all input and every command does nothing.
//!   Errors are input like any other: they are the peer's, they end its session, and they never panic.
//! - **Plain data**: a session is `Send + 'static` without closures or handles, and can move to another core between
//!   any two calls.
#![forbid(unsafe_code)]

pub mod acknowledgement;
pub mod client;
pub mod client_url;
pub mod close;
pub mod counters;
pub mod deadlines;
pub mod event;
pub mod excess;
pub mod fingerprint;
mod incoming;
pub mod instant;
pub mod media_message;
pub mod oddity;
pub mod params;
pub mod rate;
pub mod reconnect_url;
mod recorder;
pub mod recording;
mod rtmp_url;
pub mod server;
pub mod status;
pub mod stream_key;
mod url_reference;
pub mod work;

pub use client::{
    ClientCloseReason, ClientEvent, ClientOutput, ClientSession, ClientSettings, Role, ServerStatus,
};
pub use client_url::{ClientUrl, ClientUrlError};
pub use close::CloseReason;
pub use counters::{MediaCount, SessionCounters};
pub use deadlines::Deadlines;
pub use event::{
    Event, Notice, Output, PlayRequest, PlayTerms, PublishKind, PublishRequest, Rejection, RequestId,
};
pub use excess::Excess;
pub use fingerprint::{Behaviour, Encoder};
pub use instant::Instant;
pub use media_message::{MediaKind, MediaMessage};
pub use oddity::Oddity;
pub use reconnect_url::ReconnectUrl;
pub use recording::Recording;
pub use server::{ConnectInfo, ServerSession, ServerSettings};
pub use stream_key::{StreamAddress, StreamKey};
