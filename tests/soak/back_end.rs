//! The back end that flaps: it decides who may publish, when it can.
//!
//! One app lets everybody in while it fails ([`OPEN`]), the other one nobody ([`CLOSED`]). It allows everybody but strangers, so that with every
//! mood of it there is one thing that must come of a question:
//!
//! | | it answers | it does not |
//! |---|---|---|
//! | [`OPEN`] | may | may |
//! | [`CLOSED`] | may | may not |
//! | [`CLOSED`], a stranger | may not | may not |

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::support::PATIENCE;
use super::support::api::Metrics;
use super::support::back_end::{Answer, BackEnd, Request};
use super::support::server::Server;
use super::{Happening, World};

/// The app whose table says `fail = "open"`.
pub const OPEN: &str = "open";
/// The app whose table says `fail = "closed"`.
pub const CLOSED: &str = "closed";
/// What the names of those begin with who are denied.
pub const STRANGER: &str = "stranger";

/// How long its answer may take.
const TIMEOUT: Duration = Duration::from_millis(400);
/// From one look at the metrics to the next: a slow call that tries whether it is back can be seen in between.
const LOOK: Duration = Duration::from_millis(100);

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    /// It answers.
    Fine,
    /// It answers, late but in time.
    Tardy,
    /// It answers when nobody waits any more.
    Slow,
    /// It has a fault, and says so with a status of 500.
    Wrong,
    /// Nobody listens.
    Refuses,
    /// It reads the question and closes.
    HangsUp,
    /// It takes connections and does not read.
    Dead,
}

/// In turn. Those that fail follow each other too, so that the breaker meets one with what another has done.
const ROUND: [Mood; 9] = [
    Mood::Fine,
    Mood::Tardy,
    Mood::Slow,
    Mood::Fine,
    Mood::Wrong,
    Mood::Refuses,
    Mood::Fine,
    Mood::HangsUp,
    Mood::Dead,
];

impl Mood {
    pub const ALL: [Self; 7] =
        [Self::Fine, Self::Tardy, Self::Slow, Self::Wrong, Self::Refuses, Self::HangsUp, Self::Dead];

    /// What a call that meets it has failed of.
    fn failure(self) -> Option<&'static str> {
        match self {
            Self::Fine | Self::Tardy => None,
            Self::Slow | Self::Dead => Some("timeout"),
            Self::Wrong => Some("status"),
            Self::Refuses | Self::HangsUp => Some("unreachable"),
        }
    }

    fn begin(self, address: SocketAddr) -> Presence {
        let start = |mind: fn(&Request) -> Answer| Presence::Server(BackEnd::start_on(address, mind));
        match self {
            Self::Fine => start(decide),
            Self::Tardy => start(|request| later(TIMEOUT / 4, decide(request))),
            Self::Slow => start(|request| later(2 * TIMEOUT, decide(request))),
            Self::Wrong => start(|_| Answer::Say(500, "{\"allow\": true}".into())),
            Self::Refuses => Presence::Nobody,
            Self::HangsUp => start(|_| Answer::HangUp),
            Self::Dead => Presence::Mute(TcpListener::bind(address).expect("its port is kept for it")),
        }
    }
}

/// What is at its address.
#[expect(dead_code, reason = "it is there until it is dropped")]
enum Presence {
    Server(BackEnd),
    Mute(TcpListener),
    Nobody,
}

fn decide(request: &Request) -> Answer {
    let name = request.json()["name"].as_str().unwrap_or_default().to_owned();
    match name.starts_with(STRANGER) {
        true => Answer::Say(403, "{\"reason\": \"who are you?\"}".into()),
        false => Answer::Say(200, "{}".into()),
    }
}

fn later(delay: Duration, answer: Answer) -> Answer {
    match answer {
        Answer::Say(status, body) => Answer::Late(delay, status, body),
        other => other,
    }
}

/// The tables of both apps. No answer holds for a second question: what is seen of each is what the back end is like then.
pub fn configuration(address: SocketAddr) -> String {
    let table = |app: &str, fail: &str| {
        format!(
            "[[auth]]\napp = \"{app}\"\npublish = \"callback\"\nfail = \"{fail}\"\ncallback_url = \"http://{address}/ask\"\n\
             callback_timeout_ms = {}\ncallback_failures_max = 3\ncallback_open_seconds = 1\n\
             callback_allow_seconds = 0\ncallback_deny_seconds = 0\ncallback_stale_seconds = 0\n",
            TIMEOUT.as_millis()
        )
    };
    table(OPEN, "open") + &table(CLOSED, "closed")
}

