//! Who is told what: streams that begin, or that players wait for, get their groups, and news of connections goes to the group that made them.
//!
//! # Bounds
//! [`NAMED_MAX`] targets that a back end names for one publisher and as many upstreams for one player, [`RECENT_MAX`] streams whose last
//! beginning is remembered. News wait in a queue that nothing but this task empties, which waits for nothing else; they come no faster than
//! connections publish, play, are made and end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{error, warn};

use super::course::{self, Goal, Heard, Means, Purpose, Way};
use super::group::in_order;
use super::observe::{Board, NamedBy, add};
use super::plan::Ids;
use super::puller::{Errand, Outcome, Player, Puller, Source};
use super::target::Target;
use super::template::{Filling, NoUrl, TemplateError};
use super::trust::Trust;
use super::upstream::Upstream;
use super::{Engine, Ways};
use crate::hub::CoreId;
use crate::runtime::NameHasher;
use crate::runtime::observe::ConnectionId;
use crate::runtime::outside::{Facts, Grant};
use crate::runtime::{OutgoingEvent, OutgoingId};
use crate::session::{ClientUrl, Instant, StreamKey};

/// Targets that a back end may name for one publisher, or upstreams for one player; further ones are ignored and counted.
pub const NAMED_MAX: usize = 16;

/// Streams whose last beginning is remembered, so that one that begins again and again is not a dial each time. Beyond as many at a time, what
/// is remembered is forgotten: it costs dials that come sooner than they should.
pub const RECENT_MAX: usize = 4096;

/// What the relay hears of.
pub(super) enum Item {
    Began {
        stream: StreamKey,
        home: CoreId,
        grant: Arc<Grant>,
        facts: Arc<Facts>,
    },
    Ended {
        stream: StreamKey,
        home: CoreId,
    },
    Outgoing {
        id: OutgoingId,
        event: OutgoingEvent,
    },
    Played {
        stream: StreamKey,
        home: CoreId,
        facts: Arc<Facts>,
        grant: Arc<Grant>,
    },
    PlayedNoMore {
        stream: StreamKey,
        connection: ConnectionId,
    },
    /// With who is told once it is done.
    Replaced(Ways, oneshot::Sender<()>),
}

/// A target of the file with whom it trusts.
pub(super) struct Prepared {
    pub(super) target: Arc<Target>,
    /// `None`: the web's roots, where TLS is spoken.
    pub(super) trust: Option<Trust>,
}

impl Prepared {
    /// What it is for one stream, with the query and host of whoever published or played it.
    pub(super) fn goal(
        &self,
        stream: &StreamKey,
        params: &str,
        host: &str,
        named_by: NamedBy,
    ) -> Result<Goal, NoUrl> {
        let Self { target, trust } = self;
        let filling = Filling { stream, params, host, shards: target.shards, extra: &target.params };
        let url = target.url.as_ref().ok_or(NoUrl)?.fill(&filling)?;
        Ok(Goal { target: Arc::clone(target), trust: trust.clone(), named_by, url })
    }
}

/// Whether bad targets of a stream are logged and counted now, or have been when it began: a reload is no news of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Now,
    Before,
}

/// A stream that is here, and what it began with.
struct Living {
    home: CoreId,
    grant: Arc<Grant>,
    facts: Arc<Facts>,
    is_pulled: bool,
    /// The groups that forward it.
    groups: Vec<Forwarding>,
}

/// A group that forwards a stream.
struct Forwarding {
    number: u32,
    /// Where to, in the order of their ranks.
    ends: Vec<FarEnd>,
}

/// One goal of a group: as long as it is the same, there is no reason to begin anew.
#[derive(PartialEq)]
pub(super) struct FarEnd {
    target: Arc<Target>,
    url: ClientUrl,
    trust: Option<Trust>,
}

/// Of goals, what makes them the same as others.
pub(super) fn far_ends(goals: &[Goal]) -> Vec<FarEnd> {
    let far_end = |goal: &Goal| FarEnd {
        target: Arc::clone(&goal.target),
        url: goal.url.clone(),
        trust: goal.trust.clone(),
    };
    goals.iter().map(far_end).collect()
}

