//! Publishers that the server closes after it let them in, while it stays: not refused, but cut.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use inrush_loadtest::report::Stage;
use support::server::Server;
use support::{Scratch, measure, wait_until};

/// Nothing is published any more and nobody comes back: the run ends, long before its time, with exit 1; it says why, and what was
/// measured up to then is written.
#[test]
fn a_run_whose_publishers_are_all_closed_ends_and_tells() {
    let server = Server::inrush();
    let (url, page) = (server.url("closed{i}"), Scratch::new("closed.html"));
    let html = page.path().to_str().expect("a path of ours is text");
    let began = Instant::now();
    let (output, run) = thread::scope(|scope| {
        let running = scope.spawn(|| {
            let load = ["mixed", "--url", &url, "--publishers", "2", "--players", "4", "--bitrate", "300k"];
            let rest = ["--gop", "25", "--warmup", "1.5", "--duration", "60", "--html", html];
            measure(&[&load[..], &rest[..]].concat())
        });
        let publishers = || {
            let mut connections = server.connections();
            connections.retain(|connection| connection["role"] == "publisher");
            connections
        };
        // Both have sent for a second and more of the measurement.
        let enough = |connection: &serde_json::Value| connection["messages_in"].as_u64() > Some(150);
        let sending = wait_until("both publishers have sent", || {
            let publishers = publishers();
            (publishers.len() == 2 && publishers.iter().all(enough)).then_some(publishers)
        });
        sending.iter().for_each(|publisher| server.kick(publisher));
        running.join().expect("the harness ran")
    });
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let counts = &run.counts;
    assert_eq!((counts.publishes_accepted, counts.publishes_refused, counts.connections_lost), (2, 0, 2));
    assert!(
        counts.sent > 100 && counts.received > 200 && run.latencies.e2e.count == counts.received,
        "{counts:?}"
    );
    assert!(run.errors.iter().any(|error| error.stage == Stage::Media), "{:?}", run.errors);
    assert!(
        !run.valid.ok && run.valid.reasons.iter().any(|reason| reason.contains("publish")),
        "{:?}",
        run.valid
    );
    assert!(run.valid.reasons.iter().all(|reason| told.contains(reason)), "{told}");
    assert!(page.text().contains("Not valid") && page.text().ends_with("</html>\n"));
}

/// One of them alone is an error of the run, which goes on to its end with the others.
#[test]
fn a_run_of_which_one_publisher_is_closed_goes_on_and_counts_it() {
    let server = Server::inrush();
    let url = server.url("closed{i}");
    let (output, run) = thread::scope(|scope| {
        let running = scope.spawn(|| {
            let load = ["mixed", "--url", &url, "--publishers", "2", "--players", "2", "--bitrate", "300k"];
            let rest =
                ["--gop", "25", "--warmup", "1.5", "--duration", "4", "--fail-if", "connections_lost>0"];
            measure(&[&load[..], &rest[..]].concat())
        });
        let publisher = wait_until("a publisher sends", || {
            let sends = |connection: &serde_json::Value| {
                connection["role"] == "publisher" && connection["messages_in"].as_u64() > Some(100)
            };
            server.connections().into_iter().find(sends)
        });
        server.kick(&publisher);
        running.join().expect("the harness ran")
    });
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("failed: connections_lost is 1"), "{told}");
    assert_eq!((run.counts.publishes_accepted, run.counts.connections_lost), (2, 1));
    let lost: Vec<_> = run.errors.iter().map(|error| (error.stage, error.count)).collect();
    assert_eq!(lost, [(Stage::Media, 1)], "{:?}", run.errors);
    // The other one's player read to the end. Lost is at most what the closed one wrote into a socket that was closed already.
    let counts = &run.counts;
    assert!(run.duration_s > 3.9 && counts.received > 250 && counts.lost < 50, "{counts:?}");
}
