//! One target's life for one stream: tries, connections, pauses. No clock, no socket: what it wants done are [`Action`]s.
//!
//! ```text
//! Standby -> InLine -> Resolving -> Connecting -> Securing -> Starting -> Ready -> Live
//!    ^                     |            |            |           |          |       |
//!    |                     +------------+-----+------+-----------+----------+-------+
//!    +------ dismissed                        v
//!                                          Waiting -> InLine ...
//! ```
//!
//! Whatever ends a try, a `BadName` included, leads to another one after a pause: the one who holds the name there may be our own last
//! connection, which that server has not missed yet. A target that asks to be connected to elsewhere (E-RTMP v2 "Reconnect Request") gets a
//! successor beside the present connection, which ends when media has begun there. A pull goes from `Live` back to `Ready` when the stream ends
//! at its source.
//! # Bounds
//! Two connections at a time, and those that are hung up; [`REDIRECTS_MAX`] requests to connect again are followed without a stable time
//! between them, and none leads from TLS to none.

use super::backoff::{Backoff, STABLE_AFTER};
use super::failure::Failure;
use super::plan::{Action, Context, Note};
use crate::runtime::{OutgoingEvent, OutgoingId, Start};
use crate::session::{ClientUrl, Instant};

/// Requests to connect again that are followed in a row.
pub const REDIRECTS_MAX: u32 = 3;

/// How far a try is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// As many others are being made as may be: it waits for its turn ([`super::places`]).
    InLine,
    /// Its name is looked up.
    Resolving,
    /// Its addresses are tried.
    Connecting,
    /// The TLS handshake goes on.
    Securing,
    /// A core has it, and the target has not said yes.
    Starting,
    /// It has, and waits for a key frame of ours.
    Ready,
    /// Media flows.
    Live,
}

/// What a target's life shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LifeState {
    /// Not wanted: a better one of its group has the stream.
    Standby,
    /// Until the next try.
    Waiting,
    /// A try, or a connection.
    On(Step),
}

impl LifeState {
    /// All, for metrics.
    pub const ALL: [Self; 9] = [
        Self::Standby,
        Self::Waiting,
        Self::On(Step::InLine),
        Self::On(Step::Resolving),
        Self::On(Step::Connecting),
        Self::On(Step::Securing),
        Self::On(Step::Starting),
        Self::On(Step::Ready),
        Self::On(Step::Live),
    ];

    /// As the API and metrics say it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Waiting => "waiting",
            Self::On(Step::InLine) => "in_line",
            Self::On(Step::Resolving) => "resolving",
            Self::On(Step::Connecting) => "connecting",
            Self::On(Step::Securing) => "securing",
            Self::On(Step::Starting) => "starting",
            Self::On(Step::Ready) => "ready",
            Self::On(Step::Live) => "live",
        }
    }
}

/// One target's life.
#[derive(Debug)]
pub struct Life {
    /// Its place in the group.
    member: usize,
    backoff: Backoff,
    /// Whether its URL says TLS.
    is_tls: bool,
    state: State,
    since: Instant,
    /// A connection to where the target asked us to go, beside that of `state`.
    successor: Option<Link>,
    failures_in_row: u32,
    redirects_in_row: u32,
    /// Tries after the first.
    reconnects: u64,
    tries: u64,
    last_failure: Option<Failure>,
}

#[derive(Debug)]
enum State {
    Standby,
    Waiting { until: Instant },
    On(Link),
}

#[derive(Clone, Copy, Debug)]
struct Link {
    id: OutgoingId,
    step: Step,
    since: Instant,
    is_tls: bool,
}

/// Getters.
impl Life {
    /// One that is not wanted yet.
    pub fn new(now: Instant, member: usize, backoff: Backoff, is_tls: bool) -> Self {
        Self {
            member,
            backoff,
            is_tls,
            state: State::Standby,
            since: now,
            successor: None,
            failures_in_row: 0,
            redirects_in_row: 0,
            reconnects: 0,
            tries: 0,
            last_failure: None,
        }
    }