/// Hands out what there is to be done.
pub(super) struct Conductor<E> {
    pub(super) means: Arc<Means<E>>,
    pub(super) targets: Arc<[Prepared]>,
    pub(super) names: NameHasher,
    puller: Puller,
    streams: HashMap<StreamKey, Living>,
    /// When each began last, of those that did lately.
    recent: HashMap<StreamKey, Instant>,
    groups: HashMap<u32, mpsc::UnboundedSender<Heard>>,
    tasks: JoinSet<()>,
    numbers: HashMap<tokio::task::Id, (u32, StreamKey)>,
    next_number: u32,
    random: fastrand::Rng,
}

impl<E: Engine> Conductor<E> {
    pub(super) fn new(
        means: Arc<Means<E>>,
        targets: Arc<[Prepared]>,
        sources: Arc<[Source]>,
        names: NameHasher,
    ) -> Self {
        Self {
            puller: Puller::new(sources, names.clone(), means.clock),
            means,
            targets,
            names,
            streams: HashMap::new(),
            recent: HashMap::new(),
            groups: HashMap::new(),
            tasks: JoinSet::new(),
            numbers: HashMap::new(),
            next_number: 0,
            random: fastrand::Rng::new(),
        }
    }

    /// Runs until nobody can tell it anything any more; what goes on then ends with it.
    pub(super) async fn run(mut self, mut items: mpsc::UnboundedReceiver<Item>) {
        loop {
            tokio::select! {
                item = items.recv() => match item {
                    Some(item) => self.handle(item),
                    None => return,
                },
                Some(ended) = self.tasks.join_next_with_id() => self.on_task_ended(ended),
                () = tokio::time::sleep_until(self.means.clock.at(self.puller.next_timeout())) => {
                    let outcome = self.puller.on_timeout();
                    self.run_errands(outcome);
                }
            }
        }
    }

    fn handle(&mut self, item: Item) {
        match item {
            Item::Began { stream, home, grant, facts } => {
                let (is_pulled, outcome) = self.puller.on_stream(&stream);
                self.begin(&stream, home, grant, facts, is_pulled);
                self.run_errands(outcome);
            }
            Item::Ended { stream, home } => {
                // It lives elsewhere by now: two cores' news come in either order.
                if self.streams.get(&stream).is_some_and(|living| living.home != home) {
                    return;
                }
                self.end(&stream);
                let outcome = self.puller.on_stream_end(&stream);
                self.run_errands(outcome);
            }
            Item::Played { stream, home, facts, grant } => {
                let named = self.named(&grant.sources, &self.means.pulls, Said::Now, |url| {
                    Upstream::at(url).map(|it| it.source)
                });
                let is_here = self.streams.contains_key(&stream);
                let outcome = self.puller.on_play(&stream, Player { home, facts, named, is_here });
                self.run_errands(outcome);
            }
            Item::PlayedNoMore { stream, connection } => {
                let outcome = self.puller.on_play_end(&stream, connection);
                self.run_errands(outcome);
            }
            Item::Replaced(ways, done) => {
                self.replace(ways);
                // Whoever asked may have waited long enough.
                let _ = done.send(());
            }
            Item::Outgoing { id, event } => {
                if matches!(event, OutgoingEvent::Began) {
                    self.puller.on_pull_publishes(Ids::group_of(id));
                }
                if let Some(group) = self.groups.get(&Ids::group_of(id)) {
                    // Its task may be about to end.
                    let _ = group.send(Heard::Outgoing(id, event));
                }
            }
        }
    }

    fn begin(
        &mut self,
        stream: &StreamKey,
        home: CoreId,
        grant: Arc<Grant>,
        facts: Arc<Facts>,
        is_pulled: bool,
    ) {
        // One that has not ended as far as we know lives elsewhere now.
        self.end(stream);
        let before = self.remember(stream);
        let mut groups = Vec::new();
        for goals in self.goals(stream, &grant, &facts, is_pulled, Said::Now) {
            let pause = goals.first().map(|goal| goal.target.backoff_min).unwrap_or_default();
            let begin_at = before.map_or(Instant::default(), |before| before + pause);
            groups.push(self.forward(stream, home, goals, begin_at));
        }
        self.streams.insert(stream.clone(), Living { home, grant, facts, is_pulled, groups });
    }

