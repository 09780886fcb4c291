//! A busy core polls its publishers and a quiet one is woken by them: neither mode, nor changing between them, costs a frame.
#![cfg(feature = "engine")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::api::Metrics;
use support::client::Client;
use support::crowd::Crowd;
use support::flv::{Kind, Tag};
use support::live::Live;
use support::media::H264_AAC;
use support::server::{Inrush, Server};
use support::synthetic::{Pattern, sequence_headers};
use support::{PATIENCE, SetOnDrop, wait_until};

/// Messages of the stream that is watched all along: one each 20 ms, for 20 s.
const MESSAGES: u64 = 1_000;
/// Players whose coming and going makes the core busy and quiet: 60 x 50 writes a second are half as many again as it takes.
const PLAYERS: usize = 60;

/// Tiny messages that a flooder writes at once, some 9 kB: one receive brings them all, which is four times what one turn deals with.
const BURST: u64 = 1_000;
/// From one burst to the next: 100,000 messages a second at most.
const BURST_PAUSE: Duration = Duration::from_millis(10);
/// What a flooder may do here, without breaking a rule: nearly twice that.
const FLOODS_ALLOWED: &str = "[limits]\nwork_per_second_max = 2_000_000\n";
/// Messages that a session has dealt with in one turn (`OUTPUTS_PER_TURN` in src/runtime/core.rs).
const TURN: u64 = 256;

fn polls(server: &Server) -> bool {
    server.metrics().gauge("polling") == 1
}

fn begin(server: &Server, name: &str) -> Client {
    begin_in(server, "live", name)
}

fn begin_in(server: &Server, app: &str, name: &str) -> Client {
    let mut publisher = Client::open(server.rtmp()).connect(app).publish(name);
    sequence_headers(&H264_AAC.media()).iter().for_each(|header| publisher.send_tag(header));
    publisher
}

/// A stream that goes on through quiet and busy times reaches its player whole, and the core does change its mode, both ways, twice.
#[test]
fn changing_the_mode_loses_and_repeats_nothing() {
    let server = Inrush::new().cores(1).start();
    let watcher = Crowd::join(server.rtmp(), "live", "steady", 1);
    server.wait_for_players("live", "steady", 1);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (server, over) = (&server, &over);
        scope.spawn(move || {
            let mut publisher = begin(server, "steady");
            publisher.send_synthetic(&Pattern::with_bits_per_second(500_000), 0..MESSAGES);
            publisher.unpublish();
            over.store(true, Ordering::Relaxed);
        });
        for round in 0..2 {
            assert!(!over.load(Ordering::Relaxed), "the stream ended before round {round}");
            let name = format!("load-{round}");
            let crowd = Crowd::join(server.rtmp(), "live", &name, PLAYERS);
            server.wait_for_players("live", &name, PLAYERS);
            let load = scope.spawn({
                let name = name.clone();
                move || {
                    let mut publisher = begin(server, &name);
                    publisher.send_synthetic(&Pattern::with_bits_per_second(200_000), 0..200);
                    publisher.unpublish();
                }
            });
            wait_until("the busy core polls", PATIENCE, || polls(server).then_some(()));
            load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for report in crowd.finish() {
                assert_eq!((report.first, report.last, report.out_of_order), (Some(0), Some(199), 0));
            }
            wait_until("the quiet core is woken", PATIENCE, || (!polls(server)).then_some(()));
        }
    });
    assert!(server.metrics().counter("mode_changes") >= 4);
    let metrics = server.metrics();
    assert!(metrics.counter("polls") > 0 && metrics.counter("ticks") > 0);
    for histogram in ["read_to_framed", "read_to_written", "tick"] {
        assert!(metrics.gauge(&format!("{histogram}_seconds_count")) > 0, "{histogram} is empty");
    }
    let reports = watcher.finish();
    let report = &reports[0];
    let seen = (report.first, report.last, report.out_of_order, report.notified);
    assert_eq!(seen, (Some(0), Some(MESSAGES - 1), 0, true));
}

