//! Why a connection ended: one list for logs, metrics and the last word to the peer.

use super::excess::Excess;
use crate::rtmp::Error;

/// Why a session closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed.
    Eof,
    /// The peer broke the protocol or a bound, or asked for what we do not do.
    Error(Error),
    /// A publish or play was refused.
    Rejected {
        /// The status code that the peer was told.
        code: &'static str,
    },
    /// The far end of a connection that we made said no.
    Refused,
    /// A connection that we made has served its purpose.
    Stopped,
    /// The operator closed it.
    Kicked,
    /// Who decides who may publish and play has ended it.
    Revoked,
    /// The server is going down.
    Drained,
    /// Another publisher took the stream over.
    Replaced,
    /// A publisher whose media is not what its stream has had.
    Mismatch,
    /// It has exceeded a limit that it was let in with.
    OverLimit(Excess),
    /// A player that reads too slowly for the stream.
    Hopeless,
    /// The server is short of memory or connections.
    Overload,
    /// The peer reset the connection, as players do that close while media is on its way.
    Reset,
    /// The socket failed.
    Io,
    /// The session panicked: a defect of ours.
    Fault,
}

impl CloseReason {
    /// Metric label: stable, snake case, from a bounded set; an error and a limit give their own.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Eof => "eof",
            Self::Error(error) => error.label(),
            Self::Rejected { .. } => "rejected",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
            Self::Kicked => "kicked",
            Self::Revoked => "revoked",
            Self::Drained => "drained",
            Self::Replaced => "replaced",
            Self::Mismatch => "media_mismatch",
            Self::OverLimit(excess) => excess.label(),
            Self::Hopeless => "hopeless",
            Self::Overload => "overload",
            Self::Reset => "reset",
            Self::Io => "io",
            Self::Fault => "fault",
        }
    }
}

impl core::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Eof => f.write_str("the peer closed"),
            Self::Error(error) => error.fmt(f),
            Self::Rejected { code } => write!(f, "refused with {code}"),
            Self::Refused => f.write_str("the far end said no"),
            Self::Stopped => f.write_str("no longer wanted"),
            Self::Kicked => f.write_str("closed by the operator"),
            Self::Revoked => f.write_str("this is allowed no longer: the back end has ended the session"),
            Self::Drained => f.write_str("the server is going down"),
            Self::Replaced => f.write_str("another encoder took this stream over"),
            Self::Mismatch => {
                f.write_str("this stream has had other codecs or tracks: use the same ones, or another name")
            }
            Self::OverLimit(excess) => excess.fmt(f),
            Self::Hopeless => f.write_str("the player reads too slowly"),
            Self::Overload => f.write_str("the server is overloaded"),
            Self::Reset => f.write_str("the peer reset the connection"),
            Self::Io => f.write_str("the socket failed"),
            Self::Fault => f.write_str("internal fault"),
        }
    }
}
