//! One connection of a core: the socket, its session, what waits to be written, and how far its end has come.
//!
//! # The life of a connection
//! Two tasks serve it, one that reads and one that writes; both hold its key, never its state. *Open*: both run. *Flushing*: it is to
//! end; what is queued still goes out, what comes in is dropped. *Lingering*: the write side is shut, the peer is given time to
//! read why. *Shut*: both ways are shut, so that every operation in flight comes back. The task that ends last removes the entry, and
//! with it the descriptor.
//! # Bounds
//! Answers that wait: [`CONTROL_BYTES_MAX`]. Frames that wait: the hub's queue. Input: the session's limits, and while it neither
//! publishes nor plays what all such may hold together ([`super::pre_publish`]). The end: [`CLOSE_TIME_MAX`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use tracing::debug;

use super::arriving::Arrival;
use super::asking::{Admitted, Asked};
use super::buffer::BufferSize;
use super::cadence::Cadence;
use super::lease::Lease;
use super::observe::{ConnectionId, Role};
use super::op::{SendBatch, Sending};
use super::peer::Peer;
use super::polling::Polled;
use super::prefixes::Place;
use super::quotas::Seat;
use super::rate::Rate;
use super::settings::PENDING_CONNECTION_BYTES;
use super::signal::Signal;
use super::socket;
use super::tcp_info::TcpGauge;
use super::tls::{self, Tls};
use super::traffic::TrafficGauge;
use crate::hub::{ConnectionRef, PublisherKey, Reader, SubscriberKey};
use crate::rtmp::{Error, PeerMisbehaved};
use crate::session::{CloseReason, Encoder, Excess, Instant, ServerSession, StreamKey};

/// Answers that may wait unwritten, bytes: a peer that asks and never reads is cut off.
///
/// A connect answer is about 300 bytes and a play answer 600; the largest burst of answers that a client can want at once is far below.
pub(crate) const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// From the decision to close until both ways are shut, at most: long enough for a peer a second away to read why.
pub(crate) const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);

/// Input dropped while lingering, bytes, after which the peer has had its chance.
pub(crate) const LINGER_BYTES_MAX: u64 = 1024 * 1024;

/// A publisher that must move, but whose answers the peer does not read, is cut off after this.
pub(crate) const MOVE_TIME_MAX: Duration = Duration::from_secs(5);

/// What memory that is held costs beside its bytes, a share of them: an unfinished message that comes in reads of 2 kB, as it does before a
/// publish, has 40 to 130 bytes in lists for each, and the allocator's pages are not full. Measured: 5 to 10 %, and up to 15 % when many
/// hold much for a short while.
const HELD_OVERHEAD: usize = 5;

/// Slab key with a generation, so that a key of a connection that has gone never finds its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnectionKey {
    /// The key of a slab entry.
    pub(crate) fn new(index: usize, generation: u32) -> Self {
        // More than 2^32 descriptors cannot be open.
        Self { index: u32::try_from(index).unwrap_or(u32::MAX), generation }
    }
}

impl From<ConnectionKey> for ConnectionRef {
    fn from(key: ConnectionKey) -> Self {
        Self(u64::from(key.generation) << 32 | u64::from(key.index))
    }
}

impl From<ConnectionRef> for ConnectionKey {
    fn from(reference: ConnectionRef) -> Self {
        Self {
            index: u32::try_from(reference.0 & 0xffff_ffff).unwrap_or_default(),
            generation: u32::try_from(reference.0 >> 32).unwrap_or_default(),
        }
    }
}

/// What a connection does, once it has asked.
#[derive(Debug)]
pub(crate) enum Activity {
    /// Neither publishes nor plays.
    None,
    /// Publishes one stream.
    Publishing { publisher: PublisherKey, key: StreamKey, lease: Lease, seat: Option<Seat> },
    /// Plays; each message stream its own.
    Playing(SmallVec<[Playing; 1]>),
    /// Is on its way to the home core of what it publishes.
    Moving { home: crate::hub::CoreId, admitted: Box<Admitted> },
}

/// One message stream that plays.
#[derive(Debug)]
pub(crate) struct Playing {
    pub(crate) since: Instant,
    pub(crate) reader: Reader,
    pub(crate) subscriber: SubscriberKey,
    pub(crate) key: StreamKey,
    pub(crate) lease: Lease,
    /// Held while it plays; a forward has none.
    pub(crate) seat: Option<Seat>,
}

