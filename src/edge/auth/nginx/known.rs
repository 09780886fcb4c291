//! What a back end has said before, for when it fails.
//!
//! The broker keeps answers by the question that it puts, and here each question is put by itself, since a back end may count them. What was
//! allowed is remembered beside it, by all that the answer may depend on but for the connection, the manner of publishing or playing too, and
//! serves where the broker has nothing but what the table says.
//! # Bounds
//! Those of [`crate::edge::auth::cache`].

use std::time::Duration;

use crate::edge::auth::broker::{BrokerSettings, Counters, From, Output};
use crate::edge::auth::cache::{Cache, CacheSettings, Subject};
use crate::edge::auth::nginx::form;
use crate::edge::auth::rules::NetworkBits;
use crate::edge::auth::subject::subject;
use crate::runtime::outside::Question;
use crate::session::Instant;

/// The settings of a broker that keeps no answers.
pub(in crate::edge::auth) fn asked_each_time(settings: BrokerSettings) -> BrokerSettings {
    let cache = CacheSettings {
        allow_time: Duration::ZERO,
        deny_time: Duration::ZERO,
        stale_time: Duration::ZERO,
        entries_max: 0,
    };
    BrokerSettings { cache, ..settings }
}

/// What is known of one back end.
#[derive(Debug)]
pub(in crate::edge::auth) struct Known {
    cache: Cache,
    bits: NetworkBits,
    /// Answers that it gave in place of the table's.
    used: u64,
}

impl Known {
    /// Nothing yet.
    pub(in crate::edge::auth) fn new(settings: CacheSettings, bits: NetworkBits) -> Self {
        let settings = CacheSettings { allow_time: Duration::ZERO, deny_time: Duration::ZERO, ..settings };
        Self { cache: Cache::new(settings), bits, used: 0 }
    }

    /// Learns from what a broker says, or mends it.
    pub(in crate::edge::auth) fn seen<Q>(
        &mut self,
        now: Instant,
        output: Output<Q, Question>,
    ) -> Output<Q, Question> {
        match output {
            Output::Answer { waiter, verdict, from: From::Call } => {
                self.cache.keep(now, self.subject(&waiter), &verdict);
                Output::Answer { waiter, verdict, from: From::Call }
            }
            Output::Answer { waiter, verdict, from: From::Policy } => {
                match self.cache.stale(now, &self.subject(&waiter)) {
                    Some(verdict) => {
                        self.used += 1;
                        Output::Answer { waiter, verdict, from: From::Stale }
                    }
                    None => Output::Answer { waiter, verdict, from: From::Policy },
                }
            }
            output => output,
        }
    }

    /// A broker's counters, with what was mended.
    pub(in crate::edge::auth) fn counted(&self, mut counters: Counters) -> Counters {
        for (from, count) in From::ALL.iter().zip(&mut counters.answers) {
            match from {
                From::Stale => *count += self.used,
                From::Policy => *count = count.saturating_sub(self.used),
                From::Call | From::Cache => {}
            }
        }
        Counters { kept_now: self.cache.kept() as u64, ..counters }
    }

    fn subject(&self, question: &Question) -> Subject {
        let facts = &question.facts;
        subject(question, self.bits, &[&facts.swf_url, &facts.page_url, &form::manner(facts)])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::edge::auth::broker::{Broker, Fail, Failure, Suspect};
    use crate::edge::auth::settings::AuthTable;
    use crate::edge::auth::tests::question;
    use crate::runtime::observe::ConnectionId;
    use crate::runtime::outside::{Action, Grant, Manner, Verdict};
    use crate::session::{PlayTerms, PublishKind};

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    /// Each question has its own call, and while the back end fails, who was allowed before is so still: from another connection too, and no other.
    #[test]
    fn a_yes_holds_while_the_back_end_fails() {
        let settings = AuthTable::default().broker;
        let mut known = Known::new(settings.cache, NetworkBits { ipv4: 32, ipv6: 64 });
        let mut broker = Broker::new(BrokerSettings { fail: Fail::Closed, ..asked_each_time(settings) });
        let mut number = 0;
        let mut ask = |now, question: Question, reply| {
            number += 1;
            broker.handle_question(now, [number; 32], Suspect([number; 32]), (), question);
            broker.handle_reply(now, [number; 32], reply);
            let outputs: Vec<_> =
                std::iter::from_fn(|| broker.poll_output()).map(|output| known.seen(now, output)).collect();
            let counters = known.counted(broker.counters());
            match outputs.as_slice() {
                [Output::Call { .. }, Output::Answer { verdict, from, .. }] => {
                    (matches!(verdict, Verdict::Allow(_)), *from, counters.answers)
                }
                other => panic!("{other:?}"),
            }
        };
        let yes = || Ok(Verdict::Allow(Grant::default()));
        let failure = || Err(Failure::Unreachable);
        let mut again = question("live", "test", "");
        let facts = Arc::unwrap_or_clone(again.facts.clone());
        again.facts = Arc::new(crate::runtime::outside::Facts { connection: ConnectionId(99), ..facts });
        assert_eq!(ask(at(0), question("live", "test", ""), failure()), (false, From::Policy, [0, 0, 0, 1]));
        assert_eq!(ask(at(0), question("live", "test", ""), yes()), (true, From::Call, [1, 0, 0, 1]));
        assert_eq!(ask(at(1), question("live", "test", ""), yes()), (true, From::Call, [2, 0, 0, 1]));
        assert_eq!(ask(at(2), again, failure()), (true, From::Stale, [2, 0, 1, 1]));
        assert_eq!(ask(at(2), question("live", "other", ""), failure()), (false, From::Policy, [2, 0, 1, 2]));
        // A yes to one way of doing it is none to another.
        let with = |manner| {
            let mut question = question("live", "test", "");
            let mut facts = (*question.facts).clone();
            facts.wish.as_mut().unwrap().manner = manner;
            question.facts = Arc::new(facts);
            question
        };
        let recorded = || with(Manner::Publish(PublishKind::Record));
        assert_eq!(ask(at(3), recorded(), failure()), (false, From::Policy, [2, 0, 1, 3]));
        let played = |start| Question {
            action: Action::Play,
            ..with(Manner::Play(PlayTerms { start: Some(start), ..PlayTerms::default() }))
        };
        assert_eq!(ask(at(3), played(-2.0), yes()), (true, From::Call, [3, 0, 1, 3]));
        assert_eq!(ask(at(3), played(7.0), failure()), (false, From::Policy, [3, 0, 1, 4]));
        assert_eq!(ask(at(3), played(-2.0), failure()), (true, From::Stale, [3, 0, 2, 4]));
        assert_eq!(
            ask(at(400), question("live", "test", ""), failure()),
            (false, From::Policy, [3, 0, 2, 5])
        );
    }
}