/// Without a latency budget a core never polls, however busy it is.
#[test]
fn no_budget_no_polling() {
    let server = Inrush::new().cores(1).config("[ingest]\nlatency_budget_ms = 0\n").start();
    let crowd = Crowd::join(server.rtmp(), "live", "busy", PLAYERS);
    server.wait_for_players("live", "busy", PLAYERS);
    let mut publisher = begin(&server, "busy");
    publisher.send_synthetic(&Pattern::with_bits_per_second(200_000), 0..200);
    publisher.unpublish();
    assert!(crowd.finish().iter().all(|report| report.last == Some(199) && report.out_of_order == 0));
    let counted = wait_until("the sends are counted", PATIENCE, || {
        let metrics = server.metrics();
        (metrics.counter("messages_out") >= 200 * PLAYERS as u64).then_some(metrics)
    });
    assert_eq!((counted.counter("polls"), counted.counter("mode_changes")), (0, 0));
}

/// On a core that polls, a publisher that has something five times a second is waited for: visits that find nothing stay far below
/// what a visit each latency budget would come to, and its player sees all of it.
#[test]
fn a_slow_publisher_on_a_busy_core_is_waited_for() {
    const SLOW: usize = 8;
    const MESSAGES: u64 = 40;
    let server = Inrush::new().cores(1).start();
    let over = AtomicBool::new(false);
    let busy = Crowd::join(server.rtmp(), "live", "busy", PLAYERS);
    server.wait_for_players("live", "busy", PLAYERS);
    std::thread::scope(|scope| {
        let (server, over) = (&server, &over);
        let load = scope.spawn(move || {
            let mut publisher = begin(server, "busy");
            let pattern = Pattern::with_bits_per_second(200_000);
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                publisher.send_synthetic(&pattern, number..number + 10);
                number += 10;
            }
            publisher.unpublish();
        });
        wait_until("the busy core polls", PATIENCE, || polls(server).then_some(()));
        let before = server.metrics();
        let slow: Vec<_> = (0..SLOW)
            .map(|which| {
                scope.spawn(move || {
                    let name = format!("slow-{which}");
                    let watcher = Crowd::join(server.rtmp(), "live", &name, 1);
                    server.wait_for_players("live", &name, 1);
                    let mut publisher = begin(server, &name);
                    let pattern = Pattern { frame_ms: 400, ..Pattern::with_bits_per_second(200_000) };
                    publisher.send_synthetic(&pattern, 0..MESSAGES);
                    publisher.unpublish();
                    let reports = watcher.finish();
                    assert_eq!((reports[0].first, reports[0].last), (Some(0), Some(MESSAGES - 1)));
                    assert_eq!(reports[0].out_of_order, 0);
                })
            })
            .collect();
        slow.into_iter()
            .for_each(|slow| slow.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        over.store(true, Ordering::Relaxed);
        load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let after = server.metrics();
        let seen = |name| after.counter(name) - before.counter(name);
        assert!(seen("wakeups") >= SLOW as u64 * MESSAGES / 2, "most slow messages wake the core");
        // A visit each tick, all of them together, would be 8 x 8 s x 100; the busy publisher's own are among those counted.
        let (empty, ticks) = (seen("polls_empty"), seen("ticks") / after.gauge("tick_phases").max(1));
        assert!(empty < ticks * SLOW as u64 / 3, "{empty} empty visits in {ticks} latency budgets");
    });
    busy.finish();
}

/// Waits for thirty latency budgets in each of which this many publishers were visited, one more or less in ten.
#[track_caller]
fn wait_for_visits(server: &Server, publishers: u64) {
    let mut before = server.metrics();
    wait_until(&format!("{publishers} publishers are visited"), PATIENCE, || {
        let now = server.metrics();
        let seen = |name| now.counter(name) - before.counter(name);
        let (visits, budgets) = (seen("polls"), seen("ticks") / now.gauge("tick_phases").max(1));
        if budgets < 30 {
            return None;
        }
        before = now;
        let tenths = visits * 10 / budgets;
        (publishers * 10 - 3..=publishers * 10 + 3).contains(&tenths).then_some(())
    });
}

