//! A long time of what a day brings: publishers that come and go, storms of reconnects, a target that dies and comes back, a back end that
//! does not know who may publish. Steady streams lose nothing of it, here and at a steady target, and neither memory nor descriptors grow.
//!
//! Every test run has the short form; `INRUSH_SOAK_SECONDS` makes it the long one (`.ci/deep soak`), with [`LONG`]'s numbers.
#![cfg(feature = "engine")]

#[path = "soak/back_end.rs"]
mod back_end;
#[path = "soak/growth.rs"]
mod growth;
#[path = "soak/publishers.rs"]
mod publishers;
mod support;
#[path = "soak/target.rs"]
mod target;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use back_end::{CLOSED, Mood};
use growth::{Allowance, Allowances, Quarters, Sample};
use publishers::{app, publish_all, steady_name};
use support::api::Metrics;
use support::crowd::{Crowd, percentile};
use support::fleet::{Asked, Publisher};
use support::flv::Tag;
use support::media::H264_AAC;
use support::ports::HeldPort;
use support::random::Random;
use support::rest::{at_rest, rest_that_lasts};
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::{PATIENCE, SetOnDrop, wait_until};

/// How much is done.
struct Size {
    /// How long, unless `INRUSH_SOAK_SECONDS` says otherwise.
    seconds: u64,
    /// Streams that go on from the beginning to the end, with a player here and one at the steady target.
    steady: usize,
    /// Publishers that say goodbye, stay away for a while and come again.
    churning: usize,
    /// Publishers that are cut all at once and come back at once.
    storming: usize,
    /// Who ask and may not.
    strangers: usize,
    bits_per_second: usize,
    /// Milliseconds from video frame to video frame, and an audio frame between.
    frame_ms: u32,
    /// From one storm to the next.
    storm: Duration,
    /// How long the flapping target is there, and not there, in turn.
    flap: Duration,
    /// How long the back end stays as it is, at least.
    mood: Duration,
    /// After a denial, until somebody asks again.
    retry: Duration,
    /// From one look at the server to the next.
    look: Duration,
    /// What is no growth.
    allowances: Allowances,
}

const SHORT: Size = Size {
    seconds: 10,
    steady: 10,
    churning: 15,
    storming: 15,
    strangers: 2,
    bits_per_second: 300_000,
    frame_ms: 80,
    storm: Duration::from_millis(1_500),
    flap: Duration::from_millis(700),
    mood: Duration::from_millis(200),
    retry: Duration::from_millis(100),
    look: Duration::from_millis(200),
    // The first seconds fill pools, and a quarter is little more than a turn of the flapping target.
    allowances: Allowances {
        mean_rss_bytes: Allowance { percent: 25, more: 8 << 20 },
        highest_rss_bytes: Allowance { percent: 25, more: 8 << 20 },
        mean_files: Allowance { percent: 25, more: 32 },
        highest_files: Allowance { percent: 25, more: 32 },
    },
};

const LONG: Size = Size {
    seconds: 30 * 60,
    steady: 75,
    churning: 75,
    storming: 50,
    strangers: 5,
    bits_per_second: 400_000,
    frame_ms: 40,
    storm: Duration::from_secs(20),
    flap: Duration::from_secs(7),
    mood: Duration::from_secs(4),
    retry: Duration::from_millis(500),
    look: Duration::from_secs(1),
    allowances: Allowances {
        mean_rss_bytes: Allowance { percent: 3, more: 1 << 20 },
        highest_rss_bytes: Allowance { percent: 5, more: 2 << 20 },
        mean_files: Allowance { percent: 3, more: 8 },
        highest_files: Allowance { percent: 10, more: 16 },
    },
};

/// The code of a publisher that may not.
const DENIED: &str = "NetStream.Publish.Denied";

