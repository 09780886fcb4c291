//! What is pulled: the demand for each stream of an app that has upstreams, or for whose players a back end has named some, and the pulls that are
//! under way.
//!
//! It decides nothing (see [`super::demand`]) and runs nothing (see [`super::course`]): it knows which pull is which stream's.
//!
//! # Loops
//! What was pulled is forwarded like any other stream, but not to where it can come from: the conductor asks for those. Two servers that
//! pull the same app from each other wait for each other for ever, each a player of the other; RTMP has nothing to tell that by.
//! # Bounds
//! One entry for each stream that is played, published or pulled here, of an app that has upstreams, and a count for each connection that plays it;
//! the same where a back end has named some; [`PULLS_MAX`] pulls, and as many that are about to end.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::Clock;
use super::conductor::{FarEnd, Prepared, far_ends};
use super::course::Goal;
use super::demand::{Demand, Order};
use super::observe::NamedBy;
use super::upstream::Upstream;
use crate::hub::CoreId;
use crate::runtime::NameHasher;
use crate::runtime::observe::ConnectionId;
use crate::runtime::outside::Facts;
use crate::session::{ClientUrl, Instant, StreamKey};

/// Streams that are pulled at a time. Each has a connection to every upstream of its app while none of them has the stream. Pulls that have been told
/// to end, and have connections until these are closed, may be as many again: a reload that has all begin anew does not end them for want of room.
pub const PULLS_MAX: usize = 4096;

/// An upstream of the file with whom it trusts.
pub(super) struct Source {
    pub(super) prepared: Prepared,
    pub(super) linger: Duration,
}

/// All demands.
pub(super) struct Puller {
    sources: Arc<[Source]>,
    names: NameHasher,
    clock: Clock,
    wanted: HashMap<StreamKey, Wanted>,
    /// Those that run, until their last connection is gone.
    running: HashMap<u32, StreamKey>,
    /// Pulls that have been ordered and not told to end.
    ordered: usize,
    /// When each is to be let go.
    deadlines: BTreeSet<(Instant, u32)>,
    /// Streams that a pull has said it publishes, and whose beginning is to be heard next.
    announced: HashSet<StreamKey>,
}

struct Wanted {
    demand: Demand,
    /// Of the first who played it: what the template's `{params}` and `{host}` are.
    facts: Option<Arc<Facts>>,
    /// Its present pull.
    number: Option<u32>,
    /// Where that can come from.
    urls: Vec<ClientUrl>,
    /// The same with all that is said of it.
    ends: Vec<FarEnd>,
    /// Upstreams that a back end has named, after those of the file.
    named: Vec<Prepared>,
    /// Who of those that play it is counted, and how often. Whoever came while the app had no upstream is not, unless a back end has named one, so
    /// their ends must not be either.
    counted: HashMap<ConnectionId, u32>,
}

/// Who plays a stream.
pub(super) struct Player {
    /// The core that the stream lives on, as it was told.
    pub(super) home: CoreId,
    pub(super) facts: Arc<Facts>,
    /// Where a back end says that it can come from.
    pub(super) named: Vec<Prepared>,
    /// Whether somebody publishes it here.
    pub(super) is_here: bool,
}

/// What is to be done now.
pub(super) enum Errand {
    /// A pull begins; [`Puller::on_begun`] is told its number.
    Begin { stream: StreamKey, home: CoreId, goals: Vec<Goal> },
    /// The one with this number ends.
    End { number: u32 },
}

/// Why nothing is pulled that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NoUrl,
    TooMany,
}

impl Puller {
    pub(super) fn new(sources: Arc<[Source]>, names: NameHasher, clock: Clock) -> Self {
        Self {
            sources,
            names,
            clock,
            wanted: HashMap::new(),
            running: HashMap::new(),
            ordered: 0,
            deadlines: BTreeSet::new(),
            announced: HashSet::new(),
        }
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.deadlines.first().map_or(Instant::FAR_FUTURE, |(at, _)| *at)
    }

    /// Where a stream that was pulled can have come from.
    pub(super) fn sources(&self, stream: &StreamKey) -> &[ClientUrl] {
        self.wanted.get(stream).map(|wanted| &*wanted.urls).unwrap_or_default()
    }

