//! What a server session tells its driver, and what the driver answers.

use alloc::string::String;

use bytes::Bytes;

use super::status::code;
use super::{CloseReason, Instant, MediaMessage, Oddity, StreamAddress};
pub use crate::rtmp::command::{PlayTerms, PublishKind};

/// What `ServerSession::poll_output` gives.
#[derive(Debug)]
pub enum Output {
    /// To be written to the peer, in order and before anything written later. The driver owns the bytes.
    Send(Bytes),
    /// Something happened.
    Event(Event),
    /// `handle_timeout` wants to be called at this instant; replaces any instant asked for before.
    ///
    /// Comes only when the instant draws nearer or the one before was used up.
    Timeout(Instant),
    /// A message was parsed that needs nothing from the driver. Counts against its work budget; there may be more.
    Progress,
}

/// Something that happened on a server session.
#[derive(Debug)]
pub enum Event {
    /// `connect` was answered; see `ServerSession::connect_info`.
    Connected,
    /// The peer wants to publish: answer with `accept_publish` or `reject`. Nothing more is parsed until then.
    PublishRequested(PublishRequest),
    /// The peer wants to play: answer with `accept_play` or `reject`. Nothing more is parsed until then.
    PlayRequested(PlayRequest),
    /// One audio, video or data message of the accepted publish.
    Media(MediaMessage),
    /// An accepted publish or play ended: unpublish, `FCUnpublish`, `closeStream`, `deleteStream`, or something new in
    /// its place. Comes once, and not when the whole session closes.
    Stopped {
        /// Its message stream.
        stream_id: u32,
    },
    /// A player paused or went on; it was answered already.
    Paused {
        /// The message stream that plays.
        stream_id: u32,
        /// Whether it is paused from now on.
        paused: bool,
    },
    /// A player wants audio, or does not.
    ReceiveAudio {
        /// The message stream that plays.
        stream_id: u32,
        /// Whether to send it.
        receive: bool,
    },
    /// A player wants video, or does not.
    ReceiveVideo {
        /// The message stream that plays.
        stream_id: u32,
        /// Whether to send it.
        receive: bool,
    },
    /// Something odd was let pass; to be counted by kind.
    Tolerated(Oddity),
    /// The last event: all streams of the session have ended. Write out the sends before it, then close.
    Closed {
        /// Why.
        reason: CloseReason,
        /// The peer has an answer to read: shut the write side and drain before closing, else a reset may overtake it.
        linger: bool,
    },
}

/// Names one request of one session, so that a late answer meets the request that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub(super) u32);

#[cfg(test)]
impl RequestId {
    /// One of no session, for tests of those who answer.
    pub(crate) fn for_test() -> Self {
        Self(0)
    }
}

/// A publish that waits for its answer.
#[derive(Clone, Debug)]
pub struct PublishRequest {
    /// To answer with.
    pub request: RequestId,
    /// Message stream.
    pub stream_id: u32,
    /// Which stream, and what else the address said.
    pub address: StreamAddress,
    /// Live, record or append; all are treated as live.
    pub kind: PublishKind,
}

/// A play that waits for its answer.
#[derive(Clone, Debug)]
pub struct PlayRequest {
    /// To answer with.
    pub request: RequestId,
    /// Message stream.
    pub stream_id: u32,
    /// Which stream, and what else the address said.
    pub address: StreamAddress,
    /// What else was said; everything is played live.
    pub terms: PlayTerms,
}

/// Why a publish or play is refused, as the peer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Status code, see [`super::status::code`].
    pub code: &'static str,
    /// A sentence for whoever reads the encoder's log.
    pub description: String,
    /// Whether the connection is closed after the answer. Encoders that stay connected tend to wait for ever.
    pub close: bool,
}

impl Rejection {
    /// Somebody else publishes this key.
    pub fn already_published() -> Self {
        Self::name_in_use(
            "this stream is being published by another encoder: stop that one or use another name",
        )
    }

    /// Somebody else publishes this key, and is not to be taken over from; `why` is for the peer to read.
    pub fn name_in_use(why: &str) -> Self {
        Self { code: code::PUBLISH_BAD_NAME, description: why.into(), close: true }
    }

    /// The publisher may not; `why` is for the peer to read.
    pub fn publish_denied(why: &str) -> Self {
        Self { code: code::PUBLISH_DENIED, description: why.into(), close: true }
    }

    /// The player may not; `why` is for the peer to read.
    pub fn play_denied(why: &str) -> Self {
        Self { code: code::PLAY_FAILED, description: why.into(), close: true }
    }
}

/// News of the played stream, told to its players in order with the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A publisher came: Stream Begin and `NetStream.Play.PublishNotify`.
    PublishNotify,
    /// The publisher left: `NetStream.Play.UnpublishNotify` and Stream EOF. Players may stay for the next one.
    UnpublishNotify,
}
