//! What the state machines of forwarding ask for, and what they are given.

use std::collections::VecDeque;

use super::failure::Failure;
use super::life::Step;
use crate::runtime::{OutgoingId, Start};
use crate::session::{ClientUrl, Instant};

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To look up, connect to and shake hands with a target; steps and outcome come back by the id.
    Dial {
        /// Its name.
        id: OutgoingId,
        /// Which target.
        member: usize,
        /// Where instead of the target's own URL.
        url: Option<ClientUrl>,
        /// Where in the stream it is to begin.
        from: Start,
    },
    /// To give up what [`Action::Dial`] has begun.
    Cancel {
        /// Its name.
        id: OutgoingId,
    },
    /// To end a connection that a core has.
    HangUp {
        /// Its name.
        id: OutgoingId,
    },
    /// To be logged and counted.
    Note(Note),
}

/// Something that is worth being known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Media flows.
    Live {
        /// To which target.
        member: usize,
    },
    /// A try or a connection has ended, and another one follows.
    Lost {
        /// Which target's.
        member: usize,
        /// How far it had come.
        step: Step,
        /// Why.
        failure: Failure,
        /// Failures before this one, since it was last stable.
        failures_in_row: u32,
    },
    /// A target asked to be connected to elsewhere, and it is done.
    Redirected {
        /// Which.
        member: usize,
    },
    /// It asked, and nothing is done.
    RedirectRefused {
        /// Which.
        member: usize,
        /// Metric label.
        why: &'static str,
    },
    /// Where it asked us to go, nothing came of it.
    RedirectFailed {
        /// Which.
        member: usize,
        /// Why.
        failure: Failure,
    },
    /// The next target of a group is tried, since those before it have no media.
    Failover {
        /// Which.
        member: usize,
    },
    /// A better target of a group has had media for long enough.
    Failback {
        /// Which.
        member: usize,
    },
}

/// Names for tries: a group's own number above and its tries below, so that whoever hears of one knows whom to tell.
#[derive(Debug)]
pub struct Ids {
    group: u32,
    next: u32,
}

impl Ids {
    /// Of a group with this number.
    pub fn new(group: u32) -> Self {
        Self { group, next: 0 }
    }

    /// The next one. A group that tries a thousand times a second begins anew after fifty days, when the first are long forgotten.
    pub fn make(&mut self) -> OutgoingId {
        let id = OutgoingId(u64::from(self.group) << 32 | u64::from(self.next));
        self.next = self.next.wrapping_add(1);
        id
    }

    /// The number of the group that a try is of.
    pub fn group_of(id: OutgoingId) -> u32 {
        (id.0 >> 32) as u32
    }
}

/// What a step of a state machine is given.
pub struct Context<'a> {
    /// The present.
    pub now: Instant,
    /// For names.
    pub ids: &'a mut Ids,
    /// For jitter.
    pub random: &'a mut fastrand::Rng,
    /// Whether media of this stream has begun at any target of the group.
    pub has_begun: &'a mut bool,
    /// What is to be done.
    pub actions: &'a mut VecDeque<Action>,
}

impl Context<'_> {
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn note(&mut self, note: Note) {
        self.act(Action::Note(note));
    }
}
