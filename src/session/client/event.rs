//! What a client session tells its driver.

use alloc::string::String;

use bytes::Bytes;

use crate::rtmp::Error;
use crate::rtmp::amf::Value;
use crate::rtmp::command::{Capabilities, Status};
use crate::session::{ClientUrl, Instant, MediaMessage};

/// What `ClientSession::poll_output` gives.
#[derive(Debug)]
pub enum ClientOutput {
    /// To be written to the server, in order. The driver owns the bytes.
    Send(Bytes),
    /// Something happened.
    Event(ClientEvent),
    /// `handle_timeout` wants to be called at this instant; replaces any instant asked for before.
    Timeout(Instant),
    /// A message was parsed that needs nothing from the driver; there may be more.
    Progress,
}

/// Something that happened on a client session.
#[derive(Debug)]
pub enum ClientEvent {
    /// The server accepted `connect`.
    Connected {
        /// What it says of its Enhanced RTMP; empty when it says nothing.
        capabilities: Capabilities,
    },
    /// The publish or play is on. A player hears it again when, after `Ended`, the next publisher came.
    Ready,
    /// One audio, video or data message of the played stream.
    Media(MediaMessage),
    /// What the server said; an error that ends the session is in `Closed` instead.
    Status(ServerStatus),
    /// The played stream has no publisher any more; another one may come.
    Ended,
    /// The server asks to connect again (E-RTMP v2 "Reconnect Request"), and serves this connection meanwhile. Whoever obeys goes on here up
    /// to the next key frame, begins there with the other, and only then stops this one. How often to follow, and whether from TLS to
    /// none, is the driver's to bound.
    Reconnect {
        /// Where: the URL of this session, or the one that it leads to from here; the stream's name stays.
        url: ClientUrl,
        /// Why, in words; empty if it was missing.
        description: String,
    },
    /// The last event. Write out the sends before it, then close.
    Closed {
        /// Why.
        reason: ClientCloseReason,
    },
}

/// The information object of `onStatus` or `_error`; each part is empty if it was missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// `status`, `warning` or `error`.
    pub level: String,
    /// As `NetStream.Publish.BadName`.
    pub code: String,
    /// The same in words.
    pub description: String,
}

impl ServerStatus {
    pub(super) fn of(info: &Value) -> Self {
        Self::from(&Status::of(info))
    }
}

impl From<&Status<'_>> for ServerStatus {
    fn from(status: &Status<'_>) -> Self {
        let Status { level, code, description } = *status;
        Self { level: level.into(), code: code.into(), description: description.into() }
    }
}

/// Why a client session closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCloseReason {
    /// The server closed.
    Eof,
    /// The server broke the protocol or a bound, or did not say yes in time.
    Error(Error),
    /// The server said no.
    Refused(ServerStatus),
    /// `stop` was called.
    Stopped,
}

impl ClientCloseReason {
    /// Metric label: stable, snake case, from a bounded set; an error gives its own.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Eof => "eof",
            Self::Error(error) => error.label(),
            Self::Refused(_) => "refused",
            Self::Stopped => "stopped",
        }
    }
}