    pub(super) fn on_play(&mut self, stream: &StreamKey, player: Player) -> Outcome {
        let Player { home, facts, named, is_here } = player;
        let by_name = !self.has_sources(stream.app());
        if (!by_name || !named.is_empty()) && !self.wanted.contains_key(stream) {
            // Until now nobody has asked whether it is here: it may have begun before its app had an upstream.
            let mut demand = Demand::new(self.linger(stream.app()));
            if is_here {
                demand.handle_stream(false);
            }
            self.wanted.insert(stream.clone(), Wanted::new(demand));
        }
        self.with(stream, |wanted| {
            if by_name && named.is_empty() {
                return None;
            }
            if wanted.demand.is_unplayed() {
                wanted.facts = Some(Arc::clone(&facts));
                wanted.named = named;
            } else if !named.is_empty() {
                wanted.named = named;
            }
            *wanted.counted.entry(facts.connection).or_default() += 1;
            wanted.demand.handle_play(home)
        })
    }

    pub(super) fn on_play_end(&mut self, stream: &StreamKey, connection: ConnectionId) -> Outcome {
        let now = self.clock.now();
        self.with(stream, |wanted| {
            let Entry::Occupied(mut times) = wanted.counted.entry(connection) else { return None };
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
            }
            wanted.demand.handle_play_end(now);
            None
        })
    }

    /// A pull has said that it publishes its stream from now on.
    pub(super) fn on_pull_publishes(&mut self, number: u32) {
        if let Some(stream) = self.running.get(&number) {
            self.announced.insert(stream.clone());
        }
    }

    /// A stream is there. Says whether it was pulled.
    pub(super) fn on_stream(&mut self, stream: &StreamKey) -> (bool, Outcome) {
        let is_pulled = self.announced.remove(stream);
        (is_pulled, self.with(stream, |wanted| wanted.demand.handle_stream(is_pulled)))
    }

    pub(super) fn on_stream_end(&mut self, stream: &StreamKey) -> Outcome {
        self.announced.remove(stream);
        self.with(stream, |wanted| wanted.demand.handle_stream_end())
    }

    /// Other upstreams: pulls whose upstreams are no longer the same begin anew, or end.
    pub(super) fn replace(&mut self, sources: Arc<[Source]>) -> Outcome {
        self.sources = sources;
        let mut outcome = Outcome::default();
        let streams: Vec<StreamKey> = self.wanted.keys().cloned().collect();
        for stream in streams {
            let goals = self.goals(&stream);
            let (linger, has_goals) = (self.linger(stream.app()), !goals.is_empty());
            let Some(wanted) = self.wanted.get_mut(&stream) else { continue };
            wanted.demand.set_linger(linger);
            if wanted.number.is_some() && wanted.ends == far_ends(&goals) {
                continue;
            }
            let one = self.with(&stream, |wanted| match wanted.number {
                Some(_) if !has_goals => wanted.demand.handle_no_source(),
                // Whoever waits without a pull has one tried now.
                _ if has_goals => wanted.demand.handle_other_sources(),
                _ => None,
            });
            outcome.errands.extend(one.errands);
            outcome.refused += one.refused;
        }
        outcome
    }

    /// How long a pull of this app outlives its last player.
    fn linger(&self, app: &str) -> Duration {
        let of_app = self.sources.iter().filter(|source| source.prepared.target.takes(app));
        of_app.map(|source| source.linger).max().unwrap_or(Upstream::default().linger)
    }

    /// A pull whose time may have come.
    pub(super) fn on_timeout(&mut self) -> Outcome {
        let now = self.clock.now();
        let Some((_, number)) = self.deadlines.first().filter(|(at, _)| *at <= now).copied() else {
            return Outcome::default();
        };
        let Some(stream) = self.running.get(&number).cloned() else {
            self.deadlines.pop_first();
            return Outcome::default();
        };
        self.with(&stream, |wanted| wanted.demand.handle_timeout(now))
    }

    /// What was asked for has begun.
    pub(super) fn on_begun(&mut self, stream: &StreamKey, number: u32) {
        self.running.insert(number, stream.clone());
        if let Some(wanted) = self.wanted.get_mut(stream) {
            wanted.number = Some(number);
        }
    }

    /// A pull's task has ended, also by itself: the engine stops, or it has panicked.
    pub(super) fn on_gone(&mut self, number: u32) {
        let Some(stream) = self.running.remove(&number) else { return };
        self.deadlines.retain(|(_, one)| *one != number);
        let Some(wanted) = self.wanted.get_mut(&stream).filter(|wanted| wanted.number == Some(number)) else {
            return;
        };
        wanted.number = None;
        self.ordered = self.ordered.saturating_sub(1);
        wanted.demand.handle_no_pull();
        self.forget_if_idle(&stream);
    }

    fn has_sources(&self, app: &str) -> bool {
        self.sources.iter().any(|source| source.prepared.target.takes(app))
    }

    /// One input for the demand of a stream, and what follows of it.
    fn with(&mut self, stream: &StreamKey, input: impl FnOnce(&mut Wanted) -> Option<Order>) -> Outcome {
        if !self.has_sources(stream.app()) && !self.wanted.contains_key(stream) {
            return Outcome::default();
        }
        let linger = self.linger(stream.app());
        let wanted = self.wanted.entry(stream.clone()).or_insert_with(|| Wanted::new(Demand::new(linger)));
        let before = wanted.number.map(|number| (wanted.demand.next_timeout(), number));
        let order = input(wanted);
        let mut outcome = Outcome::default();
        if order.is_some()
            && let Some(number) = wanted.number.take()
        {
            self.ordered = self.ordered.saturating_sub(1);
            outcome.errands.push(Errand::End { number });
        }
        let after = wanted.number.map(|number| (wanted.demand.next_timeout(), number));
        if before != after {
            if let Some(before) = before {
                self.deadlines.remove(&before);
            }
            self.deadlines.extend(after.filter(|(at, _)| *at < Instant::FAR_FUTURE));
        }
        if let Some(Order::Begin { home }) = order {
            self.begin(stream, home, &mut outcome);
        }
        self.forget_if_idle(stream);
        outcome
    }

    fn begin(&mut self, stream: &StreamKey, home: CoreId, outcome: &mut Outcome) {
        let goals = self.goals(stream);
        let refusal = match goals.is_empty() {
            true => Some(Refusal::NoUrl),
            false if self.ordered >= PULLS_MAX || self.running.len() >= 2 * PULLS_MAX => {
                Some(Refusal::TooMany)
            }
            false => None,
        };
        let Some(wanted) = self.wanted.get_mut(stream) else { return };
        if let Some(why) = refusal {
            warn!(app = stream.app(), name = self.names.hash(stream.name()), ?why, "not pulled");
            wanted.demand.handle_no_pull();
            outcome.refused += 1;
            return;
        }
        wanted.urls = goals.iter().map(|goal| goal.url.clone()).collect();
        wanted.ends = far_ends(&goals);
        self.ordered += 1;
        outcome.errands.push(Errand::Begin { stream: stream.clone(), home, goals });
    }

    /// The upstreams of a stream, in their order.
    fn goals(&self, stream: &StreamKey) -> Vec<Goal> {
        let wanted = self.wanted.get(stream);
        let facts = wanted.and_then(|wanted| wanted.facts.as_deref());
        let params = facts.map(|facts| facts.params.as_str()).unwrap_or_default();
        let host = facts.and_then(|facts| facts.host.as_deref()).unwrap_or_default();
        let of_app = self.sources.iter().filter(|source| source.prepared.target.takes(stream.app()));
        let of_file = of_app.map(|source| (&source.prepared, NamedBy::File));
        let named = wanted.into_iter().flat_map(|wanted| &wanted.named).map(|it| (it, NamedBy::BackEnd));
        let goals = of_file.chain(named).map(|(prepared, by)| prepared.goal(stream, params, host, by));
        goals.filter_map(Result::ok).collect()
    }

    fn forget_if_idle(&mut self, stream: &StreamKey) {
        if self.wanted.get(stream).is_some_and(|wanted| wanted.demand.is_idle()) {
            self.wanted.remove(stream);
        }
    }
}