    fn forward(
        &mut self,
        stream: &StreamKey,
        home: CoreId,
        goals: Vec<Goal>,
        begin_at: Instant,
    ) -> Forwarding {
        let ends = far_ends(&goals);
        Forwarding { number: self.spawn(Way::Forward, stream, home, goals, begin_at), ends }
    }

    /// Other targets and upstreams: what is not as it was ends or begins.
    fn replace(&mut self, ways: Ways) {
        let Ways { targets, sources } = ways;
        self.targets = targets;
        // First, since what can be pulled from a server is not forwarded there.
        let outcome = self.puller.replace(sources);
        let streams: Vec<StreamKey> = self.streams.keys().cloned().collect();
        for stream in streams {
            self.forward_anew(&stream);
        }
        self.run_errands(outcome);
    }

    fn forward_anew(&mut self, stream: &StreamKey) {
        let Some(living) = self.streams.get_mut(stream) else { return };
        let (home, is_pulled) = (living.home, living.is_pulled);
        let (grant, facts) = (Arc::clone(&living.grant), Arc::clone(&living.facts));
        let mut before = std::mem::take(&mut living.groups);
        let mut groups = Vec::new();
        let mut new = Vec::new();
        for goals in self.goals(stream, &grant, &facts, is_pulled, Said::Before) {
            let ends = far_ends(&goals);
            match before.iter().position(|group| group.ends == ends) {
                Some(index) => groups.push(before.swap_remove(index)),
                None => new.push(goals),
            }
        }
        for group in &before {
            self.end_group(group.number);
        }
        let now = self.means.clock.now();
        for goals in new {
            // A server that has the stream from the connection that ends now would refuse it.
            let was_there = |goal: &Goal| {
                before.iter().flat_map(|group| &group.ends).any(|end| is_same_server(&end.url, &goal.url))
            };
            let pause = goals.iter().find(|goal| was_there(goal)).map(|goal| goal.target.backoff_min);
            let begin_at = pause.map_or(Instant::default(), |pause| now + pause);
            groups.push(self.forward(stream, home, goals, begin_at));
        }
        if let Some(living) = self.streams.get_mut(stream) {
            living.groups = groups;
        }
    }

    /// When the stream began before, if that was lately; it begins now.
    fn remember(&mut self, stream: &StreamKey) -> Option<Instant> {
        let now = self.means.clock.now();
        if self.recent.len() >= RECENT_MAX && !self.recent.contains_key(stream) {
            let longest = self.targets.iter().map(|prepared| prepared.target.backoff_min).max();
            let longest = longest.unwrap_or_default().max(Target::default().backoff_min);
            self.recent.retain(|_, began| now - *began < longest);
            if self.recent.len() >= RECENT_MAX {
                self.recent.clear();
            }
        }
        self.recent.insert(stream.clone(), now)
    }

    fn end(&mut self, stream: &StreamKey) {
        for group in self.streams.remove(stream).map(|living| living.groups).unwrap_or_default() {
            self.end_group(group.number);
        }
    }

    fn run_errands(&mut self, outcome: Outcome) {
        add(&self.means.pulls.targets_refused, outcome.refused);
        for errand in outcome.errands {
            match errand {
                Errand::Begin { stream, home, goals } => {
                    let number = self.spawn(Way::Pull, &stream, home, goals, Instant::default());
                    self.puller.on_begun(&stream, number);
                }
                Errand::End { number } => self.end_group(number),
            }
        }
    }

    /// A group begins; its number.
    fn spawn(
        &mut self,
        way: Way,
        stream: &StreamKey,
        home: CoreId,
        goals: Vec<Goal>,
        begin_at: Instant,
    ) -> u32 {
        let number = self.next_number;
        // After four thousand million streams, and those of then are over.
        self.next_number = self.next_number.wrapping_add(1);
        let name_hash = self.names.hash(stream.name());
        let purpose = Purpose { number, way, stream: stream.clone(), name_hash, home, goals, begin_at };
        let (sender, receiver) = mpsc::unbounded_channel();
        let run = course::run(Arc::clone(&self.means), purpose, self.random.u64(..), receiver);
        self.numbers.insert(self.tasks.spawn(run).id(), (number, stream.clone()));
        self.groups.insert(number, sender);
        number
    }

