//! What a table has decided and what its back end did, for `/metrics`.
//!
//! # Bounds
//! Series: tables times actions times sources times reasons, all from the configuration and from fixed sets; no peer makes one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::broker::{Counters as BrokerCounters, Failure, From};
use crate::control::metrics::{Family, Value};
use crate::runtime::histogram::{Histogram, Unit};
use crate::runtime::outside::{Action, Verdict};

/// One table's counters. Questions come once a publish or play, so a lock is cheap enough.
#[derive(Debug)]
pub struct Counters {
    table: String,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// By action, source and outcome.
    decisions: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    has_back_end: bool,
    broker: BrokerCounters,
    call: Histogram,
    key_set: KeySetCounters,
}

/// What became of fetching a key set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeySetCounters {
    /// Fetches that brought keys.
    pub fetched: u64,
    /// Fetches that failed.
    pub failed: u64,
    /// Keys known now.
    pub keys: u64,
}

impl Counters {
    /// Those of a table of this name.
    pub fn new(table: String, has_back_end: bool) -> Self {
        let inner = Inner {
            decisions: BTreeMap::new(),
            has_back_end,
            broker: BrokerCounters::default(),
            call: Histogram::new(Unit::Seconds),
            key_set: KeySetCounters::default(),
        };
        Self { table, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds it can panic half way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question is decided, by this source or for this reason.
    pub fn on_decision(&self, action: Action, source: &'static str, verdict: &Verdict) {
        let outcome = match verdict {
            Verdict::Allow(_) => "allowed",
            Verdict::Deny(denial) => denial.label,
        };
        *self.lock().decisions.entry((super::callback::event(action), source, outcome)).or_default() += 1;
    }

    /// The back end's broker stands here now.
    pub fn on_broker(&self, counters: BrokerCounters) {
        self.lock().broker = counters;
    }

    /// A call has come back.
    pub fn on_call(&self, took: Duration) {
        self.lock().call.record(took);
    }

    /// The key set stands here now.
    pub fn on_key_set(&self, counters: KeySetCounters) {
        self.lock().key_set = counters;
    }
}

/// Everything of all tables.
pub fn families<'a>(tables: impl Iterator<Item = &'a Counters> + Clone) -> Vec<Family> {
    let mut families = Vec::new();
    let mut family = |name: &str, help: &str, is_counter: bool, samples: Samples| {
        if !samples.is_empty() {
            families.push(Family::new(name, help, is_counter, samples));
        }
    };
    let of_each = |read: &dyn Fn(&Inner) -> Samples| -> Samples {
        let of_one = |counters: &Counters| {
            let samples = read(&counters.lock());
            let table = ("table", counters.table.clone());
            samples.into_iter().map(move |(mut labels, value)| {
                labels.insert(0, table.clone());
                (labels, value)
            })
        };
        tables.clone().flat_map(of_one).collect()
    };
    let of_back_ends = |read: &dyn Fn(&Inner) -> Samples| {
        of_each(&|inner| if inner.has_back_end { read(inner) } else { Samples::new() })
    };
    family(
        "inrush_auth_decisions",
        "Questions who may publish and play, by the source that decided and what it said",
        true,
        of_each(&|inner| {
            let label = |((action, source, outcome), count): (&(&str, &str, &str), &u64)| {
                let labels = vec![
                    ("action", (*action).to_owned()),
                    ("source", (*source).to_owned()),
                    ("outcome", (*outcome).to_owned()),
                ];
                (labels, Value::Whole(*count))
            };
            inner.decisions.iter().map(label).collect()
        }),
    );
    family(
        "inrush_auth_breaker_state",
        "Whether the back end is asked: 0 closed (it is), 1 half open (it is tried), 2 open (it is left alone)",
        false,
        of_back_ends(&|inner| one(inner.broker.state)),
    );
    family(
        "inrush_auth_breaker_opened",
        "Times that the back end had failed too often",
        true,
        of_back_ends(&|inner| one(inner.broker.opened)),
    );
    family(
        "inrush_auth_answers",
        "Answers to questions for the back end, by where they came from",
        true,
        of_back_ends(&|inner| {
            let kinds = From::ALL.iter().zip(inner.broker.answers);
            kinds
                .map(|(from, count)| (vec![("from", from.label().to_owned())], Value::Whole(count)))
                .collect()
        }),
    );
    family(
        "inrush_auth_failures",
        "Calls of the back end that failed, by kind",
        true,
        of_back_ends(&|inner| {
            let kinds = Failure::ALL.iter().zip(inner.broker.failures);
            kinds
                .map(|(kind, count)| (vec![("kind", kind.label().to_owned())], Value::Whole(count)))
                .collect()
        }),
    );
    family(
        "inrush_auth_not_asked",
        "Questions that the back end was not asked, by why: the breaker was open, too many waited, the time was over in line",
        true,
        of_back_ends(&|inner| {
            let BrokerCounters { refused, overflowed, expired, .. } = inner.broker;
            let kinds = [("breaker_open", refused), ("too_many", overflowed), ("expired", expired)];
            kinds.map(|(kind, count)| (vec![("kind", kind.to_owned())], Value::Whole(count))).into()
        }),
    );
    family(
        "inrush_auth_joined",
        "Questions that another's call answered",
        true,
        of_back_ends(&|inner| one(inner.broker.joined)),
    );
    family(
        "inrush_auth_calls_in_progress",
        "Calls of the back end that are under way",
        false,
        of_back_ends(&|inner| one(inner.broker.calls_now)),
    );
    family(
        "inrush_auth_questions_waiting",
        "Questions that wait for the back end",
        false,
        of_back_ends(&|inner| one(inner.broker.waiting_now)),
    );
    family(
        "inrush_auth_answers_kept",
        "Answers of the back end that are kept",
        false,
        of_back_ends(&|inner| one(inner.broker.kept_now)),
    );
    family(
        "inrush_auth_call_seconds",
        "How long calls of the back end took, those that failed included",
        false,
        of_back_ends(&|inner| vec![(Vec::new(), Value::Buckets(inner.call))]),
    );
    family(
        "inrush_auth_key_set_fetches",
        "Fetches of the key set of tokens, by result",
        true,
        of_each(&|inner| {
            let KeySetCounters { fetched, failed, .. } = inner.key_set;
            if fetched + failed == 0 {
                return Samples::new();
            }
            let kinds = [("fetched", fetched), ("failed", failed)];
            kinds.map(|(kind, count)| (vec![("result", kind.to_owned())], Value::Whole(count))).into()
        }),
    );
    family(
        "inrush_auth_key_set_keys",
        "Keys that tokens are checked with",
        false,
        of_each(&|inner| if inner.key_set.keys > 0 { one(inner.key_set.keys) } else { Samples::new() }),
    );
    families
}

type Samples = Vec<(Vec<(&'static str, String)>, Value)>;

fn one(value: u64) -> Samples {
    vec![(Vec::new(), Value::Whole(value))]
}