/// Goes through its moods, each until the server has felt it, and looks at what the breakers do.
pub fn flap(world: &World, server: &Server, address: SocketAddr) {
    while !world.is_over() {
        for mood in ROUND {
            let before = server.metrics();
            let _presence = mood.begin(address);
            let began = Instant::now();
            let mut was_tried = false;
            loop {
                let now = server.metrics();
                was_tried |= look_at_breakers(world, &now);
                let is_felt = is_felt(mood, &before, &now, was_tried) && world.all_steady_are_there();
                if world.is_over() || (began.elapsed() >= world.size.mood && is_felt) {
                    break;
                }
                assert!(began.elapsed() < world.size.mood + PATIENCE, "{mood:?} is not felt");
                std::thread::sleep(LOOK);
            }
            if world.is_over() {
                return;
            }
            world.count(Happening::BackEnd(mood), 1);
        }
        world.back_end_was_round();
    }
}

/// Whether calls of both tables have failed as this mood makes them fail, or go through again; of a slow one, also that it was tried again.
fn is_felt(mood: Mood, before: &Metrics, now: &Metrics, was_tried: bool) -> bool {
    let is_felt_in = |app: &str| match mood.failure() {
        None => state(now, app) == 0,
        Some(kind) => {
            let labels = [("table", app), ("kind", kind)];
            let failures = |metrics: &Metrics| metrics.sum("inrush_auth_failures_total", &labels);
            failures(now) > failures(before) && state(now, app) != 0
        }
    };
    is_felt_in(OPEN) && is_felt_in(CLOSED) && (mood != Mood::Slow || was_tried)
}

/// Notes where the breakers stand; whether one lets a call through to see if the back end is back.
fn look_at_breakers(world: &World, metrics: &Metrics) -> bool {
    let states = [OPEN, CLOSED].map(|app| state(metrics, app));
    for seen in states {
        let what = match seen {
            0 => Happening::BreakerClosed,
            1 => Happening::BreakerHalfOpen,
            2 => Happening::BreakerOpen,
            other => panic!("a breaker's state is {other}"),
        };
        world.count(what, 1);
    }
    states.contains(&1)
}

fn state(metrics: &Metrics, app: &str) -> u64 {
    metrics.sum("inrush_auth_breaker_state", &[("table", app)])
}

/// What the server has decided is what publishers were told, one by one.
#[track_caller]
pub fn assert_decisions(world: &World, metrics: &Metrics) {
    let publishes = |app: &str, outcome: Option<&str>| {
        let labels = [("table", app), ("action", "publish")];
        let outcome = outcome.map(|outcome| ("outcome", outcome));
        let labels: Vec<_> = labels.into_iter().chain(outcome).collect();
        metrics.sum("inrush_auth_decisions_total", &labels)
    };
    let [allowed_open, allowed_closed] = [OPEN, CLOSED].map(|app| publishes(app, Some("allowed")));
    let [failed, denied] =
        ["back_end_failed", "callback_denied"].map(|outcome| publishes(CLOSED, Some(outcome)));
    println!(
        "decisions: {allowed_open} and {allowed_closed} allowed, {failed} denied without the back end and {denied} by it"
    );
    assert_eq!(publishes(OPEN, None), allowed_open, "nobody is ever denied in the open app");
    assert_eq!(publishes(CLOSED, None), allowed_closed + failed + denied);
    assert_eq!(allowed_open + allowed_closed, world.happened(Happening::Published));
    let [friends, strangers] =
        [Happening::Denied, Happening::StrangerDenied].map(|what| world.happened(what));
    assert_eq!(failed + denied, friends + strangers);
    assert!(denied <= strangers, "it denies strangers only: {denied} of {strangers}");
    let unasked = metrics.sum("inrush_auth_answers_total", &[("table", OPEN), ("from", "policy")]);
    world.count(Happening::LetInUnasked, unasked);
    world.count(Happening::DeniedByBackEnd, denied);
}