    fn end_group(&self, number: u32) {
        if let Some(group) = self.groups.get(&number) {
            // Its task may be about to end.
            let _ = group.send(Heard::Over);
        }
    }

    fn on_task_ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(failed) => {
                error!(
                    "a group's task has panicked: its stream is not forwarded there, or not pulled, any more"
                );
                failed.id()
            }
        };
        let Some((number, stream)) = self.numbers.remove(&id) else { return };
        self.groups.remove(&number);
        self.means.forwards.forget(number);
        self.means.pulls.forget(number);
        self.puller.on_gone(number);
        if let Some(living) = self.streams.get_mut(&stream) {
            living.groups.retain(|group| group.number != number);
        }
    }

    /// The targets of a stream: of each group those that belong together, in the order of their ranks.
    fn goals(
        &self,
        stream: &StreamKey,
        grant: &Grant,
        facts: &Facts,
        is_pulled: bool,
        said: Said,
    ) -> Vec<Vec<Goal>> {
        if grant.dry_run {
            return Vec::new();
        }
        let named = self.named(&grant.forwards, &self.means.forwards, said, Target::named);
        let of_file = self.targets.iter().filter(|prepared| prepared.target.takes(stream.app()));
        let of_file = of_file.map(|prepared| (prepared, NamedBy::File));
        let all = of_file.chain(named.iter().map(|prepared| (prepared, NamedBy::BackEnd)));

        let mut alone: Vec<Vec<Goal>> = Vec::new();
        let mut groups: BTreeMap<String, Vec<Goal>> = BTreeMap::new();
        for (prepared, named_by) in all {
            let host = facts.host.as_deref().unwrap_or_default();
            let goal = match prepared.goal(stream, &facts.params, host, named_by) {
                Ok(goal) => goal,
                Err(_) if said == Said::Before => continue,
                Err(error) => {
                    add(&self.means.forwards.targets_refused, 1);
                    warn!(app = stream.app(), name = self.names.hash(stream.name()), %error, "not forwarded");
                    continue;
                }
            };
            match prepared.target.group.as_str() {
                "" => alone.push(vec![goal]),
                group => groups.entry(group.to_owned()).or_default().push(goal),
            }
        }
        let groups = groups.into_values().map(|mut goals| {
            in_order(&mut goals, |goal| goal.target.rank);
            goals
        });
        let mut all: Vec<Vec<Goal>> = alone.into_iter().chain(groups).collect();
        if is_pulled {
            let sources = self.puller.sources(stream);
            for goals in &mut all {
                goals.retain(|goal| !sources.iter().any(|source| is_same_server(source, &goal.url)));
            }
            all.retain(|goals| !goals.is_empty());
        }
        all
    }

    /// What a back end has named. A bad one is ignored: the stream is live, and others of its targets may be right.
    fn named(
        &self,
        urls: &[String],
        board: &Board,
        said: Said,
        make: impl Fn(&str) -> Result<Target, TemplateError>,
    ) -> Vec<Prepared> {
        if urls.len() > NAMED_MAX && said == Said::Now {
            add(&board.targets_refused, (urls.len() - NAMED_MAX) as u64);
            warn!(named = urls.len(), max = NAMED_MAX, "a back end names too many targets");
        }
        let mut named = Vec::new();
        for url in urls.iter().take(NAMED_MAX) {
            match make(url) {
                Ok(target) => {
                    // The web's roots, as for every URL that comes without others.
                    named.push(Prepared { target: Arc::new(target), trust: None });
                }
                Err(_) if said == Said::Before => {}
                Err(error) => {
                    add(&board.targets_refused, 1);
                    warn!(%error, "a back end names a target that cannot be used");
                }
            }
        }
        named
    }
}

/// Whether two URLs lead to one server, as far as they themselves tell.
fn is_same_server(one: &ClientUrl, other: &ClientUrl) -> bool {
    one.port == other.port && one.host.eq_ignore_ascii_case(&other.host)
}
