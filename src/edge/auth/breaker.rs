//! A circuit breaker: a back end that fails again and again is left alone for a while.
//!
//! ```text
//!            failures_max in a row                open_time has passed: one call is let through
//! Closed ────────────────────────────> Open ───────────────────────────────────────────────> HalfOpen
//!    ^                                  ^                                                    │     │
//!    │ it answered                      └──────────────── it failed ─────────────────────────┘     │
//!    └─────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Answers to calls that began before it opened change nothing.
//! # What a stranger can do to it
//! It counts failures of the whole back end. If one question makes the back end fail (a status of 500 for a certain name, say), whoever asks it
//! often enough, with nothing answered in between, opens the breaker for everybody who asks the same table. That question cannot keep it open: the
//! suspect, which is what failed last, is let through only when half of `open_time` more has passed and nobody has asked for anything else
//! ([`Asker::Suspect`]). Suspected is who asks for the same, to publish or to play the same stream, from the same network
//! ([`super::broker::Suspect`]), whatever its parameters, its tcUrl and its encoder are, all of which a peer can change each time. Whoever knows
//! two names that the back end fails at, or has two networks, can keep it open still. Answers that are kept then hold for those who have them.
//! The mend is in the back end: a question that it cannot make sense of is one to deny (4xx), which is an answer. Lists of networks and sources
//! before `callback` keep strangers from asking at all.

use std::time::Duration;

use crate::session::Instant;

/// How often a back end may fail, and for how long it is left alone then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// For how long it stays open.
    pub open_time: Duration,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls go through.
    Closed {
        /// Failures since the last answer.
        failures: u32,
    },
    /// No call goes through.
    Open {
        /// When one may be tried.
        until: Instant,
    },
    /// One call is being tried.
    HalfOpen,
}

impl State {
    /// For metrics: 0 closed, 1 half open, 2 open.
    pub fn number(self) -> u64 {
        match self {
            Self::Closed { .. } => 0,
            Self::HalfOpen => 1,
            Self::Open { .. } => 2,
        }
    }
}

/// Who wants to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Anybody.
    Any,
    /// Who asks for the same as the last call that failed: it may have failed by what was asked, so that anything else is better to try with.
    Suspect,
}

/// Leave to make a call, and which kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    is_probe: bool,
}

/// The breaker of one back end.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    opened: u64,
}

impl Breaker {
    /// A closed one.
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed { failures: 0 }, opened: 0 }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// How often it has opened.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Whether a call may be made now. Each permit must come back, by [`Breaker::on_answer`] or [`Breaker::on_failure`].
    pub fn permit(&mut self, now: Instant, asker: Asker) -> Option<Permit> {
        let behind_others = match asker {
            Asker::Any => Duration::ZERO,
            Asker::Suspect => self.settings.open_time / 2,
        };
        match self.state {
            State::Closed { .. } => Some(Permit { is_probe: false }),
            State::Open { until } if now >= until + behind_others => {
                self.state = State::HalfOpen;
                Some(Permit { is_probe: true })
            }
            State::Open { .. } | State::HalfOpen => None,
        }
    }

    /// The call was answered. Gives whether that counts, which it does not for a call that began before the breaker opened.
    pub fn on_answer(&mut self, permit: Permit) -> bool {
        let counts = permit.is_probe || matches!(self.state, State::Closed { .. });
        if counts {
            self.state = State::Closed { failures: 0 };
        }
        counts
    }

    /// The call failed. Gives whether that counts, as for an answer.
    pub fn on_failure(&mut self, now: Instant, permit: Permit) -> bool {
        let failures = match self.state {
            State::Closed { failures } => failures + 1,
            State::HalfOpen if permit.is_probe => self.settings.failures_max,
            State::HalfOpen | State::Open { .. } => return false,
        };
        if failures < self.settings.failures_max {
            self.state = State::Closed { failures };
        } else {
            self.state = State::Open { until: now + self.settings.open_time };
            self.opened += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_tries_one_call_and_closes_with_an_answer() {
        let at = |ms: u64| Instant::default() + Duration::from_millis(ms);
        let mut breaker =
            Breaker::new(BreakerSettings { failures_max: 3, open_time: Duration::from_secs(10) });
        // An answer in between counts anew.
        for _ in 0..2 {
            let permit = breaker.permit(at(0), Asker::Any).unwrap();
            breaker.on_failure(at(0), permit);
        }
        let permit = breaker.permit(at(0), Asker::Any).unwrap();
        breaker.on_answer(permit);
        assert_eq!(breaker.state(), State::Closed { failures: 0 });
        let early = breaker.permit(at(0), Asker::Any).unwrap();
        for _ in 0..3 {
            let permit = breaker.permit(at(1), Asker::Any).unwrap();
            breaker.on_failure(at(1), permit);
        }
        assert_eq!((breaker.state(), breaker.opened()), (State::Open { until: at(10_001) }, 1));
        assert_eq!(breaker.permit(at(10_000), Asker::Any), None);
        // What began before changes nothing.
        assert!(!breaker.on_answer(early));
        assert_eq!(breaker.state(), State::Open { until: at(10_001) });
        let probe = breaker.permit(at(10_001), Asker::Any).unwrap();
        assert_eq!(breaker.state(), State::HalfOpen);
        assert_eq!(breaker.permit(at(10_002), Asker::Any), None, "one at a time");
        assert!(!breaker.on_failure(at(10_002), early));
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(breaker.on_failure(at(11_000), probe));
        assert_eq!((breaker.state(), breaker.opened()), (State::Open { until: at(21_000) }, 2));
        let probe = breaker.permit(at(21_000), Asker::Any).unwrap();
        assert!(breaker.on_answer(probe));
        assert_eq!(breaker.state(), State::Closed { failures: 0 });
    }

    /// The suspect is behind all others for a while, and then as good as any: there may be nobody else.
    #[test]
    fn the_suspect_is_not_the_next_one_to_be_tried() {
        let at = |ms: u64| Instant::default() + Duration::from_millis(ms);
        let settings = BreakerSettings { failures_max: 1, open_time: Duration::from_secs(10) };
        let mut breaker = Breaker::new(settings);
        let permit = breaker.permit(at(0), Asker::Suspect).expect("closed");
        breaker.on_failure(at(0), permit);
        assert_eq!(breaker.permit(at(14_999), Asker::Suspect), None);
        assert_eq!(breaker.state(), State::Open { until: at(10_000) });
        let permit = breaker.permit(at(15_000), Asker::Suspect).expect("nobody else has asked");
        breaker.on_failure(at(15_000), permit);
        assert_eq!(breaker.permit(at(25_000), Asker::Suspect), None);
        assert!(breaker.permit(at(25_000), Asker::Any).is_some());
    }
}
