//! One group of one stream as it runs: a task that drives its state machine, dials for it, and hands what was dialed to the stream's core.
//! The upstreams that a stream is pulled from are a group as targets are; of several, the first that has media has it.
//!
//! # Bounds
//! A dial at a time for each of a member's two connections, when it has its place ([`super::places`]). Once the stream is over, the task waits for its connections' ends for
//! [`FAREWELL_MAX`], to count what they sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant as TokioInstant;
use tracing::{debug, info, warn};

use super::dial::{self, Connected, Terms};
use super::failure::Failure;
use super::group::Group;
use super::life::{LifeState, Step};
use super::observe::{Board, ForwardInfo, NamedBy, add, masked};
use super::places::{Dials, Kind};
use super::plan::{Action, Note};
use super::reach;
use super::resolver::Resolver;
use super::target::Target;
use super::trust::Trust;
use super::{Clock, Engine};
use crate::hub::CoreId;
use crate::runtime::outside::Totals;
use crate::runtime::{Dialed, OutgoingEvent, OutgoingId, Start, Task};
use crate::session::{ClientUrl, Instant, StreamKey};

/// How long a group waits for its connections to be over, once its stream is: longer than a core takes to close one.
pub const FAREWELL_MAX: Duration = Duration::from_secs(15);

/// One target of a group, ready to be dialed.
pub(super) struct Goal {
    pub(super) target: Arc<Target>,
    /// `None`: the web's roots, where TLS is spoken. A redirect may lead to it from a target that speaks none.
    pub(super) trust: Option<Trust>,
    pub(super) named_by: NamedBy,
    /// The target's URL for this stream.
    pub(super) url: ClientUrl,
}

/// Which way media goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From here to one of the goals.
    Forward,
    /// From one of the goals to here.
    Pull,
}

/// What a group is for.
pub(super) struct Purpose {
    pub(super) number: u32,
    pub(super) way: Way,
    pub(super) stream: StreamKey,
    pub(super) name_hash: String,
    pub(super) home: CoreId,
    /// In the order of their ranks.
    pub(super) goals: Vec<Goal>,
    /// Before this nothing is dialed.
    pub(super) begin_at: Instant,
}

/// What a group's task is told.
pub(super) enum Heard {
    /// Something happened to one of its connections.
    Outgoing(OutgoingId, OutgoingEvent),
    /// The stream is over, or nobody wants it pulled any more.
    Over,
}

/// What all groups share.
pub(super) struct Means<E> {
    pub(super) engine: E,
    pub(super) resolver: Resolver,
    /// For names that targets chose.
    pub(super) redirect_resolver: Resolver,
    pub(super) dials: Arc<Dials>,
    pub(super) clock: Clock,
    pub(super) forwards: Arc<Board>,
    pub(super) pulls: Arc<Board>,
    /// The web's roots, once somebody has needed them.
    pub(super) web: OnceLock<Option<Arc<ClientConfig>>>,
}

impl<E> Means<E> {
    /// Whom those trust who say nothing of it.
    fn web(&self) -> Option<Arc<ClientConfig>> {
        // Without a file there is nothing that could be wrong.
        self.web.get_or_init(|| Trust::new(None, true).ok().map(|trust| trust.config)).clone()
    }

    fn board(&self, way: Way) -> &Board {
        match way {
            Way::Forward => &self.forwards,
            Way::Pull => &self.pulls,
        }
    }
}

/// Runs until the stream is over, and its connections are.
pub(super) async fn run<E: Engine>(
    means: Arc<Means<E>>,
    purpose: Purpose,
    seed: u64,
    mut heard: mpsc::UnboundedReceiver<Heard>,
) {
    if purpose.begin_at > means.clock.now() {
        let begin_at = means.clock.at(purpose.begin_at);
        tokio::select! {
            // It has no connections that it could hear of: the stream is over, or nobody is left to tell.
            _ = heard.recv() => return,
            () = tokio::time::sleep_until(begin_at) => {}
        }
    }
    let targets: Vec<&Target> = purpose.goals.iter().map(|goal| &*goal.target).collect();
    let group = Group::new(means.clock.now(), purpose.number, seed, &targets);
    let (step_sender, steps) = mpsc::unbounded_channel();
    let totals = purpose.goals.iter().map(|_| Totals::default()).collect();
    let mut course = Course {
        means,
        purpose,
        group,
        dials: JoinSet::new(),
        tries: BTreeMap::new(),
        connections: BTreeMap::new(),
        near: BTreeSet::new(),
        totals,
        step_sender,
    };
    course.drive(heard, steps).await;
    course.board().forget(course.purpose.number);
}