/// What happens while it lasts. One that never did is a test that tested nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A publish was accepted.
    Published,
    /// A publisher said goodbye.
    Left,
    /// A publisher was cut in a storm.
    Cut,
    /// It publishes again.
    Returned,
    /// A publisher that may was denied while the back end failed, and asks again.
    Denied,
    /// One that may not was denied.
    StrangerDenied,
    /// Of them, those whom the back end denied.
    DeniedByBackEnd,
    /// A publisher was let in since the back end failed.
    LetInUnasked,
    /// The flapping target had a stream.
    TargetServed,
    /// It was killed.
    TargetDied,
    /// Somebody who says nothing took a connection in its place, and closed.
    TargetMute,
    /// A forward was lost, as the server counts it.
    ForwardLost,
    /// Media began on a forward, more often than there are streams for two targets.
    ForwardBegan,
    /// The server has felt the back end being so.
    BackEnd(Mood),
    /// A breaker was seen closed in the metrics,
    BreakerClosed,
    /// half open,
    BreakerHalfOpen,
    /// and open.
    BreakerOpen,
}

const KINDS: [Happening; 16] = [
    Happening::Published,
    Happening::Left,
    Happening::Cut,
    Happening::Returned,
    Happening::Denied,
    Happening::StrangerDenied,
    Happening::DeniedByBackEnd,
    Happening::LetInUnasked,
    Happening::TargetServed,
    Happening::TargetDied,
    Happening::TargetMute,
    Happening::ForwardLost,
    Happening::ForwardBegan,
    Happening::BreakerClosed,
    Happening::BreakerHalfOpen,
    Happening::BreakerOpen,
];

/// What all of them share.
struct World {
    size: &'static Size,
    address: SocketAddr,
    pattern: Pattern,
    headers: Vec<Tag>,
    over: AtomicBool,
    /// Storms so far.
    storms: AtomicU64,
    /// Steady publishers that have begun.
    steady_there: AtomicUsize,
    /// How often the back end was everything that it can be.
    back_end_rounds: AtomicU64,
    happened: Mutex<BTreeMap<Happening, u64>>,
}

impl World {
    fn count(&self, what: Happening, times: u64) {
        *self.happened.lock().expect("nobody panics while counting").entry(what).or_default() += times;
    }

