//! Commands: the calls that clients and servers make on each other (RTMP 1.0 §7.2), and the names of data messages.
//!
//! [`parse()`] reads what either role receives, [`mod@write`] makes what either role sends, [`data_name`] tells what a data
//! message is about without reading all of it.
//!
//! # Leniency
//! Encoders disagree on the odd fields, so a wrong type in an optional place counts as absent, arguments are found behind
//! missing or extra nulls, and a transaction that is missing or no number is 0. What names a stream is not guessed: it is
//! there, as a UTF-8 string, or the command is refused. It may be empty, since some encoders put the whole address into
//! tcUrl; whether a stream is named at all is the session's to say.
//! # Bounds
//! A command is read within [`AmfLimits`](super::limits::AmfLimits), and only as far as its arguments are used; what
//! follows is not looked at. A data message's name is looked for in its first few bytes only.
//! # Errors
//! `CommandMalformed` for a missing name or required argument, `AmfUtf8` for a stream's name in another encoding, and
//! the errors of `amf`.

mod capabilities;
mod connect;
mod data;
#[cfg(test)]
mod encoders;
mod parse;
pub mod redact;
mod status;
mod stream_name;
pub mod write;

use alloc::boxed::Box;
use alloc::string::String;

pub use capabilities::{Capabilities, CapsEx, FOURCCS_MAX, FourCcInfo, FourCcInfoMap};
pub use connect::Connect;
pub use data::{DATA_PREFIX_BYTES, DataName, STRAY_VALUES_MAX, data_name};
pub use parse::parse;
pub use status::{Status, level};
pub use stream_name::StreamName;

use super::amf::Value;

/// A command message (type 20 or 17), parsed as far as it is typed.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The name as sent: tells unknown commands apart.
    pub name: String,
    /// What the answer repeats; 0 when no answer is expected.
    pub transaction: f64,
    /// What is asked or told.
    pub kind: CommandKind,
}

/// What a command asks or tells.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandKind {
    // What a server receives.
    /// `connect` (§7.2.1.1).
    Connect(Box<Connect>),
    /// `createStream` (§7.2.1.3).
    CreateStream,
    /// `releaseStream`: forget an earlier publisher of that name. Not in the specification; encoders send it before `publish`.
    ReleaseStream {
        /// The stream, as sent; empty if it was missing.
        name: StreamName,
    },
    /// `FCPublish`: `publish` will follow.
    FcPublish {
        /// The stream, as sent; empty if it was missing.
        name: StreamName,
    },
    /// `FCUnpublish`: publishing ends.
    FcUnpublish {
        /// The stream, as sent; empty if it was missing.
        name: StreamName,
    },
    /// `publish` (§7.2.2.6).
    Publish {
        /// The stream, as sent: may carry a query, may be empty.
        name: StreamName,
        /// What is to become of it.
        kind: PublishKind,
    },
    /// `publish(false)`: publishing ends.
    Unpublish,
    /// `play` (§7.2.2.1).
    Play {
        /// The stream, as sent: may carry a query, may be empty.
        name: StreamName,
        /// What it says beside the name.
        terms: PlayTerms,
    },
    /// `play2` (§7.2.2.2): change to another rendition.
    Play2 {
        /// The stream to change to.
        name: StreamName,
        /// The stream to leave; empty if it was missing.
        old_name: StreamName,
        /// How, a `NetStreamPlayTransitions` word such as `switch`; empty if it was missing.
        transition: String,
    },
    /// `pause` (§7.2.2.8) or `pauseRaw`.
    Pause {
        /// Pause or go on.
        pause: bool,
        /// The player's stream time, milliseconds.
        ms: f64,
    },
    /// `seek` (§7.2.2.7).
    Seek {
        /// Stream time, milliseconds.
        ms: f64,
    },
    /// `receiveAudio` (§7.2.2.4).
    ReceiveAudio(bool),
    /// `receiveVideo` (§7.2.2.5).
    ReceiveVideo(bool),
    /// `deleteStream` (§7.2.2.3).
    DeleteStream {
        /// The message stream; the one that the command came on if it was missing.
        stream_id: f64,
    },
    /// `closeStream`, or `play(false)`: the stream ends, its message stream stays.
    CloseStream,
    /// `FCSubscribe`: `play` will follow.
    FcSubscribe {
        /// The stream, as sent; empty if it was missing.
        name: StreamName,
    },
    /// `getStreamLength`: the duration of a recording.
    GetStreamLength {
        /// The stream, as sent; empty if it was missing.
        name: StreamName,
    },
    /// `_checkbw` or `checkBandwidth`: measure the way to the client.
    CheckBandwidth,

    // What a client receives.
    /// `_result`.
    Result {
        /// The first argument: the connection's properties, or null.
        properties: Value,
        /// The second argument: information on `connect`, a message stream after `createStream`, …
        info: Value,
    },
    /// `_error`.
    Error {
        /// The first argument.
        properties: Value,
        /// The second argument, an information object as a rule; see [`Status`].
        info: Value,
    },
    /// `onStatus` (§7.2.2).
    OnStatus {
        /// The information object; see [`Status`].
        info: Value,
    },
    /// `onBWDone`: the way was measured.
    OnBwDone,
    /// `onFCPublish`: the answer to `FCPublish`.
    OnFcPublish {
        /// The information object; see [`Status`].
        info: Value,
    },
    /// `onFCUnpublish`: the answer to `FCUnpublish`.
    OnFcUnpublish {
        /// The information object; see [`Status`].
        info: Value,
    },
    /// `onFCSubscribe`: the answer to `FCSubscribe`.
    OnFcSubscribe {
        /// The information object; see [`Status`].
        info: Value,
    },

    // What either receives.
    /// `close` (§7.2.1): the connection ends.
    Close,
    /// Anything else: a remote call (§7.2.1.2) that nobody here implements.
    Unknown,
}

/// What is to become of a published stream (RTMP 1.0 §7.2.2.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublishKind {
    /// Nothing is kept; also what is missing or unknown means.
    #[default]
    Live,
    /// Recorded anew.
    Record,
    /// Recorded behind what there is.
    Append,
}

/// What `play` says beside the stream's name (RTMP 1.0 §7.2.2.1), as sent; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlayTerms {
    /// Where to start: seconds in the specification, which takes a missing one for -2, and milliseconds from ffmpeg and librtmp. Negative
    /// means live in either unit.
    pub start: Option<f64>,
    /// For how long, in the unit of `start`; a missing one is taken for -1: until the end.
    pub duration: Option<f64>,
    /// Whether what was asked before is forgotten, as it is where nothing is said.
    pub reset: Option<bool>,
}

impl PublishKind {
    /// The word in the command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Record => "record",
            Self::Append => "append",
        }
    }

    /// From the word in the command, in upper or lower case.
    pub fn from_word(word: &str) -> Self {
        [Self::Record, Self::Append]
            .into_iter()
            .find(|kind| word.eq_ignore_ascii_case(kind.as_str()))
            .unwrap_or_default()
    }
}