impl Activity {
    /// The excess of whatever of it has lasted as long as it may.
    pub(crate) fn overdue(&self, now: Instant) -> Option<Excess> {
        match self {
            Self::Publishing { lease, .. } => lease.overdue(now),
            Self::Playing(all) => all.iter().find_map(|playing| playing.lease.overdue(now)),
            Self::None | Self::Moving { .. } => None,
        }
    }
}

/// What stands between a socket and its session. In a box, since there is nothing in front of most.
pub(crate) enum Front {
    /// Nothing has come that would show what the peer speaks.
    Arriving(Arrival),
    /// TLS, from its handshake on.
    Tls(Tls),
}

/// How far a connection's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    Flushing { linger: bool },
    Lingering,
    Shut,
}

/// The write side: one send at a time, whoever makes it.
pub(crate) enum Writing {
    /// Nothing is in flight. The arrays of the last batch serve the next one; of a TLS connection it may hold what is left of a frame.
    Rests(Box<SendBatch>),
    /// The writer waits for a send, or the fan-out has one that comes back within its turn.
    InFlight,
    /// The fan-out's send waits for the peer: the writer is to wait for it.
    Waits(Sending),
}

impl Writing {
    /// Takes the arrays for a send that is to be made now; `None` when one is in flight.
    pub(crate) fn begin(&mut self) -> Option<Box<SendBatch>> {
        match std::mem::replace(self, Self::InFlight) {
            Self::Rests(batch) => Some(batch),
            busy => {
                *self = busy;
                None
            }
        }
    }
}

/// The receive that is armed, or will be.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Size of the next buffer; follows the stream.
    pub(crate) buffer_size: BufferSize,
    /// The socket's receive mark (`SO_RCVLOWAT`).
    pub(crate) mark: u32,
    /// When the receive in flight was armed.
    pub(crate) armed_at: Option<Instant>,
    /// When the receive came back that is being dealt with.
    pub(crate) received_at: Option<Instant>,
    /// The core polls this publisher, and its reader rests.
    pub(crate) polled: Option<Polled>,
    /// What was received and is of no use yet, bytes: a TLS record or a PROXY header that is not whole. It lies in the receive buffer.
    pub(crate) waiting_bytes: usize,
    /// What was received before it moved here, for the reader to begin with.
    pub(crate) received: BytesMut,
    /// How often a receive brings something.
    pub(crate) cadence: Cadence,
}

/// Totals of one connection's life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) dropped: u64,
}

/// One connection.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) socket: Rc<OwnedFd>,
    pub(crate) peer: SocketAddr,
    pub(crate) place: Place,
    pub(crate) accepted_at: Instant,
    pub(crate) session: Peer,
    /// What stands between the socket and the session: nothing where plain RTMP is spoken, once that is known.
    pub(crate) front: Option<Box<Front>>,
    /// It counts among the core's handshakes in progress.
    pub(crate) shakes_hands: bool,
    pub(crate) activity: Activity,
    /// What it has asked for, while the outside decides.
    pub(crate) asked: Option<Box<Asked>>,
    /// What it was there for, for the summary after its end.
    pub(crate) role: Role,
    /// The stream it was there for, likewise.
    pub(crate) stream: Option<StreamKey>,
    pub(crate) codecs: String,
    /// What it was taken for, likewise.
    pub(crate) encoder: Encoder,
    pub(crate) phase: Phase,
    pub(crate) close_reason: Option<CloseReason>,
    /// When to stop waiting for whatever its end or its move waits for.
    pub(crate) give_up_at: Instant,
    /// The session's own next deadline.
    pub(crate) session_timeout: Instant,
    /// Answers that wait to be written, oldest first.
    pub(crate) control: VecDeque<Bytes>,
    pub(crate) control_bytes: usize,
    /// The reader waits for this while it must not read.
    pub(crate) resume_reading: Signal,
    /// The writer waits for this while there is nothing to write, or the fan-out has a send in flight.
    pub(crate) wake_writer: Signal,
    pub(crate) writing: Writing,
    /// Tasks that still serve it.
    pub(crate) tasks: u8,
    pub(crate) reading: Reading,
    pub(crate) totals: Totals,
    pub(crate) rate_in: Rate,
    pub(crate) rate_out: Rate,
    pub(crate) tcp: TcpGauge,
    pub(crate) traffic: TrafficGauge,
    pub(crate) lingered_bytes: u64,
    /// Retained bytes of the session that the core has counted.
    pub(crate) counted_bytes: usize,
    /// What the core has counted of it as pending: 0 while it publishes or plays.
    pub(crate) counted_pending_bytes: usize,
    /// Since when it has neither published nor played.
    pub(crate) pending_since: Instant,
    /// When the writer's send in flight began, if one is.
    pub(crate) sending_since: Option<Instant>,
    pub(crate) span: tracing::Span,
}