    fn happened(&self, what: Happening) -> u64 {
        self.happened.lock().expect("nobody panics while counting").get(&what).copied().unwrap_or_default()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn all_steady_are_there(&self) -> bool {
        self.steady_there.load(Ordering::Relaxed) == self.size.steady
    }

    fn back_end_was_round(&self) {
        self.back_end_rounds.fetch_add(1, Ordering::Relaxed);
    }

    async fn ask(&self, app: &str, name: &str) -> Asked {
        let asked = Publisher::open(self.address, app, name, &self.pattern, &self.headers).await;
        asked.unwrap_or_else(|error| panic!("{app}/{name} could not ask to publish: {error}"))
    }

    /// Publishes, however often it must ask; `None` when it is over before. It is denied where the app is closed while the back end fails, and
    /// refused for no other reason: its own ghost of before a storm does not stand in its way.
    async fn publish(&self, app: &str, name: &str) -> Option<Publisher> {
        while !self.is_over() {
            match self.ask(app, name).await {
                Asked::Accepted(publisher) => {
                    self.count(Happening::Published, 1);
                    return Some(*publisher);
                }
                Asked::Refused(code) => {
                    assert_eq!((app, code.as_str()), (CLOSED, DENIED), "{name} was refused");
                    self.count(Happening::Denied, 1);
                    tokio::time::sleep(self.size.retry).await;
                }
            }
        }
        None
    }

    /// Sends until `ends` says so. The server never ends it.
    async fn send_until(&self, publisher: &mut Publisher, name: &str, ends: impl Fn() -> bool) {
        while !ends() {
            let sent = publisher.send_next().await;
            sent.unwrap_or_else(|error| panic!("{name} lost its connection: {error}"));
        }
    }

    async fn leave(&self, publisher: Publisher, name: &str) {
        publisher.leave().await.unwrap_or_else(|error| panic!("{name} could not leave: {error}"));
        self.count(Happening::Left, 1);
    }
}

/// Looks at the server, and lets the storms come, until the time is over and the back end was once all that it can be, or something has failed.
fn watch(world: &World, server: &Server, time: Duration, has_failed: impl Fn() -> bool) -> Vec<Sample> {
    let began = Instant::now();
    let (mut samples, mut storm_at, mut told_at) = (Vec::new(), world.size.storm, Duration::ZERO);
    let is_whole = || world.back_end_rounds.load(Ordering::Relaxed) > 0 && world.all_steady_are_there();
    while (began.elapsed() < time || !is_whole()) && !has_failed() {
        let at = began.elapsed();
        if at >= storm_at {
            world.storms.fetch_add(1, Ordering::Relaxed);
            storm_at = at + world.size.storm;
        }
        let sample = Sample { at, rss_bytes: server.rss_bytes(), open_files: server.open_files() };
        samples.push(sample);
        if at >= told_at {
            let Sample { rss_bytes, open_files, .. } = sample;
            println!("after {} s: {} kB, {open_files} files", at.as_secs(), rss_bytes / 1_000);
            told_at = at + time / 10;
        }
        std::thread::sleep(world.size.look);
    }
    samples
}

/// Every player got every message of its stream, in order, to the end; here from the first one on, at a target from a key frame on.
#[track_caller]
fn assert_whole(place: &str, crowd: Crowd, sent: &[u64], starts_at_first: bool) {
    let mut latencies_us = Vec::new();
    let mut late = 0;
    for (number, (report, sent)) in crowd.finish().into_iter().zip(sent).enumerate() {
        let what = format!("{} at the {place}, of {sent} messages", steady_name(number));
        let seen = (report.last, report.out_of_order, report.notified, report.starts_at_key_frame);
        assert_eq!(seen, (Some(sent - 1), 0, true, true), "{what}");
        let first = report.first.expect("there is a last one");
        assert!(first == 0 || !starts_at_first, "{what}: from {first} on");
        assert_eq!(report.latencies_us.len() as u64, sent - first, "{what}: each is counted");
        late += u32::from(first > 0);
        latencies_us.extend(report.latencies_us);
    }
    let (sent, count) = (sent.iter().sum::<u64>(), latencies_us.len());
    let p99_us = percentile(latencies_us, 0.99);
    println!(
        "steady streams at the {place}: {count} of {sent} messages, none lost, {late} streams from a later key frame on, p99 {:.1} ms",
        f64::from(p99_us) / 1e3
    );
}

/// The steady target is connected to once for each stream, and nothing on the way there was dropped.
#[track_caller]
fn assert_steady_forwards(server: &Server, target: SocketAddr, count: usize) {
    let mut forwards = server.forwards();
    forwards.retain(|it| {
        let is_there = it["target"].as_str().is_some_and(|text| text.contains(&target.to_string()));
        is_there && it["name"].as_str().is_some_and(|name| name.starts_with("steady-"))
    });
    assert_eq!(forwards.len(), count);
    for forward in forwards {
        let seen = (&forward["state"], &forward["reconnects"], &forward["dropped"], &forward["last_error"]);
        assert_eq!(seen, (&"live".into(), &0.into(), &0.into(), &"".into()), "{forward}");
    }
}

/// Two targets of every stream, and a back end that is asked.
///
/// A machine that stands still for some seconds is no defect: nothing is dropped for its sake. Who is cut while the back end fails may be back
/// after the grace, or in it.
fn configuration(steady_target: SocketAddr, flapping_target: SocketAddr, back_end: SocketAddr) -> String {
    let target = |address: SocketAddr| {
        let url = format!("url = \"rtmp://{address}/{{app}}/{{name}}\"\n");
        format!("[[target]]\n{url}backoff_ms_min = 100\nbackoff_ms_max = 400\nstep_ms_max = 20000\n{PATIENT}")
    };
    let auth = back_end::configuration(back_end);
    let [steady, flapping] = [steady_target, flapping_target].map(target);
    format!("[[app]]\nname = \"*\"\ngrace_ms = 2000\n{PATIENT}{steady}{flapping}{auth}")
}

const PATIENT: &str = "queue_ms_max = 20000\nstall_ms_max = 30000\n";

#[test]
fn steady_streams_lose_nothing_and_nothing_grows() {
    let asked = std::env::var("INRUSH_SOAK_SECONDS").ok();
    let size = if asked.is_some() { &LONG } else { &SHORT };
    let seconds = asked.map_or(size.seconds, |text| text.parse().expect("INRUSH_SOAK_SECONDS is a number"));
    let time = Duration::from_secs(seconds);
    let mut random = Random::from_environment();

    let steady_target = Inrush::new().cores(1).config(&format!("[[app]]\nname = \"*\"\n{PATIENT}")).start();
    let (flapping_target, back_end) = (HeldPort::new(), HeldPort::new());
    let config = configuration(steady_target.rtmp(), flapping_target.address(), back_end.address());
    let server = Inrush::new().cores(2).config(&config).start();
    let pattern = Pattern { frame_ms: size.frame_ms, ..Pattern::with_bits_per_second(size.bits_per_second) };
    let world = Arc::new(World {
        size,
        address: server.rtmp(),
        pattern,
        headers: sequence_headers(&H264_AAC.media()),
        over: AtomicBool::new(false),
        storms: AtomicU64::new(0),
        steady_there: AtomicUsize::new(0),
        back_end_rounds: AtomicU64::new(0),
        happened: Mutex::default(),
    });
    let before = rest_that_lasts(&server);

    let crowds = [&server, &steady_target].map(|server| {
        let streams = (0..size.steady).map(|number| (app(number).to_owned(), steady_name(number)));
        let crowd = Crowd::join_streams(server.rtmp(), streams.collect());
        wait_until("the players are there", PATIENCE, || {
            (server.metrics().gauge("subscribers") == size.steady as u64).then_some(())
        });
        crowd
    });
    let (samples, sent) = std::thread::scope(|scope| {
        let _end = SetOnDrop(&world.over);
        let seed = Random::with_seed(random.next());
        let flapping = [
            scope.spawn(|| target::flap(&world, flapping_target.address())),
            scope.spawn(|| back_end::flap(&world, &server, back_end.address())),
        ];
        let publishing = scope.spawn(|| publish_all(&world, seed));
        let has_failed =
            || publishing.is_finished() || flapping.iter().any(std::thread::ScopedJoinHandle::is_finished);
        let samples = watch(&world, &server, time, has_failed);
        if !has_failed() {
            assert_steady_forwards(&server, steady_target.rtmp(), size.steady);
        }
        world.over.store(true, Ordering::Relaxed);
        let sent = publishing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for thread in flapping {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        (samples, sent)
    });

    let [here, there] = crowds;
    assert_whole("server", here, &sent, true);
    assert_whole("steady target", there, &sent, false);
    let quarters = Quarters::of(&samples);
    println!("{quarters}");
    assert_eq!(quarters.growth(&size.allowances), None);
    let metrics = server.metrics();
    back_end::assert_decisions(&world, &metrics);
    assert_all_happened(&world, &metrics);
    assert_eq!(metrics.counter("panics"), 0);
    wait_until("everything that came is gone", PATIENCE, || {
        let metrics = server.metrics();
        let edge = ["inrush_auth_calls_in_progress", "inrush_auth_questions_waiting"];
        let is_idle = edge.iter().all(|name| metrics.sum(name, &[]) == 0) && server.forwards().is_empty();
        (is_idle && at_rest(&server) == Some(before)).then_some(())
    });
    let refused = server.metrics().of_all_kinds("publish_refused");
    assert_eq!(refused, 0, "nobody met somebody else's stream, or a ghost of its own");
    println!("at rest as before: {before:?}, {} kB", server.rss_bytes() / 1_000);
    // Exit codes of 0 say, in the servers' own words, that no operation was in flight and nothing was left in a slab.
    server.stop();
    steady_target.stop();
}

#[track_caller]
fn assert_all_happened(world: &World, metrics: &Metrics) {
    world.count(Happening::ForwardLost, metrics.of_all_kinds("forward_lost"));
    let streams = (world.size.steady + world.size.churning + world.size.storming) as u64;
    world.count(Happening::ForwardBegan, metrics.whole("forward_began").saturating_sub(2 * streams));
    println!("{:?}", world.happened.lock().expect("nobody panics while counting"));
    for what in KINDS.into_iter().chain(Mood::ALL.map(Happening::BackEnd)) {
        assert!(world.happened(what) > 0, "{what:?} never happened");
    }
}