struct Course<E> {
    means: Arc<Means<E>>,
    purpose: Purpose,
    group: Group,
    dials: JoinSet<(OutgoingId, Result<Connected, Failure>)>,
    tries: BTreeMap<OutgoingId, Try>,
    /// Which member's each is, of those that a core has.
    connections: BTreeMap<OutgoingId, usize>,
    /// Members whose own URL has led to an address that is not public: they may send us to others of that kind.
    near: BTreeSet<usize>,
    /// What each member's earlier connections came to.
    totals: Vec<Totals>,
    /// Only the dials that have a place say something, and each three times at most.
    step_sender: mpsc::UnboundedSender<(OutgoingId, Step)>,
}

/// A dial in line or in flight.
struct Try {
    member: usize,
    url: ClientUrl,
    from: Start,
    /// Whether the target asked for it.
    is_redirect: bool,
    task: AbortHandle,
}

impl<E: Engine> Course<E> {
    async fn drive(
        &mut self,
        mut heard: mpsc::UnboundedReceiver<Heard>,
        mut steps: mpsc::UnboundedReceiver<(OutgoingId, Step)>,
    ) {
        let mut until = None;
        loop {
            self.act();
            if until.is_some() && self.connections.is_empty() {
                return;
            }
            self.show();
            let next = until.unwrap_or_else(|| self.group.next_timeout());
            tokio::select! {
                something = heard.recv() => match something {
                    Some(Heard::Outgoing(id, event)) => self.on_event(id, &event),
                    Some(Heard::Over) if until.is_none() => {
                        self.group.end(self.now());
                        until = Some(self.now() + FAREWELL_MAX);
                    }
                    Some(Heard::Over) => {}
                    // Nobody will say that it is over any more.
                    None => return,
                },
                Some((id, step)) = steps.recv() => self.group.handle_step(self.now(), id, step),
                Some(dialed) = self.dials.join_next() => {
                    // One that was cancelled comes to nothing.
                    if let Ok((id, outcome)) = dialed {
                        self.on_dialed(id, outcome);
                    }
                }
                () = tokio::time::sleep_until(self.means.clock.at(next)) => match until {
                    Some(_) => return,
                    None => self.group.handle_timeout(self.now()),
                },
            }
        }
    }

    fn now(&self) -> Instant {
        self.means.clock.now()
    }

    fn board(&self) -> &Board {
        self.means.board(self.purpose.way)
    }

    /// Does what the group wants done.
    fn act(&mut self) {
        while let Some(action) = self.group.poll_action() {
            match action {
                Action::Dial { id, member, url, from } => self.dial(id, member, url, from),
                Action::Cancel { id } => {
                    if let Some(one) = self.tries.remove(&id) {
                        one.task.abort();
                    }
                }
                Action::HangUp { id } => self.means.engine.hang_up(self.purpose.home, id),
                Action::Note(note) => self.on_note(&note),
            }
        }
    }

    fn dial(&mut self, id: OutgoingId, member: usize, url: Option<ClientUrl>, from: Start) {
        // The group has as many members as there are goals.
        let Some(goal) = self.purpose.goals.get(member) else { return };
        let is_redirect = url.is_some();
        let public_only = is_redirect && !self.near.contains(&member);
        let url = url.unwrap_or_else(|| goal.url.clone());
        let trust = if url.tls {
            goal.trust.as_ref().map(|trust| Arc::clone(&trust.config)).or_else(|| self.means.web())
        } else {
            None
        };
        let means = Arc::clone(&self.means);
        let (step_max, traffic) = (goal.target.step_max, goal.target.traffic.clone());
        let terms = Terms { public_only, step_max, traffic };
        let (to, steps) = (url.clone(), self.step_sender.clone());
        let sender = is_redirect.then(|| goal.url.clone());
        let way = self.purpose.way;
        let task = self.dials.spawn(async move {
            let on_step = |step| {
                // The one who listens may be gone, and this with it.
                let _ = steps.send((id, step));
            };
            let places = means.dials.of(Kind::of(&to, is_redirect));
            let _place = places.take(&to, sender.as_ref()).await;
            // Its time begins here.
            add(&means.board(way).tries, 1);
            on_step(Step::Resolving);
            let now = || means.clock.now();
            let resolver = if is_redirect { &means.redirect_resolver } else { &means.resolver };
            let dial = dial::dial(resolver, &to, trust.as_ref(), &terms, now, on_step);
            let outcome = dial.await;
            (id, outcome)
        });
        self.tries.insert(id, Try { member, url, from, is_redirect, task });
    }