impl Wanted {
    fn new(demand: Demand) -> Self {
        Self {
            demand,
            facts: None,
            number: None,
            urls: Vec::new(),
            ends: Vec::new(),
            named: Vec::new(),
            counted: HashMap::new(),
        }
    }
}

/// What is to be done, and to be counted.
#[derive(Default)]
pub(super) struct Outcome {
    /// In this order.
    pub(super) errands: Vec<Errand>,
    /// Pulls that are wanted and are not begun.
    pub(super) refused: u64,
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, Ways};
    use super::*;
    use crate::edge::relay::target::Target;

    fn sources(port: u16) -> Arc<[Source]> {
        let source = Target::named(&format!("rtmp://127.0.0.1:{port}/{{app}}/{{name}}")).unwrap();
        let upstreams = vec![Upstream { source, ..Upstream::default() }];
        Ways::read(&Settings { upstreams, ..Settings::default() }).unwrap().sources
    }

    fn puller(sources: Arc<[Source]>) -> Puller {
        Puller::new(sources, NameHasher::random(), Clock::new())
    }

    fn player(is_here: bool) -> Player {
        let facts = super::super::tests::facts("");
        Player { home: CoreId(0), facts, named: Vec::new(), is_here }
    }

    /// Does as the conductor does: errands in their order, a number for each that begins.
    fn run(puller: &mut Puller, outcome: Outcome, next: &mut u32) -> (usize, Vec<u32>) {
        let (mut begun, mut ended) = (0, Vec::new());
        for errand in outcome.errands {
            match errand {
                Errand::Begin { stream, .. } => {
                    begun += 1;
                    puller.on_begun(&stream, *next);
                    *next += 1;
                }
                Errand::End { number } => ended.push(number),
            }
        }
        assert_eq!(outcome.refused, 0);
        (begun, ended)
    }

    /// A stream that somebody publishes here since before its app had an upstream is theirs, and is pulled once they have gone.
    #[test]
    fn an_upstream_that_comes_later_takes_no_stream_that_is_here() {
        let mut puller = puller(Arc::default());
        let stream = StreamKey::new("live", "camera");
        puller.on_stream(&stream);
        assert!(puller.replace(sources(1)).errands.is_empty());
        assert!(puller.on_play(&stream, player(true)).errands.is_empty(), "it is here");
        assert!(
            matches!(*puller.on_stream_end(&stream).errands, [Errand::Begin { .. }]),
            "and is here no more"
        );
        let another = StreamKey::new("live", "another");
        assert!(matches!(*puller.on_play(&another, player(false)).errands, [Errand::Begin { .. }]));
    }

    /// When there are as many pulls as there may be, other upstreams have each of them begin anew; one more is still one too many, and those that are
    /// about to end have a bound as well.
    #[test]
    fn as_many_pulls_as_there_may_be_begin_anew() {
        let (mut puller, mut next) = (puller(sources(1)), 0);
        let stream = |index: usize| StreamKey::new("live", &index.to_string());
        for index in 0..PULLS_MAX {
            let outcome = puller.on_play(&stream(index), player(false));
            assert_eq!(run(&mut puller, outcome, &mut next).0, 1);
        }
        assert_eq!(puller.on_play(&stream(PULLS_MAX), player(false)).refused, 1);
        let outcome = puller.replace(sources(2));
        // The one more waits, and is refused again or has the place of one that ends.
        let begun = outcome.errands.iter().filter(|one| matches!(one, Errand::Begin { .. })).count();
        assert!((begun, outcome.refused) == (PULLS_MAX, 1), "{begun} {}", outcome.refused);
        let ended = run(&mut puller, Outcome { refused: 0, ..outcome }, &mut next).1;
        assert_eq!(ended.len(), PULLS_MAX);
        assert_eq!(puller.running.len(), 2 * PULLS_MAX);
        ended.into_iter().for_each(|number| puller.on_gone(number));
        assert_eq!((puller.running.len(), puller.ordered), (PULLS_MAX, PULLS_MAX));
        for number in puller.running.keys().copied().collect::<Vec<_>>() {
            puller.on_gone(number);
        }
        assert_eq!((puller.running.len(), puller.ordered), (0, 0));
    }
}
