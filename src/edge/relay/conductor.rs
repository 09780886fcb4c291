//! Who is told what: streams that begin get their groups, and news of connections goes to the group that made them.
//!
//! # Bounds
//! [`NAMED_MAX`] targets that a back end names for one publisher. News wait in a queue that nothing but this task empties, which waits for
//! nothing else; they come no faster than connections publish, are made and end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, warn};

use super::course::{self, Goal, Heard, Means, Purpose};
use super::group::in_order;
use super::observe::{NamedBy, add};
use super::plan::Ids;
use super::target::Target;
use super::template::Filling;
use super::{Engine, trust};
use crate::hub::CoreId;
use crate::runtime::NameHasher;
use crate::runtime::outside::{Facts, Grant};
use crate::runtime::{OutgoingEvent, OutgoingId};
use crate::session::StreamKey;

/// Targets that a back end may name for one publisher; further ones are ignored and counted.
pub const NAMED_MAX: usize = 16;

/// What the relay hears of.
pub(super) enum Item {
    Began { stream: StreamKey, home: CoreId, grant: Arc<Grant>, facts: Arc<Facts> },
    Ended { stream: StreamKey },
    Outgoing { id: OutgoingId, event: OutgoingEvent },
}

/// A target of the file with whom it trusts.
pub(super) struct Prepared {
    pub(super) target: Arc<Target>,
    pub(super) trust: Option<Arc<ClientConfig>>,
}

/// Hands out what there is to be done.
pub(super) struct Conductor<E> {
    pub(super) means: Arc<Means<E>>,
    pub(super) targets: Arc<[Prepared]>,
    pub(super) names: NameHasher,
    streams: HashMap<StreamKey, Vec<u32>>,
    groups: HashMap<u32, mpsc::UnboundedSender<Heard>>,
    tasks: JoinSet<()>,
    numbers: HashMap<tokio::task::Id, u32>,
    next_number: u32,
    random: fastrand::Rng,
    /// Whom targets that a back end names trust: made with the first of them.
    web: Option<Arc<ClientConfig>>,
}

impl<E: Engine> Conductor<E> {
    pub(super) fn new(means: Arc<Means<E>>, targets: Arc<[Prepared]>, names: NameHasher) -> Self {
        Self {
            means,
            targets,
            names,
            streams: HashMap::new(),
            groups: HashMap::new(),
            tasks: JoinSet::new(),
            numbers: HashMap::new(),
            next_number: 0,
            random: fastrand::Rng::new(),
            web: None,
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
            }
        }
    }

    fn handle(&mut self, item: Item) {
        match item {
            Item::Began { stream, home, grant, facts } => self.begin(&stream, home, &grant, &facts),
            Item::Ended { stream } => self.end(&stream),
            Item::Outgoing { id, event } => {
                if let Some(group) = self.groups.get(&Ids::group_of(id)) {
                    // Its task may be about to end.
                    let _ = group.send(Heard::Outgoing(id, event));
                }
            }
        }
    }

    fn begin(&mut self, stream: &StreamKey, home: CoreId, grant: &Grant, facts: &Facts) {
        // One that has not ended as far as we know lives elsewhere now.
        self.end(stream);
        if grant.dry_run {
            return;
        }
        for goals in self.goals(stream, grant, facts) {
            let number = self.next_number;
            // After four thousand million streams, and those of then are over.
            self.next_number = self.next_number.wrapping_add(1);
            let purpose = Purpose {
                number,
                stream: stream.clone(),
                name_hash: self.names.hash(stream.name()),
                home,
                goals,
            };
            let (sender, receiver) = mpsc::unbounded_channel();
            let run = course::run(Arc::clone(&self.means), purpose, self.random.u64(..), receiver);
            self.numbers.insert(self.tasks.spawn(run).id(), number);
            self.groups.insert(number, sender);
            self.streams.entry(stream.clone()).or_default().push(number);
        }
    }

    fn end(&mut self, stream: &StreamKey) {
        for number in self.streams.remove(stream).unwrap_or_default() {
            if let Some(group) = self.groups.get(&number) {
                let _ = group.send(Heard::Over);
            }
        }
    }

    fn on_task_ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(failed) => {
                error!("a forward's task has panicked: its stream is not forwarded there any more");
                failed.id()
            }
        };
        let Some(number) = self.numbers.remove(&id) else { return };
        self.groups.remove(&number);
        self.means.board.forget(number);
        self.streams.retain(|_, numbers| {
            numbers.retain(|one| *one != number);
            !numbers.is_empty()
        });
    }

    /// The targets of a stream: of each group those that belong together, in the order of their ranks.
    fn goals(&mut self, stream: &StreamKey, grant: &Grant, facts: &Facts) -> Vec<Vec<Goal>> {
        let named = self.named(grant);
        let of_file = self.targets.iter().filter(|prepared| prepared.target.takes(stream.app()));
        let of_file = of_file.map(|prepared| (prepared, NamedBy::File));
        let all = of_file.chain(named.iter().map(|prepared| (prepared, NamedBy::BackEnd)));

        let mut alone: Vec<Vec<Goal>> = Vec::new();
        let mut groups: BTreeMap<String, Vec<Goal>> = BTreeMap::new();
        for (prepared, named_by) in all {
            let Prepared { target, trust } = prepared;
            let filling = Filling {
                stream,
                params: &facts.params,
                host: facts.host.as_deref().unwrap_or_default(),
                shards: target.shards,
                extra: &target.params,
            };
            let url = match target.url.as_ref().map(|url| url.fill(&filling)) {
                Some(Ok(url)) => url,
                Some(Err(error)) => {
                    add(&self.means.board.targets_refused, 1);
                    warn!(app = stream.app(), name = self.names.hash(stream.name()), %error, "not forwarded");
                    continue;
                }
                None => continue,
            };
            let goal = Goal { target: Arc::clone(target), trust: trust.clone(), named_by, url };
            match target.group.as_str() {
                "" => alone.push(vec![goal]),
                group => groups.entry(group.to_owned()).or_default().push(goal),
            }
        }
        let groups = groups.into_values().map(|mut goals| {
            in_order(&mut goals, |goal| goal.target.rank);
            goals
        });
        alone.into_iter().chain(groups).collect()
    }

    /// What a back end has named. A bad one is ignored: the stream is live, and others of its targets may be right.
    fn named(&mut self, grant: &Grant) -> Vec<Prepared> {
        if grant.forwards.len() > NAMED_MAX {
            add(&self.means.board.targets_refused, (grant.forwards.len() - NAMED_MAX) as u64);
            warn!(named = grant.forwards.len(), max = NAMED_MAX, "a back end names too many targets");
        }
        let mut named = Vec::new();
        for url in grant.forwards.iter().take(NAMED_MAX) {
            match Target::named(url) {
                Ok(target) => {
                    let is_tls = target.url.as_ref().is_some_and(|url| url.is_tls());
                    let trust = if is_tls { self.web() } else { None };
                    named.push(Prepared { target: Arc::new(target), trust });
                }
                Err(error) => {
                    add(&self.means.board.targets_refused, 1);
                    warn!(%error, "a back end names a target that cannot be used");
                }
            }
        }
        named
    }

    fn web(&mut self) -> Option<Arc<ClientConfig>> {
        if self.web.is_none() {
            // Without a file there is nothing that could be wrong.
            self.web = trust::client_config(None, true).ok();
        }
        self.web.clone()
    }
}