    fn on_dialed(&mut self, id: OutgoingId, outcome: Result<Connected, Failure>) {
        let Some(Try { member, url, from, is_redirect, .. }) = self.tries.remove(&id) else { return };
        let connected = match outcome {
            Ok(connected) => connected,
            Err(failure) => return self.group.handle_failed(self.now(), id, &failure),
        };
        let Some(goal) = self.purpose.goals.get(member) else { return };
        if !self.group.handle_dialed(self.means.clock.now(), id) {
            return;
        }
        let Connected { socket, peer, tls, received } = connected;
        if !is_redirect {
            match reach::is_near(peer.ip()) {
                true => self.near.insert(member),
                false => self.near.remove(&member),
            };
        }
        let (client, task) = match self.purpose.way {
            Way::Forward => {
                (goal.target.client_settings(url), Task::Forward { from, queue: goal.target.queue })
            }
            Way::Pull => (goal.target.player_settings(url), Task::Pull),
        };
        self.connections.insert(id, member);
        self.means.engine.take_over(Dialed {
            id,
            socket,
            peer,
            tls,
            received,
            stream: self.purpose.stream.clone(),
            home: self.purpose.home,
            client,
            task,
        });
    }

    fn on_event(&mut self, id: OutgoingId, event: &OutgoingEvent) {
        if let OutgoingEvent::Closed { totals, .. } = event
            && let Some(member) = self.connections.remove(&id)
        {
            add(&self.board().bytes, totals.bytes);
            add(&self.board().dropped, totals.dropped);
            if let Some(sum) = self.totals.get_mut(member) {
                sum.bytes += totals.bytes;
                sum.dropped += totals.dropped;
            }
        }
        if self.purpose.way == Way::Pull && matches!(event, OutgoingEvent::Reconnect { .. }) {
            // We did not say that we can: the source serves us until it ends, and is found anew by its own URL then.
            return self.board().count_redirect_refused("pull");
        }
        self.group.handle_event(self.now(), id, event);
    }

    /// The first failure in a row is told to everybody, those that follow to whoever asks: a target that is down for a night is one line.
    fn on_note(&self, note: &Note) {
        let board = self.board();
        let is_pull = self.purpose.way == Way::Pull;
        let (app, name) = (self.purpose.stream.app(), self.purpose.name_hash.as_str());
        let target =
            |member: usize| self.purpose.goals.get(member).map(|goal| masked(&goal.url)).unwrap_or_default();
        match note {
            Note::Live { member } => {
                add(&board.began, 1);
                let what = if is_pull { "pulled" } else { "forwarded" };
                info!(app, name, target = target(*member), "{what}");
            }
            Note::Lost { member, step, failure, failures_in_row } => {
                board.count_lost(failure.label());
                let (target, state) = (target(*member), LifeState::On(*step).label());
                let what = if is_pull { "pull" } else { "forward" };
                if *failures_in_row == 0 {
                    warn!(app, name, target, state, %failure, "{what} lost, tried again");
                } else {
                    debug!(app, name, target, state, %failure, failures_in_row, "{what} lost, tried again");
                }
            }
            Note::Redirected { member } => {
                add(&board.redirects, 1);
                info!(app, name, target = target(*member), "the target asks to connect elsewhere");
            }
            Note::RedirectRefused { member, why } => {
                board.count_redirect_refused(why);
                warn!(
                    app,
                    name,
                    target = target(*member),
                    why,
                    "the target asks to connect elsewhere, in vain"
                );
            }
            Note::RedirectFailed { member, failure } => {
                board.count_lost(failure.label());
                warn!(app, name, target = target(*member), %failure, "where the target sent us nothing came of it");
            }
            Note::Failover { member } => {
                add(&board.failovers, 1);
                warn!(app, name, target = target(*member), "the targets before it fail: this one is tried");
            }
            Note::Failback { member } => {
                add(&board.failbacks, 1);
                info!(app, name, target = target(*member), "the better target has the stream again");
            }
        }
    }

    /// Tells the board how things are.
    fn show(&self) {
        let active = self.group.active();
        let lives = self.group.lives().zip(&self.purpose.goals).zip(&self.totals).enumerate();
        let forwards = lives.map(|(index, ((life, goal), totals))| ForwardInfo {
            app: self.purpose.stream.app().to_owned(),
            name: self.purpose.stream.name().to_owned(),
            name_hash: self.purpose.name_hash.clone(),
            target: masked(&goal.url),
            named_by: goal.named_by,
            group: goal.target.group.clone(),
            rank: goal.target.rank,
            is_active: active == Some(index),
            state: life.state(),
            since: self.means.clock.at(life.since()).into_std(),
            next_try: (life.state() == LifeState::Waiting)
                .then(|| self.means.clock.at(life.next_timeout()).into_std()),
            connection: life.connection(),
            bytes_before: totals.bytes,
            dropped_before: totals.dropped,
            reconnects: life.reconnects(),
            last_error: life.last_failure().map(ToString::to_string).unwrap_or_default(),
        });
        self.board().show(self.purpose.number, forwards.collect());
    }
}

/// Time of the edge's thread.
impl Clock {
    pub(super) fn at(&self, instant: Instant) -> TokioInstant {
        // Far enough away not to be met, and near enough to be an instant.
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        let since = instant - Instant::default();
        TokioInstant::from_std(self.epoch + since.min(self.epoch.elapsed() + FAR))
    }
}
