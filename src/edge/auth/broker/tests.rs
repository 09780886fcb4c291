//! The broker in virtual time: every way that a question can go, and random storms of questions, outcomes and time.

use proptest::prelude::*;

use super::*;

const SETTINGS: BrokerSettings = BrokerSettings {
    timeout: Duration::from_secs(2),
    calls_max: 2,
    waiting_max: 6,
    fail: Fail::Closed,
    breaker: BreakerSettings { failures_max: 3, open_time: Duration::from_secs(10) },
    cache: CacheSettings {
        allow_time: Duration::from_secs(5),
        deny_time: Duration::from_secs(1),
        stale_time: Duration::from_secs(60),
        entries_max: 100,
    },
};

struct Rig {
    broker: Broker<u8, u32>,
    now: Instant,
    next_waiter: u32,
}

fn subject(number: u8) -> Subject {
    [number; 32]
}

fn suspect(number: u8) -> Suspect {
    Suspect(subject(number))
}

fn yes() -> Verdict {
    Verdict::Allow(Grant { priority: 1, ..Grant::default() })
}

fn no() -> Verdict {
    Verdict::Deny(Denial { label: "callback_denied", description: "no".into() })
}

impl Rig {
    fn new(settings: BrokerSettings) -> Self {
        Self {
            broker: Broker::new(settings),
            now: Instant::default() + Duration::from_secs(1),
            next_waiter: 0,
        }
    }

    /// Asks; gives what is to be done.
    fn ask(&mut self, number: u8) -> String {
        self.next_waiter += 1;
        self.broker.handle_question(self.now, subject(number), suspect(number), number, self.next_waiter);
        self.outputs()
    }

    fn reply(&mut self, number: u8, reply: Result<Verdict, Failure>) -> String {
        self.broker.handle_reply(self.now, subject(number), reply);
        self.outputs()
    }

    fn pass_ms(&mut self, ms: u64) -> String {
        self.now = self.now + Duration::from_millis(ms);
        self.broker.handle_timeout(self.now);
        self.outputs()
    }

    /// `call N`; `W+` and `W-` for a waiter who is told, with where from behind it unless it was a call.
    fn outputs(&mut self) -> String {
        let mut words = Vec::new();
        while let Some(output) = self.broker.poll_output() {
            words.push(match output {
                Output::Call { question, .. } => format!("call {question}"),
                Output::Answer { waiter, verdict, from } => {
                    let sign = if matches!(verdict, Verdict::Allow(_)) { '+' } else { '-' };
                    let from = if from == From::Call { String::new() } else { format!(" {}", from.label()) };
                    format!("{waiter}{sign}{from}")
                }
            });
        }
        words.join(", ")
    }
}

/// One call answers all who ask the same, and the answer serves who comes after, as long as it is fresh.
#[test]
fn the_same_question_is_asked_once() {
    let mut rig = Rig::new(SETTINGS);
    assert_eq!(rig.ask(1), "call 1");
    assert_eq!(rig.ask(1), "");
    assert_eq!(rig.ask(1), "");
    assert_eq!(rig.reply(1, Ok(yes())), "1+, 2+, 3+");
    assert_eq!(rig.ask(1), "4+ cache");
    rig.pass_ms(4_999);
    assert_eq!(rig.ask(1), "5+ cache");
    rig.pass_ms(1);
    assert_eq!(rig.ask(1), "call 1");
    assert_eq!(rig.reply(1, Ok(no())), "6-");
    assert_eq!(rig.ask(1), "7- cache");
    rig.pass_ms(1_000);
    assert_eq!(rig.ask(1), "call 1", "a no is kept for a shorter time");
    let counters = rig.broker.counters();
    assert_eq!((counters.calls, counters.joined, counters.answers), (3, 2, [4, 3, 0, 0]));
    assert_eq!((counters.calls_now, counters.waiting_now, counters.kept_now), (1, 1, 1));
}

/// A failure is told as the policy says, at once to all who wait, and is not kept.
#[test]
fn what_fails_is_as_the_table_says() {
    for (fail, sign) in [(Fail::Closed, '-'), (Fail::Open, '+')] {
        let mut rig = Rig::new(BrokerSettings { fail, ..SETTINGS });
        rig.ask(1);
        rig.ask(1);
        assert_eq!(rig.reply(1, Err(Failure::Timeout)), format!("1{sign} policy, 2{sign} policy"));
        assert_eq!(rig.ask(1), "call 1");
    }
}

