//! Core-to-core messages: one inbox a core, filled in batches.
//!
//! A sender wakes the owner only when the inbox was empty; whatever comes until the owner drains it rides along.
//! # Bounds
//! Media waits here by the byte: each pair of cores has a count of what the sender has put in and the owner has not taken out, and the
//! sender's hub pauses its feeds to a core above the bound ([`Inboxes::is_congested`]). Other messages are bounded by connections, made ones
//! included, and by the control HTTP's own requests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::connection::Moved;
use super::observe::{ConnectionId, ConnectionInfo, DrainFigures, Selection, StreamInfo};
use super::outgoing::{Dialed, OutgoingId, OutgoingInfo};
use super::outside::{Ticket, Verdict};
use super::reloading::Reload;
use crate::hub::{CoreId, MeshMessage};

/// What a core can be told or asked.
pub(crate) enum ToCore {
    /// What another core's turn produced for this one, in order.
    Mesh { from: CoreId, messages: Vec<MeshMessage>, bytes: usize },
    /// A publisher whose home this core is.
    Arrive(Box<Moved>),
    /// A connection that we have made, for a stream whose home this core is.
    TakeOver(Box<Dialed>),
    /// Such a connection is to end.
    HangUp(OutgoingId),
    /// A question of the control HTTP.
    Ask(Ask),
    /// The outside's answer to a question of this core.
    Verdict(Ticket, Verdict),
    /// Connections, of this core or others, that are allowed no longer what they do; in their order.
    Revoke(Arc<[ConnectionId]>),
    /// Go by these settings from now on, and listen there.
    Reload(Box<Reload>),
    /// Take no new connections, and ask those that understand to connect again.
    Drain,
    /// Close everything and end: at once, or when players have what is queued for them.
    Stop { at_once: bool },
}

impl ToCore {
    /// Messages in it, for the owner's work budget.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Mesh { messages, .. } => messages.len().max(1),
            _ => 1,
        }
    }
}

/// A question with the place for its answer. An answer that nobody waits for any more is dropped.
pub(crate) enum Ask {
    Streams(oneshot::Sender<Vec<StreamInfo>>),
    Selected(Selection, oneshot::Sender<Vec<StreamInfo>>),
    Connections(oneshot::Sender<Vec<ConnectionInfo>>),
    Outgoing(oneshot::Sender<Vec<OutgoingInfo>>),
    Drain(oneshot::Sender<DrainFigures>),
    Kick(ConnectionId, oneshot::Sender<bool>),
}

/// The inboxes of all cores.
pub(crate) struct Inboxes {
    inboxes: Vec<Inbox>,
    /// Media bytes on their way, `from * cores + to`.
    on_the_way: Vec<AtomicUsize>,
    bytes_max: AtomicUsize,
}

struct Inbox {
    queue: Mutex<VecDeque<ToCore>>,
    wake: Notify,
}

impl Inboxes {
    pub(crate) fn new(cores: usize, bytes_max: usize) -> Self {
        Self {
            inboxes: (0..cores)
                .map(|_| Inbox { queue: Mutex::new(VecDeque::new()), wake: Notify::new() })
                .collect(),
            on_the_way: (0..cores * cores).map(|_| AtomicUsize::new(0)).collect(),
            bytes_max: AtomicUsize::new(bytes_max),
        }
    }

    /// Another bound, which holds from each core's next look.
    pub(crate) fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Puts a message into a core's inbox; says whether the core had to be woken.
    pub(crate) fn push(&self, to: CoreId, message: ToCore) -> bool {
        if let ToCore::Mesh { from, bytes, .. } = &message {
            self.way(*from, to).fetch_add(*bytes, Ordering::Relaxed);
        }
        let inbox = &self.inboxes[usize::from(to.0)];
        let was_empty = {
            let mut queue = inbox.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.push_back(message);
            queue.len() == 1
        };
        if was_empty {
            inbox.wake.notify_one();
        }
        was_empty
    }

    /// Takes all that is there.
    pub(crate) fn drain(&self, core: CoreId, into: &mut VecDeque<ToCore>) {
        let mut queue =
            self.inboxes[usize::from(core.0)].queue.lock().unwrap_or_else(PoisonError::into_inner);
        if into.is_empty() {
            std::mem::swap(&mut *queue, into);
        } else {
            into.append(&mut queue);
        }
    }

    /// Whether nothing is there.
    pub(crate) fn is_empty(&self, core: CoreId) -> bool {
        self.inboxes[usize::from(core.0)].queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Waits until something was put into an empty inbox.
    pub(crate) async fn filled(&self, core: CoreId) {
        self.inboxes[usize::from(core.0)].wake.notified().await;
    }

    /// The owner has dealt with a batch of this many media bytes.
    pub(crate) fn on_taken(&self, from: CoreId, to: CoreId, bytes: usize) {
        self.way(from, to).fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether `from` has put more into `to`'s inbox than may wait there. Once it has, it stays so until half is gone.
    pub(crate) fn is_congested(&self, from: CoreId, to: CoreId, was: bool) -> bool {
        let bytes = self.way(from, to).load(Ordering::Relaxed);
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        bytes > if was { bytes_max / 2 } else { bytes_max }
    }

    fn way(&self, from: CoreId, to: CoreId) -> &AtomicUsize {
        &self.on_the_way[usize::from(from.0) * self.inboxes.len() + usize::from(to.0)]
    }
}