/// What a core that polls pulls and forwards: pulls are visited like encoders, waited for and woken when their source falls silent and comes back,
/// let go in between, and stay when the core is quiet again; forwards are written to with all others. Nothing is lost on the way.
#[test]
fn a_core_that_polls_pulls_and_forwards() {
    let origin = Inrush::new().cores(1).start();
    let config = format!(
        "[[upstream]]\napp = \"pulled\"\nurl = \"rtmp://{0}/{{app}}/{{name}}\"\nlinger_ms = 200\n\
         [[target]]\napp = \"sent\"\nurl = \"rtmp://{0}/there/{{name}}\"\n",
        origin.rtmp()
    );
    let edge = Inrush::new().cores(1).config(&config).start();
    let pattern = Pattern::with_bits_per_second(200_000);
    let pulled = Crowd::join(edge.rtmp(), "pulled", "one", 1);
    origin.wait_for_players("pulled", "one", 1);
    let there = Crowd::join(origin.rtmp(), "there", "two", 1);
    origin.wait_for_players("there", "two", 1);
    let encoder = begin_in(&edge, "sent", "two");
    wait_until("the forward waits for a key frame", PATIENCE, || {
        edge.forwards().iter().any(|it| it["state"] == "ready").then_some(())
    });
    let busy = Crowd::join(edge.rtmp(), "live", "busy", PLAYERS);
    edge.wait_for_players("live", "busy", PLAYERS);
    let load = Live::start(begin(&edge, "busy"), &[], &pattern, 0);
    wait_until("the busy core polls", PATIENCE, || polls(&edge).then_some(()));

    let encoder = Live::start(encoder, &[], &pattern, 0);
    let source = Live::start(begin_in(&origin, "pulled", "one"), &[], &pattern, 0);
    // The load, the encoder of the stream that is forwarded, and the pull.
    wait_for_visits(&edge, 3);
    let (source, next) = source.pause_at();
    wait_for_visits(&edge, 2);
    let source = Live::start(source, &[], &pattern, next);
    wait_for_visits(&edge, 3);

    let player = Client::open(edge.rtmp()).connect("pulled").play("three");
    origin.wait_for_players("pulled", "three", 1);
    let other = Live::start(begin_in(&origin, "pulled", "three"), &[], &pattern, 0);
    wait_for_visits(&edge, 4);
    drop(player);
    origin.wait_for_players("pulled", "three", 0);
    wait_for_visits(&edge, 3);
    assert!(polls(&edge), "all of it on a core that polls");

    load.pause().0.unpublish();
    busy.finish();
    wait_until("the quiet core is woken", PATIENCE, || (!polls(&edge)).then_some(()));
    let target = source.next() + 25;
    wait_until("the source goes on", PATIENCE, || (source.next() >= target).then_some(()));
    for (live, crowd) in [(source, pulled), (encoder, there)] {
        let (publisher, next) = live.pause_at();
        publisher.unpublish();
        for report in crowd.finish() {
            let seen = (report.first, report.last, report.out_of_order, report.notified);
            assert_eq!(seen, (Some(0), Some(next - 1), 0, true));
        }
    }
    drop(other);
}

/// One burst after the other until told to stop, counting what was sent; gives the publisher back, still publishing.
fn flood(server: &Server, sent: &AtomicU64, over: &AtomicBool) -> Client {
    const BODY: [u8; 8] = [0xaf, 1, 0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c];
    let mut publisher = begin(server, "flood");
    publisher.send_tag(&Tag { kind: Kind::Audio, timestamp: 0, body: BODY.to_vec() });
    sent.fetch_add(sequence_headers(&H264_AAC.media()).len() as u64 + 1, Ordering::Relaxed);
    // Each message is a type-3 chunk of chunk stream 4, where the audio message before was (RTMP 1.0 §5.3.1.2.4).
    let message = [&[3 << 6 | 4], &BODY[..]].concat();
    let burst = message.repeat(BURST as usize);
    while !over.load(Ordering::Relaxed) {
        publisher.send_bytes(&burst);
        sent.fetch_add(BURST, Ordering::Relaxed);
        std::thread::sleep(BURST_PAUSE);
    }
    publisher
}

/// Messages that the server has taken from the flooder; `None` when it is no publisher any more.
fn taken(server: &Server) -> Option<u64> {
    server.connections_of("publisher", "live", "flood").first()?["messages_in"].as_u64()
}