/// After failures in a row nobody waits for the back end any more; one question tries it again, and its answer ends the outage.
#[test]
fn a_dead_back_end_is_left_alone() {
    let mut rig = Rig::new(SETTINGS);
    for number in 1..=3 {
        rig.ask(number);
        rig.reply(number, Err(Failure::Unreachable));
    }
    assert_eq!(rig.broker.counters().state, 2);
    assert_eq!(rig.ask(9), "4- policy", "nobody waits");
    rig.pass_ms(10_000);
    assert_eq!(rig.ask(9), "call 9", "one tries");
    assert_eq!(rig.broker.counters().state, 1);
    assert_eq!(rig.ask(8), "6- policy", "the others do not");
    assert_eq!(rig.ask(9), "", "but who asks the same waits for it");
    assert_eq!(rig.reply(9, Err(Failure::Status)), "5- policy, 7- policy");
    assert_eq!(rig.broker.counters().state, 2);
    rig.pass_ms(10_000);
    assert_eq!(rig.ask(9), "8- policy", "another is the better one to try with");
    assert_eq!(rig.ask(7), "call 7");
    assert_eq!(rig.reply(7, Ok(yes())), "9+");
    assert_eq!(rig.broker.counters().state, 0);
    assert_eq!(rig.ask(8), "call 8");
    let counters = rig.broker.counters();
    assert_eq!((counters.opened, counters.refused), (2, 3));
    assert_eq!(counters.failures, [3, 0, 1, 0, 0]);
}

/// A question that the back end fails at, asked all the time, opens the breaker, and keeps it open for nobody who asks another one.
#[test]
fn one_poisoned_question_does_not_keep_the_breaker_open() {
    let mut rig = Rig::new(SETTINGS);
    const POISON: u8 = 0;
    for _ in 0..3 {
        rig.ask(POISON);
        rig.reply(POISON, Err(Failure::Status));
    }
    assert_eq!(rig.broker.counters().state, 2);
    for second in 1..=12 {
        rig.pass_ms(1_000);
        assert!(rig.ask(POISON).ends_with("- policy"), "after {second} s");
    }
    assert_eq!(rig.ask(1), "call 1");
    assert!(rig.ask(POISON).ends_with("- policy"), "one is tried at a time");
    assert!(rig.reply(1, Ok(yes())).ends_with('+'));
    assert_eq!(rig.broker.counters().state, 0);
    // While nobody asks anything else it is tried in the end: it may not be the question that is bad.
    for _ in 0..3 {
        rig.ask(POISON);
        rig.reply(POISON, Err(Failure::Status));
    }
    rig.pass_ms(14_999);
    assert!(rig.ask(POISON).ends_with("- policy"));
    rig.pass_ms(1);
    assert_eq!(rig.ask(POISON), "call 0");
}

/// What began before the breaker opened says nothing about what has opened it, whether it is an answer or one more failure.
#[test]
fn a_late_reply_clears_no_suspect() {
    const POISON: u8 = 0;
    for late in [Ok(yes()), Err(Failure::Timeout)] {
        let mut rig = Rig::new(SETTINGS);
        rig.ask(1);
        for _ in 0..3 {
            rig.ask(POISON);
            rig.reply(POISON, Err(Failure::Status));
        }
        rig.reply(1, late);
        assert_eq!(rig.broker.counters().state, 2);
        rig.pass_ms(10_000);
        assert!(rig.ask(POISON).ends_with("- policy"));
        assert_eq!(rig.ask(2), "call 2");
    }
}

/// While the back end fails, who was known before gets the yes of then. A no of then is nothing that the table would not say.
#[test]
fn an_older_answer_is_better_than_none() {
    let mut rig = Rig::new(SETTINGS);
    rig.ask(1);
    rig.reply(1, Ok(yes()));
    rig.ask(2);
    rig.reply(2, Ok(no()));
    rig.pass_ms(6_000);
    assert_eq!(rig.ask(1), "call 1", "it may have become another");
    assert_eq!(rig.reply(1, Err(Failure::Timeout)), "3+ stale");
    rig.ask(2);
    assert_eq!(rig.reply(2, Err(Failure::Timeout)), "4- policy");
    rig.ask(3);
    rig.reply(3, Err(Failure::Timeout));
    assert_eq!(rig.ask(1), "6+ stale", "the breaker is open");
    rig.pass_ms(60_000);
    rig.ask(1);
    assert_eq!(rig.reply(1, Err(Failure::Timeout)), "7- policy", "too old");
}

/// Calls are bounded, the line behind them too; in line a question's time runs.
#[test]
fn a_slow_back_end_has_a_short_line() {
    let mut rig = Rig::new(SETTINGS);
    assert_eq!((rig.ask(1), rig.ask(2)), ("call 1".into(), "call 2".into()));
    rig.pass_ms(500);
    assert_eq!((rig.ask(3), rig.ask(4), rig.ask(5), rig.ask(3)), Default::default());
    assert_eq!(rig.ask(6), "7- policy", "six wait");
    assert_eq!(rig.ask(1), "8- policy", "also of those who would only join");
    assert_eq!(rig.broker.counters().overflowed, 2);
    assert_eq!(rig.reply(2, Ok(yes())), "2+, call 3");
    rig.pass_ms(100);
    assert_eq!(rig.ask(6), "", "there is room again");
    rig.pass_ms(1_899);
    assert_eq!(rig.pass_ms(1), "4- policy, 5- policy", "their time is over in line");
    assert_eq!(rig.broker.counters().expired, 2);
    assert_eq!(
        rig.broker.next_timeout(),
        Some(Instant::default() + Duration::from_millis(1_000 + 600 + 2_000))
    );
    assert_eq!(rig.reply(1, Ok(yes())), "1+, call 6");
}

