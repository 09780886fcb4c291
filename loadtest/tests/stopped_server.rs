//! A server that stands still for a while: each message that was due meanwhile is seen, and how late it was.

mod support;

use std::thread;
use std::time::Duration;

use inrush_loadtest::clock::now_us;
use support::proxy::{Deeds, Manners, Passed, Proxy};
use support::server::Server;
use support::{at_least, in_one_of_a_few_runs, measure, wait_until};

/// A little more than 2 s, since the first message that waits is due up to a frame later than the stop.
const STOP: Duration = Duration::from_millis(2_050);
/// What lies between a message's way through the witness and its read by the harness, at most, when nobody waits for the
/// processor.
const BORDER_US: u64 = 40_000;

/// `inrush` is stopped for 2 s in the middle of the measurement.
///
/// The clock is one for all processes, and due times are in the stamps, so a witness that passes everything on can tell what
/// was due while no thread of the server ran: each of these, and the harness must have counted it, with the time to the
/// server's return at least. How many are later than a threshold follows from the schedule; only frames whose lateness falls
/// on the threshold itself may be counted on either side.
#[test]
fn each_message_that_was_due_meanwhile_shows_its_delay() {
    in_one_of_a_few_runs(through_a_stop);
}

/// The messages that must be seen are seen in every run. More than those are late only on a machine that stands still itself.
fn through_a_stop() -> Result<(), String> {
    let server = Server::inrush();
    let proxy = Proxy::start(server.address(), Manners::GOOD);
    let url = proxy.url("stopped{i}");
    let load = ["mixed", "--url", &url, "--publishers", "2", "--players", "2", "--bitrate", "300k"];
    let began_us = now_us();
    let (run, stopped_us, returned_us) = thread::scope(|scope| {
        let running = scope
            .spawn(|| measure(&[&load[..], &["--gop", "25", "--warmup", "1", "--duration", "6"]].concat()));
        wait_until("the measurement is under way", || (now_us() > began_us + 2_500_000).then_some(()));
        server.stop();
        let stopped_us = now_us();
        thread::sleep(STOP);
        let returned_us = now_us();
        server.go_on();
        let (output, run) = running.join().expect("the harness ran");
        assert!(output.status.success(), "{output:?}");
        (run, stopped_us, returned_us)
    });
    let deeds = proxy.finish();

    let counts = &run.counts;
    assert_eq!((counts.lost, counts.duplicated, counts.reordered), (0, 0, 0));
    assert_eq!((counts.sent, counts.received), (counts.due, counts.due));
    let e2e = &run.latencies.e2e;
    assert_eq!(e2e.count, counts.due);
    assert!(e2e.max >= 2_000_000, "{} µs", e2e.max);

    // 25 frames of video and 46 of audio a second from each of two publishers, one more or less of each at either end.
    let due = due_between(&deeds, stopped_us, returned_us);
    let expected = 2.0 * 71.0 * (returned_us - stopped_us) as f64 / 1e6;
    assert!((due as f64 - expected).abs() <= 4.0, "{due} messages were due, of {expected}");

    // How much later than a message could come it was read, at worst: the server catches up, and the harness may wait for the
    // processor as it did before its own writes.
    let meanwhile = |passed: &&Passed| (stopped_us..returned_us).contains(&passed.due_us);
    let back_us = deeds.passed.iter().filter(meanwhile).map(|passed| passed.written_us).max();
    let catching_up_us = back_us.expect("some were due") - returned_us;
    let border_us = BORDER_US + run.latencies.generator_late.max;
    for threshold_us in [500_000, 1_000_000, 1_500_000, 1_900_000] {
        // Certainly: due after the stop, and the threshold before the return.
        let least = due_between(&deeds, stopped_us, returned_us - threshold_us);
        // At most: what the witness saw as late as that, or so nearly that the rest of the way may have made it so.
        let late = |passed: &&Passed| passed.latency_us_max() >= threshold_us - border_us;
        let most = deeds.passed.iter().filter(late).count() as u64;
        let seen = at_least(&e2e.buckets, threshold_us);
        println!("later than {threshold_us} µs: {seen} messages, of {least} to {most}");
        assert!(seen >= least, "{seen} later than {threshold_us} µs, of {least} at least");
        // The witness and the schedule agree.
        let until_us = returned_us - threshold_us + border_us + catching_up_us;
        let computed = due_between(&deeds, stopped_us - border_us, until_us);
        if seen > most || most > computed {
            return Err(format!(
                "{threshold_us} µs: {seen} seen, {most} by the witness, {computed} by the schedule"
            ));
        }
    }
    Ok(())
}

/// Messages due from one moment on and before another.
fn due_between(deeds: &Deeds, from_us: u64, until_us: u64) -> u64 {
    deeds.passed.iter().filter(|passed| (from_us..until_us).contains(&passed.due_us)).count() as u64
}