    /// How far it is.
    pub fn state(&self) -> LifeState {
        match &self.state {
            State::Standby => LifeState::Standby,
            State::Waiting { .. } => LifeState::Waiting,
            State::On(link) => LifeState::On(link.step),
        }
    }

    /// Since when it is that far.
    pub fn since(&self) -> Instant {
        match &self.state {
            State::On(link) => link.since,
            _ => self.since,
        }
    }

    /// Whether media flows.
    pub fn is_live(&self) -> bool {
        self.state() == LifeState::On(Step::Live)
    }

    /// Whether it is to be connected.
    pub fn is_wanted(&self) -> bool {
        !matches!(self.state, State::Standby)
    }

    /// Its present connection, once a core has it.
    pub fn connection(&self) -> Option<OutgoingId> {
        match &self.state {
            State::On(link) if link.step >= Step::Starting => Some(link.id),
            _ => None,
        }
    }

    /// Tries after the first.
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// What went wrong last.
    pub fn last_failure(&self) -> Option<&Failure> {
        self.last_failure.as_ref()
    }

    /// When `handle_timeout` has something to do.
    pub fn next_timeout(&self) -> Instant {
        match &self.state {
            State::Waiting { until } => *until,
            _ => Instant::FAR_FUTURE,
        }
    }
}

/// Commands and input. Whatever concerns a connection that is not this life's any more changes nothing.
impl Life {
    /// It is to be connected from now on.
    pub fn want(&mut self, cx: &mut Context<'_>) {
        if !self.is_wanted() {
            self.dial(cx);
        }
    }

    /// It is not to be connected any more.
    pub fn dismiss(&mut self, cx: &mut Context<'_>) {
        let links = [self.link(), self.successor.take()];
        for link in links.into_iter().flatten() {
            self.judge(cx.now, link);
            leave(cx, link);
        }
        self.state = State::Standby;
        self.since = cx.now;
    }

    /// A try is further.
    pub fn handle_step(&mut self, cx: &mut Context<'_>, id: OutgoingId, step: Step) {
        if let Some(link) = self.link_mut(id)
            && step > link.step
        {
            (link.step, link.since) = (step, cx.now);
        }
    }

    /// A try has led to a connection. True when it is wanted still: then a core is to be given it.
    pub fn handle_dialed(&mut self, cx: &mut Context<'_>, id: OutgoingId) -> bool {
        self.handle_step(cx, id, Step::Starting);
        self.link_mut(id).is_some()
    }

    /// A try has failed.
    pub fn handle_failed(&mut self, cx: &mut Context<'_>, id: OutgoingId, failure: Failure) {
        if self.successor.is_some_and(|link| link.id == id) {
            self.successor = None;
            self.last_failure = Some(failure.clone());
            cx.note(Note::RedirectFailed { member: self.member, failure });
            return;
        }
        let Some(link) = self.link().filter(|link| link.id == id) else { return };
        self.judge(cx.now, link);
        cx.note(Note::Lost {
            member: self.member,
            step: link.step,
            failure: failure.clone(),
            failures_in_row: self.failures_in_row,
        });
        self.last_failure = Some(failure);
        // Where it asked us to go is as good as where we were.
        if let Some(successor) = self.successor.take() {
            self.state = State::On(successor);
            return;
        }
        let pause = self.backoff.pause(self.failures_in_row, cx.random);
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.state = State::Waiting { until: cx.now + pause };
        self.since = cx.now;
    }

    /// Something happened to a connection that a core has.
    pub fn handle_event(&mut self, cx: &mut Context<'_>, id: OutgoingId, event: &OutgoingEvent) {
        match event {
            OutgoingEvent::Ready => self.handle_step(cx, id, Step::Ready),
            OutgoingEvent::Began => self.on_began(cx, id),
            OutgoingEvent::Ended => self.on_ended(cx, id),
            OutgoingEvent::Reconnect { url } => self.on_redirect(cx, id, url),
            OutgoingEvent::Closed { end, .. } => self.handle_failed(cx, id, Failure::Ended(end.clone())),
        }
    }