/// A connection on its way to another core: plain data.
pub(crate) struct Moved {
    pub(crate) id: ConnectionId,
    pub(crate) socket: OwnedFd,
    pub(crate) peer: SocketAddr,
    pub(crate) place: Place,
    pub(crate) accepted_at: Instant,
    pub(crate) pending_since: Instant,
    pub(crate) session: ServerSession,
    pub(crate) front: Option<Box<Front>>,
    /// What was received of a record that is not whole; empty without TLS.
    pub(crate) received: BytesMut,
    /// What it was there for before: the socket is tuned for that.
    pub(crate) role: Role,
    pub(crate) session_timeout: Instant,
    pub(crate) admitted: Box<Admitted>,
    pub(crate) control: VecDeque<Bytes>,
    pub(crate) buffer_size: BufferSize,
    /// The socket's receive mark goes with it, and one that nobody knows of would never be lowered.
    pub(crate) mark: u32,
    pub(crate) totals: Totals,
}

impl Connection {
    /// A connection that has just been accepted, or taken over.
    pub(crate) fn new(
        id: ConnectionId,
        socket: OwnedFd,
        peer: SocketAddr,
        place: Place,
        accepted_at: Instant,
        session: Peer,
        span: tracing::Span,
    ) -> Self {
        let session_timeout = session.next_timeout();
        Self {
            id,
            socket: Rc::new(socket),
            peer,
            place,
            accepted_at,
            session,
            front: None,
            shakes_hands: false,
            activity: Activity::None,
            asked: None,
            role: Role::Pending,
            stream: None,
            codecs: String::new(),
            encoder: Encoder::Unknown,
            phase: Phase::Open,
            close_reason: None,
            give_up_at: Instant::FAR_FUTURE,
            session_timeout,
            control: VecDeque::new(),
            control_bytes: 0,
            resume_reading: Signal::default(),
            wake_writer: Signal::default(),
            writing: Writing::Rests(SendBatch::new()),
            tasks: 0,
            reading: Reading {
                buffer_size: BufferSize::IDLE,
                mark: 1,
                armed_at: None,
                received_at: None,
                polled: None,
                waiting_bytes: 0,
                received: BytesMut::new(),
                cadence: Cadence::default(),
            },
            totals: Totals::default(),
            rate_in: Rate::default(),
            rate_out: Rate::default(),
            tcp: TcpGauge::default(),
            traffic: TrafficGauge::default(),
            lingered_bytes: 0,
            counted_bytes: 0,
            counted_pending_bytes: 0,
            pending_since: accepted_at,
            sending_since: None,
            span,
        }
    }

    /// The same connection after its move.
    pub(crate) fn from_moved(moved: Moved, span: tracing::Span) -> (Self, Box<Admitted>) {
        let Moved { id, socket, peer, place, accepted_at, session, .. } = moved;
        let session = Peer::Accepted(session);
        let mut connection = Self::new(id, socket, peer, place, accepted_at, session, span);
        connection.role = moved.role;
        connection.pending_since = moved.pending_since;
        connection.front = moved.front;
        connection.reading.waiting_bytes = moved.received.len();
        connection.reading.received = moved.received;
        connection.session_timeout = moved.session_timeout;
        connection.control_bytes = moved.control.iter().map(Bytes::len).sum();
        connection.control = moved.control;
        connection.reading.buffer_size = moved.buffer_size;
        connection.reading.mark = moved.mark;
        connection.totals = moved.totals;
        (connection, moved.admitted)
    }

