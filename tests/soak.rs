//! A long time of what a day brings: publishers that come and go, storms of reconnects, a target that dies and comes back. Steady streams
//! lose nothing of it, here and at a steady target, and neither memory nor descriptors grow.
//!
//! Every test run has the short form; `INRUSH_SOAK_SECONDS` makes it the long one (`.ci/deep soak`), with [`LONG`]'s numbers.
#![cfg(feature = "engine")]

mod support;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::crowd::{Crowd, percentile};
use support::fleet::{Asked, Publisher};
use support::flv::Tag;
use support::media::H264_AAC;
use support::random::Random;
use support::rest::{at_rest, rest_that_lasts};
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::{PATIENCE, SetOnDrop, ports, wait_until};
use tokio::task::JoinSet;

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
    bits_per_second: usize,
    /// Milliseconds from video frame to video frame, and an audio frame between.
    frame_ms: u32,
    /// From one storm to the next.
    storm: Duration,
    /// How long the flapping target is there, and not there, in turn.
    flap: Duration,
    /// From one look at the server to the next.
    look: Duration,
}

const SHORT: Size = Size {
    seconds: 10,
    steady: 10,
    churning: 15,
    storming: 15,
    bits_per_second: 300_000,
    frame_ms: 80,
    storm: Duration::from_millis(1_500),
    flap: Duration::from_millis(700),
    look: Duration::from_millis(200),
};

const LONG: Size = Size {
    seconds: 30 * 60,
    steady: 75,
    churning: 75,
    storming: 50,
    bits_per_second: 400_000,
    frame_ms: 40,
    storm: Duration::from_secs(20),
    flap: Duration::from_secs(7),
    look: Duration::from_secs(1),
};

/// Longest stay of a churning publisher, and longest absence.
const STAY_MS_MAX: usize = 3_000;
const AWAY_MS_MAX: usize = 1_000;
/// After a refusal, until a publisher asks again.
const RETRY: Duration = Duration::from_millis(100);

/// Between the second quarter of the time, when all has been there once, and the last one, the highest resident memory may rise by a tenth
/// and by this: pools fill up, and the peaks of either quarter are chance.
const RSS_BYTES_MORE: u64 = 16 * 1024 * 1024;
/// The same of descriptors, by a quarter and by this: how many churning publishers are there at once is chance.
const OPEN_FILES_MORE: usize = 32;

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
}

const ALL: [Happening; 9] = [
    Happening::Published,
    Happening::Left,
    Happening::Cut,
    Happening::Returned,
    Happening::TargetServed,
    Happening::TargetDied,
    Happening::TargetMute,
    Happening::ForwardLost,
    Happening::ForwardBegan,
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
    happened: Mutex<BTreeMap<Happening, u64>>,
    /// Codes with which publishers were refused, which then asked again.
    refused: Mutex<BTreeMap<String, u64>>,
}

