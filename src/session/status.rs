//! Status codes, and the one place where a close reason becomes the last word to the peer.
//!
//! The codes are those of the NetConnection and NetStream classes that RTMP 1.0 §7.2 refers to. Encoders show the
//! description in their logs (ffmpeg: `Server error: …`), so it is a sentence that helps whoever reads it there.

use alloc::string::{String, ToString};

use super::CloseReason;
use crate::rtmp::{Error, PeerMisbehaved, Stage};

/// The codes that this server sends or a client of it must know.
pub mod code {
    /// `connect` succeeded.
    pub const CONNECT_SUCCESS: &str = "NetConnection.Connect.Success";
    /// `connect` failed, or the connection did later.
    pub const CONNECT_FAILED: &str = "NetConnection.Connect.Failed";
    /// `connect` was refused.
    pub const CONNECT_REJECTED: &str = "NetConnection.Connect.Rejected";
    /// The server closes the connection.
    pub const CONNECT_CLOSED: &str = "NetConnection.Connect.Closed";
    /// The server goes down.
    pub const CONNECT_APP_SHUTDOWN: &str = "NetConnection.Connect.AppShutdown";
    /// The server asks the client to connect again, here or elsewhere (E-RTMP v2 "Reconnect Request").
    pub const CONNECT_RECONNECT_REQUEST: &str = "NetConnection.Connect.ReconnectRequest";
    /// The peer took too long.
    pub const CONNECT_IDLE_TIMEOUT: &str = "NetConnection.Connect.IdleTimeOut";
    /// A command could not be carried out.
    pub const CALL_FAILED: &str = "NetConnection.Call.Failed";
    /// A command is not valid AMF.
    pub const CALL_BAD_VERSION: &str = "NetConnection.Call.BadVersion";
    /// The publish is on.
    pub const PUBLISH_START: &str = "NetStream.Publish.Start";
    /// The name is in use or no name at all.
    pub const PUBLISH_BAD_NAME: &str = "NetStream.Publish.BadName";
    /// The publisher may not.
    pub const PUBLISH_DENIED: &str = "NetStream.Publish.Denied";
    /// The publisher sends nothing.
    pub const PUBLISH_IDLE: &str = "NetStream.Publish.Idle";
    /// The publish is over.
    pub const UNPUBLISH_SUCCESS: &str = "NetStream.Unpublish.Success";
    /// Playing begins anew: earlier plays of this stream are gone.
    pub const PLAY_RESET: &str = "NetStream.Play.Reset";
    /// The play is on.
    pub const PLAY_START: &str = "NetStream.Play.Start";
    /// The play is over.
    pub const PLAY_STOP: &str = "NetStream.Play.Stop";
    /// The play cannot be.
    pub const PLAY_FAILED: &str = "NetStream.Play.Failed";
    /// There is no such stream.
    pub const PLAY_STREAM_NOT_FOUND: &str = "NetStream.Play.StreamNotFound";
    /// Somebody publishes what is played.
    pub const PLAY_PUBLISH_NOTIFY: &str = "NetStream.Play.PublishNotify";
    /// Nobody publishes any more what is played.
    pub const PLAY_UNPUBLISH_NOTIFY: &str = "NetStream.Play.UnpublishNotify";
    /// Media follows.
    pub const DATA_START: &str = "NetStream.Data.Start";
    /// Paused.
    pub const PAUSE_NOTIFY: &str = "NetStream.Pause.Notify";
    /// Playing again.
    pub const UNPAUSE_NOTIFY: &str = "NetStream.Unpause.Notify";
    /// The seek is done.
    pub const SEEK_NOTIFY: &str = "NetStream.Seek.Notify";
    /// Something failed that no other code names.
    pub const STREAM_FAILED: &str = "NetStream.Failed";
}

/// What a session was doing when it closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Publishing,
    Playing,
    Neither,
}

/// Code and description of the `onStatus` (always level `error`) that tells the peer why we close.
///
/// `None` when nobody is left to read it, or when it was told already.
pub(super) fn farewell(reason: &CloseReason, activity: Activity) -> Option<(&'static str, String)> {
    let code = match reason {
        // Gone, or not reading; a rejection was its own answer.
        CloseReason::Eof
        | CloseReason::Reset
        | CloseReason::Io
        | CloseReason::Fault
        // Of connections that we made: these get no onStatus.
        | CloseReason::Refused
        | CloseReason::Stopped
        | CloseReason::Rejected { .. } => {
            return None;
        }
        CloseReason::Hopeless | CloseReason::Error(Error::PeerMisbehaved(PeerMisbehaved::NotReading)) => {
            return None;
        }
        CloseReason::Kicked | CloseReason::Revoked => code::CONNECT_CLOSED,
        CloseReason::Drained => code::CONNECT_APP_SHUTDOWN,
        CloseReason::Overload => code::CONNECT_REJECTED,
        CloseReason::Replaced => code::PUBLISH_BAD_NAME,
        CloseReason::Mismatch => code::PUBLISH_DENIED,
        CloseReason::OverLimit(_) => match activity {
            Activity::Publishing => code::PUBLISH_DENIED,
            Activity::Playing => code::PLAY_FAILED,
            Activity::Neither => code::CONNECT_CLOSED,
        },
        CloseReason::Error(error) => error_code(error, activity),
    };
    Some((code, reason.to_string()))
}

fn error_code(error: &Error, activity: Activity) -> &'static str {
    use PeerMisbehaved as P;
    match error {
        Error::PeerMisbehaved(P::Deadline(Stage::FirstMedia | Stage::Idle)) => code::PUBLISH_IDLE,
        Error::PeerMisbehaved(P::Deadline(_)) => code::CONNECT_IDLE_TIMEOUT,
        Error::PeerMisbehaved(P::CommandMalformed | P::CommandBeforeConnect | P::ConnectTwice)
        | Error::PeerMisbehaved(P::TooManyCommands | P::TooManyMessageStreams) => code::CALL_FAILED,
        Error::PeerMisbehaved(error) if error.label().starts_with("amf_") => code::CALL_BAD_VERSION,
        Error::PeerUnsupported(_) => code::CALL_BAD_VERSION,
        _ if activity == Activity::Neither => code::CONNECT_FAILED,
        _ => code::STREAM_FAILED,
    }
}