    /// Queues an answer. False when more answers wait than a peer that reads ever lets pile up.
    #[must_use]
    pub(crate) fn queue_control(&mut self, bytes: Bytes) -> bool {
        self.control_bytes += bytes.len();
        self.control.push_back(bytes);
        self.wake_writer.raise();
        self.control_bytes <= CONTROL_BYTES_MAX
    }

    /// For a publisher that is polled: its encoder's round trip ends at the next visit, not at the kernel's timer of 40 ms.
    pub(crate) fn acknowledge_at_read(&self) {
        if let Err(error) = socket::acknowledge_at_read(&self.socket) {
            debug!(parent: &self.span, %error, "quick acknowledgement");
        }
    }

    /// Bytes that it holds on its peer's behalf: input, handshakes, answers that wait.
    pub(crate) fn held_bytes(&self) -> usize {
        let tls_bytes = self.tls().map_or(0, Tls::held_bytes);
        let session_bytes = self.session.retained_bytes() + self.session.recorded_bytes();
        session_bytes + self.control_bytes + self.reading.waiting_bytes + tls_bytes
    }

    /// What it holds while it neither publishes nor plays; 0 when it does, when nothing is held any more, and when we made it.
    pub(crate) fn pending_bytes(&self) -> usize {
        match self.activity {
            Activity::Publishing { .. } | Activity::Playing(_) => 0,
            Activity::None | Activity::Moving { .. }
                if self.phase == Phase::Shut || self.session.is_made() =>
            {
                0
            }
            Activity::None | Activity::Moving { .. } => {
                let held_bytes = self.held_bytes();
                PENDING_CONNECTION_BYTES + held_bytes + held_bytes / HELD_OVERHEAD
            }
        }
    }

    /// Whether what was last written has waited too long for the peer to read. The kernel's user timeout ends a connection whose peer
    /// reads nothing at all; this also ends one whose peer reads a byte now and then. Players are the hub's, which knows how far they
    /// are behind.
    pub(crate) fn is_unread(&self, now: Instant, deadline: Duration) -> bool {
        !matches!(self.activity, Activity::Playing(_))
            && self.sending_since.is_some_and(|since| now - since >= deadline)
    }

    /// Whether it failed, as admission sees it: it ends without having published or played, and not for a reason of ours, or for an offence.
    pub(crate) fn has_failed(&self, reason: &CloseReason) -> bool {
        match reason {
            CloseReason::Kicked
            | CloseReason::Revoked
            | CloseReason::Drained
            | CloseReason::Replaced
            // Between the outside and whoever it let in: it may say no the next time.
            | CloseReason::OverLimit(_)
            | CloseReason::Hopeless
            | CloseReason::Overload
            | CloseReason::Refused
            | CloseReason::Stopped
            | CloseReason::Fault => false,
            CloseReason::Rejected { .. } | CloseReason::Mismatch => true,
            _ if self.role == Role::Pending => true,
            // What a cut in the network looks like is no offence.
            CloseReason::Error(Error::PeerMisbehaved(
                PeerMisbehaved::Deadline(_) | PeerMisbehaved::NotReading,
            )) => false,
            CloseReason::Error(Error::PeerMisbehaved(_)) => true,
            CloseReason::Error(_) | CloseReason::Eof | CloseReason::Reset | CloseReason::Io => false,
        }
    }

    /// What a TLS record that has begun in this buffer still lacks, bytes; 0 without TLS.
    pub(crate) fn lacking_bytes(&self, buffer: &[u8]) -> usize {
        match self.front.as_deref() {
            Some(Front::Tls(_)) => tls::lacking_bytes(buffer),
            Some(Front::Arriving(_)) | None => 0,
        }
    }

    /// Its TLS, if it speaks that.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self.front.as_deref() {
            Some(Front::Tls(tls)) => Some(tls),
            Some(Front::Arriving(_)) | None => None,
        }
    }

    /// Its TLS, to speak it.
    pub(crate) fn tls_mut(&mut self) -> Option<&mut Tls> {
        match self.front.as_deref_mut() {
            Some(Front::Tls(tls)) => Some(tls),
            Some(Front::Arriving(_)) | None => None,
        }
    }

    /// Whether it neither moves nor ends.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open && !matches!(self.activity, Activity::Moving { .. })
    }
}
