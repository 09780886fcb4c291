//! Connections that we make: a core takes over a socket that was connected elsewhere and speaks RTMP in the client role on it.
//!
//! Floor 5 decides whom to connect to, resolves names, connects and does the TLS handshake, on a thread of its own. What it has then, a
//! [`Dialed`], goes to the home core of the stream that it is for ([`Handle::take_over`](super::Handle::take_over)); what becomes of it comes back as
//! [`OutgoingEvent`]s. A forward is a reader of the hub like any player, a pull a publisher like any encoder.
//! # Bounds
//! Connections of a core are bounded together, accepted ones and these (`core_connections_max`). What a far end can make us hold is bounded
//! as for peers that have connected to us.
//! # Errors
//! [`OutgoingEnd`] says why one is over. A far end's fault ends its connection and nothing else.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::BytesMut;

use super::observe::ConnectionId;
use super::outside::Totals;
use super::tcp_info::TcpInfo;
use super::tls::Tls;
use super::traffic::TrafficInUse;
pub use crate::hub::Start;
use crate::hub::{CoreId, QueueSettings};
use crate::rtmp::Error;
use crate::session::{ClientSettings, ClientUrl, ServerStatus, StreamKey};

/// Names a connection that we make: chosen by whoever makes it, unique while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutgoingId(pub u64);

/// A connected socket, and what is to be done with it.
pub struct Dialed {
    /// Names it from here on.
    pub id: OutgoingId,
    /// Connected. Its options are the core's to set.
    pub socket: OwnedFd,
    /// The far end.
    pub peer: SocketAddr,
    /// TLS with its handshake done, where it is spoken.
    pub tls: Option<Tls>,
    /// What was received behind the handshake; encrypted still, where TLS is spoken.
    pub received: BytesMut,
    /// The stream of ours that is forwarded or that what is pulled becomes.
    pub stream: StreamKey,
    /// Where the stream lives.
    pub home: CoreId,
    /// App, name and what is said of ourselves. Limits and chunk size are the engine's own, and the role follows from the task.
    pub client: ClientSettings,
    /// What it is for.
    pub task: Task,
}

/// What a connection that we make is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To publish there what is published here.
    Forward {
        /// Where in the stream it begins.
        from: Start,
        /// Bounds of what waits for the target.
        queue: QueueSettings,
    },
    /// To publish here what is published there.
    Pull,
}

/// What happens to a connection that we make. `Closed` comes last, once, for each that a core was given.
#[derive(Clone, Debug)]
pub enum OutgoingEvent {
    /// The far end has said yes: `NetStream.Publish.Start` or `NetStream.Play.Start`. Of a pull it comes again when the stream, having ended
    /// there, begins again.
    Ready,
    /// Of a forward: its first key frame, or first frame of a stream without video, is on its way. Comes once. Of a pull: media comes, and it
    /// publishes the stream here from now on; `StreamBegan` follows next from this core.
    Began,
    /// Of a pull: the stream has ended there, after `Began`. The connection waits for the next one.
    Ended,
    /// The far end asks to connect again (E-RTMP v2 "Reconnect Request"), and serves this connection meanwhile.
    Reconnect {
        /// Where.
        url: ClientUrl,
    },
    /// It is over, and its socket closed.
    Closed {
        /// Why.
        end: OutgoingEnd,
        /// What came of it: media of a forward sent, of a pull received.
        totals: Totals,
    },
}

/// Why a connection that we made is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutgoingEnd {
    /// The far end said no, at the beginning or later.
    Refused(ServerStatus),
    /// It closed.
    Eof,
    /// It broke the protocol or a bound, or did not say yes in time.
    Error(Error),
    /// The socket failed.
    Io,
    /// A target that has read nothing for longer than its queue's stall limit.
    Hopeless,
    /// [`Handle::hang_up`](super::Handle::hang_up).
    HungUp,
    /// A forward whose stream has ended, or was not there any more when the target said yes.
    StreamGone,
    /// A pull whose stream is published here by somebody else.
    Taken,
    /// The operator closed it.
    Kicked,
    /// The core has too many connections or too little memory.
    Overload,
    /// The session panicked: a defect of ours.
    Fault,
    /// The engine stops.
    Stopping,
}

impl OutgoingEnd {
    /// Metric label: stable, snake case, from a bounded set; an error gives its own.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Eof => "eof",
            Self::Error(error) => error.label(),
            Self::Io => "io",
            Self::Hopeless => "hopeless",
            Self::HungUp => "hung_up",
            Self::StreamGone => "stream_gone",
            Self::Taken => "taken",
            Self::Kicked => "kicked",
            Self::Overload => "overload",
            Self::Fault => "fault",
            Self::Stopping => "stopping",
        }
    }
}

/// How far a connection that we made is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutgoingState {
    /// The far end has not said yes yet.
    Starting,
    /// It has, and no media has flowed yet; or, of a pull, none flows any more.
    Ready,
    /// Media flows.
    Live,
    /// It is to end, and what is queued for it still goes out.
    Leaving,
}

impl OutgoingState {
    /// As the API and metrics say it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Live => "live",
            Self::Leaving => "leaving",
        }
    }
}

/// One connection that we made, as its core sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingInfo {
    /// Its name.
    pub id: OutgoingId,
    /// Its name among all connections.
    pub connection: ConnectionId,
    /// How far it is.
    pub state: OutgoingState,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Media messages: a forward's sent, a pull's received.
    pub messages: u64,
    /// Frames that the drop policy kept from a target.
    pub dropped: u64,
    /// Bytes that wait for a target, as they go on the wire.
    pub queued_bytes: u64,
    /// Milliseconds that the oldest of them has waited.
    pub queued_ms: u32,
    /// Bits a second over the last few seconds: a forward's sent, a pull's received.
    pub bits_per_second: u64,
    /// What the kernel knows of its path.
    pub tcp: Option<TcpInfo>,
    /// How long ago the core took it over.
    pub lasted: Duration,
    /// Its congestion control and DSCP; `None` when the socket does not say.
    pub traffic: Option<TrafficInUse>,
}