    /// Time has come to `cx.now`.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if self.next_timeout() <= cx.now {
            self.dial(cx);
        }
    }
}

impl Life {
    fn dial(&mut self, cx: &mut Context<'_>) {
        self.tries += 1;
        self.reconnects += u64::from(self.tries > 1);
        self.state = State::On(self.link_to(cx, None));
    }

    fn link_to(&self, cx: &mut Context<'_>, url: Option<&ClientUrl>) -> Link {
        let id = cx.ids.make();
        // Whoever has begun once has had what is cached.
        let from = if *cx.has_begun || url.is_some() { Start::NextKeyFrame } else { Start::Gop };
        cx.act(Action::Dial { id, member: self.member, url: url.cloned(), from });
        let is_tls = url.map_or(self.is_tls, |url| url.tls);
        Link { id, step: Step::InLine, since: cx.now, is_tls }
    }

    fn on_began(&mut self, cx: &mut Context<'_>, id: OutgoingId) {
        self.handle_step(cx, id, Step::Live);
        if self.link_mut(id).is_none() {
            return;
        }
        *cx.has_begun = true;
        if let Some(successor) = self.successor.take_if(|link| link.id == id) {
            if let Some(link) = self.link() {
                leave(cx, link);
            }
            self.state = State::On(successor);
        }
        cx.note(Note::Live { member: self.member });
    }

    /// The stream has ended at the source of a pull, which stays connected.
    fn on_ended(&mut self, cx: &mut Context<'_>, id: OutgoingId) {
        if let Some(link) = self.link().filter(|link| link.id == id) {
            self.judge(cx.now, link);
            self.state = State::On(Link { step: Step::Ready, since: cx.now, ..link });
        }
    }

    fn on_redirect(&mut self, cx: &mut Context<'_>, id: OutgoingId, url: &ClientUrl) {
        if self.successor.is_some_and(|link| link.id == id) {
            // Where it sent us sends us on before media has begun there: the stream is well served where it is.
            return cx.note(Note::RedirectRefused { member: self.member, why: "successor" });
        }
        let Some(link) = self.link().filter(|link| link.id == id) else { return };
        // It asks once more while we are at it.
        if self.successor.is_some() {
            return;
        }
        self.judge(cx.now, link);
        let refusal = match link {
            Link { is_tls: true, .. } if !url.tls => Some("downgrade"),
            _ if self.redirects_in_row >= REDIRECTS_MAX => Some("too_many"),
            _ => None,
        };
        if let Some(why) = refusal {
            return cx.note(Note::RedirectRefused { member: self.member, why });
        }
        self.redirects_in_row += 1;
        cx.note(Note::Redirected { member: self.member });
        self.successor = Some(self.link_to(cx, Some(url)));
    }

    /// Forgets what went wrong before, if this connection has proven itself.
    fn judge(&mut self, now: Instant, link: Link) {
        if link.step == Step::Live && now - link.since >= STABLE_AFTER {
            self.failures_in_row = 0;
            self.redirects_in_row = 0;
        }
    }

    fn link(&self) -> Option<Link> {
        match &self.state {
            State::On(link) => Some(*link),
            _ => None,
        }
    }

    fn link_mut(&mut self, id: OutgoingId) -> Option<&mut Link> {
        let current = match &mut self.state {
            State::On(link) => Some(link),
            _ => None,
        };
        current.into_iter().chain(&mut self.successor).find(|link| link.id == id)
    }
}

/// Ends a try or a connection.
fn leave(cx: &mut Context<'_>, link: Link) {
    cx.act(match link.step {
        Step::InLine | Step::Resolving | Step::Connecting | Step::Securing => Action::Cancel { id: link.id },
        Step::Starting | Step::Ready | Step::Live => Action::HangUp { id: link.id },
    });
}