/// A call that waited in line has as long as any other: the wait is not the back end's, and must not look like its failure.
#[test]
fn a_call_has_its_whole_time_however_long_it_was_in_line() {
    let mut rig = Rig::new(SETTINGS);
    for number in 1..=3 {
        rig.ask(number);
    }
    rig.pass_ms(1_999);
    rig.broker.handle_reply(rig.now, subject(1), Ok(yes()));
    let deadline = std::iter::from_fn(|| rig.broker.poll_output()).find_map(|output| match output {
        Output::Call { question: 3, deadline, .. } => Some(deadline),
        _ => None,
    });
    assert_eq!(deadline, Some(rig.now + SETTINGS.timeout));
    assert_eq!(rig.pass_ms(1_000), "", "its time in line does not count any more");
    assert_eq!(rig.reply(3, Ok(yes())), "3+");
    assert_eq!(rig.broker.state(), State::Closed { failures: 0 });
}

/// With the last permitted failure the whole line is told, rather than one by one.
#[test]
fn who_waits_in_line_is_told_when_the_breaker_opens() {
    let mut rig = Rig::new(SETTINGS);
    for number in 1..=6 {
        rig.ask(number);
    }
    assert_eq!(rig.reply(1, Err(Failure::Unreachable)), "1- policy, call 3");
    assert_eq!(rig.reply(2, Err(Failure::Unreachable)), "2- policy, call 4");
    assert_eq!(rig.reply(3, Err(Failure::Unreachable)), "3- policy, 5- policy, 6- policy");
    assert_eq!(rig.reply(4, Ok(yes())), "4+", "a late answer is an answer");
    assert_eq!(rig.broker.counters().state, 2, "and closes nothing");
    assert!(rig.broker.is_idle());
}

#[test]
fn a_reply_that_nobody_asked_for_changes_nothing() {
    let mut rig = Rig::new(BrokerSettings { calls_max: 1, ..SETTINGS });
    assert_eq!(rig.reply(1, Ok(yes())), "");
    rig.ask(1);
    rig.ask(2);
    assert_eq!(rig.reply(2, Ok(yes())), "", "it is in line");
    assert_eq!(rig.reply(1, Ok(yes())), "1+, call 2");
    assert_eq!(rig.reply(1, Ok(no())), "");
    assert_eq!(rig.ask(1), "3+ cache");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens in whatever order: bounds hold, counters add up, and in the end everybody has been told exactly once.
    #[test]
    fn everybody_is_told_once(steps in prop::collection::vec((0u8..5, 0u8..10, 0u64..3_000), 1..200), fail in any::<bool>()) {
        let fail = if fail { Fail::Open } else { Fail::Closed };
        let mut rig = Rig::new(BrokerSettings { fail, ..SETTINGS });
        let mut calls: Vec<(u8, Instant)> = Vec::new();
        let mut told = Vec::new();
        let mut asked = 0;
        let mut drain = |rig: &mut Rig, calls: &mut Vec<(u8, Instant)>| {
            while let Some(output) = rig.broker.poll_output() {
                match output {
                    Output::Call { question, deadline, .. } => calls.push((question, deadline)),
                    Output::Answer { waiter, .. } => told.push(waiter),
                }
            }
        };
        let finish: Vec<_> = (0..30).flat_map(|_| [(3, 0, 0), (4, 0, 1_000)]).collect();
        for (what, number, ms) in steps.into_iter().chain(finish) {
            match what {
                0 | 1 => {
                    asked += 1;
                    rig.next_waiter += 1;
                    rig.broker.handle_question(rig.now, subject(number), suspect(number), number, rig.next_waiter);
                }
                2 | 3 if !calls.is_empty() => {
                    let (of, _) = calls.remove(usize::from(number) % calls.len());
                    let reply = match number % 4 { 0 => Ok(yes()), 1 => Ok(no()), _ => Err(Failure::Unreachable) };
                    rig.broker.handle_reply(rig.now, subject(of), reply);
                }
                _ => {
                    rig.now = rig.now + Duration::from_millis(ms);
                    rig.broker.handle_timeout(rig.now);
                    // The driver gives up at the deadline.
                    let now = rig.now;
                    let late: Vec<u8> = calls.iter().filter(|(_, deadline)| now >= *deadline).map(|(of, _)| *of).collect();
                    calls.retain(|(_, deadline)| now < *deadline);
                    for of in late {
                        rig.broker.handle_reply(now, subject(of), Err(Failure::Timeout));
                    }
                }
            }
            drain(&mut rig, &mut calls);
            let counters = rig.broker.counters();
            prop_assert!(calls.len() <= SETTINGS.calls_max && counters.waiting_now <= SETTINGS.waiting_max as u64);
            prop_assert_eq!(counters.calls_now as usize, calls.len());
        }
        prop_assert!(rig.broker.is_idle());
        let count = told.len();
        told.sort_unstable();
        told.dedup();
        prop_assert_eq!((count, told.len()), (asked, asked));
        prop_assert_eq!(rig.broker.counters().answers.iter().sum::<u64>(), asked as u64);
    }
}