/// Does something while a core that polls already is flooded. The flooder, who breaks no rule, is there to its own end, and all that it
/// has sent is taken.
fn while_flooded(server: &Server, work: impl FnOnce()) {
    let (sent, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&over);
        let flooding = scope.spawn(|| flood(server, &sent, &over));
        wait_until("the flooded core polls", PATIENCE, || polls(server).then_some(()));
        work();
        assert!(!flooding.is_finished(), "the flooder was cut off");
        over.store(true, Ordering::Relaxed);
        let publisher = flooding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let sent = sent.load(Ordering::Relaxed);
        wait_until("all of the flood is taken", PATIENCE, || (taken(server) == Some(sent)).then_some(()));
        publisher.unpublish();
    });
}

/// Visits to publishers that found something.
fn found(metrics: &Metrics) -> u64 {
    metrics.counter("polls") - metrics.counter("polls_empty")
}

/// On a core that polls, a publisher whose receives hold more than one turn deals with is handed back to its reader, who takes turns
/// until all is done, and is polled again: all that it sends is taken at the pace at which it comes.
#[test]
fn a_flood_of_tiny_messages_is_dealt_with_between_visits() {
    let server = Inrush::new().cores(1).config(FLOODS_ALLOWED).start();
    while_flooded(&server, || {
        let begin = server.metrics();
        let mut before = begin.clone();
        // The reader takes its turns and receives nothing: that is the visits' again. One that received would be woken once for each visit that
        // gave it turns. A flooder that a loaded machine keeps from sending is slow, and rightly waited for: then it is looked at anew.
        let after =
            wait_until("fifty visits found something, and next to nothing woke the reader", PATIENCE, || {
                let metrics = server.metrics();
                let seen = |name| metrics.counter(name) - before.counter(name);
                if seen("wakeups") > seen("polls") / 10 {
                    before = metrics;
                    return None;
                }
                (found(&metrics) - found(&before) >= 50).then_some(metrics)
            });
        let seen = |name| after.counter(name) - before.counter(name);
        let (messages, receives) = (seen("messages_in"), seen("receives") - seen("polls_empty"));
        assert!(
            messages > 2 * TURN * receives,
            "{messages} messages in {receives} receives: no more than visits alone would deal with"
        );
        let mode_changes = after.counter("mode_changes") - begin.counter("mode_changes");
        assert_eq!((polls(&server), mode_changes), (true, 0));
    });
}

/// A flooder takes nothing from those who are polled on the same core: while it floods, each of them reaches its player whole, to the
/// last message.
#[test]
fn a_flood_of_tiny_messages_costs_its_neighbours_no_frame() {
    const NEIGHBOURS: usize = 20;
    const MESSAGES: u64 = 150;
    let server = Inrush::new().cores(1).config(FLOODS_ALLOWED).start();
    let names: Vec<_> = (0..NEIGHBOURS).map(|which| format!("neighbour-{which}")).collect();
    let crowds: Vec<_> = names.iter().map(|name| Crowd::join(server.rtmp(), "live", name, 1)).collect();
    names.iter().for_each(|name| server.wait_for_players("live", name, 1));
    while_flooded(&server, || {
        let before = server.metrics();
        std::thread::scope(|scope| {
            for name in &names {
                let server = &server;
                scope.spawn(move || {
                    let mut publisher = begin(server, name);
                    publisher.send_synthetic(&Pattern::with_bits_per_second(200_000), 0..MESSAGES);
                    publisher.unpublish();
                });
            }
        });
        for (name, crowd) in names.iter().zip(crowds) {
            for report in crowd.finish() {
                let seen = (report.first, report.last, report.out_of_order, report.notified);
                assert_eq!(seen, (Some(0), Some(MESSAGES - 1), 0, true), "{name}");
            }
        }
        let after = wait_until("the sends are counted", PATIENCE, || {
            let metrics = server.metrics();
            let sent = metrics.counter("messages_out") - before.counter("messages_out");
            (sent >= NEIGHBOURS as u64 * MESSAGES).then_some(metrics)
        });
        let mode_changes = after.counter("mode_changes") - before.counter("mode_changes");
        assert_eq!((polls(&server), mode_changes, after.counter("frames_dropped")), (true, 0, 0));
    });
}