impl World {
    fn count(&self, what: Happening, times: u64) {
        *self.happened.lock().expect("nobody panics while counting").entry(what).or_default() += times;
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Publishes, however often it must ask.
    async fn publish(&self, name: &str) -> Publisher {
        loop {
            let asked = Publisher::open(self.address, "live", name, &self.pattern, &self.headers).await;
            match asked.unwrap_or_else(|error| panic!("{name} could not ask to publish: {error}")) {
                Asked::Accepted(publisher) => {
                    self.count(Happening::Published, 1);
                    return publisher;
                }
                Asked::Refused(code) => {
                    *self.refused.lock().expect("nobody panics while counting").entry(code).or_default() += 1;
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
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

fn steady_name(number: usize) -> String {
    format!("steady-{number}")
}

/// From the beginning to the end; how many messages that were.
async fn be_steady(world: Arc<World>, number: usize) -> u64 {
    let name = steady_name(number);
    let mut publisher = world.publish(&name).await;
    world.send_until(&mut publisher, &name, || world.is_over()).await;
    let sent = publisher.sent();
    world.leave(publisher, &name).await;
    sent
}

async fn churn(world: Arc<World>, number: usize, mut random: Random) {
    let name = format!("churning-{number}");
    while !world.is_over() {
        tokio::time::sleep(Duration::from_millis(random.below(AWAY_MS_MAX) as u64)).await;
        let until = Instant::now() + Duration::from_millis(random.below(STAY_MS_MAX) as u64);
        let mut publisher = world.publish(&name).await;
        world.send_until(&mut publisher, &name, || world.is_over() || Instant::now() >= until).await;
        world.leave(publisher, &name).await;
    }
}

async fn storm(world: Arc<World>, number: usize) {
    let name = format!("storming-{number}");
    let mut publisher = world.publish(&name).await;
    loop {
        let storms = world.storms.load(Ordering::Relaxed);
        let is_cut = || world.storms.load(Ordering::Relaxed) > storms;
        world.send_until(&mut publisher, &name, || world.is_over() || is_cut()).await;
        if world.is_over() {
            return world.leave(publisher, &name).await;
        }
        drop(publisher);
        world.count(Happening::Cut, 1);
        publisher = world.publish(&name).await;
        world.count(Happening::Returned, 1);
    }
}

/// All publishers, on one thread; how many messages each of the steady ones sent.
fn publish_all(world: &Arc<World>, mut random: Random) -> Vec<u64> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
    runtime.block_on(async {
        // One that fails ends it all, whichever it is.
        let mut all = JoinSet::new();
        for number in 0..world.size.steady {
            let publishing = be_steady(world.clone(), number);
            all.spawn(async move { Some((number, publishing.await)) });
        }
        for number in 0..world.size.churning {
            let publishing = churn(world.clone(), number, Random::with_seed(random.next()));
            all.spawn(async move {
                publishing.await;
                None
            });
        }
        for number in 0..world.size.storming {
            let publishing = storm(world.clone(), number);
            all.spawn(async move {
                publishing.await;
                None
            });
        }
        let mut sent = vec![0; world.size.steady];
        while let Some(ended) = all.join_next().await {
            if let Some((number, count)) = ended.expect("a publisher got through") {
                sent[number] = count;
            }
        }
        sent
    })
}

/// A target that is there, dies in the middle of it, refuses, takes connections and says nothing, and is there again.
fn flap(world: &World, address: SocketAddr) {
    let pass = |time: Duration| {
        let until = Instant::now() + time;
        while Instant::now() < until && !world.is_over() {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    while !world.is_over() {
        let target = Inrush::new().rtmp(address).cores(1).start();
        wait_until("the flapping target is found", PATIENCE, || {
            (world.is_over() || target.metrics().gauge("publishers") > 0).then_some(())
        });
        if world.is_over() {
            break;
        }
        world.count(Happening::TargetServed, 1);
        pass(world.size.flap);
        target.kill();
        world.count(Happening::TargetDied, 1);
        pass(world.size.flap / 2);
        be_mute(world, address);
    }
}

/// Takes connections for a while, and closes all of them together.
fn be_mute(world: &World, address: SocketAddr) {
    // The kernel takes a dead process's ring down, and its listener with it, after the process is gone.
    let listener = wait_until("the port is free", PATIENCE, || TcpListener::bind(address).ok());
    listener.set_nonblocking(true).expect("change the mode of a socket");
    let until = Instant::now() + world.size.flap / 2;
    let mut taken = Vec::new();
    while !world.is_over() && (taken.is_empty() || Instant::now() < until) {
        match listener.accept() {
            Ok((socket, _)) => taken.push(socket),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    world.count(Happening::TargetMute, taken.len() as u64);
}

/// One look at the server.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    rss_bytes: u64,
    open_files: usize,
}

/// Looks at the server, and lets the storms come, until the time is over or something has failed.
fn watch(world: &World, server: &Server, time: Duration, has_failed: impl Fn() -> bool) -> Vec<Sample> {
    let began = Instant::now();
    let (mut samples, mut storm_at, mut told_at) = (Vec::new(), world.size.storm, Duration::ZERO);
    while began.elapsed() < time && !has_failed() {
        let at = began.elapsed();
        if at >= storm_at {
            world.storms.fetch_add(1, Ordering::Relaxed);
            storm_at = at + world.size.storm;
        }
        let sample = Sample { at, rss_bytes: server.rss_bytes(), open_files: server.open_files() };
        samples.push(sample);
        if at >= told_at {
            let Sample { rss_bytes, open_files, .. } = sample;
            println!("after {} s: {} MB, {open_files} files", at.as_secs(), rss_bytes / 1_000_000);
            told_at = at + time / 10;
        }
        std::thread::sleep(world.size.look);
    }
    samples
}

/// Neither memory nor descriptors are more in the last quarter than in the second.
#[track_caller]
fn assert_no_growth(samples: &[Sample], time: Duration) {
    let highest = |quarter: u32| {
        let within = time / 4 * quarter..time / 4 * (quarter + 1);
        let of_it = || samples.iter().filter(|sample| within.contains(&sample.at));
        let rss_bytes = of_it().map(|sample| sample.rss_bytes).max().expect("it was looked at");
        (rss_bytes, of_it().map(|sample| sample.open_files).max().expect("it was looked at"))
    };
    let [(rss_before, files_before), (rss_after, files_after)] = [highest(1), highest(3)];
    println!(
        "highest in the second and in the last quarter: {} and {} MB, {files_before} and {files_after} files",
        rss_before / 1_000_000,
        rss_after / 1_000_000
    );
    assert!(rss_after <= rss_before / 10 * 11 + RSS_BYTES_MORE, "memory grew: {samples:?}");
    assert!(files_after <= files_before / 4 * 5 + OPEN_FILES_MORE, "descriptors grew: {samples:?}");
}

/// Every player got every message of its stream, in order, to the end; here from the first one on, at a target from a key frame on.
#[track_caller]
fn assert_whole(place: &str, crowd: Crowd, sent: &[u64], starts_at_first: bool) {
    let mut latencies_us = Vec::new();
    for (number, (report, sent)) in crowd.finish().into_iter().zip(sent).enumerate() {
        let what = format!("{} at the {place}, of {sent} messages", steady_name(number));
        let seen = (report.last, report.out_of_order, report.notified, report.starts_at_key_frame);
        assert_eq!(seen, (Some(sent - 1), 0, true, true), "{what}");
        assert!(report.first == Some(0) || !starts_at_first, "{what}: from {:?} on", report.first);
        latencies_us.extend(report.latencies_us);
    }
    let (count, p99_us) = (latencies_us.len(), percentile(latencies_us, 0.99));
    println!("steady streams at the {place}: {count} messages, p99 {:.1} ms", f64::from(p99_us) / 1e3);
}

/// Two targets of every stream. What else faces outward and may flap belongs here, with a thread beside [`flap`] and its kinds of
/// [`Happening`]: such as a back end that is asked who may publish.
///
/// A machine that stands still for some seconds is no defect: nothing is dropped for its sake.
fn configuration(steady_target: SocketAddr, flapping_target: SocketAddr) -> String {
    const PATIENT: &str = "queue_ms_max = 20000\nstall_ms_max = 30000\n";
    let target = |address: SocketAddr| {
        let url = format!("url = \"rtmp://{address}/{{app}}/{{name}}\"\n");
        format!("[[target]]\n{url}backoff_ms_min = 100\nbackoff_ms_max = 400\n{PATIENT}")
    };
    format!("[[app]]\nname = \"*\"\n{PATIENT}{}{}", target(steady_target), target(flapping_target))
}

#[test]
fn steady_streams_lose_nothing_and_nothing_grows() {
    let asked = std::env::var("INRUSH_SOAK_SECONDS").ok();
    let size = if asked.is_some() { &LONG } else { &SHORT };
    let seconds = asked.map_or(size.seconds, |text| text.parse().expect("INRUSH_SOAK_SECONDS is a number"));
    let time = Duration::from_secs(seconds);
    let mut random = Random::from_environment();

    let patient = "[[app]]\nname = \"*\"\nqueue_ms_max = 20000\nstall_ms_max = 30000\n";
    let steady_target = Inrush::new().cores(1).config(patient).start();
    let flapping_target = SocketAddr::from(([127, 0, 0, 1], ports::free_port()));
    let server = Inrush::new().cores(2).config(&configuration(steady_target.rtmp(), flapping_target)).start();
    let pattern = Pattern { frame_ms: size.frame_ms, ..Pattern::with_bits_per_second(size.bits_per_second) };
    let world = Arc::new(World {
        size,
        address: server.rtmp(),
        pattern,
        headers: sequence_headers(&H264_AAC.media()),
        over: AtomicBool::new(false),
        storms: AtomicU64::new(0),
        happened: Mutex::default(),
        refused: Mutex::default(),
    });
    let before = rest_that_lasts(&server);

    let names: Vec<_> = (0..size.steady).map(steady_name).collect();
    let crowds = [&server, &steady_target].map(|server| {
        let crowd = Crowd::join_each(server.rtmp(), "live", names.clone());
        wait_until("the players are there", PATIENCE, || {
            (server.metrics().gauge("subscribers") == names.len() as u64).then_some(())
        });
        crowd
    });
    let (samples, sent) = std::thread::scope(|scope| {
        let _end = SetOnDrop(&world.over);
        let seed = Random::with_seed(random.next());
        let publishing = scope.spawn(|| publish_all(&world, seed));
        let flapping = scope.spawn(|| flap(&world, flapping_target));
        let has_failed = || publishing.is_finished() || flapping.is_finished();
        let samples = watch(&world, &server, time, has_failed);
        world.over.store(true, Ordering::Relaxed);
        let sent = publishing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        flapping.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (samples, sent)
    });

    let [here, there] = crowds;
    assert_whole("server", here, &sent, true);
    assert_whole("steady target", there, &sent, false);
    assert_no_growth(&samples, time);
    let metrics = server.metrics();
    world.count(Happening::ForwardLost, metrics.of_all_kinds("forward_lost"));
    let streams = (size.steady + size.churning + size.storming) as u64;
    world.count(Happening::ForwardBegan, metrics.whole("forward_began").saturating_sub(2 * streams));
    let happened = world.happened.lock().expect("nobody panics while counting");
    println!("{happened:?}, refused: {:?}", world.refused.lock().expect("nobody panics while counting"));
    for what in ALL {
        assert!(happened.get(&what).is_some_and(|count| *count > 0), "{what:?} never happened: {happened:?}");
    }
    assert_eq!(metrics.counter("panics"), 0);
    wait_until("everything that came is gone", PATIENCE, || (at_rest(&server) == Some(before)).then_some(()));
    // Exit codes of 0 say, in the servers' own words, that no operation was in flight and nothing was left in a slab.
    server.stop();
    steady_target.stop();
}

/// What is looked for is found: memory and descriptors that rise all the time, and not what a storm adds for a moment.
#[test]
fn growth_is_told_from_a_peak() {
    let samples = |rss_bytes: &dyn Fn(u64) -> u64, open_files: &dyn Fn(u64) -> usize| -> Vec<Sample> {
        let look = |second| Sample {
            at: Duration::from_secs(second),
            rss_bytes: rss_bytes(second),
            open_files: open_files(second),
        };
        (0..1_000).map(look).collect()
    };
    let grew = |samples: Vec<Sample>| {
        std::panic::catch_unwind(|| assert_no_growth(&samples, Duration::from_secs(1_000))).is_err()
    };
    let storms = |second: u64| 500 + if second.is_multiple_of(20) { 50 } else { 0 };
    let steady = |_| 100_000_000;
    assert!(!grew(samples(&steady, &storms)));
    assert!(grew(samples(&|second| 100_000_000 + second * 60_000, &storms)), "60 kB a second");
    assert!(grew(samples(&steady, &|second| storms(second) + second as usize / 2)), "one each 2 s");
}
