//! A connection as a core has it: `runtime/connection.rs` without the socket, whose place the link takes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use inrush::hub::{PublisherKey, SubscriberKey};
use inrush::media::MediaKind;
use inrush::session::{Instant, PublishRequest, ServerSession, StreamKey};

// As in the runtime.
pub(super) const CONTROL_BYTES_MAX: usize = 64 * 1024;
pub(super) const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
pub(super) const MOVE_TIME_MAX: Duration = Duration::from_secs(5);
pub(super) const LINGER_BYTES_MAX: usize = 1024 * 1024;

pub(super) struct Served {
    pub(super) core: usize,
    pub(super) session: ServerSession,
    pub(super) activity: Activity,
    pub(super) phase: Phase,
    pub(super) give_up_at: Instant,
    pub(super) session_timeout: Instant,
    pub(super) control: VecDeque<Bytes>,
    pub(super) control_bytes: usize,
    /// What the kernel has not yet taken of the write in flight.
    pub(super) in_flight: Option<Write>,
    /// The reader has ended.
    pub(super) reader_ended: bool,
    pub(super) writer_ended: bool,
    /// The last drive used its budget up; the next one is on the agenda.
    pub(super) yielded: bool,
    /// The writer is on the agenda.
    pub(super) write_due: bool,
    pub(super) lingered_bytes: usize,
    pub(super) close_reason: Option<String>,
    /// Plays accepted so far.
    pub(super) plays: u32,
    /// A publish that waits for the stream's holder.
    pub(super) asked: Option<PublishRequest>,
    /// When something came last.
    pub(super) heard_at: Option<Instant>,
}

pub(super) struct Write {
    pub(super) rest: Bytes,
    pub(super) bytes: usize,
    pub(super) waited: bool,
}

pub(super) enum Activity {
    None,
    Publishing { publisher: PublisherKey, key: StreamKey },
    Playing(Vec<Playing>),
    Moving { home: usize, request: PublishRequest },
}

pub(super) struct Playing {
    pub(super) stream_id: u32,
    pub(super) subscriber: SubscriberKey,
    pub(super) key: StreamKey,
    /// What of the key a publisher's life is known by.
    pub(super) name: &'static str,
    /// Which of the connection's plays it is, from 1.
    pub(super) nth: u32,
    pub(super) at_home: bool,
    /// Its core's resyncs when it joined.
    pub(super) resyncs_before: u64,
    /// Kinds in which the next gap is the player's own doing.
    pub(super) own_gaps: Vec<MediaKind>,
    /// When it last took something, or had nothing to take.
    pub(super) alive_at: Instant,
    /// Nothing is queued, so its writer may rest.
    pub(super) idle: bool,
    pub(super) paused: bool,
    /// Frames that the drop policy had kept from it when everybody was served.
    pub(super) dropped_before: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    Flushing { linger: bool },
    Lingering,
}

impl Served {
    pub(super) fn new(core: usize, session: ServerSession) -> Self {
        Self {
            core,
            session_timeout: session.next_timeout(),
            session,
            activity: Activity::None,
            phase: Phase::Open,
            give_up_at: Instant::FAR_FUTURE,
            control: VecDeque::new(),
            control_bytes: 0,
            in_flight: None,
            reader_ended: false,
            writer_ended: false,
            yielded: false,
            write_due: false,
            lingered_bytes: 0,
            close_reason: None,
            plays: 0,
            asked: None,
            heard_at: None,
        }
    }

    /// Whether it neither moves nor ends.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open && !self.is_moving()
    }

    pub(super) fn is_moving(&self) -> bool {
        matches!(self.activity, Activity::Moving { .. })
    }

    pub(super) fn playing(&self) -> &[Playing] {
        match &self.activity {
            Activity::Playing(all) => all,
            _ => &[],
        }
    }

    pub(super) fn playing_mut(&mut self) -> &mut [Playing] {
        match &mut self.activity {
            Activity::Playing(all) => all,
            _ => &mut [],
        }
    }

    pub(super) fn playing_on(&mut self, stream_id: u32) -> Option<&mut Playing> {
        match &mut self.activity {
            Activity::Playing(all) => all.iter_mut().find(|one| one.stream_id == stream_id),
            _ => None,
        }
    }

    pub(super) fn publishes(&self, stream: &StreamKey) -> bool {
        matches!(&self.activity, Activity::Publishing { key, .. } if key == stream)
    }
}
